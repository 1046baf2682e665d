"""Reads a `tf.train.SequenceExample` in the MediaSequence convention: of MediaPipe, DMVR or this project."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf

from framecast.clips.convert.sources.examples.encoded_frames import FrameDecoder, RawPixels
from framecast.clips.convert.sources.source import BadSource, Frame, Recording, ValueEncoding
from framecast.schemas import features
from framecast.schemas.clip_spec import DType

_LEAST_SPACING = 100  # Microseconds; shorter spacings are of another unit, or frame numbers.
SPACED = "frames with unusable timestamps, spaced by --fps"
_NOT_KEPT = {
    features.FRAME_LABEL_INDEX: "class labels of frames, which clips do not take over",
    features.FRAME_LABEL_VALUE: "value labels of frames, which clips do not take over",
}
VALUE_LABEL = "value labels of clips, not taken over (give them by --labels CSV)"


def sequence_recording(
    name: str,
    place: str,
    example: tf.train.SequenceExample,
    key: str | None,
    decoder: FrameDecoder,
    fps: float | None,
) -> Recording:
    """Returns the recording of a SequenceExample.

    Args:
        name: Name of the recording.
        place: The record, for messages.
        example: The SequenceExample.
        key: Feature list of the frames; by default `image/encoded`, or else the only one with bytes.
        decoder: Decodes encoded images or raw pixels.
        fps: Requested frame rate, which also spaces frames whose timestamps are unusable.

    Raises:
        BadSource: If the frames or their times cannot be determined.
    """
    lists = example.feature_lists.feature_list
    key = _key(place, lists, key)
    encoded = [list(feature.bytes_list.value) for feature in lists[key].feature]
    for index, values in enumerate(encoded):
        if len(values) != 1:
            raise BadSource(f"{place}, frame {index}", f"expected one value in {key}, received {len(values)}")
    prefix = key.removesuffix(features.ENCODED) if key.endswith(features.ENCODED) else None
    context = _Context(example, prefix or "")
    left_out: collections.Counter[str] = collections.Counter()
    stamps = _stamps(place, lists, prefix, len(encoded))
    fault = _fault(stamps)
    if fault is not None and fps is None:
        raise BadSource(place, f"{fault}; give the frame rate (--fps) to ignore the timestamps")
    if fault is not None:
        stamps = None
        left_out[SPACED] += len(encoded)
    for feature, count in _NOT_KEPT.items():
        left_out[count] += len(lists[feature].feature) if feature in lists else 0
    left_out[VALUE_LABEL] += context.get(features.LABEL_VALUE) is not None
    rate = context.get(features.FRAME_RATE, prefixed=True)
    if prefix is not None:
        decoder = _decoder_of(place, context, decoder)
    return Recording(
        name,
        _frames(place, [values[0] for values in encoded], stamps, decoder),
        rate=float(rate) if rate else None,
        encoding=_encoding(context),
        label=context.text(features.LABEL_STRING),
        label_index=context.get(features.LABEL_INDEX),
        media_id=context.text(features.MEDIA_ID),
        left_out=left_out,
    )


class _Context:
    """The single values of the context."""

    def __init__(self, example: tf.train.SequenceExample, prefix: str):
        self._feature = example.context.feature
        self._prefix = prefix

    def get(self, name: str, prefixed: bool = False) -> Any:
        """Returns a value; None if there is not exactly one."""
        name = self._prefix + name if prefixed else name
        if name not in self._feature:
            return None
        kind = self._feature[name].WhichOneof("kind")
        values = list(getattr(self._feature[name], kind).value) if kind else []
        return values[0] if len(values) == 1 else None

    def text(self, name: str, prefixed: bool = False) -> str | None:
        """Returns a value as text; None if there is not exactly one."""
        value = self.get(name, prefixed)
        return value.decode(errors="replace") if isinstance(value, bytes) else None


def _key(place: str, lists: Any, key: str | None) -> str:
    with_bytes = sorted(name for name, values in lists.items() if values.feature and _has_bytes(values.feature[0]))
    if key is None:
        key = features.ENCODED if features.ENCODED in with_bytes else with_bytes[0] if len(with_bytes) == 1 else None
    if key is None or key not in with_bytes:
        wanted = f"frames in {key} (--variable)" if key else f"frames in {features.ENCODED} (or --variable)"
        received = ", ".join(with_bytes) or f"none, but the lists {', '.join(sorted(lists))}"
        raise BadSource(place, f"expected {wanted}, received lists of bytes in {received}")
    return key


def _has_bytes(feature: tf.train.Feature) -> bool:
    return bool(feature.bytes_list.value)


def _stamps(place: str, lists: Any, prefix: str | None, frames: int) -> list[int] | None:
    """Returns the timestamps beside the frames; None without such a list."""
    name = None if prefix is None else prefix + features.TIMESTAMP
    if name is None or name not in lists or not lists[name].feature:
        return None
    stamps = [value for feature in lists[name].feature for value in feature.int64_list.value]
    if len(stamps) != frames:
        raise BadSource(place, f"expected {frames} values in {name}, one per frame, received {len(stamps)}")
    return stamps


def _fault(stamps: Sequence[int] | None) -> str | None:
    """Returns why timestamps are unusable."""
    if stamps is None or len(stamps) < 2:
        return None
    spacings = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    received = ", ".join(map(str, stamps[:4]))
    if min(spacings) <= 0:
        return f"expected increasing timestamps, received {received}"
    if np.median(spacings) < _LEAST_SPACING:
        return f"expected timestamps in microseconds, received {received}"
    return None


def _decoder_of(place: str, context: _Context, decoder: FrameDecoder) -> FrameDecoder:
    """Returns the decoder that the context describes: raw pixels, or channels as this project writes them."""
    if context.text(features.FORMAT, prefixed=True) == "RAW" and decoder.raw is None:
        names = (features.HEIGHT, features.WIDTH, features.CHANNELS)
        height, width, channels = (context.get(name, prefixed=True) for name in names)
        dtype = context.text(features.RAW_DTYPE, prefixed=True)
        if None in (height, width, channels) or dtype not in ("uint8", "uint16", "float32"):
            expected = f"expected {', '.join(names)} and {features.RAW_DTYPE} of RAW frames in the context"
            raise BadSource(place, f"{expected}; give --raw-size HEIGHT WIDTH, --raw-channels and --raw-dtype")
        return dataclasses.replace(decoder, raw=RawPixels(height, width, cast(DType, dtype), channels))
    # Only channels that are called RGBA have an alpha.
    known = context.get(features.CHANNELS, prefixed=True) is not None
    return dataclasses.replace(decoder, plain=known and context.text(features.COLORSPACE, prefixed=True) != "RGBA")


def _encoding(context: _Context) -> ValueEncoding:
    scale, offset = context.get(features.VALUE_SCALE), context.get(features.VALUE_OFFSET)
    missing = context.get(features.MISSING)
    return ValueEncoding(
        scale=1.0 if scale is None else float(scale),
        offset=0.0 if offset is None else float(offset),
        unit=context.text(features.VALUE_UNIT),
        fill=() if missing is None else (float(missing),),
    )


def _frames(place: str, encoded: list[bytes], stamps: list[int] | None, decoder: FrameDecoder) -> Iterator[Frame]:
    for index, data in enumerate(encoded):
        yield decoder.decode(f"{place}, frame {index}", data, None if stamps is None else stamps[index])
