/* SPDX-License-Identifier: MIT */
/* handshake.c (test) - the 68 bytes: there and back, every prefix, every wrong byte. */
#include "test/test.h"
#include "wire/wire.h"
#include "guard.h"

static const uint8_t hash[20] = {
	0xde, 0xad, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0xff
};
static const uint8_t id[20] = "-BT0001-abcdefghijkl";

static void there_and_back(void)
{
	uint8_t out[HANDSHAKE_LEN];
	struct handshake h;
	handshake_put(out, hash, id);
	CHECK(out[0] == 19 && memcmp(out + 1, "BitTorrent protocol", 19) == 0);
	CHECK(handshake_next(slice_of(out, sizeof(out)), &h) == HANDSHAKE_LEN);
	CHECK(memcmp(h.info_hash, hash, 20) == 0 && memcmp(h.peer_id, id, 20) == 0);
	CHECK(handshake_has_fast(&h) && handshake_has_extensions(&h) && !handshake_has_dht(&h));
	h.reserved[7] = 1;
	h.reserved[5] = 0;
	CHECK(!handshake_has_fast(&h) && !handshake_has_extensions(&h) && handshake_has_dht(&h));
}

/* Any reserved bits are welcome (BEP 52's v2 bit, Azureus's, garbage). */
static void reserved_bits(void)
{
	uint8_t out[HANDSHAKE_LEN];
	struct handshake h;
	for (int bit = 0; bit < 64; bit++) {
		handshake_put(out, hash, id);
		memset(out + 20, 0, 8);
		bit_set(out + 20, (uint32_t)bit);
		CHECK(handshake_next(slice_of(out, sizeof(out)), &h) == HANDSHAKE_LEN);
		CHECK(memcmp(h.reserved, out + 20, 8) == 0);
	}
}

static void prefixes_and_wrong_bytes(void)
{
	uint8_t out[HANDSHAKE_LEN + 5];
	struct guard g;
	struct handshake h;
	guard_init(&g, sizeof(out));
	memset(out, 7, sizeof(out));
	handshake_put(out, hash, id);
	for (size_t n = 0; n < HANDSHAKE_LEN; n++)
		CHECK(handshake_next(guard_copy(&g, out, n), &h) == 0);
	CHECK(handshake_next(guard_copy(&g, out, sizeof(out)), &h) == HANDSHAKE_LEN); /* more may follow */
	for (size_t i = 0; i < 20; i++) {
		out[i] ^= 0x20;
		CHECK(handshake_next(guard_copy(&g, out, i), &h) == 0);
		CHECK(handshake_next(guard_copy(&g, out, i + 1), &h) == -1);
		CHECK(handshake_next(guard_copy(&g, out, HANDSHAKE_LEN), &h) == -1);
		out[i] ^= 0x20;
	}
	guard_release(&g);
}

int main(void)
{
	there_and_back();
	reserved_bits();
	prefixes_and_wrong_bytes();
	return test_done();
}
