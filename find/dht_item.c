/* SPDX-License-Identifier: MIT */
/* dht_item.c - items of the DHT (BEP 44), as dht.h and dht_store.h state: what is
 * signed, where it belongs, which of two counts; and those that point to torrents
 * (BEP 46). Start at dht_item_check(). */
#include "find/dht_store.h"
#include "base/ed25519.h"
#include "sha1.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The longest signed text: "4:salt64:", salt, "3:seqi", 19 digits, "e1:v", value */
#define SIGNED_MAX (9 + DHT_SALT_MAX + 6 + 19 + 4 + DHT_ITEM_MAX)

/* What is signed is built from the parts, never cut out of a packet. Sizes were checked. */
static size_t signed_text(const struct dht_item *it, uint8_t out[SIGNED_MAX + 1])
{
	char *at = (char *)out;

	if (it->salt.n) {
		at += snprintf(at, 16, "4:salt%zu:", it->salt.n);
		memcpy(at, it->salt.p, it->salt.n);
		at += it->salt.n;
	}
	at += snprintf(at, 32, "3:seqi%" PRId64 "e1:v", it->seq);
	memcpy(at, it->v.p, it->v.n);
	return (size_t)(at - (char *)out) + it->v.n;
}

/* All but the signature. */
static int check_form(const struct dht_item *it)
{
	unsigned seen;

	if (it->v.n > DHT_ITEM_MAX)
		return DHT_E_TOO_BIG;
	if (it->is_mutable && it->salt.n > DHT_SALT_MAX)
		return DHT_E_SALT;
	/* one spelling for each value: signatures and targets are of bytes */
	if (ben_check(it->v, &BEN_MESSAGE, NULL, &seen, NULL) != (ptrdiff_t)it->v.n || it->v.n == 0 || seen)
		return DHT_E_PROTOCOL;
	return it->is_mutable && it->seq < 0 ? DHT_E_PROTOCOL : 0;
}

int dht_item_check(const struct dht_item *it)
{
	uint8_t text[SIGNED_MAX + 1];
	int error = check_form(it);

	if (error || !it->is_mutable)
		return error;
	return ed25519_verify(it->sig, slice_of(text, signed_text(it, text)), it->key) ? 0 : DHT_E_SIGNATURE;
}

bool dht_item_sign(struct dht_item *it, const uint8_t secret[64])
{
	uint8_t text[SIGNED_MAX + 1];

	it->is_mutable = true;
	if (check_form(it))
		return false;
	ed25519_public(it->key, secret);
	ed25519_sign(it->sig, slice_of(text, signed_text(it, text)), it->key, secret);
	return true;
}

void dht_item_target(const struct dht_item *it, uint8_t target[20])
{
	uint8_t key[32 + DHT_SALT_MAX];
	size_t salt = min_size(it->salt.n, DHT_SALT_MAX);

	if (!it->is_mutable) {
		sha1(it->v.p, it->v.n, target);
		return;
	}
	memcpy(key, it->key, 32);
	if (salt)
		memcpy(key + 32, it->salt.p, salt);
	sha1(key, 32 + salt, target);
}

void dht_torrent_value(struct buf *b, const uint8_t info_hash[20])
{
	ben_open_dict(b);
	ben_put_str(b, "ih");
	ben_put_bytes(b, info_hash, 20);
	ben_close(b);
}

bool dht_torrent_pointed(struct slice v, uint8_t info_hash[20])
{
	struct slice ih;
	struct ben top;

	if (ben_check(v, &BEN_MESSAGE, &top, NULL, NULL) != (ptrdiff_t)v.n || !ben_get_str(top, "ih", &ih) || ih.n != 20)
		return false;
	memcpy(info_hash, ih.p, 20);
	return true;
}

/* ---- kept for others ---- */

void dht_items_init(struct dht_items *s, uint32_t max)
{
	*s = (struct dht_items){ .max = max };
}

static void remove_at(struct dht_items *s, struct dht_kept **at)
{
	struct dht_kept *k = *at;

	*at = k->next;
	s->n--;
	free(k);
}

void dht_items_release(struct dht_items *s)
{
	for (int i = 0; i < DHT_CHAINS; i++)
		while (s->chain[i])
			remove_at(s, &s->chain[i]);
}

static struct dht_kept **place_of(const struct dht_items *s, const uint8_t target[20])
{
	struct dht_kept **at = (struct dht_kept **)&s->chain[target[19] % DHT_CHAINS];

	while (*at && memcmp((*at)->target, target, 20) != 0)
		at = &(*at)->next;
	return at;
}

struct dht_kept *dht_items_find(const struct dht_items *s, const uint8_t target[20])
{
	return *place_of(s, target);
}

struct dht_kept *dht_item_copy(const struct dht_item *it)
{
	struct dht_kept *k = alloc_array(1, sizeof(*k) + it->v.n + it->salt.n);

	if (!k)
		return NULL;
	k->item = *it;
	dht_item_target(it, k->target);
	memcpy(k->bytes, it->v.p, it->v.n);
	if (it->salt.n)
		memcpy(k->bytes + it->v.n, it->salt.p, it->salt.n);
	k->item.v.p = k->bytes;
	k->item.salt.p = k->bytes + it->v.n;
	return k;
}

int dht_items_order(const struct dht_items *s, const struct dht_item *it, const int64_t *cas)
{
	const struct dht_kept *k;
	uint8_t target[20];

	dht_item_target(it, target);
	k = dht_items_find(s, target);
	if (!k || !it->is_mutable || !k->item.is_mutable)
		return 0;
	if (cas && *cas != k->item.seq)
		return DHT_E_CAS;
	if (it->seq < k->item.seq || (it->seq == k->item.seq && !slice_eq(it->v, k->item.v)))
		return DHT_E_SEQ;
	return 0;
}

static unsigned putters(const struct dht_kept *k)
{
	unsigned n = 0;

	for (uint64_t bits = k->putters; bits; bits &= bits - 1)
		n++;
	return n;
}

static void remove_least(struct dht_items *s, const uint8_t own[20])
{
	struct dht_kept **least = NULL;

	for (int i = 0; i < DHT_CHAINS; i++)
		for (struct dht_kept **at = &s->chain[i]; *at; at = &(*at)->next)
			if (!least || putters(*at) < putters(*least) ||
			    (putters(*at) == putters(*least) && dht_nearer(own, (*at)->target, (*least)->target) > 0))
				least = at;
	if (least)
		remove_at(s, least);
}

int dht_items_put(struct dht_items *s, const struct dht_item *it, const int64_t *cas, const struct addr *from,
		  const uint8_t own[20], uint64_t now)
{
	int error = dht_items_order(s, it, cas);
	struct dht_kept *k, **at;
	uint8_t host[SHA1_LEN];

	if (error)
		return error;
	k = dht_item_copy(it);
	if (!k)
		return 202;
	at = place_of(s, k->target);
	if (*at) {
		k->putters = (*at)->putters;
		remove_at(s, at);
	} else if (s->n >= s->max) {
		remove_least(s, own);
	}
	sha1(from->ip, 16, host);
	k->putters |= 1ull << host[0] % 64;
	k->seen_ms = now;
	at = place_of(s, k->target);
	k->next = *at;
	*at = k;
	s->n++;
	return 0;
}

void dht_items_expire(struct dht_items *s, uint64_t now)
{
	for (int i = 0; i < DHT_CHAINS; i++)
		for (struct dht_kept **at = &s->chain[i]; *at;)
			if (now - (*at)->seen_ms >= DHT_ITEM_MS)
				remove_at(s, at);
			else
				at = &(*at)->next;
}

size_t dht_items_memory(const struct dht_items *s)
{
	size_t n = 0;

	for (int i = 0; i < DHT_CHAINS; i++)
		for (const struct dht_kept *k = s->chain[i]; k; k = k->next)
			n += sizeof(*k) + k->item.v.n + k->item.salt.n;
	return n;
}
