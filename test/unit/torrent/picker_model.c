/* SPDX-License-Identifier: MIT */
/* picker_model.c (test) - random life of a swarm, played against the picker and
 * against the plainest possible bookkeeping at once; they must agree, and every
 * torrent must come to its end whatever chokes, leaves, lies and gets lost. */
#include "torrent/picker.h"
#include "picker_walk.h"

enum { PEERS = 6, PIECES_MAX = 300, BLOCKS_MAX = 8 };

struct model {
	uint32_t pieces, piece_len;
	uint64_t size;
	struct picker *p;
	struct {
		bool here, all;
		uint8_t bits[PIECES_MAX / 8 + 1];
		bool asked[PIECES_MAX][BLOCKS_MAX];
	} peer[PEERS + 1]; /* numbers from 1 */
	uint8_t prio[PIECES_MAX];
	bool have[PIECES_MAX], checking[PIECES_MAX];
	bool received[PIECES_MAX][BLOCKS_MAX];
	uint32_t count[PIECES_MAX]; /* of partial peers, as picker.h says they are kept */
	uint32_t complete;
	bool keep[PIECES_MAX]; /* failed before */
	uint64_t endgames;
};

static uint64_t shared_picks;

static bool wants(const struct model *m, uint32_t i) { return !m->have[i] && m->prio[i]; }

static uint32_t blocks_of(const struct model *m, uint32_t i)
{
	uint64_t left = m->size - (uint64_t)i * m->piece_len;
	if (left > m->piece_len)
		left = m->piece_len;
	return (uint32_t)((left + PICK_BLOCK - 1) / PICK_BLOCK);
}

static uint32_t requests(const struct model *m, uint32_t i, uint32_t b)
{
	uint32_t n = 0;
	for (int k = 1; k <= PEERS; k++)
		n += m->peer[k].asked[i][b];
	return n;
}

static bool complete(const struct model *m)
{
	for (uint32_t i = 0; i < m->pieces; i++)
		if (!m->have[i])
			return false;
	return true;
}

static bool peer_has(const struct model *m, int k, uint32_t i)
{
	return m->peer[k].all || bit_get(m->peer[k].bits, i);
}

static void compare(struct model *m)
{
	walk(m->p);
	for (uint32_t i = 0; i < m->pieces; i++) {
		struct open_piece *op = picker_open(m->p, i);
		bool any = m->keep[i];
		HOLDS(picker_has(m->p, i) == m->have[i] && picker_wants(m->p, i) == wants(m, i));
		HOLDS(picker_availability(m->p, i) == m->count[i] + m->complete);
		for (uint32_t b = 0; b < blocks_of(m, i); b++) {
			uint32_t n = requests(m, i, b);
			any |= n > 0 || m->received[i][b];
			if (!op) {
				HOLDS(n == 0 && !m->received[i][b]);
				continue;
			}
			HOLDS(op->blocks[b].requests == n);
			HOLDS((op->blocks[b].state == BLOCK_RECEIVED) == m->received[i][b]);
		}
		HOLDS((op != NULL) == any);
		HOLDS(!op || op->checking == m->checking[i]);
	}
}

/* ---- peers come, tell, go ---- */

static void count_bits(struct model *m, int k, int add)
{
	if (m->peer[k].all) {
		m->complete += (uint32_t)add;
		picker_peer_all(m->p, add);
		return;
	}
	picker_peer_bits(m->p, m->peer[k].bits, add);
	for (uint32_t i = 0; i < m->pieces && !complete(m); i++)
		if (bit_get(m->peer[k].bits, i) && (add > 0 || m->count[i]))
			m->count[i] += (uint32_t)add;
}

static void join(struct model *m, int k)
{
	uint32_t some = random_below(10);
	m->peer[k].here = true;
	m->peer[k].all = random_below(4) == 0;
	memset(m->peer[k].bits, 0, sizeof(m->peer[k].bits));
	for (uint32_t i = 0; i < m->pieces; i++)
		if (random_below(10) < some)
			bit_set(m->peer[k].bits, i);
	count_bits(m, k, 1);
}

static void unrequest(struct model *m, int k, uint32_t i, uint32_t b)
{
	m->peer[k].asked[i][b] = false;
	picker_unrequest(m->p, i, b);
}

static void drop_requests(struct model *m, int k)
{
	for (uint32_t i = 0; i < m->pieces; i++)
		for (uint32_t b = 0; b < blocks_of(m, i); b++)
			if (m->peer[k].asked[i][b])
				unrequest(m, k, i, b);
}

static void leave(struct model *m, int k)
{
	drop_requests(m, k);
	count_bits(m, k, -1);
	m->peer[k].here = false;
}

static void tell(struct model *m, int k)
{
	uint32_t i = random_below(m->pieces);
	if (m->peer[k].all)
		return;
	if (!bit_get(m->peer[k].bits, i)) {
		bit_set(m->peer[k].bits, i);
		picker_peer_has(m->p, i);
		m->count[i] += !complete(m);
	} else if (random_below(3) == 0) {
		bit_clear(m->peer[k].bits, i);
		picker_peer_lacks(m->p, i);
		m->count[i] -= m->count[i] > 0;
	}
}

/* ---- picking ---- */

struct asker {
	struct model *m;
	int k;
};

static bool asked(void *arg, uint32_t piece, uint32_t block)
{
	struct asker *a = arg;
	return a->m->peer[a->k].asked[piece][block];
}

static bool free_block(const struct model *m, uint32_t i, uint32_t b)
{
	return wants(m, i) && !m->received[i][b] && requests(m, i, b) == 0;
}

static bool in_only(const struct pick *pk, uint32_t i)
{
	bool found = !pk->only;
	for (size_t k = 0; pk->only && k < pk->nonly; k++)
		found |= pk->only[k] == i;
	return found;
}

static void pick(struct model *m, int k, bool plain)
{
	struct block out[40];
	uint32_t list[3], hints[3];
	struct asker a = { m, k };
	for (int i = 0; i < 3; i++) {
		list[i] = random_below(m->pieces + 1); /* one too far, too */
		hints[i] = random_below(m->pieces + 1);
	}
	struct pick pk = { .peer = (uint32_t)k, .has = m->peer[k].all ? NULL : m->peer[k].bits,
			   .fast = random_below(2), .may_share = plain || random_below(4) };
	if (!plain && random_below(4) == 0) {
		pk.only = list;
		pk.nonly = random_below(4);
	}
	if (random_below(4) == 0) {
		pk.suggested = hints;
		pk.nsuggested = 3;
	}
	size_t max = 1 + random_below(40), n = picker_pick(m->p, &pk, out, max, asked, &a);
	HOLDS(n <= max);
	bool shared = false;
	for (size_t i = 0; i < n; i++) {
		uint32_t piece = out[i].piece, b = out[i].begin / PICK_BLOCK;
		struct block want = picker_block(m->p, piece, b);
		HOLDS(memcmp(&want, &out[i], sizeof(want)) == 0);
		HOLDS(wants(m, piece) && peer_has(m, k, piece) && in_only(&pk, piece));
		HOLDS(!m->received[piece][b] && !m->peer[k].asked[piece][b] && requests(m, piece, b) < 3);
		shared |= requests(m, piece, b) > 0;
		HOLDS(shared == (requests(m, piece, b) > 0)); /* duplicates come last */
		m->peer[k].asked[piece][b] = true;
	}
	bool endgame = true, left = false;
	for (uint32_t i = 0; i < m->pieces; i++)
		for (uint32_t b = 0; b < blocks_of(m, i); b++) {
			endgame &= !free_block(m, i, b);
			if (peer_has(m, k, i) && in_only(&pk, i))
				left |= free_block(m, i, b);
		}
	HOLDS(n == max || !left);
	HOLDS(!shared || (endgame && pk.may_share));
	HOLDS(picker_endgame(m->p) == endgame);
	if (endgame && n < max && !pk.only && pk.may_share) /* then all that may be shared was */
		for (uint32_t i = 0; i < m->pieces; i++)
			for (uint32_t b = 0; b < blocks_of(m, i); b++)
				HOLDS(!wants(m, i) || !peer_has(m, k, i) || m->received[i][b] ||
				      m->peer[k].asked[i][b] || requests(m, i, b) >= 3 ||
				      picker_open(m->p, i)->blocks[b].from == (uint32_t)k);
	m->endgames += shared;
}

/* ---- data comes ---- */

static void deliver(struct model *m, int k, uint32_t i, uint32_t b, bool was_asked)
{
	bool dup = m->received[i][b] || m->have[i] || (!wants(m, i) && !picker_open(m->p, i));
	enum picker_got got = picker_got(m->p, i, b, (uint32_t)k, was_asked);
	HOLDS((got == GOT_DUPLICATE) == dup);
	if (dup)
		return;
	for (int other = 1; other <= PEERS; other++)
		m->peer[other].asked[i][b] = false; /* cancelled */
	m->received[i][b] = true;
	struct open_piece *op = picker_open(m->p, i);
	HOLDS(op && op->blocks[b].from == (uint32_t)k);
	if (!op)
		return;
	op->blocks[b].loc = 7;
	bool last = true;
	for (uint32_t x = 0; x < blocks_of(m, i); x++)
		last &= m->received[i][x];
	HOLDS((got == GOT_LAST) == last);
	m->checking[i] = last;
}

static void deliver_some(struct model *m, int k)
{
	uint32_t start = random_below(m->pieces), n = 1 + random_below(6);
	for (uint32_t x = 0; x < m->pieces && n; x++) {
		uint32_t i = (start + x) % m->pieces;
		for (uint32_t b = 0; b < blocks_of(m, i) && n; b++)
			if (m->peer[k].asked[i][b]) {
				n--;
				if (random_below(10) == 0)
					unrequest(m, k, i, b); /* rejected */
				else
					deliver(m, k, i, b, true);
			}
	}
}

static void check_some(struct model *m, bool always_good)
{
	for (uint32_t i = 0; i < m->pieces; i++) {
		if (!m->checking[i] || (!always_good && random_below(3)))
			continue;
		m->checking[i] = false;
		memset(m->received[i], 0, sizeof(m->received[i]));
		if (always_good || random_below(5)) {
			picker_set_have(m->p, i);
			m->have[i] = true;
			m->keep[i] = false;
			if (complete(m))
				memset(m->count, 0, sizeof(m->count));
		} else {
			picker_open(m->p, i)->failed_before = true;
			picker_reset(m->p, i);
			m->keep[i] = true;
		}
	}
}

static void change_wishes(struct model *m)
{
	uint32_t i = random_below(m->pieces);
	unsigned prio = random_below(3) ? 4 : random_below(8);
	m->prio[i] = (uint8_t)prio;
	picker_set_priority(m->p, i, prio);
	i = random_below(m->pieces);
	if (random_below(8) == 0 && m->have[i]) {
		m->have[i] = false;
		picker_set_lost(m->p, i);
	}
}

static void act(struct model *m)
{
	int k = 1 + (int)random_below(PEERS);
	if (!m->peer[k].here) {
		if (random_below(4) == 0)
			join(m, k);
		return;
	}
	switch (random_below(12)) {
	case 0: if (random_below(10) == 0) leave(m, k); break;
	case 1: if (random_below(4) == 0) drop_requests(m, k); break;
	case 2: tell(m, k); break;
	case 3: if (random_below(3) == 0) change_wishes(m); break;
	case 4: if (random_below(20) == 0) picker_set_sequential(m->p, random_below(2)); break;
	case 5: check_some(m, false); break;
	case 6: { /* late or unasked, but true */
		uint32_t i = random_below(m->pieces), b = random_below(blocks_of(m, i));
		if (!m->peer[k].asked[i][b] && random_below(10) == 0)
			deliver(m, k, i, b, false);
		break;
	}
	case 7: case 8: case 9: deliver_some(m, k); break;
	default: pick(m, k, false);
	}
}

static void life(uint32_t pieces, uint32_t piece_len, uint64_t last, int steps)
{
	struct model *m = calloc(1, sizeof(*m));
	m->pieces = pieces;
	m->piece_len = piece_len;
	m->size = (uint64_t)(pieces - 1) * piece_len + last;
	m->p = picker_new(pieces, piece_len, m->size);
	CHECK(m->p != NULL);
	memset(m->prio, 4, sizeof(m->prio));
	compare(m);
	for (int i = 0; i < steps; i++) {
		act(m);
		if (i % 8 == 0)
			compare(m);
	}
	/* and then everybody behaves: it must come to an end */
	for (uint32_t i = 0; i < pieces; i++) {
		m->prio[i] = 4;
		picker_set_priority(m->p, i, 4);
	}
	if (!m->peer[1].here)
		join(m, 1);
	uint64_t rounds = 0;
	for (; picker_missing(m->p) && rounds < 10000; rounds++) {
		for (int k = 1; k <= PEERS; k++) {
			for (uint32_t i = 0; k == 1 && i < pieces; i++)
				if (!peer_has(m, 1, i)) {
					bit_set(m->peer[1].bits, i);
					picker_peer_has(m->p, i);
					m->count[i] += !complete(m);
				}
			if (!m->peer[k].here)
				continue;
			pick(m, k, true);
			if (k == 1 || random_below(3)) /* some are slow */
				deliver_some(m, k);
		}
		check_some(m, true);
	}
	compare(m);
	CHECK(picker_missing(m->p) == 0);
	for (int k = 1; k <= PEERS; k++)
		if (m->peer[k].here)
			leave(m, k);
	compare(m);
	CHECK(m->complete == 0);
	shared_picks += m->endgames;
	picker_free(m->p);
	free(m);
}

int main(void)
{
	for (int i = 0; i < 3; i++) {
		life(1, 16384, 1, 3000);
		life(1, 65536, 65536, 3000);
		life(7, 3 * 16384, 16385, 20000);
		life(40, 2 * 16384, 5, 20000);
		life(64, 8 * 16384, 8 * 16384, 20000);
		life(300, 16384, 16384, 20000); /* runs of 128 */
		life(65, 1u << 17, 100, 20000);
	}
	CHECK(shared_picks > 0);
	return test_done();
}
