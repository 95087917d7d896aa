/* SPDX-License-Identifier: MIT */
/* Tests of torrent/metainfo.c and magnet.c: what is read, what is refused and
 * with which words, and how much memory it takes. Needs 192 MiB: such torrents are that large. */
#include "bencode.h"
#include "sha1.h"
#include "torrent/metainfo.h"
#include "test/test.h"

#include <sys/mman.h>
#include <unistd.h>

#define P1       "6:pieces20:aaaaaaaaaaaaaaaaaaaa"
#define P2       "6:pieces40:aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"
#define PL       "12:piece lengthi16384e"
#define INFO(s)  "d4:infod" s "ee"
#define NAME     "4:name1:n"
#define SINGLE   INFO("6:lengthi10e" NAME PL P1)
#define FILES(s) INFO("5:filesl" s "e" NAME PL P1)
#define A10      "d6:lengthi10e4:pathl1:aee"

#define EDGE_SIZE 0x10000u

/* A copy of the input that ends right before an unreadable page. */
static struct slice at_edge(const void *s, size_t n)
{
	static uint8_t *edge;

	if (!edge) {
		uint8_t *p =
			mmap(NULL, 2 * EDGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + EDGE_SIZE, EDGE_SIZE, PROT_NONE))
			exit(1);
		edge = p + EDGE_SIZE;
	}
	if (n > EDGE_SIZE)
		exit(1);
	if (n)
		memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

static char err[200];

static struct bt_meta *parse(const char *s, size_t n)
{
	struct slice in = at_edge(s, n);
	struct bt_meta *m = bt_meta_parse(in.p, in.n, err, sizeof(err));

	/* nothing may point into the caller's bytes any more */
	if (in.n)
		memset((void *)(uintptr_t)in.p, '?', in.n);
	return m;
}

static struct bt_meta *good(const char *s)
{
	struct bt_meta *m = parse(s, strlen(s));

	if (!m)
		printf("refused: %s\n  in %s\n", err, s);
	CHECK(m != NULL);
	if (!m)
		exit(1);
	return m;
}

static void refused(const char *s, const char *why)
{
	struct bt_meta *m = parse(s, strlen(s));

	if (m || strcmp(err, why) != 0)
		printf("wanted: %s\n   got: %s\n", why, m ? "accepted" : err);
	CHECK(!m && strcmp(err, why) == 0);
	bt_meta_free(m);
}

static void single(void)
{
	static const char info[] = "d6:lengthi10e" NAME PL P1 "e";
	uint8_t hash[SHA1_LEN];
	struct bt_meta *m = good(SINGLE);

	sha1(info, sizeof(info) - 1, hash);
	CHECK(memcmp(m->info_hash, hash, SHA1_LEN) == 0 && m->hash_len == 20);
	CHECK(m->info_len == sizeof(info) - 1 && memcmp(m->info, info, m->info_len) == 0);
	CHECK(m->single_file && m->nfiles == 1 && strcmp(m->name, "n") == 0 &&
	      strcmp(m->files[0].path, "n") == 0);
	CHECK(m->size == 10 && m->files[0].off == 0 && m->files[0].len == 10 && m->files[0].attr == 0);
	CHECK(m->piece_len == 16384 && m->pieces == 1 && memcmp(m->hashes, "aaaaaaaaaaaaaaaaaaaa", 20) == 0);
	CHECK(m->hashes > m->info && m->hashes < m->info + m->info_len);
	CHECK(!m->is_private && !m->is_hybrid && !m->ntrackers && !m->nweb_seeds);
	CHECK(!m->comment && !m->created_by && !m->source && m->creation_date == 0);
	bt_meta_free(m);
	bt_meta_free(NULL);

	/* exactly one piece, one byte more, one byte less */
	bt_meta_free(good(INFO("6:lengthi16384e" NAME PL P1)));
	bt_meta_free(good(INFO("6:lengthi16385e" NAME PL P2)));
	refused(INFO("6:lengthi16385e" NAME PL P1),
		"info.pieces: 1 hashes, but 16385 bytes in pieces of 16384 need 2");
	refused(INFO("6:lengthi16384e" NAME PL P2),
		"info.pieces: 2 hashes, but 16384 bytes in pieces of 16384 need 1");

	m = good("d4:infod4:attr3:xhp6:lengthi10e" NAME "10:name.utf-83:\xc3\xbcx" PL P1
		 "7:privatei1e6:source3:srcee\r\n");
	CHECK(m->files[0].attr == (BT_FILE_EXEC | BT_FILE_HIDDEN) && m->is_private &&
	      strcmp(m->source, "src") == 0);
	CHECK(strcmp(m->name, "\xc3\xbcx") == 0);
	bt_meta_free(m);

	m = good(INFO("6:lengthi10e4:name9:../../etc" PL P1));
	CHECK(strcmp(m->name, "....etc") == 0);
	bt_meta_free(m);
	m = good(INFO("6:lengthi10e4:name2:.." PL P1));
	CHECK(strcmp(m->name, "_") == 0);
	bt_meta_free(m);
	m = good(INFO("6:lengthi10e4:name0:" PL P1));
	CHECK(strlen(m->name) == 40);
	bt_meta_free(m);
	m = good(INFO("6:lengthi10e4:name3:.bt" PL P1));
	CHECK(strcmp(m->name, "_bt") == 0);
	bt_meta_free(m);
}

static void extras(void)
{
	struct bt_meta *m;

	m = good("d8:announce10:http://a/x7:comment3:com10:created by2:me13:creation "
		 "datei99e4:infod6:lengthi10e" NAME PL P1 "e8:url-list9:http://w/e");
	CHECK(m->ntrackers == 1 && strcmp(m->trackers[0].url, "http://a/x") == 0 && m->trackers[0].tier == 0);
	CHECK(strcmp(m->comment, "com") == 0 && strcmp(m->created_by, "me") == 0 && m->creation_date == 99);
	CHECK(m->nweb_seeds == 1 && strcmp(m->web_seeds[0], "http://w/") == 0);
	bt_meta_free(m);

	/* tiers; blanks cut off; other schemes, doubles and bad bytes left out,
	 * and a tier of which nothing is left counts for nothing */
	m = good("d8:announce10:http://a/x13:announce-listl"
		 "l11: UDP://b:1\n3:badi5elee"
		 "l7:ftp://ce"
		 "l10:http://d e10:http://d/\t10:http://d\x01/e"
		 "4:flat"
		 "l9:https://e9:UDP://b:19:udp://f:2ee"
		 "4:infod6:lengthi10e" NAME PL P1
		 "e8:url-listl6:ftp://6:http:/9:http://w/i5e9:http://w/11:https://w/x7:udp://vee");
	CHECK(m->ntrackers == 4);
	CHECK(strcmp(m->trackers[0].url, "UDP://b:1") == 0 && m->trackers[0].tier == 0);
	CHECK(strcmp(m->trackers[1].url, "http://d/") == 0 && m->trackers[1].tier == 1);
	CHECK(strcmp(m->trackers[2].url, "https://e") == 0 && m->trackers[2].tier == 2);
	CHECK(strcmp(m->trackers[3].url, "udp://f:2") == 0 && m->trackers[3].tier == 2);
	CHECK(m->nweb_seeds == 2 && strcmp(m->web_seeds[1], "https://w/x") == 0);
	bt_meta_free(m);

	/* an empty list leaves `announce` to do */
	m = good("d8:announce10:http://a/x13:announce-listlleli1eee4:infod6:lengthi10e" NAME PL P1
		 "e8:url-list0:e");
	CHECK(m->ntrackers == 1 && m->nweb_seeds == 0);
	bt_meta_free(m);

	/* wrong types of what isn't needed do no harm */
	m = good("d8:announcele13:announce-list1:x7:commenti1e10:created byle13:creation "
		 "date3:now9:httpseeds1:x4:info"
		 "d4:attri1e6:lengthi10e6:md5sumi7e" NAME "10:name.utf-8i1e" PL P1
		 "7:private1:16:sourcei1ee8:url-listdee");
	CHECK(!m->ntrackers && !m->nweb_seeds && !m->comment && !m->created_by && !m->source &&
	      !m->creation_date);
	bt_meta_free(m);
	m = good("d7:comment1:a13:comment.utf-81:b13:creation datei-5e4:infod6:lengthi10e" NAME PL P1 "ee");
	CHECK(strcmp(m->comment, "b") == 0 && m->creation_date == 0);
	bt_meta_free(m);
}

static void url_limits(void)
{
	struct buf b;
	struct bt_meta *m;

	buf_init(&b, 1 << 20);
	buf_puts(&b, "d13:announce-listl");
	for (int i = 0; i < 1500; i++)
		buf_printf(&b, "l14:http://t/%05de", i);
	buf_puts(&b, "e4:infod6:lengthi10e" NAME PL P1 "e8:url-listl");
	for (int i = 0; i < 1500; i++)
		buf_printf(&b, "14:http://w/%05d", i);
	buf_puts(&b, "4097:http://");
	for (int i = 0; i < 4090; i++)
		buf_u8(&b, 'x');
	buf_puts(&b, "ee");
	m = bt_meta_parse(b.p, b.n, err, sizeof(err));
	CHECK(m && m->ntrackers == META_MAX_URLS && m->nweb_seeds == META_MAX_URLS);
	CHECK(m && m->trackers[999].tier == 999 && strcmp(m->trackers[999].url, "http://t/00999") == 0);
	bt_meta_free(m);
	buf_release(&b);
}

static void multi(void)
{
	struct bt_meta *m;

	m = good(FILES(
		A10
		"d4:attr1:x6:lengthi0e4:pathl1:d1:bee"
		"d4:attr1:p6:lengthi6e4:pathl4:.pad1:6eed4:attr2:hp6:lengthi4eed4:attr1:p6:lengthi0e4:pathlee"
		"d6:lengthi5e4:pathl3:\xff\xfe.e10:path.utf-8l3:\xc3\xbc.ee"));
	CHECK(!m->single_file && m->nfiles == 6 && m->size == 25);
	CHECK(strcmp(m->files[0].path, "n/a") == 0 && m->files[0].off == 0 && m->files[0].len == 10);
	CHECK(strcmp(m->files[1].path, "n/d/b") == 0 && m->files[1].off == 10 && m->files[1].len == 0 &&
	      m->files[1].attr == BT_FILE_EXEC);
	CHECK(m->files[2].attr == BT_FILE_PAD && strcmp(m->files[2].path, "n/.pad/6") == 0);
	CHECK(m->files[3].attr == (BT_FILE_PAD | BT_FILE_HIDDEN) &&
	      strcmp(m->files[3].path, "n/.pad/4") == 0);
	CHECK(m->files[4].attr == BT_FILE_PAD && strcmp(m->files[4].path, "n/.pad/0") == 0);
	CHECK(strcmp(m->files[5].path, "n/\xc3\xbc.") == 0 && m->files[5].off == 20);
	bt_meta_free(m);

	m = good(FILES("d6:lengthi10e4:pathl2:..1:.0:3:a/bee"));
	CHECK(strcmp(m->files[0].path, "n/_/_/_/ab") == 0);
	bt_meta_free(m);

	/* unsorted keys are read; so is `files` where there is `length` too */
	m = good(INFO(NAME "6:lengthi99e5:filesld4:pathl1:ae6:lengthi10eee" P1 PL));
	CHECK(!m->single_file && m->size == 10);
	bt_meta_free(m);
}

static void link_targets(void)
{
	struct bt_meta *m;

	m = good(FILES(A10 "d4:attr1:l4:pathl1:d1:le12:symlink pathl1:aee"
			   "d4:attr1:l6:lengthi0e4:pathl1:d1:e1:me12:symlink pathl1:d1:xee"
			   "d4:attr1:l4:pathl1:d1:oe12:symlink pathl2:..1:aee"
			   "d4:attr1:l4:pathl1:pe12:symlink pathl1:.3:b/cee"));
	CHECK(m->nfiles == 5 && m->files[1].attr == BT_FILE_SYMLINK && m->files[1].len == 0);
	CHECK(strcmp(m->files[1].target, "../a") == 0);
	CHECK(strcmp(m->files[2].target, "../x") == 0);
	CHECK(strcmp(m->files[3].target, "../a") == 0);
	CHECK(strcmp(m->files[4].target, "_/bc") == 0);
	CHECK(m->files[0].target == NULL);
	bt_meta_free(m);

	/* a link in the way of a directory makes room, wherever it stands */
	m = good(FILES("d4:attr1:l4:pathl1:de12:symlink pathl1:aee" A10 "d6:lengthi1e4:pathl1:d1:xee"));
	CHECK(strcmp(m->files[0].path, "n/d.1") == 0 && strcmp(m->files[2].path, "n/d/x") == 0);
	bt_meta_free(m);
	m = good(FILES("d6:lengthi1e4:pathl1:d1:xee" A10 "d4:attr1:l4:pathl1:de12:symlink pathl1:aee"));
	CHECK(strcmp(m->files[2].path, "n/d.1") == 0);
	bt_meta_free(m);

#define LINK "d4:attr1:l4:pathl1:d1:le"
	refused(FILES(A10 LINK "12:symlink pathl2:..2:..1:aee"),
		"info.files[1].symlink path: leaves the torrent");
	refused(FILES(A10 LINK "12:symlink pathl2:..ee"), "info.files[1].symlink path: leaves the torrent");
	refused(FILES(A10 LINK "12:symlink pathlee"), "info.files[1].symlink path: empty");
	refused(FILES(A10 LINK "12:symlink pathli1eee"), "info.files[1].symlink path: not a string");
	refused(FILES(A10 LINK "12:symlink path1:ae"), "info.files[1].symlink path: not a list");
	refused(FILES(A10 LINK "e"), "info.files[1].symlink path: missing");
	refused(FILES(A10 "d4:attr1:l6:lengthi1e4:pathl1:le12:symlink pathl1:aee"),
		"info.files[1].length: a link has none");
	refused(FILES(A10 "d4:attr2:lp4:pathl1:le12:symlink pathl1:aee"),
		"info.files[1].attr: both padding and link");
}

static void refusals(void)
{
	refused("", "not a torrent: truncated at byte 0");
	refused("<html>", "not a torrent: value expected at byte 0");
	refused("i5e", "not a torrent: not a dictionary");
	refused("le", "not a torrent: not a dictionary");
	refused("de", "info: missing");
	refused("d4:infolee", "info: not a dictionary");
	refused("d4:infodee", "info.name: missing");
	refused("d4:infod6:lengthi01eee", "not a torrent: leading zero in integer at byte 18");
	refused(SINGLE "x", "not a torrent: more bytes after the end, at byte 84");
	refused("d4:infode1:x0:4:infodee", "info: there are two");
	refused("d4:infode4:infodee", "info: there are two");

	refused(INFO("6:lengthi10e6:lengthi10e" NAME PL P1), "info: the same key twice");
	refused(INFO("6:lengthi10e" NAME "6:lengthi10e" PL P1), "info: the same key twice");
	refused(INFO("6:lengthi10e" NAME PL P1 "1:x0:1:x0:"), "info: the same key twice");
	refused(FILES("d6:lengthi10e6:lengthi10e4:pathl1:aee"), "info: the same key twice");
	refused(FILES("d6:lengthi10e4:pathl1:ae6:lengthi9ee"), "info.files[0]: the same key twice");

	refused(INFO("6:lengthi10e" PL P1), "info.name: missing");
	refused(INFO("6:lengthi10e4:namei1e" PL P1), "info.name: not a string");
	refused(INFO(NAME PL P1), "info: neither length nor files");
	refused(INFO("6:length1:x" NAME PL P1), "info.length: not an integer");
	refused(INFO("6:lengthi-1e" NAME PL P1), "info.length: negative");
	refused(INFO("6:lengthi0e" NAME PL "6:pieces0:"),
		"info.length: there is no data in this torrent, every file is empty");
	refused(FILES("d6:lengthi0e4:pathl1:aee"),
		"info.files: there is no data in this torrent, every file is empty");
	refused(INFO("6:lengthi10e" NAME P1), "info.piece length: missing");
	refused(INFO("6:lengthi10e" NAME "12:piece length1:x" P1), "info.piece length: not an integer");
	refused(INFO("6:lengthi10e" NAME "12:piece lengthi0e" P1),
		"info.piece length: 0, must be from 1 to 536854528");
	refused(INFO("6:lengthi10e" NAME "12:piece lengthi-1e" P1),
		"info.piece length: -1, must be from 1 to 536854528");
	refused(INFO("6:lengthi10e" NAME "12:piece lengthi536854529e" P1),
		"info.piece length: 536854529, must be from 1 to 536854528");
	bt_meta_free(good(INFO("6:lengthi10e" NAME "12:piece lengthi536854528e" P1)));
	refused(INFO("6:lengthi10e" NAME PL), "info.pieces: missing");
	refused(INFO("6:lengthi10e" NAME PL "6:piecesle"), "info.pieces: not a string");
	refused(INFO("6:lengthi10e" NAME PL "6:pieces19:aaaaaaaaaaaaaaaaaaa"),
		"info.pieces: 19 bytes, not a multiple of 20");
	refused(INFO("6:lengthi10e" NAME PL "6:pieces0:"),
		"info.pieces: 0 hashes, but 10 bytes in pieces of 16384 need 1");
	/* 2^63-1 bytes in pieces of 1: the count asked for is exact, not wrapped */
	refused(INFO("6:lengthi9223372036854775807e" NAME "12:piece lengthi1e" P1),
		"info.pieces: 1 hashes, but 9223372036854775807 bytes in pieces of 1 need "
		"9223372036854775807");

	refused(INFO("5:files1:x" NAME PL P1), "info.files: not a list");
	refused(FILES(""), "info.files: empty");
	refused(FILES("i1e"), "info.files[0]: not a dictionary");
	refused(FILES(A10 "d4:pathl1:aee"), "info.files[1].length: missing");
	refused(FILES(A10 "d6:length1:14:pathl1:aee"), "info.files[1].length: not an integer");
	refused(FILES(A10 "d6:lengthi-1e4:pathl1:aee"), "info.files[1].length: negative");
	refused(FILES(A10 "d6:lengthi9223372036854775807e4:pathl1:bee"),
		"info.files[1].length: the sum overflows");
	refused(FILES("d6:lengthi10ee"), "info.files[0].path: missing");
	refused(FILES("d6:lengthi10e4:path1:ae"), "info.files[0].path: not a list");
	refused(FILES("d6:lengthi10e4:pathlee"), "info.files[0].path: empty");
	refused(FILES("d6:lengthi10e4:pathl1:ai1eee"), "info.files[0].path: not a string");
	refused(FILES("d6:lengthi10e4:pathl1:ae10:path.utf-8lee"), "info.files[0].path.utf-8: empty");

	refused(INFO("6:lengthi10e12:meta versioni2e" NAME PL), "v2-only torrent (BEP 52) is not supported");
	refused(INFO("9:file treede12:meta versioni2e" NAME PL), "v2-only torrent (BEP 52) is not supported");
	refused(INFO("12:meta versioni3e" NAME), "info.meta version: newer than this program knows");
}

static void hybrid(void)
{
	struct bt_meta *m = good(INFO("9:file treede6:lengthi10e12:meta versioni2e" NAME PL P1));

	CHECK(m->is_hybrid && m->hash_len == 20);
	bt_meta_free(m);
}

static void depth_and_length(void)
{
	struct buf b;

	buf_init(&b, EDGE_SIZE);
	for (int n = META_MAX_DEPTH; n <= META_MAX_DEPTH + 1; n++) {
		struct bt_meta *m;

		buf_clear(&b);
		buf_puts(&b, "d4:infod5:filesld6:lengthi10e4:pathl");
		for (int i = 0; i < n; i++)
			buf_puts(&b, "1:d");
		buf_puts(&b, "eee" NAME PL P1 "ee");
		m = parse((const char *)b.p, b.n);
		CHECK((m != NULL) == (n == META_MAX_DEPTH));
		if (!m)
			CHECK(strcmp(err, "info.files[0].path: too many directories") == 0);
		bt_meta_free(m);
	}
	buf_clear(&b);
	buf_puts(&b, "d4:infod5:filesld6:lengthi10e4:pathl");
	for (int i = 0; i < 17; i++) {
		buf_puts(&b, "240:");
		for (int k = 0; k < 240; k++)
			buf_u8(&b, 'x');
	}
	buf_puts(&b, "eee" NAME PL P1 "ee");
	CHECK(!parse((const char *)b.p, b.n));
	CHECK(strcmp(err, "info.files[0].path: too long or out of memory") == 0);
	buf_release(&b);
}

static void truncation(void)
{
	static const char *const inputs[] = {
		SINGLE,
		FILES(A10 "d4:attr1:l4:pathl1:d1:le12:symlink pathl1:aeed4:attr1:p6:lengthi6ee"),
		"d8:announce10:http://a/x13:announce-listll10:http://b/"
		"xee7:comment1:c4:infod6:lengthi10e" NAME PL P1 "e8:url-listl9:http://w/ee",
	};
	char one[1];

	for (size_t k = 0; k < ARRAY_LEN(inputs); k++) {
		size_t len = strlen(inputs[k]);

		bt_meta_free(good(inputs[k]));
		for (size_t n = 0; n < len; n++) {
			struct bt_meta *m = parse(inputs[k], n);

			CHECK(m == NULL);
			bt_meta_free(m);
		}
		/* any single byte changed: accepted or refused, never worse */
		for (size_t n = 0; n < len; n++)
			for (int bit = 0; bit < 8; bit++) {
				char copy[512];

				memcpy(copy, inputs[k], len);
				copy[n] = (char)(copy[n] ^ 1 << bit);
				bt_meta_free(parse(copy, len));
			}
	}
	/* the line is cut to the room there is */
	CHECK(!bt_meta_parse("x", 1, one, 1) && one[0] == 0);
	CHECK(!bt_meta_parse("x", 1, NULL, 0));
}

static void magnet(void)
{
	struct bt_meta *m =
		good("d8:announce18:http://a/x?k=v&w=14:infod6:lengthi10e4:name7:a b&\xc3\xbc~" PL P1
		     "e8:url-list9:http://w/e");
	char hex[41], want[200], *got = bt_meta_magnet(m);

	hex_encode(hex, m->info_hash, 20);
	snprintf(want, sizeof(want),
		 "magnet:?xt=urn:btih:%s&dn=a%%20b%%26%%C3%%BC~&tr=http%%3A%%2F%%2Fa%%2Fx%%3Fk%%3Dv%%26w%%3D1"
		 "&ws=http%%3A%%2F%%2Fw%%2F",
		 hex);
	CHECK(got && strcmp(got, want) == 0);
	free(got);
	bt_meta_free(m);
}

/* 100,000 files in 10,000 directories; then 2 million pieces. The budget is that
 * of metainfo.h: one copy of the input, and 64 bytes per file beyond its path. */
static void memory(void)
{
	struct buf b;
	struct bt_meta *m;
	size_t paths = 0, files = 100000;

	buf_init(&b, META_MAX_BYTES);
	buf_puts(&b, "d4:infod5:filesl");
	for (size_t i = 0; i < files; i++)
		buf_printf(&b, "d6:lengthi%zue4:pathl6:dir%03zu4:s%03zu12:file-%07zuee", (size_t)16384,
			   i / 1000, i / 10 % 100, i);
	buf_printf(&b, "e" NAME PL "6:pieces%zu:", files * 20);
	for (size_t i = 0; i < files; i++)
		buf_put(&b, "aaaaaaaaaaaaaaaaaaaa", 20);
	buf_puts(&b, "ee");
	m = bt_meta_parse(b.p, b.n, err, sizeof(err));
	CHECK(m && m->nfiles == files && strcmp(m->files[99999].path, "n/dir099/s099/file-0099999") == 0);
	for (uint32_t i = 0; m && i < m->nfiles; i++)
		paths += strlen(m->files[i].path);
	if (m) {
		printf("100,000 files: input %zu, paths %zu, memory %zu: %.1f bytes per file beyond input "
		       "and path\n",
		       b.n, paths, meta_memory(m), (double)(meta_memory(m) - b.n - paths) / (double)files);
		CHECK(meta_memory(m) <= b.n + paths + 64 * files);
	}
	bt_meta_free(m);

	for (uint32_t n = META_MAX_PIECES; n <= META_MAX_PIECES + 1; n++) {
		buf_clear(&b);
		buf_printf(&b,
			   "d4:infod6:lengthi%llue" NAME PL "6:pieces%llu:", (unsigned long long)n * 16384,
			   (unsigned long long)n * 20);
		for (uint32_t i = 0; i < n; i++)
			buf_put(&b, "aaaaaaaaaaaaaaaaaaaa", 20);
		buf_puts(&b, "ee");
		m = bt_meta_parse(b.p, b.n, err, sizeof(err));
		CHECK((m != NULL) == (n == META_MAX_PIECES));
		if (m) {
			printf("%u pieces: input %zu, memory %zu\n", (unsigned)n, b.n, meta_memory(m));
			CHECK(meta_memory(m) <= b.n + 4096);
		}
		bt_meta_free(m);
	}
	CHECK(strcmp(err, "info.pieces: 2097153 pieces, at most 2097152 are supported") == 0);
	b.n = 0;
	CHECK(!bt_meta_parse(b.p, META_MAX_BYTES + 1u, err, sizeof(err)) &&
	      strcmp(err, "larger than 64 MiB") == 0);
	buf_release(&b);
}

int main(void)
{
	single();
	extras();
	url_limits();
	multi();
	link_targets();
	refusals();
	hybrid();
	depth_and_length();
	truncation();
	magnet();
	memory();
	return test_done();
}
