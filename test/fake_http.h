/* SPDX-License-Identifier: MIT */
/* fake_http.h - HTTP servers inside a test, on 127.0.0.1, driven by the same
 * reactor as the client under test. What a server says, and how badly it
 * behaves, is decided per request by the test's callback. */
#ifndef BT_TEST_FAKE_HTTP_H
#define BT_TEST_FAKE_HTTP_H

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How one request is answered; zeroed: an empty answer, then close. */
struct fake_reply {
	struct buf bytes;
	bool hang;        /* keep the connection open afterwards, say nothing more */
	bool endless;     /* after the bytes, 'x' for ever */
	uint32_t drip_ms; /* one byte per this time */
};

struct fake {
	struct net *net;
	struct addr addr;
	char url[64]; /* "http://127.0.0.1:PORT" */
	struct ev ev;
	struct list conns;
	size_t nconns;
	void (*on_request)(struct fake *, const char *request, struct fake_reply *);
	void *arg;
	unsigned requests;
	char last[4096];   /* the last request, whole */
	uint64_t sent;     /* bytes */
};

struct fake_conn {
	struct fake *f;
	struct list on_fake;
	struct ev ev;
	struct timer timer;
	char in[8192];
	size_t in_len;
	bool answering;
	struct fake_reply reply;
	size_t at;
};

static inline void fake_close(struct fake_conn *c)
{
	timer_clear(c->f->net, &c->timer);
	ev_del(&c->ev);
	close(c->ev.fd);
	list_remove(&c->on_fake);
	c->f->nconns--;
	buf_release(&c->reply.bytes);
	free(c);
}

static inline void fake_send(struct fake_conn *c)
{
	size_t left = c->reply.bytes.n - c->at;
	ssize_t n;

	if (left == 0 && c->reply.endless) {
		c->at = 0;
		memset(c->reply.bytes.p, 'x', c->reply.bytes.n);
		left = c->reply.bytes.n;
	}
	if (left == 0 && !c->reply.hang) {
		/* what the client has not read yet must reach it: no reset */
		shutdown(c->ev.fd, SHUT_WR);
		ev_mod(&c->ev, EPOLLIN);
		return;
	}
	if (left == 0) {
		ev_mod(&c->ev, EPOLLIN);
		return;
	}
	n = send(c->ev.fd, c->reply.bytes.p + c->at, c->reply.drip_ms ? 1 : left, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		fake_close(c);
		return;
	}
	if (n > 0) {
		c->at += (size_t)n;
		c->f->sent += (uint64_t)n;
	}
	if (c->reply.drip_ms) {
		ev_mod(&c->ev, EPOLLIN);
		timer_set(c->f->net, &c->timer, c->reply.drip_ms);
	} else {
		ev_mod(&c->ev, EPOLLIN | EPOLLOUT);
	}
}

static inline void fake_on_drip(struct timer *t)
{
	fake_send(container_of(t, struct fake_conn, timer));
}

static inline void fake_on_conn(struct ev *ev, uint32_t events)
{
	struct fake_conn *c = container_of(ev, struct fake_conn, ev);

	if (events & EPOLLIN) {
		ssize_t n = read(ev->fd, c->in + c->in_len, sizeof(c->in) - 1 - c->in_len);

		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			fake_close(c);
			return;
		}
		if (n > 0 && !c->answering) {
			c->in_len += (size_t)n;
			c->in[c->in_len] = 0;
			if (strstr(c->in, "\r\n\r\n")) {
				c->answering = true;
				c->f->requests++;
				snprintf(c->f->last, sizeof(c->f->last), "%.4000s", c->in);
				c->f->on_request(c->f, c->in, &c->reply);
				fake_send(c);
				return;
			}
		}
	}
	if ((events & EPOLLOUT) && c->answering)
		fake_send(c);
}

static inline void fake_on_listen(struct ev *ev, uint32_t events)
{
	struct fake *f = container_of(ev, struct fake, ev);
	struct addr from;
	int fd = tcp_accept(ev->fd, &from);
	struct fake_conn *c;

	(void)events;
	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	c->f = f;
	list_push_back(&f->conns, &c->on_fake);
	f->nconns++;
	timer_init(&c->timer, fake_on_drip);
	buf_init(&c->reply.bytes, 4 << 20);
	if (ev_add(f->net, &c->ev, fd, EPOLLIN, fake_on_conn) < 0)
		abort();
}

static inline void fake_start(struct fake *f, struct net *net,
			      void (*on_request)(struct fake *, const char *, struct fake_reply *))
{
	int fd;

	memset(f, 0, sizeof(*f));
	f->net = net;
	f->on_request = on_request;
	list_init(&f->conns);
	if (!addr_parse(&f->addr, slice_str("127.0.0.1:0")) || (fd = tcp_listen(&f->addr, 16)) < 0 ||
	    !tcp_local_addr(fd, &f->addr) || ev_add(net, &f->ev, fd, EPOLLIN, fake_on_listen) < 0)
		abort();
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", f->addr.port);
}

static inline void fake_stop(struct fake *f)
{
	while (!list_empty(&f->conns))
		fake_close(container_of(f->conns.next, struct fake_conn, on_fake));
	ev_del(&f->ev);
	close(f->ev.fd);
}

/* A good answer with this body. */
static inline void fake_ok(struct fake_reply *r, const void *body, size_t n)
{
	buf_printf(&r->bytes, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
	buf_put(&r->bytes, body, n);
}

/* Turns of the reactor until *flag, for at most ms. */
static inline void fake_run(struct net *net, const bool *flag, uint64_t ms)
{
	uint64_t end;

	net_clock(net);
	for (end = net->now_ms + ms; !*flag && net->now_ms < end; net_clock(net))
		if (net_turn(net, (int)(end - net->now_ms)) < 0)
			abort();
}

#endif
