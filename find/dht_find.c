/* SPDX-License-Identifier: MIT */
/* dht_find.c - what the owner can search for (the end of dht.h), and what the
 * answers to it mean: nodes to ask next, peers, items, samples. Everything a node
 * says is checked here before it is believed or told. Start at dht_find_peers(). */
#include "find/dht_node.h"

#include <stdlib.h>

#define NODES_TAKEN 16  /* of one answer: twice what is usual */
#define PEERS_TAKEN 100 /* of one answer: more don't fit 1024 bytes */
#define PAIR_TAKEN 4    /* nodes of the other family handed over, of one answer */

/* ---- what answers mean ---- */

static void take_nodes(struct dht *d, struct dht_search *s, const struct addr *from, struct slice nodes, bool v6, unsigned hops)
{
	struct cur c = cur_of(nodes);
	struct dht_contact n;

	for (unsigned i = 0; i < NODES_TAKEN && dht_contact_next(&c, v6, &n); i++) {
		if (!dht_addr_is_askable(&n.addr, from))
			continue;
		if (v6 == d->o.v6)
			dht_search_add(d, s, &n, true, hops);
		else if (d->pair && s->bootstrap && i < PAIR_TAKEN)
			dht_add_node(d->pair, &n.addr, d->now);
	}
}

static void tell(struct dht_search *s, struct dht_result *r)
{
	r->search = s->number;
	r->target = s->target;
	if (s->fn && !s->dead)
		s->fn(s->arg, r);
}

static void take_peers(struct dht_search *s, const struct addr *from, const struct dht_msg *m)
{
	struct addr peers[PEERS_TAKEN];
	struct dht_result r = { .what = DHT_PEERS, .peers = peers, .from = from };
	struct ben_it it;
	struct ben val;
	struct slice key, bytes;

	if (s->blooms && m->bloom_seeds.p)
		dht_bloom_join(s->blooms[0], m->bloom_seeds.p);
	if (s->blooms && m->bloom_peers.p)
		dht_bloom_join(s->blooms[1], m->bloom_peers.p);
	for (ben_iter((struct ben){ m->values.p, m->values.p ? m->values.p + m->values.n : NULL }, &it);
	     r.npeers < PEERS_TAKEN && ben_next(&it, &key, &val);) {
		struct addr *a = &peers[r.npeers];

		if (!ben_str(val, &bytes) || !dht_addr_read(bytes, a) || !dht_addr_is_askable(a, from))
			continue;
		r.npeers++;
		/* A node that doesn't know BEP 33 is counted by what it lists. */
		if (s->blooms && !m->bloom_peers.p && !dht_bloom_has(s->blooms[0], a))
			dht_bloom_add(s->blooms[1], a);
	}
	if (r.npeers)
		tell(s, &r);
}

/* True when it is what was asked for. */
static bool take_item(struct dht_search *s, struct dht_candidate *c, const struct dht_msg *m)
{
	struct dht_item it = { .v = m->v, .is_mutable = m->key.p };
	struct dht_result r = { .what = DHT_ITEM, .item = &it };
	uint8_t target[20];

	if (it.is_mutable) {
		if (!m->sig.p || !(m->has & DHT_HAS_SEQ))
			return false;
		memcpy(it.key, m->key.p, 32);
		memcpy(it.sig, m->sig.p, 64);
		it.seq = m->seq;
		it.salt = slice_of(s->salt, s->nsalt);
	}
	dht_item_target(&it, target);
	if (memcmp(target, s->target, 20) != 0)
		return false;
	c->has_item = true;
	/* An old one is not worth its signature's check. */
	if (it.is_mutable && it.seq <= s->best_seq)
		return true;
	if (dht_item_check(&it) != 0)
		return false;
	s->best_seq = it.is_mutable ? it.seq : 0;
	r.from = &c->c.addr;
	tell(s, &r);
	return true;
}

static void take_samples(struct dht_search *s, const struct addr *from, const struct dht_msg *m)
{
	struct dht_result r = { .what = DHT_SAMPLES, .samples = m->samples, .from = from };

	if (m->has & DHT_HAS_NUM)
		r.num = (uint32_t)min_u64((uint64_t)m->num, UINT32_MAX);
	if (m->has & DHT_HAS_INTERVAL)
		r.interval_s = (uint32_t)min_u64((uint64_t)m->interval, 21600); /* BEP 51's maximum */
	tell(s, &r);
}

static void stored(struct dht *d, struct dht_search *s, struct dht_candidate *c)
{
	if (c && c->storing != DHT_STORED && c->storing != DHT_NOT_STORED) {
		c->storing = DHT_STORED;
		s->stored++;
	}
	dht_search_step(d, s);
}

void dht_search_answered(struct dht *d, const struct dht_query *q, const struct dht_msg *m)
{
	struct dht_search *s = q->search;
	struct dht_candidate *c = dht_search_candidate(s, &q->to);
	struct dht_contact self = { .addr = q->to };
	unsigned hops;

	if (s->dead)
		return;
	if (q->method == s->store) {
		stored(d, s, c);
		return;
	}
	if (!c) {
		dht_search_step(d, s);
		return;
	}
	memcpy(self.id, m->id.p, 20);
	hops = c->hops;
	if (!c->has_id) { /* a router: a node like others, now that it has told its id */
		memmove(c, c + 1, (s->n - (size_t)(c - s->c) - 1) * sizeof(*c));
		s->n--;
		c = dht_search_add(d, s, &self, true, hops);
	} else if (memcmp(c->c.id, self.id, 20) != 0) {
		c->state = DHT_FAILED; /* it says it is somebody else */
		c = NULL;
	}
	if (!c) {
		dht_search_step(d, s);
		return;
	}
	c->state = DHT_ANSWERED;
	s->answered++;
	if (m->token.p) {
		memcpy(c->token, m->token.p, m->token.n);
		c->ntoken = (uint8_t)m->token.n;
	}
	if (s->method == DHT_GET && m->v.p && !take_item(s, c, m)) {
		c->state = DHT_FAILED; /* nor are its nodes worth asking */
		dht_search_step(d, s);
		return;
	}
	if (s->method == DHT_GET_PEERS)
		take_peers(s, &q->to, m);
	if (s->method == DHT_SAMPLE && m->samples.p)
		take_samples(s, &q->to, m);
	if (s->dead)
		return;
	take_nodes(d, s, &q->to, m->nodes, false, hops + 1);
	take_nodes(d, s, &q->to, m->nodes6, true, hops + 1);
	/* An immutable item is what it is: nobody can have a better one. */
	if (s->method == DHT_GET && s->store == DHT_PING && m->v.p && !m->key.p)
		dht_search_finish(d, s);
	dht_search_step(d, s);
}

void dht_search_refused(struct dht *d, const struct dht_query *q, const struct dht_msg *m)
{
	struct dht_search *s = q->search;
	struct dht_candidate *c = dht_search_candidate(s, &q->to);

	if (s->dead)
		return;
	if (c && q->method == s->store && c->storing != DHT_STORED) {
		c->storing = DHT_REFUSED;
		/* the majority's word, found by counting up and down */
		if (m->error == s->error) {
			s->errors++;
		} else if (s->errors == 0) {
			s->error = m->error;
			s->errors = 1;
		} else {
			s->errors--;
		}
	} else if (c) {
		c->state = DHT_FAILED;
	}
	dht_search_step(d, s);
}

/* ---- what can be searched for ---- */

static uint32_t start(struct dht *d, struct dht_search *s, uint64_t now)
{
	if (!s)
		return 0;
	d->now = now;
	dht_search_start(d, s);
	return s->number;
}

uint32_t dht_find_peers(struct dht *d, const uint8_t info_hash[20], unsigned flags, uint16_t port, dht_result_fn *fn,
			void *arg, uint64_t now_ms)
{
	struct dht_search *s = dht_search_new(d, DHT_GET_PEERS, info_hash, fn, arg);

	if (!s)
		return 0;
	s->flags = flags;
	s->port = port;
	if (flags & DHT_ANNOUNCE)
		s->store = DHT_ANNOUNCE_PEER;
	if (flags & DHT_SCRAPE) {
		s->blooms = alloc_array(2, DHT_BLOOM);
		if (!s->blooms) {
			dht_search_free(d, s);
			return 0;
		}
	}
	return start(d, s, now_ms);
}

uint32_t dht_find_node(struct dht *d, const uint8_t target[20], dht_result_fn *fn, void *arg, uint64_t now_ms)
{
	return start(d, dht_search_new(d, DHT_FIND_NODE, target, fn, arg), now_ms);
}

uint32_t dht_get(struct dht *d, const uint8_t target[20], struct slice salt, dht_result_fn *fn, void *arg, uint64_t now_ms)
{
	struct dht_search *s;

	if (salt.n > DHT_SALT_MAX)
		return 0;
	s = dht_search_new(d, DHT_GET, target, fn, arg);
	if (s && salt.n) {
		memcpy(s->salt, salt.p, salt.n);
		s->nsalt = salt.n;
	}
	return start(d, s, now_ms);
}

uint32_t dht_put(struct dht *d, const struct dht_item *item, const int64_t *cas, dht_result_fn *fn, void *arg, uint64_t now_ms)
{
	struct dht_search *s;
	uint8_t target[20];

	if (dht_item_check(item) != 0)
		return 0;
	dht_item_target(item, target);
	s = dht_search_new(d, DHT_GET, target, fn, arg);
	if (!s)
		return 0;
	s->store = DHT_PUT;
	s->item = dht_item_copy(item);
	if (!s->item) {
		dht_search_free(d, s);
		return 0;
	}
	if (item->is_mutable && item->salt.n) {
		memcpy(s->salt, item->salt.p, item->salt.n);
		s->nsalt = item->salt.n;
	}
	if (cas && item->is_mutable) {
		s->has_cas = true;
		s->cas = *cas;
	}
	return start(d, s, now_ms);
}

uint32_t dht_sample(struct dht *d, const uint8_t target[20], dht_result_fn *fn, void *arg, uint64_t now_ms)
{
	return start(d, dht_search_new(d, DHT_SAMPLE, target, fn, arg), now_ms);
}

void dht_cancel(struct dht *d, uint32_t search)
{
	struct list *heads[] = { &d->searches, &d->waiting };

	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		for (struct list *l = heads[i]->next; l != heads[i]; l = l->next) {
			struct dht_search *s = container_of(l, struct dht_search, on_searches);

			if (s->number == search && search) {
				s->dead = true;
				dht_wake(d);
			}
		}
}
