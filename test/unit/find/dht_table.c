/* SPDX-License-Identifier: MIT */
/* Tests of dht_id.c and dht_table.c: ids that fit addresses (the vectors of BEP
 * 42), votes about our address, and who gets into a bucket, who stays, who goes. */
#include "find/dht_table.h"
#include "test/unit/find/dht_vectors.h"

#define MINUTE 60000u

static struct addr addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(&a, slice_str(text)));
	return a;
}

static void test_bep42(void)
{
	const char *at = vectors_section("bep42");
	char ip[64], valid[8];
	uint8_t id[20], made[20];
	unsigned n = 0;
	struct addr a;

	while (n < 10 && vectors_next(&at, "ip", ip, sizeof(ip)) && vectors_hex(&at, "node_id", id, 20) &&
	       vectors_next(&at, "valid", valid, sizeof(valid))) {
		CHECK(addr_parse_ip(&a, slice_str(ip)));
		CHECK(dht_id_fits(id, &a) == (strcmp(valid, "true") == 0));
		memcpy(made, id, 20);
		dht_id_fit(made, &a);
		CHECK(dht_id_fits(made, &a) && memcmp(made + 3, id + 3, 17) == 0);
		CHECK((memcmp(made, id, 20) == 0) == (strcmp(valid, "true") == 0));
		n++;
	}
	CHECK(n == 10);
	/* IPv6: the upper half counts, the lower doesn't */
	for (uint8_t r = 0; r < 8; r++) {
		struct addr six = addr("[2001:db8:1234:5678::1]:1"), other = addr("[2001:db8:1234:5679::1]:1");

		memset(id, 0x5a, 20);
		id[19] = r;
		CHECK(!dht_id_fits(id, &six));
		dht_id_fit(id, &six);
		CHECK(dht_id_fits(id, &six) && !dht_id_fits(id, &other));
		six = addr("[2001:db8:1234:5678::2]:2");
		CHECK(dht_id_fits(id, &six));
	}
	/* local networks are exempt */
	a = addr("192.168.1.2:3");
	memset(id, 0x77, 20);
	CHECK(dht_id_fits(id, &a));
}

static void test_addresses(void)
{
	static const char *const local[] = { "10.1.2.3:5", "172.16.0.1:5", "172.31.9.9:5", "192.168.0.1:5", "169.254.1.1:5",
					     "127.0.0.1:5", "[::1]:5", "[fe80::1]:5", "[fd00::1]:5" };
	static const char *const never[] = { "0.1.2.3:5", "224.0.0.1:5", "255.255.255.255:5", "[::]:5", "[ff02::1]:5",
					     "1.2.3.4:0", "1.2.3.4:1" };
	struct addr pub = addr("1.2.3.4:5"), lan = addr("192.168.3.4:5"), self = addr("127.0.0.1:9"), a;

	for (size_t i = 0; i < ARRAY_LEN(local); i++) {
		a = addr(local[i]);
		CHECK(dht_addr_is_local(&a));
		CHECK(!dht_addr_is_askable(&a, &pub));
		CHECK(dht_addr_is_askable(&a, &lan) == !addr_is_loopback(&a));
		CHECK(dht_addr_is_askable(&a, &self));
	}
	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		a = addr(never[i]);
		CHECK(!dht_addr_is_askable(&a, &pub) && !dht_addr_is_askable(&a, &self));
	}
	a = addr("172.32.0.1:5");
	CHECK(!dht_addr_is_local(&a) && dht_addr_is_askable(&a, &pub) && dht_addr_is_askable(&a, &lan));
}

static void test_distance(void)
{
	uint8_t t[20] = { 0 }, a[20] = { 0 }, b[20] = { 0 };

	CHECK(dht_nearer(t, a, b) == 0 && dht_shared_bits(a, b) == 160);
	a[19] = 1;
	CHECK(dht_nearer(t, a, b) > 0 && dht_nearer(t, b, a) < 0 && dht_shared_bits(a, b) == 159);
	b[0] = 0x80;
	CHECK(dht_nearer(t, a, b) < 0 && dht_shared_bits(a, b) == 0);
	t[0] = 0xff;
	CHECK(dht_nearer(t, a, b) > 0);
}

static void test_votes(void)
{
	struct dht_votes v = { .n = 0 };
	struct addr mine = addr("80.1.2.3:5"), lie = addr("81.1.2.3:5"), voter = addr("1.1.1.1:9");
	bool won = false;

	/* the same host may say it as often as it likes */
	for (int i = 0; i < 50; i++)
		won |= dht_vote(&v, &voter, &lie);
	CHECK(!won && v.n == 1);
	for (uint8_t i = 0; i < 3; i++) {
		voter.ip[0] = (uint8_t)(2 + i);
		CHECK(!dht_vote(&v, &voter, &mine));
	}
	voter.ip[0] = 9;
	CHECK(dht_vote(&v, &voter, &mine)); /* four of five */
	voter.ip[0] = 10;
	CHECK(!dht_vote(&v, &voter, &lie)); /* two of six */
	for (unsigned i = 0; i < 200; i++) { /* bounded; the newest voters count */
		voter.ip[0] = (uint8_t)(20 + i);
		won = dht_vote(&v, &voter, &mine);
		CHECK(v.n <= DHT_VOTERS);
	}
	CHECK(won);
}

/* ---- the table ---- */

/* A contact that shares `bits` bits with an own id of all zeros, in /24 number n. */
static struct dht_contact contact(unsigned bits, unsigned n)
{
	struct dht_contact c = { .addr = { .port = 6881 } };

	put_u32(c.addr.ip, (uint32_t)(60 << 24 | n << 8 | 1));
	for (int i = 2; i < 19; i++)
		c.id[i] = (uint8_t)(n * 7 + (unsigned)i);
	c.id[18] = (uint8_t)n;
	memset(c.id, 0, bits / 8);
	c.id[bits / 8] = (uint8_t)((c.id[bits / 8] & ~(0xffu << (7 - bits % 8))) | 0x80u >> bits % 8);
	return c;
}

static size_t in_table(const struct dht_table *t)
{
	uint32_t good, all;

	dht_table_count(t, 0, &good, &all);
	return all;
}

static void test_buckets(void)
{
	static const uint8_t own[20];
	struct dht_contact out[16], c;
	struct dht_table t;

	dht_table_init(&t, own);
	CHECK(dht_table_closest(&t, own, false, out, 16, 0) == 0 && !dht_table_questionable(&t, 0));
	CHECK(dht_table_stale(&t, 1u << 30) == -1);
	for (unsigned bits = 0; bits < 20; bits++)
		for (unsigned i = 0; i < 12; i++) {
			c = contact(bits, bits * 16 + i + 1);
			CHECK(dht_shared_bits(own, c.id) == bits);
			dht_table_answered(&t, &c, 1000);
		}
	/* eight of each distance, in buckets of their own */
	CHECK(t.n >= 19 && t.n <= 21 && in_table(&t) == 20 * 8);
	for (size_t i = 0; i < t.n; i++)
		for (int j = 0; j < t.b[i].nlive; j++)
			CHECK(dht_shared_bits(own, t.b[i].live[j].c.id) == i ||
			      (i == t.n - 1 && dht_shared_bits(own, t.b[i].live[j].c.id) > i));
	CHECK(dht_table_closest(&t, own, true, out, 16, 1000) == 16);
	for (int i = 1; i < 16; i++)
		CHECK(dht_nearer(own, out[i - 1].id, out[i].id) < 0);
	CHECK(dht_shared_bits(own, out[0].id) == 19 && dht_shared_bits(own, out[15].id) == 18);
	/* after 15 minutes of silence they are questionable, and not told to others */
	CHECK(dht_table_closest(&t, own, true, out, 16, 1000 + 15 * MINUTE) == 0);
	CHECK(dht_table_closest(&t, own, false, out, 16, 1000 + 15 * MINUTE) == 16);
	CHECK(dht_table_questionable(&t, 1000 + 15 * MINUTE) && !dht_table_questionable(&t, 1001));
	/* an id of a bucket's range is in it */
	for (size_t i = 0; i < t.n; i++) {
		uint8_t id[20];

		memset(id, 0xa5, 20);
		dht_table_id_in(&t, i, id);
		CHECK(i + 1 == t.n ? dht_shared_bits(own, id) >= i : dht_shared_bits(own, id) == i);
	}
	CHECK(dht_table_stale(&t, 1000 + 15 * MINUTE) == 0 && dht_table_stale(&t, 1000 + 15 * MINUTE) == 1);
	/* a new id of ours: everybody is sorted again */
	c = contact(0, 3);
	dht_table_set_own(&t, c.id, 2000);
	CHECK(in_table(&t) >= 8 && !dht_table_find(&t, &c.addr));
	for (size_t i = 0; i < t.n; i++)
		for (int j = 0; j < t.b[i].nlive; j++)
			CHECK(dht_shared_bits(t.own, t.b[i].live[j].c.id) >= i);
	dht_table_release(&t);
}

static void test_rivals(void)
{
	static const uint8_t own[20];
	struct dht_contact a = contact(0, 1), b;
	struct dht_table t;

	dht_table_init(&t, own);
	dht_table_answered(&t, &a, 1000);
	/* a neighbour in the same bucket, the same host anywhere, the same id: no */
	b = contact(0, 2);
	memcpy(b.addr.ip, a.addr.ip, 4);
	b.addr.ip[3] = 99;
	dht_table_answered(&t, &b, 1000);
	CHECK(!dht_table_asked(&t, &b, 1000));
	b = contact(5, 3);
	b.addr = a.addr;
	b.addr.port = 1234;
	dht_table_answered(&t, &b, 1000);
	CHECK(!dht_table_asked(&t, &b, 1000));
	b = contact(0, 4);
	memcpy(b.id, a.id, 20);
	dht_table_answered(&t, &b, 1000);
	CHECK(in_table(&t) == 1 && dht_table_find(&t, &a.addr));
	/* who says it is us, or suddenly somebody else, is out */
	b = contact(0, 5);
	memcpy(b.id, own, 20);
	dht_table_answered(&t, &b, 1000);
	CHECK(in_table(&t) == 1 && !dht_table_asked(&t, &b, 1000));
	b = a;
	b.id[10] ^= 1;
	dht_table_answered(&t, &b, 1000);
	CHECK(in_table(&t) == 0);
	/* in a network of our own there are no neighbourhoods */
	for (unsigned i = 1; i <= 5; i++) {
		b = contact(0, i);
		put_u32(b.addr.ip, 192u << 24 | 168u << 16 | 1 << 8 | i);
		dht_table_answered(&t, &b, 1000);
	}
	CHECK(in_table(&t) == 5);
	dht_table_release(&t);
}

static void test_replacement(void)
{
	static const uint8_t own[20];
	struct dht_contact c[12], fit, out[16];
	struct dht_table t;

	dht_table_init(&t, own);
	for (unsigned i = 0; i < 12; i++)
		c[i] = contact(0, i + 1);
	for (unsigned i = 0; i < 9; i++) /* the ninth splits, and waits */
		dht_table_answered(&t, &c[i], 1000 + i);
	CHECK(in_table(&t) == 8 && t.b[0].nspare == 1 && t.n == 2);
	CHECK(!dht_table_asked(&t, &c[9], 2000)); /* no room: not worth a ping */
	/* while nobody answers it is nobody's fault */
	for (int i = 0; i < 5; i++)
		dht_table_failed(&t, &c[3].addr, false, 2000);
	CHECK(dht_table_find(&t, &c[3].addr)->fails == 0);
	/* once is chance, twice is bad: the one that waits takes its place */
	dht_table_failed(&t, &c[3].addr, true, 2000);
	CHECK(dht_table_find(&t, &c[3].addr) && t.b[0].nspare == 1);
	dht_table_failed(&t, &c[3].addr, true, 2000);
	CHECK(!dht_table_find(&t, &c[3].addr) && dht_table_find(&t, &c[8].addr) && t.b[0].nspare == 0 && t.b[0].nlive == 8);
	/* without one that waits it stays, untold, until somebody comes */
	dht_table_failed(&t, &c[4].addr, true, 2000);
	dht_table_failed(&t, &c[4].addr, true, 2000);
	CHECK(dht_table_find(&t, &c[4].addr) && dht_table_closest(&t, own, false, out, 16, 2000) == 7);
	CHECK(dht_table_asked(&t, &c[9], 2000));
	dht_table_answered(&t, &c[9], 2000);
	CHECK(!dht_table_find(&t, &c[4].addr) && dht_table_find(&t, &c[9].addr));
	/* an answer makes good again */
	dht_table_failed(&t, &c[5].addr, true, 2000);
	dht_table_answered(&t, &c[5], 2000);
	CHECK(dht_table_find(&t, &c[5].addr)->fails == 0);
	/* an id that fits its address takes the place of one that doesn't */
	fit = contact(0, 40);
	do {
		fit.id[19]++;
		dht_id_fit(fit.id, &fit.addr);
	} while (dht_shared_bits(own, fit.id) != 0);
	CHECK(dht_table_asked(&t, &fit, 2000));
	dht_table_answered(&t, &fit, 2000);
	CHECK(dht_table_find(&t, &fit.addr) && t.b[0].nlive == 8);
	dht_table_release(&t);
}

static void test_load(void)
{
	static const uint8_t own[20];
	struct dht_contact c, out[16];
	struct dht_table t;

	dht_table_init(&t, own);
	for (unsigned i = 0; i < 20; i++) {
		c = contact(0, i + 1);
		dht_table_load(&t, &c, 1000);
	}
	CHECK(in_table(&t) == 8);
	/* asked, but not told; the first to be pinged; gone after two failures */
	CHECK(dht_table_closest(&t, own, true, out, 16, 1000) == 0 && dht_table_closest(&t, own, false, out, 16, 1000) == 8);
	CHECK(dht_table_questionable(&t, 1000));
	c = contact(0, 1);
	dht_table_failed(&t, &c.addr, true, 1000);
	dht_table_failed(&t, &c.addr, true, 1000);
	CHECK(!dht_table_find(&t, &c.addr));
	/* and anybody who answers takes their place */
	for (unsigned i = 0; i < 8; i++) {
		c = contact(0, 100 + i);
		dht_table_answered(&t, &c, 2000);
	}
	CHECK(dht_table_closest(&t, own, true, out, 16, 2000) == 8 && in_table(&t) == 8);
	dht_table_release(&t);
}

/* Whatever happens: counts within bounds, everybody in the right bucket, once. */
static void test_chance(void)
{
	uint8_t own[20] = { 0x12, 0x34 };
	struct dht_table t;
	uint64_t now = 1000;
	uint32_t r = 1;

	dht_table_init(&t, own);
	for (int k = 0; k < 20000; k++) {
		struct dht_contact c;

		r = r * 1664525 + 1013904223;
		c = contact(r >> 28, r >> 16 & 0x3ff);
		if (r & 4)
			memcpy(c.id, own, r >> 8 & 3);
		switch (r >> 12 & 7) {
		case 0: dht_table_failed(&t, &c.addr, r & 1, now); break;
		case 1: dht_table_forget(&t, &c.addr); break;
		case 2: dht_table_load(&t, &c, now); break;
		case 3: dht_table_asked(&t, &c, now); break;
		default: dht_table_answered(&t, &c, now);
		}
		now += r >> 20;
		if (k % 5000 == 4999) {
			own[0] = (uint8_t)r;
			dht_table_set_own(&t, own, now);
		}
	}
	for (size_t i = 0; i < t.n; i++) {
		CHECK(t.b[i].nlive <= DHT_K && t.b[i].nspare <= DHT_K);
		for (int j = 0; j < t.b[i].nlive; j++) {
			unsigned bits = dht_shared_bits(own, t.b[i].live[j].c.id);

			CHECK(i + 1 == t.n ? bits >= i : bits == i);
			CHECK(dht_table_find(&t, &t.b[i].live[j].c.addr) == &t.b[i].live[j]);
		}
	}
	CHECK(in_table(&t) > 8);
	dht_table_release(&t);
}

int main(void)
{
	test_bep42();
	test_addresses();
	test_distance();
	test_votes();
	test_buckets();
	test_rivals();
	test_replacement();
	test_load();
	test_chance();
	return test_done();
}
