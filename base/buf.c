/* SPDX-License-Identifier: MIT */
/* buf.c - growable bytes with a ceiling, as base.h states. Every buffer that
 * remote data can grow is one of these, so each has a known maximum. Growth
 * doubles; a failure sticks and is asked for once, at the end. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_release(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

bool buf_reserve(struct buf *b, size_t more)
{
	size_t cap;
	uint8_t *p;

	if (b->failed)
		return false;
	if (more <= b->cap - b->n)
		return true;
	if (more > b->max - b->n)
		goto fail;
	/* doubling would overflow or pass the ceiling: take the ceiling */
	cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
	if (cap < 64)
		cap = min_size(64, b->max);
	if (cap < b->n + more)
		cap = b->n + more;
	p = realloc(b->p, cap);
	if (!p)
		goto fail;
	b->p = p;
	b->cap = cap;
	return true;
fail:
	b->failed = true;
	return false;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	if (!buf_reserve(b, n) || n == 0)
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	size_t n;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0) {
		b->failed = true;
		return;
	}
	n = (size_t)len;
	/* vsnprintf writes a NUL too, which is not counted against the ceiling:
	 * without room for it the text takes a detour */
	if (!buf_reserve(b, n) || n == 0)
		return;
	va_start(ap, fmt);
	if (b->cap - b->n > n) {
		vsnprintf((char *)b->p + b->n, n + 1, fmt, ap);
	} else {
		char *tmp = malloc(n + 1);

		if (tmp) {
			vsnprintf(tmp, n + 1, fmt, ap);
			memcpy(b->p + b->n, tmp, n);
		} else {
			b->failed = true;
			n = 0;
		}
		free(tmp);
	}
	va_end(ap);
	b->n += n;
}

void buf_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_u16(struct buf *b, uint16_t v)
{
	uint8_t w[2];

	put_u16(w, v);
	buf_put(b, w, sizeof(w));
}

void buf_u32(struct buf *b, uint32_t v)
{
	uint8_t w[4];

	put_u32(w, v);
	buf_put(b, w, sizeof(w));
}

void buf_drop(struct buf *b, size_t n)
{
	n = min_size(n, b->n);
	b->n -= n;
	if (b->n && n)
		memmove(b->p, b->p + n, b->n);
}
