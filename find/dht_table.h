/* SPDX-License-Identifier: MIT */
/* dht_table.h - node ids and the routing table (BEP 5, 42). No I/O.
 *
 *   dht_id.c     distances, ids that fit an address, votes about our own address
 *   dht_table.c  buckets: who is kept, who has to go, who is asked next */
#ifndef BT_DHT_TABLE_H
#define BT_DHT_TABLE_H

#include "find/dht_message.h"

#define DHT_K 8         /* nodes of a bucket, of an answer, and that store a value */
#define DHT_BUCKETS 160
#define DHT_QUESTIONABLE_MS (15 * 60000u) /* a node not heard of for so long */
#define DHT_BAD_FAILS 2

/* ---- dht_id.c ---- */
int dht_nearer(const uint8_t target[20], const uint8_t a[20], const uint8_t b[20]); /* < 0: a is */
unsigned dht_shared_bits(const uint8_t a[20], const uint8_t b[20]); /* 0..160 */
/* Of networks that nobody outside can send from: BEP 42 and limits per network
 * do not apply, and strangers have no business to send us there. */
bool dht_addr_is_local(const struct addr *);
/* May we send there, on the word of a node at `teller`? */
bool dht_addr_is_askable(const struct addr *, const struct addr *teller);
uint64_t dht_ip_key(const struct addr *);     /* whoever holds the address: IPv4, or IPv6 /64; never 0 */
uint64_t dht_subnet_key(const struct addr *); /* its neighbourhood: IPv4 /24, IPv6 /64 */
bool dht_id_fits(const uint8_t id[20], const struct addr *); /* BEP 42; local addresses fit always */
/* Turns 20 random bytes into an id that fits. */
void dht_id_fit(uint8_t id[20], const struct addr *);

/* What nodes say our address is: the last word of each of up to 16. */
#define DHT_VOTERS 16
struct dht_votes {
	struct { uint64_t voter; struct addr ip; } v[DHT_VOTERS];
	unsigned n, next;
};
/* True when more than half of at least 5 voters name `ip` now. Its port is ignored. */
bool dht_vote(struct dht_votes *, const struct addr *voter, const struct addr *ip);

/* ---- dht_table.c ---- */
struct dht_entry {
	struct dht_contact c;
	uint64_t heard_ms;  /* last packet from it */
	uint64_t asked_ms;  /* last query of ours; 0 = never */
	uint8_t fails;      /* queries without answer since */
	bool answered;      /* ever. Only such nodes are told to others */
	bool fits;          /* its id, to its address */
};
struct dht_bucket {
	struct dht_entry live[DHT_K], spare[DHT_K]; /* spare: answered too, waiting; newest last */
	uint8_t nlive, nspare;
	uint64_t changed_ms;
};
/* Bucket i holds ids that share exactly i leading bits with ours, the last one
 * those that share more. */
struct dht_table {
	uint8_t own[20];
	struct dht_bucket *b;
	size_t n, cap;
};

void dht_table_init(struct dht_table *, const uint8_t own[20]);
void dht_table_release(struct dht_table *);
/* A new id of ours: everything is sorted again. */
void dht_table_set_own(struct dht_table *, const uint8_t own[20], uint64_t now);
bool dht_entry_is_good(const struct dht_entry *, uint64_t now);
struct dht_entry *dht_table_find(const struct dht_table *, const struct addr *); /* NULL = not in it */
/* It answered: known nodes are refreshed, others taken in when there is room or
 * someone worse. One whose id changed goes. */
void dht_table_answered(struct dht_table *, const struct dht_contact *, uint64_t now);
/* It asked us. True when it is worth a ping: unknown, and there would be room. */
bool dht_table_asked(struct dht_table *, const struct dht_contact *, uint64_t now);
/* From a saved state: taken in when there is room, but not told to others yet. */
void dht_table_load(struct dht_table *, const struct dht_contact *, uint64_t now);
/* No answer. `online`: others answer, so it is the node's fault. */
void dht_table_failed(struct dht_table *, const struct addr *, bool online, uint64_t now);
void dht_table_forget(struct dht_table *, const struct addr *);
/* The nearest to target, nearest first: good ones only, or all but bad ones. */
size_t dht_table_closest(const struct dht_table *, const uint8_t target[20], bool good, struct dht_contact *out,
			 size_t max, uint64_t now);
/* Who should be pinged next, least recently heard of first; NULL = nobody. */
struct dht_entry *dht_table_questionable(struct dht_table *, uint64_t now);
/* A bucket without change for 15 minutes, which counts as changed then: its index, or -1. */
int dht_table_stale(struct dht_table *, uint64_t now);
/* Turns 20 random bytes into an id of that bucket's range. */
void dht_table_id_in(const struct dht_table *, size_t bucket, uint8_t id[20]);
void dht_table_count(const struct dht_table *, uint64_t now, uint32_t *good, uint32_t *all);

#endif
