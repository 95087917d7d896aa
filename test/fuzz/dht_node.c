/* SPDX-License-Identifier: MIT */
/* Fuzz target of a whole node that searches: the input is packets, each with two
 * bytes before it: its length, and what it is. Odd: the body of an answer to the
 * last query, put between the right `t` and comes from the right place; even: the
 * packet itself, from one of four addresses. Time passes; limits must hold. */
#include "find/dht_node.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_send(void *arg, const struct addr *to, const void *p, size_t n)
{
	struct addr *last = arg;
	struct dht_msg m;

	if (n > DHT_PACKET_MAX || !addr_is_usable_peer(to) || to->port < 2 || !dht_parse(slice_of(p, n), &m))
		abort();
	if (m.kind == 'q') {
		last[0] = *to;
		memcpy(last[1].ip, m.t.p, 4);
	}
}

static void no_chance(void *arg, void *p, size_t n)
{
	memset(p, arg ? 7 : 8, n); /* each input does the same every time */
}

static void on_result(void *arg, const struct dht_result *r)
{
	if (r->what == DHT_ITEM && dht_item_check(r->item) != 0)
		abort();
	if (r->npeers && !addr_is_usable_peer(&r->peers[r->npeers - 1]))
		abort();
	dht_cancel(arg, r->search + 1);
}

static void feed(struct dht *d, const struct addr last[2], struct slice in, uint8_t kind, uint64_t now)
{
	struct addr from = last[0];
	struct buf b;

	buf_init(&b, 1000);
	if (kind & 1) {
		buf_puts(&b, "d1:r");
		buf_put(&b, in.p, in.n);
		buf_puts(&b, "1:t4:");
		buf_put(&b, last[1].ip, 4);
		buf_puts(&b, "1:y1:re");
		in = slice_of(b.p, b.n);
	} else {
		from = (struct addr){ .ip = { 90, 1, 2, kind >> 1 & 3 }, .port = 999 };
	}
	dht_on_packet(d, &from, in, now);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addr last[2] = { { .ip = { 90, 9, 9, 9 }, .port = 5 }, { .ip = { 0 } } };
	struct dht *d = dht_new(&(struct dht_opts){ .send = on_send, .random = no_chance, .arg = last }, 1000);
	static const uint8_t target[20] = { 'x' };
	uint64_t now = 1000;

	if (!d)
		return 0;
	dht_add_router(d, last, now);
	dht_find_peers(d, target, DHT_ANNOUNCE | DHT_SCRAPE, 5, on_result, d, now);
	dht_get(d, target, slice_of(target, 1), on_result, d, now);
	dht_sample(d, target, on_result, d, now);
	for (size_t at = 0; size - at > 2; now += 700) {
		size_t n = min_size(data[at], size - at - 2);

		dht_on_timer(d, now);
		feed(d, last, slice_of(data + at + 2, n), data[at + 1], now);
		at += n + 2;
	}
	dht_on_timer(d, now + 20000);
	if (d->store.torrents > 2000 || d->items.n > 700 || d->nqueries > DHT_QUERIES)
		abort();
	dht_free(d);
	return 0;
}
