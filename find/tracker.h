/* SPDX-License-Identifier: MIT */
/* tracker.h - HTTP trackers (BEP 3, 7, 12, 23, 24, 31, 48).
 *
 *   tracker_http.c  announce and scrape URLs, replies as bytes (pure)
 *   announcer.c     one torrent's tiers: when to announce what to whom (BEP 12) */
#ifndef BT_TRACKER_H
#define BT_TRACKER_H

#include "net/http.h"

#define TRACKER_PEERS_MAX 3000
#define TRACKER_REPLY_MAX (1u << 20)

/* ---- tracker_http.c ---- */
enum tracker_event { TRACKER_NONE, TRACKER_STARTED, TRACKER_COMPLETED, TRACKER_STOPPED };

struct tracker_ask {
	const uint8_t *info_hash, *peer_id; /* 20 bytes each */
	uint16_t port;
	uint64_t uploaded, downloaded, left;
	enum tracker_event event;
	uint32_t numwant;
	uint32_t key;
	struct slice tracker_id; /* as the tracker gave it, raw; n 0 = none */
};
/* Appends the URL; keeps a query the base has; false = base unusable. */
bool tracker_announce_url(struct buf *, const char *base, const struct tracker_ask *);
/* BEP 48: false when the URL's last path element doesn't begin with "announce". */
bool tracker_scrape_url(struct buf *, const char *base, const uint8_t info_hash[20]);

struct tracker_reply {
	bool failed;          /* failure reason given */
	char message[256];    /* failure reason, or warning message; escaped */
	uint32_t interval, min_interval; /* seconds; clamped; 0 = not told */
	uint32_t retry_in;    /* BEP 31: minutes as seconds; UINT32_MAX = never; 0 = not told */
	uint32_t seeds, leechers, downloads; /* UINT32_MAX = not told */
	char tracker_id[256];
	size_t tracker_id_len;
	struct addr external_ip; /* BEP 24; port 0; all zero = not told */
	struct addr *peers;   /* malloc'd; caller frees */
	size_t npeers;
};
/* compact v4 (BEP 23), v6 (BEP 7) and dictionary peers; -1 = malformed, *why. */
int tracker_parse_announce(struct slice body, struct tracker_reply *, const char **why) BT_MUST_USE;
int tracker_parse_scrape(struct slice body, const uint8_t info_hash[20], struct tracker_reply *, const char **why) BT_MUST_USE;

/* ---- announcer.c ---- */
struct announcer;
struct announcer_opts {
	const char *const *urls; /* with their tiers; copied */
	const uint32_t *tiers;
	size_t nurls;
	const uint8_t *info_hash, *peer_id; /* copied */
	uint16_t port;
	const char *user_agent;
	const struct addr *bind;
	/* Current numbers, asked for at each announce. */
	void (*totals)(void *arg, uint64_t *uploaded, uint64_t *downloaded, uint64_t *left, uint32_t *numwant);
	void (*on_peers)(void *arg, const struct addr *, size_t n);
	void (*on_external_ip)(void *arg, const struct addr *);
	/* One line about a tracker: failure, warning (warn) or plain news. URL redacted. */
	void (*on_message)(void *arg, bool warn, const char *text);
	void (*on_stopped)(void *arg); /* after announcer_stop: all told or given up */
	void *arg;
	uint32_t second_ms; /* how long a tracker's second lasts: 0 = 1000; tests make it short */
};
/* Shuffles within tiers; starts with `started` in the next turn. NULL = no memory.
 * A list without usable URL is fine: it stays idle. Callbacks come from the
 * reactor only, never from inside a call, and may call any of these functions. */
struct announcer *announcer_new(struct net *, struct dns *, const struct announcer_opts *) BT_MUST_USE;
void announcer_free(struct announcer *); /* at once, nothing more is sent or called; NULL is fine */
/* Sends `completed` once to each tracker that knows us. Not to be called when the
 * download was complete from the start (BEP 3). */
void announcer_completed(struct announcer *);
void announcer_more_peers(struct announcer *); /* peers are wanted: announce as soon as min interval allows */
/* `stopped` where `started` arrived, or may have; then on_stopped, within_ms at
 * the latest, whatever the trackers do. */
void announcer_stop(struct announcer *, uint32_t within_ms);
/* Best of what trackers told; 0 when none did. */
void announcer_counts(const struct announcer *, uint32_t *seeds, uint32_t *leechers);

#endif
