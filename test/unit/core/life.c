/* SPDX-License-Identifier: MIT */
/* A client's life, through bt.h: stopping at every stage, going on where it was,
 * what is refused, that nothing is left behind. Needs 48 MiB of address space. */
#include "test/unit/core/rig.h"

static const struct bt_opts plain = { .bind_addr = "127.0.0.1", .window_bytes = 2 << 20 };
static const struct bt_opts inline_keeper = { .bind_addr = "127.0.0.1", .window_bytes = 2 << 20, .one_process = true };

/* Changes one byte and puts the file's times back: only hashing can notice. */
static void spoil(const char *path, off_t off)
{
	int fd = open(path, O_RDWR);
	struct timespec times[2];
	struct stat st;
	uint8_t b = 0;

	CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &b, 1, off) == 1);
	b ^= 1;
	CHECK(pwrite(fd, &b, 1, off) == 1);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	CHECK(futimens(fd, times) == 0);
	close(fd);
}

/* A finished download starts again as a seed without reading the data; force_check
 * reads it all; what is wrong then is fetched again, and nothing else. */
static void test_resume_complete(const struct bt_opts *mode)
{
	struct bt_meta *m = one_file("data", 1, 1000003, 32768);
	struct end a, b;
	struct bt_torrent *t;

	start(&a, "seed", mode);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	start(&b, "copy", mode);
	t = leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(stats_of(t).state == BT_CHECKING);
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	CHECK(b.seen[BT_EV_CHECKED] == 1);
	finish(&b);

	spoil(at("copy/data"), 40000);
	start(&b, "copy", mode);
	t = leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 5000, &b));
	CHECK(stats_of(t).have == m->size && stats_of(t).down == 0); /* not looked at: trusted */
	finish(&b);

	start(&b, "copy", mode);
	const char *peer = address(&a, "127.0.0.1");
	t = add_to(&b, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = 0, .force_check = true });
	CHECK(UNTIL(b.seen[BT_EV_CHECKED], 5000, &b));
	CHECK(stats_of(t).pieces_have == m->pieces - 1 && !bt_piece(t, 1) && bt_piece(t, 0) && bt_piece(t, 2));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 5000, &a, &b));
	CHECK(stats_of(t).down == 32768 && stats_of(t).state == BT_FINISHED);
	finish(&b);
	CHECK(file_is(at("copy/data"), 1, m->size));

	/* bt verify */
	spoil(at("copy/data"), 5);
	struct bt_opts offline = *mode;
	offline.offline = true;
	start(&b, "copy", &offline);
	CHECK(bt_port(b.bt) == 0);
	t = add_to(&b, (struct bt_add){ .meta = m, .check_only = true });
	CHECK(UNTIL(b.seen[BT_EV_CHECKED], 5000, &b));
	CHECK(stats_of(t).state == BT_FINISHED && stats_of(t).pieces_have == m->pieces - 1 && !bt_piece(t, 0));
	CHECK(stats_of(t).checked == m->size && stats_of(t).have == m->size - 32768);
	finish(&b);
	finish(&a);
	bt_meta_free(m);
	remove_tree(at("seed"));
	remove_tree(at("copy"));
}

/* Stopped in the middle of pieces: what came is kept, to the block. */
static void test_resume_partial(const struct bt_opts *mode, bool clean)
{
	struct bt_meta *m = one_file("data", 2, (3 << 20) + 5, 1 << 20);
	struct bt_opts slow = *mode;
	struct end a, b;
	struct bt_torrent *t;
	uint64_t first;

	start(&a, "seed", mode);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	slow.down_rate = 2 << 20;
	start(&b, "copy", &slow);
	t = leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(stats_of(t).down > 500000, 10000, &a, &b));
	CHECK(stats_of(t).state == BT_DOWNLOADING && stats_of(t).have < m->size);
	if (clean)
		CHECK(stop(&b));
	first = stats_of(t).down;
	bt_free(b.bt);
	CHECK(first < m->size);

	start(&b, "copy", mode);
	t = leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	if (clean) /* at most the blocks that were on their way are fetched twice */
		CHECK(stats_of(t).down <= m->size - first + 16384);
	else
		CHECK(stats_of(t).down <= m->size);
	CHECK(stats_of(t).have == m->size);
	finish(&a);
	finish(&b);
	CHECK(file_is(at("copy/data"), 2, m->size));
	bt_meta_free(m);
	remove_tree(at("seed"));
	remove_tree(at("copy"));
}

/* ---- stopping ---- */

enum stage { AT_ONCE, CHECKING, CONNECTING, DOWNLOADING, SEEDING, STAGES };

/* A peer that takes connections and never says a word. */
static int mute(char text[40])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, 16) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		abort();
	snprintf(text, 40, "127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static void test_stop(const struct bt_opts *mode, enum stage stage, bool politely)
{
	struct bt_meta *m = one_file("data", 3, 12 << 20, 65536);
	struct bt_opts slow = *mode;
	struct end a, b;
	struct bt_torrent *t;
	char silent[40];
	const char *peer = silent;
	int fd = mute(silent);

	slow.down_rate = 4 << 20;
	start(&a, "seed", mode);
	if (stage == DOWNLOADING || stage == SEEDING)
		peer = address(&a, "127.0.0.1");
	if (stage >= DOWNLOADING) {
		seed(&a, m);
		CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	}
	start(&b, stage == CHECKING ? "seed" : "copy", stage == DOWNLOADING ? &slow : mode);
	t = add_to(&b, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1, .force_check = true });
	switch (stage) {
	case CHECKING:
		CHECK(UNTIL(stats_of(t).checked > 0, 5000, &b));
		break;
	case CONNECTING:
		CHECK(UNTIL(stats_of(t).connecting > 0, 5000, &b));
		break;
	case DOWNLOADING:
		CHECK(UNTIL(stats_of(t).down > 300000, 5000, &a, &b));
		CHECK(stats_of(t).state == BT_DOWNLOADING);
		break;
	case SEEDING:
		CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
		break;
	case AT_ONCE:
	case STAGES:
		break;
	}
	if (politely) {
		CHECK(stop(&b));
		CHECK(b.seen[BT_EV_ERROR] == 0 && b.seen[BT_EV_FATAL] == 0 && b.seen[BT_EV_STOPPED] == 1);
		CHECK(stats_of(t).peers == 0 && stats_of(t).connecting == 0);
		bt_stop(b.bt); /* twice does nothing */
		CHECK(bt_turn(b.bt, 0) == 0 && b.seen[BT_EV_STOPPED] == 1);
		CHECK(!try_add(&b, &(struct bt_add){ .meta = m })); /* too late */
	}
	bt_free(b.bt);
	finish(&a);
	close(fd);
	bt_meta_free(m);
	remove_tree(at("seed"));
	remove_tree(at("copy"));
}

/* ---- many, and what is refused ---- */

static void test_many(void)
{
	enum { MANY = 500 };
	static struct bt_meta *metas[MANY];
	struct end a;
	int fds;

	start(&a, "seed", &plain);
	fds = count_fds();
	for (uint32_t i = 0; i < MANY; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i);
		metas[i] = one_file(name, 1000 + i, 100 + i, 16384);
		add_to(&a, (struct bt_add){ .meta = metas[i], .seed_ratio = -1 });
	}
	CHECK(UNTIL(a.seen[BT_EV_DONE] == MANY, 20000, &a));
	CHECK(count_fds() == fds); /* an idle torrent holds none */
	CHECK(UNTIL(bt_timeout(a.bt) < 0 || bt_timeout(a.bt) > 500, 3000, &a)); /* and wakes nobody */
	finish(&a);
	for (uint32_t i = 0; i < MANY; i++)
		bt_meta_free(metas[i]);
	remove_tree(at("seed"));
}

static void test_refused(void)
{
	struct bt_meta *m = one_file("data", 4, 100000, 16384);
	struct end a;
	struct bt *bt;
	static const char *const bad_peers[] = { "", "x", ":1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536",
						 "[::1]", "[::1]:", "[name]:80", "1.2.3.4:8x" };

	start(&a, "seed", &plain);
	struct bt_torrent *t = seed(&a, m);
	*err = '\0';
	CHECK(!try_add(&a, &(struct bt_add){ .meta = m }) && strstr(err, "already"));
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	CHECK(!try_add(&a, &(struct bt_add){ .meta = m }) && stats_of(t).state == BT_SEEDING);

	struct bt_opts same = plain;
	same.port = bt_port(a.bt);
	*err = '\0';
	CHECK(bt_new(&bt, &same, err, sizeof(err)) == -EADDRINUSE && !bt && strstr(err, "port"));
	same = (struct bt_opts){ .bind_addr = "localhost" };
	CHECK(bt_new(&bt, &same, err, sizeof(err)) == -EINVAL && !bt && strstr(err, "localhost"));
	finish(&a);

	start(&a, "seed", &plain);
	for (size_t i = 0; i < sizeof(bad_peers) / sizeof(bad_peers[0]); i++) {
		*err = '\0';
		CHECK(!try_add(&a, &(struct bt_add){ .meta = m, .peers = &bad_peers[i], .npeers = 1 }) && *err);
	}
	/* after all of that it can still be added; a directory that can't be made is an error of that torrent */
	t = add_to(&a, (struct bt_add){ .meta = m, .dir = "/proc/nowhere" });
	CHECK(UNTIL(a.seen[BT_EV_ERROR], 5000, &a));
	CHECK(stats_of(t).state == BT_FAILED && *a.text[BT_EV_ERROR]);
	finish(&a);
	bt_meta_free(m);
	remove_tree(at("seed"));
}

/* The keeper dies: the client says so, and can still be freed. */
static void test_keeper_dies(void)
{
	struct bt_meta *m = one_file("data", 5, 100000, 16384);
	struct end a;
	char path[64], line[512];
	FILE *f;
	int keeper = 0;

	CHECK(reap(10000)); /* then the only child is the keeper of this client */
	start(&a, "seed", &plain);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		keeper = atoi(line);
	if (f)
		fclose(f);
	if (keeper > 0) { /* not told under qemu-user */
		kill(keeper, SIGKILL);
		CHECK(UNTIL(a.seen[BT_EV_FATAL], 3000, &a));
		CHECK(!try_add(&a, &(struct bt_add){ .meta = m }));
		CHECK(stop(&a));
	}
	bt_free(a.bt);
	bt_meta_free(m);
	remove_tree(at("seed"));
}

int main(void)
{
	int fds = count_fds();

	make_top();
	for (int i = 0; i < 2; i++) {
		const struct bt_opts *mode = i ? &inline_keeper : &plain;
		test_resume_complete(mode);
		test_resume_partial(mode, true);
		for (enum stage s = AT_ONCE; s < STAGES; s++)
			test_stop(mode, s, true);
	}
	test_resume_partial(&plain, false);
	for (enum stage s = AT_ONCE; s < STAGES; s++)
		test_stop(&plain, s, false);
	test_many();
	test_refused();
	test_keeper_dies();
	return end_tests(fds);
}
