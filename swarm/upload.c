/* SPDX-License-Identifier: MIT */
/* upload.c - the hot path out. Requests wait in a bounded ring of numbers, not of
 * bytes; a block is sent when the socket has room and the data is in the page
 * cache: 13 bytes of header with MSG_MORE, then sendfile. What is not in the
 * cache is fetched by the keeper while others are served, so a slow disk delays
 * only those who want that data. */
#include "swarm/swarm.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum { RUN_AHEAD = 16 /* blocks asked for at once from the store */ };

static struct block *ring(const struct peer *p, uint32_t pos)
{
	return &p->ups[(p->up_head + pos) & (p->up_cap - 1)];
}

static void ring_pop(struct peer *p)
{
	p->up_head = (p->up_head + 1) & (p->up_cap - 1);
	p->up_n--;
	p->up_open = false;
	p->up_sent = 0;
}

static bool is_fast_out(const struct peer *p, uint32_t piece)
{
	for (uint32_t i = 0; i < p->nfast_out; i++)
		if (p->fast_out[i] == piece)
			return true;
	return false;
}

static void refuse(struct peer *p, const struct wire_msg *m)
{
	if (p->fast) {
		wire_put_block(&p->out, WIRE_REJECT, m->index, m->begin, m->len);
		peer_flush_later(p);
	}
}

void upload_request(struct peer *p, const struct wire_msg *m)
{
	if (!picker_has(p->t->picker, m->index) || p->t->state == BT_FAILED) {
		refuse(p, m);
		return;
	}
	if (p->am_choking) {
		/* BEP 6: a choked peer may have its allowed-fast pieces, each block about once */
		uint32_t most = 3 * p->nfast_out * picker_blocks(p->t->picker, 0);
		if (!is_fast_out(p, m->index) || p->fast_served >= most) {
			refuse(p, m);
			return;
		}
		p->fast_served++;
	}
	if (p->up_n == UPLOADS_MAX) {
		refuse(p, m); /* more than we said in reqq */
		return;
	}
	if (p->up_n == p->up_cap) {
		uint32_t cap = p->up_cap ? p->up_cap * 2 : 16;
		struct block *fresh = alloc_array(cap, sizeof(*fresh));
		if (!fresh) {
			refuse(p, m);
			return;
		}
		for (uint32_t i = 0; i < p->up_n; i++)
			fresh[i] = *ring(p, i);
		free(p->ups);
		p->ups = fresh;
		p->up_cap = cap;
		p->up_head = 0;
	}
	p->up_n++;
	*ring(p, p->up_n - 1) = (struct block){ m->index, m->begin, m->len };
	peer_flush_later(p);
}

static void remove_at(struct peer *p, uint32_t pos)
{
	for (; pos + 1 < p->up_n; pos++)
		*ring(p, pos) = *ring(p, pos + 1);
	p->up_n--;
}

void upload_cancel(struct peer *p, const struct wire_msg *m)
{
	for (uint32_t i = p->up_open ? 1 : 0; i < p->up_n; i++) {
		struct block *b = ring(p, i);
		if (b->piece != m->index || b->begin != m->begin || b->len != m->len)
			continue;
		remove_at(p, i);
		refuse(p, m); /* BEP 6: every request is answered, by the block or by a reject */
		return;
	}
}

/* At choke: an open block is finished (its header is out), the rest is refused. */
void upload_drop_all(struct peer *p, bool keep_fast)
{
	for (uint32_t i = p->up_open ? 1 : 0; i < p->up_n;) {
		struct block b = *ring(p, i);
		if (keep_fast && is_fast_out(p, b.piece)) {
			i++;
			continue;
		}
		remove_at(p, i);
		refuse(p, &(struct wire_msg){ .index = b.piece, .begin = b.begin, .len = b.len });
	}
}

static bool send_control(struct peer *p, int flags)
{
	while (p->out.n) {
		ssize_t n = send(p->fd, p->out.p, p->out.n, MSG_NOSIGNAL | flags);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				peer_fail(p, "connection lost");
			return false;
		}
		p->last_out_ms = p->c->net.now_ms;
		buf_drop(&p->out, (size_t)n);
	}
	if (p->out.cap > 4096)
		buf_release(&p->out);
	return true;
}

/* How many bytes follow each other in the torrent from the first waiting block on. */
static size_t run_wanted(const struct peer *p)
{
	const struct block *b = ring(p, 0);
	size_t want = b->len - p->up_sent;
	uint32_t piece = b->piece, end = b->begin + b->len;
	for (uint32_t i = 1; i < p->up_n && i < RUN_AHEAD; i++) {
		b = ring(p, i);
		if (b->piece == piece && b->begin == end)
			end += b->len;
		else if (b->piece == piece + 1 && b->begin == 0 && end == p->t->limits.piece_len)
			piece = b->piece, end = b->len;
		else
			break;
		want += b->len;
	}
	return want;
}

static ssize_t send_zeros(struct peer *p, size_t n)
{
	static const uint8_t zeros[1024]; /* pad files are rare: not worth the room */
	return send(p->fd, zeros, min_size(n, sizeof(zeros)), MSG_NOSIGNAL);
}

/* ---- many at once: a turn sends TURN_SEND, the rest waits in line for the next ---- */

static void next_turn(struct peer *p)
{
	struct client *c = p->c;
	if (!list_linked(&p->on_sending))
		list_push_back(&c->sending, &p->on_sending);
	if (!timer_armed(&c->sending_timer))
		timer_set(&c->net, &c->sending_timer, 0);
}

static size_t turn_left(struct client *c)
{
	if (c->sending_turn != c->net.turns) {
		c->sending_turn = c->net.turns;
		c->sending_left = TURN_SEND;
	}
	return c->sending_left;
}

/* Bytes this peer may send now; none while others wait before it. */
static size_t turn_share(const struct peer *p)
{
	struct client *c = p->c;
	return list_empty(&c->sending) || c->serving == p ? min_size(turn_left(c), SEND_TURN_MAX) : 0;
}

void upload_on_timer(struct timer *timer)
{
	struct client *c = container_of(timer, struct client, sending_timer);
	while (!list_empty(&c->sending) && turn_left(c)) {
		c->serving = container_of(c->sending.next, struct peer, on_sending);
		list_remove(&c->serving->on_sending); /* perhaps to its end */
		peer_on_flush(&c->serving->flush);
	}
	c->serving = NULL;
	if (!list_empty(&c->sending) && !timer_armed(timer))
		timer_set(&c->net, timer, 0);
}

bool upload_send(struct peer *p)
{
	struct client *c = p->c;
	struct bt_torrent *t = p->t;
	struct store_run run = { .fd = -1 };
	uint64_t run_at = 0; /* torrent offset of run, when run.len */
	size_t sent = 0, share = turn_share(p);

	while (!p->why) {
		bool more = p->up_n && (!p->am_choking || p->up_open || p->nfast_out);
		if (!more || sent >= share) {
			if (!send_control(p, 0))
				return !p->why;
			if (more)
				next_turn(p);
			return false;
		}
		struct block *b = ring(p, 0);
		if (!p->up_open && !picker_has(t->picker, b->piece)) { /* lost since it was asked for */
			struct block lost = *b;
			remove_at(p, 0);
			refuse(p, &(struct wire_msg){ .index = lost.piece, .begin = lost.begin, .len = lost.len });
			continue;
		}
		size_t left = b->len - p->up_sent;
		if (c->up.rate && !budget_ask(&c->up, left, c->net.now_ms)) {
			if (!list_linked(&p->on_up_waiting))
				list_push_back(&c->up_waiting, &p->on_up_waiting);
			client_wait_budget(c, &c->up);
			return !send_control(p, 0) && !p->why;
		}
		uint64_t at = (uint64_t)b->piece * t->limits.piece_len + b->begin + p->up_sent;
		if (run.len == 0 || at != run_at) {
			switch (store_run(t->store, at, run_wanted(p), &run)) {
			case STORE_WAIT:
				run.len = 0;
				if (!list_linked(&p->on_disk_waiting))
					list_push_back(&t->disk_waiting, &p->on_disk_waiting);
				return !send_control(p, 0) && !p->why;
			case STORE_GONE:
				if (p->up_open)
					peer_fail(p, "our data is gone");
				else
					upload_drop_all(p, false);
				continue;
			case STORE_READY:
				run_at = at;
				break;
			}
		}
		if (!p->up_open) {
			buf_reserve(&p->out, WIRE_PIECE_HEAD);
			uint8_t head[WIRE_PIECE_HEAD];
			wire_put_piece_head(head, b->piece, b->begin, b->len);
			buf_put(&p->out, head, sizeof(head));
			if (p->out.failed) {
				peer_fail(p, "output queue full");
				break;
			}
			p->up_open = true;
			p->up_sent = 0;
		}
		if (!send_control(p, MSG_MORE))
			return !p->why;
		size_t n = min_size(left, run.len);
		off_t off = (off_t)run.off;
		ssize_t did = run.fd < 0 ? send_zeros(p, n) : sendfile(p->fd, run.fd, &off, n);
		if (did < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				return true;
			if (errno == EIO || errno == ESTALE || errno == EINVAL)
				store_suspect(t->store, at);
			peer_fail(p, "connection lost");
			break;
		}
		if (did == 0) { /* the file is shorter than it was */
			store_suspect(t->store, at);
			peer_fail(p, "our data is gone");
			break;
		}
		size_t moved = (size_t)did;
		if (c->up.rate)
			budget_take(&c->up, moved);
		rate_add(&p->up, moved, c->net.now_ms);
		rate_add(&t->up, moved, c->net.now_ms);
		p->last_out_ms = c->net.now_ms;
		p->sent_since_unchoke += moved;
		sent += moved;
		c->sending_left -= min_size(moved, c->sending_left);
		run.off += moved;
		run.len -= moved;
		run_at += moved;
		p->up_sent += (uint32_t)moved;
		if (p->up_sent == b->len)
			ring_pop(p);
	}
	return false;
}

void upload_wake_disk(struct bt_torrent *t)
{
	while (!list_empty(&t->disk_waiting)) {
		struct peer *p = container_of(t->disk_waiting.next, struct peer, on_disk_waiting);
		list_remove(&p->on_disk_waiting);
		peer_flush_later(p);
	}
}
