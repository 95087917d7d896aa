# SPDX-License-Identifier: MIT
"""leech.py - the cheapest thing that can download: asks for every block of a
torrent once, over N connections, and lets the kernel throw the answers away
(MSG_TRUNC), so that the seeder is what is measured. One process, no checks on
the fast path; before the clock runs each connection fetches one piece for real
and compares its SHA-1. Plain BEP 3, no extensions: everybody speaks that."""
import ctypes
import hashlib
import random
import select
import socket
import struct
import time

BLOCK = 16384
HEAD = 13
libc = ctypes.CDLL(None)
libc.recv.restype = ctypes.c_ssize_t
libc.recv.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Refused(Exception):
    pass


def read_exactly(s, n):
    data = bytearray()
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise Refused("closed")
        data += part
    return bytes(data)


def message(s):
    n = struct.unpack(">I", read_exactly(s, 4))[0]
    return read_exactly(s, n)


def blocks_of(piece, torrent):
    size, length = torrent["size"], torrent["piece_len"]
    end = min(length, size - piece * length)
    return [(piece, begin, min(BLOCK, end - begin)) for begin in range(0, end, BLOCK)]


def encode(blocks):  # `request` messages
    return b"".join(struct.pack(">IBIII", 13, 6, *b) for b in blocks)


def connect(torrent, source, target):
    """A connection that is unchoked, and has delivered one right piece."""
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(15)
    s.bind((source, 0))
    try:
        s.connect(target)
        s.sendall(b"\x13BitTorrent protocol" + bytes(8) + bytes.fromhex(torrent["info_hash"]) + b"-BE0001-" +
                  random.randbytes(12))
        read_exactly(s, 68)
        s.sendall(struct.pack(">IB", 1, 2))  # interested
        have = set()
        while True:
            m = message(s)
            if m[:1] == b"\x05":
                have = {i for i in range(torrent["pieces"]) if m[1 + i // 8] >> (7 - i % 8) & 1}
            elif m[:1] == b"\x04":
                have.add(struct.unpack(">I", m[1:5])[0])
            elif m[:1] == b"\x01":
                break
        if len(have) < torrent["pieces"]:
            raise Refused(f"has {len(have)} of {torrent['pieces']} pieces")
        piece = random.randrange(torrent["pieces"])
        blocks = blocks_of(piece, torrent)
        data, asked = {}, 0
        while len(data) < len(blocks):
            if len(data) == asked:
                s.sendall(encode(blocks[asked:asked + 64]))
                asked = min(asked + 64, len(blocks))
            m = message(s)
            if m[:1] == b"\x07":
                data[m[5:9]] = m[9:]
            elif m[:1] == b"\x00":
                raise Refused("choked")
        if hashlib.sha1(b"".join(data[k] for k in sorted(data))).hexdigest() != torrent["hashes"][piece]:
            raise Refused("wrong data")
    except (OSError, Refused):
        s.close()
        raise
    return s


def leech(torrent, sources, target, connections, depth):
    """Seconds for all of it. Each connection has its share of the pieces, in random
    order, and `depth` blocks on order, renewed a quarter at a time."""
    pieces = list(range(torrent["pieces"]))
    random.shuffle(pieces)
    socks = [connect(torrent, sources[i % len(sources)], target) for i in range(connections)]
    shares = []
    for i, s in enumerate(socks):
        blocks = [b for p in pieces[i::connections] for b in blocks_of(p, torrent)]
        shares.append({"s": s, "wire": encode(blocks), "n": len(blocks), "asked": 0, "got": 0,
                       "bytes": sum(HEAD + b[2] for b in blocks)})
    poll = select.epoll()
    by_fd = {}
    start = time.monotonic()
    for x in shares:
        x["asked"] = min(depth, x["n"])
        x["s"].sendall(x["wire"][:17 * x["asked"]])
        poll.register(x["s"].fileno(), select.EPOLLIN)
        by_fd[x["s"].fileno()] = x
    left = len(shares)
    while left:
        events = poll.poll(30)
        if not events:
            raise Refused("stalled")
        for fd, _ in events:
            x = by_fd[fd]
            n = libc.recv(fd, None, 4 << 20, socket.MSG_TRUNC | socket.MSG_DONTWAIT)
            if n == 0:
                raise Refused("closed")
            x["got"] += max(n, 0)
            due = min(x["n"], x["got"] // (HEAD + BLOCK) + depth)
            if due - x["asked"] >= depth // 4 or (due == x["n"] and due > x["asked"]):
                x["s"].sendall(x["wire"][17 * x["asked"]:17 * due])
                x["asked"] = due
            if x["got"] >= x["bytes"]:
                left -= 1
                poll.unregister(fd)
    took = time.monotonic() - start
    for s in socks:
        s.close()
    return took
