/* SPDX-License-Identifier: MIT */
/* keeper.h - inside the keeper: the process that may wait for disks. One
 * thread; a turn takes what the loop sent, hashes and writes complete pieces,
 * looks at existing data for a while, syncs what is due, answers.
 *
 *   keeper.c  the process, its turn, small jobs
 *   kstore.c  one torrent's storage: open, sync, close
 *   view.c    files mapped for hashing
 *   lanes.c   pieces through the hash lanes
 *   check.c   what the loop gives: hashing and writing
 *   resume.c  which of the existing data is trusted, looking at the rest */
#ifndef BT_KEEPER_H
#define BT_KEEPER_H

#include "disk/files.h"
#include "disk/journal.h"
#include "disk/proto.h"
#include "sha1.h"

struct kstore;

/* ---- lanes.c ---- */

#define LANE_CHUNK 32768u /* bytes read at once for one lane; 16 lanes stay inside L2 */

/* One piece on its way through the lanes. */
struct hash_piece {
	struct kstore *ks;
	uint32_t index;
	const uint32_t *locs; /* one per block; NULL = all of it from the files */
	uint32_t ahead;       /* bytes of it the kernel was asked for already */
	int err;              /* out: reading failed */
	uint8_t digest[SHA1_LEN]; /* out */
};

/* A mapped run of a file: view.c. */
#define LANE_VIEWS (SHA1_MAX_LANES + 2)
struct view {
	const struct kstore *ks;
	uint32_t file, refs;
	uint64_t off; /* in the file */
	size_t len;
	uint8_t *addr; /* NULL = free place */
};

struct lane {
	struct sha1 sha;
	struct hash_piece *piece;
	uint32_t done, len; /* bytes hashed and to be hashed in all */
	const uint8_t *p;   /* ready to be hashed, at offset done */
	size_t ready;
	struct view *view;  /* p points into it */
	bool no_view;       /* it had no page there */
	uint32_t loaded;    /* the kernel was asked for it up to here */
};

struct lanes {
	size_t n; /* busy ones are lane[0..n) */
	size_t width;
	bool use_views;
	uint8_t *scratch; /* made when first needed: width x LANE_CHUNK */
	struct view views[LANE_VIEWS];
	struct lane lane[SHA1_MAX_LANES];
};

/* ---- view.c ---- */
bool view_allow(void); /* once per process: may views be used? */
/* A view that holds byte off of the torrent, *n cut to what it has from there at
 * *p on; NULL = read instead. Given back with view_put. */
struct view *view_get(struct lanes *, const struct kstore *, uint64_t off, const uint8_t **p, size_t *n);
void view_put(struct view *); /* NULL is fine */
void views_release(struct lanes *);
/* sha1_update_many over views; false = some page could not be had, nothing was hashed. */
bool view_hash(struct sha1 *const s[], const uint8_t *const p[], size_t n, size_t len);

#define LOAD_AHEAD (1u << 20) /* lanes read far apart: let a disk fetch this much per seek */
void read_ahead(const struct kstore *, uint64_t off, uint64_t n);

struct keeper;
void lanes_init(struct lanes *, const struct keeper *);
void lanes_release(struct lanes *);
/* Room for another piece? */
static inline bool lanes_room(const struct lanes *l) { return l->n < l->width; }
void lanes_add(struct lanes *, struct hash_piece *);
/* Hashes one chunk in every busy lane; done() gets each piece that ended.
 * Returns the bytes hashed. */
typedef void lanes_fn(struct keeper *, struct hash_piece *);
uint64_t lanes_step(struct lanes *, struct keeper *, lanes_fn *done);

/* ---- keeper.c ---- */

#define KEEPER_SIZES 33 /* 0, 1, 2-3, 4-7... pieces */

struct keeper {
	struct link link;
	uint8_t *pool;
	uint32_t nframes;
	enum disk_alloc alloc;
	uint32_t sync_ms;
	struct files_cache *cache;
	struct kstore **stores; /* by the loop's number, NULL = none */
	size_t nstores, stores_cap;
	struct list due; /* stores that have something to sync, soonest first, by on_due */
	struct list to_check[KEEPER_SIZES]; /* those with a resume, by its size, by on_check */
	struct list checks; /* struct check_job, waiting for the lanes */
	uint32_t nchecks;
	struct check_job *assembling; /* the one whose locs are still coming */
	bool use_views; /* only in a process of its own: they need a signal handler */
	struct lanes lanes; /* for complete pieces; resume has its own */
	uint64_t now_ms;
};

struct keeper_opts {
	uint8_t *pool;
	uint32_t nframes;
	enum disk_alloc alloc;
	uint32_t sync_ms;
};
int keeper_init(struct keeper *, const struct keeper_opts *) BT_MUST_USE; /* k->link is the caller's to make */
/* Finishes everything: syncs and journals all stores, unclean. */
void keeper_release(struct keeper *);
/* One turn. Returns how many ms it may sleep unless something arrives: 0 = more
 * to do, -1 = for ever; -EPIPE (and only that below -1) = the loop is gone. */
int keeper_turn(struct keeper *);
/* The child's life: never returns. */
void keeper_live(struct keeper *) __attribute__((noreturn));

/* An answer with a text: "verb path: reason". */
void keeper_say(struct keeper *, enum msg_type, uint32_t store, uint32_t job, int err, const char *what);

/* ---- check.c ---- */
int check_take(struct keeper *, struct kstore *, const struct msg *, const uint32_t *locs); /* -EPROTO = nonsense */
int write_take(struct keeper *, struct kstore *, const struct msg *, const uint32_t *frames);
void check_run(struct keeper *);  /* everything that waits */
void check_drop(struct keeper *); /* forgets jobs whose parts never came */

/* ---- kstore.c ---- */

struct kstore {
	struct keeper *k;
	uint32_t id;
	struct flat_view flat;
	struct store_file *table;
	struct files *files;
	struct journal *journal; /* NULL: none, or it can't be written */
	uint8_t *have;
	uint32_t *fresh; /* verified, but not in the journal yet */
	size_t nfresh, fresh_cap;
	uint64_t sync_at; /* when they are due; 0 = nothing waits */
	struct list on_due, on_check;
	uint64_t started; /* files_dirty() when write-out was last started */
	/* Files whose bytes came past files_write (windows, data found by resume):
	 * synced by hand. Empty when raw_lo > raw_hi. */
	uint32_t raw_lo, raw_hi;
	const char *blame; /* the file a coming kstore_fail shall name, else files_culprit */
	char *warning; /* for MSG_OPENED */
	bool mapped; /* the loop has had a window: bytes may come without files_write */
	uint32_t full_piece; /* the last that found no space */
	bool dead; /* MSG_FAILED was sent: only closing is left */
	struct resume *resume; /* while existing data is looked at */
	struct journal_partial *stow; /* partial pieces for the journal's end */
	size_t nstow, stow_cap;
};

void kstore_open(struct keeper *, uint32_t id, int fd); /* answers MSG_OPENED, sooner or later */
struct kstore *kstore_get(struct keeper *, uint32_t id); /* NULL when unknown */
/* A piece is verified and written. */
void kstore_done(struct kstore *, uint32_t index);
/* Files that hold the piece were written by other means than files_write. */
void kstore_raw(struct kstore *, uint32_t index);
void kstore_mapped(struct kstore *, uint32_t index); /* and it was us: the loop, through windows */
void kstore_written(struct kstore *); /* after writes: start write-out in time */
int kstore_sync(struct kstore *);     /* data, then journal; tells the loop about losses */
void kstore_sync_due(struct keeper *); /* all whose time has come */
int kstore_stow(struct kstore *, const struct msg *, const uint8_t *bits);
void kstore_close(struct kstore *, bool clean); /* and free; clean = the loop asked for it */
/* The store is dead: tells once. verb as in "cannot <verb> <file>: <reason>". */
void kstore_fail(struct kstore *, const char *verb, int err);
void kstore_blame(struct kstore *, uint32_t file);
char *kstore_what(char out[MSG_WHAT_MAX], const struct kstore *, const char *verb, int err);
void kstore_finish(struct kstore *); /* when all wanted pieces are there: empty files, links, modes */

/* ---- resume.c ---- */
struct resume;
int resume_new(struct kstore *) BT_MUST_USE; /* notes how the files are. -ENOMEM */
bool resume_judge(void *ks, struct journal_state *js); /* for journal_open: takes back what is not trusted */
void resume_start(struct kstore *, struct journal_state *js); /* takes over js, judged */
bool resume_slice(struct kstore *);          /* works for some milliseconds; true = finished, MSG_OPENED was sent */
void resume_free(struct kstore *);

#endif
