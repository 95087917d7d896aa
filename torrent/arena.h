/* SPDX-License-Identifier: MIT */
/* arena.h - memory of one torrent's facts: taken piece by piece, given back all
 * at once. Chunks grow with use, so a small torrent costs a page and 100,000
 * paths cost no header each. */
#ifndef BT_ARENA_H
#define BT_ARENA_H

#include "base/base.h"

struct arena {
	struct arena_chunk *chunks; /* newest first; the first one is being filled */
	size_t bytes;               /* taken from malloc in all */
};

struct arena *arena_new(void) BT_MUST_USE; /* NULL without memory */
void arena_free(struct arena *);           /* and everything taken from it; NULL is fine */
/* n x size bytes, checked, zeroed, aligned for any type; arena_text: n bytes, not aligned, not zeroed. */
void *arena_take(struct arena *, size_t n, size_t size) BT_MUST_USE;
char *arena_text(struct arena *, size_t n) BT_MUST_USE;
char *arena_copy(struct arena *, struct slice text) BT_MUST_USE; /* NUL added */

#endif
