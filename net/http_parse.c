/* SPDX-License-Identifier: MIT */
/* http_parse.c - an HTTP/1.x answer (RFC 9112) as a machine that takes bytes in
 * pieces of any size: status line, headers, and the three ways a body can end.
 * Where framing is ambiguous (length and chunks, two lengths) it refuses rather
 * than guesses. Headers that don't matter here are checked and dropped. No
 * sockets, no allocation but the caller's body. Start at http_parse(). */
#include "net/http.h"

enum state { STATUS, HEADER, BODY, UNTIL_CLOSE, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, DONE };

enum {
	INTERIM_MAX = 8,      /* 1xx answers before the real one: servers send one, if any */
	CHUNK_LINE_MAX = 256, /* size and extension of a chunk: nobody uses extensions */
	RETRY_AFTER_MAX = 24 * 3600,
};

void http_parser_init(struct http_parser *p)
{
	memset(p, 0, offsetof(struct http_parser, line));
}

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
	while (s.n && is_blank((char)s.p[0]))
		s = slice_of(s.p + 1, s.n - 1);
	while (s.n && is_blank((char)s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool eq_nocase(struct slice s, const char *lower)
{
	if (s.n != strlen(lower))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if (c != (uint8_t)lower[i])
			return false;
	}
	return true;
}

/* A header name's bytes (RFC 9110 5.6.2); a blank before the colon is not among
 * them, which is what request smuggling uses. */
static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return s.n > 0;
}

/* "HTTP/1.1 200 OK"; the reason may be absent. */
static int status_line(struct http_parser *p, struct slice s, const char **why)
{
	uint64_t status;

	if (s.n < 12 || memcmp(s.p, "HTTP/1.", 7) != 0 || s.p[7] < '0' || s.p[7] > '9' || s.p[8] != ' ' ||
	    !parse_u64(slice_of(s.p + 9, 3), 599, &status) || status < 100 || (s.n > 12 && s.p[12] != ' '))
		return refuse(why, "not an HTTP answer");
	p->status = (int)status;
	p->state = HEADER;
	return 0;
}

/* "5" and, as proxies make of repeated headers, "5, 5". */
static int content_length(struct http_parser *p, struct slice v, const char **why)
{
	while (true) {
		size_t comma = 0;
		uint64_t n;

		while (comma < v.n && v.p[comma] != ',')
			comma++;
		if (!parse_u64(trim(slice_of(v.p, comma)), INT64_MAX, &n))
			return refuse(why, "bad Content-Length");
		if (p->has_length && n != p->length)
			return refuse(why, "two different Content-Lengths");
		p->has_length = true;
		p->length = n;
		if (comma == v.n)
			return 0;
		v = slice_of(v.p + comma + 1, v.n - comma - 1);
	}
}

static int header(struct http_parser *p, struct slice s, bool cut, const char **why)
{
	size_t colon = 0;
	struct slice name, v;
	uint64_t n;

	if (is_blank((char)s.p[0]))
		return refuse(why, "folded header line");
	while (colon < s.n && s.p[colon] != ':')
		colon++;
	name = slice_of(s.p, colon);
	if (colon == s.n || !is_token(name))
		return refuse(why, "bad header line");
	v = trim(slice_of(s.p + colon + 1, s.n - colon - 1));
	if (eq_nocase(name, "content-length")) {
		return cut ? refuse(why, "bad Content-Length") : content_length(p, v, why);
	} else if (eq_nocase(name, "transfer-encoding")) {
		/* twice chunked would be two layers: nobody means that */
		if (cut || p->chunked || !eq_nocase(v, "chunked"))
			return refuse(why, "unknown transfer encoding");
		p->chunked = true;
	} else if (eq_nocase(name, "content-encoding")) {
		if (cut || (v.n && !eq_nocase(v, "identity")))
			p->encoded = true;
	} else if (eq_nocase(name, "location")) {
		if (cut || v.n >= sizeof(p->location))
			return refuse(why, "redirect to an address that is too long");
		memcpy(p->location, v.p, v.n);
		p->location[v.n] = 0;
	} else if (eq_nocase(name, "retry-after")) {
		/* the other form, a date, is no use without the server's clock */
		if (!cut && parse_u64(v, UINT64_MAX, &n))
			p->retry_after = (uint32_t)min_u64(n, RETRY_AFTER_MAX);
	}
	return 0;
}

/* The empty line after the headers: how does the body end (RFC 9112 6.3)? */
static int head_end(struct http_parser *p, const char **why)
{
	if (p->chunked && p->has_length)
		return refuse(why, "both Content-Length and chunked");
	if (p->status < 200) {
		size_t head_len = p->head_len;
		uint8_t interim = p->interim;

		if (p->status == 101 || p->chunked || p->has_length || interim == INTERIM_MAX)
			return refuse(why, "unexpected 1xx answer");
		http_parser_init(p);
		p->head_len = head_len; /* all of them together stay under HTTP_HEAD_MAX */
		p->interim = (uint8_t)(interim + 1);
		return 0;
	}
	p->head_done = true;
	/* Only what would be used has to be readable: the page of a 404 may be
	 * in any coding. */
	if (p->encoded && p->status / 100 == 2)
		return refuse(why, "compressed answer, which was not asked for");
	if (p->status == 204 || p->status == 304 || (p->has_length && p->length == 0)) {
		p->state = DONE;
	} else if (p->chunked) {
		p->state = CHUNK_SIZE;
	} else if (p->has_length) {
		p->body_left = p->length;
		p->state = BODY;
	} else {
		p->until_close = true;
		p->state = UNTIL_CLOSE;
	}
	p->done = p->state == DONE;
	return 0;
}

static int chunk_size(struct http_parser *p, struct slice s, const char **why)
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < s.n; i++) {
		uint8_t c = s.p[i], low = c | 0x20;
		unsigned d;

		if (c >= '0' && c <= '9')
			d = c - '0';
		else if (low >= 'a' && low <= 'f')
			d = low - 'a' + 10u;
		else
			break;
		if (n > UINT64_MAX >> 8)
			return refuse(why, "bad chunk size");
		n = n << 4 | d;
	}
	if (i == 0)
		return refuse(why, "bad chunk size");
	while (i < s.n && is_blank((char)s.p[i])) /* some servers pad it */
		i++;
	if (i < s.n && s.p[i] != ';')
		return refuse(why, "bad chunk size");
	p->body_left = n;
	p->state = n ? CHUNK_DATA : TRAILER;
	return 0;
}

static int on_line(struct http_parser *p, const char **why)
{
	size_t n = min_size(p->line_len, sizeof(p->line));
	bool cut = n < p->line_len;
	struct slice s = slice_of(p->line, n);

	p->line_len = 0;
	switch (p->state) {
	case STATUS:
		return status_line(p, s, why);
	case HEADER:
		return n == 0 ? head_end(p, why) : header(p, s, cut, why);
	case CHUNK_SIZE:
		return chunk_size(p, s, why);
	case CHUNK_END:
		if (n)
			return refuse(why, "chunk longer than its size");
		p->state = CHUNK_SIZE;
		return 0;
	default: /* TRAILER: fields that came too late to matter */
		p->done = n == 0;
		if (p->done)
			p->state = DONE;
		return 0;
	}
}

/* One byte of a line. CR counts only right before LF, and LF alone will do. */
static int line_byte(struct http_parser *p, uint8_t c, const char **why)
{
	bool after_cr = p->line_len && p->line_len <= sizeof(p->line) && p->line[p->line_len - 1] == '\r';

	if (p->state == CHUNK_SIZE || p->state == CHUNK_END) {
		if (p->line_len >= CHUNK_LINE_MAX)
			return refuse(why, "chunk extension too long");
	} else if (++p->head_len > HTTP_HEAD_MAX) {
		return refuse(why, "header too long");
	}
	if (c == '\n') {
		p->line_len -= after_cr;
		return on_line(p, why);
	}
	if (after_cr || (c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
		return refuse(why, p->state == STATUS ? "not an HTTP answer" : "control byte in header");
	if (p->line_len < sizeof(p->line))
		p->line[p->line_len] = (char)c;
	else if (c == '\r') /* the end of a line of which only the start is kept */
		return 0;
	p->line_len++;
	return 0;
}

static int put_body(struct http_parser *p, struct slice s, struct buf *body, const char **why)
{
	p->too_long = s.n > body->max - body->n;
	if (p->too_long)
		return refuse(why, "answer too long");
	buf_put(body, s.p, s.n);
	return body->failed ? refuse(why, "out of memory") : 0;
}

int http_parse(struct http_parser *p, struct slice in, struct buf *body, const char **why)
{
	struct cur c = cur_of(in);
	struct slice s;
	uint8_t b;

	while (cur_left(&c) && p->state != DONE) {
		if (p->state == BODY || p->state == CHUNK_DATA || p->state == UNTIL_CLOSE) {
			size_t n = cur_left(&c);

			if (p->state != UNTIL_CLOSE)
				n = (size_t)min_u64(n, p->body_left);
			if (!cur_bytes(&c, n, &s) || put_body(p, s, body, why) < 0)
				return -1;
			if (p->state == UNTIL_CLOSE)
				continue;
			p->body_left -= n;
			if (p->body_left == 0) {
				p->done = p->state == BODY;
				p->state = p->done ? DONE : CHUNK_END;
			}
		} else if (!cur_u8(&c, &b) || line_byte(p, b, why) < 0) {
			return -1;
		}
		/* a length past the ceiling is known before its bytes come */
		if ((p->state == BODY || p->state == CHUNK_DATA) && p->body_left > body->max - body->n) {
			p->too_long = true;
			return refuse(why, "answer too long");
		}
	}
	return 0;
}

int http_parse_eof(struct http_parser *p, const char **why)
{
	if (p->state == UNTIL_CLOSE) {
		p->state = DONE;
		p->done = true;
	}
	if (p->done)
		return 0;
	if (p->state == STATUS && p->head_len == 0)
		return refuse(why, "connection closed without an answer");
	return refuse(why, "connection closed in the middle of the answer");
}
