/* SPDX-License-Identifier: MIT */
/* dht_answer.c - answers to other nodes' queries. An answer goes to the address a
 * packet claims to come from, so until that address is proven it is at most about
 * three times as long as the query. What doesn't fit that (items, many peers,
 * filters) is held back until a ping to the address is answered: one round trip
 * for an honest node, nothing for a forger's victim. Read-only nodes answer no
 * ping; for them there is a small budget. Start at dht_answer(). */
#include "find/dht_node.h"

/* The bytes a field adds to an answer: its key, the length's digits, itself. */
#define COST(key, n) (sizeof(key) + 2 + 4 + (n))
#define FULL 1024u /* BEP 32; an item alone may make it longer */

/* Parts of an answer that it borrows until it is sent. */
struct parts {
	uint8_t ip[18], token[DHT_TOKEN];
	uint8_t nodes[DHT_K * 26], nodes6[DHT_K * 38];
	uint8_t blooms[2][DHT_BLOOM];
	struct dht_msg r;
	size_t room;  /* bytes left */
	bool tight;   /* room for the most useful part only */
	bool cut;     /* something of value did not fit */
};

static void send_error(struct dht *d, const struct addr *to, const struct dht_msg *q, int code, const char *text)
{
	struct dht_msg e = { .kind = 'e', .t = q->t, .error = code, .text = slice_str(text) };

	dht_send(d, to, &e);
}

static void begin(struct dht *d, struct parts *p, const struct addr *from, const struct dht_msg *q, size_t limit)
{
	p->r = (struct dht_msg){ .kind = 'r', .t = q->t, .id = slice_of(d->id, DHT_ID) };
	p->r.ip = slice_of(p->ip, dht_addr_write(p->ip, from));
	p->tight = limit < FULL;
	p->cut = false;
	buf_clear(&d->out);
	dht_encode(&d->out, &p->r);
	p->room = limit > d->out.n ? limit - d->out.n : 0;
}

static bool fits(struct parts *p, size_t cost)
{
	if (cost > p->room)
		return false;
	p->room -= cost;
	return true;
}

static void add_token(struct dht *d, struct parts *p, const struct addr *from, const uint8_t target[20])
{
	p->room -= min_size(p->room, COST("token", DHT_TOKEN)); /* without it the answer is useless */
	dht_token_make(&d->gate, from, target, p->token);
	p->r.token = slice_of(p->token, DHT_TOKEN);
}

/* Our good nodes nearest to target, of our own family (`own`) or the other one. */
static void add_nodes(struct dht *d, struct parts *p, bool own, const uint8_t target[20])
{
	const struct dht *from = own ? d : d->pair;
	struct dht_contact near[DHT_K];
	size_t n, max, len;
	uint8_t *out;

	if (!from)
		return;
	len = dht_contact_len(from->o.v6);
	max = p->room > COST("nodes6", 0) ? (p->room - COST("nodes6", 0)) / len : 0;
	n = dht_table_closest(&from->table, target, true, near, min_size(max, DHT_K), d->now);
	if (!fits(p, COST("nodes6", n * len)))
		return;
	out = from->o.v6 ? p->nodes6 : p->nodes;
	for (size_t i = 0; i < n; i++)
		dht_contact_write(out + i * len, &near[i]);
	if (from->o.v6)
		p->r.nodes6 = slice_of(p->nodes6, n * len);
	else
		p->r.nodes = slice_of(p->nodes, n * len);
}

/* First those of our family, then the others: they are the ones to do without. */
static void add_wanted(struct dht *d, struct parts *p, const struct dht_msg *q, bool own, const uint8_t target[20])
{
	unsigned ours = d->o.v6 ? DHT_WANT_N6 : DHT_WANT_N4, want = q->want ? q->want : ours;

	if (want & (own ? ours : ours ^ (DHT_WANT_N4 | DHT_WANT_N6)))
		add_nodes(d, p, own, target);
}

static void add_peers(struct dht *d, struct parts *p, const struct dht_msg *q)
{
	const struct dht_torrent *t = dht_store_find(&d->store, q->info_hash.p);
	bool noseed = q->has & DHT_HAS_NOSEED && q->noseed == 1;
	size_t n;

	if (!t || t->n == 0)
		return;
	if (q->has & DHT_HAS_SCRAPE && q->scrape == 1) {
		if (fits(p, 2 * COST("BFsd", DHT_BLOOM))) {
			dht_store_blooms(&d->store, t, p->blooms[0], p->blooms[1]);
			p->r.bloom_seeds = slice_of(p->blooms[0], DHT_BLOOM);
			p->r.bloom_peers = slice_of(p->blooms[1], DHT_BLOOM);
		} else {
			p->cut = true;
		}
	}
	buf_clear(&d->values);
	if (p->room <= COST("values", 2)) {
		p->cut = true;
		return;
	}
	n = dht_store_values(&d->store, t, noseed, dht_chance(d), p->room - COST("values", 0), &d->values);
	p->cut |= n < t->n && !noseed;
	if (n == 0 || d->values.failed)
		return;
	p->r.values = slice_of(d->values.p, d->values.n);
	p->room -= min_size(p->room, COST("values", d->values.n));
}

static void add_item(struct dht *d, struct parts *p, const struct dht_msg *q)
{
	const struct dht_kept *k = dht_items_find(&d->items, q->target.p);
	const struct dht_item *it;

	if (!k)
		return;
	it = &k->item;
	if (it->is_mutable && q->has & DHT_HAS_SEQ && it->seq <= q->seq) {
		p->r.seq = it->seq;
		p->r.has |= DHT_HAS_SEQ;
		return;
	}
	if (!fits(p, COST("v", it->v.n) + (it->is_mutable ? COST("k", 32) + COST("sig", 64) + COST("seq", 20) : 0))) {
		p->cut = true;
		return;
	}
	p->r.v = it->v;
	if (!it->is_mutable)
		return;
	p->r.seq = it->seq;
	p->r.has |= DHT_HAS_SEQ;
	p->r.key = slice_of(it->key, 32);
	p->r.sig = slice_of(it->sig, 64);
}

static void add_samples(struct dht *d, struct parts *p)
{
	uint32_t interval;
	struct slice s = dht_store_sample(&d->store, dht_chance(d), d->now, &interval);
	size_t n = p->room > COST("samples", 0) ? (p->room - COST("samples", 0)) / 20 * 20 : 0;

	p->cut = n < s.n;
	p->r.samples = slice_of(s.p, min_size(s.n, n));
	p->r.num = d->store.torrents;
	p->r.interval = interval;
	p->r.has |= DHT_HAS_NUM | DHT_HAS_INTERVAL;
}

/* What a question is answered with in `limit` bytes. */
static void build(struct dht *d, struct parts *p, const struct addr *from, const struct dht_msg *q, size_t limit)
{
	begin(d, p, from, q, limit);
	switch (q->method) {
	case DHT_FIND_NODE:
		add_wanted(d, p, q, true, q->target.p);
		add_wanted(d, p, q, false, q->target.p);
		break;
	case DHT_GET_PEERS:
		/* BEP 33: no token means that no announce is wanted */
		if (dht_store_has_room(&d->store, q->info_hash.p, from))
			add_token(d, p, from, q->info_hash.p);
		if (p->tight) /* a few peers may fit, and are what is asked for */
			add_peers(d, p, q);
		add_wanted(d, p, q, true, q->info_hash.p);
		if (!p->tight)
			add_peers(d, p, q);
		add_wanted(d, p, q, false, q->info_hash.p);
		break;
	case DHT_GET:
		add_token(d, p, from, q->target.p);
		add_item(d, p, q);
		add_wanted(d, p, q, true, q->target.p);
		add_wanted(d, p, q, false, q->target.p);
		break;
	case DHT_SAMPLE:
		p->room -= min_size(p->room, COST("interval", 6) + COST("num", 10));
		add_wanted(d, p, q, true, q->target.p);
		add_samples(d, p);
		add_wanted(d, p, q, false, q->target.p);
		break;
	default:
		break; /* a ping's answer has nothing but the id */
	}
}

static bool hold(struct dht *d, const struct addr *from, struct slice packet)
{
	struct dht_held *h = NULL;

	if (packet.n > DHT_HELD_LEN)
		return false;
	for (int i = 0; i < DHT_HELD; i++) {
		struct dht_held *at = &d->held[i];

		if (at->used && d->now - at->since_ms >= DHT_SOFT_MS)
			at->used = false;
		if (at->used && addr_eq(&at->from, from)) { /* one for each: its last question */
			h = at;
			break;
		}
		if (!at->used)
			h = at;
	}
	/* Any answer will do, if something is on its way there. */
	if (!h || (!dht_is_asked(d, from) && !dht_ping(d, from)))
		return false;
	*h = (struct dht_held){ .used = true, .from = *from, .since_ms = d->now, .len = packet.n };
	memcpy(h->packet, packet.p, packet.n);
	return true;
}

static void answer_question(struct dht *d, const struct addr *from, const struct dht_msg *q, struct slice packet)
{
	bool proven = dht_gate_is_proven(&d->gate, from, d->now);
	size_t full = q->method == DHT_GET ? DHT_PACKET_MAX : FULL;
	/* eight IPv4 nodes answer the shortest find_node */
	size_t limit = proven ? full : min_size(full, 3 * packet.n + 40);
	struct parts p;

	build(d, &p, from, q, limit);
	if (p.cut && !proven) {
		if (!q->read_only && hold(d, from, packet))
			return;
		if (q->read_only && budget_ask(&d->unproven, DHT_PACKET_MAX, d->now)) {
			build(d, &p, from, q, full);
			budget_take(&d->unproven, full - p.room);
		}
	}
	dht_send(d, from, &p.r);
}

static void answer_ok(struct dht *d, const struct addr *from, const struct dht_msg *q)
{
	struct parts p;

	dht_gate_prove(&d->gate, from, d->now); /* it has our token */
	begin(d, &p, from, q, FULL);
	dht_send(d, from, &p.r);
}

static void answer_announce(struct dht *d, const struct addr *from, const struct dht_msg *q)
{
	struct addr peer = *from;

	if (!dht_token_check(&d->gate, from, q->info_hash.p, q->token)) {
		send_error(d, from, q, DHT_E_PROTOCOL, "bad token");
		return;
	}
	if (!(q->has & DHT_HAS_IMPLIED && q->implied_port))
		peer.port = q->has & DHT_HAS_PORT ? (uint16_t)q->port : 0;
	if (!dht_addr_is_askable(&peer, from)) {
		send_error(d, from, q, DHT_E_PROTOCOL, "invalid port");
		return;
	}
	if (!dht_store_add(&d->store, q->info_hash.p, &peer, q->has & DHT_HAS_SEED && q->seed == 1, d->now)) {
		send_error(d, from, q, 202, "full");
		return;
	}
	answer_ok(d, from, q);
}

static const char *error_text(int code)
{
	switch (code) {
	case DHT_E_TOO_BIG: return "v too big";
	case DHT_E_SIGNATURE: return "invalid signature";
	case DHT_E_SALT: return "salt too big";
	case DHT_E_CAS: return "CAS mismatch, re-read value and try again";
	case DHT_E_SEQ: return "sequence number less than current";
	case DHT_E_PROTOCOL: return "invalid value";
	}
	return "server error";
}

/* Cheap checks first: a signature costs a thousand times more than the rest. */
static void answer_put(struct dht *d, const struct addr *from, const struct dht_msg *q)
{
	struct dht_item it = { .v = q->v, .is_mutable = q->key.p };
	const int64_t *cas = q->has & DHT_HAS_CAS ? &q->cas : NULL;
	uint8_t target[20];
	int error;

	if (it.is_mutable) {
		memcpy(it.key, q->key.p, 32);
		memcpy(it.sig, q->sig.p, 64);
		it.seq = q->seq;
		it.salt = q->salt;
	}
	error = it.v.n > DHT_ITEM_MAX ? DHT_E_TOO_BIG : it.salt.n > DHT_SALT_MAX ? DHT_E_SALT : 0;
	if (error) {
		send_error(d, from, q, error, error_text(error));
		return;
	}
	dht_item_target(&it, target);
	if (!dht_token_check(&d->gate, from, target, q->token)) {
		send_error(d, from, q, DHT_E_PROTOCOL, "bad token");
		return;
	}
	error = dht_items_order(&d->items, &it, cas);
	if (!error && it.is_mutable) {
		if (d->signatures_left == 0) {
			d->count.refused++;
			return;
		}
		d->signatures_left--;
	}
	if (!error)
		error = dht_item_check(&it);
	if (!error)
		error = dht_items_put(&d->items, &it, cas, from, d->id, d->now);
	if (error)
		send_error(d, from, q, error, error_text(error));
	else
		answer_ok(d, from, q);
}

void dht_answer(struct dht *d, const struct addr *from, const struct dht_msg *q, struct slice packet)
{
	if (budget_ask(&d->up, DHT_PACKET_MAX, d->now) == 0) {
		d->count.refused++;
		return;
	}
	if (q->error) {
		struct dht_msg e = { .kind = 'e', .t = q->t, .error = q->error, .text = q->text };

		dht_send(d, from, &e);
	} else if (q->method == DHT_ANNOUNCE_PEER) {
		answer_announce(d, from, q);
	} else if (q->method == DHT_PUT) {
		answer_put(d, from, q);
	} else {
		answer_question(d, from, q, packet);
	}
}

void dht_answer_held(struct dht *d, const struct addr *from)
{
	for (int i = 0; i < DHT_HELD; i++) {
		struct dht_held *h = &d->held[i];
		struct slice packet = slice_of(h->packet, h->len);
		struct dht_msg q;

		if (!h->used || !addr_eq(&h->from, from))
			continue;
		h->used = false;
		if (dht_parse(packet, &q))
			dht_answer(d, from, &q, packet);
	}
}
