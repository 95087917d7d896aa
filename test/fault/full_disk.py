#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""full_disk.py - volumes that are too small for the download. bt pauses that
torrent with one message that names the file, the others go on, the journal
stays true; when space returns it goes on by itself and completes. A stop while
paused is clean, and the next start fetches nothing that was stored. A failed
allocation on ext4 gives back what it took."""
import signal
import time

from faults import *

if not alone(mounts=True):
    skip("full disks", "needs root, to mount small volumes")
    done()
work = open_to_all(workdir())
source = os.path.join(work, "source")
os.mkdir(source)
MIB = 1 << 20


def make(name, piece_len, sizes):
    return Torrent(make_data(os.path.join(source, name), sizes, seed=name), piece_len)


big = make("big", 65536, {"a.bin": 7 * MIB + 5, "b.bin": 9 * MIB})
large = make("large", MIB, {"a.bin": 7 * MIB + 5, "b.bin": 9 * MIB})
other = make("other", 65536, {"o.bin": 4 * MIB})


def at(name):
    return os.path.join(work, name)


def get(torrents, into, peers, *more, **kw):
    told = [x for p in peers for x in ("--peer", p.peer)]
    return Run("get", "--json", *(t.file for t in torrents), "-d", into, *told, *more, **kw)


def pauses(name, r, t):
    """It pauses, and stays so through the retries of 7 seconds, with one message."""
    e = r.event("paused", 15, t)
    if not check(f"{name}: it pauses", e, r.why()):
        return False
    check(f"{name}: and says which file found no space", f"{t.name}/" in e["text"] and "No space" in e["text"], e)
    time.sleep(7)
    n, back = len(r.events("paused")), len(r.events("resumed"))
    lines = [x for x in r.stderr().splitlines() if "paused" in x]
    return check(f"{name}: it says so once", n == 1 and back == 0 and len(lines) == 1 and r.running(),
                 f"{n} times, resumed {back} times\n{r.why()}")


def completes(name, r, t, into):
    began = time.monotonic()
    check(f"{name}: it goes on by itself", r.event("resumed", 12, t), r.why())
    status = r.wait(20)
    check(f"{name}: and completes, {time.monotonic() - began:.1f} s after there was space", status == 0, r.why())
    check(f"{name}: identical", same_path(t.path, os.path.join(into, t.name)))


def journal(name, t, into, complete=False):
    named, clean = journal_claims(into, t)
    right = t.right_pieces(into)
    check(f"{name}: the journal names only what is there", named <= right, sorted(named - right)[:5])
    if complete:
        check(f"{name}: and all of it", clean and len(named) == t.pieces, f"{len(named)} of {t.pieces}")


def two_volumes(storage):
    """The small volume is the download directory, the other torrent's directory another one."""
    name, into = storage, tmpfs(at("small-" + storage), "20m")
    tmpfs(os.path.join(into, "other"), "20m")
    heavy = ballast(into, 9 * MIB)
    slow, fast = Seeder([other], 500 << 10), Seeder([big])
    r = Run("get", "--json", big.file, other.file, "-d", into, "--storage", storage, "--peer", fast.peer,
            "--peer", slow.peer)
    if not pauses(name, r, big):
        return
    journal(name, big, into)
    check(f"{name}: the other torrent goes on", r.stats(other)["down"] > MIB and r.stats(big)["state"] == "no-space",
          r.stats(big))
    check(f"{name}: and completes", r.event("done", 15, other) and not r.event("resumed", 0), r.why())
    os.unlink(heavy)
    completes(name, r, big, into)
    check(f"{name}: so is the other", same_path(other.path, os.path.join(into, "other")))
    journal(name, big, into, True)


def pool():
    two_volumes("pool")


def mapped():
    two_volumes("map")


def volume_inside():
    """The small volume is a directory of the torrent's; large pieces and little memory, so that
    unfinished pieces are written when the space ends."""
    into = at("wide")
    small = tmpfs(os.path.join(into, "large"), "12m")
    heavy = ballast(small, 8 * MIB)
    r = get([large], into, [Seeder([large])], "--window", "2M")
    if pauses("inside", r, large):
        os.unlink(heavy)
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        completes("inside", r, large, into)
        journal("inside", large, into, True)


def nothing_at_all():
    """No space for a directory entry's first block: not even for the journal."""
    into = tmpfs(at("none"), "20m")
    heavy = ballast(into, 0)
    r = get([big], into, [Seeder([big])])
    if pauses("none", r, big):
        os.unlink(heavy)
        completes("none", r, big, into)


def stopped():
    """Ctrl-C while paused, a start in the same misery, a kill, and a start with space."""
    into = tmpfs(at("stop"), "20m")
    heavy = ballast(into, 9 * MIB)
    seeder = Seeder([big])
    r = get([big], into, [seeder])
    check("stop: it pauses", r.event("paused", 15), r.why())
    time.sleep(1.5)
    began = time.monotonic()
    check("stop: Ctrl-C ends it cleanly", r.stop(10) == 3, r.why())
    check("stop: at once", time.monotonic() - began < 4)
    stored = big.right_pieces(into)
    journal("stop", big, into)
    check("stop: the journal is closed in order", journal_claims(into, big)[1])
    check("stop: most of what fits is stored", len(stored) * big.piece_len > 7 * MIB, len(stored))
    first = len(seeder.sessions)
    r = get([big], into, [seeder])
    check("stop: it pauses again", r.event("paused", 15), r.why())
    r.find_keeper()
    os.kill(r.pid, signal.SIGKILL)
    check("stop: killed, its keeper ends", gone(r.keeper, 8))
    journal("stop, then kill", big, into)
    os.unlink(heavy)
    r = get([big], into, [seeder])
    check("stop: with space it completes", r.wait(20) == 0, r.why())
    again = {i for s in seeder.sessions[first:] for i, _, _ in s.sent} & stored
    check("stop: and fetches nothing that was stored", not again, sorted(again)[:5])
    check("stop: identical", same_path(big.path, os.path.join(into, "big")))


def on_ext4():
    """Files are allocated whole. Blocks kept for root count as free, but not for others, so that
    an allocation can begin and fail: what it took must come back."""
    try:
        into = ext4(at("ext4"), 40 * MIB, work, "-m", "25")
    except (subprocess.CalledProcessError, OSError) as e:
        skip("ext4", f"no loop device: {e}")
        return
    program = bt_copy(work)
    os.mkdir(os.path.join(into, "d"))
    os.chmod(os.path.join(into, "d"), 0o777)
    down = os.path.join(into, "d")
    heavy = ballast(into, 6 * MIB)  # less than one file; with root's blocks, more
    before = free_bytes(into)
    r = get([big], down, [Seeder([big])], program=program, before=AS_NOBODY)
    if not pauses("ext4", r, big):
        return
    took = before - free_bytes(into)
    check("ext4: what an allocation could not get it does not keep", took < MIB, f"{took} bytes are gone")
    os.unlink(heavy)
    completes("ext4", r, big, down)
    journal("ext4", big, down, True)


began = time.monotonic()
together(pool, mapped, volume_inside, nothing_at_all, stopped, on_ext4)
print(f"{time.monotonic() - began:.0f} s")
done()
