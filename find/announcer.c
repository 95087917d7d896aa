/* SPDX-License-Identifier: MIT */
/* announcer.c - one torrent's trackers: when to announce what to whom (BEP 3,
 * 12, 31). The list of them is announcer_tiers.c's, requests announcer_ask.c's.
 *
 * A *round* is one announce that is due. It goes through the tiers in order and
 * ends with the first tracker that answers well; that one moves to the front of
 * its tier and its interval says when the next round begins. A tracker that
 * fails is passed over until its back-off ends. One that is silent for HANG_S
 * keeps its chance, but the next is asked beside it: a dead first tracker then
 * costs seconds instead of its time-out. `completed` and `stopped` are not part
 * of rounds: they go to every tracker that knows us. Start at pump(). */
#include "find/announcer.h"

#include <stdio.h>
#include <stdlib.h>

static void pump(struct announcer *a);
static void on_announced(void *arg, int err, int status, struct slice body, const char *why);

static uint64_t now(const struct announcer *a)
{
	return a->net->now_ms;
}

static bool announce(struct tracker *t, enum tracker_event event, const char **why)
{
	return tracker_announce(t, event, announcer_ms(t->a, TIMEOUT_S), on_announced, why);
}

/* ---- words to the owner ---- */

static void say(struct tracker *t, bool warn, const char *text)
{
	struct announcer *a = t->a;
	char shown[160], line[480];

	if (a->freed || !a->o.on_message)
		return;
	url_redact(shown, sizeof(shown), slice_str(t->url));
	snprintf(line, sizeof(line), "tracker %s: %s", shown, text);
	a->o.on_message(a->o.arg, warn, line);
}

/* A complaint that is repeated is no news: it warns once. */
static void complain(struct tracker *t, const char *what, const char *more)
{
	uint32_t sum = crc32c(0, what, strlen(what)) | 1;
	bool fresh = t->said != sum;
	char text[320];

	t->said = sum;
	snprintf(text, sizeof(text), "%s%s", what, more);
	say(t, fresh, text);
}

static const char *duration(char out[32], uint32_t seconds)
{
	if (seconds < 120)
		snprintf(out, 32, "%u s", (unsigned)seconds);
	else
		snprintf(out, 32, "%u min", (unsigned)((seconds + 30) / 60));
	return out;
}

/* ---- rounds ---- */

static bool any_asked(const struct announcer *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->all[i].req)
			return true;
	return false;
}

/* Seconds; jitter keeps the clients of a tracker that comes back from asking all
 * at once. */
static uint32_t back_off(struct tracker *t)
{
	uint32_t s = RETRY_S;

	for (uint32_t i = 0; i < t->fails && s < RETRY_MAX_S; i++)
		s *= 2;
	t->fails += t->fails < 100;
	if (s > RETRY_MAX_S)
		s = RETRY_MAX_S;
	return s - s / 4 + random_below(s / 2 + 1);
}

/* retry_in is BEP 31's word and overrides our back-off; at_least only extends it. */
static void failed(struct tracker *t, const char *what, uint32_t retry_in, uint32_t at_least)
{
	uint32_t s = back_off(t);
	char more[64], text[32];

	if (retry_in == UINT32_MAX) {
		t->never = true;
		complain(t, what, "; it asks not to be tried again");
		return;
	}
	if (retry_in)
		s = retry_in;
	if (s < at_least)
		s = at_least;
	t->not_before_ms = now(t->a) + announcer_ms(t->a, s);
	snprintf(more, sizeof(more), "; not asked again for %s", duration(text, s));
	complain(t, what, more);
}

/* Goes on with the round: asks the next tracker that may be asked. */
static void advance(struct announcer *a)
{
	while (a->round && a->pos < a->n) {
		struct tracker *t = a->order[a->pos++];
		const char *why;

		if (t->never || t->req || now(a) < t->not_before_ms)
			continue;
		if (announce(t, t->started ? TRACKER_NONE : TRACKER_STARTED, &why)) {
			timer_set(a->net, &a->hang, announcer_ms(a, HANG_S));
			return;
		}
		failed(t, why, 0, 0);
		if (a->freed)
			return;
	}
	if (!a->round || any_asked(a))
		return;
	/* nobody left: the next round begins when the first back-off ends */
	a->round = false;
	a->due_ms = UINT64_MAX;
	for (size_t i = 0; i < a->n; i++)
		if (!a->all[i].never)
			a->due_ms = min_u64(a->due_ms, a->all[i].not_before_ms);
}

/* Takes a good reply: state first, then the owner is told. */
static void answered(struct tracker *t, const struct tracker_reply *r)
{
	struct announcer *a = t->a;
	static const struct addr none;
	uint32_t interval = r->interval ? r->interval : INTERVAL_S, least = r->min_interval;
	char line[128], text[32];

	if (interval < r->min_interval)
		interval = r->min_interval;
	if (interval < INTERVAL_MIN_S)
		interval = INTERVAL_MIN_S;
	if (!least)
		least = interval < MORE_PEERS_S ? interval : MORE_PEERS_S;
	if (least < INTERVAL_MIN_S)
		least = INTERVAL_MIN_S;
	t->fails = 0;
	t->started = true;
	if (t->event == TRACKER_COMPLETED)
		t->completed = true;
	t->not_before_ms = now(a) + announcer_ms(a, least);
	if (r->tracker_id_len) {
		memcpy(t->id, r->tracker_id, r->tracker_id_len);
		t->id_len = r->tracker_id_len;
	}
	if (r->seeds != UINT32_MAX)
		t->seeds = r->seeds;
	if (r->leechers != UINT32_MAX)
		t->leechers = r->leechers;
	if (a->round)
		announcer_to_front(a, t);
	if (a->round || t == a->current) {
		a->current = t;
		a->round = false;
		a->due_ms = now(a) + announcer_ms(a, interval);
		timer_clear(a->net, &a->hang);
	}
	if (r->seeds == UINT32_MAX || r->leechers == UINT32_MAX)
		tracker_scrape(t, announcer_ms(a, interval));

	if (r->message[0])
		complain(t, r->message, "");
	else
		t->said = 0;
	snprintf(line, sizeof(line), "%zu peers, next announce in %s", r->npeers, duration(text, interval));
	say(t, false, line);
	if (!a->freed && a->o.on_external_ip && !addr_eq(&r->external_ip, &none))
		a->o.on_external_ip(a->o.arg, &r->external_ip);
	if (!a->freed && a->o.on_peers && r->npeers)
		a->o.on_peers(a->o.arg, r->peers, r->npeers);
}

static void tell_stopped(struct announcer *a);
static void enter(struct announcer *a);
static void leave(struct announcer *a);

static void on_announced(void *arg, int err, int status, struct slice body, const char *why)
{
	struct tracker *t = arg;
	struct announcer *a = t->a;
	uint32_t wait = http_retry_after(t->req);
	struct tracker_reply r = { .peers = NULL };
	char text[32];

	enter(a);
	t->req = NULL;
	if (a->stopping) {
		if (!any_asked(a))
			tell_stopped(a);
		leave(a);
		return;
	}
	if (!err) {
		err = tracker_parse_announce(body, &r, &why);
		/* a reason in bencode is better than the number it comes with */
		if (status / 100 != 2 && (err || !r.failed)) {
			snprintf(text, sizeof(text), "HTTP status %d", status);
			why = text;
			err = -1;
		}
	}
	if (err)
		failed(t, why, 0, wait);
	else if (r.failed)
		failed(t, r.message, r.retry_in, r.min_interval > wait ? r.min_interval : wait);
	else
		answered(t, &r);
	free(r.peers);
	if (!a->freed)
		advance(a);
	if (!a->freed)
		pump(a);
	leave(a);
}

/* Trackers that know us and have not heard that the download is complete. Events
 * need not keep the min interval (BEP 3), but do keep a back-off. */
static bool wants_completed(const struct tracker *t)
{
	return t->a->completed && t->started && !t->completed && !t->never && !t->req;
}

/* Does what is due and arms the timer for what is next. */
static void pump(struct announcer *a)
{
	uint64_t next = UINT64_MAX;

	if (a->stopping)
		return;
	for (size_t i = 0; i < a->n && !a->freed; i++) {
		struct tracker *t = &a->all[i];
		uint64_t at = t->fails ? t->not_before_ms : 0;
		const char *why;

		if (!wants_completed(t))
			continue;
		if (now(a) >= at && !announce(t, TRACKER_COMPLETED, &why)) {
			failed(t, why, 0, 0);
			at = t->not_before_ms;
		}
		if (!t->req)
			next = min_u64(next, at);
	}
	if (!a->freed && !a->round && now(a) >= a->due_ms) {
		a->round = true;
		a->pos = 0;
		advance(a);
	}
	if (a->freed)
		return;
	if (!a->round)
		next = min_u64(next, a->due_ms);
	timer_clear(a->net, &a->wake);
	if (next != UINT64_MAX)
		timer_set(a->net, &a->wake, next > now(a) ? next - now(a) : 0);
}

/* What can't be used is said once, in the first turn: the owner has us by then. */
static void begin(struct announcer *a)
{
	a->begun = true;
	for (size_t i = 0; i < a->n && !a->freed; i++)
		if (a->order[i]->skip)
			say(a->order[i], true, a->order[i]->skip);
	if (!a->freed && a->too_many && a->o.on_message) {
		char text[64];

		snprintf(text, sizeof(text), "%zu trackers past the first %u are ignored", a->too_many,
			 (unsigned)TRACKERS_MAX);
		a->o.on_message(a->o.arg, true, text);
	}
}

static void on_wake(struct timer *timer)
{
	struct announcer *a = container_of(timer, struct announcer, wake);

	enter(a);
	if (a->stopping) {
		tell_stopped(a);
	} else {
		if (!a->begun)
			begin(a);
		if (!a->freed)
			pump(a);
	}
	leave(a);
}

static void on_hang(struct timer *timer)
{
	struct announcer *a = container_of(timer, struct announcer, hang);

	enter(a);
	advance(a);
	if (!a->freed)
		pump(a);
	leave(a);
}

/* ---- life and death ---- */

static void cancel_all(struct announcer *a)
{
	for (size_t i = 0; i < a->n; i++) {
		http_cancel(a->all[i].req);
		http_cancel(a->all[i].scrape);
		a->all[i].req = a->all[i].scrape = NULL;
	}
	timer_clear(a->net, &a->wake);
	timer_clear(a->net, &a->hang);
	later_cancel(&a->stopped);
}

static void free_all(struct announcer *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->all[i].url);
	free(a->all);
	free(a->order);
	free(a->user_agent);
	free(a);
}

static void enter(struct announcer *a)
{
	a->depth++;
}

static void leave(struct announcer *a)
{
	if (--a->depth == 0 && a->freed)
		free_all(a);
}

void announcer_free(struct announcer *a)
{
	if (!a || a->freed)
		return;
	cancel_all(a);
	a->freed = true;
	if (a->depth == 0)
		free_all(a);
}

/* Once; the owner may free us inside. */
static void tell_stopped(struct announcer *a)
{
	cancel_all(a);
	if (a->told)
		return;
	a->told = true;
	if (a->o.on_stopped)
		a->o.on_stopped(a->o.arg);
}

static void on_stopped_later(struct later *l)
{
	struct announcer *a = container_of(l, struct announcer, stopped);

	enter(a);
	tell_stopped(a);
	leave(a);
}

void announcer_stop(struct announcer *a, uint32_t within_ms)
{
	const char *why;

	if (a->stopping || a->freed)
		return;
	a->stopping = true;
	a->round = false;
	/* a `started` on its way may have arrived, if it was sent at all */
	for (size_t i = 0; i < a->n; i++)
		if (a->all[i].req && http_was_sent(a->all[i].req))
			a->all[i].started = true;
	cancel_all(a);
	for (size_t i = 0; i < a->n; i++)
		if (a->all[i].started && !a->all[i].never && !tracker_announce(&a->all[i], TRACKER_STOPPED, within_ms, on_announced, &why))
			a->all[i].started = false;
	if (any_asked(a))
		timer_set(a->net, &a->wake, within_ms);
	else
		later_add(a->net, &a->stopped);
}

void announcer_completed(struct announcer *a)
{
	a->completed = true;
	if (!a->stopping && !a->freed)
		timer_set(a->net, &a->wake, 0);
}

void announcer_more_peers(struct announcer *a)
{
	if (a->stopping || a->freed || a->round || !a->current || a->current->not_before_ms >= a->due_ms)
		return;
	a->due_ms = a->current->not_before_ms;
	timer_set(a->net, &a->wake, 0); /* pump finds out how long to wait */
}

struct announcer *announcer_new(struct net *net, struct dns *dns, const struct announcer_opts *o)
{
	struct announcer *a = alloc_array(1, sizeof(*a));

	if (!a)
		return NULL;
	a->net = net;
	a->dns = dns;
	a->o = *o;
	a->o.urls = NULL;
	a->o.tiers = NULL;
	if (!a->o.second_ms)
		a->o.second_ms = 1000;
	if (o->bind) {
		a->bind = *o->bind;
		a->o.bind = &a->bind;
	}
	memcpy(a->info_hash, o->info_hash, sizeof(a->info_hash));
	memcpy(a->peer_id, o->peer_id, sizeof(a->peer_id));
	random_bytes(&a->key, sizeof(a->key));
	timer_init(&a->wake, on_wake);
	timer_init(&a->hang, on_hang);
	later_init(&a->stopped, on_stopped_later);
	a->user_agent = strdup(o->user_agent ? o->user_agent : "bt");
	if (!a->user_agent || !announcer_take(a, o)) {
		free_all(a);
		return NULL;
	}
	announcer_shuffle(a);
	timer_set(net, &a->wake, 0);
	return a;
}
