"""Reads the statistics of the newest run's train split, and the contract of its clips.

Reads ML Metadata only and does not run TFX, so that a command answers in seconds.
"""

import dataclasses
import json
import os

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.compiler import constants

from framecast.schemas.clip_spec import ClipSpec

_FILE = os.path.join("Split-train", "FeatureStats.pb")
_FINISHED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


@dataclasses.dataclass(frozen=True)
class TrainingStatistics:
    """Statistics of a run's train split.

    Args:
        path: File of the statistics.
        statistics: StatisticsGen's output for the train split.
        clip: Contract of the clips.
    """

    path: str
    statistics: statistics_pb2.DatasetFeatureStatistics
    clip: ClipSpec


def read_training_statistics(workdir: str) -> TrainingStatistics:
    """Reads the statistics of the newest run in `workdir` with a finished StatisticsGen.

    Raises:
        FileNotFoundError: If there is no such run, or its statistics were deleted.
    """
    database = os.path.join(workdir, "metadata.sqlite")
    if not os.path.isfile(database):
        raise FileNotFoundError(f"{workdir}: expected the work directory of a run, received one without {database}")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = database
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(connection)
    node = store.get_context_by_type_and_name(constants.NODE_CONTEXT_TYPE_NAME, "framecast.StatisticsGen")
    executions = store.get_executions_by_context(node.id) if node else []
    finished = [execution.id for execution in executions if execution.last_known_state in _FINISHED]
    if not finished:
        raise FileNotFoundError(f"{workdir}: expected a run whose StatisticsGen finished, received none")
    events = store.get_events_by_execution_ids([max(finished)])
    artifacts = {event.path.steps[0].key: event.artifact_id for event in events}
    (statistics,) = store.get_artifacts_by_id([artifacts["statistics"]])
    path = os.path.join(statistics.uri, _FILE)
    return TrainingStatistics(path, _read(path), _contract(store, artifacts["examples"]))


def _contract(store: metadata_store.MetadataStore, examples: int) -> ClipSpec:
    """Returns the contract that was recorded at ingest, because the configuration may have changed since."""
    (ingest, *_) = (
        event.execution_id
        for event in store.get_events_by_artifact_ids([examples])
        if event.type == metadata_store_pb2.Event.OUTPUT
    )
    (execution,) = store.get_executions_by_id([ingest])
    custom = json.loads(execution.custom_properties["custom_config"].string_value)["custom_config"]
    return ClipSpec.model_validate(json.loads(custom["value"]["json"])["clip"])


def _read(path: str) -> statistics_pb2.DatasetFeatureStatistics:
    try:
        with open(path, "rb") as file:
            return statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read()).datasets[0]
    except OSError as error:
        raise FileNotFoundError(f"{path}: expected the statistics of a run, received: {error.strerror}") from error
