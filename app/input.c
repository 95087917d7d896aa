/* SPDX-License-Identifier: MIT */
/* input.c - reads a .torrent from whatever the user named: a file, standard
 * input, a pipe. Bounded in bytes, and in time where nobody may be writing. */
#include "app/app.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIFO_WAIT_MS 10000

struct input {
	const char *cmd, *path;
	int fd;
	bool fifo;
	char *p;
	size_t n, cap;
};

/* Waits until a pipe has bytes or its writer is gone. */
static bool fifo_ready(const struct input *in)
{
	struct pollfd pfd = { .fd = in->fd, .events = POLLIN };
	int r;

	do
		r = poll(&pfd, 1, FIFO_WAIT_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		complain(in->cmd, "%s: a pipe, and nothing came through it for %d s", in->path, FIFO_WAIT_MS / 1000);
	return r > 0;
}

static bool read_all(struct input *in)
{
	for (;;) {
		ssize_t n;

		if (in->n == in->cap) {
			size_t cap = in->cap < INPUT_MAX / 2 ? in->cap * 2 : INPUT_MAX + 1;
			char *p = in->n > INPUT_MAX ? NULL : realloc(in->p, cap);
			if (in->n > INPUT_MAX)
				complain(in->cmd, "%s: longer than %u MiB: not a torrent file", in->path,
					 INPUT_MAX >> 20);
			else if (p == NULL)
				complain(in->cmd, "%s: not enough memory to read it", in->path);
			if (p == NULL)
				return false;
			in->p = p;
			in->cap = cap;
		}
		if (in->fifo && !fifo_ready(in))
			return false;
		n = read(in->fd, in->p + in->n, in->cap - in->n);
		if (n == 0)
			return true;
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0) {
			complain(in->cmd, "%s: cannot read: %s", in->path, strerror(errno));
			return false;
		}
		/* Every torrent is a dictionary: most wrong files end here, unread. */
		if (in->n == 0 && in->p[0] != 'd') {
			complain(in->cmd, "%s: not a torrent file", in->path);
			return false;
		}
		in->n += (size_t)n;
	}
}

static bool input_open(struct input *in)
{
	struct stat st;

	if (strcmp(in->path, "-") == 0) {
		in->path = "standard input";
		in->fd = STDIN_FILENO;
	} else {
		/* Not to be caught by a FIFO without writer or a tape's drive. */
		in->fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (in->fd < 0) {
			complain(in->cmd, "%s: %s", in->path, strerror(errno));
			return false;
		}
	}
	if (fstat(in->fd, &st) < 0) {
		complain(in->cmd, "%s: %s", in->path, strerror(errno));
		return false;
	}
	if (S_ISDIR(st.st_mode)) {
		complain(in->cmd, "%s: is a directory, not a torrent file", in->path);
		return false;
	}
	if (S_ISREG(st.st_mode) && st.st_size > (off_t)INPUT_MAX) {
		complain(in->cmd, "%s: longer than %u MiB: not a torrent file", in->path, INPUT_MAX >> 20);
		return false;
	}
	in->fifo = S_ISFIFO(st.st_mode) && in->fd != STDIN_FILENO;
	in->cap = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 1 : 65536;
	in->p = malloc(in->cap);
	if (in->p == NULL)
		complain(in->cmd, "%s: not enough memory to read it", in->path);
	return in->p != NULL;
}

struct bt_meta *input_torrent(const char *cmd, const char *path)
{
	struct input in = { .cmd = cmd, .path = path, .fd = -1 };
	struct bt_meta *m = NULL;
	char err[512];

	if (strncmp(path, "magnet:", 7) == 0 || strstr(path, "://") != NULL) {
		complain(cmd, "%s: give a .torrent file; magnet links and addresses are not read", path);
		return NULL;
	}
	if (input_open(&in) && read_all(&in)) {
		if (in.n == 0)
			complain(cmd, "%s: empty", in.path);
		else if ((m = bt_meta_parse(in.p, in.n, err, sizeof(err))) == NULL)
			complain(cmd, "%s: %s", in.path, err);
	}
	if (in.fd > STDIN_FILENO)
		close(in.fd);
	free(in.p);
	return m;
}
