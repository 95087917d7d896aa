/* SPDX-License-Identifier: MIT */
/* files.c - one torrent's byte range over its files, as files.h states: what to
 * read, write, sync, and what to make at the end. Which files are open is
 * open.c's, names are path.c's, allocation is space.c's. Synchronous; may block.
 * Start at struct span. */
#include "disk/open.h"

#include "bt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#define IOV_BATCH 64     /* parts of one pwritev: 1 MiB of blocks */
#define SYNC_EACH 64     /* files and new names synced one by one; more: the volume at once */
#define SCRATCH   32768u /* read through to have pages in the cache */

int files_new(struct files **out, struct files_cache *c, const struct files_opts *o)
{
	struct files *f = calloc(1, sizeof(*f));
	int r = -ENOMEM;

	*out = NULL;
	if (!f)
		return -ENOMEM;
	f->dir.dirfd = -1;
	f->cache = c;
	f->table = o->files;
	f->n = o->nfiles;
	f->read_only = o->read_only;
	f->alloc = o->alloc;
	f->culprit = NO_FILE;
	f->flags = alloc_array(o->nfiles, sizeof(*f->flags));
	f->id = alloc_array(o->nfiles, sizeof(*f->id));
	f->stamp = alloc_array(o->nfiles, sizeof(*f->stamp));
	if (!f->flags || !f->id || !f->stamp)
		goto fail;
	r = open_hold_dir(f, o->dir, !o->read_only);
	if (r < 0)
		goto fail;
	*out = f;
	return 0;
fail:
	files_free(f);
	return r;
}

void files_free(struct files *f)
{
	if (!f)
		return;
	for (size_t k = 0; k < FILES_OPEN_MAX; k++) {
		if (open_nth(f, k))
			open_close(open_nth(f, k));
	}
	open_let_dir_go(f);
	free(f->flags);
	free(f->id);
	free(f->stamp);
	free(f);
}

int files_dirfd(const struct files *f)
{
	return f->dir.dirfd;
}

const char *files_culprit(const struct files *f)
{
	return f->culprit < f->n ? f->table[f->culprit].path : "";
}

/* ---- the torrent's range, file by file ---- */

/* Bytes that lie in one file, or are zeros that no file holds (padding). */
struct span {
	uint32_t file;
	bool zeros;
	uint64_t off; /* in the file */
	uint64_t n;
};

/* Neither pad files nor links have bytes on disk. */
static bool has_bytes(const struct store_file *sf)
{
	return !(sf->attr & (BT_FILE_PAD | BT_FILE_SYMLINK));
}

/* The last file that begins at or before the byte: of several that begin there
 * all but the last are empty. */
uint32_t files_at(const struct files *f, uint64_t off)
{
	uint32_t lo = 0, hi = f->n;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (f->table[mid].off <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* The first part of [off, off+n) that is in one file; false when nothing of the
 * torrent is there. */
static bool next_span(const struct files *f, uint64_t off, uint64_t n, struct span *s)
{
	const struct store_file *sf;

	if (f->n == 0)
		return false;
	s->file = files_at(f, off);
	sf = &f->table[s->file];
	if (off < sf->off || off - sf->off >= sf->len)
		return false;
	s->zeros = !has_bytes(sf);
	s->off = off - sf->off;
	s->n = min_u64(n, sf->len - s->off);
	return true;
}

/* ---- writing ---- */

/* Where we are in the caller's parts. */
struct parts {
	const struct iovec *iov;
	int cnt;
	size_t skip; /* of iov[0] */
};

static void parts_skip(struct parts *p, uint64_t n)
{
	while (p->cnt > 0 && n >= p->iov->iov_len - p->skip) {
		n -= p->iov->iov_len - p->skip;
		p->iov++;
		p->cnt--;
		p->skip = 0;
	}
	p->skip += (size_t)n;
}

/* The next at most n bytes as parts of their own. */
static int parts_take(const struct parts *p, uint64_t n, struct iovec out[IOV_BATCH])
{
	size_t skip = p->skip;
	int cnt = 0;

	for (int i = 0; i < p->cnt && n > 0 && cnt < IOV_BATCH; i++) {
		size_t len = (size_t)min_u64(n, p->iov[i].iov_len - skip);

		if (len > 0)
			out[cnt++] = (struct iovec){ (uint8_t *)p->iov[i].iov_base + skip, len };
		n -= len;
		skip = 0;
	}
	return cnt;
}

static void note_written(struct open_file *o, uint64_t off, uint64_t n)
{
	if (o->lo >= o->hi) {
		o->lo = off;
		o->hi = off + n;
	}
	if (off < o->lo)
		o->lo = off;
	if (off + n > o->hi)
		o->hi = off + n;
	if (off + n > o->size)
		o->size = off + n;
	o->dirty = true;
	o->owner->dirty += n;
	o->owner->flags[o->file] |= FILE_WRITTEN;
}

/* A file that was cut would be made long again by the write, with zeros where
 * good pieces were, and nobody could tell. */
static int still_whole(const struct open_file *o)
{
	struct stat st;

	if (fstat(o->fd, &st) < 0)
		return -errno;
	return st.st_nlink == 0 || (uint64_t)st.st_size < o->size ? -ESTALE : 0;
}

static int write_span(struct files *f, const struct span *s, struct parts *p)
{
	struct open_file *o;
	uint64_t done = 0;
	int r = open_get(f, s->file, true, &o);

	if (r == 0)
		r = still_whole(o);
	while (r == 0 && done < s->n) {
		struct iovec iov[IOV_BATCH];
		ssize_t w = pwritev(o->fd, iov, parts_take(p, s->n - done, iov), (off_t)(s->off + done));

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			r = w < 0 ? -errno : -EIO;
			break;
		}
		note_written(o, s->off + done, (uint64_t)w);
		parts_skip(p, (uint64_t)w);
		done += (uint64_t)w;
	}
	return r;
}

int files_write(struct files *f, uint64_t off, const struct iovec *iov, int iovcnt)
{
	struct parts p = { iov, iovcnt, 0 };
	uint64_t left = 0;

	f->culprit = NO_FILE;
	for (int i = 0; i < iovcnt; i++)
		left += iov[i].iov_len;
	while (left > 0) {
		struct span s;
		int r = 0;

		if (!next_span(f, off, left, &s))
			return -EINVAL;
		if (s.zeros)
			parts_skip(&p, s.n);
		else
			r = write_span(f, &s, &p);
		if (r < 0)
			return r;
		off += s.n;
		left -= s.n;
	}
	return 0;
}

/* ---- reading ---- */

static int read_at(int fd, void *p, size_t n, uint64_t off)
{
	uint8_t *to = p;

	while (n > 0) {
		ssize_t r = pread(fd, to, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ENODATA;
		to += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

int files_read(struct files *f, uint64_t off, void *p, size_t n)
{
	uint8_t *to = p;

	f->culprit = NO_FILE;
	while (n > 0) {
		struct open_file *o;
		struct span s;
		int r = 0;

		if (!next_span(f, off, n, &s))
			return -EINVAL;
		if (s.zeros)
			memset(to, 0, (size_t)s.n);
		else
			r = open_get(f, s.file, false, &o);
		if (r == 0 && !s.zeros)
			r = read_at(o->fd, to, (size_t)s.n, s.off);
		if (r < 0)
			return r;
		to += s.n;
		off += s.n;
		n -= (size_t)s.n;
	}
	return 0;
}

/* readahead alone only begins the work; the loop is going to sendfile these
 * pages and must not wait for them, so they are read once, into nothing. */
static int load_span(int fd, uint64_t off, uint64_t n)
{
	uint8_t scratch[SCRATCH];
	int r = 0;

	(void)posix_fadvise(fd, (off_t)off, (off_t)n, POSIX_FADV_WILLNEED);
	while (r == 0 && n > 0) {
		size_t part = (size_t)min_u64(n, sizeof(scratch));

		r = read_at(fd, scratch, part, off);
		off += part;
		n -= part;
	}
	return r;
}

int files_load(struct files *f, uint64_t off, size_t n)
{
	f->culprit = NO_FILE;
	while (n > 0) {
		struct open_file *o;
		struct span s;
		int r = 0;

		if (!next_span(f, off, n, &s))
			return -EINVAL;
		if (!s.zeros)
			r = open_get(f, s.file, false, &o);
		if (r == 0 && !s.zeros)
			r = load_span(o->fd, s.off, s.n);
		if (r < 0)
			return r;
		off += s.n;
		n -= (size_t)s.n;
	}
	return 0;
}

int files_fd(struct files *f, uint32_t file, bool write)
{
	struct open_file *o;
	int r;

	if (file >= f->n || !has_bytes(&f->table[file]))
		return -EINVAL;
	r = open_get(f, file, write, &o);
	return r < 0 ? r : o->fd;
}

bool files_has_data(struct files *f, uint64_t off, uint64_t n)
{
	bool only_zeros = true;

	while (n > 0) {
		struct open_file *o;
		struct span s;
		off_t at;
		int r;

		if (!next_span(f, off, n, &s))
			break;
		off += s.n;
		n -= s.n;
		if (s.zeros)
			continue;
		only_zeros = false;
		r = open_get(f, s.file, false, &o);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return true; /* the reader will find out */
		at = lseek(o->fd, (off_t)s.off, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			continue; /* none from here to its end */
		if (at < 0 || (uint64_t)at - s.off < s.n)
			return true;
	}
	return only_zeros;
}

/* ---- room for mappings ---- */

int files_reserve(struct files *f, uint32_t file, uint64_t off, uint64_t n)
{
	struct open_file *o;
	struct stat st;
	int r;

	f->culprit = file;
	if (file >= f->n || !has_bytes(&f->table[file]) || off >= f->table[file].len)
		return -EINVAL;
	n = min_u64(n, f->table[file].len - off);
	r = open_get(f, file, true, &o);
	if (r < 0)
		return r;
	if (!o->maps)
		return -EOPNOTSUPP;
	if (fstat(o->fd, &st) < 0)
		return -errno;
	r = space_reserve(o->fd, &st, off, n);
	if (r == 0 && off + n > o->size)
		o->size = off + n;
	return r;
}

bool files_can_map(struct files *f, uint32_t file)
{
	struct open_file *o;

	if (f->read_only || file >= f->n || !has_bytes(&f->table[file]))
		return false;
	o = open_find(f, file);
	return o ? o->maps : f->fs.maps;
}

/* ---- to the disk ---- */

void files_start_writeout(struct files *f)
{
	for (size_t k = 0; k < FILES_OPEN_MAX; k++) {
		struct open_file *o = open_nth(f, k);

		if (o)
			open_start_writeout(o);
	}
}

static bool kernel_at_least(unsigned long major, unsigned long minor)
{
	struct utsname u;
	char *end;
	unsigned long a, b;

	if (uname(&u) < 0)
		return false;
	a = strtoul(u.release, &end, 10);
	b = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	return a > major || (a == major && b >= minor);
}

static size_t parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

/* Was the directory dir[0..len) synced when this was done for `before`? */
static bool synced_with(const struct files *f, uint32_t before, const char *dir, size_t len)
{
	const char *path;
	size_t parent;

	if (before == NO_FILE)
		return false;
	path = f->table[before].path;
	parent = parent_len(path);
	if (len > parent || memcmp(path, dir, len) != 0 || (len > 0 && path[len] != '/'))
		return false;
	return len == parent || f->flags[before] & FILE_PARENTS;
}

static int sync_parents(struct files *f, uint32_t file, uint32_t before)
{
	const char *path = f->table[file].path;
	size_t parent = parent_len(path);

	for (size_t len = f->flags[file] & FILE_PARENTS ? 0 : parent; len <= parent; len++) {
		int r;

		if (len != 0 && path[len] != '/')
			continue;
		if (synced_with(f, before, path, len))
			continue;
		do {
			r = path_sync_dir(&f->dir, path, len);
		} while ((r == -EMFILE || r == -ENFILE) && open_evict(f->cache));
		if (r < 0)
			return r;
	}
	return 0;
}

/* New names, with each directory synced once when files lie in it in a row. */
static int sync_names(struct files *f)
{
	uint32_t before = NO_FILE;
	int r = 0;

	for (uint32_t i = f->linked_lo; i < f->linked_hi; i++) {
		int e;

		if (!(f->flags[i] & FILE_LINKED))
			continue;
		e = sync_parents(f, i, before);
		if (e < 0 && r == 0) {
			r = e;
			f->culprit = i;
		}
		before = i;
	}
	for (uint32_t i = f->linked_lo; i < f->linked_hi; i++)
		f->flags[i] &= (uint8_t) ~(FILE_LINKED | FILE_PARENTS);
	f->linked_lo = f->linked_hi = 0;
	return r;
}

static void note_error(struct files *f, int *r, int e, uint32_t file)
{
	if (e < 0 && *r == 0) {
		*r = e;
		f->culprit = file;
	}
}

/* One call for the whole volume, when many files are to be synced. Before 5.8 it
 * did not tell errors. -EOPNOTSUPP: go from file to file. */
static int sync_volume(struct files *f)
{
	uint32_t names = f->linked_lo < f->linked_hi ? f->linked_hi - f->linked_lo : 0;

	if (f->unsynced + names <= SYNC_EACH || !kernel_at_least(5, 8))
		return -EOPNOTSUPP;
	if (syncfs(f->dir.dirfd) < 0)
		return -errno;
	for (uint32_t i = 0; i < f->n; i++)
		f->flags[i] &= (uint8_t) ~(FILE_UNSYNCED | FILE_LINKED | FILE_PARENTS);
	f->unsynced = 0;
	f->linked_lo = f->linked_hi = 0;
	return 0;
}

/* What was ours to change has changed; from here on it is somebody else. */
static void stamp_written(struct files *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		if (!(f->flags[i] & FILE_WRITTEN))
			continue;
		f->flags[i] &= (uint8_t)~FILE_WRITTEN;
		(void)files_know(f, i);
	}
}

int files_sync(struct files *f)
{
	int r = f->lost, whole;

	f->culprit = r < 0 ? f->lost_file : NO_FILE;
	f->lost = 0;
	whole = sync_volume(f);
	if (whole < 0 && whole != -EOPNOTSUPP)
		note_error(f, &r, whole, NO_FILE);
	for (size_t k = 0; k < FILES_OPEN_MAX; k++) { /* tells errors by name; quick after the whole */
		struct open_file *o = open_nth(f, k);

		if (o)
			note_error(f, &r, open_sync(o), o->file);
	}
	for (uint32_t i = 0; i < f->n && f->unsynced; i++)
		if (f->flags[i] & FILE_UNSYNCED)
			note_error(f, &r, open_sync_closed(f, i), i);
	if (r == 0) {
		r = sync_names(f);
	} else {
		uint32_t culprit = f->culprit;

		(void)!sync_names(f);
		f->culprit = culprit;
	}
	if (r == 0)
		stamp_written(f);
	f->dirty = 0;
	return r;
}

uint64_t files_dirty(const struct files *f)
{
	return f->dirty;
}

/* ---- have they been touched? ---- */

int files_verify_open(struct files *f)
{
	for (size_t k = 0; k < FILES_OPEN_MAX; k++) {
		struct open_file *o = open_nth(f, k);
		struct stat st, named;
		int r;

		if (!o)
			continue;
		f->culprit = o->file;
		if (fstat(o->fd, &st) < 0)
			return -errno;
		if (st.st_nlink == 0 || (uint64_t)st.st_size < o->size)
			return -ESTALE;
		r = open_stat(f, o->file, &named);
		if (r == -EMFILE || r == -ENFILE)
			continue; /* nothing is known against it */
		if (r < 0 || named.st_dev != o->dev || named.st_ino != o->ino)
			return -ESTALE;
	}
	return 0;
}

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static uint32_t fold_stamp(const struct file_stamp *s)
{
	uint64_t v = (s->len * 0x9e3779b97f4a7c15u) ^ (uint64_t)s->mtime_ns;
	uint32_t fold = (uint32_t)(v ^ v >> 32);

	return fold ? fold : 1;
}

struct file_stamp files_stamp(struct files *f, uint32_t file)
{
	struct file_stamp stamp = { 0 };
	struct open_file *o;
	struct stat st;

	if (file >= f->n || !has_bytes(&f->table[file]))
		return stamp;
	o = open_find(f, file);
	if ((o ? fstat(o->fd, &st) : open_stat(f, file, &st)) == 0 && S_ISREG(st.st_mode)) {
		stamp.len = (uint64_t)st.st_size;
		stamp.mtime_ns = mtime_ns(&st);
	}
	return stamp;
}

struct file_stamp files_know(struct files *f, uint32_t file)
{
	struct file_stamp stamp = { 0 };
	struct stat st;

	if (file >= f->n || !has_bytes(&f->table[file]))
		return stamp;
	if (open_stat(f, file, &st) == 0 && S_ISREG(st.st_mode)) {
		open_note_seen(f, file, &st);
		stamp = (struct file_stamp){ (uint64_t)st.st_size, mtime_ns(&st) };
	}
	f->stamp[file] = fold_stamp(&stamp);
	return stamp;
}

bool files_touched(struct files *f, uint32_t file)
{
	struct file_stamp stamp;
	struct stat st;
	int r;

	if (file >= f->n || !has_bytes(&f->table[file]) || f->table[file].len == 0)
		return false;
	r = open_stat(f, file, &st);
	if (r < 0 || !S_ISREG(st.st_mode))
		return r != -EMFILE && r != -ENFILE && f->flags[file] & FILE_SEEN;
	if (open_replaced(f, file, &st) || (f->flags[file] & FILE_PLACED && (uint64_t)st.st_size < f->table[file].len))
		return true;
	stamp = (struct file_stamp){ (uint64_t)st.st_size, mtime_ns(&st) };
	return f->stamp[file] && !(f->flags[file] & FILE_WRITTEN) && f->stamp[file] != fold_stamp(&stamp);
}

bool files_times_tell(const struct files *f)
{
	return f->fs.stable_ids;
}

void files_wrote(struct files *f, uint64_t off, uint64_t n)
{
	struct span s;

	for (; n > 0 && next_span(f, off, n, &s); off += s.n, n -= s.n)
		f->flags[s.file] |= FILE_WRITTEN;
}

/* ---- at completion ---- */

static int make_link(struct files *f, uint32_t file)
{
	const struct store_file *sf = &f->table[file];
	char now[PATH_MAX];
	const char *last;
	unsigned made = 0;
	ssize_t n;
	int r = 0, parent = open_parent(f, file, &last, &made);

	if (parent < 0)
		return parent;
	if (symlinkat(sf->target, parent, last) == 0) {
		open_note_linked(f, file, made);
	} else if (errno == EEXIST) {
		n = readlinkat(parent, last, now, sizeof(now));
		if (n < 0 || (size_t)n != strlen(sf->target) || memcmp(now, sf->target, (size_t)n) != 0)
			r = -EEXIST;
	} else {
		r = -errno;
	}
	close(parent);
	return r;
}

/* Whoever may read it may run it. */
static int make_executable(int fd)
{
	struct stat st;
	mode_t mode;

	if (fstat(fd, &st) < 0)
		return -errno;
	mode = st.st_mode & 07777;
	if ((mode | (mode & 0444) >> 2) == mode)
		return 0;
	return fchmod(fd, mode | (mode & 0444) >> 2) < 0 ? -errno : 0;
}

static int finish_one(struct files *f, uint32_t file)
{
	const struct store_file *sf = &f->table[file];
	struct open_file *o;
	int r;

	if (sf->unwanted || sf->attr & BT_FILE_PAD)
		return 0;
	if (sf->attr & BT_FILE_SYMLINK)
		return sf->target ? make_link(f, file) : 0;
	if (sf->len > 0 && !(sf->attr & BT_FILE_EXEC))
		return 0;
	/* Opened for reading where that will do: a program may be running by now,
	 * and then nobody may write to it (ETXTBSY). */
	r = open_get(f, file, false, &o);
	if (r == -ENOENT && sf->len == 0)
		r = open_get(f, file, true, &o);
	if (r == 0 && sf->attr & BT_FILE_EXEC)
		r = make_executable(o->fd);
	return r;
}

/* What can be made is made, whatever failed before it. */
int files_finish(struct files *f)
{
	uint32_t culprit = NO_FILE;
	int r = 0;

	if (f->read_only)
		return 0;
	for (uint32_t i = 0; i < f->n; i++) {
		int e = finish_one(f, i);

		if (e < 0 && r == 0) {
			r = e;
			culprit = i;
		}
	}
	f->culprit = culprit;
	return r;
}
