/* SPDX-License-Identifier: MIT */
/* window.c - mapped windows: runs of a file, 2 MiB long and 2 MiB aligned, that
 * the keeper has allocated and the loop maps, so that payload goes from the
 * socket to its place without a copy. Longer pieces have a window each. Code
 * never touches the bytes: recv does, so a file that was cut short is EFAULT,
 * not SIGBUS. A piece that does not lie in one window goes through frames, as
 * does everything while a window is prepared, or refused.
 *
 * DISK_AUTO means the pool. Measured (1 GiB, 256 KiB pieces, ext4, pages the host
 * has to find first, loop / keeper CPU s/GiB): windows 0.5 / 1.0 in order, pool
 * 0.5 / 1.8; but pieces spread over more windows than the budget holds cost up
 * to 2 / 20, the pool 0.5 / 1.5 in any order, and it never stalls the loop.
 * Start at store_place(). */
#include "bt.h"
#include "disk/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW_LEN (2u << 20)
#define WINDOW_ALIGN 65536u /* for pieces longer than that: a page of any size */
#define PIECES_MAX (3 * 64u)

/* Where a piece's window would be; false: it has none. */
static bool window_of(const struct store *s, uint32_t index, struct window *w)
{
	const struct flat *h = s->flat.h;
	uint64_t off = index * h->piece_len, len = flat_piece_len(h, index), in;
	uint32_t file = flat_at(&s->flat, off);
	const struct flat_file *f = &s->flat.files[file];

	in = off - f->off;
	if (h->piece_len < BLOCK_LEN || (f->attr & BT_FILE_PAD) || len > f->len - in)
		return false;
	w->s = NULL;
	w->file = file;
	if (h->piece_len > WINDOW_LEN) {
		w->off = in & ~(uint64_t)(WINDOW_ALIGN - 1);
		w->len = in + len - w->off;
		w->base = index;
		return true;
	}
	w->off = in & ~(uint64_t)(WINDOW_LEN - 1);
	w->len = min_u64(WINDOW_LEN, f->len - w->off);
	w->base = (uint32_t)((f->off + w->off) / h->piece_len);
	return in + len <= w->off + w->len;
}

static bool in_work(const struct window *w)
{
	return w->open[0] | w->open[1] | w->open[2];
}

static void forget(struct disk *d, struct window *w)
{
	if (w->addr)
		munmap(w->addr, (size_t)w->len);
	d->windows_len -= w->len;
	memset(w, 0, sizeof(*w));
}

/* Room for a window of len bytes: the longest unused ones go first. */
static struct window *make_room(struct disk *d, uint64_t len)
{
	uint64_t budget = (uint64_t)d->nframes * BLOCK_LEN;

	if (len > budget / 2)
		return NULL;
	for (;;) {
		struct window *free_place = NULL, *old = NULL;
		for (struct window *w = d->windows; w < d->windows + DISK_WINDOWS; w++) {
			if (w->state == WINDOW_FREE)
				free_place = w;
			else if (w->state != WINDOW_ASKED && !in_work(w) && (!old || w->used < old->used))
				old = w;
		}
		if (free_place && d->windows_len + len <= budget)
			return free_place;
		if (!old)
			return NULL;
		forget(d, old);
	}
}

static void ask(struct store *s, const struct window *want)
{
	struct disk *d = s->d;
	struct window *w = make_room(d, want->len);
	struct msg *m = w ? link_put(&d->link, MSG_WINDOW, 0) : NULL;

	if (!m)
		return;
	*w = (struct window){ .state = WINDOW_ASKED, .s = s, .file = want->file, .off = want->off, .len = want->len,
			      .base = want->base, .used = d->net->turns };
	d->windows_len += w->len;
	m->store = s->id;
	m->job = (uint32_t)(w - d->windows);
	m->index = w->file;
	m->off = w->off;
	m->size = w->len;
	disk_send(d);
}

uint8_t *store_place(struct store *s, uint32_t index, uint32_t begin, uint32_t len)
{
	struct disk *d = s->d;
	struct window want;
	uint64_t at;

	if (d->opts.storage != DISK_MAP || s->no_map || s->spec.read_only || s->dead || s->closing || s->full || d->dead)
		return NULL;
	if (index >= s->flat.h->pieces || begin > flat_piece_len(s->flat.h, index) ||
	    len > flat_piece_len(s->flat.h, index) - begin || !window_of(s, index, &want))
		return NULL;
	for (struct window *w = d->windows; w < d->windows + DISK_WINDOWS; w++) {
		if (w->s != s || w->file != want.file || w->off != want.off || w->state == WINDOW_FREE)
			continue;
		w->used = d->net->turns;
		if (w->state != WINDOW_READY)
			return NULL;
		w->open[(index - w->base) / 64] |= 1ull << (index - w->base) % 64;
		at = index * s->flat.h->piece_len - s->flat.files[w->file].off - w->off;
		return w->addr + at + begin;
	}
	ask(s, &want);
	return NULL;
}

/* The keeper has allocated it, or says why not. */
int window_take(struct disk *d, struct msg *m)
{
	struct window *w = m->job < DISK_WINDOWS ? &d->windows[m->job] : NULL;
	void *p;

	if (!w || w->state != WINDOW_ASKED)
		return -EPROTO;
	if (!w->s) { /* its store is gone */
		forget(d, w);
		return 0;
	}
	if (m->err || m->fd < 0) {
		w->state = WINDOW_REFUSED; /* until it is the oldest; no space may come back */
		w->s->no_map = m->err != -ENOSPC && m->err != -EDQUOT;
		return 0;
	}
	p = mmap(NULL, (size_t)w->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, (off_t)w->off);
	if (p == MAP_FAILED) {
		w->state = WINDOW_REFUSED;
		w->s->no_map = errno != ENOMEM;
		return 0;
	}
	w->addr = p;
	w->state = WINDOW_READY;
	return 0;
}

void window_piece_closed(struct store *s, uint32_t index)
{
	struct disk *d = s->d;

	if (d->opts.storage != DISK_MAP)
		return;
	for (struct window *w = d->windows; w < d->windows + DISK_WINDOWS; w++)
		if (w->s == s && index >= w->base && index - w->base < PIECES_MAX)
			w->open[(index - w->base) / 64] &= ~(1ull << (index - w->base) % 64);
}

void window_drop_store(struct store *s)
{
	for (struct window *w = s->d->windows; w < s->d->windows + DISK_WINDOWS; w++) {
		if (w->s != s)
			continue;
		if (w->state == WINDOW_ASKED)
			w->s = NULL;
		else
			forget(s->d, w);
	}
}

static void close_pipe(struct disk *d)
{
	for (size_t i = 0; i < 2; i++)
		if (d->pipe[i] >= 0)
			close(d->pipe[i]);
	d->pipe[0] = d->pipe[1] = -1;
}

/* Through a pipe: the kernel writes to the mapping and can say EFAULT. A pipe may
 * be as small as a page, so it is filled and emptied in turn. */
int store_place_copy(struct store *s, uint32_t index, uint32_t begin, const void *p, uint32_t len)
{
	struct disk *d = s->d;
	uint8_t *to = store_place(s, index, begin, len);
	const uint8_t *from = p;

	if (!to)
		return -EFAULT;
	if (d->pipe[0] < 0 && pipe2(d->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		d->pipe[0] = d->pipe[1] = -1;
		return -errno;
	}
	while (len > 0) {
		ssize_t in = write(d->pipe[1], from, len), out;
		if (in <= 0)
			break;
		for (ssize_t at = 0; at < in; at += out) {
			out = read(d->pipe[0], to + at, (size_t)(in - at));
			if (out <= 0) {
				int err = out < 0 ? -errno : -EIO;
				close_pipe(d); /* with what is left in it */
				return err;
			}
		}
		to += in;
		from += in;
		len -= (uint32_t)in;
	}
	if (len)
		close_pipe(d);
	return len ? -EIO : 0;
}
