/* SPDX-License-Identifier: MIT */
/* dht.c - a node of the DHT (BEP 5, 42, 43), as dht.h states: where packets and the
 * timer come in, and what keeps the routing table alive: a search for our own id
 * at the start, pings to nodes not heard of for a while, refreshed buckets. A host
 * that asks us is pinged before it is kept, so nothing in the table is hearsay.
 * Start at dht_on_packet(). */
#include "find/dht_node.h"

#include <stdlib.h>

#define EXPIRE_MS 60000u
#define BOOTSTRAP_MS 5000u          /* until the next try, doubled.. */
#define BOOTSTRAP_MAX_MS 300000u    /* ..up to this */
#define RENAME_MS (10 * 60000u)     /* votes change our id no more often */
#define PINGS 3                     /* to known nodes, in a tick */

static void random_of(struct dht *d, void *p, size_t n)
{
	if (d->o.random)
		d->o.random(d->o.arg, p, n);
	else
		random_bytes(p, n);
}

uint32_t dht_chance(struct dht *d)
{
	uint8_t b[4];

	random_of(d, b, sizeof(b));
	return get_u32(b);
}

void dht_wake(struct dht *d)
{
	d->deadline = d->now;
}

void dht_send(struct dht *d, const struct addr *to, const struct dht_msg *m)
{
	buf_clear(&d->out);
	dht_encode(&d->out, m);
	if (d->out.failed)
		return;
	d->count.packets_out++;
	d->count.bytes_out += d->out.n;
	if (m->kind != 'q')
		budget_take(&d->up, d->out.n);
	d->o.send(d->o.arg, to, d->out.p, d->out.n);
}

struct dht *dht_new(const struct dht_opts *opts, uint64_t now_ms)
{
	static const uint8_t none[DHT_ID];
	static const struct addr nowhere;
	struct dht *d = alloc_array(1, sizeof(*d));
	uint8_t chance[40];
	uint64_t before;

	if (!d)
		return NULL;
	d->o = *opts;
	d->now = now_ms;
	list_init(&d->searches);
	list_init(&d->waiting);
	buf_init(&d->out, DHT_PACKET_MAX);
	buf_init(&d->values, DHT_PACKET_MAX);
	d->external = opts->external;
	memcpy(d->id, opts->id, DHT_ID);
	d->fixed_id = memcmp(d->id, none, DHT_ID) != 0;
	if (!d->fixed_id)
		random_of(d, d->id, DHT_ID);
	if (!d->fixed_id && !addr_same_ip(&d->external, &nowhere))
		dht_id_fit(d->id, &d->external);
	dht_table_init(&d->table, d->id);
	dht_store_init(&d->store, opts->v6, opts->max_torrents ? opts->max_torrents : 2000,
		       opts->max_peers ? opts->max_peers : 500, opts->max_peers_all ? opts->max_peers_all : 50000);
	dht_items_init(&d->items, opts->max_items ? opts->max_items : 700);
	random_of(d, chance, sizeof(chance));
	dht_gate_init(&d->gate, opts->query_rate ? opts->query_rate : 5, chance, now_ms);
	/* as if it had been here for a while: the first ones are answered too */
	before = now_ms > 5000 ? now_ms - 5000 : 0;
	budget_init(&d->up, opts->up_rate ? opts->up_rate : DHT_UP_RATE, before);
	budget_init(&d->unproven, DHT_UNPROVEN_RATE, before);
	d->pings_left = DHT_TICK_PINGS;
	d->signatures_left = DHT_SIGNATURES;
	d->tick_ms = d->deadline = now_ms;
	d->expire_ms = now_ms + EXPIRE_MS;
	d->bootstrap_wait_ms = BOOTSTRAP_MS;
	d->want_bootstrap = true;
	return d;
}

void dht_free(struct dht *d)
{
	struct list *heads[2];

	if (!d)
		return;
	if (d->pair)
		d->pair->pair = NULL;
	heads[0] = &d->searches;
	heads[1] = &d->waiting;
	for (int i = 0; i < 2; i++)
		while (!list_empty(heads[i]))
			dht_search_free(d, container_of(heads[i]->next, struct dht_search, on_searches));
	dht_table_release(&d->table);
	dht_store_release(&d->store);
	dht_items_release(&d->items);
	buf_release(&d->out);
	buf_release(&d->values);
	free(d->queries);
	free(d);
}

void dht_pair(struct dht *v4, struct dht *v6)
{
	v4->pair = v6;
	v6->pair = v4;
}

uint64_t dht_deadline(const struct dht *d)
{
	return d->deadline;
}

static void set_deadline(struct dht *d)
{
	uint64_t next = min_u64(d->tick_ms, dht_query_next(d));

	if (d->nsearches < DHT_SEARCHES && d->nwaiting)
		next = d->now;
	d->deadline = next;
}

/* ---- hosts that may be nodes ---- */

static void ping_unknown(struct dht *d, const struct addr *a)
{
	if (d->pings_left == 0 || dht_is_asked(d, a))
		return;
	if (dht_ping(d, a))
		d->pings_left--;
}

void dht_add_node(struct dht *d, const struct addr *a, uint64_t now_ms)
{
	d->now = now_ms;
	if (a->v6 == d->o.v6 && addr_is_usable_peer(a) && a->port > 1 && !dht_table_find(&d->table, a))
		ping_unknown(d, a);
}

static bool is_router(const struct dht *d, const struct addr *a)
{
	for (size_t i = 0; i < d->nrouters; i++)
		if (addr_eq(&d->routers[i], a))
			return true;
	return false;
}

void dht_add_router(struct dht *d, const struct addr *a, uint64_t now_ms)
{
	d->now = now_ms;
	if (a->v6 != d->o.v6 || !addr_is_usable_peer(a) || is_router(d, a))
		return;
	d->routers[d->next_router] = *a;
	d->next_router = (d->next_router + 1) % DHT_ROUTERS;
	if (d->nrouters < DHT_ROUTERS)
		d->nrouters++;
	if (d->want_bootstrap)
		d->tick_ms = now_ms;
	dht_wake(d);
}

/* ---- our own address and id (BEP 42) ---- */

static void rename_node(struct dht *d)
{
	random_of(d, d->id, DHT_ID);
	dht_id_fit(d->id, &d->external);
	dht_table_set_own(&d->table, d->id, d->now);
	d->renamed_ms = d->now;
	d->want_bootstrap = true;
	d->bootstrap_ms = d->now;
}

static void take_vote(struct dht *d, const struct addr *from, struct slice ip)
{
	struct addr a;

	if (!dht_addr_read(ip, &a) || a.v6 != d->o.v6)
		return;
	a.port = 1;
	if (!addr_is_usable_peer(&a))
		return;
	a.port = 0;
	if (!dht_vote(&d->votes, from, &a))
		return;
	if (!addr_same_ip(&d->external, &a)) {
		d->external = a;
		if (d->o.on_external_ip)
			d->o.on_external_ip(d->o.arg, &a);
	}
	if (!d->fixed_id && !dht_id_fits(d->id, &d->external) &&
	    (d->renamed_ms == 0 || d->now - d->renamed_ms >= RENAME_MS))
		rename_node(d);
}

/* ---- packets ---- */

static void on_query(struct dht *d, const struct addr *from, const struct dht_msg *m, struct slice packet)
{
	struct dht_contact c = { .addr = *from };

	d->count.queries_in++;
	if (d->o.read_only)
		return;
	if (m->id.p && memcmp(m->id.p, d->id, DHT_ID) == 0)
		return; /* our own, come back, or somebody who says to be us */
	if (!dht_gate_query(&d->gate, from, d->now)) {
		d->count.refused++;
		return;
	}
	dht_answer(d, from, m, packet);
	if (m->error || m->read_only || is_router(d, from))
		return;
	memcpy(c.id, m->id.p, DHT_ID);
	if (dht_table_asked(&d->table, &c, d->now))
		ping_unknown(d, from);
}

static void on_answer(struct dht *d, const struct addr *from, const struct dht_msg *m)
{
	struct dht_query *slot = dht_query_match(d, from, m->t), q;
	struct dht_contact c = { .addr = *from };
	struct dht_entry *e;

	if (!slot)
		return; /* nobody was asked, or somebody else */
	q = *slot;
	d->count.answers_in++;
	d->answered_ms = d->now;
	if (m->kind == 'r' && memcmp(m->id.p, d->id, DHT_ID) == 0) {
		dht_table_forget(&d->table, from);
		if (q.search)
			dht_search_failed(d, &q);
		return;
	}
	dht_gate_prove(&d->gate, from, d->now);
	dht_answer_held(d, from);
	if (m->ip.p)
		take_vote(d, from, m->ip);
	if (m->kind == 'e') {
		e = dht_table_find(&d->table, from);
		if (e) { /* it lives */
			e->heard_ms = d->now;
			e->fails = 0;
		}
		if (q.search)
			dht_search_refused(d, &q, m);
		return;
	}
	memcpy(c.id, m->id.p, DHT_ID);
	if (!is_router(d, from))
		dht_table_answered(&d->table, &c, d->now);
	if (d->want_bootstrap && d->bootstrap_ms <= d->now)
		d->tick_ms = d->now; /* there is somebody to begin with */
	if (q.search)
		dht_search_answered(d, &q, m);
}

void dht_on_packet(struct dht *d, const struct addr *from, struct slice packet, uint64_t now_ms)
{
	struct dht_msg m;

	d->now = now_ms;
	d->count.packets_in++;
	d->count.bytes_in += packet.n;
	if (from->v6 != d->o.v6 || !addr_is_usable_peer(from) || !dht_is_packet(packet) || !dht_parse(packet, &m))
		return;
	if (m.kind == 'q')
		on_query(d, from, &m, packet);
	else
		on_answer(d, from, &m);
	dht_search_sweep(d);
	set_deadline(d);
}

/* ---- the timer ---- */

static bool own_search_runs(const struct dht *d)
{
	const struct list *heads[] = { &d->searches, &d->waiting };

	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		for (const struct list *l = heads[i]->next; l != heads[i]; l = l->next) {
			const struct dht_search *s = container_of(l, struct dht_search, on_searches);

			if (s->own && !s->dead)
				return true;
		}
	return false;
}

static void search_for(struct dht *d, const uint8_t id[DHT_ID], bool bootstrap)
{
	struct dht_search *s = dht_search_new(d, DHT_FIND_NODE, id, NULL, NULL);

	if (!s)
		return;
	s->own = true;
	s->bootstrap = bootstrap;
	dht_search_start(d, s);
}

/* One search of our own at a time: for our id when few nodes are known or it is
 * new, else into a bucket that nothing has happened to. */
static void keep_table(struct dht *d)
{
	uint32_t good, all;
	uint8_t id[DHT_ID];
	int stale;

	dht_table_count(&d->table, d->now, &good, &all);
	if (good >= DHT_K)
		d->bootstrap_wait_ms = BOOTSTRAP_MS;
	if (all + d->nrouters == 0 || own_search_runs(d))
		return;
	if ((d->want_bootstrap || good < DHT_K) && d->now >= d->bootstrap_ms) {
		d->want_bootstrap = false;
		d->bootstrap_ms = d->now + d->bootstrap_wait_ms;
		d->bootstrap_wait_ms = min_u64(2 * d->bootstrap_wait_ms, BOOTSTRAP_MAX_MS);
		search_for(d, d->id, true);
		return;
	}
	stale = dht_table_stale(&d->table, d->now);
	if (stale >= 0) {
		random_of(d, id, DHT_ID);
		dht_table_id_in(&d->table, (size_t)stale, id);
		search_for(d, id, false);
	}
}

static void ping_questionable(struct dht *d)
{
	for (int i = 0; i < PINGS; i++) {
		struct dht_entry *e = dht_table_questionable(&d->table, d->now);

		if (!e)
			return;
		e->asked_ms = d->now;
		if (!dht_is_asked(d, &e->c.addr) && !dht_ping(d, &e->c.addr))
			return;
	}
}

static void tick(struct dht *d)
{
	uint8_t chance[16];

	d->tick_ms = d->now + DHT_TICK_MS;
	d->pings_left = DHT_TICK_PINGS;
	d->signatures_left = DHT_SIGNATURES;
	random_of(d, chance, sizeof(chance));
	dht_gate_turn(&d->gate, chance, d->now);
	if (d->now >= d->expire_ms) {
		d->expire_ms = d->now + EXPIRE_MS;
		dht_store_expire(&d->store, d->now);
		dht_items_expire(&d->items, d->now);
	}
	keep_table(d);
	ping_questionable(d);
}

void dht_on_timer(struct dht *d, uint64_t now_ms)
{
	d->now = now_ms;
	dht_query_timeouts(d);
	if (now_ms >= d->tick_ms)
		tick(d);
	dht_search_all(d);
	dht_search_sweep(d);
	set_deadline(d);
}
