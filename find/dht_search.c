/* SPDX-License-Identifier: MIT */
/* dht_search.c - one search (BEP 5): a list of candidates, nearest to the target
 * first, of which the nearest that were not asked are asked, a few at a time, until
 * the eight nearest that are alive have answered; then those are asked to store
 * something, if that is what it is for. Only nodes whose id fits their address end
 * a search (BEP 42), and of one neighbourhood only one is believed, so that a host
 * with many ids near the target doesn't become all of the eight. What answers
 * mean is dht_find.c's business. Start at dht_search_step(). */
#include "find/dht_node.h"

#include <stdlib.h>

#define WAIT_MS 30000u  /* for a first node to begin with */
#define UNFIT_STORES 4  /* nodes that don't fit but are nearer may have a copy too */

struct dht_search *dht_search_new(struct dht *d, enum dht_method method, const uint8_t target[20], dht_result_fn *fn, void *arg)
{
	struct dht_search *s;

	if (d->nsearches + d->nwaiting >= DHT_WAITING)
		return NULL;
	s = alloc_array(1, sizeof(*s));
	if (!s)
		return NULL;
	list_init(&s->on_searches);
	s->method = method;
	s->store = DHT_PING;
	s->fn = fn;
	s->arg = arg;
	s->best_seq = -1;
	memcpy(s->target, target, 20);
	return s;
}

void dht_search_start(struct dht *d, struct dht_search *s)
{
	if (++d->last_number == 0)
		d->last_number = 1;
	s->number = d->last_number;
	s->start_ms = d->now;
	list_push_back(&d->waiting, &s->on_searches);
	d->nwaiting++;
	dht_wake(d);
}

void dht_search_free(struct dht *d, struct dht_search *s)
{
	if (list_linked(&s->on_searches)) {
		list_remove(&s->on_searches);
		if (s->running)
			d->nsearches--;
		else
			d->nwaiting--;
	}
	dht_query_forget(d, s);
	free(s->c);
	free(s->item);
	free(s->blooms);
	free(s);
}

/* ---- candidates ---- */

struct dht_candidate *dht_search_candidate(struct dht_search *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (addr_eq(&s->c[i].c.addr, a))
			return &s->c[i];
	return NULL;
}

struct dht_candidate *dht_search_add(struct dht *d, struct dht_search *s, const struct dht_contact *c, bool has_id, unsigned hops)
{
	struct dht_candidate *add;
	size_t at = s->n;

	if (has_id && memcmp(c->id, d->id, 20) == 0)
		return NULL;
	for (size_t i = 0; i < s->n; i++)
		if (addr_eq(&s->c[i].c.addr, &c->addr) || (has_id && s->c[i].has_id && memcmp(s->c[i].c.id, c->id, 20) == 0))
			return NULL;
	while (at > 0 && s->c[at - 1].has_id && (!has_id || dht_nearer(s->target, c->id, s->c[at - 1].c.id) < 0))
		at--;
	if (at == DHT_CANDIDATES)
		return NULL;
	if (s->n < DHT_CANDIDATES)
		s->n++;
	add = &s->c[at];
	memmove(add + 1, add, (s->n - at - 1) * sizeof(*add));
	*add = (struct dht_candidate){ .c = *c, .has_id = has_id, .hops = (uint8_t)(hops < 255 ? hops : 255) };
	add->fits = has_id && dht_id_fits(c->id, &c->addr);
	return add;
}

/* Somebody else of the same neighbourhood has answered, or may still do. Networks
 * of our own have no neighbourhoods. */
static bool has_neighbour(const struct dht_search *s, const struct dht_candidate *c)
{
	if (dht_addr_is_local(&c->c.addr))
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (&s->c[i] != c && s->c[i].state != DHT_NEW && s->c[i].state != DHT_FAILED &&
		    dht_subnet_key(&s->c[i].c.addr) == dht_subnet_key(&c->c.addr))
			return true;
	return false;
}

/* From the table, and from the routers when that isn't much. */
static bool begin(struct dht *d, struct dht_search *s)
{
	struct dht_contact near[2 * DHT_K];
	size_t n;

	if (!s->c)
		s->c = alloc_array(DHT_CANDIDATES, sizeof(*s->c));
	if (!s->c)
		return false;
	n = dht_table_closest(&d->table, s->target, false, near, ARRAY_LEN(near), d->now);
	for (size_t i = 0; i < n; i++)
		dht_search_add(d, s, &near[i], true, 0);
	for (size_t i = 0; i < d->nrouters && n < DHT_K; i++) {
		memset(near[0].id, 0, 20);
		near[0].addr = d->routers[i];
		dht_search_add(d, s, &near[0], false, 0);
	}
	return s->n > 0;
}

/* ---- asking ---- */

static bool ask(struct dht *d, struct dht_search *s, struct dht_candidate *c)
{
	struct dht_msg m = { .method = s->method };

	if (s->method == DHT_GET_PEERS)
		m.info_hash = slice_of(s->target, 20);
	else
		m.target = slice_of(s->target, 20);
	if (s->flags & DHT_NOSEED) {
		m.noseed = 1;
		m.has |= DHT_HAS_NOSEED;
	}
	if (s->flags & DHT_SCRAPE) {
		m.scrape = 1;
		m.has |= DHT_HAS_SCRAPE;
	}
	/* BEP 32: both families while we find our place, our own from then on */
	if (s->bootstrap && d->pair)
		m.want = DHT_WANT_N4 | DHT_WANT_N6;
	if (!dht_ask(d, &c->c.addr, &m, s))
		return false;
	c->state = DHT_ASKED;
	s->asked++;
	return true;
}

static bool ask_to_store(struct dht *d, struct dht_search *s, struct dht_candidate *c)
{
	struct dht_msg m = { .method = s->store, .token = slice_of(c->token, c->ntoken) };

	if (s->store == DHT_ANNOUNCE_PEER) {
		m.info_hash = slice_of(s->target, 20);
		m.port = s->port;
		m.implied_port = m.seed = 1;
		m.has = DHT_HAS_PORT | (s->flags & DHT_IMPLIED_PORT ? DHT_HAS_IMPLIED : 0u) |
			(s->flags & DHT_SEED ? DHT_HAS_SEED : 0u);
	} else {
		m.v = s->item->item.v;
		if (s->item->item.is_mutable) {
			m.key = slice_of(s->item->item.key, 32);
			m.sig = slice_of(s->item->item.sig, 64);
			m.seq = s->item->item.seq;
			m.has = DHT_HAS_SEQ;
			if (s->item->item.salt.n)
				m.salt = s->item->item.salt;
		}
		/* not to nodes that have nothing to compare with */
		if (s->has_cas && c->has_item) {
			m.cas = s->cas;
			m.has |= DHT_HAS_CAS;
		}
	}
	return dht_ask(d, &c->c.addr, &m, s);
}

/* Who shall store: the nearest that gave a token and fit, and nearer ones that don't. */
static bool choose_stores(struct dht_search *s)
{
	unsigned fit = 0, unfit = 0;

	for (size_t i = 0; i < s->n && fit < DHT_K; i++) {
		struct dht_candidate *c = &s->c[i];

		if (c->state != DHT_ANSWERED || !c->ntoken || (!c->fits && unfit == UNFIT_STORES))
			continue;
		fit += c->fits;
		unfit += !c->fits;
		c->storing = DHT_TO_STORE;
	}
	return fit + unfit > 0;
}

void dht_search_finish(struct dht *d, struct dht_search *s)
{
	struct dht_result r = {
		.what = DHT_DONE, .search = s->number, .target = s->target, .asked = s->asked, .answered = s->answered,
		.stored = s->stored, .error = s->error, .ms = d->now - s->start_ms,
	};

	s->dead = true;
	for (size_t i = 0; i < s->n; i++)
		if (s->c[i].state == DHT_ANSWERED) {
			r.hops = s->c[i].hops + 1u;
			break;
		}
	if (s->blooms) {
		r.seeds = (uint32_t)(dht_bloom_count(s->blooms[0]) + 0.5);
		r.leechers = (uint32_t)(dht_bloom_count(s->blooms[1]) + 0.5);
	}
	if (s->bootstrap) /* what is near is known now; then the rest of the table */
		for (size_t i = 0; i < d->table.n; i++)
			if (d->table.b[i].nlive < DHT_K)
				d->table.b[i].changed_ms = d->now - DHT_QUESTIONABLE_MS;
	if (s->fn)
		s->fn(s->arg, &r);
}

static void step_stores(struct dht *d, struct dht_search *s)
{
	bool open = false;

	for (size_t i = 0; i < s->n; i++) {
		struct dht_candidate *c = &s->c[i];

		if (c->storing == DHT_TO_STORE && ask_to_store(d, s, c))
			c->storing = DHT_STORE_ASKED;
		open |= c->storing == DHT_TO_STORE || c->storing == DHT_STORE_ASKED || c->storing == DHT_STORE_AGAIN;
	}
	if (!open)
		dht_search_finish(d, s);
}

void dht_search_step(struct dht *d, struct dht_search *s)
{
	unsigned asked = 0, near = 0;
	bool open = false;

	if (s->dead || !s->running)
		return;
	if (s->storing) {
		step_stores(d, s);
		return;
	}
	if (s->n == 0 && !begin(d, s)) {
		if (d->now - s->start_ms >= WAIT_MS)
			dht_search_finish(d, s);
		return;
	}
	for (size_t i = 0; i < s->n; i++)
		asked += s->c[i].state == DHT_ASKED;
	for (size_t i = 0; i < s->n && near < DHT_K; i++) {
		struct dht_candidate *c = &s->c[i];

		if (c->state == DHT_NEW && s->asked < DHT_ASK_MAX && !has_neighbour(s, c)) {
			open = true;
			asked += asked < DHT_PARALLEL && ask(d, s, c);
		}
		open |= c->state == DHT_ASKED;
		near += c->state == DHT_ANSWERED && c->fits;
	}
	if (open)
		return;
	if (s->store != DHT_PING && choose_stores(s)) {
		s->storing = true;
		step_stores(d, s);
		return;
	}
	dht_search_finish(d, s);
}

void dht_search_slow(struct dht *d, const struct dht_query *q)
{
	struct dht_search *s = q->search;
	struct dht_candidate *c = s->dead ? NULL : dht_search_candidate(s, &q->to);

	if (c && q->method != s->store && c->state == DHT_ASKED)
		c->state = DHT_SLOW;
	/* What is to be stored is asked twice: it took a search to get there. */
	if (c && q->method == s->store && c->storing == DHT_STORE_AGAIN)
		c->storing = DHT_REFUSED;
	if (c && q->method == s->store && c->storing == DHT_STORE_ASKED)
		c->storing = ask_to_store(d, s, c) ? DHT_STORE_AGAIN : DHT_REFUSED;
	dht_search_step(d, s);
}

void dht_search_failed(struct dht *d, const struct dht_query *q)
{
	struct dht_candidate *c = dht_search_candidate(q->search, &q->to);

	if (c && q->method != q->search->store && c->state != DHT_ANSWERED)
		c->state = DHT_FAILED;
	dht_search_step(d, q->search);
}

/* ---- all searches ---- */

void dht_search_all(struct dht *d)
{
	while (d->nsearches < DHT_SEARCHES && !list_empty(&d->waiting)) {
		struct dht_search *s = container_of(d->waiting.next, struct dht_search, on_searches);

		list_remove(&s->on_searches);
		list_push_back(&d->searches, &s->on_searches);
		s->running = true;
		d->nwaiting--;
		d->nsearches++;
	}
	/* results may add searches, at the end, and mark some dead; none is freed here */
	for (struct list *l = d->searches.next; l != &d->searches; l = l->next)
		dht_search_step(d, container_of(l, struct dht_search, on_searches));
}

static void sweep(struct dht *d, struct list *head)
{
	for (struct list *l = head->next, *next; l != head; l = next) {
		struct dht_search *s = container_of(l, struct dht_search, on_searches);

		next = l->next;
		if (!s->dead)
			continue;
		if (head == &d->searches)
			dht_wake(d); /* there is room for one that waits */
		dht_search_free(d, s);
	}
}

void dht_search_sweep(struct dht *d)
{
	sweep(d, &d->searches);
	sweep(d, &d->waiting);
}
