#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""swarm.py - a swarm of eight: one bt seeds, seven leechers of mixed clients
fetch the same tree from it and from each other. All end byte-identical, and the
seeder alone did not carry the whole load."""
import time

from clients import *

in_namespace()
work = Work()
tracker = Tracker(work)
original = work.sub("original")
tree = os.path.join(original, "swarm")
os.mkdir(tree)
SIZE = 12 * 1024 * 1024 + 321
make_data(tree, {"one.bin": SIZE - 700000, "d/two.bin": 600000, "d/e/three.bin": 100000, "d/none": 0})
torrent = create(tree, os.path.join(work.dir, "swarm.torrent"), "-t", tracker.url, "--piece-length", "64k")
tracker.allow(torrent)

mixed = []
for cls in [Aria2, TransmissionDaemon, Libtorrent, Rtorrent, Qbittorrent]:
    if cls.missing():
        skip(cls.name, f"not installed: {', '.join(cls.missing())}")
    else:
        mixed.append(cls)
while len(mixed) < 7:
    mixed.append(Bt)

seed = Bt(work)
seeder = seed.seed([torrent], original)
wait_until(lambda: port_open(seed.port, seed.ip), 10)
time.sleep(1)
leechers = []
for cls in mixed:
    into = work.sub("into")
    os.chmod(into, 0o777)
    leechers.append((cls, into, cls(work).leech([torrent], into)))
for cls, into, proc in leechers:
    ok = wait_until(lambda: same_tree(tree, os.path.join(into, "swarm"), cls.makes_empty), 120, 0.3)
    check(f"{cls.name} has the whole tree", ok, proc.tail(500))
check("bt seed still runs", seeder.running(), seeder.tail())
for _, _, proc in leechers:
    proc.stop()
seeder.stop(signal.SIGINT)
check("bt seed stops with 0 at Ctrl-C", seeder.p.returncode == 0, seeder.tail())
tracker.stop()
done()
