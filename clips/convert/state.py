"""Keeps the state of an unfinished conversion in a hidden folder, so that the conversion can resume."""

import json
import os
import pathlib
from typing import Any

from framecast.clips.convert.sources.discovery import FoundSources
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.files import write_whole
from framecast.clips.records import MANIFEST

FOLDER = ".convert"  # Below the output folder; has the unfinished files and the progress of each unit.
_PLAN = "plan.json"


def make_plan(found: FoundSources, spec: ConvertSpec) -> dict[str, Any]:
    """Returns all inputs that determine the clips; a conversion resumes only if they are unchanged."""
    files = {}
    for source in found.sources:
        for file in source.files:
            status = os.stat(file)
            files[file] = [status.st_size, status.st_mtime_ns]
    return {
        "options": spec.model_dump(mode="json"),
        "sources": len(found.sources),
        "files": files,
    }


def read_finished(base: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the manifest if the same conversion is already finished."""
    if not (base / MANIFEST).exists():
        return None
    manifest = json.loads((base / MANIFEST).read_text())
    if manifest.get("plan") == plan:
        return manifest
    raise FileExistsError(f"{base}: expected a new or empty folder, but it has clips of other sources or options")


def begin(base: pathlib.Path, plan: dict[str, Any]) -> pathlib.Path:
    """Returns the state folder, after checking that it belongs to this conversion."""
    state = base / FOLDER
    if (state / _PLAN).exists():
        if json.loads((state / _PLAN).read_text()) != plan:
            raise FileExistsError(
                f"{base}: the folder has an unfinished conversion of other sources or options; remove the folder"
            )
        return state
    if base.exists() and any(path.name != FOLDER for path in base.iterdir()):
        raise FileExistsError(f"{base}: expected a new or empty folder, but it has files")
    state.mkdir(parents=True, exist_ok=True)
    write_json(state / _PLAN, plan)
    return state


def read_source_count(base: pathlib.Path) -> int:
    """Returns the number of sources in the plan.

    Raises:
        OSError: If there is no plan.
    """
    return json.loads((base / FOLDER / _PLAN).read_text())["sources"]


def unit_path(base: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the path of a unit's progress."""
    return base / FOLDER / f"unit-{number:05d}.json"


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_whole(path, json.dumps(value, indent=1) + "\n")
