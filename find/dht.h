/* SPDX-License-Identifier: MIT */
/* dht.h - one node of the BitTorrent DHT (BEP 5, 32, 33, 42, 43, 44, 45, 46, 51)
 * as pure protocol: packets and the time in, packets and the next deadline out.
 * No socket, no clock, no file; any number of nodes in one process.
 *
 * A node belongs to one socket and one family. A host with IPv4 and IPv6 runs two
 * and pairs them; one with several addresses runs one for each (BEP 45). Times
 * are milliseconds of one monotonic clock. After every call the owner arms its
 * timer for dht_deadline(), the pair's too. Results of searches come from inside dht_on_packet
 * and dht_on_timer only, never from the call that starts one; they may call
 * all here but dht_free, dht_on_packet and dht_on_timer. */
#ifndef BT_DHT_H
#define BT_DHT_H

#include "net.h"

#define DHT_ID 20
#define DHT_PACKET_MAX 1400 /* nothing longer is sent; 1024 where no item is in it (BEP 32) */
#define DHT_ITEM_MAX 1000   /* of a value in its bencoded form (BEP 44) */
#define DHT_SALT_MAX 64

struct dht;

struct dht_opts {
	bool v6;
	bool read_only;       /* BEP 43: ask, but never answer; for hosts nobody can reach */
	uint8_t id[DHT_ID];   /* all zero = random, or as a saved state has it */
	struct addr external; /* our address as others see it, if known: the id is made from
				 it (BEP 42). All zero = learnt from what nodes tell */
	/* Must not call back into the node. The packet is gone after the call. */
	void (*send)(void *arg, const struct addr *to, const void *p, size_t n);
	/* May be NULL. The majority of nodes see us there; port 0. */
	void (*on_external_ip)(void *arg, const struct addr *);
	/* May be NULL: random_bytes. Tests make runs repeatable with it. */
	void (*random)(void *arg, void *p, size_t n);
	void *arg;
	/* Limits, 0 = the usual: bytes/s of answers (8000), queries/s of one address on
	 * a mean of 10 s, after which it is ignored for 5 minutes (5). */
	uint32_t up_rate, query_rate;
	/* Torrents (2000), peers of one (500) and of all (50000), items (700) kept for others. */
	uint32_t max_torrents, max_peers, max_peers_all, max_items;
};

struct dht *dht_new(const struct dht_opts *, uint64_t now_ms) BT_MUST_USE; /* NULL = no memory */
void dht_free(struct dht *);                                              /* NULL is fine */
/* Nodes of both families help each other: answers to `want`, bootstrap (BEP 32).
 * Unpaired by dht_free of either. */
void dht_pair(struct dht *v4, struct dht *v6);
/* Tells a DHT packet from others on a shared port (UDP trackers, uTP). */
static inline bool dht_is_packet(struct slice s) { return s.n > 2 && s.p[0] == 'd' && s.p[s.n - 1] == 'e'; }
void dht_on_packet(struct dht *, const struct addr *from, struct slice packet, uint64_t now_ms);
void dht_on_timer(struct dht *, uint64_t now_ms); /* early is fine */
uint64_t dht_deadline(const struct dht *);

/* A host that may be a node: from a PORT message, a torrent's `nodes`, x.pe of a
 * magnet. It is asked, and kept when it answers. Few per second are looked at. */
void dht_add_node(struct dht *, const struct addr *, uint64_t now_ms);
/* A bootstrap host, of the node's family: asked whenever too few nodes are known,
 * never kept in the table. The last 16 added are remembered. */
void dht_add_router(struct dht *, const struct addr *, uint64_t now_ms);

/* Id and good nodes as bencode, at most 9 KB. False = no memory. */
bool dht_save(const struct dht *, struct buf *) BT_MUST_USE;
/* Before the first packet. Untrusted: false = refused, nothing changed. */
bool dht_load(struct dht *, struct slice saved, uint64_t now_ms) BT_MUST_USE;

/* ---- BEP 44 items ---- */
struct dht_item {
	struct slice v;    /* one bencoded value; borrowed, as salt */
	bool is_mutable;   /* the rest is for these only */
	uint8_t key[32], sig[64];
	int64_t seq;       /* >= 0; of two items of a key and salt the higher counts */
	struct slice salt; /* n 0 = none */
};
/* Sizes, canonical bencode, signature. 0 or the BEP's error code (203, 205, 206, 207). */
int dht_item_check(const struct dht_item *) BT_MUST_USE;
/* Where it is stored. */
void dht_item_target(const struct dht_item *, uint8_t target[DHT_ID]);
/* Fills key and sig from v, seq, salt; secret as in base/ed25519.h. False when v or
 * salt break a rule above. */
bool dht_item_sign(struct dht_item *, const uint8_t secret[64]) BT_MUST_USE;
/* BEP 46: the value that points to a torrent, written and read. */
void dht_torrent_value(struct buf *, const uint8_t info_hash[20]);
bool dht_torrent_pointed(struct slice v, uint8_t info_hash[20]) BT_MUST_USE;

/* ---- searches: each asks nodes nearer and nearer to a target ---- */
enum dht_what {
	DHT_PEERS,   /* peers, as each answer comes; some come twice */
	DHT_ITEM,    /* item: checked; newer than all before. Of a put: what was there */
	DHT_SAMPLES, /* samples: info-hashes that `from` stores, `num` in all (BEP 51) */
	DHT_DONE,    /* the last of a search; not after dht_cancel */
};

struct dht_result {
	enum dht_what what;
	uint32_t search;
	const uint8_t *target;
	const struct addr *peers;  /* all borrowed for the call */
	size_t npeers;
	const struct dht_item *item;
	struct slice samples;      /* 20 bytes each */
	const struct addr *from;
	uint32_t num, interval_s;  /* don't ask `from` again for so long */
	/* DHT_DONE: */
	uint32_t asked, answered;  /* nodes */
	uint32_t stored;           /* nodes that took the announce or the item */
	int error;                 /* what most nodes that refused it said (301, 302..), 0 = none */
	uint32_t hops;             /* from our table to the nearest node that answered */
	uint64_t ms;
	uint32_t seeds, leechers;  /* DHT_SCRAPE: estimates (BEP 33) */
};
typedef void dht_result_fn(void *arg, const struct dht_result *);

enum dht_flags {
	DHT_ANNOUNCE = 1,     /* then tell the nearest nodes that we are a peer on `port` */
	DHT_IMPLIED_PORT = 2, /* with that: on the port our packets come from */
	DHT_SEED = 4,         /* with that: and have everything */
	DHT_NOSEED = 8,       /* ask for peers that don't */
	DHT_SCRAPE = 16,      /* ask for estimates too */
};
/* Each returns a number that is never 0, or 0: too many searches (1024), no
 * memory, or an item that dht_item_check refuses. 16 run at once, others wait their
 * turn. What is stored is forgotten by others: announce again every 15 to 30
 * minutes, put again every hour. */
uint32_t dht_find_peers(struct dht *, const uint8_t info_hash[20], unsigned flags, uint16_t port, dht_result_fn *,
			void *arg, uint64_t now_ms);
uint32_t dht_find_node(struct dht *, const uint8_t target[DHT_ID], dht_result_fn *, void *arg, uint64_t now_ms);
/* salt: of a mutable item; its key is checked against the target. An immutable one
 * ends the search; for mutable ones the last DHT_ITEM is the newest. */
uint32_t dht_get(struct dht *, const uint8_t target[DHT_ID], struct slice salt, dht_result_fn *, void *arg, uint64_t now_ms);
/* The item is copied. cas: NULL, or the seq that nodes must have to take it. */
uint32_t dht_put(struct dht *, const struct dht_item *, const int64_t *cas, dht_result_fn *, void *arg, uint64_t now_ms);
uint32_t dht_sample(struct dht *, const uint8_t target[DHT_ID], dht_result_fn *, void *arg, uint64_t now_ms);
void dht_cancel(struct dht *, uint32_t search); /* no more results; unknown numbers are fine */

struct dht_stats {
	uint8_t id[DHT_ID];
	struct addr external;      /* all zero = unknown */
	uint32_t good, nodes;      /* in the table: answering, and all */
	uint32_t torrents, peers, items; /* kept for others */
	uint32_t searches, pending; /* searches; queries without answer yet */
	uint64_t packets_in, packets_out, bytes_in, bytes_out;
	uint64_t queries_in, answers_in, timeouts;
	uint64_t refused;          /* queries dropped: their sender asks too much, or our rate is used up */
	size_t memory;             /* bytes held */
};
void dht_stats(const struct dht *, struct dht_stats *, uint64_t now_ms);

#endif
