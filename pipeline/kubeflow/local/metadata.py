"""What a cluster's ML Metadata and cache keep between runs, in one JSON file: artifacts' numbers, cached tasks."""

import dataclasses
import json
import pathlib
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

_SESSION = json.dumps({"Provider": "minio", "Params": {"fromEnv": "true"}}, separators=(",", ":"))


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a task put out.

    Args:
        artifacts: `RuntimeArtifact` by output, with the number that ML Metadata gave it as its name.
        parameters: `google.protobuf.Value` by output.
    """

    artifacts: dict[str, Any]
    parameters: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns a form that `from_json` reads."""
        return {
            "artifacts": {name: json_format.MessageToDict(made) for name, made in self.artifacts.items()},
            "parameters": {name: json_format.MessageToDict(value) for name, value in self.parameters.items()},
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Outputs":
        """Returns what `to_json` was called on."""
        return cls(
            {name: json_format.ParseDict(made, pb.RuntimeArtifact()) for name, made in kept["artifacts"].items()},
            {name: json_format.ParseDict(value, struct_pb2.Value()) for name, value in kept["parameters"].items()},
        )


class ClusterMetadata:
    """The artifacts of all runs of a work directory, numbered, and the tasks that can be taken from the cache.

    Args:
        path: Its file; a missing one is empty.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._kept: dict[str, Any] = {"artifacts": 0, "imported": {}, "cached": {}}
        if path.exists():
            self._kept = json.loads(path.read_text())

    def record(self, output: str, artifact: Any) -> Any:
        """Numbers an artifact that a task made.

        Args:
            output: The task's output.
            artifact: Its `RuntimeArtifact`: URI and metadata.

        Returns:
            The `RuntimeArtifact` that a task which reads it gets. Its type is empty, as it is on a cluster.

        Raises:
            ValueError: When its metadata has a value that ML Metadata does not hold.
        """
        recorded = self._numbered(output, artifact)
        if "display_name" not in recorded.metadata:
            recorded.metadata["display_name"] = output
        self._save()
        return recorded

    def find_or_record_import(self, pipeline: str, output: str, artifact: Any, anew: bool) -> Any:
        """Returns an imported artifact: the one of an earlier run where URI, type and metadata are the same.

        Args:
            pipeline: Name of the pipeline.
            output: The importer's output.
            artifact: Its `RuntimeArtifact`: URI, type and metadata.
            anew: Whether it gets a number of its own all the same (`reimport`).
        """
        key = f"{pipeline} {json.dumps(json_format.MessageToDict(artifact), sort_keys=True)}"
        imported = self._kept["imported"]
        if anew or key not in imported:
            imported[key] = json_format.MessageToDict(self._numbered(output, artifact))
            self._save()
        return json_format.ParseDict(imported[key], pb.RuntimeArtifact())

    def cached(self, pipeline: str, fingerprint: str) -> Outputs | None:
        """Returns what a task of this key put out; None when none did."""
        kept = self._kept["cached"].get(f"{pipeline}/{fingerprint}")
        return Outputs.from_json(kept) if kept else None

    def cache(self, pipeline: str, fingerprint: str, outputs: Outputs) -> None:
        """Keeps what a task put out, under its key."""
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
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._kept, indent=1))
        part.rename(self._path)


def _through_properties(output: str, name: str, value: Any) -> Any:
    """Returns what becomes of a value that was a property in ML Metadata: numbers and structs are all that it knows."""
    if value is None:
        raise ValueError(f"output {output}: metadata {name}: expected a value, found null, which KFP does not record")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value
