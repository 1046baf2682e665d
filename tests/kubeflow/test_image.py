"""The container image is built from the tree and the lock files; `make image-steps` runs its steps."""

import importlib.util
import os
import pathlib
import re
import shlex

import pytest

from framecast.pipeline import quiet

_TREE = pathlib.Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("image_steps", _TREE / "kubeflow" / "image_steps.py")
image_steps = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(image_steps)


def _instructions():
    return image_steps.parse((_TREE / "kubeflow" / "Dockerfile").read_text())


def _patterns():
    return [line for line in (_TREE / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]


def _locked(name):
    text = (_TREE / "requirements" / name).read_text()
    return set(re.findall(r"^([a-z0-9._-]+(?:\[[^\]]*\])?==\S+)", text, re.MULTILINE))


def test_instructions_are_joined_without_comments():
    text = '# note\nfrom base AS one\nRUN a \\\n    # between\n    && b\n\nCMD ["x"]\n'
    assert [(one.name, one.text) for one in image_steps.parse(text)] == [
        ("FROM", "base AS one"),
        ("RUN", "a && b"),
        ("CMD", '["x"]'),
    ]


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("models/gates.py", False), ("data/clips.gz", True), ("models/__pycache__/x.pyc", True), ("README.md", False)],
)
def test_last_matching_ignore_pattern_decides(path, ignored):
    assert image_steps.is_ignored(path, ["*", "!models", "!README.md", "**/__pycache__"]) == ignored


def test_copied_files_are_in_the_build_context():
    for instruction in _instructions():
        if instruction.name != "COPY" or instruction.text.startswith("--from="):
            continue
        for source in shlex.split(instruction.text)[:-1]:
            assert (_TREE / source).exists()
            inside = f"{source}any.py" if source.endswith("/") else source
            assert not image_steps.is_ignored(inside, _patterns()), source


def test_every_package_is_copied():
    copied = {word for one in _instructions() if one.name == "COPY" for word in shlex.split(one.text)[:-1]}
    packages = [link.name for link in (_TREE / "src" / "framecast").iterdir() if link.is_symlink()]
    assert len(packages) == 7
    assert {f"{name}/" for name in ("src", *packages)} <= copied


def test_data_and_environments_are_excluded_from_build():
    for path in (".venv/bin/python", ".git/config", "work/run.json", "requirements/stack-b.lock"):
        assert image_steps.is_ignored(path, _patterns())


def test_image_locks_hold_the_tested_versions():
    image, gpu = _locked("image.lock"), _locked("image-gpu.lock")
    assert image <= _locked("stack-b.lock")
    assert image < gpu
    assert {name.split("-")[0] for name in gpu - image} == {"nvidia"}


def test_tasks_run_as_unprivileged_user():
    assert [one.text for one in _instructions() if one.name == "USER"] == ["1000:1000"]


def test_image_and_command_line_use_equal_onednn_setting(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    quiet.set_log_levels()
    (variables,) = (shlex.split(one.text) for one in _instructions() if one.name == "ENV")
    assert f"TF_ENABLE_ONEDNN_OPTS={os.environ['TF_ENABLE_ONEDNN_OPTS']}" in variables


def test_unknown_instruction_is_rejected():
    with pytest.raises(ValueError, match="received VOLUME /data"):
        image_steps.script(image_steps.parse("FROM base\nVOLUME /data\n"), {}, ["true"])


def test_steps_use_user_folder_and_environment_of_stage():
    text = "FROM a AS b\nARG KIND=cpu\nRUN one $KIND\nFROM a\nENV A=1 B=2\nWORKDIR /x\nCOPY --from=b /y /y\nUSER 7:7\n"
    script = image_steps.script(image_steps.parse(text), {"KIND": "gpu"}, ["act", "it"])
    steps = [line for line in script.splitlines() if line.startswith(("begin", "copy", "chroot"))]
    assert [line.split()[0] for line in steps] == ["begin", "chroot", "begin", "copy", "chroot"]
    assert "KIND=gpu" in steps[1]
    assert "--userspec=0:0" in steps[1]
    assert steps[3] == 'copy "$STAGES/b/root"/y /y 1'
    assert "--userspec=7:7" in steps[4]
    assert "A=1 B=2" in steps[4]
    assert "cd /x" in steps[4]
    assert "KIND" not in steps[4]
