/* SPDX-License-Identifier: MIT */
/* rate.c - bytes per second, kept lazily: whoever adds or asks moves the clock,
 * so an idle peer costs nothing. For the first seconds the mean is a plain
 * average; later it is exponential with a memory of about four seconds. */
#include "swarm/swarm.h"

static void rate_advance(struct rate *r, uint64_t now_ms)
{
	if (r->total == 0) { /* silence before the first byte is no rate */
		r->since_ms = now_ms;
		return;
	}
	uint64_t n = (now_ms - r->since_ms) / 1000;
	if (n == 0)
		return;
	r->since_ms += n * 1000;
	if (n > 30) { /* long silence */
		r->mean = r->bucket = 0;
		return;
	}
	for (; n; n--) {
		uint64_t weight = r->seconds < 4 ? r->seconds : 3;
		r->mean = (r->mean * weight + r->bucket) / (weight + 1);
		r->bucket = 0;
		if (r->seconds < 4)
			r->seconds++;
	}
}

void rate_add(struct rate *r, uint64_t bytes, uint64_t now_ms)
{
	rate_advance(r, now_ms);
	r->bucket += bytes;
	r->total += bytes;
}

uint64_t rate_get(struct rate *r, uint64_t now_ms)
{
	rate_advance(r, now_ms);
	if (r->seconds == 0) /* the first second: what came so far, as if it were the whole */
		return r->bucket;
	return r->mean;
}
