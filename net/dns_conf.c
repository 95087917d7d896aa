/* SPDX-License-Identifier: MIT */
/* dns_conf.c - the two files that say how names are found: resolv.conf(5) and
 * hosts(5), as text that somebody else has read. What isn't understood is
 * passed over, as libc does: these files are written by many programs. */
#include "net/dns.h"

#define TIMEOUT_S_MAX 30 /* as libc bounds them */
#define ATTEMPTS_MAX 5

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next line without its end; false at the end of the text. */
static bool next_line(struct slice *text, struct slice *line)
{
	const uint8_t *end;

	if (text->n == 0)
		return false;
	end = memchr(text->p, '\n', text->n);
	*line = slice_of(text->p, end ? (size_t)(end - text->p) : text->n);
	*text = end ? slice_of(end + 1, text->n - line->n - 1) : slice_of(NULL, 0);
	return true;
}

/* The next word of a line; false at its end. */
static bool next_word(struct slice *line, struct slice *word)
{
	size_t from = 0, to;

	while (from < line->n && is_blank(line->p[from]))
		from++;
	for (to = from; to < line->n && !is_blank(line->p[to]);)
		to++;
	if (from == to)
		return false;
	*word = slice_of(line->p + from, to - from);
	*line = slice_of(line->p + to, line->n - to);
	return true;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool same_name(struct slice a, struct slice b)
{
	if (a.n > 0 && a.p[a.n - 1] == '.')
		a.n--;
	if (b.n > 0 && b.p[b.n - 1] == '.')
		b.n--;
	if (a.n != b.n || a.n == 0)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

/* "192.0.2.1" or "[192.0.2.1]:5353" */
static bool parse_server(struct slice text, struct addr *a)
{
	const uint8_t *close;
	struct slice port;
	uint64_t v;
	size_t inside;

	if (text.n == 0 || text.p[0] != '[') {
		if (!addr_parse_ip(a, text))
			return false;
		a->port = 53;
		return true;
	}
	close = memchr(text.p, ']', text.n);
	if (!close)
		return false;
	inside = (size_t)(close - text.p) - 1;
	port = slice_of(close + 1, text.n - inside - 2);
	if (port.n < 2 || port.p[0] != ':' || !addr_parse_ip(a, slice_of(text.p + 1, inside)) ||
	    !parse_u64(slice_of(port.p + 1, port.n - 1), UINT16_MAX, &v) || v == 0)
		return false;
	a->port = (uint16_t)v;
	return true;
}

/* "name:12" -> 12, kept within 1..max */
static void parse_option(struct slice word, const char *name, uint64_t max, uint64_t *v)
{
	size_t n = strlen(name);
	uint64_t got;

	if (word.n <= n || memcmp(word.p, name, n) != 0)
		return;
	if (!parse_u64(slice_of(word.p + n, word.n - n), UINT32_MAX, &got))
		return;
	*v = got < 1 ? 1 : min_u64(got, max);
}

static void parse_search(struct slice word, struct dns_conf *conf)
{
	if (word.n >= sizeof(conf->search) || memchr(word.p, 0, word.n))
		return;
	if (word.n > 0 && word.p[word.n - 1] == '.')
		word.n--;
	memcpy(conf->search, word.p, word.n);
	conf->search[word.n] = 0;
}

void dns_conf_parse(struct slice text, struct dns_conf *conf)
{
	struct slice line, key, word;
	uint64_t timeout_s = 5, attempts = 2; /* libc's */

	memset(conf, 0, sizeof(*conf));
	while (next_line(&text, &line)) {
		if (!next_word(&line, &key) || key.p[0] == '#' || key.p[0] == ';' || !next_word(&line, &word))
			continue;
		if (slice_is(key, "nameserver")) {
			if (conf->nservers < ARRAY_LEN(conf->servers) &&
			    parse_server(word, &conf->servers[conf->nservers]))
				conf->nservers++;
		} else if (slice_is(key, "search") || slice_is(key, "domain")) {
			parse_search(word, conf); /* the last such line counts */
		} else if (slice_is(key, "options")) {
			do {
				parse_option(word, "timeout:", TIMEOUT_S_MAX, &timeout_s);
				parse_option(word, "attempts:", ATTEMPTS_MAX, &attempts);
			} while (next_word(&line, &word));
		}
	}
	if (conf->nservers == 0) {
		memset(&conf->servers[0], 0, sizeof(conf->servers[0]));
		memcpy(conf->servers[0].ip, "\x7f\0\0\1", 4);
		conf->servers[0].port = 53;
		conf->nservers = 1;
	}
	conf->timeout_ms = (uint32_t)timeout_s * 1000;
	conf->attempts = (uint32_t)attempts;
}

size_t dns_hosts_find(struct slice hosts, const char *name, struct addr *out, size_t max)
{
	struct slice line, word, wanted = slice_str(name);
	struct addr a;
	size_t n = 0;

	while (n < max && next_line(&hosts, &line)) {
		const uint8_t *hash = memchr(line.p, '#', line.n);
		if (hash)
			line.n = (size_t)(hash - line.p);
		if (!next_word(&line, &word) || !addr_parse_ip(&a, word))
			continue;
		while (next_word(&line, &word)) {
			if (same_name(word, wanted)) {
				out[n++] = a;
				break;
			}
		}
	}
	return n;
}
