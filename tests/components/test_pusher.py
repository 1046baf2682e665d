"""PusherExecutor: version numbers, labels and killed pushes."""

import itertools
import json
import os

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from framecast.clips import filesystem
from framecast.components import pusher
from framecast.components.serving_model import ServingModel
from framecast.pipeline.dag.contract import serving_fingerprint
from framecast.serving import versions
from framecast.serving.releases import releases, version_folder
from tests.killing import Killed, kill_at
from tests.serving.releases.fakes import FollowingServers


@pytest.fixture
def model(tmp_path):
    """Makes the folder of an exported model."""

    def make(content):
        folder = tmp_path / "models" / content
        (folder / "assets.extra").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(content)
        (folder / "assets.extra" / "framecast.json").write_text(json.dumps({"height": 8, "width": 8}))
        return str(folder)

    return make


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving"


@pytest.fixture
def push(model, base):
    """Pushes a model with some content."""

    def push(content, label="stable"):
        base.mkdir(exist_ok=True)
        folder = model(content)
        return pusher.push(folder, str(base), releases.PushRecord(versions.digest(folder), "run 1", label))

    return push


def _run(model, base, properties=None, **settings):
    """Runs the executor as TFX does; returns the artifact."""
    candidate, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    candidate.uri = f"{model}-artifact"
    os.makedirs(candidate.uri, exist_ok=True)
    if not os.path.exists(f"{candidate.uri}/Format-Serving"):
        os.symlink(model, f"{candidate.uri}/Format-Serving")
    blessing.set_int_custom_property("blessed", settings.pop("blessed", 1))
    blessing.set_string_custom_property("figures", json.dumps({"mse": 0.25, "skill": None, "mae": 0.5}))
    pushed = standard_artifacts.PushedModel()
    pushed.uri = f"{model}-pushed"
    destination = pusher_pb2.PushDestination(filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(base)))
    executor = pusher.PusherExecutor(BaseExecutor.Context(pipeline_run_id="20260101-120000"))
    executor.Do(
        {"model": [candidate], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {
            "push_destination": proto_utils.proto_to_json(destination),
            "custom_config": json.dumps({"task": "forecast", **settings}),
            **(properties or {}),
        },
    )
    return pushed


def test_push_is_recorded_with_run_and_main_metrics(model, base):
    pushed = _run(model("a"), base)
    (record,) = version_folder.read_release_log(str(base))
    assert pushed.get_string_custom_property("pushed_version") == str(record["version"])
    assert (record["by"], record["figures"]) == ("run 20260101-120000", {"mse": 0.25, "skill": None})
    assert record["labels"] == {"stable": record["version"]}
    assert pushed.get_string_custom_property("remark") == ""
    files = {path.name for path in (base / "tensorflow_serving").iterdir()}
    assert files >= {"models.config", "monitoring.config", "compose.yaml", "README.md", "releases.jsonl"}


def test_run_can_replace_the_destination(model, base):
    pushed = _run(model("a"), base, {"directory": str(base.parent / "elsewhere")})
    assert os.path.dirname(pushed.get_string_custom_property("pushed_destination")) == str(base.parent / "elsewhere")
    assert not base.exists()


def test_canary_push_has_a_remark(model, base, push):
    first = push("a")["version"]
    pushed = _run(model("b"), base, release="canary")
    assert pushed.get_string_custom_property("remark") == f"a canary until framecast models promote {base}"
    assert version_folder.read_release_log(str(base))[-1]["labels"]["stable"] == first


def test_rejected_model_changes_nothing(model, base):
    pushed = _run(model("a"), base, blessed=0)
    assert pushed.get_string_custom_property("reason") == "rejected"
    assert not base.exists()


def test_serving_model_is_not_pushed_again(push, base):
    version = push("a")["version"]
    (base / "tensorflow_serving" / "compose.yaml").unlink()
    assert push("a") == {"action": "unchanged", "version": version}
    assert (base / "tensorflow_serving" / "compose.yaml").exists()


def test_version_is_above_withdrawn_and_deleted_ones(push, base, monkeypatch):
    monkeypatch.setattr(pusher.time, "time", lambda: 100.0)
    assert [push(content)["version"] for content in "abc"] == [100, 101, 102]
    releases.rollback(str(base), FollowingServers())
    releases.rollback(str(base), FollowingServers())
    assert (base / ".102.withdrawn").exists()
    assert push("d")["version"] == 103
    releases.rollback(str(base), FollowingServers())
    os.rename(base / ".103.withdrawn", base.parent / "gone")  # Deleted by hand.
    assert push("e")["version"] == 104


def test_rollback_changes_the_baseline(push, base):
    first, second = push("a")["version"], push("b")["version"]
    before = serving_fingerprint(str(base))
    releases.rollback(str(base), FollowingServers())
    assert versions.newest(str(base)) == first
    assert before.startswith(f"{second}:")
    assert serving_fingerprint(str(base)).startswith(f"{first}:")
    artifact = standard_artifacts.Model()
    artifact.uri = str(base.parent / "compared")
    function = ServingModel.EXECUTOR_SPEC.executor_class._FUNCTION  # The component without a pipeline.
    function(model=artifact, directory=str(base), contract="", fingerprint="")
    assert artifact.get_string_custom_property("version") == str(first)


def test_withdrawn_model_is_pushed_as_canary_with_remark(model, push, base):
    first, second = push("a")["version"], push("b")["version"]
    releases.rollback(str(base), FollowingServers())
    pushed = _run(model("b"), base)
    third = int(pushed.get_string_custom_property("pushed_version"))
    assert third > second
    assert version_folder.read_release_log(str(base))[-1]["labels"] == {"stable": first, "canary": third}
    assert pushed.get_string_custom_property("remark") == (
        f"a canary until framecast models promote {base}; the same model as version {second}, which was withdrawn"
    )


@pytest.mark.parametrize("label", ["stable", "canary"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_push_is_finished_by_the_next(tmp_path, model, label, done, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # Slow, and without effect unless the machine fails.
    for step in itertools.count():
        base = tmp_path / str(step)
        base.mkdir()

        def push(content, label, base=base):
            folder = model(content)
            return pusher.push(folder, str(base), releases.PushRecord(versions.digest(folder), "run 1", label))

        push("a", "stable")
        push("b", "canary")
        with monkeypatch.context() as patch:
            kill_at(patch, step, done)
            try:
                push("c", label)
            except Killed:
                pass
            else:
                assert step > 3
                break
        found = {version.number: version for version in version_folder.read_versions(str(base))}
        assert any("stable" in version.labels and version.state == "served" for version in found.values()), step
        push("c", label)
        serving = [
            version for version in version_folder.read_versions(str(base)) if version.state in ("served", "kept")
        ]
        contents = [(base / str(version.number) / "saved_model.pb").read_text() for version in serving]
        assert contents == ["c", "a"], step
        expected = [("stable",), ()] if label == "stable" else [("canary",), ("stable",)]
        assert [version.labels for version in serving] == expected, step
        assert len(version_folder.read_release_log(str(base))) == 3, step
        assert not list(base.glob(".*.incomplete"))


def _to(bucket, model):
    """Pushes a model to a bucket; returns the artifact."""
    return _run(model, f"{bucket.uri}/serving")


def _compared(bucket, folder):
    """Returns ServingModel's artifact for a bucket."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    function = ServingModel.EXECUTOR_SPEC.executor_class._FUNCTION  # The component without a pipeline.
    function(model=artifact, directory=f"{bucket.uri}/serving", contract="", fingerprint="")
    return artifact


def test_bucket_is_a_push_destination_and_a_baseline(model, bucket, tmp_path):
    assert _compared(bucket, tmp_path / "none").get_int_custom_property("present") == 0
    first, second = (_to(bucket, model(content)) for content in "ab")
    numbers = [int(pushed.get_string_custom_property("pushed_version")) for pushed in (first, second)]
    assert numbers[1] > numbers[0]
    assert second.get_string_custom_property("pushed_destination") == f"{bucket.uri}/serving/{numbers[1]}"
    assert bucket.get(f"serving/{numbers[1]}/saved_model.pb") == b"b"
    again = _to(bucket, model("b"))
    assert again.get_string_custom_property("reason") == "unchanged"
    assert again.get_string_custom_property("pushed_version") == str(numbers[1])
    assert serving_fingerprint(f"{bucket.uri}/serving").startswith(f"{numbers[1]}:")
    compared = _compared(bucket, tmp_path / "compared")
    assert compared.get_string_custom_property("version") == str(numbers[1])
    assert versions.digest(f"{compared.uri}/Format-Serving") == versions.digest(model("b"))


def test_killed_push_to_bucket_is_removed_by_next(model, bucket, monkeypatch):
    first = _to(bucket, model("a")).get_string_custom_property("pushed_version")
    copy = filesystem.copy
    for step in itertools.count():
        copies = itertools.count()

        def killing(source, target, step=step, copies=copies):
            if next(copies) == step:
                raise Killed
            copy(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "copy", killing)
            try:
                _to(bucket, model("b"))
            except Killed:
                assert versions.newest(f"{bucket.uri}/serving") == int(first), step
            else:
                assert step > 1
                break
    left = {key.split("/")[1] for key in bucket.list()}
    assert left == {first, str(versions.newest(f"{bucket.uri}/serving"))}


def test_object_that_reads_back_differently_is_no_version(model, bucket, monkeypatch):
    def spoiling(source, target):
        with filesystem.open_path(target, "wb") as file:
            file.write(b"other")

    monkeypatch.setattr(filesystem, "copy", spoiling)
    with pytest.raises(OSError, match=rf"{bucket.uri}/serving/\d+/.*: expected the bytes of .*, received others"):
        _to(bucket, model("a"))
    assert bucket.list() == []
