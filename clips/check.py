"""Holds a clip against the contract, every frame of it."""

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from framecast.clips.codec import BadClip, decode_frames, text_of
from framecast.schemas import features
from framecast.schemas.spec import ClipSpec

# Upper bounds of the share of known pixels that are not 0, by content class.
_EMPTY, _SPARSE = 0.01, 0.2
# A gap is a spacing that differs from the frame rate's by more than this share, beside rounding to microseconds.
_SPACING_TOLERANCE = 0.01

_KINDS = {"bytes_list": "bytes", "int64_list": "int64", "float_list": "float", None: "nothing"}


def check_clip(serialized: bytes, spec: ClipSpec) -> tf.train.SequenceExample:
    """Returns the clip with its facts added to the context, or raises.

    The facts are `features.LENGTH`, its number of frames, and `features.CONTENT`: `empty` when less than 1 % of its known
    pixels differ from 0, `sparse` below 20 %, else `dense`.

    Args:
        serialized: A serialized SequenceExample.
        spec: The clip contract.

    Raises:
        BadClip: When anything breaks the contract; names clip, frame, expected and received.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
    except DecodeError as error:
        raise BadClip("not-a-clip", f"expected a SequenceExample, received {len(serialized)} other bytes") from error
    clip = text_of(example, features.EXAMPLE_ID)
    for name in (features.EXAMPLE_ID, features.MEDIA_ID):
        _one(example.context.feature.get(name), "bytes_list", name, clip)
    lists = example.feature_lists.feature_list
    for name, kind in ((features.ENCODED, "bytes_list"), (features.TIMESTAMP, "int64_list")):
        if name not in lists:
            raise BadClip("missing-key", f"expected the feature list {name}, received none", clip=clip)
        for number, feature in enumerate(lists[name].feature):
            _one(feature, kind, name, clip, number)
    length = len(lists[features.ENCODED].feature)
    if not spec.frames.min <= length <= spec.frames.max:
        raise BadClip(
            "frame-count", f"expected {spec.frames.min} to {spec.frames.max} frames, received {length}", clip=clip
        )
    _check_timestamps(example, length, clip)
    frames = decode_frames(example, spec)
    context = example.context.feature
    context[features.LENGTH].int64_list.value[:] = [length]
    context[features.CONTENT].bytes_list.value[:] = [_content(frames, spec)]
    return example


def _one(
    feature: tf.train.Feature | None, kind: str, name: str, clip: str, frame: int | None = None
) -> None:
    received = feature.WhichOneof("kind") if feature is not None else None
    if received != kind:
        reason = "missing-key" if received is None else "wrong-type"
        raise BadClip(reason, f"{name}: expected {_KINDS[kind]}, received {_KINDS[received]}", clip=clip, frame=frame)
    count = len(getattr(feature, kind).value)
    if count != 1:
        raise BadClip("missing-key", f"{name}: expected 1 value, received {count}", clip=clip, frame=frame)


def _check_timestamps(example: tf.train.SequenceExample, length: int, clip: str) -> None:
    times = [f.int64_list.value[0] for f in example.feature_lists.feature_list[features.TIMESTAMP].feature]
    if len(times) != length:
        raise BadClip(
            "timestamps", f"{features.TIMESTAMP}: expected {length}, one a frame, received {len(times)}", clip=clip
        )
    spacings = np.diff(times)
    if not len(spacings):
        return
    for number in np.flatnonzero(spacings <= 0):
        raise BadClip(
            "timestamps",
            f"{features.TIMESTAMP}: expected more than {times[number]}, received {times[number + 1]}",
            clip=clip,
            frame=int(number) + 1,
        )
    rate = example.context.feature[features.FRAME_RATE].float_list.value if (
        features.FRAME_RATE in example.context.feature
    ) else ()
    spacing = 1e6 / rate[0] if rate and rate[0] > 0 else float(np.median(spacings))
    for number in np.flatnonzero(np.abs(spacings - spacing) > _SPACING_TOLERANCE * spacing + 1):
        raise BadClip(
            "gap",
            f"{features.TIMESTAMP}: expected {spacing:.0f} microseconds after the frame before, "
            f"received {spacings[number]}",
            clip=clip,
            frame=int(number) + 1,
        )


def _content(frames: np.ndarray, spec: ClipSpec) -> bytes:
    known = np.ones(frames.shape, bool) if spec.missing is None else frames != spec.missing
    share = np.count_nonzero(frames[known]) / max(np.count_nonzero(known), 1)
    return b"empty" if share < _EMPTY else b"sparse" if share < _SPARSE else b"dense"
