/* SPDX-License-Identifier: MIT */
/* fast.c (test) - the BEPs' own vectors: allowed fast sets, peer priorities;
 * and names in peer ids. */
#include "test/test.h"
#include "wire/wire.h"

static struct addr ip(const char *text, uint16_t port)
{
	struct addr a;
	CHECK(addr_parse_ip(&a, slice_str(text)));
	a.port = port;
	return a;
}

static void bep6(void)
{
	static const uint32_t want[9] = { 1059, 431, 808, 1217, 287, 376, 1188, 353, 508 };
	uint8_t hash[20];
	uint32_t got[20];
	struct addr a = ip("80.4.4.200", 1);
	memset(hash, 0xaa, sizeof(hash));
	CHECK(fast_set(&a, hash, 1313, got, 7) == 7 && memcmp(got, want, 7 * 4) == 0);
	CHECK(fast_set(&a, hash, 1313, got, 9) == 9 && memcmp(got, want, 9 * 4) == 0);
	CHECK(fast_set(&a, hash, 1313, got, FAST_SET) == FAST_SET && memcmp(got, want, FAST_SET * 4) == 0);
	struct addr neighbour = ip("80.4.4.1", 999);
	CHECK(fast_set(&neighbour, hash, 1313, got, 9) == 9 && memcmp(got, want, 9 * 4) == 0);
	struct addr other = ip("80.4.5.200", 1);
	CHECK(fast_set(&other, hash, 1313, got, 9) == 9 && memcmp(got, want, 9 * 4) != 0);
	struct addr six = ip("2001:db8::1", 1);
	CHECK(fast_set(&six, hash, 1313, got, 9) == 0);
	for (uint32_t pieces = 1; pieces < 40; pieces++) {
		size_t k = pieces < 20 ? pieces : 20;
		uint32_t seen = 0, distinct = 0;
		CHECK(fast_set(&a, hash, pieces, got, 20) == k);
		uint64_t set = 0;
		for (size_t i = 0; i < k; i++) {
			seen += got[i] < pieces;
			distinct += !(set >> got[i] & 1);
			set |= 1ull << got[i];
		}
		CHECK(seen == k && distinct == k);
	}
}

static uint32_t prio(const char *a, uint16_t ap, const char *b, uint16_t bp)
{
	struct addr x = ip(a, ap), y = ip(b, bp);
	uint32_t p = peer_priority(&x, &y);
	CHECK(peer_priority(&y, &x) == p);
	return p;
}

static uint32_t crc_hex(const char *hex)
{
	uint8_t p[32];
	size_t n = strlen(hex) / 2;
	CHECK(hex_decode(p, n, slice_str(hex)));
	return crc32c(0, p, n);
}

static void bep40(void)
{
	CHECK(prio("123.213.32.10", 1, "98.76.54.32", 2) == 0xec2d7224);
	CHECK(prio("123.213.32.10", 1, "123.213.32.234", 2) == 0x99568189);
	CHECK(prio("1.2.3.4", 80, "1.2.3.4", 81) == crc_hex("00500051"));
	CHECK(prio("1.2.3.4", 0x1234, "1.2.3.4", 0x0134) == crc_hex("01341234"));
	CHECK(prio("10.1.255.255", 1, "10.1.0.255", 2) == crc_hex("0a0100550a01ff55"));
	CHECK(prio("10.1.255.255", 1, "10.2.255.255", 2) == crc_hex("0a0155550a025555"));
	CHECK(prio("2001:db8:1:ffff:ffff:ffff:ffff:ffff", 1, "2001:db8:2:ffff:ffff:ffff:ffff:ffff", 2) ==
	      crc_hex("20010db80001555555555555555555552001"
		      "0db8000255555555555555555555"));
	CHECK(prio("2001:db8:1:00ff::", 1, "2001:db8:1:ffff::", 2) ==
	      crc_hex("20010db8000100550000000000000000"
		      "20010db80001ff550000000000000000"));
	CHECK(prio("2001:db8:1:ff00::ff", 1, "2001:db8:1:ffff::ff", 2) ==
	      crc_hex("20010db80001ff000000000000000055"
		      "20010db80001ffff0000000000000055"));
	CHECK(prio("2001:db8::1", 5, "2001:db8::1", 4) == crc_hex("00040005"));
	CHECK(prio("2001:db8::1", 5, "1.2.3.4", 4) == 0);
}

static void names(void)
{
	static const struct {
		const char *id, *name;
	} cases[] = {
		{ "-TR3000-abcdefghijkl", "Transmission 3.0.0" },
		{ "-qB4520-............", "qBittorrent 4.5.2" },
		{ "-LT20B0-............", "libtorrent 2.0.11" },
		{ "-lt0D60-............", "rTorrent 0.13.6" },
		{ "-BT0001-............", "bt 0.0.0.1" },
		{ "-BT7a5S-............", "BitTorrent 7.10.5.28" },
		{ "-zz1234-............", "zz 1.2.3.4" },
		{ "A2-1-36-0-..........", "aria2 1.36.0" },
		{ "M7-10-5--abcdefghijk", "BitTorrent 7.10.5" },
		{ "S58B-----...........", "Shadow 5.8.11" },
		{ "T03I-----...........", "BitTornado 0.3.18" },
		{ "-TR30x0_............", "unknown" },
		{ "-T\x1b"
		  "3000-............",
		  "unknown" },
		{ "-TR30\n0-............", "unknown" },
		{ "A2-1-36\x1b[0-.......", "unknown" },
		{ "M---------..........", "unknown" },
		{ "M11111111111111-----", "unknown" },
		{ "S------.............", "unknown" },
		{ "S58B................", "unknown" },
		{ "--------------------", "unknown" },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff............", "unknown" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char out[32];
		peer_id_name((const uint8_t *)cases[i].id, out);
		if (strcmp(out, cases[i].name) != 0)
			fprintf(stderr, "%s: %s\n", cases[i].name, out);
		CHECK(strcmp(out, cases[i].name) == 0);
	}
	for (int i = 0; i < 100000; i++) { /* always printable and ended */
		static const char *const start[] = { "", "-", "A2-", "M", "S", "-UT" };
		const char *s = start[random_below(ARRAY_LEN(start))];
		uint8_t id[20];
		char out[32];
		random_bytes(id, sizeof(id));
		for (int k = 0; k < 20; k++)
			if (random_below(3))
				id[k] = (uint8_t) "0123456789-AZaz"[id[k] % 15];
		memcpy(id, s, strlen(s));
		memset(out, 1, sizeof(out));
		peer_id_name(id, out);
		size_t n = strnlen(out, sizeof(out)), bad = n == sizeof(out);
		for (size_t k = 0; k < n; k++)
			bad += out[k] < ' ' || out[k] > '~';
		bool shown = n > 0 && bad == 0;
		if (!shown)
			CHECK(shown);
	}
}

int main(void)
{
	bep6();
	bep40();
	names();
	return test_done();
}
