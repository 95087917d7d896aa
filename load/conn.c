/* SPDX-License-Identifier: MIT */
/* conn.c - one connection to the client under test as a machine (BEP 3, 6, 10):
 * bytes in, bytes out, no socket, no clock. A leecher is interested from the
 * start and asks for pieces as the job hands them out; a seeder has everything
 * and unchokes whoever is interested. Neither is tit-for-tat nor clever: a meter
 * shall be the same every time. Start at load_conn_input(). */
#include "load/load.h"
#include <errno.h>
#include <stdlib.h>

#define OUT_MAX (4u << 20)
#define PEER_ID "-BB0001-"

/* ---- the job: what there is to ask for ---- */

int load_job_init(struct load_job *j, const struct bt_meta *meta, bool no_verify)
{
	memset(j, 0, sizeof(*j));
	j->meta = meta;
	j->limits = (struct wire_limits){ meta->pieces, meta->piece_len, meta->size };
	j->pipeline = 1;
	list_init(&j->orphans);
	list_init(&j->hungry);
	list_init(&j->check.waiting);
	j->has = alloc_array(bits_len(meta->pieces), 1);
	j->order = alloc_array(meta->pieces, sizeof(*j->order));
	return j->has && j->order ? load_check_init(&j->check, meta, no_verify) : -ENOMEM;
}

void load_job_release(struct load_job *j)
{
	while (j->orphans.next && !list_empty(&j->orphans))
		load_piece_free(&j->check, container_of(j->orphans.next, struct load_piece, on_conn));
	load_check_release(&j->check);
	load_source_close(&j->source);
	free(j->has);
	free(j->order);
}

static void job_has(struct load_job *j, uint32_t index)
{
	uint32_t at = j->nhas;

	if (bit_get(j->has, index))
		return;
	bit_set(j->has, index);
	j->nhas++;
	if (j->random) { /* a place among those not taken yet */
		at = j->taken + random_below(at - j->taken + 1);
		j->order[j->nhas - 1] = j->order[at];
	}
	j->order[at] = index;
}

static bool job_has_more(const struct load_job *j)
{
	return !list_empty(&j->orphans) || j->taken < j->nhas || (j->again && j->nhas == j->limits.pieces);
}

static struct load_piece *job_take(struct load_job *j)
{
	struct load_piece *p;

	if (!list_empty(&j->orphans)) {
		p = container_of(j->orphans.next, struct load_piece, on_conn);
		list_remove(&p->on_conn);
		return p;
	}
	if (j->again && j->taken == j->nhas && j->nhas == j->limits.pieces)
		j->taken = 0;
	p = j->taken < j->nhas ? load_piece_new(j->meta, j->order[j->taken]) : NULL;
	if (p)
		j->taken++;
	return p;
}

bool load_job_got_all(const struct load_job *j)
{
	return !j->again && j->check.good + j->check.bad == j->limits.pieces;
}

struct load_conn *load_job_feed(struct load_job *j)
{
	struct load_conn *c;

	if (list_empty(&j->hungry) || !job_has_more(j))
		return NULL;
	c = container_of(j->hungry.next, struct load_conn, on_hungry);
	list_remove(&c->on_hungry);
	return c;
}

/* ---- life ---- */

void load_conn_init(struct load_conn *c, struct load_job *j, bool seed)
{
	*c = (struct load_conn){ .job = j, .seed = seed, .choked = true, .depth = j->pipeline };
	list_init(&c->pieces);
	list_init(&c->on_hungry);
	buf_init(&c->out, OUT_MAX);
}

static void orphan_all(struct load_conn *c)
{
	while (!list_empty(&c->pieces)) {
		struct list *l = c->pieces.next;
		list_remove(l);
		list_push_back(&c->job->orphans, l);
	}
}

static struct load_request *request_at(const struct load_conn *c, uint32_t i)
{
	return &c->reqs[(c->req_head + i) % c->job->pipeline];
}

static void drop_requests(struct load_conn *c)
{
	for (uint32_t i = 0; i < c->req_n; i++)
		load_piece_miss(request_at(c, i)->piece, request_at(c, i)->block);
	c->req_n = 0;
	orphan_all(c);
}

void load_conn_release(struct load_conn *c)
{
	drop_requests(c);
	c->job->ninterested -= c->interested;
	c->interested = false;
	list_remove(&c->on_hungry);
	buf_release(&c->out);
	free(c->reqs);
	free(c->wants);
	c->reqs = NULL;
	c->wants = NULL;
	c->want_n = 0;
}

static bool fail(struct load_conn *c, const char *why)
{
	if (!c->why)
		c->why = why;
	return false;
}

void load_conn_greet(struct load_conn *c)
{
	uint8_t hs[HANDSHAKE_LEN], id[20] = PEER_ID;

	random_bytes(id + sizeof(PEER_ID) - 1, sizeof(id) - sizeof(PEER_ID) + 1); /* two with one id would be one client */
	handshake_put(hs, c->job->meta->info_hash, id);
	buf_put(&c->out, hs, sizeof(hs));
	c->greeted = true;
}

static bool on_handshake(struct load_conn *c, const struct handshake *h)
{
	if (memcmp(h->info_hash, c->job->meta->info_hash, sizeof(h->info_hash)) != 0)
		return fail(c, "has another torrent");
	c->ready = true;
	c->fast = handshake_has_fast(h);
	if (!c->greeted)
		load_conn_greet(c);
	if (handshake_has_extensions(h))
		ext_put_hello(&c->out, &(struct ext_hello_out){ .client = "bt bench " BT_VERSION, .reqq = c->job->pipeline,
								.upload_only = c->seed });
	if (c->fast) {
		wire_put_simple(&c->out, c->seed ? WIRE_HAVE_ALL : WIRE_HAVE_NONE);
	} else if (c->seed) {
		size_t n = bits_len(c->job->limits.pieces);
		uint8_t *bits = alloc_array(n, 1);
		if (!bits)
			return fail(c, "out of memory");
		for (uint32_t i = 0; i < c->job->limits.pieces; i++)
			bit_set(bits, i);
		wire_put_bitfield(&c->out, bits, c->job->limits.pieces);
		free(bits);
	}
	if (!c->seed)
		wire_put_simple(&c->out, WIRE_INTERESTED);
	return true;
}

/* ---- leecher ---- */

/* The next block of a piece that nobody was asked for. */
static bool next_block(struct load_piece *p, uint32_t *block)
{
	while (p->first_free < p->nblocks && p->state[p->first_free] != LOAD_FREE)
		p->first_free++;
	*block = p->first_free;
	return p->first_free < p->nblocks;
}

static bool missed_block(struct load_conn *c, struct load_piece **p, uint32_t *block)
{
	for (struct list *l = c->pieces.next; l != &c->pieces; l = l->next) {
		*p = container_of(l, struct load_piece, on_conn);
		if (next_block(*p, block))
			return true;
	}
	c->missed = false;
	return false;
}

/* Only the newest piece has blocks to ask for, unless some were missed. */
static bool next_request(struct load_conn *c, struct load_piece **p, uint32_t *block)
{
	if (c->missed && missed_block(c, p, block))
		return true;
	if (!list_empty(&c->pieces)) {
		*p = container_of(c->pieces.prev, struct load_piece, on_conn);
		if (next_block(*p, block))
			return true;
	}
	while ((*p = job_take(c->job)) != NULL) {
		list_push_back(&c->pieces, &(*p)->on_conn);
		if (next_block(*p, block))
			return true;
	}
	return missed_block(c, p, block);
}

void load_conn_ask(struct load_conn *c, uint64_t now_us)
{
	struct load_job *j = c->job;
	struct load_piece *p;
	uint32_t block;

	if (c->seed || c->choked || c->why || j->hold)
		return;
	if (!c->reqs && !(c->reqs = alloc_array(j->pipeline, sizeof(*c->reqs)))) {
		fail(c, "out of memory");
		return;
	}
	while (c->req_n < c->depth) {
		if (!next_request(c, &p, &block)) {
			if (!list_linked(&c->on_hungry))
				list_push_back(&j->hungry, &c->on_hungry);
			break;
		}
		p->state[block] = LOAD_ASKED;
		wire_put_block(&c->out, WIRE_REQUEST, p->index, block * LOAD_BLOCK, load_block_len(p, block));
		*request_at(c, c->req_n++) = (struct load_request){ p, block, now_us };
		if (!j->first_us)
			j->first_us = now_us;
	}
	if (c->req_n > j->down.deepest)
		j->down.deepest = c->req_n;
}

/* Its place among the requests; most answers come in order. */
static bool find_request(const struct load_conn *c, const struct wire_msg *m, uint32_t *at)
{
	for (*at = 0; *at < c->req_n; ++*at) {
		const struct load_request *r = request_at(c, *at);
		if (r->piece->index == m->index && r->block * LOAD_BLOCK == m->begin &&
		    load_block_len(r->piece, r->block) == m->len)
			return true;
	}
	return false;
}

static struct load_request remove_request(struct load_conn *c, uint32_t at)
{
	struct load_request r = *request_at(c, at);

	for (; at > 0; at--)
		*request_at(c, at) = *request_at(c, at - 1);
	c->req_head = (c->req_head + 1) % c->job->pipeline;
	c->req_n--;
	return r;
}

static void on_block(struct load_conn *c, const struct wire_msg *m, const uint8_t *p, uint64_t now_us)
{
	struct load_side *down = &c->job->down;
	struct load_request r;
	uint32_t at;

	if (!find_request(c, m, &at)) {
		down->wasted += m->len;
		return;
	}
	r = remove_request(c, at);
	c->rejects = 0;
	c->bytes += m->len;
	down->bytes += m->len;
	down->blocks++;
	load_hist_add(&down->latency, now_us - r.at_us);
	c->job->last_us = now_us;
	r.piece->state[r.block] = LOAD_GOT;
	if (r.piece->got + 1 == r.piece->nblocks)
		list_remove(&r.piece->on_conn); /* the checker's alone now */
	load_check_block(&c->job->check, r.piece, r.block, p);
}

/* Asked for more than it takes, or for what it says to have and has not. */
static bool on_reject(struct load_conn *c, const struct wire_msg *m)
{
	struct load_request r;
	uint32_t at;

	if (!find_request(c, m, &at))
		return true;
	r = remove_request(c, at);
	load_piece_miss(r.piece, r.block);
	c->missed = true;
	if (++c->rejects > LOAD_REJECTS + c->job->pipeline)
		return fail(c, "refuses what it has");
	c->depth = c->req_n ? (uint32_t)min_size(c->depth, c->req_n) : 1;
	return true;
}

/* ---- seeder: the rest is in serve.c ---- */

static void set_interested(struct load_conn *c, bool on)
{
	c->job->ninterested += on && !c->interested;
	c->job->ninterested -= !on && c->interested;
	c->interested = on;
}

static void unchoke(struct load_conn *c)
{
	if (!c->seed || !c->interested || c->unchoking || c->job->hold)
		return;
	wire_put_simple(&c->out, WIRE_UNCHOKE);
	c->unchoking = true;
}

void load_conn_go(struct load_conn *c, uint64_t now_us)
{
	unchoke(c);
	load_conn_ask(c, now_us);
}

/* ---- messages ---- */

static bool on_hello(struct load_conn *c, struct slice payload)
{
	struct ext_hello h = { 0 };

	if (ext_hello_parse(payload, &h) < 0)
		return fail(c, "malformed extension handshake");
	if (h.reqq && h.reqq < c->depth)
		c->depth = h.reqq;
	return true;
}

static bool on_message(struct load_conn *c, const struct wire_msg *m, uint64_t now_us)
{
	struct load_job *j = c->job;
	uint32_t had = j->nhas;

	switch (m->type) {
	case WIRE_CHOKE:
		c->choked = true;
		drop_requests(c);
		break;
	case WIRE_UNCHOKE:
		c->choked = false;
		break;
	case WIRE_INTERESTED:
		set_interested(c, true);
		unchoke(c);
		break;
	case WIRE_NOT_INTERESTED:
		set_interested(c, false);
		break;
	case WIRE_HAVE:
		job_has(j, m->index);
		break;
	case WIRE_BITFIELD:
		for (uint32_t i = 0; i < j->limits.pieces; i++)
			if (bit_get(m->payload.p, i))
				job_has(j, i);
		break;
	case WIRE_HAVE_ALL:
		for (uint32_t i = 0; i < j->limits.pieces && j->nhas < j->limits.pieces; i++)
			job_has(j, i);
		break;
	case WIRE_REQUEST:
		load_conn_want(c, m, now_us);
		break;
	case WIRE_CANCEL:
		load_conn_cancel(c, m);
		break;
	case WIRE_REJECT:
		return on_reject(c, m);
	case WIRE_EXTENDED:
		return m->ext_id != EXT_HANDSHAKE || on_hello(c, m->payload);
	default: /* keep-alive, port, suggestions, allowed-fast, unknown: nothing to measure */
		break;
	}
	if (j->first_us && j->nhas > had && j->nhas == j->limits.pieces)
		j->last_us = now_us;
	return true;
}

/* Bytes of one message, 0 = not all here. */
static size_t take(struct load_conn *c, struct slice in, uint64_t now_us, size_t *need)
{
	struct wire_msg m;
	int n = wire_next(in, &c->job->limits, &m, need, &c->why);

	if (n <= 0)
		return 0;
	if (m.type != WIRE_PIECE)
		return on_message(c, &m, now_us) ? (size_t)n : 0;
	*need = (size_t)n + m.len;
	if (in.n < *need)
		return 0;
	if (c->seed)
		c->job->up.wasted += m.len;
	else
		on_block(c, &m, in.p + n, now_us);
	return *need;
}

size_t load_conn_input(struct load_conn *c, struct slice in, uint64_t now_us, size_t *need)
{
	size_t used = 0, n;
	struct handshake h;

	*need = HANDSHAKE_LEN;
	if (!c->ready) {
		int r = handshake_next(in, &h);
		if (r < 0)
			fail(c, "not BitTorrent");
		if (r <= 0 || !on_handshake(c, &h))
			return 0;
		used = (size_t)r;
	}
	while (!c->why && (n = take(c, slice_of(in.p + used, in.n - used), now_us, need)) > 0)
		used += n;
	if (c->out.failed)
		fail(c, "reads nothing");
	load_conn_ask(c, now_us);
	return used;
}
