/* SPDX-License-Identifier: MIT */
/* picker_private.h - the picker's state, shared by picker.c (which changes it as
 * things happen) and picker_choose.c (which decides what happens next). */
#ifndef BT_PICKER_PRIVATE_H
#define BT_PICKER_PRIVATE_H

#include "torrent/availability.h"
#include "torrent/picker.h"

#define PICK_LOC_NONE UINT32_MAX /* disk.h's LOC_NONE, which this room can't see */
#define PICK_NONE UINT32_MAX     /* no piece */
#define PICK_RUN (2u << 20)      /* bytes; DESIGN 3: the length of a mapped window */
#define PICK_RUNS 8              /* runs remembered */
#define PICK_CLASSES 19          /* 1 + log2 of free blocks; 4 GiB are 2^18 blocks */

/* A piece is in one of four states: had; unwanted (priority 0); open; or candidate
 * (in avail). An open piece may be unwanted too: it then gives no blocks. */
struct picker {
	uint32_t pieces;
	uint32_t piece_len, last_len; /* bytes */
	struct avail avail;
	uint8_t *have;        /* bits in wire order */
	uint32_t nhave;
	uint32_t missing;     /* wanted and not had, open ones too */
	uint32_t nopen;
	uint32_t free;        /* sum of open pieces' `free` */
	struct list open;     /* oldest first */
	struct list by_free[PICK_CLASSES]; /* pieces with 2^c .. 2^(c+1)-1 blocks to give */
	struct open_piece **hash; /* open pieces by index, chained; a power of two long */
	uint32_t hash_len;
	bool sequential;
	uint32_t first;       /* no candidate in a byte before this one of avail.candidate */
	uint32_t run_pieces;  /* pieces in a run, at least 1 */
	uint32_t runs[PICK_RUNS]; /* where pieces were started lately, latest first */
	uint32_t nruns;
};

/* To be called whenever what `free` counts may have changed. */
void picker_refile(struct picker *, struct open_piece *);

#endif
