/* SPDX-License-Identifier: MIT */
/* open.c - which files are open: one least-recently-used list of descriptors for
 * all torrents of the keeper. Opening is where a file that went away, shrank or
 * was replaced is noticed: it is reported, never quietly made again. Start at
 * open_get(). */
#include "disk/open.h"
#include "bt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct files_cache *files_cache_new(void)
{
	struct files_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	list_init(&c->dirs);
	list_init(&c->used);
	list_init(&c->spare);
	for (size_t i = 0; i < FILES_OPEN_MAX; i++)
		list_push_back(&c->spare, &c->entry[i].lru);
	return c;
}

void files_cache_free(struct files_cache *c)
{
	if (!c)
		return;
	while (open_evict(c))
		;
	free(c);
}

/* ---- directories ---- */

/* The descriptor becomes the cache's: 10,000 torrents of one directory share one.
 * The name is opened each time, for it may lead somewhere else by now. */
static struct files_dir *hold(struct files_cache *c, int fd, const struct stat *st)
{
	struct files_dir *d;

	for (struct list *l = c->dirs.next; l != &c->dirs; l = l->next) {
		d = container_of(l, struct files_dir, on_dirs);
		if (d->dev == st->st_dev && d->ino == st->st_ino) {
			close(fd);
			d->users++;
			return d;
		}
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		close(fd);
		return NULL;
	}
	*d = (struct files_dir){ .fd = fd, .dev = st->st_dev, .ino = st->st_ino, .users = 1 };
	list_push_front(&c->dirs, &d->on_dirs);
	return d;
}

int open_hold_dir(struct files *f, const char *dir, bool create)
{
	struct stat st;
	int fd;

	do {
		fd = path_open_dir(dir, create);
	} while ((fd == -EMFILE || fd == -ENFILE) && open_evict(f->cache));
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	f->held = hold(f->cache, fd, &st);
	if (!f->held)
		return -ENOMEM;
	f->dir.dirfd = f->held->fd;
	f->dev = st.st_dev;
	f->fs = space_traits(f->dir.dirfd);
	return 0;
}

void open_let_dir_go(struct files *f)
{
	struct files_dir *d = f->held;

	if (!d || --d->users > 0)
		return;
	close(d->fd);
	list_remove(&d->on_dirs);
	free(d);
}

/* ---- closing ---- */

/* After a failed fdatasync the kernel has dropped the pages or calls them clean;
 * asking again would only be told that all is well. So the error is told once,
 * and it is the caller who no longer believes in what was written. */
static int sync_fd(int fd)
{
	int r;

	do {
		r = fdatasync(fd);
	} while (r < 0 && errno == EINTR);
	/* EINVAL: this file system has nothing to sync */
	return r < 0 && errno != EINVAL ? -errno : 0;
}

int open_sync(struct open_file *o)
{
	if (!o->dirty)
		return 0;
	o->dirty = false;
	o->lo = o->hi = 0;
	return sync_fd(o->fd);
}

void open_start_writeout(struct open_file *o)
{
	/* Only a hint: what fails here fails again when it is synced. */
	if (o->lo < o->hi)
		(void)sync_file_range(o->fd, (off_t)o->lo, (off_t)(o->hi - o->lo), SYNC_FILE_RANGE_WRITE);
	o->lo = o->hi = 0;
}

/* Since Linux 4.16 an error of write-out that nobody has seen is told to the next
 * one who opens the file and syncs. */
int open_sync_closed(struct files *f, uint32_t file)
{
	int r, fd;

	f->flags[file] &= (uint8_t)~FILE_UNSYNCED;
	f->unsynced--;
	do {
		fd = path_open(&f->dir, f->table[file].path, O_RDONLY | O_NONBLOCK);
	} while ((fd == -EMFILE || fd == -ENFILE) && open_evict(f->cache));
	if (fd < 0)
		return fd;
	r = sync_fd(fd);
	close(fd);
	return r;
}

/* A torrent of many small files closes a file per piece: waiting for the disk each
 * time took 2 of 4 s for 2,600 files, so the waiting is left to files_sync, which
 * has one call for all of them. It only knows its own volume. */
void open_close(struct open_file *o)
{
	struct files *f = o->owner;

	if (o->dirty && o->dev == f->dev) {
		open_start_writeout(o);
		f->unsynced += !(f->flags[o->file] & FILE_UNSYNCED);
		f->flags[o->file] |= FILE_UNSYNCED;
	} else {
		int r = open_sync(o);
		if (r < 0 && f->lost == 0) {
			f->lost = r;
			f->lost_file = o->file;
		}
	}
	close(o->fd);
	o->owner = NULL;
	list_remove(&o->lru);
	list_push_front(&f->cache->spare, &o->lru);
}

bool open_evict(struct files_cache *c)
{
	if (list_empty(&c->used))
		return false;
	open_close(container_of(c->used.prev, struct open_file, lru));
	return true;
}

/* ---- opening ---- */

struct open_file *open_find(struct files *f, uint32_t file)
{
	for (struct list *l = f->cache->used.next; l != &f->cache->used; l = l->next) {
		struct open_file *o = container_of(l, struct open_file, lru);

		if (o->file == file && o->owner == f)
			return o;
	}
	return NULL;
}

void open_note_linked(struct files *f, uint32_t file, unsigned parents_made)
{
	f->flags[file] |= parents_made ? FILE_LINKED | FILE_PARENTS : FILE_LINKED;
	if (f->linked_lo >= f->linked_hi)
		f->linked_lo = file;
	if (file < f->linked_lo)
		f->linked_lo = file;
	if (file >= f->linked_hi)
		f->linked_hi = file + 1;
}

static uint32_t fold_id(const struct stat *st)
{
	uint64_t v = ((uint64_t)st->st_dev * 0x9e3779b97f4a7c15u) ^ (uint64_t)st->st_ino;
	uint32_t id = (uint32_t)(v ^ v >> 32);

	return id ? id : 1;
}

int open_parent(struct files *f, uint32_t file, const char **last, unsigned *made)
{
	int fd;

	do {
		fd = path_parent(&f->dir, f->table[file].path, last, made);
	} while ((fd == -EMFILE || fd == -ENFILE) && open_evict(f->cache));
	return fd;
}

static int create(struct files *f, uint32_t file)
{
	const char *last;
	unsigned made = 0;
	int fd, parent = open_parent(f, file, &last, &made);

	if (parent < 0)
		return parent;
	do {
		fd = openat(parent, last, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		fd = -errno;
	else
		open_note_linked(f, file, made);
	close(parent);
	return fd;
}

/* What is only read (bt seed, bt verify) is the user's own tree and may hold links
 * to files elsewhere, as bt create follows them; what is given away is checked
 * against the torrent's hashes, so a link leaks nothing. */
static bool may_follow(const struct files *f, uint32_t file)
{
	return f->read_only && !(f->table[file].attr & BT_FILE_SYMLINK);
}

/* O_NONBLOCK: a FIFO that lies there must not hang us. */
static int open_fd(struct files *f, uint32_t file, bool write)
{
	int fd = path_open(&f->dir, f->table[file].path, (write ? O_RDWR : O_RDONLY) | O_NONBLOCK);

	if (fd == -ELOOP && may_follow(f, file))
		fd = path_open_linked(&f->dir, f->table[file].path, O_RDONLY | O_NONBLOCK);

	/* What was there once isn't made again: what it held is gone. */
	if (fd == -ENOENT && write && !(f->flags[file] & FILE_SEEN)) {
		fd = create(f, file);
		if (fd == -EEXIST)
			fd = path_open(&f->dir, f->table[file].path, O_RDWR | O_NONBLOCK);
	}
	return fd;
}

/* Numbers of another volume's files may mean nothing. */
bool open_replaced(const struct files *f, uint32_t file, const struct stat *st)
{
	return f->flags[file] & FILE_SEEN && f->id[file] && st->st_dev == f->dev && f->id[file] != fold_id(st);
}

void open_note_seen(struct files *f, uint32_t file, const struct stat *st)
{
	if (f->flags[file] & FILE_SEEN || st->st_dev != f->dev)
		return;
	f->flags[file] |= FILE_SEEN;
	f->id[file] = f->fs.stable_ids ? fold_id(st) : 0;
}

/* Is it a file, and the one we knew? */
static int inspect(struct files *f, uint32_t file, int fd, struct stat *st, struct fs_traits *fs)
{
	uint32_t id = 0;

	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return S_ISDIR(st->st_mode) ? -EISDIR : -ENXIO;
	*fs = st->st_dev == f->dev ? f->fs : space_traits(fd);
	if (fs->stable_ids)
		id = fold_id(st);
	if (f->flags[file] & FILE_SEEN && f->id[file] != id)
		return -ESTALE;
	if (f->flags[file] & FILE_PLACED && (uint64_t)st->st_size < f->table[file].len)
		return -ESTALE;
	f->flags[file] |= FILE_SEEN;
	f->id[file] = id;
	return 0;
}

/* Before the first write of this run: its space. Files that nobody wants get
 * only the few bytes of pieces they share with others. */
static int place(struct files *f, uint32_t file, int fd, struct stat *st)
{
	int r;

	if (f->flags[file] & FILE_PLACED || f->table[file].unwanted)
		return 0;
	r = space_lay_out(fd, st, f->table[file].len, f->alloc);
	if (r == 0 && fstat(fd, st) < 0)
		r = -errno;
	if (r == 0 && (uint64_t)st->st_size >= f->table[file].len)
		f->flags[file] |= FILE_PLACED;
	return r;
}

static int try_open(struct files *f, uint32_t file, bool write, struct open_file **out)
{
	struct open_file *o;
	struct fs_traits fs = { 0 };
	struct stat st;
	int r, fd = open_fd(f, file, write);

	if (fd < 0)
		return fd;
	r = inspect(f, file, fd, &st, &fs);
	if (r == 0 && write)
		r = place(f, file, fd, &st);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (list_empty(&f->cache->spare))
		open_evict(f->cache);
	o = container_of(f->cache->spare.next, struct open_file, lru);
	list_remove(&o->lru);
	list_push_front(&f->cache->used, &o->lru);
	o->owner = f;
	o->file = file;
	o->fd = fd;
	o->writable = write;
	o->dirty = false;
	o->maps = fs.maps;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
	o->size = (uint64_t)st.st_size;
	o->lo = o->hi = 0;
	*out = o;
	return 0;
}

int open_get(struct files *f, uint32_t file, bool write, struct open_file **out)
{
	struct open_file *o = open_find(f, file);
	int r;

	f->culprit = file;
	if (write && f->read_only)
		return -EROFS;
	if (o && (!write || o->writable)) {
		list_remove(&o->lru);
		list_push_front(&f->cache->used, &o->lru);
		*out = o;
		/* It may have been unwanted when it was opened. */
		if (write && !(f->flags[file] & FILE_PLACED) && !f->table[file].unwanted) {
			struct stat st;

			r = fstat(o->fd, &st) < 0 ? -errno : place(f, file, o->fd, &st);
			if (r < 0)
				return r;
			o->size = (uint64_t)st.st_size;
		}
		return 0;
	}
	if (o)
		open_close(o); /* read-only, so nothing hangs on it */
	do {
		r = try_open(f, file, write, out);
	} while ((r == -EMFILE || r == -ENFILE) && open_evict(f->cache));
	return r;
}

int open_stat(struct files *f, uint32_t file, struct stat *st)
{
	int fd, r = 0;

	do {
		fd = may_follow(f, file) ? path_open_linked(&f->dir, f->table[file].path, O_PATH)
					 : path_open(&f->dir, f->table[file].path, O_PATH);
	} while ((fd == -EMFILE || fd == -ENFILE) && open_evict(f->cache));
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		r = -errno;
	close(fd);
	return r;
}
