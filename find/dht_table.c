/* SPDX-License-Identifier: MIT */
/* dht_table.c - the routing table (BEP 5), as dht_table.h states. What makes it
 * hard to take over: only who answered gets in, the old are kept before the new,
 * one node per address and one per neighbourhood in a bucket, ids that don't fit
 * their address (BEP 42) make room for those that do, and a node that changes its
 * id is out. Start at dht_table_answered(). */
#include "find/dht_table.h"

#include <stdlib.h>

#define RETRY_MS 30000u         /* between two pings to a silent node.. */
#define RETRY_BAD_MS (5 * 60000u) /* ..and to one that never answers */
#define FORGET_FAILS 10

void dht_table_init(struct dht_table *t, const uint8_t own[20])
{
	*t = (struct dht_table){ .n = 0 };
	memcpy(t->own, own, 20);
}

void dht_table_release(struct dht_table *t)
{
	free(t->b);
	t->b = NULL;
	t->n = t->cap = 0;
}

bool dht_entry_is_good(const struct dht_entry *e, uint64_t now)
{
	return e->answered && e->fails < DHT_BAD_FAILS && now - e->heard_ms < DHT_QUESTIONABLE_MS;
}

static bool is_bad(const struct dht_entry *e)
{
	return e->fails >= DHT_BAD_FAILS;
}

static struct dht_bucket *bucket_of(const struct dht_table *t, const uint8_t id[20])
{
	size_t i = dht_shared_bits(t->own, id);

	return &t->b[i < t->n ? i : t->n - 1];
}

/* One more bucket at the end; the one before keeps what doesn't belong there. */
static bool grow(struct dht_table *t, uint64_t now)
{
	struct dht_bucket *from, *to, all;
	void *p = t->b;

	if (t->n >= DHT_BUCKETS || !grow_array(&p, &t->cap, t->n + 1, sizeof(*t->b)))
		return false;
	t->b = p;
	to = &t->b[t->n++];
	*to = (struct dht_bucket){ .changed_ms = now };
	if (t->n == 1)
		return true;
	from = &t->b[t->n - 2];
	all = *from;
	from->nlive = from->nspare = 0;
	for (int i = 0; i < all.nlive; i++) {
		struct dht_bucket *b = bucket_of(t, all.live[i].c.id);

		b->live[b->nlive++] = all.live[i];
	}
	for (int i = 0; i < all.nspare; i++) {
		struct dht_bucket *b = bucket_of(t, all.spare[i].c.id);

		b->spare[b->nspare++] = all.spare[i];
	}
	return true;
}

static void drop(struct dht_entry *list, uint8_t *n, size_t i)
{
	memmove(&list[i], &list[i + 1], (*n - i - 1) * sizeof(*list));
	--*n;
}

/* The entry of that address, in whichever list. */
static struct dht_entry *find(const struct dht_table *t, const struct addr *a, struct dht_bucket **bucket, bool *spare)
{
	for (size_t i = 0; i < t->n; i++) {
		struct dht_bucket *b = &t->b[i];

		for (int j = 0; j < b->nlive + b->nspare; j++) {
			struct dht_entry *e = j < b->nlive ? &b->live[j] : &b->spare[j - b->nlive];

			if (addr_eq(&e->c.addr, a)) {
				*bucket = b;
				*spare = j >= b->nlive;
				return e;
			}
		}
	}
	return NULL;
}

struct dht_entry *dht_table_find(const struct dht_table *t, const struct addr *a)
{
	struct dht_bucket *b;
	bool spare;

	return find(t, a, &b, &spare);
}

/* A live node for whose sake c can't be in bucket b: the same id, the same host
 * anywhere, or a neighbour in b. Networks of our own have no neighbourhoods. */
static struct dht_entry *rival(const struct dht_table *t, struct dht_bucket *b, const struct dht_contact *c)
{
	bool local = dht_addr_is_local(&c->addr);

	for (int i = 0; i < b->nlive; i++)
		if (memcmp(b->live[i].c.id, c->id, 20) == 0 ||
		    (!local && dht_subnet_key(&b->live[i].c.addr) == dht_subnet_key(&c->addr)))
			return &b->live[i];
	for (size_t i = 0; i < t->n && !local; i++)
		for (int j = 0; j < t->b[i].nlive; j++)
			if (dht_ip_key(&t->b[i].live[j].c.addr) == dht_ip_key(&c->addr))
				return &t->b[i].live[j];
	return NULL;
}

/* The worst of a bucket, if worse than a node that answered now. */
static struct dht_entry *worst(struct dht_bucket *b, bool fits)
{
	struct dht_entry *w = NULL;

	for (int i = 0; i < b->nlive; i++)
		if (is_bad(&b->live[i]) && (!w || b->live[i].fails > w->fails))
			w = &b->live[i];
	for (int i = 0; i < b->nlive && !w; i++)
		if (!b->live[i].answered)
			w = &b->live[i];
	for (int i = 0; i < b->nlive && fits; i++)
		if (!b->live[i].fits && (!w || (!is_bad(w) && w->answered && b->live[i].heard_ms < w->heard_ms)))
			w = &b->live[i];
	return w;
}

static bool add(struct dht_table *t, const struct dht_entry *e)
{
	struct dht_entry *other;
	struct dht_bucket *b;

	if (t->n == 0 && !grow(t, e->heard_ms))
		return false;
	for (;;) {
		b = bucket_of(t, e->c.id);
		other = rival(t, b, &e->c);
		if (other && (!is_bad(other) || bucket_of(t, other->c.id) != b))
			return false;
		if (!other && b->nlive < DHT_K)
			other = &b->live[b->nlive++];
		if (!other && e->answered)
			other = worst(b, false);
		if (other)
			break;
		if (b == &t->b[t->n - 1] && grow(t, b->changed_ms))
			continue;
		if (!e->answered)
			return false;
		other = worst(b, e->fits);
		if (other)
			break;
		/* no room: it waits for one */
		if (b->nspare == DHT_K)
			drop(b->spare, &b->nspare, 0);
		b->spare[b->nspare++] = *e;
		return true;
	}
	*other = *e;
	b->changed_ms = e->heard_ms;
	return true;
}

void dht_table_set_own(struct dht_table *t, const uint8_t own[20], uint64_t now)
{
	struct dht_table old = *t;

	dht_table_init(t, own);
	for (size_t i = 0; i < old.n; i++)
		for (int j = 0; j < old.b[i].nlive; j++)
			if (memcmp(old.b[i].live[j].c.id, own, 20) != 0)
				add(t, &old.b[i].live[j]);
	for (size_t i = 0; i < t->n; i++)
		t->b[i].changed_ms = now;
	dht_table_release(&old);
}

void dht_table_answered(struct dht_table *t, const struct dht_contact *c, uint64_t now)
{
	struct dht_entry fresh = { .c = *c, .heard_ms = now, .answered = true, .fits = dht_id_fits(c->id, &c->addr) };
	struct dht_bucket *b;
	struct dht_entry *e;
	bool spare;

	if (memcmp(c->id, t->own, 20) == 0) {
		dht_table_forget(t, &c->addr);
		return;
	}
	e = find(t, &c->addr, &b, &spare);
	if (!e) {
		add(t, &fresh);
	} else if (memcmp(e->c.id, c->id, 20) != 0) {
		dht_table_forget(t, &c->addr);
	} else if (spare) {
		drop(b->spare, &b->nspare, (size_t)(e - b->spare));
		add(t, &fresh);
	} else {
		fresh.asked_ms = e->asked_ms;
		*e = fresh;
		b->changed_ms = now;
	}
}

bool dht_table_asked(struct dht_table *t, const struct dht_contact *c, uint64_t now)
{
	struct dht_bucket *b;
	struct dht_entry *e;
	bool spare;

	if (memcmp(c->id, t->own, 20) == 0)
		return false;
	e = find(t, &c->addr, &b, &spare);
	if (e) {
		if (memcmp(e->c.id, c->id, 20) == 0)
			e->heard_ms = now;
		return false;
	}
	if (t->n == 0)
		return true;
	b = bucket_of(t, c->id);
	e = rival(t, b, c);
	if (e)
		return is_bad(e) && bucket_of(t, e->c.id) == b;
	return b->nlive < DHT_K || (b == &t->b[t->n - 1] && t->n < DHT_BUCKETS) ||
	       worst(b, dht_id_fits(c->id, &c->addr)) != NULL;
}

void dht_table_load(struct dht_table *t, const struct dht_contact *c, uint64_t now)
{
	struct dht_entry e = { .c = *c, .fits = dht_id_fits(c->id, &c->addr) };

	if (memcmp(c->id, t->own, 20) == 0 || dht_table_find(t, &c->addr))
		return;
	if (add(t, &e))
		bucket_of(t, c->id)->changed_ms = now;
}

void dht_table_failed(struct dht_table *t, const struct addr *a, bool online, uint64_t now)
{
	struct dht_bucket *b;
	struct dht_entry *e;
	bool spare;

	e = find(t, a, &b, &spare);
	if (!e)
		return;
	if (spare) {
		drop(b->spare, &b->nspare, (size_t)(e - b->spare));
		return;
	}
	/* While nobody answers the fault is nearer than all of them. */
	if (!online)
		return;
	if (e->fails < UINT8_MAX)
		e->fails++;
	if (!is_bad(e))
		return;
	if (b->nspare || !e->answered || e->fails >= FORGET_FAILS)
		drop(b->live, &b->nlive, (size_t)(e - b->live));
	while (b->nlive < DHT_K && b->nspare) {
		b->nspare--;
		if (rival(t, b, &b->spare[b->nspare].c))
			continue;
		b->live[b->nlive++] = b->spare[b->nspare];
		b->changed_ms = now;
	}
}

void dht_table_forget(struct dht_table *t, const struct addr *a)
{
	struct dht_bucket *b;
	struct dht_entry *e;
	bool spare;

	e = find(t, a, &b, &spare);
	if (e && spare)
		drop(b->spare, &b->nspare, (size_t)(e - b->spare));
	else if (e)
		drop(b->live, &b->nlive, (size_t)(e - b->live));
}

size_t dht_table_closest(const struct dht_table *t, const uint8_t target[20], bool good, struct dht_contact *out,
			 size_t max, uint64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		for (int j = 0; j < t->b[i].nlive; j++) {
			const struct dht_entry *e = &t->b[i].live[j];
			size_t at = n;

			if (good ? !dht_entry_is_good(e, now) : is_bad(e))
				continue;
			while (at > 0 && dht_nearer(target, e->c.id, out[at - 1].id) < 0)
				at--;
			if (at == max)
				continue;
			if (n < max)
				n++;
			memmove(&out[at + 1], &out[at], (n - at - 1) * sizeof(*out));
			out[at] = e->c;
		}
	return n;
}

struct dht_entry *dht_table_questionable(struct dht_table *t, uint64_t now)
{
	struct dht_entry *oldest = NULL;

	for (size_t i = 0; i < t->n; i++)
		for (int j = 0; j < t->b[i].nlive; j++) {
			struct dht_entry *e = &t->b[i].live[j];

			if (dht_entry_is_good(e, now) && !e->fails)
				continue;
			if (e->asked_ms && now - e->asked_ms < (is_bad(e) ? RETRY_BAD_MS : RETRY_MS))
				continue;
			if (!oldest || e->heard_ms < oldest->heard_ms)
				oldest = e;
		}
	return oldest;
}

int dht_table_stale(struct dht_table *t, uint64_t now)
{
	for (size_t i = 0; i < t->n; i++)
		if (now - t->b[i].changed_ms >= DHT_QUESTIONABLE_MS) {
			t->b[i].changed_ms = now;
			return (int)i;
		}
	return -1;
}

void dht_table_id_in(const struct dht_table *t, size_t bucket, uint8_t id[20])
{
	for (uint32_t i = 0; i < bucket; i++)
		if (bit_get(t->own, i))
			bit_set(id, i);
		else
			bit_clear(id, i);
	if (bucket + 1 == t->n)
		return;
	if (bit_get(t->own, (uint32_t)bucket))
		bit_clear(id, (uint32_t)bucket);
	else
		bit_set(id, (uint32_t)bucket);
}

void dht_table_count(const struct dht_table *t, uint64_t now, uint32_t *good, uint32_t *all)
{
	*good = *all = 0;
	for (size_t i = 0; i < t->n; i++)
		for (int j = 0; j < t->b[i].nlive; j++) {
			++*all;
			*good += dht_entry_is_good(&t->b[i].live[j], now);
		}
}
