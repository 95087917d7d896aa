/* SPDX-License-Identifier: MIT */
/* Pieces between the socket and the disk, where things end at an awkward moment:
 * files that go away, pools that run dry, stops in the middle. */
#include "test/unit/swarm/rig.h"

#include <signal.h>

static uint32_t received(struct bt_torrent *t, uint32_t piece)
{
	struct open_piece *op = picker_open(t->picker, piece);

	return op ? op->received : 0;
}

/* A piece is complete while some of its blocks are still being written early, and
 * then its file turns out to be gone: that ends its torrent, not the keeper. */
static void test_gone_between_write_and_check(void)
{
	struct rig r;
	struct made a, b;
	struct fake f;
	uint8_t q[16];
	char path[256];
	int last = -1;

	rig_init_with(&r, 2 << 20, false);
	make(&a, "a", 64 * BLOCK_LEN, 64 * BLOCK_LEN);
	make(&b, "b", 4 * BLOCK_LEN, BLOCK_LEN);
	struct bt_torrent *t = rig_add(&r, &a), *other = rig_add(&r, &b);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &f);
	while (received(t, 0) < 63 && UNTIL(&r, next_msg(&f, WIRE_REQUEST, q), 2000)) {
		last = (int)get_u32(q + 4);
		if (last != 63 * (int)BLOCK_LEN)
			put_piece(&f, &a, 0, (uint32_t)last, BLOCK_LEN, false);
		turns(&r, 2);
	}
	CHECK(received(t, 0) == 63);
	CHECK(piece_flush_partials(t));
	snprintf(path, sizeof(path), "%s/a", r.dir);
	unlink(path);
	mkdir(path, 0777); /* so that it can't be made anew either */
	put_piece(&f, &a, 0, 63 * BLOCK_LEN, BLOCK_LEN, false);
	CHECK(UNTIL(&r, t->state == BT_FAILED, 2000));
	CHECK(!UNTIL(&r, r.c.dead, 300));
	fake_close(&r, &f);

	fake_open(&r, &f, other, addr4(1, 2, 1000), 0);
	offer_all(&r, &f);
	CHECK(UNTIL(&r, (serve(&f, &b, false), other->seeding), 3000));
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&a);
	made_free(&b);
}

/* Several torrents fill the pool with pieces none of which can be completed for
 * want of frames, and no single one holds the greater part of it. */
static void test_pool_shared_by_many(void)
{
	enum { N = 4 };
	struct rig r;
	struct made m[N];
	struct fake f[N];
	struct bt_torrent *t[N];
	int done = 0;

	rig_init(&r, 2 << 20);
	for (int i = 0; i < N; i++) {
		make(&m[i], (char[]){ (char)('a' + i), 0 }, 2 << 20, 2 << 20);
		t[i] = rig_add(&r, &m[i]);
		fake_open(&r, &f[i], t[i], addr4(1, (uint8_t)(i + 1), 1000), 0);
		offer_all(&r, &f[i]);
	}
	for (uint64_t end = clock_ms() + 8000; done < N && clock_ms() < end;) {
		done = 0;
		for (int i = 0; i < N; i++) {
			serve(&f[i], &m[i], false);
			done += t[i]->seeding;
		}
		turn(&r, 2);
	}
	CHECK(done == N);
	for (int i = 0; i < N; i++)
		fake_close(&r, &f[i]);
	rig_release(&r);
	for (int i = 0; i < N; i++)
		made_free(&m[i]);
}

/* Two torrents whose volume is full hold the pool with unfinished pieces that can't
 * be written. Then `fails`: they end instead. A third one must get on. */
static void test_pool_held_by_stuck(bool fails)
{
	enum { N = 3 };
	struct rig r;
	struct made m[N];
	struct fake f[N];
	struct bt_torrent *t[N];

	rig_init(&r, 2 << 20);
	for (int i = 0; i < N; i++) {
		make(&m[i], (char[]){ (char)('a' + i), 0 }, 2 << 20, 2 << 20);
		t[i] = rig_add(&r, &m[i]);
		fake_open(&r, &f[i], t[i], addr4(1, (uint8_t)(i + 1), 1000), 0);
	}
	for (int i = 0; i < 2; i++) {
		offer_all(&r, &f[i]);
		while (received(t[i], 0) < 40 && serve(&f[i], &m[i], false))
			turns(&r, 3);
		t[i]->no_space = true; /* as store_spec.on_space would */
		t[i]->state = BT_NO_SPACE;
	}
	for (int i = 0; i < 4; i++) { /* what is on order already */
		serve(&f[0], &m[0], false);
		serve(&f[1], &m[1], false);
		turns(&r, 3);
	}
	CHECK(disk_frames_free(r.c.disk) < 16);
	offer_all(&r, &f[2]);
	if (fails)
		for (int i = 0; i < 2; i++)
			torrent_fail(t[i], "test");
	CHECK(UNTIL(&r, (serve(&f[2], &m[2], false), t[2]->seeding), 4000));
	for (int i = 0; i < N; i++)
		fake_close(&r, &f[i]);
	rig_release(&r);
	for (int i = 0; i < N; i++)
		made_free(&m[i]);
}

/* What was lost on the disk is not sent any more, also to those who asked before. */
static void test_lost_not_sent(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	uint8_t b[16];

	rig_init(&r, 2 << 20);
	make(&m, "a", 4 * BLOCK_LEN, BLOCK_LEN);
	struct bt_torrent *t = rig_seed(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), F_FAST);
	put_msg(&f, WIRE_INTERESTED, NULL, 0);
	CHECK(UNTIL(&r, next_msg(&f, WIRE_UNCHOKE, b), 1000));
	for (uint32_t i = 1; i <= 2; i++)
		upload_request(f.p, &(struct wire_msg){ .type = WIRE_REQUEST, .index = i, .len = BLOCK_LEN });
	piece_on_check(t, 1, STORE_LOST, NULL, 0);
	CHECK(UNTIL(&r, next_msg(&f, WIRE_REJECT, b), 1000) && get_u32(b) == 1);
	CHECK(UNTIL(&r, next_msg(&f, WIRE_PIECE, b), 1000) && get_u32(b) == 2);
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* The keeper dies with checks and writes under way that nobody will answer any more:
 * a stop still comes to its end. */
static void test_stop_after_keeper(void)
{
	struct rig r;
	struct made m;
	struct fake f;

	rig_init_with(&r, 2 << 20, false);
	make(&m, "a", 4 << 20, 1 << 20);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &f);
	CHECK(UNTIL(&r, (serve(&f, &m, false), received(t, 0) + received(t, 1) + received(t, 2) + received(t, 3) > 9), 2000));
	kill(disk_keeper_pid(r.c.disk), SIGKILL);
	piece_flush_partials(t);
	CHECK(UNTIL(&r, r.c.dead, 2000));
	CHECK(r.seen[BT_EV_FATAL] == 1);
	r.c.stopping = true;
	torrent_stop(t);
	CHECK(UNTIL(&r, torrent_stopped(t), 2000));
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* Blocks that can't be written down yet, as the disk's queue is full of what other
 * torrents write down, wait for their turn. */
static void test_stop_in_a_crowd(void)
{
	enum { N = 3, EACH = 128 };
	struct rig r;
	struct made m[N];
	struct fake f;
	struct bt_torrent *t[N];
	uint8_t q[16];

	rig_init(&r, 16 << 20);
	for (int i = 0; i < N; i++) {
		uint32_t got = 0;
		make(&m[i], (char[]){ (char)('a' + i), 0 }, 2 * EACH * BLOCK_LEN, 2 * EACH * BLOCK_LEN);
		t[i] = rig_add(&r, &m[i]);
		fake_open(&r, &f, t[i], addr4(1, (uint8_t)(i + 1), 1000), 0);
		offer_all(&r, &f);
		f.p->req_target = REQUESTS_MAX;
		for (int k = 0; k < 50 && received(t[i], 0) < EACH; k++, turns(&r, 2))
			while (next_msg(&f, WIRE_REQUEST, q)) /* every second block: no two can be written together */
				if (get_u32(q + 4) / BLOCK_LEN % 2 == 0)
					put_piece(&f, &m[i], 0, get_u32(q + 4), BLOCK_LEN, false);
		got = received(t[i], 0);
		CHECK(got > EACH - 8);
		fake_close(&r, &f);
	}
	for (int i = 0; i < N; i++)
		torrent_stop(t[i]);
	for (int i = 0; i < N; i++) {
		CHECK(UNTIL(&r, torrent_stopped(t[i]), 3000));
		torrent_free(t[i]);
		t[i] = rig_add(&r, &m[i]);
		CHECK(received(t[i], 0) > EACH - 8);
	}
	rig_release(&r);
	for (int i = 0; i < N; i++)
		made_free(&m[i]);
}

int main(void)
{
	test_stop_after_keeper();
	test_stop_in_a_crowd();
	test_lost_not_sent();
	test_pool_held_by_stuck(false);
	test_pool_held_by_stuck(true);
	test_pool_shared_by_many();
	test_gone_between_write_and_check();
	return test_done();
}
