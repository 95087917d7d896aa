#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""cli.py - what a person at the command line meets: help that agrees with the
manual, one-line errors, exit statuses, output on terminals of several widths
and in pipes, signals, JSON. Loopback and a temporary directory only."""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BT = os.path.abspath(os.environ.get("BT", os.path.join(ROOT, "build", "bt")))
COMMANDS = ["get", "seed", "create", "show", "verify", "bench"]
passed = failed = 0
children = []  # ended with the test, however it ends


def check(name, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAIL {name} {detail!r}"[:2000], flush=True)
    return ok


def bt(*args, stdin=b"", timeout=30, env=None, cwd=None):
    """(status, stdout, stderr) of one run."""
    p = subprocess.run([BT, *map(str, args)], input=stdin, capture_output=True, timeout=timeout, cwd=cwd,
                       env=dict(os.environ, **(env or {})))
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def one_line_error(name, status, *args, says="", **how):
    got, out, err = bt(*args, **how)
    check(name, got == status and err.count("\n") == 1 and err.startswith("bt") and says in err and
          "\033" not in err, (got, out, err))


def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, str):
        x = x.encode()
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(map(bencode, x)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(x.items())) + b"e"


def write(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


# ---- help, manual, errors ----

def help_options(text):
    """The options of one command as its help shows them: (letter, name, value)."""
    found = set()
    for line in text.splitlines():
        m = re.match(r" {2,6}(?:-(\w), )?--([a-z-]+)(?:\[=(\w+)\]| (\S+))?(?:$| {2,})", line)
        if m:
            found.add((m[1] or "", m[2], m[3] or m[4] or ""))
    return found


def manual_options(source):
    """Names (letters and long) of the options that each command's section of the manual mentions."""
    sections = re.split(r"^\.Ss bt ", source.split(".Sh PROGRESS")[0], flags=re.M)[1:]
    return {s.split("\n", 1)[0]: (set(re.findall(r"Fl (?:Fl )?([\w-]+)", s)), s) for s in sections}


def test_help():
    source = read(os.path.join(ROOT, "pkg", "bt.1")).decode()
    manual = manual_options(source)
    for command in COMMANDS:
        status, out, err = bt("help", command)
        check(f"help {command}", status == 0 and err == "" and out.startswith(f"Usage: bt {command} "))
        check(f"--help is help {command}", bt(command, "--help")[1] == out and bt(command, "-h")[1] == out)
        check(f"help {command} fits 80 columns", max(map(len, out.splitlines())) < 80)
        check(f"help {command} ends with the exit status", "Exit status:\n  0 " in out)
        options = help_options(out)
        names = {n for n, _, _ in options if n} | {n for _, n, _ in options}
        check(f"help {command} has options", len(options) > 0)
        check(f"the manual and help {command} name the same options", manual[command][0] - {"files"} ==
              names - {"files"}, manual[command][0] ^ names)
        for letter, name, value in options:
            for word in value.split("|") if value and command in ("get", "create") else []:
                check(f"the manual names the values of {command} --{name}",
                      re.search(rf"^\.It .*Fl Fl {name}\b.*(Ar|Cm) {re.escape(word)}\b", source, re.M), word)
    status, out, err = bt("help")
    check("help lists all commands", status == 0 and all(f"\n  {c} " in out for c in COMMANDS))
    check("--help, -h", bt("--help")[1] == out == bt("-h")[1])
    check("no arguments: help on stderr, usage status", bt() == (2, "", out))
    check("version", bt("version") == bt("--version") == (0, bt("version")[1], "") and
          re.fullmatch(r"bt \d+\.\d+\.\d+\n", bt("version")[1]))
    for tool, args in (("mandoc", ["-T", "lint", "-W", "warning"]), ("groff", ["-ww", "-mdoc", "-Tutf8", "-z"])):
        if shutil.which(tool):
            p = subprocess.run([tool, *args, os.path.join(ROOT, "pkg", "bt.1")], capture_output=True, text=True)
            check(f"{tool} likes the manual", p.returncode == 0 and p.stderr == "", p.stdout + p.stderr)


def test_usage():
    for args, says in [
        (["get"], "TORRENT"), (["get", "--down", "12x", "x"], "--down: '12x' is not a rate"),
        (["get", "--down"], "needs a value"), (["get", "--seed=0", "x"], "ratio"), (["get", "--seed=", "x"], "ratio"),
        (["get", "--storage", "disk", "x"], "auto|map|pool"), (["get", "--nope", "x"], "--nope"),
        (["get", "-z", "x"], "-z"), (["get", "-qz", "x"], "-z"), (["get", "--json=1", "x"], "takes no value"),
        (["get", "--peer", "host", "x"], "HOST:PORT"), (["get", "--peer", "h:0", "x"], "HOST:PORT"),
        (["get", "--peer", "::1:80", "x"], "HOST:PORT"), (["get", "--port", "65536", "x"], "port"),
        (["get", "--max-peers", "0", "x"], "above 0"), (["get", "--max-peers", "99999999999", "x"], "above 0"),
        (["get", "-d", "", "x"], "empty"), (["seed", "--ratio", "x", "x"], "ratio"), (["create"], "PATH"),
        (["create", "-l", "5000", "-o", "y", "x"], "power of two"), (["create", "-t", "tracker.example", "x"], "tracker.example"), (["create", "-w", "://", "x"], "--web-seed"),
        (["show"], "TORRENT"), (["verify"], "TORRENT"),
        (["frobnicate"], "frobnicate"), (["help", "frobnicate"], "frobnicate"), (["get", "--\033[31m", "x"], "--?[31m"),
    ]:
        one_line_error(f"usage: {args}", 2, *args, says=says)
    for good in ["0", "1", "500k", "1.5M", "10MiB", "2GB", "2gb/s".replace("gb", "GB"), "7T", "1.25kB", "12B", "16384"]:
        one_line_error(f"{good} is a rate", 1, "get", f"--down={good}", "/nonexistent", says="No such file")
    for bad in ["", "-1", "+1", " 1", "1 ", "1.", ".5", "1e6", "0x10", "1kk", "1ki", "k", "99999999999T", "1M/h",
                "18446744073709551616", "1,5M", "inf"]:
        one_line_error(f"{bad} is no rate", 2, "get", f"--down={bad}", "/nonexistent", says="is not a rate")
    for peer in ["a.example:1", "1.2.3.4:65535", "[::1]:80", "[fe80::1%lo]:80"]:
        one_line_error(f"{peer} is a peer", 1, "get", "--peer", peer, "/nonexistent", says="No such file")
    one_line_error("-- ends options", 1, "show", "--", "--json", says="--json: No such file")
    one_line_error("options after operands", 2, "show", "x", "--nope", says="--nope")


def test_unreadable(tmp):
    one_line_error("no such file", 1, "show", "/nonexistent/x.torrent", says="No such file")
    one_line_error("a directory", 1, "show", tmp, says="directory")
    one_line_error("an empty file", 1, "show", write(f"{tmp}/empty", b""), says="empty")
    one_line_error("/dev/null", 1, "show", "/dev/null", says="empty")
    one_line_error("/dev/zero", 1, "show", "/dev/zero", says="not a torrent")
    one_line_error("endless input", 1, "show", write(f"{tmp}/endless", b"d" * (65 << 20)), says="64 MiB")
    one_line_error("endless standard input", 1, "show", "-", stdin=b"d" * (65 << 20), says="64 MiB")
    os.unlink(f"{tmp}/endless")
    one_line_error("half a torrent", 1, "show", write(f"{tmp}/half", b"d8:announce"), says="half")
    one_line_error("a magnet link", 1, "get", "magnet:?xt=urn:btih:" + "a" * 40, says=".torrent")
    one_line_error("an address", 1, "get", "http://a.example/x.torrent", says=".torrent")
    one_line_error("a name that drives terminals", 1, "show", "x\033[31m\u202e", says="x?[31m?")
    one_line_error("bt X.torrent means get", 1, f"{tmp}/none.torrent", says="bt get: ")
    os.mkfifo(f"{tmp}/fifo")
    t = time.time()
    one_line_error("a FIFO nobody writes to", 1, "show", f"{tmp}/fifo", says="pipe")
    check("and it does not take for ever", time.time() - t < 15)


# ---- show ----

NASTY = {
    "announce": "http://a.example/x", "announce-list": [["http://a.example/x", "http://b.example/"], ["udp://c.example:1"]],
    "comment": "one\ntwo \033[31mred\u202e", "created by": "x" * 5000, "creation date": 1700000000,
    "url-list": ["http://w.example/"],
    "info": {"name": "tree", "piece length": 16384, "pieces": b"x" * 60, "private": 1, "source": "SRC", "files": [
        {"path": ["a", "b\u6f22.txt"], "length": 20000},
        {"path": [".pad", "12768"], "length": 12768, "attr": "p"},
        {"path": ["x"], "length": 1000, "attr": "x"}]},
}


def test_show(tmp):
    path = write(f"{tmp}/nasty.torrent", bencode(NASTY))
    info_hash = hashlib.sha1(bencode(NASTY["info"])).hexdigest()
    status, out, err = bt("show", path)
    check("show", status == 0 and err == "", (status, err))
    for line in [r"name +tree", rf"info-hash +{info_hash}", rf"magnet +magnet:\?xt=urn:btih:{info_hash}&.*",
                 r"size +33.0 KiB \(33,768 bytes\)", r"pieces +3 of 16 KiB", r"flags +private", r"source +SRC",
                 r"tracker 1 +http://b.example/", r"tracker 2 +udp://c.example:1", r"web seed +http://w.example/",
                 r"created +2023-11-14 22:13:20 UTC", r"comment +one\?two \?\[31mred\?", r" +1 +19.5 KiB +tree/a/b漢.txt",
                 r" +3 +1000 B +tree/x"]:
        check(f"show prints {line}", re.search(f"^{line}$", out, re.M), out)
    check("nothing in it drives a terminal", not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", out))
    check("show -", bt("show", "-", stdin=bencode(NASTY)) == (0, out, ""))
    with subprocess.Popen(["sh", "-c", f"sleep 0.3; cat {path} >{tmp}/fifo"]) as late:
        check("show of a FIFO", bt("show", f"{tmp}/fifo") == (0, out, ""))
        late.wait()
    status, out, err = bt("show", "--json", path)
    j = json.loads(out)
    check("show --json", j["info_hash"] == info_hash and j["name"] == "tree" and j["size"] == 33768 and j["private"] and
          j["trackers"] == NASTY["announce-list"] and j["comment"] == NASTY["comment"] and j["pieces"] == 3 and
          [f["path"] for f in j["files"]][0] == "tree/a/b\u6f22.txt" and j["files"][1]["pad"] and
          j["files"][2]["executable"] and j["web_seeds"] == ["http://w.example/"] and not j["hybrid"], out)
    check("JSON holds no control bytes", not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", out))
    minimal = {"info": {"name": "m", "piece length": 16384, "pieces": b"y" * 20, "length": 1}}
    check("show --json of a bare one", json.loads(bt("show", "--json", "-", stdin=bencode(minimal))[1])["comment"] is None)
    status, out, err = bt("show", f"{tmp}/none", path)
    check("one bad of two", status == 1 and "name " in out and err.count("\n") == 1)
    with open("/dev/full", "wb") as full:
        p = subprocess.run([BT, "show", path], stdout=full, stderr=subprocess.PIPE)
        check("show to a full disk", p.returncode == 1 and b"No space left" in p.stderr)


# ---- create ----

def make_tree(top):
    for name, size in [("a.bin", 300001), ("sub/b.bin", 1 << 20), ("sub/deep/c", 1), ("empty", 0), ("z \u6f22", 70000)]:
        write(f"{top}/{name}", (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size])
    return top


def test_create(tmp):
    make_tree(f"{tmp}/tree")
    out_file = f"{tmp}/t.torrent"
    status, out, err = bt("create", f"{tmp}/tree", "-o", out_file, "-t", "http://a.example/", "-t", "http://b.example/",
                          "-w", "http://w.example/", "-c", "remark", "-s", "SRC", "--private", "--piece-length", "64k")
    check("create", status == 0 and err == "" and "of 64 KiB" in out, (status, out, err))
    j = json.loads(bt("show", "--json", out_file)[1])
    check("what create wrote", j["name"] == "tree" and j["piece_length"] == 65536 and j["private"] and
          sum(j["trackers"], []) == ["http://a.example/", "http://b.example/"] and j["comment"] == "remark" and
          j["source"] == "SRC" and j["web_seeds"] == ["http://w.example/"] and abs(j["creation_date"] - time.time()) < 60,
          j)
    check("create names the info-hash", j["info_hash"] in out)
    check("created files in the torrent", sorted(f["path"] for f in j["files"]) ==
          sorted(["tree/a.bin", "tree/empty", "tree/sub/b.bin", "tree/sub/deep/c", "tree/z \u6f22"]), j["files"])
    one_line_error("create does not replace", 1, "create", f"{tmp}/tree", "-o", out_file, says="-f")
    check("create -f does", bt("create", f"{tmp}/tree", "-o", out_file, "-f", "-q") == (0, "", ""))
    os.makedirs(f"{tmp}/cwd")
    check("the default name", bt("create", "../tree/", cwd=f"{tmp}/cwd")[0] == 0 and
          os.listdir(f"{tmp}/cwd") == ["tree.torrent"])
    check("the default name of .", bt("create", ".", "-q", cwd=f"{tmp}/tree/sub") == (0, "", "") and
          os.path.exists(f"{tmp}/tree/sub/sub.torrent"))
    os.unlink(f"{tmp}/tree/sub/sub.torrent")
    one = subprocess.run([BT, "create", f"{tmp}/tree", "--no-date", "-o", "-"], capture_output=True)
    time.sleep(1.1)
    two = subprocess.run([BT, "create", f"{tmp}/tree", "--no-date", "-o", "-"], capture_output=True)
    check("--no-date: the same bytes", one.returncode == 0 and one.stdout == two.stdout and one.stdout[:1] == b"d",
          (one.stderr, two.stderr))
    status, out, err = bt("create", f"{tmp}/tree", "--json", "--pad", "-f", "-o", f"{tmp}/pad.torrent")
    check("create --json", status == 0 and json.loads(out)["file"] == f"{tmp}/pad.torrent", (out, err))
    pads = json.loads(bt("show", "--json", f"{tmp}/pad.torrent")[1])
    check("--pad: files begin with a piece", all(f["offset"] % pads["piece_length"] == 0 for f in pads["files"]
          if f["length"] and not f.get("pad")) and any(f.get("pad") for f in pads["files"]))
    one_line_error("nothing there", 1, "create", f"{tmp}/none", "-o", f"{tmp}/n.torrent", says="No such file")
    one_line_error("an empty directory", 1, "create", f"{tmp}/cwd/", "-o", f"{tmp}/n.torrent") if not \
        os.unlink(f"{tmp}/cwd/tree.torrent") else None
    one_line_error("no place to write", 1, "create", f"{tmp}/tree", "-o", f"{tmp}/none/n.torrent", says="No such file")
    one_line_error("two paths want a name", 1, "create", f"{tmp}/tree", f"{tmp}/cwd", says="-n")
    check("failures leave nothing", not [f for f in os.listdir(tmp) if f.startswith("n.torrent")])
    # Hashing 8 GiB of nothing takes a while: progress on a terminal, and Ctrl-C ends it.
    with open(f"{tmp}/sparse", "wb") as f:
        f.truncate(8 << 30)
    term = Terminal([BT, "create", f"{tmp}/sparse", "-o", f"{tmp}/n.torrent"], 80)
    term.run(1.5)
    term.signal(signal.SIGINT)
    check("create stops on Ctrl-C with status 3", term.wait(10) == 3, term.text())
    check("create shows progress", "hashing" in term.text() and "GiB" in term.text(), term.text())
    check("and writes nothing", not [f for f in os.listdir(tmp) if f.startswith("n.torrent")])
    os.unlink(f"{tmp}/sparse")


# ---- terminals ----

class Terminal:
    """A program on a pseudo terminal of some width; keeps all that it wrote."""

    def __init__(self, argv, columns, env=None, stderr=None):
        self.master, slave = pty.openpty()
        self.resize(columns)
        self.p = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=stderr or slave, start_new_session=True,
                                  env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": "", **(env or {})})
        children.append(self.p)
        os.close(slave)
        self.data = b""

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def run(self, seconds):
        end = time.time() + seconds
        while (left := end - time.time()) > 0:
            if select.select([self.master], [], [], left)[0]:
                try:
                    got = os.read(self.master, 65536)
                except OSError:
                    return
                if not got:
                    return
                self.data += got

    def signal(self, number):
        self.p.send_signal(number)

    def wait(self, seconds):
        end = time.time() + seconds
        while time.time() < end and self.p.poll() is None:
            self.run(0.1)
        self.run(0.2)
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
            return None
        return self.p.returncode

    def text(self):
        return self.data.decode(errors="replace")

    def drawn(self):
        """The progress lines as they stood there, without colours."""
        plain = re.sub(r"\033\[[0-9;]*m", "", self.text())
        return [s for s in re.findall(r"\r([^\r\n]*)\033\[K", plain) if s]


def columns(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


# ---- verify, seed, get ----

class Seed:
    """bt seed on a free port of loopback."""

    def __init__(self, torrents, directory, *more):
        self.p = subprocess.Popen([BT, "seed", "--json", "--bind", "127.0.0.1", "-d", directory, *more, *torrents],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(self.p)
        self.port = None
        self.events = []
        checked = 0
        for line in self.p.stdout:
            e = json.loads(line)
            self.events.append(e)
            self.port = e.get("port", self.port)
            checked += e["event"] in ("checked", "error")
            if checked == len(torrents):
                break

    def peer(self):
        return ["--bind", "127.0.0.1", "--peer", f"127.0.0.1:{self.port}"]

    def stop(self, number=signal.SIGINT):
        self.p.send_signal(number)
        try:
            out, self.err = self.p.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.p.kill()
            return None
        self.events += [json.loads(line) for line in out.splitlines()]
        return self.p.returncode


def same(a, b):
    return subprocess.run(["diff", "-r", a, b], capture_output=True).returncode == 0


def test_verify(tmp):
    torrent, top = f"{tmp}/v.torrent", make_tree(f"{tmp}/v/tree")
    bt("create", top, "-o", torrent, "--piece-length", "32k", "-q")
    status, out, err = bt("verify", torrent, "-d", f"{tmp}/v")
    check("verify of the whole", status == 0 and "all 44 pieces are right" in out and err == "", (status, out, err))
    check("verify --quiet", bt("verify", torrent, "-d", f"{tmp}/v", "-q") == (0, "", ""))
    check("verify wrote nothing", os.listdir(f"{tmp}/v") == ["tree"], os.listdir(f"{tmp}/v"))
    j = json.loads(bt("verify", torrent, "-d", f"{tmp}/v", "--json")[1].splitlines()[-1])
    check("verify --json", j["event"] == "verified" and j["complete"] and j["files"] == [] and j["pieces_bad"] == 0, j)
    with open(f"{top}/a.bin", "r+b") as f:
        f.seek(20000)
        f.write(b"!")
    os.unlink(f"{top}/z \u6f22")
    with open(f"{top}/sub/b.bin", "ab") as f:
        f.write(b"more")
    os.unlink(f"{top}/empty")
    status, out, err = bt("verify", torrent, "-d", f"{tmp}/v")
    check("verify of a damaged tree", status == 4 and "tree/a.bin: damaged" in out and "tree/z \u6f22: missing" in out and
          "tree/sub/b.bin: too long, 1,048,580 bytes instead of 1,048,576" in out and "tree/empty: missing" in out and
          "deep/c: in doubt" in out, (status, out, err))
    check("verify repairs nothing", not os.path.exists(f"{top}/empty") and os.listdir(f"{tmp}/v") == ["tree"])
    j = json.loads(bt("verify", torrent, "-d", f"{tmp}/v", "--json")[1].splitlines()[-1])
    check("verify --json of it", not j["complete"] and j["pieces_bad"] > 0 and
          {f["path"]: f["state"] for f in j["files"]} ==
          {"tree/a.bin": "damaged", "tree/z \u6f22": "missing", "tree/sub/b.bin": "too long", "tree/empty": "missing",
           "tree/sub/deep/c": "in doubt"}, j)
    status, out, err = bt("verify", torrent, "-d", f"{tmp}/nothing-here")
    check("verify of nothing", status in (1, 4) and not os.path.exists(f"{tmp}/nothing-here"), (status, out, err))
    one_line_error("seed of nothing", 4, "seed", torrent, "-d", f"{tmp}/cwd", says="nothing of it")
    check("seed of nothing made nothing", os.listdir(f"{tmp}/cwd") in ([], [".bt"]), os.listdir(f"{tmp}/cwd"))


def test_get(tmp):
    torrent, top = f"{tmp}/g.torrent", make_tree(f"{tmp}/g/tree")
    write(f"{top}/big", os.urandom(8 << 20))
    bt("create", top, "-o", torrent, "-q")
    second = f"{tmp}/s.torrent"
    write(f"{tmp}/g/single file", os.urandom(3000001))
    bt("create", f"{tmp}/g/single file", "-o", second, "-q")
    seed = Seed([torrent, second], f"{tmp}/g")
    check("seed listens", seed.port)

    status, out, err = bt("get", torrent, "-d", f"{tmp}/get1", *seed.peer())
    check("get", status == 0 and err == "" and "complete, " in out and same(top, f"{tmp}/get1/tree"), (status, out, err))
    check("no control bytes in a pipe", not re.search("[\x00-\x09\x0b-\x1f\x7f]", out), out)
    status, out, err = bt("get", torrent, "-d", f"{tmp}/get1", *seed.peer())
    check("get again is complete at once", status == 0 and "here already" in out, (status, out, err))
    check("get --quiet says nothing", bt("get", "-q", torrent, "-d", f"{tmp}/get2", *seed.peer()) == (0, "", ""))
    check("get -, two torrents", bt("get", "-q", "-", second, "-d", f"{tmp}/get3", *seed.peer(), stdin=read(torrent)) ==
          (0, "", "") and same(f"{tmp}/g", f"{tmp}/get3") or same(top, f"{tmp}/get3/tree"))
    check("bt X.torrent", bt(torrent, "-q", "-d", f"{tmp}/get4", *seed.peer()) == (0, "", ""))
    status, out, err = bt("get", "--json", torrent, "-d", f"{tmp}/get5", *seed.peer())
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [e["event"] for e in events]
    check("get --json", status == 0 and err == "" and {"listening", "checked", "stats", "done"} <= set(kinds) and
          all("time" in e for e in events), (status, kinds, err))
    last = [e for e in events if e["event"] == "stats"][-1]
    check("the last numbers", last["have"] == last["wanted"] and last["pieces_have"] == last["pieces"] and
          last["name"] == "tree" and last["down"] >= last["wanted"], last)
    documented = read(os.path.join(ROOT, "pkg", "bt.1")).decode()
    check("all JSON keys and events are in the manual", all(re.search(rf"\b{k}\b", documented)
          for k in set(kinds) | set().union(*events)))
    one_line_error("the same torrent twice", 1, "get", torrent, torrent, "-d", f"{tmp}/get6")
    one_line_error("files that are not there", 1, "get", torrent, "--files", "9-99", "-d", f"{tmp}/get6")
    number = [f["index"] for f in json.loads(bt("show", "--json", torrent)[1])["files"] if f["path"] == "tree/sub/b.bin"][0]
    status, out, err = bt("get", torrent, "--files", str(number), "-d", f"{tmp}/get7", *seed.peer())
    check("--files", status == 0 and read(f"{tmp}/get7/tree/sub/b.bin") == read(f"{top}/sub/b.bin"), (status, out, err))

    # Stopping: in time, with the status that says so, and going on afterwards.
    slow = ["--down", "1M", torrent, "-d", f"{tmp}/slow", *seed.peer()]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        p = subprocess.Popen([BT, "get", *slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1.2)
        t = time.time()
        p.send_signal(number)
        out, err = p.communicate(timeout=10)
        check(f"{number.name}: status 3 within 3 s", p.returncode == 3 and time.time() - t < 3 and err == "" and
              "stopping" in out, (p.returncode, out, err))
    p = subprocess.Popen([BT, "get", *slow], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.6)
    for _ in range(50):
        p.send_signal(signal.SIGINT)
        if p.poll() is not None:
            break
    check("many Ctrl-C end it at once", p.wait(1) == 3)
    status, out, err = bt("get", torrent, "-d", f"{tmp}/slow", *seed.peer())
    check("and it goes on where it was", status == 0 and re.search(r"of .* are here already", out) and
          same(top, f"{tmp}/slow/tree"), (status, out, err))

    # Nobody reads the output: the transfer goes on.
    r, w = os.pipe()
    fcntl.fcntl(w, 1031, 4096)  # F_SETPIPE_SZ: full soon
    p = subprocess.Popen([BT, "get", "--json", "-v", torrent, "-d", f"{tmp}/mute", *seed.peer()], stdout=w)
    os.close(w)
    time.sleep(4)
    check("a reader that sleeps does not stop a download", same(top, f"{tmp}/mute/tree"))
    os.close(r)
    check("a reader that goes neither", p.wait(10) == 0)

    terminals(tmp, torrent, seed)
    check("a seed that is stopped", seed.stop() == 0 and seed.err == "", seed.events[-3:])


def terminals(tmp, torrent, seed):
    for width in (200, 120, 80, 60, 40, 20, 3, 1):
        shutil.rmtree(f"{tmp}/term", ignore_errors=True)
        t = Terminal([BT, "get", "--down", "4M", torrent, "-d", f"{tmp}/term", *seed.peer()], width,
                     {} if width != 120 else {"NO_COLOR": "1"})
        t.run(1.5)
        if width == 60:
            t.resize(50)
        status = t.wait(20)
        lines = t.drawn()
        check(f"get on {width} columns", status == 0, (status, t.text()))
        check(f"its lines fit {width} columns", all(columns(s) < width for s in lines), lines)
        if width >= 80:
            check(f"percent, bar, sizes, rates and peers on {width} columns",
                  any(re.search(r"\d+\.\d% .*[█░]{7,} .*MiB.*↓.*MiB/s.*↑.*/s.*1 peer", s) for s in lines), lines)
        if width == 60:
            check("a narrower window, a narrower line", columns(lines[-1]) < 50, lines)
        check("colours unless NO_COLOR", width < 80 or ("\033[32m" in t.text()) == (width != 120), t.text())
        check("the line is gone at the end", t.text().rstrip("\r\n").rsplit("\n", 1)[-1].count("complete, ") == 1, t.text())
    for env in ({"TERM": "dumb"}, {"TERM": ""}):
        t = Terminal([BT, "get", torrent, "-d", f"{tmp}/term", *seed.peer()], 80)
        t = Terminal(["env", *(f"{k}={v}" for k, v in env.items()), BT, "get", torrent, "-d", f"{tmp}/term", *seed.peer()], 80)
        check("a dumb terminal gets plain lines", t.wait(10) == 0 and "\033" not in t.text(), t.text())
    t = Terminal(["env", "LC_ALL=C", BT, "get", "--down", "4M", torrent, "-d", f"{tmp}/ascii", *seed.peer()], 100)
    t.run(1.8)
    t.signal(signal.SIGINT)
    check("Ctrl-C on a terminal", t.wait(5) == 3 and "stopping" in t.text(), t.text())
    check("no UTF-8 where the locale has none", t.data.isascii() and "####" in t.text(), t.text())


# ---- README ----

def test_readme():
    script = os.path.join(ROOT, "test", "readme")
    p = subprocess.run([script], capture_output=True, text=True)
    check("README names every source file with its lines", p.returncode == 0, p.stdout + p.stderr)


def main():
    tmp = tempfile.mkdtemp(prefix="bt-cli.")
    try:
        test_help()
        test_usage()
        test_unreadable(tmp)
        test_show(tmp)
        test_create(tmp)
        test_verify(tmp)
        test_get(tmp)
        test_readme()
    finally:
        for p in children:
            if p.poll() is None:
                p.kill()
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
