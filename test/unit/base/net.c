/* SPDX-License-Identifier: MIT */
/* The reactor: order and safety of callbacks, timers against a model, real TCP
 * sockets on loopback, budgets over a simulated year. */
#include "net.h"
#include "test/test.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t real_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool turn(struct net *n, int ms)
{
	return net_turn(n, ms) == 0;
}

static struct slice str(const char *s)
{
	return slice_str(s);
}

/* ---- events ---- */

struct tube {
	struct ev ev;
	int far; /* the other end */
	int calls;
	uint32_t got;
	struct tube *victim;
	bool re_add;
	void (*act)(struct tube *);
};

static void on_tube(struct ev *e, uint32_t events)
{
	struct tube *t = container_of(e, struct tube, ev);

	t->calls++;
	t->got = events;
	if (t->act)
		t->act(t);
}

static void tube_open(struct net *n, struct tube *t, uint32_t events)
{
	int fd[2];

	memset(t, 0, sizeof(*t));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		exit(1);
	t->far = fd[1];
	CHECK(ev_add(n, &t->ev, fd[0], events, on_tube) == 0);
}

static void tube_close(struct tube *t)
{
	ev_del(&t->ev);
	close(t->ev.fd);
	if (t->far >= 0)
		close(t->far);
}

static void poke(struct tube *t)
{
	CHECK(write(t->far, "x", 1) == 1);
}

static void act_delete_victim(struct tube *t)
{
	ev_del(&t->victim->ev);
	if (t->re_add)
		CHECK(ev_add(t->ev.net, &t->victim->ev, t->victim->ev.fd, EPOLLIN, on_tube) == 0);
}

static void act_delete_self(struct tube *t)
{
	tube_close(t);
	free(t);
}

static void act_disarm_victim(struct tube *t)
{
	ev_mod(&t->victim->ev, 0);
}

static void test_events(struct net *n)
{
	struct tube a, b, *c = malloc(sizeof(*c));
	uint8_t byte;

	/* Level-triggered; only what is armed. */
	tube_open(n, &a, EPOLLIN);
	CHECK(turn(n, 0) && a.calls == 0);
	poke(&a);
	CHECK(turn(n, -1) && a.calls == 1 && a.got == EPOLLIN);
	CHECK(turn(n, -1) && a.calls == 2);
	ev_mod(&a.ev, EPOLLIN | EPOLLOUT);
	CHECK(turn(n, -1) && a.calls == 3 && a.got == (EPOLLIN | EPOLLOUT));
	ev_mod(&a.ev, 0);
	CHECK(turn(n, 0) && a.calls == 3);
	ev_mod(&a.ev, EPOLLIN);
	CHECK(read(a.ev.fd, &byte, 1) == 1);
	CHECK(turn(n, 0) && a.calls == 3);

	/* Whichever of two comes first deletes the other: one call, not two. */
	tube_open(n, &b, EPOLLIN);
	a.act = b.act = act_delete_victim;
	a.victim = &b;
	b.victim = &a;
	a.calls = b.calls = 0;
	poke(&a);
	poke(&b);
	CHECK(turn(n, -1) && a.calls + b.calls == 1);
	CHECK(turn(n, 0) && a.calls + b.calls == 2); /* the survivor still has its byte */
	ev_del(&a.ev);
	ev_del(&a.ev); /* repeatable */
	ev_del(&b.ev);
	CHECK(turn(n, 0) && a.calls + b.calls == 2);

	/* Deleted and added again in the same turn: the old event is void, the
	 * new registration gets its own in the next turn. */
	CHECK(ev_add(n, &a.ev, a.ev.fd, EPOLLIN, on_tube) == 0);
	CHECK(ev_add(n, &b.ev, b.ev.fd, EPOLLIN, on_tube) == 0);
	a.calls = b.calls = 0;
	a.re_add = b.re_add = true;
	CHECK(turn(n, -1) && a.calls + b.calls == 1);
	a.act = b.act = NULL;
	CHECK(turn(n, -1) && a.calls + b.calls == 3);

	/* Disarmed by an earlier callback of the same turn: not called. */
	a.calls = b.calls = 0;
	a.act = b.act = act_disarm_victim;
	CHECK(turn(n, -1) && a.calls + b.calls == 1);
	a.act = b.act = NULL;
	ev_mod(&a.ev, EPOLLIN);
	ev_mod(&b.ev, EPOLLIN);

	/* A callback that frees its own handle (the sanitizer is the judge). */
	tube_open(n, c, EPOLLIN);
	c->act = act_delete_self;
	poke(c);
	CHECK(turn(n, -1));
	tube_close(&b);

	/* Hang-up is both, even when only reading is armed, and once when
	 * nothing is armed. */
	CHECK(read(a.ev.fd, &byte, 1) == 1);
	a.calls = 0;
	close(a.far);
	a.far = -1;
	CHECK(turn(n, -1) && a.calls == 1 && a.got == (EPOLLIN | EPOLLOUT));
	CHECK(turn(n, -1) && a.calls == 2);
	ev_mod(&a.ev, 0);
	CHECK(turn(n, 0) && turn(n, 0) && turn(n, 0) && a.calls <= 3);
	ev_mod(&a.ev, EPOLLOUT);
	a.calls = 0;
	CHECK(turn(n, -1) && turn(n, -1) && a.calls == 2);
	tube_close(&a);
	CHECK(ev_add(n, &a.ev, -1, EPOLLIN, on_tube) == -EBADF && a.ev.net == NULL);
}

/* More ready descriptors than a batch holds; each callback deletes a random
 * other one. Nobody is called after his deletion, nobody is forgotten. */
#define CROWD 700
static struct tube *crowd;
static bool gone[CROWD];
static int gone_called;

static void act_crowd(struct tube *t)
{
	size_t v = random_below(CROWD);

	gone_called += gone[t - crowd];
	if (v % 3)
		return;
	ev_del(&crowd[v].ev);
	gone[v] = true;
}

static void test_crowd(struct net *n)
{
	struct rlimit rl = { 4096, 4096 };
	int forgotten = 0;

	(void)setrlimit(RLIMIT_NOFILE, &rl);
	getrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < CROWD * 2 + 64)
		return;
	crowd = alloc_array(CROWD, sizeof(*crowd));
	for (size_t i = 0; i < CROWD; i++) {
		tube_open(n, &crowd[i], EPOLLIN);
		crowd[i].act = act_crowd;
		poke(&crowd[i]);
	}
	for (int i = 0; i < 5; i++)
		CHECK(turn(n, 0));
	for (size_t i = 0; i < CROWD; i++)
		forgotten += !gone[i] && !crowd[i].calls;
	CHECK(gone_called == 0);
	CHECK(forgotten == 0);
	for (size_t i = 0; i < CROWD; i++)
		tube_close(&crowd[i]);
	free(crowd);
}

/* ---- timers ---- */

struct tick {
	struct timer t;
	struct net *n;
	int calls;
	uint64_t delay, fired_us;
	struct tick *victim;
};

static void on_tick(struct timer *t)
{
	struct tick *k = container_of(t, struct tick, t);

	k->calls++;
	k->fired_us = real_us();
	if (k->victim)
		timer_clear(k->n, &k->victim->t);
}

static void on_tick_again(struct timer *t)
{
	struct tick *k = container_of(t, struct tick, t);

	k->calls++;
	timer_set(k->n, t, 0);
}

static void on_tick_free(struct timer *t)
{
	free(container_of(t, struct tick, t));
}

static void tick_init(struct net *n, struct tick *k, timer_fn *fn)
{
	memset(k, 0, sizeof(*k));
	timer_init(&k->t, fn);
	k->n = n;
}

static void test_timers(struct net *n)
{
	struct tick a, b, *f = malloc(sizeof(*f));
	uint64_t began, before;
	struct tube tube;

	tick_init(n, &a, on_tick);
	tick_init(n, &b, on_tick);
	CHECK(net_timeout(n) == -1 && !timer_armed(&a.t));
	timer_clear(n, &a.t);
	timer_clear(n, &a.t);

	/* Never early, and not much late when nothing else happens. */
	for (uint64_t delay = 1; delay <= 16; delay *= 2) {
		a.calls = 0;
		began = real_us();
		timer_set(n, &a.t, delay);
		CHECK(timer_armed(&a.t) && net_timeout(n) <= (int)delay + 1);
		while (a.calls == 0)
			CHECK(turn(n, -1));
		CHECK(a.fired_us - began >= delay * 1000);
		CHECK(!timer_armed(&a.t));
	}
	/* The wait is rounded up: no spinning through the last millisecond. */
	timer_set(n, &a.t, 20);
	before = n->turns;
	while (timer_armed(&a.t))
		CHECK(turn(n, -1));
	CHECK(n->turns - before <= 2);

	/* Arming again moves it, both ways; clearing ends it. */
	a.calls = 0;
	timer_set(n, &a.t, 1);
	timer_set(n, &a.t, 100000);
	CHECK(net_timeout(n) > 90000);
	timer_set(n, &a.t, 0);
	CHECK(net_timeout(n) == 0 && turn(n, -1) && a.calls == 1);
	timer_set(n, &a.t, UINT64_MAX);
	CHECK(net_timeout(n) == INT32_MAX && turn(n, 0) && a.calls == 1);
	timer_clear(n, &a.t);
	CHECK(net_timeout(n) == -1);

	/* Two due in one turn, the first clears the second. */
	a.victim = &b;
	timer_set(n, &b.t, 0);
	timer_set(n, &a.t, 0);
	b.victim = &a;
	a.calls = 0;
	CHECK(turn(n, 0) && a.calls + b.calls == 1 && net_timeout(n) == -1);

	/* A timer that frees itself. */
	tick_init(n, f, on_tick_free);
	timer_set(n, &f->t, 0);
	CHECK(turn(n, 0));

	/* One that re-arms itself with 0 runs once a turn, sockets in between. */
	tube_open(n, &tube, EPOLLIN);
	poke(&tube);
	tick_init(n, &a, on_tick_again);
	timer_set(n, &a.t, 0);
	for (int i = 1; i <= 10; i++)
		CHECK(turn(n, -1) && a.calls == i && tube.calls == i);
	timer_clear(n, &a.t);
	tube_close(&tube);
}

/* Thousands of random arms, re-arms and clears against a plain array. */
#define MODEL 1500

static struct tick model[MODEL];
static uint64_t model_last;
static int model_wrong;

static void on_model(struct timer *t)
{
	struct tick *k = container_of(t, struct tick, t);

	model_wrong += t->at_ms < model_last || k->delay != t->at_ms;
	model_last = t->at_ms;
	k->delay = 0;
	k->calls++;
}

static void test_heap(struct net *n)
{
	int left = 0;
	uint64_t first;

	for (size_t i = 0; i < MODEL; i++)
		tick_init(n, &model[i], on_model);
	n->in_turn = true; /* time stands still, so that the order is all there is */
	for (int op = 0; op < 60000; op++) {
		struct tick *k = &model[random_below(MODEL)];
		if (random_below(4) == 0) {
			timer_clear(n, &k->t);
			k->delay = 0;
		} else {
			timer_set(n, &k->t, 1 + random_below(300));
			k->delay = k->t.at_ms;
		}
		if (op % 100)
			continue;
		first = UINT64_MAX;
		for (size_t i = 0; i < MODEL; i++) {
			if (model[i].delay && model[i].delay < first)
				first = model[i].delay;
			model_wrong += timer_armed(&model[i].t) != (model[i].delay != 0);
		}
		CHECK(first == (n->timers ? n->timers->at_ms : UINT64_MAX));
	}
	n->in_turn = false;
	while (n->timers)
		CHECK(turn(n, -1));
	for (size_t i = 0; i < MODEL; i++)
		left += model[i].delay != 0 || timer_armed(&model[i].t);
	CHECK(left == 0 && model_wrong == 0);
}

/* ---- laters ---- */

struct job {
	struct later l;
	struct net *n;
	int calls, again;
	struct job *other;
};

static void on_job(struct later *l)
{
	struct job *j = container_of(l, struct job, l);

	j->calls++;
	if (j->again-- > 0)
		later_add(j->n, l);
	if (j->other)
		later_cancel(&j->other->l);
}

static void on_job_free(struct later *l)
{
	free(container_of(l, struct job, l));
}

static void test_laters(struct net *n)
{
	struct job a = { .n = n }, b = { .n = n }, *f = calloc(1, sizeof(*f));

	later_init(&a.l, on_job);
	later_init(&b.l, on_job);
	later_init(&f->l, on_job_free);
	later_add(n, &a.l);
	later_add(n, &a.l);
	CHECK(net_timeout(n) == 0 && turn(n, -1) && a.calls == 1);
	CHECK(net_timeout(n) == -1 && turn(n, 0) && a.calls == 1);
	a.again = 3; /* added while running: in the same turn */
	later_add(n, &a.l);
	CHECK(turn(n, -1) && a.calls == 5);
	a.other = &b;
	later_add(n, &a.l);
	later_add(n, &b.l);
	later_add(n, &f->l);
	CHECK(turn(n, -1) && a.calls == 6 && b.calls == 0);
	later_add(n, &a.l);
	later_cancel(&a.l);
	later_cancel(&a.l);
	CHECK(net_timeout(n) == -1 && turn(n, 0) && a.calls == 6);
}

/* ---- TCP ---- */

static void test_tcp(struct net *n, const char *any, const char *host)
{
	struct addr at, bound, peer, local, from;
	struct tube c = { .far = -1 };
	int lfd, fd, cfd, opt = 0;
	socklen_t len = sizeof(opt);
	char text[ADDR_TEXT];

	CHECK(addr_parse(&at, str(any)));
	lfd = tcp_listen(&at, 8);
	if (lfd == -EADDRNOTAVAIL || lfd == -EAFNOSUPPORT)
		return; /* no IPv6 here */
	CHECK(lfd >= 0 && tcp_local_addr(lfd, &bound) && bound.port != 0 && bound.v6 == at.v6);
	CHECK(tcp_accept(lfd, &peer) == -EAGAIN);
	CHECK(addr_parse_ip(&at, str(host)));
	from = at;
	at.port = bound.port;
	cfd = tcp_connect(&at, &from);
	CHECK(cfd >= 0 && ev_add(n, &c.ev, cfd, EPOLLOUT, on_tube) == 0);
	CHECK(turn(n, 1000) && c.calls == 1 && tcp_connect_result(cfd) == 0);
	fd = tcp_accept(lfd, &peer);
	CHECK(fd >= 0 && tcp_local_addr(cfd, &local) && addr_eq(&local, &peer));
	CHECK(addr_same_ip(&peer, &from) && addr_format(&peer, text) == text);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &opt, &len) == 0 && opt);
	CHECK(getsockopt(cfd, IPPROTO_TCP, TCP_NODELAY, &opt, &len) == 0 && opt);
	CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
	CHECK((fcntl(cfd, F_GETFL) & O_NONBLOCK) && (fcntl(cfd, F_GETFD) & FD_CLOEXEC));
	ev_del(&c.ev);
	close(fd);
	close(cfd);

	/* A restart at once, with the old connection in TIME_WAIT. */
	close(lfd);
	CHECK(addr_parse(&at, str(any)));
	at.port = bound.port;
	lfd = tcp_listen(&at, 8);
	CHECK(lfd >= 0);
	CHECK(tcp_listen(&at, 8) == -EADDRINUSE);
	close(lfd);

	/* Nobody there: told either at once or when writable. */
	CHECK(addr_parse_ip(&at, str(host)));
	at.port = bound.port;
	cfd = tcp_connect(&at, NULL);
	if (cfd >= 0) {
		c.calls = 0;
		CHECK(ev_add(n, &c.ev, cfd, EPOLLOUT, on_tube) == 0);
		CHECK(turn(n, 1000) && c.calls == 1);
		CHECK(tcp_connect_result(cfd) < 0); /* qemu-user doesn't translate this one errno */
		ev_del(&c.ev);
		close(cfd);
	} else {
		CHECK(cfd == -ECONNREFUSED);
	}
	from.v6 = !at.v6;
	CHECK(tcp_connect(&at, &from) == -EAFNOSUPPORT);
}

/* IPv4 and IPv6 listeners share a port: that is what v6-only is for. */
static void test_both_families(void)
{
	struct addr a4, a6;
	int f4, f6;

	CHECK(addr_parse(&a6, str("[::]:0")) && addr_parse(&a4, str("0.0.0.0:0")));
	f6 = tcp_listen(&a6, 1);
	if (f6 < 0)
		return;
	CHECK(tcp_local_addr(f6, &a6));
	a4.port = a6.port;
	f4 = tcp_listen(&a4, 1);
	CHECK(f4 >= 0);
	close(f4);
	close(f6);
}

/* ---- budgets ---- */

/* Asks at random moments for random amounts over `total_ms`; what moved must
 * be the rate times the time, within the burst. */
static void run_budget(uint64_t rate, uint64_t total_ms, uint32_t step)
{
	struct budget b;
	uint64_t start = 123456789, now = start, moved = 0, due, burst = rate / 4 > 32768 ? rate / 4 : 32768;
	size_t got;
	int odd = 0;

	budget_init(&b, rate, now);
	while (now < start + total_ms) {
		now += 1 + random_below(step);
		while ((got = budget_ask(&b, (size_t)1 << 24, now)) > 0) {
			odd += got < 1400 || budget_wait_ms(&b) != 0;
			moved += got;
			budget_take(&b, got);
		}
		odd += budget_wait_ms(&b) == 0 || budget_wait_ms(&b) > 1400000 / rate + 1;
	}
	CHECK(odd == 0);
	due = rate * (now - start) / 1000;
	if (moved > due || moved + 1400 < due)
		fprintf(stderr, "rate %llu: moved %llu, due %llu\n", (unsigned long long)rate, (unsigned long long)moved,
			(unsigned long long)due);
	CHECK(moved <= due && moved + 1400 >= due);
	/* After a long sleep: one burst, not a flood. */
	now += UINT64_MAX / 4;
	got = budget_ask(&b, SIZE_MAX, now);
	CHECK(got == burst);
}

static void test_budget(void)
{
	struct budget b;

	budget_init(&b, 0, 5);
	CHECK(budget_ask(&b, SIZE_MAX, 5) == SIZE_MAX && budget_ask(&b, 1, 0) == 1);
	budget_take(&b, SIZE_MAX);
	CHECK(budget_ask(&b, 7, 5) == 7 && budget_wait_ms(&b) == 0);

	run_budget(333, 86400000, 60000);
	run_budget(1500, 3600000, 3);
	run_budget(99991, 3600000, 17);
	run_budget(10000000, 600000, 5);
	run_budget(1000000007, 60000, 2);

	/* Less than a useful amount is nothing, unless no more is wanted. */
	budget_init(&b, 1000, 0);
	CHECK(budget_ask(&b, 16384, 0) == 0 && budget_wait_ms(&b) == 1400);
	CHECK(budget_ask(&b, 16384, 1399) == 0 && budget_wait_ms(&b) == 1);
	CHECK(budget_ask(&b, 17, 1399) == 17);
	CHECK(budget_ask(&b, 16384, 1400) == 1400);
	/* Debt is paid back; a clock that steps back moves nothing. */
	budget_take(&b, 11400);
	CHECK(budget_ask(&b, 16384, 1000) == 0 && budget_wait_ms(&b) == 11400);
	CHECK(budget_ask(&b, 16384, 1400 + 11399) == 0);
	CHECK(budget_ask(&b, 16384, 1400 + 11400) == 1400);
	/* Extremes. */
	budget_init(&b, UINT64_MAX, 0);
	CHECK(budget_ask(&b, 16384, UINT64_MAX) == 16384);
	for (int i = 0; i < 1000; i++)
		budget_take(&b, SIZE_MAX);
	CHECK(budget_ask(&b, 1, UINT64_MAX) == 0 && budget_wait_ms(&b) > 0);
	budget_init(&b, 1, 0);
	for (int i = 0; i < 3000000; i++)
		budget_take(&b, SIZE_MAX); /* the debt stops growing before it overflows */
	CHECK(budget_wait_ms(&b) > 0 && budget_ask(&b, 1, 1000) == 0 && budget_ask(&b, 1, UINT64_MAX) == 1);
}

static void test_turn_lengths(struct net *n)
{
	struct net fresh;

	CHECK(net_init(&fresh) == 0);
	CHECK(net_turn_us(&fresh, 500) == 0 && net_turn_us(&fresh, 1000) == 0);
	CHECK(turn(&fresh, 0) && turn(&fresh, 0) && fresh.turns == 2);
	CHECK(net_turn_us(&fresh, 1000) == fresh.slowest_turn_us);
	CHECK(net_turn_us(&fresh, 0) <= net_turn_us(&fresh, 1000));
	net_release(&fresh);
	for (unsigned share = 0; share < 1000; share++)
		CHECK(net_turn_us(n, share) <= net_turn_us(n, share + 1));
	CHECK(net_turn_us(n, 1000) == n->slowest_turn_us);
}

int main(void)
{
	struct net n, other;
	int fds = count_fds();
	struct tick a, b;

	CHECK(net_init(&n) == 0);
	test_events(&n);
	test_crowd(&n);
	test_timers(&n);
	test_heap(&n);
	test_laters(&n);
	test_tcp(&n, "127.0.0.1:0", "127.0.0.1");
	test_tcp(&n, "[::1]:0", "::1");
	test_both_families();
	test_budget();
	CHECK(n.turns > 0 && n.slowest_turn_us > 0 && n.events > 0);
	test_turn_lengths(&n);

	/* Two reactors know nothing of each other. */
	CHECK(net_init(&other) == 0);
	tick_init(&n, &a, on_tick);
	tick_init(&other, &b, on_tick);
	timer_set(&n, &a.t, 0);
	timer_set(&other, &b.t, 0);
	CHECK(turn(&other, 0) && a.calls == 0 && b.calls == 1);
	CHECK(turn(&n, 0) && a.calls == 1 && b.calls == 1);
	net_release(&other);
	net_release(&n);
	CHECK(count_fds() == fds);
	return test_done();
}
