/* SPDX-License-Identifier: MIT */
/* Pieces between the socket and the disk, where things end at an awkward moment:
 * files that go away, pools that run dry, stops in the middle. */
#include "test/unit/swarm/rig.h"

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

int main(void)
{
	test_gone_between_write_and_check();
	return test_done();
}
