"""Reads the labels of recordings from folder names or a CSV file."""

import csv
import dataclasses
import os
import pathlib
from typing import Any

FOLDERS = "folders"


@dataclasses.dataclass(frozen=True)
class Label:
    """A label, as `framecast.clips.codec.encode_clip` takes it."""

    index: int | None = None
    string: str | None = None
    value: float | None = None


class Labels:
    """Labels by recording.

    Args:
        location: `folders`, or the path of a CSV file.
        names: Names of the sources; their folders, sorted, are the classes.

    Raises:
        ValueError: If the CSV file cannot be read or has a recording twice.
    """

    def __init__(self, location: str, names: list[str]):
        self._by_name: dict[str, Label] = {}
        self._location = location
        if location == FOLDERS:
            folders = {name: os.path.basename(os.path.dirname(name)) for name in names}
            classes = sorted(set(folders.values()))
            self._by_name = {name: Label(classes.index(kind), kind) for name, kind in folders.items()}
        else:
            self._by_name = _read_csv(location)
            classes = sorted({label.string for label in self._by_name.values() if label.string is not None})
        self.classes = classes

    def of(self, recording: str, source: str) -> Label:
        """Returns the label of a recording, or else of its source.

        Raises:
            ValueError: If there is none.
        """
        for name in (recording, source):
            for key in (name, os.path.basename(name), pathlib.PurePath(name).stem):
                if key in self._by_name:
                    return self._by_name[key]
        raise ValueError(f"{self._location}: no label for {recording}")


def _read_csv(path: str) -> dict[str, Label]:
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the CSV file: {error}") from error
    columns = set(rows[0]) if rows else set()
    if "recording" not in columns or not {"label", "value"} & columns:
        received = ", ".join(map(str, columns)) or "none"
        raise ValueError(f"{path}: expected the columns recording and label or value, received {received}")
    found: dict[str, Any] = {}
    for line, row in enumerate(rows, start=2):
        name = row["recording"]
        if name in found:
            raise ValueError(f"{path}, line {line}: recording {name} is listed twice")
        found[name] = row
    texts = [row["label"] for row in found.values()] if "label" in columns else []
    classes = None if all(text.isdigit() for text in texts) else sorted(set(texts))
    return {name: _label(path, name, row, classes) for name, row in found.items()}


def _label(path: str, name: str, row: dict[str, str], classes: list[str] | None) -> Label:
    index = string = value = None
    if "label" in row:
        index = int(row["label"]) if classes is None else classes.index(row["label"])
        string = None if classes is None else row["label"]
    if "value" in row:
        try:
            value = float(row["value"])
        except ValueError as error:
            raise ValueError(f"{path}: {name}: value: expected a number, received {row['value']!r}") from error
    return Label(index, string, value)
