/* SPDX-License-Identifier: MIT */
/* bt.h - the map of bt: the public interface of libbt, and all that app/ uses.
 *
 * Behind it, bottom up, one archive per layer, arrows point down only:
 *   base/  bencode.c sha1.c net.c      bytes, bencode, hashes, the reactor
 *   net/ torrent/ disk/                DNS and HTTP; what is wanted; where it rests
 *   wire/ find/                        how peers talk; how they are found
 *   swarm/                             one torrent being shared by its peers
 *   bt.c                               one client: owns all of the above
 *   load/                              a load generator for other clients; uses wire/ and below
 * Each of them has its own header, which states meaning, units and ownership. */
#ifndef BT_H
#define BT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BT_VERSION "0.1.0"
#define BT_PEER_ID_PREFIX "-BT0001-" /* BEP 20 */

#if defined(__GNUC__)
#define BT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define BT_MUST_USE __attribute__((warn_unused_result))
#endif

/* ---- Text: swarm/text.c ---- */

/* Copies text from strangers for a terminal: control bytes, bad UTF-8 and bidi
 * controls become '?'; NUL-terminated; cut at size. Returns out. */
char *bt_escape(char *out, size_t size, const char *text);
/* The body of a JSON string as malloc'd text; bad UTF-8 as U+FFFD. NULL without memory. */
char *bt_escape_json(const char *text) BT_MUST_USE;

/* ---- A torrent's facts: torrent/metainfo.c (BEP 3, 12, 19, 27, 47) ---- */

enum bt_file_attr { BT_FILE_PAD = 1, BT_FILE_EXEC = 2, BT_FILE_HIDDEN = 4, BT_FILE_SYMLINK = 8 };

struct bt_file {
	uint64_t off, len;  /* place in the torrent's byte range; bytes */
	const char *path;   /* safe, '/'-joined, relative to the download directory */
	const char *target; /* BT_FILE_SYMLINK: relative link text that stays inside; else NULL */
	uint32_t attr;      /* enum bt_file_attr bits */
};

struct bt_tracker {
	const char *url;
	uint32_t tier; /* 0 first (BEP 12) */
};

/* Everything points into one arena owned by the object: one bt_meta_free. */
struct bt_meta {
	uint8_t info_hash[32]; /* hash of the raw bytes of the info dictionary */
	uint32_t hash_len;     /* 20 = SHA-1 (v1). 32 is kept for BEP 52 */
	bool is_private;       /* BEP 27 */
	bool is_hybrid;        /* has v2 keys too; used through its v1 side */
	bool single_file;
	const char *name; /* sanitised; also the top directory when !single_file */
	const char *comment, *created_by, *source; /* NULL when absent; raw, may hold anything */
	int64_t creation_date;                     /* seconds since 1970, 0 = absent */
	uint64_t size;                             /* bytes, pad files included */
	uint64_t piece_len;
	uint32_t pieces;
	const uint8_t *hashes; /* pieces x 20 bytes */
	struct bt_file *files;
	uint32_t nfiles;
	struct bt_tracker *trackers;
	uint32_t ntrackers;
	const char **web_seeds; /* BEP 19 */
	uint32_t nweb_seeds;
	const uint8_t *info; /* the raw info dictionary, in the arena */
	size_t info_len;
	void *arena; /* private */
};

/* Parses a .torrent held in memory (copied). NULL on refusal, with one line in
 * err that names what is wrong and where. */
struct bt_meta *bt_meta_parse(const void *data, size_t len, char *err, size_t err_size) BT_MUST_USE;
void bt_meta_free(struct bt_meta *);
/* The magnet link (BEP 9) as a malloc'd string, or NULL when out of memory. */
char *bt_meta_magnet(const struct bt_meta *) BT_MUST_USE;

/* ---- Making a torrent: swarm/publish.c ---- */

struct bt_publish {
	const char *const *paths; /* files or one directory; several paths need `name` or share a parent */
	size_t npaths;
	const char *name;         /* NULL = from the path */
	const char *const *trackers; /* each its own tier */
	size_t ntrackers;
	const char *const *web_seeds;
	size_t nweb_seeds;
	const char *comment, *source;
	uint64_t piece_len; /* 0 = chosen from the size */
	int64_t date;       /* 0 = no date */
	bool is_private, pad_files;
	bool (*on_progress)(void *arg, uint64_t done, uint64_t total); /* may be NULL; false = stop */
	/* May be NULL. Something is left out, or will be found by few; one line, safe for a terminal. */
	void (*on_warning)(void *arg, const char *text);
	void *arg;
};

/* Reads and hashes the files (blocking) and returns the .torrent as malloc'd
 * bytes; NULL with one line in err. Deterministic when date is 0. Symbolic links
 * that stay inside the directory are recorded as links (BEP 47); others that
 * lead to a file are followed; others are left out. */
uint8_t *bt_publish(const struct bt_publish *, size_t *len, char *err, size_t err_size) BT_MUST_USE;

/* ---- The client: bt.c ---- */

struct bt;
struct bt_torrent;

enum bt_storage { BT_STORAGE_AUTO, BT_STORAGE_MAP, BT_STORAGE_POOL };
enum bt_alloc { BT_ALLOC_AUTO, BT_ALLOC_SPARSE, BT_ALLOC_FULL };

enum bt_event {
	BT_EV_LOG,      /* detail for the curious, only with opts.verbose */
	BT_EV_WARNING,  /* one line a user should see; work goes on */
	BT_EV_CHECKED,  /* existing data has been looked at; transfer starts */
	BT_EV_DONE,     /* every wanted piece is verified, written and synced */
	BT_EV_PAUSED,   /* no space: retried by itself */
	BT_EV_RESUMED,
	BT_EV_ERROR,    /* this torrent has stopped; text names the file and reason */
	BT_EV_STOPPED,  /* after bt_stop: everything is written down */
	BT_EV_FATAL,    /* the client can't go on (keeper died) */
};

/* t is NULL for events of the whole client. text is one line, already escaped. */
typedef void bt_event_fn(void *arg, enum bt_event, struct bt_torrent *t, const char *text);

struct bt_opts {
	bt_event_fn *on_event;
	void *arg;
	uint16_t port;            /* listen port, TCP, both families; 0 = any free one */
	const char *bind_addr;    /* NULL = every address */
	uint64_t down_rate, up_rate; /* bytes/s, 0 = no limit */
	uint32_t max_peers;       /* whole client; 0 = 200, more when descriptors allow */
	uint64_t window_bytes;    /* piece memory; 0 = from RAM and RLIMIT_AS; least 2 MiB */
	enum bt_storage storage;
	enum bt_alloc alloc;
	const char *state_dir;    /* journals; NULL = <download dir>/.bt */
	bool offline;             /* no listeners, no names: for looking at data only */
	bool one_process;         /* run the keeper's jobs inline, for debugging and reading */
	bool verbose;
};

struct bt_add {
	const struct bt_meta *meta; /* copied as needed; caller keeps ownership */
	const char *dir;            /* download directory; created if absent */
	const char *const *peers;   /* "HOST:PORT" to connect to at once */
	size_t npeers;
	const char *files;          /* "1,3-5": 1-based files wanted; NULL = all */
	double seed_ratio;          /* < 0 = for ever; 0 = not at all; else until reached */
	bool read_only;             /* bt seed: never create or write a data file */
	bool check_only;            /* bt verify: look at all data, no network */
	bool force_check;           /* don't trust the journal */
};

enum bt_state { BT_CHECKING, BT_DOWNLOADING, BT_SEEDING, BT_NO_SPACE, BT_FAILED, BT_FINISHED };

struct bt_stats {
	enum bt_state state;
	const char *name;            /* escaped for a terminal */
	uint64_t size, wanted, have; /* bytes: whole torrent, chosen files, verified of chosen */
	uint64_t checked;            /* bytes looked at so far while BT_CHECKING */
	uint32_t pieces, pieces_have;
	uint64_t down, up;           /* payload bytes since bt_add */
	uint64_t wasted;             /* bytes received twice or failing the hash */
	uint64_t down_rate, up_rate; /* payload bytes/s, mean of the last seconds */
	uint32_t peers, seeds, connecting; /* connected; complete ones among them; half-open */
	uint32_t swarm_seeds, swarm_leechers; /* as trackers last told */
	int64_t eta;                 /* seconds, -1 unknown */
};

/* How busy the loop of a client is: the time to deal with what one wait brought.
 * Shares are of turns and up to a quarter too long; all since bt_new. */
struct bt_loop_stats {
	uint64_t turns, events;  /* events: sockets and others that were ready */
	uint64_t p50_us, p99_us, p999_us, max_us; /* no more than 1/2, 1/100, 1/1000 of turns were longer; the longest */
	uint64_t down, up;       /* payload bytes of all torrents */
};

/* Starts a client: forks the keeper, opens the listeners. 0 or -errno, with a
 * line in err. The caller drives it with bt_turn, or polls bt_fd itself. */
int bt_new(struct bt **, const struct bt_opts *, char *err, size_t err_size) BT_MUST_USE;
int bt_fd(const struct bt *);           /* readable when bt_turn has work */
int bt_timeout(const struct bt *);      /* ms until bt_turn must be called, -1 = never */
int bt_turn(struct bt *, int timeout_ms); /* one turn of the loop; 0 or -errno */
uint16_t bt_port(const struct bt *);
/* NULL with a line in err when the request itself is wrong. */
struct bt_torrent *bt_add(struct bt *, const struct bt_add *, char *err, size_t err_size) BT_MUST_USE;
void bt_stats(const struct bt_torrent *, struct bt_stats *);
void bt_loop_stats(const struct bt *, struct bt_loop_stats *);
bool bt_piece(const struct bt_torrent *, uint32_t index); /* verified? */
/* Begins the clean stop of all torrents: journal, `stopped` to trackers, within
 * 3 s whatever they do. BT_EV_STOPPED (t NULL) says it is over. */
void bt_stop(struct bt *);
void bt_free(struct bt *);

/* ---- Load for any client, and what it does to it: load/load.c ---- */

enum bt_load_mode { BT_LOAD_GET, BT_LOAD_SEED, BT_LOAD_DUAL }; /* we leech; we seed; half of each */
enum bt_load_end { BT_LOAD_DONE, BT_LOAD_TIME, BT_LOAD_STOPPED, BT_LOAD_STALLED, BT_LOAD_CLOSED };

struct bt_load_second { uint32_t ms; uint64_t down, up; uint32_t connections; }; /* its length; payload */
struct bt_load_times { uint64_t n, p50, p90, p99, p999, max; }; /* microseconds; at most 1/32 too high */
struct bt_load_side { /* of one direction */
	uint64_t bytes, blocks, wasted; /* payload; bytes of blocks nobody had asked for */
	uint32_t deepest;               /* requests outstanding on one connection at most */
	struct bt_load_times latency;   /* down: request to block; up: request to its last byte in the socket */
	uint32_t n;                     /* connections, and their bytes: */
	uint64_t min, median, max;
	double jain;                    /* fairness index: 1 = all the same */
};
struct bt_load {
	enum bt_load_mode mode;
	const struct bt_meta *meta;
	const char *target;   /* "HOST:PORT"; NULL = wait for its connections on `port` */
	const char *source;   /* "ADDR" or "ADDR-ADDR": connections come from these in turn; NULL = any */
	const char *data;     /* what we seed: a file, or a directory with the tree; NULL = bt_load_content */
	uint16_t port;
	uint32_t connections;
	uint32_t pipeline;    /* requests on order per connection (get), announced as our most (seed); 0 = 64, 500 */
	uint32_t dial;        /* connections being made at once; 0 = 8 */
	uint32_t seconds;     /* 0 = until all is transferred once; else again and again from the first request on */
	uint32_t timeout;     /* seconds without a connection or a block until it is stalled; 0 = 30 */
	bool no_verify, random;
	/* May be NULL. After every turn, `second` NULL unless one has ended; false = stop. */
	bool (*on_turn)(void *arg, const struct bt_load_second *second);
	void *arg;
};
struct bt_load_report {
	enum bt_load_end end;
	char why[160];        /* of the first connection that failed; "" = none did */
	uint32_t asked, connected, refused, lost; /* connections; failed attempts; gone before the end */
	double connects_per_s;
	struct bt_load_times handshake; /* connect to their handshake */
	uint64_t elapsed_us;  /* first request to last byte */
	struct bt_load_side down, up;
	uint64_t pieces_good, pieces_bad; /* received */
	uint32_t pieces_target; /* that the target has, as it says */
	uint64_t cpu_user_us, cpu_system_us; /* of this process */
	struct bt_load_second *seconds; /* malloc'd */
	size_t nseconds;
};
/* Blocking. 0 whatever becomes of the connections; -errno with a line in err when it
 * can't begin. The report is to be released either way. */
int bt_load_run(const struct bt_load *, struct bt_load_report *, char *err, size_t err_size) BT_MUST_USE;
void bt_load_release(struct bt_load_report *);

/* The torrent of `size` bytes of made content; on_progress as bt_publish's. */
struct bt_load_make {
	const char *name;
	uint64_t size, piece_len; /* 0 = chosen */
	const char *const *trackers;
	size_t ntrackers;
	bool (*on_progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};
uint8_t *bt_load_make(const struct bt_load_make *, size_t *len, char *err, size_t err_size) BT_MUST_USE;
void bt_load_content(void *out, size_t n, uint64_t off);

#endif
