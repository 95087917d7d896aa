/* SPDX-License-Identifier: MIT */
/* wire.h - peer messages (BEP 3, 6, 10, 21, 40, 54). Bytes in, messages out and
 * back: no sockets, no allocation beyond the buf given, no clock.
 *
 *   handshake.c  the 68 bytes that open a connection
 *   wire.c       messages; start at wire_next
 *   extension.c  BEP 10 handshake: what the other side speaks
 *   fast.c       BEP 6 allowed-fast set; BEP 40 peer priority */
#ifndef BT_WIRE_H
#define BT_WIRE_H

#include "base/base.h"
#include "net.h"

/* ---- handshake (BEP 3) ---- */
#define HANDSHAKE_LEN 68
struct handshake {
	uint8_t reserved[8];
	uint8_t info_hash[20];
	uint8_t peer_id[20];
};
static inline bool handshake_has_fast(const struct handshake *h) { return h->reserved[7] & 0x04; }
static inline bool handshake_has_extensions(const struct handshake *h) { return h->reserved[5] & 0x10; }
static inline bool handshake_has_dht(const struct handshake *h) { return h->reserved[7] & 0x01; }
void handshake_put(uint8_t out[HANDSHAKE_LEN], const uint8_t info_hash[20], const uint8_t peer_id[20]);
/* Bytes consumed, 0 = need more (as much as has come is right so far), -1 = not BitTorrent. */
int handshake_next(struct slice in, struct handshake *out) BT_MUST_USE;

/* ---- messages ---- */
enum wire_type {
	WIRE_CHOKE = 0, WIRE_UNCHOKE = 1, WIRE_INTERESTED = 2, WIRE_NOT_INTERESTED = 3,
	WIRE_HAVE = 4, WIRE_BITFIELD = 5, WIRE_REQUEST = 6, WIRE_PIECE = 7, WIRE_CANCEL = 8,
	WIRE_PORT = 9, WIRE_SUGGEST = 13, WIRE_HAVE_ALL = 14, WIRE_HAVE_NONE = 15,
	WIRE_REJECT = 16, WIRE_ALLOWED_FAST = 17, WIRE_EXTENDED = 20,
	WIRE_KEEP_ALIVE = 256, WIRE_UNKNOWN = 257, /* skipped by length */
};

#define WIRE_BLOCK_MAX (128u << 10)    /* longest block others may ask us for */
#define WIRE_EXTENDED_MAX (1u << 16)   /* longest extended message we take: metadata come by 16 KiB (BEP 9) */
#define WIRE_UNKNOWN_MAX (1u << 16)
#define WIRE_PIECE_HEAD 13             /* length, id, index, begin */

/* Bounds that messages are checked against as they enter. */
struct wire_limits {
	uint32_t pieces;
	uint64_t piece_len; /* bytes; last piece shorter */
	uint64_t size;
};

struct wire_msg {
	enum wire_type type;
	uint32_t index, begin, len; /* have, request, piece, cancel, suggest, reject, allowed fast */
	uint16_t port;
	uint8_t ext_id;        /* extended */
	struct slice payload;  /* bitfield; extended after its id; borrowed from the input */
};

/* The next message of the stream. > 0: bytes consumed. 0: need more, *need says
 * how many bytes of it are wanted before asking again is of use (4, then 5 for the
 * id, then the whole message; a ceiling holds). -1: malformed or out of bounds,
 * *why names it in static text. A `piece` is given out after its 13 bytes; its
 * m.len payload bytes follow in the stream and are the caller's to take. */
int wire_next(struct slice in, const struct wire_limits *, struct wire_msg *m, size_t *need,
	      const char **why) BT_MUST_USE;

/* Emitters append one whole message. */
void wire_put_simple(struct buf *, enum wire_type); /* choke .. not interested, have all / none, keep-alive */
void wire_put_have(struct buf *, uint32_t index);
void wire_put_index(struct buf *, enum wire_type, uint32_t index); /* suggest, allowed fast, have */
void wire_put_bitfield(struct buf *, const uint8_t *bits, uint32_t pieces);
/* request, cancel, reject */
void wire_put_block(struct buf *, enum wire_type, uint32_t index, uint32_t begin, uint32_t len);
void wire_put_piece_head(uint8_t out[WIRE_PIECE_HEAD], uint32_t index, uint32_t begin, uint32_t len);
void wire_put_extended(struct buf *, uint8_t ext_id, struct slice payload);

/* ---- extension protocol (BEP 10) ---- */
/* Our own numbers for extensions we take part in. */
enum { EXT_HANDSHAKE = 0, EXT_DONTHAVE = 7 };

struct ext_hello {
	uint8_t donthave;      /* the peer's number for lt_donthave (BEP 54), 0 = not spoken */
	uint8_t metadata, pex; /* ut_metadata (BEP 9), ut_pex (BEP 11): told apart now, used later */
	bool upload_only;      /* BEP 21 */
	uint32_t reqq;         /* requests it queues, 0 = not told; clamped to 1..5000 */
	uint16_t port;         /* it listens on, 0 = not told */
	struct addr yourip;    /* our address as it sees us; port 0, all zero = not told */
	uint32_t metadata_size;
	char client[64];       /* `v`, escaped, cut; "" = not told */
};
/* Fills *out, which holds the values of earlier hellos (a later one only changes
 * what it names). Values of a wrong type or out of range count as not told. -1 =
 * not one whole bencoded dictionary, or more than BEN_MESSAGE allows. */
int ext_hello_parse(struct slice payload, struct ext_hello *out) BT_MUST_USE;
struct ext_hello_out {
	const char *client;
	uint16_t port;
	uint32_t reqq;
	bool upload_only;
	uint32_t metadata_size;   /* 0 = left out */
	const struct addr *peer;  /* for yourip */
};
void ext_put_hello(struct buf *, const struct ext_hello_out *); /* whole extended message */
void ext_put_donthave(struct buf *, uint8_t peers_number, uint32_t index);
bool ext_donthave_parse(struct slice payload, uint32_t pieces, uint32_t *index);

/* ---- fast extension (BEP 6), peer priority (BEP 40) ---- */
#define FAST_SET 5
/* The k pieces a choked peer at ip may ask for. Returns how many: fewer in small
 * torrents, 0 for IPv6, for which BEP 6 has no rule. */
size_t fast_set(const struct addr *ip, const uint8_t info_hash[20], uint32_t pieces, uint32_t out[], size_t k);
uint32_t peer_priority(const struct addr *a, const struct addr *b); /* symmetric; 0 for two families */
/* Client name and version from a peer id (the styles of BEP 20), printable ASCII;
 * "unknown" otherwise. */
void peer_id_name(const uint8_t id[20], char out[32]);

#endif
