"""Makes clips from a recording, deterministically and lazily, so that clips already written are not encoded again."""

import collections
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.convert.field_statistics import FieldStatistics
from framecast.clips.convert.quantize import PixelScale, luminance, resize
from framecast.clips.convert.sources.labels import Label
from framecast.clips.convert.sources.source import BadSource, Recording
from framecast.clips.convert.spec import ConvertSpec, CutSpec
from framecast.clips.convert.windowing import Segment, cut


@dataclasses.dataclass(frozen=True)
class PendingClip:
    """A clip that is not encoded yet.

    Args:
        frames: Number of frames.
        media_id: The recording, or piece of one; its clips share a split.
        contract: Matching `clip` section of a configuration, without `frames`.
        encode: Returns the serialized clip.
    """

    frames: int
    media_id: str
    contract: dict[str, object]
    encode: Callable[[], bytes]


def make_clips(
    recording: Recording,
    spec: ConvertSpec,
    label: Label,
    tally: collections.Counter[str],
    statistics: FieldStatistics | None = None,
) -> Iterator[PendingClip]:
    """Yields the clips of a recording.

    Args:
        recording: The recording; its frames are consumed.
        spec: How frames are scaled and cut.
        label: Label of the recording.
        tally: Receives the counts of `cut` and `PixelScale`, and `clips of little content`.
        statistics: Receives the physical values of the frames.

    Raises:
        BadSource: If frames cannot be read, or do not match `spec`.
    """
    recording.use_part(spec.cut.crop)
    converter: _PixelConverter | None = None
    ready: dict[int, np.ndarray] = {}
    for segment in cut(recording, fps=spec.read.fps, spec=spec.cut, tally=tally):
        if converter is None:
            converter = _PixelConverter(recording, spec, segment.frames[0].values.dtype, tally, statistics)
        # Overlapping segments share frames; each frame is converted once.
        ready = {
            segment.index + number: ready[segment.index + number]
            if segment.index + number in ready
            else converter(frame.values, frame.place)
            for number, frame in enumerate(segment.frames)
        }
        pixels = _stacked(list(ready.values()), segment)
        yield from _tiles(recording, segment, pixels, converter.scale, spec.cut, label, tally)
    tally.update(recording.left_out)


class _PixelConverter:
    """Converts a frame to pixels: gray, scale, resize."""

    def __init__(
        self,
        recording: Recording,
        spec: ConvertSpec,
        stored: np.dtype,
        tally: collections.Counter[str],
        statistics: FieldStatistics | None,
    ):
        self._value = spec.value
        self._cut = spec.cut
        try:
            self.scale = PixelScale(spec.value, recording.encoding, stored, tally, recording.limits, statistics)
        except ValueError as error:
            raise BadSource(recording.name, str(error)) from error

    def __call__(self, values: np.ndarray, place: str) -> np.ndarray:
        if self._value.gray:
            values = luminance(values, place)
        pixels = self.scale(values, place)
        return pixels if self._cut.size is None else resize(pixels, self._cut.size, self.scale.missing)


def _stacked(frames: list[np.ndarray], segment: Segment) -> np.ndarray:
    """Returns `(time, height, width, channel)`."""
    for pixels, frame in zip(frames, segment.frames, strict=True):
        if pixels.shape != frames[0].shape:
            expected = f"expected (height, width, channel) {frames[0].shape} as in {segment.frames[0].place}"
            raise BadSource(frame.place, f"{expected}, received {pixels.shape}")
    return np.stack(frames)


def _tiles(
    recording: Recording,
    segment: Segment,
    pixels: np.ndarray,
    scale: PixelScale,
    spec: CutSpec,
    label: Label,
    tally: collections.Counter[str],
) -> Iterator[PendingClip]:
    height, width = pixels.shape[1:3]
    side = spec.tile
    if side is not None and side > min(height, width):
        raise BadSource(
            segment.frames[0].place, f"expected frames of at least {side}x{side} (--tile), received {height}x{width}"
        )
    step = spec.tile_stride or side or 1
    media = recording.media_id or recording.identify(recording.group or recording.name)
    if spec.recording_seconds is not None:
        media = f"{media}/{segment.piece:05d}"
    contract = {
        "channels": pixels.shape[-1],
        "dtype": pixels.dtype.name,
        "height": side or height,
        "width": side or width,
        "missing": _plain(scale.missing),
        "value": scale.value.model_dump() if scale.value else None,
        "intervals": [float(f"{1 / segment.rate:.4g}")],  # Rounded, so that few contracts differ by jitter.
    }
    tops = range(0, height - side + 1, step) if side else (0,)
    lefts = range(0, width - side + 1, step) if side else (0,)
    for top in tops:
        for left in lefts:
            part = pixels if side is None else pixels[:, top : top + side, left : left + side]
            if spec.min_content and _content(part, scale.missing) < spec.min_content:
                tally["clips of little content"] += 1
                continue
            name = f"{recording.identify(recording.name)}/{segment.index:07d}" + (f"@{top},{left}" if side else "")
            yield PendingClip(
                len(part), media, contract, _encoder(part, name, media, segment.rate, segment.times, scale, label)
            )


def _plain(missing: float | None) -> float | int | None:
    return missing if missing is None or not float(missing).is_integer() else int(missing)


def _encoder(
    frames: np.ndarray, name: str, media: str, rate: float, times: list[int], scale: PixelScale, label: Label
) -> Callable[[], bytes]:
    def encode() -> bytes:
        example = encode_clip(
            frames,
            example_id=name,
            media_id=media,
            frame_rate=rate,
            timestamps=times,
            label_index=[] if label.index is None else [label.index],
            label_string=[] if label.string is None else [label.string],
            label_value=label.value,
            value=scale.value,
            missing=scale.missing,
        )
        return example.SerializeToString(deterministic=True)

    return encode


def _content(pixels: np.ndarray, missing: float | None) -> float:
    """Returns the share of known nonzero pixels."""
    content = pixels != 0
    if missing is not None:
        content &= pixels != pixels.dtype.type(missing)
    return float(np.count_nonzero(content)) / pixels.size
