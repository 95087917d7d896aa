/* SPDX-License-Identifier: MIT */
/* dht_message.c - KRPC (BEP 5 and its successors), as dht_message.h states. One
 * table names every argument with its type and size and serves the reader and
 * the writer, so a value of another type than the table's never gets in, and the
 * keys go out in order. Start at dht_parse(). */
#include "find/dht_message.h"

static const char *const METHODS[DHT_UNKNOWN] = {
	[DHT_PING] = "ping",
	[DHT_FIND_NODE] = "find_node",
	[DHT_GET_PEERS] = "get_peers",
	[DHT_ANNOUNCE_PEER] = "announce_peer",
	[DHT_GET] = "get",
	[DHT_PUT] = "put",
	[DHT_SAMPLE] = "sample_infohashes",
};

/* 'b' bytes of a length in min..max, a multiple of `of`; 'i' integer in min..max;
 * 'v' any value; 'l' a list; 'w' the list of `want`. */
struct field {
	const char *key;
	char type;
	uint16_t of;
	int64_t min, max;
	size_t off;
	unsigned has;
};
#define AT(member) offsetof(struct dht_msg, member)
#define BYTES(key, n, member) { key, 'b', 1, n, n, AT(member), 0 }
#define MANY(key, of, max, member) { key, 'b', of, 0, max, AT(member), 0 }
#define NUMBER(key, min, max, member, has) { key, 'i', 1, min, max, AT(member), has }
#define ANY_LEN 2048

static const struct field FIELDS[] = { /* in the order of keys */
	BYTES("BFpe", DHT_BLOOM, bloom_peers),
	BYTES("BFsd", DHT_BLOOM, bloom_seeds),
	NUMBER("cas", 0, INT64_MAX, cas, DHT_HAS_CAS),
	BYTES("id", 20, id),
	NUMBER("implied_port", INT64_MIN, INT64_MAX, implied_port, DHT_HAS_IMPLIED),
	BYTES("info_hash", 20, info_hash),
	NUMBER("interval", 0, INT64_MAX, interval, DHT_HAS_INTERVAL),
	BYTES("k", 32, key),
	MANY("nodes", 26, ANY_LEN, nodes),
	MANY("nodes6", 38, ANY_LEN, nodes6),
	NUMBER("noseed", INT64_MIN, INT64_MAX, noseed, DHT_HAS_NOSEED),
	NUMBER("num", 0, INT64_MAX, num, DHT_HAS_NUM),
	NUMBER("port", 0, 65535, port, DHT_HAS_PORT),
	MANY("salt", 1, ANY_LEN, salt), /* too long a one has an error of its own */
	MANY("samples", 20, ANY_LEN, samples),
	NUMBER("scrape", INT64_MIN, INT64_MAX, scrape, DHT_HAS_SCRAPE),
	NUMBER("seed", INT64_MIN, INT64_MAX, seed, DHT_HAS_SEED),
	NUMBER("seq", 0, INT64_MAX, seq, DHT_HAS_SEQ),
	BYTES("sig", 64, sig),
	BYTES("target", 20, target),
	MANY("token", 1, DHT_TOKEN_MAX, token),
	{ "v", 'v', 1, 0, 0, AT(v), 0 },
	{ "values", 'l', 1, 0, 0, AT(values), 0 },
	{ "want", 'w', 1, 0, 0, AT(want), 0 },
};

/* memcpy, because a table can't keep the types of members. */
static void set_slice(struct dht_msg *m, const struct field *f, struct slice s)
{
	memcpy((uint8_t *)m + f->off, &s, sizeof(s));
}

static struct slice get_slice(const struct dht_msg *m, const struct field *f)
{
	struct slice s;

	memcpy(&s, (const uint8_t *)m + f->off, sizeof(s));
	return s;
}

static unsigned read_want(struct ben list)
{
	struct slice key, s;
	struct ben_it it;
	struct ben val;
	unsigned want = 0;

	for (ben_iter(list, &it); ben_next(&it, &key, &val);) {
		if (!ben_str(val, &s))
			continue; /* BEP 32: what is not known is ignored */
		want |= slice_is(s, "n4") ? DHT_WANT_N4 : slice_is(s, "n6") ? DHT_WANT_N6 : 0u;
	}
	return want;
}

static bool read_field(struct dht_msg *m, const struct field *f, struct ben val)
{
	struct slice s;
	int64_t i;

	switch (f->type) {
	case 'b':
		if (!ben_str(val, &s) || (int64_t)s.n < f->min || (int64_t)s.n > f->max || s.n % f->of)
			return false;
		set_slice(m, f, s);
		return true;
	case 'i':
		if (!ben_int(val, &i) || i < f->min || i > f->max)
			return false;
		memcpy((uint8_t *)m + f->off, &i, sizeof(i));
		m->has |= f->has;
		return true;
	case 'l':
		if (ben_type(val) != BEN_LIST)
			return false;
		/* fall through */
	case 'v':
		set_slice(m, f, ben_raw(val));
		return true;
	}
	m->want = read_want(val);
	return true;
}

/* The dictionary `a` or `r`. Unknown keys are other people's extensions. */
static bool read_fields(struct dht_msg *m, struct ben dict)
{
	struct slice key;
	struct ben_it it;
	struct ben val;

	if (ben_type(dict) != BEN_DICT)
		return false;
	for (ben_iter(dict, &it); ben_next(&it, &key, &val);)
		for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++)
			if (slice_is(key, FIELDS[i].key) && !read_field(m, &FIELDS[i], val))
				return false;
	return true;
}

static const char *query_lacks(const struct dht_msg *m)
{
	if (!m->id.p)
		return "id missing";
	switch (m->method) {
	case DHT_FIND_NODE:
	case DHT_GET:
	case DHT_SAMPLE:
		return m->target.p ? NULL : "target missing";
	case DHT_GET_PEERS:
		return m->info_hash.p ? NULL : "info_hash missing";
	case DHT_ANNOUNCE_PEER:
		if (!m->info_hash.p)
			return "info_hash missing";
		if (!m->token.p)
			return "token missing";
		return m->has & (DHT_HAS_PORT | DHT_HAS_IMPLIED) ? NULL : "port missing";
	case DHT_PUT:
		if (!m->v.p)
			return "v missing";
		if (!m->token.p)
			return "token missing";
		/* all of what makes it mutable, or nothing */
		if (m->key.p ? !m->sig.p || !(m->has & DHT_HAS_SEQ) : m->sig.p || m->has & DHT_HAS_SEQ)
			return "k, sig and seq belong together";
		return NULL;
	case DHT_PING:
	case DHT_UNKNOWN:
		break;
	}
	return NULL;
}

static void read_query(struct dht_msg *m, struct ben top)
{
	const char *lacks;
	struct slice name;

	m->method = DHT_UNKNOWN;
	if (ben_get_str(top, "q", &name))
		for (int i = 0; i < DHT_UNKNOWN; i++)
			if (slice_is(name, METHODS[i]))
				m->method = (enum dht_method)i;
	if (!read_fields(m, ben_get(top, "a"))) {
		m->error = DHT_E_PROTOCOL;
		m->text = slice_str("invalid arguments");
		return;
	}
	/* What asks about a target in a language of the future gets nodes. */
	if (m->method == DHT_UNKNOWN && (m->target.p || m->info_hash.p)) {
		m->method = DHT_FIND_NODE;
		if (!m->target.p)
			m->target = m->info_hash;
	}
	lacks = query_lacks(m);
	if (m->method == DHT_UNKNOWN) {
		m->error = DHT_E_METHOD;
		m->text = slice_str("unknown method");
	} else if (lacks) {
		m->error = DHT_E_PROTOCOL;
		m->text = slice_str(lacks);
	}
}

static bool read_error(struct dht_msg *m, struct ben list)
{
	struct slice key, text;
	struct ben_it it;
	struct ben val;
	int64_t code;

	ben_iter(list, &it);
	if (ben_type(list) != BEN_LIST || !ben_next(&it, &key, &val) || !ben_int(val, &code) || code < 1 || code > 9999)
		return false;
	m->error = (int)code;
	if (ben_next(&it, &key, &val) && ben_str(val, &text))
		m->text = text;
	return true;
}

bool dht_parse(struct slice packet, struct dht_msg *m)
{
	struct slice kind, s;
	struct addr ip;
	struct ben top;
	unsigned seen;
	int64_t ro;

	*m = (struct dht_msg){ .kind = 0 };
	if (packet.n > ANY_LEN || ben_check(packet, &BEN_MESSAGE, &top, &seen, NULL) != (ptrdiff_t)packet.n ||
	    ben_type(top) != BEN_DICT || seen & BEN_DUP_KEY)
		return false;
	if (!ben_get_str(top, "t", &m->t) || m->t.n > DHT_T_MAX || !ben_get_str(top, "y", &kind) || kind.n != 1)
		return false;
	m->kind = (char)kind.p[0];
	if (ben_get_str(top, "ip", &s) && dht_addr_read(s, &ip))
		m->ip = s;
	switch (m->kind) {
	case 'q':
		m->read_only = ben_get_int(top, "ro", &ro) && ro == 1;
		read_query(m, top);
		return true;
	case 'r':
		return read_fields(m, ben_get(top, "r")) && m->id.p;
	case 'e':
		return read_error(m, ben_get(top, "e"));
	}
	return false;
}

/* ---- writer ---- */

static void put_want(struct buf *b, unsigned want)
{
	ben_open_list(b);
	if (want & DHT_WANT_N4)
		ben_put_str(b, "n4");
	if (want & DHT_WANT_N6)
		ben_put_str(b, "n6");
	ben_close(b);
}

static void put_fields(struct buf *b, const struct dht_msg *m)
{
	ben_open_dict(b);
	for (const struct field *f = FIELDS; f < FIELDS + ARRAY_LEN(FIELDS); f++) {
		struct slice s = { NULL, 0 };
		int64_t i;

		if (f->type == 'w' ? !m->want : f->type == 'i' ? !(m->has & f->has) : !(s = get_slice(m, f)).p)
			continue;
		ben_put_str(b, f->key);
		switch (f->type) {
		case 'b':
			ben_put_bytes(b, s.p, s.n);
			break;
		case 'i':
			memcpy(&i, (const uint8_t *)m + f->off, sizeof(i));
			ben_put_int(b, i);
			break;
		case 'w':
			put_want(b, m->want);
			break;
		default:
			ben_put_raw(b, s);
		}
	}
	ben_close(b);
}

void dht_encode(struct buf *b, const struct dht_msg *m)
{
	ben_open_dict(b);
	if (m->kind == 'q') {
		ben_put_str(b, "a");
		put_fields(b, m);
	} else if (m->kind == 'e') {
		ben_put_str(b, "e");
		ben_open_list(b);
		ben_put_int(b, m->error);
		ben_put_bytes(b, m->text.p, m->text.n);
		ben_close(b);
	}
	if (m->ip.p) {
		ben_put_str(b, "ip");
		ben_put_bytes(b, m->ip.p, m->ip.n);
	}
	if (m->kind == 'q') {
		ben_put_str(b, "q");
		ben_put_str(b, METHODS[m->method]);
	} else if (m->kind == 'r') {
		ben_put_str(b, "r");
		put_fields(b, m);
	}
	if (m->kind == 'q' && m->read_only) {
		ben_put_str(b, "ro");
		ben_put_int(b, 1);
	}
	ben_put_str(b, "t");
	ben_put_bytes(b, m->t.p, m->t.n);
	ben_put_str(b, "v");
	ben_put_bytes(b, "BT\0\1", 4); /* BEP 20's letters, and a version */
	ben_put_str(b, "y");
	ben_put_bytes(b, &m->kind, 1);
	ben_close(b);
}

/* ---- compact forms ---- */

size_t dht_addr_write(uint8_t out[18], const struct addr *a)
{
	size_t n = a->v6 ? 16 : 4;

	memcpy(out, a->ip, n);
	put_u16(out + n, a->port);
	return n + 2;
}

bool dht_addr_read(struct slice s, struct addr *a)
{
	memset(a, 0, sizeof(*a));
	if (s.n != 6 && s.n != 18)
		return false;
	a->v6 = s.n == 18;
	memcpy(a->ip, s.p, s.n - 2);
	a->port = get_u16(s.p + s.n - 2);
	return true;
}

size_t dht_contact_write(uint8_t out[38], const struct dht_contact *c)
{
	memcpy(out, c->id, 20);
	return 20 + dht_addr_write(out + 20, &c->addr);
}

bool dht_contact_next(struct cur *c, bool v6, struct dht_contact *out)
{
	struct slice s;

	if (!cur_bytes(c, dht_contact_len(v6), &s))
		return false;
	memcpy(out->id, s.p, 20);
	return dht_addr_read(slice_of(s.p + 20, s.n - 20), &out->addr);
}
