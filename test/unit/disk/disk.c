/* SPDX-License-Identifier: MIT */
/* The loop's end by itself: frames, small texts, several disks, and a link whose
 * other end talks nonsense. */
#include "rig.h"
#include "disk/keeper.h"
#include "disk/loop.h"
#include <sys/resource.h>

static void test_frames(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	uint32_t a, b, n;

	memset(&t, 0, sizeof(t));
	rig_init(&r, &t);
	o = rig_opts(&r);
	o.one_process = true;
	o.pool_bytes = 2 << 20;
	CHECK(rig_disk(&r, &o));
	CHECK(disk_frames_total(r.disk) == 128 && disk_frames_free(r.disk) == 128);
	a = disk_frame_get(r.disk);
	b = disk_frame_get(r.disk);
	CHECK(b == a + 1 && disk_frame(r.disk, b) == disk_frame(r.disk, a) + BLOCK_LEN);
	disk_frame_put(r.disk, a);
	CHECK(disk_frame_get(r.disk) == a);
	for (n = 0; disk_frame_get(r.disk) != LOC_NONE; n++)
		;
	CHECK(n == 126 && disk_frames_free(r.disk) == 0);
	disk_frame_put(r.disk, b);
	CHECK(r.frames == 0);
	CHECK(rig_wait(&r, &r.frames, 1, 1000));
	disk_frame_put(r.disk, a);
	rig_idle(&r, 20);
	CHECK(r.frames == 1); /* only after somebody had none */
	rig_release(&r);
}

static void test_pool_size(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;

	memset(&t, 0, sizeof(t));
	rig_init(&r, &t);
	o = rig_opts(&r);
	o.one_process = true;
	o.pool_bytes = 0;
	CHECK(rig_disk(&r, &o));
	CHECK(disk_frames_total(r.disk) >= 128 && disk_frames_total(r.disk) <= 4096);
	rig_release(&r);
}

static void test_text(bool one_process)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	FILE *f;

	memset(&t, 0, sizeof(t));
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o));
	f = fopen(path_in(&r, "text"), "w");
	for (int i = 0; i < 50000; i++)
		fputc('a' + i % 23, f);
	fclose(f);
	disk_read_text(r.disk, path_in(&r, "text"), on_text, &r);
	CHECK(r.texts == 0);
	CHECK(rig_wait(&r, &r.texts, 1, 2000) && r.text_err == 0 && r.text_len == 50000);
	CHECK(r.text[0] == 'a' && r.text[40000] == 'a' + 40000 % 23 && r.text[49999] == 'a' + 49999 % 23);
	f = fopen(path_in(&r, "text"), "w");
	fclose(f);
	disk_read_text(r.disk, path_in(&r, "text"), on_text, &r);
	disk_read_text(r.disk, path_in(&r, "absent"), on_text, &r);
	CHECK(rig_wait(&r, &r.texts, 3, 2000) && r.text_err == -ENOENT && r.text_len == 0);
	CHECK(mkfifo(path_in(&r, "fifo"), 0666) == 0);
	disk_read_text(r.disk, path_in(&r, "fifo"), on_text, &r);
	CHECK(rig_wait(&r, &r.texts, 4, 2000) && r.text_err == -EINVAL);
	rig_release(&r);
	rm_tree(r.dir);
}

static int seen;
static int count_msg(void *arg, struct msg *m)
{
	(void)arg, (void)m;
	seen++;
	return 0;
}

static void test_link(void)
{
	struct link a, b;
	struct msg *m, raw;
	int fd, fds = count_fds();

	CHECK(link_pair(&a, &b) == 0);
	for (int i = 0; i < 100; i++) {
		m = link_put(&a, MSG_CHECK, 1000);
		CHECK(m && m->len == sizeof(*m) + 4000 && m->fd == -1);
	}
	CHECK(link_flush(&a) == -EAGAIN); /* more than the socket holds */
	while (link_waits(&a) || seen < 100) {
		if (link_take(&b, 7, count_msg, NULL) < 0)
			break;
		if (link_flush(&a) == -EPIPE)
			break;
	}
	CHECK(seen == 100 && link_take(&b, 7, count_msg, NULL) == 0);
	/* a descriptor nobody takes is closed */
	fd = dup(0);
	m = link_put(&a, MSG_OPEN, 0);
	m->fd = fd;
	CHECK(link_flush(&a) == 0 && fcntl(fd, F_GETFD) < 0);
	CHECK(link_take(&b, 1, count_msg, NULL) == 1);
	/* lengths that don't fit */
	memset(&raw, 0, sizeof(raw));
	raw.len = sizeof(raw);
	raw.type = MSG_CHECK;
	raw.n = 1;
	CHECK(send(a.fd, &raw, sizeof(raw), 0) == sizeof(raw));
	CHECK(link_take(&b, 1, count_msg, NULL) == -EPROTO);
	CHECK(send(a.fd, &raw, 5, 0) == 5);
	CHECK(link_take(&b, 1, count_msg, NULL) == -EPROTO);
	raw.type = MSG_TYPES;
	raw.n = 0;
	CHECK(send(a.fd, &raw, sizeof(raw), 0) == sizeof(raw));
	CHECK(link_take(&b, 1, count_msg, NULL) == -EPROTO);
	link_release(&a);
	CHECK(link_take(&b, 1, count_msg, NULL) == -EPIPE);
	link_release(&b);
	CHECK(count_fds() == fds);
}

/* Whatever a broken end says, the other one refuses or survives it: fields and
 * tails at random, mostly small so that they are often nearly right. */
static uint32_t some(void)
{
	switch (random_below(8)) {
	case 0:
		return UINT32_MAX - random_below(3);
	case 1:
		return random_below(UINT32_MAX);
	default:
		return random_below(5);
	}
}

static void babble(struct link *l, uint32_t lo, uint32_t hi)
{
	enum msg_type type = (enum msg_type)(lo + random_below(hi - lo));
	size_t elem = msg_elem(type);
	struct msg *m = link_put(l, type, elem ? random_below(40) : 0);

	if (!m)
		return;
	m->flags = (uint16_t)random_below(8);
	m->store = random_below(4) ? 0 : some();
	m->job = some();
	m->index = some();
	m->first = some();
	m->total = random_below(2) ? 4 : some();
	m->err = (int32_t)some();
	m->off = random_below(2) ? some() : (uint64_t)some() << 32;
	m->size = random_below(2) ? some() : (uint64_t)some() << 32;
	for (size_t i = 0; i < m->n * elem; i++)
		((uint8_t *)msg_tail(m))[i] = (uint8_t)(random_below(3) ? 0 : random_below(256));
	if (random_below(4) == 0)
		m->fd = dup(0);
}

static void test_nonsense(bool from_keeper)
{
	const uint64_t lens[] = { 500000 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	int fds = count_fds(), deaths = 0;

	torrent_make(&t, 65536, lens, 1);
	for (int round = 0; round < 100; round++) {
		rig_init(&r, &t);
		dir_make(r.dir);
		o = rig_opts(&r);
		o.one_process = true;
		o.pool_bytes = 1;
		o.storage = DISK_MAP;
		if (!rig_disk(&r, &o) || !rig_open(&r))
			abort();
		for (uint32_t i = 0; i < 3; i++)
			CHECK(rig_check(&r, i, i == 1 ? 2 : LOC_NONE, true));
		store_place(r.store, 4, 0, 10);
		for (int i = 0; i < 30 && !r.dead && !r.closed; i++) {
			struct link *l = from_keeper ? &r.disk->keeper->link : &r.disk->link;
			/* a sensible one in between: nonsense about jobs in flight */
			if (i % 7 == 3)
				rig_check(&r, (uint32_t)i % 8, LOC_NONE, false);
			babble(l, from_keeper ? MSG_OPENED : MSG_OPEN, from_keeper ? MSG_TYPES : MSG_OPENED);
			disk_send(r.disk);
			if (net_turn(&r.net, 0) < 0)
				abort();
		}
		if (r.disk->dead)
			CHECK(rig_wait(&r, &r.dead, 1, 1000));
		deaths += r.dead;
		rig_release(&r);
		rm_tree(r.dir);
	}
	CHECK(deaths > 0);
	torrent_free(&t);
	CHECK(count_fds() == fds);
}

static void test_flat(void)
{
	const uint64_t lens[] = { 0, 100000, 0, 0, 65536, 1, 0 };
	struct torrent t;
	struct rig r;
	struct store_spec s;
	struct flat_view v;
	int fd;

	torrent_make(&t, 16384, lens, 7);
	rig_init(&r, &t);
	snprintf(r.dir, sizeof(r.dir), "/nowhere");
	s = rig_spec(&r);
	fd = flat_make(&s);
	CHECK(fd >= 0 && flat_map(&v, fd, true) == 0);
	CHECK(memcmp(v.hashes, t.hashes, (size_t)t.pieces * 20) == 0);
	CHECK(strcmp(v.text + v.files[4].path, t.files[4].path) == 0 && strcmp(v.text + v.h->dir, "/nowhere") == 0);
	CHECK(flat_at(&v, 0) == 1 && flat_at(&v, 99999) == 1 && flat_at(&v, 100000) == 4 && flat_at(&v, 165536) == 5);
	CHECK(write(fd, "x", 1) < 0 && ftruncate(fd, 10) < 0); /* sealed */
	flat_unmap(&v);
	close(fd);
	/* numbers that contradict each other */
	s.pieces++;
	fd = flat_make(&s);
	CHECK(fd >= 0 && flat_map(&v, fd, false) == -EPROTO);
	close(fd);
	s.pieces--;
	t.files[4].off++;
	fd = flat_make(&s);
	CHECK(fd >= 0 && flat_map(&v, fd, false) == -EPROTO);
	close(fd);
	CHECK(flat_map(&v, 0, false) == -EPROTO); /* not sealed, not ours */
	rig_release(&r);
	torrent_free(&t);
}

/* Two disks in one process know nothing of each other. */
static void test_two(void)
{
	const uint64_t lens[] = { 1 << 20 };
	struct torrent t;
	struct rig a, b;
	struct disk_opts oa, ob;
	int fds = count_fds();

	torrent_make(&t, 65536, lens, 1);
	rig_init(&a, &t);
	rig_init(&b, &t);
	dir_make(a.dir);
	dir_make(b.dir);
	oa = rig_opts(&a);
	ob = rig_opts(&b);
	CHECK(rig_disk(&a, &oa) && rig_disk(&b, &ob) && rig_open(&a) && rig_open(&b));
	kill(disk_keeper_pid(a.disk), SIGTERM); /* ignored: its life is the link's */
	kill(disk_keeper_pid(a.disk), SIGINT);
	CHECK(rig_all(&a) && rig_all(&b));
	rig_release(&a); /* without closing the store: the keeper finishes by itself */
	CHECK(files_equal(&b) && files_equal(&a));
	CHECK(rig_close(&b, NULL, 0));
	rig_release(&b);
	rm_tree(a.dir);
	rm_tree(b.dir);
	torrent_free(&t);
	CHECK(count_fds() == fds);
}

int main(void)
{
	test_frames();
	test_pool_size();
	test_text(true);
	test_text(false);
	test_link();
	test_nonsense(false);
	test_nonsense(true);
	test_flat();
	test_two();
	return test_done();
}
