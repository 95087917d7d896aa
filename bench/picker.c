/* SPDX-License-Identifier: MIT */
/* What choosing costs: nanoseconds per HAVE, bitfield, block picked from a seed
 * and from a peer that has little, for torrents of 1,000 to 2,000,000 pieces; and
 * bytes per piece. One number per line; lower is better. */
#include "torrent/picker.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HAVES = 200000, PICKS = 20000, BATCH = 16, PIECE = 262144 };

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void line(uint32_t pieces, const char *what, uint64_t start, uint64_t n)
{
	printf("%7u pieces: %10.1f ns per %s\n", pieces, (double)(now_ns() - start) / (double)n, what);
}

/* Bytes in use; other C libraries than glibc don't tell. */
static size_t heap(void)
{
#ifdef __GLIBC__
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
#else
	return 0;
#endif
}

/* Picks, delivers, verifies; every 64th pick is given back. */
static uint64_t transfer(struct picker *p, const struct pick *pk, uint64_t picks)
{
	struct block out[BATCH];
	uint64_t blocks = 0;
	for (uint64_t i = 0; i < picks; i++) {
		size_t n = picker_pick(p, pk, out, BATCH, NULL, NULL);
		for (size_t k = 0; k < n; k++) {
			uint32_t block = out[k].begin / PICK_BLOCK;
			if (i % 64 == 0)
				picker_unrequest(p, out[k].piece, block);
			else if (picker_got(p, out[k].piece, block, pk->peer, true) == GOT_LAST)
				picker_set_have(p, out[k].piece);
		}
		blocks += n;
		if (!n)
			break;
	}
	return blocks;
}

static void measure(uint32_t pieces)
{
	uint8_t *bits = calloc(1, bits_len(pieces)), *few = calloc(1, bits_len(pieces));
	size_t before = heap();
	uint64_t t = now_ns();
	struct picker *p = picker_new(pieces, PIECE, (uint64_t)pieces * PIECE);
	if (!bits || !few || !p)
		exit(1);
	line(pieces, "picker_new", t, 1);
	for (uint32_t i = 0; i < pieces; i++) {
		if (random_below(2))
			bit_set(bits, i);
		if (random_below(pieces) < 20)
			bit_set(few, i);
	}
	picker_peer_all(p, 1);
	for (int k = 0; k < 2; k++) {
		t = now_ns();
		picker_peer_bits(p, bits, 1);
		line(pieces, "bitfield, half set", t, 1);
	}
	picker_peer_bits(p, few, 1);
	struct block out[BATCH];
	struct pick seed = { .peer = 1, .may_share = true, .fast = true };
	struct pick half = { .peer = 2, .has = bits, .may_share = true };
	struct pick poor = { .peer = 3, .has = few, .may_share = true };
	t = now_ns();
	picker_pick(p, &seed, out, 1, NULL, NULL);
	line(pieces, "first pick (sorts)", t, 1);
	printf("%7u pieces: %10.2f bytes per piece while downloading\n", pieces,
	       (double)(heap() - before) / pieces);

	t = now_ns();
	for (int i = 0; i < HAVES; i++)
		picker_peer_has(p, random_below(pieces));
	line(pieces, "HAVE", t, HAVES);
	t = now_ns();
	picker_pick(p, &poor, out, 1, NULL, NULL);
	line(pieces, "pick from a peer with 20 pieces", t, 1);
	t = now_ns();
	uint64_t most = pieces / 4 < PICKS ? pieces / 4 : PICKS;
	uint64_t n = transfer(p, &seed, most);
	line(pieces, "block of a seed, picked to verified", t, n);
	t = now_ns();
	n = transfer(p, &half, most);
	line(pieces, "block of a half complete peer", t, n);
	t = now_ns();
	picker_peer_bits(p, few, -1);
	line(pieces, "bitfield, 20 set", t, 1);

	for (uint32_t i = 0; i < pieces; i++)
		picker_set_have(p, i);
	printf("%7u pieces: %10.2f bytes per piece while seeding\n", pieces,
	       (double)(heap() - before) / pieces);
	picker_free(p);
	free(bits);
	free(few);
}

int main(void)
{
	measure(1000);
	measure(100000);
	measure(2000000);
	return 0;
}
