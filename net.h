/* SPDX-License-Identifier: MIT */
/* net.h - the reactor (net.c): epoll, timers in a heap, work for the end of a
 * turn, addresses, TCP sockets, byte budgets. Handles are embedded in their
 * owner; nothing here allocates per event. Level-triggered. */
#ifndef BT_NET_H
#define BT_NET_H

#include "base/base.h"
#include <sys/epoll.h>
#include <sys/socket.h>

struct net;
struct ev;
struct timer;
struct later;

/* events: EPOLLIN | EPOLLOUT; hang-up and error are given as both. */
typedef void ev_fn(struct ev *, uint32_t events);
typedef void timer_fn(struct timer *);
typedef void later_fn(struct later *);

struct ev {
	struct net *net; /* NULL when not added */
	ev_fn *fn;
	int fd;
	uint32_t events; /* what is armed */
	uint32_t slot;   /* private: index in the fetched batch, for ev_del */
};

struct timer {
	timer_fn *fn;
	uint64_t at_ms;
	uint32_t index; /* private: place in the heap, TIMER_IDLE when not armed */
};
#define TIMER_IDLE UINT32_MAX

/* Runs once at the end of the current turn (after all events and timers of
 * it): flush a peer once, free what a callback may still be standing in.
 * Added during the end of a turn, it still runs in that turn. */
struct later {
	later_fn *fn;
	struct list on_later;
};

struct net {
	int epfd;
	uint64_t now_ms;  /* CLOCK_MONOTONIC, read once per turn */
	struct timer **heap;
	size_t ntimers, heap_cap;
	struct list laters;
	struct epoll_event *batch; /* fetched events of this turn */
	int nbatch;
	uint64_t turns, slowest_turn_us; /* statistics */
};

int net_init(struct net *) BT_MUST_USE;
void net_release(struct net *);
int net_timeout(const struct net *);          /* ms to the next timer, 0 when work waits, -1 none */
int net_turn(struct net *, int timeout_ms) BT_MUST_USE; /* 0 or -errno; EINTR is 0 */

int ev_add(struct net *, struct ev *, int fd, uint32_t events, ev_fn *) BT_MUST_USE;
void ev_mod(struct ev *, uint32_t events); /* no system call when nothing changes */
void ev_del(struct ev *);                  /* also voids events already fetched; repeatable; fd stays open */

void timer_init(struct timer *, timer_fn *);
void timer_set(struct net *, struct timer *, uint64_t delay_ms); /* arming twice re-arms */
void timer_clear(struct net *, struct timer *);
static inline bool timer_armed(const struct timer *t) { return t->index != TIMER_IDLE; }

void later_init(struct later *, later_fn *);
void later_add(struct net *, struct later *); /* no effect when already waiting */
void later_cancel(struct later *);

/* ---- addresses: IPv4 in ip[0..4) with the rest zero; comparable by memcmp ---- */
struct addr {
	uint8_t ip[16];
	uint16_t port; /* host order */
	uint8_t v6;    /* 0 or 1 */
	uint8_t pad;
};
#define ADDR_TEXT 56
/* "1.2.3.4:80" or "[::1]:80"; numbers only, never a look-up. */
bool addr_parse(struct addr *, struct slice text);
bool addr_parse_ip(struct addr *, struct slice text); /* no port: port stays 0 */
char *addr_format(const struct addr *, char out[ADDR_TEXT]);
socklen_t addr_to_sockaddr(const struct addr *, struct sockaddr_storage *);
bool addr_from_sockaddr(struct addr *, const struct sockaddr_storage *); /* v4-mapped becomes IPv4 */
static inline bool addr_eq(const struct addr *a, const struct addr *b) { return memcmp(a, b, sizeof(*a)) == 0; }
static inline bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return a->v6 == b->v6 && memcmp(a->ip, b->ip, 16) == 0;
}
bool addr_is_loopback(const struct addr *);
bool addr_is_usable_peer(const struct addr *); /* false: port 0, 0.0.0.0/8, multicast, broadcast, unspecified */

/* ---- TCP, all non-blocking and close-on-exec. fd >= 0 or -errno ---- */
int tcp_listen(const struct addr *, int backlog) BT_MUST_USE;  /* v6 sockets are v6-only */
int tcp_accept(int listen_fd, struct addr *peer) BT_MUST_USE;
int tcp_connect(const struct addr *to, const struct addr *from /* NULL = any */) BT_MUST_USE; /* in progress: wait for EPOLLOUT */
int tcp_connect_result(int fd) BT_MUST_USE; /* 0 or -errno once writable */
bool tcp_local_addr(int fd, struct addr *);

/* ---- byte budgets: a token bucket refilled from now_ms, burst about 1/4 s ---- */
struct budget {
	uint64_t rate; /* bytes/s; 0 = no limit */
	int64_t tokens;
	uint64_t last_ms;
};
void budget_init(struct budget *, uint64_t rate, uint64_t now_ms);
size_t budget_ask(struct budget *, size_t want, uint64_t now_ms); /* how much may move now, 0..want */
void budget_take(struct budget *, size_t used);                   /* what did move */
uint64_t budget_wait_ms(const struct budget *); /* until a useful amount is there; 0 = now */

#endif
