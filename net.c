/* SPDX-License-Identifier: MIT */
/* net.c - the reactor: one epoll, timers, work for the end of a turn, TCP
 * sockets, byte budgets. It knows nothing of BitTorrent, and allocates nothing
 * after net_init. Addresses as text are in base/addr.c. Start at net_turn().
 *
 * A turn: wait, read the clock, deliver the fetched events, then the timers
 * that are due, then the laters. Whatever a callback does (delete itself or
 * another handle, arm, re-arm, add) is safe because of two habits:
 *   - a fetched event is looked up through batch[i].data.ptr, which ev_del
 *     sets to NULL, so nobody is called after he has gone;
 *   - a list is drained by unlinking its head before the head is called, so
 *     there is never a "next" pointer that a callback could make stale. */
#include "net.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Large enough that a busy client gathers all completions in one call, small
 * enough (3 KiB) to cost nothing. What doesn't fit comes in the next turn:
 * epoll rotates its ready list, so nobody starves. */
#define BATCH 256

static uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void net_clock(struct net *n)
{
	n->now_us = clock_us();
	n->now_ms = n->now_us / 1000;
}

int net_init(struct net *n)
{
	memset(n, 0, sizeof(*n));
	list_init(&n->laters);
	n->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (n->epfd < 0)
		return -errno;
	n->batch = calloc(BATCH, sizeof(*n->batch));
	if (!n->batch) {
		close(n->epfd);
		return -ENOMEM;
	}
	net_clock(n);
	return 0;
}

void net_release(struct net *n)
{
	close(n->epfd);
	free(n->batch);
	n->epfd = -1;
	n->batch = NULL;
}

/* ---- events ---- */

/* Hang-up and error can't be disarmed in epoll. A handle with nothing armed (a
 * peer paused by a rate limit) would wake every turn for a hang-up it doesn't
 * want to hear of yet; edge-triggered it is told once. */
static uint32_t epoll_bits(uint32_t events)
{
	return events ? events : (uint32_t)EPOLLET;
}

int ev_add(struct net *n, struct ev *e, int fd, uint32_t events, ev_fn *fn)
{
	struct epoll_event ee = { .events = epoll_bits(events), .data.ptr = e };

	if (epoll_ctl(n->epfd, EPOLL_CTL_ADD, fd, &ee) < 0) {
		e->net = NULL;
		return -errno;
	}
	*e = (struct ev){ .net = n, .fn = fn, .fd = fd, .events = events, .slot = UINT32_MAX };
	return 0;
}

void ev_mod(struct ev *e, uint32_t events)
{
	struct epoll_event ee = { .events = epoll_bits(events), .data.ptr = e };
	int err;

	if (!e->net || e->events == events)
		return;
	e->events = events;
	err = epoll_ctl(e->net->epfd, EPOLL_CTL_MOD, e->fd, &ee);
	assert(err == 0); /* fails only for a descriptor closed before ev_del */
	(void)err;
}

void ev_del(struct ev *e)
{
	struct net *n = e->net;

	if (!n)
		return;
	epoll_ctl(n->epfd, EPOLL_CTL_DEL, e->fd, &(struct epoll_event){ .events = 0 });
	/* The slot may be of an older batch: the pointer decides. */
	if (e->slot < (uint32_t)n->nbatch && n->batch[e->slot].data.ptr == e)
		n->batch[e->slot].data.ptr = NULL;
	e->net = NULL;
}

static void run_events(struct net *n)
{
	for (int i = 0; i < n->nbatch; i++)
		((struct ev *)n->batch[i].data.ptr)->slot = (uint32_t)i;
	for (int i = 0; i < n->nbatch; i++) {
		struct ev *e = n->batch[i].data.ptr;
		uint32_t got = n->batch[i].events;

		if (!e)
			continue;
		if (got & (EPOLLHUP | EPOLLERR))
			got = EPOLLIN | EPOLLOUT;
		else
			got &= e->events; /* disarmed by a callback earlier in this turn */
		if (got)
			e->fn(e, got);
	}
	n->nbatch = 0;
}

/* ---- timers: a pairing heap whose nodes are the handles themselves ----
 *
 * It was meant to be a binary heap in an array, but an array must grow, growth
 * can fail, and timer_set has nobody to tell: a lost time-out is a peer that
 * hangs for ever. Linked through the handles, arming can't fail. Nor is it
 * slow: with 10,000 armed, re-arming one takes 20 ns (binary heap: 33), and one
 * that comes due 130 (70); peers re-arm far more often than they time out.
 *
 * Each node heads a tree of later ones: `child` is its first child, `next` its
 * next sibling, `link` the pointer that points to it (n->timers for the root,
 * someone's child or next for the others), NULL when idle. Arming is O(1),
 * taking the first or clearing is O(log n) amortised. */

static struct timer *heap_meld(struct timer *a, struct timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->at_ms < a->at_ms) {
		struct timer *t = a;
		a = b;
		b = t;
	}
	b->next = a->child;
	if (b->next)
		b->next->link = &b->next;
	b->link = &a->child;
	a->child = b;
	return a;
}

/* Melds a row of siblings into one tree: in pairs from the left, then the
 * pairs from the right, which is what makes the amortised bound. */
static struct timer *heap_pair(struct timer *row)
{
	struct timer *pairs = NULL, *root = NULL;

	while (row) {
		struct timer *a = row, *b = a->next;
		row = b ? b->next : NULL;
		a = heap_meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *a = pairs;
		pairs = a->next;
		root = heap_meld(root, a);
	}
	return root;
}

static void heap_set_root(struct net *n, struct timer *root)
{
	n->timers = root;
	if (root) {
		root->next = NULL;
		root->link = &n->timers;
	}
}

void timer_init(struct timer *t, timer_fn *fn)
{
	*t = (struct timer){ .fn = fn };
}

void timer_clear(struct net *n, struct timer *t)
{
	struct timer *kids;

	if (!t->link)
		return;
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	kids = heap_pair(t->child);
	t->child = t->next = NULL;
	t->link = NULL;
	if (kids)
		heap_set_root(n, heap_meld(n->timers, kids));
}

void timer_set(struct net *n, struct timer *t, uint64_t delay_ms)
{
	timer_clear(n, t);
	/* A host that drives us by our descriptor may add a torrent minutes
	 * after the last turn. Inside a turn, time stands still. */
	if (!n->in_turn)
		net_clock(n);
	/* From the next full millisecond, so that no timer is early; "at once"
	 * stays at once. */
	t->at_ms = delay_ms ? (n->now_us + 999) / 1000 : n->now_ms;
	t->at_ms = delay_ms > UINT64_MAX - t->at_ms ? UINT64_MAX : t->at_ms + delay_ms;
	heap_set_root(n, heap_meld(n->timers, t));
}

/* All that is due leaves the heap before the first is called: a callback that
 * arms a timer for "now" gets it in the next turn, after the sockets. */
static void run_timers(struct net *n)
{
	struct timer *due = NULL, **tail = &due, *t;

	while ((t = n->timers) && t->at_ms <= n->now_ms) {
		timer_clear(n, t);
		t->link = tail;
		*tail = t;
		tail = &t->next;
	}
	while ((t = due)) {
		timer_clear(n, t); /* as a callback would clear one that waits here */
		t->fn(t);
	}
}

int net_timeout(const struct net *n)
{
	uint64_t now;

	if (!list_empty(&n->laters))
		return 0;
	if (!n->timers)
		return -1;
	now = clock_us();
	if (n->timers->at_ms <= now / 1000)
		return 0;
	if (n->timers->at_ms - now / 1000 > INT32_MAX)
		return INT32_MAX;
	return (int)((n->timers->at_ms * 1000 - now + 999) / 1000);
}

/* ---- laters ---- */

void later_init(struct later *l, later_fn *fn)
{
	l->fn = fn;
	list_init(&l->on_later);
}

void later_add(struct net *n, struct later *l)
{
	if (!list_linked(&l->on_later))
		list_push_back(&n->laters, &l->on_later);
}

void later_cancel(struct later *l)
{
	list_remove(&l->on_later);
}

static void run_laters(struct net *n)
{
	while (!list_empty(&n->laters)) {
		struct later *l = container_of(n->laters.next, struct later, on_later);
		list_remove(&l->on_later);
		l->fn(l);
	}
}

/* ---- how long turns are: four steps per doubling, so a count costs nothing ---- */

static unsigned turn_level(uint64_t us)
{
	unsigned log;

	if (us < 4)
		return (unsigned)us;
	log = 63u - (unsigned)__builtin_clzll(us);
	log = (log - 1) * 4 + (unsigned)(us >> (log - 2) & 3);
	return log < NET_TURN_LEVELS ? log : NET_TURN_LEVELS - 1;
}

uint64_t net_turn_us(const struct net *n, unsigned share)
{
	uint64_t want = (n->turns * share + 999) / 1000, sum = 0;
	unsigned level = 0;

	while (level < NET_TURN_LEVELS - 1 && sum + n->turn_us[level] < want)
		sum += n->turn_us[level++];
	if (level < 4)
		return level;
	/* the last length that turn_level puts here, but none was longer than the longest */
	return min_u64((((uint64_t)(level & 3) + 5) << (level / 4 - 1)) - 1, n->slowest_turn_us);
}

int net_turn(struct net *n, int timeout_ms)
{
	int wait = net_timeout(n), got;
	uint64_t spent;

	if (timeout_ms >= 0 && (wait < 0 || timeout_ms < wait))
		wait = timeout_ms;
	got = epoll_wait(n->epfd, n->batch, BATCH, wait);
	if (got < 0 && errno != EINTR)
		return -errno;
	net_clock(n);
	n->in_turn = true;
	n->nbatch = got > 0 ? got : 0;
	n->ready = (uint32_t)n->nbatch;
	run_events(n);
	run_timers(n);
	run_laters(n);
	n->in_turn = false;
	spent = clock_us() - n->now_us;
	if (spent > n->slowest_turn_us)
		n->slowest_turn_us = spent;
	n->turn_us[turn_level(spent)]++;
	n->turns++;
	n->events += (uint64_t)(got > 0 ? got : 0);
	return 0;
}

/* ---- TCP ---- */

static void set_flag(int fd, int level, int option)
{
	setsockopt(fd, level, option, &(int){ 1 }, sizeof(int));
}

static int tcp_socket(const struct addr *a)
{
	int fd = socket(a->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	if (a->v6)
		set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY); /* the IPv4 listener has the same port */
	return fd;
}

/* Keeps errno of what failed over the close. */
static int tcp_fail(int fd)
{
	int err = -errno;

	close(fd);
	return err;
}

int tcp_listen(const struct addr *a, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int fd = tcp_socket(a);

	if (fd < 0)
		return fd;
	set_flag(fd, SOL_SOCKET, SO_REUSEADDR); /* a restart needn't wait out TIME_WAIT */
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, backlog) < 0)
		return tcp_fail(fd);
	return fd;
}

int tcp_accept(int listen_fd, struct addr *peer)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = accept4(listen_fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of descriptors or memory is the caller's business. All else
		 * is the fate of one connection, which accept(2) tells to take
		 * as "none there": the listener stays readable if there are more. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM || errno == EBADF ||
		    errno == EINVAL || errno == ENOTSOCK)
			return -errno;
		return -EAGAIN;
	}
	if (!addr_from_sockaddr(peer, &ss)) {
		close(fd);
		return -EAGAIN;
	}
	/* Messages are gathered before they are sent; Nagle would only hold
	 * back the last of them. */
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	return fd;
}

int tcp_connect(const struct addr *to, const struct addr *from)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (from && from->v6 != to->v6)
		return -EAFNOSUPPORT;
	fd = tcp_socket(to);
	if (fd < 0)
		return fd;
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	if (from) {
		/* The port is chosen at connect, when the other end is known:
		 * one local port may then serve many peers. */
		if (!from->port)
			set_flag(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
		len = addr_to_sockaddr(from, &ss);
		if (bind(fd, (struct sockaddr *)&ss, len) < 0)
			return tcp_fail(fd);
	}
	len = addr_to_sockaddr(to, &ss);
	if (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS && errno != EINTR)
		return tcp_fail(fd);
	return fd;
}

int tcp_connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

bool tcp_local_addr(int fd, struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && addr_from_sockaddr(a, &ss);
}

/* ---- budgets ----
 *
 * Tokens are thousandths of a byte, because a rate per second times a time in
 * milliseconds is a whole number of those: nothing is ever rounded, so the
 * mean over an hour is the rate, however often it is asked. Tokens may be
 * negative: what was taken beyond the budget is paid back before more moves. */

#define BUDGET_RATE_MAX (UINT64_C(1) << 40) /* bytes/s; keeps every product in 63 bits */
#define BUDGET_BURST_MIN (32u << 10)        /* two blocks: a slow limit still moves whole blocks */
#define BUDGET_USEFUL 1400u                 /* a full packet; less is not worth a wake-up */

static int64_t budget_cap(const struct budget *b)
{
	uint64_t burst = b->rate / 4;

	return (int64_t)(burst > BUDGET_BURST_MIN ? burst : BUDGET_BURST_MIN) * 1000;
}

void budget_init(struct budget *b, uint64_t rate, uint64_t now_ms)
{
	*b = (struct budget){ .rate = min_u64(rate, BUDGET_RATE_MAX), .last_ms = now_ms };
}

size_t budget_ask(struct budget *b, size_t want, uint64_t now_ms)
{
	uint64_t have, passed;
	int64_t cap;

	if (!b->rate)
		return want;
	cap = budget_cap(b);
	if (now_ms > b->last_ms && b->tokens < cap) {
		passed = now_ms - b->last_ms;
		if (passed > (uint64_t)(cap - b->tokens) / b->rate)
			b->tokens = cap;
		else
			b->tokens += (int64_t)(passed * b->rate);
	}
	if (now_ms > b->last_ms)
		b->last_ms = now_ms;
	have = b->tokens > 0 ? (uint64_t)b->tokens / 1000 : 0;
	if (have < min_u64(want, BUDGET_USEFUL))
		return 0;
	return (size_t)min_u64(want, have);
}

void budget_take(struct budget *b, size_t used)
{
	const int64_t floor = INT64_MIN / 4;

	if (!b->rate)
		return;
	b->tokens -= (int64_t)min_u64(used, BUDGET_RATE_MAX) * 1000;
	if (b->tokens < floor)
		b->tokens = floor;
}

uint64_t budget_wait_ms(const struct budget *b)
{
	const int64_t useful = BUDGET_USEFUL * 1000;

	if (!b->rate || b->tokens >= useful)
		return 0;
	return ((uint64_t)(useful - b->tokens) + b->rate - 1) / b->rate;
}
