/* SPDX-License-Identifier: MIT */
/* disk.c - the loop's end of the disk: starts the keeper, owns the pool's list
 * of free frames, counts jobs in flight, hands completions to their stores.
 * Whatever is asked during a turn leaves together at its end, so the keeper
 * wakes once and finds full lanes. Start at disk_new() and take(). */
#include "disk/loop.h"
#include "disk/keeper.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_MIN (2ull << 20)
#define POOL_AUTO_MAX (64ull << 20)
#define POOL_MAX (1ull << 30)
#define TURN_MESSAGES 256 /* completions per turn; sockets want their share */
#define SYNC_MS 10000u

/* ---- frames ---- */

uint32_t disk_frame_get(struct disk *d)
{
	if (d->nfree == 0) {
		d->starved = true;
		return LOC_NONE;
	}
	return d->free_frames[--d->nfree];
}

void disk_frame_put(struct disk *d, uint32_t frame)
{
	d->free_frames[d->nfree++] = frame;
	if (d->starved)
		later_add(d->net, &d->at_end);
}

uint8_t *disk_frame(struct disk *d, uint32_t frame)
{
	return d->pool + (size_t)frame * BLOCK_LEN;
}

uint32_t disk_frames_free(const struct disk *d)
{
	return d->nfree;
}

uint32_t disk_frames_total(const struct disk *d)
{
	return d->nframes;
}

void disk_put_frames(struct disk *d, const uint32_t *locs, uint32_t n)
{
	while (n-- > 0) /* backwards: the first block's frame is the next to be used */
		if (locs[n] < d->nframes)
			disk_frame_put(d, locs[n]);
}

static uint64_t pool_bytes(const struct disk_opts *o)
{
	struct sysinfo si;
	struct rlimit as;
	uint64_t n = o->pool_bytes;

	if (n == 0) {
		n = POOL_AUTO_MAX;
		if (sysinfo(&si) == 0)
			n = min_u64(n, (uint64_t)si.totalram * si.mem_unit / 16);
		if (getrlimit(RLIMIT_AS, &as) == 0 && as.rlim_cur != RLIM_INFINITY)
			n = min_u64(n, as.rlim_cur / 8);
	}
	n = min_u64(n, POOL_MAX);
	return (n < POOL_MIN ? POOL_MIN : n) / BLOCK_LEN * BLOCK_LEN;
}

static int make_pool(struct disk *d)
{
	uint64_t n = pool_bytes(&d->opts);
	void *p;

	/* less when the address space is tight */
	while ((p = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) ==
	       MAP_FAILED) {
		if (n == POOL_MIN)
			return -errno;
		n = n / 2 < POOL_MIN ? POOL_MIN : n / 2 / BLOCK_LEN * BLOCK_LEN;
	}
	d->pool = p;
	d->nframes = d->nfree = (uint32_t)(n / BLOCK_LEN);
	d->free_frames = alloc_array(d->nframes, sizeof(*d->free_frames));
	if (!d->free_frames)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->nframes; i++)
		d->free_frames[i] = d->nframes - 1 - i;
	return 0;
}

/* ---- jobs ---- */

bool disk_jobs_room(const struct disk *d, uint32_t n)
{
	return n <= DISK_JOBS - d->njobs;
}

struct job *disk_job(struct disk *d, uint32_t nlocs)
{
	struct job *j;

	if (!disk_jobs_room(d, 1)) {
		d->starved = true;
		return NULL;
	}
	j = calloc(1, sizeof(*j) + nlocs * sizeof(uint32_t));
	if (!j) {
		d->starved = true;
		return NULL;
	}
	list_init(&j->on_parked);
	j->n = nlocs;
	return j;
}

void disk_job_start(struct disk *d, struct job *j)
{
	uint32_t slot = d->njobs++; /* free ones are mostly there: jobs end in order */

	while (d->jobs[slot % DISK_JOBS])
		slot++;
	j->slot = slot % DISK_JOBS;
	d->jobs[j->slot] = j;
}

void disk_job_end(struct disk *d, struct job *j)
{
	d->jobs[j->slot] = NULL;
	d->njobs--;
	if (d->starved)
		later_add(d->net, &d->at_end);
}

void disk_job_free(struct job *j)
{
	free(j->sums);
	free(j);
}

/* ---- texts ---- */

void disk_read_text(struct disk *d, const char *path, disk_text_fn *fn, void *arg)
{
	size_t n = strlen(path) + 1;
	struct text_ask *t = calloc(1, sizeof(*t));
	struct msg *m;

	if (!t) {
		fn(arg, -ENOMEM, slice_of(NULL, 0));
		return;
	}
	t->fn = fn;
	t->arg = arg;
	t->number = d->next_text++;
	t->err = n > MSG_BYTES_MAX ? -ENAMETOOLONG : 0;
	m = t->err ? NULL : link_put(&d->link, MSG_TEXT, (uint32_t)n);
	if (m) {
		m->job = t->number;
		memcpy(msg_tail(m), path, n);
	} else if (!t->err) {
		t->err = -EPIPE;
	}
	list_push_back(&d->texts, &t->on_texts);
	disk_send(d);
}

static void text_end(struct text_ask *t, int err)
{
	struct slice text = slice_of(err ? NULL : t->p, err ? 0 : t->got);

	list_remove(&t->on_texts);
	t->fn(t->arg, err, text);
	free(t->p);
	free(t);
}

/* Those that never left. */
static void fail_texts(struct disk *d)
{
	struct list failed, *at, *next;

	list_init(&failed);
	for (at = d->texts.next; at != &d->texts; at = next) {
		next = at->next;
		if (d->told_dead || container_of(at, struct text_ask, on_texts)->err) {
			list_remove(at);
			list_push_back(&failed, at);
		}
	}
	while (!list_empty(&failed)) {
		struct text_ask *t = container_of(failed.next, struct text_ask, on_texts);
		text_end(t, t->err ? t->err : -EPIPE);
	}
}

static int text_take(struct disk *d, struct msg *m)
{
	struct text_ask *t = NULL;

	for (struct list *at = d->texts.next; at != &d->texts && !t; at = at->next)
		if (container_of(at, struct text_ask, on_texts)->number == m->job)
			t = container_of(at, struct text_ask, on_texts);
	if (!t || m->err > 0 || m->total > 65536 || (t->p && m->total != t->total) || m->first != t->got ||
	    m->first > m->total || m->n > m->total - m->first)
		return -EPROTO;
	t->total = m->total;
	if (!t->p && !(t->p = alloc_array((size_t)m->total + 1, 1)))
		m->err = -ENOMEM;
	if (t->p)
		memcpy(t->p + t->got, msg_tail(m), m->n);
	t->got += m->n;
	if (m->err || t->got == t->total)
		text_end(t, m->err);
	return 0;
}

/* ---- the link ---- */

static int take(void *arg, struct msg *m)
{
	struct disk *d = arg;
	struct store *s = m->store < d->nstores ? d->stores[m->store] : NULL;

	switch (m->type) {
	case MSG_TEXTED:
		return text_take(d, m);
	case MSG_WINDOWED:
		return window_take(d, m);
	case MSG_LOADED:
		return run_take(d, m);
	default:
		return s ? store_take(s, m) : -EPROTO;
	}
}

/* The keeper's exit is waited for only if it has happened already. */
static void explain(struct disk *d, int err)
{
	int status = 0;

	if (err == -EPROTO) {
		snprintf(d->why, sizeof(d->why), "the keeper process talks nonsense");
		return;
	}
	if (d->pid > 0 && waitpid(d->pid, &status, WNOHANG) == d->pid) {
		d->pid = 0;
		if (WIFSIGNALED(status)) {
			snprintf(d->why, sizeof(d->why), "the keeper process was killed by signal %d", WTERMSIG(status));
			return;
		}
	}
	snprintf(d->why, sizeof(d->why), "the keeper process is gone");
}

static void died(struct disk *d, int err)
{
	if (d->dead)
		return;
	d->dead = d->link.broken = true;
	ev_del(&d->ev);
	/* its end of the link closes a moment before its exit can be seen */
	snprintf(d->why, sizeof(d->why), "%s", err == -EPROTO ? "nonsense" : "");
	timer_set(d->net, &d->wake, 20);
}

static void tell_dead(struct disk *d)
{
	if (d->told_dead)
		return;
	d->told_dead = true;
	explain(d, d->why[0] ? -EPROTO : 0);
	fail_texts(d);
	for (size_t i = 0; i < d->nstores; i++)
		if (d->stores[i])
			store_disk_died(d->stores[i]);
	if (d->opts.on_dead)
		d->opts.on_dead(d->opts.arg, d->why);
}

static void take_all(struct disk *d)
{
	int got = link_take(&d->link, TURN_MESSAGES, take, d);

	if (got < 0 || d->link.broken)
		died(d, got);
}

static void on_link(struct ev *ev, uint32_t events)
{
	struct disk *d = container_of(ev, struct disk, ev);

	if (events & EPOLLIN)
		take_all(d);
	if (events & EPOLLOUT)
		disk_send(d);
}

/* In one process the keeper's turn is part of the loop's. */
static void keeper_inline(struct disk *d)
{
	int ms = keeper_turn(d->keeper);

	take_all(d);
	if (!d->dead && ms >= 0)
		timer_set(d->net, &d->wake, (uint64_t)ms);
}

static void on_wake(struct timer *t)
{
	struct disk *d = container_of(t, struct disk, wake);

	if (d->dead)
		tell_dead(d);
	else
		keeper_inline(d);
}

static void on_end(struct later *l)
{
	struct disk *d = container_of(l, struct disk, at_end);

	if (!d->dead && d->keeper) {
		if (link_waits(&d->link))
			keeper_inline(d);
		d->nopens = 0;
		store_send_unsent(d); /* and comes here again */
	} else if (!d->dead) {
		int err;

		while ((err = link_flush(&d->link)) == 0 && !list_empty(&d->unsent)) {
			d->nopens = 0;
			store_send_unsent(d);
		}
		if (err == 0)
			d->nopens = 0;
		if (err == -EPIPE)
			died(d, err);
		else
			ev_mod(&d->ev, err ? EPOLLIN | EPOLLOUT : EPOLLIN);
	}
	fail_texts(d);
	if (d->starved && d->nfree && disk_jobs_room(d, 1)) {
		d->starved = false;
		if (d->opts.on_frames)
			d->opts.on_frames(d->opts.arg);
	}
}

void disk_send(struct disk *d)
{
	if (d->link.broken)
		died(d, -EPIPE);
	later_add(d->net, &d->at_end);
}

/* ---- start and end ---- */

static int start_keeper(struct disk *d)
{
	struct keeper_opts o = { d->pool, d->nframes, d->opts.alloc, d->opts.sync_ms };
	sigset_t all, before;
	struct keeper k;
	struct link far;
	int err = link_pair(&d->link, &far);

	if (err)
		return err;
	/* no handler of the caller's may run in the child */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	d->pid = fork();
	if (d->pid == 0) {
		link_release(&d->link);
		if (keeper_init(&k, &o) < 0)
			_exit(1);
		k.link = far;
		keeper_live(&k);
	}
	err = d->pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	link_release(&far);
	return err ? err : ev_add(d->net, &d->ev, d->link.fd, EPOLLIN, on_link);
}

static int start_inline(struct disk *d)
{
	struct keeper_opts o = { d->pool, d->nframes, d->opts.alloc, d->opts.sync_ms };
	int err;

	d->keeper = calloc(1, sizeof(*d->keeper));
	if (!d->keeper)
		return -ENOMEM;
	err = keeper_init(d->keeper, &o);
	if (err) {
		free(d->keeper);
		d->keeper = NULL;
		return err;
	}
	link_join(&d->link, &d->keeper->link);
	return 0;
}

int disk_new(struct disk **out, struct net *net, const struct disk_opts *opts)
{
	struct disk *d = calloc(1, sizeof(*d));
	int err;

	*out = NULL;
	if (!d)
		return -ENOMEM;
	d->net = net;
	d->opts = *opts;
	if (!d->opts.sync_ms)
		d->opts.sync_ms = SYNC_MS;
	d->link.fd = -1;
	d->pipe[0] = d->pipe[1] = -1;
	list_init(&d->texts);
	list_init(&d->unsent);
	run_init(d);
	later_init(&d->at_end, on_end);
	timer_init(&d->wake, on_wake);
	err = make_pool(d);
	if (!err)
		err = opts->one_process ? start_inline(d) : start_keeper(d);
	if (err) {
		disk_free(d);
		return err;
	}
	*out = d;
	return 0;
}

int disk_keeper_pid(const struct disk *d)
{
	return (int)d->pid;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	if (!d->dead && !d->keeper && link_flush(&d->link) < 0) {
		/* the keeper lags behind or is gone: what it has, it finishes */
	}
	ev_del(&d->ev);
	timer_clear(d->net, &d->wake);
	later_cancel(&d->at_end);
	if (d->keeper) {
		keeper_turn(d->keeper);
		keeper_release(d->keeper);
		free(d->keeper);
	}
	link_release(&d->link);
	for (size_t i = 0; i < d->nstores; i++)
		if (d->stores[i])
			store_free(d->stores[i]);
	while (!list_empty(&d->texts)) {
		struct text_ask *t = container_of(d->texts.next, struct text_ask, on_texts);
		list_remove(&t->on_texts);
		free(t->p);
		free(t);
	}
	for (size_t i = 0; i < DISK_JOBS; i++)
		if (d->jobs[i])
			disk_job_free(d->jobs[i]);
	run_release(d);
	for (size_t i = 0; i < 2; i++)
		if (d->pipe[i] >= 0)
			close(d->pipe[i]);
	if (d->pid > 0)
		waitpid(d->pid, NULL, WNOHANG); /* mostly too early: then it is the host's, or ours at exit */
	free(d->stores);
	free(d->free_frames);
	if (d->pool)
		munmap(d->pool, (size_t)d->nframes * BLOCK_LEN);
	free(d);
}
