#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench.py - `bt bench` against real clients as seeders and leechers, against
itself, and against targets that lie, stall or break off: it ends in time with the
status that says so, and its report adds up."""
import hashlib
import json
import struct
import threading

from clients import *

in_namespace()
work = Work()
SOURCES = f"{NET}40-{NET}59"
SIZE = 24 * 1024 * 1024 + 4321
torrent = os.path.join(work.dir, "made.torrent")
data = work.sub("data")
path = os.path.join(data, "made")


def bench(*args, timeout=60):
    """(status, report or None, stderr, seconds)"""
    start = time.monotonic()
    try:
        r = subprocess.run([BT, "bench", *map(str, args), "--json"], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None, None, "", timeout
    return r.returncode, json.loads(r.stdout) if r.stdout else None, r.stderr, time.monotonic() - start


# ---- make ----

r = subprocess.run([BT, "bench", "make", "-o", torrent, "--size", str(SIZE), "-l", "64k", "--write", path,
                    "-t", f"http://{IP}:9/announce"], capture_output=True, text=True)  # rtorrent wants some tracker
check("bench make", r.returncode == 0 and r.stdout + r.stderr == "", (r.returncode, r.stdout, r.stderr))
check("what it wrote is what the torrent says",
      subprocess.run([BT, "verify", "-q", torrent, "-d", data]).returncode == 0 and os.path.getsize(path) == SIZE)
r = subprocess.run([BT, "bench", "make", "-o", torrent, "--size", "1M"], capture_output=True, text=True)
check("it does not replace", r.returncode == 1 and r.stderr.count("\n") == 1, r.stderr)
PIECES = (SIZE + 65535) // 65536

# ---- usage ----

for args, status in [(["get"], 2), (["get", torrent], 2), (["fetch", "h:1", torrent], 2), (["make", "-o", "x"], 2),
                     (["make", "--size", "1"], 2), (["get", f"{IP}:1", "--source", "x", torrent], 1),
                     (["get", f"{IP}:1", "--source", "::1", torrent], 1), (["get", "nocolon", torrent], 1),
                     (["get", f"{IP}:1", "--source", "192.0.2.1", torrent], 1), (["get", f"{IP}:1", "/nonexistent"], 1),
                     (["seed", f"{IP}:1", torrent, "--data", "/nonexistent"], 1), (["seed", "--listen", "1", "x", torrent], 2)]:
    r = subprocess.run([BT, "bench", *args, "--timeout", "1"], capture_output=True, text=True)
    check(f"bench {args} ends with {status} and one line", r.returncode == status and r.stderr.count("\n") == 1,
          (r.returncode, r.stderr))

# ---- clients that seed ----


def right(report, connections):
    down = report["down"]
    return (report["end"] == "done" and report["connections"]["made"] == connections and report["pieces_good"] == PIECES and
            report["pieces_bad"] == 0 and down["bytes"] == SIZE and down["latency_us"]["count"] == down["blocks"] and
            0 < down["latency_us"]["p50"] <= down["latency_us"]["p99"] <= down["latency_us"]["max"] and
            sum(s["down"] for s in report["samples"]) == SIZE and down["fairness"]["min"] <= SIZE / connections and
            0 < down["fairness"]["jain"] <= 1.000001 and report["cpu"]["user"] + report["cpu"]["system"] > 0 and
            report["connections"]["handshake_us"]["count"] == connections and report["verified"])


for cls in [Bt, Libtorrent, Aria2, TransmissionDaemon, Rtorrent]:
    if cls.missing():
        skip(cls.name, f"not installed: {', '.join(cls.missing())}")
        continue
    client = cls(work)
    os.chmod(data, 0o777)
    proc = client.seed([torrent], data)
    wait_until(lambda: port_open(client.port, client.ip), 15)
    time.sleep(1)
    status, report, err, _ = bench("get", f"{client.ip}:{client.port}", torrent, "-c", 5, "--source", SOURCES)
    check(f"get from {cls.name}", status == 0 and right(report, 5), (status, report, err))
    status, report, err, _ = bench("get", f"{client.ip}:{client.port}", torrent, "-c", 1, "--source", SOURCES, "-s", 1,
                                   "--random", "--no-verify")
    check(f"get from {cls.name} for a second", status == 0 and report["end"] == "time" and not report["verified"] and
          0.5 < report["seconds"] < 2, (status, report, err))
    proc.stop()

# ---- clients that download ----

for cls in [Bt, Libtorrent, Aria2, TransmissionDaemon, Rtorrent]:
    if cls.missing():
        continue
    for more in ([], ["--data", path]):
        client, into = cls(work), work.sub("into")
        os.chmod(into, 0o777)
        proc = client.leech([torrent], into)
        wait_until(lambda: port_open(client.port, client.ip), 15)
        time.sleep(1)
        status, report, err, _ = bench("seed", f"{client.ip}:{client.port}", torrent, "-c", 5, "--source", SOURCES, *more)
        check(f"seed to {cls.name} {' '.join(more[:1])}", status == 0 and report["end"] == "done" and
              report["up"]["bytes"] >= SIZE and report["connections"]["made"] == 5 and report["up"]["latency_us"]["count"] > 0,
              (status, report, err))
        check(f"{cls.name} has it all", wait_until(lambda: same_path(path, os.path.join(into, "made")), 20), proc.tail(300))
        proc.stop()

if not Libtorrent.missing():
    client, into = Libtorrent(work), work.sub("into")
    proc = client.leech([torrent], into)
    wait_until(lambda: port_open(client.port, client.ip), 15)
    status, report, err, _ = bench("dual", f"{client.ip}:{client.port}", torrent, "-c", 6, "--source", SOURCES)
    check("dual with libtorrent", status == 0 and report["up"]["bytes"] >= SIZE and report["up"]["fairness"]["connections"] == 3 and
          report["down"]["bytes"] == SIZE and report["pieces_good"] == PIECES, (status, report, err))
    proc.stop()

# ---- itself; it waits for connections, too; a tree ----

seed = subprocess.Popen([BT, "bench", "seed", "--listen", "7100", "--source", IP, torrent, "-c", "30", "-q"])
wait_until(lambda: port_open(7100), 5)
status, report, err, _ = bench("get", f"{IP}:7100", torrent, "-c", 29, "--pipeline", 7)
check("get from itself", status == 0 and right(report, 29) and report["down"]["deepest"] == 7, (status, report, err))
check("which ends then", seed.wait(10) == 0)

tree = work.sub("tree")
os.mkdir(os.path.join(tree, "t"))
make_data(os.path.join(tree, "t"), {"a": 300001, "b/c": 5, "d": 0, "e": 800000})
many = create(os.path.join(tree, "t"), os.path.join(work.dir, "tree.torrent"), "-l", "32k")
into, client = work.sub("into"), Bt(work)
proc = client.get([many], into)
wait_until(lambda: port_open(client.port, client.ip), 10)
status, report, err, _ = bench("seed", f"{client.ip}:{client.port}", many, "--data", tree)
check("seed a tree", status == 0 and proc.wait(10) == 0 and same_tree(tree, into), (status, report, err))
status, report, err, _ = bench("seed", f"{IP}:1", many, "--timeout", 1)
check("a tree is no made content", status == 1 and "--data" in err, err)

# ---- hostile targets ----

INFO = bytes.fromhex(info_hash(torrent))
HELLO = b"\x13BitTorrent protocol" + bytes(8) + INFO + b"-EV0001-" + os.urandom(12)
ALL = struct.pack(">IB", 1 + (PIECES + 7) // 8, 5) + ((1 << PIECES) - 1 << -PIECES % 8).to_bytes((PIECES + 7) // 8, "big")
UNCHOKE = b"\0\0\0\1\1"
content = open(path, "rb").read()


class Target:
    """Runs one function per connection."""

    def __init__(self, fn):
        self.s = socket.socket()
        self.s.bind((IP, 0))
        self.s.listen(50)
        self.port = self.s.getsockname()[1]
        self.fn = fn
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            self.fn(c)
        except OSError:
            pass


def requests(c):
    """The requests that come, one by one."""
    f = c.makefile("rb")
    f.read(68)
    while head := f.read(4):
        m = f.read(struct.unpack(">I", head)[0])
        if m[:1] == b"\6":
            yield struct.unpack(">III", m[1:])


def answer(index, begin, n, wrong=False):
    at = index * 65536 + begin
    return struct.pack(">IBII", 9 + n, 7, index, begin) + (bytes(n) if wrong else content[at:at + n])


def silent(c):
    time.sleep(60)


def garbage(c):
    c.sendall(os.urandom(5000))
    c.recv(1)


def drip(c):
    for byte in HELLO + ALL + UNCHOKE + b"\0\0\0\0" * 1000:
        c.send(bytes([byte]))
        time.sleep(0.01)


def never_unchokes(c):
    c.sendall(HELLO + ALL)
    time.sleep(60)


def never_answers(c):
    c.sendall(HELLO + ALL + UNCHOKE)
    time.sleep(60)


def keeps_alive(c):
    c.sendall(HELLO + ALL + UNCHOKE)
    while True:
        c.sendall(b"\0\0\0\0" * 100)
        time.sleep(0.05)


def unasked(c):
    c.sendall(HELLO + ALL)
    while True:
        c.sendall(answer(3, 0, 16384))
        time.sleep(0.01)


def leaves_in_the_middle(c):
    c.sendall(HELLO + ALL + UNCHOKE)
    for i, r in enumerate(requests(c)):
        if i == 10:
            c.sendall(answer(*r)[:5000])
            c.close()
            return
        c.sendall(answer(*r))


def lies(c):
    c.sendall(HELLO + ALL + UNCHOKE)
    for r in requests(c):
        c.sendall(answer(*r, wrong=r[0] == 7))


def broken(c):
    c.sendall(HELLO + b"\xff\xff\xff\xff")
    c.recv(1)


def other_torrent(c):
    c.sendall(HELLO[:28] + bytes(20) + HELLO[48:])
    c.recv(1)


def backwards(c):
    """Four at a time, the last first: allowed, and libtorrent does it."""
    c.sendall(HELLO + ALL + UNCHOKE)
    c.settimeout(0.05)
    rest, held = b"", []
    while True:
        try:
            rest += c.recv(17)
        except TimeoutError:
            held += [None] * 4 * bool(held)
        rest = rest[68:] if rest[:1] == b"\x13" and len(rest) >= 68 else rest
        while rest[:1] == b"\0" and len(rest) >= 4 + rest[3]:
            if rest[4:5] == b"\6":
                held.append(struct.unpack(">III", rest[5:17]))
            rest = rest[4 + rest[3]:]
        if len(held) >= 4:
            for x in reversed(held):
                c.sendall(answer(*x) if x else b"")
            held = []


for fn, status, end, says, limit in [
        (silent, 1, "stalled", "handshake", 4), (garbage, 1, "stalled", "not BitTorrent", 4),
        (drip, 1, "stalled", "", 8), (never_unchokes, 1, "stalled", "", 5), (never_answers, 1, "stalled", "", 5),
        (keeps_alive, 1, "stalled", "", 5), (unasked, 1, "stalled", "", 5), (leaves_in_the_middle, 1, "closed", "closed", 4),
        (lies, 4, "done", "1 pieces", 20), (broken, 1, "closed", "too long", 4), (other_torrent, 1, "stalled", "another", 4),
        (backwards, 0, "done", "", 20)]:
    target = Target(fn)
    got, report, err, took = bench("get", f"{IP}:{target.port}", torrent, "-c", 3, "--timeout", 2, "--pipeline", 8)
    if fn is silent:
        says = "no connection"
    check(f"a target that is {fn.__name__}", got == status and report["end"] == end and says in err and took < limit and
          err.count("\n") == (status != 0), (got, report and report["end"], err, took))
    target.s.close()
status, report, err, took = bench("get", f"{IP}:{free_port()}", torrent, "--timeout", 2)
check("nobody there", status == 1 and "refused" in err and took < 4, (status, err, took))


def wants_but_reads_not(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.sendall(HELLO + b"\0\0\0\1\2")
    time.sleep(0.5)
    for i in range(200):
        c.sendall(struct.pack(">IBIII", 13, 6, i, 0, 16384))
    time.sleep(60)


def floods(c):
    c.sendall(HELLO + b"\0\0\0\1\2")
    while True:
        c.sendall(struct.pack(">IBIII", 13, 6, 0, 0, 1) * 1000)


for fn in (wants_but_reads_not, floods, never_unchokes, silent):
    target = Target(fn)
    got, report, err, took = bench("seed", f"{IP}:{target.port}", torrent, "-c", 2, "--timeout", 2)
    check(f"seed to one who {fn.__name__}", got == 1 and err.count("\n") == 1 and took < (20 if fn is floods else 8), (got, report, err, took))
    target.s.close()

# ---- a signal ----

target = Target(never_answers)
p = subprocess.Popen([BT, "bench", "get", f"{IP}:{target.port}", torrent], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
time.sleep(0.7)
p.send_signal(signal.SIGINT)
out, err = p.communicate(timeout=5)
check("Ctrl-C: status 3 and a report", p.returncode == 3 and "stopped" in out and err == "", (p.returncode, out, err))
done()
