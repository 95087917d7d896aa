/* SPDX-License-Identifier: MIT */
/* DNS messages: good answers in all shapes, and every way of lying about them. */
#include "net/dns.h"
#include "test/test.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define ID 0x1234
#define NAME "tracker.example.org"

/* A message under construction; names are written as "a.b.c" and may end in
 * "@12": a pointer to offset 12. */
static struct buf m;

static void put_name(const char *s)
{
	while (*s && *s != '@') {
		size_t n = strcspn(s, ".@");
		buf_u8(&m, (uint8_t)n);
		buf_put(&m, s, n);
		s += n;
		if (*s == '.')
			s++;
	}
	if (*s == '@')
		buf_u16(&m, (uint16_t)(0xc000 | atoi(s + 1)));
	else
		buf_u8(&m, 0);
}

static void begin_as(uint16_t id, uint16_t flags, const char *name, uint16_t type, uint16_t class, uint16_t answers)
{
	buf_clear(&m);
	buf_u16(&m, id);
	buf_u16(&m, flags);
	buf_u16(&m, 1);
	buf_u16(&m, answers);
	buf_u32(&m, 0);
	put_name(name);
	buf_u16(&m, type);
	buf_u16(&m, class);
}

static void begin(uint16_t type, uint16_t answers)
{
	begin_as(ID, 0x8180, NAME, type, 1, answers);
}

static void put_head(const char *owner, uint16_t type, uint32_t ttl)
{
	put_name(owner);
	buf_u16(&m, type);
	buf_u16(&m, 1);
	buf_u32(&m, ttl);
}

static void put_a(const char *owner, uint32_t ttl, uint32_t ip)
{
	put_head(owner, DNS_A, ttl);
	buf_u16(&m, 4);
	buf_u32(&m, ip);
}

static void put_aaaa(const char *owner, uint32_t ttl, const char ip[16])
{
	put_head(owner, DNS_AAAA, ttl);
	buf_u16(&m, 16);
	buf_put(&m, ip, 16);
}

static void put_cname(const char *owner, uint32_t ttl, const char *target)
{
	size_t at;

	put_head(owner, 5, ttl);
	at = m.n;
	buf_u16(&m, 0);
	put_name(target);
	put_u16(m.p + at, (uint16_t)(m.n - at - 2));
}

/* Parses a copy that ends right before an unreadable page. */
static uint8_t *guard;
#define GUARD_LEN ((size_t)128 << 10)

static int parse_bytes(const uint8_t *p, size_t n, uint16_t type, struct dns_answer *out)
{
	memcpy(guard - n, p, n);
	return dns_parse(slice_of(guard - n, n), ID, NAME, type, out);
}

static int parse(uint16_t type, struct dns_answer *out)
{
	return parse_bytes(m.p, m.n, type, out);
}

static bool has_ip(const struct dns_answer *a, size_t i, const char *ip)
{
	struct addr want;

	return addr_parse_ip(&want, slice_str(ip)) && i < a->n && addr_eq(&want, &a->addrs[i]);
}

static void test_query(void)
{
	static const char want[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\3www\7example\3org\0\0\x1c\0\1";
	static const char *const bad[] = { "", ".", "..", ".a", "a..b", "a b", "a/b", "a\tb", "m\xc3\xbcnster.example", "a\\.b", "a.b..", "*.a" };
	char name[300], label[65];
	struct buf b;
	struct dns_answer out;

	buf_init(&b, 2000);
	CHECK(dns_put_query(&b, 0x1234, "WWW.Example.ORG.", DNS_AAAA));
	CHECK(slice_eq(slice_of(b.p, b.n), slice_of(want, sizeof(want) - 1)));
	buf_clear(&b);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(!dns_put_query(&b, 1, bad[i], DNS_A) && b.n == 0);
		CHECK(dns_parse(slice_of(want, sizeof(want) - 1), 0x1234, bad[i], DNS_A, &out) == -1);
	}
	/* Labels of 63 and names of 253 are the longest. */
	memset(label, 'a', sizeof(label));
	label[63] = 0;
	CHECK(dns_put_query(&b, 1, label, DNS_A));
	label[63] = 'a';
	label[64] = 0;
	CHECK(!dns_put_query(&b, 1, label, DNS_A));
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 50 == 49 ? '.' : 'x';
	name[253] = 0;
	CHECK(dns_put_query(&b, 1, name, DNS_A));
	name[253] = '.';
	name[254] = 0;
	CHECK(dns_put_query(&b, 1, name, DNS_A));
	name[253] = 'x';
	CHECK(!dns_put_query(&b, 1, name, DNS_A));
	buf_release(&b);
	buf_init(&b, 20);
	CHECK(!dns_put_query(&b, 1, "www.example.org", DNS_A));
	buf_release(&b);
}

static void test_good(void)
{
	struct dns_answer a;

	begin(DNS_A, 2);
	put_a("@12", 300, 0x01020304);
	put_a("TRACKER.example.ORG", 60, 0x05060708);
	CHECK(parse(DNS_A, &a) == 0 && a.err == 0 && a.n == 2 && a.ttl == 60 && !a.truncated);
	CHECK(has_ip(&a, 0, "1.2.3.4") && has_ip(&a, 1, "5.6.7.8"));

	begin(DNS_AAAA, 1);
	put_aaaa("@12", 5, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1");
	CHECK(parse(DNS_AAAA, &a) == 0 && a.n == 1 && has_ip(&a, 0, "2001:db8::1"));
	begin(DNS_AAAA, 1);
	put_aaaa("@12", 5, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4");
	CHECK(parse(DNS_AAAA, &a) == 0 && a.n == 0 && a.err == -ENODATA);

	/* A chain, its records in any order; the least TTL of it counts. */
	begin(DNS_A, 4);
	put_a("c.example.net", 300, 0x09090909);
	put_cname("b.example.net", 20, "c.example.net");
	put_cname("@12", 100, "b.example.net");
	put_a("other.example.net", 1, 0x08080808);
	CHECK(parse(DNS_A, &a) == 0 && a.n == 1 && a.ttl == 20 && has_ip(&a, 0, "9.9.9.9"));

	/* The target compressed into the question: example.org is at 20. */
	begin(DNS_A, 2);
	put_cname("@12", 100, "www@20");
	put_a("www.example.org", 10, 0x09090909);
	CHECK(parse(DNS_A, &a) == 0 && a.n == 1 && a.ttl == 10);

	/* A chain without an end, or with an alias that leads nowhere. */
	begin(DNS_A, 1);
	put_cname("@12", 100, "b.example.net");
	CHECK(parse(DNS_A, &a) == 0 && a.err == -ENODATA && a.n == 0 && a.ttl == 0);
	begin(DNS_A, 2);
	put_cname("@12", 100, "b.example.net");
	put_cname("b.example.net", 100, NAME);
	CHECK(parse(DNS_A, &a) == 0 && a.err == -EIO && a.n == 0);
	begin(DNS_A, 1);
	put_cname("@12", 100, "@12");
	CHECK(parse(DNS_A, &a) == 0 && a.err == -EIO);

	/* 16 steps are followed, 17 are not. */
	for (int steps = 16; steps <= 17; steps++) {
		char from[32] = "@12", to[32];
		begin(DNS_A, (uint16_t)(steps + 1));
		for (int i = 0; i < steps; i++) {
			snprintf(to, sizeof(to), "n%d.example", i);
			put_cname(from, 100, to);
			memcpy(from, to, sizeof(to));
		}
		put_a(from, 100, 0x01010101);
		CHECK(parse(DNS_A, &a) == 0 && a.n == (steps == 16) && a.err == (steps == 16 ? 0 : -EIO));
	}

	/* More addresses than are kept; a TTL with the high bit is 0. */
	begin(DNS_A, 40);
	for (uint32_t i = 0; i < 40; i++)
		put_a("@12", 0x80000000, i + 1);
	CHECK(parse(DNS_A, &a) == 0 && a.n == DNS_MAX_ADDRS && a.ttl == 0);

	/* Answers for other names, types and classes don't count. */
	begin(DNS_A, 3);
	put_a("evil.example.org", 300, 0x06060606);
	put_aaaa("@12", 5, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1");
	put_a("@12", 300, 0x06060606);
	m.p[m.n - 4 - 2 - 4 - 1] = 3; /* class CH */
	CHECK(parse(DNS_A, &a) == 0 && a.n == 0 && a.err == -ENODATA);
	begin(DNS_A, 1); /* the dots of "tracker.example" inside one label */
	buf_put(&m, "\x0ftracker.example\3org\0", 21);
	buf_put(&m, "\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 14);
	CHECK(parse(DNS_A, &a) == 0 && a.n == 0);

	begin_as(ID, 0x8183, NAME, DNS_A, 1, 0);
	CHECK(parse(DNS_A, &a) == 0 && a.err == -ENOENT && a.n == 0);
	begin(DNS_A, 0);
	CHECK(parse(DNS_A, &a) == 0 && a.err == -ENODATA);
	for (uint16_t rcode = 1; rcode < 16; rcode++) {
		begin_as(ID, 0x8180 | rcode, NAME, DNS_A, 1, 0);
		CHECK(parse(DNS_A, &a) == 0 && a.err == (rcode == 3 ? -ENOENT : -EIO));
	}
	/* Truncated: what follows the question isn't looked at. */
	begin_as(ID, 0x8380, NAME, DNS_A, 1, 3);
	buf_put(&m, "\xff\xff\xff", 3);
	CHECK(parse(DNS_A, &a) == 0 && a.truncated && a.n == 0 && a.err == 0);
	/* The question in other letters is the same question. */
	begin_as(ID, 0x8180, "tRaCkEr.EXAMPLE.org", DNS_A, 1, 1);
	put_a("@12", 300, 0x01020304);
	CHECK(parse(DNS_A, &a) == 0 && a.n == 1);
}

static void test_not_ours(void)
{
	struct dns_answer a;

	begin_as(ID + 1, 0x8180, NAME, DNS_A, 1, 0);
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x0100, NAME, DNS_A, 1, 0); /* a question */
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0xa980, NAME, DNS_A, 1, 0); /* another opcode */
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x8180, "tracker.example.com", DNS_A, 1, 0);
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x8180, "example.org", DNS_A, 1, 0);
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x8180, NAME, DNS_AAAA, 1, 0);
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x8180, NAME, DNS_A, 3, 0);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_A, 0);
	m.p[5] = 0; /* no question */
	CHECK(parse(DNS_A, &a) == -1);
	m.p[5] = 2;
	CHECK(parse(DNS_A, &a) == -1);
}

static void test_malformed(void)
{
	struct dns_answer a;

	begin(DNS_A, 1); /* a pointer to itself, forward, to the end, into the header */
	put_a("@37", 1, 1);
	CHECK(m.p[37] == 0xc0 && parse(DNS_A, &a) == -1);
	begin(DNS_A, 1);
	put_a("@38", 1, 1);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_A, 1);
	put_a("@16383", 1, 1);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_A, 1);
	put_a("@4", 1, 1);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_A, 1); /* labels, then back to their own start */
	put_a("a.b@37", 1, 1);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_A, 1); /* reserved label types */
	put_a("@12", 1, 1);
	m.p[37] = 0x80;
	CHECK(parse(DNS_A, &a) == -1);
	m.p[37] = 0x40;
	CHECK(parse(DNS_A, &a) == -1);
	begin_as(ID, 0x8180, "@12", DNS_A, 1, 0); /* the question points to itself */
	CHECK(parse(DNS_A, &a) == -1);

	begin(DNS_A, 1); /* lengths that don't fit the type */
	put_head("@12", DNS_A, 1);
	buf_u16(&m, 5);
	buf_put(&m, "12345", 5);
	CHECK(parse(DNS_A, &a) == -1);
	begin(DNS_AAAA, 1);
	put_head("@12", DNS_AAAA, 1);
	buf_u16(&m, 4);
	buf_u32(&m, 1);
	CHECK(parse(DNS_AAAA, &a) == -1);
	begin(DNS_A, 1); /* an alias shorter and longer than its record says */
	put_cname("@12", 1, "a.example");
	put_u16(m.p + m.n - 13, 10);
	CHECK(parse(DNS_A, &a) == -1);
	put_u16(m.p + m.n - 13, 12);
	buf_u8(&m, 0);
	CHECK(parse(DNS_A, &a) == -1);

	/* Counts that lie, in each section. */
	for (size_t at = 6; at <= 10; at += 2) {
		begin(DNS_A, 1);
		put_a("@12", 1, 1);
		CHECK(parse(DNS_A, &a) == 0 && a.n == 1);
		put_u16(m.p + at, 2);
		CHECK(parse(DNS_A, &a) == -1);
		put_u16(m.p + at, 0xffff);
		CHECK(parse(DNS_A, &a) == -1);
	}

	/* A name that grows past 255 by pointers: 63 + 63 + 63 + 63 and the
	 * question's 21. */
	begin(DNS_A, 1);
	for (int i = 0; i < 4; i++) {
		buf_u8(&m, 63);
		for (int k = 0; k < 63; k++)
			buf_u8(&m, 'a');
	}
	put_a("@12", 1, 1);
	CHECK(parse(DNS_A, &a) == -1);

	/* Pointers to pointers: 32 are followed, more are not. The ladder is in
	 * the data of a record of another type. */
	for (int rungs = 31; rungs <= 32; rungs++) {
		size_t at;
		char owner[16];
		begin(DNS_A, 2);
		put_head("@12", 16, 1);
		buf_u16(&m, (uint16_t)(rungs * 2));
		at = m.n;
		buf_u16(&m, 0xc00c);
		for (int i = 1; i < rungs; i++)
			buf_u16(&m, (uint16_t)(0xc000 | (at + 2 * (size_t)(i - 1))));
		snprintf(owner, sizeof(owner), "@%zu", m.n - 2);
		put_a(owner, 1, 1);
		CHECK(parse(DNS_A, &a) == (rungs == 31 ? 0 : -1));
	}
}

/* No prefix of a good message is one, and no changed byte leads astray (the
 * sanitizer and the guard page are the judges). */
static void test_cuts_and_flips(void)
{
	struct dns_answer a;
	uint8_t copy[512];
	int accepted = 0;

	begin(DNS_A, 3);
	put_cname("@12", 100, "www@20");
	put_a("www.example.org", 10, 0x09090909);
	put_a("www@20", 10, 0x0a090909);
	put_a("ns.example.org", 10, 1); /* one more, in the additional section */
	m.p[11] = 1;
	CHECK(parse(DNS_A, &a) == 0 && a.n == 2);
	for (size_t n = 0; n < m.n; n++)
		accepted += parse_bytes(m.p, n, DNS_A, &a) == 0;
	CHECK(accepted == 0);
	for (size_t i = 0; i < m.n; i++) {
		for (int v = 0; v < 256; v++) {
			memcpy(copy, m.p, m.n);
			copy[i] = (uint8_t)v;
			if (parse_bytes(copy, m.n, DNS_A, &a) == 0)
				accepted += a.n > DNS_MAX_ADDRS;
		}
	}
	for (int round = 0; round < 20000; round++) {
		memcpy(copy, m.p, m.n);
		for (int k = 0; k < 4; k++)
			copy[12 + random_below((uint32_t)m.n - 12)] = (uint8_t)random_below(256);
		if (parse_bytes(copy, m.n, DNS_A, &a) == 0)
			accepted += a.n > DNS_MAX_ADDRS;
	}
	CHECK(accepted == 0);
}

/* The largest message there is, all pointers and aliases, costs little. */
static void test_largest(void)
{
	struct dns_answer a;
	uint16_t n = 0;

	begin(DNS_A, 0);
	while (m.n + 32 <= UINT16_MAX) {
		put_cname("@12", 1, n % 2 ? "x@12" : "y@12");
		n++;
	}
	put_u16(m.p + 6, n);
	CHECK(parse(DNS_A, &a) == 0 && a.n == 0);
}

int main(void)
{
	uint8_t *page = mmap(NULL, GUARD_LEN + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED || mprotect(page + GUARD_LEN, 65536, PROT_NONE) < 0)
		return 1;
	guard = page + GUARD_LEN;
	buf_init(&m, 1 << 17);
	test_query();
	test_good();
	test_not_ours();
	test_malformed();
	test_cuts_and_flips();
	test_largest();
	CHECK(!m.failed);
	buf_release(&m);
	munmap(page, GUARD_LEN + 65536);
	return test_done();
}
