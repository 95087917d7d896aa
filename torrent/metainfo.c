/* SPDX-License-Identifier: MIT */
/* metainfo.c - the reader of .torrent files (BEP 3, 12, 19, 27, 47; BEP 52 only
 * as far as to use a hybrid's v1 side). Strict about what is hashed and about
 * all that sizes and places depend on; whatever else is odd is left out, as the
 * data can be had without it. Every refusal is one line that names the key.
 * Start at bt_meta_parse(). */
#include "torrent/arena.h"
#include "torrent/metainfo.h"
#include "torrent/urls.h"
#include "sha1.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct parse {
	struct bt_meta *m;
	struct arena *a;
	char *err;
	size_t err_size;
	struct buf path, link; /* scratch */
	uint32_t file;         /* index of the one being read */
};

BT_PRINTF(2, 3) static bool refuse(struct parse *ps, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ps->err, ps->err_size, fmt, ap);
	va_end(ap);
	return false;
}

static bool no_memory(struct parse *ps)
{
	return refuse(ps, "out of memory");
}

static bool refuse_file(struct parse *ps, const char *what)
{
	return refuse(ps, "info.files[%u].%s", (unsigned)ps->file, what);
}

/* ---- dictionaries: known keys into an array, in one walk ---- */

enum {
	TOP_ANNOUNCE,
	TOP_TIERS,
	TOP_COMMENT,
	TOP_COMMENT_UTF8,
	TOP_BY,
	TOP_DATE,
	TOP_INFO,
	TOP_SEEDS,
	TOP_KEYS
};
static const char *const top_keys[TOP_KEYS] = {
	[TOP_ANNOUNCE] = "announce", [TOP_TIERS] = "announce-list",
	[TOP_COMMENT] = "comment",   [TOP_COMMENT_UTF8] = "comment.utf-8",
	[TOP_BY] = "created by",     [TOP_DATE] = "creation date",
	[TOP_INFO] = "info",         [TOP_SEEDS] = "url-list",
};

enum {
	INFO_ATTR,
	INFO_FILES,
	INFO_LENGTH,
	INFO_VERSION,
	INFO_NAME,
	INFO_NAME_UTF8,
	INFO_PIECE_LEN,
	INFO_PIECES,
	INFO_PRIVATE,
	INFO_SOURCE,
	INFO_KEYS
};
static const char *const info_keys[INFO_KEYS] = {
	[INFO_ATTR] = "attr",
	[INFO_FILES] = "files",
	[INFO_LENGTH] = "length",
	[INFO_VERSION] = "meta version",
	[INFO_NAME] = "name",
	[INFO_NAME_UTF8] = "name.utf-8",
	[INFO_PIECE_LEN] = "piece length",
	[INFO_PIECES] = "pieces",
	[INFO_PRIVATE] = "private",
	[INFO_SOURCE] = "source",
};

enum { FILE_ATTR, FILE_LENGTH, FILE_PATH, FILE_PATH_UTF8, FILE_LINK, FILE_KEYS };
static const char *const file_keys[FILE_KEYS] = {
	[FILE_ATTR] = "attr",         [FILE_LENGTH] = "length",
	[FILE_PATH] = "path",         [FILE_PATH_UTF8] = "path.utf-8",
	[FILE_LINK] = "symlink path",
};

/* The first value of each key. Returns a bit for each that came again: ben_check
 * tells neighbours only, and in an unsorted dictionary twins may stand apart. */
static uint32_t collect(struct ben dict, const char *const *keys, size_t n, struct ben *out)
{
	uint32_t twice = 0;
	struct ben_it it;
	struct slice key;
	struct ben v;

	for (size_t i = 0; i < n; i++)
		out[i] = (struct ben){ NULL, NULL };
	for (ben_iter(dict, &it); ben_next(&it, &key, &v);)
		for (size_t i = 0; i < n; i++)
			if (slice_is(key, keys[i])) {
				if (out[i].p)
					twice |= 1u << i;
				else
					out[i] = v;
				break;
			}
	return twice;
}

/* NULL when v has the type, else what to say. */
static const char *type_error(struct ben v, enum ben_type type)
{
	static const char *const not [] = {
		[BEN_INT] = "not an integer",
		[BEN_STR] = "not a string",
		[BEN_LIST] = "not a list",
		[BEN_DICT] = "not a dictionary",
	};

	if (ben_type(v) == type)
		return NULL;
	return v.p ? not [type] : "missing";
}

static bool is(struct parse *ps, struct ben v, enum ben_type type, const char *place)
{
	const char *bad = type_error(v, type);

	return bad ? refuse(ps, "%s: %s", place, bad) : true;
}

/* Text that only people read: left out when it is none. */
static bool read_text(struct parse *ps, struct ben v, const char **out)
{
	struct slice s;

	if (!ben_str(v, &s))
		return true;
	*out = arena_copy(ps->a, s);
	return *out ? true : no_memory(ps);
}

/* ---- files ---- */

static uint32_t attributes(struct ben v)
{
	uint32_t attr = 0;
	struct slice s;

	if (!ben_str(v, &s))
		return 0;
	for (size_t i = 0; i < s.n; i++)
		switch (s.p[i]) {
		case 'p':
			attr |= BT_FILE_PAD;
			break;
		case 'x':
			attr |= BT_FILE_EXEC;
			break;
		case 'h':
			attr |= BT_FILE_HIDDEN;
			break;
		case 'l':
			attr |= BT_FILE_SYMLINK;
			break;
		}
	return attr;
}

/* Appends the elements of a list, made safe and joined; returns how many there
 * were, or -1 when refused. ".." becomes "_", as in other clients, but where
 * `up` asks for it (in a link's target) it stays and is told. */
static int join(struct parse *ps, struct buf *out, struct ben list, const char *key, bool *up)
{
	struct ben_it it;
	struct slice unused, s;
	struct ben v;
	int n = 0;

	for (ben_iter(list, &it); ben_next(&it, &unused, &v); n++) {
		const char *bad = type_error(v, BEN_STR);

		if (!bad && n == META_MAX_DEPTH)
			bad = "too many directories";
		if (!bad && ben_str(v, &s)) {
			if (out->n)
				buf_u8(out, '/');
			if (up && slice_is(s, "..")) {
				*up = true;
				buf_puts(out, "..");
			} else {
				path_element(out, s);
			}
			if (out->failed)
				bad = "too long or out of memory";
		}
		if (bad) {
			refuse(ps, "info.files[%u].%s: %s", (unsigned)ps->file, key, bad);
			return -1;
		}
	}
	return n;
}

static bool file_path(struct parse *ps, struct bt_file *f, const struct ben *keys)
{
	bool utf8 = ben_type(keys[FILE_PATH_UTF8]) == BEN_LIST;
	struct ben list = keys[utf8 ? FILE_PATH_UTF8 : FILE_PATH];
	const char *bad = type_error(list, BEN_LIST), *key = file_keys[utf8 ? FILE_PATH_UTF8 : FILE_PATH];
	int n = 0;

	buf_clear(&ps->path);
	buf_puts(&ps->path, ps->m->name);
	if (!bad)
		n = join(ps, &ps->path, list, key, NULL);
	if (n < 0)
		return false;
	if (n == 0 && f->attr & BT_FILE_PAD)
		buf_printf(&ps->path, "/.pad/%llu", (unsigned long long)f->len);
	else if (bad || n == 0)
		return refuse(ps, "info.files[%u].%s: %s", (unsigned)ps->file, key, bad ? bad : "empty");
	if (ps->path.failed)
		return no_memory(ps);
	f->path = arena_copy(ps->a, slice_of(ps->path.p, ps->path.n));
	return f->path ? true : no_memory(ps);
}

/* The target is a path from the torrent's top; a link on disk wants it seen
 * from where the link lies. BEP 47 forbids ".." in it, yet libtorrent 2.0.8
 * writes what readlink gave: with ".." in it, it is taken for that, and may do
 * as it likes as long as it stays inside. */
static bool file_link(struct parse *ps, struct bt_file *f, struct ben list)
{
	const char *bad = type_error(list, BEN_LIST), *link = f->path + strlen(ps->m->name) + 1;
	bool up = false;
	int n = 0;

	buf_clear(&ps->path);
	buf_clear(&ps->link);
	if (!bad)
		n = join(ps, &ps->path, list, file_keys[FILE_LINK], &up);
	if (n < 0)
		return false;
	if (bad || n == 0)
		return refuse(ps, "info.files[%u].%s: %s", (unsigned)ps->file, file_keys[FILE_LINK],
			      bad ? bad : "empty");
	buf_u8(&ps->path, 0);
	if (up && !ps->path.failed) {
		if (!path_link_target(&ps->link, link, (const char *)ps->path.p) && !ps->link.failed)
			return refuse_file(ps, "symlink path: leaves the torrent");
		buf_u8(&ps->link, 0);
		buf_clear(&ps->path);
		buf_put(&ps->path, ps->link.p, ps->link.n);
		if (!ps->link.failed)
			buf_clear(&ps->link);
	}
	if (!ps->path.failed && !ps->link.failed)
		path_link_text(&ps->link, link, (const char *)ps->path.p);
	if (ps->path.failed || ps->link.failed)
		return refuse_file(ps, "symlink path: too long or out of memory");
	f->target = arena_copy(ps->a, slice_of(ps->link.p, ps->link.n));
	return f->target ? true : no_memory(ps);
}

static bool read_file(struct parse *ps, struct bt_file *f, struct ben dict)
{
	struct ben keys[FILE_KEYS];
	const char *bad;
	int64_t len = 0;

	if (ben_type(dict) != BEN_DICT)
		return refuse(ps, "info.files[%u]: not a dictionary", (unsigned)ps->file);
	if (collect(dict, file_keys, FILE_KEYS, keys))
		return refuse(ps, "info.files[%u]: the same key twice", (unsigned)ps->file);
	f->attr = attributes(keys[FILE_ATTR]);
	if ((f->attr & BT_FILE_PAD) && (f->attr & BT_FILE_SYMLINK))
		return refuse_file(ps, "attr: both padding and link");

	/* only a link may leave its length out (BEP 47) */
	bad = type_error(keys[FILE_LENGTH], BEN_INT);
	if (bad && (keys[FILE_LENGTH].p || !(f->attr & BT_FILE_SYMLINK)))
		return refuse(ps, "info.files[%u].length: %s", (unsigned)ps->file, bad);
	if (!bad && ben_int(keys[FILE_LENGTH], &len) && len < 0)
		return refuse_file(ps, "length: negative");
	if (len && f->attr & BT_FILE_SYMLINK)
		return refuse_file(ps, "length: a link has none");
	f->off = ps->m->size;
	f->len = (uint64_t)len;
	if (f->len > INT64_MAX - f->off)
		return refuse_file(ps, "length: the sum overflows");
	ps->m->size += f->len;

	if (!file_path(ps, f, keys))
		return false;
	return f->attr & BT_FILE_SYMLINK ? file_link(ps, f, keys[FILE_LINK]) : true;
}

static bool read_files(struct parse *ps, struct ben list)
{
	struct bt_meta *m = ps->m;
	struct ben_it it;
	struct slice unused;
	struct ben v;
	uint32_t n = 0;

	if (!is(ps, list, BEN_LIST, "info.files"))
		return false;
	/* the limit of tokens keeps the count far below 2^32 */
	for (ben_iter(list, &it); ben_next(&it, &unused, &v);)
		n++;
	if (n == 0)
		return refuse(ps, "info.files: empty");
	m->files = arena_take(ps->a, n, sizeof(*m->files));
	if (!m->files)
		return no_memory(ps);
	m->nfiles = n;
	ben_iter(list, &it);
	for (ps->file = 0; ben_next(&it, &unused, &v); ps->file++)
		if (!read_file(ps, &m->files[ps->file], v))
			return false;
	return paths_make_distinct(m, ps->err, ps->err_size);
}

static bool read_single(struct parse *ps, const struct ben *keys)
{
	struct bt_meta *m = ps->m;
	int64_t len;

	if (!is(ps, keys[INFO_LENGTH], BEN_INT, "info.length"))
		return false;
	if (!ben_int(keys[INFO_LENGTH], &len) || len < 0)
		return refuse(ps, "info.length: negative");
	m->files = arena_take(ps->a, 1, sizeof(*m->files));
	if (!m->files)
		return no_memory(ps);
	m->nfiles = 1;
	m->single_file = true;
	m->size = (uint64_t)len;
	m->files[0].len = m->size;
	m->files[0].path = m->name;
	/* a lone pad file or link would be a torrent of nothing */
	m->files[0].attr = attributes(keys[INFO_ATTR]) & (BT_FILE_EXEC | BT_FILE_HIDDEN);
	return true;
}

/* ---- the info dictionary ---- */

static bool read_name(struct parse *ps, const struct ben *keys)
{
	struct ben v = keys[ben_type(keys[INFO_NAME_UTF8]) == BEN_STR ? INFO_NAME_UTF8 : INFO_NAME];
	char hex[2 * SHA1_LEN + 1];
	struct slice s;

	if (!is(ps, v, BEN_STR, "info.name") || !ben_str(v, &s))
		return false;
	if (s.n == 0) { /* as libtorrent does; "_" would be shared by all nameless ones */
		hex_encode(hex, ps->m->info_hash, SHA1_LEN);
		s = slice_str(hex);
	}
	buf_clear(&ps->path);
	path_top(&ps->path, s);
	if (!ps->path.failed)
		ps->m->name = arena_copy(ps->a, slice_of(ps->path.p, ps->path.n));
	return ps->m->name ? true : no_memory(ps);
}

static bool read_pieces(struct parse *ps, const struct ben *keys)
{
	struct bt_meta *m = ps->m;
	struct slice s;
	int64_t len;
	uint64_t want;

	if (!is(ps, keys[INFO_PIECE_LEN], BEN_INT, "info.piece length") ||
	    !is(ps, keys[INFO_PIECES], BEN_STR, "info.pieces") || !ben_int(keys[INFO_PIECE_LEN], &len) ||
	    !ben_str(keys[INFO_PIECES], &s))
		return false;
	if (len <= 0 || (uint64_t)len > META_MAX_PIECE_LEN)
		return refuse(ps, "info.piece length: %lld, must be from 1 to %llu", (long long)len,
			      (unsigned long long)META_MAX_PIECE_LEN);
	if (s.n % SHA1_LEN)
		return refuse(ps, "info.pieces: %zu bytes, not a multiple of 20", s.n);
	if (s.n / SHA1_LEN > META_MAX_PIECES)
		return refuse(ps, "info.pieces: %zu pieces, at most %u are supported", s.n / SHA1_LEN,
			      META_MAX_PIECES);
	if (m->size == 0)
		return refuse(ps, "%s: there is no data in this torrent, every file is empty",
			      m->single_file ? "info.length" : "info.files");
	m->piece_len = (uint64_t)len;
	m->pieces = (uint32_t)(s.n / SHA1_LEN);
	m->hashes = s.p;
	want = m->size / m->piece_len + (m->size % m->piece_len != 0);
	if (m->pieces != want)
		return refuse(ps, "info.pieces: %u hashes, but %llu bytes in pieces of %llu need %llu",
			      (unsigned)m->pieces, (unsigned long long)m->size, (unsigned long long)len,
			      (unsigned long long)want);
	return true;
}

static bool read_info(struct parse *ps, struct ben info)
{
	struct bt_meta *m = ps->m;
	struct ben keys[INFO_KEYS];
	struct ben_error e;
	struct slice s;
	unsigned seen;
	uint32_t twice;
	int64_t v;

	/* the same bytes were well-formed a moment ago; this asks about keys
	 * inside `info` alone, where two readings would mean two torrents */
	s = ben_raw(info);
	if (ben_check(s, &BEN_TORRENT, NULL, &seen, &e) < 0)
		return refuse(ps, "info: %s", e.what);
	twice = collect(info, info_keys, INFO_KEYS, keys);
	if (ben_int(keys[INFO_VERSION], &v)) {
		if (v > 2)
			return refuse(ps, "info.meta version: newer than this program knows");
		if (v == 2 && !keys[INFO_PIECES].p)
			return refuse(ps, "v2-only torrent (BEP 52) is not supported");
		m->is_hybrid = v == 2;
	}
	if (twice || (seen & BEN_DUP_KEY))
		return refuse(ps, "info: the same key twice");

	if (!read_name(ps, keys))
		return false;
	if (!keys[INFO_FILES].p && !keys[INFO_LENGTH].p)
		return refuse(ps, "info: neither length nor files");
	if (keys[INFO_FILES].p ? !read_files(ps, keys[INFO_FILES]) : !read_single(ps, keys))
		return false;
	if (!read_pieces(ps, keys))
		return false;
	m->is_private = ben_int(keys[INFO_PRIVATE], &v) && v != 0;
	return read_text(ps, keys[INFO_SOURCE], &m->source);
}

/* ---- the whole ---- */

static bool read_extras(struct parse *ps, const struct ben *keys)
{
	struct bt_meta *m = ps->m;
	bool utf8 = ben_type(keys[TOP_COMMENT_UTF8]) == BEN_STR;

	if (!urls_read(m, ps->a, keys[TOP_ANNOUNCE], keys[TOP_TIERS], keys[TOP_SEEDS]))
		return no_memory(ps);
	if (!ben_int(keys[TOP_DATE], &m->creation_date) || m->creation_date < 0)
		m->creation_date = 0;
	return read_text(ps, keys[utf8 ? TOP_COMMENT_UTF8 : TOP_COMMENT], &m->comment) &&
	       read_text(ps, keys[TOP_BY], &m->created_by);
}

static bool read_torrent(struct parse *ps, struct slice in)
{
	struct bt_meta *m = ps->m;
	struct ben keys[TOP_KEYS], top;
	struct ben_error e;
	struct slice info;
	uint32_t twice;
	ptrdiff_t n;
	char *copy;

	if (in.n > META_MAX_BYTES)
		return refuse(ps, "larger than %u MiB", META_MAX_BYTES >> 20);
	n = ben_check(in, &BEN_TORRENT, &top, NULL, &e);
	if (n < 0)
		return refuse(ps, "not a torrent: %s at byte %zu", e.what, e.off);
	/* line ends that an editor or a web server left are no harm */
	for (size_t i = (size_t)n; i < in.n; i++)
		if (!memchr(" \t\r\n", in.p[i], 4))
			return refuse(ps, "not a torrent: more bytes after the end, at byte %zu", i);
	if (ben_type(top) != BEN_DICT)
		return refuse(ps, "not a torrent: not a dictionary");
	twice = collect(top, top_keys, TOP_KEYS, keys);
	if (!is(ps, keys[TOP_INFO], BEN_DICT, "info"))
		return false;
	if (twice & 1u << TOP_INFO)
		return refuse(ps, "info: there are two");

	info = ben_raw(keys[TOP_INFO]);
	copy = arena_text(ps->a, info.n);
	if (!copy)
		return no_memory(ps);
	memcpy(copy, info.p, info.n);
	m->info = (const uint8_t *)copy;
	m->info_len = info.n;
	m->hash_len = SHA1_LEN;
	sha1(m->info, m->info_len, m->info_hash);
	return read_info(ps, (struct ben){ m->info, m->info + m->info_len }) && read_extras(ps, keys);
}

struct bt_meta *bt_meta_parse(const void *data, size_t len, char *err, size_t err_size)
{
	struct parse ps = { .a = arena_new(), .err = err, .err_size = err_size };
	bool ok;

	if (ps.a)
		ps.m = arena_take(ps.a, 1, sizeof(*ps.m));
	if (!ps.m) {
		no_memory(&ps);
		arena_free(ps.a);
		return NULL;
	}
	ps.m->arena = ps.a;
	buf_init(&ps.path, META_MAX_PATH);
	buf_init(&ps.link, META_MAX_PATH);
	ok = read_torrent(&ps, slice_of(data, len));
	buf_release(&ps.path);
	buf_release(&ps.link);
	if (ok)
		return ps.m;
	arena_free(ps.a);
	return NULL;
}

void bt_meta_free(struct bt_meta *m)
{
	if (m)
		arena_free(m->arena);
}

size_t meta_memory(const struct bt_meta *m)
{
	const struct arena *a = m->arena;

	return sizeof(*a) + a->bytes;
}
