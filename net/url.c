/* SPDX-License-Identifier: MIT */
/* url.c - URLs as text (RFC 3986), only as much as an HTTP client and trackers
 * need: taking one apart, %-encoding, resolving the target of a redirect, and
 * a form that is safe to show. Pure: no look-ups, no allocation but the buffers
 * given. No IDNA: host names are ASCII. Start at url_parse(). */
#include "net/http.h"

/* RFC 3986 sets no length; servers refuse request lines past about 8 KiB, so
 * nothing longer is of use. */
#define URL_MAX 8192

static bool is_alpha(uint8_t c)
{
	c |= 0x20;
	return c >= 'a' && c <= 'z';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static struct slice part(struct slice s, size_t from, size_t to)
{
	return slice_of(s.p + from, to - from);
}

/* Index of the first byte of s, from `at` on, that is in set; s.n when none is. */
static size_t find_any(struct slice s, size_t at, const char *set)
{
	for (; at < s.n; at++)
		if (s.p[at] && strchr(set, s.p[at]))
			break;
	return at;
}

/* Length of the scheme that text begins with, 0 when there is none. */
static size_t scheme_len(struct slice text)
{
	size_t i;

	if (text.n == 0 || !is_alpha(text.p[0]))
		return 0;
	for (i = 1; i < text.n; i++)
		if (!is_alpha(text.p[i]) && !is_digit(text.p[i]) && text.p[i] != '+' && text.p[i] != '-' &&
		    text.p[i] != '.')
			break;
	return i < text.n && text.p[i] == ':' ? i : 0;
}

bool url_scheme_is(const struct url *u, const char *lower)
{
	size_t n = strlen(lower);

	if (u->scheme.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((u->scheme.p[i] | 0x20) != lower[i])
			return false;
	return true;
}

static uint16_t default_port(const struct url *u)
{
	return url_scheme_is(u, "http") ? 80 : url_scheme_is(u, "https") ? 443 : 0;
}

/* [userinfo@]host[:port]. A second '@' and backslashes are refused: what ends
 * the userinfo then is where other parsers disagree, and requests go astray. */
static bool parse_authority(struct slice a, struct url *u)
{
	size_t at = find_any(a, 0, "@"), end;
	uint64_t port = 0;

	if (find_any(a, 0, "\\") < a.n)
		return false;
	u->userinfo = slice_of(a.p, 0);
	if (at < a.n) {
		u->userinfo = part(a, 0, at);
		a = part(a, at + 1, a.n);
	}
	if (a.n && a.p[0] == '[') {
		end = find_any(a, 1, "]");
		if (end == a.n)
			return false;
		u->host = part(a, 1, end);
		for (size_t i = 0; i < u->host.n; i++)
			if (!is_hex(u->host.p[i]) && u->host.p[i] != ':' && u->host.p[i] != '.')
				return false;
		if (find_any(u->host, 0, ":") == u->host.n)
			return false;
		a = part(a, end + 1, a.n);
	} else {
		end = find_any(a, 0, ":");
		u->host = part(a, 0, end);
		for (size_t i = 0; i < end; i++)
			if (!is_alpha(a.p[i]) && !is_digit(a.p[i]) && a.p[i] != '-' && a.p[i] != '.' && a.p[i] != '_')
				return false;
		a = part(a, end, a.n);
	}
	if (u->host.n == 0 || u->host.n > DNS_NAME_MAX + 1)
		return false;
	u->port = default_port(u);
	if (a.n == 0)
		return true;
	if (a.p[0] != ':')
		return false;
	if (a.n == 1) /* "host:" means the default (RFC 3986 6.2.3) */
		return true;
	if (!parse_u64(part(a, 1, a.n), 65535, &port) || port == 0)
		return false;
	u->port = (uint16_t)port;
	return true;
}

bool url_parse(struct slice text, struct url *u)
{
	size_t n = scheme_len(text), end;

	if (n == 0 || text.n > URL_MAX || text.n - n < 3 || text.p[n + 1] != '/' || text.p[n + 2] != '/')
		return false;
	/* blanks and control bytes would split the request line */
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= 0x20 || text.p[i] == 0x7f)
			return false;
	u->scheme = part(text, 0, n);
	end = find_any(text, n + 3, "/?#");
	if (!parse_authority(part(text, n + 3, end), u))
		return false;
	u->path = part(text, end, find_any(text, end, "#"));
	if (u->path.n == 0)
		u->path = slice_str("/");
	return true;
}

void url_put_authority(struct buf *out, const struct url *u)
{
	bool v6 = find_any(u->host, 0, ":") < u->host.n;

	if (v6)
		buf_u8(out, '[');
	buf_put(out, u->host.p, u->host.n);
	if (v6)
		buf_u8(out, ']');
	if (u->port != default_port(u))
		buf_printf(out, ":%u", u->port);
}

static void put_escaped(struct buf *b, uint8_t c)
{
	static const char digits[] = "0123456789ABCDEF";
	uint8_t text[3] = { '%', (uint8_t)digits[c >> 4], (uint8_t)digits[c & 15] };

	buf_put(b, text, 3);
}

void url_escape(struct buf *b, struct slice raw)
{
	for (size_t i = 0; i < raw.n; i++) {
		uint8_t c = raw.p[i];

		if (is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~')
			buf_u8(b, c);
		else
			put_escaped(b, c);
	}
}

void url_put_path(struct buf *out, struct slice path)
{
	if (path.n == 0 || path.p[0] != '/')
		buf_u8(out, '/');
	for (size_t i = 0; i < path.n; i++) {
		if (path.p[i] <= 0x20 || path.p[i] >= 0x7f)
			put_escaped(out, path.p[i]);
		else
			buf_u8(out, path.p[i]);
	}
}

size_t url_unescape(uint8_t *out, size_t max, struct slice text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n && n < max; i++) {
		if (text.p[i] == '%' && text.n - i > 2 && hex_decode(&out[n], 1, part(text, i + 1, i + 3))) {
			i += 2;
			n++;
		} else {
			out[n++] = text.p[i];
		}
	}
	return n;
}

/* ---- references (RFC 3986 5.2) ---- */

/* Appends path with "." and ".." taken out (5.2.4), segment by segment: what
 * was written since `from` is the output so far, so ".." cuts it at its last
 * slash and never goes above the root. */
static void put_without_dots(struct buf *out, size_t from, struct slice path)
{
	size_t i = 0;

	while (i < path.n && !out->failed) {
		size_t next = find_any(path, i + 1, "/");
		struct slice seg = part(path, i, next); /* begins with '/' */

		if (slice_is(seg, "/..") || slice_is(seg, "/.")) {
			if (seg.n == 3)
				while (out->n > from && out->p[--out->n] != '/')
					;
			if (next == path.n)
				buf_u8(out, '/');
		} else {
			buf_put(out, seg.p, seg.n);
		}
		i = next;
	}
}

bool url_resolve(struct buf *out, const struct url *base, struct slice ref)
{
	struct buf path;
	struct slice ref_path, query, base_path;
	size_t end, from;
	bool ok = false;

	ref = part(ref, 0, find_any(ref, 0, "#"));
	if (ref.n > URL_MAX)
		return false;
	for (size_t i = 0; i < ref.n; i++)
		if (ref.p[i] < 0x20 || ref.p[i] == 0x7f)
			return false;
	buf_init(&path, 2 * URL_MAX);
	from = scheme_len(ref);
	if (from) {
		buf_put(out, ref.p, from);
		ref = part(ref, from + 1, ref.n);
		/* "http:x" and "mailto:x" name no host */
		if (ref.n < 2 || memcmp(ref.p, "//", 2) != 0)
			goto out;
	} else {
		buf_put(out, base->scheme.p, base->scheme.n);
	}
	buf_puts(out, "://");
	end = find_any(base->path, 0, "?");
	base_path = part(base->path, 0, end);
	query = slice_of(ref.p, 0);
	if (ref.n >= 2 && memcmp(ref.p, "//", 2) == 0) {
		end = find_any(ref, 2, "/?");
		buf_put(out, ref.p + 2, end - 2);
		ref = part(ref, end, ref.n);
		base_path = slice_str("/");
	} else {
		url_put_authority(out, base);
		if (ref.n == 0) /* the base itself, with its query */
			query = part(base->path, end, base->path.n);
	}
	end = find_any(ref, 0, "?");
	ref_path = part(ref, 0, end);
	if (end < ref.n)
		query = part(ref, end, ref.n);
	/* merge (5.2.3): an absolute path replaces, a relative one follows the base's last slash */
	if (ref_path.n == 0 || ref_path.p[0] != '/') {
		size_t keep = base_path.n;

		if (ref_path.n)
			while (keep && base_path.p[keep - 1] != '/')
				keep--;
		url_put_path(&path, part(base_path, 0, keep));
	}
	for (size_t i = 0; i < ref_path.n; i++) {
		if (ref_path.p[i] == 0x20 || ref_path.p[i] >= 0x7f)
			put_escaped(&path, ref_path.p[i]);
		else
			buf_u8(&path, ref_path.p[i]);
	}
	put_without_dots(out, out->n, slice_of(path.p, path.n));
	for (size_t i = 0; i < query.n; i++) {
		if (query.p[i] == 0x20 || query.p[i] >= 0x7f)
			put_escaped(out, query.p[i]);
		else
			buf_u8(out, query.p[i]);
	}
	ok = !out->failed && !path.failed;
out:
	buf_release(&path);
	return ok;
}

/* ---- for people ---- */

/* Private trackers put a person's key into the path too: a long run of letters
 * and digits that no one would choose as a name. */
static bool looks_secret(struct slice seg)
{
	size_t digits = 0;

	for (size_t i = 0; i < seg.n; i++) {
		if (!is_alpha(seg.p[i]) && !is_digit(seg.p[i]) && seg.p[i] != '-' && seg.p[i] != '_')
			return false;
		digits += is_digit(seg.p[i]);
	}
	return seg.n >= 16 && digits >= 2;
}

static void put_redacted_path(struct buf *b, struct slice path)
{
	size_t i = 0, query = find_any(path, 0, "?");

	while (i < query) {
		size_t next = find_any(path, i + 1, "/?");
		struct slice seg = part(path, i + 1, next);

		buf_u8(b, '/');
		if (looks_secret(seg))
			buf_puts(b, "..");
		else
			buf_put(b, seg.p, seg.n);
		i = next;
	}
	while (i < path.n) {
		size_t next = find_any(path, i + 1, "&;"), eq = find_any(part(path, 0, next), i, "=");

		if (eq == next && looks_secret(part(path, i + 1, next)))
			eq = i + 1;
		buf_put(b, path.p + i, eq - i);
		if (eq < next)
			buf_puts(b, eq == i + 1 ? ".." : "=..");
		i = next;
	}
}

void url_redact(char *out, size_t size, struct slice text)
{
	struct url u;
	struct buf b;

	/* "=.." and "/.." may each replace one byte, so three times the text is enough */
	buf_init(&b, 3 * URL_MAX);
	if (url_parse(text, &u)) {
		buf_put(&b, u.scheme.p, u.scheme.n);
		buf_puts(&b, "://");
		url_put_authority(&b, &u);
		put_redacted_path(&b, u.path);
	} else {
		/* no telling where its secrets are: show what can't hold one */
		size_t end = find_any(text, 0, "?#");

		if (find_any(text, 0, "@") < text.n)
			end = scheme_len(text);
		buf_put(&b, text.p, min_size(end, 64));
		buf_puts(&b, end < text.n || end > 64 ? ".." : "");
	}
	text_escape(out, size, slice_of(b.p, b.n));
	buf_release(&b);
}
