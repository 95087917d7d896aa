/* SPDX-License-Identifier: MIT */
/* base.h - small tools that every room uses: borrowed bytes (slice), the only
 * cursor that advances over untrusted bytes (cur), a growable buffer with a
 * ceiling (buf), bit sets, intrusive lists, text for people. No I/O. */
#ifndef BT_BASE_H
#define BT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define BT_MUST_USE __attribute__((warn_unused_result))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- slice: borrowed bytes; whoever holds one says who owns them ---- */
struct slice {
	const uint8_t *p;
	size_t n;
};

static inline struct slice slice_of(const void *p, size_t n) { return (struct slice){ p, n }; }
static inline struct slice slice_str(const char *s) { return (struct slice){ (const uint8_t *)s, strlen(s) }; }
static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool slice_is(struct slice a, const char *s) { return slice_eq(a, slice_str(s)); }

/* ---- cur: the only thing that moves over wire bytes. A failed read leaves
 * the cursor where it was and returns false. Big-endian, as on the wire. ---- */
struct cur {
	const uint8_t *p, *end;
};

static inline struct cur cur_of(struct slice s) { return (struct cur){ s.p, s.n ? s.p + s.n : s.p }; }
static inline size_t cur_left(const struct cur *c) { return (size_t)(c->end - c->p); }
static inline bool cur_bytes(struct cur *c, size_t n, struct slice *out)
{
	if (n > cur_left(c))
		return false;
	*out = slice_of(c->p, n);
	c->p += n;
	return true;
}
static inline uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t get_u64(const uint8_t *p) { return (uint64_t)get_u32(p) << 32 | get_u32(p + 4); }
static inline void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)(v >> 16));
	put_u16(p + 2, (uint16_t)v);
}
static inline void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)(v >> 32));
	put_u32(p + 4, (uint32_t)v);
}
static inline bool cur_u8(struct cur *c, uint8_t *v)
{
	struct slice s;
	if (!cur_bytes(c, 1, &s))
		return false;
	*v = s.p[0];
	return true;
}
static inline bool cur_u16(struct cur *c, uint16_t *v)
{
	struct slice s;
	if (!cur_bytes(c, 2, &s))
		return false;
	*v = get_u16(s.p);
	return true;
}
static inline bool cur_u32(struct cur *c, uint32_t *v)
{
	struct slice s;
	if (!cur_bytes(c, 4, &s))
		return false;
	*v = get_u32(s.p);
	return true;
}

/* ---- buf: growable bytes with a ceiling (base/buf.c). After any failure
 * (ceiling or memory) `failed` sticks and further puts do nothing, so callers
 * check once at the end. Bytes live at p[0..n). ---- */
struct buf {
	uint8_t *p;
	size_t n, cap, max;
	bool failed;
};

void buf_init(struct buf *, size_t max);
void buf_release(struct buf *); /* frees; the buffer may be used again */
void buf_clear(struct buf *);   /* empty, keeps the memory, clears failed */
bool buf_reserve(struct buf *, size_t more);
void buf_put(struct buf *, const void *p, size_t n);
void buf_puts(struct buf *, const char *s);
void buf_printf(struct buf *, const char *fmt, ...) BT_PRINTF(2, 3);
void buf_u8(struct buf *, uint8_t);
void buf_u16(struct buf *, uint16_t);
void buf_u32(struct buf *, uint32_t);
void buf_drop(struct buf *, size_t n); /* removes the first n bytes */

/* ---- bit sets in wire order: bit 0 is the high bit of byte 0 (BEP 3) ---- */
static inline bool bit_get(const uint8_t *b, uint32_t i) { return b[i >> 3] >> (7 - (i & 7)) & 1; }
static inline void bit_set(uint8_t *b, uint32_t i) { b[i >> 3] = (uint8_t)(b[i >> 3] | 0x80u >> (i & 7)); }
static inline void bit_clear(uint8_t *b, uint32_t i) { b[i >> 3] = (uint8_t)(b[i >> 3] & ~(0x80u >> (i & 7))); }
static inline size_t bits_len(uint32_t bits) { return bits / 8 + (bits % 8 != 0); }
uint32_t bits_count(const uint8_t *b, uint32_t bits);
/* True when no bit at or after `bits` is set in the last byte. */
bool bits_spare_clear(const uint8_t *b, uint32_t bits);

/* ---- intrusive doubly linked ring: unlinked nodes point to themselves, so
 * removal is O(1), repeatable and askable ---- */
struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline bool list_linked(const struct list *l) { return l->next != l; }
static inline void list_insert_before(struct list *at, struct list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}
static inline void list_push_back(struct list *head, struct list *node) { list_insert_before(head, node); }
static inline void list_push_front(struct list *head, struct list *node) { list_insert_before(head->next, node); }
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* ---- text, memory, chance (base/util.c) ---- */

/* The next code point of UTF-8 text that is not at its end. On an invalid,
 * overlong, surrogate or cut sequence: UTF8_BAD, with the cursor past the bytes
 * that could have begun one (at least one byte), as Unicode's U+FFFD advice. */
#define UTF8_BAD UINT32_MAX
uint32_t utf8_next(struct cur *c);
size_t utf8_put(uint8_t out[4], uint32_t code); /* 1..4 bytes */
/* Marks that reorder text on a screen (U+202E and its kin). */
bool utf8_is_bidi(uint32_t code);
/* Copies untrusted text for a terminal or log: control bytes, invalid UTF-8,
 * bidi controls become '?'; always NUL-terminated; cut at size. Returns out. */
char *text_escape(char *out, size_t size, struct slice text);
/* As a JSON string body (no quotes) appended to b; invalid UTF-8 as U+FFFD. */
void text_json(struct buf *b, struct slice text);
void hex_encode(char *out /* 2n+1 */, const uint8_t *p, size_t n);
bool hex_decode(uint8_t *out, size_t n, struct slice hex);
/* Decimal digits only, no sign, no blank, no overflow past max. */
bool parse_u64(struct slice text, uint64_t max, uint64_t *out);
/* n x size, checked; NULL on overflow or no memory; zeroed. */
void *alloc_array(size_t n, size_t size) BT_MUST_USE;
/* Grows *p to hold n elements, doubling; false leaves it as it was. */
bool grow_array(void **p, size_t *cap, size_t n, size_t size) BT_MUST_USE;
void random_bytes(void *p, size_t n); /* getrandom; never fails once booted */
uint32_t random_below(uint32_t n);    /* fast, seeded, not for secrets; n > 0 */
uint32_t crc32c(uint32_t crc, const void *p, size_t n); /* start with 0 */

#endif
