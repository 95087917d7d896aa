/* SPDX-License-Identifier: MIT */
/* peer.c - one peer after the handshake: what its messages mean (BEP 3, 6, 10,
 * 21, 54), its timers, its output queue. Writing happens once per turn, in
 * peer_on_flush. An offence is reported by peer_fail; the peer is closed at the
 * end of the turn, so handlers need not care who still stands in it. */
#include "swarm/swarm.h"
#include <errno.h>
#include <stdlib.h>

enum {
	REJECTS_MAX = 50, /* in a row, as libtorrent */
	HELLOS_MAX = 16,
	ALLS_MAX = 4, /* "have all" and "have none" of one peer; BEP 6 wants one, at the start */
};

void peer_fail(struct peer *p, const char *why)
{
	if (p->why)
		return;
	p->why = why;
	later_add(&p->c->net, &p->closer);
}

void peer_flush_later(struct peer *p)
{
	later_add(&p->c->net, &p->flush);
}

struct known *peer_known(const struct peer *p)
{
	return p->t ? known_by_number(p->t, p->number) : NULL;
}

bool peer_has(const struct peer *p, uint32_t piece)
{
	return p->has_all || (p->bits && bit_get(p->bits, piece));
}

bool peer_is_seed(const struct peer *p)
{
	return p->has_all || (p->t && p->nhave == p->t->limits.pieces);
}

/* ---- what it has ---- */

static void count_seed(struct peer *p)
{
	bool seed = peer_is_seed(p);
	if (seed == p->counted_seed)
		return;
	p->counted_seed = seed;
	p->t->nseeds += seed ? 1u : -1u;
	struct known *k = peer_known(p), *l = known_by_number(p->t, p->listen_number);
	if (k)
		k->seed = seed;
	if (l)
		l->seed = seed;
}

/* Neither can give the other anything: also not dialled while that lasts. */
static void part_as_seeds(struct peer *p)
{
	struct known *k = peer_known(p), *l = known_by_number(p->t, p->listen_number);
	if (k)
		k->seed = true;
	if (l)
		l->seed = true;
	peer_fail(p, "both complete");
}

void peer_update_interest(struct peer *p)
{
	bool want = p->nwanted > 0 && !p->t->seeding;
	if (want != p->am_interested) {
		p->am_interested = want;
		wire_put_simple(&p->out, want ? WIRE_INTERESTED : WIRE_NOT_INTERESTED);
		peer_flush_later(p);
	}
	if (p->t->seeding && (peer_is_seed(p) || p->hello.upload_only))
		part_as_seeds(p);
}

/* Haves wait in the torrent's log, not in the queue of each peer: a slow reader of a
 * large torrent is told as fast as it reads. */
static void tell_haves(struct peer *p)
{
	struct bt_torrent *t = p->t;
	for (; p->have_told < t->have_log_len && p->out.n < HAVES_AHEAD; p->have_told++) {
		uint32_t piece = t->have_log[p->have_told];
		if (!peer_has(p, piece) && picker_has(t->picker, piece))
			wire_put_have(&p->out, piece);
	}
}

/* Counts off what was had since. To be called before what it has or we have changes. */
void peer_catch_up(struct peer *p)
{
	struct bt_torrent *t = p->t;
	if (p->have_seen == t->have_log_len)
		return;
	for (; p->have_seen < t->have_log_len; p->have_seen++)
		if (peer_has(p, t->have_log[p->have_seen]) && p->nwanted)
			p->nwanted--;
	peer_flush_later(p);
	peer_update_interest(p);
}

/* Takes back all it told. */
static void forget_news(struct peer *p)
{
	if (p->has_all)
		picker_peer_all(p->t->picker, -1);
	else if (p->bits)
		picker_peer_bits(p->t->picker, p->bits, -1);
	free(p->bits);
	p->bits = NULL;
	p->has_all = false;
	p->nhave = p->nwanted = 0;
}

static bool bits_alloc(struct peer *p)
{
	if (!p->bits)
		p->bits = alloc_array(bits_len(p->t->limits.pieces), 1);
	if (!p->bits)
		peer_fail(p, "out of memory");
	return p->bits != NULL;
}

static void on_have(struct peer *p, uint32_t piece)
{
	if (peer_has(p, piece) || !bits_alloc(p))
		return;
	peer_catch_up(p);
	bit_set(p->bits, piece);
	p->nhave++;
	picker_peer_has(p->t->picker, piece);
	if (picker_wants(p->t->picker, piece)) {
		p->nwanted++;
		if (list_linked(&p->on_starved))
			peer_flush_later(p);
	}
	count_seed(p);
	peer_update_interest(p);
}

static void has_all(struct peer *p)
{
	p->has_all = true;
	p->nhave = p->t->limits.pieces;
	p->nwanted = picker_missing(p->t->picker);
	picker_peer_all(p->t->picker, 1);
}

static void on_bitfield(struct peer *p, struct slice bits)
{
	struct bt_torrent *t = p->t;
	p->nhave = bits_count(bits.p, t->limits.pieces);
	if (p->nhave == t->limits.pieces) { /* cheaper kept as one flag */
		has_all(p);
		return;
	}
	if (!bits_alloc(p))
		return;
	memcpy(p->bits, bits.p, bits.n);
	picker_peer_bits(t->picker, p->bits, 1);
	const uint8_t *have = picker_have_bits(t->picker);
	for (uint32_t i = 0; i < t->limits.pieces; i++) {
		if (i % 8 == 0 && !(bits.p[i / 8] & ~have[i / 8])) {
			i += 7;
			continue;
		}
		if (bit_get(p->bits, i) && picker_wants(t->picker, i))
			p->nwanted++;
	}
}

/* What the peer has, all at once. BEP 3 wants it first and once, but aria2 sends a
 * bitfield in place of many haves, again and again; as in libtorrent a later one
 * replaces what was told. Its cost is in proportion to its bytes; that of the short
 * forms is not: a "don't have" after them walks over all pieces. */
static void on_news(struct peer *p, const struct wire_msg *m)
{
	if (m->type != WIRE_BITFIELD && !p->fast) {
		peer_fail(p, "fast message without the extension");
		return;
	}
	if (m->type != WIRE_BITFIELD && ++p->alls > ALLS_MAX) {
		peer_fail(p, "has all or nothing again and again");
		return;
	}
	peer_catch_up(p);
	forget_news(p);
	if (m->type == WIRE_HAVE_ALL)
		has_all(p);
	else if (m->type == WIRE_BITFIELD)
		on_bitfield(p, m->payload);
	if (p->why)
		return;
	count_seed(p);
	peer_update_interest(p);
}

/* A complete peer that loses a piece gets a bit field of its own. */
static void on_dont_have(struct peer *p, uint32_t piece)
{
	struct bt_torrent *t = p->t;
	if (!peer_has(p, piece))
		return;
	peer_catch_up(p);
	if (p->has_all) {
		if (!bits_alloc(p))
			return;
		for (uint32_t i = 0; i < t->limits.pieces; i++)
			bit_set(p->bits, i);
		p->has_all = false;
		picker_peer_all(t->picker, -1);
		picker_peer_bits(t->picker, p->bits, 1);
	}
	bit_clear(p->bits, piece);
	p->nhave--;
	picker_peer_lacks(t->picker, piece);
	if (picker_wants(t->picker, piece) && p->nwanted)
		p->nwanted--;
	count_seed(p);
	peer_update_interest(p);
}

void peer_send_dont_have(struct peer *p, uint32_t piece)
{
	if (!p->hello.donthave)
		return;
	ext_put_donthave(&p->out, p->hello.donthave, piece);
	peer_flush_later(p);
}

/* ---- extensions ---- */

static void send_hello(struct peer *p)
{
	struct ext_hello_out hello = {
		.client = "bt/" BT_VERSION,
		.port = p->c->port,
		.reqq = UPLOADS_MAX,
		.upload_only = p->t->seeding,
		.peer = &p->addr,
	};
	ext_put_hello(&p->out, &hello);
}

/* Again when upload_only changes: who has chosen some files only is a seed that
 * haves don't show (BEP 21). */
void peer_tell_upload_only(struct peer *p)
{
	if (p->extended && p->t->npieces_have < p->t->limits.pieces) {
		send_hello(p);
		peer_flush_later(p);
	}
}

static void on_hello(struct peer *p, struct slice payload)
{
	if (++p->hellos > HELLOS_MAX || ext_hello_parse(payload, &p->hello)) {
		peer_fail(p, "bad extension handshake");
		return;
	}
	if (p->hello.port && !p->outgoing && !p->listen_number) { /* where it can be reached later: said once */
		struct addr a = p->addr;
		a.port = p->hello.port;
		struct known *k = addr_is_usable_peer(&a) ? known_add(p->t, &a, true) : NULL;
		if (k && !k->peer) {
			k->peer = p;
			k->seed = p->counted_seed;
			p->listen_number = known_number(p->t, k);
		}
	}
	peer_update_interest(p);
}

static void on_extended(struct peer *p, const struct wire_msg *m)
{
	uint32_t piece;
	if (!p->extended) {
		peer_fail(p, "extended message without the extension");
		return;
	}
	if (m->ext_id == EXT_HANDSHAKE)
		on_hello(p, m->payload);
	else if (m->ext_id == EXT_DONTHAVE && ext_donthave_parse(m->payload, p->t->limits.pieces, &piece))
		on_dont_have(p, piece);
}

/* ---- messages ---- */

static void forget_offer(struct peer *p, uint32_t piece)
{
	for (uint32_t i = 0; i < p->nfast_in; i++)
		if (p->fast_in[i] == piece)
			p->fast_in[i--] = p->fast_in[--p->nfast_in];
}

static void on_reject(struct peer *p, const struct wire_msg *m)
{
	int pos = request_find(p, m->index, m->begin);
	if (pos < 0)
		return; /* cancelled meanwhile */
	if (p->rx.active && p->rx.piece == m->index && p->rx.begin == m->begin)
		rx_drop(p);
	request_remove(p, (uint32_t)pos);
	picker_unrequest(p->t->picker, m->index, m->begin / BLOCK_LEN);
	if (p->peer_choking) /* as all orders are at a choke, but those it promised not to */
		forget_offer(p, m->index);
	else if (++p->rejects > REJECTS_MAX)
		peer_fail(p, "rejects everything");
	requests_wake(p->t);
	if (p->rejects < 4) /* else wait for better news than the next reject */
		peer_flush_later(p);
}

static void remember(uint32_t *v, uint32_t *n, uint32_t piece)
{
	for (uint32_t i = 0; i < *n; i++)
		if (v[i] == piece)
			return;
	if (*n < FAST_IN_MAX)
		v[(*n)++] = piece;
}

void peer_on_message(struct peer *p, const struct wire_msg *m)
{
	switch (m->type) {
	case WIRE_KEEP_ALIVE:
	case WIRE_PORT:
	case WIRE_UNKNOWN:
		return;
	case WIRE_CHOKE:
		p->peer_choking = true;
		if (!p->fast) /* with BEP 6 each order is still answered */
			requests_drop_all(p, false);
		return;
	case WIRE_UNCHOKE:
		p->peer_choking = false;
		p->rejects = 0;
		peer_flush_later(p);
		return;
	case WIRE_INTERESTED:
		if (!p->peer_interested)
			p->waits_since_ms = p->c->net.now_ms;
		p->peer_interested = true;
		choke_consider(p);
		if (p->am_choking)
			choke_soon(p->t);
		return;
	case WIRE_NOT_INTERESTED:
		p->peer_interested = false;
		choke_consider(p);
		if (!p->am_choking)
			choke_soon(p->t);
		return;
	case WIRE_HAVE:
		on_have(p, m->index);
		return;
	case WIRE_BITFIELD:
	case WIRE_HAVE_ALL:
	case WIRE_HAVE_NONE:
		on_news(p, m);
		return;
	case WIRE_REQUEST:
		upload_request(p, m);
		return;
	case WIRE_CANCEL:
		upload_cancel(p, m);
		return;
	case WIRE_REJECT:
		if (p->fast)
			on_reject(p, m);
		else
			peer_fail(p, "fast message without the extension");
		return;
	case WIRE_ALLOWED_FAST:
		remember(p->fast_in, &p->nfast_in, m->index);
		peer_flush_later(p);
		return;
	case WIRE_SUGGEST:
		remember(p->suggested, &p->nsuggested, m->index);
		return;
	case WIRE_EXTENDED:
		on_extended(p, m);
		return;
	case WIRE_PIECE:
		return; /* receive.c's */
	}
}

/* ---- start ---- */

/* Tells what we have (which must come first), what we speak, and which pieces a
 * newcomer may have while choked (BEP 6: only worth it for one with few pieces,
 * which is all we know of it yet). */
void peer_start(struct peer *p)
{
	struct bt_torrent *t = p->t;
	p->state = PEER_READY;
	p->since_ms = p->last_in_ms = p->last_out_ms = p->c->net.now_ms;
	p->am_choking = p->peer_choking = true;
	p->have_seen = p->have_told = t->have_log_len;
	p->req_target = REQUESTS_MIN;
	p->scatter = 2;
	if (p->fast && t->npieces_have == t->limits.pieces)
		wire_put_simple(&p->out, WIRE_HAVE_ALL);
	else if (t->npieces_have)
		wire_put_bitfield(&p->out, picker_have_bits(t->picker), t->limits.pieces);
	else if (p->fast)
		wire_put_simple(&p->out, WIRE_HAVE_NONE);
	if (p->extended)
		send_hello(p);
	if (p->fast) {
		uint32_t set[FAST_SET];
		size_t n = fast_set(&p->addr, t->info_hash, t->limits.pieces, set, FAST_SET);
		for (size_t i = 0; i < n; i++) {
			if (!picker_has(t->picker, set[i]))
				continue;
			p->fast_out[p->nfast_out++] = set[i];
			wire_put_index(&p->out, WIRE_ALLOWED_FAST, set[i]);
		}
	}
	peer_set_timer(p);
	peer_flush_later(p);
}

/* ---- output and timers ---- */

/* One who does not read our answers is not read from: its questions wait in its own
 * memory. Never for our bitfield alone, or two such ends could wait for each other. */
static bool answers_pile_up(const struct peer *p)
{
	return p->out.n > OUT_PAUSE + bits_len(p->t->limits.pieces);
}

void peer_arm(struct peer *p)
{
	bool wait = list_linked(&p->on_frame_waiting) || list_linked(&p->on_down_waiting) || answers_pile_up(p);
	ev_mod(&p->ev, (wait ? 0 : EPOLLIN) | (p->ev.events & EPOLLOUT));
}

void peer_on_flush(struct later *l)
{
	struct peer *p = container_of(l, struct peer, flush);
	if (p->why || p->state != PEER_READY)
		return;
	peer_refill(p);
	tell_haves(p);
	bool full = upload_send(p);
	if (p->why)
		return;
	if (!full && p->have_told < p->t->have_log_len)
		peer_flush_later(p);
	if (p->out.failed) {
		peer_fail(p, "output queue full");
		return;
	}
	ev_mod(&p->ev, (p->ev.events & ~(uint32_t)EPOLLOUT) | (full ? EPOLLOUT : 0));
	peer_arm(p);
}

static uint64_t block_timeout(const struct peer *p)
{
	return p->snubbed ? PROBE_TIMEOUT_MS : BLOCK_TIMEOUT_MS;
}

void peer_set_timer(struct peer *p)
{
	uint64_t now = p->c->net.now_ms;
	uint64_t at = min_u64(p->last_in_ms + PEER_SILENT_MS, p->last_out_ms + KEEP_ALIVE_MS);
	if (p->req_n)
		at = min_u64(at, p->last_block_ms + block_timeout(p));
	timer_set(&p->c->net, &p->timer, at > now ? at - now : 1);
}

/* Owed data does not come: leave its blocks to others, keep one order as a probe.
 * That one is withdrawn too in time, or it would keep a frame, or the last block. */
static void snub(struct peer *p)
{
	p->snubbed = true;
	p->req_target = REQUESTS_MIN;
	requests_drop_all(p, true);
	p->last_block_ms = p->c->net.now_ms;
	peer_flush_later(p);
}

/* Once in a while is often enough: who is busy would only allocate again. */
static void shed_memory(struct peer *p)
{
	if (p->req_n == 0) {
		free(p->reqs);
		p->reqs = NULL;
		p->req_cap = p->req_head = 0;
	}
	if (p->up_n == 0) {
		free(p->ups);
		p->ups = NULL;
		p->up_cap = p->up_head = 0;
	}
	if (p->out.n == 0 && !p->out.failed)
		buf_release(&p->out);
	if (p->in.n == 0)
		buf_release(&p->in);
}

void peer_on_timer(struct timer *timer)
{
	struct peer *p = container_of(timer, struct peer, timer);
	uint64_t now = p->c->net.now_ms;
	if (p->state != PEER_READY) {
		peer_fail(p, p->state == PEER_CONNECTING ? "no answer" : "no handshake");
		return;
	}
	if (list_linked(&p->on_frame_waiting) || list_linked(&p->on_down_waiting))
		p->last_in_ms = p->last_block_ms = now; /* it is us who do not read */
	if (now - p->last_in_ms >= PEER_SILENT_MS) {
		peer_fail(p, "silent for too long");
		return;
	}
	if (p->req_n && now - p->last_block_ms >= block_timeout(p))
		snub(p);
	if (list_linked(&p->on_starved)) /* should nobody have woken it: there was no memory to choose blocks with */
		peer_flush_later(p);
	if (now - p->last_out_ms >= KEEP_ALIVE_MS) {
		p->last_out_ms = now;
		shed_memory(p);
		wire_put_simple(&p->out, WIRE_KEEP_ALIVE);
		peer_flush_later(p);
	}
	peer_set_timer(p);
}
