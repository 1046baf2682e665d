"""Reads the records of runs, `WORKDIR/runs/TIME/run.json` and `config.yaml`, without TFX.

for run in read_runs("work"):
    run.name, run.record["verdict"], run.config["train.steps"]
find_run("work", "latest")
"""

import contextlib
import dataclasses
import datetime
import difflib
import json
import os
import pathlib
from typing import Any

import yaml

from framecast.evaluation.report.evidence import flatten
from framecast.pipeline.config.config import ConfigError

LATEST = "latest"

_UTC = datetime.timezone.utc
_TICK = datetime.timedelta(microseconds=1)
_NAME = "%Y%m%d-%H%M%S-%fZ"
_LOCAL_NAME = "%Y%m%d-%H%M%S-%f"  # Of earlier versions.

# Verdicts of earlier versions.
_RENAMED_VERDICTS = {"lost": "rejected"}


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The record of a run that has started.

    Args:
        name: Name of its folder: its start in UTC.
        folder: Folder of its record, configuration, log and report.
        record: Content of `run.json`; empty if the run was killed or still runs.
        config: The resolved configuration, keys joined by dots.
    """

    name: str
    folder: pathlib.Path
    record: dict[str, Any]
    config: dict[str, Any]


def read_runs(workdir: str) -> list[RunRecord]:
    """Reads the records of all runs, newest first.

    Raises:
        ConfigError: If there is no run.
    """
    return [read(folder) for folder in _existing_folders(workdir)]


def find_run(workdir: str, name: str) -> RunRecord:
    """Reads the record of one run.

    Args:
        workdir: The work directory of `framecast run`.
        name: Name of the run, the beginning of exactly one name, or `latest`.

    Raises:
        ConfigError: If there is no such run (the message suggests the closest name) or the name is ambiguous.
    """
    found = {folder.name: folder for folder in _existing_folders(workdir)}
    if name == LATEST:
        return read(next(iter(found.values())))
    if name in found:
        return read(found[name])
    begin = [own for own in found if own.startswith(name)]
    if len(begin) == 1:
        return read(found[begin[0]])
    if begin:
        raise ConfigError(f"run name '{name}' is ambiguous: {', '.join(begin)}")
    close = difflib.get_close_matches(name, found, n=1)
    known = f"did you mean {close[0]}?" if close else f"runs: {', '.join(found)}"
    raise ConfigError(f"run: expected {LATEST} or a run of {workdir}, received {name}; {known}")


def _existing_folders(workdir: str) -> list[pathlib.Path]:
    found = folders(workdir)
    if not found:
        raise ConfigError(f"--workdir: expected a work directory of framecast run, found no run in {workdir}/runs")
    return found


def folders(workdir: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the folders of the runs, newest first."""
    return sorted((path for path in _runs(workdir).glob("*") if path.is_dir()), key=_order, reverse=True)


def make_folder(workdir: str | os.PathLike, now: datetime.datetime) -> pathlib.Path:
    """Makes the folder of a new run, named by its start in UTC, such as `20261124-090000-000000Z`.

    If the newest run started later, because the clock was set back, the name is the time after that run's.

    Args:
        workdir: The work directory, locked by the caller.
        now: The current time, with its time zone.
    """
    start = max([now.astimezone(_UTC), *(_start(path) + _TICK for path in folders(workdir)[:1])])
    folder = _runs(workdir) / start.strftime(_NAME)
    folder.mkdir(parents=True)
    return folder


def _runs(workdir: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(workdir) / "runs"


def _order(folder: pathlib.Path) -> tuple[datetime.datetime, str]:
    return _start(folder), folder.name


def _start(folder: pathlib.Path) -> datetime.datetime:
    """Returns the start of a run in UTC, to order runs by.

    Earlier versions named runs by local time, so that the record, which has the zone, decides. A run without a record
    was killed or still runs: its name is taken for this machine's local time.
    """
    with contextlib.suppress(ValueError):
        return datetime.datetime.strptime(folder.name, _NAME).replace(tzinfo=_UTC)
    try:
        named = datetime.datetime.strptime(folder.name, _LOCAL_NAME)
    except ValueError:  # Not named by Framecast.
        return datetime.datetime.min.replace(tzinfo=_UTC)
    if not (recorded := _read_record(folder).get("time")):
        return named.astimezone(_UTC)
    return datetime.datetime.fromisoformat(recorded).replace(microsecond=named.microsecond).astimezone(_UTC)


def is_finished(run: RunRecord) -> bool:
    """Returns whether the run reached the Pusher's decision: it did not fail, was not killed and did not stop early."""
    reached = any(part["name"] == "Pusher" for part in run.record.get("components", ()))
    return reached and run.record["verdict"] in ("pushed", "unchanged", "rejected")


def newest_span(run: RunRecord) -> int | None:
    """Returns the number of the newest span whose clips a run used; None without spans."""
    return max(run.record.get("spans") or [None])


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
    """Reads `run.json` in a run's folder; empty if the run was killed or still runs."""
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read(folder: pathlib.Path) -> RunRecord:
    """Reads the record in a run's folder."""
    config = folder / "config.yaml"
    record = _read_record(folder)
    if record.get("verdict") in _RENAMED_VERDICTS:
        record["verdict"] = _RENAMED_VERDICTS[record["verdict"]]
    return RunRecord(
        folder.name, folder, record, flatten(yaml.safe_load(config.read_text())) if config.exists() else {}
    )
