/* SPDX-License-Identifier: MIT */
/* publish.c - making a torrent (BEP 3, 47): the files that disk/scan.c finds,
 * hashed by disk/hash.c, written by torrent/create.c. Here it is decided what
 * becomes of links, where padding goes and how long pieces are. Blocking; nothing
 * of a running client is touched. Start at bt_publish(). */
#include "bt.h"
#include "disk/scan.h"
#include "torrent/metainfo.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct publish {
	const struct bt_publish *in;
	struct scan scan;
	char *name;
	uint64_t size, piece_len;
	struct create_file *files; /* with padding */
	struct hash_part *parts;   /* those of them that have bytes */
	size_t nfiles, nparts;
	char (*pad_names)[32];
	char *err;
	size_t err_size;
};

static bool fail(struct publish *p, const char *why)
{
	snprintf(p->err, p->err_size, "%s", why);
	return false;
}

static void on_skip(void *arg, const char *path, const char *why)
{
	struct publish *p = arg;
	char line[512];

	scan_error(line, sizeof(line), path, why);
	if (p->in->on_warning)
		p->in->on_warning(p->in->arg, line);
}

/* ---- the torrent's name ---- */

/* The last element of where a path really is ("." has one too), as malloc'd text. */
static char *last_name(const char *path)
{
	char *full = realpath(path, NULL), *name = NULL;

	if (full && strrchr(full, '/')[1])
		name = strdup(strrchr(full, '/') + 1);
	free(full);
	return name;
}

/* Several paths share a parent, or there is no name to be had from them. */
static char *parent_name(const char *const *paths, size_t n)
{
	char *parent = NULL, *other = NULL, *name = NULL;
	bool same = true;

	for (size_t i = 0; same && i < n; i++) {
		char *full = realpath(paths[i], NULL);

		if (!full)
			break;
		*strrchr(full, '/') = 0;
		if (!parent) {
			parent = full;
			continue;
		}
		other = full;
		same = strcmp(parent, other) == 0;
		free(other);
	}
	if (same && parent && *parent)
		name = strdup(strrchr(parent, '/') + 1);
	free(parent);
	return name;
}

static bool choose_name(struct publish *p)
{
	const struct bt_publish *in = p->in;
	struct buf top;
	bool clean;

	if (in->name)
		p->name = strdup(in->name);
	else
		p->name = in->npaths == 1 ? last_name(in->paths[0]) : parent_name(in->paths, in->npaths);
	if (!p->name || !*p->name)
		return fail(p, in->npaths == 1 ? "the path gives no name: choose one" :
						 "the paths share no directory: choose a name");
	if (strchr(p->name, '/') || strcmp(p->name, ".") == 0 || strcmp(p->name, "..") == 0)
		return scan_error(p->err, p->err_size, p->name, "can't be the name of a torrent");
	buf_init(&top, 1024);
	path_top(&top, slice_str(p->name));
	clean = !top.failed && slice_is(slice_of(top.p, top.n), p->name);
	buf_release(&top);
	if (!clean)
		on_skip(p, p->name, "the receiver will give it another name");
	return true;
}

/* ---- links ---- */

static bool starts_with(const char *path, const char *dir, size_t n)
{
	return strncmp(path, dir, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* The first of the sorted files that is `path` or lies below it. */
static const struct scan_file *find(const struct scan *s, const char *path)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (scan_compare(s->files[mid].path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n && starts_with(s->files[lo].path, path, strlen(path)) ? &s->files[lo] : NULL;
}

/* Do a link and the name found for it, resolved by text only, lead to the same
 * thing? Not if there is a link on the way, or if two of the paths given stand
 * side by side in the torrent only. */
static bool same_thing(const struct scan_file *link, const struct scan_file *at, size_t name_len)
{
	struct stat a, b;
	char *path = strdup(at->open);
	bool same;

	if (!path)
		return false;
	path[(size_t)(at->path - at->open) + name_len] = 0;
	same = stat(link->open, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
	free(path);
	return same;
}

#define OUTSIDE SIZE_MAX

/* The number of the file that the link's target is or holds. */
static size_t leads_to(const struct publish *p, const struct scan_file *f)
{
	const struct scan_file *at = NULL;
	struct buf to;

	buf_init(&to, META_MAX_PATH);
	if (f->kind != SCAN_LINK_NOWHERE && path_link_target(&to, f->path, f->target)) {
		buf_u8(&to, 0);
		at = to.failed ? NULL : find(&p->scan, (const char *)to.p);
		if (at && !same_thing(f, at, to.n - 1))
			at = NULL;
	}
	buf_release(&to);
	return at ? (size_t)(at - p->scan.files) : OUTSIDE;
}

static bool left_out(const struct scan_file *f, size_t to)
{
	return f->target && to == OUTSIDE && f->kind != SCAN_LINK_FILE;
}

/* Drops links that can't be told, turns those that lead outside into files. */
static bool settle_links(struct publish *p)
{
	struct scan *s = &p->scan;
	size_t *to = alloc_array(s->n, sizeof(*to)), n = 0;
	bool again = true;

	if (!to)
		return fail(p, "out of memory");
	for (size_t i = 0; i < s->n; i++)
		to[i] = s->files[i].target ? leads_to(p, &s->files[i]) : OUTSIDE;
	/* A link to a link that is left out goes too. The kernel follows 40 at most. */
	while (again) {
		again = false;
		for (size_t i = 0; i < s->n; i++) {
			if (to[i] != OUTSIDE && left_out(&s->files[to[i]], to[to[i]])) {
				to[i] = OUTSIDE;
				again = true;
			}
		}
	}
	for (size_t i = 0; i < s->n; i++) {
		struct scan_file *f = &s->files[i];

		if (left_out(f, to[i])) {
			on_skip(p, f->open, f->kind == SCAN_LINK_DIR ? "left out: a link to a directory elsewhere" :
								       "left out: a link that leads to no file");
			free(f->open);
			free(f->target);
			continue;
		}
		if (f->target && to[i] != OUTSIDE) {
			f->len = 0;
		} else {
			free(f->target);
			f->target = NULL;
		}
		s->files[n++] = *f;
	}
	s->n = n;
	free(to);
	return true;
}

/* ---- sizes ---- */

static bool choose_piece_len(struct publish *p)
{
	uint64_t size = 0;

	for (size_t i = 0; i < p->scan.n; i++) {
		if (p->scan.files[i].len > INT64_MAX - size)
			return fail(p, "more bytes than a torrent can count");
		size += p->scan.files[i].len;
	}
	if (size == 0)
		return fail(p, p->scan.n == 0 ? "no files there" : "all files are empty");
	p->piece_len = p->in->piece_len ? p->in->piece_len : create_piece_len(size);
	if (p->piece_len < 16384 || p->piece_len > META_MAX_PIECE_LEN || p->piece_len & (p->piece_len - 1))
		return fail(p, "the piece length is no power of two from 16 KiB to 256 MiB");
	return true;
}

/* Padding up to the next piece, so that the next file begins with one. */
static void add_pad(struct publish *p, uint64_t len)
{
	char *name = p->pad_names[p->nfiles];

	snprintf(name, sizeof(*p->pad_names), ".pad/%" PRIu64, len);
	p->files[p->nfiles++] = (struct create_file){ .path = name, .len = len, .attr = BT_FILE_PAD };
	p->parts[p->nparts++] = (struct hash_part){ .len = len };
	p->size += len;
}

static bool lay_out(struct publish *p)
{
	const struct scan *s = &p->scan;
	size_t most = s->n * (p->in->pad_files ? 2 : 1);

	p->files = alloc_array(most, sizeof(*p->files));
	p->parts = alloc_array(most, sizeof(*p->parts));
	p->pad_names = p->in->pad_files ? alloc_array(most, sizeof(*p->pad_names)) : NULL;
	if (!p->files || !p->parts || (p->in->pad_files && !p->pad_names))
		return fail(p, "out of memory");
	for (size_t i = 0; i < s->n; i++) {
		const struct scan_file *f = &s->files[i];
		uint64_t over = p->size % p->piece_len;

		if (over > 0 && f->len > 0 && p->in->pad_files)
			add_pad(p, p->piece_len - over);
		if (!s->single && !path_is_clean(f->path))
			on_skip(p, f->open, "the receiver will give it another name");
		p->files[p->nfiles++] = (struct create_file){
			.path = f->path, .target = f->target, .len = f->len, .attr = f->exec && !f->target ? BT_FILE_EXEC : 0,
		};
		if (f->len > 0)
			p->parts[p->nparts++] = (struct hash_part){ f->open, f->len, f->mtime_ns };
		p->size += f->len;
	}
	if ((p->size + p->piece_len - 1) / p->piece_len > META_MAX_PIECES)
		return fail(p, "more pieces than other clients take: choose a larger piece length");
	return true;
}

/* ---- all of it ---- */

static uint8_t *encode(struct publish *p, const uint8_t *hashes, uint32_t pieces, size_t *len)
{
	const struct bt_publish *in = p->in;
	struct create c = {
		.name = p->name,
		.files = p->files,
		.nfiles = p->nfiles,
		.single_file = p->scan.single,
		.piece_len = p->piece_len,
		.hashes = hashes,
		.pieces = pieces,
		.trackers = in->trackers,
		.ntrackers = in->ntrackers,
		.web_seeds = in->web_seeds,
		.nweb_seeds = in->nweb_seeds,
		.comment = in->comment,
		.source = in->source,
		.created_by = "bt/" BT_VERSION,
		.date = in->date,
		.is_private = in->is_private,
	};
	struct buf out;

	buf_init(&out, META_MAX_BYTES);
	create_encode(&out, &c);
	if (out.failed) {
		buf_release(&out);
		fail(p, "the torrent file would be larger than 64 MiB");
		return NULL;
	}
	*len = out.n;
	return out.p;
}

uint8_t *bt_publish(const struct bt_publish *in, size_t *len, char *err, size_t err_size)
{
	struct publish p = { .in = in, .err = err, .err_size = err_size };
	struct hash_job job = { .on_progress = in->on_progress, .arg = in->arg };
	uint8_t *hashes = NULL, *out = NULL;
	uint64_t pieces;

	*len = 0;
	if (in->npaths == 0) {
		fail(&p, "no path given");
		return NULL;
	}
	if (!scan_paths(&p.scan, in->paths, in->npaths, on_skip, &p, err, err_size) || !choose_name(&p) ||
	    !settle_links(&p) || !choose_piece_len(&p) || !lay_out(&p))
		goto out;
	pieces = (p.size + p.piece_len - 1) / p.piece_len;
	hashes = alloc_array((size_t)pieces, SHA1_LEN);
	if (!hashes) {
		fail(&p, "out of memory");
		goto out;
	}
	job.parts = p.parts;
	job.nparts = p.nparts;
	job.size = p.size;
	job.piece_len = p.piece_len;
	if (hash_parts(&job, hashes, err, err_size))
		out = encode(&p, hashes, (uint32_t)pieces, len);
out:
	free(hashes);
	free(p.files);
	free(p.parts);
	free(p.pad_names);
	free(p.name);
	scan_release(&p.scan);
	return out;
}
