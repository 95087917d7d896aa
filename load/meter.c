/* SPDX-License-Identifier: MIT */
/* meter.c - numbers about numbers: a log-linear histogram, so that percentiles of
 * millions of latencies cost 9 KiB and one increment each; and how evenly bytes
 * were spread over connections (Jain's index). Start at load_hist_add(). */
#include "load/load.h"
#include <stdlib.h>

#define SUB (1u << LOAD_HIST_BITS)

/* Values below 2 * SUB have a bucket each; from there on each power of two has SUB,
 * and `shift` says how many low bits a bucket joins. */
static size_t hist_bucket(uint64_t v)
{
	unsigned shift;

	if (v >= UINT64_C(1) << LOAD_HIST_TOP)
		return LOAD_HIST_LEN - 1;
	if (v < 2 * SUB)
		return (size_t)v;
	shift = 63u - (unsigned)__builtin_clzll(v) - LOAD_HIST_BITS;
	return (size_t)shift * SUB + (size_t)(v >> shift);
}

/* The largest value of a bucket. */
static uint64_t hist_end(size_t bucket)
{
	uint64_t shift = bucket / SUB;

	if (bucket < 2 * SUB)
		return bucket;
	shift--;
	return ((bucket - shift * SUB + 1) << shift) - 1;
}

void load_hist_add(struct load_hist *h, uint64_t value)
{
	h->count[hist_bucket(value)]++;
	h->n++;
	if (value > h->max)
		h->max = value;
}

uint64_t load_hist_at(const struct load_hist *h, double part)
{
	double want = part * (double)h->n;
	uint64_t seen = 0;

	for (size_t i = 0; i < LOAD_HIST_LEN; i++) {
		seen += h->count[i];
		if (seen > 0 && (double)seen >= want)
			return min_u64(i == LOAD_HIST_LEN - 1 ? h->max : hist_end(i), h->max);
	}
	return h->max;
}

void load_hist_tell(const struct load_hist *h, struct bt_load_times *t)
{
	*t = (struct bt_load_times){
		.n = h->n,
		.p50 = load_hist_at(h, 0.5),
		.p90 = load_hist_at(h, 0.9),
		.p99 = load_hist_at(h, 0.99),
		.p999 = load_hist_at(h, 0.999),
		.max = h->max,
	};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void load_fairness(uint64_t *v, size_t n, struct bt_load_side *f)
{
	double sum = 0, squares = 0;

	f->n = (uint32_t)n;
	if (n == 0)
		return;
	qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < n; i++) {
		sum += (double)v[i];
		squares += (double)v[i] * (double)v[i];
	}
	f->min = v[0];
	f->median = n % 2 ? v[n / 2] : v[n / 2 - 1] + (v[n / 2] - v[n / 2 - 1]) / 2;
	f->max = v[n - 1];
	f->jain = squares > 0 ? sum * sum / ((double)n * squares) : 0;
}
