"""Counts the transformed clips of each split, and picks the clips that warm up the exported model.

found = survey_splits(pipeline, files)
found.counts["train"]["clips"], found.longest[24]
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.models.training.input_pipeline import InputPipeline, SplitFiles


@dataclasses.dataclass(frozen=True)
class SplitSurvey:
    """Counts of the train and val splits.

    Args:
        counts: By split: `clips`, `short` (too short for the task), `frames`, `padded_frames`, `padding_share` and
            `bytes_per_pixel`.
        longest: By padded length, the clip with the most frames, `(time, height, width, channel)` with padding, and its
            number of frames.
    """

    counts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    longest: dict[int, tuple[np.ndarray, int]] = dataclasses.field(default_factory=dict)


def survey_splits(pipeline: InputPipeline, files: SplitFiles) -> SplitSurvey:
    """Counts both splits in one pass, without decoding images.

    Raises:
        ValueError: If no clip of a split is long enough for the task.
    """
    found = SplitSurvey()
    for split, own in (("train", files.train), ("val", files.val)):
        counts = found.counts[split] = _count(pipeline, own, found.longest)
        if counts["clips"] == counts["short"]:
            raise ValueError(
                f"split {split}: expected clips of at least {pipeline.task.min_frames} frames, "
                f"received {counts['clips']} clips, all of them shorter"
            )
    return found


def _count(pipeline: InputPipeline, files: Sequence[str], longest: dict[int, tuple[np.ndarray, int]]) -> dict[str, Any]:
    clips = frames = padded = pixels = stored = short = 0
    for clip in pipeline.whole(files):
        shape = clip["frames"].shape
        length = int(clip["length"])
        if length > longest.get(shape[0], (None, 0))[1]:
            longest[shape[0]] = (clip["frames"].numpy(), length)
        clips += 1
        frames += length
        padded += shape[0] - length
        pixels += length * int(np.prod(shape[1:]))
        stored += int(np.prod(shape)) * clip["frames"].dtype.size
        short += not pipeline.task.is_long_enough(length)
    return {
        "clips": clips,
        "short": short,
        "frames": frames,
        "padded_frames": padded,
        "padding_share": padded / max(padded + frames, 1),
        "bytes_per_pixel": stored / max(pixels, 1),
    }
