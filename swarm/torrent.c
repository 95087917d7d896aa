/* SPDX-License-Identifier: MIT */
/* torrent.c - a torrent's life: CHECKING until the store is open, DOWNLOADING,
 * NO_SPACE while the volume is full, SEEDING, FINISHED when it was told to end
 * there, FAILED when its files are gone. At the end of each turn in which
 * something happened, `housekeeping` looks whether the state has to move. */
#include "swarm/swarm.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STOP_ANNOUNCE_MS = 2500 /* `stopped` may take that long, whatever trackers do */ };

bool client_init(struct client *c, uint32_t max_peers)
{
	struct list *lists[] = { &c->down_waiting, &c->up_waiting, &c->frame_waiting, &c->hungry, &c->torrents,
				 &c->pending, &c->connected, &c->dial_waiting, &c->sending };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		list_init(lists[i]);
	timer_init(&c->frames_timer, client_on_frames_timer);
	timer_init(&c->sending_timer, upload_on_timer);
	c->max_peers = max_peers;
	for (c->by_id_len = 64; c->by_id_len < max_peers;)
		c->by_id_len *= 2;
	c->by_id = alloc_array(c->by_id_len, sizeof(struct peer *));
	c->scratch = malloc(SCRATCH_LEN);
	return c->by_id && c->scratch;
}

void client_release(struct client *c)
{
	timer_clear(&c->net, &c->frames_timer);
	timer_clear(&c->net, &c->sending_timer);
	free(c->scratch);
	free(c->by_id);
	free(c->by_hash);
}

void client_event(struct client *c, enum bt_event ev, struct bt_torrent *t, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	if (ev == BT_EV_LOG && !c->verbose)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->on_event)
		c->on_event(c->arg, ev, t, text);
}

enum { FRAMES_AGAIN_MS = 1000 };

void client_frames_short(struct client *c)
{
	c->frames_short = true;
	if (!timer_armed(&c->frames_timer))
		timer_set(&c->net, &c->frames_timer, FRAMES_AGAIN_MS);
}

void client_on_frames_timer(struct timer *timer)
{
	struct client *c = container_of(timer, struct client, frames_timer);
	if (c->frames_short)
		client_wake_frames(c);
}

void client_wake_frames(struct client *c)
{
	c->frames_short = false;
	while (!list_empty(&c->frame_waiting)) {
		struct peer *p = container_of(c->frame_waiting.next, struct peer, on_frame_waiting);
		list_remove(&p->on_frame_waiting);
		peer_arm(p);
	}
	while (!list_empty(&c->hungry)) { /* what they do about it comes at the end of the turn */
		struct bt_torrent *t = container_of(c->hungry.next, struct bt_torrent, on_hungry);
		list_remove(&t->on_hungry);
		later_add(&c->net, &t->housekeeping);
		requests_wake(t);
	}
}

void client_hungry(struct bt_torrent *t)
{
	if (!list_linked(&t->on_hungry))
		list_push_back(&t->c->hungry, &t->on_hungry);
}

void client_died(struct client *c, const char *why)
{
	c->dead = true;
	client_event(c, BT_EV_FATAL, NULL, "%s", why);
	for (struct list *l = c->torrents.next; l != &c->torrents; l = l->next) /* what they wait for does not come */
		later_add(&c->net, &container_of(l, struct bt_torrent, on_client)->housekeeping);
}

/* ---- by info-hash: their bytes are random enough as they are ---- */

static struct bt_torrent **chain_of(const struct client *c, const uint8_t info_hash[20])
{
	return &c->by_hash[get_u32(info_hash) & (c->by_hash_len - 1)];
}

struct bt_torrent *torrent_find(struct client *c, const uint8_t info_hash[20])
{
	struct bt_torrent *t = c->by_hash_len ? *chain_of(c, info_hash) : NULL;
	while (t && memcmp(t->info_hash, info_hash, sizeof(t->info_hash)) != 0)
		t = t->hash_next;
	return t;
}

/* Without memory for more the chains get longer; false: not even for the first. */
static bool enlist(struct client *c, struct bt_torrent *t)
{
	if (c->ntorrents >= c->by_hash_len) {
		uint32_t len = c->by_hash_len ? c->by_hash_len * 2 : 16;
		struct bt_torrent **fresh = alloc_array(len, sizeof(struct bt_torrent *));
		if (!fresh && !c->by_hash_len)
			return false;
		if (fresh) {
			free(c->by_hash);
			c->by_hash = fresh;
			c->by_hash_len = len;
			for (struct list *l = c->torrents.next; l != &c->torrents; l = l->next) {
				struct bt_torrent *old = container_of(l, struct bt_torrent, on_client);
				old->hash_next = *chain_of(c, old->info_hash);
				*chain_of(c, old->info_hash) = old;
			}
		}
	}
	c->ntorrents++;
	t->hash_next = *chain_of(c, t->info_hash);
	*chain_of(c, t->info_hash) = t;
	list_push_back(&c->torrents, &t->on_client);
	return true;
}

static void delist(struct client *c, struct bt_torrent *t)
{
	if (!list_linked(&t->on_client))
		return; /* it never got that far */
	struct bt_torrent **at = chain_of(c, t->info_hash);
	while (*at != t)
		at = &(*at)->hash_next;
	*at = t->hash_next;
	c->ntorrents--;
	list_remove(&t->on_client);
}

/* ---- peers from outside ---- */

static void add_peers(void *arg, const struct addr *addrs, size_t n)
{
	struct bt_torrent *t = arg;
	for (size_t i = 0; i < n; i++)
		if (addr_is_usable_peer(&addrs[i]))
			known_add(t, &addrs[i], true);
	connect_schedule(t);
}

static bool add_wanted_peer(struct bt_torrent *t, const struct addr *a)
{
	struct known *k = addr_is_usable_peer(a) ? known_add(t, a, true) : NULL;
	if (k)
		k->wanted = true;
	connect_schedule(t);
	return k;
}

struct named_peer {
	struct bt_torrent *t;
	size_t i;
	uint16_t port;
};

static void on_name(void *arg, int err, const struct addr *addrs, size_t n, const char *why)
{
	struct named_peer *np = arg;
	struct bt_torrent *t = np->t;
	t->lookups[np->i] = NULL;
	if (err)
		client_event(t->c, BT_EV_WARNING, t, "peer %s: %s", t->peer_names[np->i], why);
	for (size_t i = 0; i < n; i++) {
		struct addr a = addrs[i];
		a.port = np->port;
		add_wanted_peer(t, &a);
	}
	t->lookup_args[np->i] = NULL;
	free(np);
}

/* "HOST:PORT" with a name: looked up once the store is open. */
static void look_up_peers(struct bt_torrent *t)
{
	for (size_t i = 0; i < t->npeer_names; i++) {
		char *colon = strrchr(t->peer_names[i], ':');
		uint64_t port;
		struct named_peer *np = alloc_array(1, sizeof(*np));
		if (!np || !parse_u64(slice_str(colon + 1), 65535, &port)) {
			free(np);
			continue;
		}
		*np = (struct named_peer){ t, i, (uint16_t)port };
		*colon = '\0';
		t->lookups[i] = dns_lookup(t->c->dns, t->peer_names[i], on_name, np);
		t->lookup_args[i] = t->lookups[i] ? np : NULL;
		if (!t->lookups[i])
			free(np);
	}
}

static bool take_peer(struct bt_torrent *t, const char *text, char *err, size_t err_size)
{
	struct addr a;
	uint64_t port;
	const char *colon = strrchr(text, ':');
	if (addr_parse(&a, slice_str(text)) && a.port) {
		snprintf(err, err_size, addr_is_usable_peer(&a) ? "out of memory" : "peer '%s' is nobody's address", text);
		return add_wanted_peer(t, &a);
	}
	if (!colon || colon == text || !parse_u64(slice_str(colon + 1), 65535, &port) || port == 0 ||
	    text[0] == '[') {
		snprintf(err, err_size, "peer '%s' is not HOST:PORT", text);
		return false;
	}
	if (t->npeer_names == ARRAY_LEN(t->peer_names)) {
		snprintf(err, err_size, "more than %zu peers given by name", ARRAY_LEN(t->peer_names));
		return false;
	}
	snprintf(err, err_size, "out of memory");
	t->peer_names[t->npeer_names] = strdup(text);
	return t->peer_names[t->npeer_names] && ++t->npeer_names;
}

/* ---- announcing ---- */

static void totals(void *arg, uint64_t *up, uint64_t *down, uint64_t *left, uint32_t *numwant)
{
	struct bt_torrent *t = arg;
	*up = t->up.total;
	*down = t->down.total;
	*left = t->wanted_size - t->have_size;
	*numwant = t->c->npeers >= t->c->max_peers ? 0 : 200;
}

static void on_external_ip(void *arg, const struct addr *ip)
{
	struct bt_torrent *t = arg;
	t->c->external = *ip;
	t->c->external.port = t->c->port;
}

static void on_tracker_message(void *arg, bool warn, const char *text)
{
	struct bt_torrent *t = arg;
	client_event(t->c, warn ? BT_EV_WARNING : BT_EV_LOG, t, "%s", text);
}

static void on_announcer_stopped(void *arg)
{
	struct bt_torrent *t = arg;
	t->announcer_done = true;
}

static bool announcer_begin(struct bt_torrent *t)
{
	const char **urls = alloc_array(t->ntrackers + 1, sizeof(*urls));
	uint32_t *tiers = alloc_array(t->ntrackers + 1, sizeof(*tiers));
	if (urls && tiers) {
		for (size_t i = 0; i < t->ntrackers; i++) {
			urls[i] = t->trackers[i].url;
			tiers[i] = t->trackers[i].tier;
		}
		static const uint8_t any[16];
		bool bound = memcmp(t->c->bind.ip, any, sizeof(any)) != 0;
		struct announcer_opts o = {
			.urls = urls, .tiers = tiers, .nurls = t->ntrackers,
			.info_hash = t->info_hash, .peer_id = t->c->peer_id,
			.port = t->c->port,
			.user_agent = "bt/" BT_VERSION,
			.bind = bound ? &t->c->bind : NULL,
			.totals = totals,
			.on_peers = add_peers,
			.on_external_ip = on_external_ip,
			.on_message = on_tracker_message,
			.on_stopped = on_announcer_stopped,
			.arg = t,
		};
		t->announcer = announcer_new(&t->c->net, t->c->dns, &o);
	}
	free(urls);
	free(tiers);
	return t->announcer != NULL;
}

/* ---- what the store tells ---- */

static void on_partial(void *arg, uint32_t index, const uint8_t *bits, uint32_t nblocks)
{
	struct bt_torrent *t = arg;
	if (!picker_wants(t->picker, index) || nblocks != picker_blocks(t->picker, index))
		return;
	struct open_piece *op = picker_start(t->picker, index);
	if (!op)
		return;
	for (uint32_t b = 0; b < nblocks; b++) {
		/* a full partial would have been checked; leave one block to fetch */
		if (!bit_get(bits, b) || op->received + 1 == nblocks)
			continue;
		picker_got(t->picker, index, b, 0, false);
		op->blocks[b].loc = LOC_FILE;
	}
}

static void on_open(void *arg, int err, const char *what)
{
	struct bt_torrent *t = arg;
	if (err) {
		torrent_fail(t, what);
		return;
	}
	if (what)
		client_event(t->c, BT_EV_WARNING, t, "%s", what);
	if (t->closing)
		return;
	const uint8_t *have = store_have(t->store);
	for (uint32_t i = 0; i < t->limits.pieces; i++) {
		if (!bit_get(have, i))
			continue;
		if (picker_wants(t->picker, i))
			t->have_size += picker_piece_len(t->picker, i);
		picker_set_have(t->picker, i);
		t->npieces_have++;
	}
	t->opened = true;
	t->was_complete = picker_missing(t->picker) == 0;
	t->checked = t->limits.size;
	if (t->check_only) {
		t->state = BT_FINISHED;
		client_event(t->c, BT_EV_CHECKED, t, "%u of %u pieces are right", t->npieces_have, t->limits.pieces);
		return;
	}
	store_partials(t->store, on_partial, t);
	t->state = BT_DOWNLOADING;
	client_event(t->c, BT_EV_CHECKED, t, "%u of %u pieces are here", t->npieces_have, t->limits.pieces);
	if (!announcer_begin(t)) {
		torrent_fail(t, "out of memory");
		return;
	}
	look_up_peers(t);
	connect_schedule(t);
	later_add(&t->c->net, &t->housekeeping);
}

static void on_checking(void *arg, uint32_t index, bool ok)
{
	struct bt_torrent *t = arg;
	(void)ok;
	t->checked += picker_piece_len(t->picker, index);
}

static void on_check(void *arg, uint32_t index, enum store_result r, const uint64_t *sums, uint32_t n)
{
	piece_on_check(arg, index, r, sums, n);
}

static void on_written(void *arg, uint32_t index, uint32_t first, uint32_t n, int err)
{
	piece_on_written(arg, index, first, n, err);
}

static void on_loaded(void *arg, uint32_t index)
{
	(void)index;
	upload_wake_disk(arg);
}

static void on_space(void *arg, bool full, const char *what)
{
	struct bt_torrent *t = arg;
	if (full == t->no_space || t->state == BT_FAILED || t->state == BT_FINISHED)
		return;
	t->no_space = full;
	later_add(&t->c->net, &t->housekeeping); /* a stop may have waited for this */
	t->state = full ? BT_NO_SPACE : t->seeding ? BT_SEEDING : BT_DOWNLOADING;
	client_event(t->c, full ? BT_EV_PAUSED : BT_EV_RESUMED, t, "%s",
		     what ? what : full ? "no space left" : "there is space again");
	for (struct list *l = t->peers.next; l != &t->peers; l = l->next)
		peer_flush_later(container_of(l, struct peer, on_torrent));
}

static void on_fail(void *arg, int err, const char *what)
{
	(void)err;
	torrent_fail(arg, what);
}

static void on_closed(void *arg)
{
	struct bt_torrent *t = arg;
	t->store = NULL;
}

/* ---- moving on ---- */

static void close_peers(struct bt_torrent *t, const char *why)
{
	for (struct list *l = t->peers.next; l != &t->peers; l = l->next)
		peer_fail(container_of(l, struct peer, on_torrent), why);
}

/* `stopped`, once, whatever the reason. */
static void leave_trackers(struct bt_torrent *t)
{
	if (!t->announcer || t->left_trackers)
		return;
	t->left_trackers = true;
	t->announcer_done = false;
	announcer_stop(t->announcer, STOP_ANNOUNCE_MS);
}

/* It has given what it was to give: nobody is served, no tracker sends more. */
static void finish(struct bt_torrent *t, const char *why)
{
	t->state = BT_FINISHED;
	close_peers(t, why);
	leave_trackers(t);
}

void torrent_fail(struct bt_torrent *t, const char *what)
{
	if (t->state == BT_FAILED)
		return;
	t->state = BT_FAILED;
	client_event(t->c, BT_EV_ERROR, t, "%s", what ? what : "unknown error");
	close_peers(t, "torrent failed");
	piece_drop_frames(t);
	leave_trackers(t);
}

void torrent_check_ratio(struct bt_torrent *t)
{
	if (!t->synced || t->seed_ratio <= 0 || t->state != BT_SEEDING)
		return;
	if ((double)t->up.total >= t->seed_ratio * (double)t->wanted_size)
		finish(t, "ratio reached");
}

/* Everything that was wanted is on the disk now. */
static void on_synced(void *arg, int err)
{
	struct bt_torrent *t = arg;
	if (err || !t->seeding || t->synced || t->closing || t->state == BT_FAILED)
		return;
	t->synced = true;
	if (t->seed_ratio == 0)
		finish(t, "complete");
	client_event(t->c, BT_EV_DONE, t, "complete");
}

static void become_seed(struct bt_torrent *t)
{
	t->seeding = true;
	t->state = BT_SEEDING;
	if (!t->was_complete && t->announcer)
		announcer_completed(t->announcer);
	for (struct list *l = t->peers.next; l != &t->peers; l = l->next) {
		struct peer *p = container_of(l, struct peer, on_torrent);
		if (p->state != PEER_READY)
			continue;
		peer_catch_up(p);
		peer_tell_upload_only(p);
		peer_update_interest(p);
	}
	if (!t->was_complete)
		client_event(t->c, BT_EV_LOG, t, "every piece is verified and written; syncing");
	store_sync(t->store);
	choke_soon(t);
}

static void finish_stop(struct bt_torrent *t)
{
	if (t->store_closing || !t->store)
		return;
	struct store_partial *partials = NULL;
	size_t n = 0;
	if (t->opened && t->state != BT_FAILED && !t->c->dead) {
		if (piece_flush_partials(t) || (t->nchecks_waiting && !t->no_space))
			return; /* on_written and on_frames come back here */
		n = piece_partials(t, &partials);
	}
	t->store_closing = true;
	store_close(t->store, partials, n);
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)partials[i].bits);
	free(partials);
	piece_drop_frames(t);
}

static void housekeeping(struct later *l)
{
	struct bt_torrent *t = container_of(l, struct bt_torrent, housekeeping);
	if (t->closing) {
		finish_stop(t);
		return;
	}
	if (!t->opened || t->state == BT_FAILED || t->check_only)
		return;
	piece_retry_checks(t);
	if (!t->seeding && picker_missing(t->picker) == 0)
		become_seed(t);
	piece_relieve_pool(t);
}

/* Haves in rounds: each tells every peer of what is new, a slice of them per turn;
 * between rounds they wait for company, the longer the more peers there are, so
 * that a crowd is told at a steady rate. */
static void have_on_timer(struct timer *timer)
{
	struct bt_torrent *t = container_of(timer, struct bt_torrent, have_timer);
	if (t->have_left == 0) {
		t->have_telling = t->have_log_len;
		t->have_left = t->npeers + t->nhalf_open;
	}
	for (int i = 0; i < HAVE_SLICE && t->have_left && !list_empty(&t->peers); i++) {
		struct peer *p = container_of(t->peers.next, struct peer, on_torrent);
		list_remove(&p->on_torrent); /* the order of peers means nothing else */
		list_push_back(&t->peers, &p->on_torrent);
		t->have_left--;
		if (p->state == PEER_READY && !p->why)
			peer_catch_up(p);
	}
	if (list_empty(&t->peers))
		t->have_left = 0;
	if (t->have_left)
		timer_set(&t->c->net, &t->have_timer, 1);
	else if (t->have_telling < t->have_log_len)
		torrent_tell_haves(t);
}

void torrent_tell_haves(struct bt_torrent *t)
{
	if (!timer_armed(&t->have_timer))
		timer_set(&t->c->net, &t->have_timer, HAVE_BATCH_MS * (1 + t->npeers / HAVE_BATCH_PEERS));
}

/* ---- beginning and end ---- */

/* "1,3-5": sets wanted[]; files count from 1. */
static bool choose_files(const char *list, bool *wanted, uint32_t n, char *err, size_t err_size)
{
	const char *p = list;
	while (*p) {
		size_t len = strcspn(p, ",");
		struct slice item = slice_of(p, len), from = item, to = item;
		const uint8_t *dash = memchr(p, '-', len);
		uint64_t a, b;
		if (dash) {
			from.n = (size_t)(dash - item.p);
			to = slice_of(dash + 1, len - from.n - 1);
		}
		if (!parse_u64(from, n, &a) || !parse_u64(to, n, &b) || a == 0 || b < a) {
			snprintf(err, err_size, "files '%s': want numbers from 1 to %u like 1,3-5", list, n);
			return false;
		}
		for (; a <= b; a++)
			wanted[a - 1] = true;
		p += len + (p[len] == ',');
	}
	return true;
}

/* Pieces no wanted file touches are not fetched. */
static void choose_pieces(struct bt_torrent *t, const struct bt_meta *m, const bool *wanted)
{
	uint8_t *need = alloc_array(bits_len(m->pieces), 1);
	if (!need)
		return; /* fetch everything then */
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];
		if (!wanted[i] || f->len == 0)
			continue;
		for (uint64_t k = f->off / m->piece_len; k <= (f->off + f->len - 1) / m->piece_len; k++)
			bit_set(need, (uint32_t)k);
	}
	t->wanted_size = 0;
	for (uint32_t i = 0; i < m->pieces; i++) {
		if (bit_get(need, i))
			t->wanted_size += picker_piece_len(t->picker, i);
		else
			picker_set_priority(t->picker, i, 0);
	}
	free(need);
}

static struct store *open_store(struct bt_torrent *t, const struct bt_add *add, const bool *wanted,
				const char *state_dir)
{
	const struct bt_meta *m = add->meta;
	struct store_file *files = alloc_array(m->nfiles, sizeof(*files));
	if (!files)
		return NULL;
	for (uint32_t i = 0; i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];
		files[i] = (struct store_file){ f->off, f->len, f->path, f->target, f->attr, wanted && !wanted[i] };
	}
	struct store_spec spec = {
		.dir = add->dir, .state_dir = state_dir, .info_hash = t->info_hash,
		.size = m->size, .piece_len = m->piece_len, .pieces = m->pieces, .hashes = m->hashes,
		.files = files, .nfiles = m->nfiles,
		.read_only = add->read_only || add->check_only,
		.force_check = add->force_check || add->check_only,
		.check_only = add->check_only,
		.on_open = on_open, .on_checking = on_checking, .on_check = on_check,
		.on_written = on_written, .on_loaded = on_loaded, .on_space = on_space,
		.on_fail = on_fail, .on_synced = on_synced, .on_closed = on_closed,
		.arg = t,
	};
	struct store *s = store_open(t->c->disk, &spec);
	free(files);
	return s;
}

static bool copy_trackers(struct bt_torrent *t, const struct bt_meta *m)
{
	t->trackers = alloc_array(m->ntrackers + 1, sizeof(*t->trackers));
	if (!t->trackers)
		return false;
	for (uint32_t i = 0; i < m->ntrackers; i++) {
		t->trackers[i] = (struct bt_tracker){ strdup(m->trackers[i].url), m->trackers[i].tier };
		if (!t->trackers[i].url)
			return false;
		t->ntrackers++;
	}
	return true;
}

static void init_handles(struct bt_torrent *t, struct client *c)
{
	t->c = c;
	list_init(&t->on_client);
	list_init(&t->peers);
	list_init(&t->asking);
	list_init(&t->starved);
	list_init(&t->choking);
	list_init(&t->on_hungry);
	list_init(&t->on_dial_waiting);
	list_init(&t->disk_waiting);
	timer_init(&t->connect_timer, connect_on_timer);
	timer_init(&t->choke_timer, choke_on_timer);
	timer_init(&t->have_timer, have_on_timer);
	later_init(&t->housekeeping, housekeeping);
	t->state = BT_CHECKING;
	t->announcer_done = true;
}

struct bt_torrent *torrent_new(struct client *c, const struct bt_add *add, const char *state_dir, char *err,
			       size_t err_size)
{
	const struct bt_meta *m = add->meta;
	snprintf(err, err_size, "out of memory");
	if (torrent_find(c, m->info_hash)) {
		snprintf(err, err_size, "this torrent is already there");
		return NULL;
	}
	struct bt_torrent *t = alloc_array(1, sizeof(*t));
	if (!t)
		return NULL;
	init_handles(t, c);
	memcpy(t->info_hash, m->info_hash, sizeof(t->info_hash));
	t->limits = (struct wire_limits){ m->pieces, m->piece_len, m->size };
	t->is_private = m->is_private;
	t->seed_ratio = add->seed_ratio;
	t->check_only = add->check_only;
	t->read_only = add->read_only;
	t->wanted_size = m->size;
	bool *wanted = NULL;
	size_t name_size = strlen(m->name) + 1;
	t->name = malloc(name_size);
	t->picker = picker_new(m->pieces, m->piece_len, m->size);
	if (!t->name || !t->picker || !copy_trackers(t, m))
		goto fail;
	text_escape(t->name, name_size, slice_str(m->name));
	if (add->files) {
		wanted = alloc_array(m->nfiles, sizeof(*wanted));
		if (!wanted || !choose_files(add->files, wanted, m->nfiles, err, err_size))
			goto fail;
		choose_pieces(t, m, wanted);
	}
	for (size_t i = 0; i < add->npeers; i++)
		if (!take_peer(t, add->peers[i], err, err_size))
			goto fail;
	if (!enlist(c, t))
		goto fail;
	t->store = open_store(t, add, wanted, state_dir);
	if (!t->store)
		goto fail;
	free(wanted);
	return t;
fail:
	free(wanted);
	torrent_free(t);
	return NULL;
}

void torrent_stop(struct bt_torrent *t)
{
	if (t->closing)
		return;
	t->closing = true;
	timer_clear(&t->c->net, &t->connect_timer);
	timer_clear(&t->c->net, &t->choke_timer);
	timer_clear(&t->c->net, &t->have_timer);
	for (size_t i = 0; i < t->npeer_names; i++) {
		if (t->lookups[i])
			dns_cancel(t->lookups[i]);
		t->lookups[i] = NULL;
	}
	leave_trackers(t);
	close_peers(t, "stopping");
	later_add(&t->c->net, &t->housekeeping);
}

bool torrent_stopped(const struct bt_torrent *t)
{
	return t->closing && !t->store && t->announcer_done && list_empty(&t->peers);
}

void torrent_free(struct bt_torrent *t)
{
	t->closing = true;
	while (!list_empty(&t->peers))
		peer_close_now(container_of(t->peers.next, struct peer, on_torrent));
	t->store = NULL; /* closed, or it goes with the disk */
	if (t->picker)
		piece_drop_frames(t);
	if (t->announcer)
		announcer_free(t->announcer);
	timer_clear(&t->c->net, &t->connect_timer);
	timer_clear(&t->c->net, &t->choke_timer);
	timer_clear(&t->c->net, &t->have_timer);
	later_cancel(&t->housekeeping);
	list_remove(&t->on_hungry);
	list_remove(&t->on_dial_waiting);
	delist(t->c, t);
	for (size_t i = 0; i < t->npeer_names; i++) {
		if (t->lookups[i])
			dns_cancel(t->lookups[i]);
		free(t->lookup_args[i]);
		free(t->peer_names[i]);
	}
	for (size_t i = 0; i < t->ntrackers; i++)
		free((void *)(uintptr_t)t->trackers[i].url);
	free(t->trackers);
	known_release(&t->known);
	picker_free(t->picker);
	free(t->have_log);
	free(t->checks_waiting);
	free(t->suspects);
	free(t->name);
	free(t);
}
