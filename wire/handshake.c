/* SPDX-License-Identifier: MIT */
/* handshake.c - the 68 bytes that open a connection (BEP 3): protocol name,
 * reserved bits, info-hash, peer id. Judged as they trickle in, so that
 * somebody who speaks another protocol is noticed at his first wrong byte. */
#include "wire/wire.h"

static const uint8_t protocol[20] = "\x13"
				    "BitTorrent protocol";

enum { RESERVED_AT = 20, HASH_AT = 28, ID_AT = 48 };
_Static_assert(ID_AT + 20 == HANDSHAKE_LEN, "handshake layout");

void handshake_put(uint8_t out[HANDSHAKE_LEN], const uint8_t info_hash[20], const uint8_t peer_id[20])
{
	memcpy(out, protocol, sizeof(protocol));
	memset(out + RESERVED_AT, 0, 8);
	out[RESERVED_AT + 5] = 0x10; /* BEP 10 */
	out[RESERVED_AT + 7] = 0x04; /* BEP 6 */
	memcpy(out + HASH_AT, info_hash, 20);
	memcpy(out + ID_AT, peer_id, 20);
}

int handshake_next(struct slice in, struct handshake *out)
{
	size_t known = min_size(in.n, sizeof(protocol));
	if (known && memcmp(in.p, protocol, known) != 0)
		return -1;
	if (in.n < HANDSHAKE_LEN)
		return 0;
	memcpy(out->reserved, in.p + RESERVED_AT, 8);
	memcpy(out->info_hash, in.p + HASH_AT, 20);
	memcpy(out->peer_id, in.p + ID_AT, 20);
	return HANDSHAKE_LEN;
}
