/* SPDX-License-Identifier: MIT */
/* load.c - a run of the load generator: one epoll loop, N sockets, one machine
 * (conn.c) behind each. Here are making connections, reading and writing, who is
 * given up when, the end, and the report. Start at bt_load_run().
 *
 * A connection that fails before both handshakes are through is tried again, with
 * a pause, until the run's time-out: the target may still be looking at its data. One
 * that is lost later is not: that would hide what is to be measured. The run ends
 * when all is transferred, its time is over, all connections are gone, or no block
 * has moved for the time-out, so that no target can hold it. Requests wait until all
 * connections are made (or have failed TRIES times), so that all are measured. */
#include "load/load.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	PIPELINE_GET = 64,
	PIPELINE_SEED = 500,
	PIPELINE_MOST = 4096,
	DIAL = 8, /* libtorrent's backlog is 5: more at once wait a second for their second SYN */
	TIMEOUT_S = 30,
	HANDSHAKE_MS = 10000,
	RETRY_MS = 200, /* doubled by each failure, up to RETRY_MOST_MS */
	RETRY_MOST_MS = 2000,
	TRIES = 3, /* failures after which the others begin without it */
	FD_RESERVE = 16,
	BACKLOG = 1024,
	ACCEPTS = 64,
	WRITES = 4, /* writev calls per connection and turn: 2 MiB */
};
_Static_assert(PIPELINE_MOST <= LOAD_WANTS, "what we announce must fit");

enum link_state { LINK_IDLE, LINK_WAITING, LINK_DIALING, LINK_READY, LINK_OVER };

struct load_run;
struct load_link {
	struct load_run *run;
	struct load_conn conn;
	struct ev ev;
	struct timer timer;  /* handshake, or the pause before the next attempt */
	struct list on_dial; /* run->to_dial */
	enum link_state state;
	int fd;
	bool was_ready, settled;
	uint32_t fails;
	uint64_t begin_us;   /* of this attempt */
	uint8_t *rest;       /* the beginning of a message */
	size_t nrest, rest_cap, need;
};
struct load_listener {
	struct load_run *run;
	struct ev ev;
	int fd;
};

struct load_run {
	const struct bt_load *opts;
	struct bt_load_report *report;
	struct net net;
	struct load_job job;
	struct addr target;
	struct load_range sources;
	struct load_link *links;
	uint32_t nlinks, ndialing, dial, nready, nover;
	uint32_t lost[2];  /* connections that were ready and went: leechers, seeders */
	uint32_t nsettled; /* links that were ready once, or failed TRIES times */
	struct load_listener *listeners;
	uint32_t nlisteners;
	struct list to_dial;
	struct timer second, end, stall;
	uint64_t begin_us, ready_us;  /* first attempt; last handshake */
	uint64_t second_us;           /* since when the current second runs, 0 = not begun */
	struct bt_load_second last;   /* totals at that time */
	uint64_t missing;             /* bytes that the target had not at the first request */
	uint64_t seen, timeout_ms;    /* blocks at the last look of `stall` */
	struct load_hist handshake;
	size_t seconds_cap;
	bool over, target_done;
	int fatal;                    /* -errno: the machine can't do it */
};

static void link_flush(struct load_link *l);

static uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void finish(struct load_run *r, enum bt_load_end end)
{
	if (!r->over)
		r->report->end = end;
	r->over = true;
}

static bool all_served(const struct load_run *r)
{
	return r->opts->mode != BT_LOAD_GET && r->job.nhas == r->job.limits.pieces;
}

/* ---- the end of a connection ---- */

static void dial_more(struct load_run *r);

static void settle(struct load_link *l)
{
	l->run->nsettled += !l->settled;
	l->settled = true;
}

static const char *why_of(int err)
{
	return err == EPIPE || err == ECONNRESET ? "closed by the target" : strerror(err);
}

static void note(struct load_run *r, const char *why)
{
	if (!r->report->why[0])
		snprintf(r->report->why, sizeof(r->report->why), "%s", why);
}

/* An attempt to connect came to nothing. */
static void link_retry(struct load_link *l, const char *why)
{
	struct load_run *r = l->run;
	uint64_t wait = (uint64_t)RETRY_MS << min_size(l->fails, 4);

	note(r, why);
	r->report->refused++;
	if (++l->fails == TRIES)
		settle(l);
	l->state = r->opts->target ? LINK_WAITING : LINK_IDLE;
	if (r->opts->target)
		timer_set(&r->net, &l->timer, min_u64(wait, RETRY_MOST_MS));
}

static void link_close(struct load_link *l, const char *why)
{
	struct load_run *r = l->run;

	ev_del(&l->ev);
	close(l->fd);
	l->fd = -1;
	l->nrest = 0;
	load_conn_release(&l->conn);
	timer_clear(&r->net, &l->timer);
	if (l->state == LINK_DIALING) {
		r->ndialing--;
		link_retry(l, why);
		dial_more(r);
		return;
	}
	l->state = LINK_OVER;
	r->nready--;
	r->nover++;
	r->lost[l->conn.seed]++;
	if (!all_served(r))
		note(r, why);
}

/* ---- bytes in and out ---- */

static void on_link_ready(struct load_link *l, uint64_t now_us)
{
	struct load_run *r = l->run;

	r->ndialing--;
	r->nready++;
	r->report->connected += !l->was_ready;
	r->ready_us = now_us;
	l->was_ready = true;
	settle(l);
	l->state = LINK_READY;
	timer_clear(&r->net, &l->timer);
	load_hist_add(&r->handshake, now_us - l->begin_us);
	dial_more(r);
}

static bool keep_rest(struct load_link *l, struct slice rest)
{
	if (rest.n > l->rest_cap) {
		size_t cap = rest.n < 4096 ? 4096 : LOAD_FRAME > rest.n ? LOAD_FRAME : rest.n;
		uint8_t *p = malloc(cap);
		if (!p)
			return false;
		free(l->rest);
		l->rest = p;
		l->rest_cap = cap;
	}
	if (rest.n > 0)
		memcpy(l->rest, rest.p, rest.n);
	l->nrest = rest.n;
	return true;
}

/* What is left of the last read comes first; while nothing but blocks comes, a read
 * of LOAD_READ bytes in all ends at the end of one. */
static void link_read(struct load_link *l)
{
	struct load_run *r = l->run;
	size_t room = l->need > LOAD_READ ? l->need : LOAD_READ, used;
	uint8_t *p = load_check_room(&r->job.check, room);
	ssize_t n;
	uint64_t now;

	if (!p || l->nrest >= room) {
		link_close(l, "message too long");
		return;
	}
	if (l->nrest > 0)
		memcpy(p, l->rest, l->nrest);
	n = read(l->fd, p + l->nrest, room - l->nrest);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_close(l, why_of(n == 0 ? EPIPE : errno));
		return;
	}
	now = clock_us();
	n += (ssize_t)l->nrest;
	used = load_conn_input(&l->conn, slice_of(p, (size_t)n), now, &l->need);
	if (l->state == LINK_DIALING && l->conn.ready)
		on_link_ready(l, now);
	load_check_keep(&r->job.check, used);
	if (l->conn.why || !keep_rest(l, slice_of(p + used, (size_t)n - used)))
		link_close(l, l->conn.why ? l->conn.why : "out of memory");
	else
		link_flush(l);
}

static void link_flush(struct load_link *l)
{
	struct load_conn *c = &l->conn;
	struct load_heads heads;
	struct iovec v[LOAD_IOV];

	for (int i = 0; i < WRITES && (c->out.n > 0 || c->want_n > 0); i++) {
		size_t parts = load_conn_output(c, v, &heads), whole = 0;
		ssize_t n;

		for (size_t k = 0; k < parts; k++)
			whole += v[k].iov_len;
		n = writev(l->fd, v, (int)parts);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			link_close(l, why_of(errno));
			return;
		}
		if (n > 0)
			load_conn_wrote(c, (size_t)n, clock_us());
		if (n < 0 || (size_t)n < whole)
			break;
	}
	ev_mod(&l->ev, EPOLLIN | (c->out.n > 0 || c->want_n > 0 ? EPOLLOUT : 0u));
}

static void on_link(struct ev *ev, uint32_t events)
{
	struct load_link *l = container_of(ev, struct load_link, ev);

	if (l->state == LINK_DIALING && !l->conn.greeted && l->run->opts->target) {
		int err = tcp_connect_result(l->fd);
		if (err < 0) {
			link_close(l, why_of(-err));
			return;
		}
		load_conn_greet(&l->conn);
		link_flush(l);
		return;
	}
	if (events & EPOLLOUT)
		link_flush(l);
	if ((events & EPOLLIN) && l->fd >= 0)
		link_read(l);
}

/* ---- making connections ---- */

/* The machine can't make as many: nothing to measure. */
static void fatal(struct load_run *r, int err)
{
	r->fatal = r->fatal ? r->fatal : err;
	r->over = true;
}

static void link_begin(struct load_link *l, int fd, uint32_t events)
{
	struct load_run *r = l->run;
	uint32_t i = (uint32_t)(l - r->links);
	bool seed = r->opts->mode == BT_LOAD_SEED || (r->opts->mode == BT_LOAD_DUAL && i % 2);
	uint64_t bytes = l->conn.bytes;
	int err = ev_add(&r->net, &l->ev, fd, events, on_link);

	if (err < 0) {
		close(fd);
		fatal(r, err);
		return;
	}
	load_conn_init(&l->conn, &r->job, seed);
	l->conn.bytes = bytes;
	l->need = HANDSHAKE_LEN;
	l->fd = fd;
	l->state = LINK_DIALING;
	l->begin_us = clock_us();
	if (!r->begin_us)
		r->begin_us = l->begin_us;
	r->ndialing++;
	timer_set(&r->net, &l->timer, HANDSHAKE_MS);
}

static void dial(struct load_link *l)
{
	struct load_run *r = l->run;
	struct addr from = load_range_at(&r->sources, (uint32_t)(l - r->links));
	int fd = tcp_connect(&r->target, r->sources.n ? &from : NULL);

	if (fd >= 0)
		link_begin(l, fd, EPOLLOUT);
	else if (fd == -ECONNREFUSED || fd == -ENETUNREACH || fd == -EHOSTUNREACH || fd == -ETIMEDOUT || fd == -ECONNRESET)
		link_retry(l, strerror(-fd));
	else
		fatal(r, fd);
}

static void dial_more(struct load_run *r)
{
	while (!r->over && r->ndialing < r->dial && !list_empty(&r->to_dial)) {
		struct load_link *l = container_of(r->to_dial.next, struct load_link, on_dial);
		list_remove(&l->on_dial);
		dial(l);
	}
}

static void on_link_timer(struct timer *t)
{
	struct load_link *l = container_of(t, struct load_link, timer);

	if (l->state == LINK_DIALING) {
		link_close(l, "no handshake within 10 s");
		return;
	}
	list_push_back(&l->run->to_dial, &l->on_dial);
	dial_more(l->run);
}

static void on_accept(struct ev *ev, uint32_t events)
{
	struct load_run *r = container_of(ev, struct load_listener, ev)->run;
	uint32_t next = 0;

	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		struct addr from;
		int fd = tcp_accept(ev->fd, &from);

		if (fd < 0)
			return;
		while (next < r->nlinks && r->links[next].state != LINK_IDLE)
			next++;
		if (next == r->nlinks)
			close(fd);
		else
			link_begin(&r->links[next], fd, EPOLLIN);
	}
}

/* One listener on each source address, or one on all. */
static int listen_all(struct load_run *r, char *err, size_t err_size)
{
	uint32_t n = r->sources.n ? r->sources.n : 1;

	r->listeners = alloc_array(n, sizeof(*r->listeners));
	if (!r->listeners)
		return -ENOMEM;
	for (; r->nlisteners < n; r->nlisteners++) {
		struct load_listener *l = &r->listeners[r->nlisteners];
		struct addr at = load_range_at(&r->sources, r->nlisteners);
		char text[ADDR_TEXT];
		int res;

		at.port = r->opts->port;
		l->run = r;
		l->fd = tcp_listen(&at, BACKLOG);
		res = l->fd < 0 ? l->fd : ev_add(&r->net, &l->ev, l->fd, EPOLLIN, on_accept);
		if (res < 0) {
			if (l->fd >= 0)
				close(l->fd);
			snprintf(err, err_size, "%s: %s", addr_format(&at, text), strerror(-res));
			return res;
		}
	}
	return 0;
}

/* ---- time ---- */

static void tell_second(struct load_run *r, uint64_t now_us)
{
	struct bt_load_report *report = r->report;
	struct bt_load_second s = { (uint32_t)((now_us - r->second_us) / 1000), r->job.down.bytes - r->last.down,
				    r->job.up.bytes - r->last.up, r->nready };
	void *seconds = report->seconds;

	if (!r->second_us || (s.ms == 0 && s.down + s.up == 0))
		return;
	r->second_us = now_us;
	r->last.down = r->job.down.bytes;
	r->last.up = r->job.up.bytes;
	if (grow_array(&seconds, &r->seconds_cap, report->nseconds + 1, sizeof(s))) {
		report->seconds = seconds;
		report->seconds[report->nseconds++] = s;
	}
	if (r->opts->on_turn && !r->opts->on_turn(r->opts->arg, &s))
		finish(r, BT_LOAD_STOPPED);
}

static void on_second(struct timer *t)
{
	struct load_run *r = container_of(t, struct load_run, second);

	tell_second(r, clock_us());
	timer_set(&r->net, &r->second, 1000);
}

static void on_end(struct timer *t) { finish(container_of(t, struct load_run, end), BT_LOAD_TIME); }

static void on_stall(struct timer *t)
{
	struct load_run *r = container_of(t, struct load_run, stall);
	uint64_t now = r->job.down.blocks + r->job.up.blocks + r->report->connected;

	if (now == r->seen)
		finish(r, all_served(r) ? BT_LOAD_DONE : BT_LOAD_STALLED);
	r->seen = now;
	timer_set(&r->net, &r->stall, r->timeout_ms);
}

/* ---- the run ---- */

/* Some clients tell seeders of no piece they have got: they leave, or want nothing more. */
static bool got_all_it_wants(const struct load_run *r)
{
	return all_served(r) || (r->opts->mode != BT_LOAD_GET && r->second_us && r->job.up.bytes >= r->missing &&
				 (r->nready == 0 || r->job.ninterested == 0));
}

static void release_hold(struct load_run *r)
{
	r->job.hold = false;
	for (uint32_t i = 0; i < r->nlinks; i++) {
		struct load_link *l = &r->links[i];

		if (l->state != LINK_READY)
			continue;
		load_conn_go(&l->conn, clock_us());
		link_flush(l);
	}
}

static void look(struct load_run *r)
{
	struct load_job *j = &r->job;
	struct load_conn *c;

	if (j->hold && (!r->opts->target || r->nsettled == r->nlinks))
		release_hold(r);
	while ((c = load_job_feed(j)) != NULL) {
		load_conn_ask(c, clock_us());
		link_flush(container_of(c, struct load_link, conn));
	}
	if (j->first_us && !r->second_us) {
		r->second_us = j->first_us;
		r->missing = j->meta->size - min_u64(j->meta->size, j->nhas * j->meta->piece_len);
		timer_set(&r->net, &r->second, 1000);
		if (r->opts->seconds)
			timer_set(&r->net, &r->end, (uint64_t)r->opts->seconds * 1000);
	}
	if (r->opts->mode == BT_LOAD_GET ? !r->opts->seconds && j->down.bytes >= j->meta->size : got_all_it_wants(r)) {
		load_check_flush(&j->check);
		if (r->opts->mode == BT_LOAD_SEED || load_job_got_all(j) || r->nready == 0)
			finish(r, BT_LOAD_DONE);
	}
	if (r->nover == r->nlinks)
		finish(r, BT_LOAD_CLOSED);
	if (r->opts->on_turn && !r->opts->on_turn(r->opts->arg, NULL))
		finish(r, BT_LOAD_STOPPED);
}

static void raise_descriptors(uint64_t want)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < want) {
		lim.rlim_cur = (rlim_t)min_u64(want, lim.rlim_max);
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

static int prepare(struct load_run *r, char *err, size_t err_size)
{
	const struct bt_load *o = r->opts;
	uint32_t pipeline = o->pipeline ? o->pipeline : o->mode == BT_LOAD_SEED ? PIPELINE_SEED : PIPELINE_GET;
	int res = load_job_init(&r->job, o->meta, o->no_verify);

	if (res < 0)
		return res;
	r->job.pipeline = (uint32_t)min_size(pipeline, PIPELINE_MOST);
	r->job.again = o->seconds > 0;
	r->job.random = o->random;
	r->job.hold = true;
	if (o->mode != BT_LOAD_GET && (res = load_source_open(&r->job.source, o->meta, o->data, err, err_size)) < 0)
		return res;
	if (o->source && !load_range_parse(&r->sources, o->source)) {
		snprintf(err, err_size, "the source is no address, nor a range like 127.0.0.2-127.0.0.50");
		return -EINVAL;
	}
	if (o->target) {
		res = load_resolve(&r->net, o->target, o->source ? &r->sources.first : NULL, &r->target, err, err_size);
		if (res < 0)
			return res;
	}
	r->nlinks = o->connections ? o->connections : 1;
	r->dial = o->dial ? o->dial : DIAL;
	r->timeout_ms = (o->timeout ? o->timeout : TIMEOUT_S) * UINT64_C(1000);
	raise_descriptors((uint64_t)r->nlinks + r->sources.n + FD_RESERVE);
	r->links = alloc_array(r->nlinks, sizeof(*r->links));
	return r->links ? 0 : -ENOMEM;
}

static int begin(struct load_run *r, char *err, size_t err_size)
{
	for (uint32_t i = 0; i < r->nlinks; i++) {
		struct load_link *l = &r->links[i];

		l->run = r;
		l->fd = -1;
		timer_init(&l->timer, on_link_timer);
		list_init(&l->on_dial);
		load_conn_init(&l->conn, &r->job, false);
		if (r->opts->target) {
			l->state = LINK_WAITING;
			list_push_back(&r->to_dial, &l->on_dial);
		}
	}
	timer_set(&r->net, &r->stall, r->timeout_ms);
	if (!r->opts->target)
		return listen_all(r, err, err_size);
	dial_more(r);
	return 0;
}

static void tell_side(struct load_run *r, const struct load_side *s, bool seed, struct bt_load_side *out)
{
	uint64_t *bytes = alloc_array(r->nlinks, sizeof(*bytes));
	size_t n = 0;

	*out = (struct bt_load_side){ .bytes = s->bytes, .blocks = s->blocks, .wasted = s->wasted, .deepest = s->deepest };
	load_hist_tell(&s->latency, &out->latency);
	for (uint32_t i = 0; bytes && i < r->nlinks; i++)
		if (r->links[i].was_ready && r->links[i].conn.seed == seed)
			bytes[n++] = r->links[i].conn.bytes;
	if (bytes)
		load_fairness(bytes, n, out);
	free(bytes);
}

static uint64_t us_of(const struct timeval *t) { return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec; }

static void tell(struct load_run *r, const struct rusage *before)
{
	struct bt_load_report *report = r->report;
	const struct load_job *j = &r->job;
	struct rusage after;

	getrusage(RUSAGE_SELF, &after);
	report->cpu_user_us = us_of(&after.ru_utime) - us_of(&before->ru_utime);
	report->cpu_system_us = us_of(&after.ru_stime) - us_of(&before->ru_stime);
	if (report->end == BT_LOAD_CLOSED && got_all_it_wants(r))
		report->end = BT_LOAD_DONE;
	/* Who has everything needs no seeders, and may leave. */
	report->lost = got_all_it_wants(r) ? 0 : r->lost[true];
	if (report->end != BT_LOAD_DONE || r->opts->mode == BT_LOAD_GET || r->nready > 0)
		report->lost += r->lost[false];
	report->asked = r->nlinks;
	report->elapsed_us = j->last_us > j->first_us && j->first_us ? j->last_us - j->first_us : 0;
	if (r->ready_us > r->begin_us)
		report->connects_per_s = (double)report->connected * 1e6 / (double)(r->ready_us - r->begin_us);
	load_hist_tell(&r->handshake, &report->handshake);
	tell_side(r, &j->down, false, &report->down);
	tell_side(r, &j->up, true, &report->up);
	report->pieces_good = j->check.good;
	report->pieces_bad = j->check.bad;
	report->pieces_target = j->nhas;
}

static void run_release(struct load_run *r)
{
	for (uint32_t i = 0; r->links && i < r->nlinks; i++) {
		struct load_link *l = &r->links[i];

		if (l->fd < 0 || !l->run) {
			free(l->rest);
			continue;
		}
		ev_del(&l->ev);
		close(l->fd);
		timer_clear(&r->net, &l->timer);
		load_conn_release(&l->conn);
		free(l->rest);
	}
	for (uint32_t i = 0; i < r->nlisteners; i++) {
		ev_del(&r->listeners[i].ev);
		close(r->listeners[i].fd);
	}
	free(r->links);
	free(r->listeners);
	load_job_release(&r->job);
	net_release(&r->net);
}

int bt_load_run(const struct bt_load *opts, struct bt_load_report *report, char *err, size_t err_size)
{
	struct load_run *r = calloc(1, sizeof(*r)); /* the histograms are no guests for a stack */
	struct rusage before;
	int res;

	memset(report, 0, sizeof(*report));
	snprintf(err, err_size, "out of memory");
	if (!r)
		return -ENOMEM;
	r->opts = opts;
	r->report = report;
	list_init(&r->to_dial);
	timer_init(&r->second, on_second);
	timer_init(&r->end, on_end);
	timer_init(&r->stall, on_stall);
	res = net_init(&r->net);
	if (res < 0) {
		snprintf(err, err_size, "epoll: %s", strerror(-res));
		free(r);
		return res;
	}
	res = prepare(r, err, err_size);
	getrusage(RUSAGE_SELF, &before);
	if (res == 0)
		res = begin(r, err, err_size);
	while (res == 0 && !r->over) {
		res = net_turn(&r->net, -1);
		if (res == 0)
			look(r);
	}
	if (res == 0 && r->fatal) {
		res = r->fatal;
		snprintf(err, err_size, "cannot make %u connections: %s", r->nlinks, strerror(-res));
	}
	if (res == 0) {
		load_check_flush(&r->job.check);
		tell_second(r, r->job.last_us > r->second_us ? r->job.last_us : r->second_us);
		tell(r, &before);
	}
	run_release(r);
	free(r);
	return res;
}

void bt_load_release(struct bt_load_report *report)
{
	free(report->seconds);
	report->seconds = NULL;
	report->nseconds = 0;
}
