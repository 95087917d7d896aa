/* SPDX-License-Identifier: MIT */
/* space.h - what a file system can do, and room in a file before bytes go there. */
#ifndef BT_SPACE_H
#define BT_SPACE_H

#include "disk/disk.h"
#include <sys/stat.h>

struct fs_traits {
	bool allocates; /* fallocate of a whole file is quick and means what it says */
	bool maps;      /* a mapping for writing is sound and fast */
	bool stable_ids; /* a file keeps its inode number while nobody has it open */
};
struct fs_traits space_traits(int fd);

/* Gives a file that is shorter than len its place, as the policy says; st is its
 * state now. A longer file stays as it is. After an error the file has the size
 * it had before. */
int space_lay_out(int fd, const struct stat *st, uint64_t len, enum disk_alloc) BT_MUST_USE;
/* Real blocks under [off, off+n); the file grows when that is behind its end. */
int space_reserve(int fd, const struct stat *st, uint64_t off, uint64_t n) BT_MUST_USE;

#endif
