/* SPDX-License-Identifier: MIT */
/* sha1_ni.c - the SHA-1 block function with the SHA instructions of x86. One
 * stream is bound by the latency of sha1rnds4; four interleaved streams fill the
 * gaps. The loops over streams must be unrolled, or the arrays live in memory
 * (gcc 12, Zen 4: 2,700 instead of 4,600 MB/s). On other CPUs the file is empty. */
#include "base/sha1_ni.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>

#define NI_TARGET __attribute__((target("sha,sse4.1")))

bool sha1_ni(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_SHA))
		return false;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1);
}

/* Group g of four rounds, for all streams. e holds what the state was four
 * rounds ago, from which the next fifth word is made. */
#define GROUP(g)                                                                                        \
	_Pragma("GCC unroll 4") for (size_t i = 0; i < streams; i++) {                                  \
		__m128i x = (g) ? _mm_sha1nexte_epu32(e[i], w[i][(g) & 3]) : _mm_add_epi32(e[i], w[i][0]); \
		e[i] = abcd[i];                                                                         \
		abcd[i] = _mm_sha1rnds4_epu32(abcd[i], x, (g) / 5);                                     \
		if ((g) < 16) { /* words for group g + 4 */                                             \
			x = _mm_sha1msg1_epu32(w[i][(g) & 3], w[i][((g) + 1) & 3]);                     \
			x = _mm_xor_si128(x, w[i][((g) + 2) & 3]);                                      \
			w[i][(g) & 3] = _mm_sha1msg2_epu32(x, w[i][((g) + 3) & 3]);                     \
		}                                                                                       \
	}

NI_TARGET static inline __attribute__((always_inline)) void
ni_blocks(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks, const size_t streams)
{
	const __m128i be = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	__m128i h[SHA1_NI_STREAMS], h4[SHA1_NI_STREAMS];
	__m128i abcd[SHA1_NI_STREAMS], e[SHA1_NI_STREAMS], w[SHA1_NI_STREAMS][4];
	const uint8_t *at[SHA1_NI_STREAMS]; /* idle places repeat stream 0 */

	for (size_t i = 0; i < streams; i++) {
		const uint32_t *from = s[i < n ? i : 0]->h;

		at[i] = p[i < n ? i : 0];
		h[i] = _mm_set_epi32((int)from[0], (int)from[1], (int)from[2], (int)from[3]);
		h4[i] = _mm_set_epi32((int)from[4], 0, 0, 0);
	}
	for (; blocks; blocks--) {
#pragma GCC unroll 4
		for (size_t i = 0; i < streams; i++) {
#pragma GCC unroll 4
			for (size_t q = 0; q < 4; q++) {
				w[i][q] = _mm_loadu_si128((const __m128i *)(const void *)(at[i] + 16 * q));
				w[i][q] = _mm_shuffle_epi8(w[i][q], be);
			}
			abcd[i] = h[i];
			e[i] = h4[i];
			at[i] += 64;
		}
		GROUP(0) GROUP(1) GROUP(2) GROUP(3) GROUP(4)
		GROUP(5) GROUP(6) GROUP(7) GROUP(8) GROUP(9)
		GROUP(10) GROUP(11) GROUP(12) GROUP(13) GROUP(14)
		GROUP(15) GROUP(16) GROUP(17) GROUP(18) GROUP(19)
#pragma GCC unroll 4
		for (size_t i = 0; i < streams; i++) {
			h[i] = _mm_add_epi32(h[i], abcd[i]);
			h4[i] = _mm_sha1nexte_epu32(e[i], h4[i]);
		}
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t to[4];

		_mm_storeu_si128((__m128i *)(void *)to, h[i]);
		for (size_t j = 0; j < 4; j++)
			s[i]->h[j] = to[3 - j];
		s[i]->h[4] = (uint32_t)_mm_extract_epi32(h4[i], 3);
	}
}

NI_TARGET void sha1_ni_one(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks)
{
	ni_blocks(s, p, n, blocks, 1);
}

NI_TARGET void sha1_ni_four(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks)
{
	ni_blocks(s, p, n, blocks, SHA1_NI_STREAMS);
}

#else
typedef int sha1_ni_is_for_x86_only; /* ISO C wants something in every file */
#endif
