/* SPDX-License-Identifier: MIT */
/* dht_store.c - the peers a node keeps for others (BEP 5, 33, 51), as dht_store.h
 * states. Bounded in every direction: torrents, peers of one, peers of all. A host
 * is in a torrent once, whatever ports it announces. Start at dht_store_add(). */
#include "find/dht_store.h"

#include <stdlib.h>

void dht_store_init(struct dht_store *s, bool v6, uint32_t max_torrents, uint32_t max_peers, uint32_t max_all)
{
	*s = (struct dht_store){ .v6 = v6, .max_torrents = max_torrents, .max_peers = max_peers, .max_all = max_all };
}

/* Info-hashes near our id come to us: their first bytes are alike, not the last. */
static struct dht_torrent **chain_of(const struct dht_store *s, const uint8_t hash[20])
{
	return (struct dht_torrent **)&s->chain[hash[19] % DHT_CHAINS];
}

static void remove_at(struct dht_store *s, struct dht_torrent **at)
{
	struct dht_torrent *t = *at;

	*at = t->next;
	s->torrents--;
	s->peers -= (uint32_t)t->n;
	free(t->peers);
	free(t);
}

void dht_store_release(struct dht_store *s)
{
	for (int i = 0; i < DHT_CHAINS; i++)
		while (s->chain[i])
			remove_at(s, &s->chain[i]);
}

struct dht_torrent *dht_store_find(const struct dht_store *s, const uint8_t hash[20])
{
	struct dht_torrent *t = *chain_of(s, hash);

	while (t && memcmp(t->hash, hash, 20) != 0)
		t = t->next;
	return t;
}

static struct dht_peer *peer_of(const struct dht_torrent *t, const struct addr *a)
{
	for (size_t i = 0; i < t->n; i++)
		if (memcmp(t->peers[i].ip, a->ip, 16) == 0)
			return &t->peers[i];
	return NULL;
}

bool dht_store_has_room(const struct dht_store *s, const uint8_t hash[20], const struct addr *a)
{
	const struct dht_torrent *t = dht_store_find(s, hash);

	if (t && peer_of(t, a))
		return true;
	return s->peers < s->max_all && (!t || t->n < s->max_peers);
}

/* Of torrents with as few peers, the one whose last announce is oldest. */
static void remove_smallest(struct dht_store *s)
{
	struct dht_torrent **worst = NULL;
	uint32_t worst_seen = 0;

	for (int i = 0; i < DHT_CHAINS; i++)
		for (struct dht_torrent **at = &s->chain[i]; *at; at = &(*at)->next) {
			uint32_t seen = 0;

			if (worst && (*at)->n > (*worst)->n)
				continue;
			for (size_t j = 0; j < (*at)->n; j++)
				if ((*at)->peers[j].seen_s > seen)
					seen = (*at)->peers[j].seen_s;
			if (!worst || (*at)->n < (*worst)->n || seen < worst_seen) {
				worst = at;
				worst_seen = seen;
			}
		}
	if (worst)
		remove_at(s, worst);
}

bool dht_store_add(struct dht_store *s, const uint8_t hash[20], const struct addr *a, bool seed, uint64_t now)
{
	struct dht_torrent *t;
	struct dht_peer *p;
	void *peers;

	if (!dht_store_has_room(s, hash, a))
		return false;
	t = dht_store_find(s, hash);
	if (!t) {
		if (s->torrents >= s->max_torrents)
			remove_smallest(s);
		t = alloc_array(1, sizeof(*t));
		if (!t)
			return false;
		memcpy(t->hash, hash, 20);
		t->next = *chain_of(s, hash);
		*chain_of(s, hash) = t;
		s->torrents++;
	}
	p = peer_of(t, a);
	if (!p) {
		peers = t->peers;
		if (!grow_array(&peers, &t->cap, t->n + 1, sizeof(*t->peers)))
			return false; /* an empty torrent goes with the next expiry */
		t->peers = peers;
		p = &t->peers[t->n++];
		s->peers++;
		memcpy(p->ip, a->ip, 16);
	}
	p->port = a->port;
	p->seed = seed;
	p->seen_s = (uint32_t)(now / 1000);
	return true;
}

void dht_store_expire(struct dht_store *s, uint64_t now)
{
	uint32_t now_s = (uint32_t)(now / 1000);

	for (int i = 0; i < DHT_CHAINS; i++)
		for (struct dht_torrent **at = &s->chain[i]; *at;) {
			struct dht_torrent *t = *at;

			for (size_t j = 0; j < t->n;) {
				if (now_s - t->peers[j].seen_s < DHT_PEER_MS / 1000) {
					j++;
					continue;
				}
				t->peers[j] = t->peers[--t->n];
				s->peers--;
			}
			if (t->n == 0)
				remove_at(s, at);
			else
				at = &t->next;
		}
}

static void peer_addr(const struct dht_store *s, const struct dht_peer *p, struct addr *a)
{
	*a = (struct addr){ .port = p->port, .v6 = s->v6 };
	memcpy(a->ip, p->ip, 16);
}

size_t dht_store_values(const struct dht_store *s, const struct dht_torrent *t, bool noseed, uint32_t chance, size_t room,
			struct buf *b)
{
	size_t len = dht_addr_len(s->v6), each = len + (s->v6 ? 3 : 2), n = 0, from = t->n ? chance % t->n : 0;

	ben_open_list(b);
	for (size_t i = 0; i < t->n && (n + 1) * each + 2 <= room; i++) {
		const struct dht_peer *p = &t->peers[(from + i) % t->n];
		uint8_t bytes[18];
		struct addr a;

		if (noseed && p->seed)
			continue;
		peer_addr(s, p, &a);
		ben_put_bytes(b, bytes, dht_addr_write(bytes, &a));
		n++;
	}
	ben_close(b);
	return n;
}

void dht_store_blooms(const struct dht_store *s, const struct dht_torrent *t, uint8_t seeds[DHT_BLOOM], uint8_t peers[DHT_BLOOM])
{
	struct addr a;

	memset(seeds, 0, DHT_BLOOM);
	memset(peers, 0, DHT_BLOOM);
	for (size_t i = 0; i < t->n; i++) {
		peer_addr(s, &t->peers[i], &a);
		dht_bloom_add(t->peers[i].seed ? seeds : peers, &a);
	}
}

/* The subset stays the same for a while, so that asking again and again tells
 * nothing more: each torrent takes the place of an earlier one by chance. */
struct slice dht_store_sample(struct dht_store *s, uint32_t chance, uint64_t now, uint32_t *interval_s)
{
	uint32_t seen = 0;

	if (s->sampled_ms == 0 || now - s->sampled_ms >= DHT_RESAMPLE_MS || s->torrents <= DHT_SAMPLES_MAX) {
		s->nsamples = 0;
		s->sampled_ms = now;
		for (int i = 0; i < DHT_CHAINS; i++)
			for (const struct dht_torrent *t = s->chain[i]; t; t = t->next) {
				uint32_t at = seen++;

				if (at >= DHT_SAMPLES_MAX) {
					chance = chance * 1664525u + 1013904223u;
					at = (uint32_t)((uint64_t)chance * seen >> 32);
				}
				if (at < DHT_SAMPLES_MAX)
					memcpy(s->samples + at * 20, t->hash, 20);
				if (s->nsamples < DHT_SAMPLES_MAX)
					s->nsamples++;
			}
	}
	*interval_s = (uint32_t)((DHT_RESAMPLE_MS - (now - s->sampled_ms)) / 1000);
	return slice_of(s->samples, (size_t)s->nsamples * 20);
}

size_t dht_store_memory(const struct dht_store *s)
{
	size_t n = 0;

	for (int i = 0; i < DHT_CHAINS; i++)
		for (const struct dht_torrent *t = s->chain[i]; t; t = t->next)
			n += sizeof(*t) + t->cap * sizeof(*t->peers);
	return n;
}
