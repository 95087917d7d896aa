/* SPDX-License-Identifier: MIT */
/* picker.c - pieces and blocks: what is had, wanted, started, on order, arrived.
 * Every change is O(1) but for taking a piece out of the order of rarity, which
 * does not depend on the number of pieces either. Choosing is picker_choose.c. */
#include "torrent/picker_private.h"

#include <assert.h>
#include <stdlib.h>

#define HASH_FIRST 64u

struct picker *picker_new(uint32_t pieces, uint64_t piece_len, uint64_t size)
{
	assert(pieces < PICK_NONE / 2);
	assert(pieces == 0 || (piece_len > 0 && piece_len <= UINT32_MAX && size > (pieces - 1) * piece_len &&
			       size - (pieces - 1) * piece_len <= piece_len));
	struct picker *p = alloc_array(1, sizeof(*p));
	if (!p)
		return NULL;
	p->pieces = p->missing = pieces;
	p->piece_len = (uint32_t)piece_len;
	p->last_len = pieces ? (uint32_t)(size - (pieces - 1) * piece_len) : 0;
	uint32_t run_piece = piece_len < PICK_BLOCK ? PICK_BLOCK : (uint32_t)piece_len; /* in_run looks at each of a run */
	p->run_pieces = run_piece < PICK_RUN ? PICK_RUN / run_piece : 1;
	list_init(&p->open);
	for (size_t i = 0; i < PICK_CLASSES; i++)
		list_init(&p->by_free[i]);
	p->hash_len = HASH_FIRST;
	p->hash = alloc_array(p->hash_len, sizeof(*p->hash));
	p->have = alloc_array(bits_len(pieces), 1);
	if (!avail_init(&p->avail, pieces) || !p->hash || !p->have) {
		picker_free(p);
		return NULL;
	}
	return p;
}

void picker_free(struct picker *p)
{
	if (!p)
		return;
	while (!list_empty(&p->open)) {
		struct open_piece *op = container_of(p->open.next, struct open_piece, on_open);
		list_remove(&op->on_open);
		free(op);
	}
	avail_release(&p->avail);
	free(p->have);
	free(p->hash);
	free(p);
}

/* ---- geometry ---- */

uint32_t picker_piece_len(const struct picker *p, uint32_t piece)
{
	assert(piece < p->pieces);
	return piece == p->pieces - 1 ? p->last_len : p->piece_len;
}

uint32_t picker_blocks(const struct picker *p, uint32_t piece)
{
	uint32_t len = picker_piece_len(p, piece);
	return len / PICK_BLOCK + (len % PICK_BLOCK != 0);
}

struct block picker_block(const struct picker *p, uint32_t piece, uint32_t block)
{
	uint32_t begin = block * PICK_BLOCK, left = picker_piece_len(p, piece) - begin;
	assert(block < picker_blocks(p, piece));
	return (struct block){ piece, begin, left < PICK_BLOCK ? left : PICK_BLOCK };
}

/* ---- open pieces ---- */

static struct open_piece **hash_at(const struct picker *p, uint32_t piece)
{
	return &p->hash[piece & (p->hash_len - 1)]; /* neighbours spread by themselves */
}

struct open_piece *picker_open(struct picker *p, uint32_t piece)
{
	struct open_piece *op = *hash_at(p, piece);
	while (op && op->index != piece)
		op = op->hash_next;
	return op;
}

/* Without memory the chains just get longer. */
static void hash_grow(struct picker *p)
{
	struct open_piece **bigger = alloc_array((size_t)p->hash_len * 2, sizeof(*bigger));
	if (!bigger)
		return;
	free(p->hash);
	p->hash = bigger;
	p->hash_len *= 2;
	for (struct list *l = p->open.next; l != &p->open; l = l->next) {
		struct open_piece *op = container_of(l, struct open_piece, on_open);
		op->hash_next = *hash_at(p, op->index);
		*hash_at(p, op->index) = op;
	}
}

static unsigned log2_of(uint32_t n)
{
	return 31u - (unsigned)__builtin_clz(n);
}

void picker_refile(struct picker *p, struct open_piece *op)
{
	uint32_t now = op->nblocks - op->received - op->requested, old = op->free;
	if (!picker_wants(p, op->index) || op->checking)
		now = 0;
	op->free = now;
	p->free += now - old; /* wraps and comes back */
	if (now && old && log2_of(now) == log2_of(old))
		return;
	list_remove(&op->on_free);
	if (now)
		list_push_back(&p->by_free[log2_of(now)], &op->on_free);
}

/* Keeps avail's candidates what they are said to be. */
static void update_candidate(struct picker *p, uint32_t piece)
{
	bool on = picker_wants(p, piece) && !picker_open(p, piece);
	avail_set_candidate(&p->avail, piece, on);
	if (on && piece / 8 < p->first)
		p->first = piece / 8;
}

struct open_piece *picker_start(struct picker *p, uint32_t piece)
{
	struct open_piece *op = picker_open(p, piece);
	if (op || picker_has(p, piece))
		return op;
	uint32_t n = picker_blocks(p, piece);
	op = calloc(1, sizeof(*op) + (size_t)n * sizeof(op->blocks[0])); /* n <= 2^18 */
	if (!op)
		return NULL;
	op->index = piece;
	op->nblocks = n;
	for (uint32_t i = 0; i < n; i++)
		op->blocks[i].loc = PICK_LOC_NONE;
	if (p->nopen >= p->hash_len)
		hash_grow(p);
	op->hash_next = *hash_at(p, piece);
	*hash_at(p, piece) = op;
	list_push_back(&p->open, &op->on_open);
	list_init(&op->on_free);
	p->nopen++;
	picker_refile(p, op);
	update_candidate(p, piece);
	return op;
}

static void close_piece(struct picker *p, struct open_piece *op)
{
	uint32_t piece = op->index;
	struct open_piece **at = hash_at(p, piece);
	while (*at != op)
		at = &(*at)->hash_next;
	*at = op->hash_next;
	list_remove(&op->on_open);
	list_remove(&op->on_free);
	p->free -= op->free;
	p->nopen--;
	free(op);
	update_candidate(p, piece);
}

void picker_each_open(struct picker *p, void (*fn)(void *arg, struct open_piece *), void *arg)
{
	for (struct list *l = p->open.next, *next; l != &p->open; l = next) {
		next = l->next;
		fn(arg, container_of(l, struct open_piece, on_open));
	}
}

/* ---- what we have and want ---- */

bool picker_has(const struct picker *p, uint32_t piece)
{
	assert(piece < p->pieces);
	return bit_get(p->have, piece);
}

const uint8_t *picker_have_bits(const struct picker *p)
{
	return p->have;
}

bool picker_wants(const struct picker *p, uint32_t piece)
{
	return !picker_has(p, piece) && avail_prio(&p->avail, piece) != 0;
}

uint32_t picker_missing(const struct picker *p)
{
	return p->missing;
}

/* A seed of two million pieces keeps little more than their bits. */
static void shed_memory(struct picker *p)
{
	if (p->missing == 0)
		avail_forget_order(&p->avail);
	if (p->nhave == p->pieces)
		avail_forget_counts(&p->avail);
}

void picker_set_have(struct picker *p, uint32_t piece)
{
	if (picker_has(p, piece))
		return;
	p->missing -= picker_wants(p, piece);
	p->nhave++;
	bit_set(p->have, piece);
	struct open_piece *op = picker_open(p, piece);
	if (op)
		close_piece(p, op);
	else
		update_candidate(p, piece);
	shed_memory(p);
}

void picker_set_lost(struct picker *p, uint32_t piece)
{
	if (!picker_has(p, piece))
		return;
	p->nhave--;
	bit_clear(p->have, piece);
	p->missing += picker_wants(p, piece);
	update_candidate(p, piece);
}

void picker_set_priority(struct picker *p, uint32_t piece, unsigned prio)
{
	assert(piece < p->pieces);
	if (prio > 7)
		prio = 7;
	if (avail_prio(&p->avail, piece) == prio)
		return;
	p->missing -= picker_wants(p, piece);
	if (prio == 0)
		avail_set_candidate(&p->avail, piece, false);
	avail_set_prio(&p->avail, piece, prio);
	p->missing += picker_wants(p, piece);
	update_candidate(p, piece);
	struct open_piece *op = picker_open(p, piece);
	if (op)
		picker_refile(p, op);
	shed_memory(p);
}

void picker_set_sequential(struct picker *p, bool on)
{
	p->sequential = on;
}

/* ---- availability ---- */

void picker_peer_has(struct picker *p, uint32_t piece)
{
	assert(piece < p->pieces);
	if (p->nhave < p->pieces)
		avail_add(&p->avail, piece);
}

void picker_peer_lacks(struct picker *p, uint32_t piece)
{
	assert(piece < p->pieces);
	avail_sub(&p->avail, piece);
}

void picker_peer_bits(struct picker *p, const uint8_t *bits, int add)
{
	assert(bits_spare_clear(bits, p->pieces));
	if (p->nhave < p->pieces)
		avail_add_bits(&p->avail, bits, add);
}

void picker_peer_all(struct picker *p, int add)
{
	assert(add > 0 || p->avail.complete > 0);
	if (add > 0)
		p->avail.complete++;
	else
		p->avail.complete--;
}

uint32_t picker_availability(const struct picker *p, uint32_t piece)
{
	assert(piece < p->pieces);
	return p->avail.complete + avail_count(&p->avail, piece);
}

/* ---- what becomes of requests ---- */

static void free_block(struct picker *p, struct open_piece *op, uint32_t block)
{
	struct block_state *b = &op->blocks[block];
	b->state = BLOCK_FREE;
	b->from = 0;
	if (block < op->hint)
		op->hint = block;
	if (op->requested == 0 && op->received == 0 && !op->failed_before && !op->user)
		close_piece(p, op);
	else
		picker_refile(p, op);
}

void picker_unrequest(struct picker *p, uint32_t piece, uint32_t block)
{
	struct open_piece *op = picker_open(p, piece);
	if (!op)
		return;
	assert(block < op->nblocks);
	struct block_state *b = &op->blocks[block];
	if (b->state != BLOCK_REQUESTED || --b->requests > 0)
		return;
	op->requested--;
	free_block(p, op, block);
}

void picker_give_up(struct picker *p, uint32_t piece, uint32_t block)
{
	struct open_piece *op = picker_open(p, piece);
	if (!op || op->checking || op->blocks[block].state != BLOCK_RECEIVED)
		return;
	op->blocks[block].loc = PICK_LOC_NONE;
	op->received--;
	free_block(p, op, block);
}

enum picker_got picker_got(struct picker *p, uint32_t piece, uint32_t block, uint32_t peer,
			   bool was_requested)
{
	struct open_piece *op = picker_open(p, piece);
	(void)was_requested; /* a block that has come is on order nowhere, whoever sent it */
	if (!op && picker_wants(p, piece))
		op = picker_start(p, piece);
	if (!op)
		return GOT_DUPLICATE;
	assert(block < op->nblocks);
	struct block_state *b = &op->blocks[block];
	if (b->state == BLOCK_RECEIVED)
		return GOT_DUPLICATE;
	op->requested -= b->state == BLOCK_REQUESTED;
	op->received++;
	b->state = BLOCK_RECEIVED;
	b->requests = 0;
	b->from = peer;
	op->checking = op->received == op->nblocks;
	picker_refile(p, op);
	return op->checking ? GOT_LAST : GOT_NEW;
}

void picker_reset(struct picker *p, uint32_t piece)
{
	struct open_piece *op = picker_open(p, piece);
	if (!op)
		return;
	for (uint32_t i = 0; i < op->nblocks; i++)
		op->blocks[i] = (struct block_state){ .loc = PICK_LOC_NONE, .state = BLOCK_FREE };
	op->received = op->requested = op->hint = op->owner = 0;
	op->checking = false;
	picker_refile(p, op);
}

bool picker_endgame(const struct picker *p)
{
	return p->free == 0 && p->avail.n == 0;
}
