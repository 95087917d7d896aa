/* SPDX-License-Identifier: MIT */
/* announcer.h - what the announcer's three files share, and nobody else sees:
 *
 *   announcer.c        rounds, events, replies, stop: when to ask whom
 *   announcer_ask.c    one request to one tracker
 *   announcer_tiers.c  the list of trackers and its order */
#ifndef BT_ANNOUNCER_H
#define BT_ANNOUNCER_H

#include "find/tracker.h"

/* In a tracker's seconds (opts.second_ms). */
enum {
	HANG_S = 5,
	TIMEOUT_S = 30,          /* as libtorrent's tracker_completion_timeout */
	RETRY_S = 15,            /* back-off after the first failure, doubled by each further one.. */
	RETRY_MAX_S = 3600,      /* ..up to this */
	INTERVAL_S = 1800,       /* when a tracker tells none */
	INTERVAL_MIN_S = 30,     /* no tracker makes us ask more often */
	MORE_PEERS_S = 300,      /* least distance of extra announces when no min interval is told */
	TRACKERS_MAX = 128,      /* per torrent; real lists end near 100, hostile ones don't */
	REDIRECTS = 5,
};

struct tracker {
	struct announcer *a;
	char *url;
	uint32_t tier;
	const char *skip;        /* why it can't be used at all; static text */
	bool never;              /* skipped, or told so by BEP 31 */
	bool started;            /* it knows us: has to hear of completed and stopped */
	bool completed;          /* it has heard of that */
	bool no_scrape;
	uint32_t fails;          /* in a row */
	uint64_t not_before_ms;  /* end of min interval or back-off */
	uint64_t scrape_ms;      /* not before */
	struct http_request *req, *scrape;
	enum tracker_event event; /* of req */
	uint32_t seeds, leechers; /* UINT32_MAX = not told */
	uint32_t said;           /* checksum of its last complaint: each is shown once */
	size_t id_len;
	uint8_t id[256];
};

struct announcer {
	struct net *net;
	struct dns *dns;
	struct announcer_opts o; /* urls and tiers are not kept */
	uint8_t info_hash[20], peer_id[20];
	char *user_agent;
	struct addr bind;
	uint32_t key;            /* BEP 7: the same for all announces of a session */
	struct tracker *all;
	struct tracker **order;  /* by tier, in the order to try */
	size_t n, too_many;
	struct timer wake;       /* the next thing to do; after announcer_stop its limit */
	struct timer hang;
	struct later stopped;
	bool begun;              /* the first turn has been */
	bool round;
	size_t pos;              /* in order: next to try in this round */
	uint64_t due_ms;         /* of the next round */
	struct tracker *current; /* whose interval is kept: the last that ended a round */
	bool completed, stopping, told;
	bool freed;              /* announcer_free came from inside a callback */
	uint32_t depth;          /* callbacks we are inside of */
};

static inline uint64_t announcer_ms(const struct announcer *a, uint32_t seconds)
{
	return (uint64_t)seconds * a->o.second_ms;
}

/* announcer_ask.c: the reply goes to fn with t as arg. false with *why. */
bool tracker_announce(struct tracker *, enum tracker_event, uint64_t timeout_ms, http_fn *, const char **why) BT_MUST_USE;
/* BEP 48, for trackers whose announce tells no counts; at most once per interval. */
void tracker_scrape(struct tracker *, uint64_t interval_ms);

/* announcer_tiers.c */
bool announcer_take(struct announcer *, const struct announcer_opts *) BT_MUST_USE; /* false = no memory */
void announcer_shuffle(struct announcer *); /* fills order */
void announcer_to_front(struct announcer *, struct tracker *); /* of its tier */

#endif
