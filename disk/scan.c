/* SPDX-License-Identifier: MIT */
/* scan.c - the files below some paths, in the order in which they go into a
 * torrent, as scan.h states. The walk keeps a list of directories still to be
 * read instead of recursing, and has one of them open at a time. */
#include "disk/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 100 /* elements of a path, as readers of torrents allow */

struct walk {
	struct scan *out;
	char **todo; /* directories to be read, '/'-terminated */
	size_t ntodo, todo_cap;
	size_t strip; /* bytes of their names before the torrent's part begins */
	scan_skip_fn *skip;
	void *arg;
	char *err;
	size_t err_size;
};

bool scan_error(char *err, size_t err_size, const char *path, const char *why)
{
	char safe[300];

	snprintf(err, err_size, "%s: %s", text_escape(safe, sizeof(safe), slice_str(path)), why);
	return false;
}

static bool fail(struct walk *w, const char *path, const char *why)
{
	return scan_error(w->err, w->err_size, path, why);
}

static bool no_memory(struct walk *w)
{
	snprintf(w->err, w->err_size, "out of memory");
	return false;
}

/* above is "" or ends with '/'. */
static char *join(const char *above, const char *name, const char *end)
{
	size_t a = strlen(above), n = strlen(name), e = strlen(end);
	char *s = malloc(a + n + e + 1);

	if (s) {
		memcpy(s, above, a);
		memcpy(s + a, name, n);
		memcpy(s + a + n, end, e + 1);
	}
	return s;
}

static void set_stat(struct scan_file *f, const struct stat *st)
{
	f->len = (uint64_t)st->st_size;
	f->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
	f->exec = st->st_mode & S_IXUSR;
}

/* Takes over open. st is that of a file or a link. */
static bool add(struct walk *w, char *open, const struct stat *st)
{
	struct scan *s = w->out;
	struct scan_file *f;
	struct stat to;

	if (!open || !grow_array((void **)&s->files, &s->cap, s->n + 1, sizeof(*s->files))) {
		free(open);
		return no_memory(w);
	}
	f = &s->files[s->n++];
	*f = (struct scan_file){ .open = open, .path = open + w->strip };
	if (S_ISREG(st->st_mode)) {
		set_stat(f, st);
	} else {
		char text[PATH_MAX];
		ssize_t n = readlink(open, text, sizeof(text) - 1);

		if (n < 0)
			return fail(w, open, strerror(errno));
		text[n] = 0;
		f->target = strdup(text);
		if (!f->target)
			return no_memory(w);
		f->kind = SCAN_LINK_NOWHERE;
		if (stat(open, &to) == 0 && S_ISDIR(to.st_mode)) {
			f->kind = SCAN_LINK_DIR;
		} else if (stat(open, &to) == 0 && S_ISREG(to.st_mode)) {
			f->kind = SCAN_LINK_FILE;
			set_stat(f, &to);
		}
	}
	return true;
}

/* Takes over path, which ends with '/'. */
static bool push(struct walk *w, char *path)
{
	unsigned depth = 1;

	if (!path || !grow_array((void **)&w->todo, &w->todo_cap, w->ntodo + 1, sizeof(*w->todo))) {
		free(path);
		return no_memory(w);
	}
	w->todo[w->ntodo++] = path;
	for (const char *p = path + w->strip; *p; p++)
		depth += *p == '/';
	return depth <= DEPTH_MAX || fail(w, path, "too many directories inside each other");
}

static bool entry(struct walk *w, int dirfd, const char *dir, const char *name)
{
	struct stat st;
	char *path;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		int e = errno;

		path = join(dir, name, "");
		fail(w, path ? path : name, strerror(e));
		free(path);
		return false;
	}
	if (S_ISDIR(st.st_mode))
		return push(w, join(dir, name, "/"));
	if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
		return add(w, join(dir, name, ""), &st);
	path = join(dir, name, "");
	if (path && w->skip)
		w->skip(w->arg, path, "left out, as it is no file");
	free(path);
	return true;
}

/* A directory that can't be read ends the work: a torrent with a part missing
 * would be found out by others. */
static bool read_dir(struct walk *w, const char *path)
{
	DIR *d = opendir(path);
	bool ok = true;

	if (!d)
		return fail(w, path, strerror(errno));
	while (ok) {
		struct dirent *e;

		errno = 0;
		e = readdir(d);
		if (!e) {
			ok = errno == 0 || fail(w, path, strerror(errno));
			break;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			ok = entry(w, dirfd(d), path, e->d_name);
	}
	closedir(d);
	return ok;
}

static bool read_todo(struct walk *w)
{
	bool ok = true;

	while (ok && w->ntodo > 0) {
		char *path = w->todo[--w->ntodo];

		ok = read_dir(w, path);
		free(path);
	}
	return ok;
}

/* One of the paths a person named; keep = its last element is in the torrent. */
static bool root(struct walk *w, const char *given, bool keep)
{
	size_t n = strlen(given);
	struct stat st;
	char *path;
	const char *slash;

	if (stat(given, &st) < 0)
		return fail(w, given, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return fail(w, given, "neither a file nor a directory");
	path = strdup(given);
	if (!path)
		return no_memory(w);
	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	slash = strrchr(path, '/');
	w->strip = slash ? (size_t)(slash - path) + 1 : 0;
	if (keep && (!path[w->strip] || strcmp(path + w->strip, ".") == 0 || strcmp(path + w->strip, "..") == 0)) {
		free(path);
		return fail(w, given, "has no name of its own to go by among several paths");
	}
	if (S_ISREG(st.st_mode)) {
		if (!keep)
			w->strip = n;
		w->out->single = !keep;
		return add(w, path, &st);
	}
	given = path;
	path = join(given, "", n == 1 && *given == '/' ? "" : "/");
	free((char *)(uintptr_t)given);
	if (!keep)
		w->strip = path ? strlen(path) : 0;
	return push(w, path) && read_todo(w);
}

/* ---- order ---- */

static int rank(const char *p)
{
	return *p == '/' ? 1 : *p ? (uint8_t)*p + 2 : 0;
}

int scan_compare(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return rank(a) - rank(b);
}

static int compare_files(const void *a, const void *b)
{
	return scan_compare(((const struct scan_file *)a)->path, ((const struct scan_file *)b)->path);
}

/* Several roots may have one name: equal paths, or a file where others want a
 * directory. Both stand side by side now. */
static bool check_distinct(struct walk *w)
{
	const struct scan *s = w->out;

	for (size_t i = 1; i < s->n; i++) {
		const char *before = s->files[i - 1].path, *path = s->files[i].path;
		size_t n = strlen(before);

		if (strncmp(before, path, n) == 0 && (path[n] == 0 || path[n] == '/'))
			return fail(w, s->files[i].open, "another path given has the same name");
	}
	return true;
}

bool scan_paths(struct scan *s, const char *const *paths, size_t n, scan_skip_fn *skip, void *arg, char *err,
		size_t err_size)
{
	struct walk w = { .out = s, .skip = skip, .arg = arg, .err = err, .err_size = err_size };
	bool ok = true;

	memset(s, 0, sizeof(*s));
	for (size_t i = 0; ok && i < n; i++)
		ok = root(&w, paths[i], n > 1);
	if (ok && s->n > 1)
		qsort(s->files, s->n, sizeof(*s->files), compare_files);
	ok = ok && check_distinct(&w);
	while (w.ntodo > 0)
		free(w.todo[--w.ntodo]);
	free(w.todo);
	return ok;
}

void scan_release(struct scan *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->files[i].open);
		free(s->files[i].target);
	}
	free(s->files);
	memset(s, 0, sizeof(*s));
}
