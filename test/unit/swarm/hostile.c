/* SPDX-License-Identifier: MIT */
/* What peers can do to a torrent with well-formed messages only: make it work
 * for nothing, hold what others need, have somebody else accused. Each case was
 * a fault once. Needs 64 MiB. */
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

/* As if it had owed us a block for that long. */
static void let_pass(struct peer *p, uint64_t ms)
{
	p->last_block_ms -= ms;
	peer_on_timer(&p->timer);
}

/* In endgame a block is asked of three at most. Three that take the order and never
 * answer must not keep the last block from those who would. */
static void test_last_block_held(void)
{
	enum { HELD = 3 };
	struct rig r;
	struct made m;
	struct fake f[HELD], honest;

	rig_init(&r, 2 << 20);
	make(&m, "a", 16384, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	for (uint8_t i = 0; i < HELD; i++) {
		fake_open(&r, &f[i], t, addr4(1, (uint8_t)(i + 1), 1000), i == 1 ? F_FAST : 0);
		offer_all(&r, &f[i]);
	}
	fake_open(&r, &honest, t, addr4(1, 9, 1000), 0);
	offer_all(&r, &honest);
	for (int i = 0; i < HELD; i++)
		CHECK(f[i].p->req_n == 1);
	CHECK(honest.p->req_n == 0);
	for (int i = 0; i < HELD; i++) {
		let_pass(f[i].p, BLOCK_TIMEOUT_MS + 1);
		turns(&r, 2);
	}
	CHECK(UNTIL(&r, (serve(&honest, &m, false), t->seeding), 1000));
	for (int i = 0; i < HELD; i++)
		fake_close(&r, &f[i]);
	fake_close(&r, &honest);
	rig_release(&r);
	made_free(&m);
}

/* The only peer was silent for a while, with nothing begun: it is asked again. */
static void test_all_were_silent(void)
{
	struct rig r;
	struct made m;
	struct fake f;

	rig_init(&r, 2 << 20);
	make(&m, "a", 32768, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &f);
	CHECK(count_msgs(&f, WIRE_REQUEST) == 2);
	let_pass(f.p, BLOCK_TIMEOUT_MS + 1);
	CHECK(UNTIL(&r, (serve(&f, &m, false), t->seeding), 1000));
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* There was no memory to choose blocks with, and no event follows that would ask again. */
static void test_starved_for_memory(void)
{
	struct rig r;
	struct made m;
	struct fake f;

	rig_init(&r, 2 << 20);
	make(&m, "a", 32768, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &f);
	requests_drop_all(f.p, false);
	turns(&r, 1);
	requests_drop_all(f.p, false); /* the turn ordered them anew */
	later_cancel(&f.p->flush);
	requests_starve(f.p);
	turns(&r, 2);
	CHECK(f.p->req_n == 0);
	peer_on_timer(&f.p->timer);
	turns(&r, 1);
	CHECK(f.p->req_n == 2);
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* Each block on its way has a frame. Those who stop in the middle of one, and are
 * many, must not keep all frames for as long as they like. */
static void test_frames_held(void)
{
	enum { HELD = 60 };
	struct rig r;
	struct made m;
	static struct fake f[HELD];
	uint32_t all;

	rig_init(&r, 2 << 20);
	make(&m, "a", 4 << 20, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	all = disk_frames_total(r.c.disk);
	for (int round = 0; round < 2; round++) {
		for (uint8_t i = 0; i < HELD; i++) {
			uint8_t q[16], last[16] = { 0 }, head[13];
			int asked = 0;
			if (!round) {
				fake_open(&r, &f[i], t, addr4(1, (uint8_t)(i + 1), 1000), 0);
				offer_all(&r, &f[i]);
			}
			for (; next_msg(&f[i], WIRE_REQUEST, q); asked++)
				if (round || !asked)
					memcpy(last, q, sizeof(q));
			CHECK(asked > 0);
			if (round) /* the rest of the last one, which is not waited for any more */
				put(&f[i], m.bytes, BLOCK_LEN - 10);
			wire_put_piece_head(head, get_u32(last), get_u32(last + 4), BLOCK_LEN);
			put(&f[i], head, sizeof(head));
			put(&f[i], m.bytes, 10);
			turns(&r, 2);
		}
		/* some may be asked for the very block whose rest is being thrown away: no frame then */
		CHECK(disk_frames_free(r.c.disk) < all - HELD / 2);
		for (int i = 0; i < HELD; i++)
			let_pass(f[i].p, BLOCK_TIMEOUT_MS * (round ? 4 : 1) + 1);
		CHECK(disk_frames_free(r.c.disk) == all);
		turns(&r, 2);
	}
	for (int i = 0; i < HELD; i++)
		fake_close(&r, &f[i]);
	rig_release(&r);
	made_free(&m);
}

/* Where a peer says it listens is kept for later, once: not a slot of the table for
 * each word it ever said, locked for ever. */
static void test_many_listen_ports(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	size_t locked = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", 16384, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), F_EXT);
	for (int i = 0; i < 12; i++) {
		char hello[32];
		put_ext(&f, 0, hello, (size_t)snprintf(hello, sizeof(hello), "d1:pi%dee", 2000 + i));
		turns(&r, 2);
	}
	CHECK(fake_peer(&f));
	fake_close(&r, &f);
	for (size_t i = 0; i < t->known.n; i++)
		locked += t->known.v[i].peer != NULL;
	CHECK(t->known.n > 1 && locked == 0);
	rig_release(&r);
	made_free(&m);
}

/* Who does not read the answers is not asked for more questions: what waits for one
 * peer stays small, and two hundred of them fit a router. */
static void test_answers_not_read(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	size_t most = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", 4 << 20, 16384);
	struct bt_torrent *t = rig_seed(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), F_FAST);
	for (uint32_t i = 0; i < 60000; i++)
		put_words(&f, WIRE_REQUEST, 100 + i % 100, 0, 16384, 3); /* choked: each is refused */
	for (int i = 0; i < 200; i++) {
		turns(&r, 1);
		most = fake_peer(&f) && f.p->out.cap > most ? f.p->out.cap : most;
	}
	CHECK(fake_peer(&f) && most <= 256 << 10);
	CHECK(UNTIL(&r, (get(&f), f.got.n >= 60000 * 17), 5000)); /* and is answered when it reads */
	CHECK(fake_peer(&f) && f.p->out.cap <= 4096);
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* Haves for a slow reader wait in the log all peers share, not in its queue. */
static void test_haves_not_read(void)
{
	enum { N = 80000 };
	struct rig r;
	struct made m;
	struct fake f;
	size_t most = 0;
	uint32_t told = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", N + 10, 1);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	for (uint32_t i = 0; i < N; i++)
		piece_on_check(t, i, STORE_OK, NULL, 0);
	for (int i = 0; i < 60; i++) {
		turn(&r, 5);
		most = fake_peer(&f) && f.p->out.cap > most ? f.p->out.cap : most;
	}
	CHECK(fake_peer(&f) && most <= 64 << 10);
	CHECK(UNTIL(&r, (told += (uint32_t)count_msgs(&f, WIRE_HAVE), told >= N), 30000));
	CHECK(told == N);
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* A message that never ends takes no more memory than messages need. */
static void test_half_a_message(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	static uint8_t zeros[100000];
	size_t most = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", 4 << 20, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	for (uint32_t len = 60000; len <= 1 << 20; len *= 2) {
		uint8_t head[6];
		fake_open(&r, &f, t, addr4(1, 1, 1000), F_EXT);
		put_u32(head, len);
		head[4] = WIRE_EXTENDED;
		head[5] = 9;
		put(&f, head, sizeof(head));
		for (uint32_t left = len - 3, n; left; left -= n) {
			n = left < sizeof(zeros) ? left : (uint32_t)sizeof(zeros);
			put(&f, zeros, n);
		}
		turns(&r, 50);
		if (fake_peer(&f))
			most = f.p->in.cap > most ? f.p->in.cap : most;
		fake_close(&r, &f);
	}
	CHECK(most > 0 && most <= 80 << 10);
	rig_release(&r);
	made_free(&m);
}

/* Who is not read because we have no frames for hours (a full disk) is not silent, and
 * nobody looks every millisecond whether he is. */
static void test_waits_quietly(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	uint32_t taken[4096], n = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", 4 << 20, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &f);
	while (disk_frames_free(r.c.disk) > 1)
		taken[n++] = disk_frame_get(r.c.disk);
	serve(&f, &m, false);
	turns(&r, 2);
	CHECK(fake_peer(&f) && list_linked(&f.p->on_frame_waiting));
	f.p->last_in_ms -= PEER_SILENT_MS + 1;
	f.p->last_block_ms -= BLOCK_TIMEOUT_MS + 1;
	peer_on_timer(&f.p->timer);
	CHECK(fake_peer(&f) && f.p->req_n && !f.p->snubbed);
	CHECK(f.p->timer.at_ms > clock_ms() + 1000);
	while (n)
		disk_frame_put(r.c.disk, taken[--n]);
	CHECK(UNTIL(&r, f.p->down.total > 0, 3000));
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

/* A choked peer offers a piece and rejects each request for it: he is not asked for
 * ever, at the pace of his rejects. */
static void test_offers_and_rejects(void)
{
	struct rig r;
	struct made m;
	struct fake f;
	uint8_t q[16];
	int asked = 0;

	rig_init(&r, 2 << 20);
	make(&m, "a", 1 << 20, 65536);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), F_FAST);
	put_msg(&f, WIRE_HAVE_ALL, NULL, 0);
	put_words(&f, WIRE_ALLOWED_FAST, 3, 0, 0, 1);
	for (int i = 0; i < 200; i++) {
		turns(&r, 2);
		for (; next_msg(&f, WIRE_REQUEST, q); asked++)
			put_words(&f, WIRE_REJECT, get_u32(q), get_u32(q + 4), get_u32(q + 8), 3);
	}
	CHECK(asked >= 4 && asked < 16);
	put_msg(&f, WIRE_UNCHOKE, NULL, 0);
	CHECK(UNTIL(&r, (serve(&f, &m, false), t->seeding), 2000)); /* it may still do better */
	fake_close(&r, &f);
	rig_release(&r);
	made_free(&m);
}

static void fill_known(struct bt_torrent *t)
{
	for (uint32_t i = 0; t->known.n < KNOWN_MAX; i++)
		known_add(t, &(struct addr){ .ip = { 10, 1, (uint8_t)(i >> 8), (uint8_t)i }, .port = 1 }, true);
}

/* Who sent which block is remembered by number. One sends wrong data and goes; the
 * table is full, and somebody else is about to get his place in it. */
static void test_number_of_another(void)
{
	struct rig r;
	struct made m;
	struct fake liar, honest;
	uint8_t q[16];

	rig_init(&r, 2 << 20);
	make(&m, "a", 32768, 32768);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &liar, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &liar);
	CHECK(next_msg(&liar, WIRE_REQUEST, q));
	put_piece(&liar, &m, 0, get_u32(q + 4), BLOCK_LEN, true);
	turns(&r, 2);
	fake_close(&r, &liar);
	fill_known(t);
	t->known.hand = 0; /* the next to be given away is the liar's: the others have given something, too */
	for (size_t i = 1; i < t->known.n; i++)
		t->known.v[i].gave = true;
	CHECK(addr_eq(&t->known.v[0].addr, &liar.addr));
	fake_open(&r, &honest, t, addr4(2, 2, 1000), 0);
	offer_all(&r, &honest);
	CHECK(UNTIL(&r, (serve(&honest, &m, false), t->seeding), 1000));
	CHECK(r.seen[BT_EV_WARNING] == 0 || !strstr(r.text[BT_EV_WARNING], "10.0.2.2"));
	fake_close(&r, &honest);
	rig_release(&r);
	made_free(&m);
}

int main(void)
{
	test_waits_quietly();
	test_offers_and_rejects();
	test_answers_not_read();
	test_haves_not_read();
	test_half_a_message();
	test_many_listen_ports();
	test_number_of_another();
	test_last_block_held();
	test_all_were_silent();
	test_starved_for_memory();
	test_frames_held();
	test_have_all_and_not();
	return test_done();
}
