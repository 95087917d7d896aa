# SPDX-License-Identifier: MIT
"""clients.py - other people's clients, started for real in a network namespace
that has only `lo`. Each class knows how to start one program as seeder or
leecher of a torrent; a Swarm starts a tracker, makes data, and compares trees.
Everything lives in one temporary directory and ends with the test."""

import atexit
import filecmp
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BT = os.path.abspath(os.environ.get("BT", os.path.join(ROOT, "build", "bt")))
NET = "10.77.0."  # transmission takes no tracker's word for peers in 127/8 ...
IP = NET + "1"    # ... and knows one peer per address, so each client gets its own
PYTHON = "/usr/bin/python3"  # the one with Debian's python3-libtorrent

passed = failed = skipped = 0


def in_namespace():
    """Runs this program again in a network namespace with only lo (NET added)."""
    if os.environ.get("BT_TEST_NETNS") == "1":
        return
    script = (f"ip link set lo up && for i in $(seq 1 60); do ip addr add {NET}$i/24 dev lo || exit 1; done"
              ' && exec "$0" "$@"')
    how = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    env = dict(os.environ, BT_TEST_NETNS="1")
    argv = how + ["sh", "-c", script, PYTHON] + sys.argv
    os.execvpe(argv[0], argv, env)


def check(name, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
        print(f"ok   {name}", flush=True)
    else:
        failed += 1
        print(f"FAIL {name} {detail}", flush=True)
    return ok


def skip(name, why):
    """A missing real peer fails in CI and is a visible skip elsewhere."""
    global skipped, failed
    if os.environ.get("CI"):
        failed += 1
        print(f"FAIL {name}: {why}", flush=True)
    else:
        skipped += 1
        print(f"skip {name}: {why}", flush=True)


def done():
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    sys.exit(1 if failed else 0)


def wait_until(fn, seconds, step=0.1):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if fn():
            return True
        time.sleep(step)
    return bool(fn())


def free_port(host=IP):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def port_open(port, host=IP):
    with socket.socket() as s:
        s.settimeout(0.2)
        return s.connect_ex((host, port)) == 0


def same_tree(a, b, empties=True):
    """True when both trees have the same directories, files, links and bytes.
    Without empties, files of no bytes may be missing in b."""
    for base, other in ((a, b), (b, a)):
        for top, dirs, files in os.walk(base):
            dirs[:] = [d for d in dirs if d != ".bt"]
            rel = os.path.relpath(top, base)
            for d in dirs:
                if empties and os.listdir(os.path.join(top, d)) and not os.path.isdir(os.path.join(other, rel, d)):
                    return False
            for f in files:
                x, y = os.path.join(top, f), os.path.join(other, rel, f)
                if not empties and base == a and not os.path.getsize(x):
                    continue
                if os.path.islink(x) or os.path.islink(y):
                    if not (os.path.islink(x) and os.path.islink(y) and os.readlink(x) == os.readlink(y)):
                        return False
                elif not os.path.isfile(y) or not filecmp.cmp(x, y, shallow=False):
                    return False
    return True


def same_path(a, b, empties=True):
    if os.path.isdir(a):
        return os.path.isdir(b) and same_tree(a, b, empties)
    return os.path.isfile(b) and filecmp.cmp(a, b, shallow=False)


class Proc:
    """A started program; its output goes to a log in its own directory."""
    all = []

    def __init__(self, argv, cwd, env=None):
        self.log = os.path.join(cwd, "log")
        self.argv = argv
        with open(self.log, "ab") as out:
            self.p = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                      start_new_session=True,
                                      env=dict(os.environ, HOME=cwd, LC_ALL="C.UTF-8", **(env or {})))
        Proc.all.append(self)

    def running(self):
        return self.p.poll() is None

    def wait(self, seconds):
        try:
            return self.p.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, sig=signal.SIGTERM):
        if self.running():
            try:
                os.killpg(self.p.pid, sig)
            except ProcessLookupError:
                pass
            if self.wait(8) is None:
                os.killpg(self.p.pid, signal.SIGKILL)
                self.p.wait()
        try:  # children of ours that outlived it
            os.killpg(self.p.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def tail(self, n=800):
        with open(self.log, "rb") as f:
            return f.read()[-n:].decode("utf-8", "replace")


# ended from outside: still by way of atexit, so that nothing is left running
for _sig in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_sig, lambda number, frame: sys.exit(128 + number))


@atexit.register
def _stop_all():
    for p in Proc.all:
        p.stop(signal.SIGKILL)


class Work:
    """A temporary directory that goes with the program."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="bt-real-")
        atexit.register(shutil.rmtree, self.dir, True)
        self.n = 0

    def sub(self, name):
        self.n += 1
        d = os.path.join(self.dir, f"{self.n}-{name}")
        os.mkdir(d)
        return d


def make_data(path, sizes, seed=1):
    """One file when sizes is a number, else a tree of {relative name: bytes}."""
    rng = random.Random(seed)
    if isinstance(sizes, int):
        with open(path, "wb") as f:
            left = sizes
            while left:
                n = min(left, 1 << 20)
                f.write(rng.randbytes(n))
                left -= n
        return path
    for name, size in sizes.items():
        full = os.path.join(path, name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        make_data(full, size, rng.random())
    return path


def info_hash(torrent):
    """SHA-1 of the raw bytes of the info dictionary, found without bt's help."""
    data = open(torrent, "rb").read()

    def skip(i):
        c = data[i:i + 1]
        if c == b"i":
            return data.index(b"e", i) + 1
        if c in (b"l", b"d"):
            i += 1
            while data[i:i + 1] != b"e":
                i = skip(i)
            return i + 1
        colon = data.index(b":", i)
        return colon + 1 + int(data[i:colon])

    i = 1
    while data[i:i + 1] != b"e":
        j = skip(i)
        k = skip(j)
        if data[i:j] == b"4:info":
            return hashlib.sha1(data[j:k]).hexdigest()
        i = k
    raise ValueError("no info dictionary")


def create(path, out, *options):
    r = subprocess.run([BT, "create", path, "-o", out, *options], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"bt create: {r.stderr}")
    return out


class Tracker:
    """opentracker on IP, HTTP and UDP. Debian's build serves only listed torrents."""
    needs = ["opentracker"]

    def __init__(self, work):
        self.port = free_port()
        d = work.sub("opentracker")
        os.chmod(d, 0o777)
        os.chmod(work.dir, 0o755)
        self.list = os.path.join(d, "whitelist")
        open(self.list, "w").close()  # read after its chroot, so by its bare name
        self.proc = Proc(["opentracker", "-i", IP, "-p", str(self.port), "-P", str(self.port), "-d", d,
                          "-w", "whitelist"], d)
        self.url = f"http://{IP}:{self.port}/announce"
        if not wait_until(lambda: port_open(self.port), 5):
            raise RuntimeError("opentracker did not start: " + self.proc.tail())

    def allow(self, *torrents):
        with open(self.list, "a") as f:
            for t in torrents:
                f.write(info_hash(t) + "\n")
        self.proc.p.send_signal(signal.SIGHUP)
        time.sleep(0.2)

    def stop(self):
        self.proc.stop()


class Client:
    """seed/leech start the program on a list of torrents with their data below
    `into` (files at into/NAME). peer is (host, port) where it can be told one."""
    name = "?"
    needs = []
    one_torrent = False
    makes_empty = True  # creates files of no bytes
    count = 0

    @classmethod
    def missing(cls):
        return [n for n in cls.needs if not shutil.which(n)]

    def __init__(self, work):
        self.work = work
        self.home = work.sub(self.name)
        Client.count += 1
        self.ip = f"{NET}{Client.count + 1}"
        self.port = free_port(self.ip)


class Bt(Client):
    name = "bt"
    program = [BT]
    options = []
    bound = True  # to its own address; else it listens on all and is reached at IP

    def address(self):
        return ["--bind", self.ip] if self.bound else []

    def seed(self, torrents, into, peer=None):
        return Proc([*self.program, "seed", *torrents, "-d", into, "-p", str(self.port), *self.address(),
                     *self.options], self.home)

    def leech(self, torrents, into, peer=None):
        """Goes on seeding when done, as the other programs do."""
        return self.get(torrents, into, peer, "--seed")

    def get(self, torrents, into, peer=None, *more):
        told = ["--peer", f"{peer[0]}:{peer[1]}"] if peer else []
        return Proc([*self.program, "get", *torrents, "-d", into, "-p", str(self.port), *self.address(),
                     *told, *self.options, *more], self.home)


class Aria2(Client):
    name = "aria2"
    needs = ["aria2c"]

    def start(self, torrents, into, *more):
        return Proc(["aria2c", "-j", "50", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
                     "--enable-peer-exchange=false", "--disable-ipv6", f"--interface={self.ip}", "--bt-max-peers=0",
                     "--file-allocation=none", "--summary-interval=0", "--bt-tracker-interval=2",
                     f"--listen-port={self.port}", f"--dir={into}", *more, *torrents], self.home)

    def seed(self, torrents, into, peer=None):
        return self.start(torrents, into, "--seed-ratio=0.0", "--check-integrity", "--allow-overwrite")

    def leech(self, torrents, into, peer=None):
        return self.start(torrents, into, "--seed-ratio=0.0")


class Libtorrent(Client):
    name = "libtorrent"

    @classmethod
    def missing(cls):
        r = subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True)
        return ["python3-libtorrent"] if r.returncode else []

    def seed(self, torrents, into, peer=None):
        told = [f"--peer={peer[0]}:{peer[1]}"] if peer else []
        return Proc([PYTHON, os.path.join(HERE, "libtorrent_peer.py"), into, f"{self.ip}:{self.port}",
                     *told, *torrents], self.home)

    leech = seed


TRANSMISSION_SETTINGS = """{
  "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
  "port-forwarding-enabled": false, "encryption": 0, "peer-port": %d, "bind-address-ipv4": "%s",
  "download-dir": "%s", "incomplete-dir-enabled": false, "rename-partial-files": true,
  "rpc-enabled": %s, "rpc-port": %d, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": false,
  "rpc-authentication-required": false, "speed-limit-up-enabled": false, "ratio-limit-enabled": false,
  "trash-original-torrent-files": false, "preallocation": 0, "umask": 18, "cache-size-mb": 4
}
"""


class TransmissionCli(Client):
    name = "transmission-cli"
    needs = ["transmission-cli"]
    makes_empty = False
    one_torrent = True

    def start(self, torrents, into, *more):
        with open(os.path.join(self.home, "settings.json"), "w") as f:
            f.write(TRANSMISSION_SETTINGS % (self.port, self.ip, into, "false", free_port()))
        return Proc(["transmission-cli", "-g", self.home, "-w", into, "-p", str(self.port), "-M", "-et",
                     *more, torrents[0]], self.home)

    def seed(self, torrents, into, peer=None):
        return self.start(torrents, into, "-v")

    def leech(self, torrents, into, peer=None):
        return self.start(torrents, into)


class TransmissionDaemon(Client):
    name = "transmission"
    needs = ["transmission-daemon", "transmission-remote"]
    makes_empty = False

    def seed(self, torrents, into, peer=None):
        rpc = free_port()
        with open(os.path.join(self.home, "settings.json"), "w") as f:
            f.write(TRANSMISSION_SETTINGS % (self.port, self.ip, into, "true", rpc))
        proc = Proc(["transmission-daemon", "-f", "-g", self.home], self.home)
        if not wait_until(lambda: port_open(rpc, "127.0.0.1"), 15):
            raise RuntimeError("transmission-daemon did not start: " + proc.tail())
        # the port is open a moment before the session answers
        for torrent in torrents:
            wait_until(lambda: subprocess.run(["transmission-remote", f"127.0.0.1:{rpc}", "-a", torrent, "-w", into],
                                              capture_output=True).returncode == 0, 10, 0.3)
        return proc

    leech = seed


class Rtorrent(Client):
    name = "rtorrent"
    needs = ["rtorrent"]

    def start(self, torrents, into, check):
        os.mkdir(os.path.join(self.home, "session"))
        rc = os.path.join(self.home, "rc")
        with open(rc, "w") as f:
            f.write(f"""system.daemon.set = true
session.path.set = {self.home}/session
directory.default.set = {into}
network.bind_address.set = {self.ip}
network.local_address.set = {self.ip}
network.port_range.set = {self.port}-{self.port}
network.port_random.set = no
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = none
trackers.use_udp.set = no
throttle.max_uploads.set = 500
pieces.hash.on_completion.set = {'yes' if check else 'no'}
{chr(10).join(f'schedule2 = go{i}, 1, 0, ((load.start, "{t}"))' for i, t in enumerate(torrents))}
""")
        return Proc(["rtorrent", "-n", "-o", f"import={rc}"], self.home, {"TERM": "dumb"})

    def seed(self, torrents, into, peer=None):
        return self.start(torrents, into, True)

    def leech(self, torrents, into, peer=None):
        return self.start(torrents, into, False)


class Qbittorrent(Client):
    name = "qbittorrent"
    needs = ["qbittorrent-nox"]

    def seed(self, torrents, into, peer=None):
        conf = os.path.join(self.home, "qBittorrent", "config")
        os.makedirs(conf)
        with open(os.path.join(conf, "qBittorrent.conf"), "w") as f:
            f.write(f"""[LegalNotice]
Accepted=true

[BitTorrent]
Session\\Port={self.port}
Session\\Interface=lo
Session\\InterfaceName=lo
Session\\InterfaceAddress={self.ip}
Session\\UseRandomPort=false
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\Encryption=2
Session\\BTProtocol=TCP
Session\\DefaultSavePath={into}
Session\\QueueingSystemEnabled=false
Session\\SSRFMitigation=false
Session\\MultiConnectionsPerIp=true
Session\\ValidateHTTPSTrackerCertificate=false
Session\\GlobalMaxRatio=-1

[Network]
PortForwardingEnabled=false

[Preferences]
Connection\\UPnP=false
WebUI\\Enabled=true
WebUI\\Address=127.0.0.1
WebUI\\LocalHostAuth=false
WebUI\\UseUPnP=false
""")
        return Proc(["qbittorrent-nox", f"--profile={self.home}", f"--webui-port={free_port()}",
                     f"--save-path={into}", "--add-paused=false", "--skip-dialog=true", *torrents], self.home,
                    {"QT_QPA_PLATFORM": "offscreen"})

    leech = seed


OTHERS = [Aria2, TransmissionDaemon, TransmissionCli, Libtorrent, Rtorrent, Qbittorrent]
