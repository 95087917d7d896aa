/* SPDX-License-Identifier: MIT */
/* sha1.c - tests of sha1.c: FIPS 180 vectors, then every block function this
 * CPU has against BearSSL, split and scattered in every way callers may. */
#include "sha1.h"
#include "test/test.h"
#include <bearssl.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const names[] = { "avx512+sha-ni", "avx512", "sha-ni", "avx2", "sse2", "neon", "altivec", "plain" };

static void reference(const void *p, size_t n, uint8_t out[SHA1_LEN])
{
	br_sha1_context c;

	br_sha1_init(&c);
	br_sha1_update(&c, p, n);
	br_sha1_out(&c, out);
}

static bool same(const void *p, size_t n, const uint8_t digest[SHA1_LEN])
{
	uint8_t want[SHA1_LEN];

	reference(p, n, want);
	return memcmp(want, digest, SHA1_LEN) == 0;
}

static void fill(uint8_t *p, size_t n)
{
	uint32_t x = 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (uint8_t)(x >> 24);
	}
}

static void test_vectors(void)
{
	static const struct {
		const char *text;
		size_t times;
		const char *hex;
	} v[] = {
		{ "", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
		{ "abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		  "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
		{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
		  "mnopqrstnopqrstu",
		  1, "a49b2446a02c645bf419f995b67091253a04a259" },
		{ "a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f" },
	};

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		size_t len = strlen(v[i].text), n = len * v[i].times;
		uint8_t *p = malloc(n + 1), digest[SHA1_LEN];
		char hex[2 * SHA1_LEN + 1];

		for (size_t k = 0; k < v[i].times; k++)
			memcpy(p + k * len, v[i].text, len);
		sha1(p, n, digest);
		for (size_t k = 0; k < SHA1_LEN; k++)
			snprintf(hex + 2 * k, 3, "%02x", digest[k]);
		CHECK(strcmp(hex, v[i].hex) == 0);
		free(p);
	}
}

/* Every length up to three blocks, every split into whole blocks and a tail,
 * at every alignment, ending right before an unreadable page. */
static void test_splits(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), wrong = 0;
	uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(map != MAP_FAILED);
	CHECK(mprotect(map + page, page, PROT_NONE) == 0);
	fill(map, page);
	for (size_t n = 0; n <= 200; n++) {
		const uint8_t *p = map + page - n;

		for (size_t first = 0; first <= n; first += 64) {
			for (size_t second = first; second <= n; second += 64) {
				struct sha1 s;
				uint8_t digest[SHA1_LEN];

				sha1_init(&s);
				sha1_update(&s, p, first);
				sha1_update(&s, p + first, second - first);
				sha1_final(&s, p + second, n - second, digest);
				wrong += !same(p, n, digest);
			}
		}
	}
	CHECK(wrong == 0);
	munmap(map, 2 * page);
}

/* Streams in different states that go on together, 1 to 40 of them. */
static void test_update_many(const uint8_t *data)
{
	size_t wrong = 0;

	for (size_t n = 1; n <= 40; n++) {
		struct sha1 s[40], *ptr[40];
		const uint8_t *p[40];
		uint8_t digest[SHA1_LEN];

		for (size_t i = 0; i < n; i++) {
			ptr[i] = &s[i];
			p[i] = data + 1001 * i + 64 * (i % 3);
			sha1_init(&s[i]);
			sha1_update(&s[i], data + 1001 * i, 64 * (i % 3));
		}
		sha1_update_many(ptr, p, n, 320);
		sha1_update_many(ptr, p, n, 0);
		for (size_t i = 0; i < n; i++) {
			sha1_final(&s[i], p[i] + 320, i, digest);
			wrong += !same(data + 1001 * i, 64 * (i % 3) + 320 + i, digest);
		}
	}
	CHECK(wrong == 0);
}

/* Messages of random lengths in random parts, 0 to 40 at a time. */
static void test_many(const uint8_t *data, size_t size)
{
	static struct iovec parts[40][64];
	size_t wrong = 0;

	for (size_t n = 0; n <= 40; n++) {
		struct sha1_job jobs[40];
		const uint8_t *start[40];
		size_t lens[40];

		for (size_t i = 0; i < n; i++) {
			size_t len = random_below(4) == 0 ? random_below(130) : random_below(20000), left = len;
			size_t k = 0;

			start[i] = data + random_below((uint32_t)(size - len));
			lens[i] = len;
			while (k < 63 && left >= 64 && random_below(8) > 0) {
				size_t part = 64 * (size_t)random_below((uint32_t)min_size(left / 64, 40) + 1);

				parts[i][k++] = (struct iovec){ (void *)(uintptr_t)(start[i] + len - left), part };
				left -= part;
			}
			if (left > 0 || random_below(2))
				parts[i][k++] = (struct iovec){ (void *)(uintptr_t)(start[i] + len - left), left };
			jobs[i] = (struct sha1_job){ .iov = parts[i], .iovcnt = k };
		}
		sha1_many(jobs, n);
		for (size_t i = 0; i < n; i++)
			wrong += !same(start[i], lens[i], jobs[i].digest);
	}
	CHECK(wrong == 0);
}

/* One message far longer than 2^29 bytes would be slow; the count of bits past
 * 2^32 is checked by lying about what came before. */
static void test_long_count(void)
{
	struct sha1 s;
	uint8_t got[SHA1_LEN], want[SHA1_LEN];
	br_sha1_context c;
	uint64_t before = (uint64_t)5 << 30;

	sha1_init(&s);
	s.len = before;
	sha1_final(&s, "abc", 3, got);
	br_sha1_init(&c);
	br_sha1_state(&c, want);
	br_sha1_set_state(&c, want, before);
	br_sha1_update(&c, "abc", 3);
	br_sha1_out(&c, want);
	CHECK(memcmp(got, want, SHA1_LEN) == 0);
}

int main(void)
{
	size_t size = 100000, tried = 0;
	uint8_t *data = malloc(size);

	fill(data, size);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!sha1_force(names[i]))
			continue;
		CHECK(strcmp(sha1_lanes_name(), names[i]) == 0);
		CHECK(sha1_lanes() >= 1 && sha1_lanes() <= SHA1_MAX_LANES);
		test_vectors();
		test_splits();
		test_update_many(data);
		test_many(data, size);
		test_long_count();
		tried++;
	}
	CHECK(tried > 0);
	CHECK(!sha1_force("no such thing"));
	CHECK(sha1_force(NULL));
	free(data);
	return test_done();
}
