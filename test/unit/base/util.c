/* SPDX-License-Identifier: MIT */
/* Tests of base/util.c and of the inline tools of base.h. */
#include "base/base.h"
#include "test/test.h"

#include <sys/mman.h>
#include <unistd.h>

/* s at the very end of a page with an unreadable one behind it: a read too far
 * is a fault. The map stays until the program ends. */
static struct slice at_edge(const void *s, size_t n)
{
	static uint8_t *edge;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!edge) {
		uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + page, page, PROT_NONE))
			exit(1);
		edge = p + page;
	}
	if (n)
		memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

static void utf8(void)
{
	static const struct {
		const char *in;
		uint32_t code;
		size_t used;
	} good_and_bad[] = {
		{ "a", 'a', 1 },
		{ "\x7f", 0x7f, 1 },
		{ "\xc2\x80", 0x80, 2 },
		{ "\xdf\xbf", 0x7ff, 2 },
		{ "\xe0\xa0\x80", 0x800, 3 },
		{ "\xed\x9f\xbf", 0xd7ff, 3 },
		{ "\xef\xbf\xbf", 0xffff, 3 },
		{ "\xf0\x90\x80\x80", 0x10000, 4 },
		{ "\xf4\x8f\xbf\xbf", 0x10ffff, 4 },
		{ "\x80", UTF8_BAD, 1 },
		{ "\xc0\xaf", UTF8_BAD, 1 }, /* overlong '/' */
		{ "\xc1\xbf", UTF8_BAD, 1 },
		{ "\xe0\x80\xaf", UTF8_BAD, 1 }, /* overlong '/' */
		{ "\xed\xa0\x80", UTF8_BAD, 1 }, /* surrogate */
		{ "\xf0\x80\x80\xaf", UTF8_BAD, 1 },
		{ "\xf4\x90\x80\x80", UTF8_BAD, 1 }, /* past U+10FFFF */
		{ "\xf5\x80\x80\x80", UTF8_BAD, 1 },
		{ "\xff", UTF8_BAD, 1 },
		{ "\xc2", UTF8_BAD, 1 },
		{ "\xe2\x82", UTF8_BAD, 2 },
		{ "\xe2\x82x", UTF8_BAD, 2 },
		{ "\xf0\x9f\x98", UTF8_BAD, 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(good_and_bad); i++) {
		struct slice s = at_edge(good_and_bad[i].in, strlen(good_and_bad[i].in));
		struct cur c = cur_of(s);

		CHECK(utf8_next(&c) == good_and_bad[i].code);
		CHECK((size_t)(c.p - s.p) == good_and_bad[i].used);
	}
	for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 37) {
		uint8_t u[4];
		size_t n = utf8_put(u, code);
		struct cur c = cur_of(at_edge(u, n));
		uint32_t got = utf8_next(&c);

		if (got != code && (code < 0xd800 || code > 0xdfff))
			CHECK(false && "round trip");
		if (code >= 0xd800 && code <= 0xdfff && got != UTF8_BAD)
			CHECK(false && "surrogate refused");
	}
}

static bool escapes(const char *in, size_t n, const char *want)
{
	char out[64];

	return strcmp(text_escape(out, sizeof(out), at_edge(in, n)), want) == 0;
}

static void escape(void)
{
	char out[8];

	CHECK(escapes("plain", 5, "plain"));
	CHECK(escapes("", 0, ""));
	CHECK(escapes("a\nb\x1b[2Jc\0d\x7f", 11, "a?b?[2Jc?d?"));
	CHECK(escapes("\xc2\x9b"
		      "2J",
		      4, "?2J")); /* C1 CSI */
	CHECK(escapes("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f"));
	CHECK(escapes("\xff\xc3", 2, "??"));
	CHECK(escapes("x\xe2\x80\xaegpj.exe", 11, "x?gpj.exe"));
	CHECK(escapes("x\xe2\x81\xa6y\xef\xbb\xbfz", 9, "x?y?z"));
	/* cut between characters, always terminated */
	CHECK(strcmp(text_escape(out, 4, slice_str("abcdef")), "abc") == 0);
	CHECK(strcmp(text_escape(out, 4, slice_str("ab\xc3\xbc")), "ab") == 0);
	CHECK(strcmp(text_escape(out, 5, slice_str("ab\xc3\xbc")), "ab\xc3\xbc") == 0);
	CHECK(strcmp(text_escape(out, 1, slice_str("abc")), "") == 0);
	out[0] = 'k';
	CHECK(text_escape(out, 0, slice_str("abc")) == out && out[0] == 'k');
}

static bool json_is(const char *in, size_t n, const char *want)
{
	struct buf b;
	bool same;

	buf_init(&b, 1000);
	text_json(&b, at_edge(in, n));
	same = slice_is(slice_of(b.p, b.n), want);
	buf_release(&b);
	return same;
}

static void json(void)
{
	CHECK(json_is("", 0, ""));
	CHECK(json_is("a\"b\\c/", 6, "a\\\"b\\\\c/"));
	CHECK(json_is("\n\t\r\0\x1b", 5, "\\n\\t\\u000d\\u0000\\u001b"));
	CHECK(json_is("\xc3\xbc\xf0\x9f\x98\x80", 6, "\xc3\xbc\xf0\x9f\x98\x80"));
	CHECK(json_is("a\xff"
		      "b\xe2\x82",
		      5,
		      "a\xef\xbf\xbd"
		      "b\xef\xbf\xbd"));
	CHECK(json_is("\xc2\x9b\xe2\x80\xae\xe2\x80\xa8", 8, "\\u009b\\u202e\\u2028"));
}

static void numbers(void)
{
	uint8_t raw[4] = { 0x00, 0x1f, 0xab, 0xff }, back[4];
	char hex[9];
	uint64_t v = 7;

	hex_encode(hex, raw, 4);
	CHECK(strcmp(hex, "001fabff") == 0);
	CHECK(hex_decode(back, 4, slice_str("001FabFf")) && memcmp(raw, back, 4) == 0);
	CHECK(!hex_decode(back, 4, slice_str("001FabF")));
	CHECK(!hex_decode(back, 4, slice_str("001FabFg")));
	CHECK(!hex_decode(back, 4, slice_str("001FabFf0")));
	CHECK(!hex_decode(back, 4, slice_str("001FabFf00")));
	CHECK(!hex_decode(back, 4,
			  slice_str("00\x11\x46"
				    "abFf")));
	CHECK(hex_decode(back, 0, slice_of(NULL, 0)));

	CHECK(parse_u64(at_edge("0", 1), 0, &v) && v == 0);
	CHECK(parse_u64(at_edge("65535", 5), 65535, &v) && v == 65535);
	CHECK(parse_u64(at_edge("18446744073709551615", 20), UINT64_MAX, &v) && v == UINT64_MAX);
	v = 7;
	CHECK(!parse_u64(at_edge("18446744073709551616", 20), UINT64_MAX, &v));
	CHECK(!parse_u64(at_edge("99999999999999999999", 20), UINT64_MAX, &v));
	CHECK(!parse_u64(at_edge("65536", 5), 65535, &v));
	CHECK(!parse_u64(at_edge("", 0), 10, &v));
	CHECK(!parse_u64(at_edge("-1", 2), 10, &v));
	CHECK(!parse_u64(at_edge("+1", 2), 10, &v));
	CHECK(!parse_u64(at_edge(" 1", 2), 10, &v));
	CHECK(!parse_u64(at_edge("1 ", 2), 10, &v));
	CHECK(!parse_u64(at_edge("1a", 2), 10, &v));
	CHECK(v == 7);
}

static void cursors(void)
{
	struct cur c = cur_of(at_edge("\1\2\3\4\5\6\7", 7));
	struct slice s;
	uint8_t b = 0;
	uint16_t h = 0;
	uint32_t w = 0;
	uint8_t out[8];

	CHECK(cur_u32(&c, &w) && w == 0x01020304 && cur_left(&c) == 3);
	CHECK(!cur_u32(&c, &w) && cur_left(&c) == 3);
	CHECK(!cur_bytes(&c, SIZE_MAX, &s) && cur_left(&c) == 3);
	CHECK(cur_u16(&c, &h) && h == 0x0506);
	CHECK(!cur_u16(&c, &h));
	CHECK(cur_u8(&c, &b) && b == 7 && !cur_u8(&c, &b));
	CHECK(cur_bytes(&c, 0, &s) && s.n == 0);
	c = cur_of(slice_of(NULL, 0));
	CHECK(cur_left(&c) == 0 && !cur_u8(&c, &b));
	put_u64(out, 0x0102030405060708u);
	CHECK(memcmp(out, "\1\2\3\4\5\6\7\10", 8) == 0 && get_u64(out) == 0x0102030405060708u);
	CHECK(get_u32((const uint8_t *)"\xff\xff\xff\xfe") == 0xfffffffeu);
	CHECK(get_u16((const uint8_t *)"\xff\xfe") == 0xfffe);
	CHECK(slice_is(slice_str("ab"), "ab") && !slice_is(slice_str("ab"), "abc") &&
	      slice_is(slice_of(NULL, 0), ""));
}

static void bits(void)
{
	uint8_t b[3] = { 0 };

	CHECK(bits_len(0) == 0 && bits_len(1) == 1 && bits_len(8) == 1 && bits_len(9) == 2);
	CHECK(bits_len(UINT32_MAX) == 0x20000000);
	bit_set(b, 0);
	bit_set(b, 9);
	bit_set(b, 23);
	CHECK(b[0] == 0x80 && b[1] == 0x40 && b[2] == 0x01);
	CHECK(bit_get(b, 9) && !bit_get(b, 8));
	CHECK(bits_count(b, 24) == 3 && bits_count(b, 23) == 2 && bits_count(b, 9) == 1 &&
	      bits_count(b, 0) == 0);
	CHECK(bits_spare_clear(b, 24) && !bits_spare_clear(b, 23) && bits_spare_clear(b, 16) &&
	      bits_spare_clear(b, 10) && !bits_spare_clear(b, 9) && bits_spare_clear(b, 0));
	bit_clear(b, 9);
	CHECK(b[1] == 0);
}

static void memory(void)
{
	uint32_t *a = alloc_array(3, sizeof(*a));
	size_t cap = 0;
	void *p = NULL;

	CHECK(a && a[0] == 0 && a[2] == 0);
	free(a);
	CHECK(!alloc_array(SIZE_MAX / 2, 3));
	a = alloc_array(0, 8);
	CHECK(a != NULL);
	free(a);
	CHECK(grow_array(&p, &cap, 0, 8) && !p);
	CHECK(grow_array(&p, &cap, 1, 8) && p && cap >= 1);
	for (size_t n = 2; n < 1000; n++)
		if (!grow_array(&p, &cap, n, 8) || cap < n || cap > 2 * n + 8)
			CHECK(false && "grows by doubling");
	CHECK(!grow_array(&p, &cap, SIZE_MAX / 4, 8) && cap >= 999 && cap < 2100);
	free(p);
}

static void lists(void)
{
	struct list head, a, b, c;

	list_init(&head);
	list_init(&a);
	list_init(&b);
	list_init(&c);
	CHECK(list_empty(&head) && !list_linked(&a));
	list_push_back(&head, &b);
	list_push_front(&head, &a);
	list_insert_before(&head, &c);
	CHECK(head.next == &a && a.next == &b && b.next == &c && c.next == &head && head.prev == &c);
	list_remove(&b);
	list_remove(&b);
	CHECK(!list_linked(&b) && a.next == &c && c.prev == &a);
}

static void chance(void)
{
	uint8_t x[32] = { 0 }, y[32] = { 0 };
	uint32_t hits[6] = { 0 };

	random_bytes(x, sizeof(x));
	random_bytes(y, sizeof(y));
	random_bytes(y, 0);
	CHECK(memcmp(x, y, sizeof(x)) != 0);
	for (int i = 0; i < 60000; i++) {
		uint32_t r = random_below(6);

		if (r >= 6)
			CHECK(false && "below n");
		else
			hits[r]++;
	}
	for (int i = 0; i < 6; i++)
		CHECK(hits[i] > 9000 && hits[i] < 11000);
	CHECK(random_below(1) == 0);
}

static void crc(void)
{
	uint8_t b[32];
	uint32_t whole;

	/* RFC 3720 B.4 */
	memset(b, 0, 32);
	CHECK(crc32c(0, b, 32) == 0x8a9136aa);
	memset(b, 0xff, 32);
	CHECK(crc32c(0, b, 32) == 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	CHECK(crc32c(0, b, 32) == 0x46dd794e);
	CHECK(crc32c(0, "123456789", 9) == 0xe3069283);
	CHECK(crc32c(0, b, 0) == 0);
	whole = crc32c(0, b, 32);
	for (size_t i = 0; i <= 32; i++)
		CHECK(crc32c(crc32c(0, b, i), b + i, 32 - i) == whole);
}

int main(void)
{
	utf8();
	escape();
	json();
	numbers();
	cursors();
	bits();
	memory();
	lists();
	chance();
	crc();
	return test_done();
}
