#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""libtorrent_client.py get|seed|verify|create ... - libtorrent 2 as a contestant,
with its own profile for speed and what its authors advise on top. Prints one
line per event, with the time."""
import sys
import time

import libtorrent as lt


def say(event):
    print(event, f"{time.time():.4f}", flush=True)


def settings(listen):
    s = lt.high_performance_seed()
    s.update({
        "listen_interfaces": listen, "outgoing_interfaces": listen.rpartition(":")[0], "enable_dht": False,
        "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True, "in_enc_policy": 2, "out_enc_policy": 2,
        "enable_incoming_utp": False, "enable_outgoing_utp": False, "ssrf_mitigation": False,
        "unchoke_slots_limit": 2000, "max_out_request_queue": 1500, "max_allowed_in_request_queue": 2000,
        "piece_extent_affinity": True, "hashing_threads": 2, "aio_threads": 4,
        "max_queued_disk_bytes": 64 << 20, "send_buffer_watermark": 3 << 20,
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
    })
    return s


def create(path, out, piece):
    fs = lt.file_storage()
    lt.add_files(fs, path)
    t = lt.create_torrent(fs, piece, 64)  # v1
    t.add_tracker("http://127.0.0.1/announce")
    lt.set_piece_hashes(t, path.rpartition("/")[0])
    open(out, "wb").write(lt.bencode(t.generate()))


def run(job, torrent, into, listen):
    s = lt.session(settings(listen))
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = into
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    say("ready")
    s.add_torrent(params)
    while True:
        s.wait_for_alert(1000)
        for a in s.pop_alerts():
            if isinstance(a, lt.torrent_checked_alert):
                say("checked" if a.handle.status().progress == 1 or job == "get" else "damaged")
            elif isinstance(a, lt.torrent_finished_alert):
                say("finished")
                if job == "verify":
                    return


if sys.argv[1] == "create":
    say("ready")
    create(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    say("finished")
else:
    run(*sys.argv[1:])
