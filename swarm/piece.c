/* SPDX-License-Identifier: MIT */
/* piece.c - blocks that have come, pieces that are whole. A whole piece goes to
 * the store, which hashes and writes it; a good one is announced, a bad one is
 * ordered anew. Who sent a wrong block is found by comparing block sums of the
 * bad copy with those of the good one that comes later (libtorrent's smart ban);
 * a bad piece that one peer sent alone needs no comparison.
 *
 * Blocks of unfinished pieces hold frames. When the pool gets short, the store
 * writes such blocks early and the frames go back; `user` of an open piece counts
 * the writes under way, and its check waits for them. */
#include "swarm/swarm.h"
#include <errno.h>
#include <stdlib.h>

enum { WRITE_RUN = 64 /* blocks per early write */ };

static uintptr_t writes_of(const struct open_piece *op) { return (uintptr_t)op->user; }

/* A block names its sender, so the sender's number must not become another's. */
static void name_sender(struct bt_torrent *t, uint32_t number, bool on)
{
	struct known *k = known_by_number(t, number);
	if (k)
		k->blocks += on ? 1u : -1u;
}

/* Before the piece is closed or begins anew. */
static void unname_senders(struct bt_torrent *t, const struct open_piece *op)
{
	for (uint32_t b = 0; op && b < op->nblocks; b++)
		if (op->blocks[b].state == BLOCK_RECEIVED)
			name_sender(t, op->blocks[b].from, false);
}

static bool is_frame(uint32_t loc) { return loc != LOC_NONE && loc != LOC_FILE; }

static void frames_back(struct client *c)
{
	if (c->frames_short && disk_frames_free(c->disk) >= disk_frames_total(c->disk) / 4)
		client_wake_frames(c);
}

static void check_later(struct bt_torrent *t, uint32_t piece)
{
	void *v = t->checks_waiting;
	if (!grow_array(&v, &t->checks_cap, t->nchecks_waiting + 1, sizeof(*t->checks_waiting))) {
		torrent_fail(t, "out of memory");
		return;
	}
	t->checks_waiting = v;
	t->checks_waiting[t->nchecks_waiting++] = piece;
	client_hungry(t);
}

static bool submit_check(struct bt_torrent *t, struct open_piece *op)
{
	uint32_t some[1024], *locs = some;
	if (op->nblocks > ARRAY_LEN(some)) {
		locs = alloc_array(op->nblocks, sizeof(*locs));
		if (!locs)
			return false;
	}
	for (uint32_t i = 0; i < op->nblocks; i++)
		locs[i] = op->blocks[i].loc;
	bool ok = store_check(t->store, op->index, locs, op->nblocks, op->failed_before);
	if (ok)
		for (uint32_t i = 0; i < op->nblocks; i++)
			op->blocks[i].loc = LOC_FILE; /* the store's now */
	if (locs != some)
		free(locs);
	return ok;
}

static void piece_complete(struct bt_torrent *t, struct open_piece *op)
{
	op->checking = true;
	if (writes_of(op) || t->nchecks_waiting || !submit_check(t, op))
		check_later(t, op->index);
}

void piece_retry_checks(struct bt_torrent *t)
{
	size_t kept = 0;
	bool full = false;
	if (t->state == BT_FAILED || t->store_closing)
		t->nchecks_waiting = 0; /* their frames went, or are about to */
	for (size_t i = 0; i < t->nchecks_waiting; i++) {
		struct open_piece *op = picker_open(t->picker, t->checks_waiting[i]);
		if (!op)
			continue;
		if (full || writes_of(op)) {
			t->checks_waiting[kept++] = op->index;
		} else if (!submit_check(t, op)) {
			full = true;
			t->checks_waiting[kept++] = op->index;
		}
	}
	t->nchecks_waiting = kept;
	if (full)
		client_hungry(t);
}

/* p->rx holds a whole block. was_requested: it was still on order at this peer. */
void piece_block_done(struct peer *p, bool was_requested)
{
	struct bt_torrent *t = p->t;
	struct incoming *rx = &p->rx;
	uint32_t b = rx->begin / BLOCK_LEN;

	if (rx->discard) {
		if (was_requested) { /* lost on the way (no frame, no page): order it again */
			picker_unrequest(t->picker, rx->piece, b);
			requests_wake(t);
		}
		return;
	}
	struct open_piece *op = picker_open(t->picker, rx->piece);
	bool others = op && op->blocks[b].requests > 1;
	enum picker_got got = picker_got(t->picker, rx->piece, b, p->number, was_requested);
	if (got == GOT_DUPLICATE) {
		t->wasted += rx->len;
		if (rx->frame != LOC_NONE)
			disk_frame_put(p->c->disk, rx->frame);
		rx->frame = LOC_NONE;
		return;
	}
	name_sender(t, p->number, true);
	op = picker_open(t->picker, rx->piece);
	op->blocks[b].loc = rx->in_place ? LOC_FILE : rx->frame;
	rx->frame = LOC_NONE;
	p->req_target++;
	if (others)
		requests_cancel_others(t, p, rx->piece, b);
	if (got == GOT_LAST)
		piece_complete(t, op);
}

/* ---- smart ban ---- */

static void suspect_drop(struct bt_torrent *t, uint32_t i)
{
	struct suspect *s = &t->suspects[i];
	for (uint32_t b = 0; b < s->nblocks; b++)
		name_sender(t, s->from[b], false);
	free(s->sums);
	free(s->from);
	*s = t->suspects[--t->nsuspects];
}

static void suspect_add(struct bt_torrent *t, const struct open_piece *op, const uint64_t *sums)
{
	if (!t->suspects && !(t->suspects = alloc_array(SUSPECTS_MAX, sizeof(*t->suspects))))
		return;
	if (t->nsuspects == SUSPECTS_MAX)
		suspect_drop(t, 0);
	struct suspect s = { .piece = op->index, .nblocks = op->nblocks };
	s.sums = alloc_array(op->nblocks, sizeof(*s.sums));
	s.from = alloc_array(op->nblocks, sizeof(*s.from));
	if (!s.sums || !s.from) {
		free(s.sums);
		free(s.from);
		return; /* no proof then; the piece is ordered again all the same */
	}
	memcpy(s.sums, sums, op->nblocks * sizeof(*sums));
	for (uint32_t b = 0; b < op->nblocks; b++) {
		s.from[b] = op->blocks[b].from;
		name_sender(t, s.from[b], true);
	}
	t->suspects[t->nsuspects++] = s;
}

/* A good copy is here: whoever sent a block that differs is guilty, nobody else. */
static void suspects_judge(struct bt_torrent *t, uint32_t piece, const uint64_t *sums, uint32_t n)
{
	for (uint32_t i = 0; i < t->nsuspects;) {
		struct suspect *s = &t->suspects[i];
		if (s->piece != piece) {
			i++;
			continue;
		}
		for (uint32_t b = 0; sums && b < s->nblocks && b < n; b++) {
			struct known *k = known_by_number(t, s->from[b]);
			if (k && s->sums[b] != sums[b])
				known_ban(t, k, "sent wrong data");
		}
		suspect_drop(t, i);
	}
}

static void piece_bad(struct bt_torrent *t, uint32_t piece, const uint64_t *sums, uint32_t n)
{
	struct open_piece *op = picker_open(t->picker, piece);
	t->wasted += picker_piece_len(t->picker, piece);
	client_event(t->c, BT_EV_LOG, t, "piece %u failed its hash check", piece);
	if (!op)
		return;
	uint32_t only = op->blocks[0].from;
	for (uint32_t b = 1; b < op->nblocks && only; b++)
		if (op->blocks[b].from != only)
			only = 0;
	struct known *k = known_by_number(t, only);
	if (k)
		known_ban(t, k, "sent wrong data");
	else if (sums && n == op->nblocks)
		suspect_add(t, op, sums);
	op->failed_before = true;
	unname_senders(t, op);
	picker_reset(t->picker, piece);
	requests_wake(t);
}

static void piece_lost(struct bt_torrent *t, uint32_t piece)
{
	if (!picker_has(t->picker, piece)) { /* never stored */
		unname_senders(t, picker_open(t->picker, piece));
		picker_reset(t->picker, piece);
	} else {
		picker_set_lost(t->picker, piece);
		t->npieces_have--;
		t->have_size -= picker_piece_len(t->picker, piece);
		bool was_seed = t->seeding;
		t->seeding = t->synced = false;
		if (t->state == BT_SEEDING)
			t->state = BT_DOWNLOADING;
		client_event(t->c, BT_EV_WARNING, t, "piece %u did not reach the disk; it is fetched again", piece);
		for (struct list *l = t->peers.next; l != &t->peers; l = l->next) {
			struct peer *p = container_of(l, struct peer, on_torrent);
			if (p->state != PEER_READY)
				continue;
			peer_catch_up(p);
			peer_send_dont_have(p, piece);
			if (was_seed)
				peer_tell_upload_only(p);
			if (peer_has(p, piece))
				p->nwanted++;
			peer_update_interest(p);
		}
	}
	requests_wake(t);
}

void piece_on_check(struct bt_torrent *t, uint32_t piece, enum store_result result, const uint64_t *sums, uint32_t n)
{
	switch (result) {
	case STORE_OK:
		suspects_judge(t, piece, sums, n);
		unname_senders(t, picker_open(t->picker, piece));
		picker_set_have(t->picker, piece);
		t->npieces_have++;
		t->have_size += picker_piece_len(t->picker, piece);
		void *v = t->have_log;
		if (grow_array(&v, &t->have_log_cap, t->have_log_len + 1, sizeof(*t->have_log))) {
			t->have_log = v;
			t->have_log[t->have_log_len++] = piece;
		} else {
			torrent_fail(t, "out of memory");
			return;
		}
		torrent_tell_haves(t);
		break;
	case STORE_BAD:
		piece_bad(t, piece, sums, n);
		break;
	case STORE_LOST:
		piece_lost(t, piece);
		break;
	}
	frames_back(t->c);
	later_add(&t->c->net, &t->housekeeping);
}

/* ---- early writes ---- */

struct held {
	struct bt_torrent *t;
	uint32_t frames, left; /* held in all; to be freed still */
};

static void count_held(void *arg, struct open_piece *op)
{
	struct held *h = arg;
	if (op->checking)
		return;
	for (uint32_t b = 0; b < op->nblocks; b++)
		h->frames += is_frame(op->blocks[b].loc);
}

/* Starts writes for all frames of one piece, in runs. */
static uint32_t write_early(struct bt_torrent *t, struct open_piece *op)
{
	uint32_t frames[WRITE_RUN], started = 0;
	if (op->checking || writes_of(op))
		return 0;
	for (uint32_t b = 0; b < op->nblocks;) {
		uint32_t n = 0;
		while (b + n < op->nblocks && n < WRITE_RUN && is_frame(op->blocks[b + n].loc)) {
			frames[n] = op->blocks[b + n].loc;
			n++;
		}
		if (n == 0) {
			b++;
			continue;
		}
		if (!store_write(t->store, op->index, b, frames, n))
			break;
		op->user = (void *)(writes_of(op) + 1);
		t->writes++;
		t->c->writes++;
		started += n;
		b += n;
	}
	return started;
}

static void relieve(void *arg, struct open_piece *op)
{
	struct held *h = arg;
	if (h->left == 0)
		return;
	uint32_t n = write_early(h->t, op);
	h->left -= n < h->left ? n : h->left;
}

/* What found no space can't be written, and others shall not wait for it. */
static void give_up(void *arg, struct open_piece *op)
{
	struct held *h = arg;
	uint32_t index = op->index, n = op->nblocks;
	if (op->checking || writes_of(op))
		return;
	for (uint32_t b = 0; b < n && h->left && picker_open(h->t->picker, index) == op; b++) {
		if (!is_frame(op->blocks[b].loc))
			continue;
		disk_frame_put(h->t->c->disk, op->blocks[b].loc);
		h->t->wasted += picker_block(h->t->picker, index, b).len;
		name_sender(h->t, op->blocks[b].from, false);
		picker_give_up(h->t->picker, index, b); /* may be the end of op */
		h->left--;
	}
}

static void each_torrent(struct client *c, struct held *h, bool full, void (*fn)(void *, struct open_piece *))
{
	for (struct list *l = c->torrents.next; l != &c->torrents; l = l->next) {
		h->t = container_of(l, struct bt_torrent, on_client);
		if (h->t->opened && h->t->state != BT_FAILED && !h->t->store_closing && h->t->no_space == full)
			picker_each_open(h->t->picker, fn, h);
	}
}

/* Writes back the oldest open pieces' blocks when unfinished pieces of all torrents
 * together hold more than half of the pool: each alone may hold little, and none
 * could end for want of frames. Frames in checks come back by themselves. */
void piece_relieve_pool(struct bt_torrent *t)
{
	struct client *c = t->c;
	uint32_t total = disk_frames_total(c->disk);
	if (disk_frames_free(c->disk) >= total / 4 || c->writes || t->no_space || c->relieved == c->net.turns)
		return;
	c->relieved = c->net.turns; /* once per turn, however many torrents are hungry */
	struct held h = { .left = total / 4 };
	each_torrent(c, &h, false, count_held);
	each_torrent(c, &h, true, count_held);
	if (h.frames < total / 2)
		return;
	each_torrent(c, &h, false, relieve);
	each_torrent(c, &h, true, give_up);
	frames_back(c);
}

void piece_on_written(struct bt_torrent *t, uint32_t piece, uint32_t first, uint32_t n, int err)
{
	struct open_piece *op = picker_open(t->picker, piece);
	t->writes--;
	t->c->writes--;
	if (!op)
		return;
	op->user = (void *)(writes_of(op) - 1);
	for (uint32_t b = first; b < first + n && b < op->nblocks && !err; b++)
		op->blocks[b].loc = LOC_FILE; /* the store has freed the frame */
	if (t->state == BT_FAILED || t->store_closing)
		piece_drop_frames(t);
	if (op->checking)
		piece_retry_checks(t);
	frames_back(t->c);
	later_add(&t->c->net, &t->housekeeping);
}

/* ---- at the end ---- */

static void flush_one(void *arg, struct open_piece *op)
{
	write_early(arg, op);
}

bool piece_flush_partials(struct bt_torrent *t)
{
	struct held h = { .t = t };
	piece_retry_checks(t);
	if (!t->no_space)
		picker_each_open(t->picker, flush_one, t);
	if (t->writes || t->no_space)
		return t->writes > 0;
	picker_each_open(t->picker, count_held, &h);
	if (h.frames) /* the disk's queue is full of other torrents' blocks */
		client_hungry(t);
	return h.frames > 0;
}

struct partials {
	struct store_partial *v;
	size_t n, cap;
};

static void collect(void *arg, struct open_piece *op)
{
	struct partials *ps = arg;
	uint8_t *bits = NULL;
	if (op->checking)
		return;
	for (uint32_t b = 0; b < op->nblocks; b++) {
		if (op->blocks[b].state != BLOCK_RECEIVED || op->blocks[b].loc != LOC_FILE)
			continue;
		if (!bits)
			bits = alloc_array(bits_len(op->nblocks), 1);
		if (!bits)
			return;
		bit_set(bits, b);
	}
	if (!bits)
		return;
	void *v = ps->v;
	if (!grow_array(&v, &ps->cap, ps->n + 1, sizeof(*ps->v))) {
		free(bits);
		return;
	}
	ps->v = v;
	ps->v[ps->n++] = (struct store_partial){ op->index, bits, op->nblocks };
}

size_t piece_partials(struct bt_torrent *t, struct store_partial **out)
{
	struct partials ps = { 0 };
	picker_each_open(t->picker, collect, &ps);
	*out = ps.v;
	return ps.n;
}

static void drop_frames(void *arg, struct open_piece *op)
{
	struct bt_torrent *t = arg;
	if (writes_of(op) && t->store)
		return; /* the keeper still reads them: on_written comes back */
	for (uint32_t b = 0; b < op->nblocks; b++) {
		if (!is_frame(op->blocks[b].loc))
			continue;
		disk_frame_put(t->c->disk, op->blocks[b].loc);
		op->blocks[b].loc = LOC_NONE;
	}
}

/* The torrent ends or failed: frames go back to the others. */
void piece_drop_frames(struct bt_torrent *t)
{
	picker_each_open(t->picker, drop_frames, t);
	while (t->nsuspects)
		suspect_drop(t, 0);
}
