/* SPDX-License-Identifier: MIT */
/* dns (fuzz) - one packet as the answer to both questions: what is accepted is
 * bounded, is read the same a second time, and answers no other question. */
#include "net/dns.h"

#include <stdlib.h>

#define NAME "tracker.example.org"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = { DNS_A, DNS_AAAA };
	struct slice packet = slice_of(data, size);
	struct dns_answer a, b;

	for (size_t i = 0; size >= 2 && i < 2; i++) {
		uint16_t id = get_u16(data), type = types[i];
		if (dns_parse(packet, id, NAME, type, &a) < 0)
			continue;
		if (a.n > DNS_MAX_ADDRS || (a.n > 0 && (a.err || a.truncated)) || (a.n == 0 && !a.err && !a.truncated))
			abort();
		if (dns_parse(packet, id, NAME ".", type, &b) != 0 || memcmp(&a, &b, sizeof(a)) != 0)
			abort();
		if (dns_parse(packet, id, "x" NAME, type, &b) == 0 || dns_parse(packet, id ^ 1, NAME, type, &b) == 0 ||
		    dns_parse(packet, id, NAME, types[1 - i], &b) == 0)
			abort();
	}
	return 0;
}
