# SPDX-License-Identifier: MIT
"""meter.py - what a program and all its children cost: CPU seconds from a
cgroup of their own (v2 or v1, made for the run), else from /proc; memory by
looking at /proc every now and then. The peak of memory is of the sum over the
processes; anonymous and file-backed bytes are kept apart, as pages of a mapped
file cost nothing that the page cache would not hold anyway. Shared anonymous
memory (bt's pool) is mapped by two processes and counted once."""
import mmap
import multiprocessing
import os
import signal
import subprocess
import time


def _cgroups():
    """(directory for new groups, version) that can be tried, best first."""
    own = {}
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        own[controllers] = path
    for line in open("/proc/mounts"):
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2" and "" in own:
            yield os.path.join(where, own[""].lstrip("/")), 2
        elif kind == "cgroup" and "cpuacct" in options.split(","):
            for controllers, path in own.items():
                if "cpuacct" in controllers.split(","):
                    yield os.path.join(where, path.lstrip("/")), 1


class Group:
    """One started program with everything it starts."""

    def __init__(self, argv, cwd, env=None):
        self.log = os.path.join(cwd, "log")
        self.dir, self.version = None, 0
        for base, version in _cgroups():
            try:
                self.dir = os.path.join(base, f"bt-bench-{os.getpid()}-{id(self)}")
                os.mkdir(self.dir)
                self.version = version
                self.cpu()
                break
            except (OSError, ValueError):
                self.dir = None
        self.peak = {"anon": 0, "file": 0, "shared": 0}

        def enter():
            if self.dir:
                with open(os.path.join(self.dir, "cgroup.procs"), "w") as f:
                    f.write("0")

        with open(self.log, "ab") as out:
            self.p = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                      start_new_session=True, preexec_fn=enter,
                                      env=dict(os.environ, HOME=cwd, LC_ALL="C.UTF-8", **(env or {})))

    def pids(self):
        if self.dir:
            return [int(x) for x in open(os.path.join(self.dir, "cgroup.procs")).read().split()]
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.getsid(int(name)) == self.p.pid:
                    found.append(int(name))
            except ProcessLookupError:
                pass
        return found

    def cpu(self):
        """CPU seconds so far, user and system."""
        if self.dir and self.version == 2:
            for line in open(os.path.join(self.dir, "cpu.stat")):
                if line.startswith("usage_usec"):
                    return int(line.split()[1]) / 1e6
        if self.dir:
            return int(open(os.path.join(self.dir, "cpuacct.usage")).read()) / 1e9
        total = 0
        for pid in self.pids():
            try:
                total += sum(map(int, open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11:15]))
            except OSError:
                pass
        return total / os.sysconf("SC_CLK_TCK")

    def look(self):
        """Notes the memory in use now."""
        anon = file = shared = 0
        for pid in self.pids():
            try:
                status = open(f"/proc/{pid}/status").read()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("RssAnon:"):
                    anon += int(line.split()[1])
                elif line.startswith("RssFile:"):
                    file += int(line.split()[1])
                elif line.startswith("RssShmem:"):
                    shared = max(shared, int(line.split()[1]))
        for key, value in (("anon", anon), ("file", file), ("shared", shared)):
            self.peak[key] = max(self.peak[key], value * 1024)

    def running(self):
        return self.p.poll() is None

    def text(self):
        with open(self.log, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def stop(self, patience=8):
        """Asks it to end, waits for all of it, then does not ask."""
        end = time.monotonic() + patience
        if self.running():
            os.killpg(self.p.pid, signal.SIGTERM)
        while (self.running() or self.pids()) and time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.p.wait()
        while self.dir and self.pids():
            time.sleep(0.01)
        if self.dir:
            os.rmdir(self.dir)
            self.dir = None


class Ballast:
    """Memory that is given up as fast as others take some, so that what they get was
    in use a moment ago. In a virtual machine free pages go back to the host, and
    whoever takes them again pays several microseconds for each: up to 3 CPU seconds
    per GiB of page cache, by chance and not by merit."""
    STEP = 2 << 20

    def __init__(self, n):
        self.pipe, far = multiprocessing.Pipe()
        self.p = multiprocessing.Process(target=self.hold, args=(far, n), daemon=True)
        self.p.start()
        self.pipe.recv()

    @staticmethod
    def free():
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("MemFree")) * 1024

    def hold(self, pipe, n):
        n = min(n, self.free() // 2) // self.STEP * self.STEP
        m = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        m.madvise(mmap.MADV_HUGEPAGE)
        for i in range(0, n, 4096):
            m[i] = 1
        pipe.send(n)
        level, at = self.free(), 0
        while not pipe.poll(0.003) and at < n:
            missing = level - self.free()
            if missing > 0:
                some = min((missing + self.STEP - 1) // self.STEP * self.STEP, n - at)
                m.madvise(mmap.MADV_DONTNEED, at, some)
                at += some
        os._exit(0)

    def drop(self):
        self.pipe.close()
        self.p.kill()
        self.p.join()
