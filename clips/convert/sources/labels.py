"""Reads the labels of recordings from folder names or a CSV file."""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from framecast.clips.convert.sources.image_folder import ImageFolder
from framecast.clips.convert.sources.source import Source, class_of

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
        sources: The sources; their folders, sorted, are the classes.

    Raises:
        ValueError: If the CSV file cannot be read or has a recording twice.
    """

    def __init__(self, location: str, sources: Sequence[Source]):
        self._by_name: dict[str, Label] = {}
        self._location = location
        if location == FOLDERS:
            classes = sorted({_class_of(source) for source in sources})
        else:
            self._by_name = _read_csv(location)
            classes = sorted({label.string for label in self._by_name.values() if label.string is not None})
        self.classes: list[str] = classes

    def of(self, recording: str, source: Source) -> Label:
        """Returns the label of a recording, or else of its source.

        Raises:
            ValueError: If there is none.
        """
        if self._location == FOLDERS:
            kind = _class_of(source)
            return Label(self.classes.index(kind), kind)
        for key in _keys(recording, source):
            if key in self._by_name:
                return self._by_name[key]
        raise ValueError(f"{self._location}: no label for {recording}")


def _class_of(source: Source) -> str:
    return source.class_name if isinstance(source, ImageFolder) else class_of(source.name)


def _keys(recording: str, source: Source) -> Iterator[str]:
    """Yields what a CSV file may call a recording: the end of its name or path, with or without the suffix."""
    path = os.path.abspath(source.files[0])
    for name in (recording, source.name, path if len(source.files) == 1 else os.path.dirname(path)):
        parts = pathlib.PurePath(name).parts
        for start in range(len(parts)):
            yield str(pathlib.PurePath(*parts[start:]))
        yield pathlib.PurePath(name).stem


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
