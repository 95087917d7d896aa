/* SPDX-License-Identifier: MIT */
/* wire.c - peer messages (BEP 3, 5's PORT, 6, 10). Bytes in, messages out: no
 * sockets, no allocation, no clock, no memory of what came before. One table
 * holds each message's shape and its shortest and longest length; all indexes
 * and offsets are checked here, as they enter, so inner code may rely on them.
 * Whether a message is allowed now (a bitfield twice, a piece nobody asked for,
 * HAVE_ALL without BEP 6) is the caller's to judge. Start at wire_next(). */
#include "wire/wire.h"

#include <assert.h>

/* What follows a message's id. */
enum shape {
	SHAPE_UNKNOWN, /* an id we don't know: skipped whole */
	SHAPE_EMPTY,
	SHAPE_INDEX, /* a piece number */
	SHAPE_BLOCK, /* index, begin, length */
	SHAPE_PIECE, /* index, begin, and the block itself, left in the stream */
	SHAPE_BITS,
	SHAPE_PORT,
	SHAPE_EXT,
};

/* Bounds on the length field, which counts the id. A bitfield's are exact and
 * depend on the torrent, so max 0 there. Ids 21-23 (BEP 52) are unknown yet. */
static const struct rule {
	uint8_t shape;
	uint32_t min, max;
} rules[] = {
	[WIRE_CHOKE] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_UNCHOKE] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_INTERESTED] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_NOT_INTERESTED] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_HAVE] = { SHAPE_INDEX, 5, 5 },
	[WIRE_BITFIELD] = { SHAPE_BITS, 1, 0 },
	[WIRE_REQUEST] = { SHAPE_BLOCK, 13, 13 },
	[WIRE_PIECE] = { SHAPE_PIECE, 9 + 1, 9 + WIRE_BLOCK_MAX },
	[WIRE_CANCEL] = { SHAPE_BLOCK, 13, 13 },
	[WIRE_PORT] = { SHAPE_PORT, 3, 3 },
	[WIRE_SUGGEST] = { SHAPE_INDEX, 5, 5 },
	[WIRE_HAVE_ALL] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_HAVE_NONE] = { SHAPE_EMPTY, 1, 1 },
	[WIRE_REJECT] = { SHAPE_BLOCK, 13, 13 },
	[WIRE_ALLOWED_FAST] = { SHAPE_INDEX, 5, 5 },
	[WIRE_EXTENDED] = { SHAPE_EXT, 2, WIRE_EXTENDED_MAX },
};
static const struct rule unknown_rule = { SHAPE_UNKNOWN, 1, WIRE_UNKNOWN_MAX };

#define LONGEST (9 + WIRE_BLOCK_MAX) /* of the fixed bounds */
_Static_assert(LONGEST >= WIRE_EXTENDED_MAX && LONGEST >= WIRE_UNKNOWN_MAX, "the longest of the fixed bounds");
_Static_assert(LONGEST < 0x7fffffff - 4, "wire_next returns int");

static struct rule rule_of(uint8_t id, const struct wire_limits *lim)
{
	struct rule r = id < ARRAY_LEN(rules) && rules[id].shape ? rules[id] : unknown_rule;
	if (r.shape == SHAPE_BITS)
		r.min = r.max = 1 + (uint32_t)bits_len(lim->pieces);
	return r;
}

/* len bytes at begin lie inside the piece, and it is an amount one may ask for. */
static bool block_fits(const struct wire_limits *lim, uint32_t index, uint32_t begin, uint32_t len)
{
	uint64_t size = lim->piece_len;
	if (index >= lim->pieces)
		return false;
	if (index == lim->pieces - 1)
		size = lim->size - (uint64_t)index * lim->piece_len;
	return len > 0 && len <= WIRE_BLOCK_MAX && begin < size && len <= size - begin;
}

/* Reads the body, which is whole but for a piece's payload. NULL or what is wrong. */
static const char *read_body(struct cur c, enum shape shape, const struct wire_limits *lim,
			     struct wire_msg *m)
{
	bool ok = true;
	switch (shape) {
	case SHAPE_EMPTY:
	case SHAPE_UNKNOWN:
		break;
	case SHAPE_INDEX:
		ok = cur_u32(&c, &m->index);
		if (m->index >= lim->pieces)
			return "piece index out of range";
		break;
	case SHAPE_BLOCK:
		ok = cur_u32(&c, &m->index) && cur_u32(&c, &m->begin) && cur_u32(&c, &m->len);
		if (!block_fits(lim, m->index, m->begin, m->len))
			return "block out of range";
		break;
	case SHAPE_PIECE: /* m->len came from the length field */
		ok = cur_u32(&c, &m->index) && cur_u32(&c, &m->begin);
		if (!block_fits(lim, m->index, m->begin, m->len))
			return "piece data out of range";
		break;
	case SHAPE_BITS:
		ok = cur_bytes(&c, bits_len(lim->pieces), &m->payload);
		if (!bits_spare_clear(m->payload.p, lim->pieces))
			return "bitfield with spare bits set";
		break;
	case SHAPE_PORT:
		ok = cur_u16(&c, &m->port);
		break;
	case SHAPE_EXT:
		ok = cur_u8(&c, &m->ext_id) && cur_bytes(&c, cur_left(&c), &m->payload);
		break;
	}
	assert(ok); /* the table's lengths promise it */
	(void)ok;
	return NULL;
}

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -1;
}

int wire_next(struct slice in, const struct wire_limits *lim, struct wire_msg *m, size_t *need,
	      const char **why)
{
	memset(m, 0, sizeof(*m));
	*need = 4;
	if (in.n < 4)
		return 0;
	uint32_t len = get_u32(in.p);
	if (len == 0) {
		m->type = WIRE_KEEP_ALIVE;
		return 4;
	}
	/* Before the id is known: longer than anything? */
	if (len > LONGEST && len > 1 + bits_len(lim->pieces))
		return refuse(why, "message too long");
	*need = 5;
	if (in.n < 5)
		return 0;
	uint8_t id = in.p[4];
	struct rule r = rule_of(id, lim);
	if (len < r.min || len > r.max)
		return refuse(why, r.shape == SHAPE_UNKNOWN ? "unknown message too long"
							    : "message of wrong length");
	size_t whole = 4 + (size_t)len;
	if (r.shape == SHAPE_PIECE) {
		whole = WIRE_PIECE_HEAD;
		m->len = len - 9;
	}
	*need = whole;
	if (in.n < whole)
		return 0;
	m->type = r.shape == SHAPE_UNKNOWN ? WIRE_UNKNOWN : (enum wire_type)id;
	const char *wrong = read_body(cur_of(slice_of(in.p + 5, whole - 5)), (enum shape)r.shape, lim, m);
	return wrong ? refuse(why, wrong) : (int)whole;
}

/* ---- emitters ---- */

static void put_head(struct buf *b, uint32_t len, enum wire_type type)
{
	assert(type < WIRE_KEEP_ALIVE);
	buf_u32(b, len);
	buf_u8(b, (uint8_t)type);
}

void wire_put_simple(struct buf *b, enum wire_type type)
{
	if (type == WIRE_KEEP_ALIVE)
		buf_u32(b, 0);
	else
		put_head(b, 1, type);
}

void wire_put_index(struct buf *b, enum wire_type type, uint32_t index)
{
	put_head(b, 5, type);
	buf_u32(b, index);
}

void wire_put_have(struct buf *b, uint32_t index)
{
	wire_put_index(b, WIRE_HAVE, index);
}

void wire_put_bitfield(struct buf *b, const uint8_t *bits, uint32_t pieces)
{
	assert(bits_spare_clear(bits, pieces));
	put_head(b, 1 + (uint32_t)bits_len(pieces), WIRE_BITFIELD);
	buf_put(b, bits, bits_len(pieces));
}

void wire_put_block(struct buf *b, enum wire_type type, uint32_t index, uint32_t begin, uint32_t len)
{
	put_head(b, 13, type);
	buf_u32(b, index);
	buf_u32(b, begin);
	buf_u32(b, len);
}

void wire_put_piece_head(uint8_t out[WIRE_PIECE_HEAD], uint32_t index, uint32_t begin, uint32_t len)
{
	put_u32(out, 9 + len);
	out[4] = WIRE_PIECE;
	put_u32(out + 5, index);
	put_u32(out + 9, begin);
}

void wire_put_extended(struct buf *b, uint8_t ext_id, struct slice payload)
{
	assert(payload.n <= WIRE_EXTENDED_MAX - 2);
	put_head(b, 2 + (uint32_t)payload.n, WIRE_EXTENDED);
	buf_u8(b, ext_id);
	buf_put(b, payload.p, payload.n);
}
