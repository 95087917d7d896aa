/* SPDX-License-Identifier: MIT */
/* Addresses as text and as the kernel has them: what is accepted, what is
 * refused, and that one host has one form. */
#include "net.h"
#include "test/test.h"

static struct slice str(const char *s)
{
	return slice_str(s);
}

int main(void)
{
	static const char *const good[] = { "1.2.3.4:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80", "[::]:6881",
		"[2001:db8::5]:1", "[fe80::1:2:3:4]:9" };
	static const char *const bad[] = { "", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:080", "1.2.3.4:+8",
		"1.2.3.4: 8", "1.2.3.4:8 ", " 1.2.3.4:8", "1.2.3:8", "1.2.3.4.5:8", "1.2.3.256:8", "01.2.3.4:8", "0x1.2.3.4:8",
		"::1:80", "[::1]", "[::1]:", "[::1:80", "::1]:80", "[1.2.3.4]:80", "[]:80", "[::1]80", "[::g]:80", "[fe80::1%1]:80",
		"[::1]:99999", "[::1]:100000", "host:80", "[[::1]]:80", "1.2.3.4:99999999999999999999",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999]:80", "1.2.3.4\n:80" };
	struct addr a, b;
	struct sockaddr_storage ss;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK(addr_parse(&a, str(good[i])));
		CHECK(strcmp(addr_format(&a, text), good[i]) == 0);
		CHECK(addr_to_sockaddr(&a, &ss) > 0 && addr_from_sockaddr(&b, &ss) && addr_eq(&a, &b));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (addr_parse(&a, str(bad[i])))
			fprintf(stderr, "accepted: %s\n", bad[i]);
		CHECK(!addr_parse(&a, str(bad[i])));
	}
	CHECK(!addr_parse(&a, slice_of("1.2.3.4\0:80", 11)));
	CHECK(!addr_parse_ip(&a, slice_of("1.2.3.4\0", 8)));
	CHECK(!addr_parse_ip(&a, slice_of(NULL, 0)));
	CHECK(!addr_parse_ip(&a, str("[::1]")) && !addr_parse_ip(&a, str("localhost")));
	CHECK(addr_parse_ip(&a, str("10.0.0.1")) && !a.v6 && a.port == 0 && a.ip[0] == 10 && a.ip[3] == 1 && a.ip[4] == 0);

	/* The longest text fits. */
	CHECK(addr_parse(&a, str("[1111:2222:3333:4444:5555:6666:7777:8888]:65535")));
	CHECK(strcmp(addr_format(&a, text), "[1111:2222:3333:4444:5555:6666:7777:8888]:65535") == 0);

	/* v4-mapped is IPv4, wherever it comes from. */
	CHECK(addr_parse(&a, str("[::ffff:1.2.3.4]:7")) && addr_parse(&b, str("1.2.3.4:7")) && addr_eq(&a, &b));
	CHECK(addr_same_ip(&a, &b) && !addr_is_loopback(&a));
	b.v6 = 1;
	memset(b.ip, 0, 16);
	memcpy(b.ip + 10, "\xff\xff\x7f\x00\x00\x01", 6);
	CHECK(!addr_is_usable_peer(&b));
	addr_to_sockaddr(&b, &ss);
	CHECK(addr_from_sockaddr(&b, &ss) && !b.v6 && addr_is_loopback(&b));
	ss.ss_family = AF_UNIX;
	CHECK(!addr_from_sockaddr(&b, &ss));

	static const struct {
		const char *text;
		bool usable, loopback;
	} kind[] = { { "127.0.0.1:1", true, true }, { "127.9.9.9:1", true, true }, { "[::1]:1", true, true },
		{ "[::2]:1", true, false }, { "10.1.2.3:1", true, false }, { "10.1.2.3:0", false, false },
		{ "0.1.2.3:1", false, false }, { "0.0.0.0:1", false, false }, { "[::]:1", false, false },
		{ "224.0.0.1:1", false, false }, { "239.255.255.255:1", false, false }, { "255.255.255.255:1", false, false },
		{ "[ff02::1]:1", false, false }, { "[2001:db8::1]:1", true, false }, { "223.255.255.255:1", true, false } };
	for (size_t i = 0; i < ARRAY_LEN(kind); i++) {
		CHECK(addr_parse(&a, str(kind[i].text)));
		CHECK(addr_is_usable_peer(&a) == kind[i].usable);
		CHECK(addr_is_loopback(&a) == kind[i].loopback);
	}
	return test_done();
}
