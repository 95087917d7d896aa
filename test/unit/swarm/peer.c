/* SPDX-License-Identifier: MIT */
/* peer.c and request.c: time-outs (the clock can't be turned, so what they count
 * from is set back), what becomes of orders at a peer that is silent, chokes, goes
 * or is overtaken, and what is said when. */
#include "test/unit/swarm/rig.h"

/* Its timer comes now. */
static void poke(struct rig *r, struct fake *f)
{
	timer_set(&r->c.net, &f->p->timer, 0);
	turns(r, 3);
}

/* The start of what the fake has got, less a handshake, is a keep-alive. */
static bool got_keep_alive(struct fake *f)
{
	get(f);
	if (f->got.n >= 68 && f->got.p[0] == 19)
		buf_drop(&f->got, 68);
	while (f->got.n >= 4) {
		size_t len = get_u32(f->got.p);
		buf_drop(&f->got, 4 + len);
		if (len == 0)
			return true;
	}
	return false;
}

static void test_silence(void)
{
	struct rig r;
	struct made m;
	struct fake f;

	rig_init(&r, 2 << 20);
	r.c.verbose = true;
	make(&m, "a", 300000, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &f, t, addr4(1, 1, 1000), 0);
	CHECK(fake_peer(&f) && !got_keep_alive(&f));
	poke(&r, &f); /* not yet */
	CHECK(fake_peer(&f) && !got_keep_alive(&f));
	f.p->last_out_ms -= KEEP_ALIVE_MS;
	poke(&r, &f);
	CHECK(got_keep_alive(&f) && !got_keep_alive(&f));
	f.p->last_in_ms -= PEER_SILENT_MS;
	put(&f, "\0\0\0\0", 4); /* its keep-alive comes in time */
	turns(&r, 2);
	poke(&r, &f);
	CHECK(fake_peer(&f));
	f.p->last_in_ms -= PEER_SILENT_MS;
	poke(&r, &f);
	CHECK(!fake_peer(&f) && strstr(r.text[BT_EV_LOG], "silent") && t->npeers == 0);
	fake_close(&r, &f);

	/* one that doesn't even say who it is */
	int fds[2];
	struct addr from = addr4(1, 2, 1000);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	connect_in(&r.c, fds[0], &from);
	CHECK(r.c.npending == 1 && r.c.npeers == 1);
	struct peer *p = container_of(r.c.pending.next, struct peer, on_torrent);
	CHECK(timer_armed(&p->timer));
	timer_set(&r.c.net, &p->timer, 0);
	turns(&r, 2);
	CHECK(r.c.npending == 0 && r.c.npeers == 0);
	close(fds[1]);
	rig_release(&r);
	made_free(&m);
}

/* Blocks that one owes are ordered from another; a block from it makes it good again. */
static void test_snub(void)
{
	struct rig r;
	struct made m;
	struct fake slow, good;
	uint8_t body[16];

	rig_init(&r, 2 << 20);
	make(&m, "a", 100000, 32768);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &slow, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &slow);
	CHECK(next_msg(&slow, WIRE_INTERESTED, body));
	int asked = count_msgs(&slow, WIRE_REQUEST);
	CHECK(asked == 7 && slow.p->req_n == 7); /* all there is */
	slow.p->last_block_ms -= BLOCK_TIMEOUT_MS;
	poke(&r, &slow);
	CHECK(fake_peer(&slow) && slow.p->snubbed && slow.p->req_n == 1);
	CHECK(count_msgs(&slow, WIRE_CANCEL) == 7); /* one of them is ordered again, as a probe */
	fake_open(&r, &good, t, addr4(1, 2, 1000), 0);
	offer_all(&r, &good);
	CHECK(UNTIL(&r, (serve(&good, &m, false), t->seeding), 3000));
	CHECK(t->wasted == 0 && t->down.total == 100000);
	fake_close(&r, &slow);
	fake_close(&r, &good);
	rig_release(&r);
	made_free(&m);
}

/* Without BEP 6 a choke ends all orders, and others get them at once. With it each
 * is still answered. */
static void test_choked(int flags)
{
	struct rig r;
	struct made m;
	struct fake a, b;
	uint8_t body[16];

	rig_init(&r, 2 << 20);
	make(&m, "a", 100000, 32768);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &a, t, addr4(1, 1, 1000), flags);
	fake_open(&r, &b, t, addr4(1, 2, 1000), flags);
	offer_all(&r, &a);
	CHECK(a.p->req_n == 7);
	offer_all(&r, &b); /* endgame: it may bring the same */
	put_msg(&a, WIRE_CHOKE, NULL, 0);
	turns(&r, 3);
	CHECK(a.p->req_n == (flags & F_FAST ? 7u : 0u));
	if (flags & F_FAST) {
		while (next_msg(&a, WIRE_REQUEST, body))
			put_words(&a, WIRE_REJECT, get_u32(body), get_u32(body + 4), get_u32(body + 8), 3);
		turns(&r, 3);
		CHECK(a.p->req_n == 0 && fake_peer(&a));
	}
	CHECK(UNTIL(&r, (serve(&b, &m, false), t->seeding), 3000));
	CHECK(t->wasted == 0);
	fake_close(&r, &a);
	fake_close(&r, &b);
	rig_release(&r);
	made_free(&m);
}

/* Orders of one that hangs up in the middle of a block go to those that had nothing to do. */
static void test_gone(void)
{
	struct rig r;
	struct made m;
	struct fake a, b;
	uint8_t body[16], part[5000];

	rig_init(&r, 2 << 20);
	make(&m, "a", 98304, 32768); /* whole blocks only: the first is any of them */
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &a, t, addr4(1, 1, 1000), 0);
	offer_all(&r, &a);
	CHECK(next_msg(&a, WIRE_REQUEST, body));
	uint32_t before = disk_frames_free(r.c.disk);
	put_u32(part, 9 + 16384);
	part[4] = WIRE_PIECE;
	memcpy(part + 5, body, 8);
	memset(part + 13, 1, sizeof(part) - 13);
	put(&a, part, sizeof(part));
	turns(&r, 3);
	CHECK(disk_frames_free(r.c.disk) == before - 1);
	fake_close(&r, &a);
	turns(&r, 2);
	CHECK(disk_frames_free(r.c.disk) == before && t->npeers == 0 && t->wasted == sizeof(part) - 13);
	fake_open(&r, &b, t, addr4(1, 2, 1000), 0);
	offer_all(&r, &b);
	CHECK(UNTIL(&r, (serve(&b, &m, false), t->seeding), 3000));
	CHECK(t->down.total - t->wasted == 98304);
	fake_close(&r, &b);
	rig_release(&r);
	made_free(&m);
}

/* Endgame: both are asked for the last blocks; what one brings is cancelled at the
 * other, also in the middle. */
static void test_endgame(void)
{
	struct rig r;
	struct made m;
	struct fake a, b;
	uint8_t body[16], part[1000];

	rig_init(&r, 2 << 20);
	make(&m, "a", 49152, 49152);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &a, t, addr4(1, 1, 1000), 0);
	fake_open(&r, &b, t, addr4(1, 2, 1000), 0);
	offer_all(&r, &a);
	offer_all(&r, &b);
	CHECK(a.p->req_n == 3 && b.p->req_n == 3);
	CHECK(next_msg(&b, WIRE_REQUEST, body));
	put_u32(part, 9 + 16384);
	part[4] = WIRE_PIECE;
	memcpy(part + 5, body, 8);
	put(&b, part, sizeof(part));
	turns(&r, 2);
	CHECK(serve(&a, &m, false) == 3);
	CHECK(UNTIL(&r, t->seeding, 3000));
	CHECK(count_msgs(&b, WIRE_CANCEL) == 3);
	CHECK(t->wasted == sizeof(part) - 13);
	CHECK(UNTIL(&r, t->npeers == 0, 3000)); /* all three are complete */
	fake_close(&r, &a);
	fake_close(&r, &b);
	rig_release(&r);
	made_free(&m);
}

/* Haves go out once, to those who lack the piece; interest ends when nothing is left. */
static void test_haves_and_interest(void)
{
	struct rig r;
	struct made m;
	struct fake from, to;
	uint8_t body[16];

	rig_init(&r, 2 << 20);
	make(&m, "a", 10 * 16384, 16384);
	struct bt_torrent *t = rig_add(&r, &m);
	fake_open(&r, &from, t, addr4(1, 1, 1000), 0);
	fake_open(&r, &to, t, addr4(1, 2, 1000), 0);
	put_msg(&from, WIRE_BITFIELD, "\xf8\x00", 2); /* five of ten */
	put_msg(&to, WIRE_BITFIELD, "\x80\x00", 2);   /* one of them */
	put_msg(&from, WIRE_UNCHOKE, NULL, 0);
	turns(&r, 3);
	CHECK(next_msg(&from, WIRE_INTERESTED, body) && next_msg(&to, WIRE_INTERESTED, body));
	CHECK(UNTIL(&r, (serve(&from, &m, false), t->npieces_have == 5), 3000));
	CHECK(UNTIL(&r, !from.p->am_interested && !to.p->am_interested, 3000));
	turns(&r, 3);
	CHECK(next_msg(&from, WIRE_NOT_INTERESTED, body));
	bool told[10] = { 0 };
	int haves = 0;
	for (; next_msg(&to, WIRE_HAVE, body); haves++)
		told[get_u32(body) % 10] = true;
	CHECK(haves == 4 && !told[0] && told[1] && told[2] && told[3] && told[4]);
	/* a newcomer gets them as one bit field */
	struct fake late;
	fake_open(&r, &late, t, addr4(1, 3, 1000), 0);
	CHECK(next_msg(&late, WIRE_BITFIELD, body) && body[0] == 0xf8 && body[1] == 0);
	/* and one more have makes us interested again */
	put_words(&to, WIRE_HAVE, 9, 0, 0, 1);
	turns(&r, 3);
	CHECK(next_msg(&to, WIRE_INTERESTED, body));
	fake_close(&r, &from);
	fake_close(&r, &to);
	fake_close(&r, &late);
	rig_release(&r);
	made_free(&m);
}

int main(void)
{
	test_silence();
	test_snub();
	test_choked(0);
	test_choked(F_FAST);
	test_gone();
	test_endgame();
	test_haves_and_interest();
	return test_done();
}
