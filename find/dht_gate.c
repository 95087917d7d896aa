/* SPDX-License-Identifier: MIT */
/* dht_gate.c - write tokens (BEP 5) and two judgements about an address: does it
 * ask more than its share (then it is ignored for a while), and has it shown that
 * it receives what we send (then it may have long answers; a forged address
 * would turn those against a victim). A fixed number of entries: when a set is
 * full, the one whose memory matters least is overwritten. */
#include "find/dht_store.h"
#include "sha1.h"

#define TURN_MS (5 * 60000u)
#define WINDOW_S 10u
#define BLOCK_S 300u
#define PROVEN_S 900u

void dht_gate_init(struct dht_gate *g, uint32_t rate, const uint8_t chance[40], uint64_t now)
{
	*g = (struct dht_gate){ .turned_ms = now, .rate = rate };
	memcpy(g->secret, chance, sizeof(g->secret));
	g->mix = get_u64(chance + 32) | 1;
}

void dht_gate_turn(struct dht_gate *g, const uint8_t chance[16], uint64_t now)
{
	if (now - g->turned_ms < TURN_MS)
		return;
	memcpy(g->secret[1], g->secret[0], 16);
	memcpy(g->secret[0], chance, 16);
	g->turned_ms = now;
}

static void make(const uint8_t secret[16], const struct addr *a, const uint8_t target[20], uint8_t token[DHT_TOKEN])
{
	uint8_t in[16 + 16 + 20], out[SHA1_LEN];

	memcpy(in, secret, 16);
	memcpy(in + 16, a->ip, 16);
	memcpy(in + 32, target, 20);
	sha1(in, sizeof(in), out);
	memcpy(token, out, DHT_TOKEN);
}

void dht_token_make(const struct dht_gate *g, const struct addr *a, const uint8_t target[20], uint8_t token[DHT_TOKEN])
{
	make(g->secret[0], a, target, token);
}

bool dht_token_check(const struct dht_gate *g, const struct addr *a, const uint8_t target[20], struct slice token)
{
	uint8_t want[DHT_TOKEN], diff[2] = { 0, 0 };

	if (token.n != DHT_TOKEN)
		return false;
	for (int i = 0; i < 2; i++) {
		make(g->secret[i], a, target, want);
		for (int j = 0; j < DHT_TOKEN; j++)
			diff[i] |= want[j] ^ token.p[j];
	}
	return diff[0] == 0 || diff[1] == 0;
}

static struct dht_gate_entry *set_of(const struct dht_gate *g, uint64_t key)
{
	return (struct dht_gate_entry *)g->e[(key * g->mix) >> 57];
}
_Static_assert(DHT_GATE_SETS == 1 << (64 - 57), "set_of takes the high bits");

static struct dht_gate_entry *find(const struct dht_gate *g, const struct addr *a)
{
	uint64_t key = dht_ip_key(a);
	struct dht_gate_entry *set = set_of(g, key);

	for (int i = 0; i < DHT_GATE_WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

static uint32_t matters_until(const struct dht_gate_entry *e)
{
	uint32_t until = e->key ? e->since_s + WINDOW_S : 0;

	until = e->proven_s > until ? e->proven_s : until;
	return e->blocked_s > until ? e->blocked_s : until;
}

static struct dht_gate_entry *take(struct dht_gate *g, const struct addr *a)
{
	uint64_t key = dht_ip_key(a);
	struct dht_gate_entry *e = find(g, a), *set = set_of(g, key);

	if (e)
		return e;
	e = set;
	for (int i = 1; i < DHT_GATE_WAYS; i++)
		if (matters_until(&set[i]) < matters_until(e))
			e = &set[i];
	*e = (struct dht_gate_entry){ .key = key };
	return e;
}

bool dht_gate_query(struct dht_gate *g, const struct addr *a, uint64_t now)
{
	struct dht_gate_entry *e = take(g, a);
	uint32_t s = (uint32_t)(now / 1000);

	if (s < e->blocked_s)
		return false;
	if (s - e->since_s >= WINDOW_S) {
		e->since_s = s;
		e->count = 0;
	}
	if (++e->count <= g->rate * WINDOW_S)
		return true;
	e->blocked_s = s + BLOCK_S;
	e->proven_s = 0;
	return false;
}

void dht_gate_prove(struct dht_gate *g, const struct addr *a, uint64_t now)
{
	take(g, a)->proven_s = (uint32_t)(now / 1000) + PROVEN_S;
}

bool dht_gate_is_proven(const struct dht_gate *g, const struct addr *a, uint64_t now)
{
	const struct dht_gate_entry *e = find(g, a);

	return e && (uint32_t)(now / 1000) < e->proven_s;
}
