/* SPDX-License-Identifier: MIT */
/* verify.c - `bt verify`: reads every byte, compares it with the torrent and
 * names the files that are missing or damaged. Writes nothing. */
#include "app/app.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT(field) offsetof(struct run_args, field)
static const struct opt opts[] = {
	{ 'd', "dir", "DIR", OPT_TEXT, AT(dir), "where the files are (default: here)" },
	{ 0, "window", "SIZE", OPT_SIZE, AT(window), "memory for pieces in work (default: from the machine's; at least 2M)" },
	{ 0, "one-process", NULL, OPT_FLAG, AT(one_process), "do disk work in the same process: for debugging" },
	{ 'q', "quiet", NULL, OPT_FLAG, AT(quiet), "print errors only; the exit status tells" },
	{ 0, "json", NULL, OPT_FLAG, AT(json), "one JSON object per torrent, after the events of the work" },
};

/* What is wrong with one file. */
struct finding {
	const char *word; /* NULL = nothing */
	uint64_t size;    /* on disk */
	uint32_t pieces, bad, own; /* own: bad ones that hold no byte of another file */
};

static void count_pieces(struct finding *r, const struct item *item, uint32_t index)
{
	const struct bt_meta *m = item->meta;
	const struct bt_file *f = &m->files[index];
	uint64_t end = f->off + f->len, room = end;

	if (index + 1 < m->nfiles && (m->files[index + 1].attr & BT_FILE_PAD))
		room += m->files[index + 1].len;
	for (uint64_t i = f->off / m->piece_len; i * m->piece_len < end; i++) {
		uint64_t last = (i + 1) * m->piece_len < m->size ? (i + 1) * m->piece_len : m->size;
		r->pieces++;
		if (bt_piece(item->t, (uint32_t)i))
			continue;
		r->bad++;
		r->own += i * m->piece_len >= f->off && last <= room;
	}
}

static struct finding look_at(const struct item *item, uint32_t index, const char *dir)
{
	const struct bt_file *f = &item->meta->files[index];
	struct finding r = { 0 };
	struct stat st;
	char *path;

	if (f->attr & BT_FILE_PAD)
		return r;
	if (f->len > 0)
		count_pieces(&r, item, index);
	/* One hash covers the ends of two files: it does not say whose byte is wrong. */
	if (r.bad > 0)
		r.word = r.own > 0 ? "damaged" : "in doubt";
	if (asprintf(&path, "%s/%s", dir, f->path) < 0)
		return r;
	/* bt seed reads through links of the user's own, so this does too */
	if ((f->attr & BT_FILE_SYMLINK ? lstat(path, &st) : stat(path, &st)) < 0)
		r.word = errno == ENOENT || errno == ENOTDIR ? "missing" : "unreadable";
	else if ((f->attr & BT_FILE_SYMLINK) ? !S_ISLNK(st.st_mode) : !S_ISREG(st.st_mode))
		r.word = f->attr & BT_FILE_SYMLINK ? "not a symbolic link" : "not a file";
	else if (S_ISREG(st.st_mode)) {
		r.size = (uint64_t)st.st_size;
		if (access(path, R_OK) < 0)
			r.word = "unreadable";
		else if (r.size != f->len)
			r.word = r.size < f->len ? "too short" : "too long";
	}
	free(path);
	return r;
}

static void print_file(const struct bt_file *f, const struct finding *r, bool json, bool first, uint32_t index)
{
	char have[SIZE_TEXT], want[SIZE_TEXT];
	size_t size = strlen(f->path) + 1;
	char *safe;

	if (json) {
		printf("%s{\"index\":%" PRIu32 ",\"path\":", first ? "" : ",", index);
		json_text(stdout, f->path);
		printf(",\"state\":\"%s\",\"length\":%" PRIu64 ",\"length_on_disk\":%" PRIu64 ",\"pieces\":%" PRIu32
		       ",\"pieces_bad\":%" PRIu32 "}",
		       r->word, f->len, r->size, r->pieces, r->bad);
		return;
	}
	safe = malloc(size);
	printf("  %s: ", safe != NULL ? bt_escape(safe, size, f->path) : "");
	free(safe);
	fputs(r->word, stdout);
	if (r->size != f->len && r->size > 0)
		printf(", %s bytes instead of %s", count_text(have, r->size), count_text(want, f->len));
	if (r->bad > 0 && r->size > 0)
		printf(r->own > 0 ? ", %" PRIu32 " of %" PRIu32 " pieces wrong" :
				    ", %" PRIu32 " of %" PRIu32 " pieces wrong, shared with other files",
		       r->bad, r->pieces);
	putchar('\n');
}

static void print_head(const struct item *item, const struct bt_stats *stats, bool good, bool json)
{
	uint32_t bad = stats->pieces - stats->pieces_have;
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

	if (json) {
		fputs("{\"event\":\"verified\",\"name\":", stdout);
		json_text(stdout, item->meta->name);
		printf(",\"info_hash\":\"%s\",\"complete\":%s,\"size\":%" PRIu64 ",\"have\":%" PRIu64, item->hash,
		       good ? "true" : "false", stats->size, stats->have);
		printf(",\"pieces\":%" PRIu32 ",\"pieces_have\":%" PRIu32 ",\"pieces_bad\":%" PRIu32 ",\"files\":[",
		       stats->pieces, stats->pieces_have, bad);
	} else if (bad == 0) {
		printf("%s: all %s pieces are right, %s%s\n", stats->name, count_text(a, stats->pieces),
		       size_text(b, stats->size), good ? "" : ", but:");
	} else {
		printf("%s: %s of %s pieces are missing or wrong; %s are right\n", stats->name, count_text(a, bad),
		       count_text(b, stats->pieces), size_text(c, stats->have));
	}
}

/* True when the torrent is complete and no file has another shape than it should. */
static bool report(const struct item *item, const char *dir, bool quiet, bool json)
{
	const struct bt_meta *m = item->meta;
	struct bt_stats stats;
	bool good, first = true;

	bt_stats(item->t, &stats);
	good = stats.pieces_have == stats.pieces;
	for (uint32_t i = 0; i < m->nfiles && good; i++)
		good = look_at(item, i, dir).word == NULL;
	if (quiet)
		return good;
	print_head(item, &stats, good, json);
	for (uint32_t i = 0; i < m->nfiles && !good; i++) {
		struct finding r = look_at(item, i, dir);
		if (r.word == NULL)
			continue;
		print_file(&m->files[i], &r, json, first, i + 1);
		first = false;
	}
	if (json)
		puts("]}");
	return good;
}

static int run(void *p, const struct texts *torrents)
{
	struct run_args *args = p;
	const char *dir = args->dir != NULL ? args->dir : ".";
	struct session s;
	int status = session_run(&s, RUN_VERIFY, args, torrents);

	view_end(&s.view);
	if (status == EXIT_GOOD)
		for (size_t i = 0; i < s.n; i++)
			if (!report(&s.items[i], dir, args->quiet, args->json))
				status = EXIT_DAMAGED;
	session_close(&s);
	return status;
}

const struct command cmd_verify = {
	.name = "verify",
	.operands = "TORRENT...",
	.summary = "check files against a .torrent file",
	.details = "Reads all files of each torrent, compares every piece with its hash, and names the files that are "
		   "missing, damaged or of another size. A small file is in doubt when a wrong piece holds parts of "
		   "other files too. Nothing is written.",
	.status = "0 everything is there and right\n1 error\n2 wrong usage\n3 stopped before the end\n"
		  "4 something is missing or damaged",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = SIZE_MAX,
	.args_size = sizeof(struct run_args),
	.run = run,
};
