"""Removes old runs, their artifacts and checkpoints, and old model versions: `framecast runs gc`.

with exclusive(workdir, "run"):
    plan = make_plan(workdir, keep=7, versions=5)
    remove(workdir, plan)

An artifact is kept if a kept run made or used it, according to ML Metadata. Removed artifacts are marked there as
deleted; TFX's cache checks that artifacts exist, so a component whose artifact is gone runs again.
"""

import collections
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from framecast.models.training import checkpoint_users
from framecast.pipeline.config.config import ConfigError
from framecast.pipeline.runs import records
from framecast.pipeline.runs.lineage import read_lineage
from framecast.serving.releases import retention, version_folder

_DATABASE = "metadata.sqlite"
_TRASH = ".trash"  # Removed folders are renamed to here, then deleted, so that none is ever half deleted.


@dataclasses.dataclass(frozen=True)
class Item:
    """A folder to remove.

    Args:
        kind: `run`, `artifact`, `checkpoints` or `version`.
        path: The folder.
        bytes: Size of the files in the folder.
    """

    kind: str
    path: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The folders to keep and to remove.

    Args:
        kept: The reason to keep each kept run, by run name, newest first.
        items: The folders to remove.
        directories: Folders of versions in which old versions are removed.
        versions: Minimum number of versions to keep in each.
    """

    kept: dict[str, str]
    items: list[Item]
    directories: list[str]
    versions: int | None

    @property
    def bytes(self) -> int:
        """Size of everything to remove."""
        return sum(item.bytes for item in self.items)


def make_plan(workdir: pathlib.Path, keep: int, versions: int | None = None) -> Plan:
    """Lists the folders to keep and to remove. Changes nothing.

    Kept are the newest runs, the run that ended with the newest span of each `data.train` (`--span latest` needs its
    record), and the runs that pushed the versions now labelled stable or canary.

    Args:
        workdir: The work directory, locked by the caller.
        keep: Number of newest runs to keep.
        versions: Number of newest versions to keep in each `push.directory` of the runs, in addition to the serving
            versions and those that a rollback needs; None keeps all.

    Raises:
        ConfigError: If `workdir` is not a work directory.
        ReleaseError: If `versions` is given and a `push.directory` is not a local folder.
    """
    runs = records.read_runs(str(workdir))
    database = workdir / _DATABASE
    if not database.exists():
        raise ConfigError(f"{workdir}: expected a work directory of framecast run, found no {_DATABASE} in it")
    pushed_to = sorted({run.config["push.directory"] for run in runs if "push.directory" in run.config})
    kept = _kept_runs(runs, keep, pushed_to)
    executions, artifacts = _needed(_open(database, read_only=True), kept)
    items = [_item("run", run.folder) for run in runs if run.name not in kept]
    items += [_item("artifact", path) for path in _artifacts(workdir) if _key(path) not in artifacts]
    items += [_item("artifact", path) for path in _working_folders(workdir) if path.name not in executions]
    items += [_item("checkpoints", path) for path in _checkpoints(workdir) if _unused(path, executions)]
    directories = pushed_to if versions is not None else []
    items += [
        Item("version", version_folder.version_path(directory, version.number), version.bytes)
        for directory in directories
        for version in retention.removable(directory, versions or 0)
    ]
    return Plan(kept, items, directories, versions)


def remove(workdir: pathlib.Path, plan: Plan) -> None:
    """Removes the items of a plan. After a kill, a new plan removes the rest.

    Args:
        workdir: The work directory, locked since the plan was made.
        plan: The plan.
    """
    trash = workdir / _TRASH
    shutil.rmtree(trash, ignore_errors=True)  # Left by a killed process.
    trash.mkdir()
    for directory in plan.directories:
        retention.remove(directory, plan.versions or 0)
    for number, item in enumerate(plan.items):
        if item.kind != "version":
            os.rename(item.path, trash / str(number))
    _mark_deleted(workdir, _open(workdir / _DATABASE, read_only=False))
    shutil.rmtree(trash)


def _kept_runs(runs: Sequence[records.RunRecord], keep: int, pushed_to: Iterable[str]) -> dict[str, str]:
    """Returns the reasons to keep each kept run, by run name."""
    reasons: dict[str, list[str]] = collections.defaultdict(list)
    for run in runs[:keep]:
        reasons[run.name].append(f"one of the newest {keep}")
    newest: dict[str, records.RunRecord] = {}
    for run in runs:
        train = run.config.get("data.train", "")
        if records.is_finished(run) and (train not in newest or _span(run) > _span(newest[train])):
            newest[train] = run
    for train, run in newest.items():
        why = "the newest that ended" if _span(run) < 0 else f"ended with span {_span(run)}, the newest"
        reasons[run.name].append(f"{why} of {train}")
    for directory in pushed_to:
        if "://" in directory or not version_folder.has_versions(directory):
            continue
        for version in version_folder.read_versions(directory):
            if version.labels and version.by:
                why = f"pushed version {version.number}, which is {' and '.join(version.labels)}"
                reasons[version.by.removeprefix("run ")].append(why)
    return {run.name: "; ".join(reasons[run.name]) for run in runs if run.name in reasons}


def _span(run: records.RunRecord) -> int:
    span = records.newest_span(run)
    return -1 if span is None else span


def _open(database: pathlib.Path, read_only: bool) -> metadata_store.MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(database)
    modes = metadata_store_pb2.SqliteMetadataSourceConfig
    connection.sqlite.connection_mode = modes.READONLY if read_only else modes.READWRITE
    return metadata_store.MetadataStore(connection)


def _needed(store: metadata_store.MetadataStore, runs: Iterable[str]) -> tuple[set[str], set[tuple[str, ...]]]:
    """Returns the executions of the runs and the makers of their inputs, and the keys of their artifacts."""
    executions, artifacts = set(), set()
    for run in runs:
        for execution in read_lineage(store, run):
            executions.add(str(execution.id))
            for artifact in (*execution.inputs, *execution.outputs):
                executions.add(str(artifact.execution))
                artifacts.add(_key(pathlib.PurePath(artifact.uri)))
    return executions, artifacts


def _key(path: pathlib.PurePath) -> tuple[str, ...]:
    """Returns component, output and execution of an artifact: its key, even after the work directory has moved."""
    return path.parts[-3:]


def _artifacts(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in sorted((workdir / "artifacts").glob("*/*/*")):
        if path.is_dir() and path.parent.name != ".system":
            yield path


def _working_folders(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the temporary folders of executions; most are empty, unless the execution was killed."""
    yield from sorted((workdir / "artifacts").glob("*/.system/executor_execution/*"))


def _checkpoints(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    yield from (path for path in sorted((workdir / "state").glob("*")) if path.is_dir())


def _unused(checkpoints: pathlib.Path, executions: set[str]) -> bool:
    """Returns whether the users of the checkpoints are known and none of them is among the executions."""
    users = [os.path.basename(user) for user in checkpoint_users.read(str(checkpoints))]
    return bool(users) and all(user.isdigit() for user in users) and executions.isdisjoint(users)


def _mark_deleted(workdir: pathlib.Path, store: metadata_store.MetadataStore) -> None:
    """Marks every artifact whose folder is gone as deleted."""
    gone = []
    for artifact in store.get_artifacts():
        folder = workdir.joinpath("artifacts", *_key(pathlib.PurePath(artifact.uri)))
        if artifact.state != metadata_store_pb2.Artifact.DELETED and not folder.exists():
            artifact.state = metadata_store_pb2.Artifact.DELETED
            gone.append(artifact)
    if gone:
        store.put_artifacts(gone)


def _item(kind: str, path: pathlib.Path) -> Item:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Item(kind, str(path), size)
