/* SPDX-License-Identifier: MIT */
/* Tests of torrent/create.c: exact bytes, canonical order, and everything read
 * back as it was given. */
#include "bencode.h"
#include "torrent/metainfo.h"
#include "test/test.h"

/* The info-hash that libtorrent 2.0.8, transmission-show and aria2c give for round_trip's torrent. */
#define KNOWN_HASH "4d726bd9fddd0ad4607c0046fb6dd77e6e04367d"

static const uint8_t hashes[60] = "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbccccccccccccccccccc";
static const char *const trackers[] = { "http://a/x", "udp://b:1", "https://c/" };
static const char *const seeds[] = { "http://w/", "http://v/" };

static void encode(struct buf *b, const struct create *c)
{
	unsigned seen = 99;

	buf_clear(b);
	create_encode(b, c);
	CHECK(!b->failed);
	CHECK(ben_check(slice_of(b->p, b->n), &BEN_TORRENT, NULL, &seen, NULL) == (ptrdiff_t)b->n &&
	      seen == 0);
}

static struct bt_meta *back(const struct buf *b)
{
	char err[200] = "";
	struct bt_meta *m = bt_meta_parse(b->p, b->n, err, sizeof(err));

	if (!m)
		printf("%s\n", err);
	CHECK(m != NULL);
	if (!m)
		exit(1);
	return m;
}

static void exact(void)
{
	const struct create_file file = { .path = "", .len = 10 };
	struct create c = {
		.name = "n",
		.files = &file,
		.nfiles = 1,
		.single_file = true,
		.piece_len = 16384,
		.hashes = hashes,
		.pieces = 1,
	};
	struct buf b, again;

	buf_init(&b, 1 << 20);
	buf_init(&again, 1 << 20);
	encode(&b, &c);
	CHECK(slice_is(
		slice_of(b.p, b.n),
		"d4:infod6:lengthi10e4:name1:n12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee"));
	c.trackers = trackers;
	c.ntrackers = 1;
	c.web_seeds = seeds;
	c.nweb_seeds = 1;
	c.comment = "hi";
	c.created_by = "bt";
	c.source = "src";
	c.date = 5;
	c.is_private = true;
	encode(&b, &c);
	CHECK(slice_is(slice_of(b.p, b.n), "d8:announce10:http://a/x7:comment2:hi10:created "
					   "by2:bt13:creation datei5e4:infod6:lengthi10e4:name1:n"
					   "12:piece "
					   "lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei1e6:"
					   "source3:srce8:url-list9:http://w/e"));
	c.ntrackers = 3;
	c.nweb_seeds = 2;
	encode(&b, &c);
	encode(&again, &c);
	CHECK(slice_eq(slice_of(b.p, b.n), slice_of(again.p, again.n)));

	/* no room is told at the end */
	for (size_t max = 0; max < b.n; max++) {
		struct buf small;

		buf_init(&small, max);
		create_encode(&small, &c);
		CHECK(small.failed);
		buf_release(&small);
	}
	buf_release(&b);
	buf_release(&again);
}

static void round_trip(void)
{
	static const struct create_file files[] = {
		{ .path = "a b.txt", .len = 10, .attr = BT_FILE_EXEC },
		{ .path = ".pad/16374", .len = 16374, .attr = BT_FILE_PAD },
		{ .path = "d/\xc3\xbc/x", .len = 16385 },
		{ .path = "d/empty", .len = 0, .attr = BT_FILE_HIDDEN | BT_FILE_EXEC },
		{ .path = "d/\xc3\xbc/l", .target = "../../a b.txt" },
		{ .path = "d/m", .target = "\xc3\xbc", .attr = BT_FILE_SYMLINK },
	};
	const struct create c = {
		.name = "top",
		.files = files,
		.nfiles = ARRAY_LEN(files),
		.piece_len = 16384,
		.hashes = hashes,
		.pieces = 3,
		.trackers = trackers,
		.ntrackers = 3,
		.web_seeds = seeds,
		.nweb_seeds = 2,
		.comment = "c",
		.source = "s",
		.created_by = "bt",
		.date = 1700000000,
		.is_private = true,
	};
	struct bt_meta *m;
	struct buf b;
	uint64_t off = 0;
	char hex[41];

	buf_init(&b, 1 << 20);
	encode(&b, &c);
	m = back(&b);
	CHECK(strcmp(m->name, "top") == 0 && !m->single_file && m->nfiles == c.nfiles &&
	      m->piece_len == 16384);
	CHECK(m->pieces == 3 && memcmp(m->hashes, hashes, 60) == 0 && m->is_private && !m->is_hybrid);
	CHECK(strcmp(m->comment, "c") == 0 && strcmp(m->source, "s") == 0 &&
	      strcmp(m->created_by, "bt") == 0);
	CHECK(m->creation_date == 1700000000 && m->ntrackers == 3 && m->nweb_seeds == 2);
	for (uint32_t i = 0; i < 3; i++)
		CHECK(strcmp(m->trackers[i].url, trackers[i]) == 0 && m->trackers[i].tier == i);
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];

		CHECK(strncmp(f->path, "top/", 4) == 0 && strcmp(f->path + 4, files[i].path) == 0);
		CHECK(f->off == off && f->len == files[i].len);
		CHECK(f->attr == (files[i].attr | (files[i].target ? BT_FILE_SYMLINK : 0u)));
		CHECK(files[i].target ? f->target && strcmp(f->target, files[i].target) == 0 : !f->target);
		off += f->len;
	}
	CHECK(m->size == off);
	hex_encode(hex, m->info_hash, 20);
	CHECK(strcmp(hex, KNOWN_HASH) == 0);
	bt_meta_free(m);
	buf_release(&b);
}

static void bad_link(void)
{
	static const char *const out[] = { "/etc/passwd", "../x", "d/../..", "" };
	struct create_file f = { .path = "l" };
	const struct create c = {
		.name = "n", .files = &f, .nfiles = 1, .piece_len = 16384, .hashes = hashes, .pieces = 1
	};
	struct buf b;

	buf_init(&b, 1000);
	for (size_t i = 0; i < ARRAY_LEN(out); i++) {
		f.target = out[i];
		buf_clear(&b);
		create_encode(&b, &c);
		CHECK(b.failed);
	}
	buf_release(&b);
}

static void piece_len(void)
{
	CHECK(create_piece_len(0) == 16384 && create_piece_len(1) == 16384);
	for (unsigned bit = 25; bit < 35; bit++)
		for (uint64_t total = 1ull << bit; total < 2ull << bit; total += 1ull << (bit - 3)) {
			uint64_t len = create_piece_len(total), n = total / len;

			CHECK((len & (len - 1)) == 0 && len >= 16384 && len <= 16u << 20 && n >= 1024 &&
			      n < 2048);
		}
	CHECK(create_piece_len(1ull << 40) == 16u << 20);
	CHECK(create_piece_len((32ull << 40) - 1) == 16u << 20 && create_piece_len(32ull << 40) == 32u << 20);
}

int main(void)
{
	exact();
	round_trip();
	bad_link();
	piece_len();
	return test_done();
}
