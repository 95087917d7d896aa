#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""many.py - one `bt seed` with very many connections: how many come up in a
second, what an idle one costs in memory and CPU, and what the idle ones cost the
busy ones. Idle peers shake hands, tell a bit field and a BEP 10 hello, then say
nothing; with --interested they also wait to be unchoked, so that the choker has
all of them to think about. Busy ones ask for random pieces whenever they are
unchoked, and throw the answers away. No root, loopback only."""
import argparse
import hashlib
import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BLOCK = 16384
HELLO = b"d1:md11:lt_donthavei7e11:ut_metadatai3e6:ut_pexi1ee1:pi6881e4:reqqi500e1:v12:bench/many 1e"


def bdecode(d, i=0):
    c = d[i:i + 1]
    if c == b"i":
        e = d.index(b"e", i)
        return int(d[i + 1:e]), e + 1
    if c in (b"l", b"d"):
        out, i = [], i + 1
        while d[i:i + 1] != b"e":
            x, i = bdecode(d, i)
            out.append(x)
        return (out if c == b"l" else dict(zip(out[::2], out[1::2]))), i + 1
    e = d.index(b":", i)
    n = int(d[i:e])
    return d[e + 1:e + 1 + n], e + 1 + n


def read_torrent(path):
    d = open(path, "rb").read()
    info, _ = bdecode(d)
    info = info[b"info"]
    start = d.index(b"4:info") + 6
    _, end = bdecode(d, start)
    p = info[b"pieces"]
    return {"info_hash": hashlib.sha1(d[start:end]).hexdigest(), "size": info[b"length"],
            "piece_len": info[b"piece length"], "pieces": len(p) // 20,
            "hashes": [p[i:i + 20].hex() for i in range(0, len(p), 20)]}


def facts(pid):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    ticks = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return {"anon": int(status["RssAnon"].split()[0]) * 1024, "wakes": int(status["voluntary_ctxt_switches"]),
            "cpu": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")}


def idle_peers(torrent, target, n, interested):
    """n handshakes, many at once; what comes back is thrown away."""
    bits = bytearray(os.urandom((torrent["pieces"] + 7) // 8))
    bits[-1] = 0
    bits[0] &= 0x7f  # never complete
    tail = struct.pack(">IB", 1 + len(bits), 5) + bytes(bits) + struct.pack(">IBB", 2 + len(HELLO), 20, 0) + HELLO
    if interested:
        tail += struct.pack(">IB", 1, 2)
    hs = b"\x13BitTorrent protocol" + bytes(5) + b"\x10\0\x04" + bytes.fromhex(torrent["info_hash"]) + b"-ID0001-"
    poll, left, socks, ready = select.epoll(), n, {}, []
    while len(ready) < n:
        while left and len(socks) < 48:
            s = socket.socket()
            s.bind((f"127.0.{random.randrange(1, 250)}.{random.randrange(1, 250)}", 0))
            s.connect(target)
            s.sendall(hs + random.randbytes(12))
            s.setblocking(False)
            poll.register(s.fileno(), select.EPOLLIN)
            socks[s.fileno()] = s
            left -= 1
        for fd, _ in poll.poll(10) or sys.exit("stalled"):
            s = socks.pop(fd)
            poll.unregister(fd)
            if not s.recv(68):
                sys.exit(f"closed after {len(ready)} connections")
            s.send(tail)
            ready.append(s)
    return ready


def drain(socks):
    lost = 0
    for s in socks:
        try:
            while True:
                if not s.recv(65536):
                    lost += 1
                    break
        except BlockingIOError:
            pass
        except OSError:
            lost += 1
    return lost


class Busy:
    """A peer that downloads random pieces for ever."""
    room = bytearray(1 << 20)

    def __init__(self, torrent, source, target, depth):
        self.s = socket.socket()
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.bind((source, 0))
        self.s.connect(target)
        self.s.sendall(b"\x13BitTorrent protocol" + bytes(8) + bytes.fromhex(torrent["info_hash"]) + b"-BE0001-" +
                       random.randbytes(12) + struct.pack(">IB", 1, 2))
        self.s.setblocking(False)
        self.t, self.depth, self.ordered, self.choked = torrent, depth, 0, True
        self.skip, self.rest = 68, b""  # bytes of the message that is passing by; the start of the next

    def order(self):
        while not self.choked and self.ordered < self.depth:
            piece = random.randrange(self.t["pieces"] - 1)  # all but the last are whole
            n = self.t["piece_len"] // BLOCK
            self.s.send(b"".join(struct.pack(">IBIII", 13, 6, piece, i * BLOCK, BLOCK) for i in range(n)))
            self.ordered += n

    def readable(self):
        """Payload bytes that came, -1 at the end."""
        try:
            n = self.s.recv_into(self.room)
        except BlockingIOError:
            return 0
        except OSError:
            return -1
        if n == 0:
            return -1
        at, blocks = self.skip, 0
        if at < n and self.rest:
            data = self.rest + bytes(self.room[:n])
            n, self.rest = len(data), b""
        else:
            data = self.room
        while at + 5 <= n:
            length = int.from_bytes(data[at:at + 4], "big")
            kind = data[at + 4] if length else -1
            if kind == 7:
                blocks += 1
            elif kind == 0:
                self.choked, self.ordered = True, 0
            elif kind == 1:
                self.choked = False
            at += 4 + length
        if at < n:
            self.rest, self.skip = bytes(data[at:n]), 0
        else:
            self.skip = at - n
        self.ordered = max(self.ordered - blocks, 0)
        if self.ordered <= self.depth // 2:
            self.order()
        return blocks * BLOCK


def busy(args, torrent, pid, target, n, label):
    poll = select.epoll()
    peers = {}
    for i in range(n):
        b = Busy(torrent, f"127.0.0.{2 + i % 200}", target, args.depth)
        peers[b.s.fileno()] = b
        poll.register(b.s.fileno(), select.EPOLLIN)
    rates = []
    for k in range(args.rounds + 2):  # two to get going
        before, begin, got = facts(pid), time.monotonic(), 0
        while (now := time.monotonic()) < begin + args.seconds:
            for fd, _ in poll.poll(1):
                m = peers[fd].readable()
                if m < 0:
                    sys.exit("a busy connection was closed")
                got += m
        after = facts(pid)
        if k >= 2:
            rates.append((got / (now - begin) / 2 ** 20, (after["cpu"] - before["cpu"]) * 2 ** 30 / max(got, 1)))
    going = sum(not b.choked for b in peers.values())
    for b in peers.values():
        b.s.close()
    rates.sort()
    mid = rates[len(rates) // 2]
    print(f"{label}: {mid[0]:.0f} MiB/s ({rates[0][0]:.0f}-{rates[-1][0]:.0f}), {mid[1]:.2f} loop CPU s/GiB, "
          f"{going} unchoked at the end", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--bt", default="build/bt")
    a.add_argument("--idle", type=int, default=4800)
    a.add_argument("--few", type=int, default=50)
    a.add_argument("--busy", type=int, default=200)
    a.add_argument("--mib", type=int, default=512)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--seconds", type=float, default=3)
    a.add_argument("--depth", type=int, default=64, help="blocks on order at once")
    a.add_argument("--interested", action="store_true")
    a.add_argument("--option", action="append", default=[], help="passed on to bt")
    args = a.parse_args()
    args.bt = os.path.abspath(args.bt)
    need = args.idle + args.busy + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    where = tempfile.mkdtemp(prefix="bt-many-")
    p = None
    try:
        with open(os.path.join(where, "data"), "wb") as f:
            for _ in range(args.mib):
                f.write(os.urandom(1 << 20))
        subprocess.run([args.bt, "create", "data", "-o", "t", "-q"], cwd=where, check=True)
        torrent = read_torrent(os.path.join(where, "t"))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            target = s.getsockname()
        log = open(os.path.join(where, "log"), "wb")
        p = subprocess.Popen([args.bt, "seed", "t", "--stats", "-p", str(target[1]), "--max-peers", str(need)] + args.option,
                             cwd=where, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        while b"sharing it" not in open(os.path.join(where, "log"), "rb").read():
            if p.poll() is not None:
                sys.exit("bt seed ended")
            time.sleep(0.05)
        if args.few:
            busy(args, torrent, p.pid, target, args.few, f"{args.few} busy alone")
        time.sleep(1)
        before = facts(p.pid)
        begin = time.monotonic()
        idle = idle_peers(torrent, target, args.idle, args.interested)
        took = time.monotonic() - begin
        time.sleep(1)
        after = facts(p.pid)
        print(f"{args.idle} idle: {args.idle / took:.0f} connects/s, {(after['cpu'] - before['cpu']) * 1e6 / args.idle:.0f} "
              f"CPU us each, {(after['anon'] - before['anon']) / args.idle:.0f} bytes each", flush=True)
        drain(idle)
        before = facts(p.pid)
        time.sleep(args.seconds)
        after = facts(p.pid)
        print(f"{args.idle} idle: {(after['wakes'] - before['wakes']) / args.seconds:.1f} wake-ups/s, "
              f"{(after['cpu'] - before['cpu']) / args.seconds * 1000:.1f} CPU ms/s", flush=True)
        if args.few:
            busy(args, torrent, p.pid, target, args.few, f"{args.few} busy beside {args.idle} idle")
        if args.busy:
            busy(args, torrent, p.pid, target, args.busy, f"{args.busy} busy beside {args.idle} idle")
        print(f"lost connections: {drain(idle)}")
    finally:
        if p and p.poll() is None:
            p.send_signal(signal.SIGTERM)
            p.wait(30)
        if p:
            sys.stdout.write(open(os.path.join(where, "log"), "rb").read().decode("utf-8", "replace")[-600:])
        shutil.rmtree(where)


main()
