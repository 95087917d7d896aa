/* SPDX-License-Identifier: MIT */
/* Fuzz target of http_parse.c: the first byte says where the answer is cut;
 * in two pieces it must come out as it does whole. */
#include "net/http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_parser p[2];
	struct buf body[2];
	const char *why;
	int err[2];
	size_t n = size ? size - 1 : 0, cut = size ? min_size(data[0], n) : 0;

	for (size_t i = 0; i < 2; i++) {
		size_t first = i ? cut : n;

		http_parser_init(&p[i]);
		buf_init(&body[i], 1000);
		err[i] = http_parse(&p[i], slice_of(data + 1, first), &body[i], &why);
		if (err[i] == 0)
			err[i] = http_parse(&p[i], slice_of(data + 1 + first, n - first), &body[i], &why);
		if (err[i] == 0)
			err[i] = http_parse_eof(&p[i], &why);
	}
	if (err[0] != err[1] || p[0].too_long != p[1].too_long || (err[0] == 0 && (!p[0].done || p[0].status < 200)))
		abort();
	if (err[0] == 0 && !slice_eq(slice_of(body[0].p, body[0].n), slice_of(body[1].p, body[1].n)))
		abort();
	buf_release(&body[0]);
	buf_release(&body[1]);
	return 0;
}
