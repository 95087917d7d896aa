/* SPDX-License-Identifier: MIT */
/* Tests of disk/files.c, open.c, path.c, space.c: writing and reading over file
 * boundaries, escapes through links, what allocation leaves behind, descriptors
 * that run out, files that change behind our back. */
#include "disk/open.h"

#include "bt.h"
#include "test/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[128];

/* Element by element: some paths are longer than PATH_MAX. */
static void remove_at(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0)
			remove_at(fd, e->d_name);
	}
	if (d)
		closedir(d);
	(void)unlinkat(dirfd, name, AT_REMOVEDIR);
}

static void remove_tree(const char *path)
{
	remove_at(AT_FDCWD, path);
}

static const char *in(const char *name)
{
	static char path[2][512];
	static int turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", top, name);
	return path[turn];
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? UINT64_MAX : (uint64_t)st.st_size;
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? UINT64_MAX : (uint64_t)st.st_blocks * 512;
}

static void put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	CHECK(f != NULL);
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static struct files *start(struct files_cache *c, const char *dir, const struct store_file *t, uint32_t n,
			   enum disk_alloc alloc)
{
	struct files_opts o = { .dir = dir, .files = t, .nfiles = n, .alloc = alloc };
	struct files *f;

	CHECK(files_new(&f, c, &o) == 0);
	return f;
}

static int write_bytes(struct files *f, uint64_t off, const void *p, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)p, n };

	return files_write(f, off, &iov, 1);
}

/* ---- */

static const struct store_file five[] = {
	{ .off = 0, .len = 10, .path = "t/a" },
	{ .off = 10, .len = 0, .path = "t/empty" },
	{ .off = 10, .len = 6, .path = ".pad/6", .attr = BT_FILE_PAD },
	{ .off = 16, .len = 1, .path = "t/d/e/b", .attr = BT_FILE_EXEC },
	{ .off = 17, .len = 0, .path = "t/l", .attr = BT_FILE_SYMLINK, .target = "d/e/b" },
	{ .off = 17, .len = 100, .path = "t/c" },
};

static void test_range(void)
{
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("deep/er/x"), five, ARRAY_LEN(five), DISK_ALLOC_AUTO);
	uint8_t out[117], back[117];
	struct iovec iov[5];
	char link[16] = "";
	struct stat st;

	CHECK(files_at(f, 0) == 0 && files_at(f, 9) == 0 && files_at(f, 10) == 2 && files_at(f, 16) == 3);
	CHECK(files_at(f, 17) == 5 && files_at(f, 116) == 5);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i + 1);
	CHECK(files_read(f, 0, back, 1) == -ENOENT && strcmp(files_culprit(f), "t/a") == 0);
	CHECK(!files_has_data(f, 0, 117) && files_has_data(f, 10, 6));
	/* every cut into two parts, with an empty part between */
	for (size_t cut = 0; cut <= sizeof(out); cut++) {
		iov[0] = (struct iovec){ out, cut };
		iov[1] = (struct iovec){ out, 0 };
		iov[2] = (struct iovec){ out + cut, sizeof(out) - cut };
		CHECK(files_write(f, 0, iov, 3) == 0);
		memset(back, 0xee, sizeof(back));
		CHECK(files_read(f, 0, back, sizeof(back)) == 0);
		CHECK(memcmp(back, out, 10) == 0 && memcmp(back + 16, out + 16, 101) == 0);
		CHECK(memcmp(back + 10, "\0\0\0\0\0\0", 6) == 0);
	}
	CHECK(files_dirty(f) == 118 * 111);
	files_start_writeout(f);
	CHECK(files_sync(f) == 0 && files_dirty(f) == 0);
	for (size_t n = 0; n <= sizeof(out); n++) {
		for (size_t off = 0; off + n <= sizeof(out); off += 7) {
			CHECK(files_read(f, off, back, n) == 0);
			CHECK(n == 0 || off + n > 16 || off > 9 || back[0] == out[off]);
		}
	}
	CHECK(files_read(f, 100, back, 18) == -EINVAL && write_bytes(f, 117, out, 1) == -EINVAL);
	CHECK(files_load(f, 0, 117) == 0 && files_has_data(f, 0, 1));
	CHECK(access(in("deep/er/x/.pad"), F_OK) < 0 && access(in("deep/er/x/t/empty"), F_OK) < 0);
	CHECK(files_stamp(f, 0).len == 10 && files_stamp(f, 0).mtime_ns > 0);
	CHECK(files_stamp(f, 1).len == 0 && files_stamp(f, 1).mtime_ns == 0 && files_stamp(f, 2).mtime_ns == 0);
	CHECK(files_verify_open(f) == 0);
	CHECK(files_finish(f) == 0 && files_finish(f) == 0 && files_sync(f) == 0);
	CHECK(size_of(in("deep/er/x/t/empty")) == 0);
	CHECK(readlink(in("deep/er/x/t/l"), link, sizeof(link)) == 5 && memcmp(link, "d/e/b", 5) == 0);
	CHECK(stat(in("deep/er/x/t/d/e/b"), &st) == 0 && (st.st_mode & 0100));
	/* another link in its place is not ours to replace */
	CHECK(unlink(in("deep/er/x/t/l")) == 0 && symlink("elsewhere", in("deep/er/x/t/l")) == 0);
	CHECK(files_finish(f) == -EEXIST && strcmp(files_culprit(f), "t/l") == 0);
	/* cut: reading tells */
	CHECK(truncate(in("deep/er/x/t/c"), 50) == 0);
	CHECK(files_read(f, 17, back, 50) == 0 && files_read(f, 17, back, 51) == -ENODATA);
	CHECK(strcmp(files_culprit(f), "t/c") == 0 && files_load(f, 17, 100) == -ENODATA);
	CHECK(files_verify_open(f) == -ESTALE && strcmp(files_culprit(f), "t/c") == 0);
	files_free(f);
	files_cache_free(c);
}

static void test_read_only(void)
{
	struct files_cache *c = files_cache_new();
	struct files_opts o = { .dir = in("none"), .files = five, .nfiles = 6, .read_only = true };
	struct files *f;
	uint8_t b[10];

	CHECK(files_new(&f, c, &o) == -ENOENT && f == NULL && access(in("none"), F_OK) < 0);
	o.dir = in("deep/er/x");
	CHECK(files_new(&f, c, &o) == 0);
	CHECK(files_read(f, 0, b, 10) == 0 && b[9] == 10);
	CHECK(write_bytes(f, 0, b, 1) == -EROFS && files_fd(f, 0, true) == -EROFS && files_fd(f, 0, false) >= 0);
	CHECK(files_reserve(f, 0, 0, 1) == -EROFS && !files_can_map(f, 0) && files_finish(f) == 0);
	CHECK(files_fd(f, 2, false) == -EINVAL && files_fd(f, 6, false) == -EINVAL);
	files_free(f);
	files_cache_free(c);
}

/* A finished program may be running when its mode is looked at again. */
static void test_busy_program(void)
{
	static uint8_t program[1 << 20];
	FILE *self = fopen("/bin/true", "rb");
	size_t n = self ? fread(program, 1, sizeof(program), self) : 0;
	struct store_file t = { .len = n, .path = "prog", .attr = BT_FILE_EXEC };
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("busy"), &t, 1, DISK_ALLOC_AUTO);
	struct stat st;
	int fd;

	if (self)
		fclose(self);
	CHECK(n > 0 && write_bytes(f, 0, program, n) == 0 && files_finish(f) == 0);
	CHECK(stat(in("busy/prog"), &st) == 0 && (st.st_mode & 0111));
	while (open_evict(c))
		;
	/* the kernel refuses to run what is open for writing, and the other way round */
	if (fork() == 0) {
		execl(in("busy/prog"), "prog", (char *)NULL);
		_exit(1);
	}
	CHECK(wait(&fd) > 0 && fd == 0);
	CHECK(chmod(in("busy/prog"), 0400) == 0 && files_finish(f) == 0);
	CHECK(stat(in("busy/prog"), &st) == 0 && (st.st_mode & 0777) == 0500);
	CHECK(!open_find(f, 0)->writable);
	files_free(f);
	files_cache_free(c);
}

/* ---- nothing outside ---- */

static void check_refused(const char *path, int want, bool walk)
{
	struct store_file t = { .len = 4, .path = path };
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("box"), &t, 1, DISK_ALLOC_AUTO);
	uint8_t b[4] = "evil";

	f->dir.walk = walk;
	CHECK(write_bytes(f, 0, b, 4) == want);
	CHECK(files_read(f, 0, b, 4) < 0);
	CHECK(strcmp(files_culprit(f), path) == 0);
	CHECK(files_finish(f) == 0);
	files_free(f);
	files_cache_free(c);
}

static void test_escapes(void)
{
	static const char *const bad[] = { "../x", "a/../../x", "/x", "", ".", "a//b", "a/", "./a", "a/." };
	char element[300];

	CHECK(mkdir(in("box"), 0700) == 0 && mkdir(in("out"), 0700) == 0 && mkdir(in("box/sub"), 0700) == 0);
	CHECK(symlink("../out", in("box/way")) == 0 && symlink("../out/new", in("box/file")) == 0);
	CHECK(symlink("sub", in("box/inner")) == 0 && symlink("../out", in("box/sub/up")) == 0);
	CHECK(mkfifo(in("box/fifo"), 0600) == 0);
	memset(element, 'x', sizeof(element) - 1);
	element[sizeof(element) - 1] = 0;
	for (int walk = 0; walk < 2; walk++) {
		for (size_t i = 0; i < ARRAY_LEN(bad); i++)
			check_refused(bad[i], -EINVAL, walk);
		check_refused("way/new", -ELOOP, walk);
		check_refused("way/d/new", -ELOOP, walk);
		check_refused("inner/new", -ELOOP, walk); /* even where it would stay inside */
		check_refused("sub/up/new", -ELOOP, walk);
		check_refused("file", -ELOOP, walk);
		check_refused("sub", -EISDIR, walk);
		check_refused("fifo", -ENXIO, walk);
		check_refused("fifo/x", -ENOTDIR, walk);
		check_refused(element, -ENAMETOOLONG, walk);
	}
	CHECK(rmdir(in("out")) == 0); /* still empty */
	/* the directory itself may be a link */
	CHECK(mkdir(in("real"), 0700) == 0 && symlink("real", in("linked")) == 0);
	{
		struct store_file t = { .len = 4, .path = "d/f" };
		struct files_cache *c = files_cache_new();
		struct files *f = start(c, in("linked"), &t, 1, DISK_ALLOC_AUTO);

		CHECK(write_bytes(f, 0, "good", 4) == 0 && size_of(in("real/d/f")) == 4);
		files_free(f);
		files_cache_free(c);
	}
}

/* A path longer than PATH_MAX in all: only the walk can open it. */
static void test_long_path(void)
{
	static char path[30 * 201];
	struct store_file t = { .len = 4, .path = path };
	struct files_cache *c = files_cache_new();
	struct files *f;
	char b[4];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 201 == 200 ? '/' : 'y';
	path[sizeof(path) - 1] = 0;
	f = start(c, in("long"), &t, 1, DISK_ALLOC_AUTO);
	CHECK(write_bytes(f, 0, "long", 4) == 0 && files_sync(f) == 0);
	while (open_evict(c)) /* so that it is opened anew */
		;
	CHECK(files_read(f, 0, b, 4) == 0 && memcmp(b, "long", 4) == 0);
	files_free(f);
	files_cache_free(c);
}

/* A link swapped with a directory all the time, while we write through its name. */
static void test_swap_race(void)
{
	struct store_file t = { .len = 1, .path = "d/f" };
	unsigned wrote = 0, tries = 4000;
	char d[2][512], x[512];
	pid_t pid;

	CHECK(mkdir(in("race"), 0700) == 0 && mkdir(in("race/d"), 0700) == 0 && mkdir(in("race-out"), 0700) == 0);
	CHECK(symlink("../race-out", in("race/x")) == 0);
	snprintf(d[0], sizeof(d[0]), "%s", in("race/d"));
	snprintf(d[1], sizeof(d[1]), "%s", in("race/y"));
	snprintf(x, sizeof(x), "%s", in("race/x"));
	pid = fork();
	if (pid == 0) {
		for (;;) {
			(void)!rename(d[0], d[1]);
			(void)!rename(x, d[0]);
			(void)!rename(d[0], x);
			(void)!rename(d[1], d[0]);
		}
	}
	for (unsigned i = 0; i < tries; i++) {
		struct files_cache *c = files_cache_new();
		struct files *f = start(c, in("race"), &t, 1, DISK_ALLOC_AUTO);

		f->dir.walk = i & 1;
		wrote += write_bytes(f, 0, "x", 1) == 0;
		files_free(f);
		files_cache_free(c);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(wrote > 0);
	CHECK(rmdir(in("race-out")) == 0);
}

/* ---- many files, few descriptors ---- */

#define MANY 300u

static void fill_many(struct store_file *t, char (*names)[32])
{
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "d%u/%u", i % 7, i);
		t[i] = (struct store_file){ .off = i, .len = 1, .path = names[i] };
	}
}

static void test_many(void)
{
	static struct store_file t[MANY];
	static char names[MANY][32];
	struct files_cache *c = files_cache_new();
	int before = open_fds(), most;
	uint8_t out[MANY], back[MANY];
	struct rlimit old, few;
	struct files *f, *g;

	fill_many(t, names);
	for (uint32_t i = 0; i < MANY; i++)
		out[i] = (uint8_t)(i * 7);
	f = start(c, in("many"), t, MANY, DISK_ALLOC_AUTO);
	CHECK(write_bytes(f, 0, out, MANY) == 0 && files_read(f, 0, back, MANY) == 0);
	CHECK(memcmp(out, back, MANY) == 0);
	most = open_fds();
	CHECK(most <= before + 1 + FILES_OPEN_MAX);
	CHECK(files_dirty(f) == MANY && files_sync(f) == 0);
	/* two torrents, one cache, and only a dozen descriptors left */
	g = start(c, in("many2"), t, MANY, DISK_ALLOC_AUTO);
	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	few = old;
	few.rlim_cur = (rlim_t)before + 12;
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	for (uint32_t i = 0; i < MANY; i++) {
		CHECK(write_bytes(f, i, out + i, 1) == 0 && write_bytes(g, i, out + i, 1) == 0);
		CHECK(files_stamp(f, MANY - 1 - i).len == 1);
	}
	memset(back, 0, sizeof(back));
	CHECK(files_read(g, 0, back, MANY) == 0 && memcmp(out, back, MANY) == 0);
	CHECK(files_verify_open(f) == 0 && files_verify_open(g) == 0);
	CHECK(files_sync(f) == 0 && files_sync(g) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	files_free(f);
	files_free(g);
	files_cache_free(c);
	CHECK(open_fds() == before);
}

/* ---- behind our back ---- */

static void test_changed(void)
{
	static const struct store_file t[] = {
		{ .off = 0, .len = 100, .path = "gone" },
		{ .off = 100, .len = 100, .path = "other" },
		{ .off = 200, .len = 100, .path = "cut" },
	};
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("changed"), t, 3, DISK_ALLOC_AUTO);
	uint8_t b[300] = { 1 };

	CHECK(write_bytes(f, 0, b, 300) == 0 && files_verify_open(f) == 0);
	CHECK(unlink(in("changed/gone")) == 0);
	CHECK(files_verify_open(f) == -ESTALE && strcmp(files_culprit(f), "gone") == 0);
	while (open_evict(c))
		;
	/* not made anew, neither by reading nor by writing */
	CHECK(files_read(f, 0, b, 1) == -ENOENT && write_bytes(f, 0, b, 1) == -ENOENT);
	CHECK(access(in("changed/gone"), F_OK) < 0);
	put_file(in("changed/new"), "new");
	CHECK(files_read(f, 100, b, 1) == 0);
	CHECK(rename(in("changed/new"), in("changed/other")) == 0);
	CHECK(files_verify_open(f) == -ESTALE && strcmp(files_culprit(f), "other") == 0);
	while (open_evict(c))
		;
	CHECK(write_bytes(f, 100, b, 1) == -ESTALE && size_of(in("changed/other")) == 3);
	CHECK(truncate(in("changed/cut"), 99) == 0);
	CHECK(write_bytes(f, 200, b, 1) == -ESTALE && strcmp(files_culprit(f), "cut") == 0);
	files_free(f);
	files_cache_free(c);
}

/* Our own writes are told from others' by the stamp that files_sync takes. */
static void test_touched(void)
{
	static const struct store_file t[] = {
		{ .off = 0, .len = 100, .path = "a" },
		{ .off = 100, .len = 100, .path = "b" },
		{ .off = 200, .len = 100, .path = "c" },
		{ .off = 300, .len = 0, .path = "none" },
	};
	static const struct timespec early[2] = { { .tv_sec = 1000000 }, { .tv_sec = 1000000 } };
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("touched"), t, 4, DISK_ALLOC_AUTO);
	uint8_t b[300] = { 1 };

	for (uint32_t i = 0; i < 4; i++)
		CHECK(files_know(f, i).len == 0 && !files_touched(f, i));
	CHECK(write_bytes(f, 0, b, 300) == 0 && !files_touched(f, 0) && files_sync(f) == 0);
	CHECK(!files_touched(f, 0) && !files_touched(f, 1) && !files_touched(f, 2) && !files_touched(f, 3));
	/* times only */
	CHECK(utimensat(AT_FDCWD, in("touched/a"), early, 0) == 0 && files_touched(f, 0));
	CHECK(write_bytes(f, 0, b, 1) == 0 && !files_touched(f, 0) && files_sync(f) == 0 && !files_touched(f, 0));
	/* through a mapping it is our own */
	CHECK(utimensat(AT_FDCWD, in("touched/a"), early, 0) == 0 && files_touched(f, 0));
	files_wrote(f, 99, 2);
	CHECK(!files_touched(f, 0) && files_sync(f) == 0 && !files_touched(f, 0));
	/* a write must not make good what was cut: the middle would be zeros */
	CHECK(truncate(in("touched/b"), 50) == 0 && files_touched(f, 1));
	CHECK(write_bytes(f, 190, b, 10) == -ESTALE && size_of(in("touched/b")) == 50);
	CHECK(truncate(in("touched/b"), 100) == 0 && files_touched(f, 1));
	/* replaced by a twin, known from its name alone, never opened by us */
	files_free(f);
	f = start(c, in("touched"), t, 4, DISK_ALLOC_AUTO);
	CHECK(files_know(f, 2).len == 100 && !files_touched(f, 2));
	put_file(in("touched/twin"), "twin");
	CHECK(truncate(in("touched/twin"), 100) == 0 && rename(in("touched/twin"), in("touched/c")) == 0);
	CHECK(files_touched(f, 2));
	CHECK(!files_times_tell(f) || files_read(f, 200, b, 1) == -ESTALE);
	CHECK(unlink(in("touched/c")) == 0 && files_touched(f, 2));
	CHECK(write_bytes(f, 200, b, 1) == -ENOENT && access(in("touched/c"), F_OK) < 0);
	files_free(f);
	files_cache_free(c);
}

/* ---- space ---- */

static void test_policies(void)
{
	static const struct store_file t[] = {
		{ .off = 0, .len = 1 << 20, .path = "a" },
		{ .off = 1 << 20, .len = 1 << 20, .path = "u", .unwanted = true },
	};
	static const enum disk_alloc policy[] = { DISK_ALLOC_AUTO, DISK_ALLOC_SPARSE, DISK_ALLOC_FULL };

	for (size_t i = 0; i < ARRAY_LEN(policy); i++) {
		struct files_cache *c = files_cache_new();
		struct files *f = start(c, in("space"), t, 2, policy[i]);
		bool whole = policy[i] == DISK_ALLOC_FULL || (policy[i] == DISK_ALLOC_AUTO && f->fs.allocates);

		CHECK(write_bytes(f, (1 << 20) - 2, "abcd", 4) == 0 && files_sync(f) == 0);
		CHECK(size_of(in("space/a")) == 1 << 20 && size_of(in("space/u")) == 2);
		CHECK(whole ? blocks_of(in("space/a")) >= 1 << 20 : blocks_of(in("space/a")) < 1 << 18);
		CHECK(blocks_of(in("space/u")) < 1 << 18);
		CHECK(files_has_data(f, (1 << 20) - 1, 1) && !files_has_data(f, (1 << 20) + 2, 100));
		if (files_can_map(f, 0)) {
			CHECK(files_reserve(f, 0, 1 << 19, 4096) == 0);
			CHECK(files_reserve(f, 1, 0, 1 << 21) == 0 && size_of(in("space/u")) == 1 << 20);
			CHECK(blocks_of(in("space/u")) >= 1 << 20);
		}
		files_free(f);
		files_cache_free(c);
		/* a file longer than the torrent's stays as it is */
		CHECK(truncate(in("space/a"), 3 << 20) == 0);
		c = files_cache_new();
		f = start(c, in("space"), t, 2, policy[i]);
		CHECK(write_bytes(f, 0, "x", 1) == 0 && size_of(in("space/a")) == 3 << 20);
		files_free(f);
		files_cache_free(c);
		remove_tree(in("space"));
	}
}

/* A file system of 1 MiB: nothing leaks, small files still go in. */
static void test_full(void)
{
	static const struct store_file t[] = {
		{ .off = 0, .len = 512 << 10, .path = "fits" },
		{ .off = 512 << 10, .len = 4 << 20, .path = "big" },
	};
	static uint8_t b[600 << 10];
	struct files_cache *c;
	struct files *f;

	CHECK(mkdir(in("full"), 0700) == 0);
	if (mount("bt-test", in("full"), "tmpfs", 0, "size=1m") < 0)
		return; /* not root: the fault test in test/fault does this in a namespace */
	c = files_cache_new();
	f = start(c, in("full"), t, 2, DISK_ALLOC_FULL);
	CHECK(write_bytes(f, 0, b, 512 << 10) == 0);
	CHECK(write_bytes(f, 512 << 10, b, 1) == -ENOSPC && strcmp(files_culprit(f), "big") == 0);
	CHECK(size_of(in("full/big")) == 0 && blocks_of(in("full/big")) == 0);
	f->alloc = DISK_ALLOC_AUTO; /* sparse here: as much as there is goes in, then the error */
	CHECK(write_bytes(f, 512 << 10, b, 100 << 10) == 0 && size_of(in("full/big")) == 4 << 20);
	CHECK(write_bytes(f, (612 << 10), b, 600 << 10) == -ENOSPC && strcmp(files_culprit(f), "big") == 0);
	CHECK(files_reserve(f, 1, 2 << 20, 1 << 20) == -ENOSPC && size_of(in("full/big")) == 4 << 20);
	CHECK(unlink(in("full/fits")) == 0);
	files_free(f);
	files_cache_free(c);
	c = files_cache_new();
	f = start(c, in("full"), t, 2, DISK_ALLOC_AUTO);
	CHECK(write_bytes(f, 612 << 10, b, 300 << 10) == 0); /* space came back */
	files_free(f);
	files_cache_free(c);
	CHECK(umount(in("full")) == 0);
}

/* A write that the system cuts short: RLIMIT_FSIZE. */
static void test_short_write(void)
{
	static const struct store_file t[] = { { .off = 0, .len = 1000, .path = "s" } };
	struct files_cache *c = files_cache_new();
	struct files *f = start(c, in("short"), t, 1, DISK_ALLOC_SPARSE);
	struct rlimit old, low;
	uint8_t b[1000];

	memset(b, 7, sizeof(b));
	CHECK(write_bytes(f, 0, b, 1) == 0);
	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	low = old;
	low.rlim_cur = 600;
	CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
	CHECK(write_bytes(f, 0, b, 600) == 0);
	CHECK(write_bytes(f, 500, b, 500) == -EFBIG && strcmp(files_culprit(f), "s") == 0);
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	CHECK(write_bytes(f, 500, b, 500) == 0 && files_read(f, 0, b, 1000) == 0 && b[999] == 7);
	files_free(f);
	files_cache_free(c);
}

/* ---- 100,000 files: lazily, in little memory ---- */

static void test_huge_table(void)
{
	uint32_t n = 100000;
	struct store_file *t = alloc_array(n, sizeof(*t));
	char *names = alloc_array(n, 16);
	struct files_cache *c = files_cache_new();
	struct files *f;

	for (uint32_t i = 0; i < n; i++) {
		snprintf(names + 16 * (size_t)i, 16, "%u/%u", i / 1000, i);
		t[i] = (struct store_file){ .off = (uint64_t)i << 20, .len = 1 << 20, .path = names + 16 * (size_t)i };
	}
	f = start(c, in("huge"), t, n, DISK_ALLOC_SPARSE);
	CHECK(write_bytes(f, 70000ull << 20, "x", 1) == 0 && size_of(in("huge/70/70000")) == 1 << 20);
	CHECK(files_sync(f) == 0 && files_stamp(f, 70000).len == 1 << 20 && files_stamp(f, 69999).len == 0);
	CHECK(sizeof(*f->flags) + sizeof(*f->id) <= 16);
	files_free(f);
	files_cache_free(c);
	free(t);
	free(names);
}

int main(void)
{
	int before;

	signal(SIGXFSZ, SIG_IGN);
	if (!test_dir(top, sizeof(top)))
		return 1;
	before = open_fds();
	test_range();
	test_read_only();
	test_busy_program();
	test_escapes();
	test_long_path();
	test_swap_race();
	test_many();
	test_changed();
	test_touched();
	test_policies();
	test_full();
	test_short_write();
	test_huge_table();
	CHECK(open_fds() == before);
	remove_tree(top);
	CHECK(access(top, F_OK) < 0);
	return test_done();
}
