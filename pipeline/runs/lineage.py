"""Reads the lineage of a run from ML Metadata: executions, their inputs and outputs, and the runs that made those.

with metadata.Metadata(connection) as handle:
    for execution in read_lineage(handle.store, "20260101-120000-000001"):
        execution.component, [(artifact.key, artifact.uri, artifact.run) for artifact in execution.outputs]
"""

import dataclasses

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants

_STATES = {metadata_store_pb2.Execution.COMPLETE: "done"}  # As in `run.json`; other states have the same names.


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An input or output artifact of an execution.

    Args:
        id: Id in ML Metadata.
        key: Name of the input or output, such as `examples`.
        uri: Folder of the artifact.
        execution: Id of the execution that made it; an earlier execution if it comes from the cache.
        run: Name of the run that made it.
    """

    id: int
    key: str
    uri: str
    execution: int
    run: str


@dataclasses.dataclass(frozen=True)
class Execution:
    """One component in one run.

    Args:
        id: Id in ML Metadata.
        component: Name of the component.
        state: `done`, `cached`, `failed`, or another state of ML Metadata in lower case.
        inputs: Input artifacts, by id; without those that a partial run reuses from an earlier run.
        outputs: Output artifacts, made or taken from the cache, by id.
    """

    id: int
    component: str
    state: str
    inputs: list[Artifact]
    outputs: list[Artifact]


def read_lineage(store: metadata_store.MetadataStore, run: str) -> list[Execution]:
    """Reads the executions of a run, in the order of their start; none if ML Metadata does not know the run."""
    context = store.get_context_by_type_and_name(constants.PIPELINE_RUN_CONTEXT_TYPE_NAME, run)
    executions = [] if context is None else store.get_executions_by_context(context.id)
    if not executions:
        return []
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    events = sorted(events, key=lambda event: event.artifact_id)
    ids = sorted({event.artifact_id for event in events})
    uris = {artifact.id: artifact.uri for artifact in store.get_artifacts_by_id(ids)}
    makers = _makers(store, ids)
    runs = {maker: _context_name(store, maker, constants.PIPELINE_RUN_CONTEXT_TYPE_NAME) for maker in makers.values()}

    def artifacts(execution: int, kind: int) -> list[Artifact]:
        return [
            Artifact(
                id=event.artifact_id,
                key=event.path.steps[0].key,
                uri=uris[event.artifact_id],
                execution=makers[event.artifact_id],
                run=runs[makers[event.artifact_id]],
            )
            for event in events
            if (event.execution_id, event.type) == (execution, kind)
        ]

    return [
        Execution(
            id=execution.id,
            # Named `PIPELINE.COMPONENT`.
            component=_context_name(store, execution.id, constants.NODE_CONTEXT_TYPE_NAME).partition(".")[2],
            state=_STATES.get(execution.last_known_state)
            or metadata_store_pb2.Execution.State.Name(execution.last_known_state).lower(),
            inputs=artifacts(execution.id, metadata_store_pb2.Event.INPUT),
            outputs=artifacts(execution.id, metadata_store_pb2.Event.OUTPUT),
        )
        for execution in sorted(executions, key=lambda execution: execution.id)
    ]


def _makers(store: metadata_store.MetadataStore, artifacts: list[int]) -> dict[int, int]:
    """Returns the execution that made each artifact: the first with it as output, because later ones reused it."""
    makers: dict[int, int] = {}
    for event in store.get_events_by_artifact_ids(artifacts):
        if event.type == metadata_store_pb2.Event.OUTPUT:
            makers[event.artifact_id] = min(event.execution_id, makers.get(event.artifact_id, event.execution_id))
    return makers


def _context_name(store: metadata_store.MetadataStore, execution: int, kind: str) -> str:
    wanted = store.get_context_type(kind).id
    (name,) = (found.name for found in store.get_contexts_by_execution(execution) if found.type_id == wanted)
    return name
