/* SPDX-License-Identifier: MIT */
/* sha1.c - SHA-1 (FIPS 180-4): one stream at a time, and many at once. Here are
 * the choice of the block function for this CPU, padding, and sha1_many, which
 * keeps the lanes busy. The block functions are in base/sha1_lanes.h (plain C,
 * 1 to 16 lanes) and base/sha1_ni.c (x86 SHA instructions). Start at sha1_many.
 *
 * MB/s on an AMD EPYC (Zen 4), gcc 12, 256 KiB pieces, one core:
 *
 *   BearSSL       440    sse2,  4 lanes  1900    sha-ni, 1 stream   1900
 *   plain, 1 lane 800    avx2,  8 lanes  3700    sha-ni, 4 streams  4600
 *                        avx512, 8 lanes 5600    avx512, 16 lanes   6400
 *
 * So the SHA instructions win over AVX2, AVX-512 wins over both when most lanes
 * are in use, and plain C needs no help from BearSSL (under qemu: twice its rate
 * on MIPS, 1.1 times on ARM). `bench/hash` prints this for any machine. */
#include "sha1.h"
#include "base/sha1_ni.h"
#include <assert.h>

/* Feeds `blocks` blocks to each of n streams, 1 <= n <= the function's lanes. */
typedef void blocks_fn(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks);

#if defined(__x86_64__) || defined(__i386__)
#define HAVE_X86 1
#elif defined(__ARM_NEON) || defined(__ALTIVEC__)
#define HAVE_VECTORS 1
#endif

#define LANES 1
#define LANES_NAME plain_1
#define LANES_TARGET
#include "base/sha1_lanes.h"

#if defined(HAVE_X86) || defined(HAVE_VECTORS)
typedef uint32_t vec128 __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) vec128 load128(const uint8_t *p)
{
	vec128 v;

	memcpy(&v, p, sizeof(v));
	return v;
}
#endif

#ifdef HAVE_X86
#define LANES 4
#define LANES_NAME sse2_4
#define LANES_TARGET __attribute__((target("sse2")))
#include "base/sha1_lanes.h"
#define LANES 8
#define LANES_NAME avx2_8
#define LANES_TARGET __attribute__((target("avx2")))
#include "base/sha1_lanes.h"
#define AVX512 __attribute__((target("avx512f,avx512vl,avx512bw"))) /* vl: rotates and logic of three for 8 lanes */
#define LANES 8
#define LANES_NAME avx512_8
#define LANES_TARGET AVX512
#include "base/sha1_lanes.h"
#define LANES 16
#define LANES_NAME avx512_16
#define LANES_TARGET AVX512
#include "base/sha1_lanes.h"
#elif defined(HAVE_VECTORS)
#define LANES 4
#define LANES_NAME vector_4
#define LANES_TARGET
#include "base/sha1_lanes.h"
#endif

/* What one kind of CPU uses: for n streams, the first step with least <= n. The
 * last one takes single streams. `least` is where a step, however empty, beats
 * those after it, by the table above. */
struct plan {
	const char *name;
	struct step {
		blocks_fn *fn;
		size_t lanes, least;
	} steps[4];
	bool (*usable)(void);
};

#ifdef HAVE_X86
static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512bw");
}
static bool has_avx512_and_ni(void) { return has_avx512() && sha1_ni(); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }
static bool has_sse2(void) { return __builtin_cpu_supports("sse2"); }
#endif
static bool has_anything(void) { return true; }

/* Best first. */
static const struct plan plans[] = {
#ifdef HAVE_X86
	{ "avx512+sha-ni",
	  { { avx512_16, 16, 13 }, { avx512_8, 8, 6 }, { sha1_ni_four, 4, 2 }, { sha1_ni_one, 1, 1 } },
	  has_avx512_and_ni },
	{ "avx512", { { avx512_16, 16, 9 }, { avx512_8, 8, 2 }, { plain_1, 1, 1 } }, has_avx512 },
	{ "sha-ni", { { sha1_ni_four, 4, 2 }, { sha1_ni_one, 1, 1 } }, sha1_ni },
	{ "avx2", { { avx2_8, 8, 2 }, { plain_1, 1, 1 } }, has_avx2 },
	{ "sse2", { { sse2_4, 4, 2 }, { plain_1, 1, 1 } }, has_sse2 },
#elif defined(HAVE_VECTORS)
#ifdef __ARM_NEON
	{ "neon", { { vector_4, 4, 3 }, { plain_1, 1, 1 } }, has_anything },
#else
	{ "altivec", { { vector_4, 4, 3 }, { plain_1, 1, 1 } }, has_anything },
#endif
#endif
	{ "plain", { { plain_1, 1, 1 } }, has_anything },
};

/* The one mutable static: a fact about the CPU, remembered because asking for
 * it costs microseconds in a virtual machine. */
static const struct plan *chosen;

bool sha1_force(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
		if ((!name || strcmp(plans[i].name, name) == 0) && plans[i].usable()) {
			chosen = &plans[i];
			return true;
		}
	}
	return false;
}

static const struct plan *plan(void)
{
	if (!chosen)
		sha1_force(NULL);
	return chosen;
}

size_t sha1_lanes(void) { return plan()->steps[0].lanes; }
const char *sha1_lanes_name(void) { return plan()->name; }

void sha1_update_many(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t len)
{
	const struct step *step = plan()->steps;

	for (size_t i = 0; i < n; i++)
		s[i]->len += len;
	while (n > 0 && len > 0) {
		size_t take;

		while (step->least > n)
			step++;
		take = min_size(n, step->lanes);
		step->fn(s, p, take, len / 64);
		s += take;
		p += take;
		n -= take;
	}
}

void sha1_init(struct sha1 *s)
{
	*s = (struct sha1){ .h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 } };
}

void sha1_update(struct sha1 *s, const void *p, size_t n)
{
	const uint8_t *bytes = p;

	sha1_update_many(&s, &bytes, 1, n);
}

/* The end of a message: its last n < 64 bytes, the one bit, zeros, and the
 * length in bits. Returns the bytes written, 64 or 128. */
static size_t pad(uint8_t out[128], const void *tail, size_t n, uint64_t message_len)
{
	size_t end = n < 56 ? 64 : 128;

	memset(out, 0, end);
	if (n > 0)
		memcpy(out, tail, n);
	out[n] = 0x80;
	put_u64(out + end - 8, message_len << 3);
	return end;
}

static void put_digest(const struct sha1 *s, uint8_t out[SHA1_LEN])
{
	for (size_t i = 0; i < 5; i++)
		put_u32(out + 4 * i, s->h[i]);
}

void sha1_final(struct sha1 *s, const void *tail, size_t n, uint8_t out[SHA1_LEN])
{
	size_t whole = n & ~(size_t)63;
	uint8_t last[128];

	if (whole > 0)
		sha1_update(s, tail, whole);
	n -= whole;
	sha1_update(s, last, pad(last, n ? (const uint8_t *)tail + whole : NULL, n, s->len + n));
	put_digest(s, out);
}

void sha1(const void *p, size_t n, uint8_t out[SHA1_LEN])
{
	struct sha1 s;

	sha1_init(&s);
	sha1_final(&s, p, n, out);
}

/* One message on its way through a lane: the n bytes at p are next. */
struct lane {
	struct sha1 s;
	struct sha1_job *job;
	size_t part; /* of the job's iovec, to be taken after these */
	const uint8_t *p;
	size_t n;
	bool padded;
	uint8_t last[128];
};

static void lane_start(struct lane *l, struct sha1_job *job)
{
	sha1_init(&l->s);
	l->job = job;
	l->part = 0;
	l->p = NULL;
	l->n = 0;
	l->padded = false;
}

/* Finds at least one whole block; false = the message is complete. */
static bool lane_more(struct lane *l)
{
	while (l->n == 0 && l->part < l->job->iovcnt) {
		const struct iovec *v = &l->job->iov[l->part++];

		l->p = v->iov_base;
		l->n = v->iov_len;
	}
	if (l->n < 64 && !l->padded) {
		assert(l->part == l->job->iovcnt); /* only the last part may be uneven */
		l->n = pad(l->last, l->p, l->n, l->s.len + l->n);
		l->p = l->last;
		l->padded = true;
	}
	return l->n > 0;
}

void sha1_many(struct sha1_job *jobs, size_t n)
{
	struct lane room[SHA1_MAX_LANES], *lanes[SHA1_MAX_LANES]; /* by pointer: a lane may point into itself */
	size_t width = sha1_lanes(), busy = 0, next = 0;

	for (size_t i = 0; i < width; i++)
		lanes[i] = &room[i];
	for (;;) {
		struct sha1 *s[SHA1_MAX_LANES];
		const uint8_t *p[SHA1_MAX_LANES];
		size_t len = SIZE_MAX;

		while (busy < width && next < n)
			lane_start(lanes[busy++], &jobs[next++]);
		for (size_t i = 0; i < busy;) {
			struct lane *l = lanes[i];

			if (lane_more(l)) {
				len = min_size(len, l->n & ~(size_t)63);
				i++;
				continue;
			}
			put_digest(&l->s, l->job->digest);
			if (next < n) {
				lane_start(l, &jobs[next++]);
			} else {
				lanes[i] = lanes[--busy];
				lanes[busy] = l;
			}
		}
		if (busy == 0)
			return;
		for (size_t i = 0; i < busy; i++) {
			s[i] = &lanes[i]->s;
			p[i] = lanes[i]->p;
			lanes[i]->p += len;
			lanes[i]->n -= len;
		}
		sha1_update_many(s, p, busy, len);
	}
}
