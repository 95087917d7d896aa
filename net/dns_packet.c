/* SPDX-License-Identifier: MIT */
/* dns_packet.c - DNS messages (RFC 1035, 3596): one question out, one answer
 * in. Bytes only: no sockets, no clock. No EDNS, no DNSSEC: a stub asks a
 * server it has been told to trust, and what doesn't fit in 512 bytes comes by
 * TCP. Start at dns_parse(). */
#include "net/dns.h"
#include <errno.h>

#define NAME_WIRE_MAX 255 /* RFC 1035 2.3.4: lengths and the final 0 included */
#define HEADER_LEN 12
#define JUMPS_MAX 32   /* compression pointers in one name; honest ones need one or two */
#define CHAIN_MAX 16   /* CNAME steps, as other resolvers bound them */
#define RECORDS_MAX 256 /* of the answer section that are looked at: bounds the work */

enum { TYPE_CNAME = 5, CLASS_IN = 1 };
enum { FLAG_QR = 0x8000, FLAG_TC = 0x0200, FLAG_RD = 0x0100, MASK_OPCODE = 0x7800, MASK_RCODE = 0x000f };
enum { RCODE_NXDOMAIN = 3 };

/* A name uncompressed and in lower case, as it would stand on the wire: two
 * are the same name when their bytes are. (As text, a dot inside a label
 * would look like two labels.) */
struct name {
	uint8_t b[NAME_WIRE_MAX];
	size_t n;
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool name_eq(const struct name *a, const struct name *b)
{
	return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

static bool host_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Host names only: letters, digits, '-', '_'. Other bytes are legal in DNS but
 * in a tracker's URL they are a mistake or an attack on what reads the log. */
static bool name_from_text(struct name *out, const char *text)
{
	size_t len = strlen(text), label = 0;

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > DNS_NAME_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && text[i] != '.') {
			out->b[i + 1] = lower((uint8_t)text[i]);
			if (!host_char(out->b[i + 1]))
				return false;
			continue;
		}
		if (i == label || i - label > 63)
			return false;
		out->b[label] = (uint8_t)(i - label);
		label = i + 1;
	}
	out->b[len + 1] = 0;
	out->n = len + 2;
	return true;
}

bool dns_put_query(struct buf *b, uint16_t id, const char *name, uint16_t type)
{
	struct name n;

	if (!name_from_text(&n, name))
		return false;
	buf_u16(b, id);
	buf_u16(b, FLAG_RD);
	buf_u16(b, 1); /* questions */
	buf_u16(b, 0);
	buf_u16(b, 0);
	buf_u16(b, 0);
	buf_put(b, n.b, n.n);
	buf_u16(b, type);
	buf_u16(b, CLASS_IN);
	return !b->failed;
}

/* Reads a name at the cursor. A pointer must lead to before the run of labels
 * it ends, so every jump goes backwards and no loop is possible. */
static bool name_read(struct slice packet, struct cur *c, struct name *out)
{
	struct cur at = *c;
	const uint8_t *run = at.p;
	struct slice label;
	uint8_t len, low;
	int jumps = 0;

	out->n = 0;
	while (cur_u8(&at, &len)) {
		if ((len & 0xc0) == 0xc0) {
			size_t to;
			if (!cur_u8(&at, &low))
				return false;
			to = (size_t)(len & 0x3f) << 8 | low;
			if (to < HEADER_LEN || to >= (size_t)(run - packet.p) || jumps == JUMPS_MAX)
				return false;
			if (jumps++ == 0)
				*c = at;
			run = packet.p + to;
			at = cur_of(slice_of(run, packet.n - to));
			continue;
		}
		if (len > 63 || !cur_bytes(&at, len, &label) || label.n + 1 > sizeof(out->b) - out->n)
			return false;
		out->b[out->n++] = len;
		for (size_t i = 0; i < label.n; i++)
			out->b[out->n++] = lower(label.p[i]);
		if (len == 0) {
			if (jumps == 0)
				*c = at;
			return true;
		}
	}
	return false;
}

struct record {
	struct name owner;
	uint16_t type, class;
	uint32_t ttl;
	struct slice data;
};

static bool record_read(struct slice packet, struct cur *c, struct record *r)
{
	uint16_t len;

	return name_read(packet, c, &r->owner) && cur_u16(c, &r->type) && cur_u16(c, &r->class) &&
	       cur_u32(c, &r->ttl) && cur_u16(c, &len) && cur_bytes(c, len, &r->data);
}

static bool add_address(struct dns_answer *a, const struct record *r)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct addr *to = &a->addrs[a->n];

	if (r->data.n != (r->type == DNS_A ? 4u : 16u))
		return false;
	/* A v4-mapped address in an AAAA record says what A says better. */
	if (a->n == DNS_MAX_ADDRS || (r->type == DNS_AAAA && memcmp(r->data.p, mapped, 12) == 0))
		return true;
	memset(to, 0, sizeof(*to));
	memcpy(to->ip, r->data.p, r->data.n);
	to->v6 = r->type == DNS_AAAA;
	a->n++;
	return true;
}

/* One step of the chain: adds the addresses of *name, or moves it to what it
 * is an alias of. 1 = moved, 0 = the chain ends here, -1 = malformed. Records
 * about any other name are passed over: nobody asked for them. */
static int chain_step(struct slice packet, struct cur answers, size_t count, uint16_t type, struct name *name,
		      struct dns_answer *out)
{
	struct record r;
	struct name target;
	bool moved = false;

	for (size_t i = 0; i < count; i++) {
		uint32_t ttl;
		if (!record_read(packet, &answers, &r))
			return -1;
		if (r.class != CLASS_IN || !name_eq(&r.owner, name))
			continue;
		ttl = r.ttl > INT32_MAX ? 0 : r.ttl; /* RFC 2181 8 */
		if (r.type == type) {
			if (!add_address(out, &r))
				return -1;
		} else if (r.type == TYPE_CNAME && !moved) {
			struct cur at = cur_of(r.data);
			if (!name_read(packet, &at, &target) || cur_left(&at) != 0)
				return -1;
			moved = true;
		} else {
			continue;
		}
		if (ttl < out->ttl)
			out->ttl = ttl;
	}
	if (out->n > 0 || !moved)
		return 0;
	*name = target;
	return 1;
}

/* Counts must be true for all sections, also for those that are not used. */
static bool walk_records(struct slice packet, struct cur c, size_t count)
{
	struct record r;

	while (count-- > 0)
		if (!record_read(packet, &c, &r))
			return false;
	return true;
}

int dns_parse(struct slice packet, uint16_t id, const char *name, uint16_t type, struct dns_answer *out)
{
	struct cur c = cur_of(packet);
	struct name asked, n;
	uint16_t got_id, flags, questions, answers, authority, more, qtype, qclass;
	int step = 1;

	memset(out, 0, sizeof(*out));
	if (!name_from_text(&asked, name))
		return -1;
	if (!cur_u16(&c, &got_id) || !cur_u16(&c, &flags) || !cur_u16(&c, &questions) || !cur_u16(&c, &answers) ||
	    !cur_u16(&c, &authority) || !cur_u16(&c, &more))
		return -1;
	if (got_id != id || !(flags & FLAG_QR) || (flags & MASK_OPCODE) || questions != 1)
		return -1;
	if (!name_read(packet, &c, &n) || !cur_u16(&c, &qtype) || !cur_u16(&c, &qclass))
		return -1;
	if (!name_eq(&n, &asked) || qtype != type || qclass != CLASS_IN)
		return -1;
	if (flags & FLAG_TC) { /* what is cut off may end anywhere: ask again by TCP */
		out->truncated = true;
		return 0;
	}
	if (!walk_records(packet, c, (size_t)answers + authority + more))
		return -1;
	if ((flags & MASK_RCODE) == RCODE_NXDOMAIN) {
		out->err = -ENOENT;
		return 0;
	}
	if (flags & MASK_RCODE) {
		out->err = -EIO;
		return 0;
	}
	out->ttl = UINT32_MAX;
	for (int i = 0; i <= CHAIN_MAX && step == 1; i++)
		step = chain_step(packet, c, min_size(answers, RECORDS_MAX), type, &n, out);
	if (step < 0)
		return -1;
	if (out->n == 0) {
		out->ttl = 0;
		out->err = step == 1 ? -EIO : -ENODATA; /* the aliases lead in a circle */
	}
	return 0;
}
