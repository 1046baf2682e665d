"""Which pushed version is released: the labels `stable` and `canary`, and the folders that servers see.

    promote("serving/radar")  # The canary becomes stable.
    rollback("serving/radar")  # Stable is the version that was stable before.

TensorFlow Serving loads the newest `LOADED_VERSIONS` folders that are named by a number. So that these are always
stable and the one before it, or stable and canary, what is above and neither is withdrawn: `N` becomes `.N.withdrawn`.

Every change is written down first, in `pending.json`, and made of renames, after each of which there is all that
servers need. One that was killed is finished by the next, whichever that is.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import getpass
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from framecast.serving import versions
from framecast.serving.releases import tf_serving_config
from framecast.serving.releases.version_folder import (
    CANARY,
    RECORD,
    STABLE,
    ReleaseError,
    VersionFolder,
    check_local,
    config_path,
    read_release_log,
    version_path,
    write_whole,
)

_PENDING, _LOCK = "pending.json", ".lock"

Say = Callable[[str], None]


class ServerSync(Protocol):
    """The running servers that a change waits for; see `framecast.serving.releases.server_sync`.

    Every method raises `ReleaseError` when a server fails or takes too long.
    """

    def wait_loaded(self, version: int) -> None:
        """Returns when every server that knows labels has loaded a version beside the one that is stable."""

    def wait_relabelled(self, version: int, leaving: bool) -> None:
        """Returns when every server that knows labels answers `stable` with a version.

        Args:
            version: Its number.
            leaving: Whether the one that was stable is withdrawn next.
        """

    def wait_unloaded(self, version: int, withdrawn: Sequence[int]) -> None:
        """Returns when every server has loaded a version and has unloaded those that were withdrawn.

        Else a version that is brought back at once would look loaded while a server is about to unload it.
        """


class FixedWait:
    """Servers whose addresses are not known: they are given the time in which they read their configuration again.

    Args:
        say: Called with what is waited for.
    """

    def __init__(self, say: Say):
        self._say = say

    def wait_loaded(self, version: int) -> None:
        """Returns at once: a server moves no label to a version before it has loaded it."""

    def wait_relabelled(self, version: int, leaving: bool) -> None:  # noqa: ARG002 - they are not asked
        """Waits for one poll of the labels where requests would else ask for a version that is gone."""
        if not leaving:
            return
        seconds = tf_serving_config.LABELS_POLL_SECONDS
        self._say(f"waiting {seconds} s, in which servers read the labels again; with --address they are asked instead")
        time.sleep(seconds)

    def wait_unloaded(self, version: int, withdrawn: Sequence[int]) -> None:
        """Returns at once: a server unloads nothing before it has loaded what comes in its place."""


@dataclasses.dataclass(frozen=True)
class PushRecord:
    """What is recorded of a pushed version.

    Args:
        digest: Of its files (`versions.digest`).
        by: The run that pushes it.
        label: `stable` or `canary`: what it is called. The first version is stable whatever this says.
        figures: The main metrics over the eval split.
    """

    digest: str
    by: str
    label: str = STABLE
    figures: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def exclusive(base: str) -> Iterator[None]:
    """Holds a folder of versions against other pushes and releases, and waits for one that is under way.

    The kernel lets go of it however this process ends.

    Raises:
        ReleaseError: When `base` is no local folder.
    """
    check_local(base)
    os.makedirs(os.path.join(base, tf_serving_config.FOLDER), exist_ok=True)
    with open(config_path(base, _LOCK), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finish(base: str, servers: ServerSync) -> dict[str, Any] | None:
    """Finishes what was killed, and returns its record; None when nothing was. To be called within `exclusive`."""
    path = config_path(base, _PENDING)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return _carry_out(base, json.load(file), servers)


def publish(base: str, version: int, push: PushRecord) -> dict[str, Any]:
    """Lets servers see a version that lies whole in `.VERSION.incomplete`; to be called within `exclusive`.

    A model that was withdrawn is a canary whatever `push` says: somebody took it back, and no run may undo that.

    Returns:
        The record; see `read_release_log`.
    """
    folder, label, note = VersionFolder(base), push.label, ""
    if (twin := _withdrawn_twin(folder, push.digest)) is not None:
        label, note = CANARY, f"the same model as version {twin}, which was withdrawn"
    details = {"digest": push.digest, "figures": dict(push.figures), "note": note}
    return _begin(folder, "push", version, label, push.by, FixedWait(lambda _: None), details)


def refresh(base: str) -> None:
    """Writes the configuration files anew, with the labels as they are; to be called within `exclusive`."""
    _write_files(base, VersionFolder(base).labels())


def promote(base: str, version: int | None, servers: ServerSync) -> dict[str, Any]:
    """Makes a version stable, the canary unless another is named; withdraws those above it.

    Args:
        base: Folder of the versions.
        version: Its number, also that of a withdrawn one.
        servers: Who serves it.

    Returns:
        The record; see `read_release_log`.

    Raises:
        ReleaseError: When there is no such version, it is not whole, or a server could not load it; nothing has changed
            then.
    """
    with exclusive(base):
        done = finish(base, servers)
        if done is not None and done["action"] == "promote" and version in (None, done["version"]):
            return done
        folder = VersionFolder(base)
        labels = folder.labels()
        version = labels.get(CANARY) if version is None else version
        if version is None:
            raise ReleaseError(f"{base}: expected a canary to promote, found none; any version can be named")
        folder.check_whole(version)
        if labels == {STABLE: version} and folder.visible[-1] == version:
            raise ReleaseError(f"{base}: version {version} is stable already, and none is above it")
        return _begin(folder, "promote", version, STABLE, _user(), servers)


def rollback(base: str, servers: ServerSync) -> dict[str, Any]:
    """Makes the version stable that was so before; withdraws those above it.

    Args:
        base: Folder of the versions.
        servers: Who serves it.

    Returns:
        The record; see `read_release_log`.

    Raises:
        ReleaseError: When there is none, it is not whole, or a server could not load it; nothing has changed then.
    """
    with exclusive(base):
        done = finish(base, servers)
        if done is not None and done["action"] == "rollback":
            return done
        folder = VersionFolder(base)
        version = folder.stable_before()
        folder.check_whole(version)
        return _begin(folder, "rollback", version, STABLE, _user(), servers)


def hide(base: str, number: int) -> str:
    """Makes a version one that was never whole, which the next push removes; returns where its files are.

    To be called within `exclusive`, of a version that no server loads.
    """
    hidden = os.path.join(base, f".{number}.incomplete")
    os.rename(version_path(base, number), hidden)
    return hidden


def _begin(
    folder: VersionFolder,
    action: str,
    version: int,
    label: str,
    by: str,
    servers: ServerSync,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes down what is to be done, and does it."""
    intent = {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="microseconds"),
        "action": action,
        "version": version,
        "label": label,
        "by": by,
        "details": dict(details or {}),
        "before": {"visible": folder.visible, "labels": folder.labels()},
    }
    write_whole(config_path(folder.base, _PENDING), json.dumps(intent))
    return _carry_out(folder.base, intent, servers)


def _carry_out(base: str, intent: dict[str, Any], servers: ServerSync) -> dict[str, Any]:
    """Does what was written down, or what is left of it."""
    folder, target, before = VersionFolder(base), intent["version"], intent["before"]
    stable = before["labels"].get(STABLE, target)
    labels = {STABLE: target} if intent["label"] == STABLE or stable == target else {STABLE: stable, CANARY: target}
    try:
        if folder.written_labels() != labels or target in folder.hidden:
            _load(folder, target, stable, before, servers)
            _write_files(base, labels)
        above = [number for number in folder.visible if number > target]
        servers.wait_relabelled(labels[STABLE], leaving=stable in above)
        for number in reversed(above):
            folder.withdraw(number)
        withdrawn = [number for number in before["visible"] if number in folder.hidden]
        servers.wait_unloaded(target, withdrawn)
    except ReleaseError:
        _undo(folder, target, before)
        raise
    record = {
        "time": intent["time"],
        "action": intent["action"],
        "version": target,
        "labels": labels,
        "withdrawn": withdrawn,
        "by": intent["by"],
        **intent["details"],
    }
    _append(base, record)
    _write_files(base, labels)  # Which versions are loaded has changed, and with it may whether batches are right.
    os.remove(config_path(base, _PENDING))
    return record


def _load(folder: VersionFolder, target: int, stable: int, before: dict[str, Any], servers: ServerSync) -> None:
    """Makes stable and target the newest two, so that servers load both before a label moves."""
    between = [number for number in folder.visible if number > min(stable, target) and number not in (stable, target)]
    labels = {label: number for label, number in before["labels"].items() if number not in between}
    if labels != before["labels"]:
        _write_files(folder.base, labels)
    for number in reversed(between):
        folder.withdraw(number)
    if target in folder.hidden:
        folder.bring(target)
    servers.wait_loaded(target)


def _undo(folder: VersionFolder, target: int, before: dict[str, Any]) -> None:
    """Puts labels and folders back as they were."""
    if target in folder.visible and target not in before["visible"]:
        folder.withdraw(target)
    for number in before["visible"]:
        if number in folder.hidden:
            folder.bring(number)
    _write_files(folder.base, before["labels"])
    os.remove(config_path(folder.base, _PENDING))


def _withdrawn_twin(folder: VersionFolder, digest: str) -> int | None:
    """Returns the newest withdrawn version that was pushed with this digest; None when there is none."""
    record = read_release_log(folder.base)
    twins = [push["version"] for push in record if push["action"] == "push" and push["digest"] == digest]
    return max((version for version in twins if version in folder.hidden), default=None)


def _write_files(base: str, labels: Mapping[str, int]) -> None:
    """Writes what TensorFlow Serving is started with, the labels last."""
    folder = VersionFolder(base)
    cards = [versions.read_card(folder.path(number)) for number in folder.served] or [{}]
    # Requests are joined only where that is right for every version that is loaded.
    card = next((card for card in cards if tf_serving_config.why_no_batching(card)), cards[-1])
    files = tf_serving_config.texts(labels, card, importlib.metadata.version("tensorflow"))
    for name in sorted(files, key=lambda name: name == tf_serving_config.MODELS):
        path, text = config_path(base, name), files[name]
        if text is not None:
            write_whole(path, text)
        elif os.path.exists(path):
            os.remove(path)


def _append(base: str, record: dict[str, Any]) -> None:
    entries = read_release_log(base)
    if entries and entries[-1]["time"] == record["time"]:  # Of a killed process that came as far as this.
        return
    write_whole(config_path(base, RECORD), "".join(json.dumps(entry) + "\n" for entry in [*entries, record]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user often has no name.
        return f"user {os.getuid()}"
