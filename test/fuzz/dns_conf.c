/* SPDX-License-Identifier: MIT */
/* dns_conf (fuzz) - one text as resolv.conf and as hosts: whatever it holds,
 * the resolver has a server, sane time-outs and no more than was asked for. */
#include "net/dns.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_conf c;
	struct addr found[3];

	dns_conf_parse(slice_of(data, size), &c);
	if (c.nservers < 1 || c.nservers > 3 || c.attempts < 1 || c.attempts > 5 || c.timeout_ms < 1000 ||
	    c.timeout_ms > 30000 || strlen(c.search) >= sizeof(c.search))
		abort();
	for (size_t i = 0; i < c.nservers; i++)
		if (c.servers[i].port == 0)
			abort();
	if (dns_hosts_find(slice_of(data, size), "tracker", found, 2) > 2)
		abort();
	return 0;
}
