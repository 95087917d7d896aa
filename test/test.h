/* SPDX-License-Identifier: MIT */
/* test.h - all a unit test needs: CHECK prints the expression that failed;
 * test_done prints "N passed, N failed" and gives main's return value. */
#ifndef BT_TEST_H
#define BT_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_passed, test_failed;

#define CHECK(e)                                                              \
	do {                                                                  \
		if (e) {                                                      \
			test_passed++;                                        \
		} else {                                                      \
			test_failed++;                                        \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #e); \
		}                                                             \
	} while (0)

/* A new directory below TMPDIR, where test/run sees what is left behind. */
static inline bool test_dir(char *dir, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, size, "%s/bt-unit-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(dir) != NULL;
}

static inline int test_done(void)
{
	printf("%d passed, %d failed\n", test_passed, test_failed);
	return test_failed != 0;
}

#endif
