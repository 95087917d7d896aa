/* SPDX-License-Identifier: MIT */
/* sha1.h - SHA-1 (and SHA-256 later for BEP 52): one stream at a time, in plain
 * C or with the CPU's SHA instructions, and many streams at once, one per SIMD
 * lane. The lanes are one readable C function over GCC vector types, compiled
 * for several widths and chosen at run time on x86. */
#ifndef BT_SHA1_H
#define BT_SHA1_H

#include "base/base.h"
#include <sys/uio.h>

#define SHA1_LEN 20

/* One message at once. */
void sha1(const void *p, size_t n, uint8_t out[SHA1_LEN]);

/* A stream fed in multiples of 64 bytes, finished with any tail. */
struct sha1 {
	uint32_t h[5];
	uint64_t len; /* bytes so far */
};
void sha1_init(struct sha1 *);
void sha1_update(struct sha1 *, const void *p, size_t n /* multiple of 64 */);
void sha1_final(struct sha1 *, const void *tail, size_t n /* any */, uint8_t out[SHA1_LEN]);

/* How many streams this CPU takes at once at its best, at most SHA1_MAX_LANES,
 * and by what, for people ("avx512+sha-ni", "avx512", "sha-ni", "avx2", "sse2",
 * "neon", "altivec", "plain"). */
#define SHA1_MAX_LANES 16
size_t sha1_lanes(void);
const char *sha1_lanes_name(void);
/* Feeds len bytes (a multiple of 64) to each of n streams, any n; fastest when n
 * is a multiple of sha1_lanes. The streams must differ from each other. */
void sha1_update_many(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t len);

/* Whole messages of any lengths, each scattered over an iovec whose parts are
 * multiples of 64 bytes but for the last. Fills digests. Any n; lanes are kept
 * as full as the lengths allow. */
struct sha1_job {
	const struct iovec *iov;
	size_t iovcnt;
	uint8_t digest[SHA1_LEN];
};
void sha1_many(struct sha1_job *jobs, size_t n);

/* Choice by name, for tests and bench, until the next call; NULL = the best
 * again. False = not on this CPU, and nothing changes. */
bool sha1_force(const char *name);

#endif
