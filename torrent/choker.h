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
	uint64_t waiting_ms;   /* choked: for how long, or 0: then chance decides who waited */
	bool interested;       /* it wants something */
	bool unchoked;         /* now */
	bool snubbed;          /* owes us data for a minute: no tit-for-tat slot */
	bool optimistic;       /* in: holds the slot now; out: shall hold it */
	bool unchoke;          /* out */
	/* private */
	uint32_t rank, chance;
	uint64_t merit;
};

struct choker {
	uint32_t slots;      /* regular unchokes, without the optimistic one */
	bool seeding;
	bool rotate;         /* this round moves the optimistic slot (every third) */
	uint64_t quantum;    /* seeding: bytes after which a slot is given on, e.g. 20 MiB */
};

/* Sets unchoke and optimistic for every peer; may reorder the array. O(n log n).
 * As many as there are slots are interested: all are unchoked. May be run between
 * rounds, without `rotate`: nobody who is served well loses by that. */
void choker_run(const struct choker *, struct choke_peer *, size_t n);
/* Slots when the user set none: 8, as Transmission; more with the square root of the
 * rate, to 250; fewer when the limit would leave each under 4 KiB/s. */
uint32_t choker_slots(uint64_t up_limit, uint64_t up_rate);

#endif
