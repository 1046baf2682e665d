"""The record of runs: what `WORKDIR/runs/TIME/run.json` and `config.yaml` say, read without TFX.

for run in read_runs("work"):
run.name, run.record["verdict"], run.config["train.steps"]
find_run("work", "latest")
"""

import dataclasses
import difflib
import json
import os
import pathlib
from typing import Any

import yaml

from framecast.evaluation.report.evidence import flatten
from framecast.pipeline.config.config import ConfigError

LATEST = "latest"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run that has begun.

    Args:
        name: Its folder's, the time at which it began.
        folder: Where its record, configuration, log and report lie.
        record: What `run.json` holds; empty where there is none: the run was killed, or is not over.
        config: The resolved configuration, keys joined by dots.
    """

    name: str
    folder: pathlib.Path
    record: dict[str, Any]
    config: dict[str, Any]


def read_runs(workdir: str) -> list[RunRecord]:
    """Reads every run, the newest first.

    Raises:
        ConfigError: When there is none.
    """
    return [read(folder) for folder in _some_folders(workdir)]


def find_run(workdir: str, name: str) -> RunRecord:
    """Reads one run.

    Args:
        workdir: The work directory of `framecast run`.
        name: Its name, the beginning of one where no other begins so, or `latest`.

    Raises:
        ConfigError: Naming the closest when there is no such run.
    """
    found = {folder.name: folder for folder in _some_folders(workdir)}
    if name == LATEST:
        return read(next(iter(found.values())))
    if name in found:
        return read(found[name])
    begin = [own for own in found if own.startswith(name)]
    if len(begin) == 1:
        return read(found[begin[0]])
    if begin:
        raise ConfigError(f"run: expected one run, received {name}, with which {', '.join(begin)} begin")
    close = difflib.get_close_matches(name, found, n=1)
    known = f"did you mean {close[0]}?" if close else f"there are {', '.join(found)}"
    raise ConfigError(f"run: expected {LATEST} or a run of {workdir}, received {name}; {known}")


def _some_folders(workdir: str) -> list[pathlib.Path]:
    found = folders(workdir)
    if not found:
        raise ConfigError(f"--workdir: expected a work directory of framecast run, found no run in {workdir}/runs")
    return found


def folders(workdir: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the runs' folders, the newest first: their names are times."""
    return sorted((path for path in (pathlib.Path(workdir) / "runs").glob("*") if path.is_dir()), reverse=True)


def ended(run: RunRecord) -> bool:
    """Tells whether the Pusher decided, whatever it decided: not so when a run failed, was killed or stopped early."""
    decided = any(part["name"] == "Pusher" for part in run.record.get("components", ()))
    return decided and run.record["verdict"] in ("pushed", "unchanged", "lost")


def newest_span(run: RunRecord) -> int | None:
    """Returns the number of the newest span whose clips a run used; None when it knew none."""
    return max(run.record.get("spans") or [None])


def read(folder: pathlib.Path) -> RunRecord:
    """Reads the run of a folder."""
    record, config = folder / "run.json", folder / "config.yaml"
    return RunRecord(
        folder.name,
        folder,
        json.loads(record.read_text()) if record.exists() else {},
        flatten(yaml.safe_load(config.read_text())) if config.exists() else {},
    )
