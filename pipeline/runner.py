"""The local runner: TFX's BeamDagRunner, watched node by node."""

import dataclasses
import time
from typing import Any, Protocol

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.beam import beam_dag_runner

# Named in full: Beam's default first tries to download a runner of its own.
BEAM_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
BEAM_FLAGS = (f"--runner={BEAM_RUNNER}", "--tfxio_use_byte_size_batching")


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """One finished component.

    Args:
        name: The component.
        cached: Whether an earlier run's outputs were taken.
        seconds: Wall time.
        outputs: Output artifacts by key, as ML Metadata holds them.
    """

    name: str
    cached: bool
    seconds: float
    outputs: dict[str, metadata_store_pb2.Artifact]


class Observer(Protocol):
    """What a run tells as it goes."""

    def started(self, name: str) -> None:
        """A component begins."""

    def finished(self, run: NodeRun) -> None:
        """A component is done."""

    def failed(self, name: str, error: Exception) -> None:
        """A component raised."""


class LocalRunner(beam_dag_runner.BeamDagRunner):
    """Runs a pipeline in this process and reports each component to an observer."""

    def run_watched(
        self,
        pipeline: tfx_pipeline.Pipeline,
        observer: Observer,
        from_node: str | None = None,
        to_node: str | None = None,
    ) -> None:
        """Runs the pipeline, or the part of it from one component to another on the artifacts of the last run."""
        StandardOptions.DEFAULT_RUNNER = BEAM_RUNNER
        options = None
        if from_node or to_node:
            options = tfx_pipeline.RunOptions(
                from_nodes=[from_node] if from_node else None, to_nodes=[to_node] if to_node else None
            )
        _WatchedNode.observer = observer
        try:
            self.run(pipeline, run_options=options)
        finally:
            _WatchedNode.observer = None


class _WatchedNode(beam_dag_runner.PipelineNodeAsDoFn):
    # On the class, since Beam pickles instances even when it runs them in this process.
    observer: Observer | None = None

    def _run_node(self) -> None:
        observer = type(self).observer
        assert observer is not None
        observer.started(self._node_id)
        started = time.monotonic()
        try:
            super()._run_node()
        except Exception as error:
            observer.failed(self._node_id, error)
            raise
        observer.finished(self._read(time.monotonic() - started))

    def _read(self, seconds: float) -> NodeRun:
        """Reads from ML Metadata what the execution that just ended put out."""
        with metadata.Metadata(self._mlmd_connection_config) as handle:
            store = handle.store
            context = store.get_context_by_type_and_name(
                constants.NODE_CONTEXT_TYPE_NAME, f"{self._pipeline_info.id}.{self._node_id}"
            )
            execution = max(store.get_executions_by_context(context.id), key=lambda item: item.id)
            outputs = {}
            for event in store.get_events_by_execution_ids([execution.id]):
                if event.type == metadata_store_pb2.Event.OUTPUT:
                    (artifact,) = store.get_artifacts_by_id([event.artifact_id])
                    outputs[event.path.steps[0].key] = artifact
            cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
            return NodeRun(self._node_id, cached, seconds, outputs)


LocalRunner._PIPELINE_NODE_DO_FN_CLS = _WatchedNode


def property_of(artifact: Any, name: str) -> Any:
    """Returns a custom property of an ML Metadata artifact; None when it has none of that name."""
    if name not in artifact.custom_properties:
        return None
    value = artifact.custom_properties[name]
    return getattr(value, value.WhichOneof("value"))
