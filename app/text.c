/* SPDX-License-Identifier: MIT */
/* text.c - numbers and words for people: sizes, durations, columns, JSON
 * strings, error lines. Sizes are shown and read in powers of 1024, as aria2,
 * curl and wget do; the shown units say so (KiB). */
#include "app/app.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char units[][4] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };

char *size_text(char out[SIZE_TEXT], uint64_t bytes)
{
	double v = (double)bytes;
	size_t u = 0;

	/* 999.5 KiB would print as "1000 KiB": the next unit keeps three digits. Bytes stay exact. */
	while (v >= (u == 0 ? 1024 : 999.5) && u + 1 < COUNT_OF(units)) {
		v /= 1024;
		u++;
	}
	snprintf(out, SIZE_TEXT, "%.*f %.3s", u == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2, v, units[u]);
	return out;
}

char *power_text(char out[SIZE_TEXT], uint64_t bytes)
{
	uint64_t v = bytes;
	size_t u = 0;

	for (; v >= 1024 && v % 1024 == 0; v /= 1024)
		u++;
	if (v >= 10000)
		return size_text(out, bytes);
	snprintf(out, SIZE_TEXT, "%llu %.3s", (unsigned long long)v, units[u]);
	return out;
}

char *count_text(char out[SIZE_TEXT], uint64_t n)
{
	char digits[SIZE_TEXT];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	char *p = out;

	if (len > 15) { /* six commas more would not fit, and nobody reads them */
		memcpy(out, digits, (size_t)len + 1);
		return out;
	}
	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return out;
}

char *duration_text(char out[SIZE_TEXT], uint64_t seconds)
{
	unsigned long long s = seconds;

	if (s < 60)
		snprintf(out, SIZE_TEXT, "%llus", s);
	else if (s < 3600)
		snprintf(out, SIZE_TEXT, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, SIZE_TEXT, "%lluh%02llum", s / 3600, s / 60 % 60);
	else if (s < 86400ull * 1000)
		snprintf(out, SIZE_TEXT, "%llud%02lluh", s / 86400, s / 3600 % 24);
	else
		snprintf(out, SIZE_TEXT, "years");
	return out;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }

/* The factor of a unit: nothing, B, k, kB, KiB and so on to T. */
static uint64_t unit_factor(const char *unit)
{
	static const char letters[] = "kmgt";
	uint64_t power2 = 1, power10 = 1;

	if (*unit != '\0' && *unit != 'B') {
		char c = (char)(*unit | 0x20);
		const char *at = strchr(letters, c);
		if (at == NULL)
			return 0;
		for (const char *p = letters; p <= at; p++) {
			power2 *= 1024;
			power10 *= 1000;
		}
		unit++;
	}
	if (*unit == '\0' || strcmp(unit, "iB") == 0)
		return power2;
	return strcmp(unit, "B") == 0 ? power10 : 0;
}

bool size_parse(const char *text, uint64_t *bytes)
{
	uint64_t whole = 0, factor;
	double part = 0, scale = 0.1;

	if (!digit(*text))
		return false;
	for (; digit(*text); text++) {
		if (whole > UINT64_MAX / 16)
			return false;
		whole = whole * 10 + (uint64_t)(*text - '0');
	}
	if (*text == '.') {
		if (!digit(*++text))
			return false;
		for (; digit(*text); text++, scale /= 10)
			part += scale * (*text - '0');
	}
	factor = unit_factor(text);
	/* Half of the range is left free, so that sums of sizes can't wrap. */
	if (factor == 0 || whole > (uint64_t)INT64_MAX / factor - 1)
		return false;
	*bytes = whole * factor + (uint64_t)(part * (double)factor);
	return true;
}

/* Decodes one code point of text that bt_escape or the shell gave; invalid bytes count as one column. */
static uint32_t next_char(const char **text)
{
	const unsigned char *p = (const unsigned char *)*text;
	int more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
	uint32_t c = more == 0 ? p[0] : p[0] & (0x3fu >> more);

	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			more = i - 1;
			break;
		}
		c = c << 6 | (p[i] & 0x3f);
	}
	*text += more + 1;
	return c;
}

/* Columns of a code point. libc's wcwidth depends on the locale, and under a
 * static libc on which locales are installed; these ranges are the ones that
 * names are made of. */
static int char_width(uint32_t c)
{
	static const struct { uint32_t first, last; int width; } ranges[] = {
		{ 0x300, 0x36f, 0 },     { 0x483, 0x489, 0 },	  { 0x591, 0x5bd, 0 },   { 0x610, 0x61a, 0 },
		{ 0x64b, 0x65f, 0 },     { 0xe31, 0xe31, 0 },	  { 0xe34, 0xe3a, 0 },   { 0xe47, 0xe4e, 0 },
		{ 0x1100, 0x115f, 2 },   { 0x1ab0, 0x1aff, 0 },	  { 0x1dc0, 0x1dff, 0 }, { 0x200b, 0x200f, 0 },
		{ 0x20d0, 0x20ff, 0 },   { 0x231a, 0x231b, 2 },	  { 0x23e9, 0x23ec, 2 }, { 0x2e80, 0x303e, 2 },
		{ 0x3041, 0x4dbf, 2 },   { 0x4e00, 0xa4cf, 2 },	  { 0xa960, 0xa97f, 2 }, { 0xac00, 0xd7a3, 2 },
		{ 0xf900, 0xfaff, 2 },   { 0xfe00, 0xfe0f, 0 },	  { 0xfe20, 0xfe2f, 0 }, { 0xfe30, 0xfe6f, 2 },
		{ 0xff00, 0xff60, 2 },   { 0xffe0, 0xffe6, 2 },	  { 0x1f300, 0x1f64f, 2 }, { 0x1f680, 0x1f6ff, 2 },
		{ 0x1f900, 0x1faff, 2 }, { 0x20000, 0x3fffd, 2 }, { 0xe0100, 0xe01ef, 0 },
	};

	for (size_t i = 0; i < COUNT_OF(ranges) && c >= ranges[i].first; i++)
		if (c <= ranges[i].last)
			return ranges[i].width;
	return 1;
}

int text_width(const char *text)
{
	int width = 0;

	while (*text != '\0')
		width += char_width(next_char(&text));
	return width;
}

int text_fit(char *out, size_t size, const char *text, int width, bool utf8)
{
	const char *mark = utf8 ? "\xe2\x80\xa6" : "~";
	bool whole = text_width(text) <= width;
	int room = whole ? width : width - 1, used = 0;
	size_t n = 0;

	while (*text != '\0') {
		const char *from = text;
		uint32_t c = next_char(&text);
		size_t len = (size_t)(text - from);
		if (used + char_width(c) > room || len > size - 4 - n)
			break;
		memcpy(out + n, from, len);
		n += len;
		used += char_width(c);
	}
	out[n] = '\0';
	if (*text != '\0' && !whole && width > 0) {
		strcpy(out + n, mark);
		used++;
	}
	return used;
}

void json_text(FILE *f, const char *text)
{
	char *body;

	if (text == NULL) {
		fputs("null", f);
		return;
	}
	body = bt_escape_json(text);
	fprintf(f, "\"%s\"", body != NULL ? body : "");
	free(body);
}

void hash_text(char out[65], const struct bt_meta *m)
{
	for (uint32_t i = 0; i < m->hash_len && i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", m->info_hash[i]);
}

void complain(const char *cmd, const char *fmt, ...)
{
	char line[4096], safe[sizeof(line)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "bt%s%s: %s\n", cmd != NULL ? " " : "", cmd != NULL ? cmd : "",
		bt_escape(safe, sizeof(safe), line));
}
