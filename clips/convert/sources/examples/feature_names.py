"""Finds the frames of a `tf.train.Example` by the names of its features."""

import collections
import itertools
import math
import re
from collections.abc import Mapping

import tensorflow as tf

from framecast.clips.convert.sources.source import BadSource

_NUMBER = "{}"
_SHOWN = 6


def find_frames(place: str, feature: Mapping[str, tf.train.Feature], key: str | None) -> list[tuple[int, bytes]]:
    """Returns the position and the bytes of each frame.

    Args:
        place: The record, for messages.
        feature: The features of the Example.
        key: Name of the feature, or a pattern with `{}` for the number of the frame; by default the only candidate.

    Raises:
        BadSource: If there is no such feature, or several candidates.
    """
    lists = sorted(name for name, value in feature.items() if len(value.bytes_list.value) > 1)
    numbered = _patterns(feature)
    if key is None:
        candidates = lists or sorted(numbered, key=lambda pattern: (-len(numbered[pattern]), pattern))
        if len(candidates) != 1:
            wanted = "expected one list of encoded frames (or --variable)"
            names = lists or candidates or [f"none, but the features {_few(sorted(feature))}"]
            raise BadSource(place, f"{wanted}, received lists in {_few(names)}")
        key = candidates[0]
    if key in feature:
        values = feature[key].bytes_list.value
        if not values:
            raise BadSource(place, f"expected bytes in {key} (--variable), received {feature[key].WhichOneof('kind')}")
        return list(enumerate(values))
    if key in numbered:
        return [(position, feature[name].bytes_list.value[0]) for position, name in _positions(place, numbered[key])]
    raise BadSource(
        place,
        f"expected frames in {key} (--variable; {_NUMBER} is the number of the frame), received lists in "
        f"{_few([*lists, *numbered]) or 'none'}",
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _patterns(feature: Mapping[str, tf.train.Feature]) -> dict[str, dict[str, int]]:
    """Returns the patterns of at least two features that differ in one number, with name and number of each feature."""
    found: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for name, value in feature.items():
        if len(value.bytes_list.value) == 1:
            for match in re.finditer(r"\d+", name):
                found[name[: match.start()] + _NUMBER + name[match.end() :]][name] = int(match[0])
    return {pattern: names for pattern, names in found.items() if len(names) > 1}


def _positions(place: str, names: dict[str, int]) -> list[tuple[int, str]]:
    """Returns position and name of the features in the order of their numbers; a missing number is a gap."""
    ordered = sorted(names, key=lambda name: names[name])
    steps = [names[later] - names[earlier] for earlier, later in itertools.pairwise(ordered)]
    if 0 in steps:
        twice = ordered[steps.index(0)]
        raise BadSource(
            place, f"expected one feature for each number, received {twice} and {ordered[steps.index(0) + 1]}"
        )
    step = math.gcd(*steps)
    return [((names[name] - names[ordered[0]]) // step, name) for name in ordered]
