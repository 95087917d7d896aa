/* SPDX-License-Identifier: MIT */
/* dht_id.c - node ids: distance (BEP 5), ids made from addresses (BEP 42), and
 * which addresses are whose. Start at dht_id_fits(). */
#include "find/dht_table.h"

int dht_nearer(const uint8_t target[20], const uint8_t a[20], const uint8_t b[20])
{
	for (int i = 0; i < 20; i++)
		if (a[i] != b[i])
			return (a[i] ^ target[i]) < (b[i] ^ target[i]) ? -1 : 1;
	return 0;
}

unsigned dht_shared_bits(const uint8_t a[20], const uint8_t b[20])
{
	unsigned n = 0;

	while (n < 160 && bit_get(a, n) == bit_get(b, n))
		n++;
	return n;
}

bool dht_addr_is_local(const struct addr *a)
{
	const uint8_t *ip = a->ip;

	if (addr_is_loopback(a))
		return true;
	if (a->v6)
		return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
	return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
	       (ip[0] == 169 && ip[1] == 254);
}

/* A stranger's word must not make us send to our own host or network; ports 0
 * and 1 are never a node's, but a common sign of rubbish. */
bool dht_addr_is_askable(const struct addr *a, const struct addr *teller)
{
	if (!addr_is_usable_peer(a) || a->port < 2)
		return false;
	if (addr_is_loopback(a))
		return addr_is_loopback(teller);
	return !dht_addr_is_local(a) || dht_addr_is_local(teller);
}

uint64_t dht_ip_key(const struct addr *a)
{
	uint64_t key = a->v6 ? get_u64(a->ip) : get_u32(a->ip);

	return key ? key : 1; /* ::1 */
}

uint64_t dht_subnet_key(const struct addr *a)
{
	return a->v6 ? get_u64(a->ip) : get_u32(a->ip) >> 8;
}

/* The checksum whose first 21 bits an id at this address begins with, r its last 3. */
static uint32_t prefix_of(const struct addr *a, uint8_t r)
{
	static const uint8_t v4_mask[4] = { 0x03, 0x0f, 0x3f, 0xff };
	static const uint8_t v6_mask[8] = { 0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff };
	size_t n = a->v6 ? 8 : 4;
	uint8_t ip[8];

	for (size_t i = 0; i < n; i++)
		ip[i] = a->ip[i] & (a->v6 ? v6_mask[i] : v4_mask[i]);
	ip[0] = (uint8_t)(ip[0] | (r & 7) << 5);
	return crc32c(0, ip, n);
}

bool dht_id_fits(const uint8_t id[20], const struct addr *a)
{
	return dht_addr_is_local(a) || ((get_u32(id) ^ prefix_of(a, id[19])) & 0xfffff800u) == 0;
}

void dht_id_fit(uint8_t id[20], const struct addr *a)
{
	uint32_t prefix = prefix_of(a, id[19]);

	if (!dht_addr_is_local(a))
		put_u32(id, (prefix & 0xfffff800u) | (get_u32(id) & 0x7ff));
}

bool dht_vote(struct dht_votes *votes, const struct addr *voter, const struct addr *ip)
{
	uint64_t key = dht_ip_key(voter);
	unsigned i = 0, same = 0;

	while (i < votes->n && votes->v[i].voter != key)
		i++;
	if (i == DHT_VOTERS) { /* a new one takes the place of the oldest */
		i = votes->next;
		votes->next = (votes->next + 1) % DHT_VOTERS;
	} else if (i == votes->n) {
		votes->n++;
	}
	votes->v[i].voter = key;
	votes->v[i].ip = *ip;
	for (i = 0; i < votes->n; i++)
		same += addr_same_ip(&votes->v[i].ip, ip);
	return votes->n >= 5 && same * 2 > votes->n;
}
