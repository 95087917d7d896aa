/* SPDX-License-Identifier: MIT */
/* seed.c - `bt seed`: share files that are here already. Never writes to them,
 * so read-only media will do. The work is the session's. */
#include "app/app.h"

#include <stdlib.h>

#define AT(field) offsetof(struct run_args, field)
static const struct opt opts[] = {
	{ 'd', "dir", "DIR", OPT_TEXT, AT(dir), "where the files are (default: here)" },
	{ 0, "ratio", "RATIO", OPT_RATIO, AT(ratio), "end when RATIO times the size was sent (default: never)" },
	{ 0, "up", "RATE", OPT_RATE, AT(up), "upload at most RATE bytes per second: 500k, 1.5M (0: no limit)" },
	{ 'p', "port", "PORT", OPT_PORT, AT(port), "listen for peers on this TCP port (default: any free one)" },
	{ 0, "bind", "ADDR", OPT_TEXT, AT(bind), "listen on, and connect from, this address only" },
	{ 0, "peer", "HOST:PORT", OPT_PEERS, AT(peers), "a peer to connect to at once; repeatable; IPv6 as [ADDR]:PORT" },
	{ 0, "max-peers", "N", OPT_COUNT, AT(max_peers), "connections of all torrents together (default: 200, as descriptors allow)" },
	{ 0, "check", NULL, OPT_FLAG, AT(check), "look at all the data, whatever the journal says" },
	{ 0, "state", "DIR", OPT_TEXT, AT(state), "where the journals of what is verified are kept (default: .bt beside the files)" },
	{ 0, "storage", "auto|map|pool", OPT_CHOICE, AT(storage), "as for bt get" },
	{ 0, "window", "SIZE", OPT_SIZE, AT(window), "memory for pieces in work (default: from the machine's; at least 2M)" },
	{ 0, "one-process", NULL, OPT_FLAG, AT(one_process), "do disk work in the network process: for debugging" },
	{ 0, "stats", NULL, OPT_FLAG, AT(stats), "tell at the end how long the turns of the network loop were" },
	{ 'v', "verbose", NULL, OPT_FLAG, AT(verbose), "tell what happens with peers and trackers" },
	{ 'q', "quiet", NULL, OPT_FLAG, AT(quiet), "print errors only" },
	{ 0, "json", NULL, OPT_FLAG, AT(json), "one JSON object per line: every event, and numbers each second" },
};

static int run(void *p, const struct texts *torrents)
{
	struct run_args *args = p;
	struct session s;
	int status;

	if (args->ratio == 0)
		args->ratio = -1;
	status = session_run(&s, RUN_SEED, args, torrents);
	session_close(&s);
	free(args->peers.v);
	return status;
}

const struct command cmd_seed = {
	.name = "seed",
	.operands = "TORRENT...",
	.summary = "share files that are already here",
	.details = "Shares the files of each torrent until Ctrl-C, or until --ratio is reached. The files are checked "
		   "first, unless the journal knows them and they have not changed since; they are never written. "
		   "What is missing or damaged is not fetched: bt get does that.",
	.status = "0 complete torrents were shared\n1 error\n2 wrong usage\n3 stopped while still checking\n"
		  "4 files are missing or damaged",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = SIZE_MAX,
	.args_size = sizeof(struct run_args),
	.run = run,
};
