/* SPDX-License-Identifier: MIT */
/* Fuzz target of dht_item.c. Input: a byte for the salt's length, the salt, a value.
 * What can be signed is right when checked, and wrong with another value; what
 * can't be signed is no immutable item either, unless the salt is at fault. */
#include "base/ed25519.h"
#include "find/dht.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t salt = size ? min_size(data[0], size - 1) : 0;
	uint8_t seed[32] = { 1 }, secret[64], target[20], ih[20];
	struct dht_item it = { .v = slice_of(data + (size > 0) + salt, size - (size > 0) - salt), .seq = (int64_t)size };
	bool plain = dht_item_check(&it) == 0;

	dht_item_target(&it, target);
	(void)!dht_torrent_pointed(it.v, ih);
	it.salt = slice_of(data + (size > 0), salt);
	ed25519_secret(secret, seed);
	if (dht_item_sign(&it, secret) != (plain && salt <= DHT_SALT_MAX))
		abort();
	if (plain && salt <= DHT_SALT_MAX) {
		dht_item_target(&it, target);
		if (dht_item_check(&it) != 0 || (it.seq++, dht_item_check(&it) == 0))
			abort();
	}
	return 0;
}
