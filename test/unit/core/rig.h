/* SPDX-License-Identifier: MIT */
/* rig.h - for tests of whole clients: a temporary directory, data, torrents of it,
 * and several struct bt driven in turns by one process, through bt.h alone. */
#ifndef BT_TEST_CORE_RIG_H
#define BT_TEST_CORE_RIG_H

#include "bt.h"
#include "test/test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define CLIENTS_MAX 8
#define PATH_SIZE 256

static char top[128]; /* everything lives below it */
static char err[512];

/* One client and what it told. */
struct end {
	struct bt *bt;
	struct bt_opts opts;
	char dir[PATH_SIZE];
	int seen[BT_EV_FATAL + 1]; /* events by kind */
	int ourselves, second;     /* log lines about such connections */
	bool stopped;
	char text[BT_EV_FATAL + 1][256]; /* the last of each kind */
};

static UNUSED uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static UNUSED int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Waits for all children; false when one is still there after ms. */
static UNUSED bool reap(int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && now_ms() < until)
		if (pid == 0)
			poll(NULL, 0, 5);
	return pid < 0 && errno == ECHILD;
}

/* ---- files ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static UNUSED void remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static UNUSED void make_top(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(top, sizeof(top), "%.100s/bt-core-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top))
		abort();
}

/* top/name, good until the eighth call after this one. */
static UNUSED const char *at(const char *name)
{
	static char room[8][2 * PATH_SIZE];
	static unsigned next;
	char *path = room[next++ % 8];

	snprintf(path, sizeof(room[0]), "%s/%s", top, name);
	return path;
}

static UNUSED const char *in(const char *dir, const char *name)
{
	static char room[4][2 * PATH_SIZE];
	static unsigned next;
	char *path = room[next++ % 4];

	snprintf(path, sizeof(room[0]), "%s/%s", dir, name);
	return path;
}

static uint8_t byte_at(uint32_t salt, uint64_t off)
{
	uint64_t x = (off / 8 + 1) * 0x9e3779b97f4a7c15u + salt * 0xbf58476d1ce4e5b9u;

	x ^= x >> 29;
	x *= 0x94d049bb133111ebu;
	return (uint8_t)(x >> (8 * (off % 8)));
}

/* A file of bytes that depend on salt; its directories are made. */
static UNUSED void put_file(const char *path, uint32_t salt, uint64_t len)
{
	static uint8_t chunk[65536];
	char dirs[PATH_SIZE * 2];
	int fd;

	snprintf(dirs, sizeof(dirs), "%s", path);
	for (char *s = dirs + strlen(top) + 1; (s = strchr(s, '/')); *s++ = '/') {
		*s = '\0';
		mkdir(dirs, 0777);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	for (uint64_t off = 0; off < len;) {
		size_t n = len - off < sizeof(chunk) ? (size_t)(len - off) : sizeof(chunk);
		for (size_t i = 0; i < n; i++)
			chunk[i] = byte_at(salt, off + i);
		if (write(fd, chunk, n) != (ssize_t)n)
			abort();
		off += n;
	}
	if (fd < 0 || close(fd) < 0)
		abort();
}

static UNUSED bool file_is(const char *path, uint32_t salt, uint64_t len)
{
	static uint8_t chunk[65536];
	int fd = open(path, O_RDONLY);
	uint64_t off = 0;
	bool same = fd >= 0;
	ssize_t n;

	while (same && (n = read(fd, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n && same; i++)
			same = chunk[i] == byte_at(salt, off + (uint64_t)i);
		off += (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	return same && off == len;
}

static UNUSED bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

/* ---- torrents ---- */

static UNUSED struct bt_meta *publish(const struct bt_publish *p)
{
	size_t len = 0;
	uint8_t *bytes = bt_publish(p, &len, err, sizeof(err));
	struct bt_meta *m = bytes ? bt_meta_parse(bytes, len, err, sizeof(err)) : NULL;

	free(bytes);
	if (!m) {
		fprintf(stderr, "publish: %s\n", err);
		abort();
	}
	return m;
}

static UNUSED struct bt_meta *publish_path(const char *path, uint64_t piece_len)
{
	struct bt_publish p = { .paths = &path, .npaths = 1, .piece_len = piece_len };
	return publish(&p);
}

/* One file of len bytes as top/seed/NAME, and its torrent. */
static UNUSED struct bt_meta *one_file(const char *name, uint32_t salt, uint64_t len, uint64_t piece_len)
{
	const char *path = in(at("seed"), name);

	put_file(path, salt, len);
	return publish_path(path, piece_len);
}

/* ---- clients ---- */

static void on_event(void *arg, enum bt_event ev, struct bt_torrent *t, const char *text)
{
	struct end *e = arg;

	e->seen[ev]++;
	snprintf(e->text[ev], sizeof(e->text[ev]), "%s", text);
	if (ev == BT_EV_STOPPED && !t)
		e->stopped = true;
	if (ev == BT_EV_LOG && strstr(text, "ourselves"))
		e->ourselves++;
	if (ev == BT_EV_LOG && strstr(text, "second connection"))
		e->second++;
	if (getenv("BT_TEST_VERBOSE"))
		fprintf(stderr, "%s: event %d: %s\n", strrchr(e->dir, '/') + 1, ev, text);
}

/* A client whose files are below top/name. opts may be NULL. */
static UNUSED void start(struct end *e, const char *name, const struct bt_opts *opts)
{
	memset(e, 0, sizeof(*e));
	if (opts)
		e->opts = *opts;
	e->opts.on_event = on_event;
	e->opts.arg = e;
	e->opts.verbose = true;
	snprintf(e->dir, sizeof(e->dir), "%s", at(name));
	if (bt_new(&e->bt, &e->opts, err, sizeof(err)) < 0) {
		fprintf(stderr, "bt_new: %s\n", err);
		abort();
	}
}

static UNUSED struct bt_torrent *try_add(struct end *e, struct bt_add *add)
{
	if (!add->dir)
		add->dir = e->dir;
	return bt_add(e->bt, add, err, sizeof(err));
}

static UNUSED struct bt_torrent *add_to(struct end *e, struct bt_add add)
{
	struct bt_torrent *t = try_add(e, &add);

	if (!t) {
		fprintf(stderr, "bt_add: %s\n", err);
		abort();
	}
	return t;
}

/* "IP:PORT" of a client on loopback. */
static UNUSED const char *address(const struct end *e, const char *ip)
{
	static char room[16][40];
	static unsigned next;
	char *text = room[next++ % 16];

	snprintf(text, sizeof(room[0]), "%s:%u", ip, bt_port(e->bt));
	return text;
}

static UNUSED struct bt_torrent *seed(struct end *e, const struct bt_meta *m)
{
	return add_to(e, (struct bt_add){ .meta = m, .seed_ratio = -1, .read_only = true });
}

/* Fetches it from one peer and goes on seeding. */
static UNUSED struct bt_torrent *leech(struct end *e, const struct bt_meta *m, const char *peer)
{
	return add_to(e, (struct bt_add){ .meta = m, .peers = &peer, .npeers = 1, .seed_ratio = -1 });
}

static UNUSED struct bt_stats stats_of(const struct bt_torrent *t)
{
	struct bt_stats s;
	bt_stats(t, &s);
	return s;
}

/* Waits until some client has work, then gives each its turn. */
static UNUSED void turn(struct end *const *ends, size_t n, int most_ms)
{
	struct pollfd fds[CLIENTS_MAX];

	for (size_t i = 0; i < n; i++) {
		int ms = bt_timeout(ends[i]->bt);
		if (ms >= 0 && ms < most_ms)
			most_ms = ms;
		fds[i] = (struct pollfd){ .fd = bt_fd(ends[i]->bt), .events = POLLIN };
	}
	poll(fds, (nfds_t)n, most_ms);
	for (size_t i = 0; i < n; i++)
		CHECK(bt_turn(ends[i]->bt, 0) == 0);
}

/* Turns until the condition holds; its value. Names of clients come last. */
#define UNTIL(condition, ms, ...)                                                      \
	({                                                                             \
		struct end *ends_[] = { __VA_ARGS__ };                                 \
		uint64_t until_ = now_ms() + (ms);                                     \
		while (!(condition) && now_ms() < until_)                              \
			turn(ends_, sizeof(ends_) / sizeof(ends_[0]), 50);             \
		(condition);                                                           \
	})

/* Ends a client cleanly; the others go on meanwhile. True within 3 s. */
static UNUSED bool stop(struct end *e)
{
	bt_stop(e->bt);
	return UNTIL(e->stopped, 3000, e);
}

static UNUSED void finish(struct end *e)
{
	CHECK(stop(e));
	bt_free(e->bt);
	e->bt = NULL;
}

/* Children and descriptors are as before; the directory goes. */
static UNUSED int end_tests(int fds_before)
{
	CHECK(reap(10000));
	CHECK(count_fds() == fds_before);
	remove_tree(top);
	return test_done();
}

#endif
