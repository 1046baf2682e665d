"""Forecasts of a few clips to look at: a typical one, the best and the worst, chosen by rule.

    shown, clips = choose(model, lambda: records, spec)
    shown[0].role, shown[0].clip, shown[0].gif

The model is asked as it would be served; what it is ranked by is what its `evaluate` signature sums.
"""

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.clips.codec import clip_name, decode_frames
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving.predictions.animation import AnimationRow, write_gif

CLIPS = 16  # Asked about; a look needs no more, whatever the size of the eval split.
RULE = (
    "Of the first {clips} clips of the eval split that are long enough, the half in which most changes (largest error "
    "of persistence) are ranked by skill against persistence: the best, the median (typical) and the worst are shown."
)

_CONTEXT = 10  # Frames of the context that are drawn, counted from its end.
_SIDE = 256  # Largest side of a frame that is drawn pixel by pixel.
_BYTES = 2_000_000  # Of one animation: three of them stay a page that opens.


@dataclasses.dataclass(frozen=True)
class ShowcaseClip:
    """A clip and its forecast.

    Args:
        role: `typical`, `best` or `worst`.
        clip: The clip's name.
        mse: Mean square error of its forecast, pixels in [0, 1].
        skill_persistence: Share of persistence's squared error that the forecast avoids; None where it made none.
        stride: Only every so many pixels are drawn, either way.
        gif: The animation: context, then truth, forecast and error.
    """

    role: str
    clip: str
    mse: float
    skill_persistence: float | None
    stride: int
    gif: bytes


def choose(
    model: Any, records: Callable[[], Iterable[bytes]], spec: ClipSpec, frame_rate: float | None = None
) -> tuple[list[ShowcaseClip], int]:
    """Ranks clips and draws three of them; fewer where there are fewer.

    Args:
        model: A loaded SavedModel of a forecaster.
        records: Opens the serialized clips; called twice, so that none is kept.
        spec: The clip contract.
        frame_rate: Frames a second, for the lead time in minutes.

    Returns:
        The clips, and how many there were to choose from.
    """
    asked = _ask(model, records())
    # Where hardly anything moves every skill is noise, and an empty clip would be the best of all.
    moving = sorted(asked, key=lambda clip: -clip.persistence / clip.pixels)[: -(-len(asked) // 2)]
    ranked = sorted(moving, key=lambda clip: clip.skill or 0.0)
    ranks = {"typical": len(ranked) // 2, "best": len(ranked) - 1, "worst": 0} if ranked else {}
    roles: dict[int, str] = {}
    for role, rank in ranks.items():
        roles.setdefault(ranked[rank].place, role)
    found = {clip.place: clip for clip in ranked}
    shown = {}
    for place, record in enumerate(itertools.islice(records(), max(roles, default=-1) + 1)):
        if place in roles:
            clip, example = found[place], tf.train.SequenceExample.FromString(record)
            gif, stride = _draw(model, decode_frames(example, spec), spec, clip.horizon, frame_rate)
            name = clip_name(example) or ""
            shown[roles[place]] = ShowcaseClip(roles[place], name, clip.error / clip.pixels, clip.skill, stride, gif)
    return [shown[role] for role in ranks if role in shown], len(asked)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A clip that was forecast: its place among the records, pixels of its truth, squared errors over them."""

    place: int
    horizon: int
    pixels: float
    error: float
    persistence: float

    @property
    def skill(self) -> float | None:
        return 1 - self.error / self.persistence if self.persistence else None


def _ask(model: Any, records: Iterable[bytes]) -> list[_Asked]:
    """Returns the first clips that are long enough to be evaluated."""
    evaluate = model.signatures["evaluate"]
    asked: list[_Asked] = []
    for place, record in enumerate(records):
        sums = evaluate(examples=tf.constant([record]))
        pixels, error, persistence = (
            float(tf.reduce_sum(sums[name])) for name in ("pixels", "squared_error", "squared_error_persistence")
        )
        if pixels:
            asked.append(_Asked(place, sums["pixels"].shape[1], pixels, error, persistence))
        if len(asked) == CLIPS:
            break
    return asked


def _draw(model: Any, frames: np.ndarray, spec: ClipSpec, horizon: int, frame_rate: float | None) -> tuple[bytes, int]:
    """Returns the animation and the stride at which it was small enough."""
    context, truth = frames[:-horizon], frames[-horizon:]
    answer = model.signatures["serving_default"](
        frames=tf.constant(context[None]), length=tf.constant([len(context)], tf.int32)
    )
    forecast = answer["forecast"].numpy()[0]
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
