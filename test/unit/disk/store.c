/* SPDX-License-Identifier: MIT */
/* A store's life, in one process and with a keeper: pieces good, bad and large,
 * sums, blocks written early, reading for upload, closing. Needs 256 MiB. */
#include "rig.h"

static const uint64_t odd[] = { 100000, 0, 1, 700001, 16384, 65536 };

static void test_whole(bool one_process)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	int fds = count_fds();

	torrent_make(&t, 65536, odd, 6);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o));
	CHECK(rig_open(&r));
	CHECK(r.what[0] == '\0');
	CHECK(r.checking == 0 && bits_count(store_have(r.store), t.pieces) == 0);
	CHECK(rig_all(&r));
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(disk_frames_free(r.disk) == disk_frames_total(r.disk));
	store_sync(r.store);
	CHECK(rig_wait(&r, &r.synced, 1, 5000) && r.sync_err == 0);
	CHECK(files_equal(&r));
	CHECK(rig_close(&r, NULL, 0));

	/* again: nothing is looked at */
	CHECK(rig_open(&r));
	CHECK(r.checking == 0 && bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
	CHECK(count_fds() == fds);
}

static void test_bad(bool one_process)
{
	const uint64_t lens[] = { 10 * 65536 + 5 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	uint8_t digest[20];

	torrent_make(&t, 65536, lens, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(rig_check(&r, 3, 2, false) && rig_wait(&r, &r.bad, 1, 5000));
	CHECK(r.last_index == 3 && r.nsums == 4);
	for (uint32_t b = 0; b < 4; b++) {
		sha1(t.data + 3 * 65536 + b * BLOCK_LEN, BLOCK_LEN, digest);
		CHECK((r.sums[b] == get_u64(digest)) == (b != 2));
	}
	CHECK(!bit_get(store_have(r.store), 3));
	CHECK(rig_check(&r, 3, LOC_NONE, true) && rig_wait(&r, &r.ok, 1, 5000));
	CHECK(r.nsums == 4 && bit_get(store_have(r.store), 3));
	sha1(t.data + 3 * 65536 + 2 * BLOCK_LEN, BLOCK_LEN, digest);
	CHECK(r.sums[2] == get_u64(digest));
	CHECK(rig_check(&r, 10, LOC_NONE, false) && rig_wait(&r, &r.ok, 2, 5000)); /* five bytes */
	CHECK(disk_frames_free(r.disk) == disk_frames_total(r.disk));
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* A piece of 64 MiB through a pool of 2: blocks are written as they come. */
static void test_large(bool one_process)
{
	const uint64_t piece_len = large(64 << 20), lens[] = { piece_len + (1 << 20) };
	const uint32_t blocks = (uint32_t)(piece_len / BLOCK_LEN);
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	uint32_t frames[32], *locs = malloc(4096 * sizeof(*locs));

	torrent_make(&t, piece_len, lens, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.pool_bytes = 1;
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(disk_frames_total(r.disk) == 128);
	for (uint32_t b = 0; b < blocks; b += 32) {
		for (uint32_t i = 0; i < 32; i++) {
			while ((frames[i] = disk_frame_get(r.disk)) == LOC_NONE)
				CHECK(rig_wait(&r, &r.frames, r.frames + 1, 5000));
			memcpy(disk_frame(r.disk, frames[i]), t.data + (size_t)(b + i) * BLOCK_LEN, BLOCK_LEN);
			locs[b + i] = LOC_FILE;
		}
		if (b < blocks - 64) {
			while (!store_write(r.store, 0, b, frames, 32))
				CHECK(rig_wait(&r, &r.frames, r.frames + 1, 5000));
		} else {
			memcpy(locs + b, frames, sizeof(frames)); /* the last ones with the check */
		}
	}
	CHECK(rig_wait(&r, &r.written, (int)blocks / 32 - 2, 10000) && r.write_err == 0);
	CHECK(store_check(r.store, 0, locs, blocks, true));
	CHECK(rig_wait(&r, &r.ok, 1, 10000) && r.nsums == blocks);
	CHECK(rig_check(&r, 1, LOC_NONE, false) && rig_wait(&r, &r.ok, 2, 10000));
	CHECK(rig_close(&r, NULL, 0) && files_equal(&r));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
	free(locs);
}

/* Reads everything through store_run and compares. */
static bool read_back(struct rig *r, size_t want)
{
	uint8_t *p = malloc(1 << 20);
	uint64_t off = 0;
	bool good = true;

	while (good && off < r->t->size) {
		struct store_run run;
		enum store_ready ready = store_run(r->store, off, want, &run);
		int before = r->loaded;
		if (ready == STORE_WAIT) {
			good = rig_wait(r, &r->loaded, before + 1, 5000);
			continue;
		}
		good = ready == STORE_READY && run.len > 0 && run.len <= want;
		if (good && run.fd < 0)
			memset(p, 0, run.len);
		else if (good)
			good = pread(run.fd, p, run.len, (off_t)run.off) == (ssize_t)run.len;
		good = good && memcmp(p, r->t->data + off, run.len) == 0;
		off += run.len;
	}
	free(p);
	return good;
}

static void test_upload(bool one_process)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	struct store_spec s;
	struct store_run run;

	torrent_make(&t, 65536, odd, 6);
	t.files[4].attr = BT_FILE_PAD;
	memset(t.data + t.files[4].off, 0, (size_t)t.files[4].len);
	for (uint32_t i = 0; i < t.pieces; i++)
		sha1(t.data + i * 65536, piece_bytes(&t, i), t.hashes + 20 * i);
	rig_init(&r, &t);
	dir_make(r.dir);
	files_put(&r);
	remove(path_in(&r, t.files[4].path));
	o = rig_opts(&r);
	o.one_process = one_process;
	s = rig_spec(&r);
	s.read_only = true;
	CHECK(rig_disk(&r, &o) && rig_open_spec(&r, &s));
	CHECK(r.checking == (int)t.pieces && r.checking_ok == (int)t.pieces);
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(read_back(&r, 16384) && read_back(&r, 1 << 20));
	/* a file that is cut while it is served */
	CHECK(truncate(path_in(&r, "sub/d/e.bin"), 1000) == 0);
	CHECK(store_run(r.store, t.files[3].off + 5000, 100, &run) != STORE_GONE);
	store_suspect(r.store, t.files[3].off + 5000);
	CHECK(rig_wait(&r, &r.failed, 1, 5000));
	CHECK(strstr(r.what, "sub/d/e.bin") != NULL);
	CHECK(store_run(r.store, 0, 100, &run) == STORE_GONE);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* A torrent of nothing but an empty file. */
static void test_empty(bool one_process)
{
	const uint64_t lens[] = { 0 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;

	torrent_make(&t, 16384, lens, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o) && rig_open(&r) && rig_close(&r, NULL, 0));
	CHECK(access(path_in(&r, "a.bin"), F_OK) == 0);
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* What can't be opened says so, and is closed all the same. */
static void test_refused(bool one_process)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	struct store_spec s;

	torrent_make(&t, 65536, odd, 6);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o));
	s = rig_spec(&r);
	s.dir = path_in(&r, "absent");
	s.read_only = true;
	CHECK(!rig_open_spec(&r, &s) && r.opened == 1 && r.open_err == -ENOENT);
	CHECK(strstr(r.what, "absent") != NULL);
	store_sync(r.store);
	CHECK(rig_wait(&r, &r.synced, 1, 5000) && r.sync_err < 0);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

int main(void)
{
	for (int one = 1; one >= 0; one--) {
		test_whole(one);
		test_bad(one);
		test_large(one);
		test_upload(one);
		test_empty(one);
		test_refused(one);
	}
	return test_done();
}
