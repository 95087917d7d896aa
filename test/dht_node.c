/* SPDX-License-Identifier: MIT */
/* dht_node.c - a DHT node to talk to: find/dht.h with a UDP socket and the reactor
 * around it. For test/real/dht.py, which compiles it.
 *
 *   dht_node IP:PORT [any]     `any`: no limit on what one address may ask
 *
 * Commands are lines: node IP:PORT | announce HASH PORT | peers HASH | put VALUE |
 * sign SEED SEQ SALT VALUE | get TARGET [SALT] | sample TARGET | stats. Values are
 * bencode without blanks, SALT is hex or -. Results are lines too; each search
 * ends with `done`. Ends with its input. */
#include "base/ed25519.h"
#include "find/dht.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct node {
	struct net net;
	struct ev udp, in;
	struct timer timer;
	struct dht *d;
	char line[4096];
	size_t n;
	bool ended;
} node;

static void arm(void)
{
	uint64_t at = dht_deadline(node.d), now = node.net.now_ms;

	timer_set(&node.net, &node.timer, at > now ? at - now : 0);
}

static void on_send(void *arg, const struct addr *to, const void *p, size_t n)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);

	(void)!sendto(((struct node *)arg)->udp.fd, p, n, MSG_DONTWAIT, (struct sockaddr *)&ss, len);
}

static void on_external(void *arg, const struct addr *a)
{
	char text[ADDR_TEXT];

	(void)arg;
	printf("external %s\n", addr_format(a, text));
}

static void print_hex(const char *name, struct slice s)
{
	char text[2 * 100 + 1];

	hex_encode(text, s.p, min_size(s.n, 100));
	printf("%s %s\n", name, text);
}

static void on_result(void *arg, const struct dht_result *r)
{
	char text[ADDR_TEXT];

	(void)arg;
	for (size_t i = 0; i < r->npeers; i++)
		printf("peer %s\n", addr_format(&r->peers[i], text));
	if (r->what == DHT_ITEM)
		printf("item %lld %.*s\n", (long long)r->item->seq, (int)r->item->v.n, (const char *)r->item->v.p);
	for (size_t i = 0; i + 20 <= r->samples.n; i += 20)
		print_hex("sample", slice_of(r->samples.p + i, 20));
	if (r->what == DHT_DONE)
		printf("done asked %u answered %u stored %u error %d hops %u ms %llu\n", r->asked, r->answered, r->stored,
		       r->error, r->hops, (unsigned long long)r->ms);
}

static void on_udp(struct ev *ev, uint32_t events)
{
	(void)events;
	for (int i = 0; i < 64; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		uint8_t p[4096];
		struct addr from;
		ssize_t n = recvfrom(ev->fd, p, sizeof(p), MSG_DONTWAIT, (struct sockaddr *)&ss, &len);

		if (n < 0)
			break;
		if (addr_from_sockaddr(&from, &ss))
			dht_on_packet(node.d, &from, slice_of(p, (size_t)n), node.net.now_ms);
	}
	arm();
}

static void on_timer(struct timer *t)
{
	(void)t;
	dht_on_timer(node.d, node.net.now_ms);
	arm();
}

static size_t unhex(uint8_t *out, size_t max, const char *text)
{
	size_t n = strcmp(text, "-") ? strlen(text) / 2 : 0;

	return n <= max && hex_decode(out, n, slice_of(text, 2 * n)) ? n : 0;
}

static uint32_t sign_and_put(const char *seed_hex, const char *seq, const char *salt_hex, const char *value)
{
	uint8_t seed[32] = { 0 }, secret[64], salt[DHT_SALT_MAX], target[20];
	struct dht_item it = { .v = slice_str(value), .seq = atoll(seq) };

	unhex(seed, 32, seed_hex);
	it.salt = slice_of(salt, unhex(salt, sizeof(salt), salt_hex));
	ed25519_secret(secret, seed);
	if (!dht_item_sign(&it, secret))
		return 0;
	dht_item_target(&it, target);
	print_hex("key", slice_of(it.key, 32));
	print_hex("target", slice_of(target, 20));
	return dht_put(node.d, &it, NULL, on_result, NULL, node.net.now_ms);
}

static void command(char *line)
{
	char *w[5] = { "", "", "", "", "" }, *save = NULL;
	uint64_t now = node.net.now_ms;
	uint8_t target[20] = { 0 }, salt[DHT_SALT_MAX];
	uint32_t search = 1;
	struct dht_stats s;
	struct addr a;
	char text[ADDR_TEXT];

	for (int i = 0; i < 5; i++) {
		char *word = strtok_r(i ? NULL : line, " ", &save);

		w[i] = word ? word : "";
	}
	if (strcmp(w[0], "put") && strcmp(w[0], "sign"))
		unhex(target, 20, w[1]);
	if (!strcmp(w[0], "node") && addr_parse(&a, slice_str(w[1]))) {
		dht_add_node(node.d, &a, now);
	} else if (!strcmp(w[0], "announce")) {
		search = dht_find_peers(node.d, target, DHT_ANNOUNCE, (uint16_t)atoi(w[2]), on_result, NULL, now);
	} else if (!strcmp(w[0], "peers")) {
		search = dht_find_peers(node.d, target, 0, 0, on_result, NULL, now);
	} else if (!strcmp(w[0], "put")) {
		struct dht_item it = { .v = slice_str(w[1]) };

		dht_item_target(&it, target);
		print_hex("target", slice_of(target, 20));
		search = dht_put(node.d, &it, NULL, on_result, NULL, now);
	} else if (!strcmp(w[0], "sign")) {
		search = sign_and_put(w[1], w[2], w[3], w[4]);
	} else if (!strcmp(w[0], "get")) {
		search = dht_get(node.d, target, slice_of(salt, unhex(salt, sizeof(salt), w[2][0] ? w[2] : "-")), on_result, NULL, now);
	} else if (!strcmp(w[0], "sample")) {
		search = dht_sample(node.d, target, on_result, NULL, now);
	} else if (!strcmp(w[0], "stats")) {
		dht_stats(node.d, &s, now);
		printf("stats good %u nodes %u torrents %u peers %u items %u memory %zu refused %llu external %s\n", s.good,
		       s.nodes, s.torrents, s.peers, s.items, s.memory, (unsigned long long)s.refused,
		       addr_format(&s.external, text));
	} else {
		search = 0;
	}
	if (search == 0)
		printf("refused\n");
	arm();
}

static void on_input(struct ev *ev, uint32_t events)
{
	ssize_t n = read(ev->fd, node.line + node.n, sizeof(node.line) - 1 - node.n);
	char *end;

	(void)events;
	if (n <= 0) {
		node.ended = n == 0 || errno != EAGAIN;
		return;
	}
	node.n += (size_t)n;
	node.line[node.n] = 0;
	while ((end = memchr(node.line, '\n', node.n))) {
		size_t len = (size_t)(end + 1 - node.line);

		*end = 0;
		command(node.line);
		node.n -= len;
		memmove(node.line, node.line + len, node.n + 1);
	}
	if (node.n == sizeof(node.line) - 1)
		node.ended = true;
}

int main(int argc, char **argv)
{
	struct dht_opts o = { .send = on_send, .on_external_ip = on_external, .arg = &node };
	struct sockaddr_storage ss;
	struct addr self;
	socklen_t len;
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || !addr_parse(&self, slice_str(argv[1])) || net_init(&node.net) < 0)
		return 2;
	if (argc > 2 && !strcmp(argv[2], "any")) {
		o.query_rate = 1000;
		o.up_rate = 1000000;
	}
	len = addr_to_sockaddr(&self, &ss);
	fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0)
		return 2;
	net_clock(&node.net);
	o.v6 = self.v6;
	node.d = dht_new(&o, node.net.now_ms);
	timer_init(&node.timer, on_timer);
	if (!node.d || ev_add(&node.net, &node.udp, fd, EPOLLIN, on_udp) < 0 ||
	    ev_add(&node.net, &node.in, 0, EPOLLIN, on_input) < 0)
		return 2;
	arm();
	while (!node.ended && net_turn(&node.net, -1) == 0)
		;
	dht_free(node.d);
	ev_del(&node.udp);
	ev_del(&node.in);
	timer_clear(&node.net, &node.timer);
	net_release(&node.net);
	close(fd);
	return 0;
}
