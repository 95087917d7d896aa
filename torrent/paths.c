/* SPDX-License-Identifier: MIT */
/* paths.c - names from strangers made safe for a Linux disk: single elements,
 * the top name, links, and names that would meet each other on disk. The rules
 * for elements are libtorrent's, so that data written by other clients is found
 * again (test/vectors/paths.tsv). Where a file lands is guarded once more by
 * disk/files.c, which never follows a link. */
#include "torrent/arena.h"
#include "torrent/metainfo.h"

#include <stdio.h>
#include <stdlib.h>

#define ELEMENT_MAX 240u /* bytes; leaves room for ".12345678" below the file system's 255 */
#define EXT_MAX     10u  /* a longer last part is no extension; its dot counts */

/* ---- one element ---- */

enum verdict { KEEP, DROP, REPLACE };

static enum verdict judge(uint32_t code)
{
	if (code == '/' || code == '\\' || code == 0xfeff || utf8_is_bidi(code))
		return DROP;
	if (code == UTF8_BAD || code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
	    code == 0x2029)
		return REPLACE;
	return KEEP;
}

/* Writes at most max bytes of what is left of `in`; returns how many. A run of
 * bytes that are no UTF-8 becomes one '_', as it was one character or one word
 * in the encoding of its maker. */
static size_t clean(uint8_t *to, size_t max, struct slice in, bool *cut)
{
	struct cur c = cur_of(in);
	size_t n = 0;
	bool was_bad = false;

	*cut = false;
	while (cur_left(&c)) {
		const uint8_t *from = c.p;
		uint32_t code = utf8_next(&c);
		enum verdict v = judge(code);
		size_t len = v == KEEP ? (size_t)(c.p - from) : 1;

		if (v == DROP || (was_bad && code == UTF8_BAD))
			continue;
		if (len > max - n) {
			*cut = true;
			break;
		}
		was_bad = code == UTF8_BAD;
		if (v == KEEP)
			memcpy(to + n, from, len);
		else
			to[n] = '_';
		n += len;
	}
	return n;
}

/* From the last dot near the end; empty when there is none. */
static struct slice extension(struct slice s)
{
	for (size_t i = 1; i <= EXT_MAX && i < s.n; i++)
		if (s.p[s.n - i] == '.')
			return slice_of(s.p + s.n - i, i);
	return slice_of(NULL, 0);
}

static size_t element(uint8_t to[ELEMENT_MAX], struct slice in)
{
	uint8_t ext[EXT_MAX];
	const uint8_t *nul = in.n ? memchr(in.p, 0, in.n) : NULL;
	size_t n, ext_len;
	bool cut, ext_cut;

	/* behind a NUL there is nothing a C program ever saw as part of a name */
	if (nul)
		in.n = (size_t)(nul - in.p);
	n = clean(to, ELEMENT_MAX, in, &cut);
	if (cut) {
		ext_len = clean(ext, sizeof(ext), extension(in), &ext_cut);
		n = clean(to, ELEMENT_MAX - ext_len, in, &cut);
		memcpy(to + n, ext, ext_len);
		n += ext_len;
	}
	if (n == 0 || (n == 1 && to[0] == '.') || (n == 2 && to[0] == '.' && to[1] == '.')) {
		to[0] = '_';
		n = 1;
	}
	return n;
}

void path_element(struct buf *out, struct slice in)
{
	uint8_t name[ELEMENT_MAX];

	buf_put(out, name, element(name, in));
}

/* Whether a name in the download directory opens `.bt`, where the journals
 * live, on some file system: FAT and exFAT ignore case and trailing dots and
 * blanks, and FAT makes up short names like "BT~1". */
static bool is_state_dir(const uint8_t *p, size_t n)
{
	while (n > 1 && (p[n - 1] == '.' || p[n - 1] == ' '))
		n--;
	if (n >= 3 && (p[0] | 0x20) == 'b' && (p[1] | 0x20) == 't' && p[2] == '~')
		return true;
	return n == 3 && p[0] == '.' && (p[1] | 0x20) == 'b' && (p[2] | 0x20) == 't';
}

void path_top(struct buf *out, struct slice in)
{
	uint8_t name[ELEMENT_MAX];
	size_t n = element(name, in);

	if (is_state_dir(name, n))
		name[0] = '_';
	buf_put(out, name, n);
}

bool path_is_clean(const char *path)
{
	uint8_t name[ELEMENT_MAX];
	const char *end;
	size_t depth = 0;

	for (;; path = end + 1) {
		end = strchrnul(path, '/');
		if (++depth > META_MAX_DEPTH ||
		    !slice_eq(slice_of(name, element(name, slice_of(path, (size_t)(end - path)))),
			      slice_of(path, (size_t)(end - path))))
			return false;
		if (!*end)
			return true;
	}
}

/* ---- links ---- */

void path_link_text(struct buf *out, const char *link, const char *target)
{
	const char *slash;
	size_t start = out->n;

	/* what the link's directory and the target share needs no ".." */
	while ((slash = strchr(link, '/')) != NULL) {
		size_t n = (size_t)(slash - link);

		if (strncmp(link, target, n) != 0 || (target[n] != '/' && target[n] != 0))
			break;
		link = slash + 1;
		target += n;
		if (*target == '/')
			target++;
		else
			break;
	}
	for (; (slash = strchr(link, '/')) != NULL; link = slash + 1)
		buf_puts(out, "../");
	buf_puts(out, target);
	if (!*target && out->n > start)
		out->n--; /* "../" names a directory: ".." */
	else if (!*target)
		buf_puts(out, ".");
}

bool path_link_target(struct buf *out, const char *link, const char *text)
{
	const char *slash = strrchr(link, '/'), *end;
	size_t start = out->n;

	if (*text == '/')
		return false;
	if (slash)
		buf_put(out, link, (size_t)(slash - link));
	for (;; text = end + 1) {
		size_t n;

		end = strchrnul(text, '/');
		n = (size_t)(end - text);
		if (n == 2 && text[0] == '.' && text[1] == '.') {
			if (out->n == start)
				return false;
			while (out->n > start && out->p[out->n - 1] != '/')
				out->n--;
			if (out->n > start)
				out->n--;
		} else if (n > 1 || (n == 1 && text[0] != '.')) {
			if (out->n > start)
				buf_u8(out, '/');
			buf_put(out, text, n);
		}
		if (!*end)
			break;
	}
	return out->n > start && !out->failed;
}

/* ---- distinct names ---- */

/* Every directory and file path seen, as (file, length): a directory is the
 * beginning of the path of a file in it. The hash is a polynomial in a secret
 * random point modulo 2^31-1: universal, so no torrent can aim at it, and it
 * gives all prefixes of a path in one pass. Names chosen don't depend on it. */
struct seen_path {
	uint32_t hash;
	uint32_t file;
	uint32_t len;  /* 0 = free slot */
	uint32_t next; /* number to try next for copies of this name */
};
struct seen_set {
	struct seen_path *slots;
	size_t mask, used;
	uint32_t point, salt;
	const struct bt_file *files;
};

#define MERSENNE31 0x7fffffffu

static uint32_t hash_step(const struct seen_set *s, uint32_t h, uint8_t byte)
{
	uint64_t v = (uint64_t)h * s->point + byte + 1;

	v = (v & MERSENNE31) + (v >> 31);
	v = (v & MERSENNE31) + (v >> 31);
	return (uint32_t)v;
}

/* Equal sums stay equal; everything else is spread over the table. */
static size_t hash_slot(const struct seen_set *s, uint32_t h)
{
	h ^= s->salt;
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return (h ^ h >> 16) & s->mask;
}

/* The slot of this path, or the free one where it belongs. */
static struct seen_path *find(const struct seen_set *s, uint32_t hash, const char *path, size_t len)
{
	size_t i = hash_slot(s, hash);

	for (;; i = (i + 1) & s->mask) {
		struct seen_path *e = &s->slots[i];

		if (e->len == 0 ||
		    (e->hash == hash && e->len == len && memcmp(s->files[e->file].path, path, len) == 0))
			return e;
	}
}

static bool grow(struct seen_set *s)
{
	struct seen_set old = *s;

	if (old.slots && s->used < s->mask - s->mask / 4)
		return true;
	s->mask = old.slots ? old.mask * 2 + 1 : 1023;
	s->slots = alloc_array(s->mask + 1, sizeof(*s->slots));
	if (!s->slots) {
		*s = old;
		return false;
	}
	for (size_t i = 0; old.slots && i <= old.mask; i++) {
		struct seen_path *e = &old.slots[i];
		size_t to = hash_slot(s, e->hash);

		if (e->len == 0)
			continue;
		while (s->slots[to].len)
			to = (to + 1) & s->mask;
		s->slots[to] = *e;
	}
	free(old.slots);
	return true;
}

static bool insert(struct seen_set *s, struct seen_path *at, uint32_t hash, uint32_t file, size_t len)
{
	*at = (struct seen_path){ .hash = hash, .file = file, .len = (uint32_t)len, .next = 1 };
	s->used++;
	return grow(s);
}

static uint32_t hash_path(const struct seen_set *s, const char *path)
{
	uint32_t h = 0;

	for (; *path; path++)
		h = hash_step(s, h, (uint8_t)*path);
	return h;
}

/* Enters the directories above a file. */
static bool add_parents(struct seen_set *s, uint32_t file, const char *above)
{
	const char *path = s->files[file].path;
	uint32_t h = 0;
	size_t i, known = 0;

	/* files of one directory stand together: what this one shares with the
	 * file before it is in the set already */
	for (i = 0; above && path[i] && path[i] == above[i]; i++)
		if (path[i] == '/')
			known = i;
	for (i = 0; path[i]; i++) {
		if (path[i] == '/' && i > known) {
			struct seen_path *e = find(s, h, path, i);

			if (e->len == 0 && !insert(s, e, h, file, i))
				return false;
		}
		h = hash_step(s, h, (uint8_t)path[i]);
	}
	return true;
}

/* Gives a file whose name is taken the first free "name.N.ext". Each taken name
 * remembers the number it has come to, so a thousand equal names cost a
 * thousand tries, not half a million. */
static bool rename_file(struct seen_set *s, struct bt_meta *m, uint32_t file, struct arena *a)
{
	struct bt_file *f = &m->files[file];
	const char *base = strrchr(f->path, '/');
	size_t len = strlen(f->path), stem;
	struct slice ext;
	uint32_t hash, n;
	char *path;
	struct seen_path *taken = find(s, hash_path(s, f->path), f->path, len), *e;

	base = base ? base + 1 : f->path;
	ext = extension(slice_of(base, len - (size_t)(base - f->path)));
	stem = len - ext.n;
	path = arena_text(a, len + 12);
	if (!path)
		return false;
	for (n = taken->next;; n++) {
		snprintf(path, len + 12, "%.*s.%u%.*s", (int)stem, f->path, (unsigned)n, (int)ext.n,
			 f->path + stem);
		hash = hash_path(s, path);
		e = find(s, hash, path, strlen(path));
		if (e->len == 0)
			break;
	}
	taken->next = n + 1;
	f->path = path;
	return insert(s, e, hash, file, strlen(path));
}

bool paths_make_distinct(struct bt_meta *m, char *err, size_t err_size)
{
	struct seen_set s = { .files = m->files };
	const char *above = NULL;
	uint8_t *clash = alloc_array(bits_len(m->nfiles), 1);
	bool ok = clash && grow(&s);

	random_bytes(&s.point, sizeof(s.point));
	random_bytes(&s.salt, sizeof(s.salt));
	s.point = s.point % (MERSENNE31 - 1) + 1;

	/* Directories keep their names: a file in the way of one is renamed, a
	 * link too, so no link is ever a parent. Among files the first keeps its
	 * name, and files nobody clashes with keep theirs before copies choose. */
	for (uint32_t i = 0; ok && i < m->nfiles; i++) {
		if (m->files[i].attr & BT_FILE_PAD)
			continue;
		ok = add_parents(&s, i, above);
		above = m->files[i].path;
	}
	for (uint32_t i = 0; ok && i < m->nfiles; i++) {
		const char *path = m->files[i].path;
		uint32_t hash;
		struct seen_path *e;

		if (m->files[i].attr & BT_FILE_PAD)
			continue;
		hash = hash_path(&s, path);
		e = find(&s, hash, path, strlen(path));
		if (e->len)
			bit_set(clash, i);
		else
			ok = insert(&s, e, hash, i, strlen(path));
	}
	for (uint32_t i = 0; ok && i < m->nfiles; i++)
		if (bit_get(clash, i))
			ok = rename_file(&s, m, i, m->arena);
	free(s.slots);
	free(clash);
	if (!ok)
		snprintf(err, err_size, "out of memory");
	return ok;
}
