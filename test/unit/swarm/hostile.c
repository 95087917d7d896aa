/* SPDX-License-Identifier: MIT */
/* What peers can do to a torrent with well-formed messages only: make it work
 * for nothing, hold what others need, have somebody else accused. Each case was
 * a fault once. */
#include "test/unit/swarm/rig.h"

/* Fifteen bytes that cost a walk over all pieces: "have all" makes the bit field
 * one flag, "don't have" makes it bits again. */
static void test_have_all_and_not(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	static const char hello[] = "d1:md11:lt_donthavei7eee";

	rig_init(&r, 2 << 20);
	make(&m, "a", 400000, 1);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), F_FAST | F_EXT);
	put_ext(&f, 0, hello, sizeof(hello) - 1);
	turns(&r, 2);
	uint64_t began = clock_ms();
	CHECK(fake_peer(&f) && f.p->hello.donthave == 7);
	for (int i = 0; i < 3000; i++) {
		put_msg(&f, WIRE_HAVE_ALL, NULL, 0);
		put_ext(&f, EXT_DONTHAVE, "\0\0\0\1", 4);
	}
	CHECK(UNTIL(&r, !f.out.n, 5000));
	turns(&r, 4);
	CHECK(clock_ms() - began < 500);
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

int main(void)
{
	test_have_all_and_not();
	return test_done();
}
