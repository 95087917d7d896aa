/* SPDX-License-Identifier: MIT */
/* bencode.c - bencode (BEP 3), as bencode.h states. All judgement is in
 * ben_check, which goes over the bytes once with a bit per open level instead
 * of recursion; what follows it walks bytes known to be well-formed. It is
 * exact: every integer and length has one spelling, so a value accepted with
 * its keys in order is canonical. Start at ben_check(). */
#include "bencode.h"

#include <inttypes.h>

const struct ben_limits BEN_TORRENT = { .depth = 100, .tokens = 3000000 };
const struct ben_limits BEN_MESSAGE = { .depth = 16, .tokens = 10000 };

/* ---- one token: NULL when well-formed (cursor moved past it), else what is wrong
 * (cursor at the byte that is) ---- */

/* From behind the 'i' to behind the 'e'. */
static const char *read_int(struct cur *c, int64_t *out)
{
	bool neg = false;
	uint64_t v = 0, max = INT64_MAX;

	if (cur_left(c) && c->p[0] == '-') {
		neg = true;
		max = (uint64_t)INT64_MAX + 1;
		c->p++;
	}
	if (cur_left(c) && c->p[0] == '0') {
		if (neg)
			return "negative zero or leading zero in integer";
		c->p++;
		if (cur_left(c) && c->p[0] != 'e')
			return "leading zero in integer";
	} else {
		const uint8_t *first = c->p;

		for (; cur_left(c) && c->p[0] >= '0' && c->p[0] <= '9'; c->p++) {
			unsigned d = c->p[0] - (unsigned)'0';

			if (v > (max - d) / 10)
				return "integer does not fit 64 bits";
			v = v * 10 + d;
		}
		if (c->p == first && cur_left(c))
			return "digit expected in integer";
	}
	if (cur_left(c) == 0)
		return "truncated integer";
	if (c->p[0] != 'e')
		return "digit expected in integer";
	c->p++;
	*out = (int64_t)(neg ? 0 - v : v);
	return NULL;
}

/* From the first digit of the length to behind the last byte. */
static const char *read_str(struct cur *c, struct slice *out)
{
	size_t n = 0;

	if (cur_left(c) >= 2 && c->p[0] == '0' && c->p[1] != ':')
		return c->p[1] >= '0' && c->p[1] <= '9' ? "leading zero in string length"
							: "colon expected after string length";
	for (; cur_left(c) && c->p[0] >= '0' && c->p[0] <= '9'; c->p++) {
		unsigned d = c->p[0] - (unsigned)'0';

		if (n > (SIZE_MAX - d) / 10)
			return "string length overflows";
		n = n * 10 + d;
	}
	if (cur_left(c) == 0)
		return "truncated string length";
	if (c->p[0] != ':')
		return "colon expected after string length";
	c->p++;
	if (!cur_bytes(c, n, out))
		return "string longer than what is left";
	return NULL;
}

/* ---- the check ---- */

/* What is open. Between tokens: `top` is the innermost container's level (-1
 * none), want_key tells that a key or 'e' must follow. A container inside a
 * dictionary is always a value, so the dictionary wants a key once it closes:
 * one bit per level is all there is to remember. */
struct walk {
	uint32_t dicts[BEN_MAX_DEPTH / 32]; /* bit per level: dictionary, not list */
	struct slice key[BEN_MAX_DEPTH];    /* last key of each level's dictionary */
	bool keyed[BEN_MAX_DEPTH];          /* it has one */
	int top;
	bool want_key;
};

static bool walk_in_dict(const struct walk *w)
{
	return w->top >= 0 && (w->dicts[w->top / 32] >> (w->top % 32) & 1);
}

static void walk_open(struct walk *w, bool dict)
{
	uint32_t bit;

	w->top++;
	bit = 1u << (w->top % 32);
	if (dict)
		w->dicts[w->top / 32] |= bit;
	else
		w->dicts[w->top / 32] &= ~bit;
	w->keyed[w->top] = false;
	w->want_key = dict;
}

static unsigned walk_key(struct walk *w, struct slice key)
{
	struct slice last = w->key[w->top];
	size_t both = min_size(last.n, key.n);
	unsigned seen = 0;
	int order;

	if (w->keyed[w->top]) {
		order = both ? memcmp(last.p, key.p, both) : 0;
		if (order == 0 && last.n == key.n)
			seen = BEN_DUP_KEY;
		else if (order > 0 || (order == 0 && last.n > key.n))
			seen = BEN_UNSORTED;
	}
	w->key[w->top] = key;
	w->keyed[w->top] = true;
	w->want_key = false;
	return seen;
}

ptrdiff_t ben_check(struct slice in, const struct ben_limits *lim, struct ben *value, unsigned *seen,
		    struct ben_error *e)
{
	struct walk w;
	struct cur c = cur_of(in);
	int depth = (int)(lim->depth < BEN_MAX_DEPTH ? lim->depth : BEN_MAX_DEPTH);
	uint32_t tokens = 0;
	unsigned saw = 0;
	const char *what;
	struct slice s;
	int64_t i;

	w.top = -1;
	w.want_key = false;
	do {
		what = "truncated";
		if (cur_left(&c) == 0)
			goto bad;
		if (c.p[0] == 'e') {
			what = w.top < 0 ? "value expected" : "key without value";
			if (w.top < 0 || (walk_in_dict(&w) && !w.want_key))
				goto bad;
			c.p++;
			w.top--;
			w.want_key = walk_in_dict(&w);
			continue;
		}
		what = "too many values";
		if (tokens++ >= lim->tokens)
			goto bad;
		if (c.p[0] >= '0' && c.p[0] <= '9') {
			what = read_str(&c, &s);
			if (what)
				goto bad;
			if (w.want_key)
				saw |= walk_key(&w, s);
			else
				w.want_key = walk_in_dict(&w);
			continue;
		}
		what = "dictionary key is not a string";
		if (w.want_key)
			goto bad;
		if (c.p[0] == 'i') {
			c.p++;
			what = read_int(&c, &i);
			if (what)
				goto bad;
			w.want_key = walk_in_dict(&w);
		} else if (c.p[0] == 'l' || c.p[0] == 'd') {
			what = "nested too deep";
			if (w.top + 1 >= depth)
				goto bad;
			walk_open(&w, c.p[0] == 'd');
			c.p++;
		} else {
			what = "value expected";
			goto bad;
		}
	} while (w.top >= 0);

	if (seen)
		*seen = saw;
	if (value)
		*value = (struct ben){ in.p, c.p };
	return c.p - in.p;
bad:
	if (value)
		*value = (struct ben){ NULL, NULL };
	if (e) {
		e->what = what;
		e->off = (size_t)(c.p - in.p);
	}
	return -1;
}

/* ---- views of checked values ---- */

enum ben_type ben_type(struct ben v)
{
	if (!v.p)
		return BEN_NONE;
	switch (v.p[0]) {
	case 'i':
		return BEN_INT;
	case 'l':
		return BEN_LIST;
	case 'd':
		return BEN_DICT;
	}
	return BEN_STR;
}

bool ben_int(struct ben v, int64_t *out)
{
	struct cur c = { v.p, v.end };

	if (ben_type(v) != BEN_INT)
		return false;
	c.p++;
	return read_int(&c, out) == NULL;
}

bool ben_str(struct ben v, struct slice *out)
{
	struct cur c = { v.p, v.end };

	return ben_type(v) == BEN_STR && read_str(&c, out) == NULL;
}

struct slice ben_raw(struct ben v)
{
	return slice_of(v.p, (size_t)(v.end - v.p));
}

/* Moves past one value without looking into its integers and strings. */
static bool skip(struct cur *c)
{
	size_t open = 0;
	struct slice s;
	int64_t i;

	do {
		if (cur_left(c) == 0)
			return false;
		switch (c->p[0]) {
		case 'l':
		case 'd':
			open++;
			c->p++;
			break;
		case 'e':
			if (open == 0)
				return false;
			open--;
			c->p++;
			break;
		case 'i':
			c->p++;
			if (read_int(c, &i))
				return false;
			break;
		default:
			if (read_str(c, &s))
				return false;
		}
	} while (open);
	return true;
}

void ben_iter(struct ben v, struct ben_it *it)
{
	enum ben_type type = ben_type(v);

	*it = (struct ben_it){ NULL, NULL, type == BEN_DICT };
	if (type == BEN_DICT || type == BEN_LIST) {
		it->p = v.p + 1;
		it->end = v.end - 1; /* its 'e' */
	}
}

bool ben_next(struct ben_it *it, struct slice *key, struct ben *val)
{
	struct cur c = { it->p, it->end };

	*key = slice_of(NULL, 0);
	*val = (struct ben){ NULL, NULL };
	if (cur_left(&c) == 0 || (it->dict && read_str(&c, key)))
		return false;
	val->p = c.p;
	if (!skip(&c)) {
		val->p = NULL;
		return false;
	}
	val->end = it->p = c.p;
	return true;
}

struct ben ben_get(struct ben d, const char *key)
{
	struct slice want = slice_str(key), k;
	struct ben_it it;
	struct ben v;

	ben_iter(d, &it);
	while (it.dict && ben_next(&it, &k, &v))
		if (slice_eq(k, want))
			return v;
	return (struct ben){ NULL, NULL };
}

bool ben_get_int(struct ben d, const char *key, int64_t *out)
{
	return ben_int(ben_get(d, key), out);
}

bool ben_get_str(struct ben d, const char *key, struct slice *out)
{
	return ben_str(ben_get(d, key), out);
}

/* ---- writer ---- */

void ben_put_int(struct buf *b, int64_t v)
{
	buf_printf(b, "i%" PRId64 "e", v);
}

void ben_put_bytes(struct buf *b, const void *p, size_t n)
{
	buf_printf(b, "%zu:", n);
	buf_put(b, p, n);
}

void ben_put_str(struct buf *b, const char *s)
{
	ben_put_bytes(b, s, strlen(s));
}

void ben_put_raw(struct buf *b, struct slice value)
{
	buf_put(b, value.p, value.n);
}

void ben_open_dict(struct buf *b)
{
	buf_u8(b, 'd');
}

void ben_open_list(struct buf *b)
{
	buf_u8(b, 'l');
}

void ben_close(struct buf *b)
{
	buf_u8(b, 'e');
}
