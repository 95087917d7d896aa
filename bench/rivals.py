# SPDX-License-Identifier: MIT
"""rivals.py - how each client is started for a job, at its best as far as its
options allow, and how one knows that the job is done. `get` and `seed` return a
meter.Group; done() and ready() look at what it printed or left behind. `verify`
and `create` are argument lists of programs that end by themselves, or groups too."""
import os
import shutil
import subprocess
import time

from meter import Group

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PYTHON = "/usr/bin/python3"  # the one with Debian's python3-libtorrent


def output(*argv):
    try:
        r = subprocess.run(argv, capture_output=True, text=True, timeout=10)
        return (r.stdout + r.stderr).strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


class Rival:
    name = "?"
    needs = None       # program
    jobs = ("get", "seed", "verify", "create")
    config = "defaults"

    def __init__(self, ip, port, home):
        self.ip, self.port, self.home = ip, port, home
        self.mark = os.path.join(home, "mark")

    @classmethod
    def missing(cls):
        return not shutil.which(cls.needs)

    @classmethod
    def version(cls):
        return output(cls.needs, "--version").partition("\n")[0]

    def hook(self):
        """A program that notes the time when it is run."""
        path = os.path.join(self.home, "hook")
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\ndate +%s.%N >{self.mark}.new && mv {self.mark}.new {self.mark}\n")
        os.chmod(path, 0o755)
        return path

    def marked(self):
        try:
            return float(open(self.mark).read())
        except (OSError, ValueError):
            return None

    def logged(self, group, *words):
        """The time in the first line that begins with one of the words."""
        for line in group.text().splitlines():
            if line.startswith(words):
                return float(line.split()[1])
        return None

    def done(self, group):
        """When the download was complete, or None."""
        return self.marked()

    def synced(self, group):
        """When it says that all is on disk, or None: it never says."""
        return None

    def verified(self, group):
        """When the check was over; the end of the program unless it goes on running."""
        return None if group.running() else time.time()


class Bt(Rival):
    name = "bt"
    needs = os.environ.get("BT", os.path.join(ROOT, "build", "bt"))
    options = []

    @classmethod
    def version(cls):
        commit = output("git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude", "*")
        return output(cls.needs, "--version").partition("\n")[0] + f" ({commit})"

    def args(self, into):
        return ["-d", into, "--state", os.path.join(self.home, "state"), "--json", "-v", "-p", str(self.port),
                "--bind", self.ip, *self.options]

    def get(self, torrent, into):
        return Group([self.needs, "get", torrent, *self.args(into)], self.home)

    def seed(self, torrent, into):
        return Group([self.needs, "seed", torrent, *self.args(into)], self.home)

    def verify(self, torrent, into):
        return Group([self.needs, "verify", torrent, "-d", into], self.home)

    def create(self, path, out, piece):
        return Group([self.needs, "create", path, "-o", out, "-t", "http://127.0.0.1/announce", "--piece-length",
                      str(piece)], self.home)

    def event(self, group, what):
        for line in group.text().splitlines():
            if what in line:
                return float(line.partition('"time":')[2].partition(",")[0])
        return None

    def done(self, group):
        return self.event(group, "every piece is verified")

    def synced(self, group):
        return self.event(group, '"event":"done"')


class Libtorrent(Rival):
    name = "libtorrent"
    needs = PYTHON
    config = "high_performance_seed; out queue 1500, hashing threads 2, aio threads 4, extent affinity, TCP, plaintext"

    @classmethod
    def missing(cls):
        return "ok" not in output(PYTHON, "-c", "import libtorrent; print('ok')")

    @classmethod
    def version(cls):
        return "libtorrent-rasterbar " + output(PYTHON, "-c", "import libtorrent; print(libtorrent.__version__)")

    def start(self, job, torrent, into):
        return Group([PYTHON, os.path.join(HERE, "libtorrent_client.py"), job, torrent, into,
                      f"{self.ip}:{self.port}"], self.home)

    def get(self, torrent, into):
        return self.start("get", torrent, into)

    def seed(self, torrent, into):
        return self.start("seed", torrent, into)

    def verify(self, torrent, into):
        return self.start("verify", torrent, into)

    def create(self, path, out, piece):
        return Group([PYTHON, os.path.join(HERE, "libtorrent_client.py"), "create", path, out, str(piece)], self.home)

    def done(self, group):
        return self.logged(group, "finished")

    verified = done


class Aria2(Rival):
    name = "aria2"
    needs = "aria2c"
    jobs = ("get", "seed", "verify")
    config = "file-allocation=falloc, disk-cache=64M, DHT, LPD, PEX off"

    def start(self, torrent, into, *more):
        return Group(["aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
                      "--enable-peer-exchange=false", "--disable-ipv6", f"--interface={self.ip}", "--bt-max-peers=0",
                      "--file-allocation=falloc", "--disk-cache=64M", "--summary-interval=0", "--bt-tracker-interval=2",
                      f"--listen-port={self.port}", f"--dir={into}", *more, torrent], self.home)

    def get(self, torrent, into):
        return self.start(torrent, into, "--seed-time=0", f"--on-bt-download-complete={self.hook()}")

    def seed(self, torrent, into):
        return self.start(torrent, into, "--seed-ratio=0.0", "--check-integrity", "--allow-overwrite")

    def verify(self, torrent, into):
        return self.start(torrent, into, "--check-integrity", "--hash-check-only=true", "--seed-time=0")


class Transmission(Rival):
    name = "transmission"
    needs = "transmission-cli"
    config = "cache-size-mb 64, preallocation fast, 512 upload slots; DHT, LPD, PEX, uTP, encryption off"

    def start(self, torrent, into, *more):
        with open(os.path.join(self.home, "settings.json"), "w") as f:
            f.write(f"""{{ "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
"port-forwarding-enabled": false, "encryption": 0, "bind-address-ipv4": "{self.ip}", "preallocation": 1,
"cache-size-mb": 64, "upload-slots-per-torrent": 512, "speed-limit-up-enabled": false }}""")
        return Group(["transmission-cli", "-g", self.home, "-w", into, "-p", str(self.port), "-M", "-et", *more, torrent],
                     self.home)

    def get(self, torrent, into):
        return self.start(torrent, into, "-f", self.hook())

    def seed(self, torrent, into):
        return self.start(torrent, into, "-v")

    verify = seed

    def create(self, path, out, piece):
        return Group(["transmission-create", "-o", out, "-t", "http://127.0.0.1/announce", "-s", str(piece // 1024), path],
                     self.home)

    def verified(self, group):
        return time.time() if "\rSeeding" in group.text().replace("\n", "\r") else None


class Rtorrent(Rival):
    name = "rtorrent"
    needs = "rtorrent"
    jobs = ("get", "seed", "verify")
    config = "allocate, socket buffers 4M, 500 upload slots, pieces.hash.on_completion=no; DHT, PEX, encryption off"

    @classmethod
    def version(cls):
        return output("rtorrent", "-h").partition("\n")[0]

    def start(self, torrent, into, check):
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
network.send_buffer.size.set = 4M
network.receive_buffer.size.set = 4M
system.file.allocate.set = 1
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = none
trackers.use_udp.set = no
throttle.max_uploads.set = 500
throttle.max_uploads.global.set = 500
pieces.hash.on_completion.set = no
method.set_key = event.download.{check}, mark, "execute.nothrow={self.hook()}"
schedule2 = go, 0, 0, ((load.start, "{torrent}"))
""")
        return Group(["rtorrent", "-n", "-o", f"import={rc}"], self.home, {"TERM": "dumb"})

    def get(self, torrent, into):
        return self.start(torrent, into, "finished")

    def seed(self, torrent, into):
        return self.start(torrent, into, "hash_done")

    verify = seed

    def verified(self, group):
        return self.marked()


class Ctorrent(Rival):
    name = "ctorrent"
    needs = "ctorrent"
    config = "-C 64 (cache)"

    @classmethod
    def version(cls):
        return next((l for l in output("ctorrent", "-h").splitlines() if "dnh" in l), "?")

    def start(self, torrent, into, *more):
        name = os.path.basename(torrent)[:-len(".torrent")]
        return Group(["ctorrent", "-p", str(self.port), "-i", self.ip, "-I", self.ip, "-C", "64", "-s",
                      os.path.join(into, name), *more, torrent], into)

    def get(self, torrent, into):
        return self.start(torrent, into, "-e", "1", "-X", self.hook())

    def seed(self, torrent, into):
        return self.start(torrent, into, "-e", "72")

    def verify(self, torrent, into):
        return self.start(torrent, into, "-c")

    def create(self, path, out, piece):
        return Group(["ctorrent", "-t", "-u", "http://127.0.0.1/announce", "-l", str(piece), "-s", out, path], self.home)


class Mktorrent(Rival):
    name = "mktorrent"
    needs = "mktorrent"
    jobs = ("create",)
    config = "-t 2"

    @classmethod
    def version(cls):
        return output("mktorrent", "-h").partition("\n")[0]

    def create(self, path, out, piece):
        return Group(["mktorrent", "-t", "2", "-l", str(piece.bit_length() - 1), "-a", "http://127.0.0.1/announce",
                      "-o", out, path], self.home)


ALL = [Bt, Libtorrent, Aria2, Transmission, Rtorrent, Ctorrent, Mktorrent]
