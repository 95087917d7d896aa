/* SPDX-License-Identifier: MIT */
/* serve.c - what a seeder of the load generator sends: requests (BEP 3) wait in a
 * ring; up to LOAD_FRAMES of them at a time become headers and pointers for one
 * writev. The bytes are mapped or read once from files, or made on the way out; if
 * the socket takes only part of them, the rest is made again. Start at
 * load_conn_output(). */
#include "load/load.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- where the bytes come from ---- */

static int fail_at(char *err, size_t err_size, const char *path, const char *why)
{
	char safe[256];

	snprintf(err, err_size, "%s: %s", text_escape(safe, sizeof(safe), slice_str(path)), why);
	return -EINVAL;
}

/* One file of the tree, into its place. */
static int read_file(const char *path, uint8_t *p, uint64_t len, char *err, size_t err_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	ssize_t n = 0;

	if (fd < 0)
		return fail_at(err, err_size, path, strerror(errno));
	for (uint64_t done = 0; done < len; done += (uint64_t)n) {
		n = read(fd, p + done, (size_t)min_u64(len - done, 1u << 30));
		if (n <= 0) {
			r = fail_at(err, err_size, path, n < 0 ? strerror(errno) : "shorter than in the torrent");
			break;
		}
	}
	close(fd);
	return r;
}

static int read_tree(struct load_source *s, uint8_t *all, const char *dir, char *err, size_t err_size)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->meta->nfiles; i++) {
		const struct bt_file *f = &s->meta->files[i];
		char *path;

		if (f->len == 0 || f->attr & (BT_FILE_PAD | BT_FILE_SYMLINK))
			continue;
		if (asprintf(&path, "%s/%s", dir, f->path) < 0)
			return -ENOMEM;
		r = read_file(path, all + f->off, f->len, err, err_size);
		free(path);
	}
	return r;
}

/* A single file is mapped: writev alone touches it, so one that shrinks meanwhile is
 * an error of that call. A tree is read into memory. */
static int open_data(struct load_source *s, const char *path, char *err, size_t err_size)
{
	size_t len = (size_t)s->meta->size;
	struct stat st;
	void *map;
	int fd;

	if (s->meta->size > SIZE_MAX / 2)
		return fail_at(err, err_size, path, "too large for this machine's address space");
	if (stat(path, &st) < 0)
		return fail_at(err, err_size, path, strerror(errno));
	if (S_ISDIR(st.st_mode)) {
		map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED)
			return fail_at(err, err_size, path, strerror(errno));
		s->map = map;
		return read_tree(s, map, path, err, err_size);
	}
	if (!s->meta->single_file || (uint64_t)st.st_size < s->meta->size)
		return fail_at(err, err_size, path, s->meta->single_file ? "shorter than in the torrent" :
									      "must be the directory that holds the torrent's");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		fail_at(err, err_size, path, strerror(errno));
	else
		s->map = map;
	if (fd >= 0)
		close(fd);
	return s->map ? 0 : -EINVAL;
}

/* Has the torrent the made content? Its first and last piece tell. */
static int check_made(struct load_source *s, char *err, size_t err_size)
{
	const struct bt_meta *m = s->meta;
	uint32_t index[2] = { 0, m->pieces - 1 };
	bool same = true;

	for (size_t i = 0; same && i < 2; i++) {
		uint64_t off = index[i] * m->piece_len, len = min_u64(m->piece_len, m->size - off), done = 0;
		uint8_t digest[SHA1_LEN];
		struct sha1 sha;

		sha1_init(&sha);
		for (; len - done >= LOAD_SCRATCH; done += LOAD_SCRATCH) {
			bt_load_content(s->scratch, LOAD_SCRATCH, off + done);
			sha1_update(&sha, s->scratch, LOAD_SCRATCH);
		}
		bt_load_content(s->scratch, (size_t)(len - done), off + done);
		sha1_final(&sha, s->scratch, (size_t)(len - done), digest);
		same = memcmp(digest, m->hashes + (size_t)index[i] * SHA1_LEN, SHA1_LEN) == 0;
	}
	if (!same)
		snprintf(err, err_size, "this torrent was not made by 'bt bench make': --data names its files");
	return same ? 0 : -EINVAL;
}

int load_source_open(struct load_source *s, const struct bt_meta *meta, const char *path, char *err, size_t err_size)
{
	*s = (struct load_source){ .meta = meta };
	if (path)
		return open_data(s, path, err, err_size);
	s->scratch = malloc(LOAD_SCRATCH);
	return s->scratch ? check_made(s, err, err_size) : -ENOMEM;
}

void load_source_close(struct load_source *s)
{
	if (s->map)
		munmap((void *)(uintptr_t)s->map, (size_t)s->meta->size);
	free(s->scratch);
	s->map = NULL;
	s->scratch = NULL;
}

/* ---- requests ---- */

static struct load_want *want_at(const struct load_conn *c, uint32_t i)
{
	return &c->wants[(c->want_head + i) & (c->want_cap - 1)];
}

static void refuse(struct load_conn *c, const struct wire_msg *m)
{
	if (c->fast)
		wire_put_block(&c->out, WIRE_REJECT, m->index, m->begin, m->len);
}

static bool grow(struct load_conn *c)
{
	uint32_t cap = c->want_cap ? c->want_cap * 2 : 16;
	struct load_want *fresh = cap <= LOAD_WANTS ? alloc_array(cap, sizeof(*fresh)) : NULL;

	if (!fresh)
		return false;
	for (uint32_t i = 0; i < c->want_n; i++)
		fresh[i] = *want_at(c, i);
	free(c->wants);
	c->wants = fresh;
	c->want_cap = cap;
	c->want_head = 0;
	return true;
}

void load_conn_want(struct load_conn *c, const struct wire_msg *m, uint64_t now_us)
{
	struct load_side *up = &c->job->up;

	if (!c->seed || !c->unchoking || (c->want_n == c->want_cap && !grow(c))) {
		refuse(c, m);
		return;
	}
	*want_at(c, c->want_n++) = (struct load_want){ m->index, m->begin, m->len, now_us };
	if (c->want_n > up->deepest)
		up->deepest = c->want_n;
	if (!c->job->first_us)
		c->job->first_us = now_us;
}

void load_conn_cancel(struct load_conn *c, const struct wire_msg *m)
{
	for (uint32_t i = c->sent ? 1 : 0; i < c->want_n; i++) {
		struct load_want *w = want_at(c, i);

		if (w->index != m->index || w->begin != m->begin || w->len != m->len)
			continue;
		for (; i + 1 < c->want_n; i++)
			*want_at(c, i) = *want_at(c, i + 1);
		c->want_n--;
		refuse(c, m);
		return;
	}
}

/* ---- out ---- */

static size_t frame_len(const struct load_want *w) { return WIRE_PIECE_HEAD + (size_t)w->len; }

/* n bytes from off: mapped, or made in what is left of the scratch. */
static const uint8_t *bytes_at(struct load_source *s, uint64_t off, size_t n, size_t *made)
{
	uint8_t *p;

	if (s->map)
		return s->map + off;
	if (n > LOAD_SCRATCH - *made)
		return NULL;
	p = s->scratch + *made;
	bt_load_content(p, n, off);
	*made += n;
	return p;
}

_Static_assert(WIRE_BLOCK_MAX <= LOAD_SCRATCH, "the longest block must fit");

size_t load_conn_output(struct load_conn *c, struct iovec *v, struct load_heads *heads)
{
	struct load_job *j = c->job;
	size_t n = 0, made = 0, skip = c->sent;

	/* Control messages go between frames: not while one is half out. */
	if (c->out.n > 0 && c->sent == 0)
		v[n++] = (struct iovec){ c->out.p, c->out.n };
	for (uint32_t i = 0; i < c->want_n && i < LOAD_FRAMES; i++, skip = 0) {
		const struct load_want *w = want_at(c, i);
		size_t body = skip > WIRE_PIECE_HEAD ? skip - WIRE_PIECE_HEAD : 0;
		const uint8_t *p = bytes_at(&j->source, w->index * j->limits.piece_len + w->begin + body, w->len - body, &made);

		if (!p)
			break;
		if (skip < WIRE_PIECE_HEAD) {
			wire_put_piece_head(heads->head[i], w->index, w->begin, w->len);
			v[n++] = (struct iovec){ heads->head[i] + skip, WIRE_PIECE_HEAD - skip };
		}
		v[n++] = (struct iovec){ (void *)(uintptr_t)p, w->len - body };
	}
	return n;
}

void load_conn_wrote(struct load_conn *c, size_t n, uint64_t now_us)
{
	struct load_side *up = &c->job->up;

	if (c->sent == 0 && c->out.n > 0) {
		size_t part = min_size(n, c->out.n);
		buf_drop(&c->out, part);
		n -= part;
	}
	while (n > 0) {
		const struct load_want *w = want_at(c, 0);
		size_t part = min_size(n, frame_len(w) - c->sent);

		c->sent += part;
		n -= part;
		c->job->last_us = now_us;
		if (c->sent < frame_len(w))
			break;
		c->bytes += w->len;
		up->bytes += w->len;
		up->blocks++;
		load_hist_add(&up->latency, now_us - w->at_us);
		c->sent = 0;
		c->want_head = (c->want_head + 1) & (c->want_cap - 1);
		c->want_n--;
	}
}
