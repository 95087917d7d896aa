/* SPDX-License-Identifier: MIT */
/* check.c - received blocks against the torrent's hashes, without a disk. Blocks
 * stay in the arena they were read into. When it is full, or all is over, every
 * piece that has blocks waiting is fed to the SIMD lanes, one piece per lane, in
 * order; what came before its turn (some clients answer out of order) moves to
 * memory of its own. So nothing is copied but that, and lanes are full whether one
 * connection brings whole pieces or a thousand bring a block each.
 * Start at load_check_block(). */
#include "load/load.h"
#include <errno.h>
#include <stdlib.h>

#define ARENA_LEAST (4u << 20)
#define ARENA_MOST (32u << 20) /* pieces of 2 MiB still fill 16 lanes */

int load_check_init(struct load_check *c, const struct bt_meta *meta, bool off)
{
	uint64_t len = sha1_lanes() * meta->piece_len;

	*c = (struct load_check){ .meta = meta, .off = off };
	list_init(&c->waiting);
	if (len < ARENA_LEAST || off)
		len = ARENA_LEAST;
	c->len = (size_t)min_u64(len, ARENA_MOST);
	c->arena = malloc(c->len);
	return c->arena ? 0 : -ENOMEM;
}

static bool in_arena(const struct load_check *c, const uint8_t *p)
{
	return (uintptr_t)p >= (uintptr_t)c->arena && (uintptr_t)p < (uintptr_t)c->arena + c->len;
}

static void drop_block(struct load_check *c, struct load_piece *p, uint32_t block)
{
	if (p->block[block] && !in_arena(c, p->block[block]))
		free((void *)(uintptr_t)p->block[block]);
	p->block[block] = NULL;
}

void load_piece_free(struct load_check *c, struct load_piece *p)
{
	list_remove(&p->on_conn);
	list_remove(&p->on_waiting);
	for (uint32_t i = p->hashed; i < p->nblocks; i++)
		drop_block(c, p, i);
	free(p);
}

void load_check_release(struct load_check *c)
{
	while (c->arena && !list_empty(&c->waiting))
		load_piece_free(c, container_of(c->waiting.next, struct load_piece, on_waiting));
	free(c->arena);
	c->arena = NULL;
}

struct load_piece *load_piece_new(const struct bt_meta *meta, uint32_t index)
{
	uint32_t len = (uint32_t)min_u64(meta->piece_len, meta->size - (uint64_t)index * meta->piece_len);
	uint32_t nblocks = len / LOAD_BLOCK + (len % LOAD_BLOCK != 0);
	struct load_piece *p = calloc(1, sizeof(*p) + nblocks * (sizeof(p->block[0]) + 1));

	if (!p)
		return NULL;
	p->index = index;
	p->len = len;
	p->nblocks = nblocks;
	p->state = (uint8_t *)&p->block[nblocks];
	list_init(&p->on_conn);
	list_init(&p->on_waiting);
	sha1_init(&p->sha);
	return p;
}

uint32_t load_block_len(const struct load_piece *p, uint32_t block)
{
	return (uint32_t)min_size(LOAD_BLOCK, p->len - block * LOAD_BLOCK);
}

void load_piece_miss(struct load_piece *p, uint32_t block)
{
	p->got -= p->state[block] == LOAD_GOT;
	p->state[block] = LOAD_FREE;
	p->first_free = (uint32_t)min_size(p->first_free, block);
}

static void finish(struct load_check *c, struct load_piece *p, const uint8_t *digest)
{
	if (!digest || memcmp(digest, c->meta->hashes + (size_t)p->index * SHA1_LEN, SHA1_LEN) == 0)
		c->good++;
	else
		c->bad++;
	load_piece_free(c, p);
}

/* ---- lanes ---- */

struct check_lane {
	struct load_piece *piece;
	const uint8_t *p; /* rest of its block `hashed` */
	size_t n;
};

/* Ends the block and looks for the piece's next. False: the lane is free. */
static bool lane_next(struct load_check *c, struct check_lane *l)
{
	struct load_piece *p = l->piece;
	uint8_t digest[SHA1_LEN];

	if (p->hashed + 1 == p->nblocks) {
		sha1_final(&p->sha, l->p, l->n, digest);
		finish(c, p, digest);
		return false;
	}
	drop_block(c, p, p->hashed++);
	l->p = p->block[p->hashed];
	l->n = load_block_len(p, p->hashed);
	return l->p != NULL;
}

static bool lane_start(struct load_check *c, struct check_lane *l)
{
	struct load_piece *p = container_of(c->waiting.next, struct load_piece, on_waiting);

	list_remove(&p->on_waiting);
	*l = (struct check_lane){ p, p->block[p->hashed], load_block_len(p, p->hashed) };
	return l->p != NULL;
}

static void hash_waiting(struct load_check *c, struct list *early)
{
	struct check_lane lane[SHA1_MAX_LANES];
	struct sha1 *sha[SHA1_MAX_LANES];
	const uint8_t *p[SHA1_MAX_LANES];
	size_t width = min_size(sha1_lanes(), SHA1_MAX_LANES), busy = 0;

	for (;;) {
		size_t step = SIZE_MAX;

		while (busy < width && !list_empty(&c->waiting)) {
			bool starts = lane_start(c, &lane[busy]);
			if (!starts)
				list_push_back(early, &lane[busy].piece->on_waiting);
			busy += starts;
		}
		for (size_t i = 0; i < busy; i++) {
			while (i < busy && lane[i].n < 64) {
				struct load_piece *was = lane[i].piece;
				bool last = was->hashed + 1 == was->nblocks; /* freed by it */
				if (lane_next(c, &lane[i]))
					continue;
				if (!last && was->got > was->hashed)
					list_push_back(early, &was->on_waiting);
				lane[i] = lane[--busy];
			}
		}
		if (busy == 0 && list_empty(&c->waiting))
			return;
		for (size_t i = 0; i < busy; i++) {
			step = min_size(step, lane[i].n & ~(size_t)63);
			sha[i] = &lane[i].piece->sha;
			p[i] = lane[i].p;
		}
		if (busy > 0)
			sha1_update_many(sha, p, busy, step);
		for (size_t i = 0; i < busy; i++) {
			lane[i].p += step;
			lane[i].n -= step;
		}
	}
}

/* A block that there is no memory for has not come. */
static void save_early(struct load_check *c, struct load_piece *p)
{
	list_remove(&p->on_waiting);
	for (uint32_t i = p->hashed; i < p->nblocks; i++) {
		uint8_t *copy;

		if (!p->block[i] || !in_arena(c, p->block[i]))
			continue;
		copy = malloc(load_block_len(p, i));
		if (copy)
			memcpy(copy, p->block[i], load_block_len(p, i));
		else
			load_piece_miss(p, i);
		p->block[i] = copy;
	}
}

void load_check_flush(struct load_check *c)
{
	struct list early;

	list_init(&early);
	hash_waiting(c, &early);
	while (!list_empty(&early))
		save_early(c, container_of(early.next, struct load_piece, on_waiting));
	c->used = 0;
}

uint8_t *load_check_room(struct load_check *c, size_t n)
{
	if (n > c->len - c->used)
		load_check_flush(c);
	return n <= c->len ? c->arena + c->used : NULL;
}

void load_check_keep(struct load_check *c, size_t n)
{
	if (!c->off && !list_empty(&c->waiting))
		c->used += n;
}

void load_check_block(struct load_check *c, struct load_piece *p, uint32_t block, const uint8_t *at)
{
	p->got++;
	if (c->off) {
		if (p->got == p->nblocks)
			finish(c, p, NULL);
		return;
	}
	p->block[block] = at;
	if (!list_linked(&p->on_waiting))
		list_push_back(&c->waiting, &p->on_waiting);
}
