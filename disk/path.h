/* SPDX-License-Identifier: MIT */
/* path.h - opening names below a held directory and nowhere else. Paths are
 * relative, '/'-joined; an element that is empty, "." or ".." is refused with
 * -EINVAL, a symbolic link anywhere on the way with -ELOOP. All descriptors are
 * close-on-exec. Descriptor or -errno. */
#ifndef BT_PATH_H
#define BT_PATH_H

#include "base/base.h"
#include <sys/types.h>

struct beneath {
	int dirfd;
	bool walk; /* this kernel or sandbox has no openat2: learned by trying */
};

/* The directory itself may be reached through symbolic links: its name comes
 * from the user. With create, missing levels are made and synced. */
int path_open_dir(const char *dir, bool create) BT_MUST_USE;
/* An existing thing; flags as for open(2), without O_CREAT. With O_PATH a link
 * at the end is opened itself. */
int path_open(struct beneath *, const char *path, int flags) BT_MUST_USE;
/* As path_open, but through symbolic links wherever they lead: for reading what
 * the user himself offers, and only there. */
int path_open_linked(struct beneath *, const char *path, int flags) BT_MUST_USE;
/* The directory that holds the path's last element, as O_PATH, and that element
 * in *last. With made != NULL missing directories are created and counted there. */
int path_parent(struct beneath *, const char *path, const char **last, unsigned *made) BT_MUST_USE;
/* fsync of the directory named by the first len bytes of path (0 = dirfd). File
 * systems that can't sync a directory count as done. */
int path_sync_dir(struct beneath *, const char *path, size_t len) BT_MUST_USE;

#endif
