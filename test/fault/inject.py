#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""inject.py - system calls that fail, one at a time. strace lets the n-th call of
one kind fail in each process of a bt that downloads, or seeds; n goes over the first
calls and some later ones. Whatever fails, bt

  - ends with a clear line and status 1, or goes on and does its work; never a
    signal, never a wait for ever, no process left behind;
  - has the right bytes when it says that it is complete, and gives none but right
    ones to others;
  - names no piece in its journal that is not right on the disk.

There are more cases than time: each run takes some by chance (BT_TEST_SEED repeats
them), with BT_TEST_ALL=1 all of them, some ten minutes."""
import collections
import re
import time

from faults import *

SECONDS = 80
LIMIT = 25  # for one run: a full disk is tried again after 1, 6, 11 s, a peer after 2, 4, 6
TIMES = [*range(1, 13), 15, 20, 30, 50]

# What each call may say, where it is worth asking. mmap and brk stand for all memory.
GET = {
    "pwritev": "EIO ENOSPC EDQUOT", "pwrite64": "EIO ENOSPC", "fallocate": "ENOSPC EIO EOPNOTSUPP", "ftruncate": "EIO EFBIG",
    "fdatasync": "EIO ENOSPC EINTR", "fsync": "EIO", "syncfs": "EIO", "openat2": "EMFILE EACCES EIO ENOSYS", "openat": "EMFILE ENOMEM EACCES",
    "mkdirat": "EACCES ENOSPC", "fstat": "EIO", "newfstatat": "EIO ENOMEM", "fstatfs": "ENOSYS", "statfs": "EIO", "pread64": "EIO",
    "flock": "EINTR ENOLCK", "fcntl": "EMFILE", "sync_file_range": "EIO", "lseek": "EIO", "fadvise64": "EIO",
    "socket": "EMFILE ENOBUFS EAFNOSUPPORT", "socketpair": "EMFILE", "connect": "ENETUNREACH EADDRNOTAVAIL", "listen": "EADDRINUSE",
    "bind": "EADDRINUSE", "accept4": "EMFILE ENOMEM ECONNABORTED", "setsockopt": "ENOPROTOOPT", "getsockopt": "ENOBUFS",
    "readv": "ECONNRESET ENOMEM EINTR EFAULT", "read": "EIO EINTR", "sendto": "ENOBUFS EPIPE EINTR", "recvfrom": "ENOMEM",
    "sendmmsg": "ENOBUFS EINTR EPIPE", "recvmmsg": "EINTR ENOMEM", "epoll_ctl": "ENOMEM ENOSPC", "epoll_wait": "EINTR",
    "epoll_pwait": "EINTR", "poll": "EINTR ENOMEM", "ppoll": "EINTR ENOMEM", "epoll_create1": "EMFILE", "signalfd4": "EMFILE",
    "memfd_create": "EMFILE ENOMEM", "clone": "EAGAIN ENOMEM", "mmap": "ENOMEM", "brk": "ENOMEM", "pipe2": "EMFILE", "dup": "EMFILE",
    "sysinfo": "ENOSYS", "prlimit64": "EPERM", "rt_sigaction": "EINVAL", "madvise": "EINVAL", "close_range": "ENOSYS", "prctl": "EINVAL",
}
SEED = {
    "sendfile": "EIO EINTR EPIPE ENOMEM EINVAL", "preadv2": "EAGAIN EOPNOTSUPP EIO", "pread64": "EIO", "openat2": "EMFILE EIO ENOSYS",
    "recvmmsg": "EINTR ENOMEM", "sendmmsg": "ENOBUFS EINTR", "accept4": "EMFILE ENFILE ENOMEM ECONNABORTED", "fcntl": "EMFILE",
    "fstat": "EIO", "sendto": "ENOBUFS EINTR", "epoll_ctl": "ENOMEM", "read": "EINTR EIO", "mmap": "ENOMEM", "poll": "EINTR",
    "epoll_wait": "EINTR", "fadvise64": "EIO", "lseek": "EIO", "memfd_create": "ENOMEM", "pwrite64": "EIO ENOSPC", "fdatasync": "EIO",
}
# No kernel fails to change what a registered descriptor waits for, and that is asserted.
NOT_OURS = re.compile("ev_mod: Assertion")

alone()
if not shutil.which("strace"):
    skip("failing calls", "strace is not installed")
    done()
rng = seeded()
work = workdir()
os.mkdir(os.path.join(work, "source"))
tree = make_data(os.path.join(work, "source", "tree"), {"a.bin": 700001, "b/c.bin": 300000, "b/none": 0, "d": 1, "e.bin": 200123})
t = Torrent(tree, 32768)
other = Seeder([t])



def calls_of_loader():
    """How often each is called before main: that the program can't be loaded is not our business."""
    out = os.path.join(work, "loader")
    subprocess.run(["strace", "-qq", "-o", out, BT, "version"], check=True, capture_output=True)
    return collections.Counter(re.findall(r"^(\w+)\(", open(out).read(), re.M))


def strace(call, error, n):
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
            "-e", f"inject={call}:error={error}:when={n + before_main[call]}"]


before_main = calls_of_loader()


def keeper_of(r):
    """strace's child is the loop, whose child is the keeper."""
    try:
        def kid(pid):
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                return int(f.read().split()[0])
        loop = kid(r.pid)
        return loop, kid(loop)
    except (OSError, IndexError):
        return None, None


def judge(r, status, into):
    """What is wrong, or None."""
    said = r.stderr()
    if status is None:
        return "does not end"
    if NOT_OURS.search(said):
        return None
    if status < 0 or status > 4:
        return f"status {status}"
    if status == 1 and not said.strip():
        return "ends without a word"
    if "ssert" in said or "anitizer" in said:
        return "breaks a promise of its own"
    if status == 0 and not same_path(tree, os.path.join(into, "tree")):
        return "says it is complete, and is not"
    if not into.endswith("seed"):
        named, _ = journal_claims(into, t)
        if named - t.right_pieces(into):
            return f"names {sorted(named - t.right_pieces(into))[:5]} in its journal"
    return None


def get(call, error, n, number):
    name = f"get: {call} {n} {error}"
    into = fresh(os.path.join(work, f"into-{number}"))
    storage = "map" if number % 3 == 0 else "pool"
    r = Run("get", t.file, "-d", into, "--peer", other.peer, "--window", "2M", "--storage", storage,
            before=strace(call, error, n))
    status = r.wait(LIMIT)
    wrong = judge(r, status, into)
    r.kill()
    if not wrong and status == 1:  # what it left behind is good to go on from
        again = Run("get", t.file, "-d", into, "--peer", other.peer)
        if again.wait(LIMIT) != 0 or not same_path(tree, os.path.join(into, "tree")):
            wrong = "the next start does not complete it: " + again.why()
        again.kill()
    shutil.rmtree(into, True)
    return name + f" ({storage})", wrong, r


def seed(call, error, n, number):
    name = f"seed: {call} {n} {error}"
    into = os.path.join(work, f"{number}-seed")
    shutil.copytree(tree, os.path.join(into, "tree"))
    r = Run("seed", "--json", t.file, "-d", into, before=strace(call, error, n))
    wait_until(lambda: r.events("checked") or not r.running(), 8)
    wrong, got, end = None, 0, time.monotonic() + 8
    while r.running() and got < 2 and time.monotonic() < end and not wrong:
        try:  # some connections may fail; two must do in the end
            l = Leecher(t, [e for e in r.events("listening")][-1]["port"], seconds=3)
            l.claims(3)
            for i in rng.sample(sorted(l.have), min(6, len(l.have))):
                for off in range(0, len(t.piece(i)), BLOCK):
                    if l.block(i, off) != t.block(i, off):
                        wrong = f"gives wrong bytes of piece {i}"
            got += 1
            l.close()
        except (OSError, ConnectionError, IndexError):
            time.sleep(0.05)
    failed = bool(r.events("error")) or not r.running()
    loop, _ = keeper_of(r)
    if loop and r.running():
        try:
            os.kill(loop, signal.SIGINT)
        except ProcessLookupError:
            pass
    status = r.wait(LIMIT)
    wrong = wrong or judge(r, status, into)
    if not wrong and got < 2 and not failed:
        wrong = "goes on, but gives nothing"
    r.kill()
    shutil.rmtree(into, True)
    return name, wrong, r


cases = [(get, c, e, n) for c, errors in GET.items() for e in errors.split() for n in TIMES]
cases += [(seed, c, e, n) for c, errors in SEED.items() for e in errors.split() for n in TIMES[:8]]
only = os.environ.get("BT_TEST_CASES")  # a regular expression, for who looks at one of them
if only:
    cases = [c for c in cases if re.search(only, f"{c[0].__name__}: {c[1]} {c[3]} {c[2]}")]
elif not os.environ.get("BT_TEST_ALL"):
    rng.shuffle(cases)
todo, ran, numbers = iter(list(enumerate(cases))), [], threading.Lock()
end = time.monotonic() + (SECONDS if not only and not os.environ.get("BT_TEST_ALL") else 1e9)


def worker():
    while time.monotonic() < end:
        with numbers:
            number, case = next(todo, (None, None))
        if case is None:
            return
        fn, *what = case
        name, wrong, r = fn(*what, number)
        ran.append(name)
        if wrong:
            check(name, False, f"{wrong}\n{r.why()}")


together(*[worker] * 2)
check(f"{len(ran)} of {len(cases)} failing calls were borne", len(ran) == len(cases) if only else len(ran) > 20, len(ran))
left = [r for r in Run.all if alive(r.pid)]
check("no process is left", not left, left)
done()
