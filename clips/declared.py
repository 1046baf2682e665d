"""Compares what clips declare about themselves with a clip contract: interval between frames, unit, missing pixel.

check_declared(example, spec)  # Raises BadClip if the clip contradicts the contract of a configuration or a model.
not_compared(example, model_spec)  # ["interval between frames 300 s"] if the model does not know its own.
check_mixture([declared_by(example, place), ...], spec)  # Raises ValueError if the clips contradict each other.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from framecast.clips.codec import BadClip, clip_name, context_value, declared_value, frame_values
from framecast.clips.records import BadFile, read_records
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, PixelValue
from framecast.schemas.intervals import is_same_interval, other_intervals

_MICROSECONDS = 1_000_000
_VALUE_KINDS = {
    features.VALUE_UNIT: "bytes_list",
    features.VALUE_SCALE: "float_list",
    features.VALUE_OFFSET: "float_list",
    features.MISSING: "float_list",
}


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a clip declares about itself.

    Args:
        interval: Seconds between frames; None for one frame without a frame rate.
        value: Physical value of a pixel; None if the clip declares none.
        place: File, record and name of the clip.
    """

    interval: float | None
    value: PixelValue | None
    place: str


def frame_interval(example: tf.train.SequenceExample) -> float | None:
    """Returns the seconds between frames: the mean of the timestamps, or derived from the frame rate; None if unknown.

    Raises:
        BadClip: If the timestamps are missing, or a feature has another type.
    """
    times = frame_values(example, features.TIMESTAMP, "int64_list")
    if len(times) > 1 and times[-1] > times[0]:
        return (times[-1] - times[0]) / (len(times) - 1) / _MICROSECONDS
    rate = context_value(example, features.FRAME_RATE, "float_list")
    return 1 / rate if rate else None


def check_declared(example: tf.train.SequenceExample, spec: ClipSpec) -> None:
    """Compares interval, unit, scale, offset and missing pixel of a clip, as far as it declares them, with `spec`.

    Args:
        example: The clip, with valid timestamps.
        spec: The contract of a configuration or a model. Without `intervals` or `value`, any are legal.

    Raises:
        BadClip: If one differs; the message has both values and, for the interval, what to do.
    """
    interval = frame_interval(example)
    if differ := other_intervals(spec.intervals, [] if interval is None else [interval]):
        rates = " or ".join(f"{1 / one:g}" for one in spec.intervals)
        raise BadClip(
            "frame-interval",
            f"{features.TIMESTAMP}: {differ} (configuration or model); convert the source again with --fps {rates}, "
            "or train a model of such clips",
            clip_name(example),
        )
    _check_value(example, spec)


def first_clips(paths: Iterable[str]) -> Iterator[tuple[str, tf.train.SequenceExample]]:
    """Yields `FILE, record 0` and the first clip of each file; skips files without one, which validation reports."""
    for path in paths:
        with contextlib.suppress(BadFile, DecodeError, OSError, tf.errors.OpError):
            for index, record in read_records(path):
                yield f"{path}, record {index}", tf.train.SequenceExample.FromString(record)
                break


def not_compared(example: tf.train.SequenceExample, spec: ClipSpec) -> list[str]:
    """Returns what a clip declares and the contract of a model does not know, which `check_declared` cannot compare."""
    try:
        found = declared_by(example, "")
    except BadClip:
        return []  # Validation reports the error.
    unknown = []
    if found.interval is not None and not spec.intervals:
        unknown.append(f"interval between frames {found.interval:g} s")
    if found.value is not None and spec.value is None:
        unknown.append(f"pixel value {_describe_value(found.value)}")
    return unknown


def declared_by(example: tf.train.SequenceExample, place: str) -> Declared:
    """Returns what a clip declares; `place` is its file and record."""
    return Declared(frame_interval(example), declared_value(example), f"{place}: clip {clip_name(example)}")


def check_mixture(clips: Iterable[Declared], spec: ClipSpec) -> list[str]:
    """Checks that the clips of a run agree with each other in what `spec` leaves open.

    Args:
        clips: What clips declare, the train split first.
        spec: The clip contract of the configuration.

    Returns:
        What the configuration should say, but may leave out.

    Raises:
        ValueError: If intervals differ and `clip.intervals` is not set, or pixel values differ and `clip.value` is not
            set. The message names a clip for each.
    """
    intervals: list[Declared] = []
    values: list[Declared] = []
    for clip in clips:
        if clip.interval is not None and not any(_same_interval(clip, one) for one in intervals):
            intervals.append(clip)
        if clip.value is not None and not any(_same_value(clip, one) for one in values):
            values.append(clip)
    if not spec.intervals and len(intervals) > 1:
        received = "; ".join(f"{clip.interval:g} s ({clip.place})" for clip in intervals)
        every = ", ".join(f"{clip.interval:g}" for clip in intervals)
        raise ValueError(
            f"clip.intervals: expected one interval between frames in all clips, received {received}. Convert the "
            f"sources again with one --fps, or state which intervals are legal: clip.intervals=[{every}]"
        )
    if spec.value is not None or not values:
        return []
    if len(values) > 1:
        received = "; ".join(f"{_describe_value(clip.value)} ({clip.place})" for clip in values)
        raise ValueError(
            f"clip.value: expected one physical value of a pixel in all clips, received {received}. Convert the "
            "sources again with one --range and --unit, or state in clip.value which one is legal"
        )
    value = values[0].value
    assert value is not None
    return [
        f"clip.value is not set, but clips declare {_describe_value(value)} ({values[0].place}): clips of another unit "
        "will not be rejected, and the model's card has no unit"
    ]


def _same_interval(clip: Declared, other: Declared) -> bool:
    assert clip.interval is not None
    assert other.interval is not None
    return is_same_interval(clip.interval, other.interval)


def _same_value(clip: Declared, other: Declared) -> bool:
    assert clip.value is not None
    assert other.value is not None
    return (
        clip.value.unit == other.value.unit
        and _same_number(clip.value.scale, other.value.scale)
        and _same_number(clip.value.offset, other.value.offset)
    )


def _same_number(received: float, wanted: float) -> bool:
    return math.isclose(received, wanted, rel_tol=1e-4, abs_tol=1e-6)  # Clips hold float32.


def _check_value(example: tf.train.SequenceExample, spec: ClipSpec) -> None:
    expected: dict[str, Any] = {features.MISSING: spec.missing}
    if spec.value is not None:
        expected[features.VALUE_UNIT] = spec.value.unit
        expected[features.VALUE_SCALE] = spec.value.scale
        expected[features.VALUE_OFFSET] = spec.value.offset
    for name, wanted in expected.items():
        received = context_value(example, name, _VALUE_KINDS[name])
        if received is None:
            continue
        if isinstance(received, bytes):
            same, received = received.decode(errors="replace") == wanted, received.decode(errors="replace")
        else:
            same = wanted is not None and _same_number(received, wanted)
        if not same:
            wanted = "none" if wanted is None else wanted
            message = f"{name}: expected {wanted} (configuration or model), received {received}"
            raise BadClip("pixel-value", message, clip_name(example))


def _describe_value(value: PixelValue | None) -> str:
    return "none" if value is None else f"{value.scale:g} * pixel {value.offset:+g} {value.unit}"
