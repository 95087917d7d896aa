/* SPDX-License-Identifier: MIT */
/* rig.h - for the disk's tests: a directory, a torrent of random bytes, a disk
 * with one store, and counters for every callback. */
#ifndef BT_TEST_RIG_H
#define BT_TEST_RIG_H

#include "bt.h"
#include "disk/disk.h"
#include "sha1.h"
#include "test/test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct torrent {
	uint64_t size, piece_len;
	uint32_t pieces, nfiles;
	struct store_file files[16];
	uint8_t *data, *hashes;
	uint8_t id[20];
};

struct rig {
	struct net net;
	struct disk *disk;
	struct store *store;
	struct torrent *t;
	char dir[128];
	bool no_disk_free;
	/* callbacks seen */
	int opened, open_err, checking, checking_ok, ok, bad, lost, written, write_err, loaded, full, space, failed, fail_err,
		synced, sync_err, closed, frames, dead;
	uint32_t last_index, nsums;
	uint64_t sums[4096];
	char what[700], why[100];
	char text[70000];
	size_t text_len;
	int text_err, texts;
};

static UNUSED uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static UNUSED int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Large ones are smaller where the address space is (ulimit -v). */
static UNUSED uint64_t large(uint64_t n)
{
	struct rlimit r;

	return getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur < 256 << 20 ? n / 16 : n;
}

/* ---- a torrent: one file per length ---- */

static UNUSED void torrent_make(struct torrent *t, uint64_t piece_len, const uint64_t *lens, uint32_t n)
{
	static const char *const names[] = { "a.bin", "sub/b.bin", "c.bin", "sub/d/e.bin", "f.bin", "g.bin", "h.bin" };
	uint64_t seed = 88172645463325252u;

	memset(t, 0, sizeof(*t));
	for (uint32_t i = 0; i < n; i++) {
		t->files[i] = (struct store_file){ .off = t->size, .len = lens[i], .path = names[i] };
		t->size += lens[i];
	}
	t->nfiles = n;
	t->piece_len = piece_len;
	t->pieces = (uint32_t)((t->size + piece_len - 1) / piece_len);
	t->data = malloc((size_t)t->size + 8);
	t->hashes = calloc((size_t)t->pieces + 2, 20);
	if (!t->data || !t->hashes)
		abort();
	for (size_t i = 0; i < t->size; i += 8) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		memcpy(t->data + i, &seed, 8);
	}
	for (uint32_t i = 0; i < t->pieces; i++)
		sha1(t->data + i * piece_len, (size_t)min_u64(piece_len, t->size - i * piece_len), t->hashes + 20 * i);
	memset(t->id, 0x5a, sizeof(t->id));
}

static UNUSED void torrent_free(struct torrent *t)
{
	free(t->data);
	free(t->hashes);
}

static UNUSED uint32_t piece_bytes(const struct torrent *t, uint32_t i)
{
	return (uint32_t)min_u64(t->piece_len, t->size - i * t->piece_len);
}

static UNUSED uint32_t piece_blocks(const struct torrent *t, uint32_t i)
{
	return (piece_bytes(t, i) + BLOCK_LEN - 1) / BLOCK_LEN;
}

static UNUSED uint32_t block_bytes(const struct torrent *t, uint32_t i, uint32_t b)
{
	return (uint32_t)min_u64(BLOCK_LEN, piece_bytes(t, i) - (uint64_t)b * BLOCK_LEN);
}

/* ---- directories ---- */

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static UNUSED void rm_tree(const char *dir)
{
	nftw(dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static UNUSED void dir_make(char dir[128])
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, 128, "%.100s/btdiskXXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		abort();
}

static UNUSED char *path_in(const struct rig *r, const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	return path;
}

/* Are the files on disk the torrent's bytes? */
static UNUSED bool files_equal(const struct rig *r)
{
	const struct torrent *t = r->t;
	uint8_t p[4096];
	bool same = true;

	for (uint32_t i = 0; i < t->nfiles && same; i++) {
		int fd = open(path_in(r, t->files[i].path), O_RDONLY);
		uint64_t at = 0;
		ssize_t n;
		while ((n = read(fd, p, sizeof(p))) > 0 && (uint64_t)n <= t->files[i].len - at &&
		       memcmp(p, t->data + t->files[i].off + at, (size_t)n) == 0)
			at += (uint64_t)n;
		same = fd >= 0 && n == 0 && at == t->files[i].len;
		if (fd >= 0)
			close(fd);
	}
	return same;
}

static UNUSED void files_put(const struct rig *r)
{
	const struct torrent *t = r->t;

	for (uint32_t i = 0; i < t->nfiles; i++) {
		char *path = path_in(r, t->files[i].path);
		for (char *s = path + strlen(r->dir) + 1; (s = strchr(s, '/')); s++) {
			*s = '\0';
			mkdir(path, 0777);
			*s = '/';
		}
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
		if (fd < 0 || write(fd, t->data + t->files[i].off, (size_t)t->files[i].len) != (ssize_t)t->files[i].len)
			abort();
		close(fd);
	}
}

/* ---- callbacks ---- */

static void rig_what(struct rig *r, const char *what)
{
	snprintf(r->what, sizeof(r->what), "%s", what ? what : "");
}
static void on_open(void *arg, int err, const char *what)
{
	struct rig *r = arg;
	r->opened++;
	r->open_err = err;
	rig_what(r, what);
}
static void on_checking(void *arg, uint32_t index, bool ok)
{
	struct rig *r = arg;
	(void)index;
	r->checking++;
	r->checking_ok += ok;
}
static void on_check(void *arg, uint32_t index, enum store_result res, const uint64_t *sums, uint32_t n)
{
	struct rig *r = arg;
	r->last_index = index;
	r->nsums = sums ? n : 0;
	if (sums)
		memcpy(r->sums, sums, min_size(n, ARRAY_LEN(r->sums)) * sizeof(*sums));
	r->ok += res == STORE_OK;
	r->bad += res == STORE_BAD;
	r->lost += res == STORE_LOST;
}
static void on_written(void *arg, uint32_t index, uint32_t first, uint32_t n, int err)
{
	struct rig *r = arg;
	(void)index, (void)first, (void)n;
	r->written++;
	r->write_err = err;
}
static void on_loaded(void *arg, uint32_t index)
{
	(void)index;
	((struct rig *)arg)->loaded++;
}
static void on_space(void *arg, bool full, const char *what)
{
	struct rig *r = arg;
	if (full)
		r->full++;
	else
		r->space++;
	rig_what(r, what);
}
static void on_fail(void *arg, int err, const char *what)
{
	struct rig *r = arg;
	r->failed++;
	r->fail_err = err;
	rig_what(r, what);
}
static void on_synced(void *arg, int err)
{
	struct rig *r = arg;
	r->synced++;
	r->sync_err = err;
}
static void on_closed(void *arg)
{
	struct rig *r = arg;
	r->closed++;
	r->store = NULL;
}
static void on_frames(void *arg)
{
	((struct rig *)arg)->frames++;
}
static void on_dead(void *arg, const char *why)
{
	struct rig *r = arg;
	r->dead++;
	snprintf(r->why, sizeof(r->why), "%s", why);
}
static UNUSED void on_text(void *arg, int err, struct slice text)
{
	struct rig *r = arg;
	r->texts++;
	r->text_err = err;
	r->text_len = text.n;
	if (text.n)
		memcpy(r->text, text.p, text.n);
}

/* ---- the rig ---- */

static UNUSED struct disk_opts rig_opts(struct rig *r)
{
	return (struct disk_opts){ .on_frames = on_frames, .on_dead = on_dead, .arg = r, .pool_bytes = 8 << 20 };
}

static UNUSED struct store_spec rig_spec(struct rig *r)
{
	struct torrent *t = r->t;
	return (struct store_spec){
		.dir = r->dir, .info_hash = t->id, .size = t->size, .piece_len = t->piece_len, .pieces = t->pieces,
		.hashes = t->hashes, .files = t->files, .nfiles = t->nfiles, .on_open = on_open, .on_checking = on_checking,
		.on_check = on_check, .on_written = on_written, .on_loaded = on_loaded, .on_space = on_space,
		.on_fail = on_fail, .on_synced = on_synced, .on_closed = on_closed, .arg = r,
	};
}

/* Turns until the counter moves on from what it was, at most ms. */
static UNUSED bool rig_wait(struct rig *r, const int *counter, int target, int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;

	while (*counter < target && now_ms() < until)
		if (net_turn(&r->net, 50) < 0)
			return false;
	return *counter >= target;
}

static UNUSED void rig_idle(struct rig *r, int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;

	while (now_ms() < until)
		if (net_turn(&r->net, 10) < 0)
			return;
}

static UNUSED void rig_init(struct rig *r, struct torrent *t)
{
	memset(r, 0, sizeof(*r));
	r->t = t;
	if (net_init(&r->net) < 0)
		abort();
}

static UNUSED void rig_reset(struct rig *r)
{
	memset(&r->opened, 0, sizeof(*r) - offsetof(struct rig, opened));
}

static UNUSED bool rig_disk(struct rig *r, const struct disk_opts *o)
{
	return disk_new(&r->disk, &r->net, o) == 0;
}

static UNUSED bool rig_open_spec(struct rig *r, const struct store_spec *s)
{
	rig_reset(r);
	r->store = store_open(r->disk, s);
	return r->store && rig_wait(r, &r->opened, 1, 20000) && r->open_err == 0;
}

static UNUSED bool rig_open(struct rig *r)
{
	struct store_spec s = rig_spec(r);
	return rig_open_spec(r, &s);
}

static UNUSED bool rig_close(struct rig *r, const struct store_partial *p, size_t n)
{
	store_close(r->store, p, n);
	return rig_wait(r, &r->closed, 1, 20000);
}

/* The keeper's end is waited for, so that files are quiet afterwards. */
static UNUSED void rig_disk_free(struct rig *r)
{
	int pid = r->disk ? disk_keeper_pid(r->disk) : 0;

	disk_free(r->disk);
	r->disk = NULL;
	r->store = NULL;
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static UNUSED void rig_release(struct rig *r)
{
	rig_disk_free(r);
	net_release(&r->net);
}

/* Fills frames with a piece; a wrong byte in block `spoil` unless it is LOC_NONE. */
static UNUSED bool rig_fill(struct rig *r, uint32_t index, uint32_t *locs, uint32_t spoil)
{
	for (uint32_t b = 0; b < piece_blocks(r->t, index); b++) {
		locs[b] = disk_frame_get(r->disk);
		if (locs[b] == LOC_NONE) {
			while (b-- > 0)
				disk_frame_put(r->disk, locs[b]);
			return false;
		}
		memcpy(disk_frame(r->disk, locs[b]), r->t->data + index * r->t->piece_len + (uint64_t)b * BLOCK_LEN,
		       block_bytes(r->t, index, b));
		if (b == spoil)
			disk_frame(r->disk, locs[b])[7] ^= 1;
	}
	return true;
}

static UNUSED bool rig_check(struct rig *r, uint32_t index, uint32_t spoil, bool sums)
{
	uint32_t locs[4096];

	while (!rig_fill(r, index, locs, spoil) || !store_check(r->store, index, locs, piece_blocks(r->t, index), sums))
		if (!rig_wait(r, &r->frames, r->frames + 1, 10000))
			return false;
	return true;
}

static UNUSED bool rig_all(struct rig *r)
{
	int before = r->ok;

	for (uint32_t i = 0; i < r->t->pieces; i++)
		if (!rig_check(r, i, LOC_NONE, false))
			return false;
	return rig_wait(r, &r->ok, before + (int)r->t->pieces, 20000);
}

#endif
