/* SPDX-License-Identifier: MIT */
/* dht_message.h - KRPC messages (BEP 5, 32, 33, 42, 43, 44, 51) as structs, and
 * compact addresses in them. What comes from others is bounded here, once. */
#ifndef BT_DHT_MESSAGE_H
#define BT_DHT_MESSAGE_H

#include "bencode.h"
#include "net.h"

#define DHT_T_MAX 20      /* transaction ids are echoed: no longer ones */
#define DHT_TOKEN_MAX 40  /* so are tokens; clients in use have 4 to 20 bytes */
#define DHT_BLOOM 256

enum dht_method {
	DHT_PING,
	DHT_FIND_NODE,
	DHT_GET_PEERS,
	DHT_ANNOUNCE_PEER,
	DHT_GET,
	DHT_PUT,
	DHT_SAMPLE,
	DHT_UNKNOWN, /* not one of ours: answered by 204 */
};
enum dht_want { DHT_WANT_N4 = 1, DHT_WANT_N6 = 2 };
/* Errors of BEP 5 and 44. */
enum dht_error {
	DHT_E_PROTOCOL = 203, DHT_E_METHOD = 204, DHT_E_TOO_BIG = 205, DHT_E_SIGNATURE = 206,
	DHT_E_SALT = 207, DHT_E_CAS = 301, DHT_E_SEQ = 302,
};

/* Slices are absent when p is NULL; numbers when their bit in `has` is clear.
 * Parsed ones borrow the packet. */
struct dht_msg {
	char kind;              /* 'q', 'r' or 'e' */
	enum dht_method method; /* of a query */
	bool read_only;
	unsigned want;          /* enum dht_want bits */
	int error;              /* of an error; of a query: what is wrong with it, else 0 */
	struct slice text;      /* with it */
	struct slice t, ip;
	/* arguments or returned values: */
	struct slice id, target, info_hash;
	struct slice token, nodes, nodes6, samples;
	struct slice values;    /* bencoded list of compact addresses */
	struct slice v;         /* one bencoded value */
	struct slice key, sig, salt;
	struct slice bloom_seeds, bloom_peers;
	unsigned has;           /* DHT_HAS_ bits */
	int64_t port, implied_port, seed, noseed, scrape, seq, cas, num, interval;
};
enum {
	DHT_HAS_PORT = 1, DHT_HAS_IMPLIED = 2, DHT_HAS_SEED = 4, DHT_HAS_NOSEED = 8, DHT_HAS_SCRAPE = 16,
	DHT_HAS_SEQ = 32, DHT_HAS_CAS = 64, DHT_HAS_NUM = 128, DHT_HAS_INTERVAL = 256,
};

/* False: garbage that deserves no answer. A query whose arguments are missing, of
 * a wrong type or size comes with `error` set. */
bool dht_parse(struct slice packet, struct dht_msg *) BT_MUST_USE;
void dht_encode(struct buf *, const struct dht_msg *);

/* ---- compact forms: 6 or 18 bytes an address, 20 more a node ---- */
struct dht_contact {
	uint8_t id[20];
	struct addr addr;
};
static inline size_t dht_addr_len(bool v6) { return v6 ? 18 : 6; }
static inline size_t dht_contact_len(bool v6) { return 20 + dht_addr_len(v6); }
size_t dht_addr_write(uint8_t out[18], const struct addr *); /* bytes written */
bool dht_addr_read(struct slice, struct addr *);             /* by its length; false = neither */
size_t dht_contact_write(uint8_t out[38], const struct dht_contact *);
/* The next of a `nodes` string. */
bool dht_contact_next(struct cur *, bool v6, struct dht_contact *);

#endif
