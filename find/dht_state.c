/* SPDX-License-Identifier: MIT */
/* dht_state.c - what a DHT node leaves to its next run: its id, and nodes to begin
 * with. They come back as mere hearsay: asked, but not told to others until they
 * answer. Statistics too. */
#include "find/dht_node.h"

#define SAVED_NODES 200

bool dht_save(const struct dht *d, struct buf *b)
{
	struct dht_contact c[SAVED_NODES];
	size_t n = dht_table_closest(&d->table, d->id, false, c, SAVED_NODES, d->now), len = dht_contact_len(d->o.v6);
	uint8_t bytes[SAVED_NODES * 38];

	for (size_t i = 0; i < n; i++)
		dht_contact_write(bytes + i * len, &c[i]);
	ben_open_dict(b);
	ben_put_str(b, "id");
	ben_put_bytes(b, d->id, DHT_ID);
	ben_put_str(b, d->o.v6 ? "nodes6" : "nodes");
	ben_put_bytes(b, bytes, n * len);
	ben_close(b);
	return !b->failed;
}

bool dht_load(struct dht *d, struct slice saved, uint64_t now_ms)
{
	static const struct addr unknown;
	struct slice id, nodes;
	struct dht_contact c;
	struct ben top;
	struct cur cur;

	if (ben_check(saved, &BEN_MESSAGE, &top, NULL, NULL) != (ptrdiff_t)saved.n || !ben_get_str(top, "id", &id) ||
	    id.n != DHT_ID || !ben_get_str(top, d->o.v6 ? "nodes6" : "nodes", &nodes) ||
	    nodes.n % dht_contact_len(d->o.v6) || nodes.n / dht_contact_len(d->o.v6) > SAVED_NODES)
		return false;
	d->now = now_ms;
	/* An id that doesn't fit the address we know to have is of no use. */
	if (!d->fixed_id && (addr_same_ip(&d->external, &unknown) || dht_id_fits(id.p, &d->external))) {
		memcpy(d->id, id.p, DHT_ID);
		dht_table_set_own(&d->table, d->id, now_ms);
	}
	for (cur = cur_of(nodes); dht_contact_next(&cur, d->o.v6, &c);)
		if (addr_is_usable_peer(&c.addr) && c.addr.port > 1)
			dht_table_load(&d->table, &c, now_ms);
	d->tick_ms = now_ms;
	dht_wake(d);
	return true;
}

void dht_stats(const struct dht *d, struct dht_stats *out, uint64_t now_ms)
{
	*out = d->count;
	memcpy(out->id, d->id, DHT_ID);
	out->external = d->external;
	dht_table_count(&d->table, now_ms, &out->good, &out->nodes);
	out->torrents = d->store.torrents;
	out->peers = d->store.peers;
	out->items = d->items.n;
	out->searches = (uint32_t)(d->nsearches + d->nwaiting);
	for (size_t i = 0; i < d->nqueries; i++)
		out->pending += d->queries[i].used;
	out->memory = sizeof(*d) + d->nqueries * sizeof(*d->queries) + d->table.cap * sizeof(*d->table.b) +
		      dht_store_memory(&d->store) + dht_items_memory(&d->items) + d->out.cap + d->values.cap +
		      d->nsearches * (sizeof(struct dht_search) + DHT_CANDIDATES * sizeof(struct dht_candidate)) +
		      d->nwaiting * sizeof(struct dht_search);
}
