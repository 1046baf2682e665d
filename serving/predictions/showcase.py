"""Selects and animates the typical, the best and the worst forecast, by a fixed rule.

    selected, clips = choose(model, lambda: records, spec)
    selected[0].role, selected[0].clip, selected[0].gif

Forecasts come from the `serving_default` signature, the ranking from the sums of the `evaluate` signature.
"""

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.clips.codec import clip_name, decode_frames
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving.predictions.animation import AnimationRow, write_gif

CLIPS = 16  # Clips to choose from; enough for examples at any size of the eval split.
RULE = (
    "Of the first {clips} clips of the eval split that are long enough, the half with the most change (largest error "
    "of persistence) is ranked by skill against persistence. Shown are the best, the median (typical) and the worst."
)

_CONTEXT = 10  # Last frames of the context that are drawn.
_SIDE = 256  # Largest side of a frame that is drawn at full resolution.
_BYTES = 2_000_000  # Largest animation, so that a page with three of them opens quickly.


@dataclasses.dataclass(frozen=True)
class ShowcaseClip:
    """A selected clip with its forecast.

    Args:
        role: `typical`, `best` or `worst`.
        clip: Name of the clip.
        mse: Mean squared error of the forecast, pixels in [0, 1].
        skill_persistence: Skill against persistence; None if the error of persistence is 0.
        stride: Every `stride`-th pixel is drawn, in both directions.
        gif: Animation: context, then truth, forecast and error.
    """

    role: str
    clip: str
    mse: float
    skill_persistence: float | None
    stride: int
    gif: bytes


def choose(
    model: Any,
    records: Callable[[], Iterable[bytes]],
    spec: ClipSpec,
    frame_rate: float | None = None,
    channels: Sequence[int] | None = None,
) -> tuple[list[ShowcaseClip], int]:
    """Ranks clips and draws three of them, or fewer if there are fewer.

    Args:
        model: Loaded SavedModel of a forecaster.
        records: Opens the serialized clips; called twice, so that no clip is kept in memory.
        spec: The clip contract.
        frame_rate: Frames per second, for lead times in minutes.
        channels: Channels that are forecast; all by default.

    Returns:
        The selected clips, and the number of clips to choose from.
    """
    scored = _score(model, records())
    # Without motion, skill is noise, and an empty clip would be the best.
    moving = sorted(scored, key=lambda clip: -clip.persistence / clip.pixels)[: -(-len(scored) // 2)]
    ranked = sorted(moving, key=lambda clip: clip.skill or 0.0)
    ranks = {"typical": len(ranked) // 2, "best": len(ranked) - 1, "worst": 0} if ranked else {}
    roles: dict[int, str] = {}
    for role, rank in ranks.items():
        roles.setdefault(ranked[rank].index, role)
    by_index = {clip.index: clip for clip in ranked}
    selected = {}
    for index, record in enumerate(itertools.islice(records(), max(roles, default=-1) + 1)):
        if index in roles:
            clip, example = by_index[index], tf.train.SequenceExample.FromString(record)
            gif, stride = _draw(model, decode_frames(example, spec), spec, clip.horizon, frame_rate, channels)
            name = clip_name(example) or ""
            selected[roles[index]] = ShowcaseClip(roles[index], name, clip.error / clip.pixels, clip.skill, stride, gif)
    return [selected[role] for role in ranks if role in selected], len(scored)


@dataclasses.dataclass(frozen=True)
class _ScoredClip:
    """A clip's index in the records, its number of true pixels, and the summed squared errors over them."""

    index: int
    horizon: int
    pixels: float
    error: float
    persistence: float

    @property
    def skill(self) -> float | None:
        return 1 - self.error / self.persistence if self.persistence else None


def _score(model: Any, records: Iterable[bytes]) -> list[_ScoredClip]:
    """Scores the first `CLIPS` clips that are long enough to be evaluated."""
    evaluate = model.signatures["evaluate"]
    scored: list[_ScoredClip] = []
    for index, record in enumerate(records):
        sums = evaluate(examples=tf.constant([record]))
        pixels, error, persistence = (
            float(tf.reduce_sum(sums[name])) for name in ("pixels", "squared_error", "squared_error_persistence")
        )
        if pixels:
            scored.append(_ScoredClip(index, sums["pixels"].shape[1], pixels, error, persistence))
        if len(scored) == CLIPS:
            break
    return scored


def _draw(
    model: Any,
    frames: np.ndarray,
    spec: ClipSpec,
    horizon: int,
    frame_rate: float | None,
    channels: Sequence[int] | None,
) -> tuple[bytes, int]:
    """Returns the animation and the first stride at which it is small enough."""
    context, truth = frames[:-horizon], frames[-horizon:]
    outputs = model.signatures["serving_default"](
        frames=tf.constant(context[None]), length=tf.constant([len(context)], tf.int32)
    )
    forecast = outputs["forecast"].numpy()[0]
    if channels is not None:
        context, truth = (values[..., list(channels)] for values in (context, truth))
    minutes = 1 / frame_rate / 60 if frame_rate else 0.0
    for stride in _strides(-(-max(frames.shape[1:3]) // _SIDE)):
        file = io.BytesIO()
        thinned = [part[:, ::stride, ::stride] for part in (context[-_CONTEXT:], truth, forecast)]
        write_gif(
            file,
            [AnimationRow(context=thinned[0], truth=thinned[1], forecast=thinned[2])],
            third="error",
            value=spec.value,
            missing=spec.missing,
            interval=minutes if minutes >= 0.5 else None,
        )
        if file.tell() <= _BYTES or stride * 2 >= min(frames.shape[1:3]):
            break
    return file.getvalue(), stride


def _strides(first: int) -> Iterator[int]:
    while True:
        yield first
        first *= 2
