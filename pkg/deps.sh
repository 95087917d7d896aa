#!/bin/sh
# SPDX-License-Identifier: MIT
# deps.sh [PART...] - sees to it that the programs which `make demo` (no PART) or
# parts of test/run need are here: on Debian as root it installs what is missing,
# elsewhere it names it and fails. Services that come with packages are not
# started. Plain `make` never runs this.
set -u

# What to look for (a command or a path), and Debian's package that has it.
always='gcc gcc
/usr/include/stdlib.h|/usr/include/*/stdlib.h libc6-dev
/usr/include/bearssl.h|/usr/local/include/bearssl.h libbearssl-dev'
python='/usr/bin/python3 python3'
clang='clang clang
/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-* libclang-rt-14-dev'
musl='musl-gcc musl-tools
xz xz-utils'
cross='xz xz-utils
arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf
/usr/arm-linux-gnueabihf/include/stdlib.h libc6-dev-armhf-cross
mips-linux-gnu-gcc gcc-mips-linux-gnu
/usr/mips-linux-gnu/include/stdlib.h libc6-dev-mips-cross
qemu-mips qemu-user'
peers='/usr/bin/python3 python3
/usr/lib/python3/dist-packages/libtorrent* python3-libtorrent
aria2c aria2
transmission-daemon transmission-daemon
transmission-cli transmission-cli
rtorrent rtorrent
qbittorrent-nox qbittorrent-nox
opentracker opentracker'
tools='/usr/bin/python3 python3
strace strace
ip iproute2
mkfs.ext4 e2fsprogs'

# is_here PROBE: any of the |-separated commands or path patterns
is_here() {
	for p in $(echo "$1" | tr '|' ' '); do
		case $p in
		/*) [ ! -e "$p" ] || return 0 ;;
		*) ! PATH=$PATH:/usr/sbin:/sbin command -v "$p" >/dev/null || return 0 ;;
		esac
	done
	return 1
}

table=$always
for part in "$@"; do
	case $part in
	house) more=$python ;;
	san | corpus | fuzz) more=$clang ;;
	small) more=$musl ;;
	cross) more=$cross ;;
	build | demo) more="$clang
$musl
$cross" ;;
	real) more="$peers
$tools
$cross" ;;
	fault) more=$tools ;;
	*) more= ;;
	esac
	table="$table
$more"
done
missing=$(echo "$table" | while read -r probe package; do
	[ -z "$probe" ] || is_here "$probe" || echo "$package"
done | sort -u)
missing=$(echo $missing) # in one line
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! [ -f /etc/debian_version ] || ! command -v apt-get >/dev/null; then
	echo "missing: apt-get install $missing (Debian's names)" >&2
	exit 1
fi

echo "installing $missing"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # what packages ask before they start a service
[ -e $policy ] || {
	printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
	made=$policy
}
trap 'rm -f "$log" ${made-}' EXIT
trap 'exit 1' HUP INT TERM
export DEBIAN_FRONTEND=noninteractive
# A third-party list that fails to update is no reason to stop: apt-get install decides.
apt-get -qq update >"$log" 2>&1
apt-get -qq install -y --no-install-recommends $missing >>"$log" 2>&1 || {
	grep '^E:' "$log" | tail -n 1 >&2
	echo "could not install $missing" >&2
	exit 1
}
