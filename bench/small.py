#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""small.py - `bt get` from 50 seeders (`bt bench seed`) with the default memory
and with that of a small machine, in turn: rate, CPU of both processes, the most
memory they held, and how long the loop's turns were. Loopback only, no root."""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import meter  # noqa: E402

KINDS = {"default": [], "small": ["--storage", "pool", "--window", "4M"]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(args, where, options):
    out = os.path.join(where, "out")
    shutil.rmtree(out, ignore_errors=True)
    port = free_port()
    g = meter.Group([args.bt, "get", "../t", "-d", "../out", "-p", str(port), "--max-peers", "300", "--stats"] + options,
                    tempfile.mkdtemp(dir=where))
    seeds = None
    try:
        while "listening" not in g.text():
            time.sleep(0.01)
        begin, cpu = time.monotonic(), 0
        seeds = subprocess.Popen([args.bt, "bench", "seed", f"127.0.0.1:{port}", "t", "-q", "-c", str(args.connections),
                                  "--source", f"127.0.0.2-127.0.0.{1 + min(args.connections, 250)}"], cwd=where)
        while g.running():
            g.look()
            cpu = max(cpu, g.cpu())
            time.sleep(0.01)
        cpu = max(cpu, g.cpu())
        took = time.monotonic() - begin
    finally:
        g.stop()
        if seeds:
            seeds.terminate()
            seeds.wait()
    if g.p.returncode:
        sys.exit(g.text())
    loop = re.search(r"loop: .*", g.text()).group()
    turns = [float(x) for x in re.findall(r"([0-9.]+) ms|99% within ([0-9.]+)|99\.9% within ([0-9.]+)|longest ([0-9.]+)",
                                          loop) for x in x if x]
    return {"MiB/s": args.mib / took, "CPU s/GiB": cpu * 1024 / args.mib, **{k: v / 2 ** 20 for k, v in g.peak.items()},
            **dict(zip(("p50", "p99", "p99.9", "longest"), turns))}


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--bt", default="build/bt")
    a.add_argument("--mib", type=int, default=1024)
    a.add_argument("--connections", type=int, default=50)
    a.add_argument("--piece-length", default="256k")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--tmp", help="make the files in this directory")
    a.add_argument("--kinds", default="default,small")
    a.add_argument("--option", action="append", default=[], help="passed on to bt get")
    args = a.parse_args()
    args.bt = os.path.abspath(args.bt)
    where = tempfile.mkdtemp(prefix="bt-small-", dir=args.tmp)
    got = {k: [] for k in args.kinds.split(",")}
    try:
        subprocess.run([args.bt, "bench", "make", "-o", "t", "--size", f"{args.mib}MiB", "-l", args.piece_length, "-q"],
                       cwd=where, check=True)
        for _ in range(args.rounds):
            for kind in got:
                got[kind].append(run(args, where, KINDS[kind] + args.option))
    finally:
        shutil.rmtree(where)
    for kind, runs in got.items():
        mid = {k: sorted(r[k] for r in runs)[len(runs) // 2] for k in runs[0]}
        print(f"{kind}: {mid['MiB/s']:.0f} MiB/s, {mid['CPU s/GiB']:.2f} CPU s/GiB, peak of both processes: anonymous "
              f"{mid['anon']:.1f} MiB, window and other shared {mid['shared']:.1f}, program files {mid['file']:.1f}; "
              f"turns p50 {mid['p50']:.3f} ms, p99 {mid['p99']:.3f}, p99.9 {mid['p99.9']:.3f}, longest {mid['longest']:.1f}")


main()
