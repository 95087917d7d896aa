/* SPDX-License-Identifier: MIT */
/* loop.h - inside the loop's end of the disk (disk.h): what disk.c, store.c,
 * window.c and run.c share. Nothing here touches a file but by descriptors the
 * keeper sent, and by calls that do not wait. */
#ifndef BT_DISK_LOOP_H
#define BT_DISK_LOOP_H

#include "disk/proto.h"
#include <sys/types.h>

#define DISK_JOBS 256u   /* checks and writes the keeper may have at once */
#define DISK_FDS 64u     /* descriptors kept for uploads */
#define DISK_LOADS 32u   /* reads the keeper may have at once */
#define DISK_WINDOWS 64u /* mapped windows */

/* A check or write the keeper has, or a complete piece that waits for space. */
struct job {
	struct list on_parked;
	struct store *s;
	uint32_t slot; /* in disk.jobs while the keeper has it */
	uint32_t index, first, n;
	bool is_write, want_sums;
	uint64_t *sums; /* n of them; NULL until some came */
	uint32_t locs[];
};

struct open_fd { /* run.c */
	int fd; /* -1 = free place */
	struct store *s;
	uint32_t file;
	bool in_memory;
	bool no_nowait; /* RWF_NOWAIT is not known here */
	uint64_t used;  /* net turn it was last given out in */
};

struct load { /* run.c: a read the keeper has or will get */
	struct list on_loads;
	struct store *s;
	uint32_t file;
	uint64_t off, len; /* in the file */
	uint32_t need;     /* of len: the rest is read ahead, if the file is that long */
};

struct recent_load { /* run.c: where residency can't be asked */
	struct store *s;
	uint32_t file, tries;
	uint64_t off, len, at_ms;
};

enum window_state { WINDOW_FREE, WINDOW_ASKED, WINDOW_READY, WINDOW_REFUSED };
struct window { /* window.c */
	enum window_state state;
	struct store *s; /* NULL while an answer for a freed store is under way */
	uint32_t file;
	uint64_t off, len; /* in the file */
	uint8_t *addr;
	uint32_t base;    /* first piece that may touch it */
	uint64_t open[3]; /* pieces in work, bit i = base + i */
	uint64_t used;    /* turn of last use */
};

struct text_ask {
	struct list on_texts;
	uint32_t number;
	disk_text_fn *fn;
	void *arg;
	int err; /* it never left */
	uint8_t *p;
	uint32_t got, total;
};

struct disk {
	struct net *net;
	struct disk_opts opts;
	struct link link;
	struct ev ev;
	struct keeper *keeper; /* in one process */
	struct timer wake;     /* in one process: the keeper's next turn; else a dead keeper's news */
	pid_t pid;
	bool dead, told_dead;
	char why[80];
	struct later at_end; /* of the turn: send, call on_frames */

	uint8_t *pool;
	uint32_t *free_frames; /* a stack */
	uint32_t nframes, nfree;
	bool starved; /* somebody was told "no" and waits for on_frames */

	struct job *jobs[DISK_JOBS];
	uint32_t njobs;
	struct store **stores; /* by number */
	size_t nstores, stores_cap;
	size_t free_number;  /* no number before it is free */
	struct list unsent;  /* stores the keeper has not heard of, by on_unsent */
	uint32_t nopens;     /* descriptions that wait in the link, each with a descriptor */
	struct list texts;
	uint32_t next_text;

	struct open_fd fds[DISK_FDS];
	struct list loads; /* not sent yet */
	struct load *sent[DISK_LOADS];
	uint32_t nsent;
	struct recent_load recent[DISK_LOADS];
	uint32_t next_recent;

	struct window windows[DISK_WINDOWS];
	uint64_t windows_len; /* bytes of all */
	int pipe[2];          /* store_place_copy; -1 until needed */
};

struct store {
	struct disk *d;
	uint32_t id;
	struct store_spec spec; /* only callbacks and flags are looked at after opening */
	struct flat_view flat;
	uint8_t *have;
	struct store_partial *partials;
	size_t npartials, partials_cap;
	bool open;    /* on_open(0) was called */
	bool dead;    /* on_fail was called */
	bool closing; /* MSG_CLOSE was sent */
	bool full;    /* on_space(true) was called */
	bool probing; /* a retry is under way */
	bool no_map;  /* windows were refused */
	struct list on_unsent;
	struct job *probe; /* the parked piece that tries again */
	struct list parked; /* complete pieces without space, oldest first */
	uint32_t parked_frames;
	struct timer retry;
	struct later news; /* answers when the keeper is dead */
	int open_err;
};

/* ---- disk.c ---- */
void disk_send(struct disk *); /* what was put goes out at the end of the turn */
struct job *disk_job(struct disk *, uint32_t nlocs) BT_MUST_USE; /* NULL = too many, or no memory */
bool disk_jobs_room(const struct disk *, uint32_t n);
void disk_job_start(struct disk *, struct job *); /* takes a slot */
void disk_job_end(struct disk *, struct job *);   /* frees the slot, not the job */
void disk_job_free(struct job *);
void disk_put_frames(struct disk *, const uint32_t *locs, uint32_t n); /* those that are frames */

/* ---- store.c ---- */
void store_send_unsent(struct disk *); /* as many as may wait in the link */
int store_take(struct store *, struct msg *); /* a message from the keeper; -EPROTO */
void store_free(struct store *);
void store_disk_died(struct store *);

/* ---- window.c ---- */
int window_take(struct disk *, struct msg *);
void window_piece_closed(struct store *, uint32_t index);
void window_drop_store(struct store *);

/* ---- run.c ---- */
void run_init(struct disk *);
int run_take(struct disk *, struct msg *);
void run_drop_store(struct store *, bool loads_too); /* descriptors; reads not sent yet */
void run_release(struct disk *);

#endif
