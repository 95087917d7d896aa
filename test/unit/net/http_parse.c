/* SPDX-License-Identifier: MIT */
/* Tests of http_parse.c. Each answer is parsed at once, byte by byte and cut in
 * two at every offset, from before an unreadable page; all must agree. */
#include "net/http.h"
#include "test/test.h"

#include <stdarg.h>
#include <sys/mman.h>

#define OK "HTTP/1.1 200 OK\r\n"

struct result {
	int err, status;
	bool done, head_done, too_long;
	char body[512];
	size_t body_len;
	const char *why;
	char location[64];
	uint32_t retry_after;
};

static struct slice at_edge(const void *s, size_t n)
{
	static uint8_t *edge;

	if (!edge) {
		uint8_t *p = mmap(NULL, 0x40000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + 0x20000, 0x20000, PROT_NONE))
			exit(1);
		edge = p + 0x20000;
	}
	memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

/* Parses s[0..n) in pieces: first `first` bytes, then `step` at a time, then eof. */
static void feed(struct result *r, const char *s, size_t n, size_t first, size_t step, bool eof)
{
	struct http_parser p;
	struct buf body;
	size_t at = 0, len = first;

	memset(r, 0, sizeof(*r));
	http_parser_init(&p);
	buf_init(&body, 500);
	while (at < n && r->err == 0) {
		len = min_size(len, n - at);
		r->err = http_parse(&p, at_edge(s + at, len), &body, &r->why);
		at += len;
		len = step;
	}
	if (r->err == 0 && eof)
		r->err = http_parse_eof(&p, &r->why);
	CHECK((r->err == 0) == (r->why == NULL));
	r->status = p.status;
	r->done = p.done;
	r->head_done = p.head_done;
	r->too_long = p.too_long;
	r->body_len = body.n;
	if (r->err == 0 && body.n)
		memcpy(r->body, body.p, body.n);
	snprintf(r->location, sizeof(r->location), "%.60s", p.location);
	r->retry_after = p.retry_after;
	buf_release(&body);
}

static bool same(const struct result *a, const struct result *b)
{
	return a->err == b->err && a->why == b->why && (a->err < 0 || a->status == b->status) && a->done == b->done &&
	       a->head_done == b->head_done && a->too_long == b->too_long &&
	       (a->err < 0 || (a->body_len == b->body_len && memcmp(a->body, b->body, a->body_len) == 0)) &&
	       strcmp(a->location, b->location) == 0 && a->retry_after == b->retry_after;
}

static struct result parse_n(const char *s, size_t n, bool eof)
{
	struct result whole, r;

	feed(&whole, s, n, n, n, eof);
	feed(&r, s, n, 1, 1, eof);
	CHECK(same(&whole, &r));
	for (size_t i = 1; i < n && i < 2000; i++) {
		feed(&r, s, n, i, n, eof);
		CHECK(same(&whole, &r));
	}
	return whole;
}

static bool body_is(const char *s, const char *body)
{
	struct result r = parse_n(s, strlen(s), true);

	if (r.err)
		fprintf(stderr, "%s\n", r.why);
	return r.err == 0 && r.done && r.body_len == strlen(body) && memcmp(r.body, body, r.body_len) == 0;
}

static bool refused(const char *s, const char *why)
{
	struct result r = parse_n(s, strlen(s), true);

	if (r.err == 0 || strcmp(r.why, why) != 0)
		fprintf(stderr, "%s\n", r.why ? r.why : "accepted");
	return r.err < 0 && strcmp(r.why, why) == 0;
}

static void bodies(void)
{
	CHECK(body_is(OK "Content-Length: 5\r\n\r\nhello", "hello"));
	CHECK(body_is(OK "Content-Length: 5\r\n\r\nhello and more", "hello"));
	CHECK(body_is(OK "content-length:5\r\nCONTENT-LENGTH: 5 \r\n\r\nhello", "hello"));
	CHECK(body_is(OK "Content-Length: 5, 5\r\n\r\nhello", "hello"));
	CHECK(body_is(OK "Content-Length: 0\r\n\r\n", ""));
	CHECK(body_is(OK "\r\nuntil close", "until close"));
	CHECK(body_is("HTTP/1.0 200 OK\r\nX: y\r\n\r\nold", "old"));
	CHECK(body_is("HTTP/1.1 200\r\n\r\nno reason", "no reason"));
	CHECK(body_is("HTTP/1.1 200 OK\nX: y\n\nbare LF", "bare LF"));
	CHECK(body_is("HTTP/1.1 204 No\r\n\r\nxx", ""));
	CHECK(body_is("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", ""));
	CHECK(body_is(OK "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"));
	CHECK(body_is(OK "Transfer-Encoding: chunked\r\n\r\n00A;x=\"y\"\r\n0123456789\r\n0  ;z\r\n\r\n", "0123456789"));
	CHECK(body_is(OK "Transfer-Encoding: chunked\n\na  \n0123456789\n0\n\n", "0123456789"));
	CHECK(body_is(OK "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: a\r\nContent-Length: 9\r\n\r\n", "x"));
	CHECK(body_is("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x"));
	CHECK(body_is("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK "Content-Length: 1\r\n\r\nx",
		      "x"));
	CHECK(body_is(OK "Content-Encoding: identity\r\n\r\nx", "x"));
	CHECK(body_is(OK "Empty:\r\nTabs:\ta\tb\t\r\nHigh: \xe4\xff\r\n\r\nx", "x"));
}

static void heads(void)
{
	struct result r;

	r = parse_n("HTTP/1.1 302 Found\r\nLocation:  /x?y \r\n\r\n", 38, false);
	CHECK(r.err == 0 && r.status == 302 && r.head_done == false);
	r = parse_n("HTTP/1.1 302 Found\r\nLocation:  /x?y \r\n\r\n", 40, false);
	CHECK(r.err == 0 && r.status == 302 && r.head_done && !r.done && strcmp(r.location, "/x?y") == 0);
	r = parse_n("HTTP/1.1 503 No\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", 56, true);
	CHECK(r.err == 0 && r.status == 503 && r.retry_after == 120);
	r = parse_n("HTTP/1.1 503 No\r\nRetry-After: 9999999999\r\n\r\n", 45, true);
	CHECK(r.err == 0 && r.retry_after == 86400);
	r = parse_n("HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n", 64, true);
	CHECK(r.err == 0 && r.retry_after == 0);
	/* a page that isn't wanted may be compressed */
	r = parse_n("HTTP/1.1 404 No\r\nContent-Encoding: gzip\r\n\r\nx", 44, true);
	CHECK(r.err == 0 && r.status == 404 && r.done);
}

static void refusals(void)
{
	CHECK(refused("", "connection closed without an answer"));
	CHECK(refused("H", "connection closed in the middle of the answer"));
	CHECK(refused("GET / HTTP/1.1\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/2 200\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/1.1 20\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/1.1 2000\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/1.1 099 x\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/1.1 600 x\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("HTTP/1.1 +20 x\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("\r\nHTTP/1.1 200 OK\r\n\r\n", "not an HTTP answer"));
	CHECK(refused("\x16\x03\x01\x02\n", "not an HTTP answer"));
	CHECK(refused(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		      "both Content-Length and chunked"));
	CHECK(refused(OK "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
		      "both Content-Length and chunked"));
	CHECK(refused(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "two different Content-Lengths"));
	CHECK(refused(OK "Content-Length: 5, 6\r\n\r\nhello", "two different Content-Lengths"));
	CHECK(refused(OK "Content-Length: -5\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: +5\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: 5,\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length:\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: 0x5\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: 9223372036854775808\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: 18446744073709551621\r\n\r\n", "bad Content-Length"));
	CHECK(refused(OK "Content-Length: 6\r\n\r\nhello", "connection closed in the middle of the answer"));
	CHECK(refused(OK "Transfer-Encoding: gzip, chunked\r\n\r\n", "unknown transfer encoding"));
	CHECK(refused(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		      "unknown transfer encoding"));
	CHECK(refused(OK "Content-Encoding: gzip\r\n\r\n", "compressed answer, which was not asked for"));
	CHECK(refused(OK "No colon\r\n\r\n", "bad header line"));
	CHECK(refused(OK "Content-Length : 5\r\n\r\nhello", "bad header line"));
	CHECK(refused(OK ": x\r\n\r\n", "bad header line"));
	CHECK(refused(OK " folded\r\n\r\n", "folded header line"));
	CHECK(refused(OK "X: a\rb\r\n\r\n", "control byte in header"));
	CHECK(refused(OK "X: a\r\r\n\r\n", "control byte in header"));
	CHECK(refused(OK "X: a\x01\r\n\r\n", "control byte in header"));
	CHECK(refused(OK "X: a\x7f\r\n\r\n", "control byte in header"));
	CHECK(refused("HTTP/1.1 101 Switching\r\n\r\n", "unexpected 1xx answer"));
	CHECK(refused("HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\nhello", "unexpected 1xx answer"));
	CHECK(parse_n(OK "X: \0\r\n\r\n", sizeof(OK "X: \0\r\n\r\n") - 1, true).err == -1);
}

static void chunk_refusals(void)
{
#define CH OK "Transfer-Encoding: chunked\r\n\r\n"
	static const char *const bad[] = { "-1", "-ffffffff", "", " 5", "x", "0x5", "5 5", "10000000000000000", "ffffffffffffffff",
					   "ffffffffffffffffff", "5,", "+5" };
	char text[1024];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text), CH "%s\r\nhello\r\n0\r\n\r\n", bad[i]);
		CHECK(refused(text, "bad chunk size"));
	}
	CHECK(refused(CH "3\r\nhello\r\n0\r\n\r\n", "chunk longer than its size"));
	CHECK(refused(CH "5\r\nhello", "connection closed in the middle of the answer"));
	CHECK(refused(CH "5\r\nhello\r\n0\r\n", "connection closed in the middle of the answer"));
	CHECK(refused(CH "7fffffff\r\nhello", "answer too long"));
	snprintf(text, sizeof(text), CH "5;%0300d\r\nhello\r\n0\r\n\r\n", 1);
	CHECK(refused(text, "chunk extension too long"));
	snprintf(text, sizeof(text), CH "5\r\nhello%0300d\r\n0\r\n\r\n", 1);
	CHECK(refused(text, "chunk extension too long"));
}

static char *long_answer(const char *before, size_t fill, const char *after)
{
	size_t n = strlen(before), m = strlen(after);
	char *s = malloc(n + fill + m + 1);

	memcpy(s, before, n);
	memset(s + n, 'a', fill);
	memcpy(s + n + fill, after, m + 1);
	return s;
}

static void limits(void)
{
	struct result r;
	char *s;
	size_t n;

	/* a long header that nobody needs does no harm, wherever it is cut off */
	for (size_t fill = 4085; fill < 4105; fill++) {
		s = long_answer(OK "Set-Cookie: ", fill, "\r\n\r\nx");
		feed(&r, s, strlen(s), strlen(s), 1, true);
		CHECK(r.err == 0 && r.body_len == 1);
		feed(&r, s, strlen(s), 1, 1, true);
		CHECK(r.err == 0 && r.body_len == 1);
		free(s);
	}
	s = long_answer(OK "Location: ", 2047, "\r\n\r\n");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err == 0);
	free(s);
	s = long_answer(OK "Location: ", 2048, "\r\n\r\n");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err < 0);
	free(s);
	s = long_answer(OK "Content-Length: 1", 5000, "\r\n\r\n");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err < 0 && strcmp(r.why, "bad Content-Length") == 0);
	free(s);
	/* the head's ceiling, to the byte */
	n = HTTP_HEAD_MAX - strlen(OK "X: \r\n\r\n");
	s = long_answer(OK "X: ", n, "\r\n\r\n");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err == 0 && r.done);
	free(s);
	s = long_answer(OK "X: ", n + 1, "\r\n\r\n");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err < 0 && strcmp(r.why, "header too long") == 0);
	free(s);
	s = long_answer("HTTP/1.1 200 ", 20000, "");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err < 0 && strcmp(r.why, "header too long") == 0);
	free(s);
	s = long_answer(CH "0\r\nX: ", 20000, "");
	feed(&r, s, strlen(s), strlen(s), 1, true);
	CHECK(r.err < 0 && strcmp(r.why, "header too long") == 0);
	free(s);
	/* interim answers: eight, not nine */
	for (unsigned i = 8; i <= 9; i++) {
		char text[512] = "";

		for (unsigned k = 0; k < i; k++)
			strcat(text, "HTTP/1.1 102 P\r\n\r\n");
		strcat(text, OK "\r\n");
		CHECK((parse_n(text, strlen(text), true).err == 0) == (i == 8));
	}
	/* bodies: the buffer takes 500 bytes */
	s = long_answer(OK "\r\n", 500, "");
	CHECK(parse_n(s, strlen(s), true).body_len == 500);
	free(s);
	s = long_answer(OK "\r\n", 501, "");
	r = parse_n(s, strlen(s), true);
	CHECK(r.err < 0 && r.too_long && r.head_done);
	free(s);
	r = parse_n(OK "Content-Length: 501\r\n\r\n", strlen(OK) + 23, false);
	CHECK(r.err < 0 && r.too_long);
	r = parse_n(CH "1f3\r\n", strlen(CH) + 5, false);
	CHECK(r.err == 0 && !r.too_long);
	r = parse_n(CH "1f5\r\n", strlen(CH) + 5, false);
	CHECK(r.err < 0 && r.too_long);
}

/* Every prefix of an answer that says where it ends needs more, and the end of
 * the connection there is an error. */
static void truncation(void)
{
	static const char *const whole[] = { OK "Content-Length: 5\r\n\r\nhello",
					     CH "5;x\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
					     "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 x\r\n\r\n" };
	struct result r;

	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		for (size_t n = 0; n < strlen(whole[i]); n++) {
			feed(&r, whole[i], n, n, 1, false);
			CHECK(r.err == 0 && !r.done);
			feed(&r, whole[i], n, n, 1, true);
			CHECK(r.err < 0 && !r.done);
		}
		feed(&r, whole[i], strlen(whole[i]), 1, 1, false);
		CHECK(r.err == 0 && r.done);
	}
}

int main(void)
{
	bodies();
	heads();
	refusals();
	chunk_refusals();
	limits();
	truncation();
	return test_done();
}
