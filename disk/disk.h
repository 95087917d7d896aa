/* SPDX-License-Identifier: MIT */
/* disk.h - the disk as the loop sees it: requests out, completions in; no call
 * here waits for a disk. Behind it a child process, the keeper, owns the file
 * system. Blocks arrive in frames, 16 KiB each, of a pool both processes share,
 * or in place in a mapped window of the file; the caller need not care which.
 *
 *   disk.c store.c run.c window.c          the loop's end (loop.h): pool of frames and back
 *             pressure; one torrent's storage; reading for upload; mapped windows
 *   keeper.c kstore.c check.c resume.c lanes.c view.c   the child (keeper.h): its turn; opening,
 *             syncing, closing; pieces to hash and write; existing data; how both are hashed
 *   link.c flat.c   messages and a torrent's description between them (proto.h)
 *   files.c   the files of one torrent below one directory (synchronous)
 *   journal.c what is known to be on disk, kept through crashes
 *
 * Order of durability: data written, data synced, then the journal record.
 * Callbacks come from within net_turn, never from within the call that caused
 * them, except where --one-process runs the keeper inline at the turn's end. */
#ifndef BT_DISK_H
#define BT_DISK_H

#include "base/base.h"
#include "net.h"

#define BLOCK_LEN 16384u /* the size everybody requests (BEP 3) */

struct disk;
struct store;

enum disk_storage { DISK_AUTO, DISK_MAP, DISK_POOL };
enum disk_alloc { DISK_ALLOC_AUTO, DISK_ALLOC_SPARSE, DISK_ALLOC_FULL };

struct disk_opts {
	uint64_t pool_bytes; /* 0 = from RAM and RLIMIT_AS: at most 64 MiB, least 2 MiB */
	enum disk_storage storage;
	enum disk_alloc alloc;
	bool one_process;
	uint32_t sync_ms; /* how long finished pieces may wait for fsync + record; 0 = 10,000 */
	void (*on_frames)(void *arg); /* frames are free again after disk_frame_get had none */
	void (*on_dead)(void *arg, const char *why); /* the keeper is gone; nothing completes any more */
	void *arg;
};

/* Forks the keeper. Call before anything that the child should not inherit. */
int disk_new(struct disk **, struct net *, const struct disk_opts *) BT_MUST_USE;
/* Its process id, 0 in one process: for a host that wants to wait for its end,
 * and for tests that kill it. */
int disk_keeper_pid(const struct disk *);
/* Closes the link; the keeper finishes what it was given and exits. Does not wait. */
void disk_free(struct disk *);

/* ---- frames: room for one block that is on its way from a socket to a file.
 * Taken when bytes arrive, not when they are requested. Last freed, first
 * used, so a small working set stays in the CPU's caches. ---- */
#define LOC_NONE UINT32_MAX         /* no such block yet */
#define LOC_FILE (UINT32_MAX - 1)   /* in the file already (mapped window, or written) */
uint32_t disk_frame_get(struct disk *); /* LOC_NONE when the pool is empty */
void disk_frame_put(struct disk *, uint32_t frame);
uint8_t *disk_frame(struct disk *, uint32_t frame);
uint32_t disk_frames_free(const struct disk *);
uint32_t disk_frames_total(const struct disk *);

/* Small text files the loop may not open itself (resolv.conf, hosts): the
 * answer has at most 64 KiB; err is -errno. */
typedef void disk_text_fn(void *arg, int err, struct slice text);
void disk_read_text(struct disk *, const char *path, disk_text_fn *, void *arg);

/* ---- one torrent's storage ---- */

struct store_file {
	uint64_t off, len;
	const char *path;   /* sanitised, relative, '/'-joined */
	const char *target; /* symbolic link text or NULL */
	uint32_t attr;      /* enum bt_file_attr of bt.h */
	bool unwanted;      /* don't allocate; bytes of shared pieces still go there */
};

enum store_result {
	STORE_OK,      /* hash right and written: it may be announced */
	STORE_BAD,     /* hash wrong: every block is unknown again */
	STORE_LOST,    /* never stored (disk error or full for long): download it again */
};

struct store_spec {
	const char *dir;       /* download directory */
	const char *state_dir; /* NULL = dir/.bt */
	const uint8_t *info_hash; /* 20 bytes; names the journal */
	uint64_t size;
	uint64_t piece_len;
	uint32_t pieces;
	const uint8_t *hashes; /* pieces x 20; shared with the keeper through a memfd, not kept here */
	const struct store_file *files;
	uint32_t nfiles;
	bool read_only;   /* never create, write or truncate a data file */
	bool force_check; /* ignore the journal: look at every byte */
	bool check_only;  /* and write no journal either */

	/* All required. `what` is one line that names the file and the reason. */
	/* 0: store_have is valid, transfers may start; what is NULL or a warning then */
	void (*on_open)(void *arg, int err, const char *what);
	void (*on_checking)(void *arg, uint32_t index, bool ok); /* resume: one piece looked at */
	/* sums: one 64-bit sum per block, always with STORE_BAD and, when asked for with store_check,
	 * with STORE_OK too; else NULL. For finding who sent a wrong block. */
	void (*on_check)(void *arg, uint32_t index, enum store_result, const uint64_t *sums, uint32_t nsums);
	void (*on_written)(void *arg, uint32_t index, uint32_t first, uint32_t n, int err);
	void (*on_loaded)(void *arg, uint32_t index); /* store_run is worth trying again */
	/* Paused, resumed by itself. A full store keeps complete pieces in at most a quarter of
	 * the pool (or one piece) and tries again after 1 s, then every 5 s; more are STORE_LOST. */
	void (*on_space)(void *arg, bool full, const char *what);
	void (*on_fail)(void *arg, int err, const char *what); /* files gone, changed or unreadable; store is dead */
	void (*on_synced)(void *arg, int err); /* answer to store_sync */
	void (*on_closed)(void *arg);          /* answer to store_close; last call */
	void *arg;
};

/* NULL only without memory. Everything in spec is copied or sent on. on_open follows. */
struct store *store_open(struct disk *, const struct store_spec *) BT_MUST_USE;

/* After on_open: verified pieces, wire bit order, owned by the store, kept up to date. */
const uint8_t *store_have(const struct store *);
/* Partial pieces the journal remembers: calls fn for each; bits in wire order, one per
 * block that is in the file. */
void store_partials(const struct store *, void (*fn)(void *arg, uint32_t index, const uint8_t *bits, uint32_t nblocks),
		    void *arg);

/* Where [begin, begin+len) of a piece may be received in place: an address in a
 * mapped window, or NULL = use a frame (always, with pooled storage; also while
 * a window is being prepared). Only recv/readv may write there. A block received
 * in place has loc LOC_FILE. Windows stay while their pieces are open. */
uint8_t *store_place(struct store *, uint32_t index, uint32_t begin, uint32_t len);
/* Copies bytes that arrived elsewhere to where store_place said, by a system call. */
int store_place_copy(struct store *, uint32_t index, uint32_t begin, const void *p, uint32_t len) BT_MUST_USE;

/* All blocks are here: hash, write frames, report. locs has one entry per block:
 * LOC_FILE or a frame, which passes to the store. False = too many jobs wait
 * (nothing was taken): on_frames comes when it is worth trying again. */
bool store_check(struct store *, uint32_t index, const uint32_t *locs, uint32_t nblocks, bool want_sums) BT_MUST_USE;
/* Writes some blocks of an open piece to free their frames; they become LOC_FILE
 * when on_written says 0. With an error the frames stay the caller's. */
bool store_write(struct store *, uint32_t index, uint32_t first, const uint32_t *frames, uint32_t n) BT_MUST_USE;
/* Forgets an open piece (its window need not stay). Frames are the caller's. */
void store_abandon(struct store *, uint32_t index);

/* Reading for upload. A run of bytes of one file that can be sent now without
 * waiting for the disk; fd is good until the end of this turn; fd -1 = zeros
 * (pad file). off in the torrent's byte range. */
enum store_ready { STORE_READY, STORE_WAIT, STORE_GONE };
struct store_run {
	int fd;
	uint64_t off; /* in that file */
	size_t len;   /* 1..want */
};
/* STORE_WAIT: the keeper is fetching it; on_loaded follows. STORE_GONE: on_fail
 * follows or came. The keeper reads ahead `want` bytes, so ask for runs. */
enum store_ready store_run(struct store *, uint64_t off, size_t want, struct store_run *out);
/* sendfile came up short: the file was truncated under us. Ends in on_fail. */
void store_suspect(struct store *, uint64_t off);

void store_sync(struct store *); /* write down everything now; on_synced */
/* Ends the store: writes given partial pieces into the journal (their blocks are
 * LOC_FILE already), syncs, closes. on_closed follows, then the store is freed. */
struct store_partial {
	uint32_t index;
	const uint8_t *bits; /* one per block */
	uint32_t nblocks;
};
void store_close(struct store *, const struct store_partial *, size_t n);

#endif
