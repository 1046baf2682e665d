"""`framecast query`: forecasts of recorded clips from a server, scored and drawn."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.clips import codec
from framecast.clips.check import check_clip
from framecast.clips.records import read_records
from framecast.schemas import features
from framecast.schemas.spec import ClipSpec, FrameRange, PixelValue
from framecast.serving import animation
from framecast.serving.client import Forecaster


def query(
    paths: Sequence[str], *, address: str, model: str, holdout: bool, limit: int, gif: str | None
) -> dict[str, Any]:
    """Asks for forecasts of the clips in TFRecords.

    Args:
        paths: TFRecord files.
        address: `host:port` of the server.
        model: Name of the served model.
        holdout: Cut the last frames off each clip, and score the forecast against them.
        limit: How many clips to ask for at most; those too short for context and horizon are left out and counted.
        gif: Where to write an animation.

    Returns:
        `clips`, `left_out`, `version`, and with `holdout` the mean squared error `mse`, `mse_persistence` and `skill_persistence`
        by lead time, per pixel in [0, 1].
    """
    with Forecaster(address, model=model) as forecaster:
        card = forecaster.contract()
        horizon = card["horizon"]
        shortest = card["context_min"] + (horizon if holdout else 0)
        clips, ids, left_out = [], [], 0
        for path, (_, record) in _records(paths):
            frames, example_id = _decode(record, card)
            if len(frames) < shortest:
                left_out += 1
                continue
            clips.append(frames)
            ids.append(example_id)
            if len(clips) == limit:
                break
        if not clips:
            raise ValueError(f"expected a clip of at least {shortest} frames, received {left_out} shorter ones")
        contexts = [clip[:-horizon] if holdout else clip for clip in clips]
        forecasts = forecaster.forecast(contexts)
        version = forecaster.version
    answer: dict[str, Any] = {"clips": len(clips), "left_out": left_out, "version": version, "ids": ids}
    return answer
