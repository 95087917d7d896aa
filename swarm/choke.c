/* SPDX-License-Identifier: MIT */
/* choke.c - the choker's rounds (BEP 3): every 10 s, and soon after somebody
 * becomes or stops being interested. Shows torrent/choker.c the peers it has
 * something to decide about and carries out what it says. A crowd of them makes
 * `soon` later, so that the cost per second stays where it is. */
#include "swarm/swarm.h"
#include <stdlib.h>

enum { OPTIMISTIC_ROUNDS = 3, SOON_MS = 20, SOON_PEERS = 8 /* each so many add a ms */, NEW_ROUND_MS = 5000 };
#define SEED_QUANTUM (20u << 20)

void choke_consider(struct peer *p)
{
	bool due = p->peer_interested || !p->am_choking;
	if (due == list_linked(&p->on_choking))
		return;
	if (due)
		list_push_back(&p->t->choking, &p->on_choking);
	else
		list_remove(&p->on_choking);
	p->t->nchoking += due ? 1u : -1u;
}

static void choke(struct peer *p)
{
	p->am_choking = true;
	p->waits_since_ms = p->c->net.now_ms;
	choke_consider(p);
	wire_put_simple(&p->out, WIRE_CHOKE);
	upload_drop_all(p, true);
	peer_flush_later(p);
}

static void unchoke(struct peer *p)
{
	p->am_choking = false;
	choke_consider(p);
	p->sent_since_unchoke = 0;
	wire_put_simple(&p->out, WIRE_UNCHOKE);
	peer_flush_later(p);
}

void choke_run(struct bt_torrent *t)
{
	struct client *c = t->c;
	uint64_t now = c->net.now_ms;
	bool round = now - t->choke_round_ms >= NEW_ROUND_MS;
	if (round) {
		t->choke_round++;
		t->choke_round_ms = now;
	}
	if (t->nchoking == 0)
		return;
	struct choke_peer *v = alloc_array(t->nchoking, sizeof(*v));
	if (!v)
		return; /* next round */
	size_t n = 0;
	for (struct list *l = t->choking.next; l != &t->choking; l = l->next) {
		struct peer *p = container_of(l, struct peer, on_choking);
		if (p->why)
			continue;
		v[n++] = (struct choke_peer){
			.peer = p,
			.down_rate = rate_get(&p->down, now),
			.up_rate = rate_get(&p->up, now),
			.sent_since_unchoke = p->sent_since_unchoke,
			.connected_ms = now - p->since_ms,
			.waiting_ms = p->am_choking ? now - p->waits_since_ms : 0,
			.interested = p->peer_interested,
			.unchoked = !p->am_choking,
			.snubbed = p->snubbed,
			.optimistic = p->optimistic,
		};
	}
	struct choker rules = {
		.slots = choker_slots(c->up.rate, rate_get(&t->up, now)),
		.seeding = t->seeding,
		.rotate = round && t->choke_round % OPTIMISTIC_ROUNDS == 0,
		.quantum = SEED_QUANTUM,
	};
	choker_run(&rules, v, n);
	for (size_t i = 0; i < n; i++) {
		struct peer *p = v[i].peer;
		p->optimistic = v[i].optimistic;
		if (v[i].unchoke && p->am_choking)
			unchoke(p);
		else if (!v[i].unchoke && !p->am_choking)
			choke(p);
	}
	free(v);
}

void choke_on_timer(struct timer *timer)
{
	struct bt_torrent *t = container_of(timer, struct bt_torrent, choke_timer);
	choke_run(t);
	torrent_check_ratio(t);
	if (t->nchoking) /* nobody there: costs nothing until somebody comes */
		timer_set(&t->c->net, &t->choke_timer, CHOKE_ROUND_MS);
}

void choke_soon(struct bt_torrent *t)
{
	uint64_t soon = SOON_MS + t->nchoking / SOON_PEERS;
	if (!t->closing && (!timer_armed(&t->choke_timer) || t->choke_timer.at_ms > t->c->net.now_ms + soon))
		timer_set(&t->c->net, &t->choke_timer, soon);
}
