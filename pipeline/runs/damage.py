"""Finds artifacts whose files are missing or cut, so that a run makes them again instead of reading them.

with metadata.Metadata(connection) as handle:
    for line in mark_damaged(handle.store, "work/artifacts"):
        print(line)  # "Transform: work/artifacts/Transform/.../saved_model.pb is missing; it is made again"
"""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

_FILES = "output_files"  # Custom property of an execution: JSON of the size of each file, by URI and relative path.
_DELETED = metadata_store_pb2.Artifact.DELETED


def record_files(store: metadata_store.MetadataStore, execution: Any, outputs: Iterable[Any]) -> None:
    """Stores the names and sizes of the files of an execution's outputs.

    They are a property of the execution, because properties of artifacts are part of TFX's cache keys.

    Args:
        store: ML Metadata.
        execution: The execution that has just finished.
        outputs: Its output artifacts.
    """
    sizes = {artifact.uri: _sizes(pathlib.Path(artifact.uri)) for artifact in outputs}
    execution.custom_properties[_FILES].string_value = json.dumps(sizes)
    store.put_executions([execution])


def mark_damaged(store: metadata_store.MetadataStore, root: str) -> list[str]:
    """Marks damaged artifacts as deleted, so that TFX's cache does not use them.

    Args:
        store: ML Metadata.
        root: Folder of the artifacts. Artifacts elsewhere belong to the place that the work directory was moved or
            copied from.

    Returns:
        A line for each damaged artifact, and one for a moved work directory.
    """
    sizes: dict[str, Mapping[str, int]] = {}
    for execution in store.get_executions():
        if _FILES in execution.custom_properties:
            sizes.update(json.loads(execution.custom_properties[_FILES].string_value))
    damaged, lines, moved = [], [], []
    for artifact in store.get_artifacts():
        if artifact.state != metadata_store_pb2.Artifact.LIVE:
            continue
        path = pathlib.Path(artifact.uri)
        if not path.is_relative_to(root):
            moved.append(path)
        elif (why := _damage(path, sizes.get(artifact.uri, {}))) is not None:
            component = path.relative_to(root).parts[0]
            lines.append(f"{component}: {why}; the component runs again")
        else:
            continue
        artifact.state = _DELETED
        damaged.append(artifact)
    if moved:
        lines.append(f"the work directory was moved or copied from {moved[0].parents[3]}; its components run again")
    if damaged:
        store.put_artifacts(damaged)
    return lines


def _damage(folder: pathlib.Path, sizes: Mapping[str, int]) -> str | None:
    if not folder.exists():
        return f"{folder} is missing"
    for name, size in sizes.items():
        file = folder / name
        if not file.exists():
            return f"{file} is missing"
        if (found := file.stat().st_size) != size:
            return f"{file} has {found} bytes instead of {size}"
    return None


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    files = (pathlib.Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}
