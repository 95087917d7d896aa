/* SPDX-License-Identifier: MIT */
/* progress.c - the progress line as a function of facts and width: no clock, no
 * terminal, so it can be looked at in any size. Fields keep their width from
 * second to second, so that the line does not dance; the name and the bar give
 * way first, then whole fields by rank. */
#include "app/app.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP 2            /* columns between fields */
#define LABEL_FIRST 28   /* of the name, before it is known what is left */
#define LABEL_LEAST 12
#define BAR_FIRST 16
#define BAR_LEAST 7
#define BAR_MOST 40
#define FIELDS_MAX 10

struct field {
	char text[64];
	int width; /* at least the text's */
	int rank;  /* 0 = first to go */
};

struct layout {
	struct field fields[FIELDS_MAX];
	size_t n;
	const char *label;
	double part; /* of the bar; < 0 = no bar */
};

/* Where label and bar stand among the fields: first, and after the percentage. */
enum { FIELD_LABEL = 0, FIELD_BAR = 2 };

const char *state_name(enum bt_state state)
{
	static const char *const names[] = {
		[BT_CHECKING] = "checking", [BT_DOWNLOADING] = "downloading", [BT_SEEDING] = "seeding",
		[BT_NO_SPACE] = "no-space", [BT_FAILED] = "failed",	      [BT_FINISHED] = "finished",
	};

	return (size_t)state < COUNT_OF(names) ? names[state] : "unknown";
}

static void add(struct layout *l, int rank, int width, const char *text)
{
	struct field *f = &l->fields[l->n++];

	snprintf(f->text, sizeof(f->text), "%s", text);
	f->width = text_width(f->text);
	f->width = f->width > width ? f->width : width;
	f->rank = rank;
}

/* 100.0 only when nothing is missing. */
static double percent(uint64_t part, uint64_t whole)
{
	double p = whole > 0 ? (double)part / (double)whole * 100 : 100;

	return part < whole && p > 99.9 ? 99.9 : p;
}

/* "1.26/3.00 GiB", the first number as wide as the second. */
static void add_sizes(struct layout *l, uint64_t part, uint64_t whole)
{
	char total[SIZE_TEXT], text[64];
	uint64_t unit = 1;
	const char *point, *space;
	int decimals;

	size_text(total, whole);
	space = strchr(total, ' ');
	point = strchr(total, '.');
	decimals = point != NULL ? (int)(space - point) - 1 : 0;
	for (const char *p = "KMGTPE"; space[1] != 'B' && *p != '\0'; p++) {
		unit *= 1024;
		if (*p == space[1])
			break;
	}
	snprintf(text, sizeof(text), "%*.*f/%s", (int)(space - total), decimals, (double)part / (double)unit, total);
	add(l, 7, 0, text);
}

static void add_rate(struct layout *l, int rank, const char *mark, uint64_t rate)
{
	char size[SIZE_TEXT], text[64];

	snprintf(text, sizeof(text), "%s%s/s", mark, size_text(size, rate));
	add(l, rank, text_width(mark) + 10, text);
}

static void add_peers(struct layout *l, const struct bt_stats *s)
{
	char text[64];

	snprintf(text, sizeof(text), "%u peer%s", s->peers, s->peers == 1 ? "" : "s");
	add(l, 6, 8, text);
	if (s->seeds > 0) {
		snprintf(text, sizeof(text), "%u seed%s", s->seeds, s->seeds == 1 ? "" : "s");
		add(l, 1, 7, text);
	}
}

static void add_eta(struct layout *l, int64_t eta)
{
	char text[64] = "", d[SIZE_TEXT];

	if (eta >= 0)
		snprintf(text, sizeof(text), "%s left", duration_text(d, (uint64_t)eta));
	add(l, 8, 11, text);
}

static void add_bar(struct layout *l, uint64_t part, uint64_t whole)
{
	char text[64];
	double p = percent(part, whole);

	snprintf(text, sizeof(text), "%5.1f%%", (double)(uint64_t)(p * 10) / 10);
	add(l, 10, 0, text);
	add(l, 4, BAR_FIRST, "");
	l->part = p / 100;
}

static void choose_fields(struct layout *l, const struct bt_stats *s, const struct style *style)
{
	const char *down = style->utf8 ? "\xe2\x86\x93" : "down ", *up = style->utf8 ? "\xe2\x86\x91" : "up ";
	char text[64], size[SIZE_TEXT];
	bool checking = s->state == BT_CHECKING;
	uint64_t part = checking ? s->checked : s->have, whole = checking ? s->size : s->wanted;

	l->part = -1;
	add(l, 3, 0, "");
	switch (s->state) {
	case BT_SEEDING:
	case BT_FINISHED:
		add(l, 9, 0, s->state == BT_SEEDING ? "seeding" : "complete");
		add_rate(l, 8, up, s->up_rate);
		snprintf(text, sizeof(text), "%s sent", size_text(size, s->up));
		add(l, 7, 13, text);
		snprintf(text, sizeof(text), "ratio %.2f", s->size > 0 ? (double)s->up / (double)s->size : 0);
		add(l, 5, 10, text);
		add_peers(l, s);
		return;
	case BT_FAILED:
		add(l, 9, 0, "failed");
		return;
	case BT_CHECKING:
	case BT_NO_SPACE:
	case BT_DOWNLOADING:
		add_bar(l, part, whole);
		add_sizes(l, part, whole);
		break;
	}
	if (s->state == BT_NO_SPACE) {
		add(l, 9, 0, "disk full: waiting for space");
	} else if (checking) {
		if (s->down_rate > 0)
			add_rate(l, 5, "", s->down_rate);
		else
			add(l, 5, 0, "checking");
	} else {
		add_rate(l, 9, down, s->down_rate);
		add_rate(l, 5, up, s->up_rate);
		add_eta(l, s->eta);
		add_peers(l, s);
	}
}

static int used_width(const struct layout *l)
{
	int used = -GAP;

	for (size_t i = 0; i < l->n; i++)
		if (l->fields[i].width > 0)
			used += l->fields[i].width + GAP;
	return used;
}

/* Shrinks a field towards least; returns what is still too much. */
static int shrink(struct field *f, int over, int least)
{
	int give = f->width - least < over ? f->width - least : over;

	if (over <= 0 || give <= 0)
		return over;
	f->width -= give;
	return over - give;
}

static void fit(struct layout *l, int room)
{
	struct field *label = &l->fields[FIELD_LABEL], *bar = l->part >= 0 ? &l->fields[FIELD_BAR] : NULL;
	int full = text_width(l->label), over, left;

	label->width = full < LABEL_FIRST ? full : LABEL_FIRST;
	over = used_width(l) - room;
	over = shrink(label, over, LABEL_LEAST);
	if (bar != NULL)
		over = shrink(bar, over, BAR_LEAST);
	while (over > 0) {
		struct field *last = NULL;
		for (size_t i = 0; i < l->n; i++)
			if (l->fields[i].width > 0 && (last == NULL || l->fields[i].rank < last->rank))
				last = &l->fields[i];
		if (last == NULL)
			break;
		last->width = 0;
		over = used_width(l) - room;
	}
	left = room - used_width(l);
	if (bar != NULL && bar->width > 0 && left > 0) {
		int more = BAR_MOST - bar->width < left ? BAR_MOST - bar->width : left;
		bar->width += more;
		left -= more;
	}
	if (label->width > 0 && left > 0)
		label->width = label->width + left < full ? label->width + left : full;
}

static void put_text(char *out, size_t size, const char *text)
{
	size_t n = strlen(out);

	snprintf(out + n, size - n, "%s", text);
}

static void put_spaces(char *out, size_t size, int n)
{
	while (n-- > 0)
		put_text(out, size, " ");
}

static void put_bar(char *out, size_t size, int width, double part, const struct style *style)
{
	int filled = (int)(part * width);

	if (style->color)
		put_text(out, size, "\033[32m");
	for (int i = 0; i < width; i++) {
		if (i == filled && style->color)
			put_text(out, size, "\033[39;2m");
		if (style->utf8)
			put_text(out, size, i < filled ? "\xe2\x96\x88" : "\xe2\x96\x91");
		else
			put_text(out, size, i < filled ? "#" : ".");
	}
	if (style->color)
		put_text(out, size, "\033[0m");
}

void progress_line(char *out, size_t size, const struct bt_stats *s, const char *label, const struct style *style)
{
	struct layout l = { .label = label != NULL ? label : s->name };
	bool first = true;

	choose_fields(&l, s, style);
	fit(&l, style->width - 1); /* the last column makes some terminals wrap */
	out[0] = '\0';
	for (size_t i = 0; i < l.n; i++) {
		struct field *f = &l.fields[i];
		char text[1024];
		int used;

		if (f->width <= 0)
			continue;
		if (!first)
			put_spaces(out, size, GAP);
		first = false;
		if (i == FIELD_BAR && l.part >= 0) {
			put_bar(out, size, f->width, l.part, style);
			continue;
		}
		used = text_fit(text, sizeof(text), i == FIELD_LABEL ? l.label : f->text, f->width, style->utf8);
		put_text(out, size, text);
		if (i + 1 < l.n)
			put_spaces(out, size, f->width - used);
	}
}

void progress_plain(char *out, size_t size, const struct bt_stats *s, const char *label)
{
	char total[SIZE_TEXT], down[SIZE_TEXT], up[SIZE_TEXT], eta[SIZE_TEXT];
	uint64_t whole = s->state == BT_CHECKING ? s->size : s->wanted;
	double p = percent(s->state == BT_CHECKING ? s->checked : s->have, whole);

	if (label == NULL)
		label = s->name;
	size_text(total, whole);
	size_text(down, s->down_rate);
	size_text(up, s->up_rate);
	p = (double)(uint64_t)(p * 10) / 10;
	switch (s->state) {
	case BT_CHECKING:
		snprintf(out, size, "%s: checking, %.1f%% of %s", label, p, total);
		break;
	case BT_DOWNLOADING:
		snprintf(out, size, "%s: %.1f%% of %s, down %s/s, up %s/s, %u peer%s (%u seed%s)%s%s%s", label, p,
			 total, down, up, s->peers, s->peers == 1 ? "" : "s", s->seeds, s->seeds == 1 ? "" : "s",
			 s->eta >= 0 ? ", " : "", s->eta >= 0 ? duration_text(eta, (uint64_t)s->eta) : "",
			 s->eta >= 0 ? " left" : "");
		break;
	case BT_SEEDING:
		snprintf(out, size, "%s: seeding, up %s/s, %s sent, %u peer%s", label, up, size_text(total, s->up),
			 s->peers, s->peers == 1 ? "" : "s");
		break;
	case BT_NO_SPACE:
		snprintf(out, size, "%s: %.1f%% of %s, disk full: waiting for space", label, p, total);
		break;
	case BT_FAILED:
	case BT_FINISHED:
		snprintf(out, size, "%s: %s", label, s->state == BT_FAILED ? "failed" : "complete");
		break;
	}
}

static bool utf8_locale(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *v = getenv(names[i]);
		if (v != NULL && *v != '\0')
			return strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL;
	}
	return false;
}

bool style_update(struct style *style, int fd)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	struct winsize ws;

	if (!isatty(fd) || term == NULL || *term == '\0' || strcmp(term, "dumb") == 0)
		return false;
	style->width = ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
	style->color = no_color == NULL || *no_color == '\0';
	style->utf8 = utf8_locale();
	return true;
}
