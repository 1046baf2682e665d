"""Runs a pipeline on this machine with TFX's BeamDagRunner, and reports each component to an observer.

This module alone uses private names of TFX; `tests/pipeline/runs/test_runner.py` checks that they exist.
"""

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

from framecast.clips.beam import BEAM_RUNNER
from framecast.pipeline.runs.damage import mark_damaged, record_files
from framecast.pipeline.runs.peak_memory import PeakMemory

_DELETED = metadata_store_pb2.Artifact.DELETED


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """A component that has finished.

    Args:
        name: Name of the component.
        cached: Whether the outputs of an earlier run were reused.
        seconds: Wall time.
        peak_memory: Peak memory of this process and its children, in bytes; None if cached.
        outputs: Output artifacts of ML Metadata, by key.
    """

    name: str
    cached: bool
    seconds: float
    peak_memory: int | None
    outputs: dict[str, metadata_store_pb2.Artifact]


class Observer(Protocol):
    """Receives the events of a run."""

    def found_damage(self, line: str) -> None:
        """Called for each damaged artifact of earlier runs, before the first component."""

    def started(self, name: str) -> None:
        """Called before a component runs."""

    def finished(self, run: NodeRun) -> None:
        """Called after a component has finished."""

    def failed(self, name: str, error: Exception, seconds: float, peak_memory: int) -> None:
        """Called after a component has raised."""


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
        """Runs the pipeline, or the part from one component to another.

        A part reuses the artifacts of the newest run that finished every component before the part.

        Args:
            pipeline: The pipeline.
            run: Unique name of the run in ML Metadata.
            observer: Receives the events of each component.
            from_node: First component to run.
            to_node: Last component to run.

        Raises:
            LookupError: If no earlier run finished every component before the part.
        """
        with metadata.Metadata(pipeline.metadata_connection_config) as handle:
            for line in mark_damaged(handle.store, pipeline.pipeline_info.pipeline_root):
                observer.found_damage(line)
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
        """Runs the compiled pipeline under the run's name, which TFX would derive from the time."""
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_name}
        )
        super().run_with_ir(pipeline, run_options)


def _base_run(pipeline: tfx_pipeline.Pipeline, from_nodes: list[str] | None, to_nodes: list[str] | None) -> str | None:
    """Returns the run whose artifacts a part of the pipeline reuses; None if no component is before the part.

    TFX itself takes the newest run, even if it ended before the part starts.
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
        # By id, because a clock can be set back.
        for run in sorted(runs, key=lambda context: context.id, reverse=True):
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
    """Returns whether `framecast runs gc` has kept the outputs of an execution."""
    outputs = [
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution])
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    return all(artifact.state != _DELETED for artifact in store.get_artifacts_by_id(outputs))


class _WatchedNode(beam_dag_runner.PipelineNodeAsDoFn):
    # A class attribute, because Beam pickles instances even if they run in this process.
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
        """Reads the outputs of the execution that just ended from ML Metadata, and records their files."""
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
            if not cached:
                record_files(store, execution, outputs.values())
            return NodeRun(self._node_id, cached, seconds, None if cached else peak_memory, outputs)


LocalRunner._PIPELINE_NODE_DO_FN_CLS = _WatchedNode
