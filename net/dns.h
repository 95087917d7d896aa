/* SPDX-License-Identifier: MIT */
/* dns.h - an asynchronous stub resolver (RFC 1035, 3596): A and AAAA over UDP,
 * TCP when truncated; /etc/hosts and resolv.conf come as text from the caller,
 * since the loop opens no files. Random ids and ports, answers matched to the
 * question, bounded names, CNAME chains followed within one answer.
 *
 *   dns_packet.c  questions and answers as bytes (pure)
 *   dns_conf.c    resolv.conf and hosts text (pure)
 *   dns_ask.c     one question to the servers: UDP, TCP, time-outs, retries
 *   dns.c         look-ups of both families, a small cache */
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
void dns_free(struct dns *); /* look-ups still under way end without a word */
/* Texts of /etc/resolv.conf and /etc/hosts, copied; either may be empty, and
 * of hosts 1 MiB is kept. Without nameserver lines 127.0.0.1 is asked, as libc
 * does. May be called again and again: only a change empties the cache. */
void dns_configure(struct dns *, struct slice resolv_conf, struct slice hosts);
/* Look-up of both families in parallel; numbers and hosts entries answer from
 * the end of this turn. The handle is valid until fn runs. NULL = no memory.
 * IPv4 and IPv6 take turns in the result, IPv4 first; when one family is
 * 250 ms later than the other it is left out. Addresses nobody can listen on
 * (0.0.0.0, multicast) are dropped; loopback and private ones are not, so who
 * must not be led there checks what it gets. It may take
 * servers x attempts x timeout of resolv.conf: cancel to have it shorter. */
struct dns_query *dns_lookup(struct dns *, const char *name, dns_fn *, void *arg) BT_MUST_USE;
void dns_cancel(struct dns_query *); /* fn will not run */

/* ---- dns_packet.c ---- */
enum { DNS_A = 1, DNS_AAAA = 28 };
/* Appends a question; false = not a name (label > 63, > 253 in all, empty label,
 * a byte other than letters, digits, '-' and '_') or no room in the buffer. */
bool dns_put_query(struct buf *, uint16_t id, const char *name, uint16_t type);
struct dns_answer {
	int err;        /* 0, -ENOENT, -ENODATA, -EIO */
	bool truncated;
	uint32_t ttl;   /* seconds, least of the chain; 0 without addresses */
	struct addr addrs[DNS_MAX_ADDRS];
	size_t n;
};
/* -1 = not an answer to this question or malformed: wait for another. 0 = it is;
 * the rest of a truncated one is not looked at. */
int dns_parse(struct slice packet, uint16_t id, const char *name, uint16_t type, struct dns_answer *) BT_MUST_USE;

/* ---- dns_conf.c: what isn't understood is passed over ----
 * A server on another port than 53 is written "nameserver [192.0.2.1]:5353", as
 * some systems do. Servers with a scope id (fe80::1%eth0) are passed over. */
struct dns_conf {
	struct addr servers[3];
	size_t nservers;
	uint32_t timeout_ms, attempts;
	char search[256]; /* first domain, for names without a dot; "" = none */
};
void dns_conf_parse(struct slice resolv_conf, struct dns_conf *);
size_t dns_hosts_find(struct slice hosts, const char *name, struct addr *out, size_t max);

#endif
