#!/bin/sh
# Creates or refreshes .venv from the lock file of the stack that this machine supports; with --peers, .venv-peers, which
# holds the libraries that benchmarks compare with and Keras' other backends. --which only prints stack and interpreter.
#
#   stack B: Python 3.11 and glibc >= 2.39, which its wheels need
#   stack A: Python 3.10, any older glibc
#
# The interpreter is FRAMECAST_PYTHON, or found on PATH or in a pyenv, or installed by uv. Where there is no uv, any
# python3 of 3.8 or newer installs it into .venv-tools.
set -eu
python= uv= problem=

fail() {
    printf 'framecast set-up: %s\n' "$*" >&2
    exit 1
}

case "$(uname -s) $(uname -m)" in
"Linux x86_64") ;;
Darwin*) fail "TFX has no packages for macOS: use the container image in Docker, docker build --platform linux/amd64 -f kubeflow/Dockerfile -t framecast ." ;;
*) fail "TFX has packages for Linux x86-64 only, this machine is $(uname -s) $(uname -m): use a Linux x86-64 machine, or the container image there (kubeflow/Dockerfile)" ;;
esac
glibc=${FRAMECAST_GLIBC:-$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)}
[ -n "$glibc" ] || fail "TFX's packages need glibc, this Linux has another C library: use the container image, docker build -f kubeflow/Dockerfile -t framecast ."

cd "$(dirname "$0")/.."
. requirements/pyenv.sh

# Prints a path of a working interpreter of version $1, or of any version from 3.8 for `any`.
# A pyenv shim fails unless its version is selected, so each candidate is run before it is taken.
find_python() {
    {
        printf '%s\n' "${FRAMECAST_PYTHON:-}"
        [ "$1" = any ] || printf '%s\n' "python$1"
        printf 'python3\n'
        pyenv_roots | while read -r root; do
            for candidate in "$root/versions/${1#any}"*/bin/python; do printf '%s\n' "$candidate"; done
        done
    } | while read -r candidate; do
        if fits "$candidate" "$1"; then
            command -v "$candidate"
            break
        fi
    done
}

# Checks whether $1 runs and is of version $2.
fits() {
    [ -n "$1" ] || return 1
    received=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null) || return 1
    case "$2 $received" in
    "any 3."[0-7]) return 1 ;;
    # Debian's python3 comes without these, and cannot make an environment with pip.
    "any 3."*) "$1" -c 'import ensurepip, venv' 2>/dev/null </dev/null ;;
    *) [ "$received" = "$2" ] ;;
    esac
}

# Sets `uv` to a uv that runs, installed if need be; on failure leaves it empty and sets `problem`.
find_uv() {
    for uv in uv .venv-tools/bin/uv; do
        if "$uv" --version >/dev/null 2>&1; then return; fi
    done
    uv=
    starter=${python:-$(find_python any)}
    if [ -z "$starter" ]; then
        problem="no uv, and no python3 of 3.8 or newer with venv and pip to install it (apt-get install python3-venv)"
    elif ! { problem=$("$starter" -m venv --clear .venv-tools 2>&1) &&
        problem=$(.venv-tools/bin/python -m pip install -q --disable-pip-version-check uv 2>&1); }; then
        problem="no uv, and $starter could not install it into .venv-tools: $(printf '%s\n' "$problem" | tail -n1)"
    else
        uv=.venv-tools/bin/uv
    fi
}

# Sets `python` to an interpreter of version $1, installed by uv if need be; on failure leaves it empty and sets `problem`.
take_python() {
    python=$(find_python "$1")
    [ -z "$python" ] || return 0
    find_uv
    [ -n "$uv" ] || return 0
    python=$("$uv" python find --system "$1" 2>/dev/null) && return
    echo "no Python $1 on this machine: installing it with uv" >&2
    if problem=$("$uv" python install "$1" 2>&1); then
        python=$("$uv" python find --system "$1")
    else
        python=
        problem="uv could not install it: $(printf '%s\n' "$problem" | grep -v '^warning' | sed -n 's/^ *//; 1p; $p' | paste -s -d' ' -)"
    fi
}

# The machine's own certificates, which a company's proxy may need; older uv reads the second name.
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
if [ "$(printf '%s\n2.39\n' "$glibc" | sort -V | head -n1)" = 2.39 ]; then
    stack=b version=3.11
else
    stack=a version=3.10
fi
take_python "$version"
if [ -z "$python" ] && [ "$stack" = b ]; then
    stack=a version=3.10
    take_python "$version"
fi
[ -n "$python" ] || fail "no Python $version found.
  searched: PATH; pyenv ($(pyenv_roots | paste -s -d' ' - | sed 's/^$/none found/')); uv
  $problem
  To install one: pyenv install $version, or uv python install $version; or set FRAMECAST_PYTHON=/path/to/python$version"
if [ "$stack" = b ] && ! command -v c++ >/dev/null 2>&1; then
    fail "stack B builds one dependency from source and needs a C++ compiler: apt-get install g++"
fi
if [ "${1:-}" = --which ]; then
    echo "stack $stack, $python"
    exit 0
fi

if [ "${1:-}" = --peers ]; then
    environment=.venv-peers lock=peers.lock title="the benchmarks' peers"
else
    environment=.venv lock=stack-$stack.lock title="stack $stack"
fi

# The stamp names what was installed, so that an unchanged tree has nothing to do.
stamp=$(cat "requirements/$lock" pyproject.toml requirements/setup.sh | cksum)
[ "$(cat $environment/.framecast 2>/dev/null || true)" = "$stamp" ] && exit 0

find_uv
[ -n "$uv" ] || fail "$problem"
echo "setting up $title with $python"
"$uv" venv -q --clear --python "$python" $environment
# Bytecode is compiled here once. Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of a pipeline's
# processes would otherwise compile TFX and TensorFlow again, 20 s of a core.
"$uv" pip sync -q --require-hashes --compile-bytecode --python $environment/bin/python "requirements/$lock"
"$uv" pip install -q --no-deps --python $environment/bin/python -e .
echo "$stamp" >$environment/.framecast
