#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""kill.py - SIGKILL for the loop, the keeper, or both, 100 times at random
moments of downloads that follow each other in one directory. After each:

  - what the restarted bt claims in its bitfield is right on the disk, by a hash
    of our own, and so is all it announced while it ran;
  - nothing that was right on the disk is asked for again, so what is sent twice
    is at most what was in memory: its window, and what was in sockets;
  - a loop without keeper says so and ends, a keeper without loop ends by itself.

Processes that die take no page cache along, a power cut does. So before some
restarts whatever the journal does not name is destroyed in the files, as is
allowed to happen to data that was not synced, and sometimes the journal too."""
import os
import signal
import time

from faults import *

KILLS = 100
WINDOW = 2 << 20
# Received bytes are in the window or in a file. Not received: the seeder's send
# buffer, our receive buffer and the block in the seeder's hands.
IN_SOCKETS = 512 << 10
RATE = 9 << 20
LONGEST = 0.55  # seconds from start to kill

alone()
rng = seeded()
work = workdir()
os.mkdir(os.path.join(work, "source"))
tree = os.path.join(work, "source", "tree")
make_data(tree, {"a.bin": 17 << 20, "b/tiny": 1, "b/odd.bin": (9 << 20) + 12345, "b/none": 0,
                 "c.bin": (31 << 20) + 4321, "d.bin": 77777}, seed=rng.random())
torrent = Torrent(tree, 65536)
into = fresh(os.path.join(work, "into"))

wrong, again, lost, unclear, hung, left = [], [], [], [], [], []
kills = {"loop": 0, "keeper": 0, "both": 0}
downloads = resent = at_once = cuts = midway = announced = sent = destroyed = 0
right = set()  # pieces that were right on the disk when nobody wrote there, last time
sure = True    # nobody has written there since
unjudged = []  # runs since


def start():
    options = ["--window", "2M", "--storage", rng.choice(["pool", "pool", "map"])]
    # for each run peers of its own: what comes in late can't be taken for the next run's
    seeder, watcher = Seeder([torrent], RATE), Seeder([torrent], empty=True)
    r = Run("get", "--json", torrent.file, "-d", into, "--peer", seeder.peer, "--peer", watcher.peer, *options)
    r.what = f"run {len(Run.all)} ({options[-1]})"
    r.sure, r.seeder, r.watcher = sure, seeder, watcher
    return r


def judge():
    """Looks at what the runs claimed and fetched, now that they and their keepers are over."""
    global right, resent, midway, announced, sent
    for r in unjudged:  # one that was restarted upon may outlive its successor
        if r.keeper and not gone(r.keeper, 8):
            left.append(f"{r.what}: the keeper")
    now, later = torrent.right_pieces(into), set()
    for r in reversed(unjudged):
        r.seeder.close(), r.watcher.close()
        sessions, watched = r.seeder.sessions, r.watcher.sessions
        needed_again = 0
        for s in sessions + watched:
            s.ended.wait(5)
            claimed, asked = s.claimed or set(), {i for i, _, _ in s.sent}
            # a bitfield that was sent late has pieces of this run, too
            allowed = right if r.sure and s is sessions[0] else now
            if claimed - allowed:
                wrong.append(f"{r.what}: claimed {sorted(claimed - allowed)[:5]}")
            if s.haves - now:
                wrong.append(f"{r.what}: announced {sorted(s.haves - now)[:5]}")
            if asked & (claimed | right):
                again.append(f"{r.what}: asked for {sorted(asked & (claimed | right))[:5]}")
            if s.haves & later:
                again.append(f"{r.what}: announced {sorted(s.haves & later)[:5]}, then fetched again")
            needed_again += sum(n for i, _, n in s.sent if i not in now or i in later)
            needed_again += sum(n for _, _, n in s.sent) - sum(n for _, _, n in set(s.sent))
        later |= {i for s in sessions for i, _, _ in s.sent}
        sent += r.seeder.sent_bytes()
        midway += any(s.sent for s in sessions)
        announced += sum(len(s.haves) for s in watched)
        resent += needed_again
        if needed_again > WINDOW + IN_SOCKETS:
            lost.append(f"{r.what}: {needed_again} bytes are needed again")
    if right - now:
        wrong.append(f"until {unjudged[-1].what}: {sorted(right - now)[:5]} were right and are not any more")
    right = now
    unjudged.clear()


def strike(r):
    """Kills, and sees that what is left ends by itself. Returns who was killed and
    whether all is over; (None, True) when the download was complete before."""
    global at_once
    victim = rng.choice(["loop", "keeper", "both"])
    if not r.find_keeper() or not r.running():
        return None, True
    for pid in {"loop": [r.pid], "keeper": [r.keeper], "both": rng.sample([r.pid, r.keeper], 2)}[victim]:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    if victim == "keeper":
        status = r.wait(5)
        if status is None:
            hung.append(f"{r.what}: the loop lives on without its keeper")
            r.kill()
        elif status == 0:
            return None, True
        elif "keeper" not in r.stderr():
            unclear.append(f"{r.what}: status {status}, says {r.stderr()!r}")
    else:
        r.p.wait()
        if victim == "loop" and rng.random() < 0.4:
            at_once += 1  # the next bt starts while this keeper still writes
            return victim, False
    return victim, True


def power_cut():
    """Destroys what was never promised: data the journal does not name."""
    global right, cuts, destroyed
    named, _ = journal_claims(into, torrent)
    if named - right:
        wrong.append(f"the journal names {sorted(named - right)[:5]} of {len(named)}, which are wrong")
    if rng.random() < 0.3:
        d = os.path.join(into, ".bt")
        for name in os.listdir(d) if os.path.isdir(d) else []:
            size = os.path.getsize(os.path.join(d, name))
            with open(os.path.join(d, name), "r+b") as f:
                if rng.random() < 0.5:
                    f.truncate(rng.randrange(size + 1))
                else:
                    f.seek(rng.randrange(max(size, 1)))
                    f.write(rng.randbytes(rng.choice([1, 16, 4096])))
    noise = bytes(torrent.piece_len) if rng.random() < 0.5 else rng.randbytes(torrent.piece_len)
    for i in range(torrent.pieces):
        if i not in named and rng.random() < 0.7:
            torrent.write_over(into, i * torrent.piece_len, noise[:len(torrent.piece(i))])
    now = torrent.right_pieces(into)
    destroyed += sum(len(torrent.piece(i)) for i in right - now)
    right = now
    cuts += 1


def complete(r):
    """A download that was complete before it could be killed. The next one begins in
    the same place, with a journal that is not to be believed any more."""
    global downloads, right
    downloads += 1
    if r.wait(10) != 0:
        unclear.append(f"{r.what} ended by itself: {r.why()}")
    check(f"download {downloads} is identical", same_path(tree, os.path.join(into, "tree")), r.why())
    shutil.rmtree(os.path.join(into, "tree"))
    right = set()


began = time.monotonic()
while sum(kills.values()) < KILLS:
    run = start()
    unjudged.append(run)
    if run.wait(rng.uniform(0.01, LONGEST)) is None:
        victim, sure = strike(run)
    else:
        victim, sure = None, True
    if victim:
        kills[victim] += 1
    if sure:
        judge()
    if not victim:
        complete(run)
    elif sure and rng.random() < 0.25:
        power_cut()

run = start()
status = run.wait(60)
check("the last start completes", status == 0, run.why())
unjudged.append(run)
judge()
check("and is identical", same_path(tree, os.path.join(into, "tree")))
downloads += 1
check("no process is left", wait_until(lambda: not any(alive(r.keeper) for r in Run.all if r.keeper), 8))

n = sum(kills.values())
print(f"{n} kills ({', '.join(f'{v} {k}' for k, v in kills.items())}; {midway} seen amid a transfer, {at_once} restarts "
      f"at once, {cuts} power cuts) in {downloads} downloads, {time.monotonic() - began:.0f} s")
print(f"{announced} pieces announced, {sent} bytes sent, {resent} of them twice because of kills: {resent // n} each; a power cut took {destroyed}; "
      f"bound per kill {WINDOW + IN_SOCKETS}")
check("100 kills", n == KILLS)
check("most kills were amid a transfer", midway >= KILLS // 2, f"only {midway}")
check("never a wrong bit claimed", announced and not wrong, "\n".join(wrong[:10]))
check("nothing that was on the disk is fetched again", not again, "\n".join(again[:10]))
check("fetched again is at most what was in memory, each time", not lost, "\n".join(lost[:10]))
total = downloads * torrent.size + destroyed + n * (WINDOW + IN_SOCKETS)
check("and over all", sent <= total, f"{sent} > {total}")
check("a loop without keeper says so and ends", not hung and not unclear, "\n".join((hung + unclear)[:5]))
check("a keeper without loop ends", not left, "\n".join(left[:5]))
done()
