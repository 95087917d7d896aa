/* SPDX-License-Identifier: MIT */
/* rig.h - a torrent of made content, as the load generator's tests need it. */
#ifndef BT_TEST_LOAD_RIG_H
#define BT_TEST_LOAD_RIG_H

#include "load/load.h"
#include <stdlib.h>

static inline struct bt_meta *rig_meta(uint64_t size, uint64_t piece_len)
{
	struct bt_load_make make = { .name = "made", .size = size, .piece_len = piece_len };
	struct bt_meta *m = NULL;
	char err[200];
	size_t len;
	uint8_t *bytes = bt_load_make(&make, &len, err, sizeof(err));

	if (bytes)
		m = bt_meta_parse(bytes, len, err, sizeof(err));
	free(bytes);
	if (!m) {
		fprintf(stderr, "%s\n", err);
		abort();
	}
	return m;
}

#endif
