/* SPDX-License-Identifier: MIT */
/* dns_ask.h - one question (a name and a type) on its way to the servers, one
 * after the other: each try has a new socket, so a new port, and a new id, and
 * its own time-out. Private to dns.c, which sends two of them per look-up. */
#ifndef BT_DNS_ASK_H
#define BT_DNS_ASK_H

#include "net/dns.h"

struct dns_ask;
typedef void dns_ask_fn(struct dns_ask *);

struct dns_ask {
	struct net *net;
	const struct dns_conf *conf; /* both the owner's, for as long as it runs */
	const char *name;
	dns_ask_fn *fn;   /* once, when done; may run inside dns_ask_start */
	uint16_t type, id;
	struct addr server;
	uint32_t tries, wrong;
	bool done, is_tcp, sent;
	struct ev ev;
	struct timer timer; /* of this try */
	struct buf tcp;     /* the answer so far, its length first */
	struct dns_answer answer; /* once done; err may also be -ETIMEDOUT */
};

void dns_ask_init(struct dns_ask *, struct net *, const struct dns_conf *, uint16_t type, dns_ask_fn *);
void dns_ask_start(struct dns_ask *, const char *name);
void dns_ask_stop(struct dns_ask *); /* fn will not run; repeatable */

#endif
