/* SPDX-License-Identifier: MIT */
/* sha1_ni.h - private to sha1.c: SHA-1 with the SHA instructions of x86, one
 * stream or up to four interleaved. Both may only be called where sha1_ni is true. */
#ifndef BT_SHA1_NI_H
#define BT_SHA1_NI_H

#include "sha1.h"

#define SHA1_NI_STREAMS 4

bool sha1_ni(void); /* does this CPU have them? Asks the CPU: keep the answer */
void sha1_ni_one(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks);
void sha1_ni_four(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t blocks);

#endif
