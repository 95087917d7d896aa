/* SPDX-License-Identifier: MIT */
/* known.c - addresses a torrent knows of: a table of at most KNOWN_MAX slots with
 * a hash over the address. Chooses whom to try next (fewest failures first, then
 * BEP 40 priority) with exponential back-off, and keeps bans. A slot's number is
 * what the picker and the smart ban call a peer by, so a slot that is named by
 * one of those is not reused. */
#include "swarm/swarm.h"
#include <stdlib.h>

enum {
	RETRY_FIRST_MS = 10000, RETRY_MOST_MS = 30 * 60000, RETRY_WANTED_MS = 2000, GIVE_UP_AFTER = 8,
	VICTIM_LOOKS = 64,
};

static size_t addr_hash(const struct addr *a)
{
	return crc32c(a->port, a->ip, sizeof(a->ip));
}

static void hash_put(struct known_set *k, uint32_t slot)
{
	size_t i = addr_hash(&k->v[slot].addr) & (k->hash_size - 1);
	while (k->hash[i])
		i = (i + 1) & (k->hash_size - 1);
	k->hash[i] = slot + 1;
}

static bool hash_grow(struct known_set *k)
{
	size_t size = k->hash_size ? k->hash_size : 64;
	while (size < (k->n + 1) * 2)
		size *= 2;
	if (size == k->hash_size)
		return true;
	uint32_t *fresh = alloc_array(size, sizeof(*fresh));
	if (!fresh)
		return false;
	free(k->hash);
	k->hash = fresh;
	k->hash_size = size;
	for (uint32_t i = 0; i < k->n; i++)
		hash_put(k, i);
	return true;
}

static struct known *known_find(struct known_set *k, const struct addr *a)
{
	if (!k->hash_size)
		return NULL;
	for (size_t i = addr_hash(a) & (k->hash_size - 1); k->hash[i]; i = (i + 1) & (k->hash_size - 1))
		if (addr_eq(&k->v[k->hash[i] - 1].addr, a))
			return &k->v[k->hash[i] - 1];
	return NULL;
}

/* Open addressing: those behind it that could stand nearer to their place move up. */
static void hash_remove(struct known_set *k, uint32_t slot)
{
	size_t mask = k->hash_size - 1, hole = addr_hash(&k->v[slot].addr) & mask;
	while (k->hash[hole] != slot + 1)
		hole = (hole + 1) & mask;
	for (size_t i = (hole + 1) & mask; k->hash[i]; i = (i + 1) & mask) {
		size_t home = addr_hash(&k->v[k->hash[i] - 1].addr) & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		k->hash[hole] = k->hash[i];
		hole = i;
	}
	k->hash[hole] = 0;
}

static bool less_worth(const struct known *a, const struct known *b)
{
	if (a->gave != b->gave)
		return b->gave;
	if (a->listens != b->listens)
		return b->listens;
	return a->fails > b->fails;
}

/* The table is full: among some slots that nothing refers to, the one least worth
 * keeping. The hand goes round, so each call looks at a bounded number. */
static struct known *known_victim(struct known_set *k, size_t looks)
{
	struct known *worst = NULL;
	for (size_t i = 0; i < k->n && (i < looks || (looks == SIZE_MAX && !worst)); i++) {
		struct known *c = &k->v[k->hand++ % k->n];
		if (c->peer || c->blocks || c->wanted || c->banned)
			continue;
		if (!worst || less_worth(c, worst))
			worst = c;
	}
	return worst;
}

struct known *known_add(struct bt_torrent *t, const struct addr *a, bool listens)
{
	struct known_set *k = &t->known;
	struct known *c = known_find(k, a);
	if (c) {
		c->listens |= listens;
		return c;
	}
	/* Hearsay finds a place or is forgotten; whoever is connected gets a number. */
	if (k->n >= KNOWN_MAX)
		c = known_victim(k, VICTIM_LOOKS);
	if (!c && !listens && k->n >= KNOWN_MAX + (size_t)t->c->max_peers)
		c = known_victim(k, SIZE_MAX);
	if (!c && (k->n < KNOWN_MAX || (!listens && k->n < KNOWN_MAX + (size_t)t->c->max_peers))) {
		void *v = k->v;
		if (!grow_array(&v, &k->cap, k->n + 1, sizeof(*k->v)))
			return NULL;
		k->v = v;
		if (!hash_grow(k))
			return NULL;
		c = &k->v[k->n++];
		*c = (struct known){ .addr = *a };
		hash_put(k, (uint32_t)(k->n - 1));
	} else {
		if (!c)
			return NULL;
		hash_remove(k, (uint32_t)(c - k->v));
		*c = (struct known){ .addr = *a };
		hash_put(k, (uint32_t)(c - k->v));
	}
	c->listens = listens;
	c->priority = peer_priority(&t->c->external, a);
	return c;
}

uint32_t known_number(const struct bt_torrent *t, const struct known *k)
{
	return (uint32_t)(k - t->known.v) + 1;
}

struct known *known_by_number(struct bt_torrent *t, uint32_t number)
{
	return number && number <= t->known.n ? &t->known.v[number - 1] : NULL;
}

void known_failed(struct bt_torrent *t, struct known *k)
{
	if (k->fails < 30)
		k->fails++;
	uint64_t wait = (uint64_t)RETRY_FIRST_MS << (k->fails - 1 < 12 ? k->fails - 1 : 12);
	wait = min_u64(wait, RETRY_MOST_MS);
	if (k->wanted)
		wait = min_u64(wait, (uint64_t)RETRY_WANTED_MS * k->fails);
	k->retry_ms = t->c->net.now_ms + wait;
}

static bool better(const struct known *a, const struct known *b)
{
	if (a->wanted != b->wanted)
		return a->wanted;
	if (a->fails != b->fails)
		return a->fails < b->fails;
	return a->priority > b->priority;
}

size_t known_choose(struct bt_torrent *t, struct known **out, size_t max, uint64_t *wait_ms)
{
	uint64_t now = t->c->net.now_ms, soonest = UINT64_MAX;
	size_t n = 0;
	for (size_t i = 0; i < t->known.n; i++) {
		struct known *k = &t->known.v[i];
		if (k->peer || !k->listens || k->banned || (k->fails >= GIVE_UP_AFTER && !k->wanted))
			continue;
		if (k->seed && t->seeding)
			continue;
		if (k->retry_ms > now) {
			soonest = min_u64(soonest, k->retry_ms);
			continue;
		}
		if (n == max && !better(k, out[n - 1]))
			continue;
		n -= n == max;
		size_t at = n++;
		for (; at && better(k, out[at - 1]); at--)
			out[at] = out[at - 1];
		out[at] = k;
	}
	*wait_ms = n ? 0 : soonest == UINT64_MAX ? UINT64_MAX : soonest - now;
	return n;
}

static int bad_ip(const struct known_bad *b, const struct addr *a)
{
	for (uint32_t i = 0; b && i < b->n && i < ARRAY_LEN(b->ip); i++)
		if (addr_same_ip(&b->ip[i], a))
			return (int)i;
	return -1;
}

bool known_ip_banned(const struct bt_torrent *t, const struct addr *a)
{
	int i = bad_ip(t->known.bad, a);
	return i >= 0 && t->known.bad->count[i] >= BAN_IP_AFTER;
}

/* One guilty verdict bans one address and port: many honest peers may live behind
 * the same NAT. A third verdict on the same IP bans the IP. */
void known_ban(struct bt_torrent *t, struct known *k, const char *why)
{
	char text[ADDR_TEXT];
	if (k->banned)
		return;
	k->banned = true;
	if (!t->known.bad)
		t->known.bad = alloc_array(1, sizeof(*t->known.bad));
	struct known_bad *s = t->known.bad;
	int i = bad_ip(s, &k->addr);
	if (s && i < 0) {
		i = (int)(s->n++ % ARRAY_LEN(s->ip));
		s->ip[i] = k->addr;
		s->count[i] = 0;
	}
	if (s && s->count[i] < 255)
		s->count[i]++;
	client_event(t->c, BT_EV_WARNING, t, "banned peer %s: %s", addr_format(&k->addr, text), why);
	if (k->peer)
		peer_fail(k->peer, why);
}

void known_release(struct known_set *k)
{
	free(k->v);
	free(k->hash);
	free(k->bad);
	memset(k, 0, sizeof(*k));
}
