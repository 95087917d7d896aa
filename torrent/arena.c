/* SPDX-License-Identifier: MIT */
/* arena.c - a list of chunks, as arena.h states. Texts fill a chunk from its
 * end, everything else from its front, so that no byte goes to padding between
 * a path and a structure. */
#include "torrent/arena.h"

#include <stdlib.h>

#define CHUNK_FIRST 2048u
#define CHUNK_MAX   (64u << 10)

struct arena_chunk {
	struct arena_chunk *next;
	size_t front, back; /* free bytes are data[front..back) */
	_Alignas(max_align_t) uint8_t data[];
};

struct arena *arena_new(void)
{
	return alloc_array(1, sizeof(struct arena));
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	while (a->chunks) {
		struct arena_chunk *c = a->chunks;

		a->chunks = c->next;
		free(c);
	}
	free(a);
}

/* A chunk with n free bytes. What is large gets one of its own behind the
 * chunk being filled, which stays open for the small. */
static struct arena_chunk *chunk_for(struct arena *a, size_t n)
{
	struct arena_chunk *c = a->chunks;
	size_t size = min_size(CHUNK_MAX, a->bytes < CHUNK_FIRST ? CHUNK_FIRST : a->bytes);
	bool own;

	if (c && n <= c->back - c->front)
		return c;
	own = n > size / 4;
	if (own)
		size = n;
	if (size > SIZE_MAX - sizeof(*c))
		return NULL;
	c = malloc(sizeof(*c) + size);
	if (!c)
		return NULL;
	c->front = 0;
	c->back = size;
	a->bytes += sizeof(*c) + size;
	if (own && a->chunks) {
		c->next = a->chunks->next;
		a->chunks->next = c;
	} else {
		c->next = a->chunks;
		a->chunks = c;
	}
	return c;
}

void *arena_take(struct arena *a, size_t n, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	struct arena_chunk *c;
	void *p;

	if (__builtin_mul_overflow(n, size, &n) || n > SIZE_MAX - align)
		return NULL;
	n = (n + align - 1) / align * align;
	c = chunk_for(a, n);
	if (!c)
		return NULL;
	p = c->data + c->front;
	c->front += n;
	return memset(p, 0, n);
}

char *arena_text(struct arena *a, size_t n)
{
	struct arena_chunk *c = chunk_for(a, n);

	if (!c)
		return NULL;
	c->back -= n;
	return (char *)c->data + c->back;
}

char *arena_copy(struct arena *a, struct slice text)
{
	char *p = text.n < SIZE_MAX ? arena_text(a, text.n + 1) : NULL;

	if (!p)
		return NULL;
	if (text.n)
		memcpy(p, text.p, text.n);
	p[text.n] = 0;
	return p;
}
