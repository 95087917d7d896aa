/* SPDX-License-Identifier: MIT */
/* http.h - a small asynchronous HTTP/1.1 client (RFC 9110, 9112): GET, one
 * request per connection, Content-Length, chunked and until-close bodies, gzip
 * refused (never asked for), redirects within http only, everything bounded.
 * https comes with TLS in a later layer; until then it is a clear error.
 *
 *   url.c         URLs as text (pure)
 *   http_parse.c  status line, headers, body framing (pure, resumable)
 *   http.c        DNS, connect to each address in turn, time-outs, redirects */
#ifndef BT_HTTP_H
#define BT_HTTP_H

#include "net.h"
#include "net/dns.h"

/* ---- url.c ---- */
struct url {
	struct slice scheme;  /* borrowed from the text given */
	struct slice userinfo; /* never logged */
	struct slice host;    /* without brackets */
	uint16_t port;        /* default of the scheme filled in */
	struct slice path;    /* from '/', query included, fragment cut; "/" when absent */
};
bool url_parse(struct slice text, struct url *); /* false: control bytes, no host, bad port.. */
void url_escape(struct buf *, struct slice raw);  /* %XX but for unreserved bytes */
/* Relative reference resolved against base (RFC 3986 5.2), appended to out. */
bool url_resolve(struct buf *out, const struct url *base, struct slice ref);
/* For logs and errors: without userinfo, query cut to its key names, escaped. */
void url_redact(char *out, size_t size, struct slice text);

/* ---- http_parse.c: bytes in, decoded body out ---- */
#define HTTP_HEAD_MAX (16u << 10)
struct http_parser {
	int status;
	uint64_t body_left; /* of the length or the current chunk */
	uint8_t state;      /* private */
	bool done, chunked, until_close;
	char location[2048]; /* "" = none */
	uint32_t retry_after; /* seconds, 0 = none */
	size_t head_len;    /* private: header bytes so far */
	size_t line_len;
	char line[4096];
};
void http_parser_init(struct http_parser *);
/* Consumes all of in; appends body bytes to body (whose max bounds it). 0, or -1
 * with *why. p->done once the answer is whole. */
int http_parse(struct http_parser *, struct slice in, struct buf *body, const char **why) BT_MUST_USE;
/* The peer closed: 0 if that may end the answer, -1 otherwise. */
int http_parse_eof(struct http_parser *, const char **why) BT_MUST_USE;

/* ---- http.c ---- */
struct http_request;
struct http_opts {
	size_t body_max;      /* bytes of decoded body */
	uint32_t timeout_ms;  /* for all of it, look-up and redirects included */
	uint32_t max_redirects; /* at most 5 */
	const char *user_agent;
	const struct addr *bind; /* local address or NULL */
};
/* err 0 = whole answer (any status); else -errno and `why`, one line that names the cause. */
typedef void http_fn(void *arg, int err, int status, struct slice body, const char *why);
/* fn runs later, once. NULL = URL unusable or no memory, reason in *why (static text). */
struct http_request *http_get(struct net *, struct dns *, const char *url, const struct http_opts *, http_fn *, void *arg,
			      const char **why) BT_MUST_USE;
void http_cancel(struct http_request *); /* fn will not run */

#endif
