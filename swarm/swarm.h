/* SPDX-License-Identifier: MIT */
/* swarm.h - one torrent being shared by its peers. Glue between the protocol
 * rooms, all on the loop; nothing here waits.
 *
 *   torrent.c  a torrent's life: storage opens, announces, is done, stops
 *   known.c    addresses we know of, whom to try next, who is banned
 *   connect.c  connections in and out until the handshake is through
 *   peer.c     one peer: messages, timers, end
 *   receive.c  the hot path in: sockets into frames and windows
 *   request.c  which blocks are on order at whom; time-outs, endgame
 *   piece.c    finished pieces: check, announce, smart ban, pool pressure
 *   upload.c   the hot path out: requests into sendfile
 *   choke.c    the choker's rounds
 *   rate.c     bytes per second, lazily
 *   publish.c  files into a .torrent
 *
 * Who owns what: struct bt owns struct client; a client its torrents and the
 * connections that have no torrent yet; a torrent its peers, picker, store,
 * announcer. A peer is closed once, at the end of the turn (peer_fail). */
#ifndef BT_SWARM_H
#define BT_SWARM_H

#include "bt.h"
#include "disk/disk.h"
#include "find/tracker.h"
#include "net.h"
#include "torrent/choker.h"
#include "torrent/picker.h"
#include "wire/wire.h"

/* Ceilings, each a sentence. */
enum {
	PEERS_DEFAULT = 200,       /* connections of a client when the user says nothing (as libtorrent) */
	PENDING_MAX = 64,          /* incoming connections that have not shaken hands yet, and 1 in 16 of max_peers */
	HALF_OPEN_MAX = 48,        /* outgoing ones in progress; routers' NAT tables are small */
	KNOWN_MAX = 3000,          /* addresses remembered per torrent beside connected ones (as libtorrent's peer list) */
	REQUESTS_MAX = 2000,       /* blocks on order at one peer */
	REQUESTS_MIN = 8,          /* enough to keep a DSL line busy while rates are unknown */
	UPLOADS_MAX = 512,         /* requests we queue per peer; told in `reqq` */
	IN_MAX = 260 * 1024,       /* an incomplete message: a bitfield of 2 M pieces is the longest */
	OUT_MAX = 512 * 1024,      /* control bytes queued to one peer: a bitfield of 2 M pieces fits */
	OUT_PAUSE = 64 * 1024,     /* of them beyond a bitfield, when we stop to read from it */
	HAVES_AHEAD = 16 * 1024,   /* of them, when haves wait in the log */
	SCATTER_MAX = 64,          /* blocks one readv may fill: 1 MiB */
	TURN_RECEIVE = 2 << 20,    /* bytes in a turn: about 3 ms; shared by those who are ready, */
	TURN_SHARES = 128,         /* but in so many parts at most, or system calls cost more than bytes */
	TURN_SEND = 4 << 20,       /* likewise, */
	SEND_TURN_MAX = 1 << 20,   /* and to one peer; others wait for the next turn */
	READ_CHUNK = 64 * 1024,    /* plain reads, when no block is expected */
	FAST_IN_MAX = 16,          /* allowed-fast and suggested pieces remembered per peer */
	SUSPECTS_MAX = 64,         /* failed pieces whose block sums are kept */
	BAN_IP_AFTER = 3,          /* guilty peers of one address before all of it is banned */
	CONNECT_TIMEOUT_MS = 10000,
	HANDSHAKE_TIMEOUT_MS = 10000,
	PEER_SILENT_MS = 150000,   /* keep-alives are due every 120 s (BEP 3) */
	KEEP_ALIVE_MS = 100000,
	BLOCK_TIMEOUT_MS = 30000,  /* no block for this long while some are on order: snubbed */
	PROBE_TIMEOUT_MS = 120000, /* the one that a snubbed peer is asked for */
	CHOKE_ROUND_MS = 10000,
	HAVE_BATCH_MS = 100,       /* haves wait this long for company, */
	HAVE_BATCH_PEERS = 256,    /* and as long again for each so many peers, */
	HAVE_SLICE = 64,           /* of which so many are told in a turn */
};

/* A lazily kept mean of bytes per second: no tick visits it. */
struct rate {
	uint64_t total;   /* bytes since the start */
	uint64_t mean;    /* bytes/s */
	uint64_t bucket;  /* bytes in the second that began at since_ms */
	uint64_t since_ms;
	uint32_t seconds; /* complete seconds seen, saturates: young means are plain averages */
};
void rate_add(struct rate *, uint64_t bytes, uint64_t now_ms);
uint64_t rate_get(struct rate *, uint64_t now_ms);

struct bt_torrent;
struct peer;

/* What all torrents of one struct bt share. */
struct client {
	struct net net;
	struct disk *disk;
	struct dns *dns;
	struct budget down, up;
	struct timer budget_timer;  /* wakes peers that wait for a budget */
	struct list down_waiting, up_waiting; /* peers by on_down_waiting, on_up_waiting */
	struct list sending;        /* peers that have more to send than this turn could take, by on_sending */
	struct timer sending_timer;
	struct peer *serving;       /* the one whose turn it is in that line */
	uint64_t sending_turn;      /* whose bytes these are: */
	size_t sending_left;
	struct list frame_waiting;  /* peers that stopped reading: the pool is empty */
	struct list hungry;         /* torrents that wait for the disk to have room, by on_hungry */
	struct list torrents;
	struct bt_torrent **by_hash; /* the same by info-hash, chained by hash_next; a power of two long */
	uint32_t ntorrents, by_hash_len;
	struct list pending;        /* incoming peers without torrent, oldest first, by on_torrent */
	struct list connected;      /* peers that are ready, by on_client */
	struct peer **by_id;        /* the same by peer id, chained by id_next; a power of two long */
	uint32_t by_id_len;
	struct list dial_waiting;   /* torrents that found no room for a connection, by on_dial_waiting */
	uint32_t npending, npeers, nhalf_open, max_peers;
	uint8_t peer_id[20];
	uint16_t port;
	struct addr bind;           /* local address for connections out; all zero = any */
	struct addr external;       /* as trackers and peers tell; for BEP 40 */
	uint8_t *scratch;           /* SCRATCH_LEN: one read that did not fall into place */
	bool stopping, verbose, dead;
	bool frames_short;          /* hungry, or starved peers of one of them, wait for the pool */
	struct timer frames_timer;  /* looks after them, should nobody give a frame back */
	uint32_t writes;            /* early ones under way */
	uint64_t relieved;          /* turn in which piece_relieve_pool last looked */
	bt_event_fn *on_event;
	void *arg;
};
#define SCRATCH_LEN (SCATTER_MAX * (BLOCK_LEN + WIRE_PIECE_HEAD) + READ_CHUNK)

/* The lists, and the tables that the number of connections sizes; c is zeroed. false = no memory. */
bool client_init(struct client *, uint32_t max_peers) BT_MUST_USE;
void client_release(struct client *); /* torrents and peers are gone */

/* One event line to the host. t may be NULL. Text from strangers is escaped by the caller. */
void client_event(struct client *, enum bt_event, struct bt_torrent *t, const char *fmt, ...) BT_PRINTF(4, 5);

/* budget_timer goes off when this one has refilled, if not before. */
static inline void client_wait_budget(struct client *c, const struct budget *b)
{
	uint64_t wait = budget_wait_ms(b);
	if (!timer_armed(&c->budget_timer) || c->budget_timer.at_ms > c->net.now_ms + wait)
		timer_set(&c->net, &c->budget_timer, wait ? wait : 1);
}

/* The pool is short: somebody waits until client_wake_frames, or a second. */
void client_frames_short(struct client *);
void client_on_frames_timer(struct timer *);
/* The keeper is gone: nothing completes any more, but a stop does. */
void client_died(struct client *, const char *why);
/* Frames came back: those who stopped reading or ordering go on. */
void client_wake_frames(struct client *);

/* ---- known.c ---- */
struct known {
	struct addr addr;      /* where it listens, or where it came from */
	struct peer *peer;     /* connected or connecting */
	uint64_t retry_ms;     /* not before */
	uint32_t priority;     /* BEP 40 */
	uint32_t blocks;       /* of open pieces and smart-ban records that name it: the slot may not be reused */
	uint8_t fails;
	bool listens;          /* addr accepts connections as far as we know */
	bool banned, seed, wanted /* --peer: tried for ever */;
	bool gave;             /* data: unfinished pieces may name it, so others are reused first */
};
struct known_bad { /* IPs of guilty peers, newest overwrite oldest */
	struct addr ip[64];
	uint8_t count[64];
	uint32_t n;
};
struct known_set {
	struct known *v;       /* slot i is peer number i + 1 */
	size_t n, cap;
	size_t hand;           /* next slot to be considered for reuse */
	uint32_t *hash;        /* slot + 1 by address, 0 = empty */
	size_t hash_size;
	struct known_bad *bad; /* NULL until somebody is guilty */
};
/* Adds or finds; NULL when full or without memory. */
struct known *known_add(struct bt_torrent *, const struct addr *, bool listens);
uint32_t known_number(const struct bt_torrent *, const struct known *);
struct known *known_by_number(struct bt_torrent *, uint32_t number);
/* The best to try now, best first, up to max <= KNOWN_CHOOSE_MAX, in one walk; with
 * none *wait_ms = until one may be tried. The pointers are good until known_add. */
#define KNOWN_CHOOSE_MAX 8u
size_t known_choose(struct bt_torrent *, struct known **out, size_t max, uint64_t *wait_ms);
bool known_ip_banned(const struct bt_torrent *, const struct addr *);
void known_failed(struct bt_torrent *, struct known *); /* sets the next try */
void known_ban(struct bt_torrent *, struct known *, const char *why);
void known_release(struct known_set *);

/* ---- a torrent ---- */

struct suspect { /* one failed piece: what each block was, and from whom */
	uint32_t piece, nblocks;
	uint64_t *sums;
	uint32_t *from;
};

struct bt_torrent {
	struct client *c;
	struct list on_client;
	struct bt_torrent *hash_next;
	uint8_t info_hash[20];
	char *name; /* escaped */
	struct wire_limits limits;
	enum bt_state state;
	struct store *store;
	bool opened, synced, closing, store_closing, check_only, read_only, no_space;
	bool was_complete;      /* when it was opened: no `completed` is announced */
	bool seeding;           /* nothing wanted is missing */
	double seed_ratio;
	struct picker *picker;
	uint64_t wanted_size;   /* bytes of wanted pieces */
	uint64_t have_size;     /* verified bytes among them */
	uint64_t checked;       /* bytes looked at while checking */
	uint32_t npieces_have;
	struct announcer *announcer;
	bool announcer_done;    /* nothing more is told to trackers */
	bool left_trackers;
	struct bt_tracker *trackers; /* own copies, for the announcer */
	size_t ntrackers;
	bool is_private;

	struct list peers;      /* by on_torrent */
	struct list asking;     /* those we have orders at, by on_asking */
	struct list starved;    /* those that got fewer blocks than they could bring, by on_starved */
	struct list choking;    /* those that are interested or unchoked, by on_choking */
	uint32_t nchoking;
	struct list on_hungry, on_dial_waiting;
	uint32_t npeers, nhalf_open, nseeds;
	struct known_set known;
	struct timer connect_timer, choke_timer, have_timer;
	uint64_t dialled_ms;    /* when connections were last tried */
	uint32_t choke_round;
	uint64_t choke_round_ms; /* start of the last real round */
	struct later housekeeping; /* end of turn: completion, interest, pressure */

	uint32_t *have_log;     /* pieces in order of completion; peers keep a cursor */
	size_t have_log_len, have_log_cap;
	size_t have_telling;    /* length of it when the present round of telling began */
	uint32_t have_left;     /* peers that are still to be told in it */
	uint32_t *checks_waiting; /* complete pieces whose check found the disk's queue full */
	size_t nchecks_waiting, checks_cap;
	struct suspect *suspects; /* room for SUSPECTS_MAX, NULL until needed */
	uint32_t nsuspects;
	uint32_t writes;        /* store_write jobs under way */
	struct list disk_waiting; /* peers whose upload waits for the disk, by on_disk_waiting */

	struct rate down, up;
	uint64_t wasted;
	char *peer_names[16];   /* --peer HOST:PORT whose host is a name */
	size_t npeer_names;
	struct dns_query *lookups[16];
	void *lookup_args[16];
};

/* NULL with a line in err. state_dir as in bt_opts. */
struct bt_torrent *torrent_new(struct client *, const struct bt_add *, const char *state_dir, char *err,
			       size_t err_size) BT_MUST_USE;
void torrent_free(struct bt_torrent *);
struct bt_torrent *torrent_find(struct client *, const uint8_t info_hash[20]);
void torrent_stop(struct bt_torrent *);
bool torrent_stopped(const struct bt_torrent *);
void torrent_fail(struct bt_torrent *, const char *what);
void torrent_check_ratio(struct bt_torrent *); /* seeded enough? */
void torrent_tell_haves(struct bt_torrent *);  /* something is new in the have log */

/* ---- a peer ---- */

enum peer_state { PEER_CONNECTING, PEER_SHAKING, PEER_READY };

struct request {
	uint32_t piece, block;
	uint32_t len;
};

/* A block whose bytes are coming in. */
struct incoming {
	bool active, discard;
	bool in_place;   /* received into a window */
	uint32_t piece, begin, len, got;
	uint32_t frame;  /* LOC_NONE when in place or discarded */
	uint8_t *to;     /* frame or window address of the block */
};

struct peer {
	struct client *c;
	struct bt_torrent *t;     /* NULL until an incoming handshake names it */
	struct list on_torrent;   /* t->peers, or c->pending */
	struct list on_client;    /* c->connected */
	struct peer *id_next;
	struct list on_asking, on_starved, on_choking; /* those of its torrent */
	struct ev ev;
	int fd;
	enum peer_state state;
	struct addr addr;         /* the other end */
	uint32_t number;          /* slot + 1 in t->known, 0 = none; slots move, numbers don't */
	uint32_t listen_number;   /* slot of where it says it listens, 0 = same or not told */
	const char *why;          /* set = closing; static text */
	struct later flush, closer;
	struct timer timer;

	bool outgoing, fast, extended;
	bool am_choking, am_interested, peer_choking, peer_interested;
	bool optimistic, snubbed, counted_seed;
	uint8_t id[20];
	struct ext_hello hello;

	uint8_t *bits;            /* what it has; NULL with has_all or nothing */
	bool has_all;
	uint32_t nhave;
	uint32_t nwanted;         /* of those, pieces we want */
	size_t have_seen, have_told; /* cursors in t->have_log: counted, told up to there */
	uint32_t fast_in[FAST_IN_MAX], nfast_in;
	uint32_t suggested[FAST_IN_MAX], nsuggested;
	uint32_t fast_out[FAST_SET], nfast_out, fast_served;
	uint32_t rejects;         /* since it unchoked us */
	uint32_t hellos, alls;    /* extension handshakes so far; "have all" and "have none" */

	/* in */
	struct buf in;            /* an incomplete message */
	struct incoming rx;
	uint32_t scatter;         /* blocks to prepare for the next readv */
	struct list on_frame_waiting, on_down_waiting;

	/* on order, oldest first: a ring */
	struct request *reqs;
	uint32_t req_head, req_n, req_cap;
	uint32_t req_target;
	uint64_t last_block_ms, last_in_ms, last_out_ms, since_ms;

	/* out */
	struct buf out;
	struct block *ups;        /* asked of us, oldest first: a ring */
	uint32_t up_head, up_n, up_cap;
	uint32_t up_sent;         /* bytes of the first one sent, when up_open */
	bool up_open;             /* its header is out */
	struct list on_up_waiting, on_disk_waiting, on_sending;

	struct rate down, up;
	uint64_t sent_since_unchoke;
	uint64_t waits_since_ms;  /* for an unchoke: choked and interested since */
};

/* peer.c */
void peer_fail(struct peer *, const char *why); /* first reason sticks; closed at the end of the turn */
void peer_flush_later(struct peer *);           /* write what is queued once, at the end of the turn */
void peer_start(struct peer *);                 /* handshake is through both ways */
void peer_on_message(struct peer *, const struct wire_msg *);
bool peer_has(const struct peer *, uint32_t piece);
void peer_update_interest(struct peer *);
void peer_catch_up(struct peer *);              /* haves of the log: tell and count */
void peer_set_timer(struct peer *);
bool peer_is_seed(const struct peer *);
void peer_send_dont_have(struct peer *, uint32_t piece);
void peer_tell_upload_only(struct peer *);      /* t->seeding changed */
void peer_arm(struct peer *);                   /* events as its queues ask for */
void peer_on_flush(struct later *);
void peer_on_timer(struct timer *);
struct known *peer_known(const struct peer *);

/* connect.c */
void connect_schedule(struct bt_torrent *);     /* try more peers soon */
void connect_on_timer(struct timer *);
void connect_room(struct client *);             /* a place became free: the next torrent may dial */
void connect_in(struct client *, int fd, const struct addr *from);
void peer_close_now(struct peer *);             /* frees; only at the end of a turn or at stop */

/* receive.c */
void peer_on_readable(struct peer *);
void peer_feed(struct peer *, const uint8_t *p, size_t n);
void rx_drop(struct peer *);                    /* the rest of the block on its way is thrown away */

/* request.c */
void peer_refill(struct peer *);                /* order more blocks, as many as suit its speed */
int request_find(const struct peer *, uint32_t piece, uint32_t begin); /* position in the ring or -1 */
void request_remove(struct peer *, uint32_t pos);
void requests_drop_all(struct peer *, bool send_cancel);
void requests_cancel_others(struct bt_torrent *, const struct peer *except, uint32_t piece, uint32_t block);
void requests_wake(struct bt_torrent *);        /* blocks became free: starved peers may ask again */
void requests_starve(struct peer *);            /* asks again when somebody calls requests_wake */
void client_hungry(struct bt_torrent *);        /* housekeeping and requests_wake when the disk has room */

/* piece.c */
void piece_block_done(struct peer *, bool was_requested); /* p->rx is complete */
void piece_on_check(struct bt_torrent *, uint32_t piece, enum store_result, const uint64_t *sums, uint32_t n);
void piece_on_written(struct bt_torrent *, uint32_t piece, uint32_t first, uint32_t n, int err);
void piece_relieve_pool(struct bt_torrent *);   /* few frames left: write parts of open pieces */
void piece_retry_checks(struct bt_torrent *);
bool piece_flush_partials(struct bt_torrent *); /* at stop: true while writes are under way */
size_t piece_partials(struct bt_torrent *, struct store_partial **out); /* malloc'd; bits too */
void piece_drop_frames(struct bt_torrent *);

/* upload.c */
void upload_request(struct peer *, const struct wire_msg *);
void upload_cancel(struct peer *, const struct wire_msg *);
void upload_drop_all(struct peer *, bool keep_fast); /* rejects with BEP 6 */
/* Sends what may be sent now; true = the socket is full: wait for EPOLLOUT. */
bool upload_send(struct peer *);
void upload_on_timer(struct timer *);           /* those that the last turn left over */
void upload_wake_disk(struct bt_torrent *);

/* choke.c */
void choke_run(struct bt_torrent *);
void choke_on_timer(struct timer *);
void choke_soon(struct bt_torrent *);
void choke_consider(struct peer *);             /* after a change of peer_interested or am_choking */

#endif
