/* SPDX-License-Identifier: MIT */
/* kstore.c - one torrent's storage in the keeper: opening, syncing, closing.
 * The order of durability is kept here: kstore_sync() first makes data safe,
 * then tells the journal. What could not be synced was perhaps never written,
 * even if a later fsync succeeds, so the loop hears that those pieces are lost.
 * Start at kstore_open() and kstore_sync(). */
#include "bt.h"
#include "disk/keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRESH_MAX 16384u           /* pieces between two records; then a sync is due */
#define WRITEOUT_BYTES (8u << 20)  /* written since the last start: start again, so that syncs are short */
#define RAW_FILES 64u              /* sync up to so many files one by one, else their whole file system */
#define STOW_MAX 65536u            /* partial pieces the loop may hand over at the end */

struct kstore *kstore_get(struct keeper *k, uint32_t id)
{
	return id < k->nstores ? k->stores[id] : NULL;
}

void kstore_blame(struct kstore *ks, uint32_t file)
{
	ks->blame = ks->table[file].path;
}

char *kstore_what(char out[MSG_WHAT_MAX], const struct kstore *ks, const char *verb, int err)
{
	const char *path = ks->blame ? ks->blame : ks->files ? files_culprit(ks->files) : "";
	const char *why = err == -ENODATA ? "the file is too short" :
			  err == -ESTALE ? "the file was deleted, replaced or changed while in use" : strerror(-err);

	snprintf(out, MSG_WHAT_MAX, "cannot %s %s: %s", verb, *path ? path : ks->flat.text + ks->flat.h->dir, why);
	return out;
}

/* What the journal says of files that somebody else has put a hand on is taken
 * back. After a clean end the stamps tell; after another the next start trusts
 * every file that is long enough. */
static void distrust(struct kstore *ks)
{
	const struct flat *h = ks->flat.h;
	uint32_t *lost = ks->journal ? alloc_array((size_t)h->pieces + 1, sizeof(*lost)) : NULL, n = 0;

	for (uint32_t i = 0; lost && i < h->nfiles; i++) {
		const struct store_file *f = &ks->table[i];
		if (f->len == 0 || !files_touched(ks->files, i))
			continue;
		for (uint64_t p = f->off / h->piece_len; p * h->piece_len < f->off + f->len; p++) {
			if (bit_get(ks->have, (uint32_t)p))
				lost[n++] = (uint32_t)p;
			bit_clear(ks->have, (uint32_t)p);
		}
	}
	if (n && journal_lost(ks->journal, lost, n) < 0) {
		journal_drop(ks->journal);
		ks->journal = NULL;
	}
	free(lost);
}

void kstore_fail(struct kstore *ks, const char *verb, int err)
{
	char what[MSG_WHAT_MAX];

	if (ks->dead)
		return;
	ks->dead = true;
	keeper_say(ks->k, MSG_FAILED, ks->id, 0, err, kstore_what(what, ks, verb, err));
	ks->blame = NULL;
	distrust(ks);
}

/* ---- open ---- */

static int make_table(struct kstore *ks)
{
	const struct flat_view *v = &ks->flat;

	ks->table = alloc_array(v->h->nfiles, sizeof(*ks->table));
	if (!ks->table)
		return -ENOMEM;
	for (uint32_t i = 0; i < v->h->nfiles; i++) {
		const struct flat_file *f = &v->files[i];
		ks->table[i] = (struct store_file){
			.off = f->off, .len = f->len, .path = v->text + f->path,
			.target = f->target == FLAT_NO_TEXT ? NULL : v->text + f->target,
			.attr = f->attr, .unwanted = f->unwanted != 0,
		};
	}
	return 0;
}

/* A directory and those above it. */
static int make_dirs(const char *path)
{
	char part[4096];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0777) < 0 && errno != EEXIST && i == n)
			return -errno;
	}
	return 0;
}

/* The journal's directory; made when absent. */
static int state_dir(const struct kstore *ks)
{
	const struct flat *h = ks->flat.h;
	int fd, made;

	if (h->state_dir != FLAT_NO_TEXT) {
		const char *dir = ks->flat.text + h->state_dir;
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT) {
			int err = make_dirs(dir);
			if (err)
				return err;
			fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		}
		return fd < 0 ? -errno : fd;
	}
	made = mkdirat(files_dirfd(ks->files), ".bt", 0777) < 0 ? -errno : 0;
	if (made && made != -EEXIST && made != -EROFS)
		return made;
	fd = openat(files_dirfd(ks->files), ".bt", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return made == -EROFS ? made : -errno; /* none there, and none can be made */
	return fd;
}

static int open_journal(struct kstore *ks, struct journal_state *js)
{
	const struct flat *h = ks->flat.h;
	char name[2 * sizeof(h->info_hash) + sizeof(".journal")];
	int fd = state_dir(ks), err;

	if (fd < 0)
		return fd;
	hex_encode(name, h->info_hash, sizeof(h->info_hash));
	memcpy(name + 2 * sizeof(h->info_hash), ".journal", sizeof(".journal"));
	err = journal_open(&ks->journal, &(struct journal_opts){ .dirfd = fd, .name = name, .id = h->info_hash,
		.pieces = h->pieces, .nfiles = h->nfiles, .piece_len = h->piece_len,
		.judge = resume_judge, .judge_arg = ks }, js);
	close(fd);
	return err;
}

/* Work goes on without a journal; on a read-only volume nobody expected one, nor who
 * only reads beside another bt. */
static void warn_journal(struct kstore *ks, int err)
{
	bool expected = err == -EROFS || ((ks->flat.h->flags & FLAT_READ_ONLY) &&
					  (err == -EACCES || err == -EPERM || err == -EBUSY));

	ks->journal = NULL;
	if (!expected && !ks->warning && asprintf(&ks->warning, "cannot write the journal, so the next start "
						  "checks all data: %s", strerror(-err)) < 0)
		ks->warning = NULL;
}

static int open_parts(struct kstore *ks, int fd, char what[MSG_WHAT_MAX])
{
	struct keeper *k = ks->k;
	struct journal_state js = { 0 };
	int err = flat_map(&ks->flat, fd, true);

	snprintf(what, MSG_WHAT_MAX, "cannot open the torrent's storage: %s", strerror(-err));
	if (err)
		return err;
	err = make_table(ks);
	ks->have = alloc_array(bits_len(ks->flat.h->pieces) + 1, 1);
	if (err || !ks->have)
		return -ENOMEM;
	err = files_new(&ks->files, k->cache, &(struct files_opts){
		.dir = ks->flat.text + ks->flat.h->dir, .files = ks->table, .nfiles = ks->flat.h->nfiles,
		.read_only = (ks->flat.h->flags & (FLAT_READ_ONLY | FLAT_CHECK_ONLY)) != 0, .alloc = k->alloc });
	if (err) {
		ks->files = NULL;
		kstore_what(what, ks, "open", err);
		return err;
	}
	err = resume_new(ks);
	snprintf(what, MSG_WHAT_MAX, "cannot open the torrent's storage: %s", strerror(-err));
	if (err)
		return err;
	if (!(ks->flat.h->flags & FLAT_CHECK_ONLY)) {
		err = open_journal(ks, &js);
		if (err == -EBUSY && !(ks->flat.h->flags & FLAT_READ_ONLY)) { /* two writers would spoil each other's pieces */
			snprintf(what, MSG_WHAT_MAX, "another bt is using %s", ks->flat.text + ks->flat.h->dir);
			journal_state_release(&js);
			return err;
		}
		if (err)
			warn_journal(ks, err);
	}
	resume_start(ks, &js); /* takes js over */
	return 0;
}

static void free_parts(struct kstore *ks)
{
	resume_free(ks);
	list_remove(&ks->on_due);
	if (ks->journal)
		journal_drop(ks->journal);
	if (ks->files)
		files_free(ks->files);
	for (size_t i = 0; i < ks->nstow; i++)
		free(ks->stow[i].bits);
	free(ks->stow);
	free(ks->warning);
	free(ks->fresh);
	free(ks->have);
	free(ks->table);
	flat_unmap(&ks->flat);
	free(ks);
}

void kstore_open(struct keeper *k, uint32_t id, int fd)
{
	struct kstore *ks = calloc(1, sizeof(*ks));
	void *stores = k->stores;
	char what[MSG_WHAT_MAX] = "not enough memory";
	int err = -ENOMEM;

	if (ks && id < 1u << 20 && grow_array(&stores, &k->stores_cap, (size_t)id + 1, sizeof(*k->stores))) {
		k->stores = stores;
		while (k->nstores <= id)
			k->stores[k->nstores++] = NULL;
		ks->k = k;
		ks->id = id;
		ks->raw_lo = UINT32_MAX;
		list_init(&ks->on_due);
		list_init(&ks->on_check);
		err = open_parts(ks, fd, what);
		if (!err) {
			k->stores[id] = ks;
			return;
		}
		free_parts(ks);
	} else {
		k->stores = stores;
		free(ks);
	}
	keeper_say(k, MSG_OPENED, id, 0, err, what);
}

/* ---- what is written becomes durable ---- */

static void due(struct kstore *ks)
{
	if (ks->sync_at)
		return;
	ks->sync_at = ks->k->now_ms + ks->k->sync_ms;
	list_push_back(&ks->k->due, &ks->on_due); /* all wait equally long: it stays in order */
}

void kstore_raw(struct kstore *ks, uint32_t index)
{
	const struct flat *h = ks->flat.h;
	uint64_t off = index * h->piece_len;
	uint32_t lo = flat_at(&ks->flat, off), hi = flat_at(&ks->flat, off + flat_piece_len(h, index) - 1);

	if (ks->raw_lo > ks->raw_hi) {
		ks->raw_lo = lo;
		ks->raw_hi = hi;
	}
	ks->raw_lo = lo < ks->raw_lo ? lo : ks->raw_lo;
	ks->raw_hi = hi > ks->raw_hi ? hi : ks->raw_hi;
	due(ks);
}

void kstore_mapped(struct kstore *ks, uint32_t index)
{
	files_wrote(ks->files, index * ks->flat.h->piece_len, flat_piece_len(ks->flat.h, index));
	kstore_raw(ks, index);
}

void kstore_done(struct kstore *ks, uint32_t index)
{
	void *fresh = ks->fresh;

	bit_set(ks->have, index);
	if (ks->nfresh == FRESH_MAX || !grow_array(&fresh, &ks->fresh_cap, ks->nfresh + 1, sizeof(*ks->fresh)))
		kstore_sync(ks);
	else
		ks->fresh = fresh;
	if (ks->nfresh < ks->fresh_cap)
		ks->fresh[ks->nfresh++] = index;
	due(ks);
}

void kstore_written(struct kstore *ks)
{
	uint64_t dirty = files_dirty(ks->files);

	due(ks);
	if (dirty - ks->started < WRITEOUT_BYTES)
		return;
	ks->started = dirty;
	files_start_writeout(ks->files);
}

static int sync_raw(struct kstore *ks)
{
	uint32_t lo = ks->raw_lo, hi = ks->raw_hi;
	int err = 0;

	ks->raw_lo = UINT32_MAX;
	ks->raw_hi = 0;
	if (lo > hi)
		return 0;
	if (hi - lo >= RAW_FILES && syncfs(files_dirfd(ks->files)) == 0)
		return 0;
	for (uint32_t i = lo; i <= hi && !err; i++) {
		int fd = ks->table[i].len && !(ks->table[i].attr & (BT_FILE_PAD | BT_FILE_SYMLINK)) ?
			 files_fd(ks->files, i, false) : -ENOENT;
		if (fd >= 0 && fdatasync(fd) < 0 && errno != EROFS && errno != EINVAL) {
			err = -errno;
			kstore_blame(ks, i);
		}
	}
	return err;
}

/* After a failed sync the kernel may have dropped the data and forgotten the error. */
static void lose_fresh(struct kstore *ks)
{
	for (size_t at = 0, n; at < ks->nfresh; at += n) {
		n = min_size(ks->nfresh - at, MSG_LOCS_MAX);
		struct msg *m = link_put(&ks->k->link, MSG_LOST, (uint32_t)n);
		if (!m)
			break;
		m->store = ks->id;
		memcpy(msg_tail(m), ks->fresh + at, n * sizeof(*ks->fresh));
	}
	for (size_t i = 0; i < ks->nfresh; i++)
		bit_clear(ks->have, ks->fresh[i]);
	ks->nfresh = 0;
}

int kstore_sync(struct kstore *ks)
{
	int err;

	ks->sync_at = ks->started = 0;
	list_remove(&ks->on_due);
	if (ks->dead)
		return -EIO;
	err = files_verify_open(ks->files);
	if (err) {
		kstore_fail(ks, "use", err);
		return err;
	}
	err = files_sync(ks->files);
	if (!err)
		err = sync_raw(ks);
	if (err) {
		lose_fresh(ks);
		if (err != -ENOSPC && err != -EDQUOT)
			kstore_fail(ks, "sync", err);
		ks->blame = NULL;
		return err;
	}
	if (ks->nfresh && ks->journal && journal_have(ks->journal, ks->fresh, ks->nfresh) < 0) {
		/* it stays unclean: the next start looks at what it does not name */
		journal_drop(ks->journal);
		ks->journal = NULL;
	}
	ks->nfresh = 0;
	return 0;
}

void kstore_sync_due(struct keeper *k)
{
	while (!list_empty(&k->due)) {
		struct kstore *ks = container_of(k->due.next, struct kstore, on_due);
		if (ks->sync_at > k->now_ms)
			return;
		if (kstore_sync(ks) < 0) {
			/* told: MSG_LOST or MSG_FAILED */
		}
	}
}

/* ---- the end ---- */

int kstore_stow(struct kstore *ks, const struct msg *m, const uint8_t *bits)
{
	void *stow = ks->stow;
	uint8_t *copy;

	if (m->index >= ks->flat.h->pieces || m->total != flat_blocks(ks->flat.h, m->index) ||
	    m->n != bits_len(m->total) || !bits_spare_clear(bits, m->total))
		return -EPROTO;
	if (ks->nstow == STOW_MAX || !grow_array(&stow, &ks->stow_cap, ks->nstow + 1, sizeof(*ks->stow)))
		return 0; /* downloaded again */
	ks->stow = stow;
	copy = malloc(m->n);
	if (!copy)
		return 0;
	memcpy(copy, bits, m->n);
	ks->stow[ks->nstow++] = (struct journal_partial){ .index = m->index, .nblocks = m->total, .bits = copy };
	if (ks->mapped)
		kstore_mapped(ks, m->index);
	due(ks);
	return 0;
}

static bool file_complete(const struct kstore *ks, const struct store_file *f)
{
	uint64_t first, last;

	if (f->unwanted || f->len == 0 || (f->attr & BT_FILE_PAD))
		return true;
	first = f->off / ks->flat.h->piece_len;
	last = (f->off + f->len - 1) / ks->flat.h->piece_len;
	for (uint64_t i = first; i <= last; i++)
		if (!bit_get(ks->have, (uint32_t)i))
			return false;
	return true;
}

void kstore_finish(struct kstore *ks)
{
	int err;

	if (ks->dead || ks->resume || (ks->flat.h->flags & (FLAT_READ_ONLY | FLAT_CHECK_ONLY)))
		return;
	for (uint32_t i = 0; i < ks->flat.h->nfiles; i++)
		if (!file_complete(ks, &ks->table[i]))
			return;
	err = files_finish(ks->files);
	if (err && err != -EPERM && err != -EOPNOTSUPP) /* FAT knows no links and modes */
		kstore_fail(ks, "finish", err);
}

static void close_journal(struct kstore *ks)
{
	static const struct file_stamp never = { .len = UINT64_MAX }; /* no file is like this */
	struct journal *j = ks->journal;
	struct file_stamp *stamps = alloc_array(ks->flat.h->nfiles, sizeof(*stamps));

	if (stamps) {
		for (uint32_t i = 0; i < ks->flat.h->nfiles; i++)
			stamps[i] = files_touched(ks->files, i) ? never : files_stamp(ks->files, i);
		ks->journal = NULL;
		if (journal_close(j, stamps, ks->stow, ks->nstow) < 0) {
			/* unclean then: the next start looks closer */
		}
	}
	free(stamps);
}

void kstore_close(struct kstore *ks, bool clean)
{
	/* Looking at existing data was cut short: what was found so far is kept,
	 * the rest must be looked at again, so the journal stays unclean. */
	bool cut = ks->resume != NULL;

	if (!ks->dead) {
		if (clean)
			kstore_finish(ks);
		if (kstore_sync(ks) == 0 && clean && !cut && ks->journal)
			close_journal(ks);
		else if (!ks->dead)
			distrust(ks);
	}
	ks->k->stores[ks->id] = NULL;
	free_parts(ks);
}
