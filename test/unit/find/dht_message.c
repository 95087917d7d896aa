/* SPDX-License-Identifier: MIT */
/* Tests of dht_message.c: the examples of BEP 5 to the byte, every argument with
 * every wrong type, every prefix of good messages, every byte of them changed,
 * all right before an unreadable page; sizes that must not be echoed. */
#include "find/dht_message.h"
#include "test/test.h"

#include <sys/mman.h>
#include <unistd.h>

static uint8_t *page_end; /* first unreadable byte */

static void make_guard(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED && mprotect(p + page, page, PROT_NONE) == 0);
	page_end = p + page;
}

/* Parses a copy that ends where reading on would crash. */
static bool parse(const void *p, size_t n, struct dht_msg *m)
{
	memcpy(page_end - n, p, n);
	return dht_parse(slice_of(page_end - n, n), m);
}

static bool parse_text(const char *text, struct dht_msg *m)
{
	return parse(text, strlen(text), m);
}

#define ID "abcdefghij0123456789"
#define ID2 "mnopqrstuvwxyz123456"

static const char *const good[] = {
	"d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "6:target20:" ID2 "e1:q9:find_node1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "9:info_hash20:" ID2 "e1:q9:get_peers1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "12:implied_porti1e9:info_hash20:" ID2 "4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "6:target20:" ID2 "4:wantl2:n42:n6ee1:q3:get2:roi1e1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "5:token2:xx1:vd1:ai1eee1:q3:put1:t2:aa1:y1:qe",
	"d1:ad2:id20:" ID "6:target20:" ID2 "e1:q17:sample_infohashes1:t2:aa1:y1:qe",
	"d2:ip6:\x01\x02\x03\x04\x1a\xe1" "1:rd2:id20:" ID2 "e1:t2:aa1:y1:re",
	"d1:rd2:id20:" ID "5:nodes26:abcdefghijklmnopqrstuvwxyz5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
	"d1:rd2:id20:" ID "8:intervali60e3:numi1e7:samples20:" ID2 "e1:t2:aa1:y1:re",
	"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
};

static void test_good(void)
{
	struct dht_msg m;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK(parse_text(good[i], &m) && !(m.kind == 'q' && m.error));
		CHECK(slice_is(m.t, "aa"));
	}
	CHECK(parse_text(good[0], &m) && m.kind == 'q' && m.method == DHT_PING && slice_is(m.id, ID) && !m.read_only);
	CHECK(parse_text(good[1], &m) && m.method == DHT_FIND_NODE && slice_is(m.target, ID2));
	CHECK(parse_text(good[3], &m) && m.method == DHT_ANNOUNCE_PEER && m.port == 6881 && m.implied_port == 1 &&
	      slice_is(m.token, "aoeusnth") && m.has == (DHT_HAS_PORT | DHT_HAS_IMPLIED));
	CHECK(parse_text(good[4], &m) && m.read_only && m.want == (DHT_WANT_N4 | DHT_WANT_N6));
	CHECK(parse_text(good[5], &m) && m.method == DHT_PUT && slice_is(m.v, "d1:ai1ee"));
	CHECK(parse_text(good[7], &m) && m.kind == 'r' && m.ip.n == 6);
	CHECK(parse_text(good[8], &m) && m.nodes.n == 26 && slice_is(m.values, "l6:axje.u6:idhtnme"));
	CHECK(parse_text(good[9], &m) && m.num == 1 && m.interval == 60 && slice_is(m.samples, ID2));
	CHECK(parse_text(good[10], &m) && m.kind == 'e' && m.error == 201 && slice_is(m.text, "A Generic Error Ocurred"));
}

/* What is written are the BEP's own bytes, but for our version. */
static void test_encode(void)
{
	static const char announce[] = "d1:ad2:id20:" ID "12:implied_porti1e9:info_hash20:" ID2
				       "4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:v4:BT\0\1"
				       "1:y1:qe";
	struct dht_msg m = { .kind = 'q', .t = slice_str("aa"), .id = slice_str(ID), .info_hash = slice_str(ID2) };
	struct buf b;

	buf_init(&b, 2000);
	m.method = DHT_ANNOUNCE_PEER;
	m.token = slice_str("aoeusnth");
	m.port = 6881;
	m.implied_port = 1;
	m.has = DHT_HAS_PORT | DHT_HAS_IMPLIED;
	dht_encode(&b, &m);
	CHECK(slice_eq(slice_of(b.p, b.n), slice_of(announce, sizeof(announce) - 1)));
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct dht_msg again;

		CHECK(parse_text(good[i], &m));
		buf_clear(&b);
		dht_encode(&b, &m);
		CHECK(parse(b.p, b.n, &again));
		CHECK(again.kind == m.kind && again.method == m.method && again.has == m.has && again.want == m.want);
		CHECK(again.read_only == m.read_only && again.error == m.error && again.port == m.port);
	}
	buf_release(&b);
}

static void test_cut(void)
{
	struct dht_msg m;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		for (size_t n = 0; n < strlen(good[i]); n++)
			CHECK(!parse(good[i], n, &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:y1:qe ", &m)); /* nor longer */
}

/* Whatever byte is changed to whatever: no crash, and nothing out of bounds. */
static void test_mutations(void)
{
	static const uint8_t to[] = { 0, 'd', 'e', 'i', 'l', '0', '1', '9', ':', '-', 0xff };
	char text[256];
	unsigned ok = 0;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t n = strlen(good[i]);

		for (size_t at = 0; at < n; at++)
			for (size_t k = 0; k < ARRAY_LEN(to); k++) {
				struct dht_msg m;

				memcpy(text, good[i], n);
				text[at] = (char)to[k];
				if (!parse(text, n, &m))
					continue;
				ok++;
				if ((m.id.p && m.id.n != 20) || m.token.n > DHT_TOKEN_MAX || m.t.n > DHT_T_MAX)
					test_failed++;
			}
	}
	CHECK(ok > 100);
}

/* ---- type confusion: a query or answer with one argument replaced ---- */

static bool with(char kind, const char *method, const char *key, const char *value, struct dht_msg *m)
{
	static const char *const args[][2] = { /* in order */
		{ "id", "20:" ID }, { "info_hash", "20:" ID2 }, { "port", "i6881e" }, { "target", "20:" ID2 },
		{ "token", "2:xx" }, { "v", "2:vv" },
	};
	char text[1024];
	int n = snprintf(text, sizeof(text), "d1:%cd", kind == 'q' ? 'a' : 'r');
	bool put = false;

	for (size_t i = 0; i < ARRAY_LEN(args); i++) {
		bool same = strcmp(args[i][0], key) == 0;

		if (!put && value && (same || strcmp(args[i][0], key) > 0)) {
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%zu:%s%s", strlen(key), key, value);
			put = true;
		}
		if (!same)
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%zu:%s%s", strlen(args[i][0]), args[i][0], args[i][1]);
	}
	if (!put && value)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%zu:%s%s", strlen(key), key, value);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "e");
	if (kind == 'q')
		n += snprintf(text + n, sizeof(text) - (size_t)n, "1:q%zu:%s", strlen(method), method);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "1:t2:aa1:y1:%ce", kind);
	return parse(text, (size_t)n, m);
}

/* An argument of a wrong type: a query gets an error, an answer is none. */
static void test_types(void)
{
	static const char *const strings[] = { "BFpe", "BFsd", "id", "info_hash", "k", "nodes", "nodes6", "salt", "samples",
					       "sig", "target", "token" };
	static const char *const numbers[] = { "cas", "implied_port", "interval", "noseed", "num", "port", "scrape", "seed",
					       "seq" };
	static const char *const not_string[] = { "i1e", "le", "de", "i-1e", "l20:" ID "e" };
	static const char *const not_number[] = { "1:1", "le", "de", "li1ee", "0:" };
	struct dht_msg m;

	CHECK(with('q', "get_peers", "seed", "i1e", &m) && !m.error);
	CHECK(with('r', "", "seq", "i1e", &m));
	for (size_t j = 0; j < ARRAY_LEN(not_string); j++) {
		for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
			CHECK(with('q', "get_peers", strings[i], not_string[j], &m) && m.error == DHT_E_PROTOCOL);
			CHECK(!with('r', "", strings[i], not_string[j], &m));
		}
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
			CHECK(with('q', "get_peers", numbers[i], not_number[j], &m) && m.error == DHT_E_PROTOCOL);
			CHECK(!with('r', "", numbers[i], not_number[j], &m));
		}
	}
	CHECK(!with('r', "", "values", "6:axje.u", &m) && !with('r', "", "values", "i1e", &m));
	/* what is only a wish is ignored when it makes no sense (BEP 32) */
	CHECK(with('q', "get_peers", "want", "i4e", &m) && !m.error && !m.want);
	CHECK(with('q', "get_peers", "want", "l2:n9i4e2:n6e", &m) && m.want == DHT_WANT_N6);
}

static void test_sizes(void)
{
	struct dht_msg m;

	CHECK(with('q', "ping", "id", "19:abcdefghij012345678", &m) && m.error == DHT_E_PROTOCOL);
	CHECK(with('q', "ping", "id", "21:abcdefghij0123456789x", &m) && m.error == DHT_E_PROTOCOL);
	CHECK(with('q', "ping", "id", "0:", &m) && m.error == DHT_E_PROTOCOL);
	CHECK(!with('r', "", "id", "19:abcdefghij012345678", &m));
	CHECK(!with('r', "", "nodes", "25:abcdefghij012345678901234", &m));
	CHECK(with('r', "", "nodes", "0:", &m) && m.nodes.p && m.nodes.n == 0);
	CHECK(!with('r', "", "nodes6", "26:abcdefghij0123456789abcdef", &m));
	CHECK(!with('r', "", "samples", "19:abcdefghij012345678", &m));
	CHECK(!with('r', "", "sig", "4:abcd", &m) && !with('r', "", "k", "4:abcd", &m) && !with('r', "", "BFsd", "4:abcd", &m));
	/* a token that would be echoed is short */
	CHECK(with('r', "", "token", "40:abcdefghijabcdefghijabcdefghijabcdefghij", &m) && m.token.n == 40);
	CHECK(!with('r', "", "token", "41:abcdefghijabcdefghijabcdefghijabcdefghijk", &m));
	CHECK(with('q', "announce_peer", "port", "i65535e", &m) && !m.error);
	CHECK(with('q', "announce_peer", "port", "i65536e", &m) && m.error);
	CHECK(with('q', "announce_peer", "port", "i-1e", &m) && m.error);
	CHECK(with('q', "put", "seq", "i-1e", &m) && m.error);
	CHECK(!with('r', "", "seq", "i9223372036854775808e", &m));
	/* and so is a transaction id */
	CHECK(parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t20:aaaaaaaaaaaaaaaaaaaa1:y1:qe", &m) && m.t.n == 20);
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t21:aaaaaaaaaaaaaaaaaaaaa1:y1:qe", &m));
}

static void test_missing(void)
{
	static const char *const needs[][2] = {
		{ "ping", "id" }, { "find_node", "target" }, { "get_peers", "info_hash" }, { "announce_peer", "token" },
		{ "announce_peer", "info_hash" }, { "announce_peer", "port" }, { "get", "target" }, { "put", "v" },
		{ "put", "token" }, { "sample_infohashes", "target" },
	};
	struct dht_msg m;

	for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
		CHECK(with('q', needs[i][0], needs[i][1], NULL, &m) && m.error == DHT_E_PROTOCOL && m.text.n);
		CHECK(with('q', needs[i][0], "a", "1:x", &m) && !m.error);
	}
	/* half of a mutable item is none */
	CHECK(with('q', "put", "seq", "i1e", &m) && m.error == DHT_E_PROTOCOL);
	CHECK(with('q', "put", "k", "32:abcdefghijabcdefghijabcdefghijab", &m) && m.error == DHT_E_PROTOCOL);
	/* no method of ours: with a target it is a search (BEP 51's forward compatibility) */
	CHECK(with('q', "find_owner", "a", "1:x", &m) && m.method == DHT_FIND_NODE && !m.error && m.target.p);
	CHECK(parse_text("d1:ad2:id20:" ID "e1:q4:vote1:t2:aa1:y1:qe", &m) && m.error == DHT_E_METHOD);
	CHECK(parse_text("d1:ad2:id20:" ID "e1:qi4e1:t2:aa1:y1:qe", &m) && m.error == DHT_E_METHOD);
	CHECK(parse_text("d1:ale1:q4:ping1:t2:aa1:y1:qe", &m) && m.error == DHT_E_PROTOCOL);
	CHECK(parse_text("d1:q4:ping1:t2:aa1:y1:qe", &m) && m.error == DHT_E_PROTOCOL);
	/* garbage that is answered by silence */
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:y1:qe", &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:ti1e1:y1:qe", &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:y2:qqe", &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:y1:xe", &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:yi1ee", &m));
	CHECK(!parse_text("d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:t2:bb1:y1:qe", &m)); /* which one? */
	CHECK(!parse_text("le", &m) && !parse_text("i1e", &m) && !parse_text("2:de", &m) && !parse_text("", &m));
	CHECK(!parse_text("d1:rd2:id20:" ID "e1:t2:aa1:y1:ee", &m));
	CHECK(!parse_text("d1:eli201ee1:t2:aa1:y1:re", &m));
	CHECK(!parse_text("d1:ele1:t2:aa1:y1:ee", &m) && !parse_text("d1:eli0ee1:t2:aa1:y1:ee", &m));
	CHECK(!parse_text("d1:el3:abce1:t2:aa1:y1:ee", &m) && !parse_text("d1:ede1:t2:aa1:y1:ee", &m));
	CHECK(parse_text("d1:eli203eli1eee1:t2:aa1:y1:ee", &m) && m.text.n == 0);
	/* our address as told is an address, or nothing */
	CHECK(parse_text("d2:ip5:abcde1:rd2:id20:" ID "e1:t2:aa1:y1:re", &m) && !m.ip.p);
	CHECK(parse_text("d2:ipi1e1:rd2:id20:" ID "e1:t2:aa1:y1:re", &m) && !m.ip.p);
}

static void test_bombs(void)
{
	char text[4000];
	struct dht_msg m;
	size_t n = 0;

	/* nesting, as uTorrent's CVE-2020-8437 */
	n = (size_t)snprintf(text, sizeof(text), "d1:ad2:id20:" ID "5:token1:x1:v");
	memset(text + n, 'l', 500);
	memset(text + n + 500, 'e', 500);
	n += 1000;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "e1:q3:put1:t2:aa1:y1:qe");
	CHECK(!parse(text, n, &m));
	/* more than any datagram should hold */
	n = (size_t)snprintf(text, sizeof(text), "d1:ad2:id20:" ID "e1:q4:ping1:t2:aa1:v2000:");
	memset(text + n, 'v', 2000);
	n += 2000;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "1:y1:qe");
	CHECK(!parse(text, n, &m));
	CHECK(!parse_text("d1:ad2:id99999999999999999999:" ID "e1:q4:ping1:t2:aa1:y1:qe", &m));
	CHECK(!parse_text("d1:ad2:id4294967316:" ID "e1:q4:ping1:t2:aa1:y1:qe", &m));
}

static void test_compact(void)
{
	struct dht_contact c, d;
	struct addr a;
	uint8_t bytes[38];
	struct cur cur;

	memset(c.id, 7, 20);
	CHECK(addr_parse(&c.addr, slice_str("1.2.3.4:6881")));
	CHECK(dht_contact_write(bytes, &c) == 26);
	cur = cur_of(slice_of(bytes, 26));
	CHECK(dht_contact_next(&cur, false, &d) && memcmp(&c, &d, sizeof(c)) == 0 && !dht_contact_next(&cur, false, &d));
	CHECK(addr_parse(&c.addr, slice_str("[2001:db8::1]:6881")));
	CHECK(dht_contact_write(bytes, &c) == 38);
	for (size_t n = 0; n < 38; n++) {
		cur = cur_of(slice_of(bytes, n));
		CHECK(!dht_contact_next(&cur, true, &d));
		CHECK(dht_addr_read(slice_of(bytes, n), &a) == (n == 6 || n == 18));
	}
	cur = cur_of(slice_of(bytes, 38));
	CHECK(dht_contact_next(&cur, true, &d) && memcmp(&c, &d, sizeof(c)) == 0);
}

int main(void)
{
	make_guard();
	test_good();
	test_encode();
	test_cut();
	test_mutations();
	test_types();
	test_sizes();
	test_missing();
	test_bombs();
	test_compact();
	return test_done();
}
