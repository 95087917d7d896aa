/* SPDX-License-Identifier: MIT */
/* hash.c - the piece hashes of files that are already complete, as scan.h
 * states. Consecutive pieces go through the SIMD lanes together, each lane with
 * a file descriptor of its own, so that the kernel sees one sequential reader per
 * lane; chunks are small enough for all lanes' bytes to be hashed out of L2.
 * Start at hash_group(). */
#include "disk/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Per lane. 2 GB from the page cache, 16 lanes of AVX-512, L2 of 2 MiB: chunks of
 * 8 KiB 0.95 s, 16 KiB 0.64, 32 KiB 0.60, 64 KiB 0.58; smaller L2 want less. */
#define CHUNK       32768u
#define AHEAD       (1u << 20) /* asked of the kernel at once: a seek of a hard disk costs less than reading it */
#define PROGRESS_MS 100

/* A byte of the torrent. */
struct place {
	size_t part;
	uint64_t off; /* in the part, < len unless behind the last */
};

struct hash_lane {
	struct sha1 sha;
	struct place at;
	uint64_t left;  /* of its piece */
	int fd;         /* of part `opened`, -1 = none */
	size_t opened;
	uint64_t asked; /* the kernel was asked to read that file up to here */
	uint8_t *buf;
};

struct hasher {
	const struct hash_job *job;
	struct hash_lane lane[SHA1_MAX_LANES];
	size_t lanes;
	struct place next; /* where the next piece begins */
	uint64_t done, told_ms;
	char *err;
	size_t err_size;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void place_skip(const struct hasher *h, struct place *p, uint64_t n)
{
	while (p->part < h->job->nparts && n >= h->job->parts[p->part].len - p->off) {
		n -= h->job->parts[p->part].len - p->off;
		p->part++;
		p->off = 0;
	}
	p->off += n;
}

/* Still the file that was listed? Asked before its bytes are read and after. */
static bool unchanged(const struct hasher *h, const struct hash_part *part, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return scan_error(h->err, h->err_size, part->open, strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != part->len ||
	    (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != part->mtime_ns)
		return scan_error(h->err, h->err_size, part->open, "changed while it was being read");
	return true;
}

static bool leave(const struct hasher *h, struct hash_lane *l)
{
	bool ok = true;

	if (l->fd >= 0) {
		ok = unchanged(h, &h->job->parts[l->opened], l->fd);
		close(l->fd);
		l->fd = -1;
	}
	return ok;
}

static bool enter(const struct hasher *h, struct hash_lane *l)
{
	const struct hash_part *part = &h->job->parts[l->at.part];

	if (l->fd >= 0 && l->opened == l->at.part)
		return true;
	if (!leave(h, l))
		return false;
	l->fd = open(part->open, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (l->fd < 0)
		return scan_error(h->err, h->err_size, part->open, strerror(errno));
	l->opened = l->at.part;
	l->asked = 0;
	return unchanged(h, part, l->fd);
}

/* n bytes that lie in one part. */
static bool read_part(const struct hasher *h, struct hash_lane *l, uint8_t *to, size_t n)
{
	const struct hash_part *part = &h->job->parts[l->at.part];
	uint64_t off = l->at.off;

	if (!part->open) {
		memset(to, 0, n);
		return true;
	}
	if (!enter(h, l))
		return false;
	if (off + n > l->asked) {
		uint64_t ahead = min_u64(min_u64(l->left, AHEAD), part->len - off);

		(void)posix_fadvise(l->fd, (off_t)off, (off_t)ahead, POSIX_FADV_WILLNEED);
		l->asked = off + ahead;
	}
	while (n > 0) {
		ssize_t r = pread(l->fd, to, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return scan_error(h->err, h->err_size, part->open, strerror(errno));
		if (r == 0)
			return scan_error(h->err, h->err_size, part->open, "changed while it was being read");
		to += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return true;
}

static bool fill(const struct hasher *h, struct hash_lane *l, size_t n)
{
	uint8_t *to = l->buf;

	while (n > 0) {
		size_t some = (size_t)min_u64(n, h->job->parts[l->at.part].len - l->at.off);

		if (!read_part(h, l, to, some))
			return false;
		place_skip(h, &l->at, some);
		l->left -= some;
		to += some;
		n -= some;
	}
	return true;
}

static bool tell(struct hasher *h, bool now)
{
	uint64_t ms;

	if (!h->job->on_progress)
		return true;
	ms = now_ms();
	if (!now && ms - h->told_ms < PROGRESS_MS)
		return true;
	h->told_ms = ms;
	if (h->job->on_progress(h->job->arg, h->done, h->job->size))
		return true;
	snprintf(h->err, h->err_size, "stopped");
	return false;
}

/* n pieces side by side. Only the torrent's last may be short; it is the last here too. */
static bool hash_group(struct hasher *h, size_t n, uint8_t *hashes)
{
	struct sha1 *sha[SHA1_MAX_LANES];
	const uint8_t *from[SHA1_MAX_LANES];
	uint64_t rest = h->job->size - h->done;

	for (size_t i = 0; i < n; i++) {
		struct hash_lane *l = &h->lane[i];

		sha1_init(&l->sha);
		l->at = h->next;
		l->left = min_u64(h->job->piece_len, rest);
		rest -= l->left;
		place_skip(h, &h->next, l->left);
		sha[i] = &l->sha;
		from[i] = l->buf;
	}
	for (uint64_t pos = 0; n > 0; pos += CHUNK) {
		size_t step = (size_t)min_u64(CHUNK, h->job->piece_len - pos), full = n;
		struct hash_lane *last = &h->lane[n - 1];
		size_t tail = (size_t)min_u64(step, last->left);

		for (size_t i = 0; i < n; i++) {
			if (!fill(h, &h->lane[i], i == n - 1 ? tail : step))
				return false;
		}
		h->done += (uint64_t)(n - 1) * step + tail;
		if (tail < step)
			full--;
		if (full > 0)
			sha1_update_many(sha, from, full, step);
		if (tail < step)
			sha1_final(&last->sha, last->buf, tail, hashes + (n - 1) * SHA1_LEN);
		for (size_t i = 0; i < full && pos + step == h->job->piece_len; i++)
			sha1_final(&h->lane[i].sha, NULL, 0, hashes + i * SHA1_LEN);
		n = pos + step == h->job->piece_len ? 0 : full;
		if (!tell(h, false))
			return false;
	}
	return true;
}

bool hash_parts(const struct hash_job *job, uint8_t *hashes, char *err, size_t err_size)
{
	struct hasher h = { .job = job, .lanes = sha1_lanes(), .err = err, .err_size = err_size };
	uint8_t *buf = aligned_alloc(64, h.lanes * CHUNK);
	bool ok = true;

	if (!buf) {
		snprintf(err, err_size, "out of memory");
		return false;
	}
	for (size_t i = 0; i < h.lanes; i++) {
		h.lane[i].fd = -1;
		h.lane[i].buf = buf + i * CHUNK;
	}
	place_skip(&h, &h.next, 0); /* past empty parts */
	while (ok && h.done < job->size) {
		uint64_t pieces = (job->size - h.done + job->piece_len - 1) / job->piece_len;
		size_t n = (size_t)min_u64(pieces, h.lanes);

		ok = hash_group(&h, n, hashes);
		hashes += n * SHA1_LEN;
	}
	for (size_t i = 0; i < h.lanes; i++) {
		if (ok)
			ok = leave(&h, &h.lane[i]);
		else if (h.lane[i].fd >= 0)
			close(h.lane[i].fd);
	}
	free(buf);
	return ok && tell(&h, true);
}
