/* SPDX-License-Identifier: MIT */
/* dht_store.h - what a node keeps for others, and whom it trusts how far. No I/O.
 *
 *   dht_store.c  peers per info-hash (BEP 5, 33), samples of info-hashes (BEP 51)
 *   dht_item.c   signed and plain items (BEP 44, 46)
 *   dht_bloom.c  counting by Bloom filters (BEP 33)
 *   dht_gate.c   write tokens; who asks too much; whose address is proven */
#ifndef BT_DHT_STORE_H
#define BT_DHT_STORE_H

#include "find/dht.h"
#include "find/dht_table.h"

#define DHT_PEER_MS (45 * 60000u)     /* peers announce every 15 to 30 minutes */
#define DHT_ITEM_MS (2 * 3600000u)    /* BEP 44 */
#define DHT_SAMPLES_MAX 20
#define DHT_RESAMPLE_MS (15 * 60000u) /* until another subset is drawn */

/* ---- dht_bloom.c ---- */
void dht_bloom_add(uint8_t bloom[DHT_BLOOM], const struct addr *); /* its port doesn't count */
bool dht_bloom_has(const uint8_t bloom[DHT_BLOOM], const struct addr *);
void dht_bloom_join(uint8_t bloom[DHT_BLOOM], const uint8_t other[DHT_BLOOM]);
double dht_bloom_count(const uint8_t bloom[DHT_BLOOM]); /* estimate; about 8000 when full */

/* ---- dht_store.c ---- */
struct dht_peer {
	uint8_t ip[16];
	uint16_t port;
	bool seed;
	uint32_t seen_s;
};
struct dht_torrent {
	uint8_t hash[20];
	struct dht_torrent *next; /* of its chain */
	struct dht_peer *peers;   /* one for each address */
	size_t n, cap;
};
#define DHT_CHAINS 256
struct dht_store {
	bool v6;
	uint32_t max_torrents, max_peers, max_all;
	uint32_t torrents, peers;
	struct dht_torrent *chain[DHT_CHAINS];
	uint8_t samples[DHT_SAMPLES_MAX * 20];
	uint32_t nsamples;
	uint64_t sampled_ms; /* 0 = not yet */
};
void dht_store_init(struct dht_store *, bool v6, uint32_t max_torrents, uint32_t max_peers, uint32_t max_all);
void dht_store_release(struct dht_store *);
struct dht_torrent *dht_store_find(const struct dht_store *, const uint8_t hash[20]); /* NULL = unknown */
/* May this host announce it? No when the torrent is full and it isn't in it. */
bool dht_store_has_room(const struct dht_store *, const uint8_t hash[20], const struct addr *);
/* False: no room. When there are too many torrents, the smallest goes. */
bool dht_store_add(struct dht_store *, const uint8_t hash[20], const struct addr *, bool seed, uint64_t now);
void dht_store_expire(struct dht_store *, uint64_t now);
/* Appends a bencoded list of as many peers as fit `room` bytes, from a random
 * place on; returns how many. */
size_t dht_store_values(const struct dht_store *, const struct dht_torrent *, bool noseed, uint32_t chance, size_t room,
			struct buf *);
void dht_store_blooms(const struct dht_store *, const struct dht_torrent *, uint8_t seeds[DHT_BLOOM], uint8_t peers[DHT_BLOOM]);
/* The current subset, and in how many seconds another one is drawn. */
struct slice dht_store_sample(struct dht_store *, uint32_t chance, uint64_t now, uint32_t *interval_s);
size_t dht_store_memory(const struct dht_store *);

/* ---- dht_item.c: struct dht_item and its checks are in dht.h ---- */
struct dht_kept {
	uint8_t target[20];
	struct dht_kept *next;
	struct dht_item item;   /* v and salt point into bytes */
	uint64_t seen_ms;
	uint64_t putters;       /* a bit for each host that put it, by hash */
	uint8_t bytes[];        /* v, then salt */
};
struct dht_items {
	uint32_t max, n;
	struct dht_kept *chain[DHT_CHAINS];
};
void dht_items_init(struct dht_items *, uint32_t max);
void dht_items_release(struct dht_items *);
struct dht_kept *dht_items_find(const struct dht_items *, const uint8_t target[20]);
/* Takes a checked item. 0 or the error to answer with. `own` is our id: of two
 * items put by as few hosts, the one farther from it goes first. */
int dht_items_put(struct dht_items *, const struct dht_item *, const int64_t *cas, const struct addr *from,
		  const uint8_t own[20], uint64_t now) BT_MUST_USE;
/* What a put with that seq and cas would be answered, before its signature is looked at. */
int dht_items_order(const struct dht_items *, const struct dht_item *, const int64_t *cas) BT_MUST_USE;
void dht_items_expire(struct dht_items *, uint64_t now);
size_t dht_items_memory(const struct dht_items *);
/* A copy in one piece of memory, for free(). NULL = no memory. */
struct dht_kept *dht_item_copy(const struct dht_item *) BT_MUST_USE;

/* ---- dht_gate.c ---- */
#define DHT_TOKEN 8
struct dht_gate_entry {
	uint64_t key;       /* dht_ip_key; 0 = empty */
	uint32_t since_s;   /* of the 10 s that `count` counts */
	uint32_t blocked_s; /* until then nothing of it is looked at */
	uint32_t proven_s;  /* until then it may get long answers */
	uint32_t count;
};
#define DHT_GATE_WAYS 4
#define DHT_GATE_SETS 128
struct dht_gate {
	uint8_t secret[2][16];  /* of tokens: the current one and the one before */
	uint64_t turned_ms;
	uint64_t mix;           /* secret too: nobody can aim at a set */
	uint32_t rate;
	struct dht_gate_entry e[DHT_GATE_SETS][DHT_GATE_WAYS];
};
void dht_gate_init(struct dht_gate *, uint32_t rate, const uint8_t chance[40], uint64_t now);
/* Tokens are good for 5 to 10 minutes: call it often, with new random bytes. */
void dht_gate_turn(struct dht_gate *, const uint8_t chance[16], uint64_t now);
void dht_token_make(const struct dht_gate *, const struct addr *, const uint8_t target[20], uint8_t token[DHT_TOKEN]);
bool dht_token_check(const struct dht_gate *, const struct addr *, const uint8_t target[20], struct slice token);
bool dht_gate_query(struct dht_gate *, const struct addr *, uint64_t now); /* counts it; false = ignore it */
void dht_gate_prove(struct dht_gate *, const struct addr *, uint64_t now); /* it has got something we sent */
bool dht_gate_is_proven(const struct dht_gate *, const struct addr *, uint64_t now);

#endif
