/* SPDX-License-Identifier: MIT */
/* known.c: the table against a plain list, who must go when it is full, whom to
 * dial and when, bans. No sockets; the clock is a number. */
#include "swarm/swarm.h"
#include "test/test.h"

static struct client client;
static char last_event[256];

static void on_event(void *arg, enum bt_event ev, struct bt_torrent *t, const char *text)
{
	(void)arg, (void)ev, (void)t;
	snprintf(last_event, sizeof(last_event), "%s", text);
}

static void begin(struct bt_torrent *t)
{
	memset(t, 0, sizeof(*t));
	memset(&client, 0, sizeof(client));
	client.max_peers = 100;
	client.on_event = on_event;
	client.net.now_ms = 1000000;
	t->c = &client;
}

/* The i-th address of many; every third is IPv6. */
static struct addr nth(uint32_t i)
{
	struct addr a = { .port = (uint16_t)(1 + i % 60000) };

	put_u32(a.ip, 0x0a000000 + i / 7);
	if (i % 3 == 0) {
		a.v6 = 1;
		put_u32(a.ip, 0x20010db8);
		put_u32(a.ip + 12, i);
	}
	return a;
}

static struct known *add(struct bt_torrent *t, uint32_t i, bool listens)
{
	struct addr a = nth(i);
	return known_add(t, &a, listens);
}

/* Found without being made: the size stays. */
static bool is_there(struct bt_torrent *t, uint32_t i)
{
	struct addr a = nth(i);

	for (size_t s = 0; s < t->known.n; s++)
		if (addr_eq(&t->known.v[s].addr, &a))
			return true;
	return false;
}

/* Every slot can be found by its address, through the hash. */
static bool sound(struct bt_torrent *t)
{
	size_t n = t->known.n;

	for (size_t i = 0; i < n; i++) {
		struct addr a = t->known.v[i].addr;
		if (known_add(t, &a, false) != &t->known.v[i] || t->known.n != n)
			return false;
	}
	return true;
}

static void test_add(void)
{
	struct bt_torrent t;

	begin(&t);
	CHECK(!known_by_number(&t, 0) && !known_by_number(&t, 1));
	for (uint32_t i = 0; i < KNOWN_MAX; i++) {
		struct known *k = add(&t, i, i % 2);
		CHECK(k && t.known.n == i + 1 && k->listens == i % 2 && !k->banned && !k->fails);
		CHECK(known_by_number(&t, known_number(&t, k)) == k && known_number(&t, k) != 0);
		CHECK(add(&t, i, false) == k && k->listens == i % 2 && t.known.n == i + 1);
	}
	CHECK(sound(&t));
	CHECK(add(&t, 2, true)->listens && t.known.n == KNOWN_MAX); /* told later that it listens */
	known_release(&t.known);
}

/* Numbers are given out once and hold, while the table grows below them. */
static void test_numbers(void)
{
	struct bt_torrent t;
	uint32_t numbers[KNOWN_MAX];
	bool same = true, once = true;

	begin(&t);
	for (uint32_t i = 0; i < KNOWN_MAX; i++)
		numbers[i] = known_number(&t, add(&t, i, true));
	for (uint32_t i = 0; i < KNOWN_MAX; i++) {
		struct addr a = nth(i);
		same &= addr_eq(&known_by_number(&t, numbers[i])->addr, &a);
		once &= i == 0 || numbers[i] != numbers[i - 1];
	}
	CHECK(same && once);
	CHECK(!known_by_number(&t, UINT32_MAX));
	known_release(&t.known);
}

static void test_full(void)
{
	static struct peer somebody;
	struct bt_torrent t;
	uint32_t next = KNOWN_MAX;

	begin(&t);
	for (uint32_t i = 0; i < KNOWN_MAX; i++)
		add(&t, i, true);
	/* who is connected, guilty, wanted, or named by a block stays, whatever comes */
	add(&t, 10, true)->peer = &somebody;
	add(&t, 11, true)->blocks = 1;
	add(&t, 12, true)->wanted = true;
	add(&t, 13, true)->banned = true;
	for (; next < 5 * KNOWN_MAX; next++)
		CHECK(add(&t, next, next % 5) != NULL);
	CHECK(t.known.n == KNOWN_MAX && sound(&t));
	for (uint32_t i = 10; i < 14; i++)
		CHECK(is_there(&t, i));

	/* nobody may go: hearsay is forgotten, a connected one still gets a number */
	for (size_t i = 0; i < t.known.n; i++)
		t.known.v[i].wanted = true;
	CHECK(!add(&t, next++, true) && t.known.n == KNOWN_MAX);
	for (uint32_t i = 0; i < client.max_peers; i++) {
		struct known *k = add(&t, next++, false);
		CHECK(k);
		k->peer = &somebody;
	}
	CHECK(t.known.n == KNOWN_MAX + client.max_peers && sound(&t));
	CHECK(!add(&t, next++, false));
	known_release(&t.known);
}

/* Out of a table of good ones it is a bad one that goes. */
static void test_victim(void)
{
	struct bt_torrent t;
	uint32_t next = KNOWN_MAX;

	begin(&t);
	for (uint32_t i = 0; i < KNOWN_MAX; i++)
		add(&t, i, true)->fails = i % 50 == 7 ? 5 : 0;
	for (uint32_t i = 0; i < KNOWN_MAX / 50 / 2; i++)
		add(&t, next++, true);
	uint32_t failed = 0, good = 0;
	for (uint32_t i = 0; i < KNOWN_MAX; i++) {
		failed += i % 50 == 7 && is_there(&t, i);
		good += i % 50 != 7 && is_there(&t, i);
	}
	CHECK(failed <= KNOWN_MAX / 50 - KNOWN_MAX / 50 / 2 && good == KNOWN_MAX - KNOWN_MAX / 50);
	known_release(&t.known);
}

/* ---- whom to try ---- */

static void test_choose(void)
{
	static struct peer somebody;
	struct bt_torrent t;
	struct known *out[KNOWN_CHOOSE_MAX];
	uint64_t wait;
	uint64_t now;

	begin(&t);
	now = client.net.now_ms;
	CHECK(known_choose(&t, out, KNOWN_CHOOSE_MAX, &wait) == 0 && wait == UINT64_MAX);
	for (uint32_t i = 0; i < 20; i++)
		add(&t, i, true)->priority = 100 + i;
	add(&t, 19, true)->peer = &somebody;
	add(&t, 18, true)->banned = true;
	add(&t, 17, true)->listens = false;
	add(&t, 16, true)->fails = 8; /* given up */
	add(&t, 15, true)->retry_ms = now + 700;
	add(&t, 14, true)->fails = 1;
	add(&t, 13, true)->seed = true; /* still of use: we are none */
	add(&t, 1, true)->wanted = true;
	add(&t, 2, true)->wanted = true;
	add(&t, 2, true)->fails = 20;
	size_t n = known_choose(&t, out, KNOWN_CHOOSE_MAX, &wait);
	static const uint32_t expected[] = { 1, 2, 13, 12, 11, 10, 9, 8 };
	CHECK(n == KNOWN_CHOOSE_MAX && wait == 0);
	for (size_t i = 0; i < n; i++) {
		struct addr a = nth(expected[i]);
		CHECK(addr_eq(&out[i]->addr, &a));
	}
	CHECK(known_choose(&t, out, 1, &wait) == 1 && out[0]->wanted && out[0]->fails == 0);
	t.seeding = true;
	known_choose(&t, out, KNOWN_CHOOSE_MAX, &wait);
	for (size_t i = 0; i < KNOWN_CHOOSE_MAX; i++)
		CHECK(!out[i]->seed);

	/* with nobody to try now: how long until there is */
	for (uint32_t i = 0; i < 20; i++)
		if (i != 15)
			add(&t, i, false)->retry_ms = now + 5000 + i;
	CHECK(known_choose(&t, out, KNOWN_CHOOSE_MAX, &wait) == 0 && wait == 700);
	client.net.now_ms += 700;
	CHECK(known_choose(&t, out, KNOWN_CHOOSE_MAX, &wait) == 1 && wait == 0);
	known_release(&t.known);
}

static void test_back_off(void)
{
	struct bt_torrent t;
	struct known *k, *out[1];
	uint64_t wait;

	begin(&t);
	k = add(&t, 1, true);
	for (int i = 0; i < 7; i++) {
		known_failed(&t, k);
		uint64_t want = min_u64((uint64_t)10000 << i, 30 * 60000);
		CHECK(k->fails == i + 1 && k->retry_ms - client.net.now_ms == want);
		CHECK(known_choose(&t, out, 1, &wait) == 0 && wait == want);
		client.net.now_ms = k->retry_ms;
		CHECK(known_choose(&t, out, 1, &wait) == 1);
	}
	known_failed(&t, k);
	CHECK(known_choose(&t, out, 1, &wait) == 0 && wait == UINT64_MAX); /* given up */
	k->wanted = true; /* but not one the user named */
	for (int i = 0; i < 300; i++) {
		known_failed(&t, k);
		CHECK(k->retry_ms > client.net.now_ms && k->retry_ms <= client.net.now_ms + 60000);
		client.net.now_ms = k->retry_ms;
		CHECK(known_choose(&t, out, 1, &wait) == 1);
	}
	known_release(&t.known);
}

/* ---- bans ---- */

static void test_ban(void)
{
	struct bt_torrent t;
	struct addr a = { .ip = { 10, 1, 2, 3 } }, b = { .ip = { 10, 1, 2, 4 }, .port = 1 };
	struct peer p = { .c = &client, .t = &t };

	begin(&t);
	list_init(&client.net.laters);
	later_init(&p.closer, NULL);
	for (uint16_t port = 1; port <= BAN_IP_AFTER; port++) {
		CHECK(!known_ip_banned(&t, &a));
		a.port = port;
		struct known *k = known_add(&t, &a, true);
		k->peer = port == 1 ? &p : NULL;
		*last_event = '\0';
		known_ban(&t, k, "sent wrong data");
		CHECK(k->banned && strstr(last_event, "10.1.2.3:") && strstr(last_event, "wrong data"));
		*last_event = '\0';
		known_ban(&t, k, "again"); /* counts once */
		CHECK(!*last_event);
	}
	CHECK(p.why && strcmp(p.why, "sent wrong data") == 0);
	a.port = 9999;
	CHECK(known_ip_banned(&t, &a) && !known_ip_banned(&t, &b));

	/* a list of bounded length: the oldest verdicts are forgotten, the newest hold */
	for (uint32_t i = 0; i < 300; i++)
		for (uint16_t port = 1; port <= BAN_IP_AFTER; port++) {
			b.ip[2] = (uint8_t)(i >> 8);
			b.ip[3] = (uint8_t)i;
			b.port = port;
			known_ban(&t, known_add(&t, &b, true), "x");
		}
	CHECK(known_ip_banned(&t, &b) && !known_ip_banned(&t, &a));
	known_release(&t.known);
}

int main(void)
{
	test_add();
	test_numbers();
	test_full();
	test_victim();
	test_choose();
	test_back_off();
	test_ban();
	return test_done();
}
