/* SPDX-License-Identifier: MIT */
/* ceiling.c - what this machine can do without a client: the same bytes through
 * the same kinds of system calls, and nothing else. A download is blocks of
 * 16 KiB with their 13-byte headers from a loopback connection, scattered by one
 * readv per piece; an upload is the reverse. So a client's rate has a limit to
 * be held against, measured in the same minute. `ceiling [MIB [DIR]]`.
 *
 * Only the receiver's (for uploads the sender's) CPU seconds count: its own as
 * `loop`, those of the child that hashes and writes as `keeper`. */
#include "sha1.h"
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK ((size_t)16384)
#define HEADER ((size_t)13) /* length, id, index, begin */
#define BLOCKS ((size_t)16) /* in a piece of 256 KiB */
#define PIECE (BLOCK * BLOCKS)
#define SLOTS 4 /* batches that may be with the keeper or under way */

enum place { NOWHERE, MAPPED, FRAMES };
enum hasher { NOBODY, LOOP, KEEPER };

static size_t pieces, batch; /* batch: pieces hashed together, one per lane */
static const char *dir = ".";
static uint8_t *piece; /* every piece of the data is this one */
static uint8_t digest[SHA1_LEN];

/* ---- small tools ---- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	       1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static double my_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return cpu(&u);
}

/* Waits for a child, which must have ended well; its CPU seconds. */
static double join(pid_t pid)
{
	struct rusage u;
	int status;

	if (wait4(pid, &status, 0, &u) != pid || status != 0)
		errx(1, "a child failed");
	return cpu(&u);
}

static void report(const char *what, double took, double loop, double keeper)
{
	double gib = (double)(pieces * PIECE) / (1 << 30);

	printf("%7.0f MB/s       %s\n", (double)(pieces * PIECE) / took / 1e6, what);
	printf("%7.3f CPU s/GiB  %s: loop\n", loop / gib, what);
	if (keeper > 0)
		printf("%7.3f CPU s/GiB  %s: keeper\n", keeper / gib, what);
	fflush(stdout);
}

/* A file of all pieces, without a name. */
static int data_file(bool preallocate)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/ceiling.XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0)
		err(1, "%s", path);
	unlink(path);
	if (preallocate && fallocate(fd, 0, 0, (off_t)(pieces * PIECE)) < 0)
		err(1, "fallocate %zu MiB in %s", pieces * PIECE >> 20, dir);
	return fd;
}

static void tcp_pair(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &len) < 0)
		err(1, "listen");
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd[0], (struct sockaddr *)&a, len) < 0 || (fd[1] = accept(listener, NULL, NULL)) < 0)
		err(1, "connect");
	close(listener);
}

/* Makes readv or writev move all of the vector. */
static void all_of(ssize_t (*call)(int, const struct iovec *, int), int fd, struct iovec *v, size_t n)
{
	while (n > 0) {
		ssize_t got = call(fd, v, (int)n);

		if (got <= 0)
			err(1, "connection");
		while (n > 0 && (size_t)got >= v->iov_len) {
			got -= (ssize_t)v->iov_len;
			v++;
			n--;
		}
		if (n > 0) {
			v->iov_base = (uint8_t *)v->iov_base + got;
			v->iov_len -= (size_t)got;
		}
	}
}

/* The vector of one framed piece: header, block, header, block... */
static void framed(struct iovec v[2 * BLOCKS], uint8_t headers[BLOCKS][HEADER], uint8_t *at)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		v[2 * i] = (struct iovec){ headers[i], HEADER };
		v[2 * i + 1] = (struct iovec){ at + i * BLOCK, BLOCK };
	}
}

static void hash(uint8_t *at, size_t n)
{
	struct iovec v[SHA1_MAX_LANES];
	struct sha1_job jobs[SHA1_MAX_LANES];

	for (size_t i = 0; i < n; i++) {
		v[i] = (struct iovec){ at + i * PIECE, PIECE };
		jobs[i] = (struct sha1_job){ .iov = &v[i], .iovcnt = 1 };
	}
	sha1_many(jobs, n);
	for (size_t i = 0; i < n; i++)
		if (memcmp(jobs[i].digest, digest, SHA1_LEN) != 0)
			errx(1, "wrong data");
}

/* ---- download ---- */

struct download {
	const char *what;
	enum place place;
	enum hasher hasher;
	int file;
	uint8_t *pool; /* FRAMES: SLOTS batches, shared with the keeper */
};

struct job {
	size_t slot, first, n; /* pieces first..first+n */
};

static uint8_t *window(const struct download *d, size_t first, size_t n)
{
	uint8_t *p = mmap(NULL, n * PIECE, PROT_READ | PROT_WRITE, MAP_SHARED, d->file, (off_t)(first * PIECE));

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void keeper(const struct download *d, int link)
{
	struct job j;

	while (read(link, &j, sizeof(j)) == (ssize_t)sizeof(j)) {
		size_t len = j.n * PIECE;

		if (d->place == MAPPED) {
			uint8_t *at = window(d, j.first, j.n);

			hash(at, j.n);
			munmap(at, len);
		} else {
			uint8_t *at = d->pool + j.slot * batch * PIECE;

			hash(at, j.n);
			if (pwrite(d->file, at, len, (off_t)(j.first * PIECE)) != (ssize_t)len)
				err(1, "pwrite");
		}
		if (write(link, &j, sizeof(j)) != (ssize_t)sizeof(j))
			err(1, "link");
	}
	_exit(0);
}

static void send_pieces(int fd)
{
	uint8_t headers[BLOCKS][HEADER] = { 0 };

	for (size_t i = 0; i < pieces; i++) {
		struct iovec v[2 * BLOCKS];

		framed(v, headers, piece);
		all_of(writev, fd, v, 2 * BLOCKS);
	}
	_exit(0);
}

/* Takes back a slot from the keeper. */
static void job_done(int link, size_t free_slots[SLOTS], size_t *nfree)
{
	struct job j;

	if (read(link, &j, sizeof(j)) != (ssize_t)sizeof(j))
		errx(1, "the keeper is gone");
	free_slots[(*nfree)++] = j.slot;
}

static void download(struct download *d)
{
	int fd[2], link[2];
	pid_t sender, child = 0;
	size_t free_slots[SLOTS], nfree = 0;
	double start, loop, kept = 0;

	d->file = d->place == NOWHERE ? -1 : data_file(d->place == MAPPED);
	d->pool = mmap(NULL, SLOTS * batch * PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d->pool == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link) < 0)
		err(1, "%s", d->what);
	while (nfree < SLOTS) {
		free_slots[nfree] = nfree;
		nfree++;
	}
	tcp_pair(fd);
	sender = fork();
	if (sender == 0)
		send_pieces(fd[1]);
	close(fd[1]);
	if (d->hasher == KEEPER) {
		child = fork();
		if (child == 0) {
			close(link[0]);
			keeper(d, link[1]);
		}
	}
	close(link[1]);
	start = seconds();
	loop = my_cpu();
	for (size_t first = 0; first < pieces; first += batch) {
		struct job j = { .first = first, .n = min_size(batch, pieces - first) };
		uint8_t headers[BLOCKS][HEADER], *at;

		if (nfree == 0)
			job_done(link[0], free_slots, &nfree);
		j.slot = free_slots[--nfree]; /* last freed, first used: still in the caches */
		at = d->place == MAPPED ? window(d, first, j.n) : d->pool + j.slot * batch * PIECE;
		for (size_t i = 0; i < j.n; i++) {
			struct iovec v[2 * BLOCKS];

			framed(v, headers, at + i * PIECE);
			all_of(readv, fd[0], v, 2 * BLOCKS);
		}
		if (d->hasher == LOOP)
			hash(at, j.n);
		if (d->place == MAPPED)
			munmap(at, j.n * PIECE);
		if (d->hasher != KEEPER)
			free_slots[nfree++] = j.slot;
		else if (write(link[0], &j, sizeof(j)) != (ssize_t)sizeof(j))
			err(1, "link");
	}
	while (nfree < SLOTS)
		job_done(link[0], free_slots, &nfree);
	start = seconds() - start;
	loop = my_cpu() - loop;
	close(link[0]);
	if (child)
		kept = join(child);
	join(sender);
	close(fd[0]);
	if (d->file >= 0)
		close(d->file);
	munmap(d->pool, SLOTS * batch * PIECE);
	report(d->what, start, loop, kept);
}

/* ---- upload ---- */

/* Takes everything and looks at nothing: MSG_TRUNC drops bytes in the kernel. */
static void swallow(int fd)
{
	for (size_t left = pieces * BLOCKS * (HEADER + BLOCK); left > 0;) {
		ssize_t got = recv(fd, NULL, 1 << 20, MSG_TRUNC);

		if (got <= 0)
			err(1, "recv");
		left -= (size_t)got;
	}
	_exit(0);
}

static void upload_sendfile(int fd, int file)
{
	static const uint8_t header[HEADER];

	for (size_t i = 0; i < pieces * BLOCKS; i++) {
		off_t off = (off_t)(i * BLOCK);

		if (send(fd, header, HEADER, MSG_MORE) != (ssize_t)HEADER)
			err(1, "send");
		for (size_t left = BLOCK; left > 0;) {
			ssize_t sent = sendfile(fd, file, &off, left);

			if (sent <= 0)
				err(1, "sendfile");
			left -= (size_t)sent;
		}
	}
}

static void upload_writev(int fd, int file)
{
	uint8_t headers[BLOCKS][HEADER] = { 0 };
	struct download d = { .file = file };

	for (size_t first = 0; first < pieces; first += batch) {
		size_t n = min_size(batch, pieces - first);
		uint8_t *at = window(&d, first, n);

		for (size_t i = 0; i < n; i++) {
			struct iovec v[2 * BLOCKS];

			framed(v, headers, at + i * PIECE);
			all_of(writev, fd, v, 2 * BLOCKS);
		}
		munmap(at, n * PIECE);
	}
}

static void upload(const char *what, void (*send_all)(int fd, int file))
{
	int fd[2], file = data_file(false);
	double start, loop;
	pid_t receiver;

	for (size_t i = 0; i < pieces; i++)
		if (pwrite(file, piece, PIECE, (off_t)(i * PIECE)) != (ssize_t)PIECE)
			err(1, "pwrite");
	tcp_pair(fd);
	receiver = fork();
	if (receiver == 0)
		swallow(fd[1]);
	close(fd[1]);
	start = seconds();
	loop = my_cpu();
	send_all(fd[0], file);
	loop = my_cpu() - loop;
	join(receiver);
	report(what, seconds() - start, loop, 0);
	close(fd[0]);
	close(file);
}

int main(int argc, char **argv)
{
	struct download downloads[] = {
		{ .what = "download, thrown away", .place = NOWHERE, .hasher = NOBODY },
		{ .what = "download to a mapped file, no hash", .place = MAPPED, .hasher = NOBODY },
		{ .what = "download to a mapped file, hash in the loop", .place = MAPPED, .hasher = LOOP },
		{ .what = "download to a mapped file, hash in the keeper", .place = MAPPED, .hasher = KEEPER },
		{ .what = "download to frames, hash and pwrite in the keeper", .place = FRAMES, .hasher = KEEPER },
	};
	size_t mib = argc > 1 ? (size_t)atoi(argv[1]) : 1024;

	if (argc > 2)
		dir = argv[2];
	pieces = mib * 4;
	batch = sha1_lanes() < 8 ? 8 : sha1_lanes();
	piece = malloc(PIECE);
	if (!piece || pieces == 0)
		errx(2, "usage: ceiling [MIB [DIR]]");
	for (size_t i = 0; i < PIECE; i++)
		piece[i] = (uint8_t)(i * 2654435761u >> 13);
	sha1(piece, PIECE, digest);
	printf("%7zu MiB, pieces of 256 KiB, %s in lots of %zu\n", mib, sha1_lanes_name(), batch);
	for (size_t i = 0; i < ARRAY_LEN(downloads); i++)
		download(&downloads[i]);
	upload("upload, header and sendfile per block", upload_sendfile);
	upload("upload, writev of 16 mapped blocks", upload_writev);
	free(piece);
	return 0;
}
