/* SPDX-License-Identifier: MIT */
/* Tests of bencode.c. The vectors are rows of test/vectors/bdecode.tsv, which
 * say what other clients do; decide() says what bt does where they differ. */
#include "bencode.h"
#include "test/test.h"

#include <sys/mman.h>
#include <unistd.h>

#define EDGE_SIZE 0x10000u

/* A copy of the input that ends right before an unreadable page. */
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

static bool accepts(struct slice s, unsigned *seen)
{
	struct ben v;
	struct ben_error e = { NULL, 0 };
	unsigned ignored;
	ptrdiff_t n = ben_check(s, &BEN_TORRENT, &v, seen ? seen : &ignored, &e);

	if (n < 0)
		CHECK(e.what && e.off <= s.n && v.p == NULL);
	else
		CHECK(n > 0 && (size_t)n <= s.n && v.p == s.p && v.end == s.p + n);
	return n > 0;
}

static bool takes(const char *s, unsigned *seen)
{
	return accepts(at_edge(s, strlen(s)), seen);
}

static const char *error_of(const char *s, const struct ben_limits *lim)
{
	struct ben_error e = { "none", 0 };

	return ben_check(at_edge(s, strlen(s)), lim, NULL, NULL, &e) < 0 ? e.what : "accepted";
}

/* Writes a checked value again, from what the reader says it holds. */
static void rewrite(struct buf *b, struct ben v)
{
	struct ben_it it;
	struct slice key, s;
	struct ben val;
	int64_t i;

	if (ben_int(v, &i)) {
		ben_put_int(b, i);
	} else if (ben_str(v, &s)) {
		ben_put_bytes(b, s.p, s.n);
	} else {
		if (ben_type(v) == BEN_DICT)
			ben_open_dict(b);
		else
			ben_open_list(b);
		for (ben_iter(v, &it); ben_next(&it, &key, &val);) {
			if (it.dict)
				ben_put_bytes(b, key.p, key.n);
			rewrite(b, val);
		}
		ben_close(b);
	}
}

static bool same_again(struct slice in)
{
	struct buf b;
	struct ben v;
	bool same;

	if (ben_check(in, &BEN_TORRENT, &v, NULL, NULL) < 0)
		return false;
	buf_init(&b, EDGE_SIZE);
	rewrite(&b, v);
	same = !b.failed && slice_eq(slice_of(b.p, b.n), ben_raw(v));
	buf_release(&b);
	return same;
}

/* What bt decides where clients differ:
 * soft       unsorted and duplicate keys are reported, and the caller judges:
 *            old makers of torrents didn't sort. Leading zeros are refused: no
 *            real torrent has them, and without them a number has one spelling.
 * strict-reject, ok-lazy  refused: -0, and integers past 64 bits.
 * ok-or-limit             accepted: far below our limit of tokens.
 * policy                  the value is accepted and its length told; bytes
 *                         behind it are the caller's business. */
static bool decide(const char *expect, const char *note)
{
	if (strcmp(expect, "soft") == 0)
		return strstr(note, "unsorted") || strstr(note, "duplicate");
	return strcmp(expect, "ok") == 0 || strcmp(expect, "ok-or-limit") == 0 ||
	       strcmp(expect, "policy") == 0;
}

static void vectors(void)
{
	FILE *f = fopen("test/vectors/bdecode.tsv", "r");
	static char line[30000];
	static uint8_t raw[sizeof(line) / 2];
	int rows = 0;

	CHECK(f != NULL);
	while (f && fgets(line, sizeof(line), f)) {
		char *hex = strchr(line, '\t'), *expect = hex ? strchr(hex + 1, '\t') : NULL;
		char *note = expect ? strchr(expect + 1, '\t') : NULL;
		struct slice in;
		bool want;

		if (!note || rows++ == 0) /* the first row is the heading */
			continue;
		*hex++ = *expect++ = *note++ = 0;
		/* anacrolix's seeds with leading zeros carry no other note */
		want = decide(expect, note);
		in = slice_of(raw, strlen(hex) / 2);
		CHECK(hex_decode(raw, in.n, slice_str(hex)));
		in = at_edge(in.p, in.n);
		if (accepts(in, NULL) != want)
			printf("vector %s: expected %s\n", line, want ? "accepted" : "refused");
		CHECK(accepts(in, NULL) == want);
		if (want)
			CHECK(same_again(in));
		/* no prefix of one value is a value */
		for (size_t n = 0; want && n < in.n && strcmp(expect, "policy") != 0; n++)
			if (accepts(at_edge(raw, n), NULL))
				CHECK(false && "prefix refused");
	}
	CHECK(rows > 50);
	if (f)
		fclose(f);
}

static void exactness(void)
{
	unsigned seen = 99;

	CHECK(takes("i0e", &seen) && seen == 0);
	CHECK(takes("i-1e", NULL) && !takes("i-01e", NULL) && !takes("i-0e", NULL) && !takes("i-e", NULL));
	CHECK(takes("i9223372036854775807e", NULL) && !takes("i9223372036854775808e", NULL));
	CHECK(takes("i-9223372036854775808e", NULL) && !takes("i-9223372036854775809e", NULL));
	CHECK(!takes("i18446744073709551616e", NULL) && !takes("i 1e", NULL) && !takes("i+1e", NULL) &&
	      !takes("i1 e", NULL) && !takes("i--1e", NULL));
	CHECK(takes("0:", NULL) && !takes("00:", NULL) && !takes("01:a", NULL) && !takes("0", NULL) &&
	      !takes("0x", NULL));
	CHECK(takes("1:ab", NULL)); /* the b is the caller's */
	CHECK(!takes("4294967296:a", NULL) && !takes("18446744073709551616:a", NULL) &&
	      !takes("18446744073709551617:a", NULL) && !takes("4294967297:a", NULL) &&
	      !takes("99999999999999999999999999:a", NULL));
	CHECK(takes("le", NULL) && takes("de", NULL) && takes("d1:ale1:bdee", NULL));
	CHECK(!takes("di1ei2ee", NULL) && !takes("dlei2ee", NULL) && !takes("d1:ae", NULL) &&
	      !takes("d1:ai1e1:be", NULL));
	CHECK(!takes("e", NULL) && !takes("x", NULL) && !takes("", NULL) && !takes("-1:a", NULL) &&
	      !takes("l", NULL));
	CHECK(!takes("ld1:aee", NULL) && !takes("d1:aled1:bee", NULL));

	CHECK(takes("d1:ai1e1:bi2ee", &seen) && seen == 0);
	CHECK(takes("d1:bi1e1:ai2ee", &seen) && seen == BEN_UNSORTED);
	CHECK(takes("d1:ai1e1:ai2ee", &seen) && seen == BEN_DUP_KEY);
	CHECK(takes("d1:bi1e1:ai2e1:ai3ee", &seen) && seen == (BEN_UNSORTED | BEN_DUP_KEY));
	CHECK(takes("d0:i1e1:ai2e2:aai3ee", &seen) && seen == 0);
	CHECK(takes("d0:i1e0:i2ee", &seen) && seen == BEN_DUP_KEY);
	CHECK(takes("d1:ad1:zi1ee1:bi2ee", &seen) && seen == 0); /* inner keys don't count outside */
	CHECK(takes("d1:bd1:ai1ee1:ai2ee", &seen) && seen == BEN_UNSORTED);
	CHECK(takes("ld1:bi1eed1:ai1eee", &seen) && seen == 0); /* nor one dictionary's in the next */
	CHECK(takes("d1:ad1:bi1e1:ai1eee", &seen) && seen == BEN_UNSORTED);

	CHECK(strcmp(error_of("i01e", &BEN_TORRENT), "leading zero in integer") == 0);
	CHECK(strcmp(error_of("d1:ae", &BEN_TORRENT), "key without value") == 0);
	CHECK(strcmp(error_of("li1e", &BEN_TORRENT), "truncated") == 0);
	CHECK(strcmp(error_of("i1", &BEN_TORRENT), "truncated integer") == 0);
	CHECK(strcmp(error_of("12", &BEN_TORRENT), "truncated string length") == 0);
}

static void limits(void)
{
	struct ben_limits lim = { .depth = 3, .tokens = 5 };
	char bomb[2 * BEN_MAX_DEPTH + 10];

	CHECK(strcmp(error_of("llleee", &lim), "accepted") == 0);
	CHECK(strcmp(error_of("lllleeee", &lim), "nested too deep") == 0);
	CHECK(strcmp(error_of("l0:0:0:0:e", &lim), "accepted") == 0);
	CHECK(strcmp(error_of("l0:0:0:0:0:e", &lim), "too many values") == 0);
	CHECK(strcmp(error_of("d0:0:1:a0:e", &lim), "accepted") == 0);
	CHECK(strcmp(error_of("d0:0:1:a0:1:b0:e", &lim), "too many values") == 0);
	lim.depth = 0;
	CHECK(strcmp(error_of("i1e", &lim), "accepted") == 0);
	CHECK(strcmp(error_of("le", &lim), "nested too deep") == 0);
	/* no limit of a caller's goes past what the walk has room for */
	lim.depth = lim.tokens = UINT32_MAX;
	memset(bomb, 'l', BEN_MAX_DEPTH);
	memset(bomb + BEN_MAX_DEPTH, 'e', BEN_MAX_DEPTH);
	bomb[2 * BEN_MAX_DEPTH] = 0;
	CHECK(strcmp(error_of(bomb, &lim), "accepted") == 0);
	memset(bomb, 'l', BEN_MAX_DEPTH + 1);
	CHECK(strcmp(error_of(bomb, &lim), "nested too deep") == 0);
}

static struct ben parse(const char *s)
{
	struct ben v;

	CHECK(ben_check(at_edge(s, strlen(s)), &BEN_TORRENT, &v, NULL, NULL) == (ptrdiff_t)strlen(s));
	return v;
}

static void views(void)
{
	struct ben v, none = { NULL, NULL };
	struct ben_it it;
	struct slice s, key;
	int64_t i = 0;

	v = parse("d1:ai-5e1:b3:xyz1:cl1:p1:qe1:dd1:ai7ee1:ei1ee");
	CHECK(ben_type(v) == BEN_DICT && ben_type(none) == BEN_NONE);
	CHECK(ben_get_int(v, "a", &i) && i == -5 && !ben_get_str(v, "a", &s));
	CHECK(ben_get_str(v, "b", &s) && slice_is(s, "xyz") && !ben_get_int(v, "b", &i));
	CHECK(ben_type(ben_get(v, "c")) == BEN_LIST && ben_type(ben_get(v, "d")) == BEN_DICT);
	CHECK(ben_get_int(ben_get(v, "d"), "a", &i) && i == 7);
	CHECK(ben_type(ben_get(v, "p")) == BEN_NONE && ben_type(ben_get(v, "")) == BEN_NONE);
	CHECK(slice_is(ben_raw(ben_get(v, "d")), "d1:ai7ee"));
	CHECK(ben_type(ben_get(ben_get(v, "c"), "p")) == BEN_NONE);
	CHECK(ben_type(ben_get(none, "p")) == BEN_NONE && !ben_get_int(none, "a", &i));

	ben_iter(ben_get(v, "c"), &it);
	CHECK(ben_next(&it, &key, &v) && key.n == 0 && ben_str(v, &s) && slice_is(s, "p"));
	CHECK(ben_next(&it, &key, &v) && ben_str(v, &s) && slice_is(s, "q"));
	CHECK(!ben_next(&it, &key, &v) && !ben_next(&it, &key, &v) && ben_type(v) == BEN_NONE);
	ben_iter(parse("3:abc"), &it);
	CHECK(!ben_next(&it, &key, &v));
	ben_iter(none, &it);
	CHECK(!ben_next(&it, &key, &v));
	/* the first of equal keys is the one found */
	CHECK(ben_get_int(parse("d1:ai1e1:ai2ee"), "a", &i) && i == 1);
	CHECK(ben_int(parse("i-9223372036854775808e"), &i) && i == INT64_MIN);
}

static void random_value(struct buf *b, int depth)
{
	uint8_t bytes[12];
	uint32_t n = random_below(sizeof(bytes)), kind = random_below(depth ? 4 : 2);
	int64_t i;

	random_bytes(bytes, sizeof(bytes));
	memcpy(&i, bytes, sizeof(i));
	if (kind == 0) {
		ben_put_int(b, i >> random_below(64));
	} else if (kind == 1) {
		ben_put_bytes(b, bytes, n);
	} else if (kind == 2) {
		ben_open_list(b);
		while (n--)
			random_value(b, depth - 1);
		ben_close(b);
	} else {
		ben_open_dict(b);
		for (uint32_t k = 0; k < n; k++) {
			uint8_t key[2] = { (uint8_t)(k * 20), bytes[k] };

			ben_put_bytes(b, key, sizeof(key));
			random_value(b, depth - 1);
		}
		ben_close(b);
	}
}

static void writer(void)
{
	struct buf b;

	buf_init(&b, EDGE_SIZE);
	ben_open_dict(&b);
	ben_put_str(&b, "a");
	ben_put_int(&b, INT64_MIN);
	ben_put_str(&b, "b");
	ben_open_list(&b);
	ben_put_raw(&b, slice_str("le"));
	ben_put_bytes(&b, NULL, 0);
	ben_close(&b);
	ben_close(&b);
	CHECK(slice_is(slice_of(b.p, b.n), "d1:ai-9223372036854775808e1:blle0:ee"));

	for (int round = 0; round < 3000; round++) {
		unsigned seen = 99;
		struct slice in;

		buf_clear(&b);
		random_value(&b, 4);
		if (b.failed)
			continue;
		in = at_edge(b.p, b.n);
		if (ben_check(in, &BEN_TORRENT, NULL, &seen, NULL) != (ptrdiff_t)in.n || seen != 0 ||
		    !same_again(in))
			CHECK(false && "what the writer writes is canonical");
		if (in.n < 400)
			for (size_t n = 0; n < in.n; n++)
				if (accepts(slice_of(b.p, n), NULL))
					CHECK(false && "prefix refused");
	}
	buf_release(&b);
}

int main(void)
{
	vectors();
	exactness();
	limits();
	views();
	writer();
	return test_done();
}
