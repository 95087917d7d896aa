/* SPDX-License-Identifier: MIT */
/* get.c - `bt get`: download torrents, check every piece, and share them for as
 * long as --seed says. The work is the session's. */
#include "app/app.h"

#include <stdlib.h>

#define AT(field) offsetof(struct run_args, field)
static const struct opt opts[] = {
	{ 'd', "dir", "DIR", OPT_TEXT, AT(dir), "where the files go (default: here); made if it does not exist" },
	{ 0, "seed", "[RATIO]", OPT_RATIO, AT(ratio), "when complete, go on sharing: until RATIO times the size was sent, or without end" },
	{ 0, "files", "LIST", OPT_TEXT, AT(files), "only these files, by the numbers of bt show: 1,3-5" },
	{ 0, "down", "RATE", OPT_RATE, AT(down), "download at most RATE bytes per second: 500k, 1.5M (0: no limit)" },
	{ 0, "up", "RATE", OPT_RATE, AT(up), "upload at most RATE bytes per second" },
	{ 'p', "port", "PORT", OPT_PORT, AT(port), "listen for peers on this TCP port (default: any free one)" },
	{ 0, "bind", "ADDR", OPT_TEXT, AT(bind), "listen on, and connect from, this address only" },
	{ 0, "peer", "HOST:PORT", OPT_PEERS, AT(peers), "a peer to connect to at once; repeatable; IPv6 as [ADDR]:PORT" },
	{ 0, "max-peers", "N", OPT_COUNT, AT(max_peers), "connections of all torrents together (default: 200, as descriptors allow)" },
	{ 0, "check", NULL, OPT_FLAG, AT(check), "look at all existing data, whatever the journal says" },
	{ 0, "state", "DIR", OPT_TEXT, AT(state), "where the journals of what is verified are kept (default: .bt beside the files)" },
	{ 0, "alloc", "auto|sparse|full", OPT_CHOICE, AT(alloc), "give a file its whole disk space before its first byte (auto: where the file system can)" },
	{ 0, "storage", "auto|map|pool", OPT_CHOICE, AT(storage), "receive into mapped parts of the files, or into buffers (auto: buffers)" },
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
	int status = session_run(&s, RUN_GET, args, torrents);

	session_close(&s);
	free(args->peers.v);
	return status;
}

const struct command cmd_get = {
	.name = "get",
	.operands = "TORRENT...",
	.summary = "download torrents, checking every piece",
	.details = "Downloads the files of each torrent. A download that was stopped goes on where it was; pieces "
		   "that are there already are not fetched again. Ends when everything is complete, unless --seed "
		   "is given. TORRENT is a .torrent file, or - for standard input.\n"
		   "SIZE and RATE take k, M, G and T (powers of 1024) or kB, MB, GB and TB (powers of 1000).",
	.status = "0 every torrent is complete, verified and on disk\n1 error: bad torrent, disk error\n2 wrong usage\n"
		  "3 stopped before it was complete; the same command goes on",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = SIZE_MAX,
	.args_size = sizeof(struct run_args),
	.run = run,
};
