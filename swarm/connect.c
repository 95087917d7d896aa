/* SPDX-License-Identifier: MIT */
/* connect.c - connections out and in until the handshake is through (BEP 3), and
 * their end. Limits: half-open ones, all peers, incoming ones without a torrent.
 * A connection to ourselves and a second one to the same client (by peer id) are
 * noticed here; when both ends dial at once both drop the same one of the two.
 * When the client is full a newcomer of higher canonical priority (BEP 40)
 * replaces an idle peer of lower. */
#include "swarm/swarm.h"
#include "torrent/metainfo.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	DIAL_BURST = KNOWN_CHOOSE_MAX, DIAL_PAUSE_MS = 100, DIAL_RETRY_MS = 1000 /* out of descriptors */,
	CROSSING_MS = 5000,
	FEW_PEERS = 20,       /* fewer while downloading, and nobody left to dial: trackers are asked for more, */
	MORE_PEERS_MS = 60000, /* as often as they allow, which is looked at this often */
	ROOM_LOOKS = 32,      /* peers looked at for one that may go: each newcomer costs no more */
	ROOM_AGE_MS = 60000,  /* who came later may stay */
	PENDING_AGE_MS = 1000, /* without a handshake; then it may have to go for another */
};

_Static_assert(IN_MAX >= META_MAX_PIECES / 8 + 5 && IN_MAX >= WIRE_EXTENDED_MAX + 4 && IN_MAX >= WIRE_UNKNOWN_MAX + 4,
	       "every message that is kept until it is whole");

static void on_close(struct later *l);
static void on_event(struct ev *ev, uint32_t events);

static struct peer *peer_new(struct client *c, int fd, const struct addr *addr, bool outgoing)
{
	struct peer *p = alloc_array(1, sizeof(*p));
	if (!p)
		return NULL;
	p->c = c;
	p->fd = fd;
	p->addr = *addr;
	p->outgoing = outgoing;
	p->state = outgoing ? PEER_CONNECTING : PEER_SHAKING;
	p->rx.frame = LOC_NONE;
	p->since_ms = c->net.now_ms;
	list_init(&p->on_torrent);
	list_init(&p->on_client);
	list_init(&p->on_asking);
	list_init(&p->on_starved);
	list_init(&p->on_choking);
	list_init(&p->on_frame_waiting);
	list_init(&p->on_down_waiting);
	list_init(&p->on_up_waiting);
	list_init(&p->on_disk_waiting);
	list_init(&p->on_sending);
	later_init(&p->flush, peer_on_flush);
	later_init(&p->closer, on_close);
	timer_init(&p->timer, peer_on_timer);
	buf_init(&p->in, IN_MAX);
	buf_init(&p->out, OUT_MAX);
	if (ev_add(&c->net, &p->ev, fd, outgoing ? EPOLLOUT : EPOLLIN, on_event)) {
		free(p);
		return NULL;
	}
	timer_set(&c->net, &p->timer, outgoing ? CONNECT_TIMEOUT_MS : HANDSHAKE_TIMEOUT_MS);
	return p;
}

/* ---- those that are ready ---- */

/* The random part of an id, mixed with the torrent: a client has one id in all of them. */
static struct peer **chain_of(const struct client *c, const struct bt_torrent *t, const uint8_t id[20])
{
	return &c->by_id[(get_u32(id + 16) ^ get_u32(id + 12) ^ get_u32(t->info_hash)) & (c->by_id_len - 1)];
}

static void enlist(struct peer *p)
{
	struct peer **at = chain_of(p->c, p->t, p->id);
	p->id_next = *at;
	*at = p;
	list_push_back(&p->c->connected, &p->on_client);
}

static void delist(struct peer *p)
{
	struct peer **at = chain_of(p->c, p->t, p->id);
	while (*at != p)
		at = &(*at)->id_next;
	*at = p->id_next;
	list_remove(&p->on_client);
}

static struct peer *find_by_id(struct bt_torrent *t, const uint8_t id[20])
{
	struct peer *p = *chain_of(t->c, t, id);
	while (p && (p->t != t || p->why || memcmp(p->id, id, sizeof(p->id)) != 0))
		p = p->id_next;
	return p;
}

static void forget(struct peer *p)
{
	struct bt_torrent *t = p->t;
	if (p->state == PEER_READY) {
		delist(p);
		rx_drop(p);
		requests_drop_all(p, false);
		if (p->has_all)
			picker_peer_all(t->picker, -1);
		else if (p->bits)
			picker_peer_bits(t->picker, p->bits, -1);
		if (p->counted_seed)
			t->nseeds--;
		t->npeers--;
		if (!p->am_choking)
			choke_soon(t);
		p->am_choking = true;
		p->peer_interested = false;
		choke_consider(p);
	} else if (p->outgoing) {
		t->nhalf_open--;
		p->c->nhalf_open--;
	}
	struct known *k = known_by_number(t, p->number);
	if (k) {
		k->peer = NULL;
		if (p->state == PEER_READY && p->down.total + p->up.total > 0)
			k->fails = 0;
		k->gave |= p->down.total > 0;
		known_failed(t, k);
	}
	k = known_by_number(t, p->listen_number);
	if (k && k->peer == p) {
		k->peer = NULL;
		known_failed(t, k);
	}
}

void peer_close_now(struct peer *p)
{
	struct client *c = p->c;
	struct bt_torrent *t = p->t;
	if (t)
		forget(p);
	else
		p->c->npending--;
	p->c->npeers--;
	list_remove(&p->on_torrent);
	list_remove(&p->on_asking);
	list_remove(&p->on_starved);
	list_remove(&p->on_frame_waiting);
	list_remove(&p->on_down_waiting);
	list_remove(&p->on_up_waiting);
	list_remove(&p->on_disk_waiting);
	list_remove(&p->on_sending);
	ev_del(&p->ev);
	timer_clear(&p->c->net, &p->timer);
	later_cancel(&p->flush);
	later_cancel(&p->closer);
	close(p->fd);
	buf_release(&p->in);
	buf_release(&p->out);
	free(p->bits);
	free(p->reqs);
	free(p->ups);
	free(p);
	if (t && !t->closing)
		connect_schedule(t);
	connect_room(c);
}

static void on_close(struct later *l)
{
	struct peer *p = container_of(l, struct peer, closer);
	if (p->c->verbose && p->t) {
		char text[ADDR_TEXT];
		client_event(p->c, BT_EV_LOG, p->t, "peer %s closed: %s", addr_format(&p->addr, text), p->why);
	}
	peer_close_now(p);
}

/* ---- out ---- */

static bool dial(struct bt_torrent *t, struct known *k)
{
	struct client *c = t->c;
	static const uint8_t any[16];
	bool bound = c->bind.v6 || memcmp(c->bind.ip, any, sizeof(any));
	if (known_ip_banned(t, &k->addr)) {
		k->listens = false;
		return true;
	}
	if (bound && c->bind.v6 != k->addr.v6) {
		char text[ADDR_TEXT];
		k->listens = false; /* not for us */
		if (k->wanted)
			client_event(c, BT_EV_WARNING, t, "peer %s cannot be reached from an IPv%d address",
				     addr_format(&k->addr, text), c->bind.v6 ? 6 : 4);
		k->wanted = false; /* said once */
		return true;
	}
	int fd = tcp_connect(&k->addr, bound ? &c->bind : NULL);
	if (fd < 0) {
		known_failed(t, k);
		return fd != -EMFILE && fd != -ENFILE && fd != -ENOBUFS;
	}
	struct peer *p = peer_new(c, fd, &k->addr, true);
	if (!p) {
		close(fd);
		known_failed(t, k);
		return false;
	}
	p->t = t;
	p->number = known_number(t, k);
	k->peer = p;
	list_push_back(&t->peers, &p->on_torrent);
	c->npeers++;
	c->nhalf_open++;
	t->nhalf_open++;
	return true;
}

static uint32_t dial_room(const struct client *c)
{
	uint32_t peers = c->npeers < c->max_peers ? c->max_peers - c->npeers : 0;
	uint32_t half_open = c->nhalf_open < HALF_OPEN_MAX ? HALF_OPEN_MAX - c->nhalf_open : 0;
	return peers < half_open ? peers : half_open;
}

void connect_room(struct client *c)
{
	if (list_empty(&c->dial_waiting) || !dial_room(c))
		return;
	struct bt_torrent *t = container_of(c->dial_waiting.next, struct bt_torrent, on_dial_waiting);
	list_remove(&t->on_dial_waiting);
	connect_schedule(t);
}

void connect_on_timer(struct timer *timer)
{
	struct bt_torrent *t = container_of(timer, struct bt_torrent, connect_timer);
	struct client *c = t->c;
	struct known *best[KNOWN_CHOOSE_MAX];
	size_t room = dial_room(c), n = 0;
	uint64_t wait = UINT64_MAX;
	if (!t->closing && t->opened && t->state != BT_FAILED && t->state != BT_FINISHED) {
		if (room == 0) { /* whoever closes a connection wakes us */
			if (!list_linked(&t->on_dial_waiting))
				list_push_back(&c->dial_waiting, &t->on_dial_waiting);
			return;
		}
		t->dialled_ms = c->net.now_ms;
		n = known_choose(t, best, min_size(room, DIAL_BURST), &wait);
		if (n == 0 && !t->seeding && t->npeers + t->nhalf_open < FEW_PEERS) {
			announcer_more_peers(t->announcer);
			wait = min_u64(wait, MORE_PEERS_MS);
		}
	}
	for (size_t i = 0; i < n; i++) {
		wait = DIAL_PAUSE_MS;
		if (!dial(t, best[i])) {
			wait = DIAL_RETRY_MS;
			break;
		}
	}
	if (wait != UINT64_MAX)
		timer_set(&c->net, &t->connect_timer, wait);
	if (n < room)
		connect_room(c); /* to the next one, if any waits */
}

/* Not more often than DIAL_PAUSE_MS: each time looks at all addresses we know. */
void connect_schedule(struct bt_torrent *t)
{
	uint64_t now = t->c->net.now_ms, at = t->dialled_ms ? t->dialled_ms + DIAL_PAUSE_MS : 0;
	uint64_t wait = at > now ? at - now : 1;
	if (!timer_armed(&t->connect_timer) || t->connect_timer.at_ms > now + wait)
		timer_set(&t->c->net, &t->connect_timer, wait);
}

/* ---- in ---- */

/* Full: an idle peer of lower priority than the newcomer makes room (BEP 40). */
static bool make_room(struct client *c, const struct addr *from)
{
	struct peer *worst = NULL;
	uint32_t worst_priority = peer_priority(&c->external, from);
	for (int i = 0; i < ROOM_LOOKS && !list_empty(&c->connected); i++) {
		struct peer *p = container_of(c->connected.next, struct peer, on_client);
		uint32_t priority = peer_priority(&c->external, &p->addr);
		list_remove(&p->on_client); /* others are looked at next time */
		list_push_back(&c->connected, &p->on_client);
		if (p->why || p->req_n || p->up_n || c->net.now_ms - p->since_ms < ROOM_AGE_MS ||
		    priority >= worst_priority)
			continue;
		worst = p;
		worst_priority = priority;
	}
	if (!worst)
		return false;
	peer_fail(worst, "made room for another");
	return true;
}

/* Too many that have not said who they are: the oldest goes, so that a flood of
 * silent connections does not keep others out for long. */
static bool make_pending_room(struct client *c)
{
	struct list *l = c->pending.next;
	if (c->npending < PENDING_MAX + c->max_peers / 16)
		return true;
	while (l != &c->pending && container_of(l, struct peer, on_torrent)->why)
		l = l->next; /* ends with this turn anyway */
	if (l == &c->pending)
		return false;
	struct peer *p = container_of(l, struct peer, on_torrent);
	if (c->net.now_ms - p->since_ms < PENDING_AGE_MS)
		return false;
	peer_fail(p, "made room for another");
	return true;
}

void connect_in(struct client *c, int fd, const struct addr *from)
{
	struct peer *p = NULL;
	if (!c->stopping && make_pending_room(c) && (c->npeers < c->max_peers || make_room(c, from)))
		p = peer_new(c, fd, from, false);
	if (!p) {
		close(fd);
		return;
	}
	list_push_back(&c->pending, &p->on_torrent);
	c->npending++;
	c->npeers++;
}

/* ---- handshake ---- */

static void send_handshake(struct peer *p)
{
	uint8_t hs[HANDSHAKE_LEN];
	handshake_put(hs, p->t->info_hash, p->c->peer_id);
	/* an empty socket buffer takes 68 bytes or the connection is dead */
	if (send(p->fd, hs, sizeof(hs), MSG_NOSIGNAL) != (ssize_t)sizeof(hs))
		peer_fail(p, "connection lost");
}

/* What `lost` dialled is where the client of `kept` listens: not to be dialled again. */
static void inherit(struct peer *kept, struct peer *lost)
{
	struct known *k = peer_known(lost);
	if (!k || !lost->outgoing || kept->listen_number)
		return;
	k->peer = kept;
	kept->listen_number = lost->number;
	lost->number = 0;
}

/* A second connection to the same client. Keep the older one, unless both ends
 * dialled at about the same time: then the one the higher peer id dialled. */
static bool settle_duplicate(struct peer *p)
{
	struct peer *old = find_by_id(p->t, p->id);
	if (!old)
		return true;
	bool crossing = old->outgoing != p->outgoing && p->c->net.now_ms - old->since_ms < CROSSING_MS;
	bool ours_wins = memcmp(p->c->peer_id, p->id, 20) > 0;
	if (crossing && p->outgoing == ours_wins) {
		inherit(p, old);
		peer_fail(old, "second connection");
		return true;
	}
	inherit(old, p);
	peer_fail(p, "second connection");
	return false;
}

static bool adopt(struct peer *p, struct bt_torrent *t)
{
	if (known_ip_banned(t, &p->addr)) {
		peer_fail(p, "banned");
		return false;
	}
	struct known *k = known_add(t, &p->addr, false);
	if (!k || k->banned || k->peer) {
		peer_fail(p, !k ? "no room" : k->banned ? "banned" : "second connection");
		return false;
	}
	p->t = t;
	k->peer = p;
	p->number = known_number(t, k);
	list_remove(&p->on_torrent);
	list_push_back(&t->peers, &p->on_torrent);
	p->c->npending--;
	return true;
}

static void on_handshake(struct peer *p, const struct handshake *h)
{
	if (!p->outgoing) {
		struct bt_torrent *t = torrent_find(p->c, h->info_hash);
		if (!t || !t->opened || t->closing || t->check_only || t->state == BT_FAILED ||
		    t->state == BT_FINISHED) {
			peer_fail(p, "unknown torrent");
			return;
		}
		if (!adopt(p, t))
			return;
		send_handshake(p);
	} else if (memcmp(h->info_hash, p->t->info_hash, sizeof(h->info_hash)) != 0) {
		peer_fail(p, "other torrent");
		return;
	}
	memcpy(p->id, h->peer_id, sizeof(p->id));
	if (memcmp(p->id, p->c->peer_id, sizeof(p->id)) == 0) {
		struct known *k = peer_known(p);
		if (k && p->outgoing)
			k->banned = true; /* our own address: never dial it again */
		peer_fail(p, "ourselves");
		return;
	}
	if (p->why || !settle_duplicate(p))
		return;
	p->fast = handshake_has_fast(h);
	p->extended = handshake_has_extensions(h);
	if (p->outgoing) {
		p->c->nhalf_open--;
		p->t->nhalf_open--;
		connect_room(p->c);
	}
	p->t->npeers++;
	enlist(p);
	peer_start(p);
}

static void read_handshake(struct peer *p)
{
	uint8_t bytes[HANDSHAKE_LEN];
	struct handshake h;
	ssize_t n = read(p->fd, bytes, HANDSHAKE_LEN - p->in.n); /* not a byte more */
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		peer_fail(p, n == 0 ? "closed by peer" : "connection lost");
		return;
	}
	buf_put(&p->in, bytes, (size_t)n);
	int r = handshake_next(slice_of(p->in.p, p->in.n), &h);
	if (r < 0 || p->in.failed) {
		peer_fail(p, "not BitTorrent");
	} else if (r > 0) {
		buf_release(&p->in);
		on_handshake(p, &h);
	}
}

static void on_event(struct ev *ev, uint32_t events)
{
	struct peer *p = container_of(ev, struct peer, ev);
	if (p->why)
		return;
	switch (p->state) {
	case PEER_CONNECTING: {
		if (tcp_connect_result(p->fd)) {
			peer_fail(p, "cannot connect");
			return;
		}
		p->state = PEER_SHAKING;
		timer_set(&p->c->net, &p->timer, HANDSHAKE_TIMEOUT_MS);
		ev_mod(&p->ev, EPOLLIN);
		send_handshake(p);
		return;
	}
	case PEER_SHAKING:
		if (events & EPOLLIN)
			read_handshake(p);
		return;
	case PEER_READY:
		if (events & EPOLLOUT)
			peer_flush_later(p);
		if (!(events & EPOLLIN))
			return;
		if (list_linked(&p->on_frame_waiting) || list_linked(&p->on_down_waiting))
			peer_fail(p, "connection lost"); /* not armed: this is a hang-up */
		else
			peer_on_readable(p);
		return;
	}
}
