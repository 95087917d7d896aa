#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""changed_files.py - somebody cuts, deletes, replaces or changes files that bt is
seeding, downloading or checking, or takes away the whole directory. Expected:
peers get right data or none, that torrent ends with a line that names the file,
other torrents go on, nothing crashes; the next start looks at what changed, and
fetches what is damaged and nothing else. Content changed in place is noticed when
the keeper is asked to load it; what peers read before is sent from memory without
asking, and then the next start has to see it."""
import time

from faults import *

may_mount = alone(mounts=True)
work = workdir()
if may_mount:
    steady(work)
source = os.path.join(work, "source")
os.mkdir(source)
MIB = 1 << 20
victim = Torrent(make_data(os.path.join(source, "victim"), {
    "a.bin": 2 * MIB + 77, "b.bin": 3 * MIB + 1, "c.bin": MIB + 4095}), 65536)
other = Torrent(make_data(os.path.join(source, "other"), {"o.bin": 3 * MIB}, seed=2), 65536)
B = "victim/b.bin"
B_AT, B_LEN = victim.files[0][1], victim.files[1][1]
CUT = MIB + 4567
assert victim.files[1][0] == B


def truncate(path):
    os.truncate(path, CUT)


def delete(path):
    os.unlink(path)


def replace(path):
    st = os.stat(path)
    with open(path + ".new", "wb") as f:
        f.write(os.urandom(st.st_size))
    os.rename(path + ".new", path)


def change(path):
    """Same file, same length, other bytes in the middle."""
    with open(path, "r+b") as f:
        f.seek(CUT)
        f.write(os.urandom(1000))


def pieces_at(off, n):
    return set(range(off // victim.piece_len, (off + n - 1) // victim.piece_len + 1))


DAMAGED = {truncate: pieces_at(B_AT + CUT, B_LEN - CUT), delete: pieces_at(B_AT, B_LEN),
           replace: pieces_at(B_AT, B_LEN), change: pieces_at(B_AT + CUT, 1000)}


def directory(name):
    into = os.path.join(work, name)
    os.mkdir(into)
    return into


def filled(name):
    into = directory(name)
    for t in (victim, other):
        shutil.copytree(t.path, os.path.join(into, t.name))
    return into


def get(into, torrents, peers, *more):
    told = [x for p in peers for x in ("--peer", p.peer)]
    return Run("get", "--json", *(t.file for t in torrents), "-d", into, *told, *more)


def repaired(name, into, damaged):
    """The next start fetches the damaged pieces and no others."""
    seeder = Seeder([victim])
    r = get(into, [victim], [seeder])
    status = r.wait(20)
    check(f"{name}: the next start completes", status == 0, r.why())
    check(f"{name}: identical", same_path(victim.path, os.path.join(into, "victim")))
    sent = {i for s in seeder.sessions for i, _, _ in s.sent}
    check(f"{name}: it fetched what is damaged, nothing else", sent == damaged, f"{len(sent)} pieces, not "
          f"{len(damaged)}: {sorted(sent ^ damaged)[:9]}")


def names_file(name, r, file=B, seconds=15):
    e = r.event("error", seconds, victim)
    check(f"{name}: that torrent ends, naming the file", e and file in e["text"] and file in r.stderr(), r.why())


def read_through(port, indexes):
    """Asks for blocks; the number of wrong ones, and of right ones, until it is shown out."""
    wrong = right = 0
    try:
        l = Leecher(victim, port)
        l.claims()
        for i in indexes:
            for off in range(0, len(victim.piece(i)), BLOCK):
                good = l.block(i, off) == victim.block(i, off)
                right, wrong = right + good, wrong + (not good)
    except OSError:
        pass
    return wrong, right


def seeding(kind, trusted, asked):
    """trusted: the files were known from the journal, so not opened at the start. asked: a peer reads
    the file `before` and after it is changed, only `after`, or `never`."""
    def scene():
        name = f"seed, {kind.__name__}{', known' if trusted else ''}, asked {asked}"
        into = filled(name.replace(" ", "-"))
        if trusted:
            r = Run("seed", "--json", victim.file, other.file, "-d", into)
            check(f"{name}: first start", r.event("done", 10, victim) and r.event("done", 10, other) and r.stop() == 0,
                  r.why())
        r = Run("seed", "--json", victim.file, other.file, "-d", into)
        r.event("done", 10, victim), r.event("done", 10, other)
        port = r.port()
        if asked == "before":
            check(f"{name}: gives before", read_through(port, DAMAGED[delete])[0] == 0)
        kind(os.path.join(into, B))
        if asked != "never":
            wrong, right = read_through(port, sorted(DAMAGED[kind]))
            if kind is not change or asked == "after":
                check(f"{name}: peers get no wrong data", wrong == 0, f"{wrong} wrong blocks, {right} right ones")
            shown_out = right + wrong < sum(-(-len(victim.piece(i)) // BLOCK) for i in DAMAGED[kind])
            if kind is truncate or shown_out or asked == "after" and kind is change:
                names_file(name, r)
        l = Leecher(other, port)
        check(f"{name}: the other torrent goes on", len(l.claims()) == other.pieces and
              l.block(1) == other.block(1, 0), r.why())
        l.close()
        status = r.stop()
        check(f"{name}: ends in order", status in (0, 1), r.why())
        repaired(name, into, DAMAGED[kind])
    return scene


def downloading(kind, storage):
    def scene():
        name = f"get, {kind.__name__}, {storage}"
        into = directory(name.replace(" ", "-"))
        slow, steady = Seeder([victim], 400 << 10), Seeder([other], 150 << 10)
        r = get(into, [victim, other], [slow, steady], "--storage", storage)
        path = os.path.join(into, B)
        check(f"{name}: is amid the file", wait_until(
            lambda: len(victim.right_pieces(into) & DAMAGED[delete]) > 8, 15, 0.2), r.why())
        kind(path)
        names_file(name, r)
        check(f"{name}: the other torrent completes", r.event("done", 30, other), r.why())
        status = r.wait(10)
        check(f"{name}: exit status tells", status == 1, r.why())
        check(f"{name}: what was gone is not made anew", kind is not delete or not os.path.exists(path))
        repaired(name, into, set(range(victim.pieces)) - victim.right_pieces(into))
    return scene


def changed_then_stopped():
    """Content of pieces that are on the disk and in the journal is changed in place, while the rest
    is downloaded; a clean stop must not make it trusted."""
    name, into = "get, change", directory("get-change")
    r = get(into, [victim], [Seeder([victim], 300 << 10)])

    def known():
        return victim.right_pieces(into) & journal_claims(into, victim)[0] & DAMAGED[delete]
    check(f"{name}: has some of the file", wait_until(known, 20, 0.1), r.why())
    check(f"{name}: stops", r.stop() in (0, 3), r.why())
    r = get(into, [victim], [])  # nobody to fetch from
    r.event("checked", 10)
    victim.write_over(into, max(min(known()) * victim.piece_len, B_AT), os.urandom(500))
    check(f"{name}: stops again", r.stop() == 3, r.why())
    repaired(name, into, set(range(victim.pieces)) - victim.right_pieces(into))


def cut_while_checked():
    """The file shrinks under the hashing, again and again; then it is whole, of other length, gone."""
    into = filled("check")
    path = os.path.join(into, B)
    whole = open(path, "rb").read()
    for n in range(12):
        os.truncate(path, 4096 * n)
        r = Run("verify", "--json", victim.file, "-d", into)
        begin = time.monotonic()
        while r.running() and time.monotonic() - begin < 5:
            os.truncate(path, len(whole))
            os.truncate(path, 4096 * n)
        status = r.wait(5)  # damaged, or it saw that somebody is at it
        check(f"check, cut {n}: tells that it is not right", status == 4 or status == 1 and B in r.stderr(), r.why())
        with open(path, "wb") as f:
            f.write(whole)
    r = Run("verify", "--json", victim.file, "-d", into)
    check("check: right again when it is whole", r.wait(10) == 0, r.why())


def directory_deleted(command, storage):
    def scene():
        name = f"{command}, directory deleted, {storage}"
        where = name.replace(" ", "-")
        into = filled(where) if command == "seed" else directory(where)
        r = Run(command, "--json", victim.file, "-d", into, "--storage", storage, "--peer", Seeder([victim], 500 << 10).peer)
        if command == "seed":
            r.event("done", 10)
        else:
            wait_until(lambda: len(victim.right_pieces(into)) > 10, 15, 0.2)
        shutil.rmtree(into)
        if command == "seed":
            wrong, _ = read_through(r.port(), range(victim.pieces))
            check(f"{name}: peers get no wrong data", wrong == 0, wrong)
            status = r.wait(3)  # by itself, if it has noticed: it was its only torrent
            status = r.stop() if status is None else status
            check(f"{name}: ends in order", status in (0, 1), r.why())
        else:
            names_file(name, r, "victim/")
            check(f"{name}: exit status tells", r.wait(10) == 1, r.why())
        check(f"{name}: nothing is made anew", not os.path.exists(into))
    return scene


def mount_gone():
    """The volume is not there at the next start: only its empty mount point, and a journal elsewhere that
    says that all is well."""
    if not may_mount:
        skip("mount gone", "needs root")
        return
    into, state = directory("volume"), directory("state")
    tmpfs(into, "20m")
    for t in (victim, other):
        shutil.copytree(t.path, os.path.join(into, t.name))
    r = Run("seed", "--json", victim.file, "-d", into, "--state", state)
    check("mount gone: known before", r.event("done", 10) and r.stop() == 0, r.why())
    subprocess.run(["umount", into], check=True)
    r = Run("seed", "--json", victim.file, "-d", into, "--state", state)
    check("mount gone: seed says that nothing is there", r.wait(5) in (1, 4) and "directory" in r.stderr(), r.why())
    check("mount gone: seed claims nothing", r.stats().get("have", 0) == 0, r.why())
    r = Run("get", "--json", victim.file, "-d", into, "--state", state)
    r.event("checked", 5)
    time.sleep(1.2)
    check("mount gone: get claims nothing", r.wait(0) != 0 and r.stats().get("have", 0) == 0 and
          not r.events("done"), r.why())
    r.stop()


began = time.monotonic()
together(*(seeding(k, t, a) for k in (truncate, delete, replace, change) for t in (False, True)
           for a in ("before", "after", "never")))
together(changed_then_stopped, cut_while_checked, mount_gone,
         *(downloading(k, s) for k in (truncate, delete, replace) for s in ("pool", "map")),
         *(directory_deleted(c, s) for c, s in (("seed", "pool"), ("get", "pool"), ("get", "map"))))
for r in Run.all:
    if r.p.returncode is not None and r.p.returncode < 0 and r.p.returncode not in (-9, -2):
        check("no crash", False, f"signal {-r.p.returncode}: {r.why()}")
print(f"{time.monotonic() - began:.0f} s")
done()
