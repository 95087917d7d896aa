/* SPDX-License-Identifier: MIT */
/* wire.c (test) - messages: each there and back, all bounds from both sides,
 * every prefix, one byte at a time, random bytes. */
#include "test/test.h"
#include "wire/wire.h"
#include "guard.h"

/* 19 pieces of 32 KiB and a last one of 1000 bytes */
static const struct wire_limits lim = { 20, 32768, 19 * 32768 + 1000 };
static struct guard guard;

static int next(struct slice in, struct wire_msg *m)
{
	size_t need;
	const char *why = NULL;
	int n = wire_next(guard_copy(&guard, in.p, in.n), &lim, m, &need, &why);
	CHECK((n == -1) == (why != NULL));
	CHECK(n != 0 || need > in.n);
	CHECK(n <= 0 || (size_t)n <= in.n);
	return n;
}

/* Takes b's bytes for one message; all shorter prefixes must want more. */
static struct wire_msg whole(struct buf *b)
{
	struct wire_msg m;
	CHECK(!b->failed);
	for (size_t n = 0; n < b->n; n++)
		CHECK(next(slice_of(b->p, n), &m) == 0);
	CHECK(next(slice_of(b->p, b->n), &m) == (int)b->n);
	buf_u8(b, 99); /* the next message's first byte changes nothing */
	CHECK(next(slice_of(b->p, b->n), &m) == (int)b->n - 1);
	buf_clear(b);
	return m;
}

static bool refused(struct buf *b)
{
	struct wire_msg m;
	bool yes = next(slice_of(b->p, b->n), &m) == -1;
	buf_clear(b);
	return yes;
}

static void there_and_back(struct buf *b)
{
	static const enum wire_type simple[] = { WIRE_CHOKE, WIRE_UNCHOKE, WIRE_INTERESTED, WIRE_NOT_INTERESTED,
						 WIRE_HAVE_ALL, WIRE_HAVE_NONE, WIRE_KEEP_ALIVE };
	static const enum wire_type index[] = { WIRE_HAVE, WIRE_SUGGEST, WIRE_ALLOWED_FAST };
	static const enum wire_type block[] = { WIRE_REQUEST, WIRE_CANCEL, WIRE_REJECT };
	struct wire_msg m;
	for (size_t i = 0; i < ARRAY_LEN(simple); i++) {
		wire_put_simple(b, simple[i]);
		CHECK(whole(b).type == simple[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(index); i++) {
		wire_put_index(b, index[i], 19);
		m = whole(b);
		CHECK(m.type == index[i] && m.index == 19);
	}
	wire_put_have(b, 0);
	m = whole(b);
	CHECK(m.type == WIRE_HAVE && m.index == 0);
	for (size_t i = 0; i < ARRAY_LEN(block); i++) {
		wire_put_block(b, block[i], 18, 16384, 16384);
		m = whole(b);
		CHECK(m.type == block[i] && m.index == 18 && m.begin == 16384 && m.len == 16384);
	}
	const uint8_t bits[3] = { 0xa5, 0x0f, 0x70 };
	wire_put_bitfield(b, bits, 20);
	m = whole(b);
	CHECK(m.type == WIRE_BITFIELD && m.payload.n == 3);
	wire_put_extended(b, 3, slice_str("d1:ai1ee"));
	m = whole(b);
	CHECK(m.type == WIRE_EXTENDED && m.ext_id == 3 && m.payload.n == 8);
	wire_put_extended(b, 0, slice_of(NULL, 0));
	m = whole(b);
	CHECK(m.type == WIRE_EXTENDED && m.ext_id == 0 && m.payload.n == 0);
	buf_put(b, "\0\0\0\3\x09\x1a\xe1", 7);
	m = whole(b);
	CHECK(m.type == WIRE_PORT && m.port == 6881);
	uint8_t head[WIRE_PIECE_HEAD];
	wire_put_piece_head(head, 19, 0, 1000);
	buf_put(b, head, sizeof(head));
	m = whole(b); /* given out before its data */
	CHECK(m.type == WIRE_PIECE && m.index == 19 && m.begin == 0 && m.len == 1000);
}

static void payload_is_borrowed(void)
{
	uint8_t in[] = { 0, 0, 0, 4, 5, 1, 2, 0x30 };
	struct wire_msg m;
	size_t need;
	const char *why;
	CHECK(wire_next(slice_of(in, sizeof(in)), &lim, &m, &need, &why) == 8);
	CHECK(m.payload.p == in + 5 && m.payload.n == 3);
}

static void indexes(struct buf *b)
{
	static const uint32_t bad[] = { 20, 21, 0x7fffffff, 0x80000000, 0xffffffff };
	static const enum wire_type type[] = { WIRE_HAVE, WIRE_SUGGEST, WIRE_ALLOWED_FAST };
	for (size_t t = 0; t < ARRAY_LEN(type); t++)
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			wire_put_index(b, type[t], bad[i]);
			CHECK(refused(b));
		}
}

static void blocks(struct buf *b)
{
	static const struct {
		uint32_t index, begin, len;
		bool good;
	} cases[] = {
		{ 0, 0, 1, true },          { 0, 0, 32768, true },      { 0, 32767, 1, true },
		{ 19, 0, 1000, true },      { 19, 999, 1, true },       { 0, 0, 0, false },
		{ 0, 0, 32769, false },     { 0, 1, 32768, false },     { 0, 32768, 1, false },
		{ 19, 0, 1001, false },     { 19, 1000, 1, false },     { 19, 999, 2, false },
		{ 20, 0, 1, false },        { 0, 0xffffffff, 1, false }, { 0, 0xffffffff, 2, false },
		{ 0xffffffff, 0, 1, false }, { 0, 0, 0xffffffff, false }, { 5, 0xffff8000, 0x8001, false },
		{ 0x20000, 0, 16384, false }, /* index * piece_len is 0 in 32 bits */
	};
	static const enum wire_type type[] = { WIRE_REQUEST, WIRE_CANCEL, WIRE_REJECT, WIRE_PIECE };
	for (size_t t = 0; t < ARRAY_LEN(type); t++)
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			uint8_t head[WIRE_PIECE_HEAD];
			wire_put_piece_head(head, cases[i].index, cases[i].begin, cases[i].len);
			if (type[t] == WIRE_PIECE)
				buf_put(b, head, sizeof(head));
			else
				wire_put_block(b, type[t], cases[i].index, cases[i].begin, cases[i].len);
			if (cases[i].good)
				CHECK(whole(b).len == cases[i].len);
			else
				CHECK(refused(b));
		}
}

/* Terabytes: what 32 bits can't hold; and blocks up to 128 KiB only. */
static void large_torrent(struct buf *b)
{
	const struct wire_limits big = { 65537, 16u << 20, (uint64_t)65536 * (16u << 20) + 5 };
	static const struct {
		uint32_t index, begin, len;
		int good;
	} cases[] = {
		{ 65535, (16u << 20) - WIRE_BLOCK_MAX, WIRE_BLOCK_MAX, 17 },
		{ 65535, 0, WIRE_BLOCK_MAX + 1, -1 },
		{ 65535, (16u << 20) - 1, 2, -1 },
		{ 65536, 0, 5, 17 },
		{ 65536, 0, 6, -1 },
		{ 65536, 5, 1, -1 },
	};
	struct wire_msg m;
	size_t need;
	const char *why;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		wire_put_block(b, WIRE_REQUEST, cases[i].index, cases[i].begin, cases[i].len);
		CHECK(wire_next(slice_of(b->p, b->n), &big, &m, &need, &why) == cases[i].good);
		buf_clear(b);
	}
	/* A bitfield may be longer than the longest extended message. */
	const struct wire_limits many = { 16u << 20, 1, 16u << 20 };
	buf_u32(b, (2u << 20) + 1);
	buf_u8(b, WIRE_BITFIELD);
	CHECK(wire_next(slice_of(b->p, b->n), &many, &m, &need, &why) == 0 && need == 5 + (2u << 20));
	buf_clear(b);
}

/* For each id the exact set of lengths that are taken, or at least waited for. */
static void lengths(struct buf *b)
{
	for (unsigned id = 0; id < 256; id++)
		for (uint32_t len = 1; len <= 4 * WIRE_BLOCK_MAX; len = len < 40 ? len + 1 : len * 2 - 1) {
			bool good;
			switch (id) {
			case WIRE_CHOKE: case WIRE_UNCHOKE: case WIRE_INTERESTED: case WIRE_NOT_INTERESTED:
			case WIRE_HAVE_ALL: case WIRE_HAVE_NONE: good = len == 1; break;
			case WIRE_HAVE: case WIRE_SUGGEST: case WIRE_ALLOWED_FAST: good = len == 5; break;
			case WIRE_BITFIELD: good = len == 4; break;
			case WIRE_REQUEST: case WIRE_CANCEL: case WIRE_REJECT: good = len == 13; break;
			case WIRE_PIECE: good = len > 9 && len <= 9 + WIRE_BLOCK_MAX; break;
			case WIRE_PORT: good = len == 3; break;
			case WIRE_EXTENDED: good = len >= 2 && len <= WIRE_EXTENDED_MAX; break;
			default: good = len <= WIRE_UNKNOWN_MAX;
			}
			struct wire_msg m;
			buf_u32(b, len);
			buf_u8(b, (uint8_t)id);
			int n = next(slice_of(b->p, b->n), &m);
			CHECK(good ? n == 0 || (n == 5 && len == 1) : n == -1);
			buf_clear(b);
		}
}

/* Refused on four bytes: nothing is so long whatever its id will be. */
static void too_long(struct buf *b)
{
	struct wire_msg m;
	static const uint32_t bad[] = { 0xffffffff, 0x80000000, 0x7fffffff, 9 + WIRE_BLOCK_MAX + 1, 0x13426974 };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_u32(b, bad[i]);
		CHECK(next(slice_of(b->p, 3), &m) == 0);
		CHECK(next(slice_of(b->p, 4), &m) == -1);
		buf_clear(b);
	}
	buf_u32(b, 9 + WIRE_BLOCK_MAX);
	CHECK(next(slice_of(b->p, 4), &m) == 0);
	buf_clear(b);
}

static void spare_bits(struct buf *b)
{
	for (uint32_t bit = 20; bit < 24; bit++) {
		uint8_t bits[3] = { 0xff, 0xff, 0xf0 };
		bit_set(bits, bit);
		buf_u32(b, 4);
		buf_u8(b, WIRE_BITFIELD);
		buf_put(b, bits, 3);
		CHECK(refused(b));
	}
	for (uint32_t n = 2; n <= 6; n++) { /* length field of a bitfield of n - 1 bytes */
		buf_u32(b, n);
		buf_u8(b, WIRE_BITFIELD);
		buf_put(b, "\0\0\0\0\0", n - 1);
		if (n == 4)
			CHECK(whole(b).type == WIRE_BITFIELD);
		else
			CHECK(refused(b));
	}
}

static void unknown_ids(struct buf *b)
{
	uint8_t zero[300] = { 0 };
	for (unsigned id = 0; id < 256; id++) {
		bool known = id <= 9 || (id >= 13 && id <= 17) || id == 20;
		if (known)
			continue;
		buf_u32(b, 1 + sizeof(zero));
		buf_u8(b, (uint8_t)id);
		buf_put(b, zero, sizeof(zero));
		CHECK(whole(b).type == WIRE_UNKNOWN);
	}
}

/* A stream of everything cut at every place says the same as at once. */
static void byte_at_a_time(struct buf *b)
{
	const uint8_t bits[3] = { 1, 2, 0x30 };
	uint8_t head[WIRE_PIECE_HEAD];
	wire_put_piece_head(head, 1, 0, 40);
	wire_put_bitfield(b, bits, 20);
	wire_put_simple(b, WIRE_UNCHOKE);
	wire_put_simple(b, WIRE_KEEP_ALIVE);
	wire_put_have(b, 7);
	buf_put(b, head, sizeof(head));
	for (uint8_t i = 0; i < 40; i++)
		buf_u8(b, i); /* the block; looks like messages, if read as such */
	wire_put_block(b, WIRE_REQUEST, 3, 0, 16384);
	buf_put(b, "\0\0\0\2\x63\0", 6);
	wire_put_extended(b, 1, slice_str("hello"));
	static const enum wire_type want[] = { WIRE_BITFIELD, WIRE_UNCHOKE, WIRE_KEEP_ALIVE, WIRE_HAVE,
					       WIRE_PIECE, WIRE_REQUEST, WIRE_UNKNOWN, WIRE_EXTENDED };
	for (size_t step = 1; step <= b->n; step++) {
		size_t at = 0, seen = 0, arrived = 0, skip = 0;
		while (at < b->n) {
			struct wire_msg m;
			if (skip && arrived > at) {
				size_t take = min_size(skip, arrived - at);
				at += take;
				skip -= take;
				continue;
			}
			int n = next(slice_of(b->p + at, arrived - at), &m);
			if (n == 0) {
				arrived = min_size(arrived + step, b->n);
				continue;
			}
			if (n < 0 || seen == ARRAY_LEN(want) || m.type != want[seen])
				break;
			seen++;
			at += (size_t)n;
			skip = m.type == WIRE_PIECE ? m.len : 0;
		}
		CHECK(at == b->n && seen == ARRAY_LEN(want));
	}
	buf_clear(b);
}

/* Whatever is let through is inside its bounds. */
static void random_messages(void)
{
	for (int i = 0; i < 200000; i++) {
		uint8_t in[24];
		random_bytes(in, sizeof(in));
		memset(in, 0, 3);
		in[3] = (uint8_t)random_below(16);
		in[4] = (uint8_t)random_below(22);
		for (int k = 5; k < 17; k++) /* often small numbers */
			in[k] = random_below(4) && k % 4 != 2 ? 0 : in[k] & 31;
		struct wire_msg m;
		size_t need;
		const char *why;
		int n = wire_next(guard_copy(&guard, in, sizeof(in)), &lim, &m, &need, &why);
		if (n <= 0)
			continue;
		bool ok = m.index < 20 && m.len <= 32768 && m.begin < 32768 && m.payload.n <= 20;
		if (!ok)
			CHECK(ok);
	}
}

int main(void)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	guard_init(&guard, 1 << 16);
	there_and_back(&b);
	payload_is_borrowed();
	indexes(&b);
	blocks(&b);
	large_torrent(&b);
	lengths(&b);
	too_long(&b);
	spare_bits(&b);
	unknown_ids(&b);
	byte_at_a_time(&b);
	random_messages();
	buf_release(&b);
	guard_release(&guard);
	return test_done();
}
