/* SPDX-License-Identifier: MIT */
/* receive.c - the hot path in. Peers answer requests in order, so the loop knows
 * where the next bytes belong: one readv scatters a run of expected `piece`
 * messages, each header into a small array, each payload straight into its frame
 * or window. A header that is not the expected one ends the run: what came after
 * it is copied once into the client's scratch and fed to the plain parser, which
 * is also what reads peers that owe us nothing. Frames are taken just before the
 * readv and handed back when unused, so requests cost no memory.
 *
 * Only system calls write into a window, so a page that can't be backed is an
 * error of a call and not a signal. */
#include "swarm/swarm.h"
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

/* Where the payload of one block of an open piece goes. In place only while this
 * peer is the only one who may bring it: a second sender must not write over it. */
static bool rx_target(struct peer *p, uint32_t piece, uint32_t begin, uint32_t len, struct incoming *rx)
{
	*rx = (struct incoming){ .active = true, .piece = piece, .begin = begin, .len = len, .frame = LOC_NONE };
	struct open_piece *op = picker_open(p->t->picker, piece);
	uint32_t b = begin / BLOCK_LEN;
	if (!op || op->checking || op->blocks[b].state != BLOCK_REQUESTED) {
		rx->discard = true;
		return true;
	}
	if (op->blocks[b].requests == 1) {
		rx->to = store_place(p->t->store, piece, begin, len);
		rx->in_place = rx->to != NULL;
	}
	if (!rx->to) {
		rx->frame = disk_frame_get(p->c->disk);
		if (rx->frame == LOC_NONE)
			return false;
		rx->to = disk_frame(p->c->disk, rx->frame);
	}
	return true;
}

static void rx_release(struct peer *p, struct incoming *rx)
{
	if (rx->frame != LOC_NONE)
		disk_frame_put(p->c->disk, rx->frame);
	rx->frame = LOC_NONE;
}

/* Also called when the block was withdrawn or came from another peer meanwhile. */
void rx_drop(struct peer *p)
{
	rx_release(p, &p->rx);
	if (p->rx.active && !p->rx.discard)
		p->t->wasted += p->rx.got;
	p->rx.discard = true;
	p->rx.in_place = false;
	p->rx.to = NULL;
}

static void count_payload(struct peer *p, size_t n)
{
	uint64_t now = p->c->net.now_ms;
	rate_add(&p->down, n, now);
	rate_add(&p->t->down, n, now);
	if (p->rx.discard)
		p->t->wasted += n;
}

/* n bytes of the current payload are where they belong. */
static void rx_advance(struct peer *p, size_t n)
{
	count_payload(p, n);
	p->rx.got += (uint32_t)n;
	if (p->rx.got < p->rx.len)
		return;
	int pos = request_find(p, p->rx.piece, p->rx.begin);
	if (pos >= 0)
		request_remove(p, (uint32_t)pos);
	piece_block_done(p, pos >= 0);
	p->rx.active = false;
	p->last_block_ms = p->c->net.now_ms;
	p->snubbed = false;
}

/* A `piece` header came by the plain path. */
static void rx_begin(struct peer *p, const struct wire_msg *m)
{
	int pos = request_find(p, m->index, m->begin);
	bool asked = pos >= 0 && p->reqs[((uint32_t)pos + p->req_head) & (p->req_cap - 1)].len == m->len;
	if (asked && rx_target(p, m->index, m->begin, m->len, &p->rx))
		return;
	/* Cancelled but on its way, or not asked for, or no frame left: let it pass by. */
	p->rx = (struct incoming){ .active = true, .discard = true, .piece = m->index, .begin = m->begin,
				   .len = m->len, .frame = LOC_NONE };
}

/* The plain parser: consumes everything, keeps an incomplete message in p->in. */
void peer_feed(struct peer *p, const uint8_t *data, size_t n)
{
	while (n && !p->why) {
		if (p->rx.active) {
			size_t take = min_size(n, p->rx.len - p->rx.got);
			if (p->rx.in_place) {
				int err = store_place_copy(p->t->store, p->rx.piece, p->rx.begin + p->rx.got, data,
							   (uint32_t)take);
				if (err)
					rx_drop(p);
			} else if (!p->rx.discard) {
				memcpy(p->rx.to + p->rx.got, data, take);
			}
			data += take;
			n -= take;
			rx_advance(p, take);
			continue;
		}
		struct wire_msg m;
		const char *why = NULL;
		size_t need = 0;
		struct slice in = slice_of(data, n);
		size_t held = p->in.n;
		if (held) {
			/* complete the message that was left, never more than it needs */
			int r = wire_next(slice_of(p->in.p, held), &p->t->limits, &m, &need, &why);
			if (r == 0) {
				size_t take = min_size(n, need - held);
				buf_put(&p->in, data, take);
				if (p->in.failed) {
					peer_fail(p, "message too long");
					return;
				}
				data += take;
				n -= take;
			}
			in = slice_of(p->in.p, p->in.n);
		}
		int r = wire_next(in, &p->t->limits, &m, &need, &why);
		if (r < 0) {
			peer_fail(p, why);
			return;
		}
		if (r == 0) {
			if (!held) {
				buf_put(&p->in, data, n);
				n = 0;
			}
			continue;
		}
		if (m.type == WIRE_PIECE)
			rx_begin(p, &m);
		else
			peer_on_message(p, &m);
		if (held) {
			buf_clear(&p->in);
			if (p->in.cap > 512)
				buf_release(&p->in); /* idle peers hold no big buffers */
		} else {
			data += r;
			n -= (size_t)r;
		}
	}
}

/* The peer must wait: stop reading until somebody wakes it. */
static void wait_for(struct peer *p, struct list *queue, struct list *node)
{
	if (!list_linked(node))
		list_push_back(queue, node);
	ev_mod(&p->ev, p->ev.events & ~(uint32_t)EPOLLIN);
}

static size_t gather(uint8_t *out, const struct iovec *iov, size_t first, size_t n)
{
	size_t len = 0;
	for (size_t i = first; n; i++) {
		size_t take = min_size(n, iov[i].iov_len);
		memcpy(out + len, iov[i].iov_base, take);
		len += take;
		n -= take;
	}
	return len;
}

/* One readv over the expected run. p->rx, if active, comes first; p->in holds at
 * most the start of the next header. */
static ssize_t scatter_read(struct peer *p, size_t limit)
{
	struct iovec iov[2 * SCATTER_MAX + 1];
	uint8_t head[SCATTER_MAX][WIRE_PIECE_HEAD];
	struct incoming slot[SCATTER_MAX];
	_Static_assert(SCATTER_MAX * 2 + 1 <= 1024, "IOV_MAX");
	size_t niov = 0, nslots = 0, skip = p->in.n, planned = 0;
	uint32_t req = 0;

	if (p->rx.active) {
		iov[niov++] = (struct iovec){ p->rx.to + p->rx.got, p->rx.len - p->rx.got };
		planned += p->rx.len - p->rx.got;
		int pos = request_find(p, p->rx.piece, p->rx.begin);
		req = pos >= 0 ? (uint32_t)pos + 1 : 0;
	}
	size_t first_head = niov;
	for (; req < p->req_n && nslots < p->scatter && planned < limit; req++) {
		const struct request *r = &p->reqs[(p->req_head + req) & (p->req_cap - 1)];
		struct incoming *s = &slot[nslots];
		if (!rx_target(p, r->piece, r->block * BLOCK_LEN, r->len, s))
			break;
		if (s->discard) /* late: no longer wanted; the plain path throws it away */
			break;
		if (nslots == 0 && skip)
			memcpy(head[0], p->in.p, skip);
		iov[niov++] = (struct iovec){ head[nslots] + (nslots ? 0 : skip), WIRE_PIECE_HEAD - (nslots ? 0 : skip) };
		iov[niov++] = (struct iovec){ s->to, s->len };
		planned += WIRE_PIECE_HEAD + s->len;
		nslots++;
	}
	if (niov == 0)
		return -EAGAIN; /* nothing to scatter into: the plain path, or no frame */

	ssize_t got = readv(p->fd, iov, (int)niov);
	if (got <= 0) {
		int err = got < 0 ? errno : 0;
		for (size_t i = nslots; i--;)
			rx_release(p, &slot[i]);
		if (got == 0)
			return 0;
		/* EFAULT: a page of a window can't be backed. The store says why; these
		 * bytes are still in the socket and come by frames next time. */
		if (err == EFAULT && p->rx.active && p->rx.in_place)
			rx_drop(p);
		return err == EAGAIN || err == EINTR || err == EFAULT ? -EINTR : -err;
	}
	size_t n = (size_t)got, used = 0, surprise = SIZE_MAX, surprise_n = 0;
	if (p->rx.active) {
		size_t take = min_size(n, p->rx.len - p->rx.got);
		n -= take;
		rx_advance(p, take);
	}
	for (; used < nslots && n && !p->why; used++) {
		struct incoming *s = &slot[used];
		size_t held = used ? 0 : skip, want = WIRE_PIECE_HEAD - held;
		uint8_t expected[WIRE_PIECE_HEAD];
		if (n < want) { /* the start of a header, or a whole short message */
			peer_feed(p, iov[first_head + 2 * used].iov_base, n);
			break;
		}
		wire_put_piece_head(expected, s->piece, s->begin, s->len);
		if (memcmp(expected, head[used], WIRE_PIECE_HEAD) != 0) {
			surprise = first_head + 2 * used;
			surprise_n = n;
			break;
		}
		buf_clear(&p->in);
		n -= want;
		p->rx = *s;
		s->frame = LOC_NONE; /* p->rx has it now */
		size_t take = min_size(n, s->len);
		n -= take;
		if (take)
			rx_advance(p, take);
	}
	size_t filled = used;
	if (surprise != SIZE_MAX)
		gather(p->c->scratch, iov, surprise, surprise_n);
	for (size_t i = nslots; i-- > used;)
		rx_release(p, &slot[i]);
	if (surprise != SIZE_MAX)
		peer_feed(p, p->c->scratch, surprise_n);
	/* predict: twice as deep after a full read, else a little more than came */
	if (filled == p->scatter && filled == nslots)
		p->scatter = p->scatter * 2 < SCATTER_MAX ? p->scatter * 2 : SCATTER_MAX;
	else if (filled + 2 < p->scatter)
		p->scatter = (uint32_t)filled + 2;
	return got;
}

static ssize_t plain_read(struct peer *p, size_t limit)
{
	ssize_t got = read(p->fd, p->c->scratch, min_size(limit, READ_CHUNK));
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? -EINTR : -errno;
	if (got > 0)
		peer_feed(p, p->c->scratch, (size_t)got);
	return got;
}

void peer_on_readable(struct peer *p)
{
	struct client *c = p->c;
	size_t limit = TURN_RECEIVE / (c->net.ready > TURN_SHARES ? TURN_SHARES : c->net.ready + 1);
	if (c->down.rate) {
		limit = budget_ask(&c->down, limit, c->net.now_ms);
		if (limit == 0) {
			wait_for(p, &c->down_waiting, &p->on_down_waiting);
			client_wait_budget(c, &c->down);
			return;
		}
	}
	if (p->req_n && disk_frames_free(c->disk) < 2) {
		client_frames_short(c);
		wait_for(p, &c->frame_waiting, &p->on_frame_waiting);
		client_hungry(p->t);
		later_add(&c->net, &p->t->housekeeping);
		return;
	}
	bool in_run = p->req_n && p->in.n < WIRE_PIECE_HEAD && (!p->rx.active || !p->rx.discard);
	ssize_t got = in_run ? scatter_read(p, limit) : -EAGAIN;
	if (got == -EAGAIN)
		got = plain_read(p, limit);
	if (got == -EINTR)
		return;
	if (got <= 0) {
		peer_fail(p, got == 0 ? "closed by peer" : "connection lost");
		return;
	}
	if (c->down.rate)
		budget_take(&c->down, (size_t)got);
	p->last_in_ms = c->net.now_ms;
	peer_flush_later(p);
}
