/* SPDX-License-Identifier: MIT */
/* dns_ask.c - one question to the name servers (RFC 1035): by UDP, by TCP when
 * the answer didn't fit, to the next server when one fails or keeps silent.
 * What is asked for and why is in dns.c, the bytes in dns_packet.c.
 *
 * Against forged answers: the kernel picks a random port, the socket is
 * connected (so the source must match), the id comes from getrandom, and a
 * socket that has seen WRONG_MAX answers to something else is given up.
 * Start at dns_ask_start(). */
#include "net/dns_ask.h"
#include <errno.h>
#include <unistd.h>

#define UDP_MAX 4096 /* longer than any server sends unasked */
#define UDP_PER_TURN 16
#define WRONG_MAX 64

static void on_udp(struct ev *, uint32_t events);
static void on_tcp(struct ev *, uint32_t events);

void dns_ask_stop(struct dns_ask *a)
{
	if (a->ev.net) {
		ev_del(&a->ev);
		close(a->ev.fd);
	}
	timer_clear(a->net, &a->timer);
	buf_release(&a->tcp);
}

static void ask_done(struct dns_ask *a)
{
	dns_ask_stop(a);
	a->done = true;
	a->fn(a);
}

/* Both kinds of message, the same but for TCP's length in front. */
static bool ask_send(struct dns_ask *a, int fd)
{
	struct buf b;
	bool ok;

	buf_init(&b, 512);
	if (a->is_tcp)
		buf_u16(&b, 0);
	ok = dns_put_query(&b, a->id, a->name, a->type);
	if (ok && a->is_tcp)
		put_u16(b.p, (uint16_t)(b.n - 2));
	/* Some 300 bytes fit an empty send buffer whole; if not, it is another
	 * failed try. */
	ok = ok && send(fd, b.p, b.n, MSG_NOSIGNAL) == (ssize_t)b.n;
	buf_release(&b);
	return ok;
}

static bool ask_open_udp(struct dns_ask *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a->server, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	random_bytes(&a->id, sizeof(a->id));
	a->is_tcp = false;
	a->wrong = 0;
	if (connect(fd, (struct sockaddr *)&ss, len) < 0 || !ask_send(a, fd) ||
	    ev_add(a->net, &a->ev, fd, EPOLLIN, on_udp) < 0) {
		close(fd);
		return false;
	}
	timer_set(a->net, &a->timer, a->conf->timeout_ms);
	return true;
}

/* The next try: through all servers, then again, `attempts` times. */
static void ask_next(struct dns_ask *a)
{
	dns_ask_stop(a);
	while (a->tries < a->conf->nservers * a->conf->attempts) {
		a->server = a->conf->servers[a->tries++ % a->conf->nservers];
		if (ask_open_udp(a))
			return;
		a->answer.err = -EIO;
	}
	ask_done(a);
}

static void ask_fail(struct dns_ask *a, int err)
{
	a->answer = (struct dns_answer){ .err = err };
	ask_next(a);
}

static void on_ask_timeout(struct timer *t)
{
	ask_fail(container_of(t, struct dns_ask, timer), -ETIMEDOUT);
}

/* The same question to the same server, by TCP. */
static void ask_switch_to_tcp(struct dns_ask *a)
{
	int fd;

	dns_ask_stop(a);
	a->is_tcp = true;
	a->sent = false;
	buf_init(&a->tcp, 2 + UINT16_MAX);
	fd = tcp_connect(&a->server, NULL);
	if (fd >= 0 && ev_add(a->net, &a->ev, fd, EPOLLOUT, on_tcp) == 0) {
		timer_set(a->net, &a->timer, a->conf->timeout_ms);
		return;
	}
	if (fd >= 0)
		close(fd);
	ask_fail(a, -EIO);
}

/* false = these bytes don't answer the question. */
static bool ask_take(struct dns_ask *a, struct slice packet)
{
	struct dns_answer got;

	if (dns_parse(packet, a->id, a->name, a->type, &got) < 0)
		return false;
	if (got.truncated && !a->is_tcp)
		ask_switch_to_tcp(a);
	else if (got.truncated || got.err == -EIO)
		ask_fail(a, -EIO); /* another server may know better */
	else {
		a->answer = got;
		ask_done(a);
	}
	return true;
}

static void on_udp(struct ev *e, uint32_t events)
{
	struct dns_ask *a = container_of(e, struct dns_ask, ev);
	uint8_t packet[UDP_MAX];
	ssize_t n;

	(void)events;
	for (int i = 0; i < UDP_PER_TURN; i++) {
		n = recv(e->fd, packet, sizeof(packet), 0);
		if (n < 0) {
			/* An error is the ICMP message "nobody listens there". */
			if (errno != EAGAIN && errno != EINTR)
				ask_fail(a, -EIO);
			return;
		}
		if (ask_take(a, slice_of(packet, (size_t)n)))
			return;
		if (++a->wrong == WRONG_MAX) {
			ask_fail(a, -EIO);
			return;
		}
	}
}

static void on_tcp(struct ev *e, uint32_t events)
{
	struct dns_ask *a = container_of(e, struct dns_ask, ev);
	size_t want = 2;
	ssize_t n;

	(void)events;
	if (!a->sent) {
		if (tcp_connect_result(e->fd) < 0 || !ask_send(a, e->fd)) {
			ask_fail(a, -EIO);
			return;
		}
		a->sent = true;
		ev_mod(e, EPOLLIN);
		return;
	}
	for (;;) {
		if (a->tcp.n >= 2)
			want = 2 + (size_t)get_u16(a->tcp.p);
		if (a->tcp.n == want)
			break;
		if (!buf_reserve(&a->tcp, want - a->tcp.n)) {
			ask_fail(a, -EIO);
			return;
		}
		n = recv(e->fd, a->tcp.p + a->tcp.n, want - a->tcp.n, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			ask_fail(a, -EIO);
			return;
		}
		a->tcp.n += (size_t)n;
	}
	if (!ask_take(a, slice_of(a->tcp.p + 2, want - 2)))
		ask_fail(a, -EIO); /* nobody else can have sent this */
}

void dns_ask_init(struct dns_ask *a, struct net *net, const struct dns_conf *conf, uint16_t type, dns_ask_fn *fn)
{
	*a = (struct dns_ask){ .net = net, .conf = conf, .type = type, .fn = fn };
	timer_init(&a->timer, on_ask_timeout);
	buf_init(&a->tcp, 0);
}

void dns_ask_start(struct dns_ask *a, const char *name)
{
	a->name = name;
	a->tries = 0;
	a->done = false;
	a->answer = (struct dns_answer){ .err = -EIO };
	ask_next(a);
}
