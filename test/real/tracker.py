#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""tracker.py - bt and trackers: opentracker's own counts of what bt told it, the
requests to the byte, redirects, chunks and IPv6, and trackers that hang, lie,
run in circles or never end, beside which a download still gets its peers."""
import http.server
import os
import re
import signal
import socket
import threading
import time
import urllib.parse
import urllib.request

from clients import *

in_namespace()
Bt.bound = False  # trackers on several addresses and both families
work = Work()
original = work.sub("original")


def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, str):
        x = x.encode()
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(map(bencode, x)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(x.items())) + b"e"


def torrent(name, size, tiers, piece=32768):
    """A torrent of random bytes, made without bt's help; its data is in original/."""
    path = make_data(os.path.join(original, name), size, seed=name)
    data = open(path, "rb").read()
    info = {"name": name, "length": size, "piece length": piece,
            "pieces": b"".join(hashlib.sha1(data[i:i + piece]).digest() for i in range(0, size, piece))}
    out = os.path.join(work.dir, name + ".torrent")
    with open(out, "wb") as f:
        f.write(bencode({"announce": tiers[0][0], "announce-list": tiers, "info": info}))
    return out


class Scripted(http.server.ThreadingHTTPServer):
    """A tracker whose path says how it behaves. It remembers what it was asked."""
    daemon_threads = True

    def __init__(self, host=IP, family=socket.AF_INET):
        self.address_family = family
        super().__init__((host, 0), Handler)
        self.port = self.server_address[1]
        self.host = f"[{host}]" if ":" in host else host
        self.asked = []  # (path, {key: value}, headers, time)
        self.peers = b""
        self.last_hangs = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://{self.host}:{self.port}{path}"

    def handle_error(self, request, client_address):
        pass  # bt hangs up on those that misbehave


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        s = self.server
        path, _, query = self.path.partition("?")
        keys = dict((k, urllib.parse.unquote_to_bytes(v)) for k, _, v in (p.partition("=") for p in query.split("&")))
        s.asked.append((path, keys, self.headers, time.monotonic()))
        good = bencode({"interval": 1800, "complete": 1, "incomplete": 0, "peers": s.peers, "tracker id": b"\x01&id"})
        if path == "/hang/announce" or (s.last_hangs and keys.get("event") == b"stopped"):
            time.sleep(60)
        elif path == "/gigabyte/announce":
            self.send_response(200)
            self.end_headers()
            for _ in range(1024):
                self.wfile.write(b"x" * (1 << 20))
        elif path == "/garbage/announce":
            self.wfile.write(os.urandom(5000))
        elif path == "/circle/announce":
            self.answer(302, b"", Location=self.path)
        elif path == "/tls/announce":
            self.answer(301, b"", Location="https://127.0.0.1/announce")
        elif path == "/file/announce":
            self.answer(301, b"", Location="file:///etc/passwd")
        elif path == "/failing/announce":
            self.answer(200, bencode({"failure reason": "go \x1b[31maway", "retry in": "never"}))
        elif path == "/lying/announce":
            self.answer(200, b"d8:intervali-1e5:peers999999999:" + b"\xff" * 999 + b"e")
        elif path == "/moved/announce":
            self.answer(307, b"<html>", Location="/chunked/announce?" + query)
        elif path == "/chunked/announce":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(0, len(good), 7):
                part = good[i:i + 7]
                self.wfile.write(b"%x;ext\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(200, good)


class Seeder:
    """bt seed with a torrent, found only through trackers."""

    def __init__(self, made):
        self.client = Bt(work)
        self.proc = self.client.seed([made], original)
        self.compact = socket.inet_aton(IP) + self.client.port.to_bytes(2, "big")
        if not wait_until(lambda: port_open(self.client.port), 20):
            raise RuntimeError("bt seed does not listen: " + self.proc.tail())


def get(made, *more):
    """bt get, until it ends; (status, log, into, seconds)."""
    into = work.sub("into")
    start = time.monotonic()
    proc = Bt(work).get([made], into, None, *more)
    code = proc.wait(60)
    return code, proc.tail(4000), into, time.monotonic() - start, proc


def arrived(into, name):
    return same_path(os.path.join(original, name), os.path.join(into, name))


def scrape(tracker, made):
    """(complete, downloaded, incomplete) as opentracker counts them."""
    h = urllib.parse.quote_from_bytes(bytes.fromhex(info_hash(made)))
    with urllib.request.urlopen(f"http://{IP}:{tracker.port}/scrape?info_hash={h}", timeout=5) as r:
        reply = r.read()
    return tuple(int((re.search(rb"%d:%si(\d+)e" % (len(k), k), reply) or [0, 0])[1])
                 for k in (b"complete", b"downloaded", b"incomplete"))


def with_opentracker():
    if not shutil.which("opentracker"):
        return skip("opentracker", "not installed")
    tracker = Tracker(work)
    made = torrent("counted", 3000001, [[tracker.url]])
    tracker.allow(made)
    seeder = Seeder(made)
    check("opentracker counts the seeder", wait_until(lambda: scrape(tracker, made) == (1, 0, 0), 10),
          f"{scrape(tracker, made)} {seeder.proc.tail()}")
    code, log, into, _, _ = get(made)
    check("a download finds its peer through opentracker", code == 0 and arrived(into, "counted"), log)
    check("opentracker counts the download, and that its client left",
          wait_until(lambda: scrape(tracker, made) == (1, 1, 0), 5), scrape(tracker, made))
    seeder.proc.stop(signal.SIGINT)
    check("opentracker counts the seeder's stop", wait_until(lambda: scrape(tracker, made) == (0, 1, 0), 5),
          scrape(tracker, made))
    tracker.stop()


def to_the_byte():
    t = Scripted()
    made = torrent("bytes", 500000, [[t.url("/announce?passkey=s3cret&info_hash=evil")]])
    seeder = Seeder(made)
    check("the seeder announces itself", wait_until(lambda: t.asked, 10), seeder.proc.tail())
    del t.asked[:]
    t.peers = seeder.compact
    code, log, into, _, _ = get(made)
    check("a download with a passkey", code == 0 and arrived(into, "bytes"), log)
    check("the passkey is not shown", "s3cret" not in log, log)
    check("started, completed, stopped", [k.get("event") for _, k, _, _ in t.asked] == [b"started", b"completed", b"stopped"],
          t.asked)
    for path, k, headers, _ in t.asked:
        check(f"request {k.get('event')}", path == "/announce" and k["passkey"] == b"s3cret" and
              k["info_hash"].hex() == info_hash(made) and len(k["peer_id"]) == 20 and k["peer_id"].startswith(b"-BT") and
              k["compact"] == b"1" and len(k["key"]) == 8 and headers["Host"] == f"{IP}:{t.port}" and
              headers["User-Agent"].startswith("bt/") and headers["Connection"] == "close", f"{path} {k} {headers}")
    first, last = t.asked[0][1], t.asked[-1][1]
    check("numbers at the start", (first["left"], first["downloaded"], first["uploaded"]) == (b"500000", b"0", b"0"), first)
    check("numbers at the end", (last["left"], last["downloaded"], last["numwant"]) == (b"0", b"500000", b"0"), last)
    check("the tracker's id comes back", "trackerid" not in first and last.get("trackerid") == b"\x01&id", last)
    seeder.proc.stop(signal.SIGINT)


def other_ways():
    t, six = Scripted(), Scripted("::1", socket.AF_INET6)
    for name, url in (("moved", t.url("/moved/announce")), ("chunked", t.url("/chunked/announce")),
                      ("six", six.url("/announce"))):
        made = torrent(name, 100000, [[url]])
        seeder = Seeder(made)
        t.peers = six.peers = seeder.compact
        code, log, into, _, _ = get(made)
        check(f"a tracker {name}", code == 0 and arrived(into, name), log)
        seeder.proc.stop(signal.SIGINT)


def beside_bad_ones():
    t = Scripted()
    bad = ["gigabyte", "garbage", "circle", "tls", "file", "failing", "lying", "hang"]
    told = torrent("beside", 2000000, [[t.url("/announce")]])
    os.rename(told, told + ".told")
    made = torrent("beside", 2000000, [["http://127.0.0.1:1/announce"], ["udp://127.0.0.1:1/announce"],
                                       ["https://127.0.0.1:1/announce"], ["http://no-such-name.invalid/announce"]] +
                   [[t.url(f"/{b}/announce")] for b in bad] + [[t.url("/announce")]])
    seeder = Seeder(told + ".told")  # only now: each torrent() writes the data anew
    t.peers = seeder.compact
    code, log, into, seconds, _ = get(made)
    asked = [p.split("/")[1] for p, _, _, _ in t.asked]
    check("a download beside bad trackers", code == 0 and arrived(into, "beside"), log)
    check("each was asked, the circle within bounds", all(b in asked for b in bad) and asked.count("circle") <= 6, asked)
    check("they cost seconds, not time-outs", seconds < 25, seconds)
    check("what they say can't drive the terminal", "\x1b[31m" not in log and "go ?[31maway" in log, log)
    check("what is not spoken is said", log.count("this version speaks http trackers only") == 2, log)
    seeder.proc.stop(signal.SIGINT)


def stops_in_time():
    """Ctrl-C, with trackers that never answer and one that only now stops to."""
    t = Scripted()
    made = torrent("stopping", 500000, [[t.url("/hang/announce")], [t.url("/announce")]])
    into = work.sub("into")
    proc = Bt(work).get([made], into)
    check("both trackers were asked", wait_until(lambda: len(t.asked) >= 2, 15), t.asked)
    t.last_hangs = True
    time.sleep(0.5)
    start = time.monotonic()
    os.kill(proc.p.pid, signal.SIGINT)
    code = proc.wait(10)
    took = time.monotonic() - start
    check("Ctrl-C ends within 3 s", code is not None and took < 3.5, f"{code} {took} {proc.tail()}")
    check("stopped was sent", [p for p, k, _, _ in t.asked if k.get("event") == b"stopped"], t.asked)


def bounded_memory():
    """A gigabyte from a tracker does not land in memory."""
    t = Scripted()
    made = torrent("heavy", 500000, [[t.url("/gigabyte/announce")]])
    proc = Bt(work).get([made], work.sub("into"))
    check("the endless tracker was asked", wait_until(lambda: "answer longer than" in proc.tail(4000), 15), proc.tail())
    peak = 0
    with open(f"/proc/{proc.p.pid}/status") as f:
        peak = int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])
    check("without filling memory", peak < 32 * 1024, f"{peak} KiB")
    proc.stop(signal.SIGINT)


with_opentracker()
to_the_byte()
other_ways()
beside_bad_ones()
stops_in_time()
bounded_memory()
done()
