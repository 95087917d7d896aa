/* SPDX-License-Identifier: MIT */
/* bt.c - struct bt: one client. Owns the reactor, the keeper's link, the
 * listeners, the shared limits and all torrents; bt_turn is one turn of the loop.
 * Everything about a single torrent is in swarm/. Start at bt_new. */
#include "bt.h"
#include "swarm/swarm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	LISTEN_BACKLOG = 128,
	ACCEPT_BURST = 16,
	DNS_REFRESH_MS = 60000, /* resolv.conf may change under a router */
	FD_RESERVE = 64,        /* for trackers, name servers, files in flight */
};

struct listener {
	struct ev ev;
	struct bt *bt;
	int fd;
};

struct bt {
	struct client c;
	struct listener listeners[2]; /* IPv4, IPv6 */
	int spare_fd; /* given up for a moment to refuse connections when descriptors run out */
	struct timer dns_timer;
	char *resolv_conf;
	size_t resolv_len;
	char *state_dir;
	bool told_stopped;
};

/* ---- waiting peers ---- */

static void on_frames(void *arg)
{
	struct bt *bt = arg;
	client_wake_frames(&bt->c);
}

/* A rate limit has refilled a little: as many of those who wait as it will serve,
 * and one more, try once, in order. */
static void on_budget(struct timer *timer)
{
	struct client *c = container_of(timer, struct client, budget_timer);
	size_t readers = 1 + budget_ask(&c->down, TURN_RECEIVE, c->net.now_ms) / BLOCK_LEN;
	size_t writers = 1 + budget_ask(&c->up, TURN_SEND, c->net.now_ms) / BLOCK_LEN;
	while (readers-- && !list_empty(&c->down_waiting)) {
		struct peer *p = container_of(c->down_waiting.next, struct peer, on_down_waiting);
		list_remove(&p->on_down_waiting);
		peer_arm(p);
		peer_flush_later(p);
	}
	while (writers-- && !list_empty(&c->up_waiting)) {
		struct peer *p = container_of(c->up_waiting.next, struct peer, on_up_waiting);
		list_remove(&p->on_up_waiting);
		peer_flush_later(p);
	}
	if (!list_empty(&c->down_waiting))
		client_wait_budget(c, &c->down);
	if (!list_empty(&c->up_waiting))
		client_wait_budget(c, &c->up);
}

/* ---- names ---- */

static void on_hosts(void *arg, int err, struct slice text)
{
	struct bt *bt = arg;
	dns_configure(bt->c.dns, slice_of(bt->resolv_conf, bt->resolv_len), err ? slice_of(NULL, 0) : text);
	free(bt->resolv_conf);
	bt->resolv_conf = NULL;
	bt->resolv_len = 0;
}

static void on_resolv_conf(void *arg, int err, struct slice text)
{
	struct bt *bt = arg;
	if (!err && text.n && (bt->resolv_conf = malloc(text.n))) {
		memcpy(bt->resolv_conf, text.p, text.n);
		bt->resolv_len = text.n;
	}
	disk_read_text(bt->c.disk, "/etc/hosts", on_hosts, bt);
}

static void on_dns_timer(struct timer *timer)
{
	struct bt *bt = container_of(timer, struct bt, dns_timer);
	if (bt->c.dead || bt->c.stopping)
		return;
	if (!bt->resolv_conf)
		disk_read_text(bt->c.disk, "/etc/resolv.conf", on_resolv_conf, bt);
	timer_set(&bt->c.net, &bt->dns_timer, DNS_REFRESH_MS);
}

/* ---- listeners ---- */

/* Out of descriptors: take the connection with the spare one and close it, or the
 * listener would wake us for ever. */
static void refuse_one(struct bt *bt, int listen_fd)
{
	struct addr from;
	close(bt->spare_fd);
	int fd = tcp_accept(listen_fd, &from);
	if (fd >= 0)
		close(fd);
	bt->spare_fd = dup(listen_fd);
}

static void on_accept(struct ev *ev, uint32_t events)
{
	struct listener *l = container_of(ev, struct listener, ev);
	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		struct addr from;
		int fd = tcp_accept(l->fd, &from);
		if (fd >= 0) {
			connect_in(&l->bt->c, fd, &from);
		} else {
			if (fd == -EMFILE || fd == -ENFILE)
				refuse_one(l->bt, l->fd);
			if (fd != -ECONNABORTED && fd != -EINTR)
				return;
		}
	}
}

static int listen_on(struct bt *bt, struct listener *l, const struct addr *a)
{
	int fd = tcp_listen(a, LISTEN_BACKLOG);
	if (fd < 0)
		return fd;
	int err = ev_add(&bt->c.net, &l->ev, fd, EPOLLIN, on_accept);
	if (err) {
		close(fd);
		return err;
	}
	l->fd = fd;
	return 0;
}

/* Both families on one port. IPv6 may be missing on a machine; IPv4 too, if only
 * an IPv6 address was asked for. */
static int listen_all(struct bt *bt, const struct bt_opts *o, char *err, size_t err_size)
{
	struct addr a4 = { .port = o->port }, a6 = { .port = o->port, .v6 = 1 };
	bool want4 = true, want6 = true;
	if (o->bind_addr) {
		if (!addr_parse_ip(&bt->c.bind, slice_str(o->bind_addr))) {
			snprintf(err, err_size, "'%s' is not an IP address", o->bind_addr);
			return -EINVAL;
		}
		*(bt->c.bind.v6 ? &a6 : &a4) = bt->c.bind;
		a4.port = a6.port = o->port;
		want4 = !bt->c.bind.v6;
		want6 = bt->c.bind.v6;
	}
	for (int attempt = 0; attempt < 8; attempt++) { /* a free IPv4 port may be taken in IPv6 */
		int r4 = want4 ? listen_on(bt, &bt->listeners[0], &a4) : 0;
		if (r4) {
			snprintf(err, err_size, "cannot listen on port %u: %s", a4.port, strerror(-r4));
			return r4;
		}
		struct addr bound = a6;
		if (want4 && !tcp_local_addr(bt->listeners[0].fd, &bound))
			return -EIO;
		a6.port = bt->c.port = bound.port;
		int r6 = want6 ? listen_on(bt, &bt->listeners[1], &a6) : 0;
		if (r6 == 0 || (want4 && (r6 == -EAFNOSUPPORT || r6 == -EADDRNOTAVAIL))) {
			if (!want4 && tcp_local_addr(bt->listeners[1].fd, &bound))
				bt->c.port = bound.port;
			return 0;
		}
		if (!want4 || o->port || r6 != -EADDRINUSE) {
			snprintf(err, err_size, "cannot listen on port %u (IPv6): %s", a6.port, strerror(-r6));
			return r6;
		}
		ev_del(&bt->listeners[0].ev);
		close(bt->listeners[0].fd);
		bt->listeners[0].fd = -1;
		a6.port = 0;
	}
	snprintf(err, err_size, "no free port");
	return -EADDRINUSE;
}

/* ---- beginning and end ---- */

static void on_keeper_dead(void *arg, const char *why)
{
	struct bt *bt = arg;
	client_died(&bt->c, why);
}

static uint32_t peers_allowed(uint32_t wanted)
{
	struct rlimit r;
	if (wanted == 0)
		wanted = PEERS_DEFAULT;
	if (getrlimit(RLIMIT_NOFILE, &r))
		return wanted;
	rlim_t need = (rlim_t)wanted + FD_RESERVE + 64 /* files being sent */;
	if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= need)
		return wanted;
	struct rlimit more = { need, r.rlim_max > need ? r.rlim_max : need };
	if (setrlimit(RLIMIT_NOFILE, &more) == 0) /* above the hard limit only for root */
		return wanted;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		getrlimit(RLIMIT_NOFILE, &r);
	rlim_t left = r.rlim_cur > FD_RESERVE + 64 ? r.rlim_cur - FD_RESERVE - 64 : 16;
	return left < wanted ? (uint32_t)left : wanted;
}

static void make_identity(struct client *c)
{
	memcpy(c->peer_id, BT_PEER_ID_PREFIX, 8);
	random_bytes(c->peer_id + 8, sizeof(c->peer_id) - 8);
}

static bool init_client(struct client *c, const struct bt_opts *o)
{
	timer_init(&c->budget_timer, on_budget);
	budget_init(&c->down, o->down_rate, c->net.now_ms);
	budget_init(&c->up, o->up_rate, c->net.now_ms);
	c->on_event = o->on_event;
	c->arg = o->arg;
	c->verbose = o->verbose;
	make_identity(c);
	return client_init(c, peers_allowed(o->max_peers));
}

int bt_new(struct bt **out, const struct bt_opts *o, char *err, size_t err_size)
{
	*out = NULL;
	snprintf(err, err_size, "out of memory");
	struct bt *bt = alloc_array(1, sizeof(*bt));
	if (!bt)
		return -ENOMEM;
	bt->spare_fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(bt->listeners); i++)
		bt->listeners[i] = (struct listener){ .bt = bt, .fd = -1 };
	timer_init(&bt->dns_timer, on_dns_timer);
	int r = net_init(&bt->c.net);
	if (r) {
		snprintf(err, err_size, "cannot start the loop: %s", strerror(-r));
		free(bt);
		return r;
	}
	if (!init_client(&bt->c, o)) {
		bt_free(bt);
		return -ENOMEM;
	}
	struct disk_opts d = {
		.pool_bytes = o->window_bytes,
		.storage = (enum disk_storage)o->storage,
		.alloc = (enum disk_alloc)o->alloc,
		.one_process = o->one_process,
		.on_frames = on_frames,
		.on_dead = on_keeper_dead,
		.arg = bt,
	};
	r = disk_new(&bt->c.disk, &bt->c.net, &d); /* first: the child inherits nothing else */
	if (r) {
		snprintf(err, err_size, "cannot start the disk process: %s", strerror(-r));
		goto fail;
	}
	r = -ENOMEM;
	bt->state_dir = o->state_dir ? strdup(o->state_dir) : NULL;
	bt->c.dns = dns_new(&bt->c.net);
	if (!bt->c.dns || (o->state_dir && !bt->state_dir))
		goto fail;
	if (o->offline) {
		*out = bt;
		return 0;
	}
	r = listen_all(bt, o, err, err_size);
	if (r)
		goto fail;
	int any_fd = bt->listeners[0].fd >= 0 ? bt->listeners[0].fd : bt->listeners[1].fd;
	bt->spare_fd = dup(any_fd);
	on_dns_timer(&bt->dns_timer); /* before any torrent's jobs: names work when the first store is open */
	*out = bt;
	return 0;
fail:
	bt_free(bt);
	return r;
}

struct bt_torrent *bt_add(struct bt *bt, const struct bt_add *add, char *err, size_t err_size)
{
	if (bt->c.stopping || bt->c.dead) {
		snprintf(err, err_size, "the client is stopping");
		return NULL;
	}
	return torrent_new(&bt->c, add, bt->state_dir, err, err_size);
}

void bt_stop(struct bt *bt)
{
	struct client *c = &bt->c;
	if (c->stopping)
		return;
	c->stopping = true;
	for (size_t i = 0; i < ARRAY_LEN(bt->listeners); i++)
		ev_del(&bt->listeners[i].ev);
	for (struct list *l = c->pending.next; l != &c->pending; l = l->next)
		peer_fail(container_of(l, struct peer, on_torrent), "stopping");
	for (struct list *l = c->torrents.next; l != &c->torrents; l = l->next)
		torrent_stop(container_of(l, struct bt_torrent, on_client));
}

static bool all_stopped(const struct client *c)
{
	for (struct list *l = c->torrents.next; l != &c->torrents; l = l->next)
		if (!torrent_stopped(container_of(l, struct bt_torrent, on_client)))
			return false;
	return true;
}

int bt_turn(struct bt *bt, int timeout_ms)
{
	if (bt->c.stopping && !bt->told_stopped && all_stopped(&bt->c))
		timeout_ms = 0;
	int r = net_turn(&bt->c.net, timeout_ms);
	if (bt->c.stopping && !bt->told_stopped && all_stopped(&bt->c)) {
		bt->told_stopped = true;
		client_event(&bt->c, BT_EV_STOPPED, NULL, "stopped");
	}
	return r;
}

int bt_fd(const struct bt *bt)
{
	return bt->c.net.epfd;
}

int bt_timeout(const struct bt *bt)
{
	return net_timeout(&bt->c.net);
}

uint16_t bt_port(const struct bt *bt)
{
	return bt->c.port;
}

void bt_free(struct bt *bt)
{
	struct client *c = &bt->c;
	while (!list_empty(&c->torrents))
		torrent_free(container_of(c->torrents.next, struct bt_torrent, on_client));
	while (!list_empty(&c->pending))
		peer_close_now(container_of(c->pending.next, struct peer, on_torrent));
	for (size_t i = 0; i < ARRAY_LEN(bt->listeners); i++) {
		ev_del(&bt->listeners[i].ev);
		if (bt->listeners[i].fd >= 0)
			close(bt->listeners[i].fd);
	}
	if (bt->spare_fd >= 0)
		close(bt->spare_fd);
	timer_clear(&c->net, &bt->dns_timer);
	timer_clear(&c->net, &c->budget_timer);
	if (c->dns)
		dns_free(c->dns);
	if (c->disk)
		disk_free(c->disk);
	client_release(c);
	net_release(&c->net);
	free(bt->resolv_conf);
	free(bt->state_dir);
	free(bt);
}

/* ---- facts ---- */

static int64_t eta_of(const struct bt_stats *s)
{
	if (s->have >= s->wanted)
		return 0;
	return s->down_rate ? (int64_t)((s->wanted - s->have) / s->down_rate) : -1;
}

void bt_stats(const struct bt_torrent *ct, struct bt_stats *s)
{
	struct bt_torrent *t = (struct bt_torrent *)(uintptr_t)ct; /* rates move their clock when asked */
	uint64_t now = t->c->net.now_ms;
	*s = (struct bt_stats){
		.state = t->state,
		.name = t->name,
		.size = t->limits.size,
		.wanted = t->wanted_size,
		.have = t->have_size,
		.checked = t->checked,
		.pieces = t->limits.pieces,
		.pieces_have = t->npieces_have,
		.down = t->down.total,
		.up = t->up.total,
		.wasted = t->wasted,
		.down_rate = rate_get(&t->down, now),
		.up_rate = rate_get(&t->up, now),
		.peers = t->npeers,
		.seeds = t->nseeds,
		.connecting = t->nhalf_open,
	};
	if (t->announcer)
		announcer_counts(t->announcer, &s->swarm_seeds, &s->swarm_leechers);
	s->eta = eta_of(s);
}

void bt_loop_stats(const struct bt *bt, struct bt_loop_stats *s)
{
	const struct net *n = &bt->c.net;
	*s = (struct bt_loop_stats){
		.turns = n->turns,
		.events = n->events,
		.p50_us = net_turn_us(n, 500),
		.p99_us = net_turn_us(n, 990),
		.p999_us = net_turn_us(n, 999),
		.max_us = n->slowest_turn_us,
	};
	for (struct list *l = bt->c.torrents.next; l != &bt->c.torrents; l = l->next) {
		const struct bt_torrent *t = container_of(l, struct bt_torrent, on_client);
		s->down += t->down.total;
		s->up += t->up.total;
	}
}

bool bt_piece(const struct bt_torrent *t, uint32_t index)
{
	return index < t->limits.pieces && picker_has(t->picker, index);
}
