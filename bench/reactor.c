/* SPDX-License-Identifier: MIT */
/* What the reactor costs: nanoseconds per event, per timer, per later, per
 * budget decision. One number per line; lower is better. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HANDLES 200 /* as many as a client has peers */
#define TURNS 20000
#define TIMERS 10000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t calls;

static void on_ev(struct ev *e, uint32_t events)
{
	(void)e;
	calls += events != 0;
}

static void on_timer(struct timer *t)
{
	calls += t->at_ms != 0;
}

static void on_later(struct later *l)
{
	calls += l->fn != NULL;
}

static void print(const char *what, uint64_t ns, uint64_t n)
{
	printf("%-58s %8.1f ns\n", what, (double)ns / (double)n);
}

static void turn(struct net *n)
{
	if (net_turn(n, 0) < 0)
		exit(1);
}

int main(void)
{
	static struct ev ev[HANDLES];
	static struct timer timer[TIMERS];
	static struct later later;
	static int pipes[HANDLES][2];
	struct net n;
	struct budget b;
	uint64_t t;
	size_t moved = 0;

	if (net_init(&n) < 0)
		return 1;
	t = now_ns();
	for (int i = 0; i < TURNS * 10; i++)
		turn(&n);
	print("turn with nothing to do", now_ns() - t, TURNS * 10);

	for (int i = 0; i < HANDLES; i++)
		if (pipe(pipes[i]) < 0 || write(pipes[i][1], "x", 1) != 1 ||
		    ev_add(&n, &ev[i], pipes[i][0], EPOLLIN, on_ev) < 0)
			return 1;
	t = now_ns();
	for (int i = 0; i < TURNS; i++)
		turn(&n);
	print("event, 200 descriptors ready in every turn", now_ns() - t, calls);
	for (int i = 1; i < HANDLES; i++)
		ev_mod(&ev[i], 0);
	calls = 0;
	t = now_ns();
	for (int i = 0; i < TURNS * 10; i++)
		turn(&n);
	print("event, 1 of 200 descriptors ready", now_ns() - t, calls);
	t = now_ns();
	for (int i = 0; i < TURNS; i++)
		ev_mod(&ev[0], i & 1 ? EPOLLIN : EPOLLIN | EPOLLOUT);
	print("ev_mod that changes something", now_ns() - t, TURNS);
	t = now_ns();
	for (int i = 0; i < TURNS * 100; i++)
		ev_mod(&ev[0], EPOLLIN);
	print("ev_mod that changes nothing", now_ns() - t, TURNS * 100);
	for (int i = 0; i < HANDLES; i++)
		ev_del(&ev[i]);

	for (int i = 0; i < TIMERS; i++)
		timer_init(&timer[i], on_timer);
	n.in_turn = true; /* time stands still while arming, as in a callback */
	t = now_ns();
	for (int i = 0; i < TIMERS; i++)
		timer_set(&n, &timer[i], 1 + random_below(100));
	print("timer_set, 10,000 timers", now_ns() - t, TIMERS);
	t = now_ns();
	for (int i = 0; i < TIMERS * 100; i++)
		timer_set(&n, &timer[random_below(TIMERS)], 1 + random_below(100));
	print("timer_set that re-arms one of 10,000 at random", now_ns() - t, TIMERS * 100);
	n.in_turn = false;
	usleep(110000);
	calls = 0;
	t = now_ns();
	turn(&n);
	print("timer that is due, 10,000 in one turn", now_ns() - t, calls);
	n.in_turn = true;
	for (int i = 0; i < HANDLES; i++)
		timer_set(&n, &timer[i], 1 + random_below(100));
	t = now_ns();
	for (int i = 0; i < TIMERS * 100; i++)
		timer_set(&n, &timer[random_below(HANDLES)], 60000 + random_below(1000));
	print("timer_set that moves one of 200 time-outs to later", now_ns() - t, TIMERS * 100);
	n.in_turn = false;

	later_init(&later, on_later);
	t = now_ns();
	for (int i = 0; i < TURNS * 10; i++) {
		later_add(&n, &later);
		turn(&n);
	}
	print("turn with one later", now_ns() - t, TURNS * 10);

	budget_init(&b, 100000000, 0);
	t = now_ns();
	for (uint64_t i = 0; i < 10000000; i++) {
		size_t got = budget_ask(&b, 16384, i / 100);
		budget_take(&b, got);
		moved += got;
	}
	print("budget_ask and budget_take", now_ns() - t, 10000000);
	if (moved > 10000000000 + 1)
		return 1;
	net_release(&n);
	return 0;
}
