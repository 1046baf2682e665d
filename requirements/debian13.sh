#!/bin/sh
# Runs a command in this tree on Debian 13, where stack B installs, on a host that takes stack A:
#
#   requirements/debian13.sh make test
#
# The root file system is made by debootstrap on first use and kept under ~/.cache/framecast, with an environment of its
# own that stands in for .venv. Needs root; what is mounted is gone when the command ends. A Python 3.11 under pyenv is
# used as it is.
set -eu
tree=$(cd "$(dirname "$0")/.." && pwd)
cache=${FRAMECAST_CACHE:-$HOME/.cache/framecast}
root=$cache/debian13

fail() {
    printf 'framecast debian13: %s\n' "$*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "expected to be root: chroot and mount need it"
packages=ca-certificates,g++,git,make,libbz2-1.0,libffi8,libgomp1,liblzma5,libncursesw6,libreadline8t64,libsqlite3-0,libssl3t64,zlib1g
if [ ! -d "$root" ]; then
    command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; } >&2 ||
        fail "could not install debootstrap"
    mkdir -p "$cache"
    rm -rf "$root.part"
    debootstrap --variant=minbase --include="$packages" trixie "$root.part" >"$cache/debootstrap.log" 2>&1 ||
        fail "debootstrap failed, see $cache/debootstrap.log"
    mv "$root.part" "$root"
fi

# Two trees on one machine have two environments; one whose tree is gone goes too.
for other in "$cache"/venv-*; do
    if [ -f "$other.tree" ] && [ ! -d "$(cat "$other.tree")" ]; then rm -rf "$other" "$other.tree"; fi
done
venv=$cache/venv-$(printf %s "$tree" | cksum | cut -d' ' -f1)
printf '%s\n' "$tree" >"$venv.tree"
uv_cache=${UV_CACHE_DIR:-$HOME/.cache/uv}
mkdir -p "$venv" "$uv_cache" "$tree/.venv"
export tree root venv uv_cache
# A mount namespace of its own: nothing is left mounted, however the command ends.
exec unshare --mount --propagation private sh -eu -c '
    share() {
        mkdir -p "$root$2"
        mount --bind "$1" "$root$2"
    }
    mount --bind "$root" "$root"  # A root that is a mount point: commands inside may unshare mounts themselves.
    mount -t tmpfs tmpfs "$root/tmp"
    share "$tree" "$tree"
    share "$venv" "$tree/.venv"
    share "$uv_cache" "$uv_cache"
    share /etc/ssl/certs /etc/ssl/certs
    share /dev /dev
    share /dev/shm /dev/shm
    mount -t proc proc "$root/proc"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    pyenv=${PYENV_ROOT:-$HOME/.pyenv}
    if [ -d "$pyenv" ]; then share "$pyenv" "$pyenv"; fi
    export TMPDIR=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin UV_CACHE_DIR="$uv_cache"
    unset PIP_FIND_LINKS
    exec chroot "$root" sh -c "cd \"$tree\" && exec \"\$@\"" sh "$@"
' sh "$@"
