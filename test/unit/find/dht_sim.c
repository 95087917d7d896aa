/* SPDX-License-Identifier: MIT */
/* dht_sim.c - a DHT of 1,000 nodes in one process, with its own clock and lossy
 * links: 10 % of packets get lost, the others take 20 to 200 ms. Nodes join through
 * four routers, announce, put, look up; then a quarter of them vanishes without a
 * word and new ones come. Prints hops, messages and time of a look-up, and memory
 * of a node. Chance is a fixed sequence, so every run is the same.
 * With little memory or a slow machine under it (sanitizers, qemu): 300 nodes. */
#include "base/ed25519.h"
#include "find/dht_node.h"
#include "sha1.h"
#include "test/test.h"

#include <sys/resource.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW 1
#endif
#endif
#if !defined(SLOW) && !defined(__x86_64__) && !defined(__aarch64__)
#define SLOW 1
#endif
#ifndef SLOW
#define SLOW 0
#endif

#define MAX_NODES 1500
#define ROUTERS 4
#define LOSS 10 /* % */

struct event {
	uint64_t at_ms, order;
	struct dht *to;  /* a packet: looked up by address when it arrives */
	uint32_t node;   /* a timer's; or the packet's receiver */
	struct addr from;
	uint8_t *bytes;  /* NULL: a timer */
	size_t n;
};

static struct event *heap;
static size_t nheap, heap_cap;
static uint64_t now = 1000, order, sent, lost, sent_bytes, events;
static uint64_t seed = 88172645463325252u;

static struct node {
	struct dht *d;
	struct addr addr;
	uint64_t timer_ms; /* the earliest that is in the heap */
	bool renamed;      /* has to learn its address from others */
} nodes[MAX_NODES];
static uint32_t nnodes;

static uint32_t chance(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32);
}

static void chance_bytes(void *arg, void *p, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)chance();
}

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(struct event e)
{
	size_t i = nheap++;
	void *p = heap;

	if (!grow_array(&p, &heap_cap, nheap, sizeof(*heap)))
		abort();
	heap = p;
	e.order = order++;
	for (; i > 0 && earlier(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = e;
}

static struct event pop(void)
{
	struct event first = heap[0], last = heap[--nheap];
	size_t i = 0;

	for (size_t c; (c = 2 * i + 1) < nheap; i = c) {
		if (c + 1 < nheap && earlier(&heap[c + 1], &heap[c]))
			c++;
		if (!earlier(&heap[c], &last))
			break;
		heap[i] = heap[c];
	}
	heap[i] = last;
	return first;
}

/* The address tells the number: a.b.c.d with 16 bits of it in b and c, so that no
 * two share a /24. */
static void make_addr(struct addr *a, uint32_t i)
{
	*a = (struct addr){ .port = (uint16_t)(1024 + i * 7 % 60000) };
	put_u32(a->ip, (20 + i % 180) << 24 | (i & 0xffff) << 8 | (1 + i % 250));
}

static void on_send(void *arg, const struct addr *to, const void *p, size_t n)
{
	struct node *from = arg;
	uint32_t i = get_u32(to->ip) >> 8 & 0xffff;
	struct event e = { .at_ms = now + 20 + chance() % 181, .node = i, .from = from->addr, .n = n };

	sent++;
	sent_bytes += n;
	if (n > DHT_PACKET_MAX)
		abort();
	if (chance() % 100 < LOSS) {
		lost++;
		return;
	}
	e.bytes = malloc(n);
	if (!e.bytes)
		abort();
	memcpy(e.bytes, p, n);
	push(e);
}

static void arm(struct node *n)
{
	uint64_t at = dht_deadline(n->d);

	if (at >= n->timer_ms)
		return;
	n->timer_ms = at;
	push((struct event){ .at_ms = at > now ? at : now, .node = (uint32_t)(n - nodes) });
}

static void join(void)
{
	struct node *n = &nodes[nnodes];
	struct dht_opts o = { .send = on_send, .random = chance_bytes, .arg = n };

	make_addr(&n->addr, nnodes);
	n->renamed = nnodes % 10 == 9;
	if (!n->renamed)
		o.external = n->addr;
	n->timer_ms = UINT64_MAX;
	n->d = dht_new(&o, now);
	if (!n->d)
		abort();
	for (uint32_t i = 0; i < ROUTERS && i < nnodes; i++)
		dht_add_router(n->d, &nodes[i].addr, now);
	nnodes++;
	arm(n);
}

static void leave(struct node *n)
{
	dht_free(n->d);
	n->d = NULL;
}

static void run_until(uint64_t end)
{
	while (nheap && heap[0].at_ms <= end) {
		struct event e = pop();
		struct node *n = &nodes[e.node];

		now = e.at_ms;
		events++;
		if (n->d && e.bytes) {
			dht_on_packet(n->d, &e.from, slice_of(e.bytes, e.n), now);
			arm(n);
		} else if (n->d && now >= n->timer_ms) {
			n->timer_ms = UINT64_MAX;
			dht_on_timer(n->d, now);
			arm(n);
		}
		free(e.bytes);
	}
	now = end;
}

static struct node *any_node(void)
{
	struct node *n;

	do
		n = &nodes[ROUTERS + chance() % (nnodes - ROUTERS)];
	while (!n->d);
	return n;
}

/* ---- look-ups ---- */

struct tally {
	uint32_t begun, done, found, stored, copies, hops, hops_max, asked, answered, near;
	uint64_t ms, ms_max;
};
struct job {
	struct tally *sum;
	struct addr want;    /* DHT_PEERS: a peer that should be found */
	int64_t seq;
	bool found;
};

static void on_result(void *arg, const struct dht_result *r)
{
	struct job *j = arg;
	struct tally *t = j->sum;

	for (size_t i = 0; i < r->npeers; i++)
		j->found |= addr_eq(&r->peers[i], &j->want);
	if (r->what == DHT_ITEM)
		j->found = r->item->seq == j->seq && r->item->v.n > 0;
	if (r->what != DHT_DONE)
		return;
	t->done++;
	t->found += j->found;
	t->stored += r->stored > 0;
	t->copies += r->stored;
	t->hops += r->hops;
	t->asked += r->asked;
	t->answered += r->answered;
	t->ms += r->ms;
	if (r->hops > t->hops_max)
		t->hops_max = r->hops;
	if (r->ms > t->ms_max)
		t->ms_max = r->ms;
	free(j);
}

static struct job *job(struct tally *t)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		abort();
	j->sum = t;
	t->begun++;
	return j;
}

static void print(const char *name, const struct tally *t)
{
	printf("%-28s %3u done, %3u found, copies %.1f, hops %.2f (most %u), asked %.1f, answered %.1f, %.0f ms (most %.0f)\n",
	       name, t->done, t->found, (double)t->copies / t->done, (double)t->hops / t->done, t->hops_max,
	       (double)t->asked / t->done, (double)t->answered / t->done, (double)t->ms / t->done, (double)t->ms_max);
}

static void hash_of(const char *what, uint32_t i, uint8_t out[20])
{
	char text[32];

	snprintf(text, sizeof(text), "%s %u", what, i);
	sha1(text, strlen(text), out);
}

/* Of the eight living nodes nearest to a target, how many have the torrent? */
static uint32_t true_copies(const uint8_t target[20])
{
	struct node *best[DHT_K];
	uint32_t n = 0, have = 0;

	for (uint32_t i = 0; i < nnodes; i++) {
		uint32_t at = n;

		if (!nodes[i].d)
			continue;
		while (at > 0 && dht_nearer(target, nodes[i].d->id, best[at - 1]->d->id) < 0)
			at--;
		if (at == DHT_K)
			continue;
		if (n < DHT_K)
			n++;
		memmove(&best[at + 1], &best[at], (n - at - 1) * sizeof(struct node *));
		best[at] = &nodes[i];
	}
	for (uint32_t i = 0; i < n; i++)
		have += dht_store_find(&best[i]->d->store, target) != NULL;
	return have;
}

#define TORRENTS 50u
static struct addr announcer[TORRENTS];

static void announce_all(struct tally *t)
{
	for (uint32_t i = 0; i < TORRENTS; i++) {
		struct node *n = any_node();
		uint8_t hash[20];

		hash_of("torrent", i, hash);
		announcer[i] = n->addr;
		announcer[i].port = 7000;
		CHECK(dht_find_peers(n->d, hash, DHT_ANNOUNCE, 7000, on_result, job(t), now) != 0);
		arm(n);
	}
}

static void find_all(struct tally *t)
{
	for (uint32_t i = 0; i < TORRENTS; i++) {
		struct node *n = any_node();
		struct job *j = job(t);
		uint8_t hash[20];

		hash_of("torrent", i, hash);
		j->want = announcer[i];
		CHECK(dht_find_peers(n->d, hash, 0, 0, on_result, j, now) != 0);
		arm(n);
	}
}

static void item(uint32_t i, struct dht_item *it, char value[32])
{
	uint8_t seed_bytes[32] = { (uint8_t)i, (uint8_t)(i >> 8) }, secret[64];

	snprintf(value, 32, "i%ue", 1000 + i);
	*it = (struct dht_item){ .v = slice_str(value) };
	if (i % 2 == 0)
		return;
	ed25519_secret(secret, seed_bytes);
	it->seq = i;
	it->salt = slice_str("sim");
	CHECK(dht_item_sign(it, secret));
}

static void items_all(struct tally *t, bool put)
{
	for (uint32_t i = 0; i < 20; i++) {
		struct node *n = any_node();
		struct job *j = job(t);
		struct dht_item it;
		uint8_t target[20];
		char value[32];

		item(i, &it, value);
		j->seq = it.seq;
		dht_item_target(&it, target);
		if (put)
			CHECK(dht_put(n->d, &it, NULL, on_result, j, now) != 0);
		else
			CHECK(dht_get(n->d, target, it.salt, on_result, j, now) != 0);
		arm(n);
	}
}

int main(void)
{
	struct rlimit limit;
	bool small = SLOW || (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < 512u << 20);
	uint32_t size = small ? 300 : 1000, copies = 0, good = 0, misfits = 0, alive = 0;
	struct tally announce = { 0 }, find = { 0 }, put = { 0 }, get = { 0 }, find2 = { 0 }, get2 = { 0 };
	clock_t start = clock();
	size_t memory = 0, memory_max = 0;
	uint64_t before;

	/* they come during 100 s */
	for (uint32_t i = 0; i < size; i++) {
		join();
		run_until(now + 100000 / size);
	}
	run_until(now + 200000);
	printf("%u nodes joined: %.1f packets each, %.1f KB\n", size, (double)sent / size, (double)sent_bytes / size / 1024);
	for (uint32_t i = 0; i < nnodes; i++) {
		struct dht_stats s;

		dht_stats(nodes[i].d, &s, now);
		good += s.good;
		misfits += !dht_id_fits(s.id, &nodes[i].addr);
		memory += s.memory;
		memory_max = s.memory > memory_max ? s.memory : memory_max;
	}
	printf("table: %.1f good nodes, memory: %.1f KB, most %.1f KB; %u ids don't fit\n", (double)good / size,
	       (double)memory / size / 1024, (double)memory_max / 1024, misfits);
	CHECK(good / size >= 20);
	CHECK(misfits == 0); /* those who didn't know their address learnt it */

	announce_all(&announce);
	run_until(now + 60000);
	print("announce", &announce);
	CHECK(announce.done == TORRENTS && announce.stored == TORRENTS && announce.copies >= 6 * TORRENTS);
	for (uint32_t i = 0; i < TORRENTS; i++) {
		uint8_t hash[20];

		hash_of("torrent", i, hash);
		copies += true_copies(hash);
	}
	printf("of the 8 nearest nodes, %.2f have the torrent\n", (double)copies / TORRENTS);
	CHECK(copies >= 6 * TORRENTS);
	before = sent;
	find_all(&find);
	run_until(now + 60000);
	print("find peers", &find);
	CHECK(find.done == TORRENTS && find.found == TORRENTS);
	items_all(&put, true);
	run_until(now + 60000);
	print("put items", &put);
	CHECK(put.done == 20 && put.stored == 20);
	items_all(&get, false);
	run_until(now + 60000);
	print("get items", &get);
	CHECK(get.done == 20 && get.found == 20);

	/* churn: a quarter leaves over 15 minutes, without a word, and others come */
	before = sent;
	for (uint32_t i = 0; i < size / 4; i++) {
		leave(any_node());
		join();
		run_until(now + 900000 / (size / 4));
	}
	printf("in 15 minutes of churn each node sent %.2f packets/s\n", (double)(sent - before) / size / 900);
	find_all(&find2);
	run_until(now + 60000);
	print("find peers after churn", &find2);
	CHECK(find2.done == TORRENTS && find2.found >= TORRENTS * 95 / 100);
	items_all(&get2, false);
	run_until(now + 60000);
	print("get items after churn", &get2);
	CHECK(get2.done == 20 && get2.found >= 19);

	for (uint32_t i = 0; i < nnodes; i++) {
		alive += nodes[i].d != NULL;
		dht_free(nodes[i].d);
	}
	CHECK(alive == size);
	while (nheap)
		free(pop().bytes);
	free(heap);
	printf("%.0f s of simulated time, %llu events, %llu packets, %.1f %% lost, %.1f s of CPU\n", (double)now / 1000,
	       (unsigned long long)events, (unsigned long long)sent, 100.0 * (double)lost / (double)sent,
	       (double)(clock() - start) / CLOCKS_PER_SEC);
	return test_done();
}
