#!/bin/sh
# SPDX-License-Identifier: MIT
# bearssl.sh DIR - puts BearSSL's source into DIR, from Debian's source package,
# for the C libraries that Debian builds no libbearssl for: musl and cross
# targets. The list of sources is the system's own, turned to deb-src in a
# private directory: nothing of the system is changed, and no root is needed.
# Without apt, unpack any BearSSL 0.6 into DIR by hand.
set -eu
dir=$1
fail() {
	echo "bearssl.sh: $1; or unpack BearSSL 0.6 into $dir" >&2
	exit 1
}

[ ! -f "$dir/inc/bearssl.h" ] || exit 0
command -v apt-get >/dev/null || fail "no apt-get here to fetch the source package with"
command -v xz >/dev/null || fail "no xz here: apt-get install xz-utils"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$tmp/sources" "$tmp/lists/partial" "$tmp/cache/archives/partial"
cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
	awk -v RS= -v ORS='\n\n' '/URIs:[^\n]*debian/ { sub(/Types:[^\n]*/, "Types: deb-src"); print }' \
		>"$tmp/sources/debian.sources"
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
	sed -n '/^deb .*debian/s/^deb /deb-src /p' >"$tmp/sources/debian.list"
apt() {
	apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$tmp/sources" \
		-o Dir::State::lists="$tmp/lists" -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User= "$@"
}
apt update >"$tmp/log" 2>&1 && (cd "$tmp" && apt source --download-only bearssl) >>"$tmp/log" 2>&1 ||
	fail "can't fetch Debian's source package: $(tail -n 1 "$tmp/log")"
# Debian patches nothing in it. Unpacked beside its place and renamed, so that
# an interrupted run leaves nothing half done.
mkdir "$tmp/new"
tar -xf "$tmp"/bearssl_*.orig.tar.* --strip-components=1 -C "$tmp/new"
mkdir -p "$(dirname "$dir")"
rm -rf "$dir.new"
cp -r "$tmp/new" "$dir.new"
rm -rf "$dir"
mv "$dir.new" "$dir"
