/* SPDX-License-Identifier: MIT */
/* Fuzz target of bencode.c: whatever ben_check takes is one exact spelling, so
 * writing again what the views show gives the same bytes. */
#include "bencode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rewrite(struct buf *b, struct ben v)
{
	struct slice key, s;
	struct ben_it it;
	struct ben val;
	int64_t i;

	if (ben_int(v, &i))
		ben_put_int(b, i);
	if (ben_str(v, &s))
		ben_put_bytes(b, s.p, s.n);
	if (ben_type(v) == BEN_INT || ben_type(v) == BEN_STR)
		return;
	buf_u8(b, ben_type(v) == BEN_DICT ? 'd' : 'l');
	for (ben_iter(v, &it); ben_next(&it, &key, &val); rewrite(b, val))
		if (it.dict)
			ben_put_bytes(b, key.p, key.n);
	ben_close(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b;
	struct ben v;
	ptrdiff_t n = ben_check(slice_of(data, size), &BEN_TORRENT, &v, NULL, NULL);

	if (n < 0)
		return 0;
	buf_init(&b, size);
	rewrite(&b, v);
	if (n == 0 || b.failed || b.n != (size_t)n || memcmp(b.p, data, b.n))
		abort();
	buf_release(&b);
	return 0;
}
