"""Summarizes clip files (counts, lengths, sizes, rates, labels) and draws a contact sheet.

    found = inspect(["clips/train"])
    print(found.describe())
    write_contact_sheet("sheet.png", found.samples)

Only the contact sheet decodes frames; `framecast.clips.validation` checks clips against a contract.
"""

import collections
import dataclasses
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message as protobuf_message
from PIL import Image

from framecast.clips import filesystem, image_codec
from framecast.clips.codec import RAW, BadClip, clip_name, context_value, decode_frames, frame_values
from framecast.clips.records import BadFile, find_files, read_records
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec

_ROWS = 8  # Clips of the contact sheet.
_COLUMNS = 8  # Frames per clip.
_PANEL = 128  # Longer side of a frame on the sheet, in pixels.
_GAP = 4
_SHOWN = 10  # Faults listed.
_BAR = 40  # Longest histogram bar, in characters.
_BINS = 12


@dataclasses.dataclass
class Inspection:
    """A summary of clip files.

    Args:
        files: Number of files.
        bytes: Total size.
        clips: Number of readable clips.
        frames: Number of frames in them.
        recordings: Number of distinct `clip/media_id` values.
        lengths: Number of clips per frame count.
        sizes: Number of clips per frame size, channels, dtype and format, such as `128x128x1 uint8 PNG`.
        rates: Number of clips per median frame interval in seconds.
        labels: Per label feature, the number of clips (or frames) per class; for numbers, `least` and `largest`.
        faults: Unreadable records and files, each with its path.
        samples: Random clips, drawn with a fixed seed.
    """

    files: int = 0
    bytes: int = 0
    clips: int = 0
    frames: int = 0
    recordings: int = 0
    lengths: dict[int, int] = dataclasses.field(default_factory=collections.Counter)
    sizes: dict[str, int] = dataclasses.field(default_factory=collections.Counter)
    rates: dict[float, int] = dataclasses.field(default_factory=collections.Counter)
    labels: dict[str, Any] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    samples: list[tf.train.SequenceExample] = dataclasses.field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Returns all fields except the samples."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "samples"}

    def describe(self) -> str:
        """Returns the summary as text."""
        lines = [
            f"{self.files} files, {self.bytes / 1e6:.1f} MB",
            f"{self.clips} clips of {self.recordings} recordings, {self.frames} frames",
        ]
        lines += _histogram(self.lengths)
        lines += [f"  {size}: {count} clips" for size, count in _largest_first(self.sizes)]
        lines += [f"  a frame every {seconds:g} s: {count} clips" for seconds, count in _largest_first(self.rates)]
        for key, found in self.labels.items():
            lines.append(f"  {key}: " + ", ".join(f"{name}: {value}" for name, value in sorted(found.items())))
        if self.faults:
            lines.append(f"{len(self.faults)} faults:")
            lines += [f"  {fault}" for fault in self.faults[:_SHOWN]]
        return "\n".join(lines)


def inspect(paths: Sequence[str]) -> Inspection:
    """Reads clip files, one record in memory at a time.

    Args:
        paths: TFRecord files, folders (searched recursively, without hidden files) or glob patterns.

    Raises:
        FileNotFoundError: If a path matches no file.
    """
    found = Inspection()
    recordings: set[bytes] = set()
    draw = random.Random(0)
    for path in find_files(paths):
        found.files += 1
        try:
            found.bytes += filesystem.total_size([path])
            for index, record in read_records(path, on_corrupt=lambda error, _: found.faults.append(str(error))):
                try:
                    example = _add(record, found, recordings)
                except ValueError as error:
                    found.faults.append(f"{path}, record {index}: {error}")
                    continue
                # Reservoir sampling: the number of clips is not known in advance.
                if len(found.samples) < _ROWS:
                    found.samples.append(example)
                elif (place := draw.randrange(found.clips)) < _ROWS:
                    found.samples[place] = example
        except BadFile as error:
            found.faults.append(str(error))
        except OSError as error:
            found.faults.append(f"{path}: cannot read the file: {error.strerror}")
    found.recordings = len(recordings)
    found.lengths = dict(sorted(found.lengths.items()))
    return found


def write_contact_sheet(path: str | os.PathLike[str], samples: Sequence[tf.train.SequenceExample]) -> None:
    """Writes a PNG with one row per clip and up to 8 frames per row.

    Pixel values are scaled per clip, from minimum to maximum. Of 2 or more than 4 channels, only the first is shown.

    Raises:
        ValueError: If there are no samples.
    """
    if not samples:
        raise ValueError(f"{path}: there are no clips to show")
    rows = [_panels(example) for example in samples]
    width = max(sum(panel.width + _GAP for panel in row) for row in rows)
    height = sum(max(panel.height for panel in row) + _GAP for row in rows)
    sheet = Image.new("RGB", (width + _GAP, height + _GAP), (24, 24, 28))
    top = _GAP
    for row in rows:
        left = _GAP
        for panel in row:
            sheet.paste(panel, (left, top))
            left += panel.width + _GAP
        top += max(panel.height for panel in row) + _GAP
    sheet.save(path)


def _add(record: bytes, found: Inspection, recordings: set[bytes]) -> tf.train.SequenceExample:
    """Adds a clip to the counts; an unreadable clip raises before any count changes."""
    try:
        example = tf.train.SequenceExample.FromString(record)
    except protobuf_message.DecodeError as error:
        message = f"expected a tf.train.SequenceExample, received {len(record)} bytes"
        raise BadClip("not-sequence-example", message) from error
    encoded = frame_values(example, features.ENCODED, "bytes_list")
    times = frame_values(example, features.TIMESTAMP, "int64_list")
    if not encoded:
        raise BadClip("empty-clip", f"{features.ENCODED}: expected frames, received 0", clip_name(example))
    height, width, spec, image_format = _first_frame(example, encoded[0])
    found.clips += 1
    found.frames += len(encoded)
    found.lengths[len(encoded)] += 1
    found.sizes[f"{height}x{width}x{spec.channels} {spec.dtype} {image_format}"] += 1
    if len(times) > 1:
        found.rates[float(np.median(np.diff(times))) / 1e6] += 1
    recordings.add(context_value(example, features.MEDIA_ID, "bytes_list") or b"")
    for name in (features.LABEL_INDEX, features.LABEL_VALUE):
        _add_labels(found.labels, name, [example.context.feature[name]] if name in example.context.feature else [])
    for name in (features.FRAME_LABEL_INDEX, features.FRAME_LABEL_VALUE):
        _add_labels(found.labels, name, example.feature_lists.feature_list[name].feature)
    return example


def _first_frame(example: tf.train.SequenceExample, data: bytes) -> tuple[int, int, ClipSpec, str]:
    """Returns height, width, a matching clip contract and the image format."""
    if context_value(example, features.FORMAT, "bytes_list") == RAW.encode():
        sizes = [context_value(example, name, "int64_list") for name in (features.HEIGHT, features.WIDTH)]
        channels = context_value(example, features.CHANNELS, "int64_list")
        dtype = (context_value(example, features.RAW_DTYPE, "bytes_list") or b"").decode()
        if None in (*sizes, channels) or not dtype:
            message = f"expected height, width, channels and dtype of RAW frames, received {*sizes, channels, dtype}"
            raise BadClip("missing-key", message, clip_name(example))
        return *sizes, _any_length(channels, dtype), RAW
    header = image_codec.read_header(data)
    spec = _any_length(header.channels, "uint16" if header.depth == 16 else "uint8")
    return header.height, header.width, spec, header.format


def _any_length(channels: int, dtype: str) -> ClipSpec:
    return ClipSpec.model_validate({"channels": channels, "dtype": dtype, "frames": {"min": 1, "max": 2**31 - 1}})


def _add_labels(labels: dict[str, Any], name: str, entries: Sequence[tf.train.Feature]) -> None:
    for entry in entries:
        for value in entry.int64_list.value:
            labels.setdefault(name, collections.Counter())[str(value)] += 1
        for value in entry.float_list.value:
            least, largest = labels.get(name, {"least": value, "largest": value}).values()
            labels[name] = {"least": min(least, value), "largest": max(largest, value)}


def _panels(example: tf.train.SequenceExample) -> list[Image.Image]:
    encoded = frame_values(example, features.ENCODED, "bytes_list")
    *_, spec, _ = _first_frame(example, encoded[0])
    frames = decode_frames(example, spec).astype(np.float64)
    if spec.channels not in (1, 3):
        frames = frames[..., :3] if spec.channels == 4 else frames[..., :1]
    finite = frames[np.isfinite(frames)]
    least, largest = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    frames = np.nan_to_num((frames - least) / ((largest - least) or 1.0))
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _COLUMNS).round().astype(int))]
    scale = _PANEL / max(frames.shape[1:3])
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    return [
        Image.fromarray(np.broadcast_to((255 * frame).round().astype(np.uint8), (*frame.shape[:2], 3))).resize(size)
        for frame in chosen
    ]


def _largest_first(counts: dict[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _histogram(lengths: dict[int, int]) -> list[str]:
    if not lengths:
        return []
    step = -(-(max(lengths) - min(lengths) + 1) // _BINS)
    bins: collections.Counter[int] = collections.Counter()
    for length, count in lengths.items():
        bins[(length - min(lengths)) // step] += count
    lines = []
    for place in range(max(bins) + 1):
        start = min(lengths) + place * step
        name = f"{start}" if step == 1 else f"{start}-{start + step - 1}"
        bar = "#" * -(-_BAR * bins[place] // max(bins.values()))
        lines.append(f"  {name:>9} frames {bins[place]:7} {bar}")
    return lines
