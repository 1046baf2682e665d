"""Spans: which numbers stand in place of `{SPAN}` in the paths that exist.

find_spans("clips/day{SPAN}/*.gz")  # {3: "clips/day3/*.gz", 20: "clips/day20/*.gz"}

Resolved here and before the DAG: TFX's own spans take no rolling window, and on Kubeflow Pipelines they do nothing.
"""

import fnmatch
import glob
import os
import re

SPAN = "{SPAN}"

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
    for path in sorted(glob.glob(pattern.replace(SPAN, "[0-9]*"))):
        match = expression.match(path.split(os.sep)[place])
        if match is None:
            continue
        own = pattern.replace(SPAN, match[1])
        other = spans.setdefault(int(match[1]), own)
        if other != own:
            raise ValueError(f"expected one way of writing span {int(match[1])}, received {other} and {own}")
    return dict(sorted(spans.items()))
