"""Fills a store of ML Metadata as TFX's launcher does."""

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd


class Store:
    """A store with executions, artifacts and their events.

    Args:
        path: File of the database; default: in memory.
    """

    def __init__(self, path=None):
        connection = mlmd.ConnectionConfig()
        if path is None:
            connection.fake_database.SetInParent()
        else:
            connection.sqlite.filename_uri = str(path)
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
        (number,) = self.store.put_artifacts(
            [mlmd.Artifact(type_id=self.artifact_type, uri=uri, state=mlmd.Artifact.LIVE)]
        )
        return number

    def execute(self, run, component, state, inputs=(), outputs=()):
        """Adds an execution with `(key, artifact)` pairs of inputs and outputs; returns its id."""
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
