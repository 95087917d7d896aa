/* SPDX-License-Identifier: MIT */
/* proto.h - what the loop and the keeper say to each other. Both ends are the
 * same binary, so messages are plain structs in native layout: one header with
 * general fields, then `n` elements of a tail whose element size follows from
 * the type. Either end may be broken by a fault in it, so the receiver checks
 * lengths here (link.c) and ids, indexes and frames where they enter.
 *
 *   link.c  the messages' way: a SOCK_SEQPACKET pair, or memory in one process
 *   flat.c  a torrent's description as one sealed memfd that both ends map */
#ifndef BT_PROTO_H
#define BT_PROTO_H

#include "disk/disk.h"

#define MSG_MAX 16384 /* one message, header and tail */

enum msg_type {
	/* from the loop */
	MSG_OPEN = 1, /* fd = flat description */
	MSG_CHECK,    /* index, total blocks, first and n of the locs in this part; flags: sums wanted */
	MSG_WRITE,    /* index, first, n frames */
	MSG_WINDOW,   /* index = file, off and size in it: allocate, answer with a descriptor */
	MSG_LOAD,     /* index = file, off and size in it: fetch; total = bytes of it that must be there; flags: send a
		       * descriptor too */
	MSG_SUSPECT,  /* off: something is wrong with the file there */
	MSG_PROBE,    /* is there space again? */
	MSG_SYNC,
	MSG_STOW,     /* a partial piece for the journal, before MSG_CLOSE: index, total, bits */
	MSG_CLOSE,
	MSG_TEXT,     /* path */
	/* from the keeper; `job` as in the request */
	MSG_OPENED,   /* err, what */
	MSG_HAVE,     /* before MSG_OPENED: bytes of the bit field from byte `first` on */
	MSG_PARTIAL,  /* before MSG_OPENED: index, total blocks, bits */
	MSG_CHECKING, /* n x (piece << 1 | ok) */
	MSG_CHECKED,  /* index = enum store_result, or err = -ENOSPC/-EDQUOT: kept by the loop; what */
	MSG_SUMS,     /* before MSG_CHECKED: first, n 64-bit sums */
	MSG_WRITTEN,  /* err, what */
	MSG_WINDOWED, /* err, fd */
	MSG_LOADED,   /* err, fd; flags: the file lives in memory */
	MSG_PROBED,   /* err */
	MSG_LOST,     /* n pieces that were written but could not be synced */
	MSG_FAILED,   /* err, what */
	MSG_SYNCED,   /* err */
	MSG_CLOSED,
	MSG_TEXTED,   /* err, total, first, n bytes */
	MSG_TYPES
};

enum msg_flag { MSG_WANT_SUMS = 1, MSG_WANT_FD = 2, MSG_IN_MEMORY = 4 };

struct msg {
	uint32_t len; /* header and tail */
	uint16_t type;
	uint16_t flags;
	uint32_t store; /* number the loop chose */
	uint32_t job;   /* number the loop chose; comes back in the answer */
	uint32_t index; /* piece or file */
	uint32_t first; /* place of the tail's first element in the whole */
	uint32_t n;     /* elements in the tail */
	uint32_t total; /* elements in the whole */
	int32_t err;    /* 0 or -errno */
	int32_t fd;     /* travels along, -1 = none; whoever takes it sets -1 */
	uint64_t off, size;
};
_Static_assert(sizeof(struct msg) == 56, "same layout everywhere, tail aligned to 8");

#define MSG_TAIL_MAX (MSG_MAX - sizeof(struct msg))
#define MSG_LOCS_MAX ((uint32_t)(MSG_TAIL_MAX / sizeof(uint32_t)))
#define MSG_SUMS_MAX ((uint32_t)(MSG_TAIL_MAX / sizeof(uint64_t)))
#define MSG_BYTES_MAX ((uint32_t)(MSG_TAIL_MAX & ~(size_t)7))
#define MSG_WHAT_MAX 600u /* longer texts are cut */

static inline void *msg_tail(struct msg *m) { return m + 1; }
size_t msg_elem(enum msg_type); /* bytes of one tail element; 0 = no tail */

/* ---- link.c ---- */

struct link {
	int fd;            /* -1 in one process */
	struct link *peer; /* in one process: the other end */
	uint8_t *out;      /* messages that wait to be sent, [head, tail) */
	size_t head, tail, cap;
	uint8_t *in;       /* room for one batch */
	bool broken;       /* other end gone, or no memory: nothing passes any more */
};

int link_pair(struct link *a, struct link *b) BT_MUST_USE; /* two sockets, non-blocking */
void link_join(struct link *a, struct link *b);            /* both ends in this process */
void link_release(struct link *);
/* Appends a message with room for n tail elements, all zero but len, type, n,
 * fd = -1. Valid until the next call. NULL = no memory, the link is broken. */
struct msg *link_put(struct link *, enum msg_type, uint32_t n) BT_MUST_USE;
bool link_waits(const struct link *); /* something is not sent yet */
/* Sends what it can without waiting: 0 = all, -EAGAIN, -EPIPE. Descriptors sent are closed here. */
int link_flush(struct link *);
/* Gives up to max waiting messages to fn, without waiting: how many, or -EPIPE
 * at the end, -EPROTO for nonsense (a message or fn's answer < 0). */
typedef int link_fn(void *arg, struct msg *);
int link_take(struct link *, unsigned max, link_fn *, void *arg) BT_MUST_USE;

/* ---- flat.c ---- */

enum { FLAT_READ_ONLY = 1, FLAT_FORCE_CHECK = 2, FLAT_CHECK_ONLY = 4 };

struct flat {
	uint64_t size, piece_len;
	uint64_t text_off, text_len, hashes_off;
	uint32_t pieces, nfiles;
	uint32_t dir, state_dir; /* places in text */
	uint32_t flags;
	uint8_t info_hash[20];
};
struct flat_file {
	uint64_t off, len;
	uint32_t path, target; /* places in text */
	uint32_t attr, unwanted;
};
#define FLAT_NO_TEXT UINT32_MAX

/* A mapping of it, or a copy of a small one: a page and a mapping for each of
 * 10,000 torrents would be most of what they cost. The loop has the front only,
 * the keeper the hashes too. */
struct flat_view {
	const struct flat *h;
	const struct flat_file *files;
	const char *text;
	const uint8_t *hashes; /* NULL in the loop */
	size_t map_len;
	bool copied;
};

int flat_make(const struct store_spec *) BT_MUST_USE; /* descriptor of the sealed memfd or -errno */
int flat_make_again(const struct flat_view *) BT_MUST_USE; /* the same, from a view with hashes */
/* Maps and checks every number in it. -EPROTO when one is wrong. */
int flat_map(struct flat_view *, int fd, bool with_hashes) BT_MUST_USE;
void flat_unmap(struct flat_view *);
/* The file that holds byte off < size; empty files are never it. */
uint32_t flat_at(const struct flat_view *, uint64_t off);
static inline uint32_t flat_piece_len(const struct flat *h, uint32_t index)
{
	uint64_t off = (uint64_t)index * h->piece_len;
	return (uint32_t)min_u64(h->piece_len, h->size - off);
}
static inline uint32_t flat_blocks(const struct flat *h, uint32_t index)
{
	return (flat_piece_len(h, index) + BLOCK_LEN - 1) / BLOCK_LEN;
}

#endif
