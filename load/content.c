/* SPDX-License-Identifier: MIT */
/* content.c - data that needs no disk: each 8 bytes are a mix of their number, low
 * byte first on every machine, so that any range can be made at any time. And the
 * torrent (BEP 3) of so many bytes of it. Not random enough for secrets; random
 * enough that nothing compresses it. Start at bt_load_content().
 *
 * One core of an AMD EPYC (Zen 4) makes 14 GB/s of it, with gcc and with clang. */
#include "load/load.h"
#include "torrent/metainfo.h"
#include <stdio.h>
#include <stdlib.h>

#define CHUNK 65536u /* of each piece, made and hashed at once; fits the second-level cache 16 times */

static inline uint64_t content_word(uint64_t i)
{
	uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return z ^ z >> 32;
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	memcpy(p, &v, sizeof(v));
}

void bt_load_content(void *out, size_t n, uint64_t off)
{
	uint64_t i = off / 8;
	uint8_t *p = out, word[8];
	size_t skip = (size_t)(off % 8), part;

	if (skip > 0 && n > 0) {
		put_le64(word, content_word(i++));
		part = min_size(8 - skip, n);
		memcpy(p, word + skip, part);
		p += part;
		n -= part;
	}
	for (; n >= 8; p += 8, n -= 8)
		put_le64(p, content_word(i++));
	if (n > 0) {
		put_le64(word, content_word(i));
		memcpy(p, word, n);
	}
}

/* Hashes pieces first..first+n, n <= SHA1_MAX_LANES, all of the same length. */
static void hash_row(uint8_t *scratch, uint64_t piece_len, uint64_t first, size_t n, uint64_t len, uint8_t *out)
{
	struct sha1 sha[SHA1_MAX_LANES], *s[SHA1_MAX_LANES];
	const uint8_t *p[SHA1_MAX_LANES];
	uint64_t done = 0;

	for (size_t i = 0; i < n; i++) {
		sha1_init(&sha[i]);
		s[i] = &sha[i];
		p[i] = scratch + i * CHUNK;
	}
	for (size_t part; done < len; done += part) {
		part = (size_t)min_u64(CHUNK, len - done);
		for (size_t i = 0; i < n; i++)
			bt_load_content(scratch + i * CHUNK, part, (first + i) * piece_len + done);
		if (part % 64)
			break;
		sha1_update_many(s, p, n, part);
	}
	for (size_t i = 0; i < n; i++)
		sha1_final(&sha[i], p[i], (size_t)(len - done), out + i * SHA1_LEN);
}

static uint8_t *hash_all(const struct bt_load_make *make, uint64_t piece_len, uint64_t pieces)
{
	uint8_t *hashes = alloc_array((size_t)pieces, SHA1_LEN), *scratch = alloc_array(SHA1_MAX_LANES, CHUNK);
	bool good = hashes && scratch;

	for (uint64_t i = 0, n; good && i < pieces; i += n) {
		uint64_t whole = make->size / piece_len; /* pieces of full length */
		n = i < whole ? min_u64(sha1_lanes(), whole - i) : 1;
		hash_row(scratch, piece_len, i, (size_t)n, i < whole ? piece_len : make->size % piece_len,
			 hashes + i * SHA1_LEN);
		good = !make->on_progress || make->on_progress(make->arg, min_u64((i + n) * piece_len, make->size), make->size);
	}
	free(scratch);
	if (!good) {
		free(hashes);
		return NULL;
	}
	return hashes;
}

uint8_t *bt_load_make(const struct bt_load_make *make, size_t *len, char *err, size_t err_size)
{
	uint64_t piece_len = make->piece_len ? make->piece_len : create_piece_len(make->size), pieces;
	struct create_file file = { .path = "", .len = make->size };
	uint8_t *hashes;
	struct buf out;

	*len = 0;
	if (make->size == 0 || make->size > INT64_MAX || piece_len < 16384 || piece_len > META_MAX_PIECE_LEN ||
	    piece_len & (piece_len - 1)) {
		snprintf(err, err_size, "no size, or no piece length: a power of two from 16 KiB to 256 MiB");
		return NULL;
	}
	pieces = make->size / piece_len + (make->size % piece_len != 0);
	if (pieces > META_MAX_PIECES) {
		snprintf(err, err_size, "more than %u pieces: choose a larger piece length", META_MAX_PIECES);
		return NULL;
	}
	hashes = hash_all(make, piece_len, pieces);
	if (!hashes) {
		snprintf(err, err_size, "stopped, or out of memory");
		return NULL;
	}
	buf_init(&out, META_MAX_BYTES);
	create_encode(&out, &(struct create){ .name = make->name, .files = &file, .nfiles = 1, .single_file = true,
					      .piece_len = piece_len, .hashes = hashes, .pieces = (uint32_t)pieces,
					      .trackers = make->trackers, .ntrackers = make->ntrackers,
					      .created_by = "bt/" BT_VERSION });
	free(hashes);
	if (out.failed) {
		buf_release(&out);
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	*len = out.n;
	return out.p;
}
