"""ValidationGate: stops the run on data anomalies, which ExampleValidator alone never does."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts


class DataAnomaliesError(ValueError):
    """The data break the schema; the message names split, feature and what is wrong."""


@component
def ValidationGate(
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    gate: OutputArtifact[simple_artifacts.File],
    code: Parameter[str] = "",  # noqa: ARG001 - a part of the cache key
) -> None:
    """Raises DataAnomaliesError unless ExampleValidator found nothing in any split.

    Args:
        anomalies: ExampleValidator's output.
        gate: Written only when the data passed: downstream components wait for this one.
        code: Digest of the code behind this component.
    """
    found = []
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = os.path.join(artifact_utils.get_split_uri([anomalies], split), "SchemaDiff.pb")
        proto = anomalies_pb2.Anomalies()
        with fileio.open(path, "rb") as file:
            proto.ParseFromString(file.read())
        if proto.HasField("dataset_anomaly_info"):
            found.append(f"split {split}: {proto.dataset_anomaly_info.description}")
        for feature in sorted(proto.anomaly_info):
            found.append(f"split {split}, feature {feature}: {proto.anomaly_info[feature].description}")
    if found:
        raise DataAnomaliesError("\n".join(["the data break the schema:", *found]))
    fileio.makedirs(gate.uri)
    with fileio.open(os.path.join(gate.uri, "passed"), "w") as file:
        file.write("passed\n")
