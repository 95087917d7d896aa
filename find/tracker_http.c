/* SPDX-License-Identifier: MIT */
/* tracker_http.c - announce and scrape requests as URLs, and the replies as
 * bytes (BEP 3, 7, 23, 24, 31, 48). No sockets, no clock. Peers are hints from
 * a stranger: one that can't be used is skipped, it does not spoil the rest.
 * Start at tracker_announce_url() and tracker_parse_announce(). */
#include "find/tracker.h"

#include "bencode.h"

#include <stdlib.h>

enum {
	INTERVAL_MAX = 24 * 3600,  /* seconds: a tracker can't switch us off for longer */
	RETRY_MAX = 30 * 24 * 3600,
	COMPACT_V4 = 6, COMPACT_V6 = 18,
};

/* A dictionary peer is at most its key-less dictionary with three pairs, seven
 * tokens; twice that leaves room for keys nobody has thought of. */
static const struct ben_limits REPLY_LIMITS = { .depth = 16, .tokens = 16 * TRACKER_PEERS_MAX };

/* ---- requests ---- */

/* What a URL out of a torrent must not say in our place: it would announce
 * somebody else's torrent, or a victim's address (`ip`, which BEP 7 discourages
 * for that reason). Compared after undoing %XX, as the tracker will. */
static bool is_reserved(struct slice pair)
{
	static const char *const names[] = { "info_hash", "peer_id", "port", "uploaded", "downloaded", "left",
					     "event", "compact", "numwant", "key", "trackerid", "no_peer_id",
					     "ip", "ipv4", "ipv6", "supportcrypto", "requirecrypto" };
	uint8_t name[16];
	size_t n = 0;

	while (n < pair.n && pair.p[n] != '=')
		n++;
	/* a name that fills the buffer is longer than any of ours */
	n = url_unescape(name, sizeof(name), slice_of(pair.p, n));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_is(slice_of(name, n), names[i]))
			return true;
	return false;
}

/* Appends "?a=b&c=d" less what is reserved, and whatever comes between it and
 * the next pair. Some servers take ';' for '&', so it counts as an end too. */
static void put_query(struct buf *b, struct slice query)
{
	char sep = '?';

	for (size_t at = 0; at < query.n;) {
		size_t end = at + 1;
		struct slice pair;

		while (end < query.n && query.p[end] != '&' && query.p[end] != ';')
			end++;
		pair = slice_of(query.p + at + 1, end - at - 1);
		if (pair.n && !is_reserved(pair)) {
			buf_u8(b, (uint8_t)sep);
			buf_put(b, pair.p, pair.n);
			sep = '&';
		}
		at = end;
	}
	buf_u8(b, (uint8_t)sep);
}

/* The base in three parts: up to the path, the path, the query with its '?'. */
static bool split_base(const char *base, struct slice *front, struct slice *path, struct slice *query)
{
	struct slice text = slice_str(base);
	struct url u;
	size_t n = 0;

	if (!url_parse(text, &u) || !(url_scheme_is(&u, "http") || url_scheme_is(&u, "https")))
		return false;
	while (n < u.path.n && u.path.p[n] != '?')
		n++;
	*path = slice_of(u.path.p, n);
	*query = slice_of(u.path.p + n, u.path.n - n);
	n = u.scheme.n + 3;
	while (n < text.n && !strchr("/?#", base[n]))
		n++;
	*front = slice_of(base, n);
	return true;
}

static void put_bytes(struct buf *b, const char *key, struct slice raw)
{
	buf_puts(b, key);
	url_escape(b, raw);
}

bool tracker_announce_url(struct buf *b, const char *base, const struct tracker_ask *ask)
{
	static const char *const events[] = { [TRACKER_NONE] = "", [TRACKER_STARTED] = "&event=started",
					      [TRACKER_COMPLETED] = "&event=completed",
					      [TRACKER_STOPPED] = "&event=stopped" };
	struct slice front, path, query;

	if (!split_base(base, &front, &path, &query))
		return false;
	buf_put(b, front.p, front.n);
	buf_put(b, path.p, path.n);
	put_query(b, query);
	put_bytes(b, "info_hash=", slice_of(ask->info_hash, 20));
	put_bytes(b, "&peer_id=", slice_of(ask->peer_id, 20));
	buf_printf(b, "&port=%u&uploaded=%llu&downloaded=%llu&left=%llu", ask->port, (unsigned long long)ask->uploaded,
		   (unsigned long long)ask->downloaded, (unsigned long long)ask->left);
	buf_printf(b, "&compact=1&no_peer_id=1&numwant=%lu&key=%08lx", (unsigned long)ask->numwant,
		   (unsigned long)ask->key);
	buf_puts(b, events[ask->event]);
	if (ask->tracker_id.n)
		put_bytes(b, "&trackerid=", ask->tracker_id);
	return !b->failed;
}

bool tracker_scrape_url(struct buf *b, const char *base, const uint8_t info_hash[20])
{
	struct slice front, path, query;
	size_t slash;

	if (!split_base(base, &front, &path, &query))
		return false;
	slash = path.n;
	while (slash && path.p[slash - 1] != '/')
		slash--;
	if (slash == 0 || path.n - slash < 8 || memcmp(path.p + slash, "announce", 8) != 0)
		return false;
	buf_put(b, front.p, front.n);
	buf_put(b, path.p, slash);
	buf_puts(b, "scrape");
	buf_put(b, path.p + slash + 8, path.n - slash - 8);
	put_query(b, query);
	put_bytes(b, "info_hash=", slice_of(info_hash, 20));
	return !b->failed;
}

/* ---- replies ---- */

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -1;
}

static uint32_t count_of(struct ben d, const char *key)
{
	int64_t n;

	if (!ben_get_int(d, key, &n) || n < 0)
		return UINT32_MAX;
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1;
}

static uint32_t seconds_of(struct ben d, const char *key)
{
	int64_t n;

	if (!ben_get_int(d, key, &n))
		return 0;
	return n < 1 ? 1 : n > INTERVAL_MAX ? INTERVAL_MAX : (uint32_t)n;
}

/* BEP 31 shows the number as a string; an integer is what others send. */
static uint32_t retry_of(struct ben d)
{
	struct ben v = ben_get(d, "retry in");
	struct slice s;
	uint64_t minutes = 0;
	int64_t n;

	if (ben_str(v, &s)) {
		if (slice_is(s, "never"))
			return UINT32_MAX;
		if (!parse_u64(s, UINT64_MAX, &minutes))
			return 0;
	} else if (ben_int(v, &n) && n > 0) {
		minutes = (uint64_t)n;
	}
	return (uint32_t)min_u64(minutes, RETRY_MAX / 60) * 60;
}

/* 4 or 16 bytes in network order; an IPv4 address inside IPv6 becomes IPv4, so
 * that one peer has one spelling. */
static struct addr addr_of(const uint8_t *ip, bool v6, uint16_t port)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	struct addr a;

	memset(&a, 0, sizeof(a));
	if (v6 && memcmp(ip, mapped, 12) == 0) {
		ip += 12;
		v6 = false;
	}
	memcpy(a.ip, ip, v6 ? 16 : 4);
	a.v6 = v6;
	a.port = port;
	return a;
}

static void add_peer(struct tracker_reply *r, const struct addr *a)
{
	if (r->npeers < TRACKER_PEERS_MAX && addr_is_usable_peer(a))
		r->peers[r->npeers++] = *a;
}

/* Whole entries are taken and a rest that is none is dropped: the others are as
 * good as ever, and a wrong address costs one connection that fails. */
static void add_compact(struct tracker_reply *r, struct slice s, size_t size)
{
	struct cur c = cur_of(s);
	struct slice e;

	while (cur_bytes(&c, size, &e)) {
		struct addr a = addr_of(e.p, size == COMPACT_V6, get_u16(e.p + size - 2));

		add_peer(r, &a);
	}
}

/* Peers as dictionaries (BEP 3). Host names are allowed there, but a look-up
 * per peer is a way to make us query names of a stranger's choice. */
static void add_list(struct tracker_reply *r, struct ben list)
{
	struct ben_it it;
	struct slice key, ip;
	struct ben v;
	struct addr a;
	int64_t port;

	for (ben_iter(list, &it); ben_next(&it, &key, &v);) {
		if (!ben_get_str(v, "ip", &ip) || !ben_get_int(v, "port", &port) || port < 1 || port > 65535)
			continue;
		if (!addr_parse_ip(&a, ip))
			continue;
		a.port = (uint16_t)port;
		add_peer(r, &a);
	}
}

/* How many peers v may hold at most, to allocate once. */
static size_t count_peers(struct ben v, size_t size)
{
	struct slice s, key;
	struct ben_it it;
	struct ben e;
	size_t n = 0;

	if (ben_str(v, &s))
		return s.n / size;
	if (ben_type(v) == BEN_LIST)
		for (ben_iter(v, &it); n < TRACKER_PEERS_MAX && ben_next(&it, &key, &e);)
			n++;
	return n;
}

static int parse_peers(struct ben d, struct tracker_reply *r, const char **why)
{
	static const struct {
		const char *key;
		size_t size;
	} kinds[] = { { "peers", COMPACT_V4 }, { "peers6", COMPACT_V6 } };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		n += count_peers(ben_get(d, kinds[i].key), kinds[i].size);
	if (n == 0)
		return 0;
	r->peers = alloc_array(min_size(n, TRACKER_PEERS_MAX), sizeof(*r->peers));
	if (!r->peers)
		return refuse(why, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct ben v = ben_get(d, kinds[i].key);
		struct slice s;

		if (ben_str(v, &s))
			add_compact(r, s, kinds[i].size);
		else if (ben_type(v) == BEN_LIST)
			add_list(r, v);
	}
	return 0;
}

static void set_external_ip(struct tracker_reply *r, struct ben d)
{
	struct slice s;

	if (!ben_get_str(d, "external ip", &s) || (s.n != 4 && s.n != 16))
		return;
	/* any port, as that is what the check wants: the address is what matters */
	r->external_ip = addr_of(s.p, s.n == 16, 1);
	if (!addr_is_usable_peer(&r->external_ip))
		memset(&r->external_ip, 0, sizeof(r->external_ip));
	r->external_ip.port = 0;
}

/* The dictionary a body is. Bytes after it are let pass, as other clients do:
 * trackers written in PHP end with line feeds and worse. */
static int parse_dict(struct slice body, struct ben *d, const char **why)
{
	struct ben_error e = { "", 0 };

	if (body.n == 0)
		return refuse(why, "empty reply");
	if (body.p[0] != 'd')
		return refuse(why, "reply is not a bencoded dictionary");
	if (ben_check(body, &REPLY_LIMITS, d, NULL, &e) < 0)
		return refuse(why, e.what);
	return 0;
}

static void reply_init(struct tracker_reply *r)
{
	memset(r, 0, sizeof(*r));
	r->seeds = r->leechers = r->downloads = UINT32_MAX;
}

/* A failure reason that is not text is still a failure. */
static bool set_failure(struct tracker_reply *r, struct ben d)
{
	struct ben v = ben_get(d, "failure reason");
	struct slice s = slice_str("");

	if (!v.p)
		return false;
	r->failed = true;
	text_escape(r->message, sizeof(r->message), ben_str(v, &s) && s.n ? s : slice_str("no reason given"));
	r->retry_in = retry_of(d);
	return true;
}

int tracker_parse_announce(struct slice body, struct tracker_reply *r, const char **why)
{
	struct slice s;
	struct ben d;

	reply_init(r);
	if (parse_dict(body, &d, why) < 0)
		return -1;
	r->interval = seconds_of(d, "interval");
	r->min_interval = seconds_of(d, "min interval");
	if (set_failure(r, d))
		return 0;
	if (!r->interval && !ben_get(d, "peers").p && !ben_get(d, "peers6").p)
		return refuse(why, "reply has neither peers nor interval");
	if (ben_get_str(d, "warning message", &s))
		text_escape(r->message, sizeof(r->message), s);
	r->seeds = count_of(d, "complete");
	r->leechers = count_of(d, "incomplete");
	r->downloads = count_of(d, "downloaded");
	if (ben_get_str(d, "tracker id", &s) && s.n <= sizeof(r->tracker_id)) {
		memcpy(r->tracker_id, s.p, s.n);
		r->tracker_id_len = s.n;
	}
	set_external_ip(r, d);
	return parse_peers(d, r, why);
}

int tracker_parse_scrape(struct slice body, const uint8_t info_hash[20], struct tracker_reply *r, const char **why)
{
	struct ben_it it;
	struct slice key;
	struct ben d, files, v;

	reply_init(r);
	if (parse_dict(body, &d, why) < 0)
		return -1;
	if (set_failure(r, d))
		return 0;
	files = ben_get(d, "files");
	if (ben_type(files) != BEN_DICT)
		return refuse(why, "scrape reply has no files");
	/* the key may hold any byte, so it is not one ben_get could be given */
	for (ben_iter(files, &it); ben_next(&it, &key, &v);) {
		if (!slice_eq(key, slice_of(info_hash, 20)))
			continue;
		r->seeds = count_of(v, "complete");
		r->leechers = count_of(v, "incomplete");
		r->downloads = count_of(v, "downloaded");
		return 0;
	}
	return refuse(why, "scrape reply does not have this torrent");
}
