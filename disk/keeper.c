/* SPDX-License-Identifier: MIT */
/* keeper.c - the process that owns the file system. It takes jobs from the
 * link, may wait for disks, and never touches the network. The terminal's
 * signals do not end it: its life ends with the link, after it has finished,
 * synced and journalled what it was given. Start at keeper_turn(). */
#include "disk/keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TURN_MESSAGES 64       /* then what is complete is hashed and answered */
#define TEXT_MAX 65536u        /* disk_read_text */
#define LAG_MAX (256u << 10)   /* bytes the loop has not taken: stop finding more to say */
#define POPULATE_WRITE 23      /* MADV_POPULATE_WRITE, younger than some headers */
#define PROBE_SPARE (1u << 20)
#define TMPFS 0x01021994
#define RAMFS 0x858458f6

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void keeper_say(struct keeper *k, enum msg_type type, uint32_t store, uint32_t job, int err, const char *what)
{
	size_t n = what && msg_elem(type) ? min_size(strlen(what), MSG_WHAT_MAX) : 0;
	struct msg *m = link_put(&k->link, type, (uint32_t)n);

	if (!m)
		return;
	m->store = store;
	m->job = job;
	m->err = err;
	if (n)
		memcpy(msg_tail(m), what, n);
}

/* ---- small jobs ---- */

static bool range_valid(const struct kstore *ks, const struct msg *m)
{
	if (m->index >= ks->flat.h->nfiles)
		return false;
	const struct flat_file *f = &ks->flat.files[m->index];
	return m->size > 0 && m->off <= f->len && m->size <= f->len - m->off;
}

/* Answers with a copy of the descriptor, which the link sends and closes. */
static void say_fd(struct keeper *k, enum msg_type type, const struct msg *to, int fd, uint32_t flags)
{
	int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	struct msg *m = link_put(&k->link, type, 0);

	if (!m) {
		if (copy >= 0)
			close(copy);
		return;
	}
	m->store = to->store;
	m->job = to->job;
	m->fd = copy;
	m->flags = (uint16_t)flags;
}

/* Has the kernel make the run's pages, so that the loop finds large ones ready:
 * without it the loop spends 2.0-2.7 CPU s/GiB on faults and zeroing, with it 0.5
 * (ext4, in order). Only advice, and new: 5.14. */
static void populate(int fd, uint64_t off, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off);

	if (p == MAP_FAILED)
		return;
	(void)madvise(p, n, POPULATE_WRITE);
	munmap(p, n);
}

/* Allocates a window's run of a file; the loop maps it. */
static int window_take(struct keeper *k, struct kstore *ks, const struct msg *m)
{
	int fd = -EOPNOTSUPP;

	if (!range_valid(ks, m))
		return -EPROTO;
	if (!ks->dead && !(ks->flat.h->flags & FLAT_READ_ONLY) && files_can_map(ks->files, m->index)) {
		fd = files_reserve(ks->files, m->index, m->off, m->size);
		if (fd == 0)
			fd = files_fd(ks->files, m->index, true);
	}
	if (fd < 0) {
		keeper_say(k, MSG_WINDOWED, m->store, m->job, fd, NULL);
		return 0;
	}
	ks->mapped = true;
	populate(fd, m->off, (size_t)m->size);
	say_fd(k, MSG_WINDOWED, m, fd, 0);
	return 0;
}

static bool in_memory(int fd)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && ((uint32_t)s.f_type == TMPFS || (uint32_t)s.f_type == RAMFS);
}

static int load(struct kstore *ks, const struct msg *m, int *fd)
{
	const struct flat_file *f = &ks->flat.files[m->index];
	uint64_t size = m->size;
	struct stat st;

	/* What we only seed nobody may change. Pages that are in memory don't come here. */
	if ((ks->flat.h->flags & FLAT_READ_ONLY) && files_times_tell(ks->files) && files_touched(ks->files, m->index))
		return -ESTALE;
	*fd = files_fd(ks->files, m->index, false);
	if (*fd < 0)
		return *fd;
	if (fstat(*fd, &st) < 0)
		return -errno;
	/* A file that grows, or of which only the end of a piece is wanted, is shorter
	 * than it will be; what the loop will send must be there. */
	if ((uint64_t)st.st_size < m->off + m->total)
		return -ENODATA;
	size = min_u64(size, (uint64_t)st.st_size - m->off);
	return files_load(ks->files, f->off + m->off, (size_t)size);
}

static int load_take(struct keeper *k, struct kstore *ks, const struct msg *m)
{
	int fd = -1, err;

	if (!range_valid(ks, m) || m->size > SIZE_MAX || m->total == 0 || m->total > m->size)
		return -EPROTO;
	err = ks->dead ? -EIO : load(ks, m, &fd);
	if (err && !ks->dead) {
		kstore_blame(ks, m->index);
		kstore_fail(ks, "read", err);
	}
	if (err)
		keeper_say(k, MSG_LOADED, m->store, m->job, err, NULL);
	else
		say_fd(k, MSG_LOADED, m, m->flags & MSG_WANT_FD ? fd : -1,
		       m->flags & MSG_WANT_FD && in_memory(fd) ? MSG_IN_MEMORY : 0);
	return 0;
}

/* The loop met a short file. Nothing is answered when it is whole (again). */
static int suspect_take(struct kstore *ks, const struct msg *m)
{
	uint32_t file;
	int err;

	if (m->off >= ks->flat.h->size)
		return -EPROTO;
	if (ks->dead)
		return 0;
	file = flat_at(&ks->flat, m->off);
	err = files_verify_open(ks->files);
	if (err) {
		kstore_fail(ks, "use", err);
	} else if (files_stamp(ks->files, file).len < ks->flat.files[file].len) {
		kstore_blame(ks, file);
		kstore_fail(ks, "read", -ENODATA);
	}
	return 0;
}

/* Would the piece that found no space find it now? Its files are laid out, as
 * the write would do first, and there must be some to spare. */
static int probe(struct kstore *ks)
{
	const struct flat *h = ks->flat.h;
	uint64_t off = ks->full_piece * h->piece_len, end;
	struct statfs s;

	if (h->pieces == 0)
		return 0;
	end = off + flat_piece_len(h, ks->full_piece);
	for (uint32_t i = flat_at(&ks->flat, off); i < h->nfiles && ks->table[i].off < end; i++) {
		int fd = files_fd(ks->files, i, true);
		if (fd == -ENOSPC || fd == -EDQUOT)
			return fd;
	}
	if (fstatfs(files_dirfd(ks->files), &s) == 0 &&
	    (uint64_t)s.f_bavail * (uint64_t)s.f_bsize < h->piece_len + PROBE_SPARE)
		return -ENOSPC;
	return 0;
}

/* Regular files only: a FIFO or device must not hold the keeper. */
static int read_text(const char *path, uint8_t *room, size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), err = 0;
	struct stat st;

	*n = 0;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		err = -EINVAL;
	while (!err && *n < TEXT_MAX) {
		ssize_t r = read(fd, room + *n, TEXT_MAX - *n);
		if (r < 0 && errno != EINTR)
			err = -errno;
		if (r == 0)
			break;
		*n += r > 0 ? (size_t)r : 0;
	}
	close(fd);
	return err;
}

static int text_take(struct keeper *k, struct msg *m)
{
	const char *path = msg_tail(m);
	uint8_t *room;
	size_t n = 0;
	int err;

	if (m->n == 0 || path[m->n - 1] != '\0')
		return -EPROTO;
	room = alloc_array(TEXT_MAX, 1);
	err = room ? read_text(path, room, &n) : -ENOMEM;
	if (err)
		n = 0;
	for (size_t at = 0, part; at == 0 || at < n; at += part ? part : 1) {
		part = min_size(n - at, MSG_BYTES_MAX);
		struct msg *a = link_put(&k->link, MSG_TEXTED, (uint32_t)part);
		if (!a)
			break;
		a->job = m->job;
		a->err = err;
		a->first = (uint32_t)at;
		a->total = (uint32_t)n;
		if (part)
			memcpy(msg_tail(a), room + at, part);
	}
	free(room);
	return 0;
}

/* ---- the turn ---- */

static void close_take(struct keeper *k, struct kstore *ks, uint32_t id)
{
	if (ks)
		kstore_close(ks, true);
	keeper_say(k, MSG_CLOSED, id, 0, 0, NULL);
}

static int sync_take(struct kstore *ks)
{
	if (ks)
		kstore_finish(ks);
	return !ks || ks->dead ? -EIO : kstore_sync(ks);
}

/* Complete pieces wait for each other, up to the end of the batch; what must see
 * their outcome makes them go first. */
static int take(void *arg, struct msg *m)
{
	struct keeper *k = arg;
	struct kstore *ks = kstore_get(k, m->store);

	if (k->assembling && m->type != MSG_CHECK)
		return -EPROTO;
	switch (m->type) {
	case MSG_TEXT:
		return text_take(k, m);
	case MSG_OPEN:
		if (ks || m->fd < 0)
			return -EPROTO;
		kstore_open(k, m->store, m->fd);
		return 0;
	case MSG_CLOSE:
		check_run(k);
		close_take(k, ks, m->store);
		return 0;
	case MSG_SYNC:
		check_run(k);
		keeper_say(k, MSG_SYNCED, m->store, 0, sync_take(ks), NULL);
		return 0;
	default:
		break;
	}
	if (!ks) /* a store that could not be opened is only synced and closed */
		return -EPROTO;
	switch (m->type) {
	case MSG_CHECK:
		return check_take(k, ks, m, msg_tail(m));
	case MSG_WRITE:
		return write_take(k, ks, m, msg_tail(m));
	case MSG_WINDOW:
		return window_take(k, ks, m);
	case MSG_LOAD:
		return load_take(k, ks, m);
	case MSG_SUSPECT:
		return suspect_take(ks, m);
	case MSG_PROBE:
		keeper_say(k, MSG_PROBED, m->store, m->job, ks->dead ? -EIO : probe(ks), NULL);
		return 0;
	case MSG_STOW:
		return kstore_stow(ks, m, msg_tail(m));
	default:
		return -EPROTO;
	}
}

static struct kstore *next_to_check(struct keeper *k)
{
	for (size_t i = 0; i < KEEPER_SIZES; i++)
		if (!list_empty(&k->to_check[i]))
			return container_of(k->to_check[i].next, struct kstore, on_check);
	return NULL;
}

static int sleep_ms(const struct keeper *k)
{
	uint64_t soonest;

	if (list_empty(&k->due))
		return -1;
	soonest = container_of(k->due.next, struct kstore, on_due)->sync_at;
	return soonest <= k->now_ms ? 0 : (int)min_u64(soonest - k->now_ms, 60000);
}

int keeper_turn(struct keeper *k)
{
	struct kstore *ks;
	bool lags = k->link.tail - k->link.head > LAG_MAX;
	bool more;
	int got;

	k->now_ms = clock_ms();
	got = link_take(&k->link, TURN_MESSAGES, take, k);
	check_run(k);
	if (got < 0)
		return -EPIPE;
	kstore_sync_due(k);
	ks = lags ? NULL : next_to_check(k);
	if (ks)
		resume_slice(ks);
	more = next_to_check(k) != NULL;
	if (link_flush(&k->link) == -EPIPE) {
		/* the loop hears nothing any more, but what it said before is done first */
	}
	return got || more ? 0 : sleep_ms(k);
}

int keeper_init(struct keeper *k, const struct keeper_opts *o)
{
	*k = (struct keeper){
		.link = { .fd = -1 }, .pool = o->pool, .nframes = o->nframes, .alloc = o->alloc, .sync_ms = o->sync_ms,
	};
	list_init(&k->due);
	for (size_t i = 0; i < KEEPER_SIZES; i++)
		list_init(&k->to_check[i]);
	list_init(&k->checks);
	lanes_init(&k->lanes, k);
	k->cache = files_cache_new();
	return k->cache ? 0 : -ENOMEM;
}

void keeper_release(struct keeper *k)
{
	check_run(k);
	check_drop(k);
	for (size_t i = 0; i < k->nstores; i++)
		if (k->stores[i])
			kstore_close(k->stores[i], false);
	free(k->stores);
	lanes_release(&k->lanes);
	files_cache_free(k->cache);
	link_release(&k->link);
}

/* ---- the process ---- */

/* Everything but stderr (a failed assertion speaks there) and the link. */
static void close_others(int keep)
{
	struct rlimit r = { .rlim_cur = 1024 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned from = 3, kept = (unsigned)keep;

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
#ifdef SYS_close_range
	if ((kept <= from || syscall(SYS_close_range, from, kept - 1, 0) == 0) &&
	    syscall(SYS_close_range, kept >= from ? kept + 1 : from, ~0u, 0) == 0)
		return;
#endif
	getrlimit(RLIMIT_NOFILE, &r);
	for (unsigned fd = from; fd < min_u64(r.rlim_cur, 1u << 20); fd++)
		if (fd != kept)
			close((int)fd);
}

static void own_signals(void)
{
	/* SIGXFSZ: a file larger than `ulimit -f` shall be an error of its torrent, not our end */
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ };
	struct sigaction dfl = { .sa_handler = SIG_DFL }, ign = { .sa_handler = SIG_IGN };
	sigset_t none;

	for (int s = 1; s < 65; s++) /* fails for those that can't be set; a fault's report is left as it is */
		if (s != SIGSEGV && s != SIGBUS && s != SIGFPE && s != SIGILL && s != SIGABRT)
			sigaction(s, &dfl, NULL);
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		sigaction(ignored[i], &ign, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void keeper_live(struct keeper *k)
{
	int ms;

	own_signals();
	k->use_views = k->lanes.use_views = view_allow();
	close_others(k->link.fd);
	prctl(PR_SET_NAME, "bt-keeper");
	while ((ms = keeper_turn(k)) != -EPIPE) {
		struct pollfd p = { .fd = k->link.fd, .events = POLLIN };
		if (link_waits(&k->link))
			p.events |= POLLOUT;
		if (ms != 0)
			poll(&p, 1, ms);
		else if (k->link.tail - k->link.head > LAG_MAX)
			poll(&p, 1, 100); /* the loop is busy elsewhere */
	}
	keeper_release(k);
	_exit(0);
}
