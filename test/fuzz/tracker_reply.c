/* SPDX-License-Identifier: MIT */
/* Fuzz target of tracker_http.c: every peer that comes out can be used, and all
 * numbers are within what the header promises. */
#include "find/tracker.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tracker_reply r;
	const char *why = NULL;

	if (tracker_parse_announce(slice_of(data, size), &r, &why) < 0) {
		if (!why || r.peers)
			abort();
	} else if (r.npeers > TRACKER_PEERS_MAX || r.interval > 86400 || r.tracker_id_len > sizeof(r.tracker_id) ||
		   strlen(r.message) >= sizeof(r.message) || (r.failed && !r.message[0])) {
		abort();
	}
	for (size_t i = 0; i < r.npeers; i++)
		if (!addr_is_usable_peer(&r.peers[i]))
			abort();
	free(r.peers);
	if (tracker_parse_scrape(slice_of(data, size), (const uint8_t *)"aaaaaaaaaaaaaaaaaaaa", &r, &why) < 0 && !why)
		abort();
	return 0;
}
