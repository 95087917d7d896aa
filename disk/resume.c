/* SPDX-License-Identifier: MIT */
/* resume.c - what of the data on disk is there already. The journal's pieces are
 * trusted where nothing speaks against them: after a clean stop, files of
 * unchanged size and time; after an unclean one, files that are long enough,
 * for the journal never names what was not synced. Everything else that could
 * be data goes through the lanes, a few milliseconds per turn, between other
 * jobs. Holes are left out, unless the piece is one of zeros.
 * Start at resume_start() and resume_slice(). */
#include "bt.h"
#include "disk/keeper.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SLICE_US 10000        /* other torrents' blocks wait no longer than this */
#define NEWS_MAX 1024u        /* pieces per MSG_CHECKING */
#define AHEAD_BYTES (4u << 20) /* read ahead of the lanes */
#define ZEROS 65536u

struct resume {
	struct journal_state js;
	struct file_stamp *stamps; /* as the files are now */
	bool all;      /* look at everything */
	uint32_t next; /* pieces before it are decided or in the lanes */
	uint32_t asked; /* pieces before it were read ahead, so that disk and lanes work at once */
	struct lanes lanes;
	struct hash_piece slots[SHA1_MAX_LANES];
	bool busy[SHA1_MAX_LANES];
	uint32_t news[NEWS_MAX];
	uint32_t nnews;
	bool zeros_known;
	uint8_t zeros[2][SHA1_LEN]; /* hash of a piece of zeros: full length, last one's */
};

static uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Are the files below a piece as the journal knew them? */
static bool files_as_before(const struct kstore *ks, const struct journal_state *js, uint32_t index)
{
	const struct resume *r = ks->resume;
	uint64_t off = index * ks->flat.h->piece_len, end = off + flat_piece_len(ks->flat.h, index);

	for (uint32_t i = flat_at(&ks->flat, off); i < ks->flat.h->nfiles && ks->table[i].off < end; i++) {
		const struct store_file *f = &ks->table[i];
		if (f->len == 0 || (f->attr & BT_FILE_PAD))
			continue;
		if (js->clean ? js->stamps[i].len != r->stamps[i].len ||
				js->stamps[i].mtime_ns != r->stamps[i].mtime_ns
			      : r->stamps[i].len < min_u64(end - f->off, f->len))
			return false;
	}
	return true;
}

/* Bits that are not trusted are taken back before the journal is marked unclean:
 * from then on its stamps count no more, and a start after a kill would believe
 * every file that is long enough. */
bool resume_judge(void *arg, struct journal_state *js)
{
	struct kstore *ks = arg;
	bool took_back = false;

	for (uint32_t i = 0; i < ks->flat.h->pieces; i++) {
		if (!bit_get(js->have, i) || (!ks->resume->all && files_as_before(ks, js, i)))
			continue;
		bit_clear(js->have, i);
		took_back = true;
	}
	return took_back;
}

/* Small ones first: they need not wait for large ones. */
static void line_up(struct kstore *ks)
{
	uint32_t pieces = ks->flat.h->pieces, size = 0;

	while (pieces >> size && size < KEEPER_SIZES - 1)
		size++;
	list_push_back(&ks->k->to_check[size], &ks->on_check);
}

int resume_new(struct kstore *ks)
{
	struct resume *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	ks->resume = r;
	lanes_init(&r->lanes, ks->k);
	r->all = (ks->flat.h->flags & (FLAT_FORCE_CHECK | FLAT_CHECK_ONLY)) != 0;
	r->stamps = alloc_array(ks->flat.h->nfiles, sizeof(*r->stamps));
	if (!r->stamps)
		return -ENOMEM;
	/* before anything is read: what changes while it is looked at has changed */
	if (!(ks->flat.h->flags & FLAT_CHECK_ONLY))
		for (uint32_t i = 0; i < ks->flat.h->nfiles; i++)
			r->stamps[i] = files_know(ks->files, i);
	return 0;
}

void resume_start(struct kstore *ks, struct journal_state *js)
{
	struct resume *r = ks->resume;

	r->js = *js;
	memset(js, 0, sizeof(*js));
	if (!r->js.found || r->all)
		r->js.clean = false;
	if (r->js.found)
		memcpy(ks->have, r->js.have, bits_len(ks->flat.h->pieces));
	line_up(ks);
}

void resume_free(struct kstore *ks)
{
	if (!ks->resume)
		return;
	list_remove(&ks->on_check);
	journal_state_release(&ks->resume->js);
	lanes_release(&ks->resume->lanes);
	free(ks->resume->stamps);
	free(ks->resume);
	ks->resume = NULL;
}

/* ---- which pieces are worth looking at ---- */

static void hash_zeros(uint64_t len, uint8_t out[SHA1_LEN])
{
	uint8_t *zeros = alloc_array(ZEROS, 1);
	struct sha1 s;

	memset(out, 0, SHA1_LEN); /* no memory: matches nothing */
	if (!zeros)
		return;
	sha1_init(&s);
	for (; len >= ZEROS; len -= ZEROS)
		sha1_update(&s, zeros, ZEROS);
	sha1_final(&s, zeros, (size_t)len, out);
	free(zeros);
}

static bool is_zeros(struct kstore *ks, uint32_t index)
{
	const struct flat *h = ks->flat.h;
	struct resume *r = ks->resume;

	if (!r->zeros_known) {
		hash_zeros(flat_piece_len(h, 0), r->zeros[0]);
		hash_zeros(flat_piece_len(h, h->pieces - 1), r->zeros[1]);
		r->zeros_known = true;
	}
	return memcmp(ks->flat.hashes + (size_t)index * SHA1_LEN, r->zeros[index == h->pieces - 1], SHA1_LEN) == 0;
}

static bool worth_hashing(struct kstore *ks, uint32_t index)
{
	const struct resume *r = ks->resume;

	if (bit_get(ks->have, index))
		return false;
	if (r->all)
		return true;
	if (r->js.clean && files_as_before(ks, &r->js, index))
		return false;
	return files_has_data(ks->files, index * ks->flat.h->piece_len, flat_piece_len(ks->flat.h, index)) ||
	       is_zeros(ks, index);
}

/* ---- looking ---- */

static void tell_news(struct kstore *ks)
{
	struct resume *r = ks->resume;
	struct msg *m = r->nnews ? link_put(&ks->k->link, MSG_CHECKING, r->nnews) : NULL;

	if (m) {
		m->store = ks->id;
		memcpy(msg_tail(m), r->news, r->nnews * sizeof(*r->news));
	}
	r->nnews = 0;
}

static void looked_at(struct keeper *k, struct hash_piece *hp)
{
	struct kstore *ks = hp->ks;
	struct resume *r = ks->resume;
	char what[MSG_WHAT_MAX];
	bool ok = !hp->err && memcmp(hp->digest, ks->flat.hashes + (size_t)hp->index * SHA1_LEN, SHA1_LEN) == 0;

	(void)k;
	r->busy[hp - r->slots] = false;
	if (hp->err == -ENOMEM) {
		kstore_fail(ks, "check", hp->err); /* not wrong data: it must not be thrown away */
		return;
	}
	if (hp->err && hp->err != -ENOENT && hp->err != -ENODATA && !ks->warning)
		ks->warning = strdup(kstore_what(what, ks, "read", hp->err));
	if (ok && (ks->flat.h->flags & FLAT_CHECK_ONLY)) {
		bit_set(ks->have, hp->index);
	} else if (ok) {
		/* perhaps only in the page cache so far: synced before the journal names it */
		kstore_raw(ks, hp->index);
		kstore_done(ks, hp->index);
	}
	r->news[r->nnews++] = hp->index << 1 | ok;
	if (r->nnews == NEWS_MAX)
		tell_news(ks);
}

static void tell_have(struct kstore *ks)
{
	size_t len = bits_len(ks->flat.h->pieces);

	for (size_t at = 0, n; at < len; at += n) {
		n = min_size(len - at, MSG_BYTES_MAX);
		struct msg *m = link_put(&ks->k->link, MSG_HAVE, (uint32_t)n);
		if (!m)
			return;
		m->store = ks->id;
		m->first = (uint32_t)at;
		memcpy(msg_tail(m), ks->have + at, n);
	}
}

static void tell_partials(struct kstore *ks)
{
	struct resume *r = ks->resume;

	for (size_t i = 0; r->js.clean && !r->all && i < r->js.npartials; i++) {
		const struct journal_partial *p = &r->js.partials[i];
		if (p->index >= ks->flat.h->pieces || p->nblocks != flat_blocks(ks->flat.h, p->index) ||
		    bit_get(ks->have, p->index) || !files_as_before(ks, &r->js, p->index))
			continue;
		struct msg *m = link_put(&ks->k->link, MSG_PARTIAL, (uint32_t)bits_len(p->nblocks));
		if (!m)
			return;
		m->store = ks->id;
		m->index = p->index;
		m->total = p->nblocks;
		memcpy(msg_tail(m), p->bits, bits_len(p->nblocks));
	}
}

static bool finished(struct kstore *ks)
{
	char what[MSG_WHAT_MAX];

	tell_news(ks);
	if (ks->dead) {
		keeper_say(ks->k, MSG_OPENED, ks->id, 0, -EIO, kstore_what(what, ks, "check", -EIO));
		resume_free(ks);
		return true;
	}
	tell_have(ks);
	tell_partials(ks);
	resume_free(ks);
	kstore_finish(ks);
	keeper_say(ks->k, MSG_OPENED, ks->id, 0, 0, ks->warning);
	free(ks->warning);
	ks->warning = NULL;
	return true;
}

static struct hash_piece *free_slot(struct resume *r)
{
	size_t i = 0;

	while (r->busy[i])
		i++;
	r->busy[i] = true;
	return &r->slots[i];
}

/* The pieces the lanes will be given next, asked for in runs as long as a disk
 * likes them. Long pieces see to themselves, but for their beginning. */
static void ask_ahead(struct kstore *ks)
{
	const struct flat *h = ks->flat.h;
	struct resume *r = ks->resume;
	uint64_t run = h->piece_len > LOAD_AHEAD ? 1 : AHEAD_BYTES / h->piece_len;

	if (r->asked < r->next)
		r->asked = r->next;
	while (r->asked < h->pieces && r->asked - r->next < run) {
		uint64_t first = r->asked, off = first * h->piece_len;
		while (r->asked < h->pieces && r->asked - first < run && !bit_get(ks->have, r->asked))
			r->asked++;
		read_ahead(ks, off, run == 1 ? min_u64(LOAD_AHEAD, h->size - off)
					     : min_u64(r->asked * h->piece_len, h->size) - off);
		r->asked += r->asked == first; /* one we have */
	}
}

bool resume_slice(struct kstore *ks)
{
	struct resume *r = ks->resume;
	uint64_t until = clock_us() + SLICE_US;

	while (!ks->dead && clock_us() < until) {
		for (unsigned i = 0; i < 64 && lanes_room(&r->lanes) && r->next < ks->flat.h->pieces; i++) {
			uint32_t index = r->next++;
			if (!worth_hashing(ks, index))
				continue;
			struct hash_piece *hp = free_slot(r);
			*hp = (struct hash_piece){ .ks = ks, .index = index, .ahead = index < r->asked ? LOAD_AHEAD : 0 };
			lanes_add(&r->lanes, hp);
			ask_ahead(ks);
		}
		if (r->lanes.n)
			lanes_step(&r->lanes, ks->k, looked_at);
		else if (r->next == ks->flat.h->pieces)
			return finished(ks);
	}
	if (ks->dead)
		return finished(ks);
	tell_news(ks);
	return false;
}
