/* SPDX-License-Identifier: MIT */
/* picker.h - which block to ask whom for. Rarest first (BEP 3) in O(1) per
 * change, strict priority inside started pieces, affinity to aligned 2 MiB runs,
 * whole pieces for fast peers, endgame. Knows pieces, counts and opaque peer
 * numbers: no sockets, no clock, no memory of blocks' bytes.
 *
 *   picker.c          pieces and blocks: had, wanted, started, arrived
 *   picker_choose.c   which of them next; start at picker_pick
 *   availability.c    counts and the order of rarity */
#ifndef BT_PICKER_H
#define BT_PICKER_H

#include "base/base.h"

#define PICK_BLOCK 16384u

struct picker;

struct block {
	uint32_t piece, begin, len; /* bytes; as in a `request` message */
};

/* State of one block of an open piece. */
enum { BLOCK_FREE, BLOCK_REQUESTED, BLOCK_RECEIVED };
struct block_state {
	uint32_t loc;  /* the caller's: where the bytes are (disk.h LOC_*), LOC_NONE at first */
	uint32_t from; /* last requester, then sender: peer number */
	uint8_t state;
	uint8_t requests; /* outstanding requests for it, > 1 only in endgame */
};

/* A started piece. Lives from its first pick or picker_start until picker_set_have,
 * or until picker_unrequest finds all of its blocks free again. */
struct open_piece {
	uint32_t index, nblocks;
	uint32_t received;  /* blocks */
	uint32_t requested; /* blocks in BLOCK_REQUESTED */
	bool checking;      /* all received, the caller waits for the hash */
	bool failed_before; /* caller's flag: smart ban data is kept for it */
	void *user;         /* caller's; not NULL keeps the piece open */
	/* private */
	struct list on_open; /* all, oldest first */
	struct list on_free; /* those that have blocks to give */
	struct open_piece *hash_next;
	uint32_t owner;      /* fast peer that has it to itself, 0 = shared */
	uint32_t hint;       /* no block before it is free */
	uint32_t free;       /* blocks to give: 0 when unwanted or checking */
	struct block_state blocks[];
};

/* NULL without memory. All pieces wanted (priority 4), none had. */
struct picker *picker_new(uint32_t pieces, uint64_t piece_len, uint64_t size) BT_MUST_USE;
void picker_free(struct picker *);

uint32_t picker_blocks(const struct picker *, uint32_t piece);          /* in this piece */
uint32_t picker_piece_len(const struct picker *, uint32_t piece);       /* bytes */
struct block picker_block(const struct picker *, uint32_t piece, uint32_t block); /* number to request */

/* ---- what we have and want ---- */
void picker_set_have(struct picker *, uint32_t piece); /* verified; closes it when open */
void picker_set_lost(struct picker *, uint32_t piece); /* no longer had */
bool picker_has(const struct picker *, uint32_t piece);
const uint8_t *picker_have_bits(const struct picker *);
void picker_set_priority(struct picker *, uint32_t piece, unsigned prio /* 0 = unwanted .. 7 */);
bool picker_wants(const struct picker *, uint32_t piece); /* wanted and not had */
uint32_t picker_missing(const struct picker *);           /* wanted pieces not had */
void picker_set_sequential(struct picker *, bool on);     /* lowest index first, within the top priority */

/* ---- availability: called as peers come, tell and go. While we have every piece,
 * nothing is counted, and after a loss the counts begin at 0: peers that were there
 * before look as if they had nothing, which costs rarity, never a pick. ---- */
void picker_peer_has(struct picker *, uint32_t piece);
void picker_peer_lacks(struct picker *, uint32_t piece); /* BEP 54 or gone */
void picker_peer_bits(struct picker *, const uint8_t *bits, int add /* +1 or -1 */);
void picker_peer_all(struct picker *, int add);          /* a complete peer: O(1) */
uint32_t picker_availability(const struct picker *, uint32_t piece);

/* ---- choosing ---- */
struct pick {
	uint32_t peer;          /* number, not 0 */
	const uint8_t *has;     /* its bits; NULL = everything (counted by picker_peer_all) */
	const uint32_t *only;   /* choked peer: just these pieces (allowed fast, BEP 6); NULL = any */
	size_t nonly;
	const uint32_t *suggested; /* BEP 6 suggestions, tried before rarity */
	size_t nsuggested;
	bool fast;              /* fast enough to be given whole pieces of its own */
	bool may_share;         /* in endgame: blocks that others were asked for too */
};
/* Fills up to max blocks and marks them requested by peer. Fewer means: nothing
 * more for this peer now. In endgame hands out blocks others were asked for too,
 * never one this peer was asked for already (tell through `asked`). */
size_t picker_pick(struct picker *, const struct pick *, struct block *out, size_t max,
		   bool (*asked)(void *arg, uint32_t piece, uint32_t block), void *arg);
bool picker_endgame(const struct picker *); /* no wanted block is BLOCK_FREE */

struct open_piece *picker_open(struct picker *, uint32_t piece); /* NULL when not open */
/* Opens a piece without requesting (resume of partial pieces); NULL without memory. */
struct open_piece *picker_start(struct picker *, uint32_t piece);
/* fn may close the piece it is given, no other. */
void picker_each_open(struct picker *, void (*fn)(void *arg, struct open_piece *), void *arg);

/* One request for a block ended without data (choke, reject, time-out, gone).
 * The piece may be freed by it when nothing of it is left and neither failed_before
 * nor user is set. */
void picker_unrequest(struct picker *, uint32_t piece, uint32_t block);
/* A received block of an unfinished piece was thrown away: its loc is LOC_NONE. May
 * free the piece as picker_unrequest does. */
void picker_give_up(struct picker *, uint32_t piece, uint32_t block);
enum picker_got { GOT_NEW, GOT_LAST /* and the piece is complete now */, GOT_DUPLICATE };
/* A block arrived that `peer` was asked for (`was_requested`) or sent late. With
 * GOT_NEW and GOT_LAST the piece is open (a late block may have opened it again), and
 * no request for the block counts any more: the caller cancels those of others. With
 * GOT_LAST `checking` is set. GOT_DUPLICATE: of no use, also without memory. */
enum picker_got picker_got(struct picker *, uint32_t piece, uint32_t block, uint32_t peer,
			   bool was_requested);
/* Hash wrong or data lost: all blocks free again, locs LOC_NONE, no request counts;
 * keeps the piece open. */
void picker_reset(struct picker *, uint32_t piece);

#endif
