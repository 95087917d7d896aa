#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""hostile_peers.py - peers that real programs won't play: garbage, lies about
indexes, half messages, silence, floods, wrong data. Against `bt seed`: it drops
each of them, stays small, and still serves an honest peer. Against `bt get`: it
finishes with the right bytes, bans who lied and nobody else."""
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "real"))
from clients import *  # noqa: E402

in_namespace()
PIECE = 65536
BLOCK = 16384
work = Work()
original = work.sub("original")
data_path = make_data(os.path.join(original, "data.bin"), 40 * PIECE + 5000)
data = open(data_path, "rb").read()
torrent = create(data_path, os.path.join(work.dir, "x.torrent"), "--piece-length", str(PIECE))
ih = bytes.fromhex(info_hash(torrent))
PIECES = 41


def handshake(reserved=b"\0" * 7 + b"\x04", info=ih, peer_id=None):
    return b"\x13BitTorrent protocol" + reserved + info + (peer_id or b"-XX0001-" + os.urandom(12))


def message(kind, payload=b""):
    return struct.pack(">IB", 1 + len(payload), kind) + payload


def request(piece, begin, length):
    return message(6, struct.pack(">III", piece, begin, length))


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


def dial(port, hello=None):
    s = socket.create_connection((seed.ip, port), 5)
    s.settimeout(14)
    s.sendall(handshake() if hello is None else hello)
    return s


def read_exact(s, n):
    out = b""
    while len(out) < n:
        got = s.recv(n - len(out))
        if not got:
            raise ConnectionError("closed")
        out += got
    return out


def closed(s, seconds):
    """True when the other end closes within that time; what it says before is ignored."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        s.settimeout(max(0.05, end - time.monotonic()))
        try:
            if not s.recv(65536):
                return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False
    return False


# ---- against a seeder ----

seed = Bt(work)
seeder = seed.seed([torrent], original)
check("bt seed listens", wait_until(lambda: port_open(seed.port, seed.ip), 10), seeder.tail())
wait_until(lambda: b"sharing it" in open(seeder.log, "rb").read(), 5)

BITS = b"\0" * 6
quick = {
    "garbage": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4, None),
    "other protocol name": (b"\x13BitTorrent protocoX" + b"\0" * 48, None),
    "unknown torrent": (handshake(info=b"\x01" * 20), None),
    "length 2^32-1": (handshake(), b"\xff\xff\xff\xff\x06"),
    "length 2^31": (handshake(), b"\x80\0\0\0\x14"),
    "request beyond the last piece": (handshake(), request(PIECES, 0, BLOCK)),
    "request index 2^32-1": (handshake(), request(0xffffffff, 0, BLOCK)),
    "request begin beyond the piece": (handshake(), request(0, PIECE, BLOCK)),
    "request begin 2^32-1": (handshake(), request(0, 0xffffffff, BLOCK)),
    "request over the end of the piece": (handshake(), request(0, PIECE - 1, 2)),
    "request over the end of the last piece": (handshake(), request(PIECES - 1, 0, BLOCK)),
    "request of nothing": (handshake(), request(0, 0, 0)),
    "request of 256 KiB": (handshake(), request(0, 0, 262144)),
    "short request": (handshake(), message(6, b"\0" * 11)),
    "have out of range": (handshake(), message(4, struct.pack(">I", PIECES))),
    "short have": (handshake(), message(4, b"\0")),
    "bitfield too long": (handshake(), message(5, BITS + b"\0")),
    "bitfield too short": (handshake(), message(5, BITS[1:])),
    "bitfield with spare bits": (handshake(), message(5, b"\0" * 5 + b"\x01")),
    "have all without the fast extension": (handshake(reserved=b"\0" * 8), message(14)),
    "reject without the fast extension": (handshake(reserved=b"\0" * 8), message(16, struct.pack(">III", 0, 0, BLOCK))),
    "extended without the extension": (handshake(), message(20, b"\0de")),
    "choke with a payload": (handshake(), message(0, b"x")),
    "extension handshake that is no dictionary": (handshake(reserved=b"\0" * 5 + b"\x10\0\x04"), message(20, b"\0i1e")),
    "extension handshake nested 100,000 deep": (handshake(reserved=b"\0" * 5 + b"\x10\0\x04"),
                                                message(20, b"\0" + b"l" * 100000)),
    "extension handshake cut": (handshake(reserved=b"\0" * 5 + b"\x10\0\x04"), message(20, b"\0d1:m")),
    "piece out of range": (handshake(), message(7, struct.pack(">II", PIECES, 0) + b"x" * 100)),
}
for name, (hello, more) in quick.items():
    try:
        s = dial(seed.port, hello)
        if more:
            read_exact(s, 68)
            s.sendall(more)
        ok = closed(s, 5)
    except ConnectionError:
        ok = True
    check(f"seed drops: {name}", ok)
    s.close()

s = dial(seed.port, handshake(peer_id=None)[:40])
check("seed drops: half a handshake, after its time", closed(s, 13))
s.close()

# floods: requests that are never read, cancels for nothing, one byte at a time
before = rss_kib(seeder.p.pid)
greedy = []
for _ in range(20):
    s = dial(seed.port)
    read_exact(s, 68)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(message(2))  # interested
    try:
        s.settimeout(2)
        for i in range(3000):
            s.sendall(request(i % 40, (i * BLOCK) % PIECE, BLOCK))
    except (TimeoutError, ConnectionError):
        pass
    greedy.append(s)
s = dial(seed.port)
read_exact(s, 68)
s.sendall(b"".join(message(8, struct.pack(">III", i % 40, 0, BLOCK)) for i in range(20000)))
greedy.append(s)
for _ in range(30):
    greedy.append(dial(seed.port, b"\x13"))  # says one byte and waits
time.sleep(1)
after = rss_kib(seeder.p.pid)
check(f"seed stays small under floods ({before} -> {after} KiB)", after - before < 8192)

s = dial(seed.port)
for b in (handshake()[:0] + message(2) + request(3, BLOCK, BLOCK)):
    s.sendall(bytes([b]))
got = b""
try:
    read_exact(s, 68)
    while True:
        n = struct.unpack(">I", read_exact(s, 4))[0]
        body = read_exact(s, n)
        if n and body[0] == 7:
            got = body[9:]
            break
        if n and body[0] == 1:  # unchoked only now: ask again
            s.sendall(request(3, BLOCK, BLOCK))
except (ConnectionError, TimeoutError):
    pass
check("a peer that sends byte by byte is served", got == data[3 * PIECE + BLOCK:3 * PIECE + 2 * BLOCK])
s.close()
honest = work.sub("honest")
getter = Bt(work).get([torrent], honest, (seed.ip, seed.port))
check("an honest peer is still served among them", getter.wait(20) == 0, getter.tail())
check("and has the right bytes", same_path(data_path, os.path.join(honest, "data.bin")))
for s in greedy:
    s.close()
check("seed still runs", seeder.running(), seeder.tail())


# ---- against a downloader ----

class Liar(threading.Thread):
    """Listens as a complete seeder and answers requests as `answer` says."""

    def __init__(self, answer, fast=True):
        super().__init__(daemon=True)
        self.answer = answer
        self.reserved = b"\0" * 7 + (b"\x04" if fast else b"\0")
        self.fast = fast
        self.listener = socket.create_server((IP, 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.requests = 0
        self.start()

    def run(self):
        while True:
            s, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            read_exact(s, 68)
            s.sendall(handshake(self.reserved))
            s.sendall(message(14) if self.fast else message(5, b"\xff" * 5 + b"\x80"))
            s.sendall(message(1))
            while True:
                n = struct.unpack(">I", read_exact(s, 4))[0]
                body = read_exact(s, n)
                if n and body[0] == 6:
                    self.requests += 1
                    self.answer(s, *struct.unpack(">III", body[1:13]))
        except (ConnectionError, OSError):
            pass
        finally:
            s.close()


def true_block(piece, begin, length):
    at = piece * PIECE + begin
    return data[at:at + length]


def piece_message(piece, begin, block):
    return message(7, struct.pack(">II", piece, begin) + block)


def all_wrong(s, piece, begin, length):
    s.sendall(piece_message(piece, begin, os.urandom(length)))


def one_wrong_in_four(s, piece, begin, length):
    block = true_block(piece, begin, length)
    if begin == BLOCK:
        block = block[:-1] + bytes([block[-1] ^ 1])
    s.sendall(piece_message(piece, begin, block))


def silent(s, piece, begin, length):
    pass


def not_asked_for(s, piece, begin, length):
    other = (piece + 7) % 40
    s.sendall(piece_message(other, begin, true_block(other, begin, BLOCK)))


def out_of_range(s, piece, begin, length):
    s.sendall(piece_message(PIECES + 3, begin, b"x" * 100))


def too_short(s, piece, begin, length):
    s.sendall(piece_message(piece, begin, true_block(piece, begin, length)[:-1]))


def too_long(s, piece, begin, length):
    s.sendall(piece_message(piece, begin, b"y" * 65536) if begin == 0 else piece_message(piece, begin, b"z" * 200000))


def half_a_block(s, piece, begin, length):
    s.sendall(piece_message(piece, begin, true_block(piece, begin, length))[:5000])
    s.close()


def rejects(s, piece, begin, length):
    s.sendall(message(16, struct.pack(">III", piece, begin, length)))


def haves_between(s, piece, begin, length):
    """Honest data, but every block comes with other messages around it."""
    s.sendall(message(4, struct.pack(">I", piece)) + b"\0\0\0\0" + piece_message(piece, begin, true_block(piece, begin, length))
              + message(9, b"\x1a\xe1") + message(13, struct.pack(">I", piece)))


def drip(s, piece, begin, length):
    m = piece_message(piece, begin, true_block(piece, begin, length))
    for i in range(0, len(m), 997):
        s.sendall(m[i:i + 997])
        time.sleep(0.0005)


def backwards(s, piece, begin, length, held={}):
    """Answers in the wrong order, in pairs."""
    mine = held.setdefault(s, [])
    mine.append(piece_message(piece, begin, true_block(piece, begin, length)))
    if len(mine) == 2 or (piece == PIECES - 1):
        for m in reversed(mine):
            s.sendall(m)
        mine.clear()


def download(name, liars, with_honest, seconds=40, banned=(), options=()):
    into = work.sub("get")
    told = [x for liar in liars for x in ("--peer", f"{IP}:{liar.port}")]
    if with_honest:
        told += ["--peer", f"{seed.ip}:{seed.port}"]
    proc = Bt(work).get([torrent], into, None, *told, *options)
    code = proc.wait(seconds)
    log = open(proc.log, encoding="utf-8", errors="replace").read()
    check(f"get finishes: {name}", code == 0, f"{code} {log[-600:]}")
    check(f"with the right bytes: {name}", same_path(data_path, os.path.join(into, "data.bin")))
    accused = [line for line in log.splitlines() if "banned" in line]
    for liar in liars:
        guilty = any(f":{liar.port}" in line for line in accused)
        if liar in banned:
            check(f"the liar is banned: {name}", guilty, log[-400:])
        else:
            check(f"nobody honest is banned: {name}", not guilty, log[-400:])
    check(f"the honest seeder is not banned: {name}", not any(f":{seed.port}" in line for line in accused), log[-400:])
    proc.stop()


for options in ((), ("--storage", "map")):
    label = f" {' '.join(options)}".rstrip()
    liar = Liar(all_wrong)
    download("wrong data from one" + label, [liar], True, banned=[liar], options=options)
    liar = Liar(one_wrong_in_four)
    download("one wrong block in four" + label, [liar], True, banned=[liar], options=options)
    download("odd but honest: messages between blocks" + label, [Liar(haves_between)], False, options=options)
    download("odd but honest: in drops" + label, [Liar(drip)], False, options=options)
    download("odd but honest: out of order" + label, [Liar(backwards, fast=False)], False, options=options)
for answer in (silent, not_asked_for, out_of_range, too_short, too_long, half_a_block, rejects):
    download(answer.__name__.replace("_", " "), [Liar(answer)], True)
seeder.stop(signal.SIGINT)
check("seed ends with 0", seeder.p.returncode == 0, seeder.tail())
done()
