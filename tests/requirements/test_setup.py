"""`requirements/setup.sh` on made-up machines: PATH holds only the commands that a test puts there."""

import os
import pathlib
import shutil
import subprocess

import pytest

_SCRIPTS = pathlib.Path(__file__).parents[2] / "requirements"
_TOOLS = [
    "awk", "cat", "cksum", "cp", "cut", "dirname", "grep", "head", "mkdir", "paste", "readlink", "sed", "sh", "sort",
    "tail", "tr",
]  # fmt: skip

# Answers the questions of setup.sh as an interpreter would; `-m venv` and `-m pip` make an environment with a fake uv.
_PYTHON = """#!/bin/sh
case "$*" in
*version_info*) echo {version} ;;
*ensurepip*) exit {without_venv} ;;
"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-m pip"*) cp "$UV_TO_INSTALL" "$(dirname "$0")/uv" ;;
*) exit 1 ;;
esac
"""
# Brings a Python when asked to, unless OFFLINE; logs what it is asked.
_UV = """#!/bin/sh
echo "$*" >>"$UV_LOG"
case "$*" in
--version) echo uv 0.9 ;;
"python find"*) [ -e "$UV_LOG.python" ] && cat "$UV_LOG.python" ;;
"python install"*)
    if [ -n "${OFFLINE:-}" ]; then
        printf 'error: Failed to install cpython\\n  cause: 3 retries\\n  cause: dns error\\n' >&2
        exit 1
    fi
    echo /uv/bin/python >"$UV_LOG.python"
    ;;
"venv "*) mkdir -p .venv ;;
esac
"""
_BROKEN = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


class Machine:
    """A Linux x86-64 with glibc 2.36, a copy of the scripts, and no Python."""

    def __init__(self, folder):
        self.folder = folder
        self.tree = folder / "tree"
        self.bin = folder / "bin"
        for name in ("setup.sh", "pyenv.sh"):
            (self.tree / "requirements").mkdir(parents=True, exist_ok=True)
            if (_SCRIPTS / name).exists():
                shutil.copy(_SCRIPTS / name, self.tree / "requirements" / name)
        for name in ("pyproject.toml", "requirements/stack-a.lock"):
            (self.tree / name).touch()
        self.bin.mkdir()
        for name in _TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        self.set_kernel("Linux", "x86_64")
        self.write("bin/getconf", "#!/bin/sh\necho glibc 2.36\n")
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder / "home"),
            "UV_LOG": str(folder / "uv.log"),
            "UV_TO_INSTALL": str(self.write("packages/uv", _UV)),
        }

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def set_kernel(self, system, machine):
        self.write("bin/uname", f'#!/bin/sh\ncase "$1" in -s) echo {system} ;; -m) echo {machine} ;; esac\n')

    def python(self, name, version, with_venv=True):
        return self.write(name, _PYTHON.format(version=version, without_venv=0 if with_venv else 1))

    def pyenv(self, root, *versions):
        """Makes a pyenv whose shims fail, since no version is selected."""
        for shim in ("python3", "python3.10"):
            self.write(f"{root}/shims/{shim}", _BROKEN)
        for version in versions:
            self.python(f"{root}/versions/{version}/bin/python", version.rpartition(".")[0])
        return self.folder / root

    def on_path(self, *folders):
        self.environment["PATH"] = os.pathsep.join([*map(str, folders), str(self.bin)])

    def setup(self, *arguments, **variables):
        script = self.tree / "requirements/setup.sh"
        done = subprocess.run(
            [shutil.which("sh"), script, *arguments],
            env={**self.environment, **variables}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    @property
    def asked_of_uv(self):
        log = self.folder / "uv.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("system", "kind", "advice"),
    [
        ("Darwin", "arm64", "docker build --platform linux/amd64"),
        ("Darwin", "x86_64", "docker build --platform linux/amd64"),
        ("Linux", "aarch64", "use a Linux x86-64 machine, or the container image"),
        ("MINGW64_NT-10.0", "x86_64", "use a Linux x86-64 machine, or the container image"),
    ],
)
def test_unsupported_machine_gets_one_line_of_advice(machine, system, kind, advice):
    machine.set_kernel(system, kind)
    machine.python("bin/python3.10", "3.10")
    code, out, err = machine.setup("--which")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert advice in err


def test_linux_without_glibc_gets_one_line_of_advice(machine):
    machine.write("bin/getconf", "#!/bin/sh\nexit 1\n")
    code, _, err = machine.setup("--which")
    assert code == 1
    assert err.count("\n") == 1
    assert "use the container image, docker build" in err


def test_python_on_path_is_taken(machine):
    python = machine.python("bin/python3.10", "3.10")
    assert machine.setup("--which") == (0, f"stack a, {python}\n", "")


def test_newer_glibc_takes_stack_b(machine):
    machine.write("bin/getconf", "#!/bin/sh\necho glibc 2.41\n")
    machine.write("bin/c++", "#!/bin/sh\n")
    machine.python("bin/python3.10", "3.10")
    python = machine.python("bin/python3.11", "3.11")
    assert machine.setup("--which") == (0, f"stack b, {python}\n", "")


def test_stack_a_is_chosen_with_only_its_python(machine):
    machine.write("bin/getconf", "#!/bin/sh\necho glibc 2.41\n")
    python = machine.python("bin/python3.10", "3.10")
    code, out, _ = machine.setup("--which")
    assert (code, out) == (0, f"stack a, {python}\n")


def test_pyenv_is_found_by_its_shims_on_path(machine):
    root = machine.pyenv("opt/py env", "3.9.18", "3.10.13")
    machine.on_path(root / "shims")
    expected = f"stack a, {root}/versions/3.10.13/bin/python\n"
    assert machine.setup("--which") == (0, expected, "")
    assert machine.setup("--which", PYENV_ROOT=str(machine.folder / "elsewhere")) == (0, expected, "")


def test_pyenv_is_found_by_its_command(machine):
    root = machine.pyenv("opt/pyenv", "3.10.13")
    machine.write("opt/pyenv/libexec/pyenv", _BROKEN)
    (machine.bin / "pyenv").symlink_to(root / "libexec/pyenv")
    assert machine.setup("--which") == (0, f"stack a, {root}/versions/3.10.13/bin/python\n", "")


@pytest.mark.parametrize("home", [True, False])
def test_pyenv_is_found_by_home_or_root(machine, home):
    root = machine.pyenv("home/.pyenv" if home else "opt/pyenv", "3.10.13")
    variables = {} if home else {"PYENV_ROOT": str(root)}
    assert machine.setup("--which", **variables) == (0, f"stack a, {root}/versions/3.10.13/bin/python\n", "")


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_any_python3_bootstraps_uv_for_missing_version(machine, version):
    machine.python("bin/python3", version)
    code, out, err = machine.setup("--which")
    assert (code, out) == (0, "stack a, /uv/bin/python\n"), err
    assert (machine.tree / ".venv-tools/bin/uv").exists()
    assert "python install 3.10" in machine.asked_of_uv


def test_uv_on_path_is_used_without_bootstrap(machine):
    machine.write("bin/uv", _UV)
    code, out, _ = machine.setup("--which")
    assert (code, out) == (0, "stack a, /uv/bin/python\n")
    assert not (machine.tree / ".venv-tools").exists()


def test_uv_shim_that_fails_is_not_used(machine):
    machine.write("bin/uv", _BROKEN)
    machine.python("bin/python3", "3.12")
    assert machine.setup("--which")[:2] == (0, "stack a, /uv/bin/python\n")


def test_failed_download_says_what_was_tried(machine):
    machine.on_path(machine.pyenv("opt/pyenv", "3.9.18") / "shims")
    code, out, err = machine.setup("--which", OFFLINE="1")
    assert (code, out) == (1, "")
    assert "no Python 3.10 found" in err
    assert f"searched: PATH; pyenv ({machine.folder}/opt/pyenv); uv" in err
    assert "uv could not install it: error: Failed to install cpython cause: dns error" in err
    assert "pyenv install 3.10, or uv python install 3.10; or set FRAMECAST_PYTHON=" in err


@pytest.mark.parametrize(("version", "with_venv"), [("3.7", True), ("3.12", False)])
def test_python_that_cannot_bootstrap_names_the_need(machine, version, with_venv):
    machine.python("bin/python3", version, with_venv)
    code, _, err = machine.setup("--which")
    assert code == 1
    assert "no uv, and no python3 of 3.8 or newer with venv and pip to install it" in err


def test_setup_installs_lock_file_once(machine):
    machine.python("bin/python3.10", "3.10")
    code, out, err = machine.setup()
    assert (code, err) == (0, "")
    assert out == f"setting up stack a with {machine.bin}/python3.10\n"
    assert any(
        line.startswith("pip sync") and line.endswith("requirements/stack-a.lock") for line in machine.asked_of_uv
    )
    assert machine.setup() == (0, "", "")
