# SPDX-License-Identifier: MIT
"""libtorrent_peer.py DIR IP:PORT [--peer=HOST:PORT]... TORRENT... - libtorrent as a plain
peer: downloads what is missing, seeds what is there, until killed."""
import sys
import time

import libtorrent as lt

directory, listen = sys.argv[1], sys.argv[2]
peers = [a[7:] for a in sys.argv[3:] if a.startswith("--peer=")]
torrents = [a for a in sys.argv[3:] if not a.startswith("--peer=")]
s = lt.session({
    "listen_interfaces": listen, "outgoing_interfaces": listen.rpartition(":")[0], "enable_dht": False, "enable_lsd": False,
    "enable_upnp": False, "enable_natpmp": False, "allow_multiple_connections_per_ip": True,
    "in_enc_policy": 2, "out_enc_policy": 2, "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "ssrf_mitigation": False, "unchoke_slots_limit": 500, "alert_mask": 0x7fffffff & 0x1, "min_reconnect_time": 2,
})
handles = []
for torrent in torrents:
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = directory
    params.flags &= ~lt.torrent_flags.paused
    params.flags &= ~lt.torrent_flags.auto_managed
    handles.append(s.add_torrent(params))
while True:
    for h in handles:
        st = h.status()
        print(st.name, st.state, round(st.progress, 3), st.num_peers, st.download_rate, st.upload_rate, flush=True)
        if st.progress < 1:
            for p in peers:
                host, _, number = p.rpartition(":")
                h.connect_peer((host, int(number)))
    for a in s.pop_alerts():
        print("  ", a, flush=True)
    time.sleep(1)
