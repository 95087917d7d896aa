/* SPDX-License-Identifier: MIT */
/* Clients among each other, through bt.h: rates, ratios, ways to find each other,
 * limits. Scenes that take their time run side by side. */
#include "test/unit/core/rig.h"

static const struct bt_opts local = { .bind_addr = "127.0.0.1", .window_bytes = 2 << 20 };
static const struct bt_opts any = { .window_bytes = 2 << 20 };

static bool about(uint64_t value, uint64_t wanted)
{
	return value > wanted / 10 * 7 && value < wanted / 10 * 13;
}

/* Another client over the same files: its journals are elsewhere. */
static void start_beside(struct end *e, const char *name, const struct bt_opts *opts, const char *state)
{
	struct bt_opts o = *opts;

	o.state_dir = at(state);
	start(e, name, &o);
}

/* ---- what takes seconds: limits, and that nothing keeps happening ---- */

/* a seeds to b, which lets in RATE; c lets out RATE to d; e and f dial each other,
 * with a limit that keeps them busy; g dials itself. */
static void test_side_by_side(void)
{
	enum { RATE = 400000, SIZE = 2 * RATE };
	struct bt_meta *m = one_file("data", 1, SIZE, 32768);
	struct bt_opts slow_down = local, slow_up = local, slow = local;
	struct end a, b, c, d, e, f, g;
	struct bt_torrent *tb, *td, *te, *tf, *tg;
	uint64_t began, b_took = 0, d_took = 0;
	const char *peer;

	slow_down.down_rate = RATE;
	slow_up.up_rate = RATE;
	slow.down_rate = RATE / 2;
	start(&a, "seed", &local);
	start(&b, "b", &slow_down);
	start_beside(&c, "seed", &slow_up, "state-c");
	start(&d, "d", &local);
	start_beside(&e, "seed", &local, "state-e");
	start(&f, "f", &slow);
	start(&g, "g", &local);
	seed(&a, m);
	seed(&c, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE] && c.seen[BT_EV_DONE], 5000, &a, &c));

	peer = address(&f, "127.0.0.1");
	te = add_to(&e, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1, .read_only = true });
	tf = leech(&f, m, address(&e, "127.0.0.1"));
	tg = leech(&g, m, address(&g, "127.0.0.1"));
	tb = leech(&b, m, address(&a, "127.0.0.1"));
	td = leech(&d, m, address(&c, "127.0.0.1"));
	CHECK(UNTIL(stats_of(tb).down && stats_of(td).down, 5000, &a, &b, &c, &d, &e, &f, &g));
	began = now_ms();
	while ((!b_took || !d_took) && now_ms() < began + 8000) {
		turn((struct end *[]){ &a, &b, &c, &d, &e, &f, &g }, 7, 50);
		if (!b_took && b.seen[BT_EV_DONE])
			b_took = now_ms() - began;
		if (!d_took && d.seen[BT_EV_DONE])
			d_took = now_ms() - began;
	}
	CHECK(b_took && about((uint64_t)SIZE * 1000 / b_took, RATE));
	CHECK(d_took && about((uint64_t)SIZE * 1000 / d_took, RATE));
	CHECK(UNTIL(f.seen[BT_EV_DONE], 8000, &a, &b, &c, &d, &e, &f, &g));
	/* two seconds and more after both dialled: one connection, found at the first try */
	CHECK(stats_of(tf).down == SIZE && stats_of(te).up == SIZE);
	CHECK(e.second + f.second <= 2);
	CHECK(stats_of(tf).peers <= 1 && stats_of(te).peers <= 1);
	/* a call to itself: noticed at both ends, not tried again */
	CHECK(g.ourselves >= 1 && g.ourselves <= 2);
	CHECK(stats_of(tg).peers == 0 && stats_of(tg).connecting == 0);
	finish(&a), finish(&b), finish(&c), finish(&d), finish(&e), finish(&f), finish(&g);
	bt_meta_free(m);
	CHECK(reap(10000));
}

/* Both dial at the same moment, with nothing in their way. */
static void test_crossing(void)
{
	struct bt_meta *m = one_file("data", 2, 500000, 16384);

	for (int round = 0; round < 6; round++) {
		struct end a, b;
		struct bt_torrent *ta, *tb;
		const char *peer;
		start(&a, "seed", &local);
		start(&b, "copy", &local);
		peer = address(&b, "127.0.0.1");
		ta = add_to(&a, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1, .read_only = true });
		tb = leech(&b, m, address(&a, "127.0.0.1"));
		CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
		CHECK(stats_of(ta).up == m->size && stats_of(tb).down == m->size);
		finish(&a);
		finish(&b);
		remove_tree(at("copy"));
	}
	bt_meta_free(m);
}

static void fetch(const struct bt_opts *from, const struct bt_opts *to, const char *host)
{
	struct bt_meta *m = one_file("data", 3, 200000, 16384);
	struct end a, b;

	start(&a, "seed", from);
	start(&b, "copy", to);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	leech(&b, m, address(&a, host));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	finish(&a);
	finish(&b);
	CHECK(file_is(at("copy/data"), 3, m->size));
	remove_tree(at("copy"));
	bt_meta_free(m);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void test_addresses(void)
{
	struct bt_opts six = { .bind_addr = "::1", .window_bytes = 2 << 20 };

	fetch(&any, &any, "127.0.0.1");
	fetch(&local, &any, "localhost");
	if (has_ipv6()) {
		fetch(&six, &any, "[::1]");
		fetch(&any, &six, "[::1]");
		fetch(&any, &any, "[::1]");
	}
}

/* A peer of the family that we are not bound to is told once and never dialled. */
static void test_wrong_family(void)
{
	struct bt_meta *m = one_file("data", 4, 50000, 16384);
	struct end a;

	start(&a, "copy", &local);
	struct bt_torrent *t = leech(&a, m, "[::1]:6881");
	CHECK(UNTIL(a.seen[BT_EV_WARNING], 3000, &a));
	CHECK(UNTIL(bt_timeout(a.bt) < 0 || bt_timeout(a.bt) > 1000, 3000, &a));
	CHECK(stats_of(t).connecting == 0 && a.seen[BT_EV_WARNING] == 1);
	finish(&a);
	bt_meta_free(m);
	remove_tree(at("copy"));
}

static void test_ratio(void)
{
	struct bt_meta *m = one_file("data", 5, 600000, 32768);
	struct end a, b, c;
	struct bt_torrent *ta;

	start(&a, "seed", &local);
	start(&b, "b", &local);
	start(&c, "c", &local);
	ta = add_to(&a, (struct bt_add){ .meta = m, .seed_ratio = 1.0, .read_only = true });
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	CHECK(stats_of(ta).state == BT_SEEDING);
	leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	CHECK(UNTIL(stats_of(ta).state == BT_FINISHED, 5000, &a, &b));
	CHECK(stats_of(ta).up == m->size);
	CHECK(UNTIL(stats_of(ta).peers == 0, 1000, &a, &b));
	/* whoever comes now is not served */
	struct bt_torrent *tc = leech(&c, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(stats_of(tc).connecting == 1, 3000, &a, &b, &c));
	CHECK(UNTIL(stats_of(tc).connecting == 0, 3000, &a, &b, &c));
	CHECK(stats_of(tc).peers == 0 && stats_of(ta).peers == 0 && stats_of(tc).down == 0);
	/* nor from one that was told not to seed at all */
	tc = NULL;
	finish(&c);
	start_beside(&c, "seed", &local, "state-c");
	tc = add_to(&c, (struct bt_add){ .meta = m });
	CHECK(UNTIL(c.seen[BT_EV_DONE], 5000, &c));
	CHECK(stats_of(tc).state == BT_FINISHED);
	finish(&a), finish(&b), finish(&c);
	bt_meta_free(m);
	remove_tree(at("b"));
	remove_tree(at("c"));
}

/* Each has the only file it wanted: they notice it, though neither is complete. */
static void test_partial_seeds(void)
{
	const char *path = at("seed/two");
	struct bt_publish pub = { .paths = &path, .npaths = 1, .piece_len = 16384 };
	struct end a, b, c;
	struct bt_torrent *tb, *tc;
	struct bt_meta *m;
	const char *peer;

	put_file(at("seed/two/1"), 1, 100000);
	put_file(at("seed/two/2"), 2, 200000);
	path = at("seed/two");
	m = publish(&pub);
	start(&a, "seed", &local);
	start(&b, "b", &local);
	start(&c, "c", &local);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	peer = address(&a, "127.0.0.1");
	tb = add_to(&b, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1, .files = "1" });
	CHECK(UNTIL(b.seen[BT_EV_DONE], 5000, &a, &b));
	finish(&a);
	CHECK(stats_of(tb).pieces_have < m->pieces);
	peer = address(&b, "127.0.0.1");
	tc = add_to(&c, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1, .files = "1" });
	CHECK(UNTIL(c.seen[BT_EV_DONE], 5000, &b, &c));
	CHECK(UNTIL(stats_of(tb).peers == 0 && stats_of(tc).peers == 0, 3000, &b, &c));
	CHECK(stats_of(tb).up == stats_of(tc).down);
	finish(&b), finish(&c);
	bt_meta_free(m);
	remove_tree(at("b"));
	remove_tree(at("c"));
}

/* Never more connections than were allowed, in and out. */
static void test_max_peers(void)
{
	enum { SEEDS = 4 };
	struct bt_meta *m = one_file("data", 6, 1 << 20, 32768);
	struct bt_opts few = local;
	struct end s[SEEDS], b;
	const char *peers[SEEDS];
	struct bt_torrent *t;
	uint32_t most = 0;

	for (unsigned i = 0; i < SEEDS; i++) {
		char state[16];
		snprintf(state, sizeof(state), "state%u", i);
		start_beside(&s[i], "seed", &local, state);
		seed(&s[i], m);
		CHECK(UNTIL(s[i].seen[BT_EV_DONE], 5000, &s[i]));
		peers[i] = address(&s[i], "127.0.0.1");
	}
	few.max_peers = 2;
	start(&b, "copy", &few);
	t = add_to(&b, (struct bt_add){ .meta = m, .peers = peers, .npeers = SEEDS, .seed_ratio = -1 });
	CHECK(UNTIL(({
			      uint32_t n = stats_of(t).peers + stats_of(t).connecting;
			      most = n > most ? n : most;
			      b.seen[BT_EV_DONE];
		      }),
		    10000, &s[0], &s[1], &s[2], &s[3], &b));
	CHECK(most == 2);
	finish(&b);
	for (unsigned i = 0; i < SEEDS; i++)
		finish(&s[i]);
	remove_tree(at("copy"));

	/* the other way round: those who find no room are turned away, and come again */
	few.max_peers = 1;
	start(&s[0], "seed", &few);
	t = seed(&s[0], m);
	CHECK(UNTIL(s[0].seen[BT_EV_DONE], 5000, &s[0]));
	start(&s[1], "copy1", &local);
	start(&s[2], "copy2", &local);
	peers[0] = address(&s[0], "127.0.0.1");
	for (unsigned i = 1; i < 3; i++)
		add_to(&s[i], (struct bt_add){ .meta = m, .peers = peers, .npeers = 1 });
	most = 0;
	CHECK(UNTIL(({
			      most = stats_of(t).peers > most ? stats_of(t).peers : most;
			      s[1].seen[BT_EV_DONE] && s[2].seen[BT_EV_DONE];
		      }),
		    15000, &s[0], &s[1], &s[2]));
	CHECK(most == 1);
	finish(&s[0]), finish(&s[1]), finish(&s[2]);
	bt_meta_free(m);
}

/* The pool is small and full of started pieces of many torrents: no one of them has
 * much, together they have all of it, and still they get on. */
static void test_crowded_pool(void)
{
	enum { MANY = 24 };
	struct bt_meta *m[MANY];
	struct bt_opts up = local;
	struct end a, b;

	up.up_rate = 24 << 20;
	start(&a, "seed", &up);
	start(&b, "copy", &local);
	for (uint32_t i = 0; i < MANY; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		m[i] = one_file(name, 50 + i, 1 << 20, 1 << 20);
		seed(&a, m[i]);
	}
	CHECK(UNTIL(a.seen[BT_EV_DONE] == MANY, 10000, &a));
	for (uint32_t i = 0; i < MANY; i++)
		leech(&b, m[i], address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE] == MANY, 15000, &a, &b));
	finish(&a);
	finish(&b);
	for (uint32_t i = 0; i < MANY; i++)
		bt_meta_free(m[i]);
}

int main(void)
{
	int fds = count_fds();

	make_top();
	test_side_by_side();
	test_crossing();
	test_addresses();
	test_wrong_family();
	test_ratio();
	test_partial_seeds();
	test_max_peers();
	test_crowded_pool();
	return end_tests(fds);
}
