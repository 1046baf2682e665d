#!/bin/sh
# Creates or refreshes .venv from the lock file of the stack that this machine takes; with --peers, .venv-peers, which
# holds what the benchmarks compare with and the other backends of Keras. --which only says what it would take.
#
#   stack B: Python 3.11 and glibc >= 2.39 (its wheels need that glibc)
#   stack A: Python 3.10, any older glibc
#
# FRAMECAST_PYTHON names an interpreter to use instead of searching.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'framecast set-up: %s\n' "$*" >&2
    exit 1
}

glibc=${FRAMECAST_GLIBC:-$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)}
[ -n "$glibc" ] || fail "expected a Linux with glibc; getconf GNU_LIBC_VERSION says nothing"
[ "$(uname -m)" = x86_64 ] || fail "expected x86_64, this machine is $(uname -m): TFX has no wheels for it"
if [ "$(printf '%s\n2.39\n' "$glibc" | sort -V | head -n1)" = 2.39 ]; then
    stack=b version=3.11
else
    stack=a version=3.10
fi

is_version() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$2" ]; }

# A pyenv shim on PATH fails unless its version is selected, so each candidate is run before it is taken.
find_python() {
    for candidate in ${FRAMECAST_PYTHON:+"$FRAMECAST_PYTHON"} "python$1" python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python; do
        if is_version "$candidate" "$1"; then
            command -v "$candidate"
            return
        fi
    done
    if command -v uv >/dev/null 2>&1; then
        uv python find "$1" 2>/dev/null || { uv python install -q "$1" 2>/dev/null && uv python find "$1"; } || true
    fi
}

python=$(find_python "$version")
if [ -z "$python" ] && [ "$stack" = b ]; then
    stack=a version=3.10
    python=$(find_python "$version")
fi
[ -n "$python" ] || fail "no Python $version found: looked on PATH, under ${PYENV_ROOT:-$HOME/.pyenv}/versions and asked uv.
Install one, such as: pyenv install $version, or: uv python install $version; or name it in FRAMECAST_PYTHON."
if [ "$stack" = b ] && ! command -v c++ >/dev/null 2>&1; then
    fail "stack B builds one dependency from source and needs a C++ compiler: apt-get install g++"
fi
if [ "${1:-}" = --which ]; then
    echo "stack $stack, $python"
    exit 0
fi

if [ "${1:-}" = --peers ]; then
    environment=.venv-peers lock=peers.lock what="the benchmarks' peers"
else
    environment=.venv lock=stack-$stack.lock what="stack $stack"
fi

# What is installed is named by what it was installed from: an unchanged tree has nothing to do.
stamp=$(cat "requirements/$lock" pyproject.toml requirements/setup.sh | cksum)
[ "$(cat $environment/.framecast 2>/dev/null || true)" = "$stamp" ] && exit 0

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=.venv-tools/bin/uv
    if [ ! -x "$uv" ]; then
        "$python" -m venv .venv-tools || fail "$python has no venv module: apt-get install python3-venv"
        .venv-tools/bin/python -m pip install -q --disable-pip-version-check uv || fail "pip could not install uv; install it and run this again"
    fi
fi
# The machine's own certificates, which a company's proxy may need; the second name is older uv's.
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
echo "setting up $what with $python"
"$uv" venv -q --clear --python "$python" $environment
# Bytecode here once: uv leaves it to the first import, and where PYTHONDONTWRITEBYTECODE is set, as in many containers,
# each of a pipeline's processes would compile TFX and TensorFlow anew, 20 s of a core.
"$uv" pip sync -q --require-hashes --compile-bytecode --python $environment/bin/python "requirements/$lock"
"$uv" pip install -q --no-deps --python $environment/bin/python -e .
echo "$stamp" >$environment/.framecast
