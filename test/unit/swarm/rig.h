/* SPDX-License-Identifier: MIT */
/* rig.h - for tests of the swarm: a client whose disk runs inline, torrents of
 * made bytes, and peers that are played by the test over socket pairs, byte by
 * byte, from any address. Time can't be turned; what waits for it is set back. */
#ifndef BT_TEST_SWARM_RIG_H
#define BT_TEST_SWARM_RIG_H

#include "bencode.h"
#include "sha1.h"
#include "swarm/swarm.h"
#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct fake;
struct rig {
	struct client c;
	struct fake *fakes[64];
	char dir[128];
	int seen[BT_EV_FATAL + 1];
	char text[BT_EV_FATAL + 1][256]; /* the last of each kind */
};

struct made {
	struct bt_meta *meta;
	uint8_t *bytes;
};

/* One that is played. What bt sent it is kept, less what was looked at. */
struct fake {
	int fd;
	struct peer *p; /* the other end; NULL once it has gone, see fake_gone */
	struct bt_torrent *t;
	struct addr addr;
	struct buf out; /* what is put goes with the next turn: many small packets would fill the socket */
	struct buf got;
};

static UNUSED uint64_t clock_ms(void)
{
	struct net n;

	net_clock(&n);
	return n.now_ms;
}

/* ---- the client ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void rig_on_event(void *arg, enum bt_event ev, struct bt_torrent *t, const char *text)
{
	struct rig *r = arg;

	(void)t;
	r->seen[ev]++;
	snprintf(r->text[ev], sizeof(r->text[ev]), "%.*s", (int)sizeof(r->text[ev]) - 1, text);
}

static void rig_on_frames(void *arg)
{
	struct rig *r = arg;

	client_wake_frames(&r->c);
}

static void rig_on_dead(void *arg, const char *why)
{
	struct rig *r = arg;

	client_died(&r->c, why);
}

static UNUSED void rig_init_with(struct rig *r, uint64_t window, bool one_process)
{
	const char *tmp = getenv("TMPDIR");
	struct disk_opts d = { .pool_bytes = window, .one_process = one_process, .on_frames = rig_on_frames,
			       .on_dead = rig_on_dead, .arg = r };
	struct client *c = &r->c;

	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "%.80s/bt-swarm-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(r->dir) || net_init(&c->net) || disk_new(&c->disk, &c->net, &d))
		abort();
	timer_init(&c->budget_timer, NULL);
	c->on_event = rig_on_event;
	c->arg = r;
	memcpy(c->peer_id, BT_PEER_ID_PREFIX "0123456789ab", sizeof(c->peer_id));
	c->dns = dns_new(&c->net);
	if (!c->dns || !client_init(c, 200))
		abort();
}

static UNUSED void rig_init(struct rig *r, uint64_t window)
{
	rig_init_with(r, window, true);
}

static void flush(struct fake *f)
{
	ssize_t n = f->out.n ? send(f->fd, f->out.p, f->out.n, MSG_NOSIGNAL) : 0;

	if (n > 0)
		buf_drop(&f->out, (size_t)n);
	else if (n < 0 && errno != EAGAIN)
		buf_clear(&f->out); /* it hung up: the test sees what came of it */
}

static UNUSED void turn(struct rig *r, int ms)
{
	for (size_t i = 0; i < ARRAY_LEN(r->fakes); i++)
		if (r->fakes[i])
			flush(r->fakes[i]);
	if (net_turn(&r->c.net, ms))
		abort();
}

static UNUSED void turns(struct rig *r, int n)
{
	while (n-- > 0)
		turn(r, 0);
}

#define UNTIL(r, cond, ms)                                                   \
	({                                                                   \
		uint64_t end_ = clock_ms() + (ms);                           \
		bool ok_;                                                    \
		while (!(ok_ = (cond)) && clock_ms() < end_)                 \
			turn(r, 5);                                          \
		ok_;                                                         \
	})

static UNUSED void rig_release(struct rig *r)
{
	struct client *c = &r->c;

	while (!list_empty(&c->torrents))
		torrent_free(container_of(c->torrents.next, struct bt_torrent, on_client));
	while (!list_empty(&c->pending))
		peer_close_now(container_of(c->pending.next, struct peer, on_torrent));
	timer_clear(&c->net, &c->budget_timer);
	dns_free(c->dns);
	disk_free(c->disk);
	client_release(c);
	net_release(&c->net);
	nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- torrents ---- */

static UNUSED void make(struct made *m, const char *name, uint64_t size, uint64_t piece_len)
{
	uint64_t pieces = (size + piece_len - 1) / piece_len, x = size * 2654435761u + piece_len + (uint8_t)name[0];
	uint8_t *hashes = malloc((size_t)pieces * SHA1_LEN);
	char err[256] = "";
	struct buf b;

	m->bytes = malloc((size_t)size + 8);
	if (!m->bytes || !hashes)
		abort();
	for (uint64_t i = 0; i < size; i += 8) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		memcpy(m->bytes + i, &x, 8);
	}
	for (uint64_t i = 0; i < pieces; i++)
		sha1(m->bytes + i * piece_len, (size_t)min_u64(piece_len, size - i * piece_len), hashes + i * SHA1_LEN);
	buf_init(&b, 64 << 20);
	ben_open_dict(&b);
	ben_put_str(&b, "info");
	ben_open_dict(&b);
	ben_put_str(&b, "length");
	ben_put_int(&b, (int64_t)size);
	ben_put_str(&b, "name");
	ben_put_str(&b, name);
	ben_put_str(&b, "piece length");
	ben_put_int(&b, (int64_t)piece_len);
	ben_put_str(&b, "pieces");
	ben_put_bytes(&b, hashes, (size_t)pieces * SHA1_LEN);
	ben_close(&b);
	ben_close(&b);
	m->meta = bt_meta_parse(b.p, b.n, err, sizeof(err));
	if (!m->meta)
		abort();
	buf_release(&b);
	free(hashes);
}

static UNUSED void made_free(struct made *m)
{
	bt_meta_free(m->meta);
	free(m->bytes);
}

static UNUSED struct bt_torrent *rig_add(struct rig *r, const struct made *m)
{
	struct bt_add add = { .meta = m->meta, .dir = r->dir, .seed_ratio = -1 };
	char err[256] = "";
	struct bt_torrent *t = torrent_new(&r->c, &add, NULL, err, sizeof(err));

	if (!t) {
		fprintf(stderr, "torrent_new: %s\n", err);
		abort();
	}
	CHECK(UNTIL(r, t->opened, 30000));
	return t;
}

/* With the data in place: a seed. */
static UNUSED struct bt_torrent *rig_seed(struct rig *r, const struct made *m)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->dir, m->meta->name);
	fd = open(path, O_WRONLY | O_CREAT, 0666);
	if (fd < 0 || write(fd, m->bytes, (size_t)m->meta->size) != (ssize_t)m->meta->size || close(fd))
		abort();
	struct bt_torrent *t = rig_add(r, m);
	CHECK(UNTIL(r, t->seeding, 30000));
	return t;
}

/* ---- peers ---- */

enum { F_FAST = 1, F_EXT = 2 };

static UNUSED struct addr addr4(uint8_t c, uint8_t d, uint16_t port)
{
	return (struct addr){ .ip = { 10, 0, c, d }, .port = port };
}

static UNUSED void put(struct fake *f, const void *p, size_t n)
{
	buf_put(&f->out, p, n);
	if (f->out.failed)
		abort();
}

/* The other end; NULL when it was closed. */
static UNUSED struct peer *fake_peer(const struct fake *f)
{
	for (struct list *l = f->t->peers.next; l != &f->t->peers; l = l->next) {
		struct peer *p = container_of(l, struct peer, on_torrent);
		if (p == f->p && addr_eq(&p->addr, &f->addr) && !p->why)
			return p;
	}
	return NULL;
}

static UNUSED void fake_open(struct rig *r, struct fake *f, struct bt_torrent *t, struct addr from, int flags)
{
	uint8_t hs[68];
	int fds[2];

	*f = (struct fake){ .t = t, .addr = from };
	buf_init(&f->got, 64 << 20);
	buf_init(&f->out, 64 << 20);
	for (size_t i = 0; i < ARRAY_LEN(r->fakes); i++)
		if (!r->fakes[i]) {
			r->fakes[i] = f;
			break;
		}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		abort();
	f->fd = fds[1];
	connect_in(&r->c, fds[0], &from);
	handshake_put(hs, t->info_hash, (const uint8_t *)"-XX0000-............");
	memset(hs + 20, 0, 8);
	hs[27] = flags & F_FAST ? 4 : 0;
	hs[25] = flags & F_EXT ? 0x10 : 0;
	random_bytes(hs + 56, 12);
	put(f, hs, sizeof(hs));
	turns(r, 2);
	for (struct list *l = t->peers.next; l != &t->peers; l = l->next) {
		struct peer *p = container_of(l, struct peer, on_torrent);
		if (addr_eq(&p->addr, &from))
			f->p = p;
	}
}

static UNUSED void fake_close(struct rig *r, struct fake *f)
{
	for (size_t i = 0; i < ARRAY_LEN(r->fakes); i++)
		if (r->fakes[i] == f)
			r->fakes[i] = NULL;
	close(f->fd);
	buf_release(&f->got);
	buf_release(&f->out);
	turns(r, 2);
}

static UNUSED void put_msg(struct fake *f, uint8_t id, const void *body, size_t n)
{
	uint8_t head[5];

	put_u32(head, (uint32_t)n + 1);
	head[4] = id;
	put(f, head, sizeof(head));
	put(f, body, n);
}

static UNUSED void put_words(struct fake *f, uint8_t id, uint32_t a, uint32_t b, uint32_t c, int n)
{
	uint8_t body[12];

	put_u32(body, a);
	put_u32(body + 4, b);
	put_u32(body + 8, c);
	put_msg(f, id, body, (size_t)n * 4);
}

/* The block the request asks for, with the first byte spoilt when wrong. */
static UNUSED void put_piece(struct fake *f, const struct made *m, uint32_t piece, uint32_t begin, uint32_t len, bool wrong)
{
	uint8_t *b = malloc(8 + (size_t)len);

	put_u32(b, piece);
	put_u32(b + 4, begin);
	memcpy(b + 8, m->bytes + piece * m->meta->piece_len + begin, len);
	b[8] ^= wrong;
	put_msg(f, WIRE_PIECE, b, 8 + (size_t)len);
	free(b);
}

static UNUSED void put_ext(struct fake *f, uint8_t id, const char *text, size_t n)
{
	uint8_t b[256];

	b[0] = id;
	memcpy(b + 1, text, n);
	put_msg(f, WIRE_EXTENDED, b, n + 1);
}

/* Takes what has come. */
static UNUSED void get(struct fake *f)
{
	uint8_t b[65536];
	ssize_t n;

	while ((n = recv(f->fd, b, sizeof(b), 0)) > 0)
		buf_put(&f->got, b, (size_t)n);
}

/* The next message of this id among those that have come, which go with all before
 * it; false = there is none, and all are gone. A handshake counts as no message. */
static UNUSED bool next_msg(struct fake *f, uint8_t id, uint8_t body[16])
{
	bool found = false;
	size_t at = 0;

	if (f->got.n < 65536)
		get(f);
	while (!found && f->got.n - at >= 4) {
		const uint8_t *p = f->got.p + at;
		size_t len = get_u32(p);
		if (f->got.n - at >= 68 && p[0] == 19) {
			at += 68;
			continue;
		}
		if (f->got.n - at < 4 + len)
			break;
		found = len && p[4] == id;
		if (found)
			memcpy(body, p + 5, min_size(len - 1, 16));
		at += 4 + len;
	}
	buf_drop(&f->got, at);
	return found;
}

static UNUSED int count_msgs(struct fake *f, uint8_t id)
{
	uint8_t body[16];
	int n = 0;

	while (next_msg(f, id, body))
		n++;
	return n;
}

/* Answers every request that has come; how many. */
static UNUSED int serve(struct fake *f, const struct made *m, bool wrong)
{
	uint8_t b[16];
	int n = 0;

	for (; next_msg(f, WIRE_REQUEST, b); n++)
		put_piece(f, m, get_u32(b), get_u32(b + 4), get_u32(b + 8), wrong);
	return n;
}

/* Says that it has everything and may be asked. */
static UNUSED void offer_all(struct rig *r, struct fake *f)
{
	uint8_t bits[65536];
	uint32_t pieces = f->t->limits.pieces;

	memset(bits, 0, sizeof(bits));
	for (uint32_t i = 0; i < pieces; i++)
		bit_set(bits, i);
	put_msg(f, WIRE_BITFIELD, bits, bits_len(pieces));
	put_msg(f, WIRE_UNCHOKE, NULL, 0);
	turns(r, 3);
}

#endif
