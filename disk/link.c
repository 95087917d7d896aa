/* SPDX-License-Identifier: MIT */
/* link.c - the way between loop and keeper. Messages are laid out in a queue
 * and leave it in batches, one packet of a SOCK_SEQPACKET pair each, so they
 * keep their bounds and a descriptor can ride along (SCM_RIGHTS). In one
 * process there is no socket: the other end reads the queue itself.
 * Start at link_put() and link_take(). */
#include "disk/proto.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_BATCH 16            /* messages per system call */
#define LINK_QUEUE_MAX (16u << 20) /* never reached: jobs in flight are counted by the loop */

static const uint8_t elem_size[MSG_TYPES] = {
	[MSG_CHECK] = 4, [MSG_WRITE] = 4, [MSG_STOW] = 1, [MSG_TEXT] = 1,
	[MSG_OPENED] = 1, [MSG_HAVE] = 1, [MSG_PARTIAL] = 1, [MSG_CHECKING] = 4, [MSG_CHECKED] = 1,
	[MSG_SUMS] = 8, [MSG_WRITTEN] = 1, [MSG_LOST] = 4, [MSG_FAILED] = 1, [MSG_TEXTED] = 1,
};

size_t msg_elem(enum msg_type type)
{
	return elem_size[type];
}

/* Queued messages begin at multiples of 8. */
static size_t room_of(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

static struct msg *queued(const struct link *l, size_t at)
{
	return (struct msg *)(void *)(l->out + at);
}

int link_pair(struct link *a, struct link *b)
{
	int fd[2];

	*a = *b = (struct link){ .fd = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return -errno;
	a->fd = fd[0];
	b->fd = fd[1];
	return 0;
}

void link_join(struct link *a, struct link *b)
{
	*a = (struct link){ .fd = -1, .peer = b };
	*b = (struct link){ .fd = -1, .peer = a };
}

void link_release(struct link *l)
{
	for (size_t at = l->head; at < l->tail; at += room_of(queued(l, at)->len))
		if (queued(l, at)->fd >= 0)
			close(queued(l, at)->fd);
	free(l->out);
	free(l->in);
	if (l->fd >= 0)
		close(l->fd);
	if (l->peer)
		l->peer->peer = NULL;
	*l = (struct link){ .fd = -1, .broken = true };
}

/* Nothing more goes out. What the other end sent before is still read, then both
 * ends see the end. */
static void break_off(struct link *l)
{
	l->broken = true;
	if (l->fd >= 0)
		shutdown(l->fd, SHUT_RDWR);
}

struct msg *link_put(struct link *l, enum msg_type type, uint32_t n)
{
	size_t len = sizeof(struct msg) + n * msg_elem(type), room = room_of(len);
	void *out = l->out;
	struct msg *m;

	assert(len <= MSG_MAX);
	if (l->broken)
		return NULL;
	if (l->head == l->tail)
		l->head = l->tail = 0;
	if (l->head > l->cap / 2) { /* rarely: only when the other end lags behind */
		memmove(l->out, l->out + l->head, l->tail - l->head);
		l->tail -= l->head;
		l->head = 0;
	}
	if (l->tail + room > LINK_QUEUE_MAX || !grow_array(&out, &l->cap, l->tail + room, 1)) {
		break_off(l);
		return NULL;
	}
	l->out = out;
	m = queued(l, l->tail);
	memset(m, 0, room);
	m->len = (uint32_t)len;
	m->type = (uint16_t)type;
	m->n = n;
	m->fd = -1;
	l->tail += room;
	return m;
}

bool link_waits(const struct link *l)
{
	return !l->broken && l->head < l->tail;
}

union fd_room {
	struct cmsghdr h;
	char room[CMSG_SPACE(sizeof(int))];
};

/* Lays out up to LINK_BATCH queued messages for sendmmsg. */
static unsigned gather(const struct link *l, struct mmsghdr *mm, struct iovec *iov, union fd_room *ctl)
{
	unsigned n = 0;

	memset(mm, 0, LINK_BATCH * sizeof(*mm));
	for (size_t at = l->head; at < l->tail && n < LINK_BATCH; n++) {
		struct msg *m = queued(l, at);
		struct msghdr *h = &mm[n].msg_hdr;
		iov[n] = (struct iovec){ m, m->len };
		h->msg_iov = &iov[n];
		h->msg_iovlen = 1;
		if (m->fd >= 0) {
			memset(&ctl[n], 0, sizeof(ctl[n]));
			h->msg_control = &ctl[n];
			h->msg_controllen = sizeof(ctl[n].room);
			struct cmsghdr *c = CMSG_FIRSTHDR(h);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(c), &m->fd, sizeof(int));
		}
		at += room_of(m->len);
	}
	return n;
}

int link_flush(struct link *l)
{
	struct mmsghdr mm[LINK_BATCH];
	struct iovec iov[LINK_BATCH];
	union fd_room ctl[LINK_BATCH];

	while (!l->broken && l->fd >= 0 && l->head < l->tail) {
		int sent = sendmmsg(l->fd, mm, gather(l, mm, iov, ctl), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
				return -EAGAIN;
			break_off(l);
			break;
		}
		for (; sent > 0; sent--) {
			struct msg *m = queued(l, l->head);
			if (m->fd >= 0)
				close(m->fd);
			l->head += room_of(m->len);
		}
	}
	return l->broken ? -EPIPE : 0;
}

/* The descriptor of a received packet, or -1; the room allows for one only. */
static int fd_of(struct msghdr *h)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

static bool msg_valid(const struct msg *m, size_t len)
{
	return len >= sizeof(*m) && len <= MSG_MAX && m->len == len && m->type >= MSG_OPEN && m->type < MSG_TYPES &&
	       m->n <= MSG_MAX && len == sizeof(*m) + m->n * msg_elem(m->type);
}

static int give(struct msg *m, size_t len, link_fn *fn, void *arg)
{
	int err = msg_valid(m, len) ? fn(arg, m) : -EPROTO;

	if (len >= sizeof(*m) && m->fd >= 0)
		close(m->fd);
	return err < 0 ? -EPROTO : 0;
}

static int take_joined(struct link *l, unsigned max, link_fn *fn, void *arg)
{
	unsigned n = 0;

	while (n < max && l->peer && l->peer->head < l->peer->tail) {
		struct msg *m = queued(l->peer, l->peer->head);
		l->peer->head += room_of(m->len);
		n++;
		int err = give(m, m->len, fn, arg);
		if (err < 0)
			return err;
	}
	if (!n && (!l->peer || l->peer->broken))
		return -EPIPE;
	return (int)n;
}

static int take_batch(struct link *l, unsigned max, link_fn *fn, void *arg)
{
	struct mmsghdr mm[LINK_BATCH];
	struct iovec iov[LINK_BATCH];
	union fd_room ctl[LINK_BATCH];
	int got, err = 0;

	memset(mm, 0, sizeof(mm));
	for (unsigned i = 0; i < max; i++) {
		iov[i] = (struct iovec){ l->in + (size_t)i * MSG_MAX, MSG_MAX };
		mm[i].msg_hdr.msg_iov = &iov[i];
		mm[i].msg_hdr.msg_iovlen = 1;
		mm[i].msg_hdr.msg_control = &ctl[i];
		mm[i].msg_hdr.msg_controllen = sizeof(ctl[i].room);
	}
	do
		got = recvmmsg(l->fd, mm, max, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	while (got < 0 && (errno == EINTR || errno == ECONNRESET)); /* reset: said once, before what is left to read */
	if (got < 0)
		return errno == EAGAIN ? 0 : -EPIPE;
	for (int i = 0; i < got; i++) {
		struct msg *m = iov[i].iov_base;
		int fd = fd_of(&mm[i].msg_hdr);
		if (mm[i].msg_len == 0) /* the other end closed */
			return i ? i : -EPIPE;
		if (err < 0 || mm[i].msg_len < sizeof(*m)) {
			err = -EPROTO;
			if (fd >= 0)
				close(fd);
			continue;
		}
		m->fd = fd;
		err = give(m, mm[i].msg_len, fn, arg);
	}
	return err < 0 ? err : got;
}

int link_take(struct link *l, unsigned max, link_fn *fn, void *arg)
{
	unsigned n = 0;

	if (l->fd < 0)
		return take_joined(l, max, fn, arg);
	if (!l->in && !(l->in = alloc_array(LINK_BATCH, MSG_MAX)))
		return -EPIPE;
	while (n < max) {
		unsigned ask = (unsigned)min_size(max - n, LINK_BATCH);
		int got = take_batch(l, ask, fn, arg);
		if (got < 0)
			return n && got == -EPIPE ? (int)n : got;
		n += (unsigned)got;
		if ((unsigned)got < ask)
			break;
	}
	return (int)n;
}
