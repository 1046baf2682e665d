"""Manages the output folder of bulk inference, so that an interrupted inference can resume.

While the inference runs, `.infer/` holds the plan and the progress of each input file. An output file appears under its
final name only when it is complete, and `manifest.json` only when all output files are there.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from framecast.clips.files import replacing, write_whole
from framecast.clips.records import MANIFEST

_STATE, _PLAN = ".infer", "plan.json"


@dataclasses.dataclass
class BulkProgress:
    """Progress of an input file.

    Args:
        next: Index of the next record.
        done: Whether all records are processed.
        files: Number of clips by output file.
        left_out: Number of clips too short for the model.
        bad: Error message of each skipped clip.
        parts: Number of parts so far.
    """

    next: int = 0
    done: bool = False
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: int = 0
    bad: list[str] = dataclasses.field(default_factory=list)
    parts: int = 0


class BulkFolder:
    """An output folder; its files are complete or missing.

    Args:
        base: A new or empty folder, or the folder of the same inference, interrupted or finished.
    """

    def __init__(self, base: str):
        self.base = pathlib.Path(base)
        self.state = self.base / _STATE

    def prepare(self) -> None:
        """Creates the folder.

        Raises:
            FileExistsError: If it holds other files.
        """
        ours = (self.base / MANIFEST).exists() or (self.state / _PLAN).exists()
        if not ours and self.base.exists() and any(path.name != _STATE for path in self.base.iterdir()):
            raise FileExistsError(f"{self.base}: expected a new or empty folder, received a folder with other files")
        self.state.mkdir(parents=True, exist_ok=True)

    def begin(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        """Writes the plan, or checks it against the plan of the inference to resume.

        Args:
            plan: `model` (for messages), its `digest`, `format`, and `files` (digest by path).

        Returns:
            The manifest if the inference is finished; otherwise None.

        Raises:
            FileExistsError: If the folder belongs to another model, format or set of clips; the difference is named.
        """
        manifest = json.loads((self.base / MANIFEST).read_text()) if (self.base / MANIFEST).exists() else None
        if manifest is not None and "plan" not in manifest:
            raise FileExistsError(
                f"{self.base}: expected a new or empty folder, received a folder with another {MANIFEST}"
            )
        if manifest is not None:
            _check_same(self.base, manifest["plan"], plan)
            self.close()
            return manifest
        if (self.state / _PLAN).exists():
            _check_same(self.base, json.loads((self.state / _PLAN).read_text()), plan)
        else:
            _write_json(self.state / _PLAN, plan)
        return None

    def read(self, number: int) -> BulkProgress:
        """Reads the progress of an input file."""
        path = self._record(number)
        return BulkProgress(**json.loads(path.read_text())) if path.exists() else BulkProgress()

    def write(self, number: int, progress: BulkProgress) -> None:
        """Writes the progress of an input file, after its output files are published."""
        _write_json(self._record(number), dataclasses.asdict(progress))

    @contextlib.contextmanager
    def published(self, name: str) -> Iterator[str]:
        """Yields a temporary path, which is moved to `name` when the block ends without an error.

        The path is in `.infer/`, so that a killed process leaves nothing else in the folder.
        """
        with (
            tempfile.TemporaryDirectory(dir=self.state) as folder,
            replacing(self.base / name, part=os.path.join(folder, name)) as part,
        ):
            yield str(part)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest and removes `.infer/`."""
        _write_json(self.base / MANIFEST, manifest)
        self.close()

    def close(self) -> None:
        """Removes `.infer/`."""
        shutil.rmtree(self.state)

    def _record(self, number: int) -> pathlib.Path:
        return self.state / f"file-{number:05d}.json"


def _check_same(base: pathlib.Path, there: dict[str, Any], plan: dict[str, Any]) -> None:
    """Raises FileExistsError if two plans differ."""
    problem = None
    for key, name in (("digest", "model"), ("format", "format")):
        if there[key] != plan[key]:
            problem = f"of {name} {there[name]}, received {name} {plan[name]}"
            if there[name] == plan[name]:
                problem += f" with other files: {key} {plan[key]} instead of {there[key]}"
    for path in sorted(there["files"].keys() | plan["files"].keys()):
        before, now = there["files"].get(path), plan["files"].get(path)
        if before != now:
            received = f"also {path}" if before is None else f"no {path}" if now is None else f"other clips in {path}"
            problem = problem or f"for {len(there['files'])} files, received {received}"
    if problem is not None:
        raise FileExistsError(f"{base}: expected to resume the predictions there, {problem}; use another folder")


def _write_json(path: pathlib.Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1) + "\n")
