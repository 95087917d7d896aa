/* SPDX-License-Identifier: MIT */
/* announcer_ask.c - one request to one tracker: an announce (BEP 3) or a scrape
 * (BEP 48), with the owner's current numbers. What is done with an announce's
 * answer, and when to ask at all, is announcer.c's business. */
#include "find/announcer.h"

#include <assert.h>

/* A torrent may come from anyone: its URLs may ask this machine only where a
 * tracker would be, not for paths of other services (as libtorrent's SSRF
 * mitigation). */
static bool is_tracker_path(const char *text)
{
	struct url u;
	size_t end = 0, slash = 0;

	if (!url_parse(slice_str(text), &u))
		return false;
	for (; end < u.path.n && u.path.p[end] != '?'; end++)
		if (u.path.p[end] == '/')
			slash = end + 1;
	return end - slash >= 8 && memcmp(u.path.p + slash, "announce", 8) == 0;
}

static struct http_request *fetch(struct tracker *t, struct buf *url, uint64_t timeout_ms, http_fn *fn, const char **why)
{
	struct announcer *a = t->a;
	struct http_opts o = {
		.body_max = TRACKER_REPLY_MAX,
		.timeout_ms = (uint32_t)min_u64(timeout_ms, UINT32_MAX),
		.max_redirects = REDIRECTS,
		.user_agent = a->user_agent,
		.bind = a->o.bind,
		.not_loopback = !is_tracker_path(t->url),
	};

	*why = "out of memory";
	buf_u8(url, 0);
	return url->failed ? NULL : http_get(a->net, a->dns, (char *)url->p, &o, fn, t, why);
}

bool tracker_announce(struct tracker *t, enum tracker_event event, uint64_t timeout_ms, http_fn *fn, const char **why)
{
	struct announcer *a = t->a;
	struct tracker_ask ask = {
		.info_hash = a->info_hash, .peer_id = a->peer_id, .port = a->o.port, .event = event, .key = a->key,
		.tracker_id = slice_of(t->id, t->id_len),
	};
	struct buf url;

	assert(!t->req);
	a->o.totals(a->o.arg, &ask.uploaded, &ask.downloaded, &ask.left, &ask.numwant);
	if (event == TRACKER_STOPPED)
		ask.numwant = 0;
	buf_init(&url, 16 << 10);
	t->event = event;
	if (tracker_announce_url(&url, t->url, &ask))
		t->req = fetch(t, &url, timeout_ms, fn, why);
	else
		*why = "URL too long, or out of memory";
	buf_release(&url);
	return t->req != NULL;
}

static void on_scraped(void *arg, int err, int status, struct slice body, const char *why)
{
	struct tracker *t = arg;
	struct tracker_reply r;

	t->scrape = NULL;
	if (err || status / 100 != 2 || tracker_parse_scrape(body, t->a->info_hash, &r, &why) < 0 || r.failed) {
		t->no_scrape = true; /* a courtesy, not worth asking twice */
		return;
	}
	t->seeds = r.seeds;
	t->leechers = r.leechers;
}

void tracker_scrape(struct tracker *t, uint64_t interval_ms)
{
	struct buf url;
	const char *why;

	if (t->no_scrape || t->scrape || t->a->net->now_ms < t->scrape_ms)
		return;
	t->scrape_ms = t->a->net->now_ms + interval_ms;
	buf_init(&url, 16 << 10);
	if (tracker_scrape_url(&url, t->url, t->a->info_hash))
		t->scrape = fetch(t, &url, announcer_ms(t->a, TIMEOUT_S), on_scraped, &why);
	t->no_scrape = !t->scrape;
	buf_release(&url);
}
