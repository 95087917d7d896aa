/* SPDX-License-Identifier: MIT */
/* extension.c - the extension protocol's handshake (BEP 10), with what rides in
 * it: upload_only (BEP 21), metadata_size (BEP 9); and lt_donthave (BEP 54),
 * the one extension message so far. A hello is a dictionary from a stranger:
 * values of a wrong type or out of range count as not told, since many clients
 * put odd things there; bytes that aren't a bencoded dictionary are refused. */
#include "wire/wire.h"
#include "bencode.h"

#define REQQ_MAX     5000        /* more outstanding requests than any rate x latency needs */
#define METADATA_MAX (64u << 20) /* as metainfo.h's META_MAX_BYTES: larger is refused there */

/* The number the peer wants for one extension; 0 switches it off; else no change. */
static void read_ext_id(struct ben m, const char *name, uint8_t *id)
{
	int64_t v;
	if (ben_get_int(m, name, &v) && v >= 0 && v <= 255)
		*id = (uint8_t)v;
}

static void read_yourip(struct slice ip, struct addr *out)
{
	static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	if (ip.n == 16 && memcmp(ip.p, v4_mapped, 12) == 0)
		ip = slice_of(ip.p + 12, 4);
	if (ip.n != 4 && ip.n != 16)
		return;
	memset(out, 0, sizeof(*out));
	memcpy(out->ip, ip.p, ip.n);
	out->v6 = ip.n == 16;
}

int ext_hello_parse(struct slice payload, struct ext_hello *out)
{
	struct ben d;
	struct ben_error e;
	ptrdiff_t n = ben_check(payload, &BEN_MESSAGE, &d, NULL, &e);
	if (n < 0 || (size_t)n != payload.n || ben_type(d) != BEN_DICT)
		return -1;

	struct ben m = ben_get(d, "m");
	read_ext_id(m, "lt_donthave", &out->donthave);
	read_ext_id(m, "ut_metadata", &out->metadata);
	read_ext_id(m, "ut_pex", &out->pex);

	int64_t v;
	struct slice s;
	if (ben_get_int(d, "upload_only", &v))
		out->upload_only = v != 0;
	if (ben_get_int(d, "reqq", &v))
		out->reqq = v < 1 ? 1 : v > REQQ_MAX ? REQQ_MAX : (uint32_t)v;
	if (ben_get_int(d, "p", &v) && v > 0 && v <= 65535)
		out->port = (uint16_t)v;
	if (ben_get_int(d, "metadata_size", &v) && v > 0 && v <= METADATA_MAX)
		out->metadata_size = (uint32_t)v;
	if (ben_get_str(d, "yourip", &s))
		read_yourip(s, &out->yourip);
	if (ben_get_str(d, "v", &s) && s.n > 0)
		text_escape(out->client, sizeof(out->client), s);
	return 0;
}

void ext_put_hello(struct buf *b, const struct ext_hello_out *h)
{
	size_t at = b->n;
	buf_u32(b, 0); /* length, known at the end */
	buf_u8(b, WIRE_EXTENDED);
	buf_u8(b, EXT_HANDSHAKE);
	ben_open_dict(b); /* keys in order */
	ben_put_str(b, "m");
	ben_open_dict(b);
	ben_put_str(b, "lt_donthave");
	ben_put_int(b, EXT_DONTHAVE);
	ben_close(b);
	if (h->metadata_size) {
		ben_put_str(b, "metadata_size");
		ben_put_int(b, h->metadata_size);
	}
	if (h->port) {
		ben_put_str(b, "p");
		ben_put_int(b, h->port);
	}
	ben_put_str(b, "reqq");
	ben_put_int(b, h->reqq);
	if (h->upload_only) {
		ben_put_str(b, "upload_only");
		ben_put_int(b, 1);
	}
	ben_put_str(b, "v");
	ben_put_str(b, h->client);
	if (h->peer) {
		ben_put_str(b, "yourip");
		ben_put_bytes(b, h->peer->ip, h->peer->v6 ? 16 : 4);
	}
	ben_close(b);
	if (!b->failed)
		put_u32(b->p + at, (uint32_t)(b->n - at - 4));
}

void ext_put_donthave(struct buf *b, uint8_t peers_number, uint32_t index)
{
	uint8_t p[4];
	put_u32(p, index);
	wire_put_extended(b, peers_number, slice_of(p, sizeof(p)));
}

bool ext_donthave_parse(struct slice payload, uint32_t pieces, uint32_t *index)
{
	struct cur c = cur_of(payload);
	return cur_u32(&c, index) && cur_left(&c) == 0 && *index < pieces;
}
