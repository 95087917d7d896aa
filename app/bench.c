/* SPDX-License-Identifier: MIT */
/* bench.c - `bt bench`: load for any BitTorrent client, and a meter on it. The load
 * is the library's (bt_load_*); here are the command, the torrent of made content,
 * and who is told what while it runs. The report is in bench_report.c. */
#include "app/app.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(struct bench_args, field)
static const struct opt opts[] = {
	{ 'c', "connections", "N", OPT_COUNT, AT(connections), "how many connections to make (default: 1)" },
	{ 's', "seconds", "N", OPT_COUNT, AT(seconds), "go on for so long, again and again (default: until all was transferred once)" },
	{ 0, "pipeline", "N", OPT_COUNT, AT(pipeline), "get: requests on order on each connection (default: 64); seed: how many we say to take (default: 500)" },
	{ 0, "source", "ADDR[-ADDR]", OPT_TEXT, AT(source), "connect from these addresses in turn, for clients that take one connection of each: 127.0.0.2-127.0.0.50" },
	{ 0, "listen", "PORT", OPT_PORT, AT(port), "wait for the client's connections instead, on every source address" },
	{ 0, "data", "PATH", OPT_TEXT, AT(data), "seed this file, or this directory's tree (default: content of bench make)" },
	{ 0, "random", NULL, OPT_FLAG, AT(random), "get: pieces in random order" },
	{ 0, "no-verify", NULL, OPT_FLAG, AT(no_verify), "get: don't hash what is received" },
	{ 0, "dial", "N", OPT_COUNT, AT(dial), "connections being made at once (default: 8)" },
	{ 0, "timeout", "SECONDS", OPT_COUNT, AT(timeout), "give up when nothing has moved for so long (default: 30)" },
	{ 'q', "quiet", NULL, OPT_FLAG, AT(quiet), "print errors only; the exit status tells" },
	{ 0, "json", NULL, OPT_FLAG, AT(json), "print the report as one JSON object" },
	{ 'o', "output", "FILE", OPT_TEXT, AT(output), "make: the torrent file" },
	{ 0, "size", "SIZE", OPT_SIZE, AT(size), "make: bytes of content" },
	{ 'l', "piece-length", "SIZE", OPT_SIZE, AT(piece_len), "make: a power of two from 16k to 256M (default: chosen from the size)" },
	{ 't', "tracker", "URL", OPT_TEXTS, AT(trackers), "make: a tracker; repeatable" },
	{ 0, "write", "PATH", OPT_TEXT, AT(write), "make: write the content too, for clients that seed from disk" },
	{ 'f', "force", NULL, OPT_FLAG, AT(force), "make: replace FILE and PATH if they exist" },
};

static bool keep_on(void *arg, const struct bt_load_second *s)
{
	struct bench_args *args = arg;

	if (s != NULL && args->live)
		bench_second(s);
	return !signals_stop();
}

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return !signals_stop();
}

/* ---- make ---- */

static int write_content(const char *path, uint64_t size, bool force)
{
	static const size_t chunk = 1 << 20;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL), 0666), r = 0;
	uint8_t *p = malloc(chunk);

	if (fd < 0 || p == NULL)
		r = fd < 0 ? -errno : -ENOMEM;
	for (uint64_t off = 0; r == 0 && off < size && !signals_stop(); off += chunk) {
		size_t n = size - off < chunk ? (size_t)(size - off) : chunk;
		bt_load_content(p, n, off);
		r = write_all(fd, p, n);
	}
	free(p);
	if (fd >= 0 && close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* The name in the torrent: what --write makes, so that a client finds it; else the size. */
static void content_name(char *out, size_t size, const struct bench_args *args)
{
	const char *slash = args->write != NULL ? strrchr(args->write, '/') : NULL;

	if (args->write != NULL)
		snprintf(out, size, "%s", slash != NULL ? slash + 1 : args->write);
	else
		snprintf(out, size, "bt-bench-%llu", (unsigned long long)args->size);
}

static int make(const struct bench_args *args)
{
	char name[256], err[256] = "";
	struct bt_load_make m = { .name = name, .size = args->size, .piece_len = args->piece_len, .trackers = args->trackers.v,
				  .ntrackers = args->trackers.n, .on_progress = on_progress };
	uint8_t *bytes;
	size_t len;
	int r;

	if (args->output == NULL || args->size == 0) {
		complain("bench", "make needs --output and --size");
		return EXIT_USAGE;
	}
	content_name(name, sizeof(name), args);
	bytes = bt_load_make(&m, &len, err, sizeof(err));
	if (bytes == NULL) {
		if (!signals_stop())
			complain("bench", "%s", err);
		return signals_stop() ? EXIT_EARLY : EXIT_USAGE;
	}
	r = write_file(args->output, bytes, len, args->force);
	if (r < 0)
		complain("bench", "%s: %s", args->output, strerror(-r));
	free(bytes);
	if (r == 0 && args->write != NULL) {
		r = write_content(args->write, args->size, args->force);
		if (r < 0)
			complain("bench", "%s: %s", args->write, strerror(-r));
	}
	return r < 0 ? EXIT_ERROR : signals_stop() ? EXIT_EARLY : EXIT_GOOD;
}

/* ---- get, seed, dual ---- */

/* What scripts go by: the load asked for was there, and all that came was right. */
static int judge(const struct bt_load *load, const struct bt_load_report *r)
{
	if (r->pieces_bad > 0) {
		complain("bench", "%llu pieces are not what the torrent says", (unsigned long long)r->pieces_bad);
		return EXIT_DAMAGED;
	}
	if (r->end == BT_LOAD_STOPPED)
		return EXIT_EARLY;
	if (r->end == BT_LOAD_STALLED || r->end == BT_LOAD_CLOSED || r->down.bytes + r->up.bytes == 0)
		complain("bench", "%s%s%s%s",
			 r->connected == 0 ? "no connection came about" :
			 r->end == BT_LOAD_STALLED ? "the client sends and asks for nothing more" :
			 r->end == BT_LOAD_CLOSED ? "all connections are gone before the end" :
						    "nothing was transferred",
			 r->why[0] != '\0' ? " (" : "", r->why, r->why[0] != '\0' ? ")" : "");
	else if (load->target != NULL && (r->connected < r->asked || r->lost > 0))
		complain("bench", "%u of %u connections were made, %u were lost (%s)", r->connected, r->asked, r->lost, r->why);
	else
		return EXIT_GOOD;
	return EXIT_ERROR;
}

static int run_load(struct bench_args *args, enum bt_load_mode mode, const char *target, const char *torrent)
{
	struct bt_meta *meta = input_torrent("bench", torrent);
	struct bt_load load = { .mode = mode, .meta = meta, .target = target, .port = args->port, .source = args->source,
				.data = args->data, .connections = args->connections, .pipeline = args->pipeline,
				.dial = args->dial, .seconds = args->seconds, .timeout = args->timeout,
				.no_verify = args->no_verify, .random = args->random, .on_turn = keep_on, .arg = args };
	struct bt_load_report report;
	char err[256] = "";
	int status = EXIT_ERROR;

	if (meta == NULL)
		return EXIT_ERROR;
	args->live = !args->quiet && !args->json && isatty(STDERR_FILENO);
	if (bt_load_run(&load, &report, err, sizeof(err)) < 0) {
		complain("bench", "%s", err);
	} else {
		if (args->json)
			bench_json(&load, &report);
		else if (!args->quiet)
			bench_text(&load, &report, args->live);
		fflush(stdout);
		status = judge(&load, &report);
	}
	bt_load_release(&report);
	bt_meta_free(meta);
	return status;
}

static int run(void *p, const struct texts *words)
{
	static const char *const modes[] = { [BT_LOAD_GET] = "get", [BT_LOAD_SEED] = "seed", [BT_LOAD_DUAL] = "dual" };
	struct bench_args *args = p;
	size_t more = args->port != 0 ? 1 : 2;
	int status = EXIT_USAGE;

	signals_catch(false);
	if (strcmp(words->v[0], "make") == 0 && words->n == 1) {
		status = make(args);
		free(args->trackers.v);
		return status;
	}
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		if (strcmp(words->v[0], modes[i]) != 0)
			continue;
		if (words->n == 1 + more)
			status = run_load(args, (enum bt_load_mode)i, more == 2 ? words->v[1] : NULL, words->v[more]);
		else
			complain("bench", "%s wants %s", modes[i], more == 2 ? "HOST:PORT and TORRENT" : "TORRENT only, with --listen");
		free(args->trackers.v);
		return status;
	}
	complain("bench", "'%s' is not get, seed, dual or make", words->v[0]);
	free(args->trackers.v);
	return EXIT_USAGE;
}

const struct command cmd_bench = {
	.name = "bench",
	.operands = "get|seed|dual HOST:PORT TORRENT | make",
	.summary = "put load on any client and measure it",
	.details = "Makes many connections to one client and measures what it does with them. get: we leech, the client "
		   "seeds. seed: we are complete seeders, the client downloads. dual: half of each. Data is made, checked and "
		   "dropped in memory.\n"
		   "make: writes the torrent of so many bytes of made content, which seed can serve without a disk.",
	.status = "0 all connections were made and kept, and all data was right\n"
		  "1 error: no such client, connections refused or lost, nothing moved for --timeout\n2 wrong usage\n"
		  "3 stopped before the end\n4 wrong data was received",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = 3,
	.args_size = sizeof(struct bench_args),
	.run = run,
};
