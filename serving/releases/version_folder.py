"""Reads a folder of pushed versions: number, state, labels and release log.

    for version in read_versions("serving/radar"):
        print(version.number, version.state, version.labels)

TensorFlow Serving loads the newest `LOADED_VERSIONS` folders with a numeric name. A withdrawn version is renamed to
`.N.withdrawn`; `.N.incomplete` is a version that is still being written. `framecast.serving.releases.releases` makes
the changes.
"""

import dataclasses
import datetime
import json
import os
import re
from typing import Any

from framecast.serving import versions
from framecast.serving.releases import tf_serving_config

STABLE, CANARY = "stable", "canary"
LOG = "releases.jsonl"
_HIDDEN = re.compile(r"\.(\d+)\.(withdrawn|incomplete)")


class ReleaseError(ValueError):
    """A release was refused, or a server did not follow it. The message names folder, version or address."""


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """A pushed version.

    Args:
        number: Version number.
        state: `served` (one of the newest, which servers load), `kept` (an older one), `withdrawn`, or `incomplete`
            (its folder holds no complete model).
        labels: Labels of the version.
        pushed: Time of the push, ISO 8601 with the zone; the folder's modification time if no push was logged.
        by: Run that pushed it; None if no push was logged.
        figures: Main metrics over the eval split, all lead times together.
        bytes: Size of its files.
    """

    number: int
    state: str
    labels: tuple[str, ...]
    pushed: str
    by: str | None
    figures: dict[str, float | None]
    bytes: int


def read_versions(base: str) -> list[PushedVersion]:
    """Reads all versions under `base`, newest first.

    Raises:
        ReleaseError: If `base` is not a local folder or has no versions.
    """
    check_local(base)
    folder = VersionFolder(base)
    pushes = {entry["version"]: entry for entry in read_release_log(base) if entry["action"] == "push"}
    labels = folder.labels()
    found = []
    for number in reversed(folder.numbers):
        path = folder.path(number)
        push = pushes.get(number, {})
        found.append(
            PushedVersion(
                number=number,
                state=folder.state(number),
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


def read_release_log(base: str) -> list[dict[str, Any]]:
    """Reads the release log, oldest entry first.

    Returns:
        Dictionaries with `time`, `action` (`push`, `promote` or `rollback`), `version`, `labels` after the action,
        `withdrawn`, `by` (a run or a user), and for a push `digest`, `figures` and `note`.
    """
    path = config_path(base, LOG)
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file]


def has_versions(base: str) -> bool:
    """Returns whether a local folder has any version, complete or not.

    Raises:
        ReleaseError: If `base` is not a local folder.
    """
    check_local(base)
    return bool(VersionFolder(base).numbers)


def rollback_target(base: str) -> int | None:
    """Returns the version that `releases.rollback` would make stable; None if there is none."""
    try:
        return VersionFolder(base).rollback_target()
    except ReleaseError:
        return None


def version_path(base: str, number: int) -> str:
    """Returns the folder of a version, withdrawn or not."""
    return VersionFolder(base).path(number)


class VersionFolder:
    """A folder of versions, listed once.

    Args:
        base: The folder.

    Attributes:
        visible: Numbers of the versions that servers see, ascending, complete or not.
        hidden: Folder names of withdrawn and incomplete versions by number.
    """

    def __init__(self, base: str):
        self.base = base
        names = os.listdir(base) if os.path.isdir(base) else []
        self.visible = sorted(int(name) for name in names if name.isascii() and name.isdigit())
        self.hidden = {int(match[1]): match[0] for name in names if (match := _HIDDEN.fullmatch(name))}

    @property
    def numbers(self) -> list[int]:
        """Numbers of all versions, ascending."""
        return sorted({*self.visible, *self.hidden})

    @property
    def served(self) -> list[int]:
        """Numbers of the versions that servers load, ascending."""
        return self.visible[-tf_serving_config.LOADED_VERSIONS :]

    def path(self, number: int) -> str:
        """Returns the folder of a version, hidden or not."""
        return os.path.join(self.base, self.hidden.get(number, str(number)))

    def labels(self) -> dict[str, int]:
        """Returns the version of each label.

        Without a stable version the newest counts as stable, because servers without labels answer with it.
        """
        labels = {label: version for label, version in self.written_labels().items() if version in self.visible}
        if STABLE not in labels and (newest := versions.newest(self.base)) is not None:
            labels[STABLE] = newest
        return labels

    def written_labels(self) -> dict[str, int]:
        """Returns the labels in `models.config`; empty without that file.

        Raises:
            ReleaseError: If the file cannot be parsed.
        """
        path = config_path(self.base, tf_serving_config.MODELS)
        if not os.path.exists(path):
            return {}
        with open(path) as file:
            try:
                config = tf_serving_config.parse_models_config(file.read())
            except ValueError as error:
                raise ReleaseError(f"{path}: {error}; without this file the newest version is stable") from error
        models = {model.name: model for model in config.model_config_list.config}
        return dict(models[tf_serving_config.MODEL].version_labels) if tf_serving_config.MODEL in models else {}

    def check_complete(self, number: int) -> None:
        """Checks that a version exists, is a complete model and has the files that were pushed.

        Raises:
            ReleaseError: If it does not.
        """
        if number not in self.numbers:
            names = ", ".join(map(str, self.numbers)) or "none"
            raise ReleaseError(f"{self.base}: expected one of the versions {names}, received {number}")
        path = self.path(number)
        if not self._is_complete(number):
            raise ReleaseError(f"{path}: expected a complete exported model, found none")
        log = read_release_log(self.base)
        pushed = [entry for entry in log if entry["action"] == "push" and entry["version"] == number]
        if pushed and (digest := versions.digest(path)) != pushed[-1]["digest"]:
            raise ReleaseError(
                f"{path}: expected the files that were pushed, digest {pushed[-1]['digest']}, received {digest}"
            )

    def state(self, number: int) -> str:
        """Returns the state of a version; see `PushedVersion`."""
        if not self._is_complete(number):
            return "incomplete"
        if number in self.hidden:
            return "withdrawn"
        return "served" if number in self.served else "kept"

    def rollback_target(self) -> int:
        """Returns the version that was stable before the current one, skipping versions that were rolled back.

        Raises:
            ReleaseError: If there is none.
        """
        stable = self.labels().get(STABLE)
        if stable is None:
            raise ReleaseError(f"{self.base}: expected a version to roll back from, found none")
        past: list[int] = []
        for entry in read_release_log(self.base):
            version = entry["labels"][STABLE]
            if entry["action"] == "rollback" and version in past:
                del past[_last(past, version) + 1 :]
            elif past[-1:] != [version]:
                past.append(version)
        if stable in past:
            del past[_last(past, stable) :]
        lower = [number for number in self.visible if number < stable and versions.is_model(self.path(number))]
        candidates = [number for number in reversed(past) if number in self.numbers and number != stable] + lower[::-1]
        if not candidates:
            raise ReleaseError(f"{self.base}: expected a version that was stable before {stable}, found none")
        return candidates[0]

    def withdraw(self, number: int) -> None:
        """Hides a version from servers."""
        name = f".{number}.withdrawn"
        os.rename(self.path(number), os.path.join(self.base, name))
        self.visible.remove(number)
        self.hidden[number] = name

    def restore(self, number: int) -> None:
        """Makes a hidden version visible to servers."""
        os.rename(self.path(number), versions.path(self.base, number))
        del self.hidden[number]
        self.visible = sorted([*self.visible, number])

    def _is_complete(self, number: int) -> bool:
        path = self.path(number)
        return versions.is_model(path) and not path.endswith(".incomplete")


def check_local(base: str) -> None:
    """Raises `ReleaseError` for an object store, which cannot rename a version atomically."""
    if "://" in base:
        raise ReleaseError(f"{base}: expected a local folder, because an object store cannot rename a version")


def config_path(base: str, name: str) -> str:
    """Returns the path of a file in the configuration folder next to the versions."""
    return os.path.join(base, tf_serving_config.FOLDER, name)


def _last(values: list[int], value: int) -> int:
    return len(values) - 1 - values[::-1].index(value)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _size(path: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
