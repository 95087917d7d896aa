/* SPDX-License-Identifier: MIT */
/* dht_bloom.c - how many different addresses? (BEP 33) Filters of 2048 bits, two
 * bits an address, joined by OR. */
#include "find/dht_store.h"
#include "sha1.h"

static void indices(const struct addr *a, unsigned out[2])
{
	uint8_t h[SHA1_LEN];

	sha1(a->ip, a->v6 ? 16 : 4, h);
	out[0] = (h[0] | (unsigned)h[1] << 8) % (DHT_BLOOM * 8);
	out[1] = (h[2] | (unsigned)h[3] << 8) % (DHT_BLOOM * 8);
}

void dht_bloom_add(uint8_t bloom[DHT_BLOOM], const struct addr *a)
{
	unsigned at[2];

	indices(a, at);
	for (int i = 0; i < 2; i++)
		bloom[at[i] / 8] = (uint8_t)(bloom[at[i] / 8] | 1u << at[i] % 8);
}

bool dht_bloom_has(const uint8_t bloom[DHT_BLOOM], const struct addr *a)
{
	unsigned at[2];

	indices(a, at);
	return (bloom[at[0] / 8] >> at[0] % 8 & 1) && (bloom[at[1] / 8] >> at[1] % 8 & 1);
}

void dht_bloom_join(uint8_t bloom[DHT_BLOOM], const uint8_t other[DHT_BLOOM])
{
	for (int i = 0; i < DHT_BLOOM; i++)
		bloom[i] |= other[i];
}

/* ln(x) for x in 1..2048, without the mathematical library: x = 2^e m with m in
 * 1..2, and ln(m) = 2 artanh((m - 1) / (m + 1)) as its series. */
static double ln(double x)
{
	double y, power, sum = 0;
	int e = 0;

	for (; x >= 2; e++)
		x /= 2;
	y = (x - 1) / (x + 1);
	power = y;
	for (int i = 1; i < 30; i += 2) {
		sum += power / i;
		power *= y * y;
	}
	return e * 0.69314718055994530942 + 2 * sum;
}

double dht_bloom_count(const uint8_t bloom[DHT_BLOOM])
{
	double m = DHT_BLOOM * 8, zeros = m - bits_count(bloom, DHT_BLOOM * 8);

	if (zeros > m - 1)
		return 0;
	if (zeros < 1)
		zeros = 1;
	/* log(c/m) / (k log(1 - 1/m)) with k = 2 */
	return ln(m / zeros) / (2 * ln(m / (m - 1)));
}
