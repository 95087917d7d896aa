/* SPDX-License-Identifier: MIT */
/* Tests of url.c: what is taken, what is refused, RFC 3986's own examples of
 * references, and that nothing secret is left in what is shown. */
#include "net/http.h"
#include "test/test.h"

#include <sys/mman.h>

/* A copy of the text that ends right before an unreadable page. */
static struct slice at_edge(const char *s, size_t n)
{
	static uint8_t *edge;

	if (!edge) {
		uint8_t *p = mmap(NULL, 0x20000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + 0x10000, 0x10000, PROT_NONE))
			exit(1);
		edge = p + 0x10000;
	}
	memcpy(edge - n, s, n);
	return slice_of(edge - n, n);
}

static struct slice edge(const char *s)
{
	return at_edge(s, strlen(s));
}

static bool is(const char *text, const char *host, unsigned port, const char *path)
{
	struct url u;

	return url_parse(edge(text), &u) && slice_is(u.host, host) && u.port == port && slice_is(u.path, path);
}

static bool refused(const char *text)
{
	struct url u;

	return !url_parse(edge(text), &u);
}

static void parses(void)
{
	struct url u;
	char *text;

	CHECK(is("http://a.example", "a.example", 80, "/"));
	CHECK(is("http://a.example/", "a.example", 80, "/"));
	CHECK(is("HTTP://a.example:8080/x/y?z=1#frag", "a.example", 8080, "/x/y?z=1"));
	CHECK(is("https://a", "a", 443, "/"));
	CHECK(is("udp://a.example:6969/announce", "a.example", 6969, "/announce"));
	CHECK(is("udp://a.example", "a.example", 0, "/"));
	CHECK(is("http://a:/x", "a", 80, "/x"));
	CHECK(is("http://a:65535", "a", 65535, "/"));
	CHECK(is("http://a?q", "a", 80, "?q"));
	CHECK(is("http://a#f", "a", 80, "/"));
	CHECK(is("http://[::1]:6969/ann", "::1", 6969, "/ann"));
	CHECK(is("http://[2001:db8::1]", "2001:db8::1", 80, "/"));
	CHECK(is("http://1.2.3.4:1/", "1.2.3.4", 1, "/"));
	CHECK(is("http://a/\xc3\xa4", "a", 80, "/\xc3\xa4"));
	CHECK(url_parse(edge("http://us%40er:pa:ss@a.example/"), &u) && slice_is(u.userinfo, "us%40er:pa:ss") &&
	      slice_is(u.host, "a.example"));
	CHECK(url_scheme_is(&u, "http") && !url_scheme_is(&u, "https") && !url_scheme_is(&u, "htt"));

	CHECK(refused(""));
	CHECK(refused("a"));
	CHECK(refused("a.example/x"));
	CHECK(refused("http:"));
	CHECK(refused("http:/a"));
	CHECK(refused("http://"));
	CHECK(refused("http:///x"));
	CHECK(refused("://a"));
	CHECK(refused("1http://a"));
	CHECK(refused("http://a:0/"));
	CHECK(refused("http://a:65536/"));
	CHECK(refused("http://a:-1/"));
	CHECK(refused("http://a:8x/"));
	CHECK(refused("http://a:99999999999999999999/"));
	CHECK(refused("http://:80/"));
	CHECK(refused("http://u@/"));
	CHECK(refused("http://u@v@a/"));
	CHECK(refused("http://a\\@b/"));
	CHECK(refused("http://a b/"));
	CHECK(refused("http://a/b c"));
	CHECK(refused("http://a/b\tc"));
	CHECK(refused("http://a/\r\nX: y"));
	CHECK(refused("http://a/\x7f"));
	CHECK(refused("http://\xc3\xa4.example/"));
	CHECK(refused("http://a%00b/"));
	CHECK(refused("http://[::1/"));
	CHECK(refused("http://[::1]x/"));
	CHECK(refused("http://[]/"));
	CHECK(refused("http://[1234]/"));
	CHECK(refused("http://[fe80::1%25eth0]/"));
	CHECK(!url_parse(at_edge("http://a/\0b", 11), &u));

	text = malloc(20000);
	memset(text, 'a', 20000);
	memcpy(text, "http://", 7);
	text[12] = '/';
	CHECK(url_parse(at_edge(text, 8192), &u));
	CHECK(!url_parse(at_edge(text, 8193), &u));
	text[12] = 'a';
	CHECK(!url_parse(at_edge(text, 7 + 300), &u)); /* no name is that long */
	free(text);
}

static void truncated(void)
{
	static const char text[] = "http://[2001:db8::1]:6969/a/b?c=d";
	struct url u;

	/* what is cut before the host ends is refused; the rest are shorter URLs */
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		CHECK(url_parse(at_edge(text, n), &u) == (n >= strlen("http://[2001:db8::1]")));
}

static bool resolves(const char *base, const char *ref, const char *want)
{
	struct buf out;
	struct url b;
	bool ok = url_parse(slice_str(base), &b);

	buf_init(&out, 4096);
	ok = ok && url_resolve(&out, &b, edge(ref)) && slice_is(slice_of(out.p, out.n), want);
	if (!ok)
		fprintf(stderr, "%s + %s = %.*s\n", base, ref, (int)out.n, (char *)out.p);
	buf_release(&out);
	return ok;
}

static bool no_target(const char *ref)
{
	struct buf out;
	struct url b;
	bool ok;

	buf_init(&out, 4096);
	ok = url_parse(slice_str("http://a/b/c"), &b) && !url_resolve(&out, &b, edge(ref));
	buf_release(&out);
	return ok;
}

static void references(void)
{
	static const char *const rfc[][2] = { /* RFC 3986 5.4, but for schemes without a host */
		{ "g", "http://a/b/c/g" }, { "./g", "http://a/b/c/g" }, { "g/", "http://a/b/c/g/" },
		{ "/g", "http://a/g" }, { "//g", "http://g/" }, { "?y", "http://a/b/c/d;p?y" },
		{ "g?y", "http://a/b/c/g?y" }, { "#s", "http://a/b/c/d;p?q" }, { "g#s", "http://a/b/c/g" },
		{ "g?y#s", "http://a/b/c/g?y" }, { ";x", "http://a/b/c/;x" }, { "g;x", "http://a/b/c/g;x" },
		{ "", "http://a/b/c/d;p?q" }, { ".", "http://a/b/c/" }, { "./", "http://a/b/c/" },
		{ "..", "http://a/b/" }, { "../", "http://a/b/" }, { "../g", "http://a/b/g" },
		{ "../..", "http://a/" }, { "../../", "http://a/" }, { "../../g", "http://a/g" },
		{ "../../../g", "http://a/g" }, { "../../../../g", "http://a/g" }, { "/./g", "http://a/g" },
		{ "/../g", "http://a/g" }, { "g.", "http://a/b/c/g." }, { ".g", "http://a/b/c/.g" },
		{ "g..", "http://a/b/c/g.." }, { "..g", "http://a/b/c/..g" }, { "./../g", "http://a/b/g" },
		{ "./g/.", "http://a/b/c/g/" }, { "g/./h", "http://a/b/c/g/h" }, { "g/../h", "http://a/b/c/h" },
		{ "g;x=1/./y", "http://a/b/c/g;x=1/y" }, { "g;x=1/../y", "http://a/b/c/y" },
		{ "g?y/../x", "http://a/b/c/g?y/../x" },
	};
	struct buf out;
	struct url b;

	for (size_t i = 0; i < ARRAY_LEN(rfc); i++)
		CHECK(resolves("http://a/b/c/d;p?q", rfc[i][0], rfc[i][1]));
	CHECK(resolves("http://a/b", "https://c:8/../d?e", "https://c:8/d?e"));
	CHECK(resolves("http://a/b", "http://c", "http://c/"));
	CHECK(resolves("http://a/b", "http://c?x", "http://c/?x"));
	CHECK(resolves("http://u:p@a:81/b?q", "/c", "http://a:81/c"));
	CHECK(resolves("http://[::1]:81/b", "c", "http://[::1]:81/c"));
	CHECK(resolves("http://a?q", "c", "http://a/c"));
	CHECK(resolves("http://a?q", "", "http://a/?q"));
	CHECK(resolves("http://a/b", "/c d/\xc3\xa4?e f", "http://a/c%20d/%C3%A4?e%20f"));
	CHECK(no_target("mailto:x"));
	CHECK(no_target("http:g"));
	CHECK(no_target("/a\r\nb"));
	/* a full buffer is an error, not a shorter URL */
	buf_init(&out, 12);
	CHECK(url_parse(slice_str("http://a/b/c"), &b) && !url_resolve(&out, &b, slice_str("/d/e/f")));
	buf_release(&out);
}

static bool shown(const char *text, const char *want)
{
	char out[256];

	url_redact(out, sizeof(out), edge(text));
	if (strcmp(out, want) != 0)
		fprintf(stderr, "%s -> %s\n", text, out);
	return strcmp(out, want) == 0;
}

static void redaction(void)
{
	char small[8];

	CHECK(shown("http://a/announce", "http://a/announce"));
	CHECK(shown("http://u:p@a:81/announce#x", "http://a:81/announce"));
	CHECK(shown("http://a/announce?passkey=abc&x=1", "http://a/announce?passkey=..&x=.."));
	CHECK(shown("http://a/announce?0123456789abcdef", "http://a/announce?.."));
	CHECK(shown("http://a?k=v", "http://a?k=.."));
	CHECK(shown("http://a/0123456789abcdef0123456789abcdef/announce", "http://a/../announce"));
	CHECK(shown("http://a/download-something-else/announce", "http://a/download-something-else/announce"));
	CHECK(shown("http://[::1]:80/", "http://[::1]/"));
	CHECK(shown("http://a/\x1b[31m", "http://a/?[31m"));
	CHECK(shown("http://a/\xe2\x80\xae", "http://a/?")); /* right-to-left override */
	CHECK(shown("foo", "foo"));
	CHECK(shown("", ""));
	CHECK(shown("http://u:p@v@a/", "http.."));
	CHECK(shown("http://a b/?secret", "http://a b/.."));
	url_redact(small, sizeof(small), slice_str("http://example/"));
	CHECK(strcmp(small, "http://") == 0);
}

static void escapes(void)
{
	struct buf b;
	uint8_t raw[256], back[256];

	buf_init(&b, 4096);
	for (unsigned i = 0; i < 256; i++)
		raw[i] = (uint8_t)i;
	url_escape(&b, slice_of(raw, 256));
	CHECK(b.n == 66 + 190 * 3);
	CHECK(url_unescape(back, sizeof(back), slice_of(b.p, b.n)) == 256 && memcmp(raw, back, 256) == 0);
	buf_clear(&b);
	url_escape(&b, slice_of("aZ09-._~ %/\xff", 12));
	CHECK(slice_is(slice_of(b.p, b.n), "aZ09-._~%20%25%2F%FF"));
	CHECK(url_unescape(back, sizeof(back), edge("a%4")) == 3 && memcmp(back, "a%4", 3) == 0);
	CHECK(url_unescape(back, sizeof(back), edge("%")) == 1);
	CHECK(url_unescape(back, sizeof(back), edge("%zz%41%")) == 5 && memcmp(back, "%zzA%", 5) == 0);
	CHECK(url_unescape(back, 2, edge("abc")) == 2);
	buf_clear(&b);
	url_put_path(&b, edge("?a b\xc3"));
	CHECK(slice_is(slice_of(b.p, b.n), "/?a%20b%C3"));
	buf_release(&b);
}

int main(void)
{
	parses();
	truncated();
	references();
	redaction();
	escapes();
	return test_done();
}
