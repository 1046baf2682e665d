"""Releases pushed versions: publish, promote and roll back, by labels and visible folders.

    promote("serving/radar", None, servers)  # The canary becomes stable.
    rollback("serving/radar", servers)  # The version that was stable before becomes stable.

TensorFlow Serving loads the newest `LOADED_VERSIONS` folders with a numeric name. Other versions above the target are
withdrawn (`N` becomes `.N.withdrawn`), so that these are stable and its predecessor, or stable and canary.

Each change is first written to `pending.json` and then made of renames. Servers have what they need after each rename,
and the next command finishes a change that was killed.
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

from framecast.clips.files import write_whole
from framecast.serving import versions
from framecast.serving.releases import tf_serving_config
from framecast.serving.releases.version_folder import (
    CANARY,
    LOG,
    STABLE,
    ReleaseError,
    VersionFolder,
    check_local,
    config_path,
    read_release_log,
    version_path,
)

_PENDING, _LOCK = "pending.json", ".lock"

Say = Callable[[str], None]


class ServerSync(Protocol):
    """Waits for running servers during a release; see `framecast.serving.releases.server_sync`.

    Every method raises `ReleaseError` if a server fails or takes too long.
    """

    def wait_loaded(self, version: int) -> None:
        """Waits until every server with labels has loaded `version` in addition to the stable version."""

    def wait_relabelled(self, version: int, leaving: bool) -> None:
        """Waits until every server with labels answers `stable` with `version`.

        Args:
            version: Version number.
            leaving: Whether the previous stable version is withdrawn next.
        """

    def wait_unloaded(self, version: int, withdrawn: Sequence[int]) -> None:
        """Waits until every server has loaded `version` and unloaded the withdrawn versions.

        Without this wait, a version that is restored next could look loaded while a server is about to unload it.
        """


class FixedWait:
    """Waits for servers with unknown addresses: as long as they take to read their labels again.

    Args:
        say: Called with a message before a wait.
    """

    def __init__(self, say: Say):
        self._say = say

    def wait_loaded(self, version: int) -> None:
        """Returns immediately, because a server moves a label only to a version that it has loaded."""

    def wait_relabelled(self, version: int, leaving: bool) -> None:  # noqa: ARG002 - the protocol's argument
        """Sleeps for one poll of the labels if the previous stable version is withdrawn next."""
        if not leaving:
            return
        seconds = tf_serving_config.LABELS_POLL_SECONDS
        self._say(f"waiting {seconds} s for servers to read the labels again; --address asks the servers instead")
        time.sleep(seconds)

    def wait_unloaded(self, version: int, withdrawn: Sequence[int]) -> None:
        """Returns immediately, because a server unloads a version only after it has loaded the replacement."""


@dataclasses.dataclass(frozen=True)
class PushRecord:
    """Facts that the release log keeps about a push.

    Args:
        digest: Digest of the model's files (`versions.digest`).
        by: Run that pushes the model.
        label: `stable` or `canary`. The first version is always stable.
        figures: Main metrics over the eval split.
    """

    digest: str
    by: str
    label: str = STABLE
    figures: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def exclusive(base: str) -> Iterator[None]:
    """Locks a folder of versions; waits while another push or release holds the lock.

    The kernel releases the lock when the process ends, also after a kill.

    Raises:
        ReleaseError: If `base` is not a local folder.
    """
    check_local(base)
    os.makedirs(os.path.join(base, tf_serving_config.FOLDER), exist_ok=True)
    with open(config_path(base, _LOCK), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finish(base: str, servers: ServerSync) -> dict[str, Any] | None:
    """Finishes a killed change and returns its log entry; None if there is none. Call within `exclusive`."""
    path = config_path(base, _PENDING)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return _carry_out(base, json.load(file), servers)


def publish(base: str, version: int, push: PushRecord) -> dict[str, Any]:
    """Makes the complete version in `.VERSION.incomplete` visible to servers. Call within `exclusive`.

    A model that was withdrawn before always becomes a canary, because a run must not undo a user's rollback.

    Returns:
        The log entry; see `read_release_log`.
    """
    folder, label, note = VersionFolder(base), push.label, ""
    if (twin := _withdrawn_twin(folder, push.digest)) is not None:
        label, note = CANARY, f"the same model as version {twin}, which was withdrawn"
    details = {"digest": push.digest, "figures": dict(push.figures), "note": note}
    return _begin(folder, "push", version, label, push.by, FixedWait(lambda _: None), details)


def refresh(base: str) -> None:
    """Rewrites the configuration files with the current labels. Call within `exclusive`."""
    _write_files(base, VersionFolder(base).labels())


def promote(base: str, version: int | None, servers: ServerSync) -> dict[str, Any]:
    """Makes a version stable and withdraws the versions above it.

    Args:
        base: Folder of the versions.
        version: Version number, also of a withdrawn version; None for the canary.
        servers: Waits for the servers of this folder.

    Returns:
        The log entry; see `read_release_log`.

    Raises:
        ReleaseError: If there is no such version, it is incomplete, or a server could not load it. Nothing is changed
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
            raise ReleaseError(f"{base}: expected a canary to promote, found none; give the version to promote")
        folder.check_complete(version)
        if labels == {STABLE: version} and folder.visible[-1] == version:
            raise ReleaseError(f"{base}: version {version} is already stable, with no version above it")
        return _begin(folder, "promote", version, STABLE, _user(), servers)


def rollback(base: str, servers: ServerSync) -> dict[str, Any]:
    """Makes the previous stable version stable again and withdraws the versions above it.

    Args:
        base: Folder of the versions.
        servers: Waits for the servers of this folder.

    Returns:
        The log entry; see `read_release_log`.

    Raises:
        ReleaseError: If there is none, it is incomplete, or a server could not load it. Nothing is changed then.
    """
    with exclusive(base):
        done = finish(base, servers)
        if done is not None and done["action"] == "rollback":
            return done
        folder = VersionFolder(base)
        version = folder.rollback_target()
        folder.check_complete(version)
        return _begin(folder, "rollback", version, STABLE, _user(), servers)


def hide(base: str, number: int) -> str:
    """Marks a version as incomplete, so that the next push removes it; returns its new folder.

    Call within `exclusive`, for a version that no server loads.
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
    """Writes the change to `pending.json` and carries it out."""
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
    """Carries out a pending change from the step that it has reached."""
    folder, target, before = VersionFolder(base), intent["version"], intent["before"]
    stable = before["labels"].get(STABLE, target)
    labels = {STABLE: target} if intent["label"] == STABLE or stable == target else {STABLE: stable, CANARY: target}
    try:
        if folder.written_labels() != labels or target in folder.hidden:
            _make_loadable(folder, target, stable, before, servers)
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
    entry = {
        "time": intent["time"],
        "action": intent["action"],
        "version": target,
        "labels": labels,
        "withdrawn": withdrawn,
        "by": intent["by"],
        **intent["details"],
    }
    _append(base, entry)
    _write_files(base, labels)  # The loaded versions have changed, which may allow or forbid batching.
    os.remove(config_path(base, _PENDING))
    return entry


def _make_loadable(
    folder: VersionFolder, target: int, stable: int, before: dict[str, Any], servers: ServerSync
) -> None:
    """Makes stable and target the two newest versions, so that servers load both before a label moves."""
    between = [number for number in folder.visible if number > min(stable, target) and number not in (stable, target)]
    labels = {label: number for label, number in before["labels"].items() if number not in between}
    if labels != before["labels"]:
        _write_files(folder.base, labels)
    for number in reversed(between):
        folder.withdraw(number)
    if target in folder.hidden:
        folder.restore(target)
    servers.wait_loaded(target)


def _undo(folder: VersionFolder, target: int, before: dict[str, Any]) -> None:
    """Restores the labels and folders from before the change."""
    if target in folder.visible and target not in before["visible"]:
        folder.withdraw(target)
    for number in before["visible"]:
        if number in folder.hidden:
            folder.restore(number)
    _write_files(folder.base, before["labels"])
    os.remove(config_path(folder.base, _PENDING))


def _withdrawn_twin(folder: VersionFolder, digest: str) -> int | None:
    """Returns the newest withdrawn version that was pushed with this digest; None if there is none."""
    log = read_release_log(folder.base)
    twins = [entry["version"] for entry in log if entry["action"] == "push" and entry["digest"] == digest]
    return max((version for version in twins if version in folder.hidden), default=None)


def _write_files(base: str, labels: Mapping[str, int]) -> None:
    """Writes TensorFlow Serving's configuration files, the labels last."""
    folder = VersionFolder(base)
    cards = [versions.read_card(folder.path(number)) for number in folder.served] or [{}]
    # Batching must be right for all loaded versions.
    card = next((card for card in cards if tf_serving_config.why_no_batching(card)), cards[-1])
    files = tf_serving_config.texts(labels, card, importlib.metadata.version("tensorflow"))
    for name in sorted(files, key=lambda name: name == tf_serving_config.MODELS):
        path, text = config_path(base, name), files[name]
        if text is not None:
            write_whole(path, text)
        elif os.path.exists(path):
            os.remove(path)


def _append(base: str, entry: dict[str, Any]) -> None:
    log = read_release_log(base)
    if log and log[-1]["time"] == entry["time"]:  # The killed process had already logged it.
        return
    write_whole(config_path(base, LOG), "".join(json.dumps(logged) + "\n" for logged in [*log, entry]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user often has no name.
        return f"user {os.getuid()}"
