/* SPDX-License-Identifier: MIT */
/* flat.c - a torrent's description as one run of bytes in a sealed memfd: head,
 * file table, texts, piece hashes. The loop writes it once and hands it over;
 * so two million hashes exist once, and neither end can change what the other
 * has checked. Everything is checked when it is mapped, then trusted. */
#include "disk/proto.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAT_ALIGN 65536u /* hashes begin on a page of any size, so that the loop can leave them out, */
#define FLAT_SMALL 65536u /* unless all of it is no longer than this: then views are copies */
#define FLAT_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Collects small parts; memfd_create'd memory has no short writes but at its limits. */
struct writer {
	int fd, err;
	uint64_t off;
	size_t n;
	uint8_t room[8192];
};

static void write_out(struct writer *w, const uint8_t *p, size_t n)
{
	while (n && !w->err) {
		ssize_t r = pwrite(w->fd, p, n, (off_t)w->off);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			w->err = r < 0 ? -errno : -ENOSPC;
			break;
		}
		w->off += (uint64_t)r;
		p += r;
		n -= (size_t)r;
	}
}

static void writer_put(struct writer *w, const void *p, size_t n)
{
	if (n > sizeof(w->room) - w->n) {
		write_out(w, w->room, w->n);
		w->n = 0;
	}
	if (n > sizeof(w->room)) {
		write_out(w, p, n);
		return;
	}
	memcpy(w->room + w->n, p, n);
	w->n += n;
}

static void writer_text(struct writer *w, const char *s)
{
	if (s)
		writer_put(w, s, strlen(s) + 1);
}

/* Place of the next text; *at moves on. */
static uint32_t text_place(uint64_t *at, const char *s)
{
	uint64_t here = *at;

	if (!s)
		return FLAT_NO_TEXT;
	*at += strlen(s) + 1;
	return (uint32_t)min_u64(here, FLAT_NO_TEXT - 1);
}

static void write_front(struct writer *w, const struct store_spec *s)
{
	struct flat h = {
		.size = s->size, .piece_len = s->piece_len, .pieces = s->pieces, .nfiles = s->nfiles,
		.flags = (s->read_only ? FLAT_READ_ONLY : 0u) | (s->force_check ? FLAT_FORCE_CHECK : 0u) |
			 (s->check_only ? FLAT_CHECK_ONLY : 0u),
	};
	uint64_t at = 0;

	memcpy(h.info_hash, s->info_hash, sizeof(h.info_hash));
	h.text_off = sizeof(h) + (uint64_t)s->nfiles * sizeof(struct flat_file);
	h.dir = text_place(&at, s->dir);
	h.state_dir = text_place(&at, s->state_dir);
	for (uint32_t i = 0; i < s->nfiles; i++) {
		text_place(&at, s->files[i].path);
		text_place(&at, s->files[i].target);
	}
	h.text_len = at;
	h.hashes_off = h.text_off + h.text_len;
	if (h.hashes_off + (uint64_t)s->pieces * 20 > FLAT_SMALL)
		h.hashes_off = (h.hashes_off + FLAT_ALIGN - 1) & ~(uint64_t)(FLAT_ALIGN - 1);
	if (at >= FLAT_NO_TEXT)
		w->err = -EFBIG;
	writer_put(w, &h, sizeof(h));
	at = 0;
	text_place(&at, s->dir);
	text_place(&at, s->state_dir);
	for (uint32_t i = 0; i < s->nfiles; i++) {
		const struct store_file *f = &s->files[i];
		struct flat_file e = { .off = f->off, .len = f->len, .attr = f->attr, .unwanted = f->unwanted };
		e.path = text_place(&at, f->path);
		e.target = text_place(&at, f->target);
		writer_put(w, &e, sizeof(e));
	}
	writer_text(w, s->dir);
	writer_text(w, s->state_dir);
	for (uint32_t i = 0; i < s->nfiles; i++) {
		writer_text(w, s->files[i].path);
		writer_text(w, s->files[i].target);
	}
	write_out(w, w->room, w->n);
	w->off = h.hashes_off;
}

static int begin(struct writer *w)
{
	*w = (struct writer){ .fd = memfd_create("bt-torrent", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	return w->fd < 0 ? -errno : 0;
}

static int seal(struct writer *w)
{
	if (!w->err && ftruncate(w->fd, (off_t)w->off) < 0) /* no pieces: the hashes' place must exist */
		w->err = -errno;
	if (!w->err && fcntl(w->fd, F_ADD_SEALS, FLAT_SEALS | F_SEAL_SEAL) < 0)
		w->err = -errno;
	if (w->err) {
		close(w->fd);
		return w->err;
	}
	return w->fd;
}

int flat_make(const struct store_spec *s)
{
	struct writer w;
	int err = begin(&w);

	if (err)
		return err;
	write_front(&w, s);
	/* pwrite by pages of the file's own cache: no fault, no SIGBUS, ENOMEM at worst */
	write_out(&w, s->hashes, (size_t)s->pieces * 20);
	return seal(&w);
}

int flat_make_again(const struct flat_view *v)
{
	struct writer w;
	int err = begin(&w);

	if (err)
		return err;
	write_out(&w, (const uint8_t *)v->h, v->map_len);
	return seal(&w);
}

static bool text_valid(const struct flat *h, uint32_t at, bool needed)
{
	return at == FLAT_NO_TEXT ? !needed : at < h->text_len;
}

static bool head_valid(const struct flat *h, uint64_t len)
{
	if (len < sizeof(*h) || h->nfiles == 0)
		return false;
	if (h->text_off != sizeof(*h) + (uint64_t)h->nfiles * sizeof(struct flat_file) || h->text_off > len ||
	    h->text_len == 0 || h->text_len > len - h->text_off)
		return false;
	if (h->hashes_off < h->text_off + h->text_len || h->hashes_off > len ||
	    (len > FLAT_SMALL && h->hashes_off % FLAT_ALIGN) ||
	    len - h->hashes_off != (uint64_t)h->pieces * 20)
		return false;
	if (h->piece_len == 0 || h->piece_len > 32767ull * BLOCK_LEN || h->size > INT64_MAX)
		return false;
	return h->pieces == h->size / h->piece_len + (h->size % h->piece_len != 0);
}

static bool view_valid(const struct flat_view *v)
{
	const struct flat *h = v->h;
	uint64_t off = 0;

	if (v->text[h->text_len - 1] != '\0' || !text_valid(h, h->dir, true) || !text_valid(h, h->state_dir, false))
		return false;
	for (uint32_t i = 0; i < h->nfiles; i++) {
		const struct flat_file *f = &v->files[i];
		if (f->off != off || f->len > h->size - off || !text_valid(h, f->path, true) ||
		    !text_valid(h, f->target, false))
			return false;
		off += f->len;
	}
	return off == h->size;
}

int flat_map(struct flat_view *v, int fd, bool with_hashes)
{
	struct flat h;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	void *p;

	*v = (struct flat_view){ 0 };
	if (seals < 0 || (seals & FLAT_SEALS) != FLAT_SEALS || fstat(fd, &st) < 0 ||
	    pread(fd, &h, sizeof(h), 0) != sizeof(h) || !head_valid(&h, (uint64_t)st.st_size))
		return -EPROTO;
	v->map_len = (size_t)(with_hashes ? (uint64_t)st.st_size : h.hashes_off);
	if (v->map_len != (with_hashes ? (uint64_t)st.st_size : h.hashes_off))
		return -ENOMEM;
	v->copied = st.st_size <= FLAT_SMALL;
	p = v->copied ? malloc(v->map_len) : mmap(NULL, v->map_len, PROT_READ, MAP_SHARED, fd, 0);
	if (!p || p == MAP_FAILED)
		return p ? -errno : -ENOMEM;
	if (v->copied && pread(fd, p, v->map_len, 0) != (ssize_t)v->map_len) {
		free(p);
		return -EIO;
	}
	v->h = p;
	v->files = (const void *)((const char *)p + sizeof(h));
	v->text = (const char *)p + h.text_off;
	v->hashes = with_hashes ? (const uint8_t *)p + h.hashes_off : NULL;
	if (view_valid(v))
		return 0;
	flat_unmap(v);
	return -EPROTO;
}

void flat_unmap(struct flat_view *v)
{
	if (v->h && v->copied)
		free((void *)(uintptr_t)v->h);
	else if (v->h)
		munmap((void *)(uintptr_t)v->h, v->map_len);
	*v = (struct flat_view){ 0 };
}

uint32_t flat_at(const struct flat_view *v, uint64_t off)
{
	uint32_t lo = 0, hi = v->h->nfiles - 1;

	while (lo < hi) { /* the last file that begins at or before off */
		uint32_t mid = lo + (hi - lo + 1) / 2;
		if (v->files[mid].off <= off)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo; /* never an empty one: its successor begins at the same byte */
}
