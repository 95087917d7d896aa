/* SPDX-License-Identifier: MIT */
/* show.c - `bt show`: what a .torrent file says, for people or as JSON. */
#include "app/app.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct show_args {
	bool json;
};

static const struct opt opts[] = {
	{ 0, "json", NULL, OPT_FLAG, offsetof(struct show_args, json), "one JSON object per torrent, for programs" },
};

/* "label   value" with the value made safe for a terminal; nothing when it is absent. */
static void print_text(const char *label, const char *value)
{
	char *safe;
	size_t size;

	if (value == NULL || *value == '\0')
		return;
	size = strlen(value) + 1;
	safe = malloc(size);
	if (safe != NULL)
		printf("%-12s %s\n", label, bt_escape(safe, size, value));
	free(safe);
}

static void print_date(int64_t date)
{
	time_t t = (time_t)date;
	struct tm tm;
	char text[64];

	if (date == 0)
		return;
	if (t == date && date > 0 && gmtime_r(&t, &tm) != NULL && tm.tm_year < 9999 - 1900 &&
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
		printf("%-12s %s\n", "created", text);
	else
		printf("%-12s %" PRId64 " seconds after 1970\n", "created", date);
}

/* Number, size and path; pad files keep their number, which --files uses, but are not shown. */
static void print_files(const struct bt_meta *m)
{
	char size[SIZE_TEXT], n[SIZE_TEXT];
	char *safe = NULL;
	size_t room = 0;
	uint32_t pads = 0;

	for (uint32_t i = 0; i < m->nfiles; i++)
		pads += (m->files[i].attr & BT_FILE_PAD) != 0;
	printf("%-12s %s", "files", count_text(n, m->nfiles - pads));
	if (pads > 0)
		printf(" and %s for padding", count_text(n, pads));
	putchar('\n');
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];
		size_t need = strlen(f->path) + (f->target != NULL ? strlen(f->target) : 0) + 8;

		if (f->attr & BT_FILE_PAD)
			continue;
		if (need > room) {
			free(safe);
			room = need * 2;
			safe = malloc(room);
			if (safe == NULL)
				return;
		}
		printf("%8" PRIu32 "  %10s  %s", i + 1, size_text(size, f->len), bt_escape(safe, room, f->path));
		if (f->target != NULL)
			printf(" -> %s", bt_escape(safe, room, f->target));
		putchar('\n');
	}
	free(safe);
}

static void show_text(const struct bt_meta *m)
{
	char hash[65] = "", a[SIZE_TEXT], b[SIZE_TEXT];
	char *magnet = bt_meta_magnet(m);

	hash_text(hash, m);
	print_text("name", m->name);
	printf("%-12s %s\n", "info-hash", hash);
	print_text("magnet", magnet);
	free(magnet);
	printf("%-12s %s (%s bytes)\n", "size", size_text(a, m->size), count_text(b, m->size));
	printf("%-12s %s of %s\n", "pieces", count_text(a, m->pieces), power_text(b, m->piece_len));
	if (m->is_private || m->is_hybrid)
		printf("%-12s %s%s%s\n", "flags", m->is_private ? "private" : "",
		       m->is_private && m->is_hybrid ? ", " : "", m->is_hybrid ? "hybrid (v1 side used)" : "");
	print_text("comment", m->comment);
	print_text("source", m->source);
	print_text("created by", m->created_by);
	print_date(m->creation_date);
	for (uint32_t i = 0; i < m->ntrackers; i++) {
		char label[32];
		snprintf(label, sizeof(label), "tracker %" PRIu32, m->trackers[i].tier + 1);
		print_text(label, m->trackers[i].url);
	}
	for (uint32_t i = 0; i < m->nweb_seeds; i++)
		print_text("web seed", m->web_seeds[i]);
	print_files(m);
}

static void json_pair(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	json_text(stdout, value);
}

static void json_trackers(const struct bt_meta *m)
{
	fputs(",\"trackers\":[", stdout);
	for (uint32_t i = 0; i < m->ntrackers; i++) {
		bool first = i == 0 || m->trackers[i].tier != m->trackers[i - 1].tier;
		fputs(!first ? "," : i > 0 ? "],[" : "[", stdout);
		json_text(stdout, m->trackers[i].url);
	}
	fputs(m->ntrackers > 0 ? "]]" : "]", stdout);
}

static void json_files(const struct bt_meta *m)
{
	fputs(",\"files\":[", stdout);
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];
		printf("%s{\"index\":%" PRIu32 ",\"path\":", i > 0 ? "," : "", i + 1);
		json_text(stdout, f->path);
		printf(",\"length\":%" PRIu64 ",\"offset\":%" PRIu64, f->len, f->off);
		if (f->attr & BT_FILE_PAD)
			fputs(",\"pad\":true", stdout);
		if (f->attr & BT_FILE_EXEC)
			fputs(",\"executable\":true", stdout);
		if (f->attr & BT_FILE_HIDDEN)
			fputs(",\"hidden\":true", stdout);
		if (f->target != NULL)
			json_pair("link_target", f->target);
		putchar('}');
	}
	putchar(']');
}

static void show_json(const struct bt_meta *m)
{
	char hash[65] = "";
	char *magnet = bt_meta_magnet(m);

	hash_text(hash, m);
	fputs("{\"name\":", stdout);
	json_text(stdout, m->name);
	json_pair("info_hash", hash);
	json_pair("magnet", magnet);
	free(magnet);
	printf(",\"size\":%" PRIu64 ",\"piece_length\":%" PRIu64 ",\"pieces\":%" PRIu32, m->size, m->piece_len,
	       m->pieces);
	printf(",\"private\":%s,\"hybrid\":%s,\"single_file\":%s", m->is_private ? "true" : "false",
	       m->is_hybrid ? "true" : "false", m->single_file ? "true" : "false");
	json_pair("comment", m->comment);
	json_pair("source", m->source);
	json_pair("created_by", m->created_by);
	if (m->creation_date != 0)
		printf(",\"creation_date\":%" PRId64, m->creation_date);
	else
		json_pair("creation_date", NULL);
	json_trackers(m);
	fputs(",\"web_seeds\":[", stdout);
	for (uint32_t i = 0; i < m->nweb_seeds; i++) {
		if (i > 0)
			putchar(',');
		json_text(stdout, m->web_seeds[i]);
	}
	putchar(']');
	json_files(m);
	puts("}");
}

static int run(void *p, const struct texts *torrents)
{
	const struct show_args *args = p;
	int status = EXIT_GOOD;

	for (size_t i = 0; i < torrents->n; i++) {
		struct bt_meta *m = input_torrent("show", torrents->v[i]);

		if (m == NULL) {
			status = EXIT_ERROR;
			continue;
		}
		if (i > 0 && !args->json)
			putchar('\n');
		if (args->json)
			show_json(m);
		else
			show_text(m);
		bt_meta_free(m);
	}
	return status;
}

const struct command cmd_show = {
	.name = "show",
	.operands = "TORRENT...",
	.summary = "print what a .torrent file says",
	.details = "Prints the name, info-hash, magnet link, size, pieces, trackers (with their tier) and files of "
		   "each torrent. The numbers before the files are those that bt get --files takes. TORRENT may be - "
		   "for standard input.",
	.status = "0 all torrents are good\n1 a torrent cannot be read or is not one\n2 wrong usage",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = SIZE_MAX,
	.args_size = sizeof(struct show_args),
	.run = run,
};
