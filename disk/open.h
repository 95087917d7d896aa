/* SPDX-License-Identifier: MIT */
/* open.h - private to files.c and open.c: the torrent's files that are open now.
 * All that must be remembered about an open file is in its entry; a file that
 * isn't open has one byte, an identity and a stamp, so 100,000 files cost 900 KB. */
#ifndef BT_OPEN_H
#define BT_OPEN_H

#include "disk/files.h"
#include "disk/path.h"
#include "disk/space.h"

struct open_file {
	struct list lru; /* in cache->used, most recently used first, or in cache->spare */
	struct files *owner; /* NULL = not open */
	uint32_t file;
	int fd;
	bool writable;
	bool dirty;    /* written since it was last synced */
	bool maps;     /* fs_traits of where it lives */
	dev_t dev;
	ino_t ino;
	uint64_t size;   /* it was at least this long when last looked at */
	uint64_t lo, hi; /* written, write-out not started; none when lo >= hi */
};

struct files_dir { /* one directory, held open for all torrents in it */
	struct list on_dirs;
	int fd;
	dev_t dev;
	ino_t ino;
	unsigned users;
};

struct files_cache {
	struct list dirs;
	struct list used, spare;
	struct open_file entry[FILES_OPEN_MAX];
};

enum {
	FILE_SEEN = 1,   /* it was there once: must not be made anew */
	FILE_PLACED = 2, /* laid out for writing, so as long as it will ever be */
	FILE_LINKED = 4, /* its name is new, the directory is not synced yet */
	FILE_PARENTS = 8, /* and so are directories on the way to it */
	FILE_UNSYNCED = 16, /* closed while it was dirty: files_sync has it to do */
	FILE_WRITTEN = 32, /* by us, since its stamp was taken */
};

#define NO_FILE UINT32_MAX

struct files {
	struct files_cache *cache;
	struct files_dir *held;
	struct beneath dir; /* its descriptor */
	const struct store_file *table;
	uint32_t n;
	uint8_t *flags;  /* one per file */
	uint32_t *id;    /* device and inode, folded; meaningful with FILE_SEEN; 0 = unknown */
	uint32_t *stamp; /* size and time when it was last known to be ours, folded; 0 = unknown */
	dev_t dev;       /* of the directory */
	struct fs_traits fs; /* of dev */
	bool read_only;
	enum disk_alloc alloc;
	uint32_t culprit;
	uint64_t dirty;  /* bytes since files_sync */
	uint32_t unsynced; /* files with FILE_UNSYNCED */
	int lost;        /* first error of syncing a file of another volume that had to be closed */
	uint32_t lost_file;
	uint32_t linked_lo, linked_hi; /* FILE_LINKED is set at most in [lo, hi) */
};

/* The file's entry, opened when need be, for writing with everything that goes
 * before a first write: parents, creation, layout. Stays until the next call. */
int open_get(struct files *, uint32_t file, bool write, struct open_file **) BT_MUST_USE;
struct open_file *open_find(struct files *, uint32_t file); /* NULL when it isn't open */
/* The torrent's directory, for its life; sets dir, dev and fs. */
int open_hold_dir(struct files *, const char *dir, bool create) BT_MUST_USE;
void open_let_dir_go(struct files *);
int open_sync(struct open_file *) BT_MUST_USE; /* clean afterwards in any case */
void open_start_writeout(struct open_file *);
int open_sync_closed(struct files *, uint32_t file) BT_MUST_USE; /* one with FILE_UNSYNCED, cleared in any case */
void open_close(struct open_file *); /* dirty: write-out begins, FILE_UNSYNCED is set */
bool open_evict(struct files_cache *); /* closes the least recently used; false = none open */
/* path_parent for a file that is to be made; a made directory counts in *made. */
int open_parent(struct files *, uint32_t file, const char **last, unsigned *made) BT_MUST_USE;
void open_note_linked(struct files *, uint32_t file, unsigned parents_made);
/* The k-th open file of this torrent in no order; NULL is a gap. For walks that may close some. */
static inline struct open_file *open_nth(struct files *f, size_t k)
{
	return f->cache->entry[k].owner == f ? &f->cache->entry[k] : NULL;
}
/* Is it another file than the one that was seen? st as its state by name. */
bool open_replaced(const struct files *, uint32_t file, const struct stat *st);
/* From now on this one counts as seen. */
void open_note_seen(struct files *, uint32_t file, const struct stat *st);
/* A file's state by its name, open or not; -ENOENT, -ELOOP... */
int open_stat(struct files *, uint32_t file, struct stat *) BT_MUST_USE;

#endif
