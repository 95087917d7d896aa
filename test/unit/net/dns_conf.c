/* SPDX-License-Identifier: MIT */
/* resolv.conf and hosts as real systems have them, and as they shouldn't be. */
#include "net/dns.h"
#include "test/test.h"
#include <sys/mman.h>

static struct dns_conf conf_of(const char *text)
{
	struct dns_conf c;

	dns_conf_parse(slice_str(text), &c);
	return c;
}

static bool server_is(const struct dns_conf *c, size_t i, const char *text)
{
	char got[ADDR_TEXT];

	return i < c->nservers && strcmp(addr_format(&c->servers[i], got), text) == 0;
}

static void test_resolv_conf(void)
{
	static const char *const no_servers[] = { "", "\n\n", "nameserver", "nameserver \n", "# nameserver 1.1.1.1", "; x",
		"nameserver host.example", "nameserver 1.2.3", "nameserver fe80::1%eth0", "nameservers 1.2.3.4",
		"NAMESERVER 1.2.3.4", "nameserver [1.2.3.4]", "nameserver [1.2.3.4]:", "nameserver [1.2.3.4]:0",
		"nameserver [1.2.3.4]:65536", "nameserver [1.2.3.4]x53", "nameserver [1.2.3.4", "nameserver []:53",
		"nameserver [", "nameserver ]:53", "nameserver [1.2.3.4]:+53", "nameserver 1.2.3.4:53" };
	struct dns_conf c;
	char long_name[400];

	for (size_t i = 0; i < ARRAY_LEN(no_servers); i++) {
		c = conf_of(no_servers[i]);
		CHECK(c.nservers == 1 && server_is(&c, 0, "127.0.0.1:53"));
		CHECK(c.timeout_ms == 5000 && c.attempts == 2 && c.search[0] == 0);
	}
	c = conf_of("# made by a program\n\nnameserver 192.0.2.1\n\tnameserver\t2001:db8::1  # tail\r\n"
		    "nameserver bogus\nnameserver [127.0.0.1]:5353\nnameserver 192.0.2.4\n"
		    "search corp.example lab.example\noptions edns0 trust-ad timeout:3 attempts:4 ndots:2");
	CHECK(c.nservers == 3 && server_is(&c, 0, "192.0.2.1:53") && server_is(&c, 1, "[2001:db8::1]:53"));
	CHECK(server_is(&c, 2, "127.0.0.1:5353"));
	CHECK(c.timeout_ms == 3000 && c.attempts == 4 && strcmp(c.search, "corp.example") == 0);

	c = conf_of("nameserver [::1]:5353");
	CHECK(c.nservers == 1 && server_is(&c, 0, "[::1]:5353"));
	c = conf_of("options timeout:0 attempts:0\n");
	CHECK(c.timeout_ms == 1000 && c.attempts == 1);
	c = conf_of("options timeout:99999 attempts:99\n");
	CHECK(c.timeout_ms == 30000 && c.attempts == 5);
	c = conf_of("options timeout:-1 attempts: timeout:x timeout timeout:99999999999999999999\n");
	CHECK(c.timeout_ms == 5000 && c.attempts == 2);

	c = conf_of("search a.example\ndomain b.example.\n");
	CHECK(strcmp(c.search, "b.example") == 0);
	c = conf_of("search a.example\nsearch .\n");
	CHECK(c.search[0] == 0);
	memset(long_name, 'a', sizeof(long_name));
	memcpy(long_name, "search ", 7);
	long_name[7 + 255] = 0;
	c = conf_of(long_name);
	CHECK(strlen(c.search) == 255);
	long_name[7 + 255] = 'a';
	long_name[7 + 256] = 0;
	c = conf_of(long_name);
	CHECK(c.search[0] == 0);
}

static size_t find(const char *text, const char *name, struct addr *out)
{
	return dns_hosts_find(slice_str(text), name, out, 4);
}

static void test_hosts(void)
{
	static const char text[] = "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # comment tracker\n"
				   "#192.0.2.9 tracker\n\n  192.0.2.1   tracker.example\ttracker trk \r\n"
				   "2001:db8::7 Tracker\nbogus tracker\n192.0.2.2\n192.0.2.3 tracker.\n0.0.0.0 ads.example\n"
				   "192.0.2.5 last";
	struct addr a[4];
	char got[ADDR_TEXT];

	CHECK(find(text, "localhost", a) == 2 && addr_is_loopback(&a[0]) && addr_is_loopback(&a[1]) && a[1].v6);
	CHECK(find(text, "TRACKER", a) == 3 && strcmp(addr_format(&a[0], got), "192.0.2.1:0") == 0);
	CHECK(strcmp(addr_format(&a[1], got), "[2001:db8::7]:0") == 0);
	CHECK(strcmp(addr_format(&a[2], got), "192.0.2.3:0") == 0);
	CHECK(find(text, "tracker.example.", a) == 1 && find(text, "trk", a) == 1 && find(text, "last", a) == 1);
	CHECK(find(text, "track", a) == 0 && find(text, "comment", a) == 0 && find(text, "", a) == 0);
	CHECK(find(text, ".", a) == 0 && find(text, "192.0.2.2", a) == 0 && find("", "x", a) == 0);
	CHECK(find(text, "ads.example", a) == 1);
	CHECK(dns_hosts_find(slice_str(text), "tracker", a, 1) == 1);
	CHECK(dns_hosts_find(slice_str(text), "tracker", a, 0) == 0);
}

/* Every cut of both texts, at the edge of what may be read; NUL bytes. */
static void test_edges(void)
{
	static const char text[] = "127.0.0.1 a.example # c\nnameserver [::1]:53\nsearch x.example\noptions timeout:3\n"
				   "nameserver 1.2.3.4\0 nameserver\0 9.9.9.9\nsearch a\0b\n\0\0\n";
	uint8_t *page = mmap(NULL, 131072, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dns_conf c;
	struct addr a[4];

	if (page == MAP_FAILED || mprotect(page + 65536, 65536, PROT_NONE) < 0)
		exit(1);
	for (size_t n = 0; n < sizeof(text); n++) {
		uint8_t *p = page + 65536 - n;
		memcpy(p, text, n);
		dns_conf_parse(slice_of(p, n), &c);
		CHECK(c.nservers >= 1 && c.nservers <= 3);
		CHECK(dns_hosts_find(slice_of(p, n), "a.example", a, 4) <= 1);
	}
	CHECK(strcmp(c.search, "x.example") == 0 && c.nservers == 1);
	munmap(page, 131072);
}

int main(void)
{
	test_resolv_conf();
	test_hosts();
	test_edges();
	return test_done();
}
