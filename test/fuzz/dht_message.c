/* SPDX-License-Identifier: MIT */
/* Fuzz target of dht_message.c: what is read and written again reads the same. */
#include "find/dht_message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dht_msg m, n;
	struct buf b;

	if (!dht_parse(slice_of(data, size), &m) || m.error || (m.kind == 'q' && m.method == DHT_UNKNOWN))
		return 0;
	buf_init(&b, size + 100);
	dht_encode(&b, &m);
	if (b.failed || !dht_parse(slice_of(b.p, b.n), &n) || n.kind != m.kind || n.method != m.method || n.has != m.has ||
	    n.want != m.want || n.read_only != m.read_only || n.port != m.port || n.seq != m.seq || n.cas != m.cas)
		abort();
	if (!slice_eq(m.t, n.t) || !slice_eq(m.id, n.id) || !slice_eq(m.target, n.target) || !slice_eq(m.v, n.v) ||
	    !slice_eq(m.token, n.token) || !slice_eq(m.nodes, n.nodes) || !slice_eq(m.values, n.values) || !slice_eq(m.salt, n.salt))
		abort();
	buf_release(&b);
	return 0;
}
