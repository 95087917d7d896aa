/* SPDX-License-Identifier: MIT */
/* rate.c: what a rate is after steady flow, bursts, silence and long silence,
 * however often it is asked. */
#include "swarm/swarm.h"
#include "test/test.h"

static bool near(uint64_t value, uint64_t wanted)
{
	return value >= wanted - wanted / 20 && value <= wanted + wanted / 20;
}

static void test_steady(void)
{
	/* in parts of any size, asked or not, from any start */
	for (uint64_t step = 1; step <= 1000; step = step * 3 + 1)
		for (uint64_t start = 0; start < 5000000; start = start * 7 + 1234) {
			struct rate r = { 0 };
			uint64_t now = start;
			for (; now < start + 8000; now += step) {
				rate_add(&r, step * 50, now);
				if (step % 2)
					(void)rate_get(&r, now);
			}
			CHECK(r.total == (now - start) * 50 && near(rate_get(&r, now), 50000));
		}
}

static void test_begin(void)
{
	struct rate r = { 0 };

	CHECK(rate_get(&r, 0) == 0 && rate_get(&r, 123456) == 0);
	rate_add(&r, 1000, 200000); /* the silence before it counts for nothing */
	CHECK(rate_get(&r, 200000) == 1000);
	rate_add(&r, 500, 200900);
	CHECK(rate_get(&r, 200900) == 1500);
	CHECK(rate_get(&r, 201100) == 1500); /* one whole second */
	CHECK(rate_get(&r, 202100) == 750);  /* two */
	CHECK(rate_get(&r, 203100) == 500);
}

static void test_silence(void)
{
	struct rate r = { 0 };
	uint64_t now = 5000, before;

	for (; now < 15000; now += 100)
		rate_add(&r, 10000, now);
	before = rate_get(&r, now);
	CHECK(near(before, 100000));
	for (int i = 0; i < 20; i++) { /* never up, soon small */
		uint64_t after = rate_get(&r, now += 1000);
		CHECK(after <= before);
		before = after;
	}
	CHECK(before < 1000);
	CHECK(rate_get(&r, now + 40000) == 0 && r.total == 1000000);
	/* asked once after a long time is as if it had been asked often */
	struct rate a = { 0 }, b = { 0 };
	for (now = 1000; now < 9000; now += 10) {
		rate_add(&a, 77, now);
		rate_add(&b, 77, now);
	}
	for (uint64_t t = now; t < now + 12345; t += 111)
		(void)rate_get(&a, t);
	CHECK(rate_get(&a, now + 12345) == rate_get(&b, now + 12345));
	/* and it begins again */
	for (now += 3600000; now < 3600000 + 30000; now += 100)
		rate_add(&b, 5000, now);
	CHECK(near(rate_get(&b, now), 50000));
}

static void test_large(void)
{
	struct rate r = { 0 };
	uint64_t tera = UINT64_C(1) << 40;

	for (uint64_t now = 1; now < 10000; now += 1000)
		rate_add(&r, tera, now);
	CHECK(near(rate_get(&r, 10001), tera));
}

int main(void)
{
	test_steady();
	test_begin();
	test_silence();
	test_large();
	return test_done();
}
