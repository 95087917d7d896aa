/* SPDX-License-Identifier: MIT */
/* target.c - addresses of a load run: the client under test as HOST:PORT, looked up
 * with net/dns.c before anything is measured; and the range of local addresses that
 * connections come from, since many clients take one connection per address.
 * Nothing else runs yet, so this may read files and wait. */
#include "load/load.h"
#include "net/dns.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONF_MAX (256u << 10)

/* ---- sources ---- */

/* Numbers of addresses in a range differ in their last four bytes. */
static uint8_t *low_word(struct addr *a) { return a->ip + (a->v6 ? 12 : 0); }

bool load_range_parse(struct load_range *r, const char *text)
{
	const char *dash = strchr(text, '-');
	struct addr last;
	uint32_t from, to;

	if (!addr_parse_ip(&r->first, slice_of(text, dash ? (size_t)(dash - text) : strlen(text))))
		return false;
	r->n = 1;
	if (!dash)
		return true;
	if (!addr_parse_ip(&last, slice_str(dash + 1)) || last.v6 != r->first.v6)
		return false;
	from = get_u32(low_word(&r->first));
	to = get_u32(low_word(&last));
	if (to < from || to - from >= LOAD_SOURCES)
		return false;
	r->n = to - from + 1;
	put_u32(low_word(&last), from);
	return addr_eq(&last, &r->first);
}

struct addr load_range_at(const struct load_range *r, uint32_t i)
{
	struct addr a = r->first;

	put_u32(low_word(&a), get_u32(low_word(&a)) + (r->n ? i % r->n : 0));
	return a;
}

/* ---- target ---- */

struct lookup {
	bool done;
	int err;
	const char *why;
	const struct addr *like;
	struct addr addr;
};

static void on_addrs(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	struct lookup *l = arg;

	*l = (struct lookup){ .done = true, .err = err, .why = why, .like = l->like };
	for (size_t i = 0; err == 0 && i < n; i++) {
		l->addr = addrs[i];
		if (!l->like || l->like->v6 == addrs[i].v6)
			return;
	}
	if (err == 0) {
		l->err = -EAFNOSUPPORT;
		l->why = "has no address of the sources' family";
	}
}

static struct slice read_text(const char *path, char *room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, room, CONF_MAX);

	if (fd >= 0)
		close(fd);
	return slice_of(room, n > 0 ? (size_t)n : 0);
}

static int look_up(struct net *net, const char *host, struct lookup *l)
{
	struct dns *dns = dns_new(net);
	char *room = alloc_array(2, CONF_MAX);
	int r = -ENOMEM;

	if (!dns || !room)
		goto out;
	dns_configure(dns, read_text("/etc/resolv.conf", room), read_text("/etc/hosts", room + CONF_MAX));
	r = 0;
	if (!dns_lookup(dns, host, on_addrs, l))
		r = -ENOMEM;
	while (r == 0 && !l->done)
		r = net_turn(net, -1);
out:
	if (dns)
		dns_free(dns);
	free(room);
	return r ? r : l->err;
}

int load_resolve(struct net *net, const char *target, const struct addr *family_like, struct addr *out, char *err,
		 size_t err_size)
{
	const char *colon = strrchr(target, ':');
	struct lookup l = { .like = family_like };
	char host[DNS_NAME_MAX + 1], safe[300];
	uint64_t port;
	int r = -EINVAL;

	text_escape(safe, sizeof(safe), slice_str(target));
	if (addr_parse(out, slice_str(target)) && out->port) {
		if (!family_like || family_like->v6 == out->v6)
			return 0;
		snprintf(err, err_size, "%s: not of the sources' family", safe);
		return -EAFNOSUPPORT;
	}
	if (!colon || colon == target || (size_t)(colon - target) > DNS_NAME_MAX || memchr(target, ':', (size_t)(colon - target)) ||
	    !parse_u64(slice_str(colon + 1), 65535, &port) || port == 0) {
		snprintf(err, err_size, "%s: not HOST:PORT", safe);
		return -EINVAL;
	}
	memcpy(host, target, (size_t)(colon - target));
	host[colon - target] = 0;
	r = look_up(net, host, &l);
	if (r < 0) {
		snprintf(err, err_size, "%s: %s", safe, l.why ? l.why : strerror(-r));
		return r;
	}
	*out = l.addr;
	out->port = (uint16_t)port;
	return 0;
}
