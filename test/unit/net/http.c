/* SPDX-License-Identifier: MIT */
/* Tests of http.c against servers that answer well, badly, slowly, endlessly,
 * or not at all. Nothing here waits longer than a few tenths of a second. */
#include "net/http.h"
#include "test/fake_http.h"
#include "test/test.h"

#include <dirent.h>

static struct net net;
static struct dns *dns;
static struct fake server, other;

struct got {
	bool done;
	int err, status;
	char body[64];
	size_t body_len;
	char why[256];
	uint32_t retry_after;
	uint64_t took_ms;
	struct http_request *r;
};

static void on_answer(void *arg, int err, int status, struct slice body, const char *why)
{
	struct got *g = arg;

	g->done = true;
	g->err = err;
	g->status = status;
	g->body_len = body.n;
	if (body.n)
		memcpy(g->body, body.p, min_size(body.n, sizeof(g->body) - 1));
	snprintf(g->why, sizeof(g->why), "%s", why);
	g->retry_after = http_retry_after(g->r);
	http_cancel(g->r); /* harmless here */
}

static const struct http_opts OPTS = { .body_max = 1000, .timeout_ms = 3000, .max_redirects = 3, .user_agent = "bt/test" };

static struct got get_with(const char *url, const struct http_opts *opts)
{
	struct got g = { .done = false };
	const char *why = "";
	uint64_t start;

	net_clock(&net);
	start = net.now_ms;
	g.r = http_get(&net, dns, url, opts, on_answer, &g, &why);
	if (!g.r) {
		g.err = -EINVAL;
		snprintf(g.why, sizeof(g.why), "%s", why);
		return g;
	}
	CHECK(!g.done); /* never inside the call */
	fake_run(&net, &g.done, 5000);
	CHECK(g.done);
	g.took_ms = net.now_ms - start;
	return g;
}

static struct got get(const char *path)
{
	char url[512];

	snprintf(url, sizeof(url), "%s%s", server.url, path);
	return get_with(url, &OPTS);
}

static bool is_ok(const struct got *g, const char *body)
{
	if (g->err)
		fprintf(stderr, "%s\n", g->why);
	return g->err == 0 && g->body_len == strlen(body) && memcmp(g->body, body, g->body_len) == 0;
}

static bool asks(const char *request, const char *path)
{
	char start[256];

	snprintf(start, sizeof(start), "GET %s HTTP/1.1\r\n", path);
	return strncmp(request, start, strlen(start)) == 0;
}

static void answer(struct fake *f, const char *q, struct fake_reply *r)
{
	struct buf *b = &r->bytes;
	unsigned n;

	if (asks(q, "/hello?x=1")) {
		fake_ok(r, "hello", 5);
	} else if (asks(q, "/chunked")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
		r->hang = true; /* the last chunk ends it, not the close */
	} else if (asks(q, "/close")) {
		buf_puts(b, "HTTP/1.0 200 OK\r\n\r\nhello");
	} else if (asks(q, "/drip")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
		r->drip_ms = 1;
	} else if (asks(q, "/slow")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
		r->drip_ms = 40;
	} else if (asks(q, "/hang")) {
		r->hang = true;
	} else if (asks(q, "/half")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
		r->hang = true;
	} else if (asks(q, "/cut")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
	} else if (asks(q, "/garbage")) {
		buf_puts(b, "\x15\x03\x01 what? \r\n\r\n");
	} else if (asks(q, "/endless")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\n\r\n");
		for (n = 0; n < 4096; n++)
			buf_puts(b, "0123456789abcdef");
		r->endless = true;
	} else if (asks(q, "/gigabyte")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
		r->endless = true;
	} else if (asks(q, "/head")) {
		buf_puts(b, "HTTP/1.1 200 OK\r\nX: ");
		r->endless = true;
	} else if (asks(q, "/missing")) {
		buf_puts(b, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nno");
	} else if (asks(q, "/missing-long")) {
		buf_puts(b, "HTTP/1.1 404 Not Found\r\nContent-Length: 20000\r\n\r\n");
		r->endless = true;
	} else if (sscanf(q, "GET /to/%u ", &n) == 1) {
		buf_printf(b, "HTTP/1.1 30%c Found\r\nContent-Encoding: gzip\r\nLocation: %u\r\n\r\n", "12378"[n % 5], n - 1);
		if (n == 0) {
			buf_clear(b);
			fake_ok(r, "there", 5);
		}
		r->hang = true; /* the redirect's body is not waited for */
	} else if (asks(q, "/circle")) {
		buf_printf(b, "HTTP/1.1 302 Found\r\nLocation: %s/circle\r\n\r\n", f->url);
	} else if (asks(q, "/other")) {
		buf_printf(b, "HTTP/1.1 302 Found\r\nLocation: http://a:b@127.0.0.1:%u/hello?x=1\r\n\r\n", other.addr.port);
	} else if (asks(q, "/back")) {
		buf_puts(b, "HTTP/1.1 302 Found\r\nLocation: /hello?x=1\r\n\r\n");
	} else if (strncmp(q, "GET /location/", 14) == 0) {
		buf_printf(b, "HTTP/1.1 302 Found\r\nLocation: %.*s\r\n\r\n", (int)strcspn(q + 14, " "), q + 14);
	} else if (asks(q, "/nowhere")) {
		buf_puts(b, "HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nhm");
	} else {
		fake_ok(r, "default", 7);
	}
}

static void answers(void)
{
	struct got g = get("/hello?x=1");
	char want[512];

	CHECK(is_ok(&g, "hello") && g.status == 200);
	snprintf(want, sizeof(want),
		 "GET /hello?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: bt/test\r\nAccept: */*\r\n"
		 "Accept-Encoding: identity\r\nConnection: close\r\n\r\n", server.addr.port);
	CHECK(strcmp(server.last, want) == 0);
	g = get("/chunked");
	CHECK(is_ok(&g, "hello"));
	g = get("/close");
	CHECK(is_ok(&g, "hello"));
	g = get("/drip");
	CHECK(is_ok(&g, "hello") && g.took_ms >= 40);
	g = get("/missing");
	CHECK(is_ok(&g, "no") && g.status == 404 && g.retry_after == 7);
	g = get("?q=\xc3\xa4");
	CHECK(is_ok(&g, "default") && asks(server.last, "/?q=%C3%A4"));
	g = get("/x#fragment");
	CHECK(is_ok(&g, "default") && asks(server.last, "/x"));
	g = get("/nowhere");
	CHECK(is_ok(&g, "hm") && g.status == 302);
}

static bool failed(const char *path, int err, const char *why)
{
	struct got g = get(path);

	if (g.err != err || !strstr(g.why, why))
		fprintf(stderr, "%s: %d %s\n", path, g.err, g.why);
	return g.err == err && strstr(g.why, why);
}

static void failures(void)
{
	struct http_opts quick = OPTS;
	struct got g;
	char url[128];

	CHECK(failed("/cut", -ECONNRESET, "closed in the middle"));
	CHECK(failed("/garbage", -EPROTO, "not an HTTP answer"));
	server.sent = 0;
	CHECK(failed("/endless", -EMSGSIZE, "answer longer than 1000 bytes"));
	CHECK(failed("/gigabyte", -EMSGSIZE, "answer longer than 1000 bytes"));
	CHECK(failed("/head", -EPROTO, "header too long"));
	CHECK(server.sent < 64 << 20);
	CHECK(failed("/missing-long", -EPROTO, "HTTP status 404"));
	quick.timeout_ms = 200;
	snprintf(url, sizeof(url), "%s/hang", server.url);
	g = get_with(url, &quick);
	CHECK(g.err == -ETIMEDOUT && strcmp(g.why, "no answer within 0.2 s") == 0 && g.took_ms >= 200 && g.took_ms < 2000);
	snprintf(url, sizeof(url), "%s/half", server.url);
	g = get_with(url, &quick);
	CHECK(g.err == -ETIMEDOUT && strcmp(g.why, "the answer was not whole within 0.2 s") == 0 && g.status == 200);
	snprintf(url, sizeof(url), "%s/slow", server.url);
	g = get_with(url, &quick);
	CHECK(g.err == -ETIMEDOUT && g.took_ms < 2000);
	/* nobody listens on port 1 of loopback */
	g = get_with("http://127.0.0.1:1/", &OPTS);
	/* qemu-user gives the host's number for it, so only the words are sure */
	CHECK(g.err < 0 && strstr(g.why, "can't connect to 127.0.0.1:1: "));
	g = get_with("https://127.0.0.1/", &OPTS);
	CHECK(g.err == -EINVAL && strstr(g.why, "need TLS"));
	g = get_with("file:///etc/passwd", &OPTS);
	CHECK(g.err == -EINVAL);
	g = get_with("ftp://127.0.0.1/", &OPTS);
	CHECK(g.err == -EINVAL);
	g = get_with("http://127.0.0.1/\r\nX: y", &OPTS);
	CHECK(g.err == -EINVAL);
}

static void redirects(void)
{
	struct got g;
	char url[256];

	g = get("/to/3");
	CHECK(is_ok(&g, "there"));
	CHECK(failed("/to/4", -ELOOP, "more than 3 redirects"));
	CHECK(failed("/circle", -ELOOP, "more than 3 redirects"));
	CHECK(failed("/location/https://127.0.0.1/", -EPROTONOSUPPORT, "https"));
	CHECK(failed("/location/file:///etc/passwd", -EPROTO, "unusable"));
	CHECK(failed("/location/ftp://127.0.0.1/", -EPROTONOSUPPORT, "other than http"));
	CHECK(failed("/location/http://:1/", -EPROTO, "unusable"));
	/* a password goes to the host it is for, and never along */
	snprintf(url, sizeof(url), "http://us%%65r:pass@127.0.0.1:%u/other", server.addr.port);
	g = get_with(url, &OPTS);
	CHECK(is_ok(&g, "hello") && strstr(server.last, "\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"));
	CHECK(other.requests == 1 && !strstr(other.last, "Authorization"));
	snprintf(url, sizeof(url), "http://user@127.0.0.1:%u/back", server.addr.port);
	g = get_with(url, &OPTS);
	CHECK(is_ok(&g, "hello") && asks(server.last, "/hello?x=1") &&
	      strstr(server.last, "\r\nAuthorization: Basic dXNlcjo=\r\n"));
}

/* A stranger's URL may not ask this machine, by whatever name. */
static void not_loopback(void)
{
	static const char *const hosts[] = { "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
					     "[::]", "169.254.169.254", "[fe80::1]", "localhost" };
	struct http_opts opts = OPTS;
	unsigned before = server.requests;

	opts.not_loopback = true;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		char url[64];
		struct got g;

		snprintf(url, sizeof(url), "http://%s:%u/", hosts[i], server.addr.port);
		g = get_with(url, &opts);
		CHECK(g.err == -EACCES || (g.err && strstr(g.why, "look up")));
	}
	CHECK(server.requests == before);
}

/* Names: several addresses are tried in turn, and share the time. */
static void names(void)
{
	static const char hosts[] = "127.0.0.1 good\n"
				    "127.9.9.9 two\n127.0.0.1 two\n"
				    "127.0.0.2 mute\n127.0.0.1 mute\n";
	struct http_opts opts = OPTS;
	struct addr mute = server.addr, v6;
	int fd;
	struct got g;
	char url[64];

	dns_configure(dns, slice_str("nameserver 127.0.0.1:1\noptions timeout:1 attempts:1\n"), slice_str(hosts));
	snprintf(url, sizeof(url), "http://good:%u/hello?x=1", server.addr.port);
	g = get_with(url, &opts);
	CHECK(is_ok(&g, "hello") && strstr(server.last, "\r\nHost: good:"));
	snprintf(url, sizeof(url), "http://two:%u/hello?x=1", server.addr.port);
	g = get_with(url, &opts); /* 127.9.9.9 refuses */
	CHECK(is_ok(&g, "hello"));
	/* 127.0.0.2 takes connections and says nothing: half of the time is its */
	mute.ip[3] = 2;
	fd = tcp_listen(&mute, 4);
	CHECK(fd >= 0);
	opts.timeout_ms = 1000;
	snprintf(url, sizeof(url), "http://mute:%u/hello?x=1", server.addr.port);
	g = get_with(url, &opts);
	CHECK(is_ok(&g, "hello") && g.took_ms >= 500);
	close(fd);
	/* bound to the other family there is nothing to connect to */
	CHECK(addr_parse_ip(&v6, slice_str("::1")));
	opts.bind = &v6;
	g = get_with(url, &opts);
	CHECK(g.err == -EAFNOSUPPORT);
	CHECK(addr_parse_ip(&v6, slice_str("127.0.0.1")));
	g = get_with(url, &opts);
	CHECK(is_ok(&g, "hello"));
	opts.bind = NULL;
	g = get_with("http://no_such_name/", &opts);
	CHECK(g.err < 0 && (strstr(g.why, "can't look up no_such_name: ") || strstr(g.why, "look-up")));
}

static void cancels(void)
{
	static const char *const paths[] = { "/hang", "/half", "/drip", "/hello?x=1" };
	const char *why;
	bool never = false;

	/* at every stage: at once, after connecting, in the middle of the answer */
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		for (uint64_t wait = 0; wait < 30; wait += 10) {
			struct got g = { .done = false };
			char url[128];

			snprintf(url, sizeof(url), "%s%s", server.url, paths[i]);
			g.r = http_get(&net, dns, url, &OPTS, on_answer, &g, &why);
			CHECK(g.r);
			fake_run(&net, &never, wait);
			if (g.done)
				continue;
			CHECK(wait > 0 || !http_was_sent(g.r));
			http_cancel(g.r);
			fake_run(&net, &never, 5);
			CHECK(!g.done);
		}
	}
	{
		struct got g = { .done = false };

		g.r = http_get(&net, dns, "http://127.0.0.1:1/", &OPTS, on_answer, &g, &why);
		http_cancel(g.r);
		g.r = http_get(&net, dns, "http://good/", &OPTS, on_answer, &g, &why);
		http_cancel(g.r);
		fake_run(&net, &never, 5);
		CHECK(!g.done);
	}
	http_cancel(NULL);
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int main(void)
{
	unsigned files = open_files();

	if (net_init(&net) < 0 || !(dns = dns_new(&net)))
		return 1;
	fake_start(&server, &net, answer);
	fake_start(&other, &net, answer);
	answers();
	failures();
	redirects();
	not_loopback();
	names();
	cancels();
	fake_stop(&server);
	fake_stop(&other);
	dns_free(dns);
	CHECK(net_timeout(&net) == -1); /* no timer, no later left behind */
	net_release(&net);
	CHECK(open_files() == files);
	return test_done();
}
