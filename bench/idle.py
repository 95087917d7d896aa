#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""idle.py - what torrents cost while nobody wants them: N small torrents in one
`bt seed` (or `bt get`, which finds them complete). Prints, for both processes,
start-up, memory and descriptors per torrent, then wake-ups and CPU over some
seconds of doing nothing. No network but the listener; no root."""
import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(map(bencode, x)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(x.items())) + b"e"


def make(where, n, pieces, length):
    """n torrents of one file each; contents are alike, names make them different."""
    data = os.urandom(length) * pieces
    hashes = hashlib.sha1(data[:length]).digest() * pieces
    for i in range(n):
        name = "t%06d" % i
        info = {b"name": name.encode(), b"length": len(data), b"piece length": length, b"pieces": hashes}
        with open(os.path.join(where, "torrents", name), "wb") as f:
            f.write(bencode({b"info": info}))
        with open(os.path.join(where, "data", name), "wb") as f:
            f.write(data)


def children(pid):
    return [int(p) for t in os.listdir(f"/proc/{pid}/task")
            for p in open(f"/proc/{pid}/task/{t}/children").read().split()]


def facts(pid):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    ticks = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    kib = {k: int(status.get(k, "0 kB").split()[0]) for k in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}
    return {**kib, "wakes": int(status["voluntary_ctxt_switches"]), "fds": len(os.listdir(f"/proc/{pid}/fd")),
            "maps": sum(1 for _ in open(f"/proc/{pid}/maps")),
            "cpu": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")}


def run(args, where, label):
    argv = [args.bt, args.command, "--port", "0", "-d", "data"] + args.option
    argv += ["torrents/" + x for x in sorted(os.listdir(os.path.join(where, "torrents")))]
    begin = time.monotonic()
    log = os.path.join(where, "log." + label)
    with open(log, "wb") as out:
        p = subprocess.Popen(argv, cwd=where, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        words = (b"sharing it", b"was here already", b"complete,")
        while sum(any(w in line for w in words) for line in open(log, "rb")) < args.n:
            if p.poll() is not None or time.monotonic() - begin > args.patience:
                sys.exit(f"not all torrents came up: {open(log, 'rb').read()[-500:].decode('utf-8', 'replace')}")
            time.sleep(0.05)
        print(f"{label}: start {time.monotonic() - begin:.2f} s")
        time.sleep(args.settle)
        pids = {"loop": p.pid, "keeper": children(p.pid)[0]}
        before = {who: facts(pid) for who, pid in pids.items()}
        time.sleep(args.seconds)
        for who, pid in pids.items():
            a, b = before[who], facts(pid)
            print(f"{label}: {who}: RSS {b['VmRSS'] / 1024:.1f} MiB (anonymous {b['RssAnon'] / 1024:.1f}, "
                  f"shared {b['RssShmem'] / 1024:.1f}), {b['RssAnon'] / args.n:.2f} KiB anonymous and "
                  f"{b['RssShmem'] / args.n:.2f} KiB shared per torrent, {b['fds']} descriptors, {b['maps']} mappings, "
                  f"{(b['wakes'] - a['wakes']) / args.seconds:.1f} wake-ups/s, "
                  f"{(b['cpu'] - a['cpu']) / args.seconds * 1000:.1f} CPU ms/s, {a['cpu']:.2f} CPU s to start")
    finally:
        begin = time.monotonic()
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            p.wait(120)
        print(f"{label}: stop {time.monotonic() - begin:.2f} s, exit status {p.returncode}")


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("n", type=int, nargs="?", default=10000)
    a.add_argument("--bt", default="build/bt")
    a.add_argument("--command", default="seed", choices=("seed", "get"))
    a.add_argument("--option", action="append", default=[], help="passed on to bt")
    a.add_argument("--pieces", type=int, default=4)
    a.add_argument("--piece-length", type=int, default=16384)
    a.add_argument("--seconds", type=float, default=5)
    a.add_argument("--settle", type=float, default=12, help="first wait so long, for what is due after the start")
    a.add_argument("--patience", type=float, default=600)
    a.add_argument("--runs", default="cold,warm", help="cold: without journals; warm: with those of the run before")
    args = a.parse_args()
    args.bt = os.path.abspath(args.bt)
    if args.command == "get":
        args.option.append("--seed")
    where = tempfile.mkdtemp(prefix="bt-idle-")
    try:
        for d in ("torrents", "data"):
            os.mkdir(os.path.join(where, d))
        make(where, args.n, args.pieces, args.piece_length)
        for label in args.runs.split(","):
            run(args, where, label)
    finally:
        shutil.rmtree(where)


main()
