/* SPDX-License-Identifier: MIT */
/* picker_walk.h - looks at everything in a picker and says what doesn't agree. */
#ifndef BT_TEST_PICKER_WALK_H
#define BT_TEST_PICKER_WALK_H

#include "test/test.h"
#include "torrent/picker_private.h"

/* Like CHECK, but silent and uncounted when right: it runs millions of times. */
#define HOLDS(e)                   \
	do {                       \
		if (!(e))          \
			CHECK(e);  \
	} while (0)

static inline void walk_avail(const struct avail *a)
{
	HOLDS(bits_count(a->candidate, a->pieces) == a->n);
	if (!a->valid)
		return;
	HOLDS(a->top <= AVAIL_BUCKETS && (a->top ? a->end[a->top - 1] == a->n : a->n == 0));
	for (uint32_t b = 0; b < a->top; b++) {
		HOLDS(avail_start(a, b) <= a->end[b]);
		for (uint32_t pos = avail_start(a, b); pos < a->end[b]; pos++) {
			uint32_t piece = a->order[pos];
			HOLDS(piece < a->pieces && a->place[piece] == pos);
			HOLDS(avail_is_candidate(a, piece) && avail_bucket(a, piece) == b);
		}
	}
}

static inline void walk_open(struct picker *p, struct open_piece *op)
{
	uint32_t received = 0, requested = 0;
	HOLDS(picker_open(p, op->index) == op);
	HOLDS(!picker_has(p, op->index) && op->nblocks == picker_blocks(p, op->index));
	for (uint32_t b = 0; b < op->nblocks; b++) {
		const struct block_state *s = &op->blocks[b];
		received += s->state == BLOCK_RECEIVED;
		requested += s->state == BLOCK_REQUESTED;
		HOLDS((s->state == BLOCK_REQUESTED) == (s->requests > 0) && s->requests <= 3);
		HOLDS(s->state != BLOCK_FREE || b >= op->hint);
		HOLDS(s->state == BLOCK_RECEIVED || s->loc == PICK_LOC_NONE);
	}
	HOLDS(received == op->received && requested == op->requested);
	HOLDS(op->checking == (received == op->nblocks));
	HOLDS(op->free == (picker_wants(p, op->index) ? op->nblocks - received - requested : 0));
	HOLDS(list_linked(&op->on_free) == (op->free > 0));
}

static inline void walk(struct picker *p)
{
	uint32_t had = 0, missing = 0, nopen = 0, free_blocks = 0, listed = 0, hashed = 0;
	walk_avail(&p->avail);
	for (uint32_t i = 0; i < p->pieces; i++) {
		bool open = picker_open(p, i) != NULL, wants = picker_wants(p, i);
		had += picker_has(p, i);
		missing += wants;
		HOLDS(avail_is_candidate(&p->avail, i) == (wants && !open));
		HOLDS(!avail_is_candidate(&p->avail, i) || i / 8 >= p->first);
	}
	HOLDS(had == p->nhave && missing == p->missing && bits_spare_clear(p->have, p->pieces));
	for (struct list *l = p->open.next; l != &p->open; l = l->next) {
		struct open_piece *op = container_of(l, struct open_piece, on_open);
		walk_open(p, op);
		nopen++;
		free_blocks += op->free;
	}
	for (unsigned c = 0; c < PICK_CLASSES; c++)
		for (struct list *l = p->by_free[c].next; l != &p->by_free[c]; l = l->next) {
			struct open_piece *op = container_of(l, struct open_piece, on_free);
			HOLDS(op->free >> c == 1);
			listed += op->free;
		}
	for (uint32_t i = 0; i < p->hash_len; i++)
		for (struct open_piece *op = p->hash[i]; op; op = op->hash_next)
			hashed++;
	HOLDS(nopen == p->nopen && hashed == nopen && free_blocks == p->free && listed == p->free);
	HOLDS(p->missing || !p->avail.order);
	HOLDS(p->nhave < p->pieces || !p->avail.count);
	HOLDS(picker_endgame(p) == (p->avail.n == 0 && free_blocks == 0));
}

#endif
