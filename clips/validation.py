"""Validates clips against the clip contract.

example = check_clip(record, spec)  # Raises BadClip with clip, frame, expected and received value.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from google.protobuf import message as protobuf_message

from framecast.clips.codec import (
    BadClip,
    clip_name,
    context_value,
    context_values,
    decode_frames,
    frame_values,
    iterate_frames,
)
from framecast.clips.declared import check_declared, frame_interval
from framecast.clips.records import BadFile, read_records
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec

__all__ = ["BadClip", "check_clip", "read_clips", "read_frames"]

# Share of zeros among the known pixels above which content is `empty` or `sparse`.
_EMPTY_ABOVE = 0.99
_SPARSE_ABOVE = 0.8
_MOVING_ABOVE = 0.1  # Motion divided by deviation; camera noise is far below.
_MICROSECONDS = 1_000_000
_SPACING_TOLERANCE = 0.01
_ROUNDING = 1  # Microseconds that rounding times to integers can change a spacing by.

_IDENTITY = (features.EXAMPLE_ID, features.MEDIA_ID)
_CONTEXT_KINDS = {
    features.FORMAT: "bytes_list",
    features.COLORSPACE: "bytes_list",
    features.CHANNELS: "int64_list",
    features.HEIGHT: "int64_list",
    features.WIDTH: "int64_list",
    features.FRAME_RATE: "float_list",
    features.VALUE_UNIT: "bytes_list",
    features.VALUE_SCALE: "float_list",
    features.VALUE_OFFSET: "float_list",
    features.MISSING: "float_list",
}


def read_clips(
    path: str, spec: ClipSpec, label: LabelSpec | None = None, on_bad: Callable[[ValueError], None] | None = None
) -> Iterator[tf.train.SequenceExample]:
    """Yields the validated clips of a TFRecord file, one at a time.

    Args:
        path: The file.
        spec: The clip contract.
        label: As for `check_clip`.
        on_bad: Called with each error; reading continues with the next readable clip. By default, errors are raised.

    Raises:
        ValueError: If a clip breaks the contract; the message has file and record.
        BadFile: If the file is damaged.
    """

    def reject(error: ValueError, _: bytes = b"") -> None:
        if on_bad is None:
            raise error
        on_bad(error)

    try:
        for index, record in read_records(path, on_corrupt=reject):
            try:
                example = check_clip(record, spec, label)
            except BadClip as error:
                reject(ValueError(f"{path}, record {index}: {error}"))
                continue
            yield example
    except BadFile as error:
        reject(error)


def check_clip(serialized: bytes, spec: ClipSpec, label: LabelSpec | None = None) -> tf.train.SequenceExample:
    """Validates a serialized clip: features, timestamps, labels and every pixel.

    Args:
        serialized: The clip.
        spec: The clip contract.
        label: The label that the clip must have; None to ignore labels.

    Returns:
        The clip, with these features added to the context. Floats are computed over the known pixels, divided by the
        largest pixel value:

        - `clip/length`: int64, number of frames.
        - `clip/mean`, `clip/deviation`: float, mean and standard deviation.
        - `clip/motion`: float, mean absolute difference between consecutive frames.
        - `clip/empty_share`: float, share of zeros.
        - `clip/content`: `empty`, `sparse` or `dense`, by the share of zeros.
        - `clip/movement`: `moving` if motion is above a tenth of the deviation, else `still`.
        - `clip/class`: the `clip/label/index`; `none` or `several` if there is not exactly one.
        - `image/frame_rate`: float, from the timestamps, if the clip has none and more than one frame.

    Raises:
        BadClip: If the clip breaks the contract.
    """
    example, count = _check_features(serialized, spec, label)
    facts = _check_pixels(example, spec)
    context = example.context.feature
    # CopyFrom replaces the values of an earlier ingest; appending would keep both.
    context[features.LENGTH].CopyFrom(tf.train.Feature(int64_list=tf.train.Int64List(value=[count])))
    zeros = facts[features.EMPTY_SHARE]
    content = "empty" if zeros > _EMPTY_ABOVE else "sparse" if zeros > _SPARSE_ABOVE else "dense"
    movement = "moving" if facts[features.MOTION] > _MOVING_ABOVE * facts[features.DEVIATION] else "still"
    for name, word in (
        (features.CONTENT, content), (features.MOVEMENT, movement), (features.CLASS, _class_of(example))
    ):  # fmt: skip
        context[name].CopyFrom(tf.train.Feature(bytes_list=tf.train.BytesList(value=[word.encode()])))
    if features.FRAME_RATE not in context and (interval := frame_interval(example)):
        facts[features.FRAME_RATE] = 1 / interval
    for name, value in facts.items():
        context[name].CopyFrom(tf.train.Feature(float_list=tf.train.FloatList(value=[value])))
    return example


def read_frames(serialized: bytes, spec: ClipSpec) -> tuple[tf.train.SequenceExample, np.ndarray]:
    """Validates a serialized clip and returns its frames.

    Returns:
        The unchanged clip, and its frames `(time, height, width, channel)` in the clips' dtype.

    Raises:
        BadClip: If the clip breaks the contract.
    """
    example, _ = _check_features(serialized, spec, label=None)
    frames = decode_frames(example, spec)
    if spec.dtype == "float32":
        for index, frame in enumerate(frames):
            _check_values(frame, _known(frame, spec), clip_name(example), index)
    return example, frames


def _check_features(serialized: bytes, spec: ClipSpec, label: LabelSpec | None) -> tuple[tf.train.SequenceExample, int]:
    """Checks everything except the pixels; returns the clip and its number of frames."""
    example = _parse(serialized)
    clip = clip_name(example)
    for name in _IDENTITY:
        if not context_value(example, name, "bytes_list"):
            state = "empty" if name in example.context.feature else "missing"
            raise BadClip("missing-key", f"{name}: this context feature is {state}", clip)
    for name, kind in _CONTEXT_KINDS.items():
        context_value(example, name, kind)
    timestamps = frame_values(example, features.TIMESTAMP, "int64_list")
    count = len(frame_values(example, features.ENCODED, "bytes_list"))
    _check_count(count, len(timestamps), spec, clip)
    _check_times(timestamps, context_value(example, features.FRAME_RATE, "float_list"), clip)
    check_declared(example, spec)
    if label is not None:
        _check_labels(example, label, count, clip)
    return example, count


def _parse(serialized: bytes) -> tf.train.SequenceExample:
    expected = "expected a tf.train.SequenceExample, received"
    try:
        example = tf.train.SequenceExample.FromString(serialized)
    except protobuf_message.DecodeError as error:
        raise BadClip("not-sequence-example", f"{expected} {len(serialized)} bytes: {error}") from error
    # A tf.train.Example also parses; its features become the context.
    if not example.feature_lists.feature_list and clip_name(example) is None:
        received = "a tf.train.Example" if example.context.feature else f"{len(serialized)} bytes without feature lists"
        raise BadClip("not-sequence-example", f"{expected} {received}")
    return example


def _class_of(example: tf.train.SequenceExample) -> str:
    labels = example.context.feature.get(features.LABEL_INDEX)
    values = list(labels.int64_list.value) if labels is not None else []
    return str(values[0]) if len(values) == 1 else "several" if values else "none"


def _check_count(frames: int, timestamps: int, spec: ClipSpec, clip: str | None) -> None:
    legal = f"expected {spec.frames.min} to {spec.frames.max} frames"
    if not frames:
        raise BadClip("empty-clip", f"{features.ENCODED}: {legal}, received 0", clip)
    if not spec.frames.min <= frames <= spec.frames.max:
        raise BadClip("frame-count", f"{features.ENCODED}: {legal}, received {frames}", clip)
    if timestamps != frames:
        message = f"{features.TIMESTAMP}: expected {frames} values, one per frame, received {timestamps}"
        raise BadClip("timestamp-count", message, clip, min(frames, timestamps))


def _check_times(timestamps: list[int], frame_rate: float | None, clip: str | None) -> None:
    spacings = [later - earlier for earlier, later in itertools.pairwise(timestamps)]
    for frame, spacing in enumerate(spacings, start=1):
        if spacing <= 0:
            message = f"expected more than {timestamps[frame - 1]} us, received {timestamps[frame]} us"
            raise BadClip("timestamp-order", f"{features.TIMESTAMP}: {message}", clip, frame)
    if frame_rate is not None and not (math.isfinite(frame_rate) and frame_rate > 0):
        message = f"{features.FRAME_RATE}: expected a positive number of frames per second, received {frame_rate}"
        raise BadClip("frame-rate", message, clip)
    if not spacings:
        return
    expected = float(np.median(spacings)) if frame_rate is None else _MICROSECONDS / frame_rate
    source = "median of the clip" if frame_rate is None else f"{features.FRAME_RATE} {frame_rate:.6g}"
    for frame, spacing in enumerate(spacings, start=1):
        if abs(spacing - expected) > _SPACING_TOLERANCE * expected + _ROUNDING:
            message = f"expected {expected:.0f} us (+-1 %, {source}) after the previous frame, received {spacing} us"
            raise BadClip("timestamp-gap", f"{features.TIMESTAMP}: {message}", clip, frame)


def _check_labels(example: tf.train.SequenceExample, label: LabelSpec, frames: int, clip: str | None) -> None:
    kind = "float_list" if label.classes is None else "int64_list"
    if label.per == "clip":
        values = context_values(example, label.name, kind, label.numbers)
    elif label.name in example.feature_lists.feature_list:
        values = frame_values(example, label.name, kind)
    else:
        values = []
    if not values and not label.required:
        return
    if not values:
        raise BadClip("missing-label", f"{label.name}: expected a label for every {label.per}, received none", clip)
    if label.per == "frame" and len(values) != frames:
        message = f"{label.name}: expected {frames} values, one per frame, received {len(values)}"
        raise BadClip("label-count", message, clip, min(frames, len(values)))
    for index, value in enumerate(values):
        frame = index if label.per == "frame" else None
        if label.classes is None and not math.isfinite(value):
            raise BadClip("label-range", f"{label.name}: expected a finite number, received {value}", clip, frame)
        if label.classes is not None and not 0 <= value < label.classes:
            message = f"{label.name}: expected a class from 0 to {label.classes - 1}, received {value}"
            raise BadClip("label-range", message, clip, frame)


def _check_pixels(example: tf.train.SequenceExample, spec: ClipSpec) -> dict[str, float]:
    """Decodes every frame, at most two in memory; returns the content features."""
    pixels = zeros = pairs = 0
    total = squares = motion = 0.0
    before: tuple[np.ndarray, np.ndarray] | None = None
    largest = 1.0 if spec.dtype == "float32" else float(np.iinfo(spec.dtype).max)
    for index, frame in enumerate(iterate_frames(example, spec)):
        known = _known(frame, spec)
        if spec.dtype == "float32":
            _check_values(frame, known, clip_name(example), index)
        shares = np.where(known, frame, 0) / largest
        pixels += np.count_nonzero(known)
        zeros += np.count_nonzero(known & (frame == 0))
        total += float(shares.sum())
        squares += float(np.square(shares).sum())
        if before is not None:
            both = known & before[1]
            pairs += np.count_nonzero(both)
            motion += float(np.abs(shares - before[0])[both].sum())
        before = shares, known
    mean = total / max(pixels, 1)
    return {
        features.MEAN: mean,
        features.DEVIATION: math.sqrt(max(squares / max(pixels, 1) - mean**2, 0.0)),
        features.EMPTY_SHARE: zeros / pixels if pixels else 1.0,
        features.MOTION: motion / max(pairs, 1),
    }


def _known(frame: np.ndarray, spec: ClipSpec) -> np.ndarray:
    return np.ones(frame.shape, bool) if spec.missing is None else frame != frame.dtype.type(spec.missing)


def _check_values(frame: np.ndarray, known: np.ndarray, clip: str | None, index: int) -> None:
    for reason, wanted, bad in (
        ("not-finite", "a finite value", ~np.isfinite(frame)),
        ("value-range", "a value in [0, 1]", (frame < 0) | (frame > 1)),
    ):
        bad &= known
        if bad.any():
            place = tuple(map(int, np.argwhere(bad)[0]))
            message = f"expected {wanted} at (height, width, channel) {place}, received {frame[place]}"
            raise BadClip(reason, f"{features.ENCODED}: {message}", clip, index)
