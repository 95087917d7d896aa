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
 * compared; else pieces done after the last record are unknown. Partials, oldest
 * first, are only known when clean. */
struct journal_state {
	bool found, clean;
	uint8_t *have;              /* bits_len(pieces) bytes, zero when !found; NULL after -ENOMEM */
	struct file_stamp *stamps;  /* nfiles, only meaningful when clean */
	struct journal_partial *partials;
	size_t npartials;
};

/* The two calls that change a journal's bytes, for tests that count, fail or
 * record them. As pwrite(2) and fdatasync(2). */
struct journal_io {
	ssize_t (*write)(void *arg, int fd, const void *p, size_t n, off_t off);
	int (*sync)(void *arg, int fd);
	void *arg;
};

/* Takes back bits of s->have that are not to be trusted any more; true = some. */
typedef bool journal_judge_fn(void *arg, struct journal_state *s);

struct journal_opts {
	int dirfd;             /* directory of the journal */
	const char *name;      /* file name there */
	const uint8_t *id;     /* 20 bytes that must match (info-hash) */
	uint32_t pieces, nfiles;
	uint64_t piece_len;
	const struct journal_io *io; /* NULL = the system's; else it must outlive the journal */
	journal_judge_fn *judge; /* NULL = all is trusted */
	void *judge_arg;
};
/* Reads what is there, has it judged, then marks it unclean: not before, as stamps
 * count no more from then on. An unusable file (damaged, other
 * geometry) counts as not found and is replaced. With an error (read-only
 * volume, no space) *out still holds what could be read and *j is NULL. One
 * process at a time: a keeper that is still finishing is waited for, five
 * seconds at most, then -EBUSY: somebody else writes to these files, and *out holds
 * what he has written down.
 * The journal goes on with what is left of what it read: what turns out untrue
 * later has to be withdrawn by journal_lost. */
int journal_open(struct journal **, const struct journal_opts *, struct journal_state *out) BT_MUST_USE;
void journal_state_release(struct journal_state *);
/* Adds or withdraws pieces and syncs the record. The data must be on disk already.
 * After an error what was readable stays readable, and the next call tries again
 * to write down everything, these pieces included. A withdrawn piece is claimed
 * nowhere in the file any more, not even by the older half. */
int journal_have(struct journal *, const uint32_t *pieces, size_t n) BT_MUST_USE;
int journal_lost(struct journal *, const uint32_t *pieces, size_t n) BT_MUST_USE;
/* Writes the last snapshot, clean, and frees, also after an error. stamps: nfiles
 * entries. Partials, oldest first; what doesn't fit (64 KiB) is left out, the oldest first. */
int journal_close(struct journal *, const struct file_stamp *stamps, const struct journal_partial *, size_t n) BT_MUST_USE;
/* Frees without writing (stays unclean). */
void journal_drop(struct journal *);

#endif
