#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""read_only.py - seeding what may not be written: a read-only volume, another
user's directory. All of it is looked at, at each start, for the journal has no
place; with --state it has one, and the second start reads nothing. That is
told by strace, not by time: which data files the keeper has read or mapped."""
import re
import time

from faults import *

may_mount = alone(mounts=True)
work = workdir()
if may_mount:
    work = open_to_all(work)
source = os.path.join(work, "source")
os.mkdir(source)
t = Torrent(make_data(os.path.join(source, "tree"), {"a.bin": (1 << 20) + 5, "b/c.bin": 700001, "b/none": 0}), 65536)
damaged = Torrent(make_data(os.path.join(source, "damaged"), {"a.bin": 300000, "b.bin": 200000}), 65536)
program = bt_copy(work)
have_strace = shutil.which("strace")
# Who is root in a namespace of his own may still write his own files, unless he gives that up.
as_nobody = AS_NOBODY if may_mount else ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def places(name):
    """A directory with the data, to be closed to writers."""
    into = os.path.join(work, name)
    os.mkdir(into)
    for x in (t, damaged):
        shutil.copytree(x.path, os.path.join(into, x.name))
    return into


def state_dir(name):
    d = os.path.join(work, "state-" + name)
    os.mkdir(d)
    os.chmod(d, 0o777)
    return d


def look(into):
    """Everything that must stay as it is."""
    found = {}
    for top, dirs, files in os.walk(into):
        for f in dirs + files:
            st = os.lstat(os.path.join(top, f))
            found[os.path.join(top, f)] = (st.st_ino, st.st_size, st.st_mode, st.st_uid, st.st_mtime_ns, st.st_ctime_ns)
    return found


def seed(name, into, *more, user=()):
    """Starts bt seed, fetches all of it, stops. Returns the data files it read before anybody asked."""
    trace = os.path.join(work, "trace")
    before = [*user]
    if have_strace:
        open(trace, "w").close()
        os.chmod(trace, 0o666)
        before += ["strace", "-f", "-y", "-qq", "-e", "trace=read,pread64,preadv,preadv2,mmap,openat", "-o", trace]
    r = Run("seed", "--json", t.file, "-d", into, *more, program=program, before=before)
    if not check(f"{name}: finds all of it", r.event("done", 10, t) and r.event("checked", 0, t), r.why()):
        r.kill()
        return set()
    read = set(re.findall(r"(?:read|pread64|preadv2?|mmap)\(.*?<[^>]*/(tree/[^>]*)>", open(trace).read())) \
        if have_strace else set()
    l = Leecher(t, r.port())
    right = l.claims() == set(range(t.pieces))
    for i in range(t.pieces):
        for off in range(0, len(t.piece(i)), BLOCK):
            right = right and l.block(i, off) == t.block(i, off)
    l.close()
    check(f"{name}: gives all of it", right, r.why())
    warned = r.events("warning")
    with open(f"/proc/{r.pid}/task/{r.pid}/children") as f:
        kids = f.read().split()
    if have_strace and kids:
        os.kill(int(kids[0]), signal.SIGINT)
        status = r.wait(10)
    else:
        status = r.stop()
    check(f"{name}: ends in order, without complaint", status == 0 and not warned, f"{warned} {r.why()}")
    return read


DATA = {"tree/a.bin", "tree/b/c.bin"}


def starts(name, into, user=()):
    """Twice without a place for the journal, twice with one."""
    before = look(into)
    for n in ("first", "second"):
        read = seed(f"{name}, {n} start", into, user=user)
        if have_strace:
            check(f"{name}, {n} start: it was looked at", read == DATA, read)
    state = state_dir(name.split()[0])
    read = seed(f"{name}, first start with --state", into, "--state", state, user=user)
    if have_strace:
        check(f"{name}: it was looked at", read == DATA, read)
    check(f"{name}: the journal is there", any(f.endswith(".journal") for f in os.listdir(state)), os.listdir(state))
    read = seed(f"{name}, second start with --state", into, "--state", state, user=user)
    if have_strace:
        check(f"{name}: it was not looked at again", not read, read)
    check(f"{name}: nothing there was changed", look(into) == before)


def other_commands(name, into, user=()):
    r = Run("verify", "--json", t.file, "-d", into, program=program, before=user)
    check(f"{name}: verify", r.wait(10) == 0, r.why())
    r = Run("get", "--json", t.file, "-d", into, program=program, before=user)
    check(f"{name}: get finds it complete", r.wait(10) == 0, r.why())
    r = Run("get", "--json", damaged.file, "-d", into, "--peer", Seeder([damaged]).peer, program=program, before=user)
    check(f"{name}: get can't repair, and names the file", r.wait(15) == 1 and "damaged/b.bin" in r.stderr(), r.why())


def damage(into):
    p = os.path.join(into, "damaged", "b.bin")
    with open(p, "r+b") as f:
        f.seek(150000)
        f.write(b"wrong")


if not have_strace:
    skip("what was read", "strace is not installed")

into = places("volume")
damage(into)
if may_mount:
    mount("--bind", into, into)
    subprocess.run(["mount", "-o", "remount,ro,bind", into], check=True)
    starts("read-only volume", into)
    other_commands("read-only volume", into)
    into = places("burnt")  # with the journal of a time when it could be written
    seed("volume with a journal, before", into)
    mount("--bind", into, into)
    subprocess.run(["mount", "-o", "remount,ro,bind", into], check=True)
    before = look(into)
    read = seed("volume with a journal", into)
    check("volume with a journal: was not looked at again", not read or not have_strace, read)
    check("volume with a journal: nothing there was changed", look(into) == before)
else:
    skip("read-only volume", "needs root")

into = places("theirs")
damage(into)
for top, dirs, files in os.walk(into):
    for f in files:
        os.chmod(os.path.join(top, f), 0o444)
    os.chmod(top, 0o555)
starts("directory of another user", into, as_nobody)
other_commands("directory of another user", into, as_nobody)

# A file nobody may read: what is beside it is shared, and the file is named.
os.chmod(os.path.join(into, "damaged", "b.bin"), 0)
r = Run("seed", "--json", damaged.file, "-d", into, program=program, before=as_nobody)
r.event("checked", 10)
time.sleep(0.5)
check("unreadable file: is named", "damaged/b.bin" in r.stderr() + r.stdout() and "ermission" in r.stderr() + r.stdout(), r.why())
if r.running():
    l = Leecher(damaged, r.port())
    mine = set(range(damaged.pieces)) - damaged.pieces_of("damaged/b.bin")
    check("unreadable file: what is whole beside it is shared", l.claims() == mine, l.have)
    l.close()
check("unreadable file: the exit status tells", r.stop() == 4, r.why())

# A state directory that can't be written: said, and seeding goes on.
into = os.path.join(work, "theirs")
locked = state_dir("locked")
os.chmod(locked, 0o555)
r = Run("seed", "--json", t.file, "-d", into, "--state", os.path.join(locked, "x"), program=program, before=as_nobody)
check("no state directory: seeds all the same", r.event("done", 10), r.why())
check("no state directory: ends in order", r.stop() == 0, r.why())
done()
