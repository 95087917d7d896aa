/* SPDX-License-Identifier: MIT */
/* session.c - runs torrents until they are done or the user wants to stop: what
 * get, seed and verify have in common. The engine is driven through bt_fd and
 * bt_turn, so that signals and a slow terminal are waited for in the same place. */
#include "app/app.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A stop that takes longer than the engine promises hangs on a disk. */
#define STOP_PATIENCE_MS 5000

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct item *find_item(struct session *s, const struct bt_torrent *t)
{
	for (size_t i = 0; t != NULL && i < s->n; i++)
		if (s->items[i].t == t)
			return &s->items[i];
	return NULL;
}

static void on_event(void *arg, enum bt_event ev, struct bt_torrent *t, const char *text)
{
	struct session *s = arg;
	struct item *item = find_item(s, t);
	uint64_t now = now_ms();
	struct bt_stats stats;

	s->look = true;
	if (ev == BT_EV_STOPPED && t == NULL)
		s->stopped = true;
	if (ev == BT_EV_FATAL)
		s->fatal = true;
	if (item != NULL && ev == BT_EV_CHECKED) {
		bt_stats(t, &stats);
		item->checked = true;
		item->begin_ms = now;
		item->begin_have = stats.have;
	}
	if (item != NULL && ev == BT_EV_DONE)
		item->done = true;
	if (item != NULL && ev == BT_EV_ERROR)
		item->failed = true;
	if (s->mode == RUN_VERIFY && (ev == BT_EV_CHECKED || ev == BT_EV_DONE))
		return; /* the report follows */
	view_event(&s->view, ev, item, text, now);
}

static int start_client(struct session *s, const struct run_args *args)
{
	struct bt_opts opts = {
		.on_event = on_event,
		.arg = s,
		.port = args->port,
		.bind_addr = args->bind,
		.down_rate = args->down,
		.up_rate = args->up,
		.max_peers = args->max_peers,
		.window_bytes = args->window,
		.storage = (enum bt_storage)args->storage,
		.alloc = (enum bt_alloc)args->alloc,
		.state_dir = args->state,
		.offline = s->mode == RUN_VERIFY,
		.one_process = args->one_process,
		.verbose = args->verbose,
	};
	char err[512] = "";
	int r = bt_new(&s->bt, &opts, err, sizeof(err));

	if (r < 0)
		complain(s->view.cmd, "%s", err[0] != '\0' ? err : strerror(-r));
	return r;
}

static bool add_torrent(struct session *s, struct item *item, const struct run_args *args, const char *path)
{
	struct bt_add add = {
		.dir = args->dir != NULL ? args->dir : ".",
		.peers = args->peers.v,
		.npeers = args->peers.n,
		.files = args->files,
		.seed_ratio = args->ratio,
		.read_only = s->mode != RUN_GET,
		.check_only = s->mode == RUN_VERIFY,
		.force_check = args->check || s->mode == RUN_VERIFY,
	};
	char err[512] = "";

	item->meta = input_torrent(s->view.cmd, path);
	if (item->meta == NULL)
		return false;
	hash_text(item->hash, item->meta);
	item->name = strdup(item->meta->name);
	item->begin_ms = now_ms();
	add.meta = item->meta;
	item->t = bt_add(s->bt, &add, err, sizeof(err));
	if (item->t == NULL) {
		complain(s->view.cmd, "%s: %s", path, err);
		return false;
	}
	if (s->mode != RUN_VERIFY) { /* only the report needs it again */
		bt_meta_free(item->meta);
		item->meta = NULL;
	}
	return true;
}

/* bt seed looked at the data: is there something to share? */
static void judge_seed(struct session *s, struct item *item, const struct bt_stats *stats)
{
	char text[256], have[SIZE_TEXT], wanted[SIZE_TEXT];

	item->judged = true;
	if (stats->have >= stats->wanted)
		return;
	item->damaged = true;
	if (stats->have == 0)
		snprintf(text, sizeof(text), "nothing of it is in the directory; -d names another");
	else
		snprintf(text, sizeof(text), "only %s of %s are right; these are shared", size_text(have, stats->have),
			 size_text(wanted, stats->wanted));
	view_event(&s->view, stats->have == 0 ? BT_EV_ERROR : BT_EV_WARNING, item, text, now_ms());
	if (stats->have == 0)
		item->over = true;
}

/* Has every torrent come to its end? */
static bool all_over(struct session *s)
{
	bool over = true;

	s->look = false;
	for (size_t i = 0; i < s->n; i++) {
		struct item *item = &s->items[i];
		struct bt_stats stats;

		bt_stats(item->t, &stats);
		if (s->mode == RUN_SEED && item->checked && !item->judged)
			judge_seed(s, item, &stats);
		if (stats.state == BT_FAILED)
			item->failed = item->over = true;
		if (stats.state == BT_FINISHED || (s->mode == RUN_VERIFY && item->checked))
			item->over = true;
		over = over && item->over;
	}
	return over;
}

static void begin_stop(struct session *s, bool asked)
{
	s->stopping_ms = now_ms();
	signals_release();
	if (asked)
		view_stopping(&s->view);
	bt_stop(s->bt);
}

static void complain_slow_stop(struct session *s, uint64_t now)
{
	if (s->stopping_ms != 0 && !s->told_slow && now - s->stopping_ms > STOP_PATIENCE_MS) {
		s->told_slow = true;
		view_event(&s->view, BT_EV_WARNING, NULL, "the disk is slow to write the rest down; Ctrl-C leaves at once",
			   now);
	}
}

/* One wait and one turn. 0 or -errno. */
static int turn(struct session *s, uint64_t now)
{
	struct pollfd fds[3] = { { .fd = bt_fd(s->bt), .events = POLLIN },
				 { .fd = s->signal_fd, .events = POLLIN },
				 { .fd = s->view.out.n > 0 ? s->view.out.fd : -1, .events = POLLOUT } };
	int timeout = bt_timeout(s->bt), tick = (int)(s->tick_ms > now ? s->tick_ms - now : 0);

	if (timeout < 0 || timeout > tick)
		timeout = tick;
	if (poll(fds, COUNT_OF(fds), timeout) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents != 0 && signals_read(s->signal_fd) && s->view.drawn)
		view_tick(&s->view, s->items, s->n, now, true);
	out_flush(&s->view.out);
	return bt_turn(s->bt, 0);
}

static int run_loop(struct session *s)
{
	while (!s->stopped && !s->fatal) {
		uint64_t now = now_ms();
		int r;

		if (now >= s->tick_ms) {
			s->tick_ms = now + 1000;
			s->look = true;
			view_tick(&s->view, s->items, s->n, now, false);
			complain_slow_stop(s, now);
		}
		if (s->stopping_ms == 0 && signals_stop())
			begin_stop(s, true);
		else if (s->stopping_ms == 0 && s->look && all_over(s))
			begin_stop(s, false);
		r = turn(s, now);
		if (r < 0) {
			complain(s->view.cmd, "%s", strerror(-r));
			return r;
		}
	}
	return 0;
}

static int exit_status(struct session *s)
{
	bool complete = true, damaged = false;

	if (s->fatal)
		return EXIT_ERROR;
	for (size_t i = 0; i < s->n; i++) {
		struct bt_stats stats;

		bt_stats(s->items[i].t, &stats);
		if (s->items[i].failed)
			return EXIT_ERROR;
		damaged = damaged || s->items[i].damaged;
		if (s->mode == RUN_VERIFY)
			complete = complete && s->items[i].checked;
		else
			complete = complete && (s->items[i].done || (s->items[i].checked && stats.have >= stats.wanted));
	}
	return damaged ? EXIT_DAMAGED : complete ? EXIT_GOOD : EXIT_EARLY;
}

int session_run(struct session *s, enum run_mode mode, const struct run_args *args, const struct texts *torrents)
{
	static const char *const names[] = { [RUN_GET] = "get", [RUN_SEED] = "seed", [RUN_VERIFY] = "verify" };

	memset(s, 0, sizeof(*s));
	s->mode = mode;
	s->signal_fd = -1;
	view_init(&s->view, names[mode], args->json, args->quiet);
	signals_catch(true);
	s->room = torrents->n;
	s->items = calloc(s->room, sizeof(*s->items));
	if (s->items == NULL) {
		complain(s->view.cmd, "not enough memory");
		return EXIT_ERROR;
	}
	/* Before the torrents are read: the keeper is forked here and needs none of that memory. */
	if (start_client(s, args) < 0)
		return EXIT_ERROR;
	s->signal_fd = signals_open();
	if (s->signal_fd < 0) {
		complain(s->view.cmd, "signalfd: %s", strerror(errno));
		return EXIT_ERROR;
	}
	for (; s->n < torrents->n; s->n++)
		if (!add_torrent(s, &s->items[s->n], args, torrents->v[s->n]))
			return EXIT_ERROR;
	if (mode != RUN_VERIFY)
		view_listening(&s->view, bt_port(s->bt));
	if (run_loop(s) < 0)
		return EXIT_ERROR;
	if (!s->fatal && args->json && !args->quiet)
		view_tick(&s->view, s->items, s->n, now_ms(), true); /* the last numbers */
	if (args->stats) {
		struct bt_loop_stats loop;

		bt_loop_stats(s->bt, &loop);
		view_loop(&s->view, &loop);
	}
	return exit_status(s);
}

void session_close(struct session *s)
{
	view_end(&s->view);
	if (s->bt != NULL)
		bt_free(s->bt);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	/* The item that could not be added is behind s->n. */
	for (size_t i = 0; s->items != NULL && i <= s->n && i < s->room; i++) {
		bt_meta_free(s->items[i].meta);
		free(s->items[i].name);
	}
	free(s->items);
}
