"""Summarises an ingest: clips by split, frame counts and sizes, a digest of the data, and bad clips.

A fact is a JSON list whose first entry is its kind: `clip`, `group`, `file`, `declared`, `bad` or `duplicate-id`.
"""

import collections
import hashlib
import json
from typing import Any

from tfx.dsl.io import fileio

from framecast.clips.declared import Declared, check_mixture
from framecast.components.clip_example_gen.splits import SPLITS
from framecast.schemas.clip_spec import ClipSpec, PixelValue

SUMMARY = "ingest.json"  # In the output artifact, beside the splits.
QUARANTINE = "quarantine"  # Folder beside the splits; `framecast.clips.quarantine` reads its files.
DUPLICATE = "duplicate-id"
DECLARED = "declared"  # Interval and pixel value of a clip, once for all clips of a file that share them.
_SHOWN = 10  # Bad clips listed in an error.


class BadClipsError(ValueError):
    """The input has clips that violate the contract; the message lists file, record, clip and frame of each."""


def summarise(facts: str, min_frames: int) -> dict[str, Any]:
    """Summarises a file of facts.

    Args:
        facts: Path of a text file; each line is a JSON pair of a fact and how often it occurred.
        min_frames: Clips with fewer frames are counted as short.

    Returns:
        `splits` (clips, frames and short clips by split), `groups` (recordings by split), `short`, `lengths` and
        `sizes` (clips by number of frames and by `HEIGHTxWIDTH`), `declared` (input split, interval, pixel value and
        place of a clip, by file), `digest`, `bad` (messages), `duplicates` (file,
        record and message) and `reasons` (bad clips by reason).
    """
    splits: dict[str, dict[str, int]] = {}
    groups: dict[str, set[str]] = collections.defaultdict(set)
    lengths: collections.Counter[int] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    files = []
    bad = []
    duplicates = []
    declared = []
    reasons: collections.Counter[str] = collections.Counter()
    with fileio.open(facts) as file:
        for line in file.read().splitlines():
            (kind, *fact), count = json.loads(line)
            if kind == "bad":
                reasons[fact[0]] += count
                bad.append(fact[1])
            elif kind == DUPLICATE:
                reasons[DUPLICATE] += count
                bad.append(fact[2])
                duplicates.append(fact)
            elif kind == DECLARED:
                declared.append(fact)
            elif kind == "file":
                files.append([*fact, count])
            elif kind == "group":
                groups[fact[0]].add(fact[1])
            else:
                split, length, size = fact
                counts = splits.setdefault(split, {"clips": 0, "frames": 0, "short": 0})
                counts["clips"] += count
                counts["frames"] += count * length
                counts["short"] += count * (length < min_frames)
                lengths[length] += count
                sizes["x".join(map(str, size))] += count
    return {
        "splits": splits,
        "groups": {split: len(names) for split, names in groups.items()},
        "short": sum(counts["short"] for counts in splits.values()),
        "lengths": {str(length): lengths[length] for length in sorted(lengths)},
        "sizes": dict(sizes.most_common()),
        "declared": sorted(declared, key=lambda fact: (fact[0] != "train", fact[3])),
        # Of the records only: renamed or moved files have the same digest.
        "digest": hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:16],
        "bad": sorted(bad),
        "duplicates": duplicates,
        "reasons": dict(reasons),
    }


def check_summary(summary: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Checks that the good clips suffice for a run.

    Returns:
        Warnings; see `framecast.clips.declared.check_mixture`.

    Raises:
        BadClipsError: If there are more bad clips than the settings allow, a split has no clip that is long enough, or
            clips contradict each other in interval or pixel value.
    """
    bad, allowed = summary["bad"], settings["max_bad_fraction"]
    if bad and allowed is None:
        raise BadClipsError(_describe_bad(summary))
    clips = sum(counts["clips"] for counts in summary["splits"].values())
    if len(bad) > (allowed or 0) * (len(bad) + clips):
        expected = f"max_bad_fraction: expected at most {100 * allowed:g} % bad clips and files"
        raise BadClipsError(f"{expected}, received {clips} good clips and {_describe_bad(summary)}")
    for split in SPLITS:
        counts = summary["splits"].get(split, {"clips": 0, "short": 0})
        if not counts["clips"]:
            raise BadClipsError(_describe_empty(split, summary, settings))
        if counts["clips"] == counts["short"]:
            raise BadClipsError(
                f"split {split}: expected a clip of at least {settings['min_frames']} frames (context and "
                f"horizon), received {counts['clips']} clips, all of them shorter"
            )
    declared = [
        Declared(interval, PixelValue.model_validate(value) if value else None, place)
        for _, interval, value, place in summary["declared"]
    ]
    try:
        return check_mixture(declared, ClipSpec.model_validate(settings["clip"]))
    except ValueError as error:
        raise BadClipsError(str(error)) from error


def _describe_bad(summary: dict[str, Any]) -> str:
    bad = summary["bad"]
    lines = [f"{len(bad)} bad clips or files:", *bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"and {len(bad) - _SHOWN} more; by reason: {summary['reasons']}")
    return "\n".join(lines)


def _describe_empty(split: str, summary: dict[str, Any], settings: dict[str, Any]) -> str:
    return (
        f"split {split}: expected at least 1 clip, received 0. {sum(summary['groups'].values())} values of "
        f"{settings['split_by']} were assigned to {summary['groups']} by hash with shares {settings['shares']}: "
        f"raise the share of {split}, or add recordings"
    )
