"""Finds spans: the numbers at `{SPAN}` in the paths of existing files.

find_spans("clips/day{SPAN}/*.gz")  # {3: "clips/day3/*.gz", 20: "clips/day20/*.gz"}

TFX's own spans are not used, because they lack rolling windows and have no effect on Kubeflow Pipelines.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Mapping

from framecast.clips import filesystem

SPAN = "{SPAN}"

Patterns = str | dict[int, str]  # A glob pattern, or one per span.

# Placeholder for `{SPAN}`: never part of a path, and not special in a pattern.
_PLACE = "\0"
# Suffixes of unfinished files; writers such as rsync use hidden files instead.
_SUFFIXES = (".part", ".tmp", ".incomplete")
_FOLDERS = ("beam-temp-*", "_temporary*")  # Temporary folders of Beam and Hadoop.


def check_pattern(pattern: str) -> None:
    """Rejects a pattern in which `{SPAN}` is ambiguous.

    Raises:
        ValueError: If `{SPAN}` occurs twice, or next to a wildcard, which could match some of its digits.
    """
    if pattern.count(SPAN) > 1:
        raise ValueError(f"expected {SPAN} once, received {pattern}")
    if re.search(r"[*?\]]\{SPAN\}|\{SPAN\}[*?\[]", pattern):
        raise ValueError(f"expected no wildcard next to {SPAN}, received {pattern}")


def check_marker(pattern: str, marker: str) -> None:
    """Rejects a pattern that cannot have a marker file per span.

    Raises:
        ValueError: If `{SPAN}` is not in a folder's name, or the pattern matches the marker file.
    """
    folder, name = os.path.split(pattern)
    if SPAN not in folder:
        raise ValueError(f"expected a folder per span, received {pattern}")
    if SPAN in os.path.basename(folder) and fnmatch.fnmatch(marker, name):
        raise ValueError(f"expected a pattern that {marker} does not match, received {pattern}")


def resolve(patterns: Mapping[str, str], count: int, newest: int | None = None) -> dict[str, Patterns]:
    """Replaces `{SPAN}` in patterns by the newest spans of the first pattern that contains it.

    Args:
        patterns: Glob patterns by key, such as `data.train`.
        count: Number of spans to use.
        newest: Highest span number to use; None for no limit.

    Returns:
        Per key the pattern, or, if it contains `{SPAN}`, the pattern of each span in ascending order.

    Raises:
        ValueError: If there is no span, a span number has two spellings, a pattern lacks a span of the first pattern,
            or an object store cannot be reached.
    """
    resolved: dict[str, Patterns] = {}
    window: list[int] = []
    for key, pattern in patterns.items():
        if SPAN not in pattern:
            resolved[key] = pattern
            continue
        try:
            found = find_spans(pattern)
        except (ValueError, OSError) as error:
            raise ValueError(f"{key}: {error}") from error
        taken = [span for span in found if newest is None or span <= newest]
        if not window and not taken:
            bound = "" if newest is None else f" with a span up to {newest}"
            raise ValueError(f"{key}: {filesystem.no_match(pattern)}{bound}")
        window = window or taken[-count:]
        if missing := [str(span) for span in window if span not in found]:
            raise ValueError(
                f"{key}: expected files for each span of {next(iter(patterns))}, "
                f"received none of span {', '.join(missing)} that match {pattern}"
            )
        resolved[key] = {span: found[span] for span in window}
    return resolved


def newest_complete(patterns: Mapping[str, str], marker: str | None = None) -> tuple[int | None, str]:
    """Finds the newest complete span: each pattern with `{SPAN}` matches files of it, and none is being written.

    Args:
        patterns: Glob patterns by key; the first contains `{SPAN}`.
        marker: Name of the file that marks a span's folder as complete. Without a marker, a span is complete if its
            folder has no hidden or unfinished file (`.name`, `name.part`, `name.tmp`, ...).

    Returns:
        `(span, why_not)`: the span, None if none is complete; and why newer spans are incomplete, empty if there are
        none.

    Raises:
        ValueError: If there is no span, or a span number has two spellings.
    """
    found: dict[str, dict[int, str]] = {}
    for key, pattern in patterns.items():
        if SPAN in pattern:
            try:
                found[key] = find_spans(pattern)
            except (ValueError, OSError) as error:
                raise ValueError(f"{key}: {error}") from error
    first = next(iter(found))
    if not found[first]:
        raise ValueError(f"{first}: {filesystem.no_match(patterns[first])}")
    reasons: list[str] = []
    for span in sorted(found[first], reverse=True):
        lacking = [
            reason
            for key, own in found.items()
            if (reason := _lacking(key, patterns[key], own.get(span), marker)) is not None
        ]
        if not lacking:
            return span, "; ".join(reasons)
        reasons.append(f"span {span} is incomplete: {lacking[0]}")
    return None, "; ".join(reasons)


def _lacking(key: str, pattern: str, own: str | None, marker: str | None) -> str | None:
    """Returns why a span is incomplete; None if it is complete."""
    if own is None:
        return f"{key}: no file matches {pattern}"
    if marker is not None:
        depth = next(place for place, part in enumerate(pattern.split(os.sep)) if SPAN in part)
        expected = os.path.join(os.sep.join(own.split(os.sep)[: depth + 1]), glob.escape(marker))
        return None if filesystem.glob(expected) else f"{key}: {expected} is missing"
    folder, name = os.path.split(own)
    if SPAN in os.path.basename(pattern):  # The folder is shared with other spans.
        unfinished = [f".{name}*", *(name + suffix for suffix in _SUFFIXES)]
    else:
        unfinished = [".*", *(f"*{suffix}" for suffix in _SUFFIXES), *_FOLDERS]
    for part in unfinished:
        if paths := filesystem.glob(os.path.join(folder, part)):
            return f"{key}: {paths[0]} is still being written"
    return None


def find_spans(pattern: str) -> dict[int, str]:
    """Returns the pattern of each span by its number, in ascending order.

    Args:
        pattern: A glob pattern with `{SPAN}`, which matches digits, zero-padded or not.

    Raises:
        ValueError: If a number has two spellings, such as `day1` and `day01`.
    """
    parts = pattern.split(os.sep)
    (place,) = (index for index, part in enumerate(parts) if SPAN in part)
    expression = re.compile(fnmatch.translate(parts[place].replace(SPAN, _PLACE)).replace(_PLACE, "([0-9]+)"))
    spans: dict[int, str] = {}
    for path in filesystem.glob(pattern.replace(SPAN, "[0-9]*")):
        match = expression.match(path.split(os.sep)[place])
        if match is None:
            continue
        own = pattern.replace(SPAN, match[1])
        other = spans.setdefault(int(match[1]), own)
        if other != own:
            raise ValueError(f"span {int(match[1])} has two spellings: {other} and {own}")
    return dict(sorted(spans.items()))
