/* SPDX-License-Identifier: MIT */
/* lanes.c - pieces through the hash lanes. Each busy lane is one piece, fed from
 * frames of the pool where its blocks still are, or from the files: in place
 * (view.c) or read into scratch. A step hashes as many bytes as the poorest lane
 * has ready, in all lanes at once; a lane that ends is given the next piece, so
 * lanes stay full while anything waits, and a lone piece never waits for company.
 * Start at lanes_step(). */
#include "disk/keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define AHEAD_FILES 8u   /* small files asked for at once */
#define VIEW_STEP 65536u /* hashed at once in place */

void lanes_init(struct lanes *l, const struct keeper *k)
{
	size_t width = sha1_lanes();

	memset(l, 0, sizeof(*l));
	l->use_views = k->use_views;
	l->width = width < 1 ? 1 : min_size(width, SHA1_MAX_LANES);
}

void lanes_release(struct lanes *l)
{
	views_release(l);
	free(l->scratch);
	l->scratch = NULL;
	l->n = 0;
}

void lanes_add(struct lanes *l, struct hash_piece *hp)
{
	struct lane *a = &l->lane[l->n++];

	memset(a, 0, sizeof(*a));
	sha1_init(&a->sha);
	a->piece = hp;
	a->len = flat_piece_len(hp->ks->flat.h, hp->index);
	a->loaded = (uint32_t)min_size(hp->ahead, a->len);
	hp->err = 0;
}

/* Bytes of a run of blocks that are in the files, from `done` on. */
static uint32_t file_run(const struct lane *a, uint32_t max)
{
	const uint32_t *locs = a->piece->locs;
	uint32_t want = (uint32_t)min_size(a->len - a->done, max), run = BLOCK_LEN - a->done % BLOCK_LEN;

	if (!locs)
		return want;
	while (run < want && locs[(a->done + run) / BLOCK_LEN] == LOC_FILE)
		run += BLOCK_LEN;
	return run < want ? run : want;
}

/* Only advice: whatever is wrong, the reading itself will tell. */
void read_ahead(const struct kstore *ks, uint64_t off, uint64_t n)
{
	for (unsigned files = 0; n && files < AHEAD_FILES; files++) {
		uint32_t file = flat_at(&ks->flat, off);
		const struct flat_file *f = &ks->flat.files[file];
		uint64_t in = off - f->off, part = min_u64(n, f->len - in);
		int fd = files_fd(ks->files, file, false);
		if (fd >= 0)
			(void)posix_fadvise(fd, (off_t)in, (off_t)part, POSIX_FADV_WILLNEED);
		off += part;
		n -= part;
	}
}

static int lane_read(struct lanes *l, struct lane *a, uint64_t off)
{
	struct kstore *ks = a->piece->ks;
	uint8_t *to;

	if (!l->scratch && !(l->scratch = alloc_array(l->width, LANE_CHUNK)))
		return -ENOMEM;
	to = l->scratch + (size_t)(a - l->lane) * LANE_CHUNK;
	a->p = to;
	a->ready = file_run(a, LANE_CHUNK);
	return files_read(ks->files, off, to, a->ready);
}

/* In place where that can be, by whole SHA-1 blocks; the tail is read. */
static bool lane_view(struct lanes *l, struct lane *a, uint64_t off)
{
	size_t n = file_run(a, VIEW_STEP) & ~(size_t)63;

	if (!l->use_views || a->no_view || n == 0)
		return false;
	a->view = view_get(l, a->piece->ks, off, &a->p, &n);
	a->ready = n & ~(size_t)63;
	if (a->view && a->ready)
		return true;
	view_put(a->view);
	a->view = NULL;
	return false;
}

static int lane_fill(struct lanes *l, struct lane *a, const struct keeper *k)
{
	const uint32_t *locs = a->piece->locs;
	uint64_t off = a->piece->index * a->piece->ks->flat.h->piece_len + a->done;

	if (a->ready || a->done == a->len)
		return 0;
	view_put(a->view);
	a->view = NULL;
	if (locs && locs[a->done / BLOCK_LEN] != LOC_FILE) {
		a->p = k->pool + (size_t)locs[a->done / BLOCK_LEN] * BLOCK_LEN;
		a->ready = min_size(BLOCK_LEN, a->len - a->done);
		return 0;
	}
	while (a->loaded < a->len && a->loaded <= a->done + LOAD_AHEAD / 2) {
		uint32_t ahead = (uint32_t)min_size(a->len - a->loaded, LOAD_AHEAD);
		read_ahead(a->piece->ks, off + (a->loaded - a->done), ahead);
		a->loaded += ahead;
	}
	return lane_view(l, a, off) ? 0 : lane_read(l, a, off);
}

/* The last lane moves into the place of one that ended, with what it has ready
 * in its part of the scratch. */
static void lane_end(struct lanes *l, struct lane *a)
{
	struct lane *last = &l->lane[--l->n];
	uint8_t *to = l->scratch ? l->scratch + (size_t)(a - l->lane) * LANE_CHUNK : NULL;
	uint8_t *from = l->scratch ? l->scratch + (size_t)(last - l->lane) * LANE_CHUNK : NULL;

	view_put(a->view);
	if (a == last)
		return;
	*a = *last;
	if (from && a->ready && a->p >= from && a->p < from + LANE_CHUNK) {
		memcpy(to, a->p, a->ready);
		a->p = to;
	}
}

/* Some view has no page: those lanes read what they had ready. */
static void leave_views(struct lanes *l)
{
	for (struct lane *a = l->lane; a < l->lane + l->n; a++) {
		if (!a->view)
			continue;
		view_put(a->view);
		a->view = NULL;
		a->no_view = true;
		a->ready = 0;
	}
}

uint64_t lanes_step(struct lanes *l, struct keeper *k, lanes_fn *done)
{
	struct sha1 *sha[SHA1_MAX_LANES];
	const uint8_t *p[SHA1_MAX_LANES];
	size_t step = SIZE_MAX, n = 0;
	bool views = false;

	for (size_t i = 0; i < l->n; i++) {
		struct lane *a = &l->lane[i];
		a->piece->err = lane_fill(l, a, k);
		if (a->piece->err || a->ready < 64)
			continue; /* ends below */
		step = min_size(step, a->ready & ~(size_t)63);
		views |= a->view != NULL;
		sha[n] = &a->sha;
		p[n++] = a->p;
	}
	if (n && !views) {
		sha1_update_many(sha, p, n, step);
	} else if (n && !view_hash(sha, p, n, step)) {
		leave_views(l);
		return 0;
	}
	for (size_t i = l->n; i-- > 0;) {
		struct lane *a = &l->lane[i];
		struct hash_piece *hp = a->piece;
		if (!hp->err && a->ready >= 64) {
			a->p += step;
			a->ready -= step;
			a->done += (uint32_t)step;
			if (a->ready >= 64)
				continue;
		}
		if (!hp->err && a->done + a->ready < a->len)
			continue;
		if (!hp->err)
			sha1_final(&a->sha, a->p, a->ready, hp->digest);
		lane_end(l, a);
		done(k, hp);
	}
	return (uint64_t)n * step;
}
