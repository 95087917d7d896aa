/* SPDX-License-Identifier: MIT */
/* urls.c - trackers and web seeds, as urls.h states. Nothing here refuses a
 * torrent: without them there are still peers to be found in other ways. */
#include "torrent/urls.h"

#include <stdlib.h>

#define WEB_SEED UINT32_MAX /* instead of a tier */

struct urls {
	struct slice s[META_MAX_URLS];
	uint32_t tier[META_MAX_URLS];
	uint32_t n;
};

/* Blanks around a URL are common and meant nothing; inside one, or a control
 * byte, they could end a line of a request. */
static struct slice clean_url(struct ben v, bool udp_too)
{
	static const char *const schemes[] = { "http://", "https://", "udp://" };
	struct slice s;

	if (!ben_str(v, &s))
		return slice_of(NULL, 0);
	while (s.n && s.p[s.n - 1] <= ' ')
		s.n--;
	while (s.n && s.p[0] <= ' ') {
		s.p++;
		s.n--;
	}
	if (s.n > META_MAX_URL)
		return slice_of(NULL, 0);
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] == 0x7f)
			return slice_of(NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(schemes) - !udp_too; i++) {
		size_t n = strlen(schemes[i]);

		if (s.n > n && strncasecmp((const char *)s.p, schemes[i], n) == 0)
			return s;
	}
	return slice_of(NULL, 0);
}

/* True when it was added: usable, not there yet, and room for it. */
static bool add(struct urls *u, struct ben v, uint32_t tier)
{
	struct slice s = clean_url(v, tier != WEB_SEED);

	if (!s.n || u->n == META_MAX_URLS)
		return false;
	for (uint32_t i = 0; i < u->n; i++)
		if (slice_eq(u->s[i], s))
			return false;
	u->s[u->n] = s;
	u->tier[u->n++] = tier;
	return true;
}

static bool read_trackers(struct bt_meta *m, struct arena *a, struct urls *u, struct ben announce,
			  struct ben tiers)
{
	struct ben_it it_tiers, it;
	struct slice unused;
	struct ben list, v;
	uint32_t tier = 0;

	u->n = 0;
	for (ben_iter(tiers, &it_tiers); ben_next(&it_tiers, &unused, &list);) {
		bool any = false;

		for (ben_iter(list, &it); u->n < META_MAX_URLS && ben_next(&it, &unused, &v);)
			any |= add(u, v, tier);
		tier += any;
	}
	if (u->n == 0) /* BEP 12: a list makes `announce` void */
		add(u, announce, 0);
	if (u->n == 0)
		return true;
	m->trackers = arena_take(a, u->n, sizeof(*m->trackers));
	if (!m->trackers)
		return false;
	for (uint32_t i = 0; i < u->n; i++) {
		m->trackers[i] = (struct bt_tracker){ arena_copy(a, u->s[i]), u->tier[i] };
		if (!m->trackers[i].url)
			return false;
	}
	m->ntrackers = u->n;
	return true;
}

static bool read_web_seeds(struct bt_meta *m, struct arena *a, struct urls *u, struct ben v)
{
	struct ben_it it;
	struct slice unused;
	struct ben item;

	u->n = 0;
	add(u, v, WEB_SEED); /* BEP 19: one string, or a list of them */
	for (ben_iter(v, &it); u->n < META_MAX_URLS && ben_next(&it, &unused, &item);)
		add(u, item, WEB_SEED);
	if (u->n == 0)
		return true;
	m->web_seeds = arena_take(a, u->n, sizeof(*m->web_seeds));
	if (!m->web_seeds)
		return false;
	for (uint32_t i = 0; i < u->n; i++) {
		m->web_seeds[i] = arena_copy(a, u->s[i]);
		if (!m->web_seeds[i])
			return false;
	}
	m->nweb_seeds = u->n;
	return true;
}

bool urls_read(struct bt_meta *m, struct arena *a, struct ben announce, struct ben tiers, struct ben seeds)
{
	struct urls *u = alloc_array(1, sizeof(*u));
	bool ok = u && read_trackers(m, a, u, announce, tiers) && read_web_seeds(m, a, u, seeds);

	free(u);
	return ok;
}
