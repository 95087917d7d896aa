/* SPDX-License-Identifier: MIT */
/* conn.c (test) - the connection as a machine: a leecher and a seeder wired to
 * each other without sockets, in any portions; and by hand what real clients do
 * besides: choke, refuse, answer out of order, cancel, break rules. Needs 64 MiB. */
#include "test/test.h"
#include "rig.h"

/* One direction's end: what came and is not consumed. */
struct end {
	struct load_conn c;
	uint8_t *rest;
	size_t n, need;
};

static void end_open(struct end *e, struct load_job *j, bool seed)
{
	*e = (struct end){ .rest = malloc(LOAD_READ * 2) };
	load_conn_init(&e->c, j, seed);
}

static void end_close(struct end *e)
{
	load_conn_release(&e->c);
	free(e->rest);
}

/* As load.c does: into the arena, behind what is left of last time. */
static size_t feed(struct end *e, const void *bytes, size_t n, uint64_t now_us)
{
	struct load_check *check = &e->c.job->check;
	uint8_t *p = load_check_room(check, e->n + n);
	size_t used;

	memcpy(p, e->rest, e->n);
	memcpy(p + e->n, bytes, n);
	n += e->n;
	used = load_conn_input(&e->c, slice_of(p, n), now_us, &e->need);
	load_check_keep(check, used);
	e->n = n - used;
	memcpy(e->rest, p + used, e->n);
	CHECK(used <= n && (e->c.why || e->need > e->n));
	return used;
}

/* Takes at most max bytes of what it wants to send. */
static size_t drain(struct end *e, uint8_t *out, size_t max, uint64_t now_us)
{
	struct load_heads heads;
	struct iovec v[LOAD_IOV];
	size_t parts = load_conn_output(&e->c, v, &heads), n = 0;

	CHECK(parts <= LOAD_IOV);
	for (size_t i = 0; i < parts && n < max; i++) {
		size_t part = min_size(v[i].iov_len, max - n);
		memcpy(out + n, v[i].iov_base, part);
		n += part;
	}
	load_conn_wrote(&e->c, n, now_us);
	return n;
}

static void job_open(struct load_job *j, const struct bt_meta *m, uint32_t pipeline, bool serves)
{
	char err[200];

	CHECK(load_job_init(j, m, false) == 0);
	j->pipeline = pipeline;
	if (serves)
		CHECK(load_source_open(&j->source, m, NULL, err, sizeof(err)) == 0);
}

/* Moves bytes both ways in portions of 1..most until nothing moves. */
static void pump(struct end *a, struct end *b, size_t most, uint64_t *now)
{
	static uint8_t room[LOAD_READ];
	size_t moved;

	do {
		size_t n = drain(a, room, 1 + random_below((uint32_t)most), ++*now);
		moved = n;
		if (n && !b->c.why)
			feed(b, room, n, *now);
		n = drain(b, room, 1 + random_below((uint32_t)most), ++*now);
		moved += n;
		if (n && !a->c.why)
			feed(a, room, n, *now);
	} while (moved > 0);
}

static void pair(uint64_t size, uint64_t piece_len, uint32_t pipeline, size_t most, bool random)
{
	struct bt_meta *m = rig_meta(size, piece_len);
	struct load_job leech, seed;
	struct end a, b;
	uint64_t now = 1;

	job_open(&leech, m, pipeline, false);
	job_open(&seed, m, 500, true);
	leech.random = random;
	leech.hold = seed.hold = true;
	end_open(&a, &leech, false);
	end_open(&b, &seed, true);
	load_conn_greet(&a.c);
	pump(&a, &b, most, &now);
	CHECK(a.c.ready && b.c.ready && !leech.first_us && !seed.first_us && leech.nhas == m->pieces);
	CHECK(b.c.interested && seed.ninterested == 1 && a.c.choked);
	seed.hold = false;
	load_conn_go(&b.c, now);
	pump(&a, &b, most, &now);
	CHECK(!a.c.choked && !leech.first_us);
	leech.hold = false;
	load_conn_go(&a.c, now);
	pump(&a, &b, most, &now);
	load_check_flush(&leech.check);
	CHECK(!a.c.why && !b.c.why && load_job_got_all(&leech) && leech.check.good == m->pieces && leech.check.bad == 0);
	CHECK(leech.down.bytes == size && seed.up.bytes == size && a.c.bytes == size && b.c.bytes == size);
	CHECK(leech.down.latency.n == leech.down.blocks && seed.up.latency.n == seed.up.blocks);
	CHECK(leech.down.deepest == min_u64(pipeline, leech.down.blocks) && seed.up.deepest <= pipeline);
	CHECK(leech.first_us && leech.last_us > leech.first_us && leech.last_us <= now && leech.down.wasted == 0);
	end_close(&a);
	end_close(&b);
	CHECK(seed.ninterested == 0);
	load_job_release(&leech);
	load_job_release(&seed);
	bt_meta_free(m);
}

/* ---- by hand ---- */

static const uint8_t some_id[20] = "-XX0001-............";

struct hand {
	struct bt_meta *m;
	struct load_job j;
	struct end e;
	struct buf b; /* what the other side says */
	struct block_asked {
		uint32_t index, begin, len;
	} asked[64];
	size_t nasked, nrejected, ncontrol;
	uint64_t now;
};

static void say(struct hand *h)
{
	CHECK(!h->b.failed);
	feed(&h->e, h->b.p, h->b.n, h->now++);
	buf_clear(&h->b);
}

static void put_handshake(struct buf *b, const struct bt_meta *m, uint8_t reserved5, uint8_t reserved7)
{
	uint8_t hs[HANDSHAKE_LEN];

	handshake_put(hs, m->info_hash, some_id);
	hs[20 + 5] = reserved5;
	hs[20 + 7] = reserved7;
	buf_put(b, hs, sizeof(hs));
}

/* Reads what ours says: requests are gathered. */
static void hear(struct hand *h)
{
	static uint8_t room[LOAD_READ];
	const char *why;
	size_t n, at = 0, need;
	struct wire_msg m;
	int r;

	h->nasked = h->nrejected = h->ncontrol = 0;
	n = drain(&h->e, room, sizeof(room), h->now);
	if (n >= HANDSHAKE_LEN && room[0] == 19)
		at = HANDSHAKE_LEN;
	for (; (r = wire_next(slice_of(room + at, n - at), &h->j.limits, &m, &need, &why)) > 0; at += (size_t)r) {
		if (m.type == WIRE_REQUEST)
			h->asked[h->nasked++ % 64] = (struct block_asked){ m.index, m.begin, m.len };
		else if (m.type == WIRE_PIECE)
			at += m.len;
		h->nrejected += m.type == WIRE_REJECT;
		h->ncontrol += m.type != WIRE_REQUEST && m.type != WIRE_PIECE && m.type != WIRE_REJECT;
	}
	CHECK(r == 0 && at == n);
}

static void hand_open(struct hand *h, bool seed, uint32_t pipeline, bool fast)
{
	memset(h, 0, sizeof(*h));
	h->m = rig_meta(6 * 32768 + 100, 32768); /* seven pieces of two blocks, the last of one */
	h->now = 1000;
	buf_init(&h->b, 1 << 20);
	job_open(&h->j, h->m, pipeline, seed);
	end_open(&h->e, &h->j, seed);
	load_conn_greet(&h->e.c);
	hear(h);
	put_handshake(&h->b, h->m, fast ? 0x10 : 0, fast ? 0x04 : 0);
	say(h);
	CHECK(h->e.c.ready && h->e.c.fast == fast);
	hear(h);
}

static void hand_close(struct hand *h)
{
	end_close(&h->e);
	load_job_release(&h->j);
	buf_release(&h->b);
	bt_meta_free(h->m);
}

static void put_answer(struct hand *h, const struct block_asked *a, bool right)
{
	uint8_t head[WIRE_PIECE_HEAD], bytes[LOAD_BLOCK];

	wire_put_piece_head(head, a->index, a->begin, a->len);
	bt_load_content(bytes, a->len, (uint64_t)a->index * h->m->piece_len + a->begin);
	bytes[0] = (uint8_t)(bytes[0] ^ !right);
	buf_put(&h->b, head, sizeof(head));
	buf_put(&h->b, bytes, a->len);
}

static void choked_and_back(void)
{
	struct hand h;
	struct end other;
	struct load_conn *c;

	hand_open(&h, false, 3, false);
	CHECK(h.ncontrol == 1); /* interested; it spoke no extension */
	uint8_t bits[1] = { 0xf0 };
	wire_put_bitfield(&h.b, bits, h.m->pieces);
	wire_put_simple(&h.b, WIRE_UNCHOKE);
	say(&h);
	hear(&h);
	CHECK(h.nasked == 3 && h.asked[0].index == 0 && h.asked[0].begin == 0 && h.asked[1].begin == LOAD_BLOCK &&
	      h.asked[2].index == 1 && h.j.nhas == 4);
	struct block_asked first[3];
	memcpy(first, h.asked, sizeof(first));
	put_answer(&h, &first[1], true); /* out of order */
	wire_put_simple(&h.b, WIRE_CHOKE);
	put_answer(&h, &first[0], true); /* too late: nobody waits for it */
	say(&h);
	hear(&h);
	CHECK(h.e.c.choked && h.e.c.req_n == 0 && h.nasked == 0 && h.j.down.wasted == LOAD_BLOCK && h.j.down.blocks == 1);
	CHECK(!list_empty(&h.j.orphans));
	/* another connection goes on with what was begun */
	end_open(&other, &h.j, false);
	load_conn_greet(&other.c);
	put_handshake(&h.b, h.m, 0, 0);
	wire_put_simple(&h.b, WIRE_UNCHOKE);
	feed(&other, h.b.p, h.b.n, h.now);
	buf_clear(&h.b);
	CHECK(other.c.req_n == 3 && list_empty(&h.j.orphans) && other.c.reqs[0].piece->index == 0 && other.c.reqs[0].block == 0);
	end_close(&other); /* and is lost */
	CHECK(!list_empty(&h.j.orphans));
	wire_put_simple(&h.b, WIRE_UNCHOKE);
	say(&h);
	for (int i = 0; i < 20; i++) {
		hear(&h);
		for (size_t k = 0; k < h.nasked; k++)
			put_answer(&h, &h.asked[k], h.asked[k].index != 2);
		say(&h);
	}
	load_check_flush(&h.j.check);
	CHECK(h.j.check.good == 3 && h.j.check.bad == 1 && !load_job_got_all(&h.j) && !h.e.c.why);
	/* nothing left: hungry until the target has more */
	CHECK(list_linked(&h.e.c.on_hungry) && load_job_feed(&h.j) == NULL);
	wire_put_have(&h.b, 6);
	wire_put_have(&h.b, 6);
	say(&h);
	CHECK(h.j.nhas == 5 && h.e.c.req_n == 1);
	hear(&h);
	CHECK(h.nasked == 1 && h.asked[0].len == 100);
	end_open(&other, &h.j, false);
	c = load_job_feed(&h.j);
	CHECK(c == NULL);
	end_close(&other);
	hand_close(&h);
}

static void refused(void)
{
	struct hand h;

	hand_open(&h, false, 8, true);
	ext_put_hello(&h.b, &(struct ext_hello_out){ .client = "x", .reqq = 4 });
	wire_put_simple(&h.b, WIRE_HAVE_ALL);
	wire_put_simple(&h.b, WIRE_UNCHOKE);
	say(&h);
	hear(&h);
	CHECK(h.nasked == 4); /* as its hello says */
	wire_put_block(&h.b, WIRE_REJECT, h.asked[3].index, h.asked[3].begin, h.asked[3].len);
	wire_put_block(&h.b, WIRE_REJECT, 5, 0, LOAD_BLOCK); /* of nothing: ignored */
	say(&h);
	struct block_asked first = h.asked[0], again = h.asked[3];
	hear(&h);
	CHECK(h.nasked == 0 && h.e.c.depth == 3);
	put_answer(&h, &first, true);
	say(&h);
	hear(&h);
	CHECK(h.nasked == 1 && h.asked[0].index == again.index && h.asked[0].begin == again.begin && h.e.c.rejects == 0);
	for (int i = 0; i < 200 && !h.e.c.why; i++) { /* it refuses all */
		while (h.e.c.req_n > 0 && !h.e.c.why) {
			struct load_request *r = &h.e.c.reqs[h.e.c.req_head];
			wire_put_block(&h.b, WIRE_REJECT, r->piece->index, r->block * LOAD_BLOCK,
				       load_block_len(r->piece, r->block));
			say(&h);
		}
	}
	CHECK(h.e.c.why && strcmp(h.e.c.why, "refuses what it has") == 0);
	hand_close(&h);
}

static void broken(void)
{
	struct hand h;
	uint8_t hs[HANDSHAKE_LEN] = { 0 };
	static const char *const bad[] = {
		"\xff\xff\xff\xff", "\0\0\0\2\0\0", "\0\0\0\5\4\0\0\0\7", "\0\0\0\4\x14\0xx", "\0\0\0\3\5\0\0",
	};
	static const size_t bad_len[] = { 4, 6, 9, 8, 7 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		hand_open(&h, i % 2, 4, true);
		for (size_t n = 0; n < bad_len[i]; n++) {
			CHECK(!h.e.c.why || n >= 4);
			if (!h.e.c.why)
				feed(&h.e, bad[i] + n, 1, h.now);
		}
		CHECK(h.e.c.why != NULL);
		hand_close(&h);
	}
	hand_open(&h, false, 4, true);
	load_conn_release(&h.e.c);
	load_conn_init(&h.e.c, &h.j, false);
	feed(&h.e, "GET / HTTP/1.1", 14, h.now);
	CHECK(h.e.c.why && !h.e.c.ready);
	load_conn_release(&h.e.c);
	load_conn_init(&h.e.c, &h.j, false);
	h.e.n = 0;
	handshake_put(hs, some_id, some_id);
	feed(&h.e, hs, sizeof(hs), h.now);
	CHECK(h.e.c.why && strcmp(h.e.c.why, "has another torrent") == 0 && !h.e.c.ready);
	hand_close(&h);
}

static void seeder(void)
{
	struct hand h;
	static uint8_t room[LOAD_READ];
	uint8_t want[LOAD_BLOCK];
	size_t n;

	hand_open(&h, true, 10, false);
	CHECK(h.ncontrol == 1); /* a bitfield */
	wire_put_block(&h.b, WIRE_REQUEST, 0, 0, LOAD_BLOCK);
	say(&h); /* choked: no answer, and no reject in plain BEP 3 */
	hear(&h);
	CHECK(h.ncontrol == 0 && h.nrejected == 0 && h.j.up.blocks == 0);
	wire_put_simple(&h.b, WIRE_INTERESTED);
	wire_put_simple(&h.b, WIRE_INTERESTED);
	say(&h);
	hear(&h);
	CHECK(h.ncontrol == 1 && h.j.ninterested == 1);
	wire_put_block(&h.b, WIRE_REQUEST, 1, 16, LOAD_BLOCK + 5);
	wire_put_block(&h.b, WIRE_REQUEST, 6, 99, 1);
	wire_put_block(&h.b, WIRE_REQUEST, 2, 0, 7);
	wire_put_block(&h.b, WIRE_CANCEL, 6, 99, 1);
	wire_put_block(&h.b, WIRE_CANCEL, 6, 98, 1);
	say(&h);
	/* byte by byte, the same */
	for (n = 0; n < WIRE_PIECE_HEAD + LOAD_BLOCK + 5; n++)
		CHECK(drain(&h.e, room + n, 1, h.now) == 1);
	bt_load_content(want, LOAD_BLOCK, 32768 + 16 + 5);
	CHECK(room[4] == WIRE_PIECE && get_u32(room) == 9 + LOAD_BLOCK + 5 && get_u32(room + 5) == 1 && get_u32(room + 9) == 16 &&
	      memcmp(room + WIRE_PIECE_HEAD + 5, want, LOAD_BLOCK) == 0);
	CHECK(h.j.up.blocks == 1 && h.e.c.want_n == 1);
	/* half a frame is out: it is no more to be cancelled, and control messages wait */
	CHECK(drain(&h.e, room, 15, h.now) == 15);
	wire_put_block(&h.b, WIRE_CANCEL, 2, 0, 7);
	say(&h);
	buf_u32(&h.e.c.out, 0); /* a keep-alive, as an example */
	CHECK(drain(&h.e, room, sizeof(room), h.now) == 5);
	CHECK(drain(&h.e, room, sizeof(room), h.now) == 4 && h.j.up.blocks == 2 && h.j.up.bytes == LOAD_BLOCK + 12);
	wire_put_simple(&h.b, WIRE_NOT_INTERESTED);
	for (uint32_t i = 0; i < 7; i++)
		wire_put_have(&h.b, i);
	say(&h);
	CHECK(h.j.nhas == 7 && h.j.ninterested == 0 && !h.e.c.why);
	hand_close(&h);
}

static void too_many_wants(void)
{
	struct hand h;

	hand_open(&h, true, 10, true);
	CHECK(h.ncontrol == 2); /* hello, have all */
	wire_put_simple(&h.b, WIRE_INTERESTED);
	for (uint32_t i = 0; i < LOAD_WANTS + 3; i++)
		wire_put_block(&h.b, WIRE_REQUEST, 0, i, 1);
	say(&h);
	CHECK(h.e.c.want_n == LOAD_WANTS && h.j.up.deepest == LOAD_WANTS);
	hear(&h);
	CHECK(h.nrejected == 3 && h.e.c.want_n == LOAD_WANTS - LOAD_FRAMES);
	hand_close(&h);
}

static void wrong_content(void)
{
	struct bt_meta *m = rig_meta(100000, 16384);
	struct load_source s;
	char err[200] = "";

	((uint8_t *)(uintptr_t)m->hashes)[6 * SHA1_LEN] ^= 1; /* the last piece's */
	CHECK(load_source_open(&s, m, NULL, err, sizeof(err)) < 0 && strstr(err, "--data"));
	load_source_close(&s);
	CHECK(load_source_open(&s, m, "/nonexistent", err, sizeof(err)) < 0 && strstr(err, "No such file"));
	load_source_close(&s);
	bt_meta_free(m);
}

static void ranges(void)
{
	static const char *const bad[] = { "", "-", "x", "127.0.0.1-", "-127.0.0.1", "127.0.0.2-127.0.0.1", "127.0.0.1-::1",
					   "10.0.0.0-11.0.0.0", "::1-2001::2", "127.0.0.1:80", "127.0.0.1-5" };
	struct load_range r;
	struct addr a;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!load_range_parse(&r, bad[i]));
	CHECK(load_range_parse(&r, "127.0.0.254-127.0.1.1") && r.n == 4);
	a = load_range_at(&r, 2);
	CHECK(strcmp(addr_format(&a, text), "127.0.1.0:0") == 0);
	a = load_range_at(&r, 7);
	CHECK(strcmp(addr_format(&a, text), "127.0.1.1:0") == 0);
	CHECK(load_range_parse(&r, "fd00::1-fd00::3") && r.n == 3);
	a = load_range_at(&r, 1);
	CHECK(a.v6 && a.ip[15] == 2);
	CHECK(load_range_parse(&r, "127.0.0.9") && r.n == 1);
}

int main(void)
{
	pair(1, 16384, 1, 1, false);
	pair(5 * 16384 + 1, 16384, 2, 7, true);
	pair(200000, 32768, 5, 3000, false);
	pair(3 << 20, 65536, 64, LOAD_READ - 1, true);
	pair(9 << 20, 1 << 20, 300, 100000, false);
	choked_and_back();
	refused();
	broken();
	seeder();
	too_many_wants();
	wrong_content();
	ranges();
	return test_done();
}
