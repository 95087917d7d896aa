/* SPDX-License-Identifier: MIT */
/* urls.h - the trackers (BEP 3, 12) and web seeds (BEP 19) of a .torrent. */
#ifndef BT_URLS_H
#define BT_URLS_H

#include "bencode.h"
#include "torrent/arena.h"
#include "torrent/metainfo.h"

/* Fills m->trackers and m->web_seeds from the values of `announce`, `announce-list` and
 * `url-list`, each of which may be absent or anything. What bt can't use is left
 * out: other schemes, doubles, bytes that no URL has, more than META_MAX_URLS.
 * Tiers are numbered without gaps. false = no memory. */
bool urls_read(struct bt_meta *m, struct arena *, struct ben announce, struct ben tiers,
	       struct ben seeds) BT_MUST_USE;

#endif
