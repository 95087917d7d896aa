/* SPDX-License-Identifier: MIT */
/* sha1_lanes.h - the SHA-1 block function (FIPS 180-4) over LANES streams at
 * once, stream i in lane i of every vector. Not a header in the usual sense:
 * sha1.c includes it once per width, with
 *
 *   LANES         1 (plain uint32_t), 4, 8 or 16
 *   LANES_NAME    the name of the function to define
 *   LANES_TARGET  its target attribute, or empty
 *
 * The words are taken in 16 bytes at a time. A vector joins the quarters of
 * lanes j, j+4, j+8, j+12; four of those (j = 0..3), transposed as 4x4 words
 * within each 128 bits, give one word of all lanes, in lane order. All quarters
 * of a lane are read together: pieces lie at powers of two, so the lanes' lines
 * share one set of the first-level cache and would not survive until the next
 * quarter (16 lanes, 8 or 12 ways). */

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(LANES_NAME, _vec)

#if LANES == 1
typedef uint32_t V;
#else
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
#endif

/* Within each 128 bits: interleave the low or high words (32) or halves (64). */
#if LANES == 4
#define JOIN(p, o) load128((p)[0] + (o))
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#elif LANES == 8
#define JOIN2(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define JOIN(p, o) JOIN2(load128((p)[0] + (o)), load128((p)[4] + (o)))
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#elif LANES == 16
#define JOIN2(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define JOIN4(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define JOIN(p, o)                                                       \
	JOIN4(JOIN2(load128((p)[0] + (o)), load128((p)[4] + (o))),       \
	      JOIN2(load128((p)[8] + (o)), load128((p)[12] + (o))))
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#endif

#define ROTL(x, n) ((x) << (n) | (x) >> (32 - (n)))
/* Big-endian words of the message in this CPU's order. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BE32(x) (x)
#else
#define BE32(x) ((ROTL(x, 8) & 0x00ff00ff) | (ROTL(x, 24) & 0xff00ff00))
#endif
#define CH(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define PARITY(b, c, d) ((b) ^ (c) ^ (d))
#define MAJ(b, c, d) (((b) & (c)) | ((d) & ((b) | (c))))

/* Word t of the schedule; w holds the last 16 of them. */
#define W(t)                                                                                         \
	((t) < 16 ? w[(t) & 15]                                                                      \
		  : (x = w[((t) + 13) & 15] ^ w[((t) + 8) & 15] ^ w[((t) + 2) & 15] ^ w[(t) & 15],  \
		     w[(t) & 15] = ROTL(x, 1)))
#define ROUND(a, b, c, d, e, F, k, t)                 \
	e += ROTL(a, 5) + F(b, c, d) + W(t) + (k);    \
	b = ROTL(b, 30);
#define FIVE(F, k, t)                      \
	ROUND(a, b, c, d, e, F, k, t)      \
	ROUND(e, a, b, c, d, F, k, t + 1)  \
	ROUND(d, e, a, b, c, F, k, t + 2)  \
	ROUND(c, d, e, a, b, F, k, t + 3)  \
	ROUND(b, c, d, e, a, F, k, t + 4)
#define TWENTY(F, k, t) FIVE(F, k, t) FIVE(F, k, t + 5) FIVE(F, k, t + 10) FIVE(F, k, t + 15)

LANES_TARGET static void LANES_NAME(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks)
{
	const uint8_t *at[LANES]; /* idle lanes repeat stream 0 */
	union {
		V v;
		uint32_t u[LANES];
	} h[5];

	for (size_t i = 0; i < LANES; i++) {
		at[i] = p[i < n ? i : 0];
		for (size_t j = 0; j < 5; j++)
			h[j].u[i] = s[i < n ? i : 0]->h[j];
	}
	for (; blocks; blocks--) {
		V a = h[0].v, b = h[1].v, c = h[2].v, d = h[3].v, e = h[4].v, w[16], x;

#if LANES == 1
		for (size_t t = 0; t < 16; t++)
			w[t] = get_u32(at[0] + 4 * t);
		at[0] += 64;
#else
#pragma GCC unroll 4
		for (size_t j = 0; j < 4; j++) {
			w[j] = (V)JOIN(at + j, 0);
			w[4 + j] = (V)JOIN(at + j, 16);
			w[8 + j] = (V)JOIN(at + j, 32);
			w[12 + j] = (V)JOIN(at + j, 48);
		}
#pragma GCC unroll 4
		for (size_t q = 0; q < 16; q += 4) {
			V l01 = LO32(w[q], w[q + 1]), h01 = HI32(w[q], w[q + 1]);
			V l23 = LO32(w[q + 2], w[q + 3]), h23 = HI32(w[q + 2], w[q + 3]);

			w[q] = BE32(LO64(l01, l23));
			w[q + 1] = BE32(HI64(l01, l23));
			w[q + 2] = BE32(LO64(h01, h23));
			w[q + 3] = BE32(HI64(h01, h23));
		}
		for (size_t i = 0; i < LANES; i++)
			at[i] += 64;
#endif
		TWENTY(CH, 0x5a827999, 0)
		TWENTY(PARITY, 0x6ed9eba1, 20)
		TWENTY(MAJ, 0x8f1bbcdc, 40)
		TWENTY(PARITY, 0xca62c1d6, 60)
		h[0].v += a;
		h[1].v += b;
		h[2].v += c;
		h[3].v += d;
		h[4].v += e;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < 5; j++)
			s[i]->h[j] = h[j].u[i];
}

#undef CAT_
#undef CAT
#undef V
#undef JOIN
#undef JOIN2
#undef JOIN4
#undef LO32
#undef HI32
#undef LO64
#undef HI64
#undef ROTL
#undef BE32
#undef CH
#undef PARITY
#undef MAJ
#undef W
#undef ROUND
#undef FIVE
#undef TWENTY
#undef LANES
#undef LANES_NAME
#undef LANES_TARGET
