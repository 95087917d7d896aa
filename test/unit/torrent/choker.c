/* SPDX-License-Identifier: MIT */
/* choker.c (test) - single rounds, then simulated hours: fairness, newcomers,
 * peers that take without giving. */
#include "test/test.h"
#include "torrent/choker.h"

enum { MANY = 100 };

static size_t unchoked(const struct choke_peer *v, size_t n)
{
	size_t k = 0;
	for (size_t i = 0; i < n; i++)
		k += v[i].unchoke;
	return k;
}

static struct choke_peer *find(struct choke_peer *v, size_t n, const void *peer)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].peer == peer)
			return &v[i];
	return NULL;
}

/* What the caller does between rounds. */
static void carry_out(struct choke_peer *v, size_t n, uint64_t ms)
{
	for (size_t i = 0; i < n; i++) {
		if (v[i].unchoke != v[i].unchoked)
			v[i].waiting_ms = v[i].sent_since_unchoke = 0;
		else if (!v[i].unchoke)
			v[i].waiting_ms += ms;
		v[i].unchoked = v[i].unchoke;
		v[i].connected_ms += ms;
	}
}

static void single_rounds(void)
{
	static char id[MANY];
	struct choke_peer v[MANY];
	for (int seeding = 0; seeding < 2; seeding++)
		for (size_t n = 0; n < 20; n++)
			for (uint32_t slots = 0; slots < 10; slots++) {
				struct choker c = {
					.slots = slots, .seeding = seeding, .rotate = n % 2, .quantum = 100
				};
				size_t interested = 0, optimistic = 0, wrong = 0;
				memset(v, 0, sizeof(v));
				for (size_t i = 0; i < n; i++) {
					v[i].peer = &id[i];
					v[i].interested = random_below(4) != 0;
					v[i].snubbed = random_below(4) == 0;
					v[i].unchoked = random_below(2);
					v[i].optimistic = random_below(5) == 0; /* even several */
					v[i].down_rate = random_below(3) * 1000;
					v[i].up_rate = random_below(3) * 1000;
					interested += v[i].interested;
				}
				choker_run(&c, v, n);
				for (size_t i = 0; i < n; i++) {
					optimistic += v[i].optimistic;
					wrong += v[i].unchoke && !v[i].interested;
					wrong += v[i].optimistic && !v[i].unchoke;
					CHECK(find(v, n, &id[i]) != NULL);
				}
				CHECK(wrong == 0);
				CHECK(unchoked(v, n) == (interested <= slots ? interested : slots + 1));
				CHECK(optimistic == (interested > slots));
			}
}

static void tit_for_tat(void)
{
	struct choke_peer v[MANY];
	static char id[MANY];
	struct choker c = { .slots = 4 };
	for (int run = 0; run < 200; run++) {
		memset(v, 0, sizeof(v));
		for (size_t i = 0; i < 10; i++)
			v[i] = (struct choke_peer){ .peer = &id[i],
						    .interested = true,
						    .down_rate = 1000 * i,
						    .unchoked = random_below(2) };
		v[9].snubbed = true; /* was fast, then silent */
		v[8].interested = false;
		c.rotate = run % 2;
		choker_run(&c, v, 10);
		for (size_t i = 4; i < 8; i++)
			CHECK(find(v, 10, &id[i])->unchoke && !find(v, 10, &id[i])->optimistic);
		CHECK(!find(v, 10, &id[8])->unchoke);
		CHECK(!find(v, 10, &id[9])->unchoke || find(v, 10, &id[9])->optimistic);
		CHECK(unchoked(v, 10) == 5);
	}
}

/* The optimistic slot stays for three rounds, then moves to another; all get it. */
static void optimistic_moves(void)
{
	struct choke_peer v[MANY];
	static char id[MANY];
	bool had[MANY] = { false };
	size_t holders = 0, early = 0, stuck = 0;
	void *holder = NULL;
	for (size_t i = 0; i < 12; i++)
		v[i] = (struct choke_peer){ .peer = &id[i],
					    .interested = true,
					    .connected_ms = 100000,
					    .down_rate = i < 4 ? 1000 : 0 };
	for (int round = 0; round < 600; round++) {
		struct choker c = { .slots = 4, .rotate = round % 3 == 0 };
		choker_run(&c, v, 12);
		for (size_t i = 0; i < 12; i++)
			if (v[i].optimistic) {
				early += !c.rotate && v[i].peer != holder;
				stuck += c.rotate && v[i].peer == holder;
				holder = v[i].peer;
				holders += !had[(char *)holder - id];
				had[(char *)holder - id] = true;
			}
		carry_out(v, 12, 10000);
	}
	CHECK(early == 0 && stuck == 0);
	CHECK(holders == 8);
	/* it gives something now and wins a regular slot: the optimistic one is free at once */
	find(v, 12, holder)->down_rate = 5000;
	struct choker c = { .slots = 4 };
	choker_run(&c, v, 12);
	CHECK(find(v, 12, holder)->unchoke && !find(v, 12, holder)->optimistic && unchoked(v, 12) == 5);
	/* and when its holder goes away */
	for (size_t i = 0; i < 12; i++)
		if (v[i].optimistic)
			v[i].interested = false;
	choker_run(&c, v, 12);
	CHECK(unchoked(v, 12) == 5);
}

static void newcomers_first(void)
{
	struct choke_peer v[10];
	static char id[10];
	size_t won = 0;
	for (int run = 0; run < 6000; run++) {
		struct choker c = { .slots = 0, .rotate = true };
		for (size_t i = 0; i < 10; i++)
			v[i] = (struct choke_peer){ .peer = &id[i],
						    .interested = true,
						    .connected_ms = i == 0 ? 5000 : 100000 };
		choker_run(&c, v, 10);
		won += find(v, 10, &id[0])->optimistic;
	}
	CHECK(won > 6000 / 12 * 3 * 8 / 10 && won < 6000 / 12 * 3 * 12 / 10); /* 3 lots of 12 */
}

/* Five peers give, thirty only take: the five are always served. */
static void takers_dont_displace_givers(void)
{
	struct choke_peer v[35];
	static char id[35];
	size_t lost = 0, taken[35] = { 0 };
	for (size_t i = 0; i < 35; i++)
		v[i] = (struct choke_peer){ .peer = &id[i],
					    .interested = true,
					    .down_rate = i < 5 ? 500 + i : 0 };
	for (int round = 0; round < 3000; round++) {
		struct choker c = { .slots = 8, .rotate = round % 3 == 0 };
		for (size_t i = 0; i < 35; i++) { /* they reconnect to look new, and toggle interest */
			bool taker = v[i].down_rate == 0;
			if (taker && random_below(5) == 0)
				v[i].connected_ms = v[i].waiting_ms = 0,
				v[i].unchoked = v[i].optimistic = false;
			v[i].interested = !taker || random_below(10) != 0;
		}
		choker_run(&c, v, 35);
		for (size_t i = 0; i < 35; i++) {
			lost += v[i].down_rate && !v[i].unchoke;
			taken[(char *)v[i].peer - id] += v[i].unchoke;
		}
		carry_out(v, 35, 10000);
	}
	CHECK(lost == 0);
	for (size_t i = 5; i < 35; i++) /* what is left over, 4 of 9 slots, they share */
		CHECK(taken[i] > 3000 * 4 / 30 / 3 && taken[i] < 3000 * 4 / 30 * 3);
}

/* A seed with 4 slots and 20 takers of very different speed: everyone gets his
 * turn, in a bounded number of rounds, and about the same number of quanta. */
static void seeding_is_fair(bool tell_waiting)
{
	enum { N = 20, ROUNDS = 6000, QUANTUM = 20 << 20 };
	struct choke_peer v[N];
	static char id[N];
	uint64_t got[N] = { 0 }, worst_wait = 0, broken = 0;
	for (size_t i = 0; i < N; i++)
		v[i] = (struct choke_peer){ .peer = &id[i], .interested = true };
	for (int round = 0; round < ROUNDS; round++) {
		struct choker c = {
			.slots = 4, .seeding = true, .rotate = round % 3 == 0, .quantum = QUANTUM
		};
		for (size_t i = 0; i < N; i++) {
			size_t k = (size_t)((char *)v[i].peer - id);
			uint64_t rate = k == 0 ? 0 : (1 + k % 5) * 200000; /* the first reads nothing */
			v[i].up_rate = v[i].unchoked ? rate : 0;
			v[i].sent_since_unchoke += v[i].up_rate * 10;
			got[k] += v[i].up_rate * 10;
			if (!tell_waiting)
				v[i].waiting_ms = 0;
			else if (v[i].waiting_ms > worst_wait)
				worst_wait = v[i].waiting_ms;
		}
		struct choke_peer before[N];
		memcpy(before, v, sizeof(v));
		choker_run(&c, v, N);
		for (size_t i = 0; i < N; i++) { /* a holder on its way is not disturbed */
			const struct choke_peer *b = find(before, N, v[i].peer);
			broken += b->unchoked && !b->optimistic && b->up_rate > 0 &&
				  b->sent_since_unchoke < QUANTUM && !v[i].unchoke;
		}
		carry_out(v, N, 10000);
	}
	CHECK(broken == 0);
	uint64_t least = UINT64_MAX, most = 0;
	for (size_t i = 1; i < N; i++) {
		least = got[i] < least ? got[i] : least;
		most = got[i] > most ? got[i] : most;
	}
	CHECK(least > 0 && most / 3 < least);
	if (tell_waiting) /* 20 peers, a quantum takes at most 110 s, 4 at a time */
		CHECK(worst_wait > 0 && worst_wait < 900 * 1000);
}

/* Whoever comes to a busy seed is served soon. */
static void seed_meets_newcomer(void)
{
	struct choke_peer v[31];
	static char id[31];
	int worst = 0;
	for (int run = 0; run < 50; run++) {
		for (size_t i = 0; i < 31; i++)
			v[i] = (struct choke_peer){
				.peer = &id[i], .interested = i > 0, .connected_ms = 1000000, .waiting_ms = 10
			};
		int round = 0, came = 20 + run % 3;
		for (; round < 400; round++) {
			struct choker c = {
				.slots = 4, .seeding = true, .rotate = round % 3 == 0, .quantum = 20 << 20
			};
			struct choke_peer *late = find(v, 31, &id[0]);
			if (round == came) {
				late->interested = true;
				late->connected_ms = late->waiting_ms = 0;
			}
			for (size_t i = 0; i < 31; i++) {
				v[i].up_rate = v[i].unchoked ? 1000000 : 0;
				v[i].sent_since_unchoke += v[i].up_rate * 10;
			}
			choker_run(&c, v, 31);
			if (find(v, 31, &id[0])->unchoke)
				break;
			carry_out(v, 31, 10000);
		}
		if (round - came > worst)
			worst = round - came;
	}
	CHECK(worst <= 35); /* 30 before it, 4 at a time, 3 rounds each */
}

static void slots(void)
{
	CHECK(choker_slots(0, 0) == 8 && choker_slots(0, 1000000) == 8);
	CHECK(choker_slots(1, 0) == 2 && choker_slots(16384, 1000000) == 4 && choker_slots(32768, 0) == 8);
	CHECK(choker_slots(0, 100000000) == 78 && choker_slots(100000000, 5) == 78);
	CHECK(choker_slots(0, UINT64_MAX) == 250 && choker_slots(UINT64_MAX, 0) == 250);
	for (uint64_t r = 1; r < 1u << 30; r = r * 3 / 2 + 1)
		CHECK(choker_slots(r, 0) <= choker_slots(r * 3 / 2 + 1, 0));
}

int main(void)
{
	single_rounds();
	tit_for_tat();
	optimistic_moves();
	newcomers_first();
	takers_dont_displace_givers();
	seeding_is_fair(true);
	seeding_is_fair(false);
	seed_meets_newcomer();
	slots();
	return test_done();
}
