/* SPDX-License-Identifier: MIT */
/* magnet.c - the magnet link of a torrent (BEP 9): hash, name, trackers, web
 * seeds. Only what RFC 3986 calls unreserved stays as it is, so that any
 * shell, page and client takes the link apart alike. */
#include "base/base.h"
#include "bt.h"

static void put_field(struct buf *b, const char *key, const char *text)
{
	buf_puts(b, key);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (letter || c == '-' || c == '.' || c == '_' || c == '~')
			buf_u8(b, c);
		else
			buf_printf(b, "%%%02X", c);
	}
}

char *bt_meta_magnet(const struct bt_meta *m)
{
	char hex[2 * sizeof(m->info_hash) + 1];
	struct buf b;

	buf_init(&b, SIZE_MAX);
	hex_encode(hex, m->info_hash, m->hash_len);
	buf_puts(&b, "magnet:?xt=urn:btih:");
	buf_puts(&b, hex);
	put_field(&b, "&dn=", m->name);
	for (uint32_t i = 0; i < m->ntrackers; i++)
		put_field(&b, "&tr=", m->trackers[i].url);
	for (uint32_t i = 0; i < m->nweb_seeds; i++)
		put_field(&b, "&ws=", m->web_seeds[i]);
	buf_u8(&b, 0);
	if (b.failed)
		buf_release(&b);
	return (char *)b.p;
}
