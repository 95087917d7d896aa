/* SPDX-License-Identifier: MIT */
/* availability.c - rarest first (BEP 3) in O(1) per change: the ordered array
 * that availability.h describes. The idea of one array with bucket boundaries is
 * libtorrent's. */
#include "torrent/availability.h"

#include <assert.h>
#include <stdlib.h>

/* 0..31 exactly; above, eight steps per doubling: whether 400 or 410 peers have a
 * piece matters to nobody, and few buckets keep taking pieces out cheap. */
unsigned avail_level(uint32_t count)
{
	if (count < 32)
		return count;
	unsigned log = 31u - (unsigned)__builtin_clz(count);
	return 32 + (log - 5) * 8 + (count >> (log - 3) & 7);
}

/* the largest count is 65535, log 15 */
_Static_assert(32 + (15 - 5) * 8 + 7 < AVAIL_LEVELS, "all levels have a bucket");

uint32_t avail_bucket(const struct avail *a, uint32_t piece)
{
	return (7 - avail_prio(a, piece)) * AVAIL_LEVELS + avail_level(avail_count(a, piece));
}

bool avail_init(struct avail *a, uint32_t pieces)
{
	memset(a, 0, sizeof(*a));
	a->pieces = pieces;
	a->candidate = alloc_array(bits_len(pieces), 1);
	a->prio = alloc_array((size_t)pieces / 2 + 1, 1);
	if (!a->candidate || !a->prio) {
		avail_release(a);
		return false;
	}
	memset(a->prio, 0x44, (size_t)pieces / 2 + 1);
	memset(a->candidate, 0xff, bits_len(pieces));
	if (pieces % 8)
		a->candidate[pieces / 8] = (uint8_t)(0xff00u >> pieces % 8);
	a->n = pieces;
	return true;
}

void avail_release(struct avail *a)
{
	avail_forget_order(a);
	avail_forget_counts(a);
	free(a->candidate);
	free(a->prio);
	a->candidate = a->prio = NULL;
}

void avail_forget_order(struct avail *a)
{
	free(a->order);
	free(a->place);
	a->order = a->place = NULL;
	a->valid = false;
}

void avail_forget_counts(struct avail *a)
{
	free(a->count);
	a->count = NULL;
	a->valid = false;
}

/* ---- the array ---- */

static void put_at(struct avail *a, uint32_t pos, uint32_t piece)
{
	a->order[pos] = piece;
	a->place[piece] = pos;
}

static void exchange(struct avail *a, uint32_t x, uint32_t y)
{
	uint32_t px = a->order[x];
	put_at(a, x, a->order[y]);
	put_at(a, y, px);
}

static void take_out(struct avail *a, uint32_t piece)
{
	uint32_t hole = a->place[piece];
	for (uint32_t b = avail_bucket(a, piece); b < a->top; b++) {
		uint32_t last = --a->end[b];
		if (last != hole)
			put_at(a, hole, a->order[last]);
		hole = last;
	}
	a->n--;
	assert(hole == a->n);
}

static void put_in(struct avail *a, uint32_t piece)
{
	uint32_t bucket = avail_bucket(a, piece), hole = a->n++;
	while (a->top <= bucket)
		a->end[a->top++] = hole;
	for (uint32_t b = a->top - 1; b > bucket; b--) {
		uint32_t first = a->end[b - 1];
		a->end[b]++;
		if (first != hole)
			put_at(a, hole, a->order[first]);
		hole = first;
	}
	a->end[bucket]++;
	put_at(a, hole, piece);
}

/* The count of a candidate has changed by one and with it its level. */
static void shift(struct avail *a, uint32_t piece, bool up)
{
	uint32_t now = avail_bucket(a, piece), pos = a->place[piece];
	if (up) {
		while (a->top <= now)
			a->end[a->top++] = a->n;
		exchange(a, pos, --a->end[now - 1]);
	} else {
		exchange(a, pos, a->end[now]++);
	}
}

bool avail_ready(struct avail *a)
{
	if (a->valid)
		return true;
	if (!a->order)
		a->order = alloc_array(a->pieces, sizeof(*a->order));
	if (!a->place)
		a->place = alloc_array(a->pieces, sizeof(*a->place));
	if (!a->order || !a->place) {
		avail_forget_order(a);
		return false;
	}
	/* Counting sort. end[] first counts, then holds starts, then grows into ends. */
	memset(a->end, 0, sizeof(a->end));
	for (uint32_t i = 0; i < a->pieces; i++)
		if (avail_is_candidate(a, i))
			a->end[avail_bucket(a, i)]++;
	uint32_t sum = 0;
	a->top = 0;
	for (uint32_t b = 0; b < AVAIL_BUCKETS; b++) {
		uint32_t n = a->end[b];
		a->end[b] = sum;
		sum += n;
		if (n)
			a->top = b + 1;
	}
	assert(sum == a->n);
	for (uint32_t i = 0; i < a->pieces; i++)
		if (avail_is_candidate(a, i))
			put_at(a, a->end[avail_bucket(a, i)]++, i);
	a->valid = true;
	return true;
}

/* ---- changes ---- */

void avail_set_candidate(struct avail *a, uint32_t piece, bool on)
{
	if (avail_is_candidate(a, piece) == on)
		return;
	if (on)
		bit_set(a->candidate, piece);
	else
		bit_clear(a->candidate, piece);
	if (a->valid && on)
		put_in(a, piece);
	else if (a->valid)
		take_out(a, piece);
	else if (on)
		a->n++;
	else
		a->n--;
}

void avail_set_prio(struct avail *a, uint32_t piece, unsigned prio)
{
	bool in_order = a->valid && avail_is_candidate(a, piece);
	unsigned at = piece % 2 * 4;
	if (in_order)
		take_out(a, piece);
	a->prio[piece / 2] = (uint8_t)((a->prio[piece / 2] & ~(0xfu << at)) | prio << at);
	if (in_order)
		put_in(a, piece);
}

/* Without memory pieces stay uncounted: they look rarer than they are. */
static bool have_counts(struct avail *a)
{
	if (!a->count)
		a->count = alloc_array(a->pieces, sizeof(*a->count));
	return a->count != NULL;
}

void avail_add(struct avail *a, uint32_t piece)
{
	if (!have_counts(a) || a->count[piece] == UINT16_MAX)
		return;
	unsigned old = avail_level(a->count[piece]++);
	if (a->valid && old != avail_level(a->count[piece]) && avail_is_candidate(a, piece))
		shift(a, piece, true);
}

void avail_sub(struct avail *a, uint32_t piece)
{
	if (!a->count || a->count[piece] == 0)
		return;
	unsigned old = avail_level(a->count[piece]--);
	if (a->valid && old != avail_level(a->count[piece]) && avail_is_candidate(a, piece))
		shift(a, piece, false);
}

/* Eight pieces at once, without a branch: bitfields of peers are random bits. */
static void count_byte(uint16_t *count, unsigned bits, int add)
{
	for (unsigned k = 0; k < 8; k++) {
		uint16_t bit = bits >> (7 - k) & 1;
		if (add > 0)
			count[k] = (uint16_t)(count[k] + (bit & (count[k] != UINT16_MAX)));
		else
			count[k] = (uint16_t)(count[k] - (bit & (count[k] != 0)));
	}
}

static uint32_t move_byte(struct avail *a, uint32_t piece, unsigned bits, int add)
{
	uint32_t moved = 0;
	for (; bits; bits = bits << 1 & 0xff, piece++) {
		if (!(bits & 0x80))
			continue;
		if (add > 0)
			avail_add(a, piece);
		else
			avail_sub(a, piece);
		moved++;
	}
	return moved;
}

/* Once more than this share of the pieces is moved, one sort is cheaper. */
enum { FEW = 32 };

void avail_add_bits(struct avail *a, const uint8_t *bits, int add)
{
	static const uint8_t none[8];
	size_t len = bits_len(a->pieces), whole = a->pieces / 8;
	uint32_t moved = 0;
	if (add > 0 ? !have_counts(a) : !a->count)
		return;
	for (size_t i = 0; i < len; i++) {
		while (len - i > 8 && memcmp(bits + i, none, 8) == 0)
			i += 8;
		if (a->valid && moved > a->pieces / FEW)
			a->valid = false;
		if (!a->valid && i < whole)
			count_byte(a->count + i * 8, bits[i], add);
		else
			moved += move_byte(a, (uint32_t)i * 8, bits[i], add);
	}
}
