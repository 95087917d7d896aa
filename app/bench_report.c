/* SPDX-License-Identifier: MIT */
/* bench_report.c - what `bt bench` measured, as text and as JSON. Rates are of
 * payload, MB = 10^6 bytes as in other benchmarks; latencies in milliseconds here,
 * in microseconds in JSON. */
#include "app/app.h"

#include <inttypes.h>
#include <string.h>

#define SECONDS_SHOWN 60

static const char *const mode_names[] = { [BT_LOAD_GET] = "get", [BT_LOAD_SEED] = "seed", [BT_LOAD_DUAL] = "dual" };
static const char *const end_names[] = { [BT_LOAD_DONE] = "done", [BT_LOAD_TIME] = "time", [BT_LOAD_STOPPED] = "stopped",
					 [BT_LOAD_STALLED] = "stalled", [BT_LOAD_CLOSED] = "closed" };

static double mb(uint64_t bytes) { return (double)bytes / 1e6; }
static double ms(uint64_t us) { return (double)us / 1e3; }
static double rate(uint64_t bytes, uint64_t us) { return us > 0 ? (double)bytes / (double)us : 0; }

void bench_second(const struct bt_load_second *s)
{
	fprintf(stderr, "\r%.0f MB/s, %" PRIu32 " connections\033[K", rate(s->down + s->up, s->ms * UINT64_C(1000)),
		s->connections);
	fflush(stderr);
}

/* ---- text ---- */

static void print_times(const char *what, const struct bt_load_times *t)
{
	if (t->n > 0)
		printf("  %-12s p50 %.2f ms, p90 %.2f, p99 %.2f, p99.9 %.2f, max %.2f\n", what, ms(t->p50), ms(t->p90),
		       ms(t->p99), ms(t->p999), ms(t->max));
}

static void print_side(const char *what, const char *remark, const char *times, const struct bt_load_side *s, uint64_t us)
{
	char text[SIZE_TEXT];

	printf("  %-12s %s in %.2f s: %.0f MB/s%s\n", what, size_text(text, s->bytes), (double)us / 1e6, rate(s->bytes, us),
	       remark);
	print_times(times, &s->latency);
	printf("  %-12s min %.2f MB, median %.2f, max %.2f, Jain %.4f; at most %" PRIu32 " requests waiting\n", "connections",
	       mb(s->min), mb(s->median), mb(s->max), s->jain, s->deepest);
	if (s->wasted > 0)
		printf("  %-12s %s that nobody had asked for\n", "wasted", size_text(text, s->wasted));
}

static void print_seconds(const struct bt_load_report *r)
{
	if (r->nseconds < 2)
		return;
	printf("  %-12s", "by second");
	for (size_t i = 0; i < r->nseconds && i < SECONDS_SHOWN; i++)
		printf(" %.0f", rate(r->seconds[i].down + r->seconds[i].up, r->seconds[i].ms * UINT64_C(1000)));
	printf("%s MB/s\n", r->nseconds > SECONDS_SHOWN ? " ..." : "");
}

void bench_text(const struct bt_load *load, const struct bt_load_report *r, bool live)
{
	double cpu = (double)(r->cpu_user_us + r->cpu_system_us) / 1e6, gib = (double)(r->down.bytes + r->up.bytes) / (1 << 30);
	double share = r->elapsed_us > 0 ? 1e8 * cpu / (double)r->elapsed_us : 0;
	char remark[96];

	if (live)
		fputs("\r\033[K", stderr);
	printf("bt bench %s: %s\n", mode_names[load->mode], end_names[r->end]);
	printf("  %-12s %" PRIu32 " of %" PRIu32 " made, %.0f/s; %" PRIu32 " attempts refused, %" PRIu32 " lost\n", "connections",
	       r->connected, r->asked, r->connects_per_s, r->refused, r->lost);
	print_times("handshake", &r->handshake);
	if (load->mode != BT_LOAD_SEED) {
		snprintf(remark, sizeof(remark), load->no_verify ? ", not verified" : ", %" PRIu64 " pieces right, %" PRIu64 " wrong",
			 r->pieces_good, r->pieces_bad);
		print_side("received", remark, "latency", &r->down, r->elapsed_us);
	}
	if (load->mode != BT_LOAD_GET) {
		remark[0] = '\0';
		if (r->pieces_target > 0) /* some tell seeders nothing */
			snprintf(remark, sizeof(remark), ", it says to have %" PRIu32 " of %" PRIu32 " pieces", r->pieces_target,
				 load->meta->pieces);
		print_side("sent", remark, "waiting", &r->up, r->elapsed_us);
	}
	print_seconds(r);
	printf("  %-12s %.2f s CPU, %.2f s/GiB, %.0f %% of one core%s\n", "generator", cpu, gib > 0 ? cpu / gib : 0, share,
	       share > 90 ? ": it may be what limits" : "");
}

/* ---- JSON ---- */

static void json_times(const char *key, const struct bt_load_times *t)
{
	printf(",\"%s\":{\"count\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
	       ",\"max\":%" PRIu64 "}",
	       key, t->n, t->p50, t->p90, t->p99, t->p999, t->max);
}

static void json_side(const char *key, const struct bt_load_side *s, uint64_t us)
{
	printf(",\"%s\":{\"bytes\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"wasted\":%" PRIu64 ",\"rate\":%.0f,\"deepest\":%" PRIu32,
	       key, s->bytes, s->blocks, s->wasted, rate(s->bytes, us) * 1e6, s->deepest);
	json_times("latency_us", &s->latency);
	printf(",\"fairness\":{\"connections\":%" PRIu32 ",\"min\":%" PRIu64 ",\"median\":%" PRIu64 ",\"max\":%" PRIu64
	       ",\"jain\":%.6f}}",
	       s->n, s->min, s->median, s->max, s->jain);
}

void bench_json(const struct bt_load *load, const struct bt_load_report *r)
{
	char hash[65];

	hash_text(hash, load->meta);
	printf("{\"mode\":\"%s\",\"end\":\"%s\",\"info_hash\":\"%s\",\"target\":", mode_names[load->mode], end_names[r->end], hash);
	json_text(stdout, load->target);
	printf(",\"size\":%" PRIu64 ",\"piece_length\":%" PRIu64 ",\"pieces\":%" PRIu32 ",\"seconds\":%.6f", load->meta->size,
	       load->meta->piece_len, load->meta->pieces, (double)r->elapsed_us / 1e6);
	printf(",\"connections\":{\"asked\":%" PRIu32 ",\"made\":%" PRIu32 ",\"refused\":%" PRIu32 ",\"lost\":%" PRIu32
	       ",\"per_second\":%.1f,\"why\":",
	       r->asked, r->connected, r->refused, r->lost, r->connects_per_s);
	json_text(stdout, r->why[0] != '\0' ? r->why : NULL);
	json_times("handshake_us", &r->handshake);
	putchar('}');
	json_side("down", &r->down, r->elapsed_us);
	json_side("up", &r->up, r->elapsed_us);
	printf(",\"verified\":%s,\"pieces_good\":%" PRIu64 ",\"pieces_bad\":%" PRIu64 ",\"pieces_target\":%" PRIu32,
	       load->no_verify ? "false" : "true", r->pieces_good, r->pieces_bad, r->pieces_target);
	printf(",\"cpu\":{\"user\":%.6f,\"system\":%.6f},\"samples\":[", (double)r->cpu_user_us / 1e6,
	       (double)r->cpu_system_us / 1e6);
	for (size_t i = 0; i < r->nseconds; i++)
		printf("%s{\"ms\":%" PRIu32 ",\"down\":%" PRIu64 ",\"up\":%" PRIu64 ",\"connections\":%" PRIu32 "}", i > 0 ? "," : "",
		       r->seconds[i].ms, r->seconds[i].down, r->seconds[i].up, r->seconds[i].connections);
	puts("]}");
}
