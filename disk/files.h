/* SPDX-License-Identifier: MIT */
/* files.h - the files of one torrent below one directory, for the keeper:
 * plain synchronous calls that may block. Every path is opened below a held
 * directory descriptor and never through a symbolic link (openat2 RESOLVE_*,
 * or a walk with O_NOFOLLOW), so nothing lands outside and an unmounted disk is
 * never recreated. At most FILES_OPEN_MAX descriptors for all torrents, least
 * recently used closed first (synced before, when written to). 0 or -errno;
 * after an error files_culprit() names the file. */
#ifndef BT_FILES_H
#define BT_FILES_H

#include "disk/disk.h"
#include <sys/uio.h>

#define FILES_OPEN_MAX 64

struct files;
struct files_cache; /* the open descriptors, shared by all torrents of a keeper */

struct files_cache *files_cache_new(void) BT_MUST_USE;
void files_cache_free(struct files_cache *); /* after its last files_free */

struct files_opts {
	const char *dir;
	const struct store_file *files; /* borrowed for the life of the object */
	uint32_t nfiles;
	bool read_only;
	enum disk_alloc alloc;
};
/* Opens (creates unless read_only, one level or more) the directory. It may be
 * reached through symbolic links; below it none is followed (-ELOOP). */
int files_new(struct files **, struct files_cache *, const struct files_opts *) BT_MUST_USE;
/* Closes its descriptors. Call files_sync before: errors are not seen here. */
void files_free(struct files *);
int files_dirfd(const struct files *);
const char *files_culprit(const struct files *); /* path below dir, "" when unknown */

/* Bytes of the torrent's range, over file boundaries; pad files and symbolic
 * links swallow writes and read as zeros. Missing parents are made, and the file
 * too unless it was there before: then -ENOENT, as what it held is gone. -ESTALE:
 * it is another file than before, or shorter. Whole or error; -EINVAL outside
 * the torrent. Space is allocated before the first write to a file: DISK_ALLOC_AUTO
 * gives the whole of it on ext4, xfs, btrfs, f2fs and a hole of that length
 * elsewhere, FULL the whole where the file system can, SPARSE a hole. A failed
 * allocation is given back. A file longer than in the torrent stays as it is. */
int files_write(struct files *, uint64_t off, const struct iovec *iov, int iovcnt) BT_MUST_USE;
/* A missing file is -ENOENT, a short one -ENODATA. */
int files_read(struct files *, uint64_t off, void *p, size_t n) BT_MUST_USE;
/* Has [off, off+n) in the kernel's cache when it returns; blocks for that long. */
int files_load(struct files *, uint64_t off, size_t n) BT_MUST_USE;
/* A descriptor owned by the cache, for reading or for both; good until the next
 * call here. What is written through it directly the caller syncs itself. */
int files_fd(struct files *, uint32_t file, bool write) BT_MUST_USE;
/* Allocates [off, off+n) of one file really (for a mapping), cut at its end;
 * -EOPNOTSUPP = use the pool. */
int files_reserve(struct files *, uint32_t file, uint64_t off, uint64_t n) BT_MUST_USE;
/* True when mapping this file for writing is sound and fast (ext4, xfs, f2fs,
 * tmpfs). A guess from the directory while the file is not open: files_reserve knows. */
bool files_can_map(struct files *, uint32_t file);
uint32_t files_at(const struct files *, uint64_t off); /* file that holds the byte, O(log n) */
/* Could [off, off+n) hold written data? false = all holes, missing or beyond the
 * end. A hole may still be right: the torrent may have zeros there. */
bool files_has_data(struct files *, uint64_t off, uint64_t n);

/* Early write-out of what was written since (sync_file_range), does not wait for the disk's cache. */
void files_start_writeout(struct files *);
/* fdatasync of every file written since the last call, and of directories with
 * new names in them. An error is told once, also one met when a descriptor had
 * to be closed earlier; then nothing written since the last success is sure. */
int files_sync(struct files *) BT_MUST_USE;
uint64_t files_dirty(const struct files *); /* bytes written since files_sync */
/* -ESTALE when an open file was deleted, replaced or truncated behind our back. */
int files_verify_open(struct files *) BT_MUST_USE;
/* Creates empty files, symbolic links, sets executable bits: at completion, for
 * wanted files. Goes on after an error and returns the first. files_sync after it. */
int files_finish(struct files *) BT_MUST_USE;

/* Size and time of change, for "has it been touched since": 0 size and time when absent. */
struct file_stamp {
	uint64_t len;
	int64_t mtime_ns;
};
struct file_stamp files_stamp(struct files *, uint32_t file);
/* The same by name, and remembered: what is there now is what we know. files_sync
 * does this for files that were written by us since. */
struct file_stamp files_know(struct files *, uint32_t file);
/* Somebody else has deleted, replaced, cut or changed it since. While our own
 * writes are not synced a mere change can't be told from them: then false. */
bool files_touched(struct files *, uint32_t file);
/* Here a file's time only moves when somebody writes: on local file systems. FAT
 * and network ones round and correct it later. */
bool files_times_tell(const struct files *);
/* [off, off+n) of the torrent's range was written by us, though not by files_write. */
void files_wrote(struct files *, uint64_t off, uint64_t n);

#endif
