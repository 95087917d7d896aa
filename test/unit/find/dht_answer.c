/* SPDX-License-Identifier: MIT */
/* Tests of what a node does when asked: how long answers get before and after an
 * address is proven, floods, errors, tokens, ports, items; who is never answered.
 * The lines of the threat list about reflection and limits are here. */
#include "base/ed25519.h"
#include "test/unit/find/dht_lab.h"

#define STRANGER_ID "abcdefghij0123456789"

static struct addr stranger;
static uint8_t target[20], hash[20];
static char big_value[DHT_ITEM_MAX];

static struct dht_msg query(enum dht_method method)
{
	struct dht_msg m = { .kind = 'q', .method = method, .t = slice_str("xy"), .id = slice_str(STRANGER_ID) };

	if (method == DHT_GET_PEERS || method == DHT_ANNOUNCE_PEER)
		m.info_hash = slice_of(hash, 20);
	else if (method != DHT_PING && method != DHT_PUT)
		m.target = slice_of(target, 20);
	return m;
}

/* The node has 30 neighbours, a torrent with 100 peers, and an item of 1,000 bytes. */
static struct dht *full_node(const struct dht_opts *opts)
{
	struct dht *d;
	struct dht_item it;

	lab_clear();
	d = lab_add("80.1.2.3:6881", opts);
	for (uint32_t i = 0; i < 30; i++) {
		struct dht_contact c = { .addr = { .port = 6881 } };

		put_u32(c.addr.ip, 60u << 24 | i << 8 | 1);
		put_u32(c.id, i << 27);
		c.id[19] = (uint8_t)i;
		dht_table_answered(&d->table, &c, lab.now);
	}
	memset(hash, 0x5a, 20);
	for (uint32_t i = 0; i < 100; i++) {
		struct addr p = { .port = 6881 };

		put_u32(p.ip, 61u << 24 | i << 8 | 1);
		CHECK(dht_store_add(&d->store, hash, &p, i % 4 == 0, lab.now));
	}
	memset(big_value, 'x', sizeof(big_value));
	memcpy(big_value, "996:", 4);
	it = (struct dht_item){ .v = slice_of(big_value, sizeof(big_value)) };
	CHECK(dht_items_put(&d->items, &it, NULL, &stranger, d->id, lab.now) == 0);
	dht_item_target(&it, target);
	return d;
}

static size_t said_len(const struct dht_msg *m)
{
	struct buf b;
	size_t n;

	buf_init(&b, 4000);
	dht_encode(&b, m);
	n = b.n;
	buf_release(&b);
	return n;
}

/* Pings back to the stranger: answered by them all. */
static void answer_pings(struct dht *d, const struct addr *as)
{
	size_t n = lab.nkept;

	for (size_t i = 0; i < n; i++) {
		struct dht_msg m, r = { .kind = 'r', .id = slice_str(STRANGER_ID) };
		struct lab_packet p = lab.kept[i];

		if (!dht_parse(slice_of(p.bytes, p.n), &m) || m.kind != 'q')
			continue;
		CHECK(m.method == DHT_PING);
		r.t = m.t;
		lab.nkept = 0;
		lab_say(d, as, &r);
	}
}

static void test_reflection(void)
{
	static const enum dht_method methods[] = { DHT_PING, DHT_FIND_NODE, DHT_GET_PEERS, DHT_GET, DHT_SAMPLE };

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		for (int scrape = 0; scrape < 2; scrape++)
			for (int ro = 0; ro < 2; ro++) {
				struct dht *d = full_node(NULL);
				struct dht_msg q = query(methods[i]);
				size_t asked, got = 0, pings = 0;

				/* Without a budget for read-only nodes nothing long goes out at all. */
				budget_init(&d->unproven, 1, lab.now);
				q.read_only = ro;
				if (methods[i] == DHT_GET_PEERS && scrape) {
					q.scrape = 1;
					q.has = DHT_HAS_SCRAPE;
				}
				q.want = scrape ? DHT_WANT_N4 | DHT_WANT_N6 : 0;
				asked = said_len(&q);
				lab.nkept = 0;
				lab_say(d, &stranger, &q);
				for (size_t j = 0; j < lab.nkept; j++) {
					struct dht_msg m;

					CHECK(dht_parse(slice_of(lab.kept[j].bytes, lab.kept[j].n), &m));
					got += lab.kept[j].n;
					pings += m.kind == 'q';
				}
				CHECK(lab.nkept >= 1 && pings <= 1 && !(ro && pings));
				/* all that came of one query, the ping to a possible node included */
				CHECK(got <= 3 * asked + 40 + (pings && lab.nkept == 2 ? 70 : 0));
			}
}

/* A long answer waits for the proof, and comes then. */
static void test_held(void)
{
	struct dht *d = full_node(NULL);
	struct dht_msg q = query(DHT_GET), m;
	struct addr other = lab_addr("90.1.2.4:1000");

	lab.nkept = 0;
	lab_say(d, &stranger, &q);
	CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m) && m.kind == 'q');
	answer_pings(d, &other); /* from elsewhere: no proof */
	CHECK(lab.nkept == 0);
	d->now = lab.now += 10000;
	dht_query_timeouts(d); /* that ping has failed */
	lab.nkept = 0;
	lab_say(d, &stranger, &q);
	lab_say(d, &stranger, &q); /* not a second ping */
	CHECK(lab.nkept == 1);
	answer_pings(d, &stranger);
	CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m));
	CHECK(m.kind == 'r' && m.v.n == DHT_ITEM_MAX && m.token.n && slice_is(m.t, "xy") && lab.kept[0].n <= DHT_PACKET_MAX);
	CHECK(m.ip.n == 6 && get_u32(m.ip.p) == get_u32(stranger.ip));
	/* from then on at once; many peers and filters in 1024 bytes */
	CHECK(lab_ask(d, &stranger, &q, &m) && m.v.n == DHT_ITEM_MAX && m.nodes.n);
	q = query(DHT_GET_PEERS);
	CHECK(lab_ask(d, &stranger, &q, &m) && m.nodes.n == 8 * 26 && m.values.n > 70 * 8 && lab.kept[0].n <= 1024);
	q.scrape = 1;
	q.has = DHT_HAS_SCRAPE;
	CHECK(lab_ask(d, &stranger, &q, &m) && m.bloom_seeds.n && m.bloom_peers.n && m.values.n && lab.kept[0].n <= 1024);
	CHECK(dht_bloom_count(m.bloom_seeds.p) > 23 && dht_bloom_count(m.bloom_seeds.p) < 27);
	CHECK(dht_bloom_count(m.bloom_peers.p) > 70 && dht_bloom_count(m.bloom_peers.p) < 80);
	q = query(DHT_SAMPLE);
	CHECK(lab_ask(d, &stranger, &q, &m) && m.samples.n == 20 && m.num == 1 && m.has & DHT_HAS_INTERVAL);
	d = full_node(NULL);
	d->pings_left = 0;
	q = query(DHT_GET);
	for (int i = 0; i < 40; i++) { /* no more than 16 wait; the rest get what is short */
		struct addr a = stranger;

		a.ip[2] = (uint8_t)i;
		lab.nkept = 0;
		lab_say(d, &a, &q);
		CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m));
		CHECK(i < DHT_HELD ? m.kind == 'q' : m.kind == 'r' && m.token.n && !m.v.p);
	}
}

/* Who can't answer pings has a small budget for long answers, all of them together. */
static void test_read_only_asker(void)
{
	struct dht *d = full_node(&(struct dht_opts){ .query_rate = 100000, .up_rate = 10000000 });
	struct dht_msg q = query(DHT_GET), m;
	unsigned full = 0, cut = 0;

	q.read_only = true;
	for (int i = 0; i < 200; i++) {
		CHECK(lab_ask(d, &stranger, &q, &m) && m.kind == 'r');
		full += m.v.p != NULL;
		cut += !m.v.p;
	}
	CHECK(full >= 1 && full < 40 && cut > 160);
	CHECK(dht_table_find(&d->table, &stranger) == NULL && !dht_is_asked(d, &stranger));
}

static void test_floods(void)
{
	struct dht *d = full_node(NULL);
	struct dht_msg q = query(DHT_FIND_NODE), m;
	struct addr other = lab_addr("90.1.3.4:1000");
	unsigned answered = 0;
	struct dht_stats s;
	uint64_t before, start;

	for (int i = 0; i < 200; i++)
		answered += lab_ask(d, &stranger, &q, &m) && m.kind == 'r';
	CHECK(answered >= 49 && answered <= 50); /* the first came with a ping */
	CHECK(lab_ask(d, &other, &q, &m) || lab.nkept == 2);
	lab.now += 299000;
	CHECK(!lab_ask(d, &stranger, &q, &m) && lab.nkept == 0);
	lab.now += 2000;
	lab_ask(d, &stranger, &q, &m);
	CHECK(lab.nkept > 0);
	/* from everywhere: 8,000 bytes a second, whatever is asked */
	d = full_node(NULL);
	dht_stats(d, &s, lab.now);
	before = s.bytes_out;
	start = lab.now;
	for (uint32_t i = 0; i < 20000; i++) {
		struct addr a = { .port = 5000 };

		put_u32(a.ip, 0x50000000 + i * 65537);
		q.read_only = true; /* no pings */
		lab_say(d, &a, &q);
		lab.now = start + i; /* 1,000 a second */
	}
	dht_stats(d, &s, lab.now);
	CHECK(s.bytes_out - before < 32768 + 8000 * 21 && s.bytes_out - before > 8000 * 18 && s.refused > 10000);
	lab.nkept = 0;
}

static void say_text(struct dht *d, const char *text)
{
	lab.nkept = 0;
	dht_on_packet(d, &stranger, slice_str(text), lab.now);
	lab_deliver();
}

static void test_silence(void)
{
	static const char *const nothing[] = {
		"", "d", "de", "le", "i1e", "GET / HTTP/1.0\r\n\r\n", "d1:t2:xy1:y1:qe1:", "d1:y1:q1:t21:aaaaaaaaaaaaaaaaaaaaae",
		/* answers and errors that nobody asked for; errors about errors */
		"d1:rd2:id20:abcdefghij0123456789e1:t4:\0\0\0\0001:y1:re",
		"d1:rd2:id20:abcdefghij0123456789e1:t2:xy1:y1:re",
		"d1:eli203e5:wronge1:t2:xy1:y1:ee", "d1:e3:abc1:t2:xy1:y1:ee", "d1:t2:xy1:y1:ee", "d1:t2:xy1:y1:re",
		"d1:eli201e1:xe1:q4:ping1:t2:xy1:y1:ee",
	};
	struct dht *d = full_node(NULL);
	struct dht_msg q = query(DHT_PING), m;
	struct addr a;

	for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
		say_text(d, nothing[i]);
		CHECK(lab.nkept == 0);
	}
	/* from where nobody can be */
	a = lab_addr("90.1.2.3:0");
	CHECK(!lab_ask(d, &a, &q, &m) && lab.nkept == 0);
	a = lab_addr("224.0.0.1:53");
	CHECK(!lab_ask(d, &a, &q, &m) && lab.nkept == 0);
	a = lab_addr("[2001:db8::1]:53");
	CHECK(!lab_ask(d, &a, &q, &m) && lab.nkept == 0);
	/* who says to be us */
	q.id = slice_of(d->id, 20);
	CHECK(!lab_ask(d, &stranger, &q, &m) && lab.nkept == 0);
	/* bad questions get errors, short ones */
	say_text(d, "d1:q4:ping1:t2:xy1:y1:qe");
	CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m) && m.kind == 'e' && m.error == 203);
	CHECK(slice_is(m.t, "xy") && lab.kept[0].n < 80);
	say_text(d, "d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:xy1:y1:qe");
	CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m) && m.kind == 'e' && m.error == 204);
	/* a read-only node answers nobody, and says so when it asks */
	d = full_node(&(struct dht_opts){ .read_only = true });
	q = query(DHT_PING);
	CHECK(!lab_ask(d, &stranger, &q, &m) && lab.nkept == 0);
	dht_add_node(d, &stranger, lab.now);
	lab_deliver();
	CHECK(lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), &m) && m.read_only);
}

static void test_announce(void)
{
	struct dht *d = full_node(NULL);
	struct dht_msg q, m;
	struct dht_torrent *t;
	uint8_t token[DHT_TOKEN_MAX], other[20];
	struct addr self = lab_addr("90.1.2.3:4000"), elsewhere = lab_addr("90.9.9.9:4000");

	memset(other, 0x33, 20);
	memset(hash, 0x22, 20);
	dht_gate_prove(&d->gate, &self, lab.now);
	dht_table_forget(&d->table, &self);
	d->pings_left = 0;
	q = query(DHT_GET_PEERS);
	CHECK(lab_ask(d, &self, &q, &m) && m.token.n == DHT_TOKEN && !m.values.p && m.nodes.n == 8 * 26);
	memcpy(token, m.token.p, m.token.n);
	q = query(DHT_ANNOUNCE_PEER);
	q.token = slice_of(token, DHT_TOKEN);
	q.has = DHT_HAS_PORT;
	q.port = 7000;
	CHECK(lab_ask(d, &elsewhere, &q, &m) && m.kind == 'e' && m.error == DHT_E_PROTOCOL);
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'r');
	t = dht_store_find(&d->store, hash);
	CHECK(t && t->n == 1 && t->peers[0].port == 7000 && !t->peers[0].seed);
	q.has |= DHT_HAS_IMPLIED | DHT_HAS_SEED;
	q.implied_port = q.seed = 1;
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'r');
	CHECK(t->n == 1 && t->peers[0].port == 4000 && t->peers[0].seed);
	q.implied_port = 0;
	for (q.port = 0; q.port < 2; q.port++)
		CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'e' && m.error == DHT_E_PROTOCOL);
	q.has = DHT_HAS_IMPLIED; /* 0: the port is needed */
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'e');
	q.has = DHT_HAS_PORT;
	q.port = 7000;
	q.info_hash = slice_of(other, 20); /* of another torrent */
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'e');
	q.info_hash = slice_of(hash, 20);
	q.token = slice_of(token, 4);
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'e');
	q.token = slice_of(token, DHT_TOKEN);
	lab.now += 11 * 60000;
	d->tick_ms = lab.now;
	dht_on_timer(d, lab.now);
	dht_on_timer(d, lab.now + 300000);
	lab.now += 300000;
	lab_deliver();
	d->pings_left = 0;
	CHECK(lab_ask(d, &self, &q, &m) && m.kind == 'e'); /* too old */
	/* no seeds for seeds */
	q = query(DHT_GET_PEERS);
	q.noseed = 1;
	q.has = DHT_HAS_NOSEED;
	CHECK(lab_ask(d, &self, &q, &m) && !m.values.p);
	q.has = 0;
	CHECK(lab_ask(d, &self, &q, &m) && m.values.n == 10);
	CHECK(!dht_store_find(&d->store, other));
}

/* When a torrent is full, no token is given for it (BEP 33). */
static void test_full(void)
{
	struct dht *d = full_node(&(struct dht_opts){ .max_peers = 100 });
	struct dht_msg q = query(DHT_GET_PEERS), m;
	struct addr in = { .port = 9 };

	dht_gate_prove(&d->gate, &stranger, lab.now);
	d->pings_left = 0;
	CHECK(lab_ask(d, &stranger, &q, &m) && !m.token.p && m.values.n);
	put_u32(in.ip, 61u << 24 | 5 << 8 | 1);
	dht_gate_prove(&d->gate, &in, lab.now);
	CHECK(lab_ask(d, &in, &q, &m) && m.token.n);
}

static int put(struct dht *d, const struct addr *from, struct dht_item *it, const char *token, const int64_t *cas)
{
	struct dht_msg q = { .kind = 'q', .method = DHT_PUT, .t = slice_str("xy"), .id = slice_str(STRANGER_ID) }, m;
	uint8_t at[20], good[DHT_TOKEN];

	dht_item_target(it, at);
	dht_token_make(&d->gate, from, at, good);
	q.token = token ? slice_str(token) : slice_of(good, DHT_TOKEN);
	q.v = it->v;
	if (it->is_mutable) {
		q.key = slice_of(it->key, 32);
		q.sig = slice_of(it->sig, 64);
		q.seq = it->seq;
		q.has = DHT_HAS_SEQ;
		if (it->salt.n)
			q.salt = it->salt;
	}
	if (cas) {
		q.cas = *cas;
		q.has |= DHT_HAS_CAS;
	}
	if (!lab_ask(d, from, &q, &m))
		return -1;
	return m.kind == 'e' ? m.error : 0;
}

static void test_put(void)
{
	struct dht *d = full_node(&(struct dht_opts){ .query_rate = 1000, .up_rate = 1000000 });
	uint8_t seed[32] = { 5 }, secret[64], salt[65], at[20], bad_sig[64];
	struct dht_msg q, m;
	struct dht_item it = { .v = slice_str("3:abc") };
	char big[DHT_ITEM_MAX + 1];
	int64_t seven = 7, five = 5;
	unsigned taken = 0;

	d->pings_left = 0;
	dht_gate_prove(&d->gate, &stranger, lab.now);
	CHECK(put(d, &stranger, &it, "wrong", NULL) == DHT_E_PROTOCOL);
	CHECK(put(d, &stranger, &it, NULL, NULL) == 0);
	dht_item_target(&it, at);
	q = query(DHT_GET);
	q.target = slice_of(at, 20);
	CHECK(lab_ask(d, &stranger, &q, &m) && slice_is(m.v, "3:abc") && !m.key.p && !(m.has & DHT_HAS_SEQ));
	it.v = slice_str("d1:b0:1:a0:e");
	CHECK(put(d, &stranger, &it, NULL, NULL) == DHT_E_PROTOCOL);
	memset(big, 'x', sizeof(big));
	memcpy(big, "997:", 4);
	it.v = slice_of(big, sizeof(big));
	CHECK(put(d, &stranger, &it, NULL, NULL) == DHT_E_TOO_BIG);
	/* mutable */
	ed25519_secret(secret, seed);
	it = (struct dht_item){ .v = slice_str("1:a"), .seq = 5, .salt = slice_str("s") };
	CHECK(dht_item_sign(&it, secret));
	memcpy(bad_sig, it.sig, 64);
	it.sig[0] ^= 1;
	CHECK(put(d, &stranger, &it, NULL, NULL) == DHT_E_SIGNATURE);
	memcpy(it.sig, bad_sig, 64);
	CHECK(put(d, &stranger, &it, NULL, &seven) == 0); /* nothing there to compare with */
	CHECK(put(d, &stranger, &it, NULL, NULL) == 0);
	it.v = slice_str("1:b");
	CHECK(dht_item_sign(&it, secret) && put(d, &stranger, &it, NULL, NULL) == DHT_E_SEQ);
	it.seq = 4;
	CHECK(dht_item_sign(&it, secret) && put(d, &stranger, &it, NULL, NULL) == DHT_E_SEQ);
	it.seq = 6;
	CHECK(dht_item_sign(&it, secret) && put(d, &stranger, &it, NULL, &seven) == DHT_E_CAS);
	CHECK(put(d, &stranger, &it, NULL, &five) == 0);
	memset(salt, 's', sizeof(salt));
	it.salt = slice_of(salt, 65);
	CHECK(put(d, &stranger, &it, NULL, NULL) == DHT_E_SALT);
	it.salt = slice_str("s");
	dht_item_target(&it, at);
	q = query(DHT_GET);
	q.target = slice_of(at, 20);
	CHECK(lab_ask(d, &stranger, &q, &m) && slice_is(m.v, "1:b") && m.seq == 6 && m.key.n == 32 && m.sig.n == 64 && !m.salt.p);
	/* who has it already is told so in few bytes */
	q.seq = 6;
	q.has = DHT_HAS_SEQ;
	CHECK(lab_ask(d, &stranger, &q, &m) && m.seq == 6 && !m.v.p && !m.key.p && !m.sig.p);
	q.seq = 5;
	CHECK(lab_ask(d, &stranger, &q, &m) && slice_is(m.v, "1:b"));
	/* signatures are looked at 50 times in five seconds, whoever asks */
	for (int i = 0; i < 100; i++) {
		it.seq = 10 + i;
		it.sig[3]++;
		taken += put(d, &stranger, &it, NULL, NULL) == DHT_E_SIGNATURE;
	}
	CHECK(taken >= 40 && taken <= DHT_SIGNATURES);
}

int main(void)
{
	stranger = lab_addr("90.1.2.3:1000");
	test_reflection();
	test_held();
	test_read_only_asker();
	test_floods();
	test_silence();
	test_announce();
	test_full();
	test_put();
	lab_clear();
	return test_done();
}
