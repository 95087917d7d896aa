/* SPDX-License-Identifier: MIT */
/* choker.c - who may download from us (BEP 3). Each run ranks the interested
 * peers; the first `slots` are unchoked, and one more by chance, the optimistic
 * one, so that somebody with nothing to give yet, or not yet known, gets a start.
 *
 * Downloading: those who give come first, by rate. Slots that givers don't fill
 * are shared by lot anew every rotation, so nobody sits on one for nothing.
 * Seeding: who has a slot keeps it until it got its quantum (libtorrent's round
 * robin), then whoever waited longest follows. Being fast doesn't help, and coming
 * back as somebody new helps only for the one optimistic slot: what Adamsky's
 * bandwidth thieves lived on. Peers that aren't interested are always choked. */
#include "torrent/choker.h"

#include <stdlib.h>

#define NEWCOMER_MS      60000u
#define NEWCOMER_CHANCES 3
#define SLOW_SHARE       8 /* of the mean rate: a slot served slower than 1/8 of it is given on */

enum rank {
	RANK_GIVES, /* downloading: by down_rate */
	RANK_HOLDS, /* seeding: within its quantum */
	RANK_WAITS,
	RANK_LAST, /* snubbed; had its quantum */
	RANK_NONE, /* not interested */
};

/* The best of several draws: exactly as if it had several lots in the urn. */
static uint32_t draw(const struct choke_peer *p)
{
	int lots = p->connected_ms < NEWCOMER_MS ? NEWCOMER_CHANCES : 1;
	uint32_t best = 0;
	while (lots--) {
		uint32_t lot = random_below(UINT32_MAX);
		if (lot > best)
			best = lot;
	}
	return best;
}

static void judge_giver(const struct choker *c, struct choke_peer *p)
{
	p->rank = p->snubbed ? RANK_LAST : p->down_rate ? RANK_GIVES : RANK_WAITS;
	p->merit = p->rank == RANK_GIVES ? p->down_rate : p->unchoked && !p->optimistic && !c->rotate;
}

/* A holder that takes (almost) nothing would keep its slot for hours: at a
 * rotation it counts as one who had his share. */
static void judge_taker(const struct choker *c, struct choke_peer *p, uint64_t mean)
{
	bool slow = c->rotate && (p->up_rate == 0 || p->up_rate < mean / SLOW_SHARE);
	if (!p->unchoked || p->optimistic) {
		p->rank = RANK_WAITS;
		p->merit = p->unchoked ? 0 : p->waiting_ms;
	} else {
		p->rank = p->sent_since_unchoke < c->quantum && !slow ? RANK_HOLDS : RANK_LAST;
		p->merit = p->up_rate;
	}
}

static uint64_t mean_up_rate(const struct choke_peer *v, size_t n)
{
	uint64_t sum = 0, holders = 0;
	for (size_t i = 0; i < n; i++)
		if (v[i].interested && v[i].unchoked && !v[i].optimistic) {
			sum += v[i].up_rate;
			holders++;
		}
	return holders ? sum / holders : 0;
}

static int by_rank(const void *x, const void *y)
{
	const struct choke_peer *a = x, *b = y;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->merit != b->merit)
		return a->merit > b->merit ? -1 : 1;
	return (a->chance < b->chance) - (a->chance > b->chance);
}

/* The present one for three rounds, unless it has won a regular slot or lost
 * interest; then by lot among the choked, another if there is any. */
static void choose_optimistic(const struct choker *c, struct choke_peer *v, size_t n)
{
	struct choke_peer *now = NULL, *next = NULL;
	for (size_t i = 0; i < n; i++) {
		struct choke_peer *p = &v[i];
		bool had_it = p->optimistic;
		p->optimistic = false;
		if (!p->interested || p->unchoke)
			continue;
		p->chance = draw(p);
		if (had_it && !now)
			now = p;
		else if (!next || p->chance > next->chance)
			next = p;
	}
	if (now && (!c->rotate || !next))
		next = now;
	if (next)
		next->optimistic = next->unchoke = true;
}

void choker_run(const struct choker *c, struct choke_peer *v, size_t n)
{
	uint64_t mean = mean_up_rate(v, n);
	for (size_t i = 0; i < n; i++) {
		v[i].chance = draw(&v[i]);
		v[i].merit = 0;
		if (!v[i].interested)
			v[i].rank = RANK_NONE;
		else if (c->seeding)
			judge_taker(c, &v[i], mean);
		else
			judge_giver(c, &v[i]);
	}
	if (n)
		qsort(v, n, sizeof(*v), by_rank);
	for (size_t i = 0; i < n; i++)
		v[i].unchoke = i < c->slots && v[i].interested;
	choose_optimistic(c, v, n);
}

uint32_t choker_slots(uint64_t up_limit, uint64_t up_rate)
{
	enum { LEAST = 2, USUAL = 8, MOST = 250, SLOT_LEAST_RATE = 4096 };
	uint64_t rate = up_limit ? up_limit : up_rate, slots = USUAL;
	if (up_limit && up_limit < USUAL * SLOT_LEAST_RATE)
		return up_limit / SLOT_LEAST_RATE < LEAST ? LEAST : (uint32_t)(up_limit / SLOT_LEAST_RATE);
	while (slots < MOST && (slots + 1) * (slots + 1) <= rate / 16384) /* 1 MB/s: 8, 100 MB/s: 78 */
		slots++;
	return (uint32_t)slots;
}
