/* SPDX-License-Identifier: MIT */
/* out.c - output that never waits for its reader. A terminal stopped with
 * Ctrl-S or a pipe nobody empties must not stop peers and trackers, so lines
 * wait here, bounded, and only leave when poll() says that they can. */
#include "app/app.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void out_init(struct out *o, int fd)
{
	o->fd = fd;
	o->dead = false;
	o->n = 0;
}

bool out_put(struct out *o, const char *text, size_t len)
{
	if (o->dead || len > sizeof(o->p) - o->n)
		return false;
	memcpy(o->p + o->n, text, len);
	o->n += len;
	return true;
}

/* Writes one chunk if that can be done within timeout_ms; false when not. */
static bool write_some(struct out *o, int timeout_ms)
{
	struct pollfd pfd = { .fd = o->fd, .events = POLLOUT };
	ssize_t n;

	if (poll(&pfd, 1, timeout_ms) <= 0)
		return false;
	/* A pipe that is ready takes PIPE_BUF bytes at once and perhaps no more. */
	n = write(o->fd, o->p, o->n < PIPE_BUF ? o->n : PIPE_BUF);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return false;
		o->dead = true;
		o->n = 0;
		return false;
	}
	o->n -= (size_t)n;
	memmove(o->p, o->p + n, o->n);
	return true;
}

void out_flush(struct out *o)
{
	while (o->n > 0 && write_some(o, 0))
		;
}

void out_finish(struct out *o)
{
	/* Who stops the terminal and then wants out presses Ctrl-C. */
	while (o->n > 0 && !o->dead)
		if (!write_some(o, 500) && signals_stop())
			break;
}
