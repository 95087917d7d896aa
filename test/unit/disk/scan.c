/* SPDX-License-Identifier: MIT */
/* Tests of disk/scan.c and hash.c: what a walk finds and in which order, and
 * piece hashes against a plain reading of the same bytes. */
#include "disk/scan.h"

#include "test/test.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[128];
static char err[512];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

/* Everything happens inside `top`, which is the current directory. */
static void put(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(p, 1, n, f) != n)
		abort();
	fclose(f);
}

static void on_skip(void *arg, const char *path, const char *why)
{
	CHECK(strstr(path, "t/") && strstr(path, "/pipe") && *why);
	++*(int *)arg;
}

static bool scan_one(struct scan *s, const char *path, int *skipped)
{
	return scan_paths(s, &path, 1, on_skip, skipped, err, sizeof(err));
}

static void test_walk(void)
{
	static const char *const want[] = { ".hidden", "-", "a/b", "a/c/d", "a-b", "a.b", "big", "in", "out", "to-dir", "x", "\xff" };
	struct scan s;
	int skipped = 0;

	CHECK(mkdir("t", 0700) == 0 && mkdir("t/a", 0700) == 0 && mkdir("t/a/c", 0700) == 0 && mkdir("t/empty", 0700) == 0);
	put("t/a/b", "1", 1);
	put("t/a/c/d", "22", 2);
	put("t/a-b", "333", 3);
	put("t/a.b", "", 0);
	put("t/.hidden", "4444", 4);
	put("t/big", "55555", 5);
	put("t/-", "6", 1);
	put("t/x", "7", 1);
	put("t/\xff", "8", 1);
	put("outside", "nine9", 5);
	CHECK(chmod("t/x", 0755) == 0 && mkfifo("t/pipe", 0600) == 0);
	CHECK(symlink("a/b", "t/in") == 0 && symlink("../outside", "t/out") == 0 && symlink("a", "t/to-dir") == 0);
	CHECK(scan_one(&s, "t", &skipped) && !s.single && skipped == 1);
	CHECK(s.n == ARRAY_LEN(want));
	for (size_t i = 0; i < s.n && i < ARRAY_LEN(want); i++) {
		/* '-' is 0x2d, '.' 0x2e, '/' comes before both */
		bool swapped = i < 2;

		CHECK(strcmp(s.files[i].path, want[swapped ? 1 - i : i]) == 0);
		CHECK(strncmp(s.files[i].open, "t/", 2) == 0 && strcmp(s.files[i].open + 2, s.files[i].path) == 0);
		CHECK(s.files[i].exec == (i == 10));
	}
	CHECK(s.files[7].kind == SCAN_LINK_FILE && s.files[7].len == 1 && strcmp(s.files[7].target, "a/b") == 0);
	CHECK(s.files[8].kind == SCAN_LINK_FILE && s.files[8].len == 5 && s.files[9].kind == SCAN_LINK_DIR);
	CHECK(s.files[6].len == 5 && s.files[6].mtime_ns > 0 && s.files[6].kind == SCAN_FILE);
	scan_release(&s);
	CHECK(scan_one(&s, "./t//", &skipped) && s.n == ARRAY_LEN(want) && strcmp(s.files[0].open, "./t/-") == 0);
	scan_release(&s);
	CHECK(scan_one(&s, "t/big", &skipped) && s.single && s.n == 1 && *s.files[0].path == 0 && s.files[0].len == 5);
	scan_release(&s);
	CHECK(scan_one(&s, "t/out", &skipped) && s.single && s.files[0].len == 5 && !s.files[0].target);
	scan_release(&s);
	CHECK(scan_one(&s, "t/to-dir", &skipped) && !s.single && s.n == 2 && strcmp(s.files[1].path, "c/d") == 0);
	scan_release(&s);
	CHECK(!scan_one(&s, "t/none", &skipped) && strcmp(err, "t/none: No such file or directory") == 0);
	scan_release(&s);
	CHECK(!scan_one(&s, "t/pipe", &skipped) && strstr(err, "neither"));
	scan_release(&s);
	CHECK(!scan_one(&s, "", &skipped));
	scan_release(&s);
}

static void test_several(void)
{
	const char *paths[] = { "t/big", "t/a/", "outside" }, *twice[] = { "t/a", "t2/a" }, *dots[] = { "t", "." };
	struct scan s;

	CHECK(scan_paths(&s, paths, 3, NULL, NULL, err, sizeof(err)) && s.n == 4 && !s.single);
	CHECK(strcmp(s.files[0].path, "a/b") == 0 && strcmp(s.files[1].path, "a/c/d") == 0);
	CHECK(strcmp(s.files[2].path, "big") == 0 && strcmp(s.files[3].path, "outside") == 0);
	scan_release(&s);
	CHECK(mkdir("t2", 0700) == 0);
	put("t2/a", "file", 4);
	CHECK(!scan_paths(&s, twice, 2, NULL, NULL, err, sizeof(err)) && strstr(err, "same name"));
	scan_release(&s);
	CHECK(!scan_paths(&s, dots, 2, NULL, NULL, err, sizeof(err)) && strstr(err, "no name"));
	scan_release(&s);
	CHECK(scan_compare("a/b", "a-b") < 0 && scan_compare("a", "a/b") < 0 && scan_compare("a", "a") == 0);
	CHECK(scan_compare("\x01", "/") > 0 && scan_compare("a\xff", "az") > 0);
}

static void test_deep(void)
{
	char path[700] = "deep";
	struct scan s;
	int levels = 0;

	CHECK(mkdir(path, 0700) == 0);
	for (; levels < 99; levels++) {
		strcat(path, "/d");
		CHECK(mkdir(path, 0700) == 0);
	}
	strcat(path, "/f");
	put(path, "x", 1);
	CHECK(scan_paths(&s, (const char *const[]){ "deep" }, 1, NULL, NULL, err, sizeof(err)) && s.n == 1);
	scan_release(&s);
	CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
	strcat(path, "/f");
	put(path, "x", 1);
	CHECK(!scan_paths(&s, (const char *const[]){ "deep" }, 1, NULL, NULL, err, sizeof(err)) && strstr(err, "too many"));
	scan_release(&s);
	put("odd\n\x1b[31m", "", 0);
	CHECK(!scan_error(err, sizeof(err), "odd\n\x1b[31m", "why") && strcmp(err, "odd??[31m: why") == 0);
	CHECK(unlink("odd\n\x1b[31m") == 0);
}

/* ---- hashing ---- */

struct told {
	uint64_t last, calls, stop_at;
};

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct told *t = arg;

	CHECK(done >= t->last && done <= total);
	t->last = done;
	t->calls++;
	return done < t->stop_at;
}

/* Files of odd sizes with padding among them, against one sha1() per piece. */
static void test_hashes(void)
{
	static const char *const force[] = { NULL, "avx512", "avx2", "sse2", "plain", "sha-ni" };
	static const uint64_t len[] = { 0, 1, 63, 64, 65, 16384, 16383, 0, 32768, 32769, 100000, 7, 400000, 65536, 0 };
	struct hash_part parts[ARRAY_LEN(len)];
	struct scan s;
	char name[32];
	uint64_t size = 0;
	uint8_t *all, *got;

	CHECK(mkdir("h", 0700) == 0);
	for (size_t i = 0; i < ARRAY_LEN(len); i++)
		size += len[i];
	all = malloc((size_t)size);
	got = malloc((size_t)(size / 64 + 1) * SHA1_LEN);
	if (!all || !got)
		abort();
	random_bytes(all, (size_t)size);
	size = 0;
	for (size_t i = 0; i < ARRAY_LEN(len); i++) {
		snprintf(name, sizeof(name), "h/%02zu", i);
		put(name, all + size, (size_t)len[i]);
		size += len[i];
	}
	CHECK(scan_paths(&s, (const char *const[]){ "h" }, 1, NULL, NULL, err, sizeof(err)) && s.n == ARRAY_LEN(len));
	size = 0;
	for (size_t i = 0; i < ARRAY_LEN(len); i++) {
		parts[i] = (struct hash_part){ s.files[i].open, s.files[i].len, s.files[i].mtime_ns };
		CHECK(s.files[i].len == len[i]);
		if (i == 6 || i == 10) {
			parts[i].open = NULL;
			memset(all + size, 0, (size_t)len[i]);
		}
		size += len[i];
	}
	for (size_t k = 0; k < ARRAY_LEN(force); k++) {
		if (force[k] && !sha1_force(force[k]))
			continue;
		for (uint64_t piece_len = 64; piece_len <= 1 << 20; piece_len *= 4) {
			struct told told = { .stop_at = UINT64_MAX };
			struct hash_job job = { parts, ARRAY_LEN(len), size, piece_len, on_progress, &told };
			unsigned wrong = 0;

			CHECK(hash_parts(&job, got, err, sizeof(err)));
			CHECK(told.last == size);
			for (uint64_t i = 0; i * piece_len < size; i++) {
				uint8_t want[SHA1_LEN];

				sha1(all + i * piece_len, (size_t)min_u64(piece_len, size - i * piece_len), want);
				wrong += memcmp(want, got + i * SHA1_LEN, SHA1_LEN) != 0;
			}
			CHECK(wrong == 0);
		}
	}
	CHECK(sha1_force(NULL));
	/* every size from one piece to two */
	for (uint64_t n = 1; n <= 1500; n++) {
		struct hash_part part = { parts[12].open, 400000, parts[12].mtime_ns };
		struct hash_part two[2] = { part, { NULL, n, 0 } };
		struct hash_job job = { two, 2, 400000 + n, 16384, NULL, NULL };

		if (n % 64 > 2 && n % 64 < 62)
			continue;
		CHECK(hash_parts(&job, got, err, sizeof(err)));
	}
	scan_release(&s);
	free(all);
	free(got);
}

static bool grow_file(void *arg, uint64_t done, uint64_t total)
{
	(void)done, (void)total;
	if (*(int *)arg == 0) {
		FILE *f = fopen("c/b", "a");

		++*(int *)arg;
		if (f) {
			fputs("more", f);
			fclose(f);
		}
	}
	return true;
}

static void test_changes(void)
{
	static uint8_t bytes[1 << 20], got[64 * SHA1_LEN];
	struct told told = { .stop_at = 1 };
	struct hash_part parts[2];
	struct hash_job job = { parts, 2, 2 << 20, 1 << 18, NULL, NULL };
	struct scan s;
	int grown = 0;

	CHECK(mkdir("c", 0700) == 0);
	put("c/a", bytes, sizeof(bytes));
	put("c/b", bytes, sizeof(bytes));
	CHECK(scan_paths(&s, (const char *const[]){ "c" }, 1, NULL, NULL, err, sizeof(err)) && s.n == 2);
	for (size_t i = 0; i < 2; i++)
		parts[i] = (struct hash_part){ s.files[i].open, s.files[i].len, s.files[i].mtime_ns };
	CHECK(hash_parts(&job, got, err, sizeof(err)));
	job.on_progress = on_progress;
	job.arg = &told;
	CHECK(!hash_parts(&job, got, err, sizeof(err)) && strcmp(err, "stopped") == 0);
	job.on_progress = NULL;
	/* shorter, longer, only newer, gone, no file any more */
	CHECK(truncate("c/a", 1000) == 0 && !hash_parts(&job, got, err, sizeof(err)) && strstr(err, "c/a: changed"));
	CHECK(truncate("c/a", 1 << 20) == 0 && !hash_parts(&job, got, err, sizeof(err)) && strstr(err, "c/a: changed"));
	parts[0].mtime_ns = 0;
	CHECK(utimensat(AT_FDCWD, "c/a", (const struct timespec[2]){ { 0, 0 }, { 0, 0 } }, 0) == 0);
	CHECK(hash_parts(&job, got, err, sizeof(err)));
	/* while it is open: seen when it is left */
	job.on_progress = grow_file;
	job.arg = &grown;
	CHECK(!hash_parts(&job, got, err, sizeof(err)) && strstr(err, "c/b: changed"));
	job.on_progress = NULL;
	CHECK(unlink("c/b") == 0 && !hash_parts(&job, got, err, sizeof(err)) && strstr(err, "c/b: No such"));
	CHECK(mkdir("c/b", 0700) == 0 && !hash_parts(&job, got, err, sizeof(err)) && strstr(err, "c/b"));
	scan_release(&s);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int main(void)
{
	int before = open_fds();

	if (!test_dir(top, sizeof(top)) || chdir(top) < 0)
		return 1;
	test_walk();
	test_several();
	test_deep();
	test_hashes();
	test_changes();
	CHECK(open_fds() == before);
	CHECK(chdir("/") == 0);
	(void)nftw(top, remove_one, 200, FTW_DEPTH | FTW_PHYS); /* musl goes no deeper than it may open */
	return test_done();
}
