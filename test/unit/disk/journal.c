/* SPDX-License-Identifier: MIT */
/* Tests of disk/journal.c. The rule: whatever happens to the bytes, what is read
 * back is a state that once was true, and never one in which a withdrawn piece
 * is still claimed. */
#include "disk/journal.h"

#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECES 40u
#define BITS   5u
#define NFILES 2u
#define HALF   8192u /* of this geometry: one unit of snapshot, one of log */
#define IMAGE  (2 * HALF)

static const uint8_t id[20] = "an info-hash, 20 byt";
static char top[64];
static int dirfd_;

/* ---- recording and failing I/O ---- */

struct event {
	off_t off;
	size_t n;
	uint8_t *p; /* NULL: a sync */
};

struct tape {
	struct event *ev;
	size_t n, cap;
	long fail_at; /* this call and all after it fail; -1 = none */
	long calls;
	int error;
	bool fail_once;
};

static bool fails(struct tape *t)
{
	long call = t->calls++;

	if (t->fail_at < 0 || call < t->fail_at || (t->fail_once && call > t->fail_at))
		return false;
	errno = t->error;
	return true;
}

static void record(struct tape *t, const void *p, size_t n, off_t off)
{
	struct event *e;

	if (!grow_array((void **)&t->ev, &t->cap, t->n + 1, sizeof(*t->ev)))
		abort();
	e = &t->ev[t->n++];
	e->off = off;
	e->n = n;
	e->p = NULL;
	if (p) {
		e->p = malloc(n ? n : 1);
		if (!e->p)
			abort();
		memcpy(e->p, p, n);
	}
}

/* Every fifth write is short. */
static ssize_t tape_write(void *arg, int fd, const void *p, size_t n, off_t off)
{
	struct tape *t = arg;
	ssize_t w;

	if (fails(t))
		return -1;
	w = pwrite(fd, p, t->calls % 5 == 0 && n > 1 ? n / 2 : n, off);
	if (w > 0)
		record(t, p, (size_t)w, off);
	return w;
}

static int tape_sync(void *arg, int fd)
{
	struct tape *t = arg;

	(void)fd;
	if (fails(t))
		return -1;
	record(t, NULL, 0, 0);
	return 0;
}

static void tape_release(struct tape *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->ev[i].p);
	free(t->ev);
	memset(t, 0, sizeof(*t));
	t->fail_at = -1;
}

static ssize_t no_write(void *arg, int fd, const void *p, size_t n, off_t off)
{
	(void)arg, (void)fd, (void)p, (void)off;
	return (ssize_t)n;
}

static int no_sync(void *arg, int fd)
{
	(void)arg, (void)fd;
	return 0;
}

static const struct journal_io looking = { no_write, no_sync, NULL };

/* ---- helpers ---- */

static struct journal_opts opts(const char *name, const struct journal_io *io)
{
	return (struct journal_opts){ .dirfd = dirfd_, .name = name, .id = id, .pieces = PIECES, .nfiles = NFILES,
				      .piece_len = 256 << 10, .io = io };
}

static void put_image(const char *name, const uint8_t *p, size_t n)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	close(fd);
}

static size_t get_image(const char *name, uint8_t *p, size_t max)
{
	int fd = openat(dirfd_, name, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, p, max);

	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : (size_t)n;
}

/* What an image says, without changing it. */
static struct journal_state look(const uint8_t *image, size_t n)
{
	struct journal_opts o = opts("look", &looking);
	struct journal_state s;
	struct journal *j;

	put_image("look", image, n);
	CHECK(journal_open(&j, &o, &s) == 0);
	journal_drop(j);
	return s;
}

static const struct file_stamp stamps[NFILES] = { { 123, -5 }, { 1ull << 40, 1700000000123456789 } };

/* All states that were true, and the oldest one that still may be claimed. */
struct history {
	uint8_t have[4096][BITS];
	size_t n, valid;
};

static void remember(struct history *h, const uint8_t *have)
{
	memcpy(h->have[h->n++], have, BITS);
}

static bool known(const struct history *h, size_t from, const uint8_t *have)
{
	for (size_t i = from; i < h->n; i++) {
		if (memcmp(h->have[i], have, BITS) == 0)
			return true;
	}
	return false;
}

static void set(uint8_t *have, const uint32_t *p, size_t n, bool on)
{
	for (size_t i = 0; i < n; i++)
		on ? bit_set(have, p[i]) : bit_clear(have, p[i]);
}

/* ---- tests ---- */

static void test_life(void)
{
	struct journal_opts o = opts("life", NULL);
	uint8_t bits[2] = { 0xff, 0xff };
	struct journal_partial partial[] = { { 7, 16, bits }, { 9, 3, bits }, { 3, 16, bits }, { 7, 2, bits } };
	struct journal_state s;
	struct journal *j;
	uint32_t p[] = { 3, 39, 0 };

	CHECK(journal_open(&j, &o, &s) == 0 && !s.found && !s.clean && bits_count(s.have, PIECES) == 0);
	journal_state_release(&s);
	CHECK(journal_have(j, p, 3) == 0 && journal_have(j, p, 0) == 0);
	CHECK(journal_lost(j, p, 1) == 0 && journal_have(j, p, 1) == 0);
	CHECK(journal_close(j, stamps, partial, 4) == 0);
	CHECK(journal_open(&j, &o, &s) == 0 && s.found && s.clean);
	CHECK(bits_count(s.have, PIECES) == 3 && bit_get(s.have, 3) && bit_get(s.have, 39) && bit_get(s.have, 0));
	CHECK(memcmp(s.stamps, stamps, sizeof(stamps)) == 0);
	/* 3 is whole; of the two 7 the newer counts; bits behind the end are cleared */
	CHECK(s.npartials == 2 && s.partials[0].index == 9 && s.partials[0].nblocks == 3);
	CHECK(s.partials[0].bits[0] == 0xe0 && s.partials[1].index == 7 && s.partials[1].nblocks == 2);
	journal_state_release(&s);
	journal_drop(j);
	CHECK(journal_open(&j, &o, &s) == 0 && s.found && !s.clean && bits_count(s.have, PIECES) == 3);
	CHECK(s.npartials == 0);
	journal_state_release(&s);
	journal_drop(j);
	/* somebody else's, another geometry: replaced */
	for (int i = 0; i < 5; i++) {
		uint8_t other[20] = "other";

		if (i == 0)
			o.pieces = 41;
		if (i == 1)
			o.nfiles = 3;
		if (i == 2)
			o.piece_len = 1 << 20;
		if (i == 3)
			o.id = other;
		if (i == 4)
			o.pieces = 1000000;
		CHECK(journal_open(&j, &o, &s) == 0 && !s.found && bits_count(s.have, o.pieces) == 0);
		journal_state_release(&s);
		CHECK(journal_have(j, p, 3) == 0);
		journal_drop(j);
		CHECK(journal_open(&j, &o, &s) == 0 && s.found && bits_count(s.have, o.pieces) == 3);
		journal_state_release(&s);
		journal_drop(j);
	}
}

/* The oldest partial pieces are left out when there is no room. */
static void test_partials_room(void)
{
	struct journal_opts o = opts("partials", NULL);
	static uint8_t bits[4096];
	struct journal_partial partial[64];
	struct journal_state s;
	struct journal *j;

	o.pieces = 64;
	o.piece_len = 32767ull * 16384;
	memset(bits, 0xff, sizeof(bits));
	for (uint32_t i = 0; i < 64; i++)
		partial[i] = (struct journal_partial){ i, 32767, bits };
	CHECK(journal_open(&j, &o, &s) == 0);
	journal_state_release(&s);
	CHECK(journal_close(j, stamps, partial, 64) == 0);
	CHECK(journal_open(&j, &o, &s) == 0 && s.clean && s.npartials == 15);
	for (uint32_t i = 0; i < s.npartials; i++)
		CHECK(s.partials[i].index == 64 - 15 + i && s.partials[i].bits[4095] == 0xfe);
	journal_state_release(&s);
	journal_drop(j);
}

/* A long random life against a model, with reopening both ways. */
static void test_model(void)
{
	struct journal_opts o = opts("model", NULL);
	uint8_t model[BITS] = { 0 };
	struct journal_state s;
	struct journal *j;
	bool clean;

	CHECK(journal_open(&j, &o, &s) == 0);
	journal_state_release(&s);
	for (int i = 0; i < 6000; i++) {
		uint32_t p[50], n = random_below(50), what = random_below(20);

		for (uint32_t k = 0; k < n; k++)
			p[k] = random_below(PIECES);
		if (what == 0) {
			clean = random_below(2);
			if (clean)
				CHECK(journal_close(j, stamps, NULL, 0) == 0);
			else
				journal_drop(j);
			CHECK(journal_open(&j, &o, &s) == 0 && s.found && s.clean == clean);
			CHECK(memcmp(s.have, model, BITS) == 0);
			journal_state_release(&s);
		} else if (what < 4) {
			CHECK(journal_lost(j, p, n) == 0);
			set(model, p, n, false);
		} else {
			CHECK(journal_have(j, p, n) == 0);
			set(model, p, n, true);
		}
	}
	journal_drop(j);
}

/* A short life with everything in it, onto a tape. */
static void live(const struct journal_io *io, const char *name, struct history *h, size_t *op_end, const struct tape *t)
{
	struct journal_opts o = opts(name, io);
	uint8_t have[BITS] = { 0 }, bits[2] = { 0x12, 0x34 };
	struct journal_partial partial = { 30, 16, bits };
	struct journal_state s;
	struct journal *j;
	size_t ops = 0;

	remember(h, have);
	for (uint32_t run = 0; run < 3; run++) {
		CHECK(journal_open(&j, &o, &s) == 0);
		journal_state_release(&s);
		remember(h, have); /* each operation gives one state: the same one here */
		op_end[ops++] = t ? t->n : 0;
		for (uint32_t i = 0; i < 4; i++) {
			uint32_t p[3] = { run * 8 + i, run * 9 + 2 * i, 39 - i };
			bool lost = run == 1 && i == 2;

			CHECK((lost ? journal_lost(j, p, 3) : journal_have(j, p, i == 3 ? 1 : 3)) == 0);
			set(have, p, i == 3 && !lost ? 1 : 3, !lost);
			remember(h, have);
			op_end[ops++] = t ? t->n : 0;
			if (lost)
				h->valid = h->n - 1;
		}
		if (run == 1)
			journal_drop(j);
		else
			CHECK(journal_close(j, stamps, &partial, 1) == 0);
		remember(h, have);
		op_end[ops++] = t ? t->n : 0;
	}
}

static void check_claim(const struct history *h, size_t before, const struct journal_state *s)
{
	bool ok = memcmp(s->have, h->have[before], BITS) == 0 || memcmp(s->have, h->have[before + 1], BITS) == 0;

	CHECK(ok);
	CHECK(s->npartials <= 1 && (!s->clean || memcmp(s->stamps, stamps, sizeof(stamps)) == 0));
}

/* The power fails after every single byte that is written: the state is that
 * before the operation or that after it. */
static void test_power_cuts(void)
{
	static struct history h;
	static uint8_t image[IMAGE];
	struct tape t = { .fail_at = -1 };
	struct journal_io io = { tape_write, tape_sync, &t };
	size_t op_end[64], op = 0, len = 0, cuts = 0;

	memset(&h, 0, sizeof(h));
	live(&io, "tape", &h, op_end, &t);
	for (size_t e = 0; e < t.n; e++) {
		const struct event *ev = &t.ev[e];

		while (e >= op_end[op])
			op++;
		for (size_t k = 0; ev->p && k < ev->n; k++) {
			size_t at = (size_t)ev->off + k;
			uint8_t old = at < len ? image[at] : 0;
			bool same = at < len && old == ev->p[k];

			CHECK(at < IMAGE);
			image[at] = ev->p[k];
			len = at >= len ? at + 1 : len;
			/* of the zeros at the beginning a few will do */
			if (!same && (old || ev->p[k] || at % 512 == 0)) {
				struct journal_state s = look(image, len);

				check_claim(&h, op, &s);
				CHECK(op == 0 || s.found);
				journal_state_release(&s);
				cuts++;
			}
		}
	}
	CHECK(len == IMAGE && cuts > 300);
	tape_release(&t);
}

/* Writes of one operation may reach the disk in any order of sectors. */
static void test_sectors(void)
{
	static struct history h;
	static uint8_t image[IMAGE], torn[IMAGE];
	struct tape t = { .fail_at = -1 };
	struct journal_io io = { tape_write, tape_sync, &t };
	size_t op_end[64], op = 0;

	memset(&h, 0, sizeof(h));
	live(&io, "tape2", &h, op_end, &t);
	for (size_t e = 0; e < t.n; e++) {
		const struct event *ev = &t.ev[e];

		while (e >= op_end[op])
			op++;
		if (!ev->p)
			continue;
		for (unsigned tries = 0; tries < 16; tries++) {
			struct journal_state s;

			memcpy(torn, image, IMAGE);
			for (size_t k = 0; k < ev->n; k++) {
				size_t at = (size_t)ev->off + k;

				if (tries >> at / 32 % 4 & 1) /* small sectors, so that there are several */
					torn[at] = ev->p[k];
			}
			s = look(torn, IMAGE);
			check_claim(&h, op, &s);
			journal_state_release(&s);
		}
		memcpy(image + ev->off, ev->p, ev->n);
	}
	tape_release(&t);
}

static void test_damage(void)
{
	static struct history h;
	static uint8_t image[IMAGE + 1];
	size_t op_end[64];
	struct journal_state s;
	struct journal_opts o = opts("damage", NULL);
	struct journal *j;
	unsigned flips = 0;

	memset(&h, 0, sizeof(h));
	live(NULL, "damage", &h, op_end, NULL);
	for (int open = 0; open < 2; open++) {
		CHECK(get_image("damage", image, sizeof(image)) == IMAGE);
		for (size_t i = 0; i < IMAGE * 8; i++) {
			/* every bit where something is, some of the zeros */
			if (i / 8 % 4096 >= 200 && i % 101)
				continue;
			image[i / 8] ^= (uint8_t)(1 << i % 8);
			s = look(image, IMAGE);
			CHECK(s.found && known(&h, h.valid, s.have));
			CHECK(!s.clean || (memcmp(s.stamps, stamps, sizeof(stamps)) == 0 && s.npartials == 1));
			journal_state_release(&s);
			image[i / 8] ^= (uint8_t)(1 << i % 8);
			flips++;
		}
		for (size_t n = 0; n <= IMAGE; n++) {
			if (n % 4096 > 300 && n % 64)
				continue;
			s = look(image, n);
			CHECK(!s.found ? bits_count(s.have, PIECES) == 0 : known(&h, h.valid, s.have));
			CHECK(s.found || n < HALF + 300);
			journal_state_release(&s);
		}
		/* a second time with a log in use */
		if (open == 0) {
			uint32_t p = 11;
			uint8_t have[BITS];

			CHECK(journal_open(&j, &o, &s) == 0);
			memcpy(have, s.have, BITS);
			journal_state_release(&s);
			for (; p < 16; p++) {
				CHECK(journal_have(j, &p, 1) == 0);
				bit_set(have, p);
				remember(&h, have);
			}
			journal_drop(j);
		}
	}
	CHECK(flips > 10000);
	for (int i = 0; i < 2000; i++) {
		random_bytes(image, IMAGE);
		if (i & 1)
			memcpy(image, "bt-jrnl\1", 8);
		s = look(image, random_below(IMAGE + 1));
		CHECK(!s.found);
		journal_state_release(&s);
	}
}

/* A damaged journal must not make it possible that records of another life join in. */
static void test_stale_records(void)
{
	struct journal_opts o = opts("stale", NULL);
	static uint8_t image[IMAGE];
	struct journal_state s;
	struct journal *j;
	uint32_t p[] = { 1, 2, 3 };

	CHECK(journal_open(&j, &o, &s) == 0);
	journal_state_release(&s);
	CHECK(journal_have(j, p, 1) == 0 && journal_have(j, p + 1, 1) == 0 && journal_have(j, p + 2, 1) == 0);
	journal_drop(j);
	CHECK(get_image("stale", image, IMAGE) == IMAGE);
	image[4096 + 20 + 17] ^= 1; /* second record of half 0 */
	put_image("stale", image, IMAGE);
	CHECK(journal_open(&j, &o, &s) == 0 && bits_count(s.have, PIECES) == 1);
	journal_state_release(&s);
	CHECK(journal_have(j, p + 1, 1) == 0);
	journal_drop(j);
	CHECK(journal_open(&j, &o, &s) == 0 && bits_count(s.have, PIECES) == 2 && !bit_get(s.have, 3));
	journal_state_release(&s);
	journal_drop(j);
}

/* ---- right CRCs, wrong content ---- */

static void seal(uint8_t *b)
{
	put_u32(b + 8, crc32c(0, b + 12, get_u32(b + 72) - 12));
}

static void test_hostile(void)
{
	struct journal_opts o = opts("hostile", NULL);
	static uint8_t image[IMAGE], good[IMAGE];
	uint8_t bits[2] = { 0xff, 0xff };
	struct journal_partial partial[] = { { 7, 16, bits }, { 9, 16, bits } };
	static const uint32_t counts[] = { 0, 1, 3, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff };
	uint8_t *h = image + HALF, *log = image + 4096;
	struct journal_state s;
	struct journal *j;
	uint32_t p = 5;

	CHECK(journal_open(&j, &o, &s) == 0); /* half 0 */
	journal_state_release(&s);
	CHECK(journal_have(j, &p, 1) == 0);
	CHECK(journal_close(j, stamps, partial, 2) == 0); /* half 1 */
	CHECK(get_image("hostile", good, IMAGE) == IMAGE);
	s = look(good, IMAGE);
	CHECK(s.clean && s.npartials == 2);
	journal_state_release(&s);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		for (size_t at = 0; at < 8; at++) {
			static const size_t field[] = { 12, 52, 56, 60, 64, 76, 80 + BITS + 32, 80 + BITS + 36 };

			memcpy(image, good, IMAGE);
			if (get_u32(h + field[at]) == counts[i] || (field[at] == 12 && counts[i] == 1) ||
			    (at == 6 && counts[i] < PIECES))
				continue; /* no harm in that */
			put_u32(h + field[at], counts[i]);
			seal(h);
			s = look(image, IMAGE);
			CHECK(s.found && !s.clean && bits_count(s.have, PIECES) == 1); /* half 0 */
			journal_state_release(&s);
		}
		memcpy(image, good, IMAGE);
		put_u32(h + 72, counts[i]);
		s = look(image, IMAGE);
		CHECK(s.found && !s.clean);
		journal_state_release(&s);
		/* a record with another count */
		memcpy(image, good, IMAGE);
		memset(h, 0, 80);
		if (counts[i] == 1)
			continue;
		put_u32(log + 4, counts[i]);
		if (counts[i] < 1000)
			put_u32(log, crc32c(0, log + 4, 12 + 4 * (size_t)counts[i]));
		s = look(image, IMAGE);
		CHECK(s.found && bits_count(s.have, PIECES) <= 2);
		journal_state_release(&s);
	}
	for (uint32_t index = 30; index < 60; index++) {
		memcpy(image, good, IMAGE);
		memset(h, 0, 80);
		put_u32(log + 16, index);
		put_u32(log, crc32c(0, log + 4, 16));
		s = look(image, IMAGE);
		CHECK(s.found && bits_count(s.have, PIECES) == (index < PIECES));
		journal_state_release(&s);
		/* the same partial piece twice, one that is had, one behind the end */
		memcpy(image, good, IMAGE);
		put_u32(h + 80 + BITS + 32, index == 30 ? 7 : index == 31 ? 5 : index);
		seal(h);
		s = look(image, IMAGE);
		CHECK(s.clean == (index > 31 && index < PIECES));
		journal_state_release(&s);
	}
	/* a generation behind which there is none */
	memcpy(image, good, IMAGE);
	memset(h + 16, 0xff, 8);
	seal(h);
	s = look(image, IMAGE);
	CHECK(s.found && !s.clean);
	journal_state_release(&s);
	/* a stranger's file, a link, a directory, a pipe in its place */
	CHECK(symlinkat("hostile", dirfd_, "link") == 0 && mkfifoat(dirfd_, "pipe", 0600) == 0);
	o.name = "link";
	CHECK(journal_open(&j, &o, &s) == -ELOOP && j == NULL && s.have);
	journal_state_release(&s);
	o.name = "pipe";
	CHECK(journal_open(&j, &o, &s) == -ENXIO && j == NULL);
	journal_state_release(&s);
	o.name = ".";
	CHECK(journal_open(&j, &o, &s) < 0 && j == NULL);
	journal_state_release(&s);
}

/* ---- failing disks ---- */

/* Every call fails once, or for good; then the journal is read again. */
static void test_faults(void)
{
	static const uint32_t p[] = { 1, 2, 3, 4, 5, 6, 7 };

	for (int once = 0; once < 2; once++) {
		for (long at = 0; at < 40; at++) {
			struct tape t = { .fail_at = -1, .error = at & 1 ? EIO : ENOSPC, .fail_once = once };
			struct journal_io io = { tape_write, tape_sync, &t };
			struct journal_opts o = opts("fault", &io);
			uint8_t sure[BITS] = { 0 }, asked[BITS] = { 0 };
			struct journal_state s;
			struct journal *j;
			int r = 0;

			(void)unlinkat(dirfd_, "fault", 0);
			t.fail_at = at;
			r = journal_open(&j, &o, &s);
			CHECK(r == 0 ? j != NULL : j == NULL && (r == -EIO || r == -ENOSPC) && s.have);
			CHECK(r == 0 || faccessat(dirfd_, "fault", F_OK, 0) < 0);
			journal_state_release(&s);
			for (size_t i = 0; r == 0 && i < ARRAY_LEN(p); i++) {
				bool lost = i == 4;
				int e;

				e = lost ? journal_lost(j, p + 1, 1) : journal_have(j, p + i, 1);
				set(asked, lost ? p + 1 : p + i, 1, !lost);
				if (e == 0)
					memcpy(sure, asked, BITS);
				else
					CHECK(e == -EIO || e == -ENOSPC);
			}
			if (r < 0) {
				tape_release(&t);
				continue;
			}
			if (at % 3)
				journal_drop(j);
			else if (journal_close(j, stamps, NULL, 0) == 0)
				memcpy(sure, asked, BITS);
			o.io = NULL;
			CHECK(journal_open(&j, &o, &s) == 0 && s.found);
			for (uint32_t i = 0; i < PIECES; i++) {
				if (bit_get(sure, i) && bit_get(asked, i))
					CHECK(bit_get(s.have, i));
				/* withdrawn, and it was told to be written down */
				if (!bit_get(sure, i) && i != 2)
					CHECK(!bit_get(s.have, i) || bit_get(asked, i));
			}
			if (!bit_get(sure, 2) && bit_get(sure, 5))
				CHECK(!bit_get(s.have, 2));
			journal_state_release(&s);
			journal_drop(j);
			tape_release(&t);
		}
	}
}

static void test_no_room(void)
{
	struct journal_opts o = opts("room", NULL);
	struct rlimit old, low;
	struct journal_state s;
	struct journal *j;
	uint32_t p = 1;

	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	low = old;
	low.rlim_cur = IMAGE - 1;
	CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
	CHECK(journal_open(&j, &o, &s) == -EFBIG && j == NULL && s.have && !s.found);
	journal_state_release(&s);
	CHECK(faccessat(dirfd_, "room", F_OK, 0) < 0);
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	/* made before, it needs no room: records and snapshots go on */
	CHECK(journal_open(&j, &o, &s) == 0);
	journal_state_release(&s);
	low.rlim_cur = IMAGE;
	CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
	for (int i = 0; i < 1000; i++)
		CHECK(journal_have(j, &p, 1) == 0);
	/* half 1 can't be written: an error, and all is readable */
	low.rlim_cur = HALF;
	CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
	p = 2;
	while (journal_have(j, &p, 1) == 0)
		;
	CHECK(journal_close(j, stamps, NULL, 0) == -EFBIG);
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	CHECK(journal_open(&j, &o, &s) == 0 && s.found && !s.clean && bits_count(s.have, PIECES) == 2);
	journal_state_release(&s);
	journal_drop(j);
}

static void test_read_only(void)
{
	struct journal_opts o = opts("x", NULL);
	struct journal_state s;
	struct journal *j;
	uint32_t p = 1;
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/ro", top);
	CHECK(mkdir(dir, 0700) == 0);
	if (mount("bt-test", dir, "tmpfs", 0, "size=1m") < 0)
		return; /* not root */
	o.dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK(journal_open(&j, &o, &s) == 0 && journal_have(j, &p, 1) == 0);
	journal_state_release(&s);
	CHECK(journal_close(j, stamps, NULL, 0) == 0);
	CHECK(mount("bt-test", dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
	CHECK(journal_open(&j, &o, &s) == -EROFS && j == NULL && s.found && s.clean && bit_get(s.have, 1));
	journal_state_release(&s);
	o.name = "y";
	CHECK(journal_open(&j, &o, &s) == -EROFS && j == NULL && !s.found && s.have);
	journal_state_release(&s);
	close(o.dirfd);
	CHECK(umount(dir) == 0);
}

/* A keeper that is still finishing is waited for. */
static void test_lock(void)
{
	struct journal_opts o = opts("lock", NULL);
	struct journal_state s;
	struct journal *j;
	uint32_t p = 17;
	int pipes[2];
	char c;
	pid_t pid;

	CHECK(pipe(pipes) == 0);
	pid = fork();
	if (pid == 0) {
		const struct timespec some = { .tv_nsec = 200 * 1000000 };

		if (journal_open(&j, &o, &s) < 0 || write(pipes[1], "x", 1) != 1)
			_exit(1);
		nanosleep(&some, NULL);
		if (journal_have(j, &p, 1) < 0)
			_exit(1);
		_exit(0);
	}
	CHECK(read(pipes[0], &c, 1) == 1);
	CHECK(journal_open(&j, &o, &s) == 0 && s.found && bit_get(s.have, 17));
	journal_state_release(&s);
	journal_drop(j);
	waitpid(pid, NULL, 0);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_huge(void)
{
	struct journal_opts o = opts("huge", NULL);
	uint32_t n = 2u << 20, files = 100000;
	uint32_t *p = alloc_array(n, sizeof(*p));
	struct file_stamp *st = alloc_array(files, sizeof(*st));
	struct journal_state s;
	struct journal *j;

	o.pieces = n;
	o.nfiles = files;
	o.piece_len = 16384;
	for (uint32_t i = 0; i < n; i++)
		p[i] = i;
	for (uint32_t i = 0; i < files; i++)
		st[i] = (struct file_stamp){ i, -(int64_t)i };
	CHECK(journal_open(&j, &o, &s) == 0 && !s.found);
	journal_state_release(&s);
	CHECK(journal_have(j, p, n) == 0);
	CHECK(journal_lost(j, p + 1000, 5) == 0 && journal_have(j, p + 1000, 3) == 0);
	CHECK(journal_close(j, st, NULL, 0) == 0);
	CHECK(journal_open(&j, &o, &s) == 0 && s.clean && bits_count(s.have, n) == n - 2);
	CHECK(memcmp(s.stamps, st, files * sizeof(*st)) == 0);
	journal_state_release(&s);
	journal_drop(j);
	free(p);
	free(st);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int main(void)
{
	static const char *const names[] = { "look", "life", "partials", "model", "tape", "tape2", "damage", "stale",
					     "hostile", "link", "pipe", "fault", "room", "lock", "huge" };
	int before;

	signal(SIGXFSZ, SIG_IGN);
	/* in memory where possible: thousands of syncs */
	snprintf(top, sizeof(top), "%s/bt-journal-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(top))
		return 1;
	dirfd_ = open(top, O_RDONLY | O_DIRECTORY);
	before = open_fds();
	test_life();
	test_partials_room();
	test_model();
	test_power_cuts();
	test_sectors();
	test_damage();
	test_stale_records();
	test_hostile();
	test_faults();
	test_no_room();
	test_read_only();
	test_lock();
	test_huge();
	CHECK(open_fds() == before);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(dirfd_, names[i], 0);
	(void)unlinkat(dirfd_, "ro", AT_REMOVEDIR);
	close(dirfd_);
	CHECK(rmdir(top) == 0);
	return test_done();
}
