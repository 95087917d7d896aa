/* SPDX-License-Identifier: MIT */
/* dht_vectors.h - values out of test/vectors/bep_vectors.json, found by looking for
 * a section's and a key's name: enough for a file that is ours. */
#ifndef BT_TEST_DHT_VECTORS_H
#define BT_TEST_DHT_VECTORS_H

#include "base/base.h"
#include "test/test.h"

static char vectors_text[16384];

static inline const char *vectors_section(const char *name)
{
	FILE *f = fopen("test/vectors/bep_vectors.json", "r");
	char quoted[32];

	CHECK(f);
	if (!f)
		return "";
	vectors_text[fread(vectors_text, 1, sizeof(vectors_text) - 1, f)] = 0;
	fclose(f);
	snprintf(quoted, sizeof(quoted), "\"%s\": {", name);
	return strstr(vectors_text, quoted) ? strstr(vectors_text, quoted) : "";
}

/* Moves *at behind the next value of that key; its text without quotes is in out. */
static inline bool vectors_next(const char **at, const char *key, char *out, size_t size)
{
	char quoted[64];
	const char *p;
	size_t n;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
	p = strstr(*at, quoted);
	if (!p)
		return false;
	p += strlen(quoted);
	p += *p == '"';
	n = strcspn(p, "\",\n");
	if (n >= size)
		return false;
	memcpy(out, p, n);
	out[n] = 0;
	*at = p + n;
	return true;
}

static inline bool vectors_hex(const char **at, const char *key, uint8_t *out, size_t n)
{
	char text[1200];

	return vectors_next(at, key, text, sizeof(text)) && hex_decode(out, n, slice_str(text));
}

#endif
