#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""interop.py - bt with each of the other clients, both ways: they download from
`bt seed`, they seed to `bt get`. Every client has torrents of its own, so that
no two of them help each other, but all run at the same time."""
import os
import subprocess
import time

from clients import *

in_namespace()

SHAPES = {  # name: (piece length, sizes)
    "small-pieces": ("16k", 3 * 1024 * 1024 + 77),
    "large-pieces": ("16M", 17 * 1024 * 1024 + 5),
    "one-byte": ("16k", 1),
    "tree": ("32k", {
        "a.bin": 1, "b/odd.bin": 32767, "b/even.bin": 32768, "b/more.bin": 32769, "b/c/empty.bin": 0,
        "b/c/many.bin": 700001, "z/leer": 0, "z/\u00fcml\u00e4ut \u65e5\u672c.bin": 16385, "last": 12345,
    }),
}

work = Work()
tracker = Tracker(work)
others = []
for cls in OTHERS:
    if cls.missing():
        skip(cls.name, f"not installed: {', '.join(cls.missing())}")
    else:
        others.append(cls)

original = work.sub("original")
torrents = {}  # class -> {shape: torrent}


def make(cls, direction):
    made = {}
    for shape, (piece, sizes) in SHAPES.items():
        if cls.one_torrent and shape != "tree":
            continue
        name = f"{cls.name}-{direction}-{shape}"
        path = os.path.join(original, name)
        if not isinstance(sizes, int):
            os.mkdir(path)
        make_data(path, sizes, seed=name)
        made[shape] = create(path, os.path.join(work.dir, name + ".torrent"), "-t", tracker.url,
                             "--piece-length", piece)
    tracker.allow(*made.values())
    return made


def name_of(torrent):
    return os.path.basename(torrent)[:-len(".torrent")]


for cls in others:
    for direction in ("takes", "gives"):
        torrents[cls, direction] = make(cls, direction)

# bt gives, they take
seed = Bt(work)
seeder = seed.seed([t for c in others for t in torrents[c, "takes"].values()], original)
check("bt seed listens", wait_until(lambda: port_open(seed.port, seed.ip), 10), seeder.tail())
time.sleep(1)  # announced: the others find it at their first announce
running = []
for cls in others:
    into = work.sub("into")
    os.chmod(into, 0o777)
    running.append((cls, into, cls(work).leech(list(torrents[cls, "takes"].values()), into, (seed.ip, seed.port))))

# they give, bt takes
for cls in others:
    giver = cls(work)
    proc = giver.seed(list(torrents[cls, "gives"].values()), original)
    into = work.sub("bt")
    getter = Bt(work)
    running.append((cls, into, getter.get(list(torrents[cls, "gives"].values()), into, (giver.ip, giver.port)), proc))

for entry in running:
    cls, into, proc = entry[:3]
    direction = "gives" if len(entry) == 4 else "takes"
    start = time.monotonic()
    for shape, torrent in torrents[cls, direction].items():
        name = name_of(torrent)
        empties = cls.makes_empty or direction == "gives"
        ok = wait_until(lambda: same_path(os.path.join(original, name), os.path.join(into, name), empties), 90, 0.3)
        check(f"{cls.name} {direction} {shape}", ok, proc.tail(400) + (entry[3].tail(400) if len(entry) == 4 else ""))
    if direction == "gives":
        code = proc.wait(20)
        check(f"bt get from {cls.name} exits 0", code == 0, f"{code} {proc.tail(300)}")
    else:
        proc.stop()
check("bt seed still runs", seeder.running(), seeder.tail())
seeder.stop(signal.SIGINT)
check("bt seed stops with 0 at Ctrl-C", seeder.p.returncode == 0, str(seeder.p.returncode) + seeder.tail())
tracker.stop()
done()
