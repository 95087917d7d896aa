#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""foreign.py - bt as a 32-bit little-endian (ARM) and a 32-bit big-endian (MIPS)
program under qemu-user, with a native bt at the other end: create, seed, get both
ways in each kind of storage, go on after a stop, verify; journals and torrents
that one of them wrote are read by the other."""
import re

from clients import *

in_namespace()

TARGETS = [  # name, CROSS_COMPILE, qemu
    ("ARM, 32 bits, little-endian", "arm-linux-gnueabihf-", "qemu-arm"),
    ("MIPS, 32 bits, big-endian", "mips-linux-gnu-", "qemu-mips"),
]
SIZES = {  # piece remainders, files across pieces, empty ones
    "a.bin": 1, "b/odd.bin": 32767, "b/even.bin": 32768, "b/more.bin": 32769, "b/empty.bin": 0,
    "long.bin": 3 * 1024 * 1024 + 77, "z/\u00fcml\u00e4ut.bin": 16385, "last": 12345,
}


def build(cross, qemu):
    """The program, or None after a visible skip or failure."""
    missing = [t for t in (cross + "gcc", qemu) if not shutil.which(t)]
    if missing:
        skip(cross.rstrip("-"), f"not installed: {', '.join(missing)}")
        return None
    made = subprocess.run(["make", "-s", "-j2", "STATIC=1", f"CROSS_COMPILE={cross}", "all"], cwd=ROOT,
                          capture_output=True, text=True)
    if not check(f"bt is built for {cross.rstrip('-')}", made.returncode == 0, made.stderr[-600:]):
        return None
    return [qemu, os.path.join(ROOT, "build", cross + "static", "bt")]


def run(program, *args):
    return subprocess.run([*program, *args], capture_output=True, text=True, timeout=60)


def start_seed(giver):
    log = os.path.join(giver.home, "log")
    begin = os.path.getsize(log) if os.path.exists(log) else 0
    proc = giver.seed([torrent], original)
    wait_until(lambda: b"sharing it" in open(proc.log, "rb").read()[begin:], 20)
    return proc


def transfer(name, giver, taker, options=()):
    proc = start_seed(giver)
    into = work.sub("into")
    getter = taker.get([torrent], into, (giver.ip, giver.port), *options)
    check(f"{name}: exit status 0", getter.wait(40) == 0, getter.tail())
    check(f"{name}: the same bytes", same_path(tree, os.path.join(into, "tree")), getter.tail())
    proc.stop(signal.SIGINT)
    check(f"{name}: the seeder ends with 0", proc.p.returncode == 0, proc.tail())
    return into


def begin_and_go_on(name, giver, first, second):
    """Stopped halfway by one of them, finished by the other."""
    proc = start_seed(giver)
    into = work.sub("halves")
    getter = first.get([torrent], into, (giver.ip, giver.port), "--down", "1M")
    wait_until(lambda: os.path.exists(os.path.join(into, "tree")), 10)
    time.sleep(1.5)
    getter.stop(signal.SIGINT)
    check(f"{name}: stops with 3", getter.p.returncode == 3, getter.tail())
    getter = second.get([torrent], into, (giver.ip, giver.port), "--json")
    check(f"{name}: the other goes on", getter.wait(40) == 0, getter.tail())
    down = max((int(n) for n in re.findall(rb'"down":(\d+)', open(getter.log, "rb").read())), default=0)
    check(f"{name}: and keeps what was there", 0 < down < total - 500000, f"{down} of {total}")
    check(f"{name}: the same bytes", same_path(tree, os.path.join(into, "tree")))
    proc.stop(signal.SIGINT)


work = Work()
original = work.sub("original")
tree = make_data(os.path.join(original, "tree"), SIZES)
total = sum(SIZES.values())
torrent = create(tree, os.path.join(work.dir, "tree.torrent"), "--piece-length", "32k", "--no-date")
native = Bt(work)
for label, cross, qemu in TARGETS:
    program = build(cross, qemu)
    if not program:
        continue
    label = label.split(",")[0]
    foreign = Bt(work)
    foreign.program = program
    r = run(program, "create", tree, "-o", os.path.join(work.dir, label + ".torrent"), "--piece-length", "32k", "--no-date")
    check(f"{label}: creates the same torrent", r.returncode == 0 and
          open(torrent, "rb").read() == open(os.path.join(work.dir, label + ".torrent"), "rb").read(), r.stderr)
    for storage in ("pool", "map"):
        transfer(f"{label} gets from native, {storage}", native, foreign, ["--storage", storage])
    into = transfer(f"native gets from {label}", foreign, native)
    r = run(program, "verify", torrent, "-d", into)
    check(f"{label}: verifies what native got", r.returncode == 0, r.stdout + r.stderr)
    with open(os.path.join(into, "tree", "long.bin"), "r+b") as f:
        f.seek(1000000)
        f.write(b"wrong")
    r = run(program, "verify", torrent, "-d", into)
    check(f"{label}: and sees what is wrong", r.returncode not in (0, 1, 2), r.stdout + r.stderr)
    begin_and_go_on(f"{label} begins, native goes on", native, foreign, Bt(work))
    begin_and_go_on(f"native begins, {label} goes on", native, Bt(work), foreign)
done()
