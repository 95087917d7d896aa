/* SPDX-License-Identifier: MIT */
/* hash.c - SHA-1 in MB/s of CPU time, for every block function of this CPU:
 * one stream, and 48 pieces of 256 KiB through sha1_many, from 72 MiB of data,
 * which is more than caches hold. BearSSL is the yardstick. Best of five. */
#include "sha1.h"
#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PIECE ((size_t)256 << 10)
#define PIECES ((size_t)288)
#define AT_ONCE ((size_t)48)

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_bearssl(const uint8_t *data)
{
	for (size_t i = 0; i < PIECES; i++) {
		br_sha1_context c;
		uint8_t digest[SHA1_LEN];

		br_sha1_init(&c);
		br_sha1_update(&c, data + i * PIECE, PIECE);
		br_sha1_out(&c, digest);
	}
}

static void run_one(const uint8_t *data)
{
	for (size_t i = 0; i < PIECES; i++) {
		uint8_t digest[SHA1_LEN];

		sha1(data + i * PIECE, PIECE, digest);
	}
}

static void run_many(const uint8_t *data)
{
	for (size_t i = 0; i < PIECES; i += AT_ONCE) {
		struct iovec parts[AT_ONCE];
		struct sha1_job jobs[AT_ONCE];

		for (size_t j = 0; j < AT_ONCE; j++) {
			parts[j] = (struct iovec){ (void *)(uintptr_t)(data + (i + j) * PIECE), PIECE };
			jobs[j] = (struct sha1_job){ .iov = &parts[j], .iovcnt = 1 };
		}
		sha1_many(jobs, AT_ONCE);
	}
}

static void measure(void (*run)(const uint8_t *), const uint8_t *data, const char *what, const char *how)
{
	double best = 1e9;

	for (int i = 0; i < 5; i++) {
		double t = cpu_seconds();

		run(data);
		t = cpu_seconds() - t;
		best = t < best ? t : best;
	}
	printf("%6.0f MB/s  %s, %s\n", (double)(PIECES * PIECE) / best / 1e6, what, how);
}

int main(void)
{
	static const char *const names[] = { "plain", "altivec", "neon", "sse2", "avx2", "sha-ni", "avx512",
					     "avx512+sha-ni" };
	uint8_t *data = aligned_alloc(4096, PIECES * PIECE);

	if (!data)
		return 1;
	for (size_t i = 0; i < PIECES * PIECE; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	measure(run_bearssl, data, "BearSSL", "one stream");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char how[32];

		if (!sha1_force(names[i]))
			continue;
		snprintf(how, sizeof(how), "%zu at once", sha1_lanes());
		measure(run_one, data, names[i], "one stream");
		measure(run_many, data, names[i], how);
	}
	free(data);
	return 0;
}
