/* SPDX-License-Identifier: MIT */
/* create.c - `bt create`: a .torrent from files. The hashing is bt_publish's;
 * here are names, progress and the file that is written: whole or not at all. */
#include "app/app.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct create_args {
	const char *output, *name, *comment, *source;
	struct texts trackers, web_seeds;
	uint64_t piece_len;
	bool is_private, pad, no_date, force, quiet, json;
};

#define AT(field) offsetof(struct create_args, field)
static const struct opt opts[] = {
	{ 'o', "output", "FILE", OPT_TEXT, AT(output), "the torrent file; - is standard output (default: NAME.torrent here)" },
	{ 't', "tracker", "URL", OPT_TEXTS, AT(trackers), "a tracker; give it again for more, in order of preference" },
	{ 'w', "web-seed", "URL", OPT_TEXTS, AT(web_seeds), "an HTTP address that has the same files; repeatable" },
	{ 'n', "name", "NAME", OPT_TEXT, AT(name), "the torrent's name (default: that of the file or directory)" },
	{ 'l', "piece-length", "SIZE", OPT_SIZE, AT(piece_len), "a power of two from 16k to 256M (default: chosen so that there are 1,000 to 2,000 pieces)" },
	{ 'c', "comment", "TEXT", OPT_TEXT, AT(comment), "a remark, shown by clients" },
	{ 's', "source", "TEXT", OPT_TEXT, AT(source), "a mark that makes the info-hash differ, as some trackers want" },
	{ 0, "private", NULL, OPT_FLAG, AT(is_private), "peers only from the trackers named here" },
	{ 0, "pad", NULL, OPT_FLAG, AT(pad), "pad files: every file begins with a new piece" },
	{ 0, "no-date", NULL, OPT_FLAG, AT(no_date), "leave the date out: the same files give the same torrent, byte for byte" },
	{ 'f', "force", NULL, OPT_FLAG, AT(force), "replace FILE if it exists" },
	{ 'q', "quiet", NULL, OPT_FLAG, AT(quiet), "print errors only" },
	{ 0, "json", NULL, OPT_FLAG, AT(json), "print what was made as one JSON object" },
};

#define DRAW_MS 200

struct progress {
	struct out out;
	struct style style;
	bool drawn;
	uint64_t begin_ms, next_ms;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct progress *p = arg;
	struct bt_stats s = { .state = BT_CHECKING, .size = total, .checked = done };
	char line[2048];
	uint64_t now = now_ms();

	/* Short work ends before a line would be worth reading. */
	if (p->style.width > 0 && now >= p->next_ms) {
		p->next_ms = now + DRAW_MS;
		s.down_rate = done * 1000 / (now - p->begin_ms + 1);
		line[0] = '\r';
		style_update(&p->style, STDERR_FILENO);
		progress_line(line + 1, sizeof(line) - 8, &s, "hashing", &p->style);
		strcat(line, "\033[K");
		if (p->out.n == 0)
			out_put(&p->out, line, strlen(line));
		out_flush(&p->out);
		p->drawn = true;
	}
	return !signals_stop();
}

static void clear_line(struct progress *p)
{
	if (p->drawn)
		out_put(&p->out, "\r\033[K", 4);
	p->drawn = false;
	out_finish(&p->out);
}

static void on_warning(void *arg, const char *text)
{
	clear_line(arg);
	complain("create", "warning: %s", text);
}

/* NAME.torrent for a path such as "dir/" or ".". NULL after an error line. */
static char *default_output(const struct create_args *args, const struct texts *paths)
{
	char *full = NULL, *out = NULL;
	const char *name = args->name;

	if (name == NULL && paths->n > 1) {
		complain("create", "several paths: name the torrent (-n) or the file to write (-o)");
		return NULL;
	}
	if (name == NULL) {
		full = realpath(paths->v[0], NULL);
		if (full == NULL) {
			complain("create", "%s: %s", paths->v[0], strerror(errno));
			return NULL;
		}
		name = strrchr(full, '/') + 1;
	}
	if (*name == '\0' || strchr(name, '/') != NULL)
		complain("create", "'%s' gives no file name: name the file to write (-o)", name);
	else if (asprintf(&out, "%s.torrent", name) < 0)
		out = NULL;
	free(full);
	return out;
}

int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* Written under another name first, so that a full disk leaves no half torrent
 * and an old one stays whole. link() refuses to replace, rename() replaces. */
int write_file(const char *path, const uint8_t *p, size_t n, bool force)
{
	char *tmp;
	int fd, r;

	if (asprintf(&tmp, "%s.%ld.part", path, (long)getpid()) < 0)
		return -ENOMEM;
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	r = fd < 0 ? -errno : write_all(fd, p, n);
	if (fd >= 0) {
		if (r == 0 && fsync(fd) < 0)
			r = -errno;
		if (close(fd) < 0 && r == 0)
			r = -errno;
		if (r == 0 && force)
			r = rename(tmp, path) < 0 ? -errno : 0;
		else if (r == 0)
			r = link(tmp, path) < 0 ? -errno : 0;
		/* Some file systems know no links: a look beforehand must do. */
		if (r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS)
			r = access(path, F_OK) == 0 ? -EEXIST : rename(tmp, path) < 0 ? -errno : 0;
		if (r < 0 || !force)
			unlink(tmp);
	}
	free(tmp);
	return r;
}

static void print_result(const struct create_args *args, const char *path, const struct bt_meta *m)
{
	char hash[65] = "", a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];
	char *magnet;

	hash_text(hash, m);
	if (args->json) {
		magnet = bt_meta_magnet(m);
		fputs("{\"file\":", stdout);
		json_text(stdout, path);
		fputs(",\"name\":", stdout);
		json_text(stdout, m->name);
		printf(",\"info_hash\":\"%s\",\"size\":%" PRIu64 ",\"piece_length\":%" PRIu64 ",\"pieces\":%" PRIu32
		       ",\"files\":%" PRIu32 ",\"magnet\":",
		       hash, m->size, m->piece_len, m->pieces, m->nfiles);
		json_text(stdout, magnet);
		puts("}");
		free(magnet);
	} else if (!args->quiet) {
		size_t size = strlen(path) + 1;
		char *safe = malloc(size);
		printf("%s: %s in %s piece%s of %s\ninfo-hash %s\n", safe != NULL ? bt_escape(safe, size, path) : "",
		       size_text(a, m->size), count_text(b, m->pieces), m->pieces == 1 ? "" : "s",
		       power_text(c, m->piece_len), hash);
		free(safe);
	}
}

/* Can a file be made there? */
static int check_place(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
	int r = dir == NULL ? -ENOMEM : access(dir, W_OK | X_OK) < 0 ? -errno : 0;

	free(dir);
	return r;
}

/* SCHEME://something; which schemes mean something is for clients to say. */
static bool check_urls(const struct texts *urls, const char *option)
{
	for (size_t i = 0; i < urls->n; i++) {
		const char *url = urls->v[i], *colon = strstr(url, "://");
		if (colon != NULL && colon > url && colon[3] != '\0' && strpbrk(url, " \t\n") == NULL)
			continue;
		complain("create", "%s: '%s' is not an address like http://host/path", option, url);
		return false;
	}
	return true;
}

static bool check_values(const struct create_args *args)
{
	uint64_t len = args->piece_len;

	if (!check_urls(&args->trackers, "--tracker") || !check_urls(&args->web_seeds, "--web-seed"))
		return false;
	if (len != 0 && (len < 16384 || len > (256u << 20) || (len & (len - 1)) != 0)) {
		complain("create", "--piece-length: not a power of two from 16k to 256M");
		return false;
	}
	return true;
}

/* What can be refused before hours of hashing. */
static int check_output(const struct create_args *args, const char *path)
{
	int r;

	if (strcmp(path, "-") == 0) {
		if (isatty(STDOUT_FILENO))
			complain("create", "a torrent is no text for a terminal: name a file (-o)");
		else if (args->json)
			complain("create", "-o - and --json both want standard output");
		else
			return EXIT_GOOD;
		return EXIT_USAGE;
	}
	if (!args->force && access(path, F_OK) == 0) {
		complain("create", "%s: exists already; -f replaces it", path);
		return EXIT_ERROR;
	}
	r = check_place(path);
	if (r < 0)
		complain("create", "%s: %s", path, strerror(-r));
	return r < 0 ? EXIT_ERROR : EXIT_GOOD;
}

/* Hashes, with a progress line where stderr is a terminal. NULL after an error line. */
static uint8_t *publish(const struct create_args *args, const struct texts *paths, size_t *len)
{
	struct progress *progress = calloc(1, sizeof(*progress));
	char err[512] = "";
	uint8_t *bytes;
	struct bt_publish pub = {
		.paths = paths->v,
		.npaths = paths->n,
		.name = args->name,
		.trackers = args->trackers.v,
		.ntrackers = args->trackers.n,
		.web_seeds = args->web_seeds.v,
		.nweb_seeds = args->web_seeds.n,
		.comment = args->comment,
		.source = args->source,
		.piece_len = args->piece_len,
		.date = args->no_date ? 0 : (int64_t)time(NULL),
		.is_private = args->is_private,
		.pad_files = args->pad,
		.on_progress = on_progress,
		.on_warning = args->quiet ? NULL : on_warning,
		.arg = progress,
	};

	if (progress == NULL) {
		complain("create", "not enough memory");
		return NULL;
	}
	out_init(&progress->out, STDERR_FILENO);
	if (!args->quiet && !args->json && style_update(&progress->style, STDERR_FILENO))
		progress->style.width = progress->style.width > 0 ? progress->style.width : 80;
	else
		progress->style.width = 0;
	progress->begin_ms = now_ms();
	progress->next_ms = progress->begin_ms + DRAW_MS;
	bytes = bt_publish(&pub, len, err, sizeof(err));
	clear_line(progress);
	if (bytes == NULL && !signals_stop())
		complain("create", "%s", err);
	free(progress);
	return bytes;
}

static int run(void *p, const struct texts *paths)
{
	struct create_args *args = p;
	char *named = NULL, err[512];
	const char *path = args->output;
	struct bt_meta *m = NULL;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int status = EXIT_USAGE, r;

	if (!check_values(args))
		goto out;
	if (path == NULL)
		path = named = default_output(args, paths);
	status = path == NULL ? EXIT_ERROR : check_output(args, path);
	if (status != EXIT_GOOD)
		goto out;
	signals_catch(false);
	status = EXIT_ERROR;
	bytes = publish(args, paths, &len);
	if (bytes == NULL) {
		if (signals_stop())
			status = EXIT_EARLY;
		goto out;
	}
	/* What is written can be read: the reader has the last word. */
	m = bt_meta_parse(bytes, len, err, sizeof(err));
	if (m == NULL) {
		complain("create", "%s", err);
		goto out;
	}
	r = strcmp(path, "-") == 0 ? write_all(STDOUT_FILENO, bytes, len) : write_file(path, bytes, len, args->force);
	if (r < 0) {
		complain("create", "%s: %s", path, r == -EEXIST ? "exists already; -f replaces it" : strerror(-r));
		goto out;
	}
	if (strcmp(path, "-") != 0)
		print_result(args, path, m);
	status = EXIT_GOOD;
out:
	bt_meta_free(m);
	free(bytes);
	free(named);
	free(args->trackers.v);
	free(args->web_seeds.v);
	return status;
}

const struct command cmd_create = {
	.name = "create",
	.operands = "PATH...",
	.summary = "make a .torrent file",
	.details = "Makes a torrent of a file, of a directory with everything below it, or of several files.",
	.status = "0 the torrent was written\n1 error\n2 wrong usage\n3 stopped before the end; nothing was written",
	.opts = opts,
	.nopts = COUNT_OF(opts),
	.min_operands = 1,
	.max_operands = SIZE_MAX,
	.args_size = sizeof(struct create_args),
	.run = run,
};
