/* SPDX-License-Identifier: MIT */
/* scan.h - reading a person's files to make a torrent of them: the walk that
 * lists them and the hasher that reads them once. Synchronous; made for
 * bt_publish. Errors: false, with one line in err that names the file. */
#ifndef BT_SCAN_H
#define BT_SCAN_H

#include "base/base.h"
#include "sha1.h"

/* ---- scan.c ---- */

enum scan_kind {
	SCAN_FILE,
	SCAN_LINK_FILE, /* symbolic links, by what they lead to */
	SCAN_LINK_DIR,
	SCAN_LINK_NOWHERE, /* nothing is there, or it can't be reached, or no file or directory */
};

struct scan_file {
	char *open;         /* as open(2) takes it; owned */
	const char *path;   /* below the torrent's name, '/'-joined; inside `open`; "" = it is the torrent */
	char *target;       /* text of a link, else NULL; owned */
	enum scan_kind kind;
	bool exec;          /* its owner may run it */
	uint64_t len;       /* of a file or what SCAN_LINK_FILE leads to, else 0 */
	int64_t mtime_ns;   /* of the same */
};

struct scan {
	struct scan_file *files; /* sorted by path, element by element, bytewise */
	size_t n, cap;
	bool single; /* one path was given, and it is a file */
};

/* Each thing that is left out: neither file, directory nor link. */
typedef void scan_skip_fn(void *arg, const char *path, const char *why);

/* Lists the files below the given paths. One directory: paths are relative to
 * it. Several paths: each one's last element comes first. The paths themselves
 * may be links, below them none is followed. Hidden and empty files are listed,
 * empty directories are not: no torrent can hold them. Release in any case. */
bool scan_paths(struct scan *, const char *const *paths, size_t n, scan_skip_fn *, void *arg, char *err,
		size_t err_size) BT_MUST_USE;
void scan_release(struct scan *);
/* The order of the list: '/' before every other byte. */
int scan_compare(const char *a, const char *b);
/* "path: why" into err, safe for a terminal; false. */
bool scan_error(char *err, size_t err_size, const char *path, const char *why);

/* ---- hash.c ---- */

/* One run of the torrent's bytes. */
struct hash_part {
	const char *open; /* NULL: zeros */
	uint64_t len;
	int64_t mtime_ns;
};

struct hash_job {
	const struct hash_part *parts;
	size_t nparts;
	uint64_t size;      /* sum of their lengths, > 0 */
	uint64_t piece_len; /* a multiple of 64 */
	bool (*on_progress)(void *arg, uint64_t done, uint64_t total); /* 10 times per second; false = stop */
	void *arg;
};
/* Fills 20 bytes per piece. A file that isn't as long or as old as its part says,
 * before or after it was read, is an error. */
bool hash_parts(const struct hash_job *, uint8_t *hashes, char *err, size_t err_size) BT_MUST_USE;

#endif
