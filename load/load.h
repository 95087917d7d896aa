/* SPDX-License-Identifier: MIT */
/* load.h - private to the load generator (bt_load_* in bt.h): many connections to
 * one client under test, as leechers or as complete seeders, from one process,
 * and what is measured on them. Data is made and checked in memory.
 *
 *   content.c  bytes as a function of their offset; the torrent that names them
 *   meter.c    histogram of latencies, fairness
 *   check.c    received blocks through the hash lanes, piece by piece
 *   conn.c     one connection as a machine: bytes in, bytes out, no socket, no clock
 *   serve.c    what a seeder sends: wanted blocks as iovecs, from memory
 *   target.c   host names, ranges of source addresses
 *   load.c     the run: sockets, timers, end, report; start at bt_load_run
 *
 * The client under test is one program, so what it says on one connection (HAVE)
 * holds for all: struct load_job keeps one bit set of what it has. */
#ifndef BT_LOAD_H
#define BT_LOAD_H

#include "bt.h"
#include "net.h"
#include "sha1.h"
#include "wire/wire.h"
#include <sys/uio.h>

#define LOAD_BLOCK 16384u
#define LOAD_FRAME (WIRE_PIECE_HEAD + LOAD_BLOCK)
#define LOAD_READ (16 * LOAD_FRAME) /* one read: ends between messages while blocks flow */
#define LOAD_FRAMES 32              /* blocks one writev takes at most */
#define LOAD_SCRATCH (512u << 10)   /* made content of one writev */
#define LOAD_WANTS 4096u            /* requests queued for one connection; more are refused */
#define LOAD_REJECTS 64u            /* refusals in a row until a connection is given up */

/* ---- meter.c ---- */

/* Log-linear: 32 buckets per power of two, so that a quantile is at most 1/32 too
 * high; exact below 64. Microseconds here, but it knows no unit. */
#define LOAD_HIST_BITS 5
#define LOAD_HIST_TOP 40 /* values from 2^40 on (12 days) share the last bucket */
#define LOAD_HIST_LEN ((LOAD_HIST_TOP - LOAD_HIST_BITS + 1) << LOAD_HIST_BITS)
struct load_hist {
	uint64_t n, max;
	uint64_t count[LOAD_HIST_LEN];
};
void load_hist_add(struct load_hist *, uint64_t value);
/* The least bucket's upper end that `part` (0..1) of all values don't exceed; 0 when empty. */
uint64_t load_hist_at(const struct load_hist *, double part);
void load_hist_tell(const struct load_hist *, struct bt_load_times *);
/* Fills n, min, median, max and jain of the side; sorts v. */
void load_fairness(uint64_t *v, size_t n, struct bt_load_side *);

/* ---- check.c ---- */

enum { LOAD_FREE, LOAD_ASKED, LOAD_GOT };

/* A piece on its way in. It belongs to a connection, to the orphans, or, complete
 * but not hashed to its end, to the checker alone. */
struct load_piece {
	struct list on_conn;    /* load_conn.pieces or load_job.orphans */
	struct list on_waiting; /* load_check.waiting: has blocks to hash */
	uint32_t index, len, nblocks;
	uint32_t first_free;    /* no block before it is LOAD_FREE */
	uint32_t got, hashed;   /* blocks */
	struct sha1 sha;
	uint8_t *state;         /* per block */
	const uint8_t *block[]; /* arrived, not hashed: in the arena, or a copy of its own */
};
struct load_piece *load_piece_new(const struct bt_meta *, uint32_t index) BT_MUST_USE; /* NULL without memory */
uint32_t load_block_len(const struct load_piece *, uint32_t block);
void load_piece_miss(struct load_piece *, uint32_t block); /* to be asked for again */

/* Blocks stay where they were read, in the arena, until it is full; then all of
 * them are hashed, one piece per SIMD lane. */
struct load_check {
	const struct bt_meta *meta;
	bool off;            /* count only: nothing is hashed nor kept */
	uint8_t *arena;
	size_t len, used;
	struct list waiting;
	uint64_t good, bad;  /* pieces; when off, good ones are just complete */
};
int load_check_init(struct load_check *, const struct bt_meta *, bool off) BT_MUST_USE;
void load_check_release(struct load_check *);
/* n bytes of the arena to read into; flushes when they don't fit otherwise. */
uint8_t *load_check_room(struct load_check *, size_t n);
/* The first n of them hold blocks. */
void load_check_keep(struct load_check *, size_t n);
/* Takes a block that is LOAD_GOT now; frees the piece when that ends it. */
void load_check_block(struct load_check *, struct load_piece *, uint32_t block, const uint8_t *p);
void load_check_flush(struct load_check *);
void load_piece_free(struct load_check *, struct load_piece *); /* an unfinished one */

/* ---- serve.c ---- */

struct load_source {
	const struct bt_meta *meta;
	const uint8_t *map; /* the torrent's bytes; NULL = bt_load_content */
	uint8_t *scratch;   /* LOAD_SCRATCH */
};
/* path: the file, or the directory that holds the torrent's tree; NULL = made
 * content, and the first and last piece must have its hashes. */
int load_source_open(struct load_source *, const struct bt_meta *, const char *path, char *err,
		     size_t err_size) BT_MUST_USE;
void load_source_close(struct load_source *);

/* ---- conn.c ---- */

struct load_side {
	uint64_t bytes, blocks; /* payload */
	uint64_t wasted;        /* blocks nobody waited for, bytes */
	uint32_t deepest;       /* requests outstanding on one connection at most */
	struct load_hist latency;
};

struct load_job {
	const struct bt_meta *meta;
	struct wire_limits limits;
	uint32_t pipeline;      /* leechers: requests on order; seeders: what `reqq` tells */
	bool again;             /* after the last piece the first one comes again */
	bool random;
	bool hold;              /* nobody asks, nobody is unchoked yet */
	uint8_t *has;           /* bits: what the client under test has */
	uint32_t nhas;
	uint32_t *order;        /* its pieces as they are asked for */
	uint32_t taken;         /* of the nhas in order */
	uint32_t ninterested;   /* connections on which it wants something of us */
	struct list orphans;    /* pieces whose connection lost them */
	struct list hungry;     /* connections that found nothing to ask for */
	struct load_check check;
	struct load_source source;
	struct load_side down, up;
	uint64_t first_us;      /* first request, 0 = none yet */
	uint64_t last_us;       /* last payload byte, or the last HAVE of a target that has all now */
};
int load_job_init(struct load_job *, const struct bt_meta *, bool no_verify) BT_MUST_USE;
void load_job_release(struct load_job *); /* after its connections' */

struct load_want {
	uint32_t index, begin, len;
	uint64_t at_us; /* when it was asked for */
};
struct load_request {
	struct load_piece *piece;
	uint32_t block;
	uint64_t at_us;
};

struct load_conn {
	struct load_job *job;
	bool seed;         /* we are complete; else we have nothing and want all */
	bool ready;        /* both handshakes are through */
	bool greeted;      /* ours is out */
	bool fast, choked, unchoking;
	bool interested;   /* the other side, in us */
	const char *why;   /* static text: it is to be closed */
	uint64_t bytes;    /* payload in its direction */
	struct buf out;    /* control messages */
	/* leecher */
	uint32_t depth;    /* requests it may have on order now */
	uint32_t rejects;  /* in a row */
	bool missed;       /* a piece but the newest may have blocks to ask for */
	struct list pieces, on_hungry;
	struct load_request *reqs; /* ring of job->pipeline, oldest first */
	uint32_t req_head, req_n;
	/* seeder */
	struct load_want *wants;   /* ring of want_cap, a power of two */
	uint32_t want_head, want_n, want_cap;
	size_t sent;               /* bytes of the first one's frame that are out */
};
void load_conn_init(struct load_conn *, struct load_job *, bool seed);
void load_conn_release(struct load_conn *); /* its pieces become orphans */
/* Puts our handshake; who connects does so first, who accepts after theirs (by load_conn_input). */
void load_conn_greet(struct load_conn *);
/* Bytes consumed: whole messages. Blocks in them stay where they are until
 * load_check_flush. *need: total bytes wanted before asking again is of use. After a
 * fault c->why is set. */
size_t load_conn_input(struct load_conn *, struct slice in, uint64_t now_us, size_t *need);
/* Leecher: asks for as much as it may; links itself to job->hungry when there is nothing. */
void load_conn_ask(struct load_conn *, uint64_t now_us);
void load_conn_go(struct load_conn *, uint64_t now_us); /* job->hold is over */
/* The next hungry connection if there is something for it, unlinked. */
struct load_conn *load_job_feed(struct load_job *);
bool load_job_got_all(const struct load_job *); /* leechers have every piece, hashed or to be */

/* serve.c: what is to be written next, at most 1 + 2 * LOAD_FRAMES parts; valid until
 * the next call for any connection. */
#define LOAD_IOV (1 + 2 * LOAD_FRAMES)
struct load_heads {
	uint8_t head[LOAD_FRAMES][WIRE_PIECE_HEAD];
};
size_t load_conn_output(struct load_conn *, struct iovec *, struct load_heads *);
void load_conn_wrote(struct load_conn *, size_t n, uint64_t now_us);
void load_conn_want(struct load_conn *, const struct wire_msg *, uint64_t now_us);   /* a request came */
void load_conn_cancel(struct load_conn *, const struct wire_msg *);

/* ---- target.c ---- */

#define LOAD_SOURCES 65536u
struct load_range {
	struct addr first;
	uint32_t n; /* addresses from first on; 0 = any */
};
bool load_range_parse(struct load_range *, const char *text); /* "A" or "A-B" */
struct addr load_range_at(const struct load_range *, uint32_t i); /* taking turns; port 0 */
/* HOST:PORT to an address; looks names up and waits. family_like: an address whose
 * family is wanted, or NULL. */
int load_resolve(struct net *, const char *target, const struct addr *family_like, struct addr *out, char *err,
		 size_t err_size) BT_MUST_USE;

#endif
