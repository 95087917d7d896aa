/* SPDX-License-Identifier: MIT */
/* Whole clients in one process, through bt.h: what is transferred, in every shape
 * that files and pieces can have. */
#include "test/unit/core/rig.h"

static const struct bt_opts modes[] = {
	{ .bind_addr = "127.0.0.1", .window_bytes = 2 << 20 },
	{ .bind_addr = "127.0.0.1", .window_bytes = 2 << 20, .one_process = true },
	{ .bind_addr = "127.0.0.1", .window_bytes = 2 << 20, .storage = BT_STORAGE_MAP },
};

/* Sizes around blocks and pieces, all at once, each as a torrent of its own. */
static void test_remainders(const struct bt_opts *mode)
{
	static const uint32_t piece_lens[] = { 16384, 32768 };
	static const int64_t around[] = { 1, 16383, 16384, 16385, 32767, 32768, 32769, 49152, 65535, 65536, 65537,
					  5 * 32768 - 1, 5 * 32768, 5 * 32768 + 1, 5 * 32768 + 16384, 300001 };
	enum { SIZES = sizeof(around) / sizeof(around[0]), ALL = 2 * SIZES };
	struct bt_meta *metas[ALL];
	struct bt_torrent *from[ALL], *to[ALL];
	struct end a, b;
	uint64_t down = 0, size = 0;

	start(&a, "seed", mode);
	start(&b, "copy", mode);
	for (unsigned i = 0; i < ALL; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%u", i);
		metas[i] = one_file(name, i, (uint64_t)around[i % SIZES], piece_lens[i / SIZES]);
		from[i] = seed(&a, metas[i]);
	}
	CHECK(UNTIL(a.seen[BT_EV_DONE] == ALL, 10000, &a));
	for (unsigned i = 0; i < ALL; i++)
		to[i] = leech(&b, metas[i], address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE] == ALL, 20000, &a, &b));
	for (unsigned i = 0; i < ALL; i++) {
		struct bt_stats s = stats_of(to[i]);
		CHECK(s.state == BT_SEEDING && s.have == s.size && s.wanted == s.size && s.pieces_have == s.pieces);
		CHECK(s.down == s.size && s.wasted == 0 && s.eta == 0);
		CHECK(bt_piece(to[i], s.pieces - 1) && !bt_piece(to[i], s.pieces));
		CHECK(stats_of(from[i]).up == s.size);
		down += s.down;
		size += metas[i]->size;
	}
	CHECK(down == size);
	finish(&a);
	finish(&b);
	for (unsigned i = 0; i < ALL; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%u", i);
		CHECK(file_is(in(at("copy"), name), i, (uint64_t)around[i % SIZES]));
		bt_meta_free(metas[i]);
	}
	CHECK(reap(10000));
	remove_tree(at("seed"));
	remove_tree(at("copy"));
}

/* ---- trees ---- */

static const struct {
	const char *name;
	uint32_t len;
} tree[] = {
	{ "first", 70001 }, { "deep/er/empty", 0 }, { "deep/er/one", 1 }, { "deep/two", 32768 },
	{ "empty", 0 },     { "last", 100003 },	    { "long", 400000 },
};
enum { FILES = sizeof(tree) / sizeof(tree[0]) };

static struct bt_meta *make_tree(bool pad)
{
	const char *path;
	struct bt_publish p = { .paths = &path, .npaths = 1, .piece_len = 32768, .pad_files = pad };
	char name[PATH_SIZE];

	for (uint32_t i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "seed/tree/%s", tree[i].name);
		put_file(at(name), i, tree[i].len);
	}
	CHECK(symlink("deep/two", at("seed/tree/link")) == 0);
	path = at("seed/tree");
	return publish(&p);
}

/* The file's number for bt_add.files, from 1; 0 = none of that name. */
static uint32_t number_of(const struct bt_meta *m, const char *name)
{
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const char *end = strlen(m->files[i].path) >= strlen(name) ?
					  m->files[i].path + strlen(m->files[i].path) - strlen(name) : "";
		if (strcmp(end, name) == 0 && !(m->files[i].attr & BT_FILE_PAD))
			return i + 1;
	}
	return 0;
}

static bool tree_is_whole(void)
{
	char link[64] = "", name[PATH_SIZE];
	bool whole = readlink(at("copy/tree/link"), link, sizeof(link) - 1) > 0 && strcmp(link, "deep/two") == 0;

	for (uint32_t i = 0; i < FILES && whole; i++) {
		snprintf(name, sizeof(name), "copy/tree/%s", tree[i].name);
		whole = file_is(at(name), i, tree[i].len);
	}
	return whole && !exists(at("copy/tree/.pad")) && !exists(at("copy/.pad"));
}

static void test_tree(const struct bt_opts *mode, bool pad)
{
	struct bt_meta *m = make_tree(pad);
	struct end a, b;
	struct bt_torrent *t;

	start(&a, "seed", mode);
	start(&b, "copy", mode);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	t = leech(&b, m, address(&a, "127.0.0.1"));
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	CHECK(stats_of(t).have == m->size);
	finish(&a);
	finish(&b);
	CHECK(tree_is_whole());
	bt_meta_free(m);
	CHECK(reap(10000));
	remove_tree(at("seed"));
	remove_tree(at("copy"));
}

/* Only some files: their pieces are fetched, no others; a later run takes the rest. */
static void test_choice(const struct bt_opts *mode)
{
	struct bt_meta *m = make_tree(false);
	struct end a, b;
	struct bt_torrent *t;
	const char *peer;
	char list[64];
	uint64_t need = 0, first = 0;
	uint32_t two = number_of(m, "deep/two"), last = number_of(m, "last");

	start(&a, "seed", mode);
	start(&b, "copy", mode);
	seed(&a, m);
	CHECK(UNTIL(a.seen[BT_EV_DONE], 5000, &a));
	CHECK(two && last);
	for (uint32_t i = 0; i < m->pieces; i++) {
		uint64_t begin = i * m->piece_len, end = begin + m->piece_len < m->size ? begin + m->piece_len : m->size;
		const struct bt_file *x = &m->files[two - 1], *y = &m->files[last - 1];
		if ((begin < x->off + x->len && x->off < end) || (begin < y->off + y->len && y->off < end))
			need += end - begin;
	}
	CHECK(need > 0 && need < m->size);
	snprintf(list, sizeof(list), "%u,%u", two, last);
	peer = address(&a, "127.0.0.1");
	t = add_to(&b, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .files = list, .seed_ratio = -1 });
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	CHECK(stats_of(t).state == BT_SEEDING && stats_of(t).wanted == need && stats_of(t).have == need);
	first = stats_of(t).down;
	CHECK(first == need);
	finish(&b);
	CHECK(file_is(at("copy/tree/deep/two"), 3, 32768) && file_is(at("copy/tree/last"), 5, 100003));

	start(&b, "copy", mode);
	t = leech(&b, m, peer);
	CHECK(UNTIL(b.seen[BT_EV_DONE], 10000, &a, &b));
	CHECK(stats_of(t).down == m->size - first);
	finish(&a);
	finish(&b);
	CHECK(tree_is_whole());

	/* lists that mean nothing */
	start(&b, "other", mode);
	static const char *const bad[] = { "0", "1000", "2-1", "x", "1,,2", "-", "1-", "-2", "1;2", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		*err = '\0';
		CHECK(!try_add(&b, &(struct bt_add){ .meta = m, .files = bad[i] }) && *err);
	}
	finish(&b);
	bt_meta_free(m);
	CHECK(reap(10000));
	remove_tree(at("seed"));
	remove_tree(at("copy"));
	remove_tree(at("other"));
}

/* No bytes at all: complete from the start. */
static void test_empty(void)
{
	const char *path = at("seed/nothing");
	struct bt_publish p = { .paths = &path, .npaths = 1 };
	size_t len;
	struct bt_meta *m;
	struct end b;

	put_file(at("seed/nothing/a/b"), 0, 0);
	put_file(at("seed/nothing/c"), 0, 0);
	uint8_t *bytes = bt_publish(&p, &len, err, sizeof(err));
	if (!bytes) /* some call that no torrent */
		return;
	m = bt_meta_parse(bytes, len, err, sizeof(err));
	free(bytes);
	CHECK(m);
	start(&b, "copy", &modes[0]);
	struct bt_torrent *t = add_to(&b, (struct bt_add){ .meta = m });
	CHECK(UNTIL(b.seen[BT_EV_DONE], 5000, &b));
	CHECK(stats_of(t).state == BT_FINISHED && stats_of(t).pieces == 0);
	finish(&b);
	CHECK(file_is(at("copy/nothing/a/b"), 0, 0) && file_is(at("copy/nothing/c"), 0, 0));
	bt_meta_free(m);
}

/* One fetches from three others, of which each has a part, while they fetch from it. */
static void test_swarm(void)
{
	struct bt_meta *m = one_file("data", 7, 3 << 20, 65536);
	struct end s[4];
	struct bt_torrent *t[4];
	const char *peers[4];
	uint64_t up = 0, down = 0;

	for (unsigned i = 0; i < 4; i++) {
		char name[16];
		snprintf(name, sizeof(name), i ? "copy%u" : "seed", i);
		start(&s[i], name, &modes[i % 2]);
		peers[i] = address(&s[i], "127.0.0.1");
	}
	t[0] = seed(&s[0], m);
	CHECK(UNTIL(s[0].seen[BT_EV_DONE], 5000, &s[0]));
	for (unsigned i = 1; i < 4; i++)
		t[i] = add_to(&s[i], (struct bt_add){ .meta = m, .peers = peers, .npeers = i, .seed_ratio = -1 });
	CHECK(UNTIL(s[1].seen[BT_EV_DONE] && s[2].seen[BT_EV_DONE] && s[3].seen[BT_EV_DONE], 15000, &s[0], &s[1], &s[2],
		    &s[3]));
	for (unsigned i = 0; i < 4; i++) {
		struct bt_stats st = stats_of(t[i]);
		CHECK(st.have == m->size);
		up += st.up;
		down += st.down;
		if (i)
			CHECK(st.down - st.wasted == m->size);
	}
	CHECK(up >= down);
	for (unsigned i = 0; i < 4; i++)
		finish(&s[i]);
	for (unsigned i = 1; i < 4; i++)
		CHECK(file_is(in(s[i].dir, "data"), 7, m->size));
	bt_meta_free(m);
	CHECK(reap(10000));
}

int main(void)
{
	int fds = count_fds();

	make_top();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		test_remainders(&modes[i]);
		test_tree(&modes[i], i % 2);
		test_choice(&modes[i]);
	}
	test_empty();
	test_swarm();
	return end_tests(fds);
}
