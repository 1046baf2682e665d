"""Artifacts with missing or cut files are named and no longer used."""

import shutil

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from framecast.pipeline.runs.damage import mark_damaged, record_files
from tests.pipeline.runs.mlmd_store import Store


@pytest.fixture
def root(tmp_path):
    return tmp_path / "work" / "artifacts"


@pytest.fixture
def made(root):
    """A store with an artifact of the component Transform; its files are recorded."""
    store = Store()
    uri = root / "Transform" / "graph" / "3"
    (uri / "variables").mkdir(parents=True)
    (uri / "saved_model.pb").write_bytes(b"graph")
    (uri / "variables" / "data").write_bytes(b"weights")
    artifact = store.artifact(str(uri))
    number = store.execute("run", "Transform", "COMPLETE", outputs=[("graph", artifact)])
    (execution,) = store.store.get_executions_by_id([number])
    record_files(store.store, execution, store.store.get_artifacts_by_id([artifact]))
    return store.store, uri


def _states(store):
    return [mlmd.Artifact.State.Name(artifact.state) for artifact in store.get_artifacts()]


def test_whole_artifact_is_kept(made, root):
    store, uri = made
    (uri / "notes.txt").touch()  # A file more does no harm.
    assert mark_damaged(store, str(root)) == []
    assert _states(store) == ["LIVE"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda uri: (uri / "variables" / "data").unlink(), "{uri}/variables/data is missing"),
        (lambda uri: (uri / "saved_model.pb").write_bytes(b"gra"), "{uri}/saved_model.pb has 3 bytes instead of 5"),
        (shutil.rmtree, "{uri} is missing"),
    ],
    ids=["missing file", "cut file", "missing folder"],
)
def test_damaged_artifact_is_named_and_marked(made, root, damage, message):
    store, uri = made
    damage(uri)
    assert mark_damaged(store, str(root)) == [f"Transform: {message.format(uri=uri)}; the component runs again"]
    assert _states(store) == ["DELETED"]
    assert mark_damaged(store, str(root)) == []


def test_artifacts_of_a_moved_directory_are_marked(made, root, tmp_path):
    store, _ = made
    moved = tmp_path / "moved" / "artifacts"
    shutil.copytree(root, moved)
    (line,) = mark_damaged(store, str(moved))
    assert line == f"the work directory was moved or copied from {tmp_path / 'work'}; its components run again"
    assert _states(store) == ["DELETED"]
