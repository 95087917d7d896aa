/* SPDX-License-Identifier: MIT */
/* Tests of a node among others (dht.c, dht_query.c, dht_search.c, dht_find.c,
 * dht_state.c): announce and find, put and get, estimates, samples; answers from
 * the wrong place, from ourselves, from liars; neighbours of a target who aren't
 * what they seem; our address learnt by votes; both families; saved states. */
#include "base/ed25519.h"
#include "test/unit/find/dht_lab.h"

/* ---- what a search told ---- */

static struct seen {
	unsigned peers, items, samples, done;
	struct addr peer;
	int64_t seq;
	char v[64];
	uint32_t num, interval_s;
	struct dht_result end; /* the last DHT_DONE */
	struct dht *cancel;    /* cancels itself with the first result */
} seen;

static void on_result(void *arg, const struct dht_result *r)
{
	struct seen *s = arg;

	switch (r->what) {
	case DHT_PEERS:
		s->peers += (unsigned)r->npeers;
		s->peer = r->peers[0];
		break;
	case DHT_ITEM:
		s->items++;
		s->seq = r->item->seq;
		snprintf(s->v, sizeof(s->v), "%.*s", (int)r->item->v.n, (const char *)r->item->v.p);
		break;
	case DHT_SAMPLES:
		s->samples += (unsigned)(r->samples.n / 20);
		s->num = r->num;
		s->interval_s = r->interval_s;
		break;
	case DHT_DONE:
		s->done++;
		s->end = *r;
	}
	if (s->cancel)
		dht_cancel(s->cancel, r->search);
}

static void forget(void)
{
	memset(&seen, 0, sizeof(seen));
}

/* A network of n nodes that know each other through the first. */
static void network(size_t n)
{
	struct addr first;

	lab_clear();
	for (size_t i = 0; i < n; i++) {
		char text[64];
		struct addr a;

		snprintf(text, sizeof(text), "80.%zu.%zu.7:%zu", i % 200, i, 6000 + i);
		a = lab_addr(text);
		lab_add(text, &(struct dht_opts){ .external = a });
		if (i == 0)
			first = a;
		else
			dht_add_node(lab.node[i].d, &first, lab.now);
	}
	lab_run(60000);
}

static void test_peers(void)
{
	uint8_t hash[20];
	struct dht_stats s;

	network(20);
	for (size_t i = 0; i < 20; i++) {
		dht_stats(lab.node[i].d, &s, lab.now);
		CHECK(s.good >= 8 && s.searches == 0 && s.pending <= 3);
	}
	memset(hash, 0x42, 20);
	forget();
	CHECK(dht_find_peers(lab.node[3].d, hash, DHT_ANNOUNCE | DHT_SEED, 7777, on_result, &seen, lab.now) != 0);
	CHECK(seen.done == 0); /* never from inside the call */
	lab_run(10000);
	CHECK(seen.done == 1 && seen.peers == 0 && seen.end.stored == 8 && seen.end.error == 0 && seen.end.answered >= 8);
	forget();
	CHECK(dht_find_peers(lab.node[11].d, hash, DHT_ANNOUNCE | DHT_IMPLIED_PORT, 1, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.peers >= 7 && seen.end.stored == 8);
	CHECK(addr_same_ip(&seen.peer, &lab.node[3].addr) && seen.peer.port == 7777);
	/* with estimates; then without seeds */
	forget();
	CHECK(dht_find_peers(lab.node[17].d, hash, DHT_SCRAPE, 0, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.peers >= 14 && seen.end.seeds == 1 && seen.end.leechers == 1);
	forget();
	CHECK(dht_find_peers(lab.node[17].d, hash, DHT_NOSEED, 0, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.peers >= 7 && addr_eq(&seen.peer, &lab.node[11].addr));
	/* samples on the way to the target */
	forget();
	CHECK(dht_sample(lab.node[5].d, hash, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.samples >= 7 && seen.num <= 1);
	forget();
	CHECK(dht_find_node(lab.node[5].d, hash, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.answered >= 8 && seen.end.hops >= 1);
	/* cancelled before it begins, and from inside a result */
	forget();
	dht_cancel(lab.node[5].d, dht_find_peers(lab.node[5].d, hash, 0, 0, on_result, &seen, lab.now));
	dht_cancel(lab.node[5].d, 12345);
	lab_run(10000);
	CHECK(seen.done == 0 && seen.peers == 0);
	seen.cancel = lab.node[5].d;
	CHECK(dht_find_peers(lab.node[5].d, hash, 0, 0, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 0 && seen.peers > 0 && seen.peers <= 2);
	dht_stats(lab.node[5].d, &s, lab.now);
	CHECK(s.searches == 0);
}

static void test_items(void)
{
	uint8_t seed[32] = { 3 }, secret[64], target[20];
	struct dht_item it = { .v = slice_str("5:hello") };
	int64_t one = 1, nine = 9;
	struct dht *d;

	network(20);
	d = lab.node[2].d;
	ed25519_secret(secret, seed);
	forget();
	CHECK(dht_put(d, &it, NULL, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.stored == 8 && seen.items == 0);
	dht_item_target(&it, target);
	forget();
	CHECK(dht_get(lab.node[13].d, target, slice_of(NULL, 0), on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.items == 1 && strcmp(seen.v, "5:hello") == 0);
	/* mutable, with salt, twice */
	it = (struct dht_item){ .v = slice_str("3:one"), .seq = 1, .salt = slice_str("pepper") };
	CHECK(dht_item_sign(&it, secret));
	dht_item_target(&it, target);
	forget();
	CHECK(dht_put(d, &it, NULL, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.stored == 8);
	it.v = slice_str("3:two");
	it.seq = 2;
	CHECK(dht_put(d, &it, NULL, on_result, &seen, lab.now) == 0); /* not signed again */
	CHECK(dht_item_sign(&it, secret));
	forget();
	CHECK(dht_put(lab.node[9].d, &it, &nine, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	/* a node without the item has nothing to compare with, and takes it */
	CHECK(seen.done == 1 && seen.end.stored <= 2 && seen.end.error == DHT_E_CAS && seen.items == 1 && seen.seq == 1);
	forget();
	CHECK(dht_put(lab.node[9].d, &it, &one, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.stored >= 6);
	forget();
	CHECK(dht_get(lab.node[13].d, target, slice_str("pepper"), on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.items == 1 && seen.seq == 2 && strcmp(seen.v, "3:two") == 0);
	/* with another salt the answers are of another target: not believed */
	forget();
	CHECK(dht_get(lab.node[13].d, target, slice_str("salt"), on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.items == 0);
	/* an older one comes too late */
	it.v = slice_str("3:old");
	it.seq = 1;
	CHECK(dht_item_sign(&it, secret));
	forget();
	CHECK(dht_put(d, &it, NULL, on_result, &seen, lab.now) != 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.stored == 0 && seen.end.error == DHT_E_SEQ);
	it.v = slice_str("x");
	CHECK(dht_put(d, &it, NULL, on_result, &seen, lab.now) == 0);
}

/* ---- a stranger who answers ---- */

/* The node's last query to `as` and its slot's `t`. */
static bool asked(const struct addr *as, struct dht_msg *m)
{
	for (size_t i = lab.nkept; i-- > 0;)
		if (addr_eq(&lab.kept[i].to, as))
			return dht_parse(slice_of(lab.kept[i].bytes, lab.kept[i].n), m) && m->kind == 'q';
	return false;
}

static void contact(struct dht_contact *c, uint32_t ip, uint8_t first)
{
	memset(c, 0, sizeof(*c));
	put_u32(c->addr.ip, ip);
	c->addr.port = 5000;
	memset(c->id, first, 20);
	c->id[19] = (uint8_t)ip;
}

static void answer(struct dht *d, const struct addr *from, const struct dht_msg *q, const uint8_t id[20], struct slice nodes)
{
	struct dht_msg r = { .kind = 'r', .t = q->t, .id = slice_of(id, 20) };

	if (nodes.n)
		r.nodes = nodes;
	lab_say(d, from, &r);
}

static void test_wrong_answers(void)
{
	struct addr stranger = lab_addr("90.1.2.3:1000"), port = lab_addr("90.1.2.3:1001"), host = lab_addr("90.1.2.4:1000");
	uint8_t id[20], t[4];
	struct dht_stats s;
	struct dht_msg q;
	struct dht *d;

	lab_clear();
	d = lab_add("80.1.2.3:6881", NULL);
	memset(id, 0x77, 20);
	dht_add_node(d, &stranger, lab.now);
	dht_add_node(d, &stranger, lab.now); /* one ping is enough */
	lab_deliver();
	CHECK(lab.nkept == 1 && asked(&stranger, &q) && q.method == DHT_PING && q.t.n == 4);
	memcpy(t, q.t.p, 4);
	answer(d, &port, &q, id, slice_of(NULL, 0)); /* from another port, another host */
	answer(d, &host, &q, id, slice_of(NULL, 0));
	for (int i = 0; i < 4; i++) {
		struct dht_msg wrong = q;
		uint8_t other[4];

		memcpy(other, t, 4);
		other[i] ^= 1;
		wrong.t = slice_of(other, 4);
		answer(d, &stranger, &wrong, id, slice_of(NULL, 0));
		wrong.t = slice_of(t, (size_t)i);
		answer(d, &stranger, &wrong, id, slice_of(NULL, 0));
	}
	dht_stats(d, &s, lab.now);
	CHECK(s.nodes == 0 && s.pending == 1 && s.answers_in == 0);
	answer(d, &stranger, &q, d->id, slice_of(NULL, 0)); /* with our own id */
	dht_stats(d, &s, lab.now);
	CHECK(s.nodes == 0 && s.pending == 0);
	/* the right one, once */
	lab.nkept = 0;
	dht_add_node(d, &stranger, lab.now);
	lab_deliver();
	CHECK(asked(&stranger, &q));
	answer(d, &stranger, &q, id, slice_of(NULL, 0));
	answer(d, &stranger, &q, id, slice_of(NULL, 0));
	dht_stats(d, &s, lab.now);
	CHECK(s.nodes == 1 && s.good == 1 && s.answers_in == 2);
	/* another id from the same place: out */
	lab.nkept = 0;
	CHECK(dht_ping(d, &stranger));
	lab_deliver();
	CHECK(asked(&stranger, &q));
	id[0] = 1;
	answer(d, &stranger, &q, id, slice_of(NULL, 0));
	dht_stats(d, &s, lab.now);
	CHECK(s.nodes == 0);
	/* silence */
	lab_run(20000);
	dht_stats(d, &s, lab.now);
	CHECK(s.pending == 0);
}

/* Nodes that a stranger tells of: local addresses, ports 0 and 1, ourselves and the
 * hundredth are not asked; of one neighbourhood one; and sybils don't end a search. */
static void test_told_nodes(void)
{
	static const uint32_t never[] = { 0x7f000001, 0x0a000001, 0xc0a80101, 0xa9fe0101, 0xe0000001, 0xffffffff, 0x00000001 };
	struct addr first = lab_addr("90.1.2.3:1000");
	uint8_t target[20], nodes[40 * 26], id[20];
	unsigned neighbours = 0, n = 0;
	struct dht_contact c;
	struct dht_msg q;
	struct dht *d;

	lab_clear();
	d = lab_add("80.1.2.3:6881", &(struct dht_opts){ .id = { 0xff, 1 } });
	dht_add_router(d, &first, lab.now);
	memset(target, 0x11, 20);
	forget();
	CHECK(dht_find_node(d, target, on_result, &seen, lab.now) != 0);
	dht_on_timer(d, lab.now);
	lab_deliver();
	CHECK(asked(&first, &q));
	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		contact(&c, never[i], 0x11);
		dht_contact_write(nodes + 26 * n++, &c);
	}
	contact(&c, 0x5b010101, 0x11);
	c.addr.port = 1;
	dht_contact_write(nodes + 26 * n++, &c);
	contact(&c, 0x5b010102, 0x11);
	memcpy(c.id, d->id, 20);
	dht_contact_write(nodes + 26 * n++, &c);
	for (uint32_t i = 0; i < 30; i++) { /* a hundred ids near the target, one network */
		contact(&c, 0x5c010100 + i, 0x11);
		dht_contact_write(nodes + 26 * n++, &c);
	}
	memset(id, 0x80, 20);
	for (size_t i = lab.nkept; i-- > 0;) /* the user's search and our own both asked */
		if (dht_parse(slice_of(lab.kept[i].bytes, lab.kept[i].n), &q) && memcmp(q.target.p, target, 20) == 0)
			break;
	lab.nkept = 0;
	answer(d, &first, &q, id, slice_of(nodes, n * 26));
	for (size_t i = 0; i < lab.nkept; i++) {
		CHECK(!dht_addr_is_local(&lab.kept[i].to) && lab.kept[i].to.port > 1);
		neighbours += get_u32(lab.kept[i].to.ip) >> 8 == 0x5c0101;
	}
	CHECK(neighbours == 1);
	lab_run(20000);
	CHECK(seen.done == 1 && seen.end.asked <= 30 && seen.end.answered == 1);
}

/* Eight nodes whose ids are nearest but don't fit their addresses: the search goes on
 * to those that fit, and stores there. */
static void test_misfits(void)
{
	uint8_t target[20];
	struct dht *d;
	unsigned at_fit = 0, at_misfit = 0;

	network(30);
	d = lab.node[1].d;
	memset(target, 0x3c, 20);
	for (size_t i = 0; i < 9; i++) { /* nine liars around the target */
		struct dht_opts o = { .v6 = false };
		char text[64];

		snprintf(text, sizeof(text), "91.%zu.1.1:7000", i);
		memcpy(o.id, target, 20);
		o.id[15] = (uint8_t)(i + 1);
		lab_add(text, &o);
		dht_add_node(lab.node[lab.nnodes - 1].d, &lab.node[0].addr, lab.now);
	}
	lab_run(60000);
	for (size_t i = 30; i < lab.nnodes; i++) {
		CHECK(!dht_id_fits(lab.node[i].d->id, &lab.node[i].addr));
		dht_add_node(d, &lab.node[i].addr, lab.now);
	}
	lab_run(10000);
	forget();
	CHECK(dht_find_peers(d, target, DHT_ANNOUNCE, 5, on_result, &seen, lab.now) != 0);
	lab_run(20000);
	CHECK(seen.done == 1);
	for (size_t i = 0; i < lab.nnodes; i++)
		if (dht_store_find(&lab.node[i].d->store, target))
			*(i < 30 ? &at_fit : &at_misfit) += 1;
	CHECK(at_fit == 8 && at_misfit <= 4 && seen.end.stored == at_fit + at_misfit);
}

static void test_dead_nodes(void)
{
	uint8_t target[20];
	struct dht_stats s;

	network(20);
	for (size_t i = 10; i < 20; i++) {
		dht_free(lab.node[i].d);
		lab.node[i].d = NULL;
	}
	memset(target, 0x99, 20);
	forget();
	CHECK(dht_find_peers(lab.node[0].d, target, DHT_ANNOUNCE, 5, on_result, &seen, lab.now) != 0);
	lab_run(30000);
	CHECK(seen.done == 1 && seen.end.stored >= 8 && seen.end.stored <= 9 && seen.end.ms < 15000);
	lab_run(40 * 60000);
	for (size_t i = 0; i < 10; i++) {
		dht_stats(lab.node[i].d, &s, lab.now);
		CHECK(s.good == 9);
	}
	/* all gone: searches end, nothing is forgotten too soon */
	for (size_t i = 1; i < 10; i++) {
		dht_free(lab.node[i].d);
		lab.node[i].d = NULL;
	}
	lab.nkept = 0;
	forget();
	CHECK(dht_find_peers(lab.node[0].d, target, DHT_ANNOUNCE, 5, on_result, &seen, lab.now) != 0);
	lab_run(60000);
	dht_stats(lab.node[0].d, &s, lab.now);
	CHECK(seen.done == 1 && seen.end.stored == 0 && s.nodes >= 9);
	/* a node that knows nobody says so after half a minute */
	lab_clear();
	lab_add("80.1.1.1:5", NULL);
	forget();
	CHECK(dht_find_peers(lab.node[0].d, target, 0, 0, on_result, &seen, lab.now) != 0);
	lab_run(29000);
	CHECK(seen.done == 0);
	lab_run(10000);
	CHECK(seen.done == 1 && seen.end.asked == 0);
}

/* More searches than run at once, more than are taken. */
static void test_many(void)
{
	uint8_t target[20] = { 1 };
	struct dht_stats s;
	unsigned n = 0;

	network(10);
	forget();
	while (n < 2000 && dht_find_peers(lab.node[0].d, target, 0, 0, on_result, &seen, lab.now)) {
		n++;
		target[19] = (uint8_t)n;
		target[18] = (uint8_t)(n >> 8);
	}
	CHECK(n == DHT_WAITING);
	lab_run(1);
	dht_stats(lab.node[0].d, &s, lab.now);
	CHECK(s.pending <= DHT_QUERIES && s.memory < 1000000);
	lab_run(600000);
	CHECK(seen.done == n);
	/* freed in the middle of work */
	for (unsigned i = 0; i < 50; i++) {
		target[19] = (uint8_t)i;
		CHECK(dht_find_peers(lab.node[0].d, target, DHT_SCRAPE, 0, on_result, &seen, lab.now) != 0);
	}
	dht_on_timer(lab.node[0].d, lab.now);
}

/* Our address is learnt from what others tell; the id follows it, the table stays. */
static void test_votes(void)
{
	struct dht_stats s;
	struct addr first;
	uint8_t before[20];

	network(12);
	first = lab.node[0].addr;
	lab_add("85.4.3.2:6881", NULL);
	memcpy(before, lab.node[12].d->id, 20);
	dht_add_node(lab.node[12].d, &first, lab.now);
	lab_run(60000);
	dht_stats(lab.node[12].d, &s, lab.now);
	CHECK(lab.node[12].externals == 1 && addr_same_ip(&lab.node[12].told, &lab.node[12].addr));
	CHECK(memcmp(before, s.id, 20) != 0 && dht_id_fits(s.id, &lab.node[12].addr) && s.good >= 8);
	CHECK(addr_same_ip(&s.external, &lab.node[12].addr));
	/* an id that the owner gave is kept */
	lab_add("86.4.3.2:6881", &(struct dht_opts){ .id = { 1, 2, 3 } });
	dht_add_node(lab.node[13].d, &first, lab.now);
	lab_run(60000);
	dht_stats(lab.node[13].d, &s, lab.now);
	CHECK(s.id[0] == 1 && s.id[1] == 2 && lab.node[13].externals == 1);
}

/* Both families: `want` is answered from the pair, and a bootstrap over IPv4 finds IPv6 nodes. */
static void test_pair(void)
{
	struct dht_msg q = { .kind = 'q', .method = DHT_FIND_NODE, .t = slice_str("xy") }, m;
	struct addr stranger = lab_addr("90.1.2.3:1000"), first4, first6;
	struct dht_stats s;
	uint8_t id[20];

	lab_clear();
	for (size_t i = 0; i < 16; i++) {
		char text[64];

		if (i % 2 == 0)
			snprintf(text, sizeof(text), "80.%zu.%zu.7:6881", i, i);
		else
			snprintf(text, sizeof(text), "[2001:db8:%zu:1::7]:6881", i);
		lab_add(text, NULL);
		if (i % 2)
			dht_pair(lab.node[i - 1].d, lab.node[i].d);
	}
	first4 = lab.node[0].addr;
	first6 = lab.node[1].addr;
	for (size_t i = 2; i < 14; i++)
		dht_add_node(lab.node[i].d, i % 2 ? &first6 : &first4, lab.now);
	dht_add_router(lab.node[14].d, &first4, lab.now); /* the last host knows only an IPv4 one */
	lab_run(120000);
	dht_stats(lab.node[14].d, &s, lab.now);
	CHECK(s.good >= 5);
	dht_stats(lab.node[15].d, &s, lab.now);
	CHECK(s.good >= 4);
	CHECK(!dht_table_find(&lab.node[14].d->table, &first4)); /* a router isn't kept */
	memset(id, 5, 20);
	q.id = q.target = slice_of(id, 20);
	q.read_only = true;
	dht_gate_prove(&lab.node[2].d->gate, &stranger, lab.now);
	CHECK(lab_ask(lab.node[2].d, &stranger, &q, &m) && m.nodes.n && !m.nodes6.p);
	q.want = DHT_WANT_N6;
	CHECK(lab_ask(lab.node[2].d, &stranger, &q, &m) && !m.nodes.p && m.nodes6.n && m.nodes6.n % 38 == 0);
	q.want = DHT_WANT_N4 | DHT_WANT_N6;
	CHECK(lab_ask(lab.node[2].d, &stranger, &q, &m) && m.nodes.n && m.nodes6.n && lab.kept[0].n <= 1024);
	/* alone, it answers what it has */
	dht_free(lab.node[3].d);
	lab.node[3].d = NULL;
	CHECK(lab_ask(lab.node[2].d, &stranger, &q, &m) && m.nodes.n && !m.nodes6.p);
}

static void test_state(void)
{
	struct dht_stats s, t;
	struct buf b;
	struct dht *d;
	uint8_t *bytes;

	network(20);
	buf_init(&b, 10000);
	CHECK(dht_save(lab.node[4].d, &b));
	dht_stats(lab.node[4].d, &s, lab.now);
	CHECK(b.n <= 9000 && ben_check(slice_of(b.p, b.n), &BEN_MESSAGE, NULL, NULL, NULL) == (ptrdiff_t)b.n);
	/* the next run: the same id, and no other help */
	dht_free(lab.node[4].d);
	d = lab.node[4].d = dht_new(&(struct dht_opts){ .send = lab_send, .random = lab_random, .arg = &lab.node[4] }, lab.now);
	CHECK(d && dht_load(d, slice_of(b.p, b.n), lab.now));
	dht_stats(d, &t, lab.now);
	CHECK(memcmp(s.id, t.id, 20) == 0 && t.nodes >= 8 && t.good == 0);
	lab_run(10000);
	dht_stats(d, &t, lab.now);
	CHECK(t.good >= 8);
	/* cut, or with any byte changed: refused, or taken without harm */
	bytes = malloc(b.n);
	CHECK(bytes);
	for (size_t n = 0; n < b.n; n++)
		CHECK(!dht_load(d, slice_of(b.p, n), lab.now));
	for (size_t i = 0; i < b.n; i++)
		for (unsigned bit = 0; bit < 8; bit += 3) {
			memcpy(bytes, b.p, b.n);
			bytes[i] = (uint8_t)(bytes[i] ^ 1u << bit);
			(void)!dht_load(d, slice_of(bytes, b.n), lab.now);
		}
	CHECK(!dht_load(d, slice_str("d2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes25:aaaaaaaaaaaaaaaaaaaaaaaaae"), lab.now));
	CHECK(!dht_load(d, slice_str("d2:idi1e5:nodes0:e"), lab.now) && !dht_load(d, slice_str("le"), lab.now));
	CHECK(!dht_load(d, slice_str("d2:id20:aaaaaaaaaaaaaaaaaaaa6:nodes60:e"), lab.now)); /* of the other family */
	dht_stats(d, &t, lab.now);
	CHECK(t.nodes < 500);
	/* an id that doesn't fit the address is not taken over */
	lab_add("87.1.1.1:5", &(struct dht_opts){ .external = lab_addr("87.1.1.1:5") });
	d = lab.node[lab.nnodes - 1].d;
	CHECK(dht_load(d, slice_of(b.p, b.n), lab.now));
	dht_stats(d, &t, lab.now);
	CHECK(memcmp(s.id, t.id, 20) != 0 && dht_id_fits(t.id, &lab.node[lab.nnodes - 1].addr) && t.nodes >= 8);
	free(bytes);
	buf_release(&b);
}

int main(void)
{
	test_peers();
	test_items();
	test_wrong_answers();
	test_told_nodes();
	test_misfits();
	test_dead_nodes();
	test_many();
	test_votes();
	test_pair();
	test_state();
	lab_clear();
	return test_done();
}
