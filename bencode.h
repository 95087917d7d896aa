/* SPDX-License-Identifier: MIT */
/* bencode.h - reader and writer of bencode (BEP 3). The reader allocates
 * nothing: ben_check walks the bytes once, without recursion, under limits;
 * afterwards a `struct ben` is a view of one well-formed value and every walk
 * over it is safe. Views borrow the caller's bytes. */
#ifndef BT_BENCODE_H
#define BT_BENCODE_H

#include "base/base.h"

struct ben_limits {
	uint32_t depth;  /* nesting of lists and dictionaries; at most BEN_MAX_DEPTH */
	uint32_t tokens; /* values and keys in all */
};
#define BEN_MAX_DEPTH 128 /* file trees of BEP 52 may nest 100 deep */
extern const struct ben_limits BEN_TORRENT; /* depth 100, 3,000,000 tokens */
extern const struct ben_limits BEN_MESSAGE; /* depth 16, 10,000: peers, trackers, DHT */

/* What ben_check saw besides well-formedness. */
enum ben_seen { BEN_UNSORTED = 1, BEN_DUP_KEY = 2 /* neighbouring equal keys */ };

struct ben_error {
	const char *what; /* static text, e.g. "leading zero in integer" */
	size_t off;       /* byte where it was noticed */
};

/* A value: from its first to one past its last byte. p == NULL means none. */
struct ben {
	const uint8_t *p, *end;
};

/* Checks the value that starts at in.p. Returns its length in bytes (> 0);
 * trailing bytes are the caller's business. -1 = malformed, truncated or over
 * a limit, with *e filled. `seen` gets enum ben_seen bits on success. value,
 * seen and e may be NULL. */
ptrdiff_t ben_check(struct slice in, const struct ben_limits *, struct ben *value, unsigned *seen,
		    struct ben_error *e) BT_MUST_USE;

enum ben_type { BEN_NONE, BEN_INT, BEN_STR, BEN_LIST, BEN_DICT };
enum ben_type ben_type(struct ben v);
bool ben_int(struct ben v, int64_t *out);        /* false when not an integer */
bool ben_str(struct ben v, struct slice *out);   /* false when not a string */
struct slice ben_raw(struct ben v);              /* the value's own bytes */
/* First value under key in dictionary d; a none value when absent or d is no dictionary. */
struct ben ben_get(struct ben d, const char *key);
/* Shorthands: value under key when present and of that type. */
bool ben_get_int(struct ben d, const char *key, int64_t *out);
bool ben_get_str(struct ben d, const char *key, struct slice *out);

/* Walks a list or dictionary in order: for (ben_iter(v, &it); ben_next(&it, &key, &val);)
 * key is empty for lists. Over anything else the walk is empty. */
struct ben_it {
	const uint8_t *p, *end;
	bool dict;
};
void ben_iter(struct ben v, struct ben_it *it);
bool ben_next(struct ben_it *it, struct slice *key, struct ben *val);

/* Writer: appends to a buf; the caller keeps keys sorted. */
void ben_put_int(struct buf *, int64_t);
void ben_put_bytes(struct buf *, const void *p, size_t n);
void ben_put_str(struct buf *, const char *s);
void ben_put_raw(struct buf *, struct slice value); /* an encoded value, as it is */
void ben_open_dict(struct buf *);
void ben_open_list(struct buf *);
void ben_close(struct buf *);

#endif
