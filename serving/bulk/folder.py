"""The folder that bulk inference writes to: what is finished in it, and of which model and clips it is.

Until all is done, `.infer/` holds the plan, and a record for each input file of what has been written of it. A file of
answers that has its name is whole; `manifest.json` stands beside the files when all of them are there.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from framecast.clips.records import MANIFEST

_STATE, _PLAN = ".infer", "plan.json"


@dataclasses.dataclass
class BulkProgress:
    """How far an input file has come.

    Args:
        next: The record to go on with.
        done: Whether there is none left.
        files: Clips in each file of answers.
        left_out: Clips too short for the model.
        bad: What is wrong with each clip that was skipped.
        parts: Parts that the input file was answered in so far.
    """

    next: int = 0
    done: bool = False
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: int = 0
    bad: list[str] = dataclasses.field(default_factory=list)
    parts: int = 0


class BulkFolder:
    """The folder; what it writes is whole or not there.

    Args:
        base: A new or empty folder, or that of the same inference, stopped or finished.
    """

    def __init__(self, base: str):
        self.base = pathlib.Path(base)
        self.state = self.base / _STATE

    def prepare(self) -> None:
        """Makes the folder.

        Raises:
            FileExistsError: When it holds something else.
        """
        ours = (self.base / MANIFEST).exists() or (self.state / _PLAN).exists()
        if not ours and self.base.exists() and any(path.name != _STATE for path in self.base.iterdir()):
            raise FileExistsError(f"{self.base}: expected a new or empty folder, received one that holds files")
        self.state.mkdir(parents=True, exist_ok=True)

    def begin(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        """Writes the plan, or goes on with the one that is there.

        Args:
            plan: `model` (for messages), `digest` of it, `format`, and `files`, a digest by path.

        Returns:
            The manifest when everything is done already; else None.

        Raises:
            FileExistsError: When what is there is of another model, format or clips, naming it.
        """
        manifest = json.loads((self.base / MANIFEST).read_text()) if (self.base / MANIFEST).exists() else None
        if manifest is not None and "plan" not in manifest:
            raise FileExistsError(f"{self.base}: expected a new or empty folder, received one with another manifest")
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
        """Returns how far an input file has come, in any run."""
        path = self._record(number)
        return BulkProgress(**json.loads(path.read_text())) if path.exists() else BulkProgress()

    def write(self, number: int, progress: BulkProgress) -> None:
        """Records how far an input file has come, once the answers so far have their names."""
        _write_json(self._record(number), dataclasses.asdict(progress))

    @contextlib.contextmanager
    def published(self, name: str) -> Iterator[str]:
        """Gives a path to write a file to, which has its name when the block ends well."""
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            path = os.path.join(folder, name)
            yield path
            os.replace(path, self.base / name)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest, and removes what only a restart needs."""
        _write_json(self.base / MANIFEST, manifest)
        self.close()

    def close(self) -> None:
        """Removes the state."""
        shutil.rmtree(self.state)

    def _record(self, number: int) -> pathlib.Path:
        return self.state / f"file-{number:05d}.json"


def _check_same(base: pathlib.Path, there: dict[str, Any], plan: dict[str, Any]) -> None:
    """Refuses to go on with something else than was begun."""
    problem = None
    for key, told in (("digest", "model"), ("format", "format")):
        if there[key] != plan[key]:
            problem = f"of {told} {there[told]}, received {told} {plan[told]}"
            if there[told] == plan[told]:
                problem += f" with other files: {key} {plan[key]} in place of {there[key]}"
    for path in sorted(there["files"].keys() | plan["files"].keys()):
        before, now = there["files"].get(path), plan["files"].get(path)
        if before != now:
            received = f"{path}, too" if before is None else f"no {path}" if now is None else f"other clips in {path}"
            problem = problem or f"about {len(there['files'])} files, received {received}"
    if problem is not None:
        raise FileExistsError(f"{base}: expected to go on with the answers there, {problem}: take another folder")


def _write_json(path: pathlib.Path, value: Any) -> None:
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)
