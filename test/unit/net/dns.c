/* SPDX-License-Identifier: MIT */
/* The resolver against name servers that live in the same reactor, on
 * loopback: honest, silent, broken, lying ones. What a server does is in the
 * first label of the name it is asked for. */
#include "net/dns.h"
#include "test/test.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- a name server ---- */

struct server {
	struct ev udp, tcp, conn;
	struct addr at;
	int asked;         /* UDP questions */
	int tcp_asked;
	bool silent, broken; /* for all names */
	uint16_t ports[64]; /* of who asked */
	uint16_t ids[64];
	char last[300];
};

struct question {
	uint16_t id, type;
	char name[300];
	const uint8_t *wire; /* name, type, class as they were asked */
	size_t len;
};

static bool read_question(const uint8_t *p, size_t n, struct question *q)
{
	size_t at = 12, len = 0;

	if (n < 17)
		return false;
	q->id = get_u16(p);
	while (p[at]) {
		memcpy(q->name + len, p + at + 1, p[at]);
		len += p[at];
		q->name[len++] = '.';
		at += 1 + (size_t)p[at];
		if (at >= n)
			return false;
	}
	q->name[len ? len - 1 : 0] = 0;
	q->type = get_u16(p + at + 1);
	q->wire = p + 12;
	q->len = at + 5 - 12;
	return at + 5 == n;
}

static bool is(const struct question *q, const char *label)
{
	size_t n = strlen(label);

	return strncmp(q->name, label, n) == 0 && (q->name[n] == '.' || q->name[n] == 0);
}

static void put_head(struct buf *b, const struct question *q, uint16_t id, uint16_t flags, uint16_t answers)
{
	buf_u16(b, id);
	buf_u16(b, flags);
	buf_u16(b, 1);
	buf_u16(b, answers);
	buf_u32(b, 0);
	buf_put(b, q->wire, q->len);
}

static void put_address(struct buf *b, uint16_t type, uint32_t ttl, uint8_t last)
{
	static const uint8_t v4[4] = { 192, 0, 2 }, v6[16] = { 0x20, 0x01, 0x0d, 0xb8 };

	buf_u16(b, 0xc00c);
	buf_u16(b, type);
	buf_u16(b, 1);
	buf_u32(b, ttl);
	buf_u16(b, type == DNS_A ? 4 : 16);
	buf_put(b, type == DNS_A ? v4 : v6, type == DNS_A ? 3 : 15);
	buf_u8(b, last);
}

static void put_answer(struct buf *b, const struct question *q)
{
	uint16_t count = 1;

	if (is(q, "nx"))
		put_head(b, q, q->id, 0x8183, 0);
	else if (is(q, "none") || (is(q, "v4") && q->type == DNS_AAAA) || (is(q, "v6") && q->type == DNS_A))
		put_head(b, q, q->id, 0x8180, 0);
	else if (is(q, "nx6") && q->type == DNS_AAAA)
		put_head(b, q, q->id, 0x8183, 0);
	else if (is(q, "servfail"))
		put_head(b, q, q->id, 0x8182, 0);
	else {
		if (is(q, "many") || is(q, "tc"))
			count = 20;
		put_head(b, q, q->id, 0x8180, count);
		for (uint8_t i = 1; i <= count; i++)
			put_address(b, q->type, is(q, "ttl0") ? 0 : is(q, "ttl1") ? 1 : 60, i);
	}
}

/* Wrong id, wrong question, a question, cut short, noise: none is the answer. */
static void send_lies(int fd, const struct question *q, const struct sockaddr *to, socklen_t to_len, int times)
{
	struct question other = *q;
	uint8_t wire[300];
	struct buf b;

	memcpy(wire, q->wire, q->len);
	wire[1] ^= 1;
	other.wire = wire;
	buf_init(&b, 1000);
	for (int i = 0; i < times; i++) {
		buf_clear(&b);
		put_head(&b, i % 5 == 1 ? &other : q, i % 5 == 0 ? q->id ^ 1 : q->id, i % 5 == 2 ? 0x0180 : 0x8180, 1);
		put_address(&b, q->type, 60, 66);
		if (i % 5 == 3)
			b.n -= 5;
		if (i % 5 == 4)
			random_bytes(b.p + 2, b.n - 2);
		(void)!sendto(fd, b.p, b.n, 0, to, to_len);
	}
	buf_release(&b);
}

/* The right answer with a wrong address, from somebody who wasn't asked. */
static void send_forged(const struct question *q, const struct sockaddr *to, socklen_t to_len)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct buf b;

	buf_init(&b, 1000);
	put_head(&b, q, q->id, 0x8180, 1);
	put_address(&b, q->type, 60, 66);
	CHECK(sendto(fd, b.p, b.n, 0, to, to_len) == (ssize_t)b.n);
	buf_release(&b);
	close(fd);
}

static void on_server_udp(struct ev *e, uint32_t events)
{
	struct server *s = container_of(e, struct server, udp);
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	uint8_t p[600];
	struct question q;
	struct addr a;
	struct buf b;
	ssize_t n = recvfrom(e->fd, p, sizeof(p), 0, (struct sockaddr *)&from, &from_len);

	(void)events;
	if (n < 0)
		return;
	CHECK(read_question(p, (size_t)n, &q) && get_u16(p + 2) == 0x0100);
	CHECK(addr_from_sockaddr(&a, &from));
	s->ports[s->asked % 64] = a.port;
	s->ids[s->asked % 64] = q.id;
	s->asked++;
	memcpy(s->last, q.name, sizeof(q.name));
	if (s->silent || is(&q, "hang") || (is(&q, "slow6") && q.type == DNS_AAAA) || (is(&q, "slow4") && q.type == DNS_A))
		return;
	buf_init(&b, 8192);
	if (s->broken) {
		put_head(&b, &q, q.id, 0x8182, 0);
	} else if (strncmp(q.name, "tc", 2) == 0) {
		put_head(&b, &q, q.id, 0x8380, 0);
	} else {
		if (is(&q, "lies"))
			send_lies(e->fd, &q, (struct sockaddr *)&from, from_len, 10);
		if (is(&q, "flood"))
			send_lies(e->fd, &q, (struct sockaddr *)&from, from_len, 100);
		if (is(&q, "forged"))
			send_forged(&q, (struct sockaddr *)&from, from_len);
		put_answer(&b, &q);
		while (is(&q, "big") && b.n < 8192)
			buf_u8(&b, 0xff);
	}
	CHECK(sendto(e->fd, b.p, b.n, 0, (struct sockaddr *)&from, from_len) == (ssize_t)b.n);
	buf_release(&b);
}

static void close_conn(struct server *s)
{
	if (!s->conn.net)
		return;
	ev_del(&s->conn);
	close(s->conn.fd);
	ev_mod(&s->tcp, EPOLLIN);
}

static void on_server_conn(struct ev *e, uint32_t events)
{
	struct server *s = container_of(e, struct server, conn);
	uint8_t p[600];
	struct question q;
	struct buf b;
	ssize_t n = recv(e->fd, p, sizeof(p), 0);

	(void)events;
	if (n <= 0) {
		close_conn(s);
		return;
	}
	CHECK(n > 2 && get_u16(p) == n - 2 && read_question(p + 2, (size_t)n - 2, &q));
	s->tcp_asked++;
	if (is(&q, "tchang"))
		return;
	buf_init(&b, 70000);
	buf_u16(&b, 0);
	if (is(&q, "tctc"))
		put_head(&b, &q, q.id, 0x8380, 0);
	else
		put_answer(&b, &q);
	if (is(&q, "tcbig"))
		while (b.n < 65537)
			buf_u8(&b, 0);
	put_u16(b.p, (uint16_t)(b.n - 2));
	if (is(&q, "tclie")) /* says more than comes */
		put_u16(b.p, (uint16_t)(b.n + 100));
	if (is(&q, "tcgarbage"))
		random_bytes(b.p + 2, b.n - 2);
	if (is(&q, "tczero"))
		put_u16(b.p, 0);
	for (size_t at = 0, step = is(&q, "tcslow") ? 1 : b.n; at < b.n; at += step)
		if (send(e->fd, b.p + at, step, MSG_NOSIGNAL) < 0)
			break; /* who asked has cancelled */
	buf_release(&b);
	if (is(&q, "tclie"))
		close_conn(s);
}

static void on_server_tcp(struct ev *e, uint32_t events)
{
	struct server *s = container_of(e, struct server, tcp);
	struct addr from;
	int fd;

	(void)events;
	fd = tcp_accept(e->fd, &from);
	if (fd < 0)
		return;
	CHECK(ev_add(e->net, &s->conn, fd, EPOLLIN, on_server_conn) == 0);
	ev_mod(e, 0); /* one at a time: the other family waits */
}

static void server_open(struct net *net, struct server *s)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int tcp = -1, udp = -1;

	memset(s, 0, sizeof(*s));
	for (int i = 0; i < 50 && udp < 0; i++) { /* until both have the same port */
		CHECK(addr_parse(&s->at, slice_str("127.0.0.1:0")));
		tcp = tcp_listen(&s->at, 8);
		udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		CHECK(tcp_local_addr(tcp, &s->at));
		len = addr_to_sockaddr(&s->at, &ss);
		if (bind(udp, (struct sockaddr *)&ss, len) < 0) {
			close(udp);
			close(tcp);
			udp = -1;
		}
	}
	CHECK(ev_add(net, &s->udp, udp, EPOLLIN, on_server_udp) == 0);
	CHECK(ev_add(net, &s->tcp, tcp, EPOLLIN, on_server_tcp) == 0);
}

static void server_close(struct server *s)
{
	close_conn(s);
	ev_del(&s->udp);
	ev_del(&s->tcp);
	close(s->udp.fd);
	close(s->tcp.fd);
}

/* ---- who asks ---- */

static struct net net;
static struct dns *dns;
static struct server server[2];

struct result {
	struct dns_query *query;
	bool done;
	int err;
	size_t n;
	struct addr addrs[DNS_MAX_ADDRS];
	char why[100];
	uint64_t began, took;
};

static void on_result(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	struct result *r = arg;

	CHECK(!r->done && n <= DNS_MAX_ADDRS && (err != 0) == (n == 0) && (err != 0) == (why[0] != 0));
	r->done = true;
	r->err = err;
	r->n = n;
	memcpy(r->addrs, addrs, n * sizeof(*addrs));
	snprintf(r->why, sizeof(r->why), "%s", why);
	net_clock(&net);
	r->took = net.now_ms - r->began;
}

static void ask(struct result *r, const char *name)
{
	memset(r, 0, sizeof(*r));
	net_clock(&net);
	r->began = net.now_ms;
	r->query = dns_lookup(dns, name, on_result, r);
	CHECK(r->query && !r->done); /* never from inside the call */
}

static void wait_for(struct result *r)
{
	uint64_t end = net.now_ms + 10000;

	while (!r->done && net.now_ms < end)
		CHECK(net_turn(&net, 100) == 0);
	CHECK(r->done);
}

static struct result look(const char *name)
{
	static struct result r;

	ask(&r, name);
	wait_for(&r);
	return r;
}

static bool has(const struct result *r, size_t i, const char *ip)
{
	struct addr a;

	return addr_parse_ip(&a, slice_str(ip)) && i < r->n && addr_eq(&a, &r->addrs[i]);
}

static void configure(const char *more, const char *hosts)
{
	char text[400];

	snprintf(text, sizeof(text), "nameserver [127.0.0.1]:%u\nnameserver [127.0.0.1]:%u\noptions timeout:1 attempts:1\n%s",
		 server[0].at.port, server[1].at.port, more);
	dns_configure(dns, slice_of(NULL, 0), slice_of(NULL, 0)); /* another one: the cache is emptied */
	dns_configure(dns, slice_str(text), slice_str(hosts));
	for (int i = 0; i < 2; i++) {
		server[i].silent = server[i].broken = false;
		server[i].asked = server[i].tcp_asked = 0;
	}
}

static int asked(void)
{
	return server[0].asked + server[1].asked;
}

/* ---- what needs no server ---- */

static void test_here(void)
{
	static const char *const bad[] = { "", ".", "..", "a..b", "a b.example", "b\xc3\xbc.example", "127.1", "1", "0x7f.1",
		"a.1", "2130706433", "256.1.1.1", "a/b" };
	char name[400];
	struct result r;

	configure("", "192.0.2.80 box box.lan\n2001:db8::80 box\n0.0.0.0 ads.example\n192.0.2.81 localhost.lan\n"
		      "192.0.2.9 printer.\n");
	r = look("192.0.2.7");
	CHECK(r.err == 0 && r.n == 1 && has(&r, 0, "192.0.2.7") && r.addrs[0].port == 0);
	r = look("2001:db8::7");
	CHECK(r.n == 1 && has(&r, 0, "2001:db8::7"));
	r = look("::ffff:192.0.2.7");
	CHECK(r.n == 1 && has(&r, 0, "192.0.2.7"));
	r = look("BOX");
	CHECK(r.n == 2 && has(&r, 0, "192.0.2.80") && has(&r, 1, "2001:db8::80"));
	r = look("box.lan.");
	CHECK(r.n == 1);
	r = look("ads.example");
	CHECK(r.err == -ENODATA && strcmp(r.why, "the host name has no address") == 0);
	for (int i = 0; i < 3; i++) {
		r = look(i == 0 ? "localhost" : i == 1 ? "LocalHost." : "a.b.localhost");
		CHECK(r.n == 2 && has(&r, 0, "127.0.0.1") && has(&r, 1, "::1"));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		r = look(bad[i]);
		CHECK(r.err == -EINVAL && strcmp(r.why, "not a host name") == 0);
	}
	memset(name, 'a', sizeof(name));
	for (size_t i = 40; i < sizeof(name); i += 40)
		name[i] = '.';
	for (size_t n = 254; n < sizeof(name); n += 7) {
		char c = name[n];
		name[n] = 0;
		r = look(name);
		CHECK(r.err == -EINVAL);
		name[n] = c;
	}
	CHECK(asked() == 0);
	dns_configure(dns, slice_of(NULL, 0), slice_str("127.0.0.1 localhost\n"));
	r = look("localhost"); /* as the machine's owner has it */
	CHECK(r.n == 1 && has(&r, 0, "127.0.0.1"));

	/* Of a hosts text larger than the limit, the whole lines within it. */
	struct buf big;
	buf_init(&big, 2 << 20);
	for (int i = 0; big.n < 1100 << 10; i++)
		buf_printf(&big, "192.0.2.1 h%d.localhost\n", i);
	dns_configure(dns, slice_of(NULL, 0), slice_of(big.p, big.n));
	buf_release(&big);
	r = look("h1.localhost");
	CHECK(r.n == 1 && has(&r, 0, "192.0.2.1"));
	r = look("h45000.localhost");
	CHECK(r.n == 2 && has(&r, 0, "127.0.0.1"));
}

/* ---- what servers say ---- */

static void test_answers(void)
{
	struct result r;
	char text[200];

	configure("", "");
	r = look("ok.example");
	CHECK(r.err == 0 && r.n == 2 && has(&r, 0, "192.0.2.1") && has(&r, 1, "2001:db8::1"));
	CHECK(server[0].asked == 2 && server[1].asked == 0);
	/* Each question has its own port and id. */
	CHECK(server[0].ports[0] != server[0].ports[1] && server[0].ids[0] != server[0].ids[1]);
	/* From the cache, whatever the case of the letters. */
	r = look("OK.Example");
	CHECK(r.n == 2 && asked() == 2);
	/* The same configuration read again changes nothing. */
	snprintf(text, sizeof(text), "# the same\nnameserver [127.0.0.1]:%u\nnameserver [127.0.0.1]:%u\n"
		 "options timeout:1 attempts:1\n", server[0].at.port, server[1].at.port);
	dns_configure(dns, slice_str(text), slice_of(NULL, 0));
	r = look("ok.example");
	CHECK(r.n == 2 && asked() == 2);
	/* A new configuration forgets it. */
	configure("", "");
	r = look("ok.example.");
	CHECK(r.n == 2 && asked() == 2);

	r = look("v4.example");
	CHECK(r.n == 1 && has(&r, 0, "192.0.2.1"));
	r = look("v6.example");
	CHECK(r.n == 1 && has(&r, 0, "2001:db8::1"));
	r = look("many.example"); /* the families in turn, up to the limit */
	CHECK(r.n == 16 && has(&r, 0, "192.0.2.1") && has(&r, 1, "2001:db8::1") && has(&r, 14, "192.0.2.8") &&
	      has(&r, 15, "2001:db8::8"));

	configure("", "");
	r = look("nx.example");
	CHECK(r.err == -ENOENT && strcmp(r.why, "no such host name") == 0 && server[1].asked == 0);
	r = look("none.example");
	CHECK(r.err == -ENODATA && asked() == 4);
	r = look("nx.example");
	CHECK(r.err == -ENOENT && asked() == 4); /* remembered too */
	r = look("nx6.example"); /* "no such name" for one family only */
	CHECK(r.err == 0 && r.n == 1);

	configure("", "");
	r = look("ttl0.example");
	r = look("ttl0.example");
	CHECK(r.n == 2 && asked() == 4); /* not kept */

	/* The slow family isn't waited for, and not forgotten for long. */
	r = look("slow6.example");
	CHECK(r.err == 0 && r.n == 1 && has(&r, 0, "192.0.2.1") && r.took >= 250 && r.took < 900);
	r = look("slow4.example");
	CHECK(r.err == 0 && r.n == 1 && has(&r, 0, "2001:db8::1") && r.took >= 250 && r.took < 900);

	/* Lies don't count, the answer after them does; a flood of lies makes
	 * it turn to the next server. */
	configure("", "");
	r = look("lies.example");
	CHECK(r.n == 2 && has(&r, 0, "192.0.2.1") && server[1].asked == 0);
	r = look("forged.example");
	CHECK(r.n == 2 && has(&r, 0, "192.0.2.1") && has(&r, 1, "2001:db8::1") && server[1].asked == 0);
	r = look("big.example"); /* longer than is received: the rest is not needed */
	CHECK(r.n == 2 && has(&r, 0, "192.0.2.1"));
	r = look("flood.example");
	CHECK(r.err == -EIO && server[1].asked == 2);
}

static void test_failing_servers(void)
{
	struct result r, hang[3];

	configure("", "");
	server[0].broken = true;
	r = look("ok.example");
	CHECK(r.n == 2 && server[0].asked == 2 && server[1].asked == 2);
	r = look("servfail.example");
	CHECK(r.err == -EIO && strstr(r.why, "failed"));
	r = look("servfail.example");
	CHECK(server[1].asked == 6); /* not remembered */

	/* Nobody listens: the next server is asked without waiting. */
	server_close(&server[0]);
	configure("", "");
	r = look("ok2.example");
	CHECK(r.n == 2 && r.took < 500 && server[1].asked == 2);
	server_open(&net, &server[0]);

	/* Silence: the next server after the time-out. Several at once, so
	 * that the test waits only once. */
	configure("", "");
	r = look("ttl1.example");
	CHECK(r.n == 2 && asked() == 2);
	server[0].asked = 0;
	server[0].silent = true;
	ask(&hang[0], "ok3.example");
	ask(&hang[1], "hang.example");
	ask(&hang[2], "hang.example"); /* waits for the one before */
	for (int i = 0; i < 3; i++)
		wait_for(&hang[i]);
	CHECK(hang[0].n == 2 && hang[0].took >= 1000 && hang[0].took < 1900);
	CHECK(hang[1].err == -ETIMEDOUT && hang[1].took >= 2000 && hang[1].took < 2900);
	CHECK(hang[2].err == -ETIMEDOUT && hang[2].took < 2900 && asked() == 8);
	CHECK(strcmp(hang[1].why, "the name servers do not answer") == 0);
	/* In the meantime an answer of one second's life has died. */
	server[0].silent = false;
	r = look("ttl1.example");
	CHECK(r.n == 2 && asked() == 10);

	/* Each attempt goes through all servers with new ports and ids. */
	configure("options attempts:2\n", "");
	server[0].broken = server[1].broken = true;
	r = look("ok4.example");
	CHECK(r.err == -EIO && server[0].asked == 4 && server[1].asked == 4);
}

static void test_tcp(void)
{
	static const char *const fails[] = { "tctc.example", "tclie.example", "tcgarbage.example", "tczero.example" };
	struct result r, hang;

	configure("", "");
	r = look("tc.example");
	CHECK(r.err == 0 && r.n == 16 && server[0].tcp_asked == 2 && server[0].asked == 2);
	r = look("tcslow.example");
	CHECK(r.err == 0 && r.n == 2);
	r = look("tcbig.example"); /* 65535 bytes */
	CHECK(r.err == 0 && r.n == 2);
	for (size_t i = 0; i < ARRAY_LEN(fails); i++) {
		configure("", "");
		r = look(fails[i]);
		CHECK(r.err == -EIO && r.took < 900 && server[1].tcp_asked == 2);
	}
	/* TCP that never answers, and a listener that is gone. */
	configure("", "");
	close_conn(&server[0]);
	close_conn(&server[1]);
	ask(&hang, "tchang.example");
	wait_for(&hang);
	CHECK(hang.err == -ETIMEDOUT && hang.took >= 2000 && hang.took < 2900);
	configure("", "");
	ev_del(&server[0].tcp);
	close(server[0].tcp.fd);
	r = look("tc.example");
	CHECK(r.n == 16 && r.took < 900 && server[0].tcp_asked == 0 && server[1].asked == 2);
	server[0].tcp.fd = tcp_listen(&server[0].at, 8);
	CHECK(ev_add(&net, &server[0].tcp, server[0].tcp.fd, EPOLLIN, on_server_tcp) == 0);
}

static void test_search(void)
{
	struct result r;

	configure("search corp.example\n", "");
	r = look("ok");
	CHECK(r.n == 2 && asked() == 2 && strcmp(server[0].last, "ok.corp.example") == 0);
	r = look("ok.");
	CHECK(r.n == 2 && asked() == 4 && strcmp(server[0].last, "ok") == 0);
	r = look("ok.x");
	CHECK(r.n == 2 && asked() == 6 && strcmp(server[0].last, "ok.x") == 0);
	r = look("nx"); /* not there: as it stands */
	CHECK(r.err == -ENOENT && asked() == 10 && strcmp(server[0].last, "nx") == 0);
	configure("search bad..domain\n", "");
	r = look("ok");
	CHECK(r.n == 2 && strcmp(server[0].last, "ok") == 0);
}

/* ---- many, cancelled, freed ---- */

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static struct result *chain;

static void on_chain(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	struct result *r = arg;

	on_result(arg, err, addrs, n, why);
	if (r == &chain[0]) { /* cancels one, asks for another, all from inside */
		dns_cancel(chain[1].query);
		ask(&chain[2], "127.0.0.1");
	}
}

static void on_free(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	on_result(arg, err, addrs, n, why);
	dns_free(dns);
	dns = NULL;
}

static void test_many(void)
{
	static struct result r[100];
	char name[40];
	int fds = count_fds();

	/* Forty askers of one name are one look-up. */
	configure("", "");
	for (int i = 0; i < 40; i++)
		ask(&r[i], "ok.example");
	for (int i = 0; i < 40; i++) {
		wait_for(&r[i]);
		CHECK(r[i].n == 2);
	}
	CHECK(asked() == 2);

	/* A hundred names: never more than 16 at once (32 sockets), all
	 * answered, a third cancelled. */
	configure("", "");
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%s.n%d.example", i % 7 == 0 ? "nx" : "ok", i);
		ask(&r[i], name);
	}
	CHECK(count_fds() <= fds + 32);
	for (int i = 0; i < 100; i += 3)
		dns_cancel(r[i].query);
	for (int i = 0; i < 100; i++) {
		if (i % 3 == 0)
			continue;
		wait_for(&r[i]);
		CHECK(r[i].err == (i % 7 == 0 ? -ENOENT : 0));
	}
	for (int i = 0; i < 100; i += 3)
		CHECK(!r[i].done);
	/* The cache keeps the last 32: n99 is in, n1 has gone. */
	configure("", "");
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "ok.m%d.example", i);
		(void)look(name);
	}
	CHECK(asked() == 80);
	(void)look("ok.m39.example");
	CHECK(asked() == 80);

	/* Cancelled at every stage. */
	for (int turns = 0; turns < 8; turns++) {
		ask(&r[0], "tcslow.example");
		ask(&r[1], "tcslow.example");
		for (int i = 0; i < turns; i++)
			CHECK(net_turn(&net, 5) == 0);
		if (!r[0].done)
			dns_cancel(r[0].query);
		wait_for(&r[1]);
		configure("", "");
	}

	chain = r;
	memset(r, 0, 3 * sizeof(r[0]));
	r[0].query = dns_lookup(dns, "::1", on_chain, &r[0]);
	r[1].query = dns_lookup(dns, "::2", on_chain, &r[1]);
	CHECK(net_turn(&net, 0) == 0 && r[0].done && !r[1].done && r[2].done);

	/* Freed with look-ups of all kinds under way, from inside one. */
	memset(r, 0, 4 * sizeof(r[0]));
	r[0].query = dns_lookup(dns, "hang.example", on_free, &r[0]);
	r[1].query = dns_lookup(dns, "hang.example", on_free, &r[1]);
	r[2].query = dns_lookup(dns, "::1", on_free, &r[2]);
	r[3].query = dns_lookup(dns, "::1", on_free, &r[3]);
	CHECK(net_turn(&net, 0) == 0 && r[2].done && !r[0].done && !r[1].done && !r[3].done);
}

int main(void)
{
	int fds = count_fds();

	CHECK(net_init(&net) == 0);
	dns = dns_new(&net);
	CHECK(dns != NULL);
	for (int i = 0; i < 2; i++)
		server_open(&net, &server[i]);
	test_here();
	test_answers();
	test_failing_servers();
	test_tcp();
	test_search();
	test_many();
	for (int i = 0; i < 2; i++)
		server_close(&server[i]);
	CHECK(net_timeout(&net) == -1); /* no timer is left behind */
	net_release(&net);
	CHECK(count_fds() == fds);
	return test_done();
}
