/* SPDX-License-Identifier: MIT */
/* app.h - what the commands share. Everything in app/ stands on bt.h and libc
 * alone: what a command needs from the engine goes through the public interface.
 *
 *   main.c      the table of commands; help
 *   options.c   one parser for all of them, driven by tables; help is made from the same tables
 *   text.c      sizes, rates, durations, widths, JSON strings, error lines
 *   input.c     reading a .torrent file from whatever the user named
 *   out.c       output that never waits for its reader
 *   progress.c  the progress line as a function of facts and width
 *   view.c      what a running transfer tells: terminal, plain lines, JSON lines
 *   session.c   runs torrents until they are done or the user wants to stop
 *   signals.c   Ctrl-C and its relatives
 *   get.c seed.c verify.c create.c show.c bench.c   one command each
 *   bench_report.c   what bench measured */
#ifndef BT_APP_H
#define BT_APP_H

#include "bt.h"

#include <stdio.h>

/* Exit status of every command; the man page and `bt help` list them. */
enum { EXIT_GOOD = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_EARLY = 3, EXIT_DAMAGED = 4 };

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- options.c ---- */

enum opt_kind {
	OPT_FLAG,   /* bool */
	OPT_TEXT,   /* const char * */
	OPT_TEXTS,  /* struct texts; repeatable */
	OPT_PEERS,  /* struct texts of HOST:PORT; repeatable */
	OPT_SIZE,   /* uint64_t bytes */
	OPT_RATE,   /* uint64_t bytes/s */
	OPT_COUNT,  /* uint32_t, at least 1 */
	OPT_PORT,   /* uint16_t */
	OPT_CHOICE, /* unsigned: index among the words of `arg`, separated by '|' */
	OPT_RATIO,  /* double above 0; -1 where the value is optional and absent */
};

/* Borrowed strings in an array made by malloc that lives until exit. */
struct texts {
	const char **v;
	size_t n;
};

struct opt {
	char letter;      /* 0 = none */
	const char *name; /* long name */
	const char *arg;  /* what help calls the value; NULL = flag; "[X]" = optional, only after '=' */
	enum opt_kind kind;
	size_t off; /* of the value in the command's own struct */
	const char *help;
};

struct command {
	const char *name;
	const char *operands; /* as help shows them */
	const char *summary;  /* half a line */
	const char *details;  /* paragraphs separated by '\n' */
	const char *status;   /* exit status, one "N meaning" per line */
	const struct opt *opts;
	size_t nopts;
	size_t min_operands, max_operands;
	size_t args_size;
	int (*run)(void *args, const struct texts *operands);
};

extern const struct command cmd_get, cmd_seed, cmd_create, cmd_show, cmd_verify, cmd_bench;

/* Fills args (zeroed) and operands from argv[0..argc). 0; 1 when help was asked
 * for; -1 after an error line. The last of repeated single values counts. */
int options_parse(const struct command *, int argc, char **argv, void *args, struct texts *operands) BT_MUST_USE;
void options_help(const struct command *, FILE *);
/* Prints words from column `indent` on, broken before column 80; the cursor is at `column`. */
void print_wrapped(FILE *, const char *text, int column, int indent);

/* ---- text.c ---- */

#define SIZE_TEXT 24 /* room for any size, rate, count or duration */

char *size_text(char out[SIZE_TEXT], uint64_t bytes);    /* "3.71 GiB" */
char *power_text(char out[SIZE_TEXT], uint64_t bytes);   /* "16 KiB": for lengths that are round */
char *count_text(char out[SIZE_TEXT], uint64_t n);       /* "15,232" */
char *duration_text(char out[SIZE_TEXT], uint64_t seconds); /* "3m12s" */
bool size_parse(const char *text, uint64_t *bytes) BT_MUST_USE; /* 1.5M 500k 10MiB 2GB 16384 */
/* Columns a string takes on a terminal; UTF-8, already escaped. */
int text_width(const char *text);
/* Copies as much of text as fits `width` columns, with a mark where it was cut. Returns the width. */
int text_fit(char *out, size_t size, const char *text, int width, bool utf8);
void json_text(FILE *, const char *text); /* quoted and escaped; NULL = null */
void hash_text(char out[65], const struct bt_meta *);
/* One line on stderr, escaped: "bt get: ..." (cmd NULL: "bt: ..."). */
void complain(const char *cmd, const char *fmt, ...) BT_PRINTF(2, 3);

/* ---- input.c ---- */

#define INPUT_MAX (64u << 20)

/* Reads and parses a .torrent ("-" = standard input). NULL after an error line. */
struct bt_meta *input_torrent(const char *cmd, const char *path) BT_MUST_USE;

/* ---- create.c ---- */

int write_all(int fd, const uint8_t *p, size_t n) BT_MUST_USE; /* 0 or -errno */
/* Whole or not at all; `force` replaces what is there. 0 or -errno. */
int write_file(const char *path, const uint8_t *p, size_t n, bool force) BT_MUST_USE;

/* ---- out.c ---- */

/* Lines for a descriptor whose reader may be slow or stopped. What does not fit
 * is dropped by whole lines, so that a paused terminal never stops a transfer. */
struct out {
	int fd;
	bool dead; /* the reader is gone */
	size_t n;
	char p[65536];
};
void out_init(struct out *, int fd);
bool out_put(struct out *, const char *text, size_t len); /* false = dropped */
void out_flush(struct out *);                             /* as much as goes without waiting */
void out_finish(struct out *);                            /* all; may wait */

/* ---- progress.c ---- */

struct style {
	int width; /* columns of the terminal */
	bool color, utf8;
};
/* One line without its end. `label` replaces the torrent's name. */
void progress_line(char *out, size_t size, const struct bt_stats *, const char *label, const struct style *);
/* The same facts in words, for logs. */
void progress_plain(char *out, size_t size, const struct bt_stats *, const char *label);
const char *state_name(enum bt_state);
/* Asks for the size and manners of the terminal behind fd; false = none, or a dumb one. */
bool style_update(struct style *, int fd);

/* ---- session.c and view.c ---- */

struct item {
	struct bt_torrent *t;
	struct bt_meta *meta;   /* bt verify keeps it for its report; NULL in others */
	char hash[65];
	char *name;             /* raw, for JSON */
	bool checked, done, failed;
	bool judged, damaged;   /* bt seed: data looked at; not all of it is there */
	bool over;              /* nothing more will happen */
	uint64_t begin_ms;      /* when transfer began */
	uint64_t begin_have;    /* verified bytes at that time */
};

struct view {
	const char *cmd;
	bool json, quiet, terminal, drawn;
	struct style style;
	uint64_t next_ms; /* next progress */
	struct out out, err;
};
void view_init(struct view *, const char *cmd, bool json, bool quiet);
void view_event(struct view *, enum bt_event, const struct item *, const char *text, uint64_t now_ms);
/* Remarks of the session itself. */
void view_listening(struct view *, uint16_t port);
void view_stopping(struct view *);
void view_loop(struct view *, const struct bt_loop_stats *); /* --stats: even quietly */
/* Draws when it is time; `force` = at once. */
void view_tick(struct view *, const struct item *, size_t n, uint64_t now_ms, bool force);
void view_end(struct view *); /* leaves the terminal clean; everything written */

/* Options of the commands that run the engine; each offers those that suit it. */
struct run_args {
	const char *dir, *bind, *state, *files;
	struct texts peers;
	uint64_t down, up, window;
	double ratio; /* as bt_add.seed_ratio */
	uint32_t max_peers;
	uint16_t port;
	unsigned storage, alloc;
	bool quiet, json, verbose, check, one_process, stats;
};

enum run_mode { RUN_GET, RUN_SEED, RUN_VERIFY };

struct session {
	enum run_mode mode;
	struct bt *bt;
	struct view view;
	struct item *items;
	size_t n, room; /* items that the engine has; allocated */
	int signal_fd;
	bool look;             /* something happened: ask for states */
	bool stopped, fatal;   /* all is written down; the keeper died */
	bool told_slow;
	uint64_t stopping_ms;  /* when bt_stop was called, 0 = not yet */
	uint64_t tick_ms;      /* next second */
};

/* Reads the torrents, starts the client, runs until done or stopped. Returns an
 * exit status, and for RUN_VERIFY leaves the session for the report. Close it. */
int session_run(struct session *, enum run_mode, const struct run_args *, const struct texts *torrents) BT_MUST_USE;
void session_close(struct session *);

/* ---- signals.c ---- */

/* SIGINT, SIGTERM and SIGHUP ask for a stop; a second one ends the process at
 * once. hold: they are kept back and must be read from signals_open's descriptor. */
void signals_catch(bool hold);
int signals_open(void); /* -1 on error */
bool signals_read(int fd); /* takes what came; true = the terminal has another size */
bool signals_stop(void);
void signals_release(void); /* held no more: the next one ends the process */

/* ---- bench.c and bench_report.c ---- */

struct bench_args {
	const char *source, *data, *output, *write;
	struct texts trackers;
	uint64_t size, piece_len;
	uint32_t connections, seconds, pipeline, dial, timeout;
	uint16_t port;
	bool random, no_verify, quiet, json, force;
	bool live; /* somebody watches */
};
void bench_second(const struct bt_load_second *); /* on a terminal, while it runs */
void bench_text(const struct bt_load *, const struct bt_load_report *, bool live);
void bench_json(const struct bt_load *, const struct bt_load_report *);

#endif
