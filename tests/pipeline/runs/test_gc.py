"""`framecast runs gc`: the kept and removed folders, and the state of artifacts in ML Metadata."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml
from ml_metadata.proto import metadata_store_pb2 as mlmd

from framecast.clips.files import exclusive
from framecast.models.training import checkpoint_users
from framecast.pipeline.runs import gc
from framecast.serving import versions
from framecast.serving.releases import releases
from tests.pipeline.runs.mlmd_store import Store


class Workdir:
    """Daily runs: each ingests one span, trains from the schema of the first, and pushes."""

    def __init__(self, folder):
        self.base = folder / "work"
        self.serving = folder / "serving"
        self.runs = self.base / "runs"
        self.runs.mkdir(parents=True)
        self.store = Store(self.base / "metadata.sqlite")
        self.schema = self.artifact("ImportSchemaGen/schema/1")
        self.days = 0

    def artifact(self, name):
        path = self.base / "artifacts" / name
        path.mkdir(parents=True)
        (path / "data").write_bytes(bytes(1000))
        return self.store.artifact(str(path))

    def day(self, verdict="pushed", label="stable", train="day{SPAN}", state=None):
        """Adds a run; returns its name."""
        self.days += 1
        name = f"2026010{self.days}-000000-000000"
        execution = 10 * self.days  # ML Metadata assigns other ids; only the folders have these names.
        first = self.days == 1
        self.store.execute(
            name, "ImportSchemaGen", "COMPLETE" if first else "CACHED", outputs=[("schema", self.schema)]
        )
        examples = self.artifact(f"ClipExampleGen/examples/{execution}")
        self.store.execute(name, "ClipExampleGen", "COMPLETE", outputs=[("examples", examples)])
        inputs = [("examples", examples), ("schema", self.schema)]
        outputs = []
        if verdict != "failed":
            outputs = [(key, self.artifact(f"Trainer/{key}/{execution + 1}")) for key in ("model", "model_run")]
        trained = self.store.execute(name, "Trainer", "COMPLETE" if outputs else "FAILED", inputs, outputs)
        checkpoints = self.base / "state" / (state or f"state-{self.days}")
        checkpoint_users.add(str(checkpoints), f"/elsewhere/Trainer/model_run/{trained}")
        run = self.runs / name
        run.mkdir()
        settings = {"data": {"train": train}, "push": {"directory": str(self.serving)}}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        components = [{"name": part} for part in ("Trainer", *(("Pusher",) if outputs else ()))]
        (run / "run.json").write_text(json.dumps({"verdict": verdict, "spans": [self.days], "components": components}))
        if verdict == "pushed":
            with releases.exclusive(str(self.serving)):
                model = self.serving / f".{self.days}.incomplete"
                model.mkdir()
                (model / "saved_model.pb").write_text(name)
                push = releases.PushRecord(versions.digest(str(model)), f"run {name}", label)
                releases.publish(str(self.serving), self.days, push)
        return name

    def names(self, *folder):
        return sorted(path.name for path in self.base.joinpath(*folder).iterdir())

    def states(self):
        """Returns the state of each artifact in ML Metadata."""
        return {
            "/".join(pathlib.PurePath(artifact.uri).parts[-3:]): mlmd.Artifact.State.Name(artifact.state)
            for artifact in self.store.store.get_artifacts()
        }

    def everything(self):
        return sorted(str(path) for path in self.base.parent.rglob("*") if path.name not in (".lock", "work"))


@pytest.fixture
def work(tmp_path):
    return Workdir(tmp_path)


def test_newest_runs_keep_the_artifacts_they_used(framecast, work):
    names = [work.day() for _ in range(4)]
    answer = framecast("runs", "gc", work.base, "--keep", "2", "--yes")
    assert answer.code == 0, answer.text
    assert work.names("runs") == names[2:]
    assert work.names("artifacts", "ClipExampleGen", "examples") == ["30", "40"]
    assert work.names("artifacts", "Trainer", "model") == ["31", "41"]
    # Of the first run, which is gone; both others took it from the cache.
    assert work.names("artifacts", "ImportSchemaGen", "schema") == ["1"]
    assert work.names("state") == ["state-3", "state-4"]
    gone = {name for name, state in work.states().items() if state == "DELETED"}
    assert gone == {
        f"{output}/{number}"
        for day in (1, 2)
        for output, number in (
            ("ClipExampleGen/examples", 10 * day), ("Trainer/model", 10 * day + 1), ("Trainer/model_run", 10 * day + 1)
        )
    }  # fmt: skip
    assert all(state == "LIVE" for name, state in work.states().items() if name not in gone)
    assert sorted(path.name for path in work.serving.glob("[0-9]*")) == ["1", "2", "3", "4"]
    assert not (work.base / ".trash").exists()


def test_without_yes_nothing_is_removed(framecast, work):
    names = [work.day() for _ in range(4)]
    before, states = work.everything(), work.states()
    plan = json.loads(framecast("runs", "gc", work.base, "--keep", "2", "--versions", "1", "--json").out)
    assert work.everything() == before
    assert work.states() == states
    assert plan["removed"] is False
    assert list(plan["kept"]) == names[:1:-1]
    kinds = [item["kind"] for item in plan["items"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"run": 2, "artifact": 6, "checkpoints": 2, "version": 2}
    assert plan["bytes"] == sum(item["bytes"] for item in plan["items"])
    text = framecast("runs", "gc", work.base, "--keep", "2", "--versions", "1").text
    assert ["2", "runs", "0.0", f"{names[1]},", names[0]] in [line.split() for line in text.splitlines()]
    assert f"{plan['bytes'] / 2**20:.1f} MiB would be removed; --yes removes them" in text
    done = json.loads(framecast("runs", "gc", work.base, "--keep=2", "--versions=1", "--json", "--yes").out)
    assert done == {**plan, "removed": True}
    for item in plan["items"]:
        assert not os.path.exists(item["path"])
    assert json.loads(framecast("runs", "gc", work.base, "--keep=2", "--versions=1", "--json").out)["items"] == []


def test_serving_versions_and_finished_spans_are_kept(framecast, work):
    pushed = work.day()
    canary = work.day(label="canary")
    work.day("rejected")
    rejected = work.day("rejected")  # `--span latest` needs its record, because it has the newest span.
    work.day("failed")
    failed = work.day("failed")
    plan = json.loads(framecast("runs", "gc", work.base, "--keep", "1", "--versions", "0", "--yes", "--json").out)
    assert plan["kept"] == {
        failed: "one of the newest 1",
        rejected: "ended with span 4, the newest of day{SPAN}",
        canary: "pushed version 2, which is canary",
        pushed: "pushed version 1, which is stable",
    }
    assert work.names("runs") == [pushed, canary, rejected, failed]
    assert work.names("state") == ["state-1", "state-2", "state-4", "state-6"]
    assert {item["kind"] for item in plan["items"]} == {"run", "artifact", "checkpoints"}
    assert sorted(path.name for path in work.serving.glob("[0-9]*")) == ["1", "2"]


def test_newest_span_is_kept_per_data_pattern(framecast, work):
    weekly = work.day(train="week{SPAN}")
    names = [work.day() for _ in range(3)]
    plan = json.loads(framecast("runs", "gc", work.base, "--keep", "1", "--json").out)
    assert list(plan["kept"]) == [names[-1], weekly]


def test_checkpoints_of_kept_runs_are_kept(framecast, work):
    work.day("failed", state="shared")
    for _ in range(2):
        work.day(state="shared")
    work.day("failed")
    unknown = work.base / "state" / "of-somebody-else"
    unknown.mkdir()
    checkpoint_users.add(str(work.base / "state" / "of-a-job"), "/mnt/trained/model_run")
    framecast("runs", "gc", work.base, "--keep", "2", "--yes")
    assert work.names("state") == ["of-a-job", "of-somebody-else", "shared", "state-4"]


def test_moved_work_directory_is_cleaned_correctly(framecast, work, tmp_path):
    for _ in range(3):
        work.day()
    moved = tmp_path / "moved"
    shutil.copytree(work.base, moved)
    assert framecast("runs", "gc", moved, "--keep", "1", "--yes").code == 0
    assert [path.name for path in (moved / "artifacts" / "Trainer" / "model").iterdir()] == ["31"]
    assert (moved / "artifacts" / "ImportSchemaGen" / "schema" / "1").exists()
    assert work.names("artifacts", "Trainer", "model") == ["11", "21", "31"]


def test_kill_at_any_rename_is_resumed(framecast, work, monkeypatch):
    names = [work.day() for _ in range(4)]
    renames = 0

    def rename(*paths):
        nonlocal renames
        renames += 1
        if renames % 3 == 0:
            raise KeyboardInterrupt
        return real(*paths)

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    plans = 0
    while True:
        plan = gc.make_plan(work.base, keep=2, versions=2)
        plans += 1
        try:
            gc.remove(work.base, plan)
            break
        except KeyboardInterrupt:
            assert work.names("artifacts", "ImportSchemaGen", "schema") == ["1"]
    assert plans > 3
    assert work.names("runs") == names[2:]
    assert sorted(state for state in work.states().values()) == ["DELETED"] * 6 + ["LIVE"] * 7
    assert work.names("state") == ["state-3", "state-4"]
    assert not (work.base / ".trash").exists()


def test_gc_fails_while_a_run_is_active(framecast, work):
    work.day()
    with exclusive(work.base, "run"):
        answer = framecast("runs", "gc", work.base, "--keep", "1", "--yes")
    assert answer.code == 1
    assert "expected no other run in this folder, found process" in answer.text


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda base: shutil.rmtree(base / "runs"), "expected a work directory of framecast run, found no runs in"),
        (lambda base: (base / "metadata.sqlite").unlink(), "found no metadata.sqlite in it"),
    ],
)
def test_other_folder_is_rejected(framecast, work, prepare, message):
    work.day()
    prepare(work.base)
    before = work.everything()
    answer = framecast("runs", "gc", work.base, "--keep", "1", "--yes")
    assert answer.code == 2
    assert message in answer.text
    assert work.everything() == before


def test_versions_in_object_store_are_rejected(framecast, work):
    name = work.day()
    settings = {"data": {"train": "day"}, "push": {"directory": "gs://bucket/radar"}}
    (work.runs / name / "config.yaml").write_text(yaml.safe_dump(settings))
    answer = framecast("runs", "gc", work.base, "--keep", "1", "--versions", "1", "--yes")
    assert answer.code == 1
    assert "gs://bucket/radar: expected a local folder" in answer.text


def test_nothing_heavy_is_imported(work):
    work.day()
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        f"sys.argv = ['framecast', 'runs', 'gc', {str(work.base)!r}, '--keep=1', '--yes']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = [name for name in ('tensorflow', 'tfx.v1', 'apache_beam', 'keras') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
