#!/bin/sh
# Runs a command in this tree on Debian 13, where stack B installs, on a host that takes stack A:
#
#   requirements/debian13.sh make test
#
# debootstrap makes the root file system on first use and keeps it under ~/.cache/framecast, together with a separate
# environment that is mounted over .venv. Needs root. Nothing is left mounted when the command ends. A Python 3.11 under
# pyenv is used where there is one.
set -eu
tree=$(cd "$(dirname "$0")/.." && pwd)
cache=${FRAMECAST_CACHE:-$HOME/.cache/framecast}
root=$cache/debian13
. "$tree/requirements/pyenv.sh"
pyenv=$(pyenv_roots | head -n1)

fail() {
    printf 'framecast debian13: %s\n' "$*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run it as root: chroot and mount need it"
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

# Each tree on this machine has its environment; that of a deleted tree is deleted.
for other in "$cache"/venv-*; do
    if [ -f "$other.tree" ] && [ ! -d "$(cat "$other.tree")" ]; then rm -rf "$other" "$other.tree"; fi
done
venv=$cache/venv-$(printf %s "$tree" | cksum | cut -d' ' -f1)
printf '%s\n' "$tree" >"$venv.tree"
uv_cache=${UV_CACHE_DIR:-$HOME/.cache/uv}
mkdir -p "$venv" "$uv_cache" "$tree/.venv"
export tree root venv uv_cache pyenv
# In a separate mount namespace, so that nothing is left mounted, however the command ends.
exec unshare --mount --propagation private sh -eu -c '
    share() {
        mkdir -p "$root$2"
        mount --bind "$1" "$root$2"
    }
    mount --bind "$root" "$root"  # Commands inside can unshare mounts only if their root is a mount point.
    mount -t tmpfs tmpfs "$root/tmp"
    share "$tree" "$tree"
    share "$venv" "$tree/.venv"
    share "$uv_cache" "$uv_cache"
    share /etc/ssl/certs /etc/ssl/certs
    share /dev /dev
    share /dev/shm /dev/shm
    mount -t proc proc "$root/proc"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    if [ -n "$pyenv" ]; then share "$pyenv" "$pyenv"; export PYENV_ROOT="$pyenv"; fi
    export TMPDIR=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin UV_CACHE_DIR="$uv_cache"
    unset PIP_FIND_LINKS
    exec chroot "$root" sh -c "cd \"$tree\" && exec \"\$@\"" sh "$@"
' sh "$@"
