"""Lineage read from a store of ML Metadata that is filled by its own API, as TFX's launcher fills it."""

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


def test_executions_are_read_with_what_they_took_and_put_out(filled):
    clips = Artifact(id=filled.clips, key="examples", uri="/clips/1", execution=1, run="first")
    assert read_lineage(filled.store, "first") == [
        Execution(1, "ClipExampleGen", "done", [], [clips]),
        Execution(2, "Trainer", "done", [clips], [Artifact(filled.old, "model", "/model/2", 2, "first")]),
    ]


def test_of_a_cached_artifact_the_run_that_made_it_is_told(filled):
    ingested, trained = read_lineage(filled.store, "second")
    assert (ingested.id, ingested.state, trained.id, trained.state) == (3, "cached", 4, "done")
    for (artifact,) in (ingested.outputs, trained.inputs):
        assert (artifact.execution, artifact.run) == (1, "first")
    assert dataclasses.astuple(trained.outputs[0]) == (filled.new, "model", "/model/4", 4, "second")


def test_an_execution_that_failed_has_inputs_and_no_outputs(filled):
    filled.execute("third", "Trainer", "FAILED", [("examples", filled.clips)])
    (failed,) = read_lineage(filled.store, "third")
    assert (failed.state, [artifact.uri for artifact in failed.inputs], failed.outputs) == ("failed", ["/clips/1"], [])


def test_a_run_that_the_store_does_not_know_has_none(filled):
    assert read_lineage(filled.store, "fourth") == []
