/* SPDX-License-Identifier: MIT */
/* store.c - one torrent's storage as the loop sees it: requests become messages,
 * answers become callbacks. A complete piece that finds no space waits here with
 * its frames and tries again, and with it a torrent resumes by itself; a full
 * store may hold a quarter of the pool (or one piece), so that others go on.
 * Start at store_check() and checked(). */
#include "disk/loop.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OPENS_MAX 16u /* descriptions in the link at once */
#define RETRY_FIRST_MS 1000
#define RETRY_MS 5000
#define RETRY_SLOTS_MS 100 /* space is there, but too many jobs wait */

static const char *text_of(struct msg *m, char room[MSG_WHAT_MAX + 1])
{
	size_t n = min_size(m->n, MSG_WHAT_MAX);

	memcpy(room, msg_tail(m), n);
	room[n] = '\0';
	return n ? room : NULL;
}

static struct msg *put(struct store *s, enum msg_type type, uint32_t n)
{
	struct msg *m = link_put(&s->d->link, type, n);

	if (m)
		m->store = s->id;
	disk_send(s->d);
	return m;
}

/* ---- open ---- */

static void on_news(struct later *l);
static void on_retry(struct timer *t);
static void drop_parked(struct store *s, bool tell);

static int number(struct store *s)
{
	struct disk *d = s->d;
	void *stores = d->stores;
	size_t id = d->free_number;

	while (id < d->nstores && d->stores[id])
		id++;
	if (id == d->nstores) {
		if (!grow_array(&stores, &d->stores_cap, id + 1, sizeof(*d->stores)))
			return -ENOMEM;
		d->stores = stores;
		d->nstores++;
	}
	d->stores[id] = s;
	d->free_number = id + 1;
	s->id = (uint32_t)id;
	return 0;
}

/* The description goes to the keeper, but for the few that would wait in the link
 * with their descriptors: 10,000 torrents may come in one turn. */
static int send_open(struct store *s, int fd)
{
	bool later = s->d->nopens >= OPENS_MAX;
	int err = flat_map(&s->flat, fd, later);
	struct msg *m = err || later ? NULL : put(s, MSG_OPEN, 0);

	if (m) {
		s->d->nopens++;
		m->fd = fd; /* the link's now */
		return 0;
	}
	close(fd);
	if (!err && later)
		list_push_back(&s->d->unsent, &s->on_unsent);
	return err ? err : later ? 0 : -EPIPE;
}

void store_send_unsent(struct disk *d)
{
	while (!list_empty(&d->unsent) && d->nopens < OPENS_MAX) {
		struct store *s = container_of(d->unsent.next, struct store, on_unsent);
		int fd = flat_make_again(&s->flat);

		list_remove(&s->on_unsent);
		flat_unmap(&s->flat);
		s->open_err = fd < 0 ? fd : send_open(s, fd);
		if (s->open_err)
			later_add(d->net, &s->news);
	}
}

struct store *store_open(struct disk *d, const struct store_spec *spec)
{
	struct store *s = calloc(1, sizeof(*s));
	int fd;

	if (!s)
		return NULL;
	s->d = d;
	s->spec = *spec;
	s->spec.dir = s->spec.state_dir = NULL; /* borrowed: not ours after this call */
	s->spec.info_hash = s->spec.hashes = NULL;
	s->spec.files = NULL;
	s->have = alloc_array(bits_len(spec->pieces) + 1, 1);
	list_init(&s->parked);
	list_init(&s->on_unsent);
	timer_init(&s->retry, on_retry);
	later_init(&s->news, on_news);
	if (!s->have || number(s) < 0) {
		free(s->have);
		free(s);
		return NULL;
	}
	fd = flat_make(spec);
	s->open_err = fd < 0 ? fd : send_open(s, fd);
	if (s->open_err)
		later_add(d->net, &s->news);
	return s;
}

void store_free(struct store *s)
{
	struct disk *d = s->d;

	for (size_t i = 0; i < DISK_JOBS; i++) { /* none, unless the keeper is gone */
		struct job *j = d->jobs[i];
		if (!j || j->s != s)
			continue;
		disk_job_end(d, j);
		disk_put_frames(d, j->locs, j->is_write ? 0 : j->n);
		disk_job_free(j);
	}
	drop_parked(s, false);
	run_drop_store(s, true);
	window_drop_store(s);
	timer_clear(d->net, &s->retry);
	later_cancel(&s->news);
	for (size_t i = 0; i < s->npartials; i++)
		free((void *)(uintptr_t)s->partials[i].bits);
	free(s->partials);
	list_remove(&s->on_unsent);
	flat_unmap(&s->flat);
	d->stores[s->id] = NULL;
	d->free_number = min_size(d->free_number, s->id);
	free(s->have);
	free(s);
}

static void closed(struct store *s)
{
	void (*fn)(void *) = s->spec.on_closed;
	void *arg = s->spec.arg;

	fn(arg);
	store_free(s);
}

/* What could not be asked of the keeper is answered at the end of the turn. */
static void on_news(struct later *l)
{
	struct store *s = container_of(l, struct store, news);
	int err = s->open_err;

	s->open_err = 0;
	if (err)
		s->spec.on_open(s->spec.arg, err, "cannot hand the torrent to the keeper process");
	if (s->closing)
		closed(s);
}

void store_disk_died(struct store *s)
{
	timer_clear(s->d->net, &s->retry);
	if (s->closing)
		closed(s);
}

const uint8_t *store_have(const struct store *s)
{
	return s->have;
}

void store_partials(const struct store *s, void (*fn)(void *, uint32_t, const uint8_t *, uint32_t), void *arg)
{
	for (size_t i = 0; i < s->npartials; i++)
		fn(arg, s->partials[i].index, s->partials[i].bits, s->partials[i].nblocks);
}

static int partial(struct store *s, struct msg *m)
{
	void *partials = s->partials;
	uint8_t *bits;

	if (m->index >= s->flat.h->pieces || m->total != flat_blocks(s->flat.h, m->index) || m->n != bits_len(m->total))
		return -EPROTO;
	if (!bits_spare_clear(msg_tail(m), m->total) || s->npartials >= s->flat.h->pieces)
		return -EPROTO;
	bits = malloc(m->n);
	if (!bits || !grow_array(&partials, &s->partials_cap, s->npartials + 1, sizeof(*s->partials))) {
		free(bits);
		return 0; /* its blocks are downloaded again */
	}
	s->partials = partials;
	memcpy(bits, msg_tail(m), m->n);
	s->partials[s->npartials++] = (struct store_partial){ m->index, bits, m->total };
	return 0;
}

static int have(struct store *s, struct msg *m)
{
	size_t len = bits_len(s->flat.h->pieces);

	if (m->first > len || m->n > len - m->first)
		return -EPROTO;
	memcpy(s->have + m->first, msg_tail(m), m->n);
	return bits_spare_clear(s->have, s->flat.h->pieces) ? 0 : -EPROTO;
}

/* Indexes in a tail: one callback each. */
static int each_index(struct store *s, struct msg *m)
{
	const uint32_t *v = msg_tail(m);

	for (uint32_t i = 0; i < m->n; i++) {
		uint32_t index = m->type == MSG_CHECKING ? v[i] >> 1 : v[i];
		if (index >= s->flat.h->pieces)
			return -EPROTO;
		if (m->type == MSG_CHECKING) {
			s->spec.on_checking(s->spec.arg, index, v[i] & 1);
			continue;
		}
		bit_clear(s->have, index);
		s->spec.on_check(s->spec.arg, index, STORE_LOST, NULL, 0);
	}
	return 0;
}

/* ---- check and write ---- */

static void send_check(struct job *j)
{
	struct store *s = j->s;

	disk_job_start(s->d, j);
	for (uint32_t at = 0, n; at < j->n; at += n) {
		n = (uint32_t)min_size(j->n - at, MSG_LOCS_MAX);
		struct msg *m = put(s, MSG_CHECK, n);
		if (!m)
			return; /* the keeper is gone: nothing completes any more */
		m->job = j->slot;
		m->index = j->index;
		m->total = j->n;
		m->first = at;
		m->flags = j->want_sums ? MSG_WANT_SUMS : 0;
		memcpy(msg_tail(m), j->locs + at, n * sizeof(*j->locs));
	}
}

bool store_check(struct store *s, uint32_t index, const uint32_t *locs, uint32_t nblocks, bool want_sums)
{
	struct job *j;

	assert(index < s->flat.h->pieces && nblocks == flat_blocks(s->flat.h, index));
	j = s->closing ? NULL : disk_job(s->d, nblocks); /* behind MSG_CLOSE the keeper knows no store */
	if (!j)
		return false;
	j->s = s;
	j->index = index;
	j->want_sums = want_sums;
	memcpy(j->locs, locs, nblocks * sizeof(*locs));
	send_check(j);
	return true;
}

bool store_write(struct store *s, uint32_t index, uint32_t first, const uint32_t *frames, uint32_t n)
{
	uint32_t parts = (n + MSG_LOCS_MAX - 1) / MSG_LOCS_MAX;

	assert(index < s->flat.h->pieces && first + n <= flat_blocks(s->flat.h, index));
	if (s->closing)
		return false;
	if (!disk_jobs_room(s->d, parts)) {
		s->d->starved = true;
		return false;
	}
	for (uint32_t at = 0, part; at < n; at += part) {
		part = (uint32_t)min_size(n - at, MSG_LOCS_MAX);
		struct job *j = disk_job(s->d, part);
		if (!j)
			return at > 0; /* no memory: what was taken is answered, the rest never is */
		j->s = s;
		j->index = index;
		j->first = first + at;
		j->is_write = true;
		memcpy(j->locs, frames + at, part * sizeof(*frames));
		disk_job_start(s->d, j);
		struct msg *m = put(s, MSG_WRITE, part);
		if (!m)
			return true;
		m->job = j->slot;
		m->index = index;
		m->first = first + at;
		memcpy(msg_tail(m), frames + at, part * sizeof(*frames));
	}
	return true;
}

void store_abandon(struct store *s, uint32_t index)
{
	window_piece_closed(s, index);
}

/* ---- no space ---- */

static uint32_t frames_of(const struct job *j)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < j->n; i++)
		n += j->locs[i] != LOC_FILE;
	return n;
}

static void retry_in(struct store *s, uint64_t ms)
{
	if (!s->closing && !s->dead)
		timer_set(s->d->net, &s->retry, ms);
}

static void became_full(struct store *s, const char *what)
{
	if (s->full || s->dead)
		return;
	s->full = true;
	retry_in(s, RETRY_FIRST_MS);
	s->spec.on_space(s->spec.arg, true, what);
}

static void end_check(struct job *j, enum store_result r)
{
	struct store *s = j->s;
	struct disk *d = s->d;

	if (r == STORE_OK)
		bit_set(s->have, j->index);
	window_piece_closed(s, j->index);
	disk_put_frames(d, j->locs, j->n);
	s->spec.on_check(s->spec.arg, j->index, r, r == STORE_LOST ? NULL : j->sums,
			 r == STORE_LOST || !j->sums ? 0 : j->n);
	disk_job_free(j);
}

static void park(struct job *j, bool again, const char *what)
{
	struct store *s = j->s;
	uint32_t n = frames_of(j);

	became_full(s, what);
	if (!again && s->parked_frames && s->parked_frames + n > s->d->nframes / 4) {
		end_check(j, STORE_LOST);
		return;
	}
	s->parked_frames += n;
	if (again)
		list_push_front(&s->parked, &j->on_parked);
	else
		list_push_back(&s->parked, &j->on_parked);
}

static bool unpark(struct store *s)
{
	struct job *j = container_of(s->parked.next, struct job, on_parked);

	if (!disk_jobs_room(s->d, 1))
		return false;
	list_remove(&j->on_parked);
	s->parked_frames -= frames_of(j);
	free(j->sums); /* they come again */
	j->sums = NULL;
	if (s->full)
		s->probe = j;
	send_check(j);
	return true;
}

static void unpark_all(struct store *s)
{
	while (!list_empty(&s->parked) && !s->closing && !s->dead) {
		if (!unpark(s)) {
			retry_in(s, RETRY_SLOTS_MS);
			return;
		}
	}
}

static void space_again(struct store *s)
{
	if (!s->full)
		return;
	s->full = false;
	timer_clear(s->d->net, &s->retry);
	s->spec.on_space(s->spec.arg, false, NULL);
	unpark_all(s);
}

/* One piece tries first; without one the keeper looks how much is free. */
static void on_retry(struct timer *t)
{
	struct store *s = container_of(t, struct store, retry);

	if (!s->full) {
		unpark_all(s);
	} else if (list_empty(&s->parked)) {
		if (!put(s, MSG_PROBE, 0)) {
			/* the keeper is gone */
		}
	} else if (!unpark(s)) {
		retry_in(s, RETRY_SLOTS_MS);
	}
}

static void drop_parked(struct store *s, bool tell)
{
	timer_clear(s->d->net, &s->retry);
	while (!list_empty(&s->parked)) {
		struct job *j = container_of(s->parked.next, struct job, on_parked);
		list_remove(&j->on_parked);
		s->parked_frames -= frames_of(j);
		if (tell) {
			end_check(j, STORE_LOST);
			continue;
		}
		disk_put_frames(s->d, j->locs, j->n);
		disk_job_free(j);
	}
}

/* ---- answers ---- */

static struct job *job_of(struct store *s, struct msg *m, bool is_write)
{
	struct job *j = m->job < DISK_JOBS ? s->d->jobs[m->job] : NULL;

	return j && j->s == s && j->is_write == is_write ? j : NULL;
}

static int sums(struct store *s, struct msg *m)
{
	struct job *j = job_of(s, m, false);

	if (!j || m->first > j->n || m->n > j->n - m->first)
		return -EPROTO;
	if (!j->sums)
		j->sums = alloc_array(j->n, sizeof(*j->sums));
	if (j->sums)
		memcpy(j->sums + m->first, msg_tail(m), m->n * sizeof(*j->sums));
	return 0;
}

static int checked(struct store *s, struct msg *m)
{
	struct job *j = job_of(s, m, false);
	char room[MSG_WHAT_MAX + 1];
	bool again;

	if (!j || m->index > STORE_LOST || m->err > 0)
		return -EPROTO;
	disk_job_end(s->d, j);
	again = s->probe == j;
	if (again)
		s->probe = NULL;
	if (m->err && !s->closing && !s->dead) {
		park(j, again, text_of(m, room));
		if (again)
			retry_in(s, RETRY_MS);
		return 0;
	}
	end_check(j, m->err ? STORE_LOST : (enum store_result)m->index);
	if (again && m->index == STORE_OK)
		space_again(s);
	else if (again)
		retry_in(s, RETRY_MS);
	return 0;
}

static int written(struct store *s, struct msg *m)
{
	struct job *j = job_of(s, m, true);
	char room[MSG_WHAT_MAX + 1];

	if (!j || m->err > 0)
		return -EPROTO;
	disk_job_end(s->d, j);
	if (m->err == 0)
		disk_put_frames(s->d, j->locs, j->n);
	if (m->err == -ENOSPC || m->err == -EDQUOT)
		became_full(s, text_of(m, room));
	s->spec.on_written(s->spec.arg, j->index, j->first, j->n, m->err);
	disk_job_free(j);
	return 0;
}

static void opened(struct store *s, struct msg *m)
{
	char room[MSG_WHAT_MAX + 1];

	s->open = m->err == 0;
	s->spec.on_open(s->spec.arg, m->err, text_of(m, room));
}

static void failed(struct store *s, struct msg *m)
{
	char room[MSG_WHAT_MAX + 1];

	s->dead = true;
	drop_parked(s, true);
	s->spec.on_fail(s->spec.arg, m->err, text_of(m, room));
}

int store_take(struct store *s, struct msg *m)
{
	switch (m->type) {
	case MSG_OPENED:
		opened(s, m);
		return 0;
	case MSG_HAVE:
		return have(s, m);
	case MSG_PARTIAL:
		return partial(s, m);
	case MSG_CHECKING:
	case MSG_LOST:
		return each_index(s, m);
	case MSG_CHECKED:
		return checked(s, m);
	case MSG_SUMS:
		return sums(s, m);
	case MSG_WRITTEN:
		return written(s, m);
	case MSG_PROBED:
		if (m->err == 0)
			space_again(s);
		else
			retry_in(s, RETRY_MS);
		return 0;
	case MSG_FAILED:
		failed(s, m);
		return 0;
	case MSG_SYNCED:
		s->spec.on_synced(s->spec.arg, m->err);
		return 0;
	case MSG_CLOSED:
		if (!s->closing)
			return -EPROTO;
		closed(s);
		return 0;
	default:
		return -EPROTO;
	}
}

/* ---- sync and close ---- */

void store_sync(struct store *s)
{
	if (!put(s, MSG_SYNC, 0)) {
		/* the keeper is gone: nothing completes any more */
	}
}

void store_close(struct store *s, const struct store_partial *p, size_t n)
{
	if (s->closing)
		return;
	s->closing = true;
	run_drop_store(s, false);
	drop_parked(s, false); /* what found no space is gone; the caller does not ask any more */
	for (size_t i = 0; i < n && s->open && !s->dead; i++) {
		uint32_t len = (uint32_t)bits_len(p[i].nblocks);
		struct msg *m = put(s, MSG_STOW, len);
		if (!m)
			break;
		m->index = p[i].index;
		m->total = p[i].nblocks;
		memcpy(msg_tail(m), p[i].bits, len);
	}
	if (s->d->dead || s->open_err || list_linked(&s->on_unsent) || !put(s, MSG_CLOSE, 0)) {
		list_remove(&s->on_unsent);
		later_add(s->d->net, &s->news);
	}
}
