/* SPDX-License-Identifier: MIT */
/* fast.c - small canonical computations about peers: the allowed-fast set
 * (BEP 6), peer priority (BEP 40), the client's name in a peer id (BEP 20). */
#include "wire/wire.h"
#include "sha1.h"

#include <stdio.h>

/* ---- allowed fast set ---- */

static bool contains(const uint32_t *set, size_t n, uint32_t v)
{
	for (size_t i = 0; i < n; i++)
		if (set[i] == v)
			return true;
	return false;
}

/* BEP 6 has "no provisions for IPv6", and a set that each client computes in its
 * own way would hand a peer other pieces from everyone, which is what the
 * canonical algorithm exists to prevent. So IPv6 peers get none. */
size_t fast_set(const struct addr *ip, const uint8_t info_hash[20], uint32_t pieces, uint32_t out[], size_t k)
{
	uint8_t x[4 + 20];
	size_t n = 0;
	if (ip->v6)
		return 0;
	if (pieces <= k) { /* every piece; the drawing below would be slow to find the last */
		for (; n < pieces; n++)
			out[n] = (uint32_t)n;
		return n;
	}
	memcpy(x, ip->ip, 3);
	x[3] = 0; /* one set per /24 */
	memcpy(x + 4, info_hash, 20);
	size_t len = sizeof(x);
	while (n < k) {
		sha1(x, len, x);
		len = SHA1_LEN;
		for (size_t i = 0; i < SHA1_LEN && n < k; i += 4) {
			uint32_t index = get_u32(x + i) % pieces;
			if (!contains(out, n, index))
				out[n++] = index;
		}
	}
	return n;
}

/* ---- peer priority ---- */

static uint32_t sorted_crc(const uint8_t *a, const uint8_t *b, size_t n)
{
	bool swap = memcmp(a, b, n) > 0;
	uint32_t crc = crc32c(0, swap ? b : a, n);
	return crc32c(crc, swap ? a : b, n);
}

/* Bytes up to and with the first one that differs count in full, but at least
 * the first 2 (IPv4, a /16) or 6 (IPv6, a /48); of the rest every second bit. */
uint32_t peer_priority(const struct addr *a, const struct addr *b)
{
	if (a->v6 != b->v6)
		return 0; /* such peers can't meet */
	if (addr_same_ip(a, b)) {
		uint8_t pa[2], pb[2];
		put_u16(pa, a->port);
		put_u16(pb, b->port);
		return sorted_crc(pa, pb, 2);
	}
	uint8_t ma[16], mb[16];
	size_t n = a->v6 ? 16 : 4, full = a->v6 ? 6 : 2, same = 0;
	while (a->ip[same] == b->ip[same])
		same++;
	if (full < same + 1)
		full = same + 1;
	for (size_t i = 0; i < n; i++) {
		uint8_t mask = i < full ? 0xff : 0x55;
		ma[i] = a->ip[i] & mask;
		mb[i] = b->ip[i] & mask;
	}
	return sorted_crc(ma, mb, n);
}

/* ---- names of clients ---- */

#define PEER_NAME 32

static const struct {
	char code[3];
	const char *name;
} clients[] = {
	{ "AZ", "Vuze" },       { "BC", "BitComet" },    { "BI", "BiglyBT" },      { "BT", "BitTorrent" },
	{ "DE", "Deluge" },     { "FD", "FDM" },         { "KT", "KTorrent" },     { "LT", "libtorrent" },
	{ "lt", "rTorrent" },   { "qB", "qBittorrent" }, { "TL", "Tribler" },      { "TR", "Transmission" },
	{ "TX", "Tixati" },     { "UT", "uTorrent" },    { "UM", "uTorrent Mac" }, { "UW", "uTorrent Web" },
	{ "WW", "WebTorrent" }, { "XL", "Xunlei" },
};

/* 0-9, then letters on from 10; -1 for anything else. Not isdigit: no locale. */
static int version_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	return -1;
}

/* -XX1234-: two letters, four digits of the version; a last 0 is not worth showing. */
static bool azureus_name(const uint8_t *id, char out[PEER_NAME])
{
	int v[4];
	if (id[0] != '-' || id[7] != '-' || version_digit(id[1]) < 0 || version_digit(id[2]) < 0)
		return false;
	for (int i = 0; i < 4; i++)
		if ((v[i] = version_digit(id[3 + i])) < 0)
			return false;
	char code[3] = { (char)id[1], (char)id[2], 0 };
	const char *name = code;
	if (memcmp(id, "-BT0", 4) == 0)
		name = "bt"; /* this one; BitTorrent Inc. began at 6 */
	else
		for (size_t i = 0; i < ARRAY_LEN(clients); i++)
			if (memcmp(clients[i].code, code, 2) == 0)
				name = clients[i].name;
	int n = snprintf(out, PEER_NAME, "%.16s %d.%d.%d", name, v[0], v[1], v[2]);
	if (v[3] && n > 0 && n < PEER_NAME)
		snprintf(out + n, PEER_NAME - (size_t)n, ".%d", v[3]);
	return true;
}

/* M7-10-5--: mainline; A2-1-36-0-: aria2 took the habit over. */
static bool mainline_name(const uint8_t *id, char out[PEER_NAME])
{
	const char *name;
	size_t i, n;
	int dashes = 0;
	if (id[0] == 'M') {
		name = "BitTorrent ";
		i = 1;
	} else if (memcmp(id, "A2-", 3) == 0) {
		name = "aria2 ";
		i = 3;
	} else {
		return false;
	}
	n = strlen(name);
	memcpy(out, name, n);
	for (; i < 12 && dashes < 3; i++) {
		if (id[i] >= '0' && id[i] <= '9')
			out[n++] = (char)id[i];
		else if (id[i] == '-' && out[n - 1] >= '0' && out[n - 1] <= '9' && ++dashes < 3)
			out[n++] = '.';
		else if (id[i] != '-')
			return false;
	}
	out[n] = 0;
	return dashes == 3;
}

/* S58B-----: one letter, up to five digits of the version, dashes (Shadow's style). */
static bool shadow_name(const uint8_t *id, char out[PEER_NAME])
{
	static const char *const names[] = {
		['A'] = "ABC",    ['O'] = "Osprey",     ['Q'] = "BTQueue",  ['R'] = "Tribler",
		['S'] = "Shadow", ['T'] = "BitTornado", ['U'] = "UPnP NAT",
	};
	size_t n = 1;
	if (id[0] >= ARRAY_LEN(names) || !names[id[0]])
		return false;
	while (n < 6 && version_digit(id[n]) >= 0)
		n++;
	if (n == 1 || memcmp(id + n, "---", 3) != 0)
		return false;
	size_t len = (size_t)snprintf(out, PEER_NAME, "%s %d", names[id[0]], version_digit(id[1]));
	for (size_t i = 2; i < n; i++)
		len += (size_t)snprintf(out + len, PEER_NAME - len, ".%d", version_digit(id[i]));
	return true;
}

void peer_id_name(const uint8_t id[20], char out[32])
{
	_Static_assert(PEER_NAME == 32, "as wire.h says");
	if (!azureus_name(id, out) && !mainline_name(id, out) && !shadow_name(id, out))
		memcpy(out, "unknown", 8);
}
