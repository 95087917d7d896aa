/* SPDX-License-Identifier: MIT */
/* metainfo.h - .torrent files (BEP 3, 12, 19, 27, 47): the reader behind
 * bt_meta_* (declared in bt.h), safe paths, and the writer that publish.c uses.
 * No file access. */
#ifndef BT_METAINFO_H
#define BT_METAINFO_H

#include "base/base.h"
#include "bt.h"

#define META_MAX_BYTES (64u << 20)  /* a .torrent; 2 million pieces are 40 MB */
#define META_MAX_PIECES 0x200000u
#define META_MAX_PIECE_LEN (32767ull * 16384)
#define META_MAX_DEPTH 100          /* directories */

/* ---- paths.c: names from strangers made safe for a Linux disk ---- */

/* One path element as test/vectors/paths.tsv shows: separators and control bytes
 * removed or replaced, invalid UTF-8 replaced, "." and ".." and empty become "_",
 * at most 240 bytes with the extension kept. Appends to out. */
void path_element(struct buf *out, struct slice element);
/* Makes the paths of m's files distinct and free of file/directory clashes by
 * adding ".1", ".2".. before the extension; O(total bytes) with a hash set. false = no memory. */
bool paths_make_distinct(struct bt_meta *m, char *err, size_t err_size);

/* ---- create.c: the writer ---- */

struct create_file {
	const char *path; /* '/'-joined below name; "" for a single file */
	const char *target; /* symbolic link or NULL */
	uint64_t len;
	uint32_t attr;
};
struct create {
	const char *name;
	const struct create_file *files; /* in order; pad files included by the caller */
	size_t nfiles;
	bool single_file;
	uint64_t piece_len;
	const uint8_t *hashes;
	uint32_t pieces;
	const char *const *trackers;
	size_t ntrackers;
	const char *const *web_seeds;
	size_t nweb_seeds;
	const char *comment, *source, *created_by;
	int64_t date;
	bool is_private;
};
/* Canonical bencode appended to out. */
void create_encode(struct buf *out, const struct create *);
/* A power of two from 16 KiB to 16 MiB giving about 1,000-2,000 pieces. */
uint64_t create_piece_len(uint64_t total);

#endif
