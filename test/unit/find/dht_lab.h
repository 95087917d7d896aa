/* SPDX-License-Identifier: MIT */
/* dht_lab.h - a few DHT nodes and a stranger on a network without loss or delay:
 * packets wait in a queue until lab_run hands them over. What goes to an address
 * without a node is for the stranger, who keeps the last ones. Chance is a fixed
 * sequence, so that every run is the same. */
#ifndef BT_TEST_DHT_LAB_H
#define BT_TEST_DHT_LAB_H

#include "find/dht_node.h"
#include "test/test.h"

#define LAB_NODES 40
#define LAB_QUEUE 512
#define LAB_KEPT 256

struct lab_packet {
	struct addr from, to;
	size_t n;
	uint8_t bytes[DHT_PACKET_MAX];
};

static struct lab {
	uint64_t now;
	size_t nnodes, head, tail, nkept;
	struct lab_node {
		struct dht *d;
		struct addr addr;
		struct addr told; /* by on_external_ip */
		unsigned externals;
	} node[LAB_NODES];
	struct lab_packet queue[LAB_QUEUE];
	struct lab_packet kept[LAB_KEPT]; /* for the stranger, oldest first */
} lab;

static inline struct addr lab_addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(&a, slice_str(text)));
	return a;
}

static inline void lab_random(void *arg, void *p, size_t n)
{
	static uint64_t x = 88172645463325252u;

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint8_t *)p)[i] = (uint8_t)(x >> 32);
	}
}

static inline void lab_send(void *arg, const struct addr *to, const void *p, size_t n)
{
	struct lab_node *from = arg;
	struct lab_packet *q = &lab.queue[lab.tail++ % LAB_QUEUE];

	CHECK(n <= DHT_PACKET_MAX && lab.tail - lab.head <= LAB_QUEUE);
	q->from = from->addr;
	q->to = *to;
	q->n = n;
	memcpy(q->bytes, p, n);
}

static inline void lab_external(void *arg, const struct addr *a)
{
	struct lab_node *n = arg;

	n->told = *a;
	n->externals++;
}

static inline void lab_clear(void)
{
	for (size_t i = 0; i < lab.nnodes; i++)
		dht_free(lab.node[i].d);
	lab.nnodes = lab.head = lab.tail = lab.nkept = 0;
	lab.now = 1000000;
}

/* Options may be NULL; sending and so on is filled in. */
static inline struct dht *lab_add(const char *address, const struct dht_opts *opts)
{
	struct lab_node *n = &lab.node[lab.nnodes++];
	struct dht_opts o = { .v6 = false };

	if (opts)
		o = *opts;
	n->addr = lab_addr(address);
	n->externals = 0;
	o.v6 = n->addr.v6;
	o.send = lab_send;
	o.on_external_ip = lab_external;
	o.random = lab_random;
	o.arg = n;
	n->d = dht_new(&o, lab.now);
	CHECK(n->d);
	return n->d;
}

static inline struct lab_node *lab_node_at(const struct addr *a)
{
	for (size_t i = 0; i < lab.nnodes; i++)
		if (lab.node[i].d && addr_eq(&lab.node[i].addr, a))
			return &lab.node[i];
	return NULL;
}

/* Hands over all packets; those for the stranger are kept. */
static inline void lab_deliver(void)
{
	while (lab.head < lab.tail) {
		struct lab_packet p = lab.queue[lab.head++ % LAB_QUEUE];
		struct lab_node *n = lab_node_at(&p.to);

		if (n) {
			dht_on_packet(n->d, &p.from, slice_of(p.bytes, p.n), lab.now);
		} else if (lab.nkept < LAB_KEPT) {
			lab.kept[lab.nkept++] = p;
		}
	}
}

/* Lets time pass, timers and packets as they come. */
static inline void lab_run(uint64_t ms)
{
	uint64_t end = lab.now + ms;

	for (;;) {
		uint64_t next = end + 1;

		lab_deliver();
		for (size_t i = 0; i < lab.nnodes; i++)
			if (lab.node[i].d)
				next = min_u64(next, dht_deadline(lab.node[i].d));
		if (next > end)
			break;
		if (next > lab.now)
			lab.now = next;
		for (size_t i = 0; i < lab.nnodes; i++)
			if (lab.node[i].d && dht_deadline(lab.node[i].d) <= lab.now)
				dht_on_timer(lab.node[i].d, lab.now);
	}
	lab.now = end;
}

/* The stranger says something; what comes back is in lab.kept[0..nkept). */
static inline void lab_say(struct dht *to, const struct addr *from, const struct dht_msg *m)
{
	struct buf b;

	buf_init(&b, 4000);
	dht_encode(&b, m);
	dht_on_packet(to, from, slice_of(b.p, b.n), lab.now);
	buf_release(&b);
	lab_deliver();
}

/* Asks as the stranger and parses the only packet that came back; false = none or several. */
static inline bool lab_ask(struct dht *to, const struct addr *from, const struct dht_msg *m, struct dht_msg *answer)
{
	lab.nkept = 0;
	lab_say(to, from, m);
	return lab.nkept == 1 && dht_parse(slice_of(lab.kept[0].bytes, lab.kept[0].n), answer);
}

#endif
