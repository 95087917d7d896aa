/* SPDX-License-Identifier: MIT */
/* addr.c - socket addresses (the contract is in net.h): IPv4 and IPv6 with a
 * port, as text and as the kernel has them. Numbers only; names are DNS's
 * business (net/dns.c). No I/O. */
#include "net.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const struct addr *a)
{
	return a->v6 && memcmp(a->ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* ::ffff:1.2.3.4 and 1.2.3.4 are one host; one form keeps comparisons true. */
static void set_v6(struct addr *a, const void *ip)
{
	memcpy(a->ip, ip, 16);
	a->v6 = 1;
	if (is_mapped(a)) {
		memmove(a->ip, a->ip + 12, 4);
		memset(a->ip + 4, 0, 12);
		a->v6 = 0;
	}
}

bool addr_parse_ip(struct addr *a, struct slice text)
{
	char s[INET6_ADDRSTRLEN];
	uint8_t ip[16];

	memset(a, 0, sizeof(*a));
	if (text.n == 0 || text.n >= sizeof(s) || memchr(text.p, 0, text.n))
		return false;
	memcpy(s, text.p, text.n);
	s[text.n] = 0;
	if (inet_pton(AF_INET, s, ip) == 1) {
		memcpy(a->ip, ip, 4);
		return true;
	}
	if (inet_pton(AF_INET6, s, ip) != 1)
		return false;
	set_v6(a, ip);
	return true;
}

/* 0..65535 without sign, blank or leading zero */
static bool parse_port(struct slice text, uint16_t *port)
{
	uint32_t v = 0;

	if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0'))
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(text.p[i] - '0');
	}
	*port = (uint16_t)v;
	return v <= UINT16_MAX;
}

bool addr_parse(struct addr *a, struct slice text)
{
	size_t colon = text.n, ip = 0, ip_end;

	memset(a, 0, sizeof(*a));
	while (colon > 0 && text.p[colon - 1] != ':')
		colon--;
	if (colon < 2)
		return false;
	ip_end = colon - 1;
	if (text.p[0] == '[') {
		if (text.p[ip_end - 1] != ']')
			return false;
		ip = 1;
		ip_end--;
	}
	if (ip_end <= ip || !addr_parse_ip(a, slice_of(text.p + ip, ip_end - ip)))
		return false;
	/* Brackets if and only if the text is IPv6: "::1:80" is ambiguous. */
	if ((memchr(text.p + ip, ':', ip_end - ip) != NULL) != (ip == 1))
		return false;
	return parse_port(slice_of(text.p + colon, text.n - colon), &a->port);
}

char *addr_format(const struct addr *a, char out[ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "";

	inet_ntop(a->v6 ? AF_INET6 : AF_INET, a->ip, ip, sizeof(ip));
	snprintf(out, ADDR_TEXT, a->v6 ? "[%s]:%u" : "%s:%u", ip, a->port);
	return out;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->v6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		memcpy(&in6->sin6_addr, a->ip, 16);
		return sizeof(*in6);
	}
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	in->sin_family = AF_INET;
	in->sin_port = htons(a->port);
	memcpy(&in->sin_addr, a->ip, 4);
	return sizeof(*in);
}

bool addr_from_sockaddr(struct addr *a, const struct sockaddr_storage *ss)
{
	memset(a, 0, sizeof(*a));
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
		memcpy(a->ip, &in->sin_addr, 4);
		a->port = ntohs(in->sin_port);
		return true;
	}
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
		set_v6(a, &in6->sin6_addr);
		a->port = ntohs(in6->sin6_port);
		return true;
	}
	return false;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return a->v6 ? memcmp(a->ip, one, 16) == 0 : a->ip[0] == 127;
}

bool addr_is_usable_peer(const struct addr *a)
{
	static const uint8_t none[16], broadcast[4] = { 255, 255, 255, 255 };

	if (a->port == 0)
		return false;
	/* A mapped one that came in a list of IPv6 peers would slip past the
	 * bans and the rules for its IPv4 form. */
	if (a->v6)
		return memcmp(a->ip, none, 16) != 0 && a->ip[0] != 0xff && !is_mapped(a);
	return a->ip[0] != 0 && (a->ip[0] & 0xf0) != 0xe0 && memcmp(a->ip, broadcast, 4) != 0;
}
