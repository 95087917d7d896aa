#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""beside.py - two bt on the same files. Two that write would spoil each other's
pieces: the second is refused with a line that says why, also when the first was
started in another way to write the directory, and the first is not disturbed. Who
only reads goes on beside it, and trusts what the journal of the other names."""
import time

from faults import *

alone()
work = workdir()
os.mkdir(os.path.join(work, "source"))
t = Torrent(make_data(os.path.join(work, "source", "tree"), {"a.bin": (13 << 20) + 7, "b.bin": 70001}), 65536)
other = Torrent(make_data(os.path.join(work, "source", "other"), {"o.bin": 300001}, seed=2), 65536)
slow, mine, quick = Seeder([t], 600 << 10), Seeder([t], 600 << 10), Seeder([t, other])


def get(into, torrents, peer, *more):
    return Run("get", "--json", *(x.file for x in torrents), "-d", into, "--peer", peer.peer, *more)


def begun(r):
    return wait_until(lambda: r.stats(t).get("have", 0) > 20 * 65536, 15)


def two_writers():
    into = fresh(os.path.join(work, "into"))
    first = get(into, [t], mine)
    check("writers: the first begins", begun(first), first.why())
    before = time.monotonic()
    second = get(into + "/../into/.", [t], quick)
    status = second.wait(12)
    check("writers: the second is refused", status == 1 and "another bt is using" in second.stderr(), second.why())
    check("writers: within the time a dying keeper is waited for", time.monotonic() - before < 8)
    check("writers: in one line", len(second.stderr().splitlines()) == 1, second.stderr())
    status = first.wait(40)
    check("writers: the first completes", status == 0 and same_path(t.path, os.path.join(into, "tree")), first.why())
    sent = mine.sessions[0].sent
    check("writers: and fetched every block once", len(sent) == len(set(sent)), len(sent))
    again = get(into, [t], quick)
    check("writers: after it, another may", again.wait(10) == 0, again.why())


def other_torrent_goes_on():
    """Only the torrent that is in use is refused."""
    into = fresh(os.path.join(work, "mixed"))
    first = get(into, [other], quick, "--seed")
    check("mixed: the first completes", first.event("done", 10, other), first.why())
    second = get(into, [other, t], quick)
    done_t = second.event("done", 15, t)
    status = second.wait(10)
    check("mixed: the second does the other torrent, and tells", done_t and status == 1 and
          same_path(t.path, os.path.join(into, "tree")) and "another bt is using" in second.stderr(), second.why())
    check("mixed: the first ends well", first.stop() == 0, first.why())


def reader_beside_writer():
    into = fresh(os.path.join(work, "read"))
    writer = get(into, [t], slow, "--seed")
    check("reader: the writer begins", begun(writer), writer.why())
    time.sleep(10)  # so that its journal names something
    named, _ = journal_claims(into, t)
    reader = Run("seed", "--json", t.file, "-d", into)
    checked = reader.event("checked", 12, t)
    check("reader: goes on beside it", checked and reader.running() and not reader.stderr(), reader.why())
    l = Leecher(t, reader.port())
    have = l.claims()
    now = t.right_pieces(into)
    check("reader: gives what the journal names, all of it right", named and named <= have <= now, (len(named), len(have)))
    l.close()
    check("reader: ends with 4, as some is missing", reader.stop() == 4, reader.why())
    check("reader: did not disturb", writer.event("done", 25, t) and writer.stop() == 0 and
          same_path(t.path, os.path.join(into, "tree")), writer.why())


def two_readers():
    into = fresh(os.path.join(work, "readers"))
    shutil.copytree(t.path, os.path.join(into, "tree"))
    runs = [Run("seed", "--json", t.file, "-d", into) for _ in range(2)]
    for r in runs:
        check("readers: each is complete", r.event("done", 15, t) and not r.stderr(), r.why())
        check("readers: each serves", Leecher(t, r.port()).block(3) == t.block(3, 0))
    for r in runs:
        check("readers: each ends well", r.stop() == 0, r.why())


together(two_writers, two_readers, other_torrent_goes_on, reader_beside_writer)
for r in Run.all:
    r.kill()
done()
