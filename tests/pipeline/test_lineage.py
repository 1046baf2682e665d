"""Lineage read from a store of ML Metadata that is filled by its own API, as TFX's launcher fills it."""

import dataclasses

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from framecast.pipeline.lineage import Artifact, Execution, read_lineage


class Store:
    """Runs of two components, the second taking what the first put out."""

    def __init__(self):
        connection = mlmd.ConnectionConfig()
        connection.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(connection)
        self.contexts = {
            kind: self.store.put_context_type(mlmd.ContextType(name=kind)) for kind in ("pipeline_run", "node")
        }
        self.execution_type = self.store.put_execution_type(mlmd.ExecutionType(name="component"))
        self.artifact_type = self.store.put_artifact_type(mlmd.ArtifactType(name="Model"))

    def context(self, kind, name):
        found = self.store.get_context_by_type_and_name(kind, name)
        return found or mlmd.Context(type_id=self.contexts[kind], name=name)

    def artifact(self, uri):
        (number,) = self.store.put_artifacts([mlmd.Artifact(type_id=self.artifact_type, uri=uri)])
        return number

    def execute(self, run, component, state, inputs=(), outputs=()):
        """Puts an execution with `(key, artifact)` pairs, and returns its number."""
        links = [(mlmd.Event.INPUT, *pair) for pair in inputs] + [(mlmd.Event.OUTPUT, *pair) for pair in outputs]
        (number,) = self.store.put_executions(
            [mlmd.Execution(type_id=self.execution_type, last_known_state=getattr(mlmd.Execution, state))]
        )
        for kind, key, artifact in links:
            path = mlmd.Event.Path(steps=[mlmd.Event.Path.Step(key=key), mlmd.Event.Path.Step(index=0)])
            self.store.put_events([mlmd.Event(execution_id=number, artifact_id=artifact, type=kind, path=path)])
        contexts = [self.context("pipeline_run", run), self.context("node", f"framecast.{component}")]
        for context in contexts:
            identity = context.id or self.store.put_contexts([context])[0]
            association = mlmd.Association(execution_id=number, context_id=identity)
            self.store.put_attributions_and_associations([], [association])
        return number


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
