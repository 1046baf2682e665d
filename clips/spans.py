"""Spans: which numbers stand in place of `{SPAN}` in the paths that exist.

find_spans("clips/day{SPAN}/*.gz")  # {3: "clips/day3/*.gz", 20: "clips/day20/*.gz"}

Resolved here and not by TFX: its own spans take no rolling window, and on Kubeflow Pipelines they do nothing.
"""

import fnmatch
import os
import re
from collections.abc import Mapping

from framecast.clips import stores

SPAN = "{SPAN}"

Patterns = str | dict[int, str]  # A glob pattern, or one of each span.

# Cannot stand in a path, and means nothing in a pattern.
_PLACE = "\0"


def check_pattern(pattern: str) -> None:
    """Refuses a pattern whose `{SPAN}` would be ambiguous.

    Raises:
        ValueError: When `{SPAN}` stands there twice, or beside a wildcard, which might take some of its digits.
    """
    if pattern.count(SPAN) > 1:
        raise ValueError(f"expected {SPAN} once, received {pattern}")
    if re.search(r"[*?\]]\{SPAN\}|\{SPAN\}[*?\[]", pattern):
        raise ValueError(f"expected no wildcard beside {SPAN}, received {pattern}")


def resolve(patterns: Mapping[str, str], count: int, newest: int | None = None) -> dict[str, Patterns]:
    """Returns the patterns with `{SPAN}` replaced by the newest spans of the first of them that has it.

    Args:
        patterns: Glob patterns by key, such as `data.train`.
        count: How many spans are taken.
        newest: No span above this number is taken; None for the newest there is.

    Returns:
        By key, the pattern; where it has `{SPAN}`, the pattern of each of the spans, lowest first.

    Raises:
        ValueError: When there is no span, one is written in two ways, a pattern lacks a span of the first, or an object
            store does not answer.
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
            raise ValueError(f"{key}: expected files, received none that match {pattern}{bound}")
        window = window or taken[-count:]
        if missing := [str(span) for span in window if span not in found]:
            raise ValueError(
                f"{key}: expected files of the spans of {next(iter(patterns))}, "
                f"received none of span {', '.join(missing)} that match {pattern}"
            )
        resolved[key] = {span: found[span] for span in window}
    return resolved


def find_spans(pattern: str) -> dict[int, str]:
    """Returns each span's number and its own pattern, lowest first.

    Args:
        pattern: A glob pattern with `{SPAN}`, which stands for digits, zero-padded or not.

    Raises:
        ValueError: When a number is written in two ways, such as `day1` and `day01`.
    """
    parts = pattern.split(os.sep)
    (place,) = (index for index, part in enumerate(parts) if SPAN in part)
    expression = re.compile(fnmatch.translate(parts[place].replace(SPAN, _PLACE)).replace(_PLACE, "([0-9]+)"))
    spans: dict[int, str] = {}
    for path in stores.glob(pattern.replace(SPAN, "[0-9]*")):
        match = expression.match(path.split(os.sep)[place])
        if match is None:
            continue
        own = pattern.replace(SPAN, match[1])
        other = spans.setdefault(int(match[1]), own)
        if other != own:
            raise ValueError(f"expected one way of writing span {int(match[1])}, received {other} and {own}")
    return dict(sorted(spans.items()))
