/* SPDX-License-Identifier: MIT */
/* content.c (test) - made content is the same on every machine and from every
 * offset; the torrent of it is right. The vectors were made by another program. */
#include "test/test.h"
#include "rig.h"

static void vectors(void)
{
	static uint8_t all[65536];
	uint8_t digest[SHA1_LEN], far[8];
	char hex[41];

	bt_load_content(all, sizeof(all), 0);
	hex_encode(hex, all, 16);
	CHECK(strcmp(hex, "2ab4ca9dee89fb17c26dffdd4a169dc9") == 0);
	sha1(all, sizeof(all), digest);
	hex_encode(hex, digest, sizeof(digest));
	CHECK(strcmp(hex, "3119df5ebcc73c24d66f8a220a0565334d0e6992") == 0);
	sha1(all + 13, 1001, digest);
	hex_encode(hex, digest, sizeof(digest));
	CHECK(strcmp(hex, "eb1190933a3487c77ad99e52bebb471192012f92") == 0);
	bt_load_content(far, sizeof(far), UINT64_C(1) << 40);
	hex_encode(hex, far, sizeof(far));
	CHECK(strcmp(hex, "c6acdc8f626b7855") == 0);
}

static void any_range(void)
{
	uint8_t all[128], part[130];

	bt_load_content(all, sizeof(all), 0);
	for (size_t from = 0; from < 40; from++) {
		for (size_t n = 0; from + n <= 80; n++) {
			memset(part, 0xee, sizeof(part));
			bt_load_content(part + 1, n, from);
			CHECK(part[0] == 0xee && part[n + 1] == 0xee && memcmp(part + 1, all + from, n) == 0);
		}
	}
}

static void one_torrent(uint64_t size, uint64_t piece_len)
{
	struct bt_meta *m = rig_meta(size, piece_len);
	uint8_t *p = malloc((size_t)size), digest[SHA1_LEN];
	bool same = true;

	bt_load_content(p, (size_t)size, 0);
	for (uint32_t i = 0; i < m->pieces; i++) {
		size_t off = (size_t)(i * m->piece_len);
		sha1(p + off, min_size((size_t)m->piece_len, (size_t)size - off), digest);
		same = same && memcmp(digest, m->hashes + i * SHA1_LEN, SHA1_LEN) == 0;
	}
	CHECK(same && m->size == size && m->single_file && strcmp(m->name, "made") == 0);
	CHECK(m->piece_len == (piece_len ? piece_len : 16384));
	bt_meta_free(m);
	free(p);
}

static bool stop_at_half(void *arg, uint64_t done, uint64_t total)
{
	*(uint64_t *)arg = done;
	return done < total / 2;
}

static void refusals(void)
{
	uint64_t seen = 0;
	struct bt_load_make stopped = { .name = "x", .size = 4 << 20, .on_progress = stop_at_half, .arg = &seen };
	static const struct bt_load_make wrong[] = {
		{ .name = "x" },
		{ .name = "x", .size = UINT64_MAX },
		{ .name = "x", .size = 1, .piece_len = 8192 },
		{ .name = "x", .size = 1, .piece_len = 16385 },
		{ .name = "x", .size = 1, .piece_len = UINT64_C(1) << 40 },
		{ .name = "x", .size = UINT64_C(1) << 50, .piece_len = 16384 },
	};
	char err[200];
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		err[0] = 0;
		CHECK(bt_load_make(&wrong[i], &len, err, sizeof(err)) == NULL && err[0] && len == 0);
	}
	CHECK(bt_load_make(&stopped, &len, err, sizeof(err)) == NULL && seen >= 2 << 20 && seen < 4 << 20);
}

int main(void)
{
	vectors();
	any_range();
	one_torrent(1, 0);
	one_torrent(16384, 0);
	one_torrent(16385, 0);
	one_torrent(3 * 65536 - 63, 65536);
	one_torrent(20 * 131072 + 4711, 131072);
	one_torrent(1 << 20, 1 << 20);
	refusals();
	return test_done();
}
