/* SPDX-License-Identifier: MIT */
/* dns.h - an asynchronous stub resolver (RFC 1035, 3596): A and AAAA over UDP,
 * TCP when truncated; /etc/hosts and resolv.conf come as text from the caller,
 * since the loop opens no files. Random ids and ports, answers matched to the
 * question, bounded names, CNAME chains followed within one answer.
 *
 *   dns_packet.c  questions and answers as bytes (pure)
 *   dns_conf.c    resolv.conf and hosts text (pure)
 *   dns.c         sockets, time-outs, retries, a small cache */
#ifndef BT_DNS_H
#define BT_DNS_H

#include "net.h"

#define DNS_MAX_ADDRS 16
#define DNS_NAME_MAX 253

struct dns;
struct dns_query;

/* err 0 and n > 0 addresses (port 0), or -errno: -ENOENT no such name, -ENODATA
 * name without address, -ETIMEDOUT, -EIO server failure, -EINVAL bad name. Static text in why. */
typedef void dns_fn(void *arg, int err, const struct addr *addrs, size_t n, const char *why);

struct dns *dns_new(struct net *) BT_MUST_USE;
void dns_free(struct dns *);
/* Texts of /etc/resolv.conf and /etc/hosts; either may be empty. Without
 * nameserver lines 127.0.0.1 is asked, as libc does. */
void dns_configure(struct dns *, struct slice resolv_conf, struct slice hosts);
/* Look-up of both families in parallel; numbers and hosts entries answer from
 * the end of this turn. The handle is valid until fn runs. NULL = no memory. */
struct dns_query *dns_lookup(struct dns *, const char *name, dns_fn *, void *arg) BT_MUST_USE;
void dns_cancel(struct dns_query *); /* fn will not run */

/* ---- dns_packet.c ---- */
enum { DNS_A = 1, DNS_AAAA = 28 };
/* Appends a question; false = not a name (label > 63, > 253 in all, empty label). */
bool dns_put_query(struct buf *, uint16_t id, const char *name, uint16_t type);
struct dns_answer {
	int err;        /* 0, -ENOENT, -ENODATA, -EIO */
	bool truncated;
	uint32_t ttl;   /* seconds, least of the chain */
	struct addr addrs[DNS_MAX_ADDRS];
	size_t n;
};
/* -1 = not an answer to this question or malformed: wait for another. */
int dns_parse(struct slice packet, uint16_t id, const char *name, uint16_t type, struct dns_answer *) BT_MUST_USE;

/* ---- dns_conf.c ---- */
struct dns_conf {
	struct addr servers[3];
	size_t nservers;
	uint32_t timeout_ms, attempts;
	char search[256]; /* first domain, for names without a dot; "" = none */
};
void dns_conf_parse(struct slice resolv_conf, struct dns_conf *);
size_t dns_hosts_find(struct slice hosts, const char *name, struct addr *out, size_t max);

#endif
