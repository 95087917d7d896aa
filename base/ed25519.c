/* SPDX-License-Identifier: MIT */
/* ed25519.c - Ed25519 signatures (RFC 8032), as ed25519.h states, in three
 * storeys: fe, numbers modulo p = 2^255 - 19; pt, points of the curve
 * -x^2 + y^2 = 1 + d x^2 y^2; sc, numbers modulo the group's order L. SHA-512 is
 * BearSSL's. Written to be read, and for 32-bit CPUs as for 64-bit ones: a
 * signature takes 0.3 ms and a check 0.4 ms on a PC. Start at ed25519_sign(). */
#include "base/ed25519.h"

#include <bearssl.h>

/* ---- fe: nine limbs of 29 bits, the last of 23, lowest first. Every function
 * takes and leaves limbs that are at most LIMB + 2 (the last: TOP + 1): a value
 * below 2^255 plus a little, not always the smallest of its class. A sum of nine
 * products of such limbs stays below 2^62, so carries can wait until the end. ---- */
#define LIMBS 9
#define LIMB 0x1fffffffu
#define TOP 0x7fffffu

struct fe {
	uint32_t v[LIMBS];
};

static const struct fe ONE = { { 1 } };

/* Constants as RFC 8032 has them, but little-endian: d, sqrt(-1), the base point. */
static const uint8_t D[32] = {
	0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00,
	0x98, 0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
};
static const uint8_t SQRT_MINUS_1[32] = {
	0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f,
	0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b,
};
static const uint8_t BASE_X[32] = {
	0x1a, 0xd5, 0x25, 0x8f, 0x60, 0x2d, 0x56, 0xc9, 0xb2, 0xa7, 0x25, 0x95, 0x60, 0xc7, 0x2c, 0x69,
	0x5c, 0xdc, 0xd6, 0xfd, 0x31, 0xe2, 0xa4, 0xc0, 0xfe, 0x53, 0x6e, 0xcd, 0xd3, 0x36, 0x69, 0x21,
};
static const uint8_t BASE_Y[32] = {
	0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
	0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
};

/* Moves what is above each limb's bits into the next; above 2^255 it comes back
 * at the bottom times 19. t[i] may be up to 2^62. */
static void fe_carry(struct fe *r, uint64_t t[LIMBS])
{
	for (int i = 0; i < LIMBS - 1; i++) {
		t[i + 1] += t[i] >> 29;
		t[i] &= LIMB;
	}
	t[0] += 19 * (t[LIMBS - 1] >> 23);
	t[LIMBS - 1] &= TOP;
	t[1] += t[0] >> 29;
	t[0] &= LIMB;
	for (int i = 0; i < LIMBS; i++)
		r->v[i] = (uint32_t)t[i];
}

static void fe_add(struct fe *r, const struct fe *a, const struct fe *b)
{
	uint64_t t[LIMBS];

	for (int i = 0; i < LIMBS; i++)
		t[i] = (uint64_t)a->v[i] + b->v[i];
	fe_carry(r, t);
}

/* a + 2p - b, and each limb of 2p is larger than any of b: nothing goes below zero. */
static void fe_sub(struct fe *r, const struct fe *a, const struct fe *b)
{
	uint64_t t[LIMBS];

	for (int i = 0; i < LIMBS; i++) {
		uint32_t p2 = i == 0 ? 2 * LIMB - 36 : i < LIMBS - 1 ? 2 * LIMB : 2 * TOP;

		t[i] = (uint64_t)a->v[i] + p2 - b->v[i];
	}
	fe_carry(r, t);
}

static void fe_mul(struct fe *r, const struct fe *a, const struct fe *b)
{
	uint64_t t[2 * LIMBS] = { 0 };

	for (int i = 0; i < LIMBS; i++)
		for (int j = 0; j < LIMBS; j++)
			t[i + j] += (uint64_t)a->v[i] * b->v[j];
	for (int i = 0; i < 2 * LIMBS - 1; i++) {
		t[i + 1] += t[i] >> 29;
		t[i] &= LIMB;
	}
	/* limb i + 9 weighs 2^261 times limb i: 64 * 2^255, which is 64 * 19 */
	for (int i = 0; i < LIMBS; i++)
		t[i] += 64 * 19 * t[i + LIMBS];
	fe_carry(r, t);
}

static void fe_square(struct fe *r, const struct fe *a)
{
	fe_mul(r, a, a);
}

static void fe_square_times(struct fe *r, const struct fe *a, int n)
{
	*r = *a;
	while (n-- > 0)
		fe_square(r, r);
}

static void fe_from_bytes(struct fe *r, const uint8_t b[32])
{
	uint64_t acc = 0, t[LIMBS] = { 0 };
	int bits = 0, limb = 0;

	for (int i = 0; i < 32; i++) {
		acc |= (uint64_t)b[i] << bits;
		bits += 8;
		if (bits >= 29) {
			t[limb++] = acc & LIMB;
			acc >>= 29;
			bits -= 29;
		}
	}
	t[limb] = acc & TOP; /* bit 255 isn't part of the number */
	fe_carry(r, t);
}

/* The smallest of its class, as bytes. */
static void fe_to_bytes(uint8_t b[32], const struct fe *a)
{
	uint64_t t[LIMBS], q = 19, acc = 0;
	int bits = 0, n = 0;

	for (int i = 0; i < LIMBS; i++)
		t[i] = a->v[i];
	/* q = 1 when a >= p, that is when a + 19 reaches 2^255 */
	for (int i = 0; i < LIMBS; i++)
		q = (t[i] + q) >> (i < LIMBS - 1 ? 29 : 23);
	t[0] += 19 * q;
	for (int i = 0; i < LIMBS - 1; i++) {
		t[i + 1] += t[i] >> 29;
		t[i] &= LIMB;
	}
	t[LIMBS - 1] &= TOP; /* takes q * 2^255 away again */
	for (int i = 0; i < LIMBS; i++) {
		acc |= t[i] << bits;
		for (bits += 29; bits >= 8 && n < 32; bits -= 8) {
			b[n++] = (uint8_t)acc;
			acc >>= 8;
		}
	}
}

static bool fe_equal(const struct fe *a, const struct fe *b)
{
	uint8_t x[32], y[32];

	fe_to_bytes(x, a);
	fe_to_bytes(y, b);
	return memcmp(x, y, 32) == 0; /* of public values only */
}

static uint8_t fe_is_odd(const struct fe *a)
{
	uint8_t b[32];

	fe_to_bytes(b, a);
	return b[0] & 1;
}

/* a^(2^250 - 1), by doubling the run of ones in the exponent; also a^11. */
static void fe_pow_ones(struct fe *r, struct fe *a11, const struct fe *a)
{
	struct fe t, a9, x5, x10, x20, x40, x50, x100;

	fe_square(&t, a);
	fe_square_times(&a9, &t, 2);
	fe_mul(&a9, &a9, a);
	fe_mul(a11, &a9, &t);
	fe_square(&t, a11);
	fe_mul(&x5, &t, &a9); /* 2^5 - 1 */
	fe_square_times(&t, &x5, 5);
	fe_mul(&x10, &t, &x5);
	fe_square_times(&t, &x10, 10);
	fe_mul(&x20, &t, &x10);
	fe_square_times(&t, &x20, 20);
	fe_mul(&x40, &t, &x20);
	fe_square_times(&t, &x40, 10);
	fe_mul(&x50, &t, &x10);
	fe_square_times(&t, &x50, 50);
	fe_mul(&x100, &t, &x50);
	fe_square_times(&t, &x100, 100);
	fe_mul(&t, &t, &x100);
	fe_square_times(&t, &t, 50);
	fe_mul(r, &t, &x50);
}

/* 1/a = a^(p - 2), where p - 2 = (2^250 - 1) * 2^5 + 11 */
static void fe_invert(struct fe *r, const struct fe *a)
{
	struct fe t, a11;

	fe_pow_ones(&t, &a11, a);
	fe_square_times(&t, &t, 5);
	fe_mul(r, &t, &a11);
}

/* a^((p - 5) / 8), where that is (2^250 - 1) * 2^2 + 1 */
static void fe_pow_p58(struct fe *r, const struct fe *a)
{
	struct fe t, a11;

	fe_pow_ones(&t, &a11, a);
	fe_square_times(&t, &t, 2);
	fe_mul(r, &t, a);
}

/* ---- pt: x = X/Z, y = Y/Z, x*y = T/Z (RFC 8032, 5.1.4). The sum's formula holds
 * for all pairs of points, so there are no cases to tell apart. ---- */
struct pt {
	struct fe x, y, z, t;
};

static const struct pt NEUTRAL = { .y = { { 1 } }, .z = { { 1 } } };

static void pt_add(struct pt *r, const struct pt *p, const struct pt *q)
{
	struct fe a, b, c, d, e, f, g, h, t;

	fe_from_bytes(&t, D);
	fe_sub(&a, &p->y, &p->x);
	fe_sub(&b, &q->y, &q->x);
	fe_mul(&a, &a, &b);
	fe_add(&b, &p->y, &p->x);
	fe_add(&c, &q->y, &q->x);
	fe_mul(&b, &b, &c);
	fe_mul(&c, &p->t, &q->t);
	fe_mul(&c, &c, &t);
	fe_add(&c, &c, &c);
	fe_mul(&d, &p->z, &q->z);
	fe_add(&d, &d, &d);
	fe_sub(&e, &b, &a);
	fe_sub(&f, &d, &c);
	fe_add(&g, &d, &c);
	fe_add(&h, &b, &a);
	fe_mul(&r->x, &e, &f);
	fe_mul(&r->y, &g, &h);
	fe_mul(&r->t, &e, &h);
	fe_mul(&r->z, &f, &g);
}

static void pt_double(struct pt *r, const struct pt *p)
{
	struct fe a, b, c, e, f, g, h;

	fe_square(&a, &p->x);
	fe_square(&b, &p->y);
	fe_square(&c, &p->z);
	fe_add(&c, &c, &c);
	fe_add(&h, &a, &b);
	fe_add(&e, &p->x, &p->y);
	fe_square(&e, &e);
	fe_sub(&e, &h, &e);
	fe_sub(&g, &a, &b);
	fe_add(&f, &c, &g);
	fe_mul(&r->x, &e, &f);
	fe_mul(&r->y, &g, &h);
	fe_mul(&r->t, &e, &h);
	fe_mul(&r->z, &f, &g);
}

static void pt_base(struct pt *r)
{
	fe_from_bytes(&r->x, BASE_X);
	fe_from_bytes(&r->y, BASE_Y);
	r->z = ONE;
	fe_mul(&r->t, &r->x, &r->y);
}

/* r = table[i], reading all of them, whatever i is */
static void pt_select(struct pt *r, const struct pt table[16], uint32_t i)
{
	memset(r, 0, sizeof(*r));
	for (uint32_t j = 0; j < 16; j++) {
		uint32_t mask = (uint32_t)(((uint64_t)(i ^ j) - 1) >> 32); /* all ones when i == j */

		for (int k = 0; k < LIMBS; k++) {
			r->x.v[k] |= table[j].x.v[k] & mask;
			r->y.v[k] |= table[j].y.v[k] & mask;
			r->z.v[k] |= table[j].z.v[k] & mask;
			r->t.v[k] |= table[j].t.v[k] & mask;
		}
	}
}

/* The sum of n <= 2 points, each times its scalar (little-endian), four bits at a time. */
static void pt_mul_sum(struct pt *r, int n, const struct pt *const p[], const uint8_t *const scalar[])
{
	struct pt table[2][16], t;

	for (int k = 0; k < n; k++) {
		table[k][0] = NEUTRAL;
		for (int j = 1; j < 16; j++)
			pt_add(&table[k][j], &table[k][j - 1], p[k]);
	}
	*r = NEUTRAL;
	for (int i = 63; i >= 0; i--) {
		for (int j = 0; j < 4; j++)
			pt_double(r, r);
		for (int k = 0; k < n; k++) {
			pt_select(&t, table[k], scalar[k][i / 2] >> (i % 2 * 4) & 15u);
			pt_add(r, r, &t);
		}
	}
}

static void pt_encode(uint8_t b[32], const struct pt *p)
{
	struct fe z, x, y;

	fe_invert(&z, &p->z);
	fe_mul(&x, &p->x, &z);
	fe_mul(&y, &p->y, &z);
	fe_to_bytes(b, &y);
	b[31] = (uint8_t)(b[31] | fe_is_odd(&x) << 7);
}

/* False when no point, or one that is written in a second way. (RFC 8032, 5.1.3) */
static bool pt_decode(struct pt *p, const uint8_t b[32])
{
	static const struct fe zero;
	struct fe u, v, t, c;
	uint8_t again[32], sign = b[31] >> 7;

	fe_from_bytes(&p->y, b);
	fe_to_bytes(again, &p->y);
	again[31] = (uint8_t)(again[31] | sign << 7);
	if (memcmp(again, b, 32) != 0)
		return false;
	/* x^2 = u/v; the candidate root is u v^3 (u v^7)^((p-5)/8) */
	fe_square(&u, &p->y);
	fe_from_bytes(&c, D);
	fe_mul(&v, &u, &c);
	fe_sub(&u, &u, &ONE);
	fe_add(&v, &v, &ONE);
	fe_square(&t, &v);
	fe_mul(&t, &t, &v);
	fe_mul(&p->x, &u, &t);     /* u v^3 */
	fe_square(&t, &t);
	fe_mul(&t, &t, &v);
	fe_mul(&t, &t, &u);        /* u v^7 */
	fe_pow_p58(&t, &t);
	fe_mul(&p->x, &p->x, &t);
	fe_square(&t, &p->x);
	fe_mul(&t, &t, &v);
	if (!fe_equal(&t, &u)) {
		fe_sub(&u, &zero, &u);
		if (!fe_equal(&t, &u))
			return false;
		fe_from_bytes(&c, SQRT_MINUS_1);
		fe_mul(&p->x, &p->x, &c);
	}
	if (fe_equal(&p->x, &zero) && sign)
		return false;
	if (fe_is_odd(&p->x) != sign)
		fe_sub(&p->x, &zero, &p->x);
	p->z = ONE;
	fe_mul(&p->t, &p->x, &p->y);
	return true;
}

/* ---- sc: eight words, lowest first, always below L. One bit at a time: slow,
 * but a thirtieth of what the points cost, and there is nothing to get wrong. ---- */
#define WORDS 8

static const uint32_t L[WORDS] = { 0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de, 0, 0, 0, 0x10000000 };

/* t - L into r when that isn't negative, else t; returns whether it wasn't. t < 2L. */
static uint32_t sc_subtract(uint32_t r[WORDS], const uint32_t t[WORDS])
{
	uint32_t less[WORDS], borrow = 0, keep;

	for (int i = 0; i < WORDS; i++) {
		uint64_t d = (uint64_t)t[i] - L[i] - borrow;

		less[i] = (uint32_t)d;
		borrow = (uint32_t)(d >> 63);
	}
	keep = 0u - borrow;
	for (int i = 0; i < WORDS; i++)
		r[i] = (t[i] & keep) | (less[i] & ~keep);
	return borrow ^ 1;
}

/* r = 2r + bit */
static void sc_push(uint32_t r[WORDS], uint32_t bit)
{
	for (int i = 0; i < WORDS; i++) {
		uint32_t out = r[i] >> 31;

		r[i] = r[i] << 1 | bit;
		bit = out;
	}
	sc_subtract(r, r);
}

/* r += a when on is 1 */
static void sc_add(uint32_t r[WORDS], const uint32_t a[WORDS], uint32_t on)
{
	uint64_t carry = 0;

	for (int i = 0; i < WORDS; i++) {
		carry += (uint64_t)r[i] + (a[i] & (0u - on));
		r[i] = (uint32_t)carry;
		carry >>= 32;
	}
	sc_subtract(r, r);
}

static void sc_reduce(uint32_t r[WORDS], const uint8_t *b, size_t n)
{
	memset(r, 0, WORDS * sizeof(*r));
	for (size_t i = n; i-- > 0;)
		for (int bit = 7; bit >= 0; bit--)
			sc_push(r, b[i] >> bit & 1u);
}

static void sc_mul(uint32_t r[WORDS], const uint32_t a[WORDS], const uint32_t b[WORDS])
{
	uint32_t t[WORDS] = { 0 };

	for (int i = WORDS * 32 - 1; i >= 0; i--) {
		sc_push(t, 0);
		sc_add(t, b, a[i / 32] >> (i % 32) & 1u);
	}
	memcpy(r, t, sizeof(t));
}

static void sc_to_bytes(uint8_t b[32], const uint32_t a[WORDS])
{
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)(a[i / 4] >> (i % 4 * 8));
}

/* ---- signatures ---- */

/* SHA-512 of up to three pieces, modulo L */
static void hash_to_scalar(uint32_t r[WORDS], struct slice a, struct slice b, struct slice c)
{
	br_sha512_context h;
	uint8_t out[64];

	br_sha512_init(&h);
	br_sha512_update(&h, a.p, a.n);
	br_sha512_update(&h, b.p, b.n);
	br_sha512_update(&h, c.p, c.n);
	br_sha512_out(&h, out);
	sc_reduce(r, out, sizeof(out));
	explicit_bzero(&h, sizeof(h));
	explicit_bzero(out, sizeof(out));
}

void ed25519_secret(uint8_t secret[ED25519_SECRET], const uint8_t seed[ED25519_SEED])
{
	br_sha512_context h;

	br_sha512_init(&h);
	br_sha512_update(&h, seed, ED25519_SEED);
	br_sha512_out(&h, secret);
	secret[0] &= 0xf8;
	secret[31] = (uint8_t)((secret[31] & 0x7f) | 0x40);
	explicit_bzero(&h, sizeof(h));
}

static void mul_base(uint8_t out[32], const uint8_t scalar[32])
{
	struct pt base, r;
	const struct pt *points[] = { &base };
	const uint8_t *scalars[] = { scalar };

	pt_base(&base);
	pt_mul_sum(&r, 1, points, scalars);
	pt_encode(out, &r);
	explicit_bzero(&r, sizeof(r));
}

void ed25519_public(uint8_t public[ED25519_PUBLIC], const uint8_t secret[ED25519_SECRET])
{
	mul_base(public, secret);
}

void ed25519_sign(uint8_t sig[ED25519_SIG], struct slice msg, const uint8_t public[ED25519_PUBLIC],
		  const uint8_t secret[ED25519_SECRET])
{
	uint32_t r[WORDS], h[WORDS], s[WORDS];
	uint8_t nonce[32];

	hash_to_scalar(r, slice_of(secret + 32, 32), msg, slice_of(NULL, 0));
	sc_to_bytes(nonce, r);
	mul_base(sig, nonce);
	hash_to_scalar(h, slice_of(sig, 32), slice_of(public, ED25519_PUBLIC), msg);
	sc_reduce(s, secret, 32);
	sc_mul(s, h, s);
	sc_add(s, r, 1);
	sc_to_bytes(sig + 32, s);
	explicit_bzero(nonce, sizeof(nonce));
	explicit_bzero(r, sizeof(r));
	explicit_bzero(s, sizeof(s));
}

/* S B = R + h A, asked as: is S B + h (-A) written like R? */
bool ed25519_verify(const uint8_t sig[ED25519_SIG], struct slice msg, const uint8_t public[ED25519_PUBLIC])
{
	static const struct fe zero;
	struct pt a, base, r;
	const struct pt *points[] = { &base, &a };
	uint8_t h_bytes[32], r_bytes[32];
	const uint8_t *scalars[] = { sig + 32, h_bytes };
	uint32_t s[WORDS], h[WORDS];

	for (int i = 0; i < WORDS; i++)
		s[i] = (uint32_t)sig[35 + 4 * i] << 24 | (uint32_t)sig[34 + 4 * i] << 16 |
		       (uint32_t)sig[33 + 4 * i] << 8 | sig[32 + 4 * i];
	if (sc_subtract(s, s) || !pt_decode(&a, public))
		return false;
	fe_sub(&a.x, &zero, &a.x);
	fe_sub(&a.t, &zero, &a.t);
	hash_to_scalar(h, slice_of(sig, 32), slice_of(public, ED25519_PUBLIC), msg);
	sc_to_bytes(h_bytes, h);
	pt_base(&base);
	pt_mul_sum(&r, 2, points, scalars);
	pt_encode(r_bytes, &r);
	return memcmp(r_bytes, sig, 32) == 0;
}
