/* SPDX-License-Identifier: MIT */
/* http.c - GET over HTTP/1.1 without waiting: look-up, connections to each
 * address in turn, redirects, one time limit for all of it. One request per
 * connection; no keep-alive, no cookies, no proxies, no TLS. What the bytes
 * mean is http_parse.c's business. Start at http_get().
 *
 * A request is always in one of three states: looking up (query set), at an
 * address (fd >= 0), or finished and waiting in `done` for the end of the turn,
 * where fn is called. Only finish() leads to the last. */
#include "net/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	ADDRS_MAX = 4,      /* of a name's addresses; more would leave each too little time */
	REDIRECTS_MAX = 5,
	READ_MAX = 16 << 10, /* bytes taken per turn, so that a fast server can't hold the loop */
	REQUEST_MAX = 16 << 10,
};

/* How far an address is; a redirect may only go outward (see reach()). */
enum reach { REACH_MACHINE, REACH_PRIVATE, REACH_WORLD };

struct http_request {
	struct net *net;
	struct dns *dns;
	struct http_opts opts;
	struct addr bind;
	char *user_agent;
	http_fn *fn;
	void *arg;

	struct buf url; /* the current one, NUL-terminated */
	struct url u;   /* its parts */
	struct buf auth, auth_host; /* header line, and the only host it goes to */
	uint32_t redirects;
	enum reach floor; /* nothing nearer is connected to */

	struct dns_query *query;
	struct addr addrs[ADDRS_MAX];
	size_t naddrs, next;
	struct timer limit, turn; /* all of it; this address's share of it */

	struct ev ev;
	int fd;
	bool connected, sent;
	struct buf out;
	size_t out_at;
	struct http_parser p;
	struct buf body;

	struct later done;
	bool finished, calling;
	int err;
	char why[192];
};

static void try_next(struct http_request *r);
static void look_up(struct http_request *r);

/* What must not be reached through somebody else's redirect: services of this
 * machine and its link (169.254.169.254 tells secrets in clouds), then the
 * private network around it. */
static enum reach reach(const struct addr *a)
{
	static const uint8_t none[16];
	const uint8_t *ip = a->ip;

	if (addr_is_loopback(a))
		return REACH_MACHINE;
	if (a->v6) {
		if (memcmp(ip, none, 16) == 0 || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80))
			return REACH_MACHINE;
		return (ip[0] & 0xfe) == 0xfc ? REACH_PRIVATE : REACH_WORLD;
	}
	if (ip[0] == 0 || (ip[0] == 169 && ip[1] == 254))
		return REACH_MACHINE;
	if (ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
	    (ip[0] == 100 && (ip[1] & 0xc0) == 64))
		return REACH_PRIVATE;
	return REACH_WORLD;
}

static void disconnect(struct http_request *r)
{
	ev_del(&r->ev);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->connected = false;
	timer_clear(r->net, &r->turn);
}

static void stop_all(struct http_request *r)
{
	disconnect(r);
	if (r->query)
		dns_cancel(r->query);
	r->query = NULL;
	timer_clear(r->net, &r->limit);
}

BT_PRINTF(3, 4)
static void finish(struct http_request *r, int err, const char *fmt, ...)
{
	va_list ap;

	if (r->finished)
		return;
	r->finished = true;
	r->err = err;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	stop_all(r);
	later_add(r->net, &r->done);
}

/* This address failed. Another may do better, as long as none has said a word. */
BT_PRINTF(3, 4)
static void give_up_address(struct http_request *r, int err, const char *fmt, ...)
{
	char why[sizeof(r->why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (r->p.head_len || r->next == r->naddrs) {
		finish(r, err, "%s", why);
		return;
	}
	disconnect(r);
	try_next(r);
}

static void on_limit(struct timer *t)
{
	struct http_request *r = container_of(t, struct http_request, limit);
	unsigned tenths = (unsigned)((r->opts.timeout_ms + 99) / 100);
	const char *what = r->query ? "the look-up of the name took more than" :
			   !r->connected ? "no connection within" :
			   r->p.head_len ? "the answer was not whole within" :
					   "no answer within";

	finish(r, -ETIMEDOUT, "%s %u.%u s", what, tenths / 10, tenths % 10);
}

static void on_turn(struct timer *t)
{
	struct http_request *r = container_of(t, struct http_request, turn);

	give_up_address(r, -ETIMEDOUT, "no answer");
}

/* ---- the request as text ---- */

static void put_base64(struct buf *b, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (; n; p += min_size(n, 3), n -= min_size(n, 3)) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)(n > 1 ? p[1] : 0) << 8 | (n > 2 ? p[2] : 0);

		buf_u8(b, (uint8_t)digits[v >> 18]);
		buf_u8(b, (uint8_t)digits[v >> 12 & 63]);
		buf_u8(b, n > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
		buf_u8(b, n > 2 ? (uint8_t)digits[v & 63] : '=');
	}
}

/* A name alone has an empty password, and the colon still (RFC 7617). */
static void put_auth(struct http_request *r)
{
	uint8_t *raw = alloc_array(r->u.userinfo.n + 1, 1);
	size_t n;

	if (!raw) {
		r->auth.failed = true;
		return;
	}
	n = url_unescape(raw, r->u.userinfo.n, r->u.userinfo);
	if (!memchr(raw, ':', n))
		raw[n++] = ':';
	buf_puts(&r->auth, "Authorization: Basic ");
	put_base64(&r->auth, raw, n);
	buf_puts(&r->auth, "\r\n");
	url_put_authority(&r->auth_host, &r->u);
	free(raw);
}

static void put_request(struct http_request *r)
{
	struct buf *b = &r->out, host;

	buf_init(&host, DNS_NAME_MAX + 16);
	url_put_authority(&host, &r->u);
	buf_clear(b);
	r->out_at = 0;
	buf_puts(b, "GET ");
	url_put_path(b, r->u.path);
	buf_puts(b, " HTTP/1.1\r\nHost: ");
	buf_put(b, host.p, host.n);
	buf_printf(b, "\r\nUser-Agent: %s\r\nAccept: */*\r\nAccept-Encoding: identity\r\n", r->user_agent);
	if (r->auth.n && slice_eq(slice_of(host.p, host.n), slice_of(r->auth_host.p, r->auth_host.n)))
		buf_put(b, r->auth.p, r->auth.n);
	buf_puts(b, "Connection: close\r\n\r\n");
	if (host.failed)
		b->failed = true;
	buf_release(&host);
}

/* ---- the answer ---- */

static bool is_redirect(const struct http_parser *p)
{
	return p->head_done && p->location[0] &&
	       (p->status == 301 || p->status == 302 || p->status == 303 || p->status == 307 || p->status == 308);
}

static void redirect(struct http_request *r)
{
	struct buf to;
	struct url u;

	if (++r->redirects > r->opts.max_redirects) {
		finish(r, -ELOOP, "more than %u redirects", (unsigned)r->opts.max_redirects);
		return;
	}
	buf_init(&to, r->url.max);
	if (!url_resolve(&to, &r->u, slice_str(r->p.location)) || !url_parse(slice_of(to.p, to.n), &u)) {
		finish(r, -EPROTO, "redirected to an unusable address");
	} else if (url_scheme_is(&u, "https")) {
		finish(r, -EPROTONOSUPPORT, "redirected to https, which needs TLS; this version does not have it");
	} else if (!url_scheme_is(&u, "http")) {
		finish(r, -EPROTONOSUPPORT, "redirected to something other than http");
	} else {
		disconnect(r);
		buf_u8(&to, 0);
		buf_release(&r->url);
		r->url = to;
		if (to.failed || !url_parse(slice_of(to.p, to.n - 1), &r->u)) {
			finish(r, -ENOMEM, "out of memory");
			return;
		}
		look_up(r);
		return;
	}
	buf_release(&to);
}

static void on_bytes(struct http_request *r, struct slice in)
{
	const char *why;
	int err = http_parse(&r->p, in, &r->body, &why);

	timer_clear(r->net, &r->turn);
	if (is_redirect(&r->p)) /* its body is of no interest, however bad */
		redirect(r);
	else if (err < 0 && r->p.head_done && r->p.status / 100 != 2)
		finish(r, -EPROTO, "HTTP status %d", r->p.status);
	else if (err < 0 && r->p.too_long)
		finish(r, -EMSGSIZE, "answer longer than %zu bytes", r->opts.body_max);
	else if (err < 0)
		finish(r, -EPROTO, "%s", why);
	else if (r->p.done)
		finish(r, 0, "%s", "");
}

static void on_close(struct http_request *r)
{
	const char *why;

	if (http_parse_eof(&r->p, &why) < 0)
		give_up_address(r, -ECONNRESET, "%s", why);
	else
		finish(r, 0, "%s", "");
}

static void send_request(struct http_request *r)
{
	ssize_t n = send(r->fd, r->out.p + r->out_at, r->out.n - r->out_at, MSG_NOSIGNAL);

	if (n > 0)
		r->out_at += (size_t)n;
	else if (errno == EAGAIN || errno == EINTR)
		return;
	if (r->out_at == r->out.n)
		r->sent = true;
	/* when sending failed, an early answer may be there to read, or the reason */
	if (n < 0 || r->sent)
		ev_mod(&r->ev, EPOLLIN);
}

static void on_socket(struct ev *ev, uint32_t events)
{
	struct http_request *r = container_of(ev, struct http_request, ev);
	uint8_t in[READ_MAX];
	char where[ADDR_TEXT];
	ssize_t n;

	if (!r->connected) {
		int err = events & EPOLLOUT ? tcp_connect_result(r->fd) : 0;

		if (err < 0)
			give_up_address(r, err, "can't connect to %s: %s", addr_format(&r->addrs[r->next - 1], where),
					strerror(-err));
		if (err < 0 || !(events & EPOLLOUT))
			return;
		r->connected = true;
		if (r->redirects == 0 && reach(&r->addrs[r->next - 1]) > r->floor)
			r->floor = reach(&r->addrs[r->next - 1]);
	}
	if ((events & EPOLLOUT) && r->out_at < r->out.n)
		send_request(r);
	if (!(events & EPOLLIN))
		return;
	n = read(r->fd, in, sizeof(in));
	if (n > 0)
		on_bytes(r, slice_of(in, (size_t)n));
	else if (n == 0)
		on_close(r);
	else if (errno != EAGAIN && errno != EINTR)
		give_up_address(r, -errno, "connection lost: %s", strerror(errno));
}

/* ---- from a URL to a connection ---- */

static int connect_to(struct http_request *r, const struct addr *a)
{
	int err;

	r->fd = tcp_connect(a, r->opts.bind);
	if (r->fd < 0) {
		err = r->fd;
		r->fd = -1;
		return err;
	}
	err = ev_add(r->net, &r->ev, r->fd, EPOLLIN | EPOLLOUT, on_socket);
	if (err < 0) {
		close(r->fd);
		r->fd = -1;
		return err;
	}
	/* the rest of the time in equal shares; the last address needs no timer */
	if (r->next < r->naddrs && r->limit.at_ms > r->net->now_ms)
		timer_set(r->net, &r->turn, (r->limit.at_ms - r->net->now_ms) / (r->naddrs - r->next + 1));
	return 0;
}

static void try_next(struct http_request *r)
{
	const struct addr *a;
	char where[ADDR_TEXT];
	int err = 0;

	http_parser_init(&r->p);
	buf_clear(&r->body);
	put_request(r);
	if (r->out.failed) {
		finish(r, -ENOMEM, "out of memory");
		return;
	}
	while (r->next < r->naddrs) {
		a = &r->addrs[r->next++];
		err = connect_to(r, a);
		if (err == 0)
			return;
	}
	a = &r->addrs[r->naddrs - 1];
	finish(r, err, "can't connect to %s: %s", addr_format(a, where), strerror(-err));
}

/* Takes of a name's addresses those that may be connected to. */
static void take_addrs(struct http_request *r, const struct addr *addrs, size_t n)
{
	size_t too_near = 0;

	r->naddrs = r->next = 0;
	for (size_t i = 0; i < n && r->naddrs < ADDRS_MAX; i++) {
		if (r->opts.bind && r->opts.bind->v6 != addrs[i].v6)
			continue;
		if (reach(&addrs[i]) < r->floor) {
			too_near++;
			continue;
		}
		r->addrs[r->naddrs] = addrs[i];
		r->addrs[r->naddrs++].port = r->u.port;
	}
	if (r->naddrs)
		try_next(r);
	else if (too_near && r->redirects)
		finish(r, -EACCES, "redirected to an address inside, which is not followed");
	else if (too_near)
		finish(r, -EACCES, "an address of this machine, which this URL may not ask");
	else
		finish(r, -EAFNOSUPPORT, "no address of the family that connections are bound to");
}

static void on_dns(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	struct http_request *r = arg;

	r->query = NULL;
	if (err)
		finish(r, err, "can't look up %.*s: %s", (int)min_size(r->u.host.n, 100), (const char *)r->u.host.p, why);
	else
		take_addrs(r, addrs, n);
}

static void look_up(struct http_request *r)
{
	char name[DNS_NAME_MAX + 2];
	struct addr a;

	if (addr_parse_ip(&a, r->u.host)) {
		take_addrs(r, &a, 1);
		return;
	}
	memcpy(name, r->u.host.p, r->u.host.n);
	name[r->u.host.n] = 0;
	r->query = dns_lookup(r->dns, name, on_dns, r);
	if (!r->query)
		finish(r, -ENOMEM, "out of memory");
}

/* ---- life and death ---- */

static void free_request(struct http_request *r)
{
	buf_release(&r->url);
	buf_release(&r->auth);
	buf_release(&r->auth_host);
	buf_release(&r->out);
	buf_release(&r->body);
	free(r->user_agent);
	free(r);
}

static void on_done(struct later *l)
{
	struct http_request *r = container_of(l, struct http_request, done);

	r->calling = true;
	r->fn(r->arg, r->err, r->p.status, slice_of(r->body.p, r->err ? 0 : r->body.n), r->why);
	free_request(r);
}

static struct http_request *refuse(const char **why, const char *text)
{
	*why = text;
	return NULL;
}

struct http_request *http_get(struct net *net, struct dns *dns, const char *url, const struct http_opts *opts, http_fn *fn,
			      void *arg, const char **why)
{
	struct http_request *r;
	struct url u;

	if (!url_parse(slice_str(url), &u))
		return refuse(why, "not a usable URL");
	if (url_scheme_is(&u, "https"))
		return refuse(why, "https trackers need TLS, which this version does not have");
	if (!url_scheme_is(&u, "http"))
		return refuse(why, "not an http URL");
	r = alloc_array(1, sizeof(*r));
	if (!r)
		return refuse(why, "out of memory");
	r->net = net;
	r->dns = dns;
	r->opts = *opts;
	r->opts.max_redirects = (uint32_t)min_size(opts->max_redirects, REDIRECTS_MAX);
	if (opts->bind) {
		r->bind = *opts->bind;
		r->bind.port = 0;
		r->opts.bind = &r->bind;
	}
	r->floor = opts->not_loopback ? REACH_PRIVATE : REACH_MACHINE;
	r->fn = fn;
	r->arg = arg;
	r->fd = -1;
	timer_init(&r->limit, on_limit);
	timer_init(&r->turn, on_turn);
	later_init(&r->done, on_done);
	buf_init(&r->url, REQUEST_MAX);
	buf_init(&r->auth, REQUEST_MAX);
	buf_init(&r->auth_host, DNS_NAME_MAX + 16);
	buf_init(&r->out, 4 * REQUEST_MAX);
	buf_init(&r->body, opts->body_max);
	http_parser_init(&r->p);
	r->user_agent = strdup(opts->user_agent ? opts->user_agent : "bt");
	buf_put(&r->url, url, strlen(url) + 1);
	if (!r->user_agent || r->url.failed || !url_parse(slice_of(r->url.p, r->url.n - 1), &r->u))
		goto fail;
	if (r->u.userinfo.n)
		put_auth(r);
	if (r->auth.failed || r->auth_host.failed)
		goto fail;
	timer_set(net, &r->limit, opts->timeout_ms);
	look_up(r);
	return r;
fail:
	free_request(r);
	return refuse(why, "out of memory");
}

void http_cancel(struct http_request *r)
{
	if (!r || r->calling)
		return;
	stop_all(r);
	later_cancel(&r->done);
	free_request(r);
}

bool http_was_sent(const struct http_request *r)
{
	return r->sent;
}

uint32_t http_retry_after(const struct http_request *r)
{
	return r->p.retry_after;
}
