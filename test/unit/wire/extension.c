/* SPDX-License-Identifier: MIT */
/* extension.c (test) - extended hellos of real and hostile clients. */
#include "test/test.h"
#include "wire/wire.h"
#include "bencode.h"
#include "guard.h"

static struct guard guard;

static int parse_n(const void *p, size_t n, struct ext_hello *h)
{
	return ext_hello_parse(guard_copy(&guard, p, n), h);
}
static int parse(const char *text, struct ext_hello *h)
{
	return parse_n(text, strlen(text), h);
}

static void ours(void)
{
	struct buf b;
	struct addr a;
	struct ext_hello h = { 0 };
	struct wire_msg m;
	const struct wire_limits lim = { 1, 1, 1 };
	size_t need;
	const char *why;
	CHECK(addr_parse(&a, slice_str("1.2.3.4:5")));
	struct ext_hello_out o = { .client = "bt 0.1.0",
				   .port = 6881,
				   .reqq = 500,
				   .upload_only = true,
				   .metadata_size = 31337,
				   .peer = &a };
	buf_init(&b, 4096);
	buf_puts(&b, "xyz"); /* something is queued already */
	ext_put_hello(&b, &o);
	CHECK(!b.failed);
	CHECK(wire_next(slice_of(b.p + 3, b.n - 3), &lim, &m, &need, &why) == (int)b.n - 3);
	CHECK(m.type == WIRE_EXTENDED && m.ext_id == EXT_HANDSHAKE);
	unsigned seen;
	struct ben d;
	struct ben_error e;
	CHECK(ben_check(m.payload, &BEN_MESSAGE, &d, &seen, &e) == (ptrdiff_t)m.payload.n && seen == 0);
	CHECK(ext_hello_parse(m.payload, &h) == 0);
	CHECK(h.donthave == EXT_DONTHAVE && h.metadata == 0 && h.pex == 0 && h.upload_only);
	CHECK(h.reqq == 500 && h.port == 6881 && h.metadata_size == 31337);
	CHECK(strcmp(h.client, "bt 0.1.0") == 0);
	CHECK(addr_same_ip(&h.yourip, &a) && h.yourip.port == 0);

	/* every prefix of it is malformed */
	for (size_t n = 0; n < m.payload.n; n++)
		CHECK(parse_n(m.payload.p, n, &h) == -1);

	CHECK(addr_parse(&a, slice_str("[2001:db8::7]:5")));
	struct ext_hello_out o6 = { .client = "x", .reqq = 1, .peer = &a };
	buf_clear(&b);
	ext_put_hello(&b, &o6);
	memset(&h, 0, sizeof(h));
	CHECK(ext_hello_parse(slice_of(b.p + 6, b.n - 6), &h) == 0);
	CHECK(addr_same_ip(&h.yourip, &a) && h.port == 0 && h.metadata_size == 0 && !h.upload_only);
	buf_release(&b);
	buf_init(&b, 20); /* too small: failed, and nothing written where it isn't */
	ext_put_hello(&b, &o);
	CHECK(b.failed);
	buf_release(&b);
}

static void theirs(void)
{
	struct ext_hello h = { 0 };
	/* as libtorrent sends it */
	CHECK(parse("d12:complete_agoi1e1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e12:ut_"
		    "holepunchi4e"
		    "11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei2037e4:reqqi500e11:upload_onlyi1e"
		    "1:v17:libtorrent/2.0.8.6:yourip4:\x7f\x01\x01\x01"
		    "e",
		    &h) == 0);
	CHECK(h.donthave == 7 && h.metadata == 2 && h.pex == 1 && h.reqq == 500 && h.upload_only);
	CHECK(h.metadata_size == 2037 && strcmp(h.client, "libtorrent/2.0.8.") == 0);
	CHECK(h.yourip.ip[0] == 127 && h.yourip.v6 == 0 && h.port == 0);
	/* a later hello changes only what it names; 0 switches off */
	CHECK(parse("d1:md6:ut_pexi0eee", &h) == 0);
	CHECK(h.pex == 0 && h.donthave == 7 && h.metadata == 2 && h.reqq == 500 && h.upload_only);
	CHECK(parse("de", &h) == 0 && h.donthave == 7);
	CHECK(parse("d11:upload_onlyi0ee", &h) == 0 && !h.upload_only);
	CHECK(parse("d6:yourip16:\x20\x01\x0d\xb8............e", &h) == 0 && h.yourip.v6 &&
	      h.yourip.ip[3] == 0xb8);
	uint8_t mapped[] = "d6:yourip16:..........\xff\xff\x01\x02\x03\x04"
			   "e";
	memset(mapped + 12, 0, 10);
	CHECK(parse_n(mapped, sizeof(mapped) - 1, &h) == 0 && !h.yourip.v6 && h.yourip.ip[3] == 4 &&
	      h.yourip.ip[4] == 0);
}

/* A string where a number should be and the other way round, for every key. */
static void confused_types(void)
{
	static const char *const values[] = { "i5e",
					      "1:x",
					      "le",
					      "de",
					      "li1ei2ee",
					      "d1:ai1ee",
					      "0:",
					      "i-1e",
					      "i9223372036854775807e",
					      "i-9223372036854775808e",
					      "i0e" };
	static const char *const keys[] = {
		"1:m", "1:p", "1:v", "4:reqq", "6:yourip", "11:upload_only", "13:metadata_size"
	};
	static const char *const names[] = { "11:lt_donthave", "11:ut_metadata", "6:ut_pex" };
	char text[128];
	for (size_t v = 0; v < ARRAY_LEN(values); v++) {
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			struct ext_hello h = { 0 };
			snprintf(text, sizeof(text), "d%s%se", keys[k], values[v]);
			CHECK(parse(text, &h) == 0);
			CHECK(h.donthave == 0 && h.metadata == 0 && h.pex == 0);
			CHECK(h.reqq <= 5000 && h.metadata_size <= 64u << 20 && strlen(h.client) <= 1 &&
			      h.yourip.ip[0] == 0);
		}
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			struct ext_hello h = { 0 };
			snprintf(text, sizeof(text), "d1:md%s%see", names[k], values[v]);
			CHECK(parse(text, &h) == 0);
			CHECK(h.donthave + h.metadata + h.pex == (v == 0 ? 5 : 0));
		}
	}
}

static void bounds(void)
{
	struct ext_hello h = { 0 };
	CHECK(parse("d4:reqqi5000ee", &h) == 0 && h.reqq == 5000);
	CHECK(parse("d4:reqqi5001ee", &h) == 0 && h.reqq == 5000);
	CHECK(parse("d4:reqqi0ee", &h) == 0 && h.reqq == 1);
	CHECK(parse("d4:reqqi-7ee", &h) == 0 && h.reqq == 1);
	CHECK(parse("d1:pi65535ee", &h) == 0 && h.port == 65535);
	CHECK(parse("d1:pi65536ee", &h) == 0 && h.port == 65535);
	CHECK(parse("d1:pi0ee", &h) == 0 && h.port == 65535);
	CHECK(parse("d13:metadata_sizei2147483648ee", &h) == 0 && h.metadata_size == 0);
	CHECK(parse("d13:metadata_sizei67108864ee", &h) == 0 && h.metadata_size == 67108864);
	CHECK(parse("d1:md6:ut_pexi255eee", &h) == 0 && h.pex == 255);
	CHECK(parse("d1:md6:ut_pexi256eee", &h) == 0 && h.pex == 255);
	CHECK(parse("d6:yourip5:12345e", &h) == 0 && h.yourip.ip[0] == 0);
	CHECK(parse("d1:v3:\x1b[me", &h) == 0 && strchr(h.client, 0x1b) == NULL);
	CHECK(parse("d1:v0:e", &h) == 0 && h.client[0] != 0);

	CHECK(parse("", &h) == -1);
	CHECK(parse("i1e", &h) == -1);
	CHECK(parse("le", &h) == -1);
	CHECK(parse("de ", &h) == -1);
	CHECK(parse("d4:reqqi05ee", &h) == -1);
	CHECK(parse("d4:reqqi-0ee", &h) == -1);
	CHECK(parse("di1ei2ee", &h) == -1);
	CHECK(parse("d1:v99999999999:xe", &h) == -1);
}

#define BOMB_MAX (1u << 20) /* more than wire_next gives out */

static void bombs(void)
{
	struct ext_hello h = { 0 };
	struct buf b;
	buf_init(&b, BOMB_MAX);
	buf_puts(&b, "d1:v100000:"); /* a client name of 100 KB is cut */
	for (int i = 0; i < 100000; i++)
		buf_u8(&b, 'x');
	buf_puts(&b, "e");
	CHECK(parse_n(b.p, b.n, &h) == 0 && strlen(h.client) == sizeof(h.client) - 1);
	buf_clear(&b);
	buf_puts(&b, "d1:md"); /* 10^5 extensions */
	for (int i = 0; i < 100000; i++)
		buf_printf(&b, "5:%05di1e", i);
	buf_puts(&b, "ee");
	CHECK(!b.failed && parse_n(b.p, b.n, &h) == -1);
	buf_clear(&b);
	buf_puts(&b, "d1:m"); /* depth */
	for (int i = 0; i < 400000; i++)
		buf_u8(&b, 'l');
	CHECK(parse_n(b.p, b.n, &h) == -1);
	for (int i = 0; i < 400000; i++)
		buf_u8(&b, 'e');
	buf_puts(&b, "e");
	CHECK(!b.failed && parse_n(b.p, b.n, &h) == -1);
	buf_release(&b);
}

static void donthave(void)
{
	struct buf b;
	uint32_t index;
	struct wire_msg m;
	const struct wire_limits lim = { 10, 1, 10 };
	size_t need;
	const char *why;
	buf_init(&b, 100);
	ext_put_donthave(&b, 9, 3);
	CHECK(wire_next(slice_of(b.p, b.n), &lim, &m, &need, &why) == 10);
	CHECK(m.type == WIRE_EXTENDED && m.ext_id == 9);
	CHECK(ext_donthave_parse(m.payload, 10, &index) && index == 3);
	CHECK(!ext_donthave_parse(m.payload, 3, &index));
	for (size_t n = 0; n < 4; n++)
		CHECK(!ext_donthave_parse(guard_copy(&guard, m.payload.p, n), 10, &index));
	CHECK(!ext_donthave_parse(slice_of("\0\0\0\1\0", 5), 10, &index));
	CHECK(!ext_donthave_parse(slice_of("\xff\xff\xff\xff", 4), 10, &index));
	buf_release(&b);
}

int main(void)
{
	guard_init(&guard, BOMB_MAX);
	ours();
	theirs();
	confused_types();
	bounds();
	bombs();
	donthave();
	guard_release(&guard);
	return test_done();
}
