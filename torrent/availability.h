/* SPDX-License-Identifier: MIT */
/* availability.h - private to the picker: how many peers have each piece, and
 * the candidates (wanted, not had, not started) in one array ordered by priority,
 * then rarity. Needs no knowledge of blocks or peers. */
#ifndef BT_AVAILABILITY_H
#define BT_AVAILABILITY_H

#include "base/base.h"

#define AVAIL_LEVELS 120u /* see avail_level() */
#define AVAIL_RANKS 7u    /* rank 0 is priority 7, rank 6 priority 1 */
#define AVAIL_BUCKETS (AVAIL_RANKS * AVAIL_LEVELS)

/* The array `order` holds the candidates, bucket after bucket; end[b] is one past
 * the last place of bucket b, for b < top; buckets from top on are empty and end
 * at n. A piece's bucket follows from its priority and its count. Within a bucket
 * there is no order; who breaks ties by chance begins at a random place in it.
 * Moving a piece to a neighbouring bucket exchanges it with the one at the
 * boundary: O(1). Taking one out or in shifts each boundary behind it, O(buckets
 * in use), whatever the number of pieces.
 *
 * `order` and `place` exist only while valid; a bulk change just drops valid and
 * the next avail_ready() sorts anew, so bitfields that come one after another
 * cost one sort. Per piece: 1/8 + 1/2 byte always, 2 while we lack a piece and
 * partial peers are known, 8 while downloading. */
struct avail {
	uint32_t pieces;
	uint32_t n;         /* candidates */
	uint32_t complete;  /* peers that have everything, not in count[] */
	uint8_t *candidate; /* bits in wire order */
	uint8_t *prio;      /* 4 bits each, low half first */
	uint16_t *count;    /* peers that have it; NULL = none counted */
	uint32_t *order, *place;
	bool valid;
	uint32_t top;
	uint32_t end[AVAIL_BUCKETS];
};

bool avail_init(struct avail *, uint32_t pieces) BT_MUST_USE; /* priority 4, all candidates */
void avail_release(struct avail *);
void avail_forget_order(struct avail *);  /* gives its memory back */
void avail_forget_counts(struct avail *); /* likewise; counts start from 0 when peers tell again */

/* Sorts if need be; false without memory. Order, place and end may be read after it. */
bool avail_ready(struct avail *) BT_MUST_USE;

static inline unsigned avail_prio(const struct avail *a, uint32_t piece)
{
	return (unsigned)a->prio[piece / 2] >> (piece % 2 * 4) & 7u;
}
static inline uint32_t avail_count(const struct avail *a, uint32_t piece)
{
	return a->count ? a->count[piece] : 0;
}
static inline bool avail_is_candidate(const struct avail *a, uint32_t piece)
{
	return bit_get(a->candidate, piece);
}
unsigned avail_level(uint32_t count);
uint32_t avail_bucket(const struct avail *, uint32_t piece);
static inline uint32_t avail_end(const struct avail *a, uint32_t bucket)
{
	return bucket < a->top ? a->end[bucket] : a->n;
}
static inline uint32_t avail_start(const struct avail *a, uint32_t bucket)
{
	return bucket ? avail_end(a, bucket - 1) : 0;
}

void avail_set_candidate(struct avail *, uint32_t piece, bool on);
void avail_set_prio(struct avail *, uint32_t piece, unsigned prio /* not 0 for a candidate */);
void avail_add(struct avail *, uint32_t piece);
void avail_sub(struct avail *, uint32_t piece);
void avail_add_bits(struct avail *, const uint8_t *bits, int add /* +1, -1 */);

#endif
