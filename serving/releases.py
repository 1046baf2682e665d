"""Which pushed version is released: the labels `stable` and `canary`, and the folders that servers see.

    promote("serving/radar")  # The canary becomes stable.
    rollback("serving/radar")  # Stable is the version that was stable before.
    for version in read_versions("serving/radar"): ...

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
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from framecast.serving import tf_serving_config, versions

STABLE, CANARY = "stable", "canary"
RECORD = "releases.jsonl"
_PENDING, _LOCK = "pending.json", ".lock"
_HIDDEN = re.compile(r"\.(\d+)\.(withdrawn|incomplete)")

Say = Callable[[str], None]


class ReleaseError(ValueError):
    """A release is refused, or a server did not take it; the message names folder, version, or address."""


class Servers(Protocol):
    """The running servers that a change waits for; see `framecast.serving.model_servers`.

    Every method raises `ReleaseError` when a server fails or takes too long.
    """

    def loaded(self, version: int) -> None:
        """Returns when every server that knows labels has loaded a version beside the one that is stable."""

    def relabelled(self, version: int, leaving: bool) -> None:
        """Returns when every server that knows labels answers `stable` with a version.

        Args:
            version: Its number.
            leaving: Whether the one that was stable is withdrawn next.
        """

    def settled(self, version: int, withdrawn: Sequence[int]) -> None:
        """Returns when every server has loaded a version and has unloaded those that were withdrawn.

        Else a version that is brought back at once would look loaded while a server is about to unload it.
        """


class Unasked:
    """Servers whose addresses are not known: they are given the time in which they read their configuration again.

    Args:
        say: Called with what is waited for.
    """

    def __init__(self, say: Say):
        self._say = say

    def loaded(self, version: int) -> None:
        """Returns at once: a server moves no label to a version before it has loaded it."""

    def relabelled(self, version: int, leaving: bool) -> None:  # noqa: ARG002 - they are not asked
        """Waits for one poll of the labels where requests would else ask for a version that is gone."""
        if not leaving:
            return
        seconds = tf_serving_config.LABELS_POLL_SECONDS
        self._say(f"waiting {seconds} s, in which servers read the labels again; with --address they are asked instead")
        time.sleep(seconds)

    def settled(self, version: int, withdrawn: Sequence[int]) -> None:
        """Returns at once: a server unloads nothing before it has loaded what comes in its place."""


@dataclasses.dataclass(frozen=True)
class Version:
    """A pushed version.

    Args:
        number: Its number.
        state: `served`: one of the newest, which servers load; `kept`: an older one; `withdrawn`; or `incomplete`, with
            no whole model in its folder.
        labels: What it is called.
        pushed: When, ISO 8601 with the zone; its folder's time when there is no record of it.
        by: The run that pushed it; None when there is no record of it.
        figures: The main metrics over the eval split, all lead times together.
        bytes: Size of its files.
    """

    number: int
    state: str
    labels: tuple[str, ...]
    pushed: str
    by: str | None
    figures: dict[str, float | None]
    bytes: int


@dataclasses.dataclass(frozen=True)
class Push:
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


def read_versions(base: str) -> list[Version]:
    """Reads every version under `base`, the newest first.

    Raises:
        ReleaseError: When `base` is no local folder, or has no version.
    """
    _check_local(base)
    folder = _Folder(base)
    pushes = {record["version"]: record for record in read_record(base) if record["action"] == "push"}
    labels = folder.labels()
    served = folder.visible[-tf_serving_config.LOADED_VERSIONS :]
    found = []
    for number in sorted({*folder.visible, *folder.hidden}, reverse=True):
        path = folder.path(number)
        if not versions.is_model(path) or path.endswith(".incomplete"):
            state = "incomplete"
        elif number in folder.hidden:
            state = "withdrawn"
        else:
            state = "served" if number in served else "kept"
        push = pushes.get(number, {})
        found.append(
            Version(
                number=number,
                state=state,
                labels=tuple(label for label, version in sorted(labels.items(), reverse=True) if version == number),
                pushed=push.get("time") or _iso(os.path.getmtime(path)),
                by=push.get("by"),
                figures=push.get("figures", {}),
                bytes=_size(path),
            )
        )
    if not found:
        raise ReleaseError(f"{base}: expected a folder of numbered versions, found none")
    return found


def read_record(base: str) -> list[dict[str, Any]]:
    """Reads what was released, the oldest first.

    Returns:
        A dictionary each: `time`, `action` (`push`, `promote` or `rollback`), `version`, `labels` after it,
        `withdrawn`, `by` (a run or a user), and for a push `digest`, `figures` and `note`.
    """
    path = _file(base, RECORD)
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file]


@contextlib.contextmanager
def exclusive(base: str) -> Iterator[None]:
    """Holds a folder of versions against other pushes and releases, and waits for one that is under way.

    The kernel lets go of it however this process ends.

    Raises:
        ReleaseError: When `base` is no local folder.
    """
    _check_local(base)
    os.makedirs(os.path.join(base, tf_serving_config.FOLDER), exist_ok=True)
    with open(_file(base, _LOCK), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finish(base: str, servers: Servers) -> dict[str, Any] | None:
    """Finishes what was killed, and returns its record; None when nothing was. To be called within `exclusive`."""
    path = _file(base, _PENDING)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return _carry_out(base, json.load(file), servers)


def publish(base: str, version: int, push: Push) -> dict[str, Any]:
    """Lets servers see a version that lies whole in `.VERSION.incomplete`; to be called within `exclusive`.

    A model that was withdrawn is a canary whatever `push` says: somebody took it back, and no run may undo that.

    Returns:
        The record; see `read_record`.
    """
    folder, label, note = _Folder(base), push.label, ""
    if (twin := _withdrawn_twin(folder, push.digest)) is not None:
        label, note = CANARY, f"the same model as version {twin}, which was withdrawn"
    details = {"digest": push.digest, "figures": dict(push.figures), "note": note}
    return _begin(folder, "push", version, label, push.by, Unasked(lambda _: None), details)


def refresh(base: str) -> None:
    """Writes the configuration files anew, with the labels as they are; to be called within `exclusive`."""
    _write_files(base, _Folder(base).labels())


def promote(base: str, version: int | None, servers: Servers) -> dict[str, Any]:
    """Makes a version stable, the canary unless another is named; withdraws those above it.

    Args:
        base: Folder of the versions.
        version: Its number, also that of a withdrawn one.
        servers: Who serves it.

    Returns:
        The record; see `read_record`.

    Raises:
        ReleaseError: When there is no such version, it is not whole, or a server could not load it; nothing has changed
            then.
    """
    with exclusive(base):
        done = finish(base, servers)
        if done is not None and done["action"] == "promote" and version in (None, done["version"]):
            return done
        folder = _Folder(base)
        labels = folder.labels()
        version = labels.get(CANARY) if version is None else version
        if version is None:
            raise ReleaseError(f"{base}: expected a canary to promote, found none; any version can be named")
        _check_whole(folder, version)
        if labels == {STABLE: version} and folder.visible[-1] == version:
            raise ReleaseError(f"{base}: version {version} is stable already, and none is above it")
        return _begin(folder, "promote", version, STABLE, _user(), servers)


def rollback(base: str, servers: Servers) -> dict[str, Any]:
    """Makes the version stable that was so before; withdraws those above it.

    Args:
        base: Folder of the versions.
        servers: Who serves it.

    Returns:
        The record; see `read_record`.

    Raises:
        ReleaseError: When there is none, it is not whole, or a server could not load it; nothing has changed then.
    """
    with exclusive(base):
        done = finish(base, servers)
        if done is not None and done["action"] == "rollback":
            return done
        folder = _Folder(base)
        version = _stable_before(folder, read_record(base))
        _check_whole(folder, version)
        return _begin(folder, "rollback", version, STABLE, _user(), servers)


def has_versions(base: str) -> bool:
    """Tells whether a local folder holds any version, whole or not.

    Raises:
        ReleaseError: When `base` is no local folder.
    """
    _check_local(base)
    folder = _Folder(base)
    return bool(folder.visible or folder.hidden)


def rollback_target(base: str) -> int | None:
    """Returns the version that `rollback` would make stable; None when there is none."""
    try:
        return _stable_before(_Folder(base), read_record(base))
    except ReleaseError:
        return None


def folder_of(base: str, number: int) -> str:
    """Returns the folder of a version, withdrawn or not."""
    return _Folder(base).path(number)


def hide(base: str, number: int) -> str:
    """Makes a version one that was never whole, which the next push removes; returns where its files are.

    To be called within `exclusive`, of a version that no server loads.
    """
    hidden = os.path.join(base, f".{number}.incomplete")
    os.rename(folder_of(base, number), hidden)
    return hidden


class _Folder:
    """What lies in a folder of versions.

    Args:
        base: The folder.

    Attributes:
        visible: The numbers that servers see, ascending, whole or not.
        hidden: The names of what is withdrawn or incomplete, by number.
    """

    def __init__(self, base: str):
        self.base = base
        names = os.listdir(base) if os.path.isdir(base) else []
        self.visible = sorted(int(name) for name in names if name.isascii() and name.isdigit())
        self.hidden = {int(match[1]): match[0] for name in names if (match := _HIDDEN.fullmatch(name))}

    def path(self, number: int) -> str:
        """Returns the folder of a version, wherever it is."""
        return os.path.join(self.base, self.hidden.get(number, str(number)))

    def labels(self) -> dict[str, int]:
        """Returns the version of each label; where none is stable, the newest is, which servers without labels take."""
        labels = {label: version for label, version in self.written_labels().items() if version in self.visible}
        if STABLE not in labels and (newest := versions.newest(self.base)) is not None:
            labels[STABLE] = newest
        return labels

    def written_labels(self) -> dict[str, int]:
        """Returns what `models.config` says, none where there is no such file."""
        path = _file(self.base, tf_serving_config.MODELS)
        if not os.path.exists(path):
            return {}
        with open(path) as file:
            try:
                config = tf_serving_config.parse_models_config(file.read())
            except ValueError as error:
                raise ReleaseError(f"{path}: {error}; without this file the newest version is stable") from error
        models = {model.name: model for model in config.model_config_list.config}
        return dict(models[tf_serving_config.MODEL].version_labels) if tf_serving_config.MODEL in models else {}

    def withdraw(self, number: int) -> None:
        """Hides a version from servers."""
        name = f".{number}.withdrawn"
        os.rename(self.path(number), os.path.join(self.base, name))
        self.visible.remove(number)
        self.hidden[number] = name

    def bring(self, number: int) -> None:
        """Lets servers see a version."""
        os.rename(self.path(number), versions.path(self.base, number))
        del self.hidden[number]
        self.visible = sorted([*self.visible, number])


def _begin(
    folder: _Folder,
    action: str,
    version: int,
    label: str,
    by: str,
    servers: Servers,
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
    _replace(_file(folder.base, _PENDING), json.dumps(intent))
    return _carry_out(folder.base, intent, servers)


def _carry_out(base: str, intent: dict[str, Any], servers: Servers) -> dict[str, Any]:
    """Does what was written down, or what is left of it."""
    folder, target, before = _Folder(base), intent["version"], intent["before"]
    stable = before["labels"].get(STABLE, target)
    labels = {STABLE: target} if intent["label"] == STABLE or stable == target else {STABLE: stable, CANARY: target}
    try:
        if folder.written_labels() != labels or target in folder.hidden:
            _load(folder, target, stable, before, servers)
            _write_files(base, labels)
        above = [number for number in folder.visible if number > target]
        servers.relabelled(labels[STABLE], leaving=stable in above)
        for number in reversed(above):
            folder.withdraw(number)
        withdrawn = [number for number in before["visible"] if number in folder.hidden]
        servers.settled(target, withdrawn)
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
    os.remove(_file(base, _PENDING))
    return record


def _load(folder: _Folder, target: int, stable: int, before: dict[str, Any], servers: Servers) -> None:
    """Makes stable and target the newest two, so that servers load both before a label moves."""
    between = [number for number in folder.visible if number > min(stable, target) and number not in (stable, target)]
    labels = {label: number for label, number in before["labels"].items() if number not in between}
    if labels != before["labels"]:
        _write_files(folder.base, labels)
    for number in reversed(between):
        folder.withdraw(number)
    if target in folder.hidden:
        folder.bring(target)
    servers.loaded(target)


def _undo(folder: _Folder, target: int, before: dict[str, Any]) -> None:
    """Puts labels and folders back as they were."""
    if target in folder.visible and target not in before["visible"]:
        folder.withdraw(target)
    for number in before["visible"]:
        if number in folder.hidden:
            folder.bring(number)
    _write_files(folder.base, before["labels"])
    os.remove(_file(folder.base, _PENDING))


def _withdrawn_twin(folder: _Folder, digest: str) -> int | None:
    """Returns the newest withdrawn version that was pushed with this digest; None when there is none."""
    record = read_record(folder.base)
    twins = [push["version"] for push in record if push["action"] == "push" and push["digest"] == digest]
    return max((version for version in twins if version in folder.hidden), default=None)


def _stable_before(folder: _Folder, record: list[dict[str, Any]]) -> int:
    """Returns the version to roll back to: what was stable before the one that is, but for what was rolled back."""
    stable = folder.labels().get(STABLE)
    if stable is None:
        raise ReleaseError(f"{folder.base}: expected a version to roll back from, found none")
    past: list[int] = []
    for entry in record:
        version = entry["labels"][STABLE]
        if entry["action"] == "rollback" and version in past:
            del past[_last(past, version) + 1 :]
        elif past[-1:] != [version]:
            past.append(version)
    if stable in past:
        del past[_last(past, stable) :]
    there = {*folder.visible, *folder.hidden}
    lower = [number for number in folder.visible if number < stable and versions.is_model(folder.path(number))]
    candidates = [number for number in reversed(past) if number in there and number != stable] + lower[::-1]
    if not candidates:
        raise ReleaseError(f"{folder.base}: expected a version that was stable before {stable}, found none")
    return candidates[0]


def _last(values: list[int], value: int) -> int:
    return len(values) - 1 - values[::-1].index(value)


def _check_whole(folder: _Folder, number: int) -> None:
    known = sorted({*folder.visible, *folder.hidden})
    if number not in known:
        names = ", ".join(map(str, known)) or "none"
        raise ReleaseError(f"{folder.base}: expected one of the versions {names}, received {number}")
    path = folder.path(number)
    if not versions.is_model(path) or path.endswith(".incomplete"):
        raise ReleaseError(f"{path}: expected a whole exported model, found none")
    pushed = [entry for entry in read_record(folder.base) if entry["action"] == "push" and entry["version"] == number]
    if pushed and (digest := versions.digest(path)) != pushed[-1]["digest"]:
        raise ReleaseError(
            f"{path}: expected the files that were pushed, digest {pushed[-1]['digest']}, received {digest}"
        )


def _check_local(base: str) -> None:
    if "://" in base:
        raise ReleaseError(f"{base}: expected a local folder: an object store cannot rename a version at once")


def _write_files(base: str, labels: Mapping[str, int]) -> None:
    """Writes what TensorFlow Serving is started with, the labels last."""
    folder = _Folder(base)
    loaded = folder.visible[-tf_serving_config.LOADED_VERSIONS :]
    cards = [versions.read_card(folder.path(number)) for number in loaded] or [{}]
    # Requests are joined only where that is right for every version that is loaded.
    card = next((card for card in cards if tf_serving_config.why_no_batching(card)), cards[-1])
    files = tf_serving_config.texts(labels, card, importlib.metadata.version("tensorflow"))
    for name in sorted(files, key=lambda name: name == tf_serving_config.MODELS):
        path, text = _file(base, name), files[name]
        if text is not None:
            _replace(path, text)
        elif os.path.exists(path):
            os.remove(path)


def _append(base: str, record: dict[str, Any]) -> None:
    entries = read_record(base)
    if entries and entries[-1]["time"] == record["time"]:  # Of a killed process that came as far as this.
        return
    _replace(_file(base, RECORD), "".join(json.dumps(entry) + "\n" for entry in [*entries, record]))


def _replace(path: str, text: str) -> None:
    """Writes a file that others read at any time: whole, or as it was."""
    with open(f"{path}.part", "w") as file:
        file.write(text)
    os.replace(f"{path}.part", path)


def _file(base: str, name: str) -> str:
    return os.path.join(base, tf_serving_config.FOLDER, name)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user often has no name.
        return f"user {os.getuid()}"


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _size(path: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
