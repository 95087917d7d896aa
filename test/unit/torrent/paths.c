/* SPDX-License-Identifier: MIT */
/* Tests of torrent/paths.c: elements as test/vectors/paths.tsv shows, names
 * made distinct, links that stay inside. */
#include "bencode.h"
#include "torrent/metainfo.h"
#include "test/test.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EDGE_SIZE 0x4000u

static struct slice at_edge(const void *s, size_t n)
{
	static uint8_t *edge;

	if (!edge) {
		uint8_t *p =
			mmap(NULL, 2 * EDGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + EDGE_SIZE, EDGE_SIZE, PROT_NONE))
			exit(1);
		edge = p + EDGE_SIZE;
	}
	if (n > EDGE_SIZE)
		exit(1);
	if (n)
		memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

static const char *element_of(const void *s, size_t n)
{
	static char text[300];
	struct buf b;

	buf_init(&b, sizeof(text) - 1);
	path_element(&b, at_edge(s, n));
	memcpy(text, b.p, b.n);
	text[b.n] = 0;
	buf_release(&b);
	return text;
}

/* Rows with a choice:
 * 61|2e2e|63 -> a/_/c   the forced form, as elements below a torrent's name are
 *                       never dropped: dropping would move files between directories
 * 00666f6f -> _         a NUL ends the name
 * con, foo:bar          kept: this is about Linux file systems
 * a*255, 4,096 bytes    240 bytes, with the extension if there is one */
static void vectors(void)
{
	FILE *f = fopen("test/vectors/paths.tsv", "r");
	static char line[20000];
	int rows = 0;

	CHECK(f != NULL);
	while (f && fgets(line, sizeof(line), f)) {
		char *want = strchr(line, '\t'), *note = want ? strchr(want + 1, '\t') : NULL, *hex = line,
		     *end;
		char got[1000] = "";

		if (!note || rows++ == 0)
			continue;
		*want++ = *note++ = 0;
		for (;; hex = end + 1) {
			uint8_t raw[5000];
			size_t n;

			end = strchrnul(hex, '|');
			n = (size_t)(end - hex) / 2;
			CHECK(n <= sizeof(raw) && hex_decode(raw, n, slice_of(hex, (size_t)(end - hex))));
			if (*got)
				strcat(got, "/");
			strcat(got, element_of(raw, n));
			if (!*end)
				break;
		}
		if (strstr(want, "truncated")) {
			CHECK(strlen(got) == 240 && strspn(got, "a") == 240);
		} else {
			if (strcmp(got, want) != 0)
				printf("%s: wanted %s, got %s\n", line, want, got);
			CHECK(strcmp(got, want) == 0);
		}
	}
	CHECK(rows == 25);
	if (f)
		fclose(f);
}

static bool becomes(const char *in, const char *out)
{
	const char *got = element_of(in, strlen(in));

	if (strcmp(got, out) != 0)
		printf("%s: wanted %s, got %s\n", in, out, got);
	return strcmp(got, out) == 0;
}

static void elements(void)
{
	char in[400], *out;

	CHECK(becomes("plain name.txt", "plain name.txt"));
	CHECK(becomes(".", "_") && becomes("..", "_") && becomes("...", "...") && becomes("", "_"));
	CHECK(becomes("./", "_") && becomes("/..", "_") && becomes("\\..\\", "_"));
	CHECK(becomes(".\xe2\x80\xae.", "_")); /* what remains counts */
	CHECK(becomes("photo\xe2\x80\xaegpj.exe", "photogpj.exe"));
	CHECK(becomes("a\xe2\x81\xa6"
		      "b\xd8\x9c"
		      "c\xe2\x80\x8f",
		      "abc"));
	CHECK(becomes("a\xe2\x80\xa8"
		      "b",
		      "a_b") &&
	      becomes("a\nb\tc", "a_b_c"));
	CHECK(becomes("\xfc"
		      "ber.txt",
		      "_ber.txt"));                      /* Latin-1 */
	CHECK(becomes("\xc4\xe3\xba\xc3.mp3", "_.mp3")); /* GBK: a run is one '_' */
	CHECK(becomes("\xff\x01\xff", "___"));
	CHECK(becomes("\xed\xa0\x80", "_") && becomes("\xf4\x90\x80\x80", "_"));
	CHECK(becomes("\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac"));
	CHECK(becomes(" x. ", " x. "));

	/* cut between characters, the extension kept */
	memset(in, 'x', 300);
	strcpy(in + 300, ".jpeg");
	out = strdup(element_of(in, 305));
	CHECK(strlen(out) == 240 && strcmp(out + 235, ".jpeg") == 0);
	free(out);
	for (size_t i = 0; i < 300; i += 3)
		memcpy(in + i, "\xe2\x82\xac", 3);
	out = strdup(element_of(in, 305));
	CHECK(strlen(out) == 234 + 5 && strcmp(out + 234, ".jpeg") == 0);
	free(out);
	memset(in, 'x', 300);
	strcpy(in + 240, ".12345678901");
	out = strdup(element_of(in, 252));
	CHECK(strlen(out) == 240 && strspn(out, "x") == 240);
	free(out);
	/* invisible bytes don't count; 240 bytes are not cut */
	memset(in, 'x', 300);
	memcpy(in + 100, "\xef\xbb\xbf", 3);
	out = strdup(element_of(in, 243));
	CHECK(strlen(out) == 240 && strspn(out, "x") == 240);
	free(out);
}

static void top_names(void)
{
	static const char *const guarded[] = {
		".bt", ".BT", ".Bt", ".bt.", ".bt ", ".bt. .", "BT~1", "bt~2", "\xe2\x80\xae.bt", "/.bt"
	};
	static const char *const free_names[] = { ".btx", "bt", "x.bt", ".b", "..bt", "bt.1", " .bt" };
	struct buf b;

	buf_init(&b, 300);
	for (size_t i = 0; i < ARRAY_LEN(guarded); i++) {
		buf_clear(&b);
		path_top(&b, slice_str(guarded[i]));
		CHECK(b.n >= 3 && b.p[0] == '_');
	}
	for (size_t i = 0; i < ARRAY_LEN(free_names); i++) {
		buf_clear(&b);
		path_top(&b, slice_str(free_names[i]));
		CHECK(slice_is(slice_of(b.p, b.n), free_names[i]));
	}
	buf_release(&b);
	CHECK(path_is_clean("a/b c/\xc3\xbc.txt") && path_is_clean("a"));
	CHECK(!path_is_clean("") && !path_is_clean("a//b") && !path_is_clean("a/../b") &&
	      !path_is_clean("a\\b") && !path_is_clean("a/\xff") && !path_is_clean("/a") &&
	      !path_is_clean("a/"));
}

/* ---- links ---- */

static bool text_is(const char *link, const char *target, const char *want)
{
	struct buf b, back;
	bool ok;

	buf_init(&b, 1000);
	buf_init(&back, 1000);
	path_link_text(&b, link, target);
	ok = slice_is(slice_of(b.p, b.n), want);
	if (!ok)
		printf("%s -> %s: wanted %s, got %.*s\n", link, target, want, (int)b.n, (char *)b.p);
	/* and from the link's text back to the target */
	buf_u8(&b, 0);
	ok = ok && path_link_target(&back, link, (char *)b.p) && slice_is(slice_of(back.p, back.n), target);
	buf_release(&b);
	buf_release(&back);
	return ok;
}

static const char *target_of(const char *link, const char *text)
{
	static char out[100];
	struct buf b;

	buf_init(&b, sizeof(out) - 1);
	strcpy(out, "none");
	if (path_link_target(&b, link, text)) {
		memcpy(out, b.p, b.n);
		out[b.n] = 0;
	}
	buf_release(&b);
	return out;
}

static void links(void)
{
	CHECK(text_is("l", "a", "a") && text_is("l", "d/a", "d/a"));
	CHECK(text_is("d/l", "a", "../a") && text_is("d/l", "d/a", "a") &&
	      text_is("d/e/l", "d/f/a", "../f/a"));
	CHECK(text_is("d/e/l", "dd/e", "../../dd/e") && text_is("dd/l", "d/e", "../d/e"));
	CHECK(text_is("d/e/l", "d", "..") && text_is("d/e/l", "d/e", ".") && text_is("d/l", "d/l", "l"));
	CHECK(text_is("d/l", "e", "../e"));

	CHECK(strcmp(target_of("d/l", "./x//y/."), "d/x/y") == 0);
	CHECK(strcmp(target_of("d/l", "../d/../a"), "a") == 0);
	CHECK(strcmp(target_of("d/l", "../.."), "none") == 0);
	CHECK(strcmp(target_of("d/l", ".."), "none") == 0);
	CHECK(strcmp(target_of("l", "../x"), "none") == 0);
	CHECK(strcmp(target_of("l", "a/../../x"), "none") == 0);
	CHECK(strcmp(target_of("l", "/etc/passwd"), "none") == 0);
	CHECK(strcmp(target_of("l", ""), "none") == 0);
	CHECK(strcmp(target_of("l", "..."), "...") == 0);
}

/* ---- distinct names: torrents of given paths, one byte per file ---- */

static struct bt_meta *of_paths(char (*path)[32], size_t n, const bool *pad)
{
	struct bt_meta *m;
	struct buf b;
	char err[200];

	buf_init(&b, META_MAX_BYTES);
	buf_puts(&b, "d4:infod5:filesl");
	for (size_t i = 0; i < n; i++) {
		const char *p = path[i], *end;

		buf_puts(&b, pad && pad[i] ? "d4:attr1:p6:lengthi1e4:pathl" : "d6:lengthi1e4:pathl");
		for (;; p = end + 1) {
			end = strchrnul(p, '/');
			ben_put_bytes(&b, p, (size_t)(end - p));
			if (!*end)
				break;
		}
		buf_puts(&b, "ee");
	}
	buf_puts(&b, "e4:name1:t12:piece lengthi1048576e6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
	m = bt_meta_parse(b.p, b.n, err, sizeof(err));
	if (!m)
		printf("%s\n", err);
	buf_release(&b);
	return m;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All different, and none a directory of another. */
static bool distinct(const struct bt_meta *m)
{
	char **sorted = alloc_array(m->nfiles, sizeof(*sorted));
	size_t n = 0;
	bool ok = true;

	for (uint32_t i = 0; i < m->nfiles; i++) {
		if (m->files[i].attr & BT_FILE_PAD)
			continue;
		/* '/' sorted before all else puts a directory right before its content */
		sorted[n] = strdup(m->files[i].path);
		for (char *p = sorted[n]; *p; p++)
			if (*p == '/')
				*p = 1;
		n++;
	}
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 1; i < n; i++) {
		size_t len = strlen(sorted[i - 1]);

		if (strncmp(sorted[i - 1], sorted[i], len) == 0 &&
		    (sorted[i][len] == 0 || sorted[i][len] == 1))
			ok = false;
	}
	for (size_t i = 0; i < n; i++)
		free(sorted[i]);
	free(sorted);
	return ok;
}

static void becoming(const char *const *in, const char *const *out, size_t n)
{
	char path[16][32];
	struct bt_meta *m;

	for (size_t i = 0; i < n; i++)
		strcpy(path[i], in[i]);
	m = of_paths(path, n, NULL);
	CHECK(m && distinct(m));
	for (uint32_t i = 0; m && i < n; i++) {
		if (strcmp(m->files[i].path + 2, out[i]) != 0)
			printf("%s: wanted %s, got %s\n", in[i], out[i], m->files[i].path + 2);
		CHECK(strcmp(m->files[i].path + 2, out[i]) == 0);
	}
	bt_meta_free(m);
}

#define BECOMING(in, out) becoming(in, out, ARRAY_LEN(in))

static void collisions(void)
{
	static const char *const same[] = { "a.txt", "a.txt", "a.txt", "b", "b" }, *const same_out[] = {
		"a.txt", "a.1.txt", "a.2.txt", "b", "b.1"
	};
	/* names nobody clashes with stay, wherever they stand */
	static const char *const taken[] = { "a", "a", "a.1", "a.2/x", "a" }, *const taken_out[] = {
		"a", "a.3", "a.1", "a.2/x", "a.4"
	};
	static const char *const dirs[] = { "d", "d/e", "d/e/f", "d/e", "d" }, *const dirs_out[] = {
		"d.1", "d/e.1", "d/e/f", "d/e.2", "d.2"
	};
	static const char *const hidden[] = { ".x", ".x", "a.", "a.", "v1.tar.gz", "v1.tar.gz" },
				 *const hidden_out[] = { ".x",   ".x.1",      "a.",
							 "a.1.", "v1.tar.gz", "v1.tar.1.gz" };
	/* equal only after cleaning */
	static const char *const cleaned[] = { "..", ".", "_", "a\\b", "ab" }, *const cleaned_out[] = {
		"_", "_.1", "_.2", "ab", "ab.1"
	};
	static const char *const apart[] = { "A", "a", "ab/c", "a.b", "abc" }, *const apart_out[] = {
		"A", "a", "ab/c", "a.b", "abc"
	};

	BECOMING(same, same_out);
	BECOMING(taken, taken_out);
	BECOMING(dirs, dirs_out);
	BECOMING(hidden, hidden_out);
	BECOMING(cleaned, cleaned_out);
	BECOMING(apart, apart_out);
}

static void pads(void)
{
	char path[5][32] = { "a", ".pad/1", ".pad/1", "a", ".pad" };
	const bool pad[5] = { true, true, true, false, false };
	struct bt_meta *m = of_paths(path, 5, pad);

	/* never on disk: they may be alike, and nobody gives way to them */
	CHECK(m && strcmp(m->files[1].path, m->files[2].path) == 0);
	CHECK(m && strcmp(m->files[3].path, "t/a") == 0 && strcmp(m->files[4].path, "t/.pad") == 0);
	bt_meta_free(m);
}

static void random_trees(void)
{
	static char path[300][32];
	static const char *const parts[] = { "a", "b", "a.1", "a.2", "b.1", "a.1.1", "..", "\xff" };

	for (int round = 0; round < 500; round++) {
		size_t n = 2 + random_below(round % 50 ? 20 : 298);
		struct bt_meta *m, *again;

		for (size_t i = 0; i < n; i++) {
			uint32_t depth = 1 + random_below(3);

			path[i][0] = 0;
			while (depth--) {
				strcat(path[i], parts[random_below(ARRAY_LEN(parts))]);
				if (depth)
					strcat(path[i], "/");
			}
		}
		m = of_paths(path, n, NULL);
		again = of_paths(path, n, NULL);
		if (!m || !again || !distinct(m))
			CHECK(false && "distinct");
		/* chosen names don't depend on the hash's secret */
		for (uint32_t i = 0; m && again && i < n; i++)
			if (strcmp(m->files[i].path, again->files[i].path) != 0)
				CHECK(false && "deterministic");
		bt_meta_free(m);
		bt_meta_free(again);
	}
}

/* Equal names cost no more than different ones. */
static void many_equal(void)
{
	size_t n = 100000;
	char(*path)[32] = alloc_array(n, sizeof(*path));
	struct bt_meta *m;
	clock_t start;

	for (size_t i = 0; i < n; i++)
		snprintf(path[i], sizeof(path[i]), "%s", i % 2 ? "same.bin" : "d/e/f/same.bin");
	start = clock();
	m = of_paths(path, n, NULL);
	CHECK(m && distinct(m));
	CHECK(m && strcmp(m->files[99999].path, "t/same.49999.bin") == 0);
	printf("100,000 files of two names: %ld ms\n", (long)((clock() - start) * 1000 / CLOCKS_PER_SEC));
	/* generous, for emulators: the square of it would take minutes */
	CHECK((clock() - start) / CLOCKS_PER_SEC < 20);
	bt_meta_free(m);
	/* every renamed name is taken already */
	for (size_t i = 0; i < n; i++)
		snprintf(path[i], sizeof(path[i]), i % 2 ? "a" : "a.%zu", i / 2);
	m = of_paths(path, n, NULL);
	CHECK(m && distinct(m));
	bt_meta_free(m);
	free(path);
}

int main(void)
{
	vectors();
	elements();
	top_names();
	links();
	collisions();
	pads();
	random_trees();
	many_equal();
	return test_done();
}
