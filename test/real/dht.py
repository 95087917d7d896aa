#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""dht.py - a DHT of our nodes and libtorrent's in one namespace: peers that one side
announces are found by the other, items one side puts (plain, signed, signed with
salt, updated) are read by the other, samples both ways, and libtorrent tells us
our address. Our nodes are test/dht_node.c, compiled here with make's archives."""
import os
import subprocess
import threading
import time

from clients import *

in_namespace()
try:
    import libtorrent as lt
except ImportError as e:
    skip("a DHT with libtorrent", e)
    done()

work = Work()
BUILD = os.environ.get("B", "build")
OURS = [f"{NET}{i}" for i in range(10, 16)]
THEIRS = [f"{NET}{i}" for i in range(30, 36)]
PORT = 6881


def compile_node():
    archives = [f"{BUILD}/lib{layer}.a" for layer in ("find", "net", "base")]
    subprocess.run(["make", "-s", f"B={BUILD}", *archives, f"{BUILD}/test/dht_node.o"], cwd=ROOT, check=True)
    out = os.path.join(work.dir, "dht_node")
    subprocess.run(["gcc", "-o", out, f"{BUILD}/test/dht_node.o", *archives, "-lbearssl"], cwd=ROOT, check=True)
    return out


class Node:
    """One of ours. ask() sends a line and returns the lines up to `done`."""

    def __init__(self, program, ip):
        self.ip, self.lines, self.more = ip, [], threading.Condition()
        self.p = subprocess.Popen([program, f"{ip}:{PORT}", "any"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.p.stdout:
            with self.more:
                self.lines.append(line.split())
                self.more.notify()

    def say(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()

    def ask(self, *words, end=("done", "refused"), seconds=30):
        with self.more:
            start = len(self.lines)
        self.say(*words)
        with self.more:
            self.more.wait_for(lambda: any(l[0] in end for l in self.lines[start:]), seconds)
            return self.lines[start:]

    def stats(self):
        found = [l for l in self.ask("stats", end=("stats",)) if l[0] == "stats"]
        return dict(zip(found[0][1::2], found[0][2::2])) if found else {}


def session(ip):
    s = lt.session({
        "listen_interfaces": f"{ip}:{PORT}", "outgoing_interfaces": ip, "enable_dht": True, "dht_bootstrap_nodes": "",
        "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False, "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False, "dht_ignore_dark_internet": False, "dht_enforce_node_id": False,
        "dht_prefer_verified_node_ids": False, "dht_block_ratelimit": 1000, "dht_upload_rate_limit": 1000000,
        "ssrf_mitigation": False, "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
    })
    return s


def alert(s, kind, seconds=30, when=lambda a: True):
    """What of it the caller wants, taken while the alert is valid."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        s.wait_for_alert(300)
        for a in s.pop_alerts():
            if isinstance(a, kind):
                found = when(a)
                if found:
                    return found
    return None


def nodes_of(s):
    s.post_dht_stats()
    return alert(s, lt.dht_stats_alert, 5, lambda a: sum(b["num_nodes"] for b in a.routing_table)) or 0


def value(lines, key):
    return next((l[1] for l in lines if l[0] == key), "")


program = compile_node()
ours = [Node(program, ip) for ip in OURS]
theirs = [session(ip) for ip in THEIRS]

# everybody knows one of the other side
for s in theirs:
    s.add_dht_node((OURS[0], PORT))
for n in ours:
    n.say("node", f"{THEIRS[0]}:{PORT}")
known = wait_until(lambda: all(int(n.stats().get("good", 0)) >= 8 for n in ours), 60, 1)
check("each of ours knows both kinds", known, [n.stats().get("good") for n in ours])
check("libtorrent has us in its table", wait_until(lambda: all(nodes_of(s) >= 4 for s in theirs), 40, 1),
      [nodes_of(s) for s in theirs])
check("libtorrent told us our address", any(n.stats().get("external", "").startswith(n.ip + ":") for n in ours))

# peers
hashes = [hashlib.sha1(b"torrent %d" % i).hexdigest() for i in range(4)]
params = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + hashes[0])  # its announce is a torrent's: dht_announce() takes
params.save_path = work.sub("libtorrent")                         # no flags from Python in 2.0.8
params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
theirs[1].add_torrent(params)
found = []
check("ours find a peer that libtorrent announced",
      wait_until(lambda: f"{THEIRS[1]}:{PORT}" in [l[1] for l in found.append(ours[4].ask("peers", hashes[0])) or found[-1]
                                                if l[0] == "peer"], 40, 1), found[-1:])
lines = ours[2].ask("announce", hashes[1], 7002)
check("nodes of both kinds took our announce", "stored" in lines[-1] and int(lines[-1][lines[-1].index("stored") + 1]) >= 8, lines)


def peers_of(a):
    return [p for p in a.peers()] if a.info_hash == lt.sha1_hash(bytes.fromhex(hashes[1])) and a.peers() else None


got = None
for _ in range(3):
    theirs[5].dht_get_peers(lt.sha1_hash(bytes.fromhex(hashes[1])))
    got = alert(theirs[5], lt.dht_get_peers_reply_alert, 15, peers_of)
    if got:
        break
check("libtorrent finds a peer that we announced", got and (OURS[2], 7002) in got, got)

# immutable items
lines = ours[1].ask("put", "13:from-our-side")
target = value(lines, "target")
check("ours put an item", int(lines[-1][lines[-1].index("stored") + 1]) >= 8, lines)
theirs[3].dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(target)))
got = alert(theirs[3], lt.dht_immutable_item_alert, 30, lambda a: {"item": a.item})
check("libtorrent reads it", got and got["item"]["value"] == b"from-our-side", got)
target = theirs[2].dht_put_immutable_item("from libtorrent".replace(" ", "-"))
check("libtorrent puts an item", alert(theirs[2], lt.dht_put_alert, 30, lambda a: a.num_success >= 6))
lines = ours[5].ask("get", str(target))
check("ours read it", ["item", "0", "15:from-libtorrent"] in lines, lines)

# mutable items, with and without salt, and a second version
seed = "11" * 32
for name, salt in (("without salt", "-"), ("with salt", b"pepper".hex())):
    for seq, text in ((1, "3:one"), (2, "3:two")):
        lines = ours[3].ask("sign", seed, seq, salt, text)
        check(f"ours put a signed item {name}, version {seq}", int(lines[-1][lines[-1].index("stored") + 1]) >= 8, lines)
    key = bytes.fromhex(value(lines, "key"))
    theirs[4].dht_get_mutable_item(key, b"" if salt == "-" else bytes.fromhex(salt))
    got = alert(theirs[4], lt.dht_mutable_item_alert, 30, lambda a: {"seq": a.seq, "item": a.item} if a.seq == 2 else None)
    check(f"libtorrent reads and verifies it {name}", got and got["item"]["value"] == b"two", got)

# BEP 44's own key pair, expanded as both sides take it
secret = bytes.fromhex("e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d"
                       "b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d")
public = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
for salt in (b"", b"salz"):
    theirs[0].dht_put_mutable_item(secret, public, b"signed-by-libtorrent", salt)
    check("libtorrent puts a signed item", alert(theirs[0], lt.dht_put_alert, 30, lambda a: a.num_success >= 6))
    lines = ours[0].ask("get", hashlib.sha1(public + salt).hexdigest(), salt.hex() or "-")
    check("ours read and verify it", any(l[0] == "item" and l[2] == "20:signed-by-libtorrent" for l in lines), lines)

# samples
lines = ours[0].ask("sample", hashes[0])
sampled = {l[1] for l in lines if l[0] == "sample"}
check("ours sample what nodes store", hashes[0] in sampled and hashes[1] in sampled, lines)
storing = next(n for n in ours if int(n.stats()["torrents"]))
theirs[1].dht_sample_infohashes((storing.ip, PORT), lt.sha1_hash(bytes.fromhex(hashes[0])))
got = alert(theirs[1], lt.dht_sample_infohashes_alert, 30, lambda a: {"n": a.num_infohashes, "s": [str(x) for x in a.samples]})
check("libtorrent samples what ours store", got and got["s"] and set(got["s"]) <= set(hashes[:2]), got)

stats = [n.stats() for n in ours]
print("our nodes:", stats[0], flush=True)
check("nobody was refused", all(int(s.get("refused", 1)) == 0 for s in stats), stats)
for n in ours:
    n.p.stdin.close()
check("each of ours ends with its input", all(n.p.wait(10) == 0 for n in ours))
done()
