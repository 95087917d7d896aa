/* SPDX-License-Identifier: MIT */
/* Tests of announcer.c with trackers inside the process. A tracker's second
 * lasts a few milliseconds here, so that hours of announcing pass in moments.
 * What is checked is order and least distance in time; upper bounds are wide. */
#include "find/tracker.h"
#include "test/fake_http.h"
#include "test/test.h"

#include <dirent.h>

#define ASKED_MAX 64
#define OK_REPLY "d8:completei3e10:incompletei4e8:intervali%ue5:peers6:\x01\x02\x03\x04\x1a\xe1" "e"

/* A tracker: how it answers, and what it was asked and when. */
struct tr {
	struct fake f;
	const char *reply; /* bencoded; NULL = 404 */
	bool hang;
	unsigned n, scrapes;
	struct {
		uint64_t ms;
		char event[16], path[64];
		char request[1024];
	} asked[ASKED_MAX];
};

/* What the owner of an announcer sees. */
struct owner {
	struct announcer *a;
	unsigned npeers, warnings, messages, externals;
	struct addr peer, external;
	bool got_peers, stopped, in_call;
	char last[512], all[2048];
	uint64_t left;
	uint32_t numwant;
	bool free_on_peers, free_on_message, free_on_stopped, stop_on_peers;
};

static struct net net;
static struct dns *dns;
static struct tr A, B, C;
static char ok_text[256];

static void on_request(struct fake *f, const char *q, struct fake_reply *r)
{
	struct tr *t = container_of(f, struct tr, f);
	const char *event = strstr(q, "&event=");

	if (strncmp(q, "GET /scrape", 11) == 0) {
		static const char body[] = "d5:filesd20:hhhhhhhhhhhhhhhhhhhhd8:completei70e10:downloadedi9e10:incompletei80eeee";

		t->scrapes++;
		fake_ok(r, body, sizeof(body) - 1);
		return;
	}
	if (t->n < ASKED_MAX) {
		t->asked[t->n].ms = net.now_ms;
		snprintf(t->asked[t->n].event, 16, "%.*s", event ? (int)strcspn(event + 7, "& ") : 0, event ? event + 7 : "");
		snprintf(t->asked[t->n].path, 64, "%.*s", (int)strcspn(q + 4, " "), q + 4);
		snprintf(t->asked[t->n].request, 1024, "%.1000s", q);
		t->n++;
	}
	if (t->hang)
		r->hang = true;
	else if (t->reply)
		fake_ok(r, t->reply, strlen(t->reply));
	else
		buf_puts(&r->bytes, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void forget(struct tr *t)
{
	while (!list_empty(&t->f.conns))
		fake_close(container_of(t->f.conns.next, struct fake_conn, on_fake));
	t->n = t->scrapes = 0;
	t->reply = ok_text;
	t->hang = false;
}

static void reset(void)
{
	/* a good reply with an interval far away */
	snprintf(ok_text, sizeof(ok_text), OK_REPLY, 86400u);
	forget(&A);
	forget(&B);
	forget(&C);
}

static void totals(void *arg, uint64_t *up, uint64_t *down, uint64_t *left, uint32_t *numwant)
{
	struct owner *o = arg;

	*up = 11;
	*down = 22;
	*left = o->left;
	*numwant = o->numwant;
}

static void free_it(struct owner *o, bool now)
{
	if (now && o->a) {
		announcer_free(o->a);
		o->a = NULL;
	}
}

static void on_peers(void *arg, const struct addr *peers, size_t n)
{
	struct owner *o = arg;

	CHECK(!o->in_call && n > 0);
	o->npeers += (unsigned)n;
	o->peer = peers[0];
	o->got_peers = true;
	if (o->stop_on_peers)
		announcer_stop(o->a, 500);
	free_it(o, o->free_on_peers);
}

static void on_external_ip(void *arg, const struct addr *a)
{
	struct owner *o = arg;

	o->externals++;
	o->external = *a;
}

static void on_message(void *arg, bool warn, const char *text)
{
	struct owner *o = arg;

	CHECK(!o->in_call && o->a);
	o->messages++;
	o->warnings += warn;
	snprintf(o->last, sizeof(o->last), "%s", text);
	if (warn && strlen(o->all) + strlen(text) + 2 < sizeof(o->all)) {
		strcat(o->all, text);
		strcat(o->all, "\n");
	}
	free_it(o, o->free_on_message);
}

static void on_stopped(void *arg)
{
	struct owner *o = arg;

	CHECK(!o->in_call && !o->stopped);
	o->stopped = true;
	free_it(o, o->free_on_stopped);
}

static struct announcer *start(struct owner *o, const char *const *urls, const uint32_t *tiers, size_t n, uint32_t second_ms)
{
	struct announcer_opts opts = {
		.urls = urls, .tiers = tiers, .nurls = n, .info_hash = (const uint8_t *)"hhhhhhhhhhhhhhhhhhhh",
		.peer_id = (const uint8_t *)"-BT0001-abcdefghijkl", .port = 6881, .user_agent = "bt/test",
		.totals = totals, .on_peers = on_peers, .on_external_ip = on_external_ip, .on_message = on_message,
		.on_stopped = on_stopped, .arg = o, .second_ms = second_ms,
	};

	o->numwant = 50;
	o->in_call = true;
	o->a = announcer_new(&net, dns, &opts);
	o->in_call = false;
	CHECK(o->a);
	return o->a;
}

static const char *url_of(const struct tr *t, const char *path)
{
	static char urls[32][128];
	static unsigned at;
	char *u = urls[at++ % 32];

	snprintf(u, 128, "%s%s", t->f.url, path);
	return u;
}

/* One announcer with up to three trackers, all in tiers of their own or as told. */
static struct announcer *start3(struct owner *o, uint32_t second_ms, struct tr *t0, uint32_t tier0, struct tr *t1,
				uint32_t tier1, struct tr *t2, uint32_t tier2)
{
	const char *urls[3];
	uint32_t tiers[3] = { tier0, tier1, tier2 };
	size_t n = 0;

	urls[n++] = url_of(t0, "/announce");
	if (t1)
		urls[n++] = url_of(t1, "/announce");
	if (t2)
		urls[n++] = url_of(t2, "/announce");
	return start(o, urls, tiers, n, second_ms);
}

static void run(uint64_t ms)
{
	static bool never;

	fake_run(&net, &never, ms);
}

/* Turns until tracker t has been asked n times. */
static bool run_until(const struct tr *t, unsigned n, uint64_t ms)
{
	uint64_t end;

	net_clock(&net);
	for (end = net.now_ms + ms; t->n < n && net.now_ms < end; net_clock(&net))
		if (net_turn(&net, 10) < 0)
			abort();
	return t->n >= n;
}

static void stop(struct owner *o, uint32_t within_ms)
{
	o->in_call = true;
	announcer_stop(o->a, within_ms);
	announcer_stop(o->a, within_ms); /* once is enough */
	o->in_call = false;
	CHECK(!o->stopped);
	fake_run(&net, &o->stopped, within_ms + 1000);
	CHECK(o->stopped);
}

static void end(struct owner *o)
{
	announcer_free(o->a);
	o->a = NULL;
	CHECK(net_timeout(&net) == -1 || A.f.nconns || B.f.nconns || C.f.nconns);
}

static void one_tracker(void)
{
	struct owner o = { .left = 33 };
	uint32_t seeds, leechers;

	reset();
	A.reply = "d8:completei3e11:external ip4:\x09\x08\x07\x06" "10:incompletei4e8:intervali1e5:peers6:\x01\x02\x03\x04\x1a\xe1"
		  "10:tracker id3:i&de";
	start3(&o, 5, &A, 0, NULL, 0, NULL, 0);
	CHECK(A.n == 0);
	announcer_counts(o.a, &seeds, &leechers);
	CHECK(seeds == 0 && leechers == 0);
	CHECK(run_until(&A, 1, 2000));
	fake_run(&net, &o.got_peers, 2000);
	CHECK(strcmp(A.asked[0].event, "started") == 0);
	CHECK(strstr(A.asked[0].request, "?info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=-BT0001-abcdefghijkl&port=6881&uploaded=11"
					 "&downloaded=22&left=33&compact=1&no_peer_id=1&numwant=50&key="));
	CHECK(strstr(A.asked[0].request, "\r\nUser-Agent: bt/test\r\n") && !strstr(A.asked[0].request, "trackerid"));
	CHECK(o.npeers == 1 && o.peer.port == 6881 && o.externals == 1 && o.external.ip[0] == 9);
	CHECK(o.warnings == 0 && strstr(o.last, "/announce: 1 peers, next announce in 30 s"));
	announcer_counts(o.a, &seeds, &leechers);
	CHECK(seeds == 3 && leechers == 4 && A.scrapes == 0);
	/* an interval of 1 s is too short: 30 of them */
	CHECK(run_until(&A, 2, 3000));
	CHECK(A.asked[1].ms - A.asked[0].ms >= 30 * 5);
	CHECK(A.asked[1].event[0] == 0 && strstr(A.asked[1].request, "&trackerid=i%26d "));
	/* the key stays the same */
	CHECK(strncmp(strstr(A.asked[0].request, "&key="), strstr(A.asked[1].request, "&key="), 13) == 0);
	stop(&o, 1000);
	CHECK(A.n == 3 && strcmp(A.asked[2].event, "stopped") == 0 && strstr(A.asked[2].request, "&numwant=0&") &&
	      strstr(A.asked[2].request, "&trackerid=i%26d "));
	end(&o);
}

static void tiers(void)
{
	{ /* the first tier's good one is used, whatever the shuffle, and stays in front */
		static struct owner o[4];
		char interval30[128];

		reset();
		snprintf(interval30, sizeof(interval30), OK_REPLY, 30u);
		A.reply = NULL;
		B.reply = interval30;
		for (int i = 0; i < 4; i++) {
			o[i] = (struct owner){ .left = 1 };
			start3(&o[i], 30, &A, 7, &B, 7, &C, 8);
		}
		CHECK(run_until(&B, 8, 5000));
		/* A's back-off is over by the second round: only its place keeps it out */
		CHECK(A.n <= 4 && C.n == 0);
		for (unsigned i = 0; i < 8; i++)
			CHECK(strcmp(B.asked[i].event, i < 4 ? "started" : "") == 0);
		for (int i = 0; i < 4; i++)
			end(&o[i]);
	}
	{ /* tiers go in order of their numbers; the next one only when all of one failed */
		struct owner o = { .left = 1 };

		reset();
		A.reply = B.reply = NULL;
		start3(&o, 100, &C, 3, &A, 1, &B, 1);
		CHECK(run_until(&C, 1, 2000));
		CHECK(A.n == 1 && B.n == 1 && A.asked[0].ms <= C.asked[0].ms && B.asked[0].ms <= C.asked[0].ms);
		CHECK(o.warnings == 2 && strstr(o.all, "HTTP status 404; not asked again for "));
		run(50);
		end(&o);
	}
	{ /* a shuffle happens: each of three comes first sometimes */
		unsigned first[3] = { 0 };

		for (int i = 0; i < 40; i++) {
			struct owner o = { .left = 1 };

			reset();
			start3(&o, 1000, &A, 0, &B, 0, &C, 0);
			fake_run(&net, &o.got_peers, 2000);
			CHECK(A.n + B.n + C.n == 1);
			first[0] += A.n;
			first[1] += B.n;
			first[2] += C.n;
			end(&o);
		}
		CHECK(first[0] && first[1] && first[2]); /* wrong once in 3.6 million */
	}
}

static void back_off(void)
{
	struct owner o = { .left = 1 };
	uint64_t least = 0;

	reset();
	A.reply = NULL;
	start3(&o, 2, &A, 0, NULL, 0, NULL, 0);
	CHECK(run_until(&A, 5, 5000));
	for (unsigned i = 1; i < A.n; i++) {
		/* 15, 30, 60, 120 s less a quarter of jitter */
		least = (15u << (i - 1)) * 2 * 3 / 4;
		CHECK(A.asked[i].ms - A.asked[i - 1].ms >= least);
		CHECK(strcmp(A.asked[i].event, "started") == 0); /* it never got us */
	}
	CHECK(o.warnings == 1 && o.messages >= 4); /* said once, then only for the log */
	/* once it answers, all is forgotten */
	A.reply = ok_text;
	CHECK(run_until(&A, A.n + 1, 5000));
	fake_run(&net, &o.got_peers, 1000);
	CHECK(o.npeers == 1);
	end(&o);
}

static void retry_in(void)
{
	struct owner o = { .left = 1 };

	reset();
	A.reply = "d14:failure reason4:busy8:retry in1:1e";
	start3(&o, 2, &A, 0, NULL, 0, NULL, 0);
	CHECK(run_until(&A, 3, 5000));
	CHECK(A.asked[1].ms - A.asked[0].ms >= 120 && A.asked[2].ms - A.asked[1].ms >= 120);
	CHECK(o.warnings == 1 && strstr(o.all, "/announce: busy; not asked again for 60 s"));
	A.reply = "d14:failure reason13:Not a tracker8:retry in5:nevere";
	CHECK(run_until(&A, 4, 5000));
	run(300);
	CHECK(A.n == 4 && strstr(o.all, ": Not a tracker; it asks not to be tried again\n"));
	announcer_more_peers(o.a);
	run(50);
	stop(&o, 100);
	CHECK(A.n == 4);
	end(&o);
}

/* A mute first tracker delays by 5 s, not by its time-out, and keeps its chance. */
static void hanging(void)
{
	struct owner o = { .left = 1 };
	uint64_t took;

	reset();
	A.hang = true;
	start3(&o, 60, &A, 0, &B, 1, &C, 2);
	fake_run(&net, &o.got_peers, 3000);
	CHECK(o.got_peers && A.n == 1 && B.n == 1 && C.n == 0);
	took = B.asked[0].ms - A.asked[0].ms;
	CHECK(took > 4 * 60 && took < 25 * 60);
	CHECK(o.warnings == 0);
	/* it does not know us, but may have heard */
	stop(&o, 150);
	CHECK(A.n == 2 && strcmp(A.asked[1].event, "stopped") == 0);
	CHECK(B.n == 2 && strcmp(B.asked[1].event, "stopped") == 0 && C.n == 0);
	end(&o);
	{ /* all mute: time-outs, then back-off; nobody is asked twice at a time */
		struct owner p = { .left = 1 };

		reset();
		A.hang = B.hang = true;
		start3(&p, 4, &A, 0, &B, 1, NULL, 0);
		CHECK(run_until(&A, 2, 3000));
		CHECK(p.warnings >= 1 && strstr(p.all, "no answer within 0."));
		CHECK(A.asked[1].ms - A.asked[0].ms >= (25 + 11) * 4);
		end(&p);
	}
}

static void completed(void)
{
	struct owner o = { .left = 1 };

	reset();
	start3(&o, 200, &A, 0, &B, 1, NULL, 0);
	fake_run(&net, &o.got_peers, 2000);
	o.left = 0;
	o.in_call = true;
	announcer_completed(o.a);
	announcer_completed(o.a);
	o.in_call = false;
	CHECK(run_until(&A, 2, 1000)); /* at once, whatever the interval */
	run(50);
	announcer_completed(o.a);
	run(50);
	CHECK(A.n == 2 && strcmp(A.asked[1].event, "completed") == 0 && strstr(A.asked[1].request, "&left=0&"));
	CHECK(B.n == 0); /* it does not know us */
	stop(&o, 500);
	CHECK(A.n == 3 && strcmp(A.asked[2].event, "stopped") == 0 && B.n == 0);
	end(&o);
	{ /* complete before the tracker could be reached: it hears both, in order */
		struct owner p = { .left = 0 };

		reset();
		A.reply = NULL;
		start3(&p, 3, &A, 0, NULL, 0, NULL, 0);
		CHECK(run_until(&A, 1, 1000));
		announcer_completed(p.a);
		run(20);
		A.reply = ok_text;
		CHECK(run_until(&A, 3, 3000));
		CHECK(strcmp(A.asked[1].event, "started") == 0 && strcmp(A.asked[2].event, "completed") == 0);
		run(50);
		CHECK(A.n == 3);
		end(&p);
	}
	{ /* one that fails is tried again */
		struct owner p = { .left = 0 };

		reset();
		start3(&p, 3, &A, 0, NULL, 0, NULL, 0);
		fake_run(&net, &p.got_peers, 1000);
		A.reply = NULL;
		announcer_completed(p.a);
		CHECK(run_until(&A, 2, 1000));
		A.reply = ok_text;
		CHECK(run_until(&A, 3, 3000));
		CHECK(strcmp(A.asked[1].event, "completed") == 0 && strcmp(A.asked[2].event, "completed") == 0);
		CHECK(A.asked[2].ms - A.asked[1].ms >= 11 * 3);
		run(50);
		CHECK(A.n == 3);
		end(&p);
	}
}

static void stopping(void)
{
	{ /* a tracker that does not answer any more */
		struct owner o = { .left = 1 };
		uint64_t began;

		reset();
		start3(&o, 1000, &A, 0, NULL, 0, NULL, 0);
		fake_run(&net, &o.got_peers, 1000);
		A.hang = true;
		net_clock(&net);
		began = net.now_ms;
		stop(&o, 100);
		CHECK(net.now_ms - began >= 99 && net.now_ms - began < 600);
		CHECK(A.n == 2 && strcmp(A.asked[1].event, "stopped") == 0);
		end(&o);
	}
	{ /* nobody knows us: at once, but never inside the call */
		struct owner o = { .left = 1 }, p = { .left = 1 }, q = { .left = 1 };

		reset();
		start3(&o, 1000, &A, 0, NULL, 0, NULL, 0);
		stop(&o, 60000);
		CHECK(A.n == 0);
		end(&o);
		start(&p, NULL, NULL, 0, 0);
		run(10);
		stop(&p, 60000);
		end(&p);
		A.reply = NULL;
		start3(&q, 1000, &A, 0, NULL, 0, NULL, 0);
		CHECK(run_until(&A, 1, 1000));
		run(20);
		stop(&q, 60000);
		CHECK(A.n == 1);
		end(&q);
	}
	{ /* from inside a callback */
		struct owner o = { .left = 1, .stop_on_peers = true, .free_on_stopped = true };

		reset();
		start3(&o, 1000, &A, 0, &B, 1, NULL, 0);
		fake_run(&net, &o.stopped, 2000);
		CHECK(o.stopped && !o.a && A.n == 2 && B.n == 0);
	}
}

static void skipping(void)
{
	struct owner o = { .left = 1 };
	const char *const urls[] = { "https://t.example/announce?passkey=abc", "udp://t.example:1/announce", "rubbish",
				     url_of(&A, "/announce?passkey=secret"), url_of(&A, "/announce?passkey=secret"),
				     url_of(&B, "/rpc") };
	const uint32_t t[] = { 0, 1, 2, 3, 4, 5 };

	reset();
	A.reply = "d14:failure reason2:noe";
	start(&o, urls, t, ARRAY_LEN(urls), 4);
	CHECK(run_until(&A, 2, 2000));
	CHECK(o.warnings == 5);
	CHECK(strstr(o.all, "tracker https://t.example/announce?passkey=..: skipped: this version speaks http trackers only\n"
			    "tracker udp://t.example:1/announce: skipped: this version speaks http trackers only\n"
			    "tracker rubbish: skipped: not a usable URL\n"));
	CHECK(!strstr(o.all, "secret"));
	/* a path of some other service on this machine is not asked */
	CHECK(B.n == 0 && strstr(o.all, "/rpc: an address of this machine, which this URL may not ask; "));
	end(&o);
	{
		struct owner p = { .left = 1 };
		static char text[300][32];
		const char *many[300];
		uint32_t tier[300] = { 0 };

		for (int i = 0; i < 300; i++) {
			snprintf(text[i], sizeof(text[i]), "udp://t:%d/", i + 1);
			many[i] = text[i];
		}
		start(&p, many, tier, 300, 4);
		run(20);
		CHECK(p.warnings == 129 && strcmp(p.last, "172 trackers past the first 128 are ignored") == 0);
		stop(&p, 100);
		end(&p);
	}
}

static void more_peers(void)
{
	struct owner o = { .left = 1 };

	reset();
	A.reply = "d8:completei0e10:incompletei0e8:intervali9000e12:min intervali30e5:peers6:\x01\x02\x03\x04\x1a\xe1" "e";
	start3(&o, 20, &A, 0, &B, 1, NULL, 0);
	announcer_more_peers(o.a);
	fake_run(&net, &o.got_peers, 1000);
	for (int i = 0; i < 10; i++) {
		announcer_more_peers(o.a);
		run(2);
	}
	CHECK(A.n == 1);
	CHECK(run_until(&A, 2, 2000));
	CHECK(A.asked[1].ms - A.asked[0].ms > 29 * 20 && A.asked[1].event[0] == 0);
	run(200);
	CHECK(A.n == 2 && B.n == 0); /* one wish, one announce, and to nobody else */
	end(&o);
}

static void scraping(void)
{
	struct owner o = { .left = 1 };
	uint32_t seeds, leechers;

	reset();
	A.reply = "d8:intervali60e12:min intervali30e5:peers6:\x01\x02\x03\x04\x1a\xe1" "15:warning message8:upgrade!e";
	start3(&o, 3, &A, 0, NULL, 0, NULL, 0);
	fake_run(&net, &o.got_peers, 1000);
	announcer_more_peers(o.a); /* after 30 s: too soon for another scrape */
	CHECK(run_until(&A, 2, 2000));
	run(60);
	CHECK(A.scrapes == 1);
	announcer_counts(o.a, &seeds, &leechers);
	CHECK(seeds == 70 && leechers == 80);
	CHECK(run_until(&A, 3, 2000));
	run(100);
	CHECK(A.scrapes == 2);
	CHECK(o.warnings == 1 && strstr(o.all, "/announce: upgrade!\n")); /* not again and again */
	end(&o);
}

/* Whatever a callback frees is not touched again. */
static void freeing(void)
{
	struct owner on_peers_ = { .left = 1, .free_on_peers = true }, on_message_ = { .left = 1, .free_on_message = true },
		     on_stopped_ = { .left = 1, .free_on_stopped = true };
	const char *const urls[] = { "udp://x:1", "udp://y:1", url_of(&A, "/announce") };
	const uint32_t t[] = { 0, 0, 0 };

	reset();
	start3(&on_peers_, 1000, &A, 0, &B, 0, NULL, 0);
	fake_run(&net, &on_peers_.got_peers, 2000);
	CHECK(!on_peers_.a && on_peers_.npeers == 1);
	start(&on_message_, urls, t, 3, 4);
	run(50);
	CHECK(!on_message_.a && on_message_.messages == 1);
	on_message_.messages = 0;
	reset();
	A.reply = NULL;
	start3(&on_message_, 1000, &A, 0, &B, 1, &C, 2);
	run(200);
	CHECK(!on_message_.a && on_message_.messages == 1 && B.n + C.n == 0);
	A.reply = ok_text;
	start3(&on_stopped_, 4, &A, 0, NULL, 0, NULL, 0);
	fake_run(&net, &on_stopped_.got_peers, 1000);
	announcer_stop(on_stopped_.a, 500);
	fake_run(&net, &on_stopped_.stopped, 1000);
	CHECK(!on_stopped_.a);
	/* and at every moment from outside */
	for (uint64_t ms = 0; ms < 30; ms += 3) {
		struct owner early = { .left = 1 };

		start3(&early, 4, &A, 0, &B, 0, &C, 0);
		run(ms);
		if (ms % 2)
			announcer_stop(early.a, 500);
		run(ms / 4);
		end(&early);
	}
	announcer_free(NULL);
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int main(void)
{
	unsigned files = open_files();

	if (net_init(&net) < 0 || !(dns = dns_new(&net)))
		return 1;
	dns_configure(dns, slice_str("nameserver 127.0.0.1:1\n"), slice_str(""));
	fake_start(&A.f, &net, on_request);
	fake_start(&B.f, &net, on_request);
	fake_start(&C.f, &net, on_request);
	one_tracker();
	tiers();
	back_off();
	retry_in();
	hanging();
	completed();
	stopping();
	skipping();
	more_peers();
	scraping();
	freeing();
	fake_stop(&A.f);
	fake_stop(&B.f);
	fake_stop(&C.f);
	dns_free(dns);
	CHECK(net_timeout(&net) == -1);
	net_release(&net);
	CHECK(open_files() == files);
	return test_done();
}
