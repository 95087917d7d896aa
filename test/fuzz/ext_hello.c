/* SPDX-License-Identifier: MIT */
/* ext_hello.c (fuzz) - a peer's extended handshake: bounded values, printable
 * name, and the same answer twice. */
#include "wire/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ext_hello a = { 0 }, b = { 0 };
	uint32_t index;
	int got = ext_hello_parse(slice_of(data, size), &a);
	if (ext_hello_parse(slice_of(data, size), &b) != got || memcmp(&a, &b, sizeof(a)) != 0)
		abort();
	if (a.reqq > 5000 || a.metadata_size > 64u << 20 || a.yourip.port || a.yourip.v6 > 1)
		abort();
	if (strnlen(a.client, sizeof(a.client)) == sizeof(a.client) || strpbrk(a.client, "\x1b\n\r\t\x7f"))
		abort();
	if (ext_donthave_parse(slice_of(data, size), 7, &index) && index >= 7)
		abort();
	return 0;
}
