"""The local runner: TFX's BeamDagRunner, watched node by node."""

import dataclasses
import time
from typing import Any, Protocol

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from framecast.clips.beam_runner import BEAM_RUNNER
from framecast.pipeline.runs.peak_memory import PeakMemory

_DELETED = metadata_store_pb2.Artifact.DELETED


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """One finished component.

    Args:
        name: The component.
        cached: Whether an earlier run's outputs were taken.
        seconds: Wall time.
        peak_memory: Most bytes that this process and its children held while it ran; None when it was cached.
        outputs: Output artifacts by key, as ML Metadata holds them.
    """

    name: str
    cached: bool
    seconds: float
    peak_memory: int | None
    outputs: dict[str, metadata_store_pb2.Artifact]


class Observer(Protocol):
    """What a run tells as it goes."""

    def started(self, name: str) -> None:
        """A component begins."""

    def finished(self, run: NodeRun) -> None:
        """A component is done."""

    def failed(self, name: str, error: Exception, seconds: float, peak_memory: int) -> None:
        """A component raised."""


class LocalRunner(beam_dag_runner.BeamDagRunner):
    """Runs a pipeline in this process and reports each component to an observer."""

    def run_watched(
        self,
        pipeline: tfx_pipeline.Pipeline,
        run: str,
        observer: Observer,
        from_node: str | None = None,
        to_node: str | None = None,
    ) -> None:
        """Runs the pipeline, or the part of it from one component to another.

        A part runs on the artifacts of the newest run in which everything before the part ended well.

        Args:
            pipeline: What to run.
            run: Name of the run in ML Metadata, which no other has.
            observer: Is told of each component.
            from_node: First component to run.
            to_node: Last component to run.

        Raises:
            LookupError: When there is no such run.
        """
        StandardOptions.DEFAULT_RUNNER = BEAM_RUNNER
        options = None
        if from_node or to_node:
            nodes = {"from_nodes": [from_node] if from_node else None, "to_nodes": [to_node] if to_node else None}
            options = tfx_pipeline.RunOptions(**nodes, base_pipeline_run_id=_base_run(pipeline, **nodes))
        self._run_name = run
        _WatchedNode.observer = observer
        try:
            self.run(pipeline, run_options=options)
        finally:
            _WatchedNode.observer = None

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Names the run, which TFX would name by the time, and runs it."""
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_name}
        )
        super().run_with_ir(pipeline, run_options)


def _base_run(pipeline: tfx_pipeline.Pipeline, from_nodes: list[str] | None, to_nodes: list[str] | None) -> str | None:
    """Returns the run that a part of the pipeline continues; None when nothing comes before the part.

    TFX itself takes the newest run, even one that stopped before the part begins.
    """
    ir = partial_run_utils.mark_pipeline(compiler.Compiler().compile(pipeline), from_nodes, to_nodes)
    required = {
        node.pipeline_node.node_info.id
        for node in ir.nodes
        if node.pipeline_node.execution_options.skip.reuse_artifacts_mode
        == pipeline_pb2.NodeExecutionOptions.Skip.REQUIRED
    }
    if not required:
        return None
    with metadata.Metadata(pipeline.metadata_connection_config) as handle:
        store = handle.store
        ids = {
            context.id: context.name.removeprefix(f"{ir.pipeline_info.id}.")
            for context in store.get_contexts_by_type(constants.NODE_CONTEXT_TYPE_NAME)
        }
        runs = store.get_contexts_by_type(constants.PIPELINE_RUN_CONTEXT_TYPE_NAME)
        for run in sorted(runs, key=lambda context: context.create_time_since_epoch, reverse=True):
            done = {
                ids.get(context.id)
                for execution in store.get_executions_by_context(run.id)
                if execution_lib.is_execution_successful(execution) and _outputs_exist(store, execution.id)
                for context in store.get_contexts_by_execution(execution.id)
            }
            if required <= done:
                return run.name
    raise LookupError(
        f"a run from {' '.join(from_nodes or ())}: expected an earlier run in this workdir that finished "
        f"{', '.join(sorted(required))}; found none"
    )


def _outputs_exist(store: Any, execution: int) -> bool:
    """Tells whether `framecast runs gc` has left an execution's outputs."""
    outputs = [
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution])
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    return all(artifact.state != _DELETED for artifact in store.get_artifacts_by_id(outputs))


class _WatchedNode(beam_dag_runner.PipelineNodeAsDoFn):
    # On the class, since Beam pickles instances even when it runs them in this process.
    observer: Observer | None = None

    def _run_node(self) -> None:
        observer = type(self).observer
        assert observer is not None
        observer.started(self._node_id)
        started = time.monotonic()
        memory = PeakMemory()
        try:
            with memory:
                super()._run_node()
        except Exception as error:
            observer.failed(self._node_id, error, time.monotonic() - started, memory.bytes)
            raise
        observer.finished(self._read(time.monotonic() - started, memory.bytes))

    def _read(self, seconds: float, peak_memory: int) -> NodeRun:
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
            return NodeRun(self._node_id, cached, seconds, None if cached else peak_memory, outputs)


LocalRunner._PIPELINE_NODE_DO_FN_CLS = _WatchedNode
