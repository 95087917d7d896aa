/* SPDX-License-Identifier: MIT */
/* create.c - the writer of .torrent files (BEP 3, 12, 19, 27, 47): canonical
 * bencode, every dictionary's keys in order as they stand below. It knows
 * nothing of disks; swarm/publish.c brings names, sizes and hashes. */
#include "torrent/metainfo.h"
#include "bencode.h"
#include "sha1.h"

static void put_text(struct buf *b, const char *key, const char *text)
{
	if (!text)
		return;
	ben_put_str(b, key);
	ben_put_str(b, text);
}

static void put_attr(struct buf *b, uint32_t attr)
{
	char text[5], *p = text;

	if (attr & BT_FILE_HIDDEN)
		*p++ = 'h';
	if (attr & BT_FILE_SYMLINK)
		*p++ = 'l';
	if (attr & BT_FILE_PAD)
		*p++ = 'p';
	if (attr & BT_FILE_EXEC)
		*p++ = 'x';
	*p = 0;
	if (p > text)
		put_text(b, "attr", text);
}

static void put_int(struct buf *b, const char *key, uint64_t v)
{
	ben_put_str(b, key);
	ben_put_int(b, (int64_t)v);
}

/* A '/'-joined path as the list that BEP 3 wants. */
static void put_path(struct buf *b, const char *key, const char *path)
{
	const char *end;

	ben_put_str(b, key);
	ben_open_list(b);
	for (;; path = end + 1) {
		end = strchrnul(path, '/');
		ben_put_bytes(b, path, (size_t)(end - path));
		if (!*end)
			break;
	}
	ben_close(b);
}

static void put_file(struct buf *b, const struct create_file *f)
{
	ben_open_dict(b);
	put_attr(b, f->attr | (f->target ? BT_FILE_SYMLINK : 0));
	put_int(b, "length", f->len);
	put_path(b, "path", f->path);
	if (f->target) {
		struct buf target;

		buf_init(&target, META_MAX_PATH);
		if (path_link_target(&target, f->path, f->target))
			buf_u8(&target, 0);
		else
			target.failed = true;
		if (target.failed)
			b->failed = true;
		else
			put_path(b, "symlink path", (const char *)target.p);
		buf_release(&target);
	}
	ben_close(b);
}

static void put_info(struct buf *b, const struct create *c)
{
	ben_open_dict(b);
	if (c->single_file) {
		put_attr(b, c->files[0].attr);
		put_int(b, "length", c->files[0].len);
	} else {
		ben_put_str(b, "files");
		ben_open_list(b);
		for (size_t i = 0; i < c->nfiles; i++)
			put_file(b, &c->files[i]);
		ben_close(b);
	}
	put_text(b, "name", c->name);
	put_int(b, "piece length", c->piece_len);
	ben_put_str(b, "pieces");
	ben_put_bytes(b, c->hashes, (size_t)c->pieces * SHA1_LEN);
	if (c->is_private)
		put_int(b, "private", 1);
	put_text(b, "source", c->source);
	ben_close(b);
}

void create_encode(struct buf *b, const struct create *c)
{
	ben_open_dict(b);
	if (c->ntrackers)
		put_text(b, "announce", c->trackers[0]);
	if (c->ntrackers > 1) {
		ben_put_str(b, "announce-list");
		ben_open_list(b);
		for (size_t i = 0; i < c->ntrackers; i++) {
			ben_open_list(b);
			ben_put_str(b, c->trackers[i]);
			ben_close(b);
		}
		ben_close(b);
	}
	put_text(b, "comment", c->comment);
	put_text(b, "created by", c->created_by);
	if (c->date)
		put_int(b, "creation date", (uint64_t)c->date);
	ben_put_str(b, "info");
	put_info(b, c);
	if (c->nweb_seeds == 1)
		put_text(b, "url-list", c->web_seeds[0]);
	if (c->nweb_seeds > 1) {
		ben_put_str(b, "url-list");
		ben_open_list(b);
		for (size_t i = 0; i < c->nweb_seeds; i++)
			ben_put_str(b, c->web_seeds[i]);
		ben_close(b);
	}
	ben_close(b);
}

uint64_t create_piece_len(uint64_t total)
{
	uint64_t len = 16384;

	while (total / len >= 2048 && len < 16u << 20)
		len *= 2;
	while (total / len >= META_MAX_PIECES)
		len *= 2;
	return len;
}
