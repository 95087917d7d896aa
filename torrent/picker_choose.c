/* SPDX-License-Identifier: MIT */
/* picker_choose.c - which blocks next. First what is started, nearest to its end
 * first; then new pieces; then what others work on; at the very end blocks that
 * others were asked for. Start at picker_pick, at the bottom.
 *
 * A new piece is, in this order: one the peer suggested; in sequential mode the
 * lowest; of the first few a random one, so that we soon have something to give
 * that isn't what everybody fetches; one in a run where pieces were started
 * lately, since disks and mapped windows like whole 2 MiB (and a run is short, so
 * rarity waits little); the rarest. Each way looks at a bounded number of pieces;
 * only for a peer that has hardly anything we want, words of its bits are walked. */
#include "torrent/picker_private.h"

enum {
	RANDOM_FIRST = 4, /* pieces started before rarity counts */
	RANDOM_TRIES = 32,
	RAREST_LOOKS = 512, /* places in the order before the peer's own bits are walked */
	WALK_LOOKS = 64,    /* of which the rarest is taken */
	WALK_BYTES = 8192,  /* walked when at least one was found */
	SEQUENTIAL_LOOKS = 4096,
	REQUESTERS_MAX = 3, /* for one block, in endgame */
};

static bool peer_has(const struct pick *pk, uint32_t piece)
{
	return !pk->has || bit_get(pk->has, piece);
}

static bool fits(const struct picker *p, const struct pick *pk, uint32_t piece)
{
	return avail_is_candidate(&p->avail, piece) && peer_has(pk, piece);
}

/* ---- a new piece ---- */

static unsigned top_prio(const struct avail *a)
{
	unsigned prio = 7;
	while (prio > 1 && avail_end(a, (8 - prio) * AVAIL_LEVELS - 1) == 0)
		prio--;
	return prio;
}

/* Candidates among the peer's bits from byte `from` around to it again: the one of
 * the best bucket (or priority alone) among the first `looks`. */
static uint32_t walk_bits(const struct picker *p, const struct pick *pk, size_t from, unsigned looks,
			  bool rarity)
{
	const struct avail *a = &p->avail;
	size_t n = bits_len(p->pieces);
	uint32_t best = PICK_NONE, best_key = UINT32_MAX, least = rarity ? 0 : 7 - top_prio(a);
	for (size_t done = 0, i = from; done < n; done++, i = i + 1 < n ? i + 1 : 0) {
		if (rarity && best != PICK_NONE && done > WALK_BYTES)
			break;
		while (n - i > 8 && n - done > 8) { /* skip eight empty bytes at once */
			uint64_t x, y;
			memcpy(&x, a->candidate + i, 8);
			y = x;
			if (pk->has)
				memcpy(&y, pk->has + i, 8);
			if (x & y)
				break;
			i += 8;
			done += 8;
		}
		unsigned left = a->candidate[i] & (pk->has ? pk->has[i] : 0xffu);
		for (uint32_t piece = (uint32_t)i * 8; left; left = left << 1 & 0xff, piece++) {
			if (!(left & 0x80))
				continue;
			uint32_t key = rarity ? avail_bucket(a, piece) : 7 - avail_prio(a, piece);
			if (key < best_key) {
				best = piece;
				best_key = key;
			}
			if (best_key == least || --looks == 0)
				return best;
		}
	}
	return best;
}

static uint32_t lowest(struct picker *p, const struct pick *pk)
{
	while (p->avail.candidate[p->first] == 0)
		p->first++; /* ends: there are candidates */
	return walk_bits(p, pk, p->first, SEQUENTIAL_LOOKS, false);
}

static uint32_t any(const struct picker *p, const struct pick *pk)
{
	const struct avail *a = &p->avail;
	uint32_t n = avail_end(a, (8 - top_prio(a)) * AVAIL_LEVELS - 1); /* higher ones are empty */
	for (int i = 0; i < RANDOM_TRIES; i++) {
		uint32_t piece = a->order[random_below(n)];
		if (peer_has(pk, piece))
			return piece;
	}
	return PICK_NONE;
}

/* Lowest candidate of a recent run that the peer has and that may be taken before
 * everything else. Runs without candidates are forgotten. */
static uint32_t in_run(struct picker *p, const struct pick *pk)
{
	unsigned top = top_prio(&p->avail);
	uint32_t kept = 0, found = PICK_NONE;
	for (uint32_t r = 0; r < p->nruns; r++) {
		uint32_t piece = p->runs[r] * p->run_pieces, end = piece + p->run_pieces;
		bool alive = found != PICK_NONE; /* not looked at */
		for (; found == PICK_NONE && piece < end && piece < p->pieces; piece++) {
			if (!avail_is_candidate(&p->avail, piece))
				continue;
			alive = true;
			if (peer_has(pk, piece) && avail_prio(&p->avail, piece) == top)
				found = piece;
		}
		if (alive)
			p->runs[kept++] = p->runs[r];
	}
	p->nruns = kept;
	return found;
}

static uint32_t rarest(const struct picker *p, const struct pick *pk)
{
	const struct avail *a = &p->avail;
	unsigned looks = RAREST_LOOKS;
	for (uint32_t b = 0; b < a->top && looks; b++) {
		uint32_t start = avail_start(a, b), n = a->end[b] - start;
		/* What this peer has, at least one has: not in a rank's first bucket. With a
		 * fresh seed most pieces are there. */
		if (n == 0 || (pk->has && b % AVAIL_LEVELS == 0))
			continue;
		for (uint32_t i = 0, at = random_below(n); i < n && looks; i++, looks--) {
			if (peer_has(pk, a->order[start + at]))
				return a->order[start + at];
			at = at + 1 < n ? at + 1 : 0;
		}
	}
	return walk_bits(p, pk, random_below((uint32_t)bits_len(p->pieces)), WALK_LOOKS, true);
}

/* A run is begun at its lowest piece that is as rare as the one found: what
 * follows then is one ascending read for the seed's disk and write for ours. */
static uint32_t run_begin(const struct picker *p, const struct pick *pk, uint32_t found)
{
	uint32_t piece = found / p->run_pieces * p->run_pieces, bucket = avail_bucket(&p->avail, found);
	while (piece < found && !(fits(p, pk, piece) && avail_bucket(&p->avail, piece) == bucket))
		piece++;
	return piece;
}

static uint32_t new_piece(struct picker *p, const struct pick *pk)
{
	uint32_t piece = PICK_NONE;
	for (size_t i = 0; i < pk->nsuggested; i++)
		if (pk->suggested[i] < p->pieces && fits(p, pk, pk->suggested[i]))
			return pk->suggested[i];
	if (p->avail.n == 0 || !avail_ready(&p->avail))
		return PICK_NONE;
	if (p->sequential)
		return lowest(p, pk);
	if (p->nhave + p->nopen < RANDOM_FIRST)
		piece = any(p, pk);
	if (piece == PICK_NONE && p->run_pieces > 1)
		piece = in_run(p, pk);
	if (piece == PICK_NONE) {
		piece = rarest(p, pk);
		if (piece != PICK_NONE)
			piece = run_begin(p, pk, piece);
	}
	return piece;
}

static void remember_run(struct picker *p, uint32_t piece)
{
	uint32_t run = piece / p->run_pieces, at = 0;
	while (at < p->nruns && p->runs[at] != run)
		at++;
	if (at == p->nruns && p->nruns < PICK_RUNS)
		p->nruns++;
	if (at == PICK_RUNS)
		at--; /* the oldest makes room */
	memmove(p->runs + 1, p->runs, at * sizeof(p->runs[0]));
	p->runs[0] = run;
}

/* ---- blocks ---- */

struct want {
	const struct pick *pk;
	struct block *out;
	size_t n, max;
};

static void give(struct picker *p, struct want *w, struct open_piece *op, uint32_t block)
{
	op->blocks[block].requests++;
	op->blocks[block].from = w->pk->peer;
	w->out[w->n++] = picker_block(p, op->index, block);
}

static void take_free(struct picker *p, struct want *w, struct open_piece *op)
{
	for (; op->hint < op->nblocks && w->n < w->max; op->hint++) {
		if (op->blocks[op->hint].state != BLOCK_FREE)
			continue;
		op->blocks[op->hint].state = BLOCK_REQUESTED;
		op->requested++;
		give(p, w, op, op->hint);
	}
	picker_refile(p, op);
}

/* Slow peers share pieces; a fast one keeps to pieces of its own, or ones that
 * nobody works on. */
static bool may_join(const struct pick *pk, const struct open_piece *op)
{
	return op->owner == pk->peer || op->requested == 0 || (op->owner == 0 && !pk->fast);
}

static void from_open(struct picker *p, struct want *w, bool help)
{
	for (unsigned c = 0; c < PICK_CLASSES; c++) {
		struct list *head = &p->by_free[c];
		for (struct list *l = head->next, *next; l != head && w->n < w->max; l = next) {
			struct open_piece *op = container_of(l, struct open_piece, on_free);
			next = l->next;
			if (!peer_has(w->pk, op->index))
				continue;
			if (may_join(w->pk, op))
				op->owner = w->pk->fast ? w->pk->peer : 0;
			else if (!help)
				continue;
			take_free(p, w, op); /* and moves to a list already walked, or none */
		}
	}
}

static void from_new(struct picker *p, struct want *w)
{
	while (w->n < w->max) {
		uint32_t piece = new_piece(p, w->pk);
		struct open_piece *op = piece == PICK_NONE ? NULL : picker_start(p, piece);
		if (!op)
			return;
		op->owner = w->pk->fast ? w->pk->peer : 0;
		remember_run(p, piece);
		take_free(p, w, op);
	}
}

/* What a choked peer may be asked for. */
static void from_only(struct picker *p, struct want *w)
{
	const struct pick *pk = w->pk;
	for (size_t i = 0; i < pk->nonly && w->n < w->max; i++) {
		uint32_t piece = pk->only[i];
		if (piece >= p->pieces || !picker_wants(p, piece) || !peer_has(pk, piece))
			continue;
		struct open_piece *op = picker_start(p, piece);
		if (op)
			take_free(p, w, op);
	}
}

static bool listed(const struct pick *pk, uint32_t piece)
{
	if (!pk->only)
		return true;
	for (size_t i = 0; i < pk->nonly; i++)
		if (pk->only[i] == piece)
			return true;
	return false;
}

/* Blocks that others were asked for, the least asked for first. */
static void from_others(struct picker *p, struct want *w, bool (*asked)(void *, uint32_t, uint32_t),
			void *arg)
{
	for (uint8_t requests = 1; requests < REQUESTERS_MAX; requests++)
		for (struct list *l = p->open.next; l != &p->open && w->n < w->max; l = l->next) {
			struct open_piece *op = container_of(l, struct open_piece, on_open);
			if (op->requested == 0 || !picker_wants(p, op->index) ||
			    !peer_has(w->pk, op->index) || !listed(w->pk, op->index))
				continue;
			for (uint32_t b = 0; b < op->nblocks && w->n < w->max; b++) {
				const struct block_state *s = &op->blocks[b];
				/* `from`: given out in this very call, the caller can't know it */
				if (s->state == BLOCK_REQUESTED && s->requests == requests &&
				    s->from != w->pk->peer && !(asked && asked(arg, op->index, b)))
					give(p, w, op, b);
			}
		}
}

size_t picker_pick(struct picker *p, const struct pick *pk, struct block *out, size_t max,
		   bool (*asked)(void *arg, uint32_t piece, uint32_t block), void *arg)
{
	struct want w = { pk, out, 0, max };
	if (pk->only) {
		from_only(p, &w);
	} else {
		from_open(p, &w, false);
		from_new(p, &w);
		from_open(p, &w, true);
	}
	if (w.n < max && pk->may_share && picker_endgame(p))
		from_others(p, &w, asked, arg);
	return w.n;
}
