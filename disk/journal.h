/* SPDX-License-Identifier: MIT */
/* journal.h - which pieces are known to be on disk, kept through crashes, power
 * cuts and full disks. One file per torrent of fixed, preallocated size with two
 * halves; each half is a snapshot (generation, CRC) followed by a log of records
 * (CRC each). A full log switches to the other half with a newer snapshot; the
 * older half stays whole until then, so at every moment one half is readable,
 * and neither needs new space. Written only after the data was synced.
 * Every byte read back is untrusted: lengths, CRCs and indexes are checked. */
#ifndef BT_JOURNAL_H
#define BT_JOURNAL_H

#include "disk/files.h"

struct journal;

struct journal_partial {
	uint32_t index, nblocks;
	uint8_t *bits;
};

/* What the journal says. clean: it was closed in order, so stamps can be
 * compared; else pieces done after the last record are unknown. */
struct journal_state {
	bool found, clean;
	uint8_t *have;              /* bits_len(pieces) bytes, zero when !found */
	struct file_stamp *stamps;  /* nfiles, only meaningful when clean */
	struct journal_partial *partials;
	size_t npartials;
};

struct journal_opts {
	int dirfd;             /* directory of the journal */
	const char *name;      /* file name there */
	const uint8_t *id;     /* 20 bytes that must match (info-hash) */
	uint32_t pieces, nfiles;
	uint64_t piece_len;
};
/* Reads what is there, then marks it unclean. An unusable file (damaged, other
 * geometry) counts as not found and is replaced. With an error (read-only
 * volume, no space) *out still holds what could be read and *j is NULL. */
int journal_open(struct journal **, const struct journal_opts *, struct journal_state *out) BT_MUST_USE;
void journal_state_release(struct journal_state *);
/* Adds or withdraws pieces and syncs the record. The data must be on disk already. */
int journal_have(struct journal *, const uint32_t *pieces, size_t n) BT_MUST_USE;
int journal_lost(struct journal *, const uint32_t *pieces, size_t n) BT_MUST_USE;
/* Writes the last snapshot, clean, and frees. stamps: nfiles entries. */
int journal_close(struct journal *, const struct file_stamp *stamps, const struct journal_partial *, size_t n) BT_MUST_USE;
/* Frees without writing (stays unclean). */
void journal_drop(struct journal *);

#endif
