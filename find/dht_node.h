/* SPDX-License-Identifier: MIT */
/* dht_node.h - the state of a DHT node, shared by the files that move it:
 *
 *   dht.c         packets and the timer come in here; keeping the table alive
 *   dht_query.c   queries sent and not answered yet
 *   dht_answer.c  answers to others, and how long they may be
 *   dht_search.c  a search from our table to the nodes nearest to a target
 *   dht_find.c    what the owner can search for, and what answers mean
 *   dht_state.c   save, load, statistics */
#ifndef BT_DHT_NODE_H
#define BT_DHT_NODE_H

#include "find/dht_store.h"

#define DHT_SOFT_MS 2000u       /* an answer this late no longer holds up its search.. */
#define DHT_HARD_MS 8000u       /* ..and this late it is none */
#define DHT_QUERIES 256         /* on their way at once: their number is one byte of `t` */
#define DHT_SEARCHES 16         /* at once */
#define DHT_WAITING 1024        /* searches in all */
#define DHT_PARALLEL 4          /* queries of a search */
#define DHT_CANDIDATES 64       /* a search remembers */
#define DHT_ASK_MAX 128         /* queries of a search, whatever nodes tell it */
#define DHT_ROUTERS 16
#define DHT_HELD 16
#define DHT_HELD_LEN 256        /* longest query whose answer is held back */
#define DHT_TICK_MS 5000u
#define DHT_TICK_PINGS 20       /* of unknown hosts in a tick */
#define DHT_UP_RATE 8000u
#define DHT_UNPROVEN_RATE 1000u /* of that, for read-only nodes, which can't prove their address */
#define DHT_SIGNATURES 50       /* of others checked in a tick */

/* Sent and not answered. Its `t` is the slot's number and three random bytes; the
 * answer must have those and come from where the query went. */
struct dht_query {
	bool used, slow;
	enum dht_method method;
	uint8_t chance[3];
	struct addr to;
	uint64_t sent_ms;
	struct dht_search *search; /* NULL: a ping to keep the table alive */
};

/* A query whose answer would be too long for an address that may be forged. It
 * waits until a ping to that address is answered. */
struct dht_held {
	bool used;
	struct addr from;
	uint64_t since_ms;
	size_t len;
	uint8_t packet[DHT_HELD_LEN];
};

enum dht_state { DHT_NEW, DHT_ASKED, DHT_SLOW, DHT_ANSWERED, DHT_FAILED };
enum dht_storing { DHT_NOT_STORED, DHT_TO_STORE, DHT_STORE_ASKED, DHT_STORE_AGAIN, DHT_STORED, DHT_REFUSED };

struct dht_candidate {
	struct dht_contact c;
	enum dht_state state;
	enum dht_storing storing;
	bool has_id;       /* not a router that hasn't answered yet */
	bool fits;         /* BEP 42: only such nodes end a search */
	bool has_item;     /* it returned an item: `cas` means something to it */
	uint8_t hops;
	uint8_t ntoken;
	uint8_t token[DHT_TOKEN_MAX];
};

struct dht_search {
	struct list on_searches; /* running or waiting */
	uint32_t number;
	enum dht_method method;  /* FIND_NODE, GET_PEERS, GET or SAMPLE */
	enum dht_method store;   /* then ANNOUNCE_PEER or PUT; PING = nothing */
	unsigned flags;
	uint16_t port;
	bool running, storing, dead;
	bool own;                /* to keep the table alive */
	bool bootstrap;          /* of those: for our own id */
	uint8_t target[DHT_ID];
	uint8_t salt[DHT_SALT_MAX];
	size_t nsalt;
	dht_result_fn *fn;       /* may be NULL */
	void *arg;
	uint64_t start_ms;
	struct dht_candidate *c; /* nearest first; routers before all */
	size_t n;
	struct dht_kept *item;   /* to put */
	bool has_cas;
	int64_t cas, best_seq;   /* best_seq -1 = none seen */
	uint8_t (*blooms)[DHT_BLOOM]; /* seeds, peers; NULL unless DHT_SCRAPE */
	uint32_t asked, answered, stored;
	int error;
	uint32_t errors;         /* how many nodes said that */
};

struct dht {
	struct dht_opts o;
	uint64_t now, deadline;
	uint8_t id[DHT_ID];
	bool fixed_id;             /* given by the owner: not ours to change */
	struct dht *pair;
	struct addr external;
	struct dht_votes votes;
	uint64_t renamed_ms;       /* last change of id; 0 = never */
	struct dht_table table;
	struct dht_query *queries;
	size_t nqueries;           /* slots */
	struct addr routers[DHT_ROUTERS];
	size_t nrouters, next_router;
	struct list searches, waiting;
	size_t nsearches, nwaiting;
	uint32_t last_number;
	struct dht_store store;
	struct dht_items items;
	struct dht_gate gate;
	struct budget up, unproven;
	struct dht_held held[DHT_HELD];
	uint64_t tick_ms, expire_ms;
	bool want_bootstrap;       /* our id is new to others */
	uint64_t bootstrap_ms, bootstrap_wait_ms; /* not before; how long after this one */
	uint64_t answered_ms;      /* when any node last answered us */
	uint32_t pings_left, signatures_left; /* of this tick */
	struct buf out, values;
	struct dht_stats count;    /* its counters only */
};

/* dht.c */
uint32_t dht_chance(struct dht *);
void dht_send(struct dht *, const struct addr *, const struct dht_msg *);
void dht_wake(struct dht *); /* the deadline is now */

/* dht_query.c. Asks; m's kind, t and id are filled in. False: too many on their way. */
bool dht_ask(struct dht *, const struct addr *, struct dht_msg *m, struct dht_search *);
bool dht_ping(struct dht *, const struct addr *);
bool dht_is_asked(const struct dht *, const struct addr *); /* something is on its way there */
/* The query that this answers, or NULL; it is given back (used = false). */
struct dht_query *dht_query_match(struct dht *, const struct addr *from, struct slice t);
void dht_query_forget(struct dht *, const struct dht_search *); /* those of a search that ends */
void dht_query_timeouts(struct dht *);       /* deals with what is due */
uint64_t dht_query_next(const struct dht *); /* when that is */

/* dht_answer.c */
void dht_answer(struct dht *, const struct addr *from, const struct dht_msg *query, struct slice packet);
void dht_answer_held(struct dht *, const struct addr *from); /* it has answered: its address is proven */

/* dht_search.c */
struct dht_search *dht_search_new(struct dht *, enum dht_method, const uint8_t target[20], dht_result_fn *, void *arg);
void dht_search_start(struct dht *, struct dht_search *);
void dht_search_step(struct dht *, struct dht_search *);
void dht_search_all(struct dht *);   /* lets waiting ones begin, steps all */
void dht_search_finish(struct dht *, struct dht_search *); /* tells its owner; it is swept later */
void dht_search_sweep(struct dht *); /* frees what has ended */
void dht_search_free(struct dht *, struct dht_search *);
/* NULL when the search has forgotten it. */
struct dht_candidate *dht_search_candidate(struct dht_search *, const struct addr *);
struct dht_candidate *dht_search_add(struct dht *, struct dht_search *, const struct dht_contact *, bool has_id, unsigned hops);
void dht_search_slow(struct dht *, const struct dht_query *);
void dht_search_failed(struct dht *, const struct dht_query *);
/* dht_find.c: an answer, or an error, to a search's query. */
void dht_search_answered(struct dht *, const struct dht_query *, const struct dht_msg *);
void dht_search_refused(struct dht *, const struct dht_query *, const struct dht_msg *);

#endif
