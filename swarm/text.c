/* SPDX-License-Identifier: MIT */
/* text.c - the text tools of base/ that programs on top of libbt need too. */
#include "bt.h"
#include "base/base.h"

#include <stdlib.h>

char *bt_escape(char *out, size_t size, const char *text)
{
	return text_escape(out, size, slice_str(text));
}

char *bt_escape_json(const char *text)
{
	struct buf b;

	/* No ceiling of its own: the text is in memory, and six times that is the most. */
	buf_init(&b, SIZE_MAX);
	text_json(&b, slice_str(text));
	buf_u8(&b, 0);
	if (b.failed) {
		buf_release(&b);
		return NULL;
	}
	return (char *)b.p;
}
