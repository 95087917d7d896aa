#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""small_memory.py - bt in 32 MiB of address space, as a router's process limits
have it: the static program, pooled storage, 2 and 4 MiB for pieces in work.
Downloads with small pieces, with pieces longer than that memory, of many files,
from several peers at once; then seeds to several. Prints what memory the two
processes really had, at most."""
import resource
import time

from faults import *

LIMIT = 32 << 20
SPARE = 12 << 20  # resident, beyond the window, per process
MIB = 1 << 20


def small_program():
    """The static one, made when it is not there or older than its source."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for cc, where in (("musl-gcc", "build/musl-gcc-static"), ("gcc", "build/static")):
        if not shutil.which(cc):
            continue
        program = os.path.join(top, where, "bt")
        try:
            r = subprocess.run(["make", "-s", "-C", top, "STATIC=1", f"CC={cc}", f"{where}/bt"], timeout=240,
                               capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            continue
        if r.returncode == 0:
            return program
        print(r.stderr[-500:])
    return ""


if "BT_SMALL" not in os.environ:  # before the network is gone: the build may have to fetch BearSSL's source
    os.environ["BT_SMALL"] = small_program()
alone()
program = os.environ["BT_SMALL"]
if not program:
    skip("32 MiB", "the static program could not be built")
    done()
print("program:", os.path.relpath(program))
work = workdir()
source = os.path.join(work, "source")
os.mkdir(source)
torrents = {
    "256 KiB pieces": Torrent(make_data(os.path.join(source, "common"), 48 * MIB + 12345), 256 << 10),
    "16 MiB pieces": Torrent(make_data(os.path.join(source, "long"), 40 * MIB + 1, seed=2), 16 * MIB),
    "3000 files": Torrent(make_data(os.path.join(source, "many"), {
        f"{i % 37}/{i}": 1 + i * 7 % 5000 for i in range(3000)}, seed=3), 64 << 10),
}


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


def memory(pid):
    """Resident at most, and how it is made up now, in KiB."""
    found = {}
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(("VmHWM", "VmPeak", "RssAnon", "RssFile", "RssShmem")):
                    found[line.split(":")[0]] = int(line.split()[1])
    except OSError:
        pass
    return found


def watch(r, until, seconds):
    """The most memory that either process had while it ran."""
    most = [{}, {}]
    r.find_keeper()
    end = time.monotonic() + seconds
    while r.running() and not until() and time.monotonic() < end:
        for k, pid in enumerate((r.pid, r.keeper)):
            for name, value in memory(pid).items():
                most[k][name] = max(most[k].get(name, 0), value)
        time.sleep(0.02)
    return most


def report(name, most, window):
    for who, m in zip(("loop", "keeper"), most):
        rss = m.get("VmHWM", 0) * 1024
        print(f"     {who}: resident at most {rss // 1024} KiB (private {m.get('RssAnon')}, shared memory "
              f"{m.get('RssShmem')}, files {m.get('RssFile')}), address space {m.get('VmPeak')} KiB")
        check(f"{name}: the {who} stays small", 0 < rss < window + SPARE, f"{rss} bytes resident")


def run(shape, window):
    """window None: as it chooses by itself, an eighth of the address space."""
    t, name = torrents[shape], f"{shape}, window {window or 'auto'}"
    into = fresh(os.path.join(work, "into"))
    size = int(window[:-1]) * MIB if window else LIMIT // 8
    memory_options = ["--window", window] if window else []
    seeders = [Seeder([t]) for _ in range(4)]
    told = [x for s in seeders for x in ("--peer", s.peer)]
    began = time.monotonic()
    r = Run("get", "--json", t.file, "-d", into, "--storage", "pool", *memory_options, *told, program=program,
            preexec=limited)
    most = watch(r, lambda: False, 40)
    status = r.wait(1)
    check(f"get, {name}: completes in {time.monotonic() - began:.1f} s", status == 0, r.why())
    check(f"get, {name}: identical", same_path(t.path, os.path.join(into, t.name)))
    print(f"     {sum(s.sent_bytes() for s in seeders) - t.size} bytes came twice, in the endgame")
    report(f"get, {name}", most, size)

    r = Run("seed", "--json", t.file, "-d", into, "--storage", "pool", *memory_options, program=program,
            preexec=limited)
    check(f"seed, {name}: starts", r.event("done", 20), r.why())
    port, wrong, got = r.port(), [], []

    def fetch():
        l = Leecher(t, port)
        for i in range(t.pieces):
            for off in range(0, len(t.piece(i)), BLOCK * 8):
                if l.block(i, off) != t.block(i, off):
                    wrong.append((i, off))
                got.append(1)
        l.close()
    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(4)]
    for x in threads:
        x.start()
    most = watch(r, lambda: not any(x.is_alive() for x in threads), 40)
    check(f"seed, {name}: gives {len(got)} blocks to four peers", not wrong and
          len(got) == 4 * sum(-(-len(t.piece(i)) // (8 * BLOCK)) for i in range(t.pieces)), wrong[:5] or r.why())
    report(f"seed, {name}", most, size)
    check(f"seed, {name}: ends when asked", r.stop() == 0, r.why())


for shape, window in (("256 KiB pieces", "2M"), ("16 MiB pieces", "2M"), ("16 MiB pieces", "4M"), ("3000 files", "2M"),
                      ("256 KiB pieces", "4M"), ("256 KiB pieces", None)):
    run(shape, window)
done()
