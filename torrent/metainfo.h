/* SPDX-License-Identifier: MIT */
/* metainfo.h - .torrent files (BEP 3, 12, 19, 27, 47): the reader behind
 * bt_meta_* (declared in bt.h), safe paths, and the writer that publish.c uses.
 * No file access.
 *
 * Memory. A bt_meta is one arena: one copy of the info dictionary (the hashes
 * stay inside it) and, per file, a struct bt_file and the path: 41 bytes beyond
 * the path's own on 64-bit, 33 on 32-bit. Measured: 100,000 files in 10,000
 * directories, a .torrent of 7.4 MB holding 2.6 MB of paths, take 14.2 MB, and
 * 4 MB more while names are made distinct; 2,097,152 pieces in 41.94 MB take
 * 41.95 MB. The unit test allows 64 bytes per file. */
#ifndef BT_METAINFO_H
#define BT_METAINFO_H

#include "base/base.h"
#include "bt.h"

#define META_MAX_BYTES (64u << 20)  /* a .torrent; 2 million pieces are 40 MB */
#define META_MAX_PIECES 0x200000u
#define META_MAX_PIECE_LEN (32767ull * 16384)
#define META_MAX_DEPTH 100          /* elements of a path below the name */
#define META_MAX_PATH 4000u         /* bytes of a path, so that it stays below PATH_MAX when renamed */
#define META_MAX_URLS 1000u         /* trackers, and web seeds; more are left out */
#define META_MAX_URL 4096u          /* bytes; a longer one is left out */

size_t meta_memory(const struct bt_meta *); /* bytes taken from malloc for it */

/* ---- paths.c: names from strangers made safe for a Linux disk ---- */

/* One path element as test/vectors/paths.tsv shows. Separators, bidi marks and
 * U+FEFF are dropped; control characters and U+2028/9 become '_', a run of
 * bytes that are no UTF-8 one '_'; a NUL ends the name. What is then empty, "."
 * or ".." becomes "_". At most 240 bytes with the extension kept, cut between
 * characters. ':' and names Windows reserves stay: Linux file systems take
 * them. Appends to out. */
void path_element(struct buf *out, struct slice element);
/* The same for the torrent's name, which stands in the download directory: what
 * would open `.bt`, the journals' directory, gets another first letter. */
void path_top(struct buf *out, struct slice name);
/* Whether a '/'-joined path comes back from bt_meta_parse as it is: publish
 * should warn of others, since no bt would find such a file again. */
bool path_is_clean(const char *path);

/* Links. `link` and `target` are '/'-joined paths below the torrent's top
 * directory, as `path` and `symlink path` of BEP 47; `text` is what readlink gives.
 * path_link_text appends the shortest relative text. path_link_target appends
 * the target again, "." and ".." resolved by name; false when the text is
 * absolute or leaves the top directory (or names itself that): then no torrent
 * can express the link. A failed buffer is left to the caller to ask for. */
void path_link_text(struct buf *out, const char *link, const char *target);
bool path_link_target(struct buf *out, const char *link, const char *text) BT_MUST_USE;

/* Makes the paths of m's files distinct and free of file/directory clashes by
 * adding ".1", ".2".. before the extension; O(total bytes) with a hash set that
 * is gone afterwards (22 to 43 bytes for each file and directory). Pad files are
 * left out: they are never on disk, and all of them may be called alike. A link
 * is a file here, so it never is a parent. false = no memory. */
bool paths_make_distinct(struct bt_meta *m, char *err, size_t err_size) BT_MUST_USE;

/* ---- create.c: the writer ---- */

struct create_file {
	const char *path; /* '/'-joined below name; "" for a single file */
	const char *target; /* symbolic link: its text, as readlink gives and bt_file has it; or NULL */
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
/* Canonical bencode appended to out. A link whose target path_link_target can't
 * tell, and memory, end in out->failed. */
void create_encode(struct buf *out, const struct create *);
/* A power of two from 16 KiB to 16 MiB giving about 1,000-2,000 pieces; larger
 * only where META_MAX_PIECES of 16 MiB (32 TiB) don't suffice. */
uint64_t create_piece_len(uint64_t total);

#endif
