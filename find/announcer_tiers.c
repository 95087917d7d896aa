/* SPDX-License-Identifier: MIT */
/* announcer_tiers.c - the trackers of a torrent and the order they are tried in
 * (BEP 12): by tier, shuffled within one, and whoever answers moves to its
 * tier's front. Repeated URLs and what this version can't speak to are sorted
 * out here. No requests. */
#include "find/announcer.h"

#include <stdlib.h>

static const char *unusable(const char *text)
{
	struct url u;

	if (!url_parse(slice_str(text), &u))
		return "skipped: not a usable URL";
	return url_scheme_is(&u, "http") ? NULL : "skipped: this version speaks http trackers only";
}

static bool is_known(const struct announcer *a, const char *url)
{
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->all[i].url, url) == 0)
			return true;
	return false;
}

bool announcer_take(struct announcer *a, const struct announcer_opts *o)
{
	a->all = alloc_array(min_size(o->nurls, TRACKERS_MAX), sizeof(*a->all));
	a->order = alloc_array(min_size(o->nurls, TRACKERS_MAX), sizeof(struct tracker *));
	if (!a->all || !a->order)
		return false;
	for (size_t i = 0; i < o->nurls; i++) {
		struct tracker *t = &a->all[a->n];

		if (is_known(a, o->urls[i]))
			continue;
		if (a->n == TRACKERS_MAX) {
			a->too_many++;
			continue;
		}
		t->url = strdup(o->urls[i]);
		if (!t->url)
			return false;
		t->a = a;
		t->tier = o->tiers[i];
		t->skip = unusable(t->url);
		t->never = t->skip != NULL;
		t->seeds = t->leechers = UINT32_MAX;
		a->n++;
	}
	return true;
}

/* By tier, and by chance within one (BEP 12): each goes to a random place among
 * those of its tier that are in already. */
void announcer_shuffle(struct announcer *a)
{
	for (size_t i = 0; i < a->n; i++) {
		struct tracker *t = &a->all[i];
		size_t end = i, first;

		while (end && a->order[end - 1]->tier > t->tier)
			end--;
		for (first = end; first && a->order[first - 1]->tier == t->tier;)
			first--;
		end -= random_below((uint32_t)(end - first) + 1);
		memmove(&a->order[end + 1], &a->order[end], (i - end) * sizeof(struct tracker *));
		a->order[end] = t;
	}
}

/* BEP 12: the tracker that answered is the first of its tier from now on. */
void announcer_to_front(struct announcer *a, struct tracker *t)
{
	size_t i = 0, first;

	while (a->order[i]->tier != t->tier)
		i++;
	first = i;
	while (a->order[i] != t)
		i++;
	memmove(&a->order[first + 1], &a->order[first], (i - first) * sizeof(struct tracker *));
	a->order[first] = t;
}

void announcer_counts(const struct announcer *a, uint32_t *seeds, uint32_t *leechers)
{
	*seeds = *leechers = 0;
	for (size_t i = 0; i < a->n; i++) {
		const struct tracker *t = &a->all[i];

		if (t->seeds != UINT32_MAX && t->seeds > *seeds)
			*seeds = t->seeds;
		if (t->leechers != UINT32_MAX && t->leechers > *leechers)
			*leechers = t->leechers;
	}
}
