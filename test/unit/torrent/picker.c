/* SPDX-License-Identifier: MIT */
/* picker.c (test) - what is chosen, case by case. The random life of a swarm is
 * in picker_model.c. */
#include "torrent/picker.h"
#include "picker_walk.h"

#include <time.h>

enum { BIG = 2000000 };

static size_t pick(struct picker *p, struct pick pk, struct block *out, size_t max)
{
	size_t n = picker_pick(p, &pk, out, max, NULL, NULL);
	walk(p);
	return n;
}

/* Blocks of a piece come from nowhere and it verifies. */
static void fetch(struct picker *p, uint32_t piece)
{
	CHECK(picker_start(p, piece) != NULL);
	for (uint32_t b = 0; b < picker_blocks(p, piece); b++)
		CHECK(picker_got(p, piece, b, 9, true) ==
		      (b + 1 == picker_blocks(p, piece) ? GOT_LAST : GOT_NEW));
	CHECK(picker_open(p, piece)->checking);
	picker_set_have(p, piece);
	CHECK(picker_has(p, piece) && !picker_open(p, piece));
}

static void bits_of(uint8_t *bits, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		bit_set(bits, i);
}

static void geometry(void)
{
	static const struct {
		uint32_t pieces;
		uint64_t piece_len, size;
		uint32_t last_blocks, last_block_len;
	} cases[] = {
		{ 1, 16384, 1, 1, 1 },
		{ 1, 16384, 16384, 1, 16384 },
		{ 3, 40000, 120000, 3, 40000 - 32768 },
		{ 3, 40000, 80001, 1, 1 },
		{ 2, 65536, 65536 + 16385, 2, 1 },
		{ 2, 32767ull * 16384, 2 * 32767ull * 16384, 32767, 16384 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t last = cases[i].pieces - 1;
		struct picker *p = picker_new(cases[i].pieces, cases[i].piece_len, cases[i].size);
		CHECK(p && picker_missing(p) == cases[i].pieces);
		CHECK(picker_blocks(p, last) == cases[i].last_blocks);
		struct block b = picker_block(p, last, cases[i].last_blocks - 1);
		CHECK(b.piece == last && b.begin == (cases[i].last_blocks - 1) * PICK_BLOCK &&
		      b.len == cases[i].last_block_len);
		uint64_t sum = 0;
		for (uint32_t k = 0; k <= last; k++)
			for (uint32_t n = 0; n < picker_blocks(p, k); n++)
				sum += picker_block(p, k, n).len;
		CHECK(sum == cases[i].size);
		walk(p);
		picker_free(p);
	}
	picker_free(NULL);
}

static void levels(void)
{
	unsigned last = 0;
	for (uint32_t n = 0; n <= 65535; n++) {
		unsigned level = avail_level(n);
		HOLDS(level == last || level == last + 1);
		last = level;
	}
	CHECK(avail_level(31) == 31 && avail_level(32) == 32 && last == AVAIL_LEVELS - 1);
}

/* 2 MiB pieces: no runs. Rarity decides, priority before it. */
static void rarest_first(void)
{
	struct picker *p = picker_new(20, 2 << 20, 20ull * (2 << 20));
	uint8_t bits[3] = { 0 };
	struct block out[128];
	for (uint32_t i = 0; i < 4; i++)
		fetch(p, i); /* so that the first aren't random */
	for (uint32_t i = 4; i < 20; i++)
		for (uint32_t k = 0; k < i; k++) /* the higher the more common */
			picker_peer_has(p, i);
	picker_peer_all(p, 1);
	CHECK(picker_availability(p, 4) == 5 && picker_availability(p, 19) == 20);
	struct pick seed = { .peer = 1, .may_share = true, .fast = true };
	CHECK(pick(p, seed, out, 128) == 128 && out[0].piece == 4 && out[127].piece == 4);
	for (uint32_t b = 1; b < 128; b++) /* in order, as disks like it */
		HOLDS(out[b].begin == out[b - 1].begin + PICK_BLOCK);
	bits_of(bits, 8, 20);
	struct pick partial = { .peer = 2, .has = bits, .may_share = true, .fast = true };
	CHECK(pick(p, partial, out, 1) == 1 && out[0].piece == 8);
	picker_set_priority(p, 15, 7);
	picker_set_priority(p, 17, 5);
	picker_set_priority(p, 5, 0);
	CHECK(!picker_wants(p, 5) && picker_missing(p) == 15);
	partial.peer = 3;
	CHECK(pick(p, partial, out, 1) == 1 && out[0].piece == 15);
	partial.peer = 4;
	CHECK(pick(p, partial, out, 1) == 1 && out[0].piece == 17);
	seed.peer = 5; /* 5 is rarest but not wanted */
	CHECK(pick(p, seed, out, 1) == 1 && out[0].piece == 6);
	for (int k = 0; k < 14; k++)
		picker_peer_lacks(p, 18); /* now only 4 have it */
	seed.peer = 6;
	CHECK(pick(p, seed, out, 1) == 1 && out[0].piece == 18);
	picker_free(p);
}

/* Ties are broken by chance: two clients don't fetch the same. */
static void ties(void)
{
	bool seen[64] = { false };
	int distinct = 0;
	for (int run = 0; run < 500; run++) {
		struct picker *p = picker_new(64, 2 << 20, 64ull * (2 << 20));
		struct block out;
		struct pick seed = { .peer = 1, .may_share = true };
		for (uint32_t i = 60; i < 64; i++)
			fetch(p, i);
		if (run % 2) { /* sorted already when they become equal */
			CHECK(picker_pick(p, &(struct pick){ .peer = 1, .may_share = true }, &out, 1, NULL,
					  NULL) == 1);
			picker_unrequest(p, out.piece, 0);
			for (uint32_t i = 0; i < 60; i++)
				picker_peer_has(p, i);
		}
		CHECK(pick(p, seed, &out, 1) == 1);
		distinct += !seen[out.piece];
		seen[out.piece] = true;
		picker_free(p);
	}
	CHECK(distinct >= 55);
}

/* One seed: after the first few, whole 2 MiB runs, ascending, in random order. */
static void runs(void)
{
	struct picker *p = picker_new(800, 262144, 800ull * 262144); /* 8 to a run */
	struct block out[16];
	struct pick seed = { .peer = 1, .may_share = true, .fast = true };
	uint32_t left[100], same = 0, ascending = 0, last = 0, open_runs_max = 0;
	for (int i = 0; i < 100; i++)
		left[i] = 8;
	for (int i = 0; i < 800; i++) {
		CHECK(picker_pick(p, &seed, out, 16, NULL, NULL) == 16);
		uint32_t piece = out[0].piece, open_runs = 0;
		CHECK(out[15].piece == piece);
		same += piece / 8 == last / 8;
		ascending += piece == last + 1;
		last = piece;
		left[piece / 8]--;
		for (int r = 0; r < 100; r++)
			open_runs += left[r] > 0 && left[r] < 8;
		open_runs_max = open_runs > open_runs_max ? open_runs : open_runs_max;
		for (uint32_t b = 0; b < 16; b++)
			picker_got(p, piece, b, 1, true);
		picker_set_have(p, piece);
	}
	walk(p);
	CHECK(picker_missing(p) == 0);
	CHECK(same > 690 && ascending > 650 && open_runs_max <= 5);
	picker_free(p);
}

/* A run waits for rarer pieces of higher priority, never the other way round. */
static void runs_respect_priority(void)
{
	struct picker *p = picker_new(80, 262144, 80ull * 262144);
	struct block out[16];
	struct pick seed = { .peer = 1, .may_share = true, .fast = true };
	for (uint32_t i = 0; i < 4; i++)
		fetch(p, i);
	CHECK(pick(p, seed, out, 16) == 16);
	picker_set_priority(p, 79, 6);
	CHECK(pick(p, seed, out, 16) == 16 && out[0].piece == 79);
	picker_free(p);
}

static void started_before_new(void)
{
	struct picker *p = picker_new(20, 65536, 20 * 65536);
	struct block out[16];
	struct pick slow = { .peer = 1, .may_share = true };
	CHECK(pick(p, slow, out, 3) == 3);
	uint32_t piece = out[0].piece;
	slow.peer = 2;
	CHECK(pick(p, slow, out, 2) == 2);
	CHECK(out[0].piece == piece && out[0].begin == 3 * PICK_BLOCK && out[1].piece != piece);
	uint32_t second = out[1].piece;
	/* a fast one takes pieces of its own ... */
	struct pick fast = { .peer = 3, .may_share = true, .fast = true };
	CHECK(pick(p, fast, out, 6) == 6);
	CHECK(out[0].piece != piece && out[0].piece != second && out[3].piece == out[0].piece);
	CHECK(out[4].piece != out[0].piece && out[4].piece != second && out[5].piece == out[4].piece);
	uint32_t own = out[4].piece;
	/* ... into which slow ones don't go ... */
	slow.peer = 4;
	CHECK(pick(p, slow, out, 4) == 4);
	CHECK(out[0].piece == second && out[2].piece == second && out[3].piece != own);
	/* ... and where it goes on first */
	CHECK(pick(p, fast, out, 2) == 2 && out[0].piece == own && out[1].piece == own);
	picker_free(p);
}

/* The nearest to its end goes first; one whose peer went is taken over by a fast one. */
static void nearest_to_end(void)
{
	struct picker *p = picker_new(30, 262144, 30 * 262144);
	struct block out[16];
	for (uint32_t i = 10; i < 13; i++) {
		CHECK(picker_start(p, i) != NULL);
		for (uint32_t b = 0; b < (i == 11 ? 14 : 4); b++)
			CHECK(picker_got(p, i, b, 1, false) == GOT_NEW);
	}
	struct pick fast = { .peer = 3, .may_share = true, .fast = true };
	CHECK(pick(p, fast, out, 4) == 4);
	CHECK(out[0].piece == 11 && out[1].piece == 11 && (out[2].piece == 10 || out[2].piece == 12));
	CHECK(picker_open(p, 11)->owner == 3);
	picker_free(p);
}

static void only_and_suggested(void)
{
	struct picker *p = picker_new(1000, 32768, 1000 * 32768);
	struct block out[16];
	uint8_t bits[125] = { 0 };
	bits_of(bits, 500, 1000);
	const uint32_t list[] = { 3, 700, 0xffffffff, 1000, 701 };
	struct pick choked = { .peer = 1, .has = bits, .only = list, .nonly = 5, .may_share = true };
	CHECK(pick(p, choked, out, 16) == 4);
	CHECK(out[0].piece == 700 && out[1].piece == 700 && out[2].piece == 701 && out[3].piece == 701);
	CHECK(pick(p, choked, out, 16) == 0);
	choked.nonly = 0;
	CHECK(pick(p, choked, out, 16) == 0);
	struct pick hinted = {
		.peer = 2, .has = bits, .suggested = list, .nsuggested = 5, .may_share = true
	};
	picker_unrequest(p, 701, 0);
	picker_unrequest(p, 701, 1);
	CHECK(picker_open(p, 701) == NULL);
	CHECK(pick(p, hinted, out, 2) == 2 && out[0].piece == 701);
	CHECK(pick(p, hinted, out, 2) == 2 && out[0].piece >= 500); /* not 3: it hasn't got it */
	picker_free(p);
}

static void sequential(void)
{
	struct picker *p = picker_new(100, 16384, 100 * 16384);
	struct block out[200];
	uint8_t bits[13] = { 0 };
	struct pick seed = { .peer = 1, .may_share = true };
	picker_set_sequential(p, true);
	picker_set_priority(p, 50, 6);
	picker_set_priority(p, 2, 0);
	CHECK(pick(p, seed, out, 5) == 5);
	CHECK(out[0].piece == 50 && out[1].piece == 0 && out[2].piece == 1 && out[3].piece == 3 &&
	      out[4].piece == 4);
	picker_unrequest(p, 1, 0);
	bits_of(bits, 1, 2);
	bits_of(bits, 80, 82);
	struct pick partial = { .peer = 2, .has = bits, .may_share = true };
	CHECK(pick(p, partial, out, 200) == 3 && out[0].piece == 1 && out[1].piece == 80 &&
	      out[2].piece == 81);
	CHECK(pick(p, partial, out, 200) == 0);
	CHECK(pick(p, seed, out, 92) == 92 && out[0].piece == 5 && out[91].piece == 99);
	picker_free(p);
}

static bool asked_1_of_2(void *arg, uint32_t piece, uint32_t block)
{
	(void)arg;
	return piece == 1 && block == 2;
}

static void endgame(void)
{
	struct picker *p = picker_new(2, 65536, 2 * 65536);
	struct block out[16];
	struct pick a = { .peer = 1, .may_share = true }, b = { .peer = 2, .may_share = true };
	CHECK(!picker_endgame(p));
	CHECK(pick(p, a, out, 7) == 7 && !picker_endgame(p));
	CHECK(pick(p, b, out, 16) == 8 && picker_endgame(p)); /* the last free one, then 7 shared ones */
	CHECK(pick(p, a, out, 1) == 1);                       /* the one b has alone */
	CHECK(picker_open(p, out[0].piece)->blocks[out[0].begin / PICK_BLOCK].requests == 2);
	b.peer = 3;
	CHECK(picker_pick(p, &b, out, 16, asked_1_of_2, NULL) == 7); /* not what it was asked for */
	walk(p);
	b.peer = 4;
	CHECK(pick(p, b, out, 16) == 1 && out[0].piece == 1 && out[0].begin == 2 * PICK_BLOCK);
	b.peer = 5;
	CHECK(pick(p, b, out, 16) == 0); /* three are asked for each */
	picker_unrequest(p, 0, 0);
	CHECK(pick(p, (struct pick){ .peer = 6 }, out, 16) == 0); /* who may not share has nothing to do */
	CHECK(pick(p, b, out, 16) == 1);
	picker_unrequest(p, 0, 0);
	CHECK(picker_open(p, 0)->blocks[0].state == BLOCK_REQUESTED && picker_endgame(p));
	picker_unrequest(p, 0, 0);
	picker_unrequest(p, 0, 0);
	CHECK(picker_open(p, 0)->blocks[0].state == BLOCK_FREE && !picker_endgame(p));
	CHECK(picker_got(p, 0, 1, 2, true) == GOT_NEW);
	CHECK(picker_got(p, 0, 1, 3, true) == GOT_DUPLICATE);
	picker_unrequest(p, 0, 1); /* the third, cancelled: nothing happens */
	CHECK(picker_open(p, 0)->blocks[1].state == BLOCK_RECEIVED && picker_open(p, 0)->blocks[1].from == 2);
	walk(p);
	picker_free(p);
}

static void lives_and_deaths(void)
{
	struct picker *p = picker_new(3, 32768, 3 * 32768);
	struct block out[16];
	struct pick a = { .peer = 1, .may_share = true };
	CHECK(pick(p, a, out, 1) == 1);
	uint32_t i = out[0].piece;
	picker_open(p, i)->user = p; /* the caller needs it */
	picker_unrequest(p, i, 0);
	CHECK(picker_open(p, i) != NULL);
	CHECK(pick(p, a, out, 1) == 1 && out[0].piece == i);
	picker_open(p, i)->user = NULL;
	picker_open(p, i)->failed_before = true;
	picker_unrequest(p, i, 0);
	CHECK(picker_open(p, i) != NULL);
	picker_open(p, i)->failed_before = false;
	CHECK(picker_got(p, i, 0, 1, false) == GOT_NEW); /* late */
	picker_open(p, i)->blocks[0].loc = 5;
	CHECK(picker_got(p, i, 1, 1, false) == GOT_LAST);
	CHECK(picker_got(p, i, 1, 1, true) == GOT_DUPLICATE); /* while it is checked */
	picker_unrequest(p, i, 1);
	CHECK(picker_open(p, i)->checking);
	picker_reset(p, i);
	CHECK(!picker_open(p, i)->checking && picker_open(p, i)->blocks[0].loc == UINT32_MAX);
	walk(p);
	fetch(p, i);
	CHECK(picker_got(p, i, 0, 1, true) == GOT_DUPLICATE); /* had */
	CHECK(picker_start(p, i) == NULL);
	picker_set_lost(p, i);
	picker_set_lost(p, i);
	CHECK(picker_missing(p) == 3 && !picker_has(p, i));
	CHECK(picker_got(p, i, 0, 1, true) == GOT_NEW &&
	      picker_open(p, i)->received == 1); /* opened by a late block */
	picker_set_priority(p, i, 0);            /* in the middle: gives nothing, keeps what came */
	CHECK(pick(p, a, out, 16) == 4 && picker_endgame(p));
	picker_set_priority(p, i, 1);
	CHECK(!picker_endgame(p) && pick(p, a, out, 16) == 1 && out[0].piece == i);
	picker_free(p);
}

static void many_open(void)
{
	struct picker *p = picker_new(5000, 16384, 5000 * 16384);
	for (uint32_t i = 0; i < 5000; i += 2)
		CHECK(picker_start(p, i) != NULL);
	walk(p);
	for (uint32_t i = 0; i < 5000; i += 4)
		CHECK(picker_got(p, i, 0, 1, false) == GOT_LAST);
	for (uint32_t i = 0; i < 5000; i += 4)
		picker_set_have(p, i);
	walk(p);
	CHECK(picker_missing(p) == 3750 && p->nopen == 1250);
	picker_free(p);
}

/* Memory: nothing but bits and priorities when nothing is missing. */
static void seed_is_small(void)
{
	struct picker *p = picker_new(BIG, 16384, (uint64_t)BIG * 16384);
	uint8_t *bits = calloc(1, bits_len(BIG));
	struct block out;
	bits_of(bits, 100, BIG);
	for (uint32_t i = 0; i < BIG; i++)
		picker_set_have(p, i);
	picker_peer_bits(p, bits, 1);
	picker_peer_has(p, 5);
	CHECK(!p->avail.order && !p->avail.place && !p->avail.count && picker_missing(p) == 0);
	CHECK(picker_endgame(p) && picker_availability(p, 200) == 0);
	picker_set_lost(p, 777);
	picker_peer_bits(p, bits, -1); /* was never counted */
	struct pick a = { .peer = 1, .has = bits, .may_share = true };
	CHECK(picker_pick(p, &a, &out, 1, NULL, NULL) == 1 && out.piece == 777);
	picker_set_have(p, 777);
	CHECK(!p->avail.order && !p->avail.count);
	free(bits);
	picker_free(p);
}

/* A run is 2 MiB, but with pieces of a byte that must not mean two million pieces to
 * be looked through for each that is begun. */
static void tiny_pieces(void)
{
	enum { N = 400000 };
	struct picker *p = picker_new(N, 1, N);
	struct pick seed = { .peer = 1, .may_share = true };
	struct block out[64];
	clock_t began = clock();
	uint32_t n = 0;
	for (size_t k; n < N / 2 && (k = picker_pick(p, &seed, out, 64, NULL, NULL)) > 0; n += (uint32_t)k)
		for (size_t i = 0; i < k; i++) {
			if (picker_got(p, out[i].piece, 0, 1, true) != GOT_LAST)
				abort();
			picker_set_have(p, out[i].piece);
		}
	CHECK(n >= N / 2);
	CHECK(clock() - began < 5 * CLOCKS_PER_SEC); /* 0.03 s, against 17 */
	picker_free(p);
}

int main(void)
{
	tiny_pieces();
	geometry();
	levels();
	rarest_first();
	ties();
	runs();
	runs_respect_priority();
	started_before_new();
	nearest_to_end();
	only_and_suggested();
	sequential();
	endgame();
	lives_and_deaths();
	many_open();
	seed_is_small();
	return test_done();
}
