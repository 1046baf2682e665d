#!/usr/bin/env python3
"""Runs the steps of the Dockerfile without Docker, in the Debian 13 root, then a command as the image's user.

    kubeflow/image_steps.py -- framecast --help
    kubeflow/image_steps.py --variant gpu

Each stage is an overlay over the root of `requirements/debian13.sh`, with pyenv's Python 3.11 at `/usr/local` as in the
base image. Stages are deleted when the command ends. Needs root. Differences from Docker: the base image has fewer
Debian packages than the root, labels are ignored, and RUN uses the network of the host.
"""

import argparse
import dataclasses
import fnmatch
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

TREE = pathlib.Path(__file__).resolve().parent.parent
_KEPT = TREE / "build" / "image"
_QUIET = {"LABEL", "CMD", "HEALTHCHECK"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a Dockerfile with its lines joined, such as `RUN` and `make all`."""

    name: str
    text: str


def parse(text: str) -> list[Instruction]:
    """Parses a Dockerfile: drops comments and joins continued lines."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [Instruction(name.upper(), rest.strip()) for name, _, rest in pairs]


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Checks whether `.dockerignore` excludes a file; the last matching pattern decides.

    Args:
        path: Relative to the tree, such as `models/gates.py`.
        patterns: Lines of `.dockerignore`: `!` includes again, a folder matches its content, `**/` any depth.
    """
    ignored = False
    parts = path.split("/")
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        if wanted.startswith("**/"):
            matches = any(fnmatch.fnmatchcase(part, wanted[3:]) for part in parts)
        else:
            depth = wanted.count("/") + 1
            matches = len(parts) >= depth and fnmatch.fnmatchcase("/".join(parts[:depth]), wanted)
        if matches:
            ignored = not pattern.startswith("!")
    return ignored


def script(instructions: Sequence[Instruction], arguments: dict[str, str], command: Sequence[str]) -> str:
    """Returns a shell script that runs the instructions in the Debian 13 root, then the command.

    Args:
        instructions: All instructions of the Dockerfile.
        arguments: Values of `ARG` that replace the defaults.
        command: Runs in the last stage with its environment, user and working directory.

    Raises:
        ValueError: If an instruction is not supported.
    """
    lines = ["set -eu"]
    stages: list[str] = []
    environment: dict[str, str] = {}
    folder, user = "/", "0:0"
    for instruction in instructions:
        name, text = instruction.name, instruction.text
        if name in _QUIET:
            continue
        lines.append(f"echo {shlex.quote(f'{name} {text}'[:110])} >&2")
        if name == "FROM":
            stages.append(text.rpartition(" AS ")[2] if " AS " in text else str(len(stages)))
            environment, folder, user = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}, "/", "0:0"
            lines.append(f"begin {stages[-1]}")
        elif name == "ARG":
            key, _, default = text.partition("=")
            environment[key] = arguments.get(key, default)
        elif name == "ENV":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(text))
        elif name == "WORKDIR":
            folder = text
            lines.append(f'mkdir -p "$STAGES/{stages[-1]}/root{folder}"')
        elif name == "USER":
            user = text
        elif name == "COPY":
            lines.append(_copy(text, stages[-1], folder))
        elif name == "RUN":
            lines.append(_inside(stages[-1], environment, folder, user, ["sh", "-c", text]))
        else:
            raise ValueError(f"kubeflow/Dockerfile: expected an instruction listed at its top, received {name} {text}")
    lines.append(_inside(stages[-1], environment, folder, user, command))
    return "\n".join(lines) + "\n"


def _copy(text: str, stage: str, folder: str) -> str:
    words = shlex.split(text)
    if words[0].startswith("--from="):
        root, words = f'"$STAGES/{words[0].removeprefix("--from=")}/root"', words[1:]
    else:
        root = '"$CONTEXT"'
    *sources, target = words
    goal = target if target.startswith("/") else f"{folder.rstrip('/')}/{target}"
    copied = [f"copy {root}/{shlex.quote(source.lstrip('/'))} {shlex.quote(goal)} {stage}" for source in sources]
    return "\n".join(copied)


def _inside(stage: str, environment: dict[str, str], folder: str, user: str, command: Sequence[str]) -> str:
    variables = [f"{key}={value}" for key, value in environment.items()]
    script = f'cd {shlex.quote(folder)} && exec "$@"'
    words = ["env", "-i", *variables, "sh", "-c", script, "sh", *command]
    # Proxies, package indexes and uv's cache are settings of the host.
    passed = '$(env | grep -iE "^(https?_proxy|no_proxy|UV_|PIP_|SSL_|REQUESTS_CA)" | sed "s/[[:space:]].*//")'
    head, tail = words[:2], words[2:]
    return f'chroot --userspec={user} "$STAGES/{stage}/root" {shlex.join(head)} {passed} {shlex.join(tail)}'


# Runs in the mount namespace of debian13.sh, where $TREE, $CACHE and $PYTHON are bound already.
_PRELUDE = """\
mount --make-rprivate /
begin() {
    mkdir -p "$STAGES/$1/upper" "$STAGES/$1/work" "$STAGES/$1/root"
    root=$STAGES/$1/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$STAGES/$1/upper,workdir=$STAGES/$1/work" "$root"
    mkdir -p "$root$CACHE" "$root/etc/ssl/certs"
    for shared in /dev /dev/shm "$CACHE" /etc/ssl/certs; do mount --bind "$shared" "$root$shared"; done
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind "$PYTHON" "$root/usr/local"
    mount -o remount,bind,ro "$root/usr/local"
    chroot "$root" ldconfig  # Makes Python's library visible, as in the base image.
}
copy() {  # Copies the content of a folder, as COPY does.
    goal=$STAGES/$3/root$2
    if [ -d "$1" ]; then mkdir -p "$goal" && cp -a "$1/." "$goal"; else
        case "$2" in */) mkdir -p "$goal" ;; *) mkdir -p "$(dirname "$goal")" ;; esac
        cp -a "$1" "$goal"
    fi
}
"""


def _context(patterns: Sequence[str]) -> Iterator[str]:
    """Yields the files of Docker's build context: git's files that `.dockerignore` does not exclude."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=TREE,
        check=True,
        capture_output=True,
        text=True,
    )
    yield from (name for name in listed.stdout.splitlines() if not is_ignored(name, patterns))


def _python() -> str:
    """Returns the prefix of a Python 3.11 in a pyenv of this machine."""
    command = ["sh", "-c", ". requirements/pyenv.sh; pyenv_roots"]
    roots = subprocess.run(command, cwd=TREE, check=True, capture_output=True, text=True).stdout.splitlines()
    found = sorted(prefix for root in roots for prefix in pathlib.Path(root, "versions").glob("3.11*"))
    if not found:
        searched = ", ".join(roots) or "none"
        raise SystemExit(f"image_steps: no Python 3.11 in a pyenv ({searched}): pyenv install 3.11")
    return str(found[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the steps; returns the exit status of the command or of the step that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variant", choices=("cpu", "gpu"), default="cpu", help="the build argument VARIANT")
    parser.add_argument("command", nargs="*", default=["framecast", "--help"], help="run in the image; after --")
    options = parser.parse_args(argv)
    instructions = parse((TREE / "kubeflow" / "Dockerfile").read_text())
    patterns = [line for line in (TREE / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    shutil.rmtree(_KEPT, ignore_errors=True)
    for name in _context(patterns):
        (_KEPT / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, _KEPT / "context" / name, follow_symlinks=False)  # src/framecast holds links.
    cache = os.environ.get("UV_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "uv"))
    variables = {
        "CONTEXT": str(_KEPT / "context"),
        "STAGES": str(_KEPT / "stages"),
        "CACHE": cache,
        "PYTHON": _python(),
        "UV_CACHE_DIR": cache,
        "UV_SYSTEM_CERTS": "1",
    }
    steps = _KEPT / "steps.sh"
    steps.write_text(_PRELUDE + script(instructions, {"VARIANT": options.variant}, options.command))
    try:
        return subprocess.run(
            [TREE / "requirements" / "debian13.sh", "unshare", "--mount", "sh", "-eu", str(steps)],
            env=os.environ | variables,
            check=False,
        ).returncode
    finally:
        shutil.rmtree(_KEPT, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
