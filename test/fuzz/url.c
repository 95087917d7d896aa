/* SPDX-License-Identifier: MIT */
/* Fuzz target of url.c: what a reference resolves to is a URL of the same host
 * or its own, without dot segments left, and resolving it again changes nothing. */
#include "net/http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	struct url base, u;
	struct buf out, again;
	char shown[64];
	size_t i = 0;

	url_redact(shown, sizeof(shown), text);
	if (!url_parse(text, &base) && !url_parse(slice_str("http://u:p@[::1]:1/a/b?c"), &base))
		abort();
	buf_init(&out, 1 << 16);
	buf_init(&again, 1 << 16);
	if (url_resolve(&out, &base, text) && url_parse(slice_of(out.p, out.n), &u)) {
		while (i < u.path.n && u.path.p[i] != '?')
			i++;
		if (memmem(u.path.p, i, "/../", 4))
			abort();
		if (!url_resolve(&again, &base, slice_of(out.p, out.n)) ||
		    !slice_eq(slice_of(out.p, out.n), slice_of(again.p, again.n)))
			abort();
	}
	buf_release(&out);
	buf_release(&again);
	return 0;
}
