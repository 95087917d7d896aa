# SPDX-License-Identifier: MIT
"""faults.py - what the fault tests share: torrents made without bt's help, a
small seeder that counts every block it sends, a small leecher that asks one
peer for what it claims to have, and bt itself with its keeper process in view.
The programs that need mounts run again in a mount namespace of their own."""

import atexit
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "real"))
import clients
from clients import BT, PYTHON, done, make_data, same_path, skip, wait_until  # noqa: F401

BLOCK = 16384
IP = "127.0.0.1"


def alone(mounts=False):
    """Runs this program again with a network of its own and, if asked and root,
    mounts of its own. Returns whether it may mount."""
    if os.environ.get("BT_TEST_ALONE"):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # to clean up then too
            signal.signal(sig, lambda *_: sys.exit(1))
        return os.environ["BT_TEST_ALONE"] == "mounts"
    root = os.geteuid() == 0
    how = ["unshare", "-n" if root else "-rn"] + (["-m", "--propagation", "private"] if mounts and root else [])
    env = dict(os.environ, BT_TEST_ALONE="mounts" if mounts and root else "net")
    os.execvpe(how[0], how + ["sh", "-c", 'ip link set lo up && exec "$0" "$@"', PYTHON] + sys.argv, env)


_one_at_a_time = threading.Lock()


def check(name, ok, detail=""):
    with _one_at_a_time:
        return clients.check(name, ok, detail)


def together(*scenes):
    """Runs functions side by side: most of their time they wait. A scene that
    breaks off has failed."""
    def run(scene):
        try:
            scene()
        except Exception as e:
            traceback.print_exc()
            check(f"{scene.__name__} comes to its end", False, e)
    threads = [threading.Thread(target=run, args=(s,)) for s in scenes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def workdir():
    d = tempfile.mkdtemp(prefix="bt-fault-")
    os.chmod(d, 0o755)
    atexit.register(clean_up, d)
    return d


_mounts = []


def clean_up(d):
    for r in Run.all:
        r.kill()
    while _mounts:
        subprocess.run(["umount", "-l", _mounts.pop()], capture_output=True)
    shutil.rmtree(d, True)


def seeded():
    """The random choices of this run; BT_TEST_SEED=N repeats them."""
    seed = int(os.environ.get("BT_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"BT_TEST_SEED={seed}", flush=True)
    return random.Random(seed)


# ---- torrents ----

def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, str):
        x = x.encode()
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(map(bencode, x)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(x[k]) for k in sorted(x)) + b"e"


class Torrent:
    """A file, or a directory of files, and the .torrent of it beside it."""

    def __init__(self, path, piece_len=65536, trackers=()):
        self.path, self.name, self.piece_len = path, os.path.basename(path), piece_len
        self.single = os.path.isfile(path)
        self.files = []  # (relative to the download directory, length)
        if self.single:
            self.files.append((self.name, os.path.getsize(path)))
        for top, dirs, names in os.walk(path):
            dirs.sort()
            for n in sorted(names):
                full = os.path.join(top, n)
                self.files.append((os.path.join(self.name, os.path.relpath(full, path)), os.path.getsize(full)))
        self.size = sum(n for _, n in self.files)
        self.pieces = -(-self.size // piece_len)
        self.data = b"".join(open(os.path.join(os.path.dirname(path), f), "rb").read() for f, _ in self.files)
        self.hashes = [hashlib.sha1(self.piece(i)).digest() for i in range(self.pieces)]
        info = {"name": self.name, "piece length": piece_len, "pieces": b"".join(self.hashes)}
        if self.single:
            info["length"] = self.size
        else:
            info["files"] = [{"length": n, "path": f.split("/")[1:]} for f, n in self.files]
        meta = {"info": info}
        if trackers:
            meta["announce-list"] = [[t] for t in trackers]
            meta["announce"] = trackers[0]
        self.info_hash = hashlib.sha1(bencode(info)).digest()
        self.file = path + ".torrent"
        with open(self.file, "wb") as f:
            f.write(bencode(meta))

    def piece(self, i):
        return self.data[i * self.piece_len:(i + 1) * self.piece_len]

    def block(self, i, off, n=BLOCK):
        at = i * self.piece_len + off
        return self.data[at:min(at + n, (i + 1) * self.piece_len)]

    def on_disk(self, into):
        """The torrent's bytes as they lie below `into`, zeros where files end early."""
        out = []
        for f, n in self.files:
            try:
                b = open(os.path.join(into, f), "rb").read(n)
            except FileNotFoundError:
                b = b""
            out.append(b + bytes(n - len(b)))
        return b"".join(out)

    def right_pieces(self, into):
        data, n = self.on_disk(into), self.piece_len
        return {i for i in range(self.pieces) if hashlib.sha1(data[i * n:(i + 1) * n]).digest() == self.hashes[i]}

    def write_over(self, into, off, data):
        """Puts bytes at a place of the torrent's range, in whatever files are there."""
        at = 0
        for f, n in self.files:
            lo, hi = max(off, at), min(off + len(data), at + n)
            if lo < hi and os.path.exists(os.path.join(into, f)):
                with open(os.path.join(into, f), "r+b") as out:
                    out.seek(lo - at)
                    out.write(data[lo - off:hi - off])
            at += n

    def pieces_of(self, *names):
        """Pieces that hold a byte of one of these files (or of all but them, by negation of the caller)."""
        at, found = 0, set()
        for f, n in self.files:
            if f in names and n:
                found |= set(range(at // self.piece_len, (at + n - 1) // self.piece_len + 1))
            at += n
        return found

    def bits(self, field):
        return {i for i in range(self.pieces) if field[i // 8] & 0x80 >> i % 8}

    def field(self, have):
        out = bytearray(-(-self.pieces // 8))
        for i in have:
            out[i // 8] |= 0x80 >> i % 8
        return bytes(out)


# ---- a peer, spoken plainly (BEP 3) ----

CHOKE, UNCHOKE, INTERESTED, HAVE, BITFIELD, REQUEST, PIECE = 0, 1, 2, 4, 5, 6, 7


def recv_all(s, n):
    out = bytearray()
    while len(out) < n:
        part = s.recv(n - len(out))
        if not part:
            raise ConnectionError("closed")
        out += part
    return bytes(out)


def recv_message(s):
    """(id, payload); id None is a keep-alive."""
    n = struct.unpack(">I", recv_all(s, 4))[0]
    if n > 1 << 20:
        raise ConnectionError("a message of %d bytes" % n)
    m = recv_all(s, n)
    return (m[0], m[1:]) if m else (None, b"")


def message(kind, payload=b""):
    return struct.pack(">IB", 1 + len(payload), kind) + payload


def shake(s, info_hash=None, known=None):
    """Handshakes, as the one who begins when info_hash is given. Returns the hash."""
    me = b"-XX0000-" + os.urandom(12)
    if info_hash:
        s.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + me)
    head = recv_all(s, 68)
    if head[:20] != b"\x13BitTorrent protocol":
        raise ConnectionError("not a peer")
    if not info_hash:
        if head[28:48] not in known:
            raise ConnectionError("unknown torrent")
        s.sendall(b"\x13BitTorrent protocol" + bytes(8) + head[28:48] + me)
    return head[28:48]


class Session:
    """One connection of a Seeder: what the other end claimed, and what it was sent."""

    def __init__(self):
        self.claimed = None   # its bitfield when it connected; set() without one
        self.haves = set()    # announced since
        self.sent = []        # (piece, begin, length)
        self.ended = threading.Event()


class Seeder:
    """Serves torrents at `rate` bytes/s; each connection leaves its Session in
    `sessions`. Keeps little in flight, so that what it has sent was mostly read.
    `chatter`: with messages between the blocks. `empty`: has nothing, only listens;
    a peer that has a piece is not told of it, so haves come to such a one alone."""

    def __init__(self, torrents, rate=0, chatter=False, empty=False):
        self.empty = empty
        self.torrents = {t.info_hash: t for t in torrents}
        self.chatter, self.rate, self.sessions, self.lock = chatter, rate, [], threading.Lock()
        self.listener = socket.create_server((IP, 0), backlog=64)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self.listener.getsockname()[1]
        self.peer = f"{IP}:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def close(self):
        """Takes no more connections; those it has go on."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.listener.close()

    def sent_bytes(self):
        with self.lock:
            return sum(n for x in self.sessions for _, _, n in x.sent)

    def serve(self, s):
        me = Session()
        try:
            s.settimeout(120)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            t = self.torrents[shake(s, known=self.torrents)]
            me.torrent = t
            with self.lock:
                self.sessions.append(me)
            s.sendall(message(BITFIELD, t.field([] if self.empty else range(t.pieces))))
            begin, sent = time.monotonic(), 0
            while True:
                kind, m = recv_message(s)
                if me.claimed is None and kind is not None:
                    me.claimed = t.bits(m) if kind == BITFIELD else set()
                if kind == INTERESTED:
                    s.sendall(message(UNCHOKE))
                    begin, sent = time.monotonic(), 0
                elif kind == HAVE:
                    me.haves.add(struct.unpack(">I", m)[0])
                elif kind == REQUEST:
                    i, off, n = struct.unpack(">III", m)
                    while self.rate and sent / self.rate > time.monotonic() - begin:
                        time.sleep(0.002)
                    sent += n
                    me.sent.append((i, off, n))
                    between = message(HAVE, struct.pack(">I", i)) if self.chatter and len(me.sent) % 3 == 0 else b""
                    s.sendall(between + message(PIECE, m[:8] + t.block(i, off, n)))
        except (OSError, ConnectionError, struct.error):
            pass
        finally:
            s.close()
            me.ended.set()


class Leecher:
    """Connects to one peer and reads what it claims; piece() fetches from it."""

    def __init__(self, torrent, port, host=IP, seconds=10):
        self.t, self.have = torrent, set()
        self.s = socket.create_connection((host, port), timeout=seconds)
        shake(self.s, torrent.info_hash)
        self.choked, self.got = True, {}
        self.s.sendall(message(INTERESTED))

    def step(self):
        kind, m = recv_message(self.s)
        if kind == BITFIELD:
            self.have |= self.t.bits(m)
        elif kind == HAVE:
            self.have.add(struct.unpack(">I", m)[0])
        elif kind in (CHOKE, UNCHOKE):
            self.choked = kind == CHOKE
        elif kind == PIECE:
            i, off = struct.unpack(">II", m[:8])
            self.got[i, off] = m[8:]
        return kind

    def claims(self, seconds=10):
        """All it says it has, once it unchokes."""
        self.s.settimeout(seconds)
        while self.choked:
            self.step()
        return self.have

    def block(self, i, off=0, n=None):
        n = n or len(self.t.block(i, off))
        while self.choked:
            self.step()
        self.s.sendall(message(REQUEST, struct.pack(">III", i, off, n)))
        while (i, off) not in self.got:
            if self.choked:
                raise ConnectionError("choked")
            self.step()
        return self.got.pop((i, off))

    def close(self):
        self.s.close()


# ---- bt ----

class Run:
    """A running bt: its JSON lines, stderr, and its keeper."""
    all = []

    def __init__(self, *argv, env=None, program=None, before=(), preexec=None):
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        if "strace" in before:  # a sanitizer that looks for leaks needs ptrace for itself
            env = dict(env or os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.p = subprocess.Popen([*before, program or BT, *argv], stdin=subprocess.DEVNULL, stdout=self.out,
                                  stderr=self.err, start_new_session=True, env=env, preexec_fn=preexec)
        self.pid = self.p.pid
        self.keeper = None
        Run.all.append(self)

    def find_keeper(self, seconds=5):
        """Its only child."""
        def look():
            try:
                with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
                    kids = f.read().split()
            except OSError:
                return True
            self.keeper = int(kids[0]) if kids else None
            return self.keeper
        wait_until(look, seconds, 0.002)
        return self.keeper

    def running(self):
        return self.p.poll() is None

    def wait(self, seconds):
        try:
            return self.p.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    @staticmethod
    def text_of(f):
        """Without a seek: the place where the program writes next is shared with it."""
        return os.pread(f.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def stderr(self):
        return self.text_of(self.err)

    def stdout(self):
        return self.text_of(self.out)

    def events(self, kind=None):
        found = []
        for line in self.stdout().splitlines():
            try:
                e = json.loads(line)
            except ValueError:
                continue  # being written
            if kind is None or e["event"] == kind:
                found.append(e)
        return found

    def stats(self, torrent=None):
        """The last numbers."""
        of = [e for e in self.events("stats") if not torrent or e["info_hash"] == torrent.info_hash.hex()]
        return of[-1] if of else {}

    def event(self, kind, seconds, torrent=None):
        """Waits for an event (of one torrent); None when it does not come."""
        def look():
            return [e for e in self.events(kind) if not torrent or e.get("info_hash") == torrent.info_hash.hex()]
        wait_until(lambda: look() or not self.running(), seconds, 0.05)
        return (look() or [None])[0]

    def port(self):
        e = self.event("listening", 10)
        return e["port"] if e else None

    def stop(self, seconds=10, sig=signal.SIGINT):
        """Asks it to stop; its exit status, None when it had to be killed."""
        if self.running():
            self.p.send_signal(sig)
        status = self.wait(seconds)
        if status is None:
            self.kill()
        return status

    def kill(self):
        for pid in (self.pid, self.keeper):
            if pid and alive(pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.p.wait()
        try:  # whatever else it started is in its group
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def why(self):
        return f"exit status {self.p.poll()}\n{self.stdout()[-600:]}\n{self.stderr()[-600:]}"


def alive(pid):
    """Is it there and not merely waiting to be reaped?"""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid, seconds):
    return wait_until(lambda: not alive(pid), seconds, 0.01)


def fresh(path):
    """An empty directory in the place of whatever was there."""
    shutil.rmtree(path, True)
    os.makedirs(path)
    return path


# ---- the journal, read by the comment at the top of disk/journal.c alone ----

def crc32c(data, table=[]):
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
            table.append(i)
    c = 0xffffffff
    for b in data:
        c = c >> 8 ^ table[(c ^ b) & 0xff]
    return c ^ 0xffffffff


def journal_claims(into, torrent):
    """The pieces the journal names, and whether it was closed in order. (set(), False) without one."""
    try:
        d = os.path.join(into, ".bt")
        name = [n for n in os.listdir(d) if torrent.info_hash.hex() in n.lower()][0]
        data = open(os.path.join(d, name), "rb").read()
    except (FileNotFoundError, IndexError):
        return set(), False
    # room for a snapshot with stamps and partial pieces up to a multiple of 4096, then the log
    bits = -(-torrent.pieces // 8)
    blocks = min(-(-torrent.piece_len // BLOCK), 8 * (65536 - 8))
    room = min(65536, torrent.pieces * (8 + -(-blocks // 8)))
    log = -(-(80 + bits + 16 * len(torrent.files) + room) // 4096) * 4096
    half, best = log + min(-(-bits // 4096) * 4096, 65536), None
    for base in (0, half):
        h = data[base:base + half]
        if h[:8] != b"bt-jrnl\x01":
            continue
        flags, gen = struct.unpack(">IQ", h[12:24])
        n = struct.unpack(">I", h[72:76])[0]
        if not 80 <= n <= log or crc32c(h[12:n]) != struct.unpack(">I", h[8:12])[0]:
            continue
        if best is None or gen > best[0]:
            best = (gen, flags, h)
    if not best:
        return set(), False
    _, flags, h = best
    have, at = torrent.bits(h[80:80 + bits]), log
    while not flags & 1 and at + 16 <= len(h):
        crc, count = struct.unpack(">II", h[at:at + 8])
        if not 0 < count <= (len(h) - at - 16) // 4 or h[at + 8:at + 16] != h[24:32] or \
                crc32c(h[at + 4:at + 16 + 4 * count]) != crc:
            break
        have |= set(struct.unpack(f">{count}I", h[at + 16:at + 16 + 4 * count]))
        at += 16 + 4 * count
    return have, bool(flags & 1)


# ---- volumes; in the mount namespace that alone(mounts=True) made ----

def mount(*argv):
    subprocess.run(["mount", *argv], check=True, capture_output=True)
    _mounts.append(argv[-1])
    return argv[-1]


def tmpfs(path, size):
    os.makedirs(path, exist_ok=True)
    return mount("-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", path)


def steady(path):
    """A file system whose inode numbers and times mean something, overlays' don't."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True).stdout.strip()
    if kind not in ("ext2/ext3", "xfs", "btrfs", "f2fs", "tmpfs"):
        tmpfs(path, "1g")


def ext4(path, size, work, *options):
    """A small ext4 volume in a file. Raises where loop devices can't be had."""
    image = os.path.join(work, os.path.basename(path) + ".img")
    with open(image, "wb") as f:
        f.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, image], check=True, capture_output=True)
    os.makedirs(path, exist_ok=True)
    mount("-o", "loop", image, path)
    os.chmod(path, 0o777)
    return path


def open_to_all(work):
    """The same directory under a name that every user can reach."""
    return mount("--bind", work, "/mnt")


AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def bt_copy(into):
    """A bt that other users can run too."""
    p = shutil.copy(BT, os.path.join(into, "bt"))
    os.chmod(p, 0o755)
    return p


def free_bytes(path):
    v = os.statvfs(path)
    return v.f_bavail * v.f_frsize


def ballast(path, leave):
    """A file that takes all space of the volume but `leave` bytes."""
    name = os.path.join(path, "ballast")
    with open(name, "wb", buffering=0) as f:
        while (n := min(free_bytes(path) - leave, 1 << 20)) > 0:
            try:
                f.write(bytes(n))
            except OSError:
                break
        os.fsync(f.fileno())
    return name
