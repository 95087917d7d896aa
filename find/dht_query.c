/* SPDX-License-Identifier: MIT */
/* dht_query.c - queries on their way: numbered so that an answer finds its query
 * at once, and with enough chance in the number that nobody who doesn't see them
 * can answer for another. Start at dht_ask(). */
#include "find/dht_node.h"

#include <stdlib.h>

static struct dht_query *free_slot(struct dht *d)
{
	struct dht_query *more;
	size_t n = d->nqueries;

	for (size_t i = 0; i < n; i++)
		if (!d->queries[i].used)
			return &d->queries[i];
	if (n >= DHT_QUERIES)
		return NULL;
	n = n ? n * 2 : 16;
	more = realloc(d->queries, n * sizeof(*more));
	if (!more)
		return NULL;
	memset(more + d->nqueries, 0, (n - d->nqueries) * sizeof(*more));
	d->queries = more;
	more += d->nqueries;
	d->nqueries = n;
	return more;
}
_Static_assert(DHT_QUERIES == 256, "16 doubled; and the number of a slot is one byte");

bool dht_ask(struct dht *d, const struct addr *to, struct dht_msg *m, struct dht_search *s)
{
	struct dht_query *q = free_slot(d);
	uint8_t t[4];

	if (!q)
		return false;
	*q = (struct dht_query){ .used = true, .method = m->method, .to = *to, .sent_ms = d->now, .search = s };
	put_u32(t, dht_chance(d));
	memcpy(q->chance, t + 1, 3);
	t[0] = (uint8_t)(q - d->queries);
	m->kind = 'q';
	m->t = slice_of(t, sizeof(t));
	m->id = slice_of(d->id, DHT_ID);
	m->read_only = d->o.read_only;
	dht_send(d, to, m);
	d->deadline = min_u64(d->deadline, d->now + DHT_SOFT_MS);
	return true;
}

bool dht_ping(struct dht *d, const struct addr *to)
{
	struct dht_msg m = { .method = DHT_PING };

	return dht_ask(d, to, &m, NULL);
}

bool dht_is_asked(const struct dht *d, const struct addr *to)
{
	for (size_t i = 0; i < d->nqueries; i++)
		if (d->queries[i].used && addr_eq(&d->queries[i].to, to))
			return true;
	return false;
}

struct dht_query *dht_query_match(struct dht *d, const struct addr *from, struct slice t)
{
	struct dht_query *q;

	if (t.n != 4 || t.p[0] >= d->nqueries)
		return NULL;
	q = &d->queries[t.p[0]];
	if (!q->used || memcmp(q->chance, t.p + 1, 3) != 0 || !addr_eq(&q->to, from))
		return NULL;
	q->used = false;
	return q;
}

void dht_query_forget(struct dht *d, const struct dht_search *s)
{
	for (size_t i = 0; i < d->nqueries; i++)
		if (d->queries[i].used && d->queries[i].search == s)
			d->queries[i].search = NULL; /* the answer still tells that the node lives */
}

void dht_query_timeouts(struct dht *d)
{
	for (size_t i = 0; i < d->nqueries; i++) {
		struct dht_query *q = &d->queries[i], old;

		if (q->used && !q->slow && d->now - q->sent_ms >= DHT_SOFT_MS) {
			q->slow = true;
			old = *q;
			if (old.search)
				dht_search_slow(d, &old); /* may ask more, and move the slots */
			q = &d->queries[i];
		}
		if (q->used && d->now - q->sent_ms >= DHT_HARD_MS) {
			q->used = false;
			old = *q;
			d->count.timeouts++;
			dht_table_failed(&d->table, &old.to, d->now - d->answered_ms < 2 * DHT_HARD_MS, d->now);
			if (old.search)
				dht_search_failed(d, &old);
		}
	}
}

uint64_t dht_query_next(const struct dht *d)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < d->nqueries; i++) {
		const struct dht_query *q = &d->queries[i];

		if (q->used)
			next = min_u64(next, q->sent_ms + (q->slow ? DHT_HARD_MS : DHT_SOFT_MS));
	}
	return next;
}
