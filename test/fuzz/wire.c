/* SPDX-License-Identifier: MIT */
/* wire.c (fuzz) - a peer's stream: whatever comes out is inside its bounds, and
 * no cut earlier in the stream changes what a message says. */
#include "wire/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wire_limits lim = { 20, 32768, 19 * 32768 + 1000 };
	struct wire_msg m, again;
	size_t need;
	const char *why;
	int n;
	while ((n = wire_next(slice_of(data, size), &lim, &m, &need, &why)) > 0) {
		uint64_t piece = m.index == 19 ? 1000 : 32768;
		if ((size_t)n > size || m.index >= 20 || (m.len && m.begin + (uint64_t)m.len > piece))
			abort();
		if (wire_next(slice_of(data, (size_t)n), &lim, &again, &need, &why) != n ||
		    again.type != m.type)
			abort();
		if (wire_next(slice_of(data, (size_t)n - 1), &lim, &again, &need, &why) != 0 ||
		    need > (size_t)n)
			abort();
		size_t skip = (size_t)n + (m.type == WIRE_PIECE ? m.len : 0);
		data += min_size(skip, size);
		size -= min_size(skip, size);
	}
	return 0;
}
