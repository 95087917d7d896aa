/* SPDX-License-Identifier: MIT */
/* Tests of dht_store.c, dht_item.c, dht_bloom.c, dht_gate.c: limits in every
 * direction, expiry, tokens, who is ignored and who is trusted, and the vectors of
 * BEP 33, 44 and 46. */
#include "base/ed25519.h"
#include "find/dht_store.h"
#include "test/unit/find/dht_vectors.h"

#define MINUTE 60000u

static struct addr addr(uint32_t ip, uint16_t port)
{
	struct addr a = { .port = port };

	put_u32(a.ip, ip);
	return a;
}

static void hash(uint32_t i, uint8_t out[20])
{
	memset(out, 0, 20);
	put_u32(out, i * 2654435761u);
	put_u32(out + 16, i);
}

static void test_bloom(void)
{
	const char *at = vectors_section("bep33");
	uint8_t bloom[DHT_BLOOM] = { 0 }, half[DHT_BLOOM] = { 0 }, want[DHT_BLOOM];
	double count;
	struct addr a;

	CHECK(vectors_hex(&at, "filter_hex", want, DHT_BLOOM));
	CHECK(dht_bloom_count(bloom) == 0);
	for (uint32_t i = 0; i < 256; i++) {
		a = addr(192u << 24 | 2 << 8 | i, (uint16_t)i);
		dht_bloom_add(i % 2 ? bloom : half, &a);
		CHECK(dht_bloom_has(i % 2 ? bloom : half, &a));
	}
	for (uint32_t i = 0; i < 1000; i++) {
		CHECK(addr_parse_ip(&a, slice_str("2001:db8::")));
		put_u16(a.ip + 14, (uint16_t)i);
		dht_bloom_add(i % 3 ? bloom : half, &a);
	}
	dht_bloom_join(bloom, half);
	CHECK(memcmp(bloom, want, DHT_BLOOM) == 0);
	count = dht_bloom_count(bloom);
	CHECK(count > 1224.93 && count < 1224.9316);
	memset(bloom, 0xff, DHT_BLOOM);
	count = dht_bloom_count(bloom);
	CHECK(count > 7000 && count < 9000);
}

static void test_peers(void)
{
	struct dht_store s;
	struct dht_torrent *t;
	uint8_t h[20], g[20], seeds[DHT_BLOOM], peers[DHT_BLOOM];
	struct addr a = addr(0x01020304, 6881);
	struct buf b;

	dht_store_init(&s, false, 3, 5, 12);
	buf_init(&b, 2000);
	hash(1, h);
	CHECK(!dht_store_find(&s, h) && dht_store_has_room(&s, h, &a));
	CHECK(dht_store_add(&s, h, &a, false, 1000));
	a.port = 7000; /* the same host again: another port, and complete now */
	CHECK(dht_store_add(&s, h, &a, true, 2000));
	t = dht_store_find(&s, h);
	CHECK(s.torrents == 1 && s.peers == 1 && t && t->n == 1 && t->peers[0].port == 7000 && t->peers[0].seed);
	/* five of one torrent; those who are in may announce again */
	for (uint32_t i = 0; i < 4; i++) {
		struct addr p = addr(0x05000000 + i, 6881);

		CHECK(dht_store_add(&s, h, &p, false, 2000));
	}
	CHECK(t->n == 5 && dht_store_has_room(&s, h, &a));
	a = addr(0x06000000, 6881);
	CHECK(!dht_store_has_room(&s, h, &a) && !dht_store_add(&s, h, &a, false, 2000));
	/* values: as many as fit, from any place on */
	for (uint32_t from = 0; from < 7; from++) {
		buf_clear(&b);
		CHECK(dht_store_values(&s, t, false, from, 26, &b) == 3 && b.n == 26);
		CHECK(ben_check(slice_of(b.p, b.n), &BEN_MESSAGE, NULL, NULL, NULL) == 26);
	}
	buf_clear(&b);
	CHECK(dht_store_values(&s, t, true, 0, 1000, &b) == 4 && b.n == 34); /* not the seed */
	buf_clear(&b);
	CHECK(dht_store_values(&s, t, false, 0, 0, &b) == 0 && b.n == 2);
	dht_store_blooms(&s, t, seeds, peers);
	CHECK(dht_bloom_count(seeds) > 0.9 && dht_bloom_count(seeds) < 1.1);
	CHECK(dht_bloom_count(peers) > 3.9 && dht_bloom_count(peers) < 4.2);
	/* three torrents; the smallest makes room */
	for (uint32_t i = 2; i <= 4; i++) {
		hash(i, g);
		for (uint32_t j = 0; j < 5 - i; j++) {
			struct addr p = addr(0x07000000 + j, 6881);

			CHECK(dht_store_add(&s, g, &p, false, 3000));
		}
	}
	CHECK(s.torrents == 3 && dht_store_find(&s, h));
	hash(3, g);
	CHECK(!dht_store_find(&s, g)); /* it had two, of 5, 3, 2 */
	/* and no more than 12 peers in all */
	hash(9, g);
	for (uint32_t j = 0; s.peers < 12; j++) {
		a = addr(0x08000000 + j, 6881);
		if (!dht_store_add(&s, g, &a, false, 3000))
			break;
		CHECK(j < 12);
	}
	CHECK(s.peers <= 12);
	/* 45 minutes later they are forgotten */
	dht_store_expire(&s, 2000 + 45 * MINUTE - 1000);
	CHECK(dht_store_find(&s, h));
	dht_store_expire(&s, 3000 + 45 * MINUTE);
	CHECK(s.torrents == 0 && s.peers == 0 && !dht_store_find(&s, h) && dht_store_memory(&s) == 0);
	dht_store_release(&s);
	buf_release(&b);
}

static void test_samples(void)
{
	struct dht_store s;
	struct addr a = addr(0x01020304, 6881);
	uint8_t h[20], first[DHT_SAMPLES_MAX * 20];
	struct slice got;
	uint32_t interval, known = 0;

	dht_store_init(&s, false, 2000, 500, 50000);
	got = dht_store_sample(&s, 1, 1000, &interval);
	CHECK(got.p && got.n == 0);
	for (uint32_t i = 0; i < 300; i++) {
		hash(i, h);
		CHECK(dht_store_add(&s, h, &a, false, 1000));
		if (i == 4) {
			got = dht_store_sample(&s, 1, 1000, &interval);
			CHECK(got.n == 5 * 20);
		}
	}
	got = dht_store_sample(&s, 1, 2000 + DHT_RESAMPLE_MS, &interval);
	CHECK(got.n == sizeof(first) && interval == DHT_RESAMPLE_MS / 1000);
	memcpy(first, got.p, sizeof(first));
	for (size_t i = 0; i < DHT_SAMPLES_MAX; i++)
		known += dht_store_find(&s, first + i * 20) != NULL;
	CHECK(known == DHT_SAMPLES_MAX);
	/* the same until the interval is over */
	got = dht_store_sample(&s, 77, 5000 + DHT_RESAMPLE_MS, &interval);
	CHECK(memcmp(first, got.p, sizeof(first)) == 0 && interval == DHT_RESAMPLE_MS / 1000 - 3);
	got = dht_store_sample(&s, 77, 2000 + 2 * DHT_RESAMPLE_MS, &interval);
	CHECK(memcmp(first, got.p, sizeof(first)) != 0);
	dht_store_release(&s);
}

static void test_tokens(void)
{
	uint8_t chance[40], h[20], g[20], token[DHT_TOKEN], longer[DHT_TOKEN + 1];
	struct addr a = addr(0x01020304, 6881), b = addr(0x01020304, 9), c = addr(0x01020305, 6881);
	struct dht_gate *gate = malloc(sizeof(*gate));

	CHECK(gate);
	memset(chance, 7, sizeof(chance));
	hash(1, h);
	hash(2, g);
	dht_gate_init(gate, 5, chance, 1000);
	dht_token_make(gate, &a, h, token);
	CHECK(dht_token_check(gate, &a, h, slice_of(token, DHT_TOKEN)));
	CHECK(dht_token_check(gate, &b, h, slice_of(token, DHT_TOKEN))); /* of the address, not the port */
	CHECK(!dht_token_check(gate, &c, h, slice_of(token, DHT_TOKEN)));
	CHECK(!dht_token_check(gate, &a, g, slice_of(token, DHT_TOKEN)));
	for (size_t n = 0; n < DHT_TOKEN; n++)
		CHECK(!dht_token_check(gate, &a, h, slice_of(token, n)));
	memcpy(longer, token, DHT_TOKEN);
	longer[DHT_TOKEN] = 0;
	CHECK(!dht_token_check(gate, &a, h, slice_of(longer, sizeof(longer))));
	for (unsigned i = 0; i < DHT_TOKEN * 8; i++) {
		memcpy(longer, token, DHT_TOKEN);
		longer[i / 8] = (uint8_t)(longer[i / 8] ^ 1u << i % 8);
		CHECK(!dht_token_check(gate, &a, h, slice_of(longer, DHT_TOKEN)));
	}
	/* good through one turn of the secret, not through two */
	memset(chance, 8, sizeof(chance));
	dht_gate_turn(gate, chance, 1000 + 4 * MINUTE);
	CHECK(dht_token_check(gate, &a, h, slice_of(token, DHT_TOKEN)));
	dht_gate_turn(gate, chance, 1000 + 5 * MINUTE);
	CHECK(dht_token_check(gate, &a, h, slice_of(token, DHT_TOKEN)));
	memset(chance, 9, sizeof(chance));
	dht_gate_turn(gate, chance, 1000 + 10 * MINUTE);
	CHECK(!dht_token_check(gate, &a, h, slice_of(token, DHT_TOKEN)));
	free(gate);
}

static void test_gate(void)
{
	uint8_t chance[40];
	struct addr a = addr(0x01020304, 6881), b = addr(0x01020305, 6881), six, near;
	struct dht_gate *gate = malloc(sizeof(*gate));
	uint64_t now = 5000000;
	unsigned taken = 0, kept = 0;

	CHECK(gate);
	for (unsigned i = 0; i < sizeof(chance); i++)
		chance[i] = (uint8_t)(i * 167 + 13);
	dht_gate_init(gate, 5, chance, now);
	/* five a second for ever: fine */
	for (unsigned i = 0; i < 500; i++, now += 200)
		taken += dht_gate_query(gate, &a, now);
	CHECK(taken == 500);
	/* a burst of 50: fine; of 51: ignored for five minutes */
	now += 20000;
	for (unsigned i = 0; i < 50; i++)
		CHECK(dht_gate_query(gate, &a, now));
	dht_gate_prove(gate, &a, now);
	CHECK(dht_gate_is_proven(gate, &a, now) && !dht_gate_is_proven(gate, &b, now));
	CHECK(!dht_gate_query(gate, &a, now) && !dht_gate_is_proven(gate, &a, now));
	CHECK(!dht_gate_query(gate, &a, now + 299000) && dht_gate_query(gate, &b, now));
	CHECK(dht_gate_query(gate, &a, now + 301000));
	/* proof lasts 15 minutes */
	dht_gate_prove(gate, &b, now);
	CHECK(dht_gate_is_proven(gate, &b, now + 14 * MINUTE) && !dht_gate_is_proven(gate, &b, now + 16 * MINUTE));
	/* a /64 is one host */
	CHECK(addr_parse(&six, slice_str("[2001:db8:1:2::1]:5")) && addr_parse(&near, slice_str("[2001:db8:1:2:ffff::2]:6")));
	dht_gate_prove(gate, &six, now);
	CHECK(dht_gate_is_proven(gate, &near, now));
	CHECK(addr_parse(&near, slice_str("[2001:db8:1:3::1]:5")) && !dht_gate_is_proven(gate, &near, now));
	/* a flood from everywhere overwrites little of what is proven */
	now += 1000000;
	for (uint32_t i = 0; i < 300; i++) {
		a = addr(0x09000000 + i * 977, 6881);
		dht_gate_prove(gate, &a, now);
	}
	for (uint32_t i = 0; i < 100000; i++) {
		a = addr(0x20000000 + i * 7919, 6881);
		dht_gate_query(gate, &a, now);
	}
	for (uint32_t i = 0; i < 300; i++) {
		a = addr(0x09000000 + i * 977, 6881);
		kept += dht_gate_is_proven(gate, &a, now);
	}
	CHECK(kept > 150);
	free(gate);
}

/* ---- items ---- */

static void test_bep44(void)
{
	const char *at = vectors_section("bep44");
	uint8_t key[32], secret[64], target[20], got[20], sig[64], salt[32];
	char kind[16], text[64], salt_hex[64];
	unsigned n = 0;

	CHECK(vectors_hex(&at, "public_key", key, 32) && vectors_hex(&at, "private_key_expanded", secret, 64));
	while (n < 3 && vectors_next(&at, "kind", kind, sizeof(kind))) {
		struct dht_item it = { .is_mutable = strcmp(kind, "mutable") == 0 };

		if (it.is_mutable) {
			CHECK(vectors_next(&at, "salt_hex", salt_hex, sizeof(salt_hex)));
			it.salt = slice_of(salt, strlen(salt_hex) / 2);
			CHECK(hex_decode(salt, it.salt.n, slice_str(salt_hex)));
			it.seq = 1;
			memcpy(it.key, key, 32);
		}
		CHECK(vectors_next(&at, "v", text, sizeof(text)) && vectors_hex(&at, "target", target, 20));
		it.v = slice_str(text);
		dht_item_target(&it, got);
		CHECK(memcmp(got, target, 20) == 0);
		if (it.is_mutable) {
			CHECK(vectors_hex(&at, "signature", sig, 64));
			memcpy(it.sig, sig, 64);
			CHECK(dht_item_check(&it) == 0);
			memset(it.sig, 0, 64);
			memset(it.key, 0, 32);
			CHECK(dht_item_check(&it) == DHT_E_SIGNATURE);
			CHECK(dht_item_sign(&it, secret) && memcmp(it.sig, sig, 64) == 0 && memcmp(it.key, key, 32) == 0);
			it.seq = 2;
			CHECK(dht_item_check(&it) == DHT_E_SIGNATURE);
			it.seq = 1;
			it.salt = slice_str("other");
			CHECK(dht_item_check(&it) == DHT_E_SIGNATURE);
		}
		CHECK(it.is_mutable || dht_item_check(&it) == 0);
		n++;
	}
	CHECK(n == 3);
}

static void test_bep46(void)
{
	const char *at = vectors_section("bep46");
	struct dht_item it = { .is_mutable = true };
	uint8_t target[20], got[20], salt[8], ih[20];
	char salt_hex[32];
	struct buf b;

	for (int i = 0; i < 2; i++) {
		CHECK(vectors_hex(&at, "public_key", it.key, 32) && vectors_next(&at, "salt_hex", salt_hex, sizeof(salt_hex)));
		it.salt = slice_of(salt, strlen(salt_hex) / 2);
		CHECK(hex_decode(salt, it.salt.n, slice_str(salt_hex)) && vectors_hex(&at, "target", target, 20));
		dht_item_target(&it, got);
		CHECK(memcmp(got, target, 20) == 0);
	}
	buf_init(&b, 100);
	dht_torrent_value(&b, target);
	CHECK(b.n == 29 && memcmp(b.p, "d2:ih20:", 8) == 0);
	CHECK(dht_torrent_pointed(slice_of(b.p, b.n), ih) && memcmp(ih, target, 20) == 0);
	for (size_t n = 0; n < b.n; n++)
		CHECK(!dht_torrent_pointed(slice_of(b.p, n), ih));
	CHECK(!dht_torrent_pointed(slice_str("d2:ih3:abce"), ih) && !dht_torrent_pointed(slice_str("d2:ihi1ee"), ih) &&
	      !dht_torrent_pointed(slice_str("2:ih"), ih));
	buf_release(&b);
}

static void test_form(void)
{
	static const char *const bad[] = { "", "i1", "i01e", "d1:b0:1:a0:e", "d1:a0:1:a0:e", "i1ei2e", "3:ab", "x" };
	uint8_t seed[32] = { 1 }, secret[64], salt[65];
	char big[DHT_ITEM_MAX + 2];
	struct dht_item it = { .seq = 1 };

	ed25519_secret(secret, seed);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		it = (struct dht_item){ .v = slice_str(bad[i]) };
		CHECK(dht_item_check(&it) == DHT_E_PROTOCOL && !dht_item_sign(&it, secret));
	}
	memset(big, 'x', sizeof(big));
	memcpy(big, "996:", 4);
	it = (struct dht_item){ .v = slice_of(big, DHT_ITEM_MAX) };
	CHECK(dht_item_check(&it) == 0);
	memcpy(big, "997:", 4);
	it.v.n++;
	CHECK(dht_item_check(&it) == DHT_E_TOO_BIG && !dht_item_sign(&it, secret));
	/* salts above 64 bytes overran libtorrent's stack (578c9c987) */
	memset(salt, 's', sizeof(salt));
	memcpy(big, "996:", 4);
	it = (struct dht_item){ .v = slice_of(big, DHT_ITEM_MAX), .salt = slice_of(salt, 64), .seq = INT64_MAX };
	CHECK(dht_item_sign(&it, secret) && dht_item_check(&it) == 0);
	it.salt.n = 65;
	CHECK(dht_item_check(&it) == DHT_E_SALT && !dht_item_sign(&it, secret));
	it.salt.n = 64;
	it.seq = -1;
	CHECK(dht_item_check(&it) == DHT_E_PROTOCOL && !dht_item_sign(&it, secret));
}

static int put(struct dht_items *s, const char *v, int64_t seq, const int64_t *cas, uint32_t from, uint64_t now)
{
	static const uint8_t own[20];
	struct dht_item it = { .v = slice_str(v), .is_mutable = seq >= 0, .seq = seq < 0 ? 0 : seq, .salt = slice_str("s") };
	struct addr a = addr(from, 1);

	if (!it.is_mutable)
		it.salt.n = 0;
	memset(it.key, 9, 32); /* the signature is checked by the caller */
	return dht_items_put(s, &it, cas, &a, own, now);
}

static void test_items(void)
{
	struct dht_item it = { .is_mutable = true, .salt = slice_str("s") };
	struct dht_items s;
	struct dht_kept *k;
	uint8_t target[20];
	char v[32];
	int64_t two = 2, three = 3;

	dht_items_init(&s, 10);
	memset(it.key, 9, 32);
	dht_item_target(&it, target);
	CHECK(put(&s, "1:a", 2, &three, 1, 1000) == 0); /* cas means nothing where nothing is */
	k = dht_items_find(&s, target);
	CHECK(k && slice_is(k->item.v, "1:a") && k->item.seq == 2 && slice_is(k->item.salt, "s"));
	CHECK(put(&s, "1:b", 1, NULL, 1, 1000) == DHT_E_SEQ && put(&s, "1:b", 2, NULL, 1, 1000) == DHT_E_SEQ);
	CHECK(put(&s, "1:b", 3, &three, 1, 1000) == DHT_E_CAS);
	CHECK(put(&s, "1:a", 2, NULL, 1, 2000) == 0); /* the same: it lives longer */
	CHECK(put(&s, "1:b", 3, &two, 1, 3000) == 0 && s.n == 1);
	k = dht_items_find(&s, target);
	CHECK(k && slice_is(k->item.v, "1:b") && k->item.seq == 3);
	/* ten at most; what many put stays */
	for (uint32_t from = 2; from < 20; from++)
		CHECK(put(&s, "1:b", 3, NULL, from, 3000) == 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(v, sizeof(v), "i%ue", i);
		CHECK(put(&s, v, -1, NULL, 1, 3000) == 0 && s.n <= 10);
	}
	CHECK(dht_items_find(&s, target) && s.n == 10);
	dht_items_expire(&s, 3000 + DHT_ITEM_MS - 1);
	CHECK(s.n == 10);
	dht_items_expire(&s, 3000 + DHT_ITEM_MS);
	CHECK(s.n == 0 && !dht_items_find(&s, target) && dht_items_memory(&s) == 0);
	dht_items_release(&s);
}

int main(void)
{
	test_bloom();
	test_peers();
	test_samples();
	test_tokens();
	test_gate();
	test_bep44();
	test_bep46();
	test_form();
	test_items();
	return test_done();
}
