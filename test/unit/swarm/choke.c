/* SPDX-License-Identifier: MIT */
/* choke.c: how many may download, who follows when one goes or had its share, and
 * what those get that may not. */
#include "test/unit/swarm/rig.h"

enum { CROWD = 20, SLOTS = 8, OPEN = SLOTS + 1 /* the optimistic one */ };

static struct rig r;
static struct made m;
static struct fake f[CROWD];
static struct bt_torrent *t;

static void begin(int flags)
{
	rig_init(&r, 2 << 20);
	make(&m, "a", 300000, 16384);
	t = rig_seed(&r, &m);
	for (int i = 0; i < CROWD; i++) {
		fake_open(&r, &f[i], t, addr4(2, (uint8_t)i, 1000), flags);
		put_msg(&f[i], WIRE_INTERESTED, NULL, 0);
	}
}

static void end(void)
{
	for (int i = 0; i < CROWD; i++)
		if (f[i].fd >= 0)
			fake_close(&r, &f[i]);
	rig_release(&r);
	made_free(&m);
}

static int unchoked(void)
{
	int n = 0;

	for (int i = 0; i < CROWD; i++)
		n += f[i].fd >= 0 && !f[i].p->am_choking;
	return n;
}

static int find(bool choked)
{
	int i = 0;

	while (f[i].fd < 0 || f[i].p->am_choking != choked)
		i++;
	return i;
}

/* A round that is due. */
static void round_now(void)
{
	t->choke_round_ms -= 10000;
	choke_run(t);
	turns(&r, 2);
}

static void test_slots(void)
{
	begin(0);
	CHECK(UNTIL(&r, unchoked() == OPEN, 3000));
	for (int i = 0; i < CROWD; i++)
		CHECK((count_msgs(&f[i], WIRE_UNCHOKE) == 1) == !f[i].p->am_choking);
	/* rounds in which nothing has changed change nothing but the optimistic one */
	for (int round = 0; round < 5; round++) {
		round_now();
		CHECK(unchoked() == OPEN);
	}
	/* one goes, one loses interest: others follow soon */
	int gone = find(false);
	fake_close(&r, &f[gone]);
	f[gone].fd = -1;
	CHECK(UNTIL(&r, unchoked() == OPEN, 3000));
	int idle = find(false);
	put_msg(&f[idle], WIRE_NOT_INTERESTED, NULL, 0);
	CHECK(UNTIL(&r, f[idle].p->am_choking && unchoked() == OPEN, 3000));
	/* as many as there are slots are all served */
	for (int i = 0; i < CROWD; i++)
		if (f[i].fd >= 0 && f[i].p->am_choking)
			put_msg(&f[i], WIRE_NOT_INTERESTED, NULL, 0);
	turns(&r, 3);
	put_msg(&f[find(false)], WIRE_NOT_INTERESTED, NULL, 0);
	CHECK(UNTIL(&r, unchoked() == OPEN - 1, 3000));
	end();
}

/* Who had a share goes to the end of the line, and who stands there longest is next. */
static void test_turns(void)
{
	uint64_t now;
	int served = 0;

	begin(0);
	CHECK(UNTIL(&r, unchoked() == OPEN, 3000));
	now = r.c.net.now_ms;
	for (int i = 0; i < CROWD; i++) {
		f[i].p->sent_since_unchoke = 1 << 30;
		f[i].p->optimistic = false;
		f[i].p->waits_since_ms = now - 1000;
	}
	/* of those who wait the last SLOTS, in no order of coming */
	int waiting = 0;
	for (int i = 0; i < CROWD; i++)
		if (f[i].p->am_choking && waiting++ >= CROWD - OPEN - SLOTS)
			f[i].p->waits_since_ms = now - 50000 - (uint64_t)(i * 7 % 11);
	uint64_t since[CROWD];
	for (int i = 0; i < CROWD; i++)
		since[i] = f[i].p->waits_since_ms;
	round_now();
	for (int i = 0; i < CROWD; i++)
		served += since[i] <= now - 50000 && !f[i].p->am_choking;
	CHECK(served == SLOTS && unchoked() == OPEN);
	end();
}

/* Choked, it gets no data: with BEP 6 it is told so, else it knows. */
static void test_requests_of_the_choked(int flags)
{
	uint8_t body[16];

	begin(flags);
	CHECK(UNTIL(&r, unchoked() == OPEN, 3000));
	int i = find(true);
	(void)count_msgs(&f[i], WIRE_CHOKE); /* all that has come */
	for (uint32_t k = 0; k < 10; k++)
		put_words(&f[i], WIRE_REQUEST, k, 0, 16384, 3);
	turns(&r, 5);
	int rejects = 0, pieces = 0;
	get(&f[i]);
	for (size_t at = 0; at + 4 < f[i].got.n; at += 4 + get_u32(f[i].got.p + at)) {
		rejects += f[i].got.p[at + 4] == WIRE_REJECT;
		pieces += f[i].got.p[at + 4] == WIRE_PIECE;
	}
	CHECK(flags & F_FAST ? rejects + pieces == 10 && pieces <= (int)f[i].p->nfast_out : rejects + pieces == 0);

	/* one that is served, and then no longer: what it still waits for is answered */
	i = find(false);
	(void)count_msgs(&f[i], WIRE_CHOKE);
	budget_init(&r.c.up, 1, r.c.net.now_ms); /* nothing goes out meanwhile */
	for (uint32_t k = 0; k < 10; k++)
		put_words(&f[i], WIRE_REQUEST, k, 0, 16384, 3);
	turns(&r, 5);
	CHECK(f[i].p->up_n == 10);
	put_msg(&f[i], WIRE_NOT_INTERESTED, NULL, 0);
	CHECK(UNTIL(&r, f[i].p->am_choking, 3000));
	turns(&r, 3);
	CHECK(next_msg(&f[i], WIRE_CHOKE, body));
	CHECK(count_msgs(&f[i], WIRE_REJECT) + (int)f[i].p->up_n == (flags & F_FAST ? 10 : 0));
	end();
}

int main(void)
{
	test_slots();
	test_turns();
	test_requests_of_the_choked(0);
	test_requests_of_the_choked(F_FAST);
	return test_done();
}
