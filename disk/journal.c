/* SPDX-License-Identifier: MIT */
/* journal.c - which pieces are on disk, as journal.h states. The file, integers
 * big-endian, CRC is CRC-32C:
 *
 *   half 0, half 1, equally long, each
 *     snapshot, up to the fixed place of the log (a multiple of 4096)
 *        0   8  "bt-jrnl" 1
 *        8   4  CRC of bytes 12..length
 *       12   4  flags: 1 = clean
 *       16   8  generation: of two good halves the higher one counts
 *       24   8  nonce: marks the records that belong to this snapshot
 *       32  20  id (info-hash)
 *       52   4  pieces
 *       56   4  files
 *       60   4  partial pieces, 0 unless clean
 *       64   8  piece length
 *       72   4  length of the snapshot in bytes
 *       76   4  zero
 *       80      have, one bit per piece, wire order
 *               when clean: per file length 8, time of change 8
 *               when clean: per partial piece, newest first: index 4, blocks 4, bits
 *     log: records, one behind the other; the first that isn't good ends it
 *        0   4  CRC of the rest
 *        4   4  count, not 0
 *        8   8  nonce
 *       16      count indexes of pieces that are had now, 4 bytes each
 *
 * A snapshot is always written to the half that doesn't count, then synced: so
 * wherever the power fails, one half is whole. A stale record can't be taken for
 * a new one, because each snapshot draws a nonce of its own.
 *
 * The log only ever adds pieces. Losing its end, or falling back to the older
 * half, can therefore only forget something that is true. To withdraw a piece
 * both halves are written anew. Start at write_snapshot(). */
#include "disk/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER   80u
#define RECORD   16u
#define STAMP    16u
#define PARTIAL  8u     /* and the bits */
#define CLEAN    1u
#define UNIT     4096u  /* halves and logs begin at multiples: no torn write reaches into both */
#define LOG_MAX  65536u /* 16,000 pieces: then a snapshot costs little */
#define PARTIALS_MAX 65536u
#define LOCK_WAIT_MS 5000
#define GENERATION_MAX (UINT64_MAX / 2) /* so that the next one is always higher */

static const uint8_t magic[8] = { 'b', 't', '-', 'j', 'r', 'n', 'l', 1 };

/* All sizes follow from the torrent, none from the file. */
struct layout {
	uint32_t pieces, nfiles, max_blocks;
	uint64_t piece_len;
	uint8_t id[20];
	size_t bits_len;
	size_t partial_room;
	size_t log_off, half_len;
};

struct journal {
	struct layout l;
	const struct journal_io *io;
	int fd;
	unsigned half;  /* the one that counts */
	uint64_t gen;   /* highest generation ever written */
	uint64_t nonce; /* of the counting half */
	size_t end;     /* where the next record goes, in that half */
	/* Snapshots to be written before anything is appended: 1 after a failed
	 * write, 2 while a withdrawn piece is still claimed somewhere. */
	unsigned due;
	uint8_t *have;  /* inside snap */
	uint8_t snap[]; /* HEADER + bits, ready for a snapshot without memory */
};

/* ---- bytes ---- */

static ssize_t system_write(void *arg, int fd, const void *p, size_t n, off_t off)
{
	(void)arg;
	return pwrite(fd, p, n, off);
}

static int system_sync(void *arg, int fd)
{
	(void)arg;
	return fdatasync(fd) < 0 && errno != EINVAL ? -1 : 0; /* EINVAL: nothing to sync here */
}

static const struct journal_io system_io = { system_write, system_sync, NULL };

static int write_at(struct journal *j, const void *p, size_t n, uint64_t off)
{
	const uint8_t *from = p;

	while (n > 0) {
		ssize_t w = j->io->write(j->io->arg, j->fd, from, n, (off_t)off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		from += w;
		off += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

static int sync_file(struct journal *j)
{
	int r;

	do {
		r = j->io->sync(j->io->arg, j->fd);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static bool read_at(int fd, void *p, size_t n, uint64_t off)
{
	uint8_t *to = p;

	while (n > 0) {
		ssize_t r = pread(fd, to, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		to += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return true;
}

static size_t round_up(size_t n)
{
	return (n + UNIT - 1) / UNIT * UNIT;
}

static void plan(struct layout *l, const struct journal_opts *o)
{
	uint64_t blocks = (o->piece_len + BLOCK_LEN - 1) / BLOCK_LEN;

	l->pieces = o->pieces;
	l->nfiles = o->nfiles;
	l->piece_len = o->piece_len;
	memcpy(l->id, o->id, sizeof(l->id));
	l->max_blocks = (uint32_t)min_u64(blocks, 8 * (PARTIALS_MAX - PARTIAL));
	l->bits_len = bits_len(o->pieces);
	l->partial_room = (size_t)min_u64(PARTIALS_MAX, (uint64_t)o->pieces * (PARTIAL + bits_len(l->max_blocks)));
	l->log_off = round_up(HEADER + l->bits_len + (size_t)o->nfiles * STAMP + l->partial_room);
	l->half_len = l->log_off + min_size(round_up(l->bits_len), LOG_MAX);
}

/* ---- reading: every byte may be anything ---- */

void journal_state_release(struct journal_state *s)
{
	for (size_t i = 0; i < s->npartials; i++)
		free(s->partials[i].bits);
	free(s->partials);
	free(s->stamps);
	free(s->have);
	memset(s, 0, sizeof(*s));
}

static bool read_stamps(struct cur *c, const struct layout *l, struct journal_state *s)
{
	for (uint32_t i = 0; i < l->nfiles; i++) {
		struct slice b;

		if (!cur_bytes(c, STAMP, &b))
			return false;
		s->stamps[i].len = get_u64(b.p);
		s->stamps[i].mtime_ns = (int64_t)get_u64(b.p + 8);
	}
	return true;
}

/* seen: a copy of have, so a piece can't be whole and partial, nor partial twice.
 * 0 = good, -EBADMSG, -ENOMEM. */
static int read_partials(struct cur *c, const struct layout *l, uint32_t n, uint8_t *seen, struct journal_state *s)
{
	if (n > cur_left(c) / (PARTIAL + 1))
		return -EBADMSG;
	s->partials = alloc_array(n, sizeof(*s->partials));
	if (!s->partials)
		return -ENOMEM;
	s->npartials = n; /* the ones not read yet have no bits */
	while (n-- > 0) {
		struct journal_partial *p = &s->partials[n];
		struct slice bits;

		if (!cur_u32(c, &p->index) || !cur_u32(c, &p->nblocks) || p->index >= l->pieces ||
		    p->nblocks == 0 || p->nblocks > l->max_blocks || bit_get(seen, p->index) ||
		    !cur_bytes(c, bits_len(p->nblocks), &bits) || !bits_spare_clear(bits.p, p->nblocks))
			return -EBADMSG;
		bit_set(seen, p->index);
		p->bits = malloc(bits.n);
		if (!p->bits)
			return -ENOMEM;
		memcpy(p->bits, bits.p, bits.n);
	}
	return cur_left(c) == 0 ? 0 : -EBADMSG;
}

/* The header's own claims; what the CRC says comes later. */
static bool header_fits(const uint8_t *h, const struct layout *l)
{
	uint64_t bare = HEADER + l->bits_len, len = get_u32(h + 72);
	uint32_t flags = get_u32(h + 12);

	if (memcmp(h, magic, sizeof(magic)) != 0 || memcmp(h + 32, l->id, 20) != 0 || flags > CLEAN ||
	    get_u32(h + 52) != l->pieces || get_u32(h + 56) != l->nfiles || get_u64(h + 64) != l->piece_len ||
	    get_u32(h + 76) != 0 || get_u64(h + 16) > GENERATION_MAX)
		return false;
	if (!flags)
		return len == bare && get_u32(h + 60) == 0;
	return len >= bare + (uint64_t)l->nfiles * STAMP && len <= l->log_off;
}

static int parse_snapshot(uint8_t *b, const struct layout *l, struct journal_state *s)
{
	uint32_t len = get_u32(b + 72);
	struct cur c = { b + HEADER + l->bits_len, b + len };

	if (crc32c(0, b + 12, len - 12) != get_u32(b + 8))
		return -EBADMSG;
	memcpy(s->have, b + HEADER, l->bits_len);
	if (!bits_spare_clear(s->have, l->pieces))
		return -EBADMSG;
	s->clean = get_u32(b + 12) & CLEAN;
	if (!s->clean)
		return 0;
	return read_stamps(&c, l, s) ? read_partials(&c, l, get_u32(b + 60), b + HEADER, s) : -EBADMSG;
}

static bool good_record(const uint8_t *r, size_t left, uint64_t nonce, uint32_t pieces)
{
	uint32_t count;

	if (left < RECORD)
		return false;
	count = get_u32(r + 4);
	if (count == 0 || count > (left - RECORD) / 4 || get_u64(r + 8) != nonce ||
	    crc32c(0, r + 4, RECORD - 4 + 4 * (size_t)count) != get_u32(r))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (get_u32(r + RECORD + 4 * (size_t)i) >= pieces)
			return false;
	}
	return true;
}

static void replay(const uint8_t *log, size_t n, uint64_t nonce, const struct layout *l, uint8_t *have)
{
	while (good_record(log, n, nonce, l->pieces)) {
		size_t count = get_u32(log + 4);

		for (size_t i = 0; i < count; i++)
			bit_set(have, get_u32(log + RECORD + 4 * i));
		log += RECORD + 4 * count;
		n -= RECORD + 4 * count;
	}
}

/* A short file has its last records cut off, or no log at all. */
static size_t read_log(int fd, uint8_t *log, size_t n, uint64_t off)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, log + got, n - got, (off_t)(off + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		got += (size_t)r;
	}
	return got;
}

/* 0, -ENOMEM, -EBADMSG: no good half. */
static int load_half(int fd, unsigned half, const struct layout *l, struct journal_state *s, uint64_t *gen)
{
	uint8_t header[HEADER], *b;
	uint64_t at = (uint64_t)half * l->half_len;
	size_t len, log_len = l->half_len - l->log_off;
	int r = -EBADMSG;

	if (!read_at(fd, header, HEADER, at) || !header_fits(header, l))
		return -EBADMSG;
	len = get_u32(header + 72);
	b = malloc(len > log_len ? len : log_len);
	if (!b)
		return -ENOMEM;
	if (read_at(fd, b, len, at) && memcmp(b, header, HEADER) == 0)
		r = parse_snapshot(b, l, s);
	if (r == 0 && !s->clean)
		replay(b, read_log(fd, b, log_len, at + l->log_off), get_u64(header + 24), l, s->have);
	free(b);
	s->found = r == 0;
	*gen = get_u64(header + 16);
	return r;
}

static bool state_init(struct journal_state *s, const struct layout *l)
{
	memset(s, 0, sizeof(*s));
	s->have = alloc_array(l->bits_len, 1);
	s->stamps = alloc_array(l->nfiles, sizeof(*s->stamps));
	if (s->have && s->stamps)
		return true;
	journal_state_release(s);
	return false;
}

static uint64_t generation(int fd, unsigned half, const struct layout *l)
{
	uint8_t header[HEADER];
	bool fits = read_at(fd, header, HEADER, (uint64_t)half * l->half_len) && header_fits(header, l);

	return fits ? get_u64(header + 16) : 0;
}

/* Fills s from the half that counts, and says which. The half that isn't good is
 * the one that will be written next, so what it claims doesn't matter. */
static int load(int fd, const struct layout *l, struct journal_state *s, unsigned *half, uint64_t *gen)
{
	*half = generation(fd, 1, l) > generation(fd, 0, l);
	for (int tries = 0; tries < 2; tries++, *half ^= 1) {
		int r = load_half(fd, *half, l, s, gen);

		if (r == 0)
			return 0;
		journal_state_release(s);
		if (r == -ENOMEM || !state_init(s, l))
			return -ENOMEM;
	}
	*half = 1;
	*gen = 0;
	return 0;
}

/* ---- writing ---- */

/* To the half that doesn't count, then that is the one that does. b begins with
 * HEADER bytes of room; len in all. */
static int write_snapshot_of(struct journal *j, uint8_t *b, size_t len, uint32_t flags, uint32_t partials)
{
	unsigned half = j->half ^ 1;
	uint64_t nonce;
	int r;

	j->gen++; /* also when this fails: a second try must be newer than what it left */
	random_bytes(&nonce, sizeof(nonce));
	memcpy(b, magic, sizeof(magic));
	put_u32(b + 12, flags);
	put_u64(b + 16, j->gen);
	put_u64(b + 24, nonce);
	memcpy(b + 32, j->l.id, 20);
	put_u32(b + 52, j->l.pieces);
	put_u32(b + 56, j->l.nfiles);
	put_u32(b + 60, partials);
	put_u64(b + 64, j->l.piece_len);
	put_u32(b + 72, (uint32_t)len);
	put_u32(b + 76, 0);
	put_u32(b + 8, crc32c(0, b + 12, len - 12));
	r = write_at(j, b, len, (uint64_t)half * j->l.half_len);
	if (r == 0)
		r = sync_file(j);
	if (r < 0)
		return r;
	j->half = half;
	j->nonce = nonce;
	j->end = j->l.log_off;
	if (j->due > 0)
		j->due--;
	return 0;
}

static int write_snapshot(struct journal *j)
{
	return write_snapshot_of(j, j->snap, HEADER + j->l.bits_len, 0, 0);
}

static int write_due(struct journal *j)
{
	int r = 0;

	while (j->due > 0 && r == 0)
		r = write_snapshot(j);
	return r;
}

static int append(struct journal *j, const uint32_t *pieces, size_t n)
{
	size_t len = RECORD + 4 * n;
	uint8_t *rec = malloc(len);
	int r;

	if (!rec)
		return write_snapshot(j); /* needs no memory */
	put_u32(rec + 4, (uint32_t)n);
	put_u64(rec + 8, j->nonce);
	for (size_t i = 0; i < n; i++)
		put_u32(rec + RECORD + 4 * i, pieces[i]);
	put_u32(rec, crc32c(0, rec + 4, len - 4));
	r = write_at(j, rec, len, (uint64_t)j->half * j->l.half_len + j->end);
	if (r == 0)
		r = sync_file(j);
	if (r == 0)
		j->end += len;
	else
		j->due = 1; /* nobody knows what is there now: go on in the other half */
	free(rec);
	return r;
}

int journal_have(struct journal *j, const uint32_t *pieces, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert(pieces[i] < j->l.pieces);
		bit_set(j->have, pieces[i]);
	}
	if (j->due == 0 && n > 0 && (j->l.half_len - j->end < RECORD || n > (j->l.half_len - j->end - RECORD) / 4))
		j->due = 1;
	if (j->due > 0)
		return write_due(j);
	return n > 0 ? append(j, pieces, n) : 0;
}

int journal_lost(struct journal *j, const uint32_t *pieces, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert(pieces[i] < j->l.pieces);
		bit_clear(j->have, pieces[i]);
	}
	if (n > 0)
		j->due = 2;
	return write_due(j);
}

/* ---- beginning ---- */

static int lock(int fd)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000000 };

	for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; ms += 10) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return 0; /* no locks here (some network file systems) */
		if (ms >= LOCK_WAIT_MS)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Real zeros, not a hole and not fallocate: from now on every write goes where
 * something was written already, so a full disk can't refuse it. */
static int fill(struct journal *j, uint64_t from)
{
	static const uint8_t zeros[UNIT];
	uint64_t end = 2 * (uint64_t)j->l.half_len;
	int r = 0;

	while (r == 0 && from < end) {
		size_t n = (size_t)min_u64(UNIT - from % UNIT, end - from);

		r = write_at(j, zeros, n, from);
		from += n;
	}
	return r < 0 ? r : sync_file(j);
}

/* The journal as it is on disk becomes ours: long enough, and unclean. */
static int take_over(struct journal *j, const struct journal_opts *o, const struct journal_state *s, uint64_t size)
{
	int r = 0;

	if (!s->found)
		size = 0; /* whatever it held is nothing to us */
	if (size < 2 * (uint64_t)j->l.half_len)
		r = fill(j, size);
	if (r == 0)
		r = write_snapshot(j);
	if (r == 0 && !s->found && fsync(o->dirfd) < 0 && errno == EIO)
		r = -EIO; /* its name; not every file system can do this */
	return r;
}

static struct journal *journal_make(const struct layout *l)
{
	struct journal *j = calloc(1, sizeof(*j) + HEADER + l->bits_len);

	if (!j)
		return NULL;
	j->l = *l;
	j->fd = -1;
	j->have = j->snap + HEADER;
	return j;
}

/* When it can't be written it can often still be read. */
static int open_file(const struct journal_opts *o, bool *created, int *err)
{
	const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(o->dirfd, o->name, O_RDWR | flags);

	*created = false;
	*err = 0;
	if (fd < 0 && errno == ENOENT) {
		fd = openat(o->dirfd, o->name, O_RDWR | O_CREAT | O_EXCL | flags, 0666);
		*created = fd >= 0;
		if (fd < 0 && errno == EEXIST)
			fd = openat(o->dirfd, o->name, O_RDWR | flags);
	}
	if (fd < 0) {
		*err = -errno;
		fd = openat(o->dirfd, o->name, O_RDONLY | flags);
	}
	return fd;
}

int journal_open(struct journal **out, const struct journal_opts *o, struct journal_state *s)
{
	struct layout l;
	struct journal *j = NULL;
	struct stat st;
	bool created = false, took_back = false;
	uint64_t gen = 0;
	unsigned half = 1;
	int fd = -1, r = -ENOMEM;

	*out = NULL;
	plan(&l, o);
	if (!state_init(s, &l))
		return -ENOMEM;
	j = journal_make(&l);
	if (!j)
		goto fail;
	fd = open_file(o, &created, &r);
	if (fd < 0)
		goto fail;
	if (r == 0)
		r = lock(fd);
	if (r == -EBUSY)
		created = false; /* it is theirs now */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		r = -ENXIO;
	if (r == 0 || r == -EROFS || r == -EACCES || r == -EPERM || r == -EBUSY) {
		int e = load(fd, &l, s, &half, &gen);

		if (e == 0 && s->found && o->judge)
			took_back = o->judge(o->judge_arg, s);
		r = e < 0 ? e : r;
	}
	if (r < 0)
		goto fail;
	j->io = o->io ? o->io : &system_io;
	j->fd = fd;
	j->half = half;
	j->gen = gen;
	memcpy(j->have, s->have, l.bits_len);
	r = take_over(j, o, s, (uint64_t)st.st_size);
	if (r == 0 && took_back)
		r = write_snapshot(j); /* the older half claims it still */
	if (r < 0)
		goto fail;
	*out = j;
	return 0;
fail:
	if (created)
		(void)unlinkat(o->dirfd, o->name, 0);
	if (fd >= 0)
		close(fd);
	free(j);
	return r;
}

/* ---- ending ---- */

/* Newest first, until the room is used up. j->have serves to see what was put already. */
static uint32_t put_partials(struct journal *j, uint8_t *to, const struct journal_partial *p, size_t n, size_t *used)
{
	uint32_t count = 0;

	*used = 0;
	while (n-- > 0) {
		size_t len = bits_len(p[n].nblocks);

		if (p[n].index >= j->l.pieces || bit_get(j->have, p[n].index) || p[n].nblocks == 0 ||
		    p[n].nblocks > j->l.max_blocks)
			continue;
		if (PARTIAL + len > j->l.partial_room - *used)
			break;
		put_u32(to, p[n].index);
		put_u32(to + 4, p[n].nblocks);
		memcpy(to + PARTIAL, p[n].bits, len);
		if (p[n].nblocks % 8)
			to[PARTIAL + len - 1] &= (uint8_t) ~(0xff >> p[n].nblocks % 8);
		bit_set(j->have, p[n].index);
		to += PARTIAL + len;
		*used += PARTIAL + len;
		count++;
	}
	return count;
}

int journal_close(struct journal *j, const struct file_stamp *stamps, const struct journal_partial *partials, size_t n)
{
	size_t len = HEADER + j->l.bits_len + (size_t)j->l.nfiles * STAMP, used = 0;
	uint8_t *b = malloc(len + j->l.partial_room), *to = b ? b + HEADER : NULL;
	uint32_t count;
	int r = 0;

	while (j->due > 1 && r == 0)
		r = write_snapshot(j);
	if (r == 0 && !b)
		r = -ENOMEM;
	if (r == 0) {
		memcpy(to, j->have, j->l.bits_len);
		to += j->l.bits_len;
		for (uint32_t i = 0; i < j->l.nfiles; i++, to += STAMP) {
			put_u64(to, stamps[i].len);
			put_u64(to + 8, (uint64_t)stamps[i].mtime_ns);
		}
		count = put_partials(j, to, partials, n, &used);
		r = write_snapshot_of(j, b, len + used, CLEAN, count);
	}
	free(b);
	journal_drop(j);
	return r;
}

void journal_drop(struct journal *j)
{
	if (!j)
		return;
	close(j->fd);
	free(j);
}
