/* SPDX-License-Identifier: MIT */
/* Mapped windows: blocks in place, pieces that fit none, a file cut short under
 * a window, budgets. Needs 128 MiB. */
#include "rig.h"
#include <sys/socket.h>

/* Receives a block as a socket would deliver it. */
static bool recv_at(uint8_t *to, const uint8_t *from, size_t n)
{
	int s[2];
	bool good = socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && send(s[0], from, n, 0) == (ssize_t)n;

	for (size_t at = 0; good && at < n;) {
		ssize_t r = recv(s[1], to + at, n - at, 0);
		good = r > 0;
		at += good ? (size_t)r : 0;
	}
	close(s[0]);
	close(s[1]);
	return good;
}

/* A piece with every block in place when there is a place, else in a frame. */
static bool put_piece(struct rig *r, uint32_t index, int *placed)
{
	uint32_t locs[1024];
	uint8_t *at = NULL;

	for (int tries = 0; tries < 20 && !at; tries++) {
		at = store_place(r->store, index, 0, 1);
		if (!at)
			rig_idle(r, 5);
	}
	for (uint32_t b = 0; b < piece_blocks(r->t, index); b++) {
		const uint8_t *from = r->t->data + index * r->t->piece_len + (uint64_t)b * BLOCK_LEN;
		uint32_t n = block_bytes(r->t, index, b);
		uint8_t *to = store_place(r->store, index, b * BLOCK_LEN, n);
		locs[b] = LOC_FILE;
		if (to && b % 2) {
			if (!recv_at(to, from, n))
				return false;
		} else if (to) {
			if (store_place_copy(r->store, index, b * BLOCK_LEN, from, n) < 0)
				return false;
		} else {
			locs[b] = disk_frame_get(r->disk);
			memcpy(disk_frame(r->disk, locs[b]), from, n);
		}
		*placed += to != NULL;
	}
	return store_check(r->store, index, locs, piece_blocks(r->t, index), false);
}

static void test_place(bool one_process, uint64_t piece_len, const uint64_t *lens, uint32_t n, int least)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	int placed = 0;

	torrent_make(&t, piece_len, lens, n);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	o.storage = DISK_MAP;
	o.sync_ms = 50;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	for (uint32_t k = 0; k < t.pieces; k++) {
		uint32_t i = (k * 7) % t.pieces;
		while (bit_get(store_have(r.store), i))
			i = (i + 1) % t.pieces;
		CHECK(put_piece(&r, i, &placed));
		CHECK(rig_wait(&r, &r.ok, (int)k + 1, 5000));
	}
	CHECK(placed >= least);
	printf("%d blocks in place\n", placed);
	CHECK(disk_frames_free(r.disk) == disk_frames_total(r.disk));
	CHECK(rig_close(&r, NULL, 0) && files_equal(&r));
	CHECK(rig_open(&r) && r.checking == 0 && bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

static void test_cut(void)
{
	const uint64_t lens[] = { 6 << 20 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	uint32_t locs[64];
	int placed = 0;

	torrent_make(&t, 1 << 20, lens, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.storage = DISK_MAP;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(put_piece(&r, 2, &placed) && rig_wait(&r, &r.ok, 1, 5000));
	if (placed == 0) {
		printf("skipped: this file system is not mapped\n");
	} else {
		CHECK(store_place(r.store, 3, 0, BLOCK_LEN) != NULL);
		CHECK(truncate(path_in(&r, "a.bin"), 2 << 20) == 0);
		/* the kernel can't back the page: an error, no signal */
		CHECK(store_place_copy(r.store, 3, 0, t.data, BLOCK_LEN) == -EFAULT);
		CHECK(store_place_copy(r.store, 3, 0, t.data, BLOCK_LEN) == -EFAULT);
		CHECK(!recv_at(store_place(r.store, 3, 0, BLOCK_LEN), t.data, BLOCK_LEN));
		for (uint32_t b = 0; b < 64; b++)
			locs[b] = LOC_FILE;
		CHECK(store_check(r.store, 3, locs, 64, true));
		CHECK(rig_wait(&r, &r.failed, 1, 5000) && strstr(r.what, "a.bin") != NULL);
		CHECK(rig_wait(&r, &r.lost, 1, 5000));
	}
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* More windows than the budget holds: those in work stay, others wait or go. */
static void test_budget(void)
{
	const uint64_t lens[] = { 12 << 20 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	uint8_t *first = NULL;

	torrent_make(&t, 1 << 20, lens, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.storage = DISK_MAP;
	CHECK(rig_disk(&r, &o) && rig_open(&r)); /* 8 MiB: four windows */
	for (int i = 0; i < 50 && !first; i++) {
		first = store_place(r.store, 0, 0, 16);
		rig_idle(&r, 5);
	}
	if (!first) {
		printf("skipped: this file system is not mapped\n");
	} else {
		uint32_t got = 0;
		for (int round = 0; round < 6; round++) {
			got = 0;
			for (uint32_t i = 0; i < 12; i += 2)
				got += store_place(r.store, i, 0, 16) != NULL;
			rig_idle(&r, 20);
		}
		CHECK(got == 4);
		CHECK(store_place(r.store, 0, 0, 16) == first);
		for (uint32_t i = 0; i < 12; i++)
			store_abandon(r.store, i);
		CHECK(store_place(r.store, 10, 0, 16) == NULL);
		rig_idle(&r, 20);
		CHECK(store_place(r.store, 10, 0, 16) != NULL);
	}
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

int main(void)
{
	static const uint64_t one[] = { (9 << 20) + 1234 }, odd[] = { 5000000, 333, 0, 2500000 };
	int fds = count_fds();

	for (int inl = 1; inl >= 0; inl--) {
		test_place(inl, 210144, one, 1, 100);
		test_place(inl, 65536, odd, 4, 100);
		test_place(inl, 3 << 20, one, 1, 100); /* longer than a window */
	}
	test_cut();
	if (large(16) == 16)
		test_budget();
	else
		printf("skipped: the address space is too small for windows to compete\n");
	CHECK(count_fds() == fds);
	return test_done();
}
