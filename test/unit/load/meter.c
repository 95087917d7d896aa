/* SPDX-License-Identifier: MIT */
/* meter.c (test) - the histogram against sorted values: never too low, at most
 * 1/32 too high; the ends of its range; fairness. */
#include "test/test.h"
#include "rig.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static struct load_hist *hist_of(const uint64_t *v, size_t n)
{
	struct load_hist *h = calloc(1, sizeof(*h));

	for (size_t i = 0; i < n; i++)
		load_hist_add(h, v[i]);
	return h;
}

/* n values, log-uniform below 2^bits, or uniform with bits 0. */
static void against_sorted(size_t n, unsigned bits)
{
	static const double parts[] = { 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1 };
	uint64_t *v = malloc(n * sizeof(*v)), seed = 42 + bits;
	struct load_hist *h;

	for (size_t i = 0; i < n; i++) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		v[i] = seed >> 24;
		v[i] = bits ? v[i] >> (40 - (seed >> 16) % (bits + 1)) : v[i] % 100000;
	}
	h = hist_of(v, n);
	qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		double rank = parts[i] * (double)n;
		size_t at = (size_t)rank;
		uint64_t exact = v[(double)at < rank ? at : at - 1], got = load_hist_at(h, parts[i]);
		CHECK(got >= exact && got <= exact + exact / 32);
	}
	CHECK(h->n == n && h->max == v[n - 1] && load_hist_at(h, 1) == v[n - 1] && load_hist_at(h, 0) >= v[0]);
	free(h);
	free(v);
}

static void edges(void)
{
	struct bt_load_times t;
	struct load_hist *h = calloc(1, sizeof(*h));

	CHECK(load_hist_at(h, 0.5) == 0);
	load_hist_tell(h, &t);
	CHECK(t.n == 0 && t.p50 == 0 && t.max == 0);
	for (uint64_t v = 0; v < 64; v++)
		load_hist_add(h, v);
	for (uint64_t v = 0; v < 64; v++) /* small ones are exact */
		CHECK(load_hist_at(h, (double)(v + 1) / 64) == v);
	free(h);
	for (unsigned shift = 0; shift < 64; shift++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (UINT64_C(1) << shift) + (uint64_t)d;
			h = hist_of(&v, 1);
			load_hist_tell(h, &t);
			CHECK(t.n == 1 && t.p50 == v && t.p999 == v && t.max == v); /* never above the largest */
			free(h);
		}
	}
	h = hist_of((uint64_t[]){ 1, UINT64_MAX, UINT64_MAX }, 3);
	CHECK(load_hist_at(h, 0.3) == 1 && load_hist_at(h, 0.5) == UINT64_MAX);
	free(h);
}

static void fairness(void)
{
	uint64_t even[] = { 7, 7, 7, 7 }, one[] = { 0, 0, 5, 0 }, odd[] = { 9, 1, 4 };
	struct bt_load_side s = { .bytes = 1 };

	load_fairness(even, 4, &s);
	CHECK(s.n == 4 && s.min == 7 && s.median == 7 && s.max == 7 && s.jain > 0.9999 && s.jain < 1.0001 && s.bytes == 1);
	load_fairness(one, 4, &s);
	CHECK(s.min == 0 && s.median == 0 && s.max == 5 && s.jain > 0.2499 && s.jain < 0.2501);
	load_fairness(odd, 3, &s);
	CHECK(s.n == 3 && s.min == 1 && s.median == 4 && s.max == 9);
	load_fairness((uint64_t[]){ UINT64_MAX, UINT64_MAX - 2 }, 2, &s);
	CHECK(s.median == UINT64_MAX - 1);
	load_fairness((uint64_t[]){ 0, 0 }, 2, &s);
	CHECK(s.n == 2 && s.max == 0 && s.jain < 0.0001);
	s = (struct bt_load_side){ 0 };
	load_fairness(NULL, 0, &s);
	CHECK(s.n == 0 && s.max == 0);
}

int main(void)
{
	against_sorted(100000, 0);
	against_sorted(1000, 0);
	against_sorted(100000, 39);
	against_sorted(50000, 20);
	against_sorted(1, 39);
	edges();
	fairness();
	return test_done();
}
