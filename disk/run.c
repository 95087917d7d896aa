/* SPDX-License-Identifier: MIT */
/* run.c - reading for upload. The loop keeps some descriptors the keeper sent
 * and asks the kernel, by reading one byte with RWF_NOWAIT at either end of a
 * run, whether the page cache has it; if not, the keeper loads it while others
 * are served. Where the kernel can't say (old ones, some file systems), what
 * was loaded a moment ago counts as there. Start at store_run(). */
#include "bt.h"
#include "disk/loop.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOWAIT 8 /* RWF_NOWAIT, younger than some headers */
#define RUN_MAX (1u << 20)       /* sent without asking again */
#define LOAD_ROUND (128u << 10)  /* the least worth a job */
#define RECENT_MS 1000
#define RECENT_TRIES 2           /* loaded, and still not there: perhaps it never says so */

void run_init(struct disk *d)
{
	list_init(&d->loads);
	for (size_t i = 0; i < DISK_FDS; i++)
		d->fds[i].fd = -1;
}

/* ---- descriptors ---- */

static struct open_fd *fd_find(struct store *s, uint32_t file)
{
	for (struct open_fd *f = s->d->fds; f < s->d->fds + DISK_FDS; f++)
		if (f->fd >= 0 && f->s == s && f->file == file)
			return f;
	return NULL;
}

static void fd_close(struct open_fd *f)
{
	close(f->fd);
	*f = (struct open_fd){ .fd = -1 };
}

/* A free place, or the one used longest ago; one given out in this turn must
 * stay open until its end. */
static struct open_fd *fd_place(struct disk *d)
{
	struct open_fd *old = NULL;

	for (struct open_fd *f = d->fds; f < d->fds + DISK_FDS; f++) {
		if (f->fd < 0)
			return f;
		if (f->used != d->net->turns && (!old || f->used < old->used))
			old = f;
	}
	if (old)
		fd_close(old);
	return old;
}

static void fd_keep(struct store *s, uint32_t file, struct msg *m)
{
	struct open_fd *f = m->fd >= 0 && !fd_find(s, file) ? fd_place(s->d) : NULL;

	if (!f)
		return;
	*f = (struct open_fd){ .fd = m->fd, .s = s, .file = file, .in_memory = m->flags & MSG_IN_MEMORY };
	m->fd = -1;
}

/* ---- is it there? ---- */

static bool loaded_lately(struct store *s, uint32_t file, uint64_t off, uint64_t len, uint32_t min_tries)
{
	for (struct recent_load *r = s->d->recent; r < s->d->recent + DISK_LOADS; r++) {
		if (r->s != s || r->file != file || off < r->off || off + len > r->off + r->len ||
		    s->d->net->now_ms > r->at_ms + RECENT_MS)
			continue;
		if (r->tries++ >= min_tries)
			return true;
	}
	return false;
}

/* 1 = in the page cache, 0 = not, -1 = can't tell */
static int ask_kernel(int fd, uint64_t off)
{
	char byte;
	struct iovec one = { &byte, 1 };
	/* not every libc has preadv2; the two halves of off are right for both sizes of long */
	long r = syscall(SYS_preadv2, fd, &one, 1L, (long)off, (long)(off >> 32), NOWAIT);

	if (r == 1)
		return 1;
	return r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) ? -1 : 0;
}

static bool resident(struct store *s, struct open_fd *f, uint64_t off, size_t len)
{
	int there;

	if (f->in_memory)
		return true;
	there = f->no_nowait ? -1 : ask_kernel(f->fd, off);
	if (there > 0 && len > 1)
		there = ask_kernel(f->fd, off + len - 1);
	if (there > 0)
		return true;
	f->no_nowait = there < 0;
	return loaded_lately(s, f->file, off, len, there < 0 ? 0 : RECENT_TRIES);
}

/* ---- loading ---- */

static void send_loads(struct disk *d)
{
	for (uint32_t i = 0; i < DISK_LOADS && !list_empty(&d->loads); i++) {
		struct load *l = container_of(d->loads.next, struct load, on_loads);
		struct msg *m = d->sent[i] ? NULL : link_put(&d->link, MSG_LOAD, 0);
		if (!m)
			continue;
		list_remove(&l->on_loads);
		d->sent[i] = l;
		m->store = l->s->id;
		m->job = i;
		m->index = l->file;
		m->off = l->off;
		m->size = l->len;
		m->total = l->need;
		m->flags = fd_find(l->s, l->file) ? 0 : MSG_WANT_FD;
		disk_send(d);
	}
}

static bool covers(const struct load *l, const struct store *s, uint32_t file, uint64_t off, uint64_t len)
{
	return l->s == s && l->file == file && off >= l->off && off + len <= l->off + l->len;
}

static void load(struct store *s, uint32_t file, uint64_t off, size_t len)
{
	struct disk *d = s->d;
	struct load *l;

	for (uint32_t i = 0; i < DISK_LOADS; i++)
		if (d->sent[i] && covers(d->sent[i], s, file, off, len))
			return;
	for (struct list *at = d->loads.next; at != &d->loads; at = at->next)
		if (covers(container_of(at, struct load, on_loads), s, file, off, len))
			return;
	l = calloc(1, sizeof(*l));
	if (!l)
		return; /* the peer's next request asks again */
	l->s = s;
	l->file = file;
	l->off = off;
	l->need = (uint32_t)len;
	l->len = min_u64((len + LOAD_ROUND - 1) / LOAD_ROUND * LOAD_ROUND, s->flat.files[file].len - off);
	list_push_back(&d->loads, &l->on_loads);
	send_loads(d);
}

enum store_ready store_run(struct store *s, uint64_t off, size_t want, struct store_run *out)
{
	const struct flat_file *f;
	struct open_fd *open;
	uint32_t file;
	uint64_t in;
	size_t len;

	if (s->dead || s->closing || !s->open || s->d->dead || off >= s->flat.h->size || want == 0)
		return STORE_GONE;
	file = flat_at(&s->flat, off);
	f = &s->flat.files[file];
	in = off - f->off;
	len = (size_t)min_u64(min_size(want, RUN_MAX), f->len - in);
	*out = (struct store_run){ .fd = -1, .off = in, .len = len };
	if (f->attr & BT_FILE_PAD)
		return STORE_READY;
	open = fd_find(s, file);
	if (open && resident(s, open, in, len)) {
		open->used = s->d->net->turns;
		out->fd = open->fd;
		return STORE_READY;
	}
	load(s, file, in, len);
	return STORE_WAIT;
}

/* Every piece the range touches may have somebody waiting for it. */
static void tell_loaded(struct store *s, const struct load *l)
{
	uint64_t off = s->flat.files[l->file].off + l->off;
	uint64_t first = off / s->flat.h->piece_len, last = (off + l->len - 1) / s->flat.h->piece_len;

	for (uint64_t i = first; i <= last; i++)
		s->spec.on_loaded(s->spec.arg, (uint32_t)i);
}

int run_take(struct disk *d, struct msg *m)
{
	struct load *l = m->job < DISK_LOADS ? d->sent[m->job] : NULL;
	struct recent_load *r = &d->recent[d->next_recent++ % DISK_LOADS];

	if (!l)
		return -EPROTO;
	d->sent[m->job] = NULL;
	if (l->s && !m->err) {
		fd_keep(l->s, l->file, m);
		*r = (struct recent_load){ .s = l->s, .file = l->file, .off = l->off, .len = l->len, .at_ms = d->net->now_ms };
		tell_loaded(l->s, l);
	}
	free(l);
	send_loads(d);
	return 0;
}

void store_suspect(struct store *s, uint64_t off)
{
	struct msg *m = link_put(&s->d->link, MSG_SUSPECT, 0);

	if (!m)
		return;
	m->store = s->id;
	m->off = off;
	disk_send(s->d);
}

/* ---- the end ---- */

void run_drop_store(struct store *s, bool all)
{
	struct disk *d = s->d;

	for (struct list *at = d->loads.next, *next; at != &d->loads; at = next) {
		struct load *l = container_of(at, struct load, on_loads);
		next = at->next;
		if (l->s != s)
			continue;
		list_remove(at);
		free(l);
	}
	for (uint32_t i = 0; all && i < DISK_LOADS; i++) {
		if (d->sent[i] && d->sent[i]->s == s)
			d->sent[i]->s = NULL;
		if (d->recent[i].s == s)
			d->recent[i].s = NULL;
	}
	for (uint32_t i = 0; all && i < DISK_FDS; i++)
		if (d->fds[i].fd >= 0 && d->fds[i].s == s)
			fd_close(&d->fds[i]);
}

void run_release(struct disk *d)
{
	while (!list_empty(&d->loads)) {
		struct load *l = container_of(d->loads.next, struct load, on_loads);
		list_remove(&l->on_loads);
		free(l);
	}
	for (uint32_t i = 0; i < DISK_LOADS; i++)
		free(d->sent[i]);
	for (uint32_t i = 0; i < DISK_FDS; i++)
		if (d->fds[i].fd >= 0)
			fd_close(&d->fds[i]);
}
