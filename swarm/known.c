/* SPDX-License-Identifier: MIT */
/* known.c - addresses a torrent knows of: a table of at most KNOWN_MAX slots with
 * a hash over the address. Chooses whom to try next (fewest failures first, then
 * BEP 40 priority) with exponential back-off, and keeps bans. A slot's number is
 * what the picker and the smart ban call a peer by, so a slot that is named by
 * one of those is not reused. */
#include "swarm/swarm.h"
#include <stdlib.h>

enum { RETRY_FIRST_MS = 10000, RETRY_MOST_MS = 30 * 60000, RETRY_WANTED_MS = 2000, GIVE_UP_AFTER = 8 };

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

static void rehash(struct known_set *k)
{
	memset(k->hash, 0, k->hash_size * sizeof(*k->hash));
	for (uint32_t i = 0; i < k->n; i++)
		hash_put(k, i);
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
	rehash(k);
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

/* The table is full: the slot least worth keeping, that nothing refers to. */
static struct known *known_victim(struct known_set *k)
{
	struct known *worst = NULL;
	for (size_t i = 0; i < k->n; i++) {
		struct known *c = &k->v[i];
		if (c->peer || c->suspects || c->wanted || c->banned)
			continue;
		if (!worst || c->listens < worst->listens || (c->listens == worst->listens && c->fails > worst->fails))
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
	if (k->n < KNOWN_MAX) {
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
		c = known_victim(k);
		if (!c)
			return NULL;
		*c = (struct known){ .addr = *a };
		rehash(k); /* open addressing has no deletion; rare: the table is at its ceiling */
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

struct known *known_next(struct bt_torrent *t, uint64_t *wait_ms)
{
	struct known *best = NULL;
	uint64_t now = t->c->net.now_ms, soonest = UINT64_MAX;
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
		if (!best || k->wanted > best->wanted ||
		    (k->wanted == best->wanted &&
		     (k->fails < best->fails || (k->fails == best->fails && k->priority > best->priority))))
			best = k;
	}
	*wait_ms = best ? 0 : soonest == UINT64_MAX ? UINT64_MAX : soonest - now;
	return best;
}

static int bad_ip(const struct known_set *k, const struct addr *a)
{
	for (uint32_t i = 0; i < k->nbad && i < ARRAY_LEN(k->bad_ips); i++)
		if (addr_same_ip(&k->bad_ips[i], a))
			return (int)i;
	return -1;
}

bool known_ip_banned(const struct bt_torrent *t, const struct addr *a)
{
	int i = bad_ip(&t->known, a);
	return i >= 0 && t->known.bad_count[i] >= BAN_IP_AFTER;
}

/* One guilty verdict bans one address and port: many honest peers may live behind
 * the same NAT. A third verdict on the same IP bans the IP. */
void known_ban(struct bt_torrent *t, struct known *k, const char *why)
{
	char text[ADDR_TEXT];
	if (k->banned)
		return;
	k->banned = true;
	struct known_set *s = &t->known;
	int i = bad_ip(s, &k->addr);
	if (i < 0) {
		i = (int)(s->nbad++ % ARRAY_LEN(s->bad_ips));
		s->bad_ips[i] = k->addr;
		s->bad_count[i] = 0;
	}
	if (s->bad_count[i] < 255)
		s->bad_count[i]++;
	client_event(t->c, BT_EV_WARNING, t, "banned peer %s: %s", addr_format(&k->addr, text), why);
	if (k->peer)
		peer_fail(k->peer, why);
}

void known_release(struct known_set *k)
{
	free(k->v);
	free(k->hash);
	memset(k, 0, sizeof(*k));
}
