/* SPDX-License-Identifier: MIT */
/* Tests of tracker_http.c: URLs to the byte, and replies as trackers send them,
 * as they shouldn't, and cut at every byte. */
#include "bencode.h"
#include "find/tracker.h"
#include "test/test.h"

#include <sys/mman.h>

static const uint8_t HASH[20] = { 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf1, 0x23, 0x45,
				  0x67, 0x89, 0xab, 0xcd, 0xef, 0x12, 0x34, 0x56, 0x78, 0x9a };
#define HASH_TEXT "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A"

static struct slice at_edge(const void *s, size_t n)
{
	static uint8_t *edge;

	if (!edge) {
		uint8_t *p = mmap(NULL, 0x80000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + 0x40000, 0x40000, PROT_NONE))
			exit(1);
		edge = p + 0x40000;
	}
	memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

static struct tracker_ask an_ask(void)
{
	static const uint8_t id[20] = "-BT0001-\0+ ~\xff" "abcdefg";

	return (struct tracker_ask){ .info_hash = HASH, .peer_id = id, .port = 6881, .uploaded = 1,
				     .downloaded = UINT64_MAX, .left = 3, .numwant = 50, .key = 0xbeef };
}

static bool announce_is(const char *base, const struct tracker_ask *ask, const char *want)
{
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	ok = tracker_announce_url(&b, base, ask) && slice_is(slice_of(b.p, b.n), want);
	if (!ok)
		fprintf(stderr, "%.*s\n", (int)b.n, (char *)b.p);
	buf_release(&b);
	return ok;
}

#define TAIL                                                                                        \
	HASH_TEXT "&peer_id=-BT0001-%00%2B%20~%FFabcdefg&port=6881&uploaded=1"                      \
		  "&downloaded=18446744073709551615&left=3&compact=1&no_peer_id=1&numwant=50&key=0000beef"

static void announce_urls(void)
{
	struct tracker_ask ask = an_ask();
	struct buf b;

	CHECK(announce_is("http://t/announce", &ask, "http://t/announce?" TAIL));
	CHECK(announce_is("http://u:p@t:81/announce#x", &ask, "http://u:p@t:81/announce?" TAIL));
	CHECK(announce_is("http://[::1]:81/a.php?passkey=ab%20c", &ask, "http://[::1]:81/a.php?passkey=ab%20c&" TAIL));
	CHECK(announce_is("http://t?x=1&y", &ask, "http://t?x=1&y&" TAIL));
	CHECK(announce_is("http://t/announce?", &ask, "http://t/announce?" TAIL));
	CHECK(announce_is("http://t/announce?&&a=1&", &ask, "http://t/announce?a=1&" TAIL));
	ask.event = TRACKER_STARTED;
	ask.tracker_id = slice_of("i&\0", 3);
	CHECK(announce_is("http://t/a", &ask, "http://t/a?" TAIL "&event=started&trackerid=i%26%00"));
	ask.tracker_id.n = 0;
	ask.event = TRACKER_COMPLETED;
	CHECK(announce_is("http://t/a", &ask, "http://t/a?" TAIL "&event=completed"));
	ask.event = TRACKER_STOPPED;
	CHECK(announce_is("http://t/a", &ask, "http://t/a?" TAIL "&event=stopped"));
	ask.event = TRACKER_NONE;
	/* a torrent can't speak in our place */
	CHECK(announce_is("http://t/a?info_hash=evil&a=1&ip=1.2.3.4", &ask, "http://t/a?a=1&" TAIL));
	CHECK(announce_is("http://t/a?info%5fhash=evil&%69p=1.2.3.4;event=stopped&b", &ask, "http://t/a?b&" TAIL));
	CHECK(announce_is("http://t/a?info_hash&key=1&trackerid=2&left=0", &ask, "http://t/a?" TAIL));
	CHECK(announce_is("http://t/a?info_hashes=1&no_peer_id_and_more=1", &ask,
			  "http://t/a?info_hashes=1&no_peer_id_and_more=1&" TAIL));

	buf_init(&b, 4096);
	CHECK(!tracker_announce_url(&b, "udp://t:80/announce", &ask));
	CHECK(!tracker_announce_url(&b, "http://", &ask));
	CHECK(!tracker_announce_url(&b, "http://t/a b", &ask));
	buf_release(&b);
	buf_init(&b, 100);
	CHECK(!tracker_announce_url(&b, "http://t/announce", &ask));
	buf_release(&b);
}

static bool scrape_is(const char *base, const char *want)
{
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	ok = tracker_scrape_url(&b, base, HASH);
	ok = want ? ok && slice_is(slice_of(b.p, b.n), want) : !ok;
	buf_release(&b);
	return ok;
}

static void scrape_urls(void)
{
	CHECK(scrape_is("http://t/announce", "http://t/scrape?" HASH_TEXT));
	CHECK(scrape_is("http://t/x/announce", "http://t/x/scrape?" HASH_TEXT));
	CHECK(scrape_is("http://t/announce.php?k=v&info_hash=x", "http://t/scrape.php?k=v&" HASH_TEXT));
	CHECK(scrape_is("http://t/announce?x=/announce", "http://t/scrape?x=/announce&" HASH_TEXT));
	CHECK(scrape_is("http://t/a", NULL));
	CHECK(scrape_is("http://t/announce/x", NULL));
	CHECK(scrape_is("http://t/?x=/announce", NULL));
	CHECK(scrape_is("http://t?/announce", NULL));
	CHECK(scrape_is("http://announce", NULL));
	CHECK(scrape_is("udp://t/announce", NULL));
}

static int parse_n(struct tracker_reply *r, const char *s, size_t n, const char **why)
{
	*why = NULL;
	return tracker_parse_announce(at_edge(s, n), r, why);
}

static struct tracker_reply reply(const char *s, size_t n)
{
	struct tracker_reply r;
	const char *why;

	CHECK(parse_n(&r, s, n, &why) == 0);
	if (why)
		fprintf(stderr, "%s\n", why);
	return r;
}

#define REPLY(s) reply(s, sizeof(s) - 1)

static bool peer_is(const struct tracker_reply *r, size_t i, const char *text)
{
	char out[ADDR_TEXT];

	return i < r->npeers && strcmp(addr_format(&r->peers[i], out), text) == 0;
}

static void peers(void)
{
	struct tracker_reply r;

	r = REPLY("d8:completei3e10:downloadedi9e10:incompletei2e8:intervali1800e12:min intervali900e5:peers12:"
		  "\x01\x02\x03\x04\x1a\xe1\x7f\x00\x00\x01\x00\x50" "e");
	CHECK(!r.failed && r.interval == 1800 && r.min_interval == 900 && r.seeds == 3 && r.leechers == 2 &&
	      r.downloads == 9 && r.npeers == 2 && r.message[0] == 0 && r.retry_in == 0);
	CHECK(peer_is(&r, 0, "1.2.3.4:6881") && peer_is(&r, 1, "127.0.0.1:80"));
	CHECK(r.tracker_id_len == 0);
	free(r.peers);
	/* unusable ones are skipped, repeated ones kept, a cut one at the end dropped */
	r = REPLY("d5:peers33:"
		  "\x01\x02\x03\x04\x00\x00" "\x00\x02\x03\x04\x00\x50" "\xe0\x02\x03\x04\x00\x50"
		  "\x01\x02\x03\x04\x00\x50" "\x01\x02\x03\x04\x00\x50" "\x01\x02\x03" "e");
	CHECK(r.npeers == 2 && peer_is(&r, 1, "1.2.3.4:80") && r.interval == 0 && r.seeds == UINT32_MAX);
	free(r.peers);
	r = REPLY("d5:peers0:6:peers636:"
		  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"
		  "\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\x00\x51" "e");
	CHECK(r.npeers == 2 && peer_is(&r, 0, "[2001:db8::1]:80") && peer_is(&r, 1, "1.2.3.4:81"));
	free(r.peers);
	r = REPLY("d5:peersld2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eed2:ip4:host4:porti80eed2:ip5:::g:24:"
		  "porti80eed2:ip3:::14:porti80eed2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.44:porti-1eed2:ip7:1.2.3.4e"
		  "i5e4:spamd4:porti80eelee6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x50" "e");
	CHECK(r.npeers == 3 && peer_is(&r, 0, "1.2.3.4:6881") && peer_is(&r, 1, "[::1]:80") &&
	      peer_is(&r, 2, "[2001:db8::2]:80"));
	free(r.peers);
	r = REPLY("d8:intervali5e5:peersdee");
	CHECK(r.npeers == 0 && !r.peers);
	r = REPLY("d8:intervali5e5:peersi5ee");
	CHECK(r.npeers == 0 && !r.peers);
	r = REPLY("d8:intervali5e5:peers3:abce");
	CHECK(r.npeers == 0 && !r.peers);
	r = REPLY("d8:intervali5ee\r\n<br>");
	CHECK(r.interval == 5);
}

/* Full lists, and more than full, in both forms. */
static void many_peers(void)
{
	struct tracker_reply r;
	struct buf b;

	for (unsigned n = TRACKER_PEERS_MAX - 1; n <= TRACKER_PEERS_MAX + 1; n++) {
		buf_init(&b, TRACKER_REPLY_MAX);
		buf_printf(&b, "d5:peers%u:", n * 6);
		for (unsigned i = 0; i < n; i++)
			buf_put(&b, "\x01\x02\x03\x04\x00\x50", 6);
		buf_puts(&b, "6:peers618:aaaaaaaaaaaaaaaaaae");
		r = reply((char *)b.p, b.n);
		CHECK(r.npeers == TRACKER_PEERS_MAX);
		free(r.peers);
		buf_clear(&b);
		buf_puts(&b, "d5:peersl");
		for (unsigned i = 0; i < n; i++)
			buf_puts(&b, "d2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee");
		buf_puts(&b, "ee");
		r = reply((char *)b.p, b.n);
		CHECK(r.npeers == min_size(n, TRACKER_PEERS_MAX));
		free(r.peers);
		buf_release(&b);
	}
}

static void other_keys(void)
{
	struct tracker_reply r;

	r = REPLY("d14:failure reason10:go\x1b[31maw\ne");
	CHECK(r.failed && strcmp(r.message, "go?[31maw?") == 0 && r.retry_in == 0);
	r = REPLY("d14:failure reason1:x8:retry in1:5e");
	CHECK(r.failed && r.retry_in == 300);
	r = REPLY("d14:failure reason1:x8:retry in5:nevere");
	CHECK(r.retry_in == UINT32_MAX);
	r = REPLY("d14:failure reason1:x8:retry ini7ee");
	CHECK(r.retry_in == 420);
	r = REPLY("d14:failure reason1:x8:retry ini-7ee");
	CHECK(r.retry_in == 0);
	r = REPLY("d14:failure reason1:x8:retry in20:99999999999999999999e");
	CHECK(r.retry_in == 0);
	r = REPLY("d14:failure reason1:x8:retry in19:9999999999999999999e");
	CHECK(r.retry_in == 30 * 24 * 3600);
	r = REPLY("d14:failure reasoni5ee");
	CHECK(r.failed && strcmp(r.message, "no reason given") == 0);
	r = REPLY("d14:failure reason0:5:peers6:aaaaaae");
	CHECK(r.failed && strcmp(r.message, "no reason given") == 0 && r.npeers == 0);
	r = REPLY("d8:intervali1e15:warning message3:hm\x01" "e");
	CHECK(!r.failed && strcmp(r.message, "hm?") == 0 && r.interval == 1);
	r = REPLY("d8:intervali-5e12:min intervali99999999999ee");
	CHECK(r.interval == 1 && r.min_interval == 86400);
	r = REPLY("d8:intervali0ee");
	CHECK(r.interval == 1 && r.min_interval == 0);
	r = REPLY("d8:completei-1e10:downloadedi4294967295e10:incompletei4294967294e8:intervali9ee");
	CHECK(r.seeds == UINT32_MAX && r.downloads == UINT32_MAX - 1 && r.leechers == UINT32_MAX - 1);
	r = REPLY("d8:intervali9e10:tracker id4:a\0&\xff" "e");
	CHECK(r.tracker_id_len == 4 && memcmp(r.tracker_id, "a\0&\xff", 4) == 0);
	r = REPLY("d11:external ip4:\x01\x02\x03\x04" "8:intervali9ee");
	CHECK(!r.external_ip.v6 && r.external_ip.port == 0 && memcmp(r.external_ip.ip, "\x01\x02\x03\x04", 5) == 0);
	r = REPLY("d11:external ip16:\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01" "8:intervali9ee");
	CHECK(r.external_ip.v6 && r.external_ip.ip[0] == 0x20);
	r = REPLY("d11:external ip4:\0\0\0\0" "8:intervali9ee");
	CHECK(r.external_ip.ip[0] == 0 && r.external_ip.port == 0);
	r = REPLY("d11:external ip7:1.2.3.48:intervali9ee");
	CHECK(r.external_ip.ip[0] == 0);
}

static bool refused(const char *s, const char *want)
{
	struct tracker_reply r;
	const char *why;

	return parse_n(&r, s, strlen(s), &why) < 0 && strcmp(why, want) == 0 && !r.peers;
}

static void refusals(void)
{
	static const char good[] = "d8:completei3e15:external ip    0:8:intervali1800e5:peersld2:ip7:1.2.3.44:porti80eeee";
	struct tracker_reply r;
	const char *why;
	struct buf b;

	CHECK(refused("", "empty reply"));
	CHECK(refused("<html>", "reply is not a bencoded dictionary"));
	CHECK(refused("i5e", "reply is not a bencoded dictionary"));
	CHECK(refused("de", "reply has neither peers nor interval"));
	CHECK(refused("d8:intervali5e", "input ends inside a value") || parse_n(&r, "d8:intervali5e", 14, &why) < 0);
	for (size_t n = 0; n < sizeof(good) - 1; n++) {
		CHECK(parse_n(&r, good, n, &why) < 0 && why && !r.peers);
	}
	r = REPLY("d8:intervali1800e5:peersld2:ip7:1.2.3.44:porti80eeee");
	CHECK(r.npeers == 1);
	free(r.peers);
	/* nesting and tokens have their bounds */
	buf_init(&b, TRACKER_REPLY_MAX);
	buf_puts(&b, "d1:a");
	for (int i = 0; i < 17; i++)
		buf_puts(&b, "l");
	for (int i = 0; i < 17; i++)
		buf_puts(&b, "e");
	buf_puts(&b, "8:intervali5ee");
	CHECK(parse_n(&r, (char *)b.p, b.n, &why) < 0);
	buf_clear(&b);
	buf_puts(&b, "d1:al");
	for (int i = 0; i < 16 * TRACKER_PEERS_MAX; i++)
		buf_puts(&b, "le");
	buf_puts(&b, "e8:intervali5ee");
	CHECK(parse_n(&r, (char *)b.p, b.n, &why) < 0);
	buf_release(&b);
}

static void scrapes(void)
{
	static const char good[] = "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1ee20:bbbbbbbbbbbbbbbbbbbbd8:completei11e"
				   "10:downloadedi13772e10:incompletei19eeee";
	struct tracker_reply r;
	const char *why = NULL;

	CHECK(tracker_parse_scrape(at_edge(good, sizeof(good) - 1), (const uint8_t *)"bbbbbbbbbbbbbbbbbbbb", &r, &why) == 0);
	CHECK(r.seeds == 11 && r.downloads == 13772 && r.leechers == 19);
	CHECK(tracker_parse_scrape(at_edge(good, sizeof(good) - 1), (const uint8_t *)"aaaaaaaaaaaaaaaaaaaa", &r, &why) == 0);
	CHECK(r.seeds == 1 && r.downloads == UINT32_MAX && r.leechers == UINT32_MAX);
	CHECK(tracker_parse_scrape(at_edge(good, sizeof(good) - 1), HASH, &r, &why) < 0 && why);
	for (size_t n = 0; n < sizeof(good) - 1; n++)
		CHECK(tracker_parse_scrape(at_edge(good, n), HASH, &r, &why) < 0);
	CHECK(tracker_parse_scrape(slice_str("d14:failure reason2:noe"), HASH, &r, &why) == 0 && r.failed);
	CHECK(tracker_parse_scrape(slice_str("d5:filesle"), HASH, &r, &why) < 0);
	CHECK(tracker_parse_scrape(slice_str("d5:fileslee"), HASH, &r, &why) < 0);
	CHECK(tracker_parse_scrape(slice_str("d5:filesdee"), HASH, &r, &why) < 0);
}

int main(void)
{
	announce_urls();
	scrape_urls();
	peers();
	many_peers();
	other_keys();
	refusals();
	scrapes();
	return test_done();
}
