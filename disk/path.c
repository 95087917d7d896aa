/* SPDX-License-Identifier: MIT */
/* path.c - safe opening below one directory, as path.h states. openat2 with
 * RESOLVE_BENEATH does it in one call since Linux 5.6; older kernels and
 * sandboxes that refuse it get a walk, one element at a time, each opened below
 * the descriptor of the one before and never through a symbolic link. Names
 * were made safe in torrent/ already: this is the second wall, and the only one
 * against links that somebody puts there while we run. Start at path_open(). */
#include "disk/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ELEMENT_MAX 255 /* bytes, NAME_MAX of every Linux file system */

/* The first element of *path into out, *path to what follows it ("" at the end). */
static int next_element(const char **path, char out[ELEMENT_MAX + 1])
{
	const char *slash = strchrnul(*path, '/');
	size_t n = (size_t)(slash - *path);

	if (n > ELEMENT_MAX)
		return -ENAMETOOLONG;
	memcpy(out, *path, n);
	out[n] = 0;
	if (n == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
		return -EINVAL;
	if (*slash && slash[1] == 0)
		return -EINVAL; /* "a/" */
	*path = *slash ? slash + 1 : slash;
	return 0;
}

static int check_path(const char *path)
{
	char element[ELEMENT_MAX + 1];
	int r;

	do {
		r = next_element(&path, element);
		if (r < 0)
			return r;
	} while (*path);
	return 0;
}

static int open_at(int dirfd, const char *name, int flags, mode_t mode)
{
	int fd;

	do {
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

/* ---- the directory below which all happens ---- */

/* Makes one level and syncs the level above, so that a power cut right after a
 * finished download can't take the whole tree. */
static int make_level(int above, const char *name)
{
	int fd;

	if (mkdirat(above, name, 0777) < 0)
		return errno == EEXIST ? 0 : -errno;
	fd = open_at(above, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	return 0;
}

/* Like mkdir -p. Elements may be anything the user can type: links, "..". */
static int make_levels(const char *dir)
{
	int at = open_at(AT_FDCWD, *dir == '/' ? "/" : ".", O_PATH | O_DIRECTORY, 0);

	while (at >= 0) {
		char element[ELEMENT_MAX + 1];
		size_t n;
		int next;

		dir += strspn(dir, "/");
		n = strcspn(dir, "/");
		if (n == 0)
			break;
		if (n > ELEMENT_MAX) {
			close(at);
			return -ENAMETOOLONG;
		}
		memcpy(element, dir, n);
		element[n] = 0;
		dir += n;
		next = open_at(at, element, O_PATH | O_DIRECTORY, 0);
		if (next == -ENOENT) {
			next = make_level(at, element);
			if (next == 0)
				next = open_at(at, element, O_PATH | O_DIRECTORY, 0);
		}
		close(at);
		at = next;
	}
	return at;
}

int path_open_dir(const char *dir, bool create)
{
	int fd = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd == -EACCES) /* may be entered but not listed: enough */
		fd = open_at(AT_FDCWD, dir, O_PATH | O_DIRECTORY, 0);
	if (fd == -ENOENT && create && *dir) {
		fd = make_levels(dir);
		if (fd < 0)
			return fd;
		close(fd);
		fd = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	}
	return fd;
}

/* ---- below it ---- */

/* One directory further down. O_PATH | O_NOFOLLOW says ENOTDIR for a link too;
 * people should be told the difference. */
static int open_level(int above, const char *name, int flags)
{
	int fd = open_at(above, name, flags | O_DIRECTORY | O_NOFOLLOW, 0);
	struct stat st;

	if (fd == -ENOTDIR && fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
		return -ELOOP;
	return fd;
}

int path_parent(struct beneath *b, const char *path, const char **last, unsigned *made)
{
	int at = open_at(b->dirfd, ".", O_PATH | O_DIRECTORY, 0);

	while (at >= 0) {
		char element[ELEMENT_MAX + 1];
		const char *rest = path;
		int next = next_element(&rest, element);

		if (next == 0 && *rest == 0) {
			*last = path;
			return at;
		}
		if (next == 0)
			next = open_level(at, element, O_PATH);
		if (next == -ENOENT && made) {
			next = mkdirat(at, element, 0777) < 0 && errno != EEXIST ? -errno : 0;
			if (next == 0) {
				++*made;
				next = open_level(at, element, O_PATH);
			}
		}
		close(at);
		at = next;
		path = rest;
	}
	return at;
}

static int open_by_walk(struct beneath *b, const char *path, int flags)
{
	const char *last;
	int fd, parent = path_parent(b, path, &last, NULL);

	if (parent < 0)
		return parent;
	fd = open_at(parent, last, flags | O_NOFOLLOW, 0);
	close(parent);
	return fd;
}

#ifdef SYS_openat2
static int open_by_kernel(struct beneath *b, const char *path, int flags)
{
	/* struct open_how and RESOLVE_* of linux/openat2.h, which old headers lack */
	struct {
		uint64_t flags, mode, resolve;
	} how = { .resolve = 0x08 /* BENEATH */ | 0x04 /* NO_SYMLINKS */ | 0x02 /* NO_MAGICLINKS */ };
	long fd;

	/* Unlike open(3) nobody adds O_LARGEFILE here, which 32-bit needs; and
	 * with O_PATH the kernel refuses it. */
	how.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW | (flags & O_PATH ? 0 : O_LARGEFILE));
	do {
		fd = syscall(SYS_openat2, b->dirfd, path, &how, sizeof(how));
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}
#else
static int open_by_kernel(struct beneath *b, const char *path, int flags)
{
	(void)b, (void)path, (void)flags;
	return -ENOSYS;
}
#endif

int path_open(struct beneath *b, const char *path, int flags)
{
	int fd = check_path(path);

	if (fd < 0)
		return fd;
	if (!b->walk) {
		fd = open_by_kernel(b, path, flags);
		/* EAGAIN: something was renamed meanwhile; ENAMETOOLONG: over 4 KiB
		 * in all, which the walk can do. */
		if (fd != -ENOSYS && fd != -EPERM && fd != -EAGAIN && fd != -ENAMETOOLONG)
			return fd;
	}
	if (fd == -ENOSYS)
		b->walk = true;
	return open_by_walk(b, path, flags);
}

int path_open_linked(struct beneath *b, const char *path, int flags)
{
	int r = check_path(path);

	return r < 0 ? r : open_at(b->dirfd, path, flags, 0);
}

int path_sync_dir(struct beneath *b, const char *path, size_t len)
{
	int fd = open_at(b->dirfd, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;

	for (size_t at = 0; fd >= 0 && at < len;) {
		char element[ELEMENT_MAX + 1];
		const char *rest = path + at;
		int next = next_element(&rest, element);

		if (next == 0)
			next = open_level(fd, element, O_RDONLY);
		close(fd);
		fd = next;
		at = (size_t)(rest - path);
	}
	if (fd == -EACCES)
		return 0; /* may not be listed, so not opened for this */
	if (fd < 0)
		return fd;
	if (fsync(fd) < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
		r = -errno;
	close(fd);
	return r;
}
