/* SPDX-License-Identifier: MIT */
/* Fuzz target of dht_state.c: a saved state that is taken can be saved and taken again. */
#include "find/dht.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_send(void *arg, const struct addr *to, const void *p, size_t n)
{
	if (arg || !addr_is_usable_peer(to) || n == 0 || n > DHT_PACKET_MAX || ((const uint8_t *)p)[0] != 'd')
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct dht *d = dht_new(&(struct dht_opts){ .v6 = v6, .send = on_send }, 1000);
		struct buf b;

		buf_init(&b, 9000);
		if (d && dht_load(d, slice_of(data, size), 1000) && (!dht_save(d, &b) || !dht_load(d, slice_of(b.p, b.n), 1000)))
			abort();
		if (d)
			dht_on_timer(d, 2000);
		buf_release(&b);
		dht_free(d);
	}
	return 0;
}
