/* SPDX-License-Identifier: MIT */
/* view.c - what a running transfer tells, in one of three manners: a line on a
 * terminal rewritten every second, plain lines in a pipe or log, JSON lines for
 * programs. Errors and warnings go to stderr in all of them. */
#include "app/app.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_MS 1000
#define PLAIN_MS 10000
#define CLEAR "\r\033[K"

void view_init(struct view *v, const char *cmd, bool json, bool quiet)
{
	v->cmd = cmd;
	v->json = json;
	v->quiet = quiet;
	v->drawn = false;
	v->next_ms = 0;
	out_init(&v->out, STDOUT_FILENO);
	out_init(&v->err, STDERR_FILENO);
	v->terminal = !json && !quiet && style_update(&v->style, STDOUT_FILENO);
}

/* Takes the progress line away, so that another line can stand in its place. */
static void clear_line(struct view *v)
{
	if (v->drawn && out_put(&v->out, CLEAR, strlen(CLEAR)))
		v->drawn = false;
	out_flush(&v->out);
}

static void say(struct view *v, struct out *to, const char *fmt, ...) BT_PRINTF(3, 4);
static void say(struct view *v, struct out *to, const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = n < (int)sizeof(line) - 2 ? n : (int)sizeof(line) - 2;
	line[n++] = '\n';
	clear_line(v);
	out_put(to, line, (size_t)n);
	out_flush(to);
}

/* ---- JSON lines ---- */

/* Begins an object; json_close ends and sends it. NULL without memory. */
static FILE *json_open(char **text, size_t *len, const char *event, const struct item *item)
{
	FILE *f = open_memstream(text, len);
	struct timespec ts;

	if (f == NULL)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &ts);
	fprintf(f, "{\"event\":\"%s\",\"time\":%lld.%03ld", event, (long long)ts.tv_sec, ts.tv_nsec / 1000000);
	if (item != NULL) {
		fprintf(f, ",\"info_hash\":\"%s\",\"name\":", item->hash);
		json_text(f, item->name);
	}
	return f;
}

static void json_close(struct view *v, FILE *f, char **text, const size_t *len)
{
	fputs("}\n", f);
	if (fclose(f) == 0)
		out_put(&v->out, *text, *len);
	free(*text);
	out_flush(&v->out);
}

static void json_event(struct view *v, const char *event, const struct item *item, const char *what)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = json_open(&text, &len, event, item);

	if (f == NULL)
		return;
	fputs(",\"text\":", f);
	json_text(f, what);
	json_close(v, f, &text, &len);
}

static void json_stats(struct view *v, const struct item *item, const struct bt_stats *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = json_open(&text, &len, "stats", item);

	if (f == NULL)
		return;
	fprintf(f, ",\"state\":\"%s\",\"size\":%" PRIu64 ",\"wanted\":%" PRIu64 ",\"have\":%" PRIu64, state_name(s->state),
		s->size, s->wanted, s->have);
	fprintf(f, ",\"checked\":%" PRIu64 ",\"pieces\":%" PRIu32 ",\"pieces_have\":%" PRIu32, s->checked, s->pieces,
		s->pieces_have);
	fprintf(f, ",\"down\":%" PRIu64 ",\"up\":%" PRIu64 ",\"wasted\":%" PRIu64, s->down, s->up, s->wasted);
	fprintf(f, ",\"down_rate\":%" PRIu64 ",\"up_rate\":%" PRIu64, s->down_rate, s->up_rate);
	fprintf(f, ",\"peers\":%" PRIu32 ",\"seeds\":%" PRIu32 ",\"connecting\":%" PRIu32, s->peers, s->seeds,
		s->connecting);
	fprintf(f, ",\"swarm_seeds\":%" PRIu32 ",\"swarm_leechers\":%" PRIu32 ",\"eta\":%" PRId64, s->swarm_seeds,
		s->swarm_leechers, s->eta);
	json_close(v, f, &text, &len);
}

/* ---- events ---- */

static const char *event_name(enum bt_event ev)
{
	static const char *const names[] = {
		[BT_EV_LOG] = "log",	     [BT_EV_WARNING] = "warning", [BT_EV_CHECKED] = "checked",
		[BT_EV_DONE] = "done",	     [BT_EV_PAUSED] = "paused",	  [BT_EV_RESUMED] = "resumed",
		[BT_EV_ERROR] = "error",     [BT_EV_STOPPED] = "stopped", [BT_EV_FATAL] = "fatal",
	};

	return (size_t)ev < COUNT_OF(names) ? names[ev] : "unknown";
}

static void say_done(struct view *v, const struct item *item, const struct bt_stats *s, uint64_t now_ms)
{
	uint64_t got = s->have > item->begin_have ? s->have - item->begin_have : 0;
	uint64_t ms = now_ms - item->begin_ms + 1;
	char size[SIZE_TEXT], took[SIZE_TEXT], rate[SIZE_TEXT];

	if (got == 0 && strcmp(v->cmd, "seed") == 0)
		say(v, &v->out, "%s: %s, sharing it", s->name, size_text(size, s->wanted));
	else if (got == 0)
		say(v, &v->out, "%s: complete, %s, all of it was here already", s->name, size_text(size, s->wanted));
	else if (ms < 10000)
		say(v, &v->out, "%s: complete, %s in %.1fs, %s/s", s->name, size_text(size, got), (double)ms / 1000,
		    size_text(rate, got * 1000 / ms));
	else
		say(v, &v->out, "%s: complete, %s in %s, %s/s", s->name, size_text(size, got),
		    duration_text(took, ms / 1000), size_text(rate, got * 1000 / ms));
}

static void say_checked(struct view *v, const struct bt_stats *s)
{
	char have[SIZE_TEXT], wanted[SIZE_TEXT];

	/* bt seed has more to say about what is missing. */
	if (s->have > 0 && s->have < s->wanted && strcmp(v->cmd, "seed") != 0)
		say(v, &v->out, "%s: %s of %s are here already", s->name, size_text(have, s->have),
		    size_text(wanted, s->wanted));
}

void view_event(struct view *v, enum bt_event ev, const struct item *item, const char *text, uint64_t now_ms)
{
	struct bt_stats s = { .name = "" };
	const char *colon = "";

	if (item != NULL && item->t != NULL) {
		bt_stats(item->t, &s);
		colon = ": ";
	}
	if (text == NULL)
		text = "";
	if (v->json)
		json_event(v, event_name(ev), item, text);
	switch (ev) {
	case BT_EV_ERROR:
	case BT_EV_FATAL:
		say(v, &v->err, "bt %s: %s%s%s", v->cmd, s.name, colon, text);
		return;
	case BT_EV_PAUSED: /* an error that heals: worth telling even quietly */
		say(v, &v->err, "bt %s: paused: %s%s%s", v->cmd, s.name, colon, text);
		return;
	default:
		break;
	}
	if (v->quiet || v->json)
		return;
	switch (ev) {
	case BT_EV_WARNING:
		say(v, &v->err, "bt %s: warning: %s%s%s", v->cmd, s.name, colon, text);
		break;
	case BT_EV_LOG:
		say(v, &v->out, "%s%s%s", s.name, colon, text);
		break;
	case BT_EV_RESUMED:
		say(v, &v->out, "%s%sgoes on%s%s", s.name, colon, *text != '\0' ? ": " : "", text);
		break;
	case BT_EV_CHECKED:
		say_checked(v, &s);
		break;
	case BT_EV_DONE:
		if (item != NULL)
			say_done(v, item, &s, now_ms);
		break;
	default:
		break;
	}
}

void view_listening(struct view *v, uint16_t port)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = v->json ? json_open(&text, &len, "listening", NULL) : NULL;

	if (f != NULL) {
		fprintf(f, ",\"port\":%u", port);
		json_close(v, f, &text, &len);
	} else if (!v->quiet && !v->json) {
		say(v, &v->out, "listening on port %u", port);
	}
}

void view_stopping(struct view *v)
{
	if (v->json)
		json_event(v, "stopping", NULL, "");
	else if (!v->quiet)
		say(v, &v->out, "stopping; Ctrl-C again leaves at once");
}

void view_loop(struct view *v, const struct bt_loop_stats *s)
{
	char *text = NULL, turns[SIZE_TEXT], moved[SIZE_TEXT];
	size_t len = 0;
	FILE *f = v->json ? json_open(&text, &len, "loop", NULL) : NULL;

	if (f != NULL) {
		fprintf(f, ",\"turns\":%" PRIu64 ",\"events\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64,
			s->turns, s->events, s->p50_us, s->p99_us);
		fprintf(f, ",\"p999_us\":%" PRIu64 ",\"max_us\":%" PRIu64 ",\"down\":%" PRIu64 ",\"up\":%" PRIu64,
			s->p999_us, s->max_us, s->down, s->up);
		json_close(v, f, &text, &len);
	} else if (!v->json) {
		say(v, &v->out, "loop: %s turns, half of them within %.3f ms, 99%% within %.3f, 99.9%% within %.3f, "
		    "the longest %.3f; %s a turn", count_text(turns, s->turns), (double)s->p50_us / 1000,
		    (double)s->p99_us / 1000, (double)s->p999_us / 1000, (double)s->max_us / 1000,
		    size_text(moved, s->turns ? (s->down + s->up) / s->turns : 0));
	}
}

/* ---- progress ---- */

static void add_up(struct bt_stats *sum, const struct bt_stats *s)
{
	sum->size += s->size;
	sum->wanted += s->wanted;
	sum->have += s->have;
	sum->checked += s->state == BT_CHECKING ? s->checked : s->size;
	sum->up += s->up;
	sum->down_rate += s->down_rate;
	sum->up_rate += s->up_rate;
	sum->peers += s->peers;
	sum->seeds += s->seeds;
	if (s->state == BT_DOWNLOADING && s->eta > sum->eta)
		sum->eta = s->eta;
}

/* The state that says most about all of them: what still moves comes first. */
static enum bt_state common_state(const struct item *items, size_t n)
{
	static const enum bt_state order[] = { BT_DOWNLOADING, BT_CHECKING, BT_NO_SPACE, BT_SEEDING, BT_FINISHED };
	struct bt_stats s;

	for (size_t k = 0; k < COUNT_OF(order); k++)
		for (size_t i = 0; i < n; i++) {
			bt_stats(items[i].t, &s);
			if (s.state == order[k])
				return order[k];
		}
	return BT_FAILED;
}

/* All torrents as one: the label tells how many. */
static void combine(struct bt_stats *sum, char *label, size_t size, const struct item *items, size_t n)
{
	size_t done = 0, failed = 0;
	struct bt_stats s;

	if (n == 1) {
		bt_stats(items[0].t, sum);
		snprintf(label, size, "%s", sum->name);
		return;
	}
	*sum = (struct bt_stats){ .state = common_state(items, n), .name = label, .eta = -1 };
	for (size_t i = 0; i < n; i++) {
		bt_stats(items[i].t, &s);
		add_up(sum, &s);
		done += items[i].done;
		failed += items[i].failed;
	}
	snprintf(label, size, "%zu of %zu done", done, n);
	if (failed > 0)
		snprintf(label + strlen(label), size - strlen(label), ", %zu failed", failed);
}

void view_tick(struct view *v, const struct item *items, size_t n, uint64_t now_ms, bool force)
{
	char label[512], line[4096];
	struct bt_stats s;

	if ((now_ms < v->next_ms && !force) || v->quiet)
		return;
	/* The first plain line waits its turn: short work needs none. */
	if (v->next_ms == 0 && !v->terminal && !v->json) {
		v->next_ms = now_ms + PLAIN_MS;
		return;
	}
	v->next_ms = now_ms + (v->terminal || v->json ? TERMINAL_MS : PLAIN_MS);
	if (v->out.n > 0) /* the reader is slow: old news first */
		return;
	if (v->json) {
		for (size_t i = 0; i < n; i++) {
			bt_stats(items[i].t, &s);
			json_stats(v, &items[i], &s);
		}
		return;
	}
	combine(&s, label, sizeof(label), items, n);
	if (!v->terminal) {
		progress_plain(line, sizeof(line), &s, label);
		say(v, &v->out, "%s", line);
		return;
	}
	style_update(&v->style, STDOUT_FILENO);
	strcpy(line, "\r");
	progress_line(line + 1, sizeof(line) - 8, &s, label, &v->style);
	strcat(line, "\033[K");
	out_put(&v->out, line, strlen(line));
	out_flush(&v->out);
	v->drawn = true;
}

void view_end(struct view *v)
{
	clear_line(v);
	out_finish(&v->out);
	out_finish(&v->err);
}
