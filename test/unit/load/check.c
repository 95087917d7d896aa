/* SPDX-License-Identifier: MIT */
/* check.c (test) - blocks in any order, of many pieces at once, over several
 * arenas: right ones are found right, one wrong bit makes its piece wrong. */
#include "test/test.h"
#include "rig.h"

struct arrival {
	struct load_piece *piece;
	uint32_t block;
};

/* Brings blocks as a connection would: read into the arena, then told. */
static void arrive(struct load_check *c, struct arrival a, bool damaged)
{
	uint32_t len = load_block_len(a.piece, a.block);
	uint8_t *p = load_check_room(c, LOAD_FRAME);

	bt_load_content(p, len, (uint64_t)a.piece->index * c->meta->piece_len + a.block * LOAD_BLOCK);
	if (damaged)
		p[len - 1] ^= 1;
	CHECK(a.piece->state[a.block] == LOAD_FREE);
	a.piece->state[a.block] = LOAD_GOT;
	load_check_block(c, a.piece, a.block, p);
	load_check_keep(c, len);
}

enum order { FORWARD, BACKWARD, TURNS, SHUFFLED };

static void all_of(const struct bt_meta *m, enum order order, bool off, uint32_t damaged)
{
	struct load_check c;
	struct arrival *a;
	uint32_t n = 0, at = 0, blocks = (uint32_t)(m->size / LOAD_BLOCK) + m->pieces;

	CHECK(load_check_init(&c, m, off) == 0);
	a = calloc(blocks, sizeof(*a));
	for (uint32_t i = 0; i < m->pieces; i++) {
		struct load_piece *p = load_piece_new(m, i);
		for (uint32_t b = 0; b < p->nblocks; b++)
			a[n++] = (struct arrival){ p, b };
	}
	for (uint32_t i = 0; i < n && order >= BACKWARD; i++) {
		uint32_t to = order == BACKWARD ? n - 1 - i : order == SHUFFLED ? i + random_below(n - i) : 0;
		struct arrival swap = a[i];
		if (order == BACKWARD && to <= i)
			break;
		if (order == TURNS) { /* block 0 of all, then block 1 of all.. */
			uint32_t each = a[0].piece->nblocks;
			if (each < 2 || i % 7)
				continue;
			to = (i + each) % n;
		}
		a[i] = a[to];
		a[to] = swap;
	}
	for (; at < n; at++) {
		arrive(&c, a[at], a[at].piece->index < damaged && a[at].block == 0);
		if (order == SHUFFLED && random_below(9) == 0)
			load_check_flush(&c);
	}
	load_check_flush(&c);
	CHECK(c.good == m->pieces - (off ? 0 : damaged) && c.bad == (off ? 0 : damaged));
	CHECK(list_empty(&c.waiting) && c.used == 0);
	load_check_release(&c);
	free(a);
}

/* What is not complete goes without a trace (the sanitizer counts). */
static void unfinished(const struct bt_meta *m)
{
	struct load_piece *p = load_piece_new(m, 0), *q = load_piece_new(m, 1);
	struct load_check c;

	CHECK(load_check_init(&c, m, false) == 0);
	arrive(&c, (struct arrival){ p, 1 }, false);
	arrive(&c, (struct arrival){ q, 0 }, false);
	load_check_flush(&c); /* p's only block is early: kept apart */
	CHECK(p->block[1] && q->hashed == 1 && !q->block[0]);
	arrive(&c, (struct arrival){ q, 1 }, false);
	load_piece_miss(p, 0);
	CHECK(p->first_free == 0 && p->got == 1);
	load_piece_miss(p, 1);
	CHECK(p->got == 0);
	load_piece_free(&c, p);
	load_check_release(&c); /* q goes with it */
	CHECK(c.good + c.bad == 0);
}

static void room(const struct bt_meta *m)
{
	struct load_check c;

	CHECK(load_check_init(&c, m, false) == 0);
	CHECK(load_check_room(&c, c.len) == c.arena && load_check_room(&c, c.len + 1) == NULL);
	load_check_keep(&c, 100); /* no block waits: used again */
	CHECK(load_check_room(&c, 1) == c.arena);
	load_check_release(&c);
}

int main(void)
{
	static const uint64_t sizes[][2] = {
		{ 1, 16384 }, { 16384, 16384 }, { 40 * 16384 + 1, 16384 }, { 6 << 20, 131072 }, { (9 << 20) + 12345, 1 << 20 },
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct bt_meta *m = rig_meta(sizes[i][0], sizes[i][1]);

		for (int order = FORWARD; order <= SHUFFLED; order++) {
			all_of(m, (enum order)order, false, 0);
			all_of(m, (enum order)order, false, 1);
			all_of(m, (enum order)order, true, 1);
		}
		all_of(m, SHUFFLED, false, m->pieces);
		bt_meta_free(m);
	}
	struct bt_meta *m = rig_meta(1 << 18, 65536);
	unfinished(m);
	room(m);
	bt_meta_free(m);
	return test_done();
}
