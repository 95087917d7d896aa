/* SPDX-License-Identifier: MIT */
/* guard.h - bytes that end right before an unreadable page, so that a parser
 * which looks one byte too far dies on the spot. */
#ifndef BT_TEST_GUARD_H
#define BT_TEST_GUARD_H

#include "base/base.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	uint8_t *base;
	size_t room; /* usable bytes */
};

static inline void guard_init(struct guard *g, size_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	g->room = (room + page - 1) / page * page;
	g->base = mmap(NULL, g->room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->base == MAP_FAILED || mprotect(g->base + g->room, page, PROT_NONE))
		abort();
}

static inline void guard_release(struct guard *g)
{
	munmap(g->base, g->room + (size_t)sysconf(_SC_PAGESIZE));
}

/* A copy of n bytes that ends at the guard. n = 0 gives a pointer to the page itself. */
static inline struct slice guard_copy(struct guard *g, const void *p, size_t n)
{
	if (n > g->room)
		abort();
	if (n)
		memcpy(g->base + g->room - n, p, n);
	return slice_of(g->base + g->room - n, n);
}

#endif
