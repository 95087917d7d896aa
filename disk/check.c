/* SPDX-License-Identifier: MIT */
/* check.c - what the loop gives: complete pieces to hash and write, and blocks to
 * write early. All pieces that wait go through the lanes together; good ones are
 * written, one call per run of frames. Start at check_take() and check_run(). */
#include "disk/keeper.h"
#include <errno.h>
#include <stdlib.h>

#define IOV_RUN 256 /* frames per write: 4 MiB */

/* A complete piece of the loop's. */
struct check_job {
	struct list on_checks;
	struct hash_piece hp;
	uint32_t job, nblocks;
	uint32_t got; /* locs that came so far; long lists come in parts */
	bool want_sums;
	uint32_t locs[];
};

static void answer(struct keeper *k, struct check_job *c, enum store_result r, int err, const char *what)
{
	size_t n = what ? min_size(strlen(what), MSG_WHAT_MAX) : 0;
	struct msg *m = link_put(&k->link, MSG_CHECKED, (uint32_t)n);

	if (m) {
		m->store = c->hp.ks->id;
		m->job = c->job;
		m->index = r;
		m->err = err;
		if (n)
			memcpy(msg_tail(m), what, n);
	}
	free(c);
}

static uint32_t block_len(const struct kstore *ks, uint32_t index, uint32_t block)
{
	return (uint32_t)min_size(BLOCK_LEN, flat_piece_len(ks->flat.h, index) - (size_t)block * BLOCK_LEN);
}

static uint64_t block_off(const struct kstore *ks, uint32_t index, uint32_t block)
{
	return index * ks->flat.h->piece_len + (uint64_t)block * BLOCK_LEN;
}

/* 64 bits of each block's SHA-1: enough to tell which of two peers lied. */
static void send_sums(struct keeper *k, const struct check_job *c)
{
	uint8_t *scratch = alloc_array(SHA1_MAX_LANES, BLOCK_LEN);
	struct sha1_job jobs[SHA1_MAX_LANES];
	struct iovec iov[SHA1_MAX_LANES];

	for (uint32_t first = 0, n; scratch && first < c->nblocks; first += n) {
		struct msg *m;
		n = (uint32_t)min_size(c->nblocks - first, SHA1_MAX_LANES);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t loc = c->locs[first + i], len = block_len(c->hp.ks, c->hp.index, first + i);
			iov[i] = (struct iovec){ scratch + (size_t)i * BLOCK_LEN, len };
			if (loc != LOC_FILE)
				iov[i].iov_base = k->pool + (size_t)loc * BLOCK_LEN;
			else if (files_read(c->hp.ks->files, block_off(c->hp.ks, c->hp.index, first + i),
					    iov[i].iov_base, len) < 0)
				memset(iov[i].iov_base, 0, len); /* a sum that matches nothing */
			jobs[i] = (struct sha1_job){ .iov = &iov[i], .iovcnt = 1 };
		}
		sha1_many(jobs, n);
		m = link_put(&k->link, MSG_SUMS, n);
		if (!m)
			break;
		m->store = c->hp.ks->id;
		m->job = c->job;
		m->first = first;
		for (uint32_t i = 0; i < n; i++) {
			uint64_t sum = get_u64(jobs[i].digest);
			memcpy((uint8_t *)msg_tail(m) + i * sizeof(sum), &sum, sizeof(sum));
		}
	}
	free(scratch);
}

/* Frames of consecutive blocks; those side by side in the pool become one part. */
static int write_run(struct kstore *ks, uint32_t index, uint32_t first, const uint32_t *frames, uint32_t n)
{
	struct iovec iov[IOV_RUN];
	int parts = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *p = ks->k->pool + (size_t)frames[i] * BLOCK_LEN;
		size_t len = block_len(ks, index, first + i);
		if (parts && (uint8_t *)iov[parts - 1].iov_base + iov[parts - 1].iov_len == p)
			iov[parts - 1].iov_len += len;
		else
			iov[parts++] = (struct iovec){ p, len };
	}
	return files_write(ks->files, block_off(ks, index, first), iov, parts);
}

/* Blocks from `first` on; those in the files already are left out. */
static int write_blocks(struct kstore *ks, uint32_t index, uint32_t first, const uint32_t *locs, uint32_t nlocs)
{
	int err = 0;

	for (uint32_t i = 0, n; i < nlocs && !err; i += n ? n : 1) {
		for (n = 0; i + n < nlocs && n < IOV_RUN && locs[i + n] != LOC_FILE; n++)
			;
		if (n)
			err = write_run(ks, index, first + i, locs + i, n);
	}
	return err;
}

static bool any_in_file(const struct check_job *c)
{
	for (uint32_t i = 0; i < c->nblocks; i++)
		if (c->locs[i] == LOC_FILE)
			return true;
	return false;
}

static void check_end(struct keeper *k, struct hash_piece *hp)
{
	struct check_job *c = container_of(hp, struct check_job, hp);
	struct kstore *ks = hp->ks;
	char what[MSG_WHAT_MAX];
	int err = hp->err;
	bool good;

	if (err == -ENOMEM) {
		answer(k, c, STORE_LOST, 0, NULL);
		return;
	}
	if (err) {
		kstore_fail(ks, "read", err);
		answer(k, c, STORE_LOST, 0, NULL);
		return;
	}
	good = memcmp(hp->digest, ks->flat.hashes + (size_t)hp->index * SHA1_LEN, SHA1_LEN) == 0;
	if (c->want_sums || !good)
		send_sums(k, c);
	if (!good) {
		answer(k, c, STORE_BAD, 0, NULL);
		return;
	}
	err = write_blocks(ks, hp->index, 0, c->locs, c->nblocks);
	if (err == -ENOSPC || err == -EDQUOT) {
		ks->full_piece = hp->index;
		answer(k, c, STORE_LOST, err, kstore_what(what, ks, "write", err));
		return;
	}
	if (err) {
		kstore_fail(ks, "write", err);
		answer(k, c, STORE_LOST, 0, NULL);
		return;
	}
	if (ks->mapped && any_in_file(c))
		kstore_mapped(ks, hp->index);
	kstore_done(ks, hp->index);
	kstore_written(ks);
	answer(k, c, STORE_OK, 0, NULL);
	if (link_flush(&k->link) < 0) {
		/* later, with the rest: the turn ends with it */
	}
}

void check_run(struct keeper *k)
{
	while (k->lanes.n || !list_empty(&k->checks)) {
		while (lanes_room(&k->lanes) && !list_empty(&k->checks)) {
			struct check_job *c = container_of(k->checks.next, struct check_job, on_checks);
			list_remove(&c->on_checks);
			k->nchecks--;
			if (c->hp.ks->dead)
				answer(k, c, STORE_LOST, 0, NULL);
			else
				lanes_add(&k->lanes, &c->hp);
		}
		lanes_step(&k->lanes, k, check_end);
	}
	views_release(&k->lanes);
}

void check_drop(struct keeper *k)
{
	free(k->assembling);
	k->assembling = NULL;
}

static bool locs_valid(const struct keeper *k, const uint32_t *locs, uint32_t n, bool file_too)
{
	for (uint32_t i = 0; i < n; i++)
		if (locs[i] >= k->nframes && !(file_too && locs[i] == LOC_FILE))
			return false;
	return true;
}

int check_take(struct keeper *k, struct kstore *ks, const struct msg *m, const uint32_t *locs)
{
	struct check_job *c = k->assembling;

	if (m->index >= ks->flat.h->pieces || m->total != flat_blocks(ks->flat.h, m->index) || m->first > m->total ||
	    m->n > m->total - m->first || m->n == 0 || !locs_valid(k, locs, m->n, true))
		return -EPROTO;
	if (m->first == 0) {
		check_drop(k);
		c = calloc(1, sizeof(*c) + m->total * sizeof(uint32_t));
		if (!c)
			return -EPROTO; /* no memory for 128 KiB: end in order rather than limp */
		c->hp.ks = ks;
		c->hp.index = m->index;
		c->hp.locs = c->locs;
		c->job = m->job;
		c->nblocks = m->total;
		c->want_sums = m->flags & MSG_WANT_SUMS;
		list_init(&c->on_checks);
		k->assembling = c;
	}
	if (!c || c->hp.ks != ks || c->job != m->job || c->got != m->first || c->nblocks != m->total)
		return -EPROTO;
	memcpy(c->locs + c->got, locs, m->n * sizeof(uint32_t));
	c->got += m->n;
	if (c->got == c->nblocks) {
		k->assembling = NULL;
		list_push_back(&k->checks, &c->on_checks);
		k->nchecks++;
	}
	return 0;
}

/* Blocks of a piece that is not complete, written to free their frames. */
int write_take(struct keeper *k, struct kstore *ks, const struct msg *m, const uint32_t *frames)
{
	char what[MSG_WHAT_MAX];
	uint32_t total;
	int err;

	if (m->index >= ks->flat.h->pieces)
		return -EPROTO;
	total = flat_blocks(ks->flat.h, m->index);
	if (m->n == 0 || m->first > total || m->n > total - m->first || !locs_valid(k, frames, m->n, false))
		return -EPROTO;
	err = ks->dead ? -EIO : write_blocks(ks, m->index, m->first, frames, m->n);
	if (err == -ENOSPC || err == -EDQUOT)
		ks->full_piece = m->index;
	else if (err && !ks->dead)
		kstore_fail(ks, "write", err);
	if (!err)
		kstore_written(ks);
	keeper_say(k, MSG_WRITTEN, ks->id, m->job, err, err ? kstore_what(what, ks, "write", err) : NULL);
	return 0;
}
