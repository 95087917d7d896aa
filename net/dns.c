/* SPDX-License-Identifier: MIT */
/* dns.c - look-ups (RFC 1035, 3596): numbers, hosts, localhost and a small
 * cache answer at once; all else is asked of the servers in resolv.conf, A and
 * AAAA side by side. No recursion of its own, no DNSSEC, no EDNS. One question
 * is in dns_ask.c, the bytes in dns_packet.c, the files in dns_conf.c. Start at
 * dns_lookup().
 *
 * A query is WAITING (too many others are active, or one for the same name
 * is), ACTIVE (its two asks, see dns_ask.h, are on their way) or SETTLED (it
 * knows its result, and tells it at the end of the turn). */
#include "net/dns_ask.h"
#include <errno.h>
#include <stdlib.h>

#define ACTIVE_MAX 16       /* queries; each holds two descriptors */
#define CACHE_SIZE 32       /* names */
#define CACHE_MAX_MS 300000 /* whatever the TTL says: addresses move */
#define CACHE_NONE_MS 15000 /* "no such name", and answers of one family only */
#define GRACE_MS 250        /* for the slower family once the faster has answered */
#define HOSTS_MAX (1u << 20) /* bytes of hosts text that are kept */
#define NAME_SIZE (DNS_NAME_MAX + 2) /* a last dot and the NUL */

struct cached {
	char name[NAME_SIZE]; /* "" = free */
	uint64_t until_ms;
	int err;
	size_t n;
	struct addr addrs[DNS_MAX_ADDRS];
};

struct dns {
	struct net *net;
	struct dns_conf conf;
	uint8_t *hosts;
	size_t hosts_len;
	struct list queries;
	uint32_t active;
	struct cached cache[CACHE_SIZE];
};

enum query_state { WAITING, ACTIVE, SETTLED };

struct dns_query {
	struct dns *dns;
	struct list on_queries;
	enum query_state state;
	char name[NAME_SIZE];  /* as it was asked for, in lower case */
	char asked[NAME_SIZE]; /* as the servers are asked: maybe in the search domain */
	struct dns_ask asks[2]; /* A, AAAA */
	struct timer grace;
	struct later tell;
	dns_fn *fn;
	void *arg;
	int err;
	size_t n;
	struct addr addrs[DNS_MAX_ADDRS];
};

/* ---- cache ---- */

static struct cached *cache_find(struct dns *d, const char *name)
{
	for (size_t i = 0; i < CACHE_SIZE; i++)
		if (d->cache[i].until_ms > d->net->now_ms && strcmp(d->cache[i].name, name) == 0)
			return &d->cache[i];
	return NULL;
}

static void cache_put(const struct dns_query *q, uint64_t keep_ms)
{
	struct cached *c = q->dns->cache;

	if (keep_ms == 0)
		return;
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		if (strcmp(q->dns->cache[i].name, q->name) == 0) {
			c = &q->dns->cache[i];
			break;
		}
		if (q->dns->cache[i].until_ms < c->until_ms)
			c = &q->dns->cache[i]; /* the one that would be the first to go */
	}
	memcpy(c->name, q->name, sizeof(c->name));
	c->until_ms = q->dns->net->now_ms + min_u64(keep_ms, CACHE_MAX_MS);
	c->err = q->err;
	c->n = q->n;
	memcpy(c->addrs, q->addrs, sizeof(c->addrs));
}

/* ---- query ---- */

static const char *why_text(int err)
{
	switch (err) {
	case 0: return "";
	case -ENOENT: return "no such host name";
	case -ENODATA: return "the host name has no address";
	case -ETIMEDOUT: return "the name servers do not answer";
	case -EINVAL: return "not a host name";
	default: return "the name servers failed or cannot be reached";
	}
}

static void query_stop(struct dns_query *q)
{
	struct dns *d = q->dns;

	dns_ask_stop(&q->asks[0]);
	dns_ask_stop(&q->asks[1]);
	timer_clear(d->net, &q->grace);
	if (q->state == ACTIVE)
		d->active--;
	q->state = SETTLED;
}

static void query_settle(struct dns_query *q, int err, const struct addr *addrs, size_t n)
{
	query_stop(q);
	q->err = err;
	q->n = n;
	if (n > 0)
		memmove(q->addrs, addrs, n * sizeof(*addrs));
	later_add(q->dns->net, &q->tell);
}

/* Appends addresses that can be connected to: 0.0.0.0, which block lists give
 * out, would be this machine. */
static size_t add_usable(struct addr *to, size_t n, const struct addr *from, size_t count, uint8_t v6)
{
	for (size_t i = 0; i < count && n < DNS_MAX_ADDRS; i++) {
		struct addr a = from[i];
		a.port = 1;
		if (a.v6 == v6 && addr_is_usable_peer(&a))
			to[n++] = from[i];
	}
	return n;
}

/* IPv4 and IPv6 in turn, IPv4 first: a machine without IPv4 learns that at
 * once, but a broken IPv6 only by a time-out. */
static size_t mix_families(struct addr out[DNS_MAX_ADDRS], const struct addr *a, size_t na, const struct addr *b, size_t nb)
{
	struct addr v4[DNS_MAX_ADDRS], v6[DNS_MAX_ADDRS];
	size_t n4 = add_usable(v4, add_usable(v4, 0, a, na, 0), b, nb, 0);
	size_t n6 = add_usable(v6, add_usable(v6, 0, a, na, 1), b, nb, 1);
	size_t n = 0;

	for (size_t i = 0; i < DNS_MAX_ADDRS; i++) {
		if (i < n4 && n < DNS_MAX_ADDRS)
			out[n++] = v4[i];
		if (i < n6 && n < DNS_MAX_ADDRS)
			out[n++] = v6[i];
	}
	return n;
}

/* localhost and all under it never leave the machine (RFC 6761 6.3). */
static bool is_localhost(const char *name)
{
	size_t n = strlen(name);

	if (n > 0 && name[n - 1] == '.')
		n--;
	return n >= 9 && memcmp(name + n - 9, "localhost", 9) == 0 && (n == 9 || name[n - 10] == '.');
}

/* A name that servers may be asked for. One that ends in a number is an
 * address written some odd way ("127.1"), and no top-level domain (RFC 3696 2). */
static bool is_askable(const char *name)
{
	struct buf b;
	size_t end = strlen(name), at;
	bool ok;

	if (end > 0 && name[end - 1] == '.')
		end--;
	for (at = end; at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9';)
		at--;
	if (at < end && (at == 0 || name[at - 1] == '.'))
		return false;
	buf_init(&b, 512);
	ok = dns_put_query(&b, 0, name, DNS_A);
	buf_release(&b);
	return ok;
}

/* Settles what needs no server. */
static bool query_settle_here(struct dns_query *q)
{
	struct dns *d = q->dns;
	struct addr found[DNS_MAX_ADDRS], mixed[DNS_MAX_ADDRS];
	const struct cached *c;
	size_t n = 0;

	if (addr_parse_ip(&found[0], slice_str(q->name))) {
		query_settle(q, 0, found, 1); /* whatever it is: the caller named it */
		return true;
	}
	n = dns_hosts_find(slice_of(d->hosts, d->hosts_len), q->name, found, DNS_MAX_ADDRS);
	if (n == 0 && is_localhost(q->name))
		n = dns_hosts_find(slice_str("127.0.0.1 localhost\n::1 localhost\n"), "localhost", found, DNS_MAX_ADDRS);
	if (n > 0) {
		n = mix_families(mixed, found, n, NULL, 0);
		query_settle(q, n ? 0 : -ENODATA, mixed, n);
		return true;
	}
	if (!is_askable(q->name)) {
		query_settle(q, -EINVAL, NULL, 0);
		return true;
	}
	c = cache_find(d, q->name);
	if (c)
		query_settle(q, c->err, c->addrs, c->n);
	return c != NULL;
}

static void query_ask(struct dns_query *q)
{
	q->asks[0].done = q->asks[1].done = false;
	dns_ask_start(&q->asks[0], q->asked);
	dns_ask_start(&q->asks[1], q->asked);
}

static void query_start(struct dns_query *q)
{
	const char *search = q->dns->conf.search;
	size_t len = strlen(q->name);

	memcpy(q->asked, q->name, sizeof(q->asked));
	if (search[0] && !strchr(q->name, '.') && len + 1 + strlen(search) <= DNS_NAME_MAX) {
		q->asked[len] = '.';
		memcpy(q->asked + len + 1, search, strlen(search) + 1);
	}
	q->state = ACTIVE;
	q->dns->active++;
	query_ask(q);
}

static bool same_is_active(const struct dns_query *q)
{
	for (struct list *l = q->dns->queries.next; l != &q->dns->queries; l = l->next) {
		const struct dns_query *other = container_of(l, struct dns_query, on_queries);
		if (other->state == ACTIVE && strcmp(other->name, q->name) == 0)
			return true;
	}
	return false;
}

static void start_waiting(struct dns *d)
{
	for (struct list *l = d->queries.next; l != &d->queries && d->active < ACTIVE_MAX; l = l->next) {
		struct dns_query *q = container_of(l, struct dns_query, on_queries);
		if (q->state == WAITING && !same_is_active(q) && !query_settle_here(q))
			query_start(q);
	}
}

/* Both families have answered, or nobody waits any longer for the second. */
static void query_conclude(struct dns_query *q)
{
	const struct dns_answer *a = &q->asks[0].answer, *b = &q->asks[1].answer;
	struct addr mixed[DNS_MAX_ADDRS];
	bool both = q->asks[0].done && q->asks[1].done;
	uint64_t keep_ms = 0;
	size_t n;
	int err = 0;

	n = mix_families(mixed, a->addrs, a->n, b->addrs, b->n);
	timer_clear(q->dns->net, &q->grace);
	if (n == 0 && strcmp(q->asked, q->name) != 0) {
		/* Not in the search domain: as it stands, then. */
		memcpy(q->asked, q->name, sizeof(q->asked));
		dns_ask_stop(&q->asks[0]);
		dns_ask_stop(&q->asks[1]);
		query_ask(q);
		return;
	}
	if (n > 0) {
		uint32_t ttl = UINT32_MAX;
		if (a->n > 0)
			ttl = a->ttl;
		if (b->n > 0 && b->ttl < ttl)
			ttl = b->ttl;
		keep_ms = (uint64_t)ttl * 1000;
		if (!both || a->err == -EIO || b->err == -EIO || a->err == -ETIMEDOUT || b->err == -ETIMEDOUT)
			keep_ms = min_u64(keep_ms, CACHE_NONE_MS);
	} else if (a->err == -ENOENT || b->err == -ENOENT) {
		err = -ENOENT;
		keep_ms = CACHE_NONE_MS;
	} else if ((a->err == 0 || a->err == -ENODATA) && (b->err == 0 || b->err == -ENODATA)) {
		err = -ENODATA;
		keep_ms = CACHE_NONE_MS;
	} else { /* one of the families is unknown: that may pass */
		err = a->err == -ETIMEDOUT || b->err == -ETIMEDOUT ? -ETIMEDOUT : -EIO;
	}
	query_settle(q, err, mixed, n);
	cache_put(q, keep_ms);
	/* All that wait for the same name have their answer too; were they to
	 * ask for themselves, a dead server would cost each the whole time. */
	for (struct list *l = q->dns->queries.next; l != &q->dns->queries; l = l->next) {
		struct dns_query *other = container_of(l, struct dns_query, on_queries);
		if (other->state == WAITING && strcmp(other->name, q->name) == 0)
			query_settle(other, err, mixed, n);
	}
}

/* An ask is done. "No such name" should hold for both families, but there are
 * servers that say so of AAAA alone, so it waits for the other as well. */
static void on_ask(struct dns_ask *done)
{
	struct dns_query *q = done->type == DNS_A ? container_of(done, struct dns_query, asks[0]) :
						    container_of(done, struct dns_query, asks[1]);
	const struct dns_ask *a = &q->asks[0], *b = &q->asks[1];

	if (a->done && b->done)
		query_conclude(q);
	else if (done->answer.n > 0 || done->answer.err == -ENOENT)
		timer_set(q->dns->net, &q->grace, GRACE_MS);
}

static void on_grace(struct timer *t)
{
	query_conclude(container_of(t, struct dns_query, grace));
}

static void query_free(struct dns_query *q)
{
	query_stop(q);
	later_cancel(&q->tell);
	list_remove(&q->on_queries);
	free(q);
}

/* fn may do anything, dns_free included: nothing of ours is touched after. */
static void on_tell(struct later *l)
{
	struct dns_query *q = container_of(l, struct dns_query, tell);
	struct dns *d = q->dns;
	struct addr addrs[DNS_MAX_ADDRS];
	dns_fn *fn = q->fn;
	void *arg = q->arg;
	size_t n = q->n;
	int err = q->err;

	memcpy(addrs, q->addrs, sizeof(addrs));
	query_free(q);
	start_waiting(d);
	fn(arg, err, addrs, n, why_text(err));
}

/* ---- from outside ---- */

struct dns_query *dns_lookup(struct dns *d, const char *name, dns_fn *fn, void *arg)
{
	struct dns_query *q = calloc(1, sizeof(*q));
	size_t len = strlen(name);

	if (!q)
		return NULL;
	if (!d->net->in_turn)
		net_clock(d->net); /* the cache goes by it */
	q->dns = d;
	q->fn = fn;
	q->arg = arg;
	timer_init(&q->grace, on_grace);
	later_init(&q->tell, on_tell);
	dns_ask_init(&q->asks[0], d->net, &d->conf, DNS_A, on_ask);
	dns_ask_init(&q->asks[1], d->net, &d->conf, DNS_AAAA, on_ask);
	list_push_back(&d->queries, &q->on_queries);
	for (size_t i = 0; i < len && i < sizeof(q->name) - 1; i++)
		q->name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
	if (len >= sizeof(q->name))
		query_settle(q, -EINVAL, NULL, 0);
	else if (!query_settle_here(q))
		start_waiting(d);
	return q;
}

void dns_cancel(struct dns_query *q)
{
	struct dns *d = q->dns;

	query_free(q);
	start_waiting(d);
}

struct dns *dns_new(struct net *net)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->net = net;
	list_init(&d->queries);
	dns_conf_parse(slice_of(NULL, 0), &d->conf);
	return d;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	while (!list_empty(&d->queries))
		query_free(container_of(d->queries.next, struct dns_query, on_queries));
	free(d->hosts);
	free(d);
}

void dns_configure(struct dns *d, struct slice resolv_conf, struct slice hosts)
{
	struct dns_conf conf;
	size_t n = hosts.n;

	if (n > HOSTS_MAX) /* cut between two lines */
		for (n = HOSTS_MAX; n > 0 && hosts.p[n - 1] != '\n';)
			n--;
	dns_conf_parse(resolv_conf, &conf);
	if (memcmp(&conf, &d->conf, sizeof(conf)) == 0 && slice_eq(slice_of(d->hosts, d->hosts_len), slice_of(hosts.p, n)))
		return;
	memcpy(&d->conf, &conf, sizeof(conf));
	memset(d->cache, 0, sizeof(d->cache));
	free(d->hosts);
	d->hosts = n > 0 ? malloc(n) : NULL;
	d->hosts_len = d->hosts ? n : 0;
	if (d->hosts_len > 0)
		memcpy(d->hosts, hosts.p, n);
}
