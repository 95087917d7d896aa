/* SPDX-License-Identifier: MIT */
/* choker.h - who may download from us (BEP 3): tit-for-tat with an optimistic
 * unchoke while downloading; by rate and fairness while seeding. A pure
 * function of what it is shown, run every 10 s or when somebody leaves. */
#ifndef BT_CHOKER_H
#define BT_CHOKER_H

#include "base/base.h"

struct choke_peer {
	void *peer;            /* the caller's */
	uint64_t down_rate;    /* from it to us, bytes/s over about 20 s */
	uint64_t up_rate;      /* from us to it */
	uint64_t sent_since_unchoke; /* payload bytes of this unchoke: seeding rounds */
	uint64_t connected_ms; /* for how long; newcomers get the optimistic slot more often */
	bool interested;       /* it wants something */
	bool unchoked;         /* now */
	bool snubbed;          /* owes us data for a minute: no tit-for-tat slot */
	bool optimistic;       /* in: holds the slot now; out: shall hold it */
	bool unchoke;          /* out */
};

struct choker {
	uint32_t slots;      /* regular unchokes, without the optimistic one */
	bool seeding;
	bool rotate;         /* this round moves the optimistic slot (every third) */
	uint64_t quantum;    /* seeding: bytes after which a slot is given on, e.g. 20 MiB */
};

/* Sets unchoke and optimistic for every peer; may reorder the array. O(n log n). */
void choker_run(const struct choker *, struct choke_peer *, size_t n);
/* Slots from the upload limit when the user set none (as libtorrent's rate-based choker and
 * Transmission's fixed 8 suggest): grows with rate, 8..~sqrt. */
uint32_t choker_slots(uint64_t up_limit, uint64_t up_rate);

#endif
