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

/* events: EPOLLIN | EPOLLOUT, of those armed; hang-up and error are given as
 * both, armed or not (once, while nothing is armed). A callback may delete and
 * free its own handle and any other. */
typedef void ev_fn(struct ev *, uint32_t events);
typedef void timer_fn(struct timer *);
typedef void later_fn(struct later *);

/* Zeroed memory is a handle that was not added. Delete before closing fd. */
struct ev {
	struct net *net; /* NULL when not added */
	ev_fn *fn;
	int fd;
	uint32_t events; /* what is armed */
	uint32_t slot;   /* private: place in the fetched batch, for ev_del */
};

/* Zeroed memory is an idle timer. An armed one must be cleared before its
 * memory goes. */
struct timer {
	timer_fn *fn;
	uint64_t at_ms;
	struct timer *child, *next, **link; /* private: place in the heap; link NULL when not armed */
};

/* Runs once at the end of the current turn (after all events and timers of
 * it): flush a peer once, free what a callback may still be standing in.
 * Added during the end of a turn, it still runs in that turn - so one that
 * always adds itself again never lets the turn end. fn may free its later. */
struct later {
	later_fn *fn;
	struct list on_later;
};

#define NET_TURN_LEVELS 104u

struct net {
	int epfd;
	bool in_turn;
	uint64_t now_ms, now_us;   /* CLOCK_MONOTONIC, read once per turn, after the wait */
	struct timer *timers;      /* private: the first one due */
	struct list laters;
	struct epoll_event *batch; /* private: fetched events of this turn */
	int nbatch;
	uint32_t ready;            /* events of this turn: how many share it */
	uint64_t turns, events, slowest_turn_us; /* statistics; the wait is not counted */
	uint64_t turn_us[NET_TURN_LEVELS]; /* private: turns by length, see net_turn_us */
};

/* Several struct net may live in one process. Not movable once initialised.
 * Release does not close what is still added, nor run what still waits. */
int net_init(struct net *) BT_MUST_USE;
void net_release(struct net *);
void net_clock(struct net *);                 /* reads the clock: for use of now_ms outside of a turn */
int net_timeout(const struct net *);          /* ms to the next timer, rounded up, 0 when work waits, -1 none */
/* Waits until an event, a timer or timeout_ms (-1 = no limit), then runs all
 * that is due. 0 or -errno; EINTR is 0. */
int net_turn(struct net *, int timeout_ms) BT_MUST_USE;
/* The length that this share of all turns (in thousandths) did not exceed; up to
 * a quarter too long, never too short. 0 before the first turn. */
uint64_t net_turn_us(const struct net *, unsigned share);

int ev_add(struct net *, struct ev *, int fd, uint32_t events, ev_fn *) BT_MUST_USE; /* 0 or -errno */
void ev_mod(struct ev *, uint32_t events); /* no system call when nothing changes */
void ev_del(struct ev *);                  /* also voids events already fetched; repeatable; fd stays open */

void timer_init(struct timer *, timer_fn *);
/* Never early, never fails; arming twice re-arms. A delay of 0 from a timer's
 * callback comes in the next turn, so that sockets get theirs in between. */
void timer_set(struct net *, struct timer *, uint64_t delay_ms);
void timer_clear(struct net *, struct timer *);
static inline bool timer_armed(const struct timer *t) { return t->link != NULL; }

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
/* "1.2.3.4:80" or "[::1]:80"; numbers only, never a look-up. Strict: no blanks,
 * no leading zeros, no scope ids; v4-mapped becomes IPv4; false leaves zeros or
 * half an address. */
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
/* false: port 0, 0.0.0.0/8, multicast, broadcast, unspecified, v4-mapped left as v6 */
bool addr_is_usable_peer(const struct addr *);

/* ---- TCP, all non-blocking and close-on-exec. fd >= 0 or -errno ---- */
int tcp_listen(const struct addr *, int backlog) BT_MUST_USE;  /* v6 sockets are v6-only */
/* -EAGAIN: none there, or one that died in the queue. -EMFILE, -ENFILE, -ENOMEM,
 * -ENOBUFS: it stays in the queue, so disarm the listener for a while. */
int tcp_accept(int listen_fd, struct addr *peer) BT_MUST_USE;
int tcp_connect(const struct addr *to, const struct addr *from /* NULL = any */) BT_MUST_USE; /* in progress: wait for EPOLLOUT */
int tcp_connect_result(int fd) BT_MUST_USE; /* 0 or -errno once writable */
bool tcp_local_addr(int fd, struct addr *);

/* ---- byte budgets: a token bucket refilled from now_ms, burst 1/4 s but at
 * least 32 KiB, empty at the start. Exact over long runs. ---- */
struct budget {
	uint64_t rate;  /* bytes/s; 0 = no limit */
	int64_t tokens; /* private: thousandths of a byte; below 0 = taken in advance */
	uint64_t last_ms;
};
void budget_init(struct budget *, uint64_t rate, uint64_t now_ms);
/* How much may move now, 0..want; 0 when less than min(want, 1400) is there. */
size_t budget_ask(struct budget *, size_t want, uint64_t now_ms);
void budget_take(struct budget *, size_t used); /* what did move, also beyond what was allowed */
uint64_t budget_wait_ms(const struct budget *); /* from the last ask until 1400 are there; 0 = now */

#endif
