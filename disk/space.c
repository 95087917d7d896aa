/* SPDX-License-Identifier: MIT */
/* space.c - allocation, as space.h states. A file that is going to be written in
 * random order is given its whole space first: it is not scattered over the
 * disk, and a disk that is too small is noticed at once. Where the file system
 * has no such call the file is only made that long (a hole), never written with
 * zeros: that would cost as much as the download. */
#include "disk/space.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

/* linux/magic.h, which not every libc's headers come with */
#define MAGIC_EXT4  0xef53u /* ext2 and ext3 too: those answer EOPNOTSUPP */
#define MAGIC_XFS   0x58465342u
#define MAGIC_BTRFS 0x9123683eu
#define MAGIC_F2FS  0xf2f52010u
#define MAGIC_TMPFS 0x01021994u

struct fs_traits space_traits(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return (struct fs_traits){ 0 };
	switch ((uint32_t)fs.f_type) {
	case MAGIC_EXT4:
	case MAGIC_XFS:
	case MAGIC_F2FS:
		return (struct fs_traits){ .allocates = true, .maps = true, .stable_ids = true };
	case MAGIC_BTRFS:
		/* Copy on write: a page fault may need space even in allocated room. */
		return (struct fs_traits){ .allocates = true, .stable_ids = true };
	case MAGIC_TMPFS:
		/* Allocating would take the memory now, for nothing. */
		return (struct fs_traits){ .maps = true, .stable_ids = true };
	}
	/* FAT, exFAT and many FUSE servers make inode numbers up at each look. */
	return (struct fs_traits){ 0 };
}

/* Asked first, because a fallocate that can't succeed eats all that is left on
 * the disk before it fails, and others feel that. */
static bool fits(int fd, uint64_t bytes)
{
	struct statvfs v;

	if (fstatvfs(fd, &v) < 0 || v.f_blocks == 0 || v.f_frsize == 0)
		return true; /* it doesn't say */
	return bytes / v.f_frsize <= v.f_bfree;
}

static int allocate(int fd, const struct stat *st, uint64_t off, uint64_t n)
{
	int r;

	do {
		r = fallocate(fd, 0, (off_t)off, (off_t)n);
	} while (r < 0 && errno == EINTR);
	if (r == 0)
		return 0;
	r = -errno;
	if (r == -ENOSYS || r == -EINVAL || r == -EOPNOTSUPP)
		return -EOPNOTSUPP;
	/* ext4 keeps what it got before it failed; cutting the file gives that
	 * back. If that fails too, the first error is the one to tell. */
	(void)!ftruncate(fd, st->st_size);
	return r;
}

static int extend(int fd, const struct stat *st, uint64_t len)
{
	if ((uint64_t)st->st_size >= len || ftruncate(fd, (off_t)len) == 0)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO || errno == EROFS) {
		int r = -errno;
		/* FAT fills with zeros and may have come half the way. */
		return ftruncate(fd, st->st_size) < 0 && r != -EFBIG ? -errno : r;
	}
	return 0; /* can't be extended this way: each write will do it */
}

int space_lay_out(int fd, const struct stat *st, uint64_t len, enum disk_alloc policy)
{
	uint64_t has = (uint64_t)st->st_blocks * 512;
	bool whole = false;
	int r;

	if (len > INT64_MAX)
		return -EFBIG;
	/* The holes of a file that is long enough are left to whoever made them:
	 * it may be a complete one, with a single piece to be repaired. */
	if (policy == DISK_ALLOC_AUTO)
		whole = (uint64_t)st->st_size < len && space_traits(fd).allocates;
	else if (policy == DISK_ALLOC_FULL)
		whole = (uint64_t)st->st_size <= len && has < len;
	if (whole) {
		if (has < len && !fits(fd, len - has))
			return -ENOSPC;
		r = allocate(fd, st, 0, len);
		if (r != -EOPNOTSUPP)
			return r;
	}
	return extend(fd, st, len);
}

int space_reserve(int fd, const struct stat *st, uint64_t off, uint64_t n)
{
	if (off > INT64_MAX || n > INT64_MAX - off)
		return -EFBIG;
	return n == 0 ? 0 : allocate(fd, st, off, n);
}
