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
	struct slice path;    /* from '/', query included, fragment cut; "/" when absent.
	                       * Begins with '?' in "http://host?query" */
};
bool url_parse(struct slice text, struct url *); /* false: control bytes, no host, bad port.. */
bool url_scheme_is(const struct url *, const char *lower);
/* "host", "host:port" or "[v6]:port"; the scheme's own port is left out. */
void url_put_authority(struct buf *, const struct url *);
/* As a request target: '/' put first when missing, blanks and non-ASCII as %XX. */
void url_put_path(struct buf *, struct slice path);
void url_escape(struct buf *, struct slice raw);  /* %XX but for unreserved bytes */
/* Undoes %XX, other text as it is; cut at max. Returns the bytes in out. */
size_t url_unescape(uint8_t *out, size_t max, struct slice text);
/* Relative reference resolved against base (RFC 3986 5.2), appended to out. The
 * base's userinfo and the fragment are left out. */
bool url_resolve(struct buf *out, const struct url *base, struct slice ref);
/* For logs and errors: without userinfo, query cut to its key names, path
 * elements that look like a passkey cut, escaped. */
void url_redact(char *out, size_t size, struct slice text);

/* ---- http_parse.c: bytes in, decoded body out ---- */
#define HTTP_HEAD_MAX (16u << 10)
struct http_parser {
	int status;         /* 0 until the status line is in */
	uint64_t body_left; /* of the length or the current chunk */
	bool head_done;     /* status, location and retry_after are final */
	bool done;          /* the answer is whole */
	bool too_long;      /* refused because body is at its max */
	bool chunked, until_close;
	char location[2048]; /* "" = none */
	uint32_t retry_after; /* seconds, at most a day, 0 = none */
	/* private */
	uint8_t state, interim;
	bool has_length, encoded;
	uint64_t length;
	size_t head_len; /* bytes of headers and trailers so far */
	size_t line_len; /* bytes of the current line; more than line holds are dropped */
	char line[4096];
};
void http_parser_init(struct http_parser *);
/* Consumes all of in; appends body bytes to body (whose max bounds it). 0, or -1
 * with *why (static text). p->done once the answer is whole; bytes after that are
 * ignored, as the connection is closed anyway. Not to be called again after -1. */
int http_parse(struct http_parser *, struct slice in, struct buf *body, const char **why) BT_MUST_USE;
/* The peer closed: 0 if that may end the answer, -1 otherwise. */
int http_parse_eof(struct http_parser *, const char **why) BT_MUST_USE;

/* ---- http.c ---- */
struct http_request;
struct http_opts {
	size_t body_max;      /* bytes of decoded body */
	uint32_t timeout_ms;  /* for all of it, look-up and redirects included */
	uint32_t max_redirects; /* at most 5 */
	const char *user_agent; /* copied */
	const struct addr *bind; /* local address or NULL; copied */
	bool not_loopback;    /* refuse addresses of this machine and its link: the URL is a stranger's */
};
/* err 0 = whole answer (any status); else -errno and `why`, one line that names
 * the cause; status is then what was read of it, 0 = nothing. body and why are
 * valid until fn returns, and so is the handle: cancelling it there is harmless. */
typedef void http_fn(void *arg, int err, int status, struct slice body, const char *why);
/* GETs url. Its userinfo becomes Basic authentication (RFC 7617), sent to that
 * host and port only. A name's addresses (at most 4) are tried in turn until one
 * answers, and share the time. A redirect never leads to another scheme, nor
 * from the world into a private network, nor from there to this machine.
 * fn runs later, once, from the end of a turn. NULL = URL unusable or no memory,
 * reason in *why (static text). dns is not used for hosts given as numbers. */
struct http_request *http_get(struct net *, struct dns *, const char *url, const struct http_opts *, http_fn *, void *arg,
			      const char **why) BT_MUST_USE;
void http_cancel(struct http_request *); /* fn will not run */
/* The whole request went out at least once: the server may have acted on it. */
bool http_was_sent(const struct http_request *);
uint32_t http_retry_after(const struct http_request *); /* for fn: seconds the server asked for, 0 = none */

#endif
