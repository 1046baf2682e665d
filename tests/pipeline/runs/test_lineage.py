"""Lineage, read from a store of ML Metadata that is filled as by TFX's launcher."""

import dataclasses

import pytest

from framecast.pipeline.runs.lineage import Artifact, Execution, read_lineage
from tests.pipeline.runs.mlmd_store import Store


@pytest.fixture
def filled():
    filled = Store()
    filled.clips, filled.old, filled.new = (filled.artifact(uri) for uri in ("/clips/1", "/model/2", "/model/4"))
    filled.execute("first", "ClipExampleGen", "COMPLETE", outputs=[("examples", filled.clips)])
    filled.execute("first", "Trainer", "COMPLETE", [("examples", filled.clips)], [("model", filled.old)])
    filled.execute("second", "ClipExampleGen", "CACHED", outputs=[("examples", filled.clips)])
    filled.execute("second", "Trainer", "COMPLETE", [("examples", filled.clips)], [("model", filled.new)])
    return filled


def test_executions_have_their_inputs_and_outputs(filled):
    clips = Artifact(id=filled.clips, key="examples", uri="/clips/1", execution=1, run="first")
    assert read_lineage(filled.store, "first") == [
        Execution(1, "ClipExampleGen", "done", [], [clips]),
        Execution(2, "Trainer", "done", [clips], [Artifact(filled.old, "model", "/model/2", 2, "first")]),
    ]


def test_cached_artifact_names_the_run_that_made_it(filled):
    ingested, trained = read_lineage(filled.store, "second")
    assert (ingested.id, ingested.state, trained.id, trained.state) == (3, "cached", 4, "done")
    for (artifact,) in (ingested.outputs, trained.inputs):
        assert (artifact.execution, artifact.run) == (1, "first")
    assert dataclasses.astuple(trained.outputs[0]) == (filled.new, "model", "/model/4", 4, "second")


def test_failed_execution_has_no_outputs(filled):
    filled.execute("third", "Trainer", "FAILED", [("examples", filled.clips)])
    (failed,) = read_lineage(filled.store, "third")
    assert (failed.state, [artifact.uri for artifact in failed.inputs], failed.outputs) == ("failed", ["/clips/1"], [])


def test_unknown_run_has_no_executions(filled):
    assert read_lineage(filled.store, "fourth") == []
