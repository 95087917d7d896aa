/* SPDX-License-Identifier: MIT */
/* util.c - text, numbers, memory and chance, as base.h states. Text from
 * strangers reaches a terminal only through text_escape, and JSON only through
 * text_json; no locale takes part in either. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- UTF-8 ---- */

/* The range of the second byte is what tells overlong forms, surrogates and
 * values past U+10FFFF from good ones (Unicode, table 3-7). */
uint32_t utf8_next(struct cur *c)
{
	uint8_t b, lo = 0x80, hi = 0xbf;
	uint32_t code;
	unsigned more;

	if (!cur_u8(c, &b))
		return UTF8_BAD;
	if (b < 0x80)
		return b;
	if (b >= 0xc2 && b <= 0xdf) {
		more = 1;
		code = b & 0x1f;
	} else if (b >= 0xe0 && b <= 0xef) {
		more = 2;
		code = b & 0x0f;
		if (b == 0xe0)
			lo = 0xa0;
		if (b == 0xed)
			hi = 0x9f;
	} else if (b >= 0xf0 && b <= 0xf4) {
		more = 3;
		code = b & 0x07;
		if (b == 0xf0)
			lo = 0x90;
		if (b == 0xf4)
			hi = 0x8f;
	} else {
		return UTF8_BAD;
	}
	for (; more; more--) {
		if (cur_left(c) == 0 || c->p[0] < lo || c->p[0] > hi)
			return UTF8_BAD;
		code = code << 6 | (c->p[0] & 0x3f);
		c->p++;
		lo = 0x80;
		hi = 0xbf;
	}
	return code;
}

size_t utf8_put(uint8_t out[4], uint32_t code)
{
	if (code < 0x80) {
		out[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (uint8_t)(0xc0 | code >> 6);
		out[1] = (uint8_t)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (uint8_t)(0xe0 | code >> 12);
		out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | code >> 18);
	out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (code & 0x3f));
	return 4;
}

bool utf8_is_bidi(uint32_t code)
{
	return code == 0x61c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

char *text_escape(char *out, size_t size, struct slice text)
{
	struct cur c = cur_of(text);
	size_t n = 0;

	if (size == 0)
		return out;
	while (cur_left(&c)) {
		uint32_t code = utf8_next(&c);
		uint8_t u[4];
		size_t len;

		if (code == UTF8_BAD || is_control(code) || utf8_is_bidi(code) || code == 0xfeff)
			code = '?';
		len = utf8_put(u, code);
		if (len >= size - n)
			break;
		memcpy(out + n, u, len);
		n += len;
	}
	out[n] = 0;
	return out;
}

/* Controls and bidi marks are written as \uXXXX: the text stays exact, and JSON
 * printed to a terminal can't drive it. */
void text_json(struct buf *b, struct slice text)
{
	struct cur c = cur_of(text);

	while (cur_left(&c)) {
		uint32_t code = utf8_next(&c);
		uint8_t u[4];

		if (code == UTF8_BAD)
			code = 0xfffd;
		if (code == '"' || code == '\\') {
			buf_u8(b, '\\');
			buf_u8(b, (uint8_t)code);
		} else if (code == '\n') {
			buf_puts(b, "\\n");
		} else if (code == '\t') {
			buf_puts(b, "\\t");
		} else if (is_control(code) || utf8_is_bidi(code)) {
			buf_printf(b, "\\u%04x", (unsigned)code);
		} else {
			buf_put(b, u, utf8_put(u, code));
		}
	}
}

/* ---- numbers ---- */

void hex_encode(char *out, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(uint8_t *out, size_t n, struct slice hex)
{
	if (hex.n % 2 || hex.n / 2 != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(hex.p[2 * i]), lo = hex_digit(hex.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

bool parse_u64(struct slice text, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (text.n == 0)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		unsigned d = (unsigned)text.p[i] - '0';

		if (d > 9 || v > (UINT64_MAX - d) / 10)
			return false;
		v = v * 10 + d;
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

/* ---- bit sets ---- */

uint32_t bits_count(const uint8_t *b, uint32_t bits)
{
	uint32_t n = 0, whole = bits / 8;

	for (uint32_t i = 0; i < whole; i++)
		n += (uint32_t)__builtin_popcount(b[i]);
	for (uint32_t i = whole * 8; i < bits; i++)
		n += bit_get(b, i);
	return n;
}

bool bits_spare_clear(const uint8_t *b, uint32_t bits)
{
	return bits % 8 == 0 || (b[bits / 8] & (0xff >> bits % 8)) == 0;
}

/* ---- memory ---- */

void *alloc_array(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

bool grow_array(void **p, size_t *cap, size_t n, size_t size)
{
	size_t want = *cap, bytes;
	void *q;

	if (n <= *cap)
		return true;
	want = want > SIZE_MAX / 2 ? n : want * 2;
	if (want < 8)
		want = 8;
	if (want < n)
		want = n;
	if (__builtin_mul_overflow(want, size, &bytes))
		return false;
	q = realloc(*p, bytes);
	if (!q)
		return false;
	*p = q;
	*cap = want;
	return true;
}

/* ---- chance ---- */

void random_bytes(void *p, size_t n)
{
	uint8_t *to = p;

	while (n) {
		ssize_t r = getrandom(to, n, 0);

		if (r > 0) {
			to += r;
			n -= (size_t)r;
		} else if (r < 0 && errno != EINTR) {
			abort(); /* Linux before 3.17: nothing to stand in for it */
		}
	}
}

/* The state is the one mutable static in bt: what it holds can't be told from
 * outside, and its callers (the picker, jitter) can't pay a system call each. */
uint32_t random_below(uint32_t n)
{
	static _Thread_local uint64_t state;
	uint64_t z;

	while (state == 0)
		random_bytes(&state, sizeof(state));
	/* splitmix64 (Steele, Lea, Flood 2014) */
	z = state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z >> 32) * n >> 32);
}

/* RFC 3720 B.4, reflected, four bits at a time: the table stays in one cache
 * line, and journal records are short. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	const uint8_t *b = p;

	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= b[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}
