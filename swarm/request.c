/* SPDX-License-Identifier: MIT */
/* request.c - which blocks are on order at whom. The number on order follows
 * rate x latency: it grows by one with each block that comes (so it doubles in a
 * round trip, like TCP's slow start) and is held to what the peer's rate delivers
 * in QUEUE_SECONDS, as libtorrent's request_queue_time. Requests are written in
 * one batch at the end of a turn. */
#include "swarm/swarm.h"
#include <stdlib.h>

enum { QUEUE_SECONDS = 3, ENDGAME_QUEUE = 32 };

static struct request *ring(const struct peer *p, uint32_t pos)
{
	return &p->reqs[(p->req_head + pos) & (p->req_cap - 1)];
}

int request_find(const struct peer *p, uint32_t piece, uint32_t begin)
{
	if (begin % BLOCK_LEN)
		return -1;
	for (uint32_t i = 0; i < p->req_n; i++) {
		const struct request *r = ring(p, i);
		if (r->piece == piece && r->block == begin / BLOCK_LEN)
			return (int)i;
	}
	return -1;
}

void request_remove(struct peer *p, uint32_t pos)
{
	for (; pos; pos--) /* nearly always 0: answers come in order */
		*ring(p, pos) = *ring(p, pos - 1);
	p->req_head = (p->req_head + 1) & (p->req_cap - 1);
	if (--p->req_n == 0)
		list_remove(&p->on_asking);
}

void requests_starve(struct peer *p)
{
	if (!list_linked(&p->on_starved))
		list_push_back(&p->t->starved, &p->on_starved);
}

static bool ring_reserve(struct peer *p, uint32_t n)
{
	if (p->req_n + n <= p->req_cap)
		return true;
	uint32_t cap = p->req_cap ? p->req_cap : 16;
	while (cap < p->req_n + n)
		cap *= 2;
	struct request *fresh = alloc_array(cap, sizeof(*fresh));
	if (!fresh)
		return false;
	for (uint32_t i = 0; i < p->req_n; i++)
		fresh[i] = *ring(p, i);
	free(p->reqs);
	p->reqs = fresh;
	p->req_cap = cap;
	p->req_head = 0;
	return true;
}

static bool asked(void *arg, uint32_t piece, uint32_t block)
{
	struct peer *p = arg;
	return request_find(p, piece, block * BLOCK_LEN) >= 0 ||
	       (p->rx.active && p->rx.piece == piece && p->rx.begin == block * BLOCK_LEN);
}

static uint32_t target(struct peer *p)
{
	if (p->snubbed)
		return 1;
	uint64_t by_rate = rate_get(&p->down, p->c->net.now_ms) * QUEUE_SECONDS / BLOCK_LEN + REQUESTS_MIN;
	uint32_t most = REQUESTS_MAX;
	if (p->hello.reqq && p->hello.reqq < most)
		most = p->hello.reqq;
	else if (!p->hello.reqq && most > 250)
		most = 250; /* not told: what most clients queue */
	if (p->c->down.rate) /* under a limit, don't order what we won't let in for seconds */
		by_rate = min_u64(by_rate, p->c->down.rate * QUEUE_SECONDS / BLOCK_LEN + 2);
	uint64_t want = p->req_target;
	if (p->down.seconds >= 2 && want > by_rate * 2)
		want = p->req_target = (uint32_t)min_u64(by_rate * 2, REQUESTS_MAX);
	if (want < REQUESTS_MIN)
		want = REQUESTS_MIN;
	return (uint32_t)min_u64(want, most);
}

void peer_refill(struct peer *p)
{
	struct bt_torrent *t = p->t;
	if (p->state != PEER_READY || p->why || t->seeding || t->state != BT_DOWNLOADING || !p->am_interested)
		return;
	if (p->peer_choking && (!p->fast || !p->nfast_in))
		return;
	if (disk_frames_free(t->c->disk) < disk_frames_total(t->c->disk) / 8) {
		client_frames_short(t->c);
		requests_starve(p);
		client_hungry(t);
		later_add(&t->c->net, &t->housekeeping);
		return; /* the disk is behind: order nothing more until frames come back */
	}
	uint32_t want = target(p);
	if (picker_endgame(t->picker) && want > ENDGAME_QUEUE)
		want = ENDGAME_QUEUE;
	if (p->req_n >= want || (p->req_n > want - want / 4 && want > REQUESTS_MIN))
		return; /* order in batches */
	uint32_t n = want - p->req_n;
	if (!ring_reserve(p, n))
		return;
	struct pick pick = {
		.peer = p->number,
		.has = p->has_all ? NULL : p->bits,
		.only = p->peer_choking ? p->fast_in : NULL,
		.nonly = p->nfast_in,
		.suggested = p->suggested,
		.nsuggested = p->nsuggested,
		.fast = rate_get(&p->down, t->c->net.now_ms) > picker_piece_len(t->picker, 0) / 8,
		.may_share = !p->snubbed,
	};
	if (!p->has_all && !p->bits)
		return;
	bool was_idle = p->req_n == 0;
	struct block got[64];
	list_remove(&p->on_starved);
	while (n) {
		size_t k = picker_pick(t->picker, &pick, got, min_size(n, ARRAY_LEN(got)), asked, p);
		for (size_t i = 0; i < k; i++) {
			struct request *r = ring(p, p->req_n++);
			*r = (struct request){ got[i].piece, got[i].begin / BLOCK_LEN, got[i].len };
			wire_put_block(&p->out, WIRE_REQUEST, got[i].piece, got[i].begin, got[i].len);
		}
		n -= (uint32_t)k;
		if (k < ARRAY_LEN(got)) {
			if (n)
				requests_starve(p);
			break;
		}
	}
	if (was_idle && p->req_n) {
		list_push_back(&t->asking, &p->on_asking);
		p->last_block_ms = t->c->net.now_ms;
		peer_set_timer(p);
	}
}

/* Ends every order at this peer: it choked us, went silent, or goes. */
void requests_drop_all(struct peer *p, bool send_cancel)
{
	if (p->rx.active && !p->rx.discard)
		rx_drop(p);
	bool any = p->req_n > 0;
	while (p->req_n) {
		struct request r = *ring(p, 0);
		request_remove(p, 0);
		picker_unrequest(p->t->picker, r.piece, r.block);
		if (send_cancel)
			wire_put_block(&p->out, WIRE_CANCEL, r.piece, r.block * BLOCK_LEN, r.len);
	}
	if (any)
		requests_wake(p->t);
}

/* Endgame: somebody else brought the block. */
void requests_cancel_others(struct bt_torrent *t, const struct peer *except, uint32_t piece, uint32_t block)
{
	for (struct list *l = t->asking.next, *next; l != &t->asking; l = next) {
		struct peer *p = container_of(l, struct peer, on_asking);
		next = l->next; /* it may leave the list */
		if (p == except)
			continue;
		if (p->rx.active && p->rx.piece == piece && p->rx.begin == block * BLOCK_LEN && !p->rx.discard)
			rx_drop(p);
		int pos = request_find(p, piece, block * BLOCK_LEN);
		if (pos < 0)
			continue;
		wire_put_block(&p->out, WIRE_CANCEL, piece, block * BLOCK_LEN, ring(p, (uint32_t)pos)->len);
		request_remove(p, (uint32_t)pos);
		peer_flush_later(p);
	}
}

/* Blocks became free: those who found nothing may ask again. */
void requests_wake(struct bt_torrent *t)
{
	while (!list_empty(&t->starved)) {
		struct peer *p = container_of(t->starved.next, struct peer, on_starved);
		list_remove(&p->on_starved);
		peer_flush_later(p);
	}
}
