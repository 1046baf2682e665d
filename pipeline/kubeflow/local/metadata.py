"""Simulates a cluster's ML Metadata and task cache in one JSON file: artifact numbers and cached outputs."""

import dataclasses
import json
import pathlib
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from framecast.clips.files import write_whole

_SESSION = json.dumps({"Provider": "minio", "Params": {"fromEnv": "true"}}, separators=(",", ":"))


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of a task.

    Args:
        artifacts: `RuntimeArtifact` by output; its name is the number that ML Metadata gave it.
        parameters: `google.protobuf.Value` by output.
    """

    artifacts: dict[str, Any]
    parameters: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the outputs as JSON."""
        return {
            "artifacts": {name: json_format.MessageToDict(made) for name, made in self.artifacts.items()},
            "parameters": {name: json_format.MessageToDict(value) for name, value in self.parameters.items()},
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Outputs":
        """Reads the result of `to_json`."""
        return cls(
            {name: json_format.ParseDict(made, pb.RuntimeArtifact()) for name, made in kept["artifacts"].items()},
            {name: json_format.ParseDict(value, struct_pb2.Value()) for name, value in kept["parameters"].items()},
        )


class ClusterMetadata:
    """Artifact numbers and cached tasks of all runs in a work directory.

    Args:
        path: The JSON file; need not exist.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._kept: dict[str, Any] = {"artifacts": 0, "imported": {}, "cached": {}}
        if path.exists():
            self._kept = json.loads(path.read_text())

    def record(self, output: str, artifact: Any) -> Any:
        """Numbers an output artifact.

        Args:
            output: The task's output.
            artifact: Its `RuntimeArtifact`: URI and metadata.

        Returns:
            The `RuntimeArtifact` for tasks that read it. Its type is empty, as on a cluster.

        Raises:
            ValueError: If its metadata has a value that ML Metadata cannot store.
        """
        recorded = self._numbered(output, artifact)
        if "display_name" not in recorded.metadata:
            recorded.metadata["display_name"] = output
        self._save()
        return recorded

    def find_or_record_import(self, pipeline: str, output: str, artifact: Any, reimport: bool) -> Any:
        """Returns an imported artifact; that of an earlier run if URI, type and metadata are equal.

        Args:
            pipeline: Name of the pipeline.
            output: The importer's output.
            artifact: Its `RuntimeArtifact`: URI, type and metadata.
            reimport: Give the artifact a new number even if an earlier run imported it.
        """
        key = f"{pipeline} {json.dumps(json_format.MessageToDict(artifact), sort_keys=True)}"
        imported = self._kept["imported"]
        if reimport or key not in imported:
            imported[key] = json_format.MessageToDict(self._numbered(output, artifact))
            self._save()
        return json_format.ParseDict(imported[key], pb.RuntimeArtifact())

    def cached(self, pipeline: str, fingerprint: str) -> Outputs | None:
        """Returns the cached outputs of a task; None if there are none."""
        kept = self._kept["cached"].get(f"{pipeline}/{fingerprint}")
        return Outputs.from_json(kept) if kept else None

    def cache(self, pipeline: str, fingerprint: str, outputs: Outputs) -> None:
        """Caches the outputs of a task."""
        self._kept["cached"][f"{pipeline}/{fingerprint}"] = outputs.to_json()
        self._save()

    def _numbered(self, output: str, artifact: Any) -> Any:
        self._kept["artifacts"] += 1
        metadata = {
            name: _through_properties(output, name, value)
            for name, value in json_format.MessageToDict(artifact.metadata).items()
        }
        metadata.setdefault("store_session_info", _SESSION)
        numbered = pb.RuntimeArtifact(name=str(self._kept["artifacts"]), uri=artifact.uri)
        numbered.type.instance_schema = ""
        numbered.metadata.update(metadata)
        return numbered

    def _save(self) -> None:
        write_whole(self._path, json.dumps(self._kept, indent=1))


def _through_properties(output: str, name: str, value: Any) -> Any:
    """Converts a value as ML Metadata's properties do, which hold only numbers, strings and structs."""
    if value is None:
        raise ValueError(f"output {output}: metadata {name}: expected a value, found null, which KFP does not record")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value
