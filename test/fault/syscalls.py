#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""syscalls.py - what the two processes ask of the kernel, seen by strace while
they download, seed data that is not in memory, and stop. For the loop there is
a list of what it may call once its torrents are added, and with what: all that
is not on the list fails, so a new call has to be put here, with its reason. It
names no file, reads and maps files only through descriptors the keeper sent, and
waits nowhere but for its epoll. The keeper makes no network call, and names a
piece in the journal only after its data and the names of its files are synced.
Last: a disk that takes most of a second for each call does not delay the loop."""
import re
import time

from faults import *

alone()
if not shutil.which("strace"):
    skip("system calls", "strace is not installed")
    done()
work = workdir()

SOCKET, MEMFD, EPOLL, SIGNALS, PIPE, NULL = "socket:", "/memfd:bt-torrent", "anon_inode:[eventpoll]", \
    "anon_inode:[signalfd]", "pipe:", "/dev/null"
LINE = re.compile(r"^([a-z0-9_]+)\((.*)\)\s+= (-?[0-9]+|0x[0-9a-f]+|\?)(?:<(.*?)>(?:\(deleted\))?)?(?: ([A-Z]+) )?.*$")
FD = re.compile(r"(\d+)<([^>]*)>")


class Call:
    def __init__(self, text):
        m = LINE.match(text)
        if not m:
            raise ValueError("strange line of strace: " + text[:200])
        self.text, self.name, self.args, ret, self.ret_path, self.error = text[:300], m[1], m[2], m[3], m[4], m[5]
        self.ret = None if ret == "?" else int(ret, 0)
        self.fds = [(int(n), path) for n, path in FD.findall(self.args)]  # in the order of the arguments
        self.fd, self.path = self.fds[0] if self.fds else (None, "")


def calls(path):
    with open(path, errors="replace") as f:
        return [Call(line.rstrip("\n")) for line in f if not line.startswith(("---", "+++"))]


# ---- the loop: what it may do, with what ----

class Loop:
    """The descriptors it was sent, and the verdict on each call."""

    def __init__(self, into):
        self.into, self.received, self.used = into, {}, set()

    def kind(self, fd, path):
        """What a descriptor is, or None for a file it was not given."""
        if path.startswith(SOCKET) or path.startswith(("TCP", "UDP", "UNIX")):
            return "socket"
        if path.startswith(PIPE):
            return "pipe"
        if path.startswith(MEMFD):
            return "memfd"
        if path in (EPOLL, SIGNALS):
            return path
        if fd in (1, 2):
            return "output"
        if self.received.get(fd) == path:
            return "given"
        return None

    def is_a(self, c, *kinds):
        return self.kind(c.fd, c.path) in kinds

    def note(self, c):
        """Follows descriptors as they come and go."""
        if c.name in ("recvmmsg", "recvmsg"):
            for part in re.findall(r"SCM_RIGHTS, cmsg_data=\[([^\]]*>)\]", c.args.replace(" (deleted)", "")):
                self.received.update({int(n): p for n, p in FD.findall(part)})
        if c.name == "close":
            self.received.pop(c.fd, None)

    def wait_only(self, c):
        """The one place where it waits, or a question that does not."""
        fds = [p for _, p in c.fds]
        return re.search(r", 0$", c.args) or fds[:2] == [EPOLL, SIGNALS]

    def mmap(self, c):
        if "MAP_ANONYMOUS" in c.args:
            return True
        return "MAP_SHARED" in c.args and "PROT_EXEC" not in c.args and self.is_a(c, "given", "memfd")

    def close(self, c):
        return self.is_a(c, "socket", "pipe", "memfd", "given", EPOLL, SIGNALS)


def flag(word):
    return lambda loop, c: word in c.args


def of(*kinds):
    return lambda loop, c: loop.is_a(c, *kinds)


def anything(loop, c):
    return True


ALLOWED = {
    # waiting
    "epoll_wait": of(EPOLL), "epoll_pwait": of(EPOLL), "epoll_ctl": of(EPOLL),
    "poll": Loop.wait_only, "ppoll": Loop.wait_only, "restart_syscall": anything,
    # the keeper
    "sendmmsg": flag("MSG_DONTWAIT"), "sendmsg": flag("MSG_DONTWAIT"), "recvmmsg": flag("MSG_DONTWAIT"),
    "wait4": flag("WNOHANG"),
    # a torrent's description for the keeper
    "memfd_create": anything, "ftruncate": of("memfd"), "pwrite64": of("memfd"), "pread64": of("memfd"),
    "newfstatat": of("memfd"), "fstat": of("memfd"),
    # peers, trackers, name servers: none of them is a file, none of them waits
    "socket": lambda loop, c: "SOCK_NONBLOCK" in c.args and re.match("AF_INET6?,", c.args),
    "accept4": flag("SOCK_NONBLOCK"), "connect": lambda loop, c: "sa_family=AF_INET" in c.args,
    "bind": of("socket"), "listen": of("socket"), "dup": of("socket"), "shutdown": of("socket"),
    "getsockname": of("socket"), "getpeername": of("socket"), "setsockopt": of("socket"), "getsockopt": of("socket"),
    "recvfrom": of("socket"), "sendto": of("socket"), "recvmsg": of("socket"), "readv": of("socket"),
    "writev": of("socket"), "read": of("socket", "pipe", SIGNALS), "write": of("pipe", "output"),
    "pipe2": flag("O_NONBLOCK"),
    # data of files, through descriptors that were sent
    "preadv2": lambda loop, c: loop.is_a(c, "given") and "RWF_NOWAIT" in c.args,
    "sendfile": lambda loop, c: loop.is_a(c, "socket") and loop.kind(*c.fds[1]) == "given",
    "mmap": Loop.mmap, "munmap": anything, "madvise": anything, "brk": anything, "mremap": anything,
    "close": Loop.close,
    # itself
    "fcntl": lambda loop, c: loop.kind(c.fd, c.path), "getrandom": anything, "clock_gettime": anything,
    "gettimeofday": anything, "rt_sigaction": anything, "rt_sigprocmask": anything, "rt_sigreturn": anything,
    "ioctl": lambda loop, c: loop.is_a(c, "output") and re.search("TIOCGWINSZ|TCGETS", c.args),
    "sysinfo": anything, "exit_group": anything, "exit": anything,
}
# Before: the program is loaded, the torrent read. Of files only these may be named.
BY_NAME = {"open", "openat", "openat2", "stat", "lstat", "access", "faccessat", "faccessat2", "readlink", "rename",
           "unlink", "mkdir", "chdir", "statx", "statfs", "creat", "link", "symlink", "chmod", "execve"}


def judge_loop(name, found, into, torrents):
    loop, wrong, named, started = Loop(into), [], [], False
    for c in found:
        if not started:
            words = re.findall(r'"([^"]*)"', c.args)
            if c.name in BY_NAME and c.name != "execve" and words:
                p = words[0]
                if not (p in torrents or ".so" in p or p == NULL or p.startswith(("/sys/devices/system/cpu", "/proc/self"))):
                    named.append(c.text)
            started = c.name == "write" and c.fd == 1 and '"listening' in c.args
            loop.note(c)
            continue
        rule = ALLOWED.get(c.name)
        if not rule or not rule(loop, c):
            wrong.append(c.text)
        loop.note(c)
        loop.used.add(c.name)
    check(f"{name}: the loop starts and adds torrents", started)
    check(f"{name}: at its start it names no file but its torrents", not named, "\n".join(named[:5]))
    check(f"{name}: then it makes no call that names a file, or waits, or is unknown", started and not wrong,
          f"{len(wrong)}:\n" + "\n".join(wrong[:10]))
    return loop.used


# ---- the keeper: no network, and the order of durability ----

SYNCS, WRITES = {"fsync", "fdatasync"}, {"write", "pwrite64", "pwritev", "pwritev2", "writev"}
NETWORK = {"connect", "bind", "listen", "accept", "accept4", "sendto", "recvfrom"}


def judge_keeper(name, found, into, mapped):
    network, early, dirty, names, journalled, synced = [], [], set(), set(), 0, 0
    for c in found:
        if c.name in NETWORK or c.name == "socket" and "AF_UNIX" not in c.args:
            network.append(c.text)
        if c.error:
            continue
        mine = c.path.startswith(into)
        journal = mine and "/.bt/" in c.path
        if c.name == "openat" and "O_CREAT" in c.args and (c.ret_path or "").startswith(into + "/"):
            if "/.bt/" not in c.ret_path:
                names.add(os.path.dirname(c.ret_path))
        elif c.name == "mkdirat" and mine:
            names.add(c.path)
        elif c.name in WRITES and mine and not journal:
            dirty.add(c.path)
        elif c.name in SYNCS and mine and not journal:
            dirty.discard(c.path)
            names.discard(c.path)
            synced += 1
        elif c.name == "syncfs":
            dirty.clear()
            synced += 1
        elif c.name in WRITES and journal:
            journalled += 1
            if dirty or (names - {into} and journalled > 1):
                early.append(f"{c.text[:120]} while not synced: {sorted(dirty | names)}")
    check(f"{name}: the keeper makes no network call", not network, "\n".join(network[:5]))
    check(f"{name}: the journal is written after data and names are synced", not early and journalled and
          (synced or not mapped), "\n".join(early[:5]))
    return journalled


def traced(name, *argv, **kw):
    prefix = os.path.join(work, f"trace-{name}")
    r = Run(*argv, before=["strace", "-ff", "-v", "-y", "-s", "24", "-o", prefix], **kw)
    r.prefix = prefix
    return r


def traces(r):
    """(loop, keeper): the loop is the one that was executed."""
    found = [calls(os.path.join(work, f)) for f in os.listdir(work) if f.startswith(os.path.basename(r.prefix) + ".")]
    loop = [t for t in found if t[0].name == "execve"]
    keeper = [t for t in found if t[0].name != "execve"]
    return loop[0], keeper[0]


def bt_of(r):
    """strace's child: the loop's process id."""
    def kids():
        with open(f"/proc/{r.pid}/task/{r.pid}/children") as f:
            return f.read().split()
    wait_until(kids, 5, 0.01)
    return int(kids()[0])


def refuses(*lines):
    """The list says no to each of these."""
    loop = Loop("/d")
    loop.received = {9: "/d/a"}
    return not any((rule := ALLOWED.get((c := Call(line)).name)) and rule(loop, c) for line in lines)


check("what the list is for, it refuses", refuses(
    'openat(AT_FDCWD</d>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 5</etc/hosts>',
    'newfstatat(AT_FDCWD</d>, "/d/a", {st_mode=S_IFREG|0644, st_size=1, ...}, 0) = 0',
    'newfstatat(9</d/a>, "", {st_mode=S_IFREG|0644, st_size=1, ...}, AT_EMPTY_PATH) = 0',
    'pread64(9</d/a>, "x", 1, 0) = 1', 'preadv2(9</d/a>, [{iov_base="x", iov_len=1}], 1, 0, 0) = 1',
    'preadv2(8</d/b>, [{iov_base="x", iov_len=1}], 1, 0, RWF_NOWAIT) = 1', 'fsync(9</d/a>) = 0',
    'sendfile(6<socket:[7]>, 8</d/b>, [0] => [1], 1) = 1', 'write(9</d/a>, "x", 1) = 1', 'fdatasync(9</d/a>) = 0',
    'mmap(NULL, 4096, PROT_READ, MAP_SHARED, 8</d/b>, 0) = 0x7f0000000000', 'ftruncate(9</d/a>, 5) = 0',
    'connect(6<socket:[7]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file)',
    'socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 6<socket:[7]>', 'wait4(5, NULL, 0, NULL) = 5',
    'poll([{fd=6<socket:[7]>, events=POLLIN}], 1, 5000) = 1 ([{fd=6, revents=POLLIN}])',
    'clock_nanosleep(CLOCK_MONOTONIC, 0, {tv_sec=1, tv_nsec=0}, NULL) = 0', 'rename("/d/a", "/d/b") = 0',
    'recvmmsg(4<socket:[3]>, [{msg_hdr={msg_name=NULL}}], 16, MSG_CMSG_CLOEXEC, NULL) = 1'))

os.mkdir(os.path.join(work, "source"))
source = os.path.join(work, "source")
tree = make_data(os.path.join(source, "tree"), {"a.bin": 5 << 20, "b/tiny": 100, "b/none": 0, "c.bin": (3 << 20) + 11})
# names to look up: one the hosts file knows, one nobody does; nobody answers there
torrent = Torrent(tree, 65536, ["http://localhost:1/announce", "http://tracker.invalid:1/announce"])
slow, fast = Seeder([torrent], 700 << 10), Seeder([torrent])
talker = Seeder([torrent], chatter=True)  # what comes between blocks makes bt copy them to their place
peer_name = f"localhost:{fast.port}"

# Downloads: slow enough for a periodic sync; pooled and mapped; each goes on as a seed and is stopped.
runs = {}
for name, peer, storage in (("slow", slow.peer, "pool"), ("pool", peer_name, "pool"), ("map", talker.peer, "map")):
    into = os.path.join(work, "into-" + name)
    runs[name] = (traced(name, "get", torrent.file, "-d", into, "--peer", peer, "--storage", storage, "--seed",
                         "--window", "4M", "-p", "0"), into)


def fetch_all(port):
    """As a leecher; true when every block is right."""
    l = Leecher(torrent, port)
    ok = l.claims() == set(range(torrent.pieces))
    for i in range(torrent.pieces):
        for off in range(0, len(torrent.piece(i)), BLOCK):
            ok = ok and l.block(i, off) == torrent.block(i, off)
    l.close()
    return ok


def port_of(r):
    found = lambda: re.search(r"listening on port (\d+)", r.stdout())
    wait_until(found, 10)
    return int(found()[1])


def forget_pages(into):
    for f, n in torrent.files:
        fd = os.open(os.path.join(into, f), os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


used = set()
for name in ("pool", "map", "slow"):
    r, into = runs[name]
    ok = wait_until(lambda: "complete" in r.stdout(), 40)
    check(f"get, {name}: completes under strace", ok, r.why())
    forget_pages(into)
    check(f"get, {name}: then seeds", ok and fetch_all(port_of(r)), r.why())
    os.kill(bt_of(r), signal.SIGINT)
    check(f"get, {name}: ends when asked", r.wait(10) == 0, r.why())
    loop, keeper = traces(r)
    used |= judge_loop(f"get, {name}", loop, into, {torrent.file})
    n = judge_keeper(f"get, {name}", keeper, into, name == "map")
    if name == "slow":
        check("get, slow: with a record amid the download", n >= 4, f"{n} writes to the journal")

# Seeding, first with data that has to be read from the disk.
into = os.path.join(work, "into-pool")
forget_pages(into)
r = traced("seed", "seed", torrent.file, "-d", into)
check("seed: gives everything", fetch_all(port_of(r)), r.why())
os.kill(bt_of(r), signal.SIGINT)
check("seed: ends when asked", r.wait(10) == 0, r.why())
loop, keeper = traces(r)
used |= judge_loop("seed", loop, into, {torrent.file})
judge_keeper("seed", keeper, into, False)
check("the traces show what they are about", {"preadv2", "sendfile", "readv", "recvmmsg", "connect", "mmap", "pipe2"} <= used, used)
print("calls of the loop:", " ".join(sorted(used)))

# A disk that takes 0.7 s for every call that reaches it: a peer hears no pause.
DELAY = 0.7
into, watcher = os.path.join(work, "into-lame"), Seeder([torrent], empty=True)
lame = Run("get", "--seed", "--quiet", torrent.file, "-d", into, "--peer", fast.peer, "-p", "6999", "--peer", watcher.peer,
           before=["strace", "-f", "-qq", "-o", NULL, "-e", "trace=fsync,fdatasync,pwritev,pwrite64",
                   "-e", f"inject=fsync,fdatasync,pwritev:delay_enter={int(DELAY * 1e6)}"])
longest, answers = 0.0, 0
begin = time.monotonic()
while time.monotonic() - begin < 12:
    t0 = time.monotonic()
    try:
        Leecher(torrent, 6999, seconds=5).close()  # connects and shakes hands
        answers += 1
        longest = max(longest, time.monotonic() - t0)
    except ConnectionError as e:
        if answers:  # before, it has not started yet
            check("lame disk: it goes on answering", False, e)
            break
    time.sleep(0.05)
check("lame disk: the download moves on meanwhile", watcher.sessions and len(watcher.sessions[0].haves) > 2, lame.why())
check(f"lame disk: {answers} handshakes, the slowest in {longest * 1000:.0f} ms", answers > 20 and longest < DELAY / 2)
lame.kill()
done()
