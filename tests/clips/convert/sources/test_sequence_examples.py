"""Tests TFRecords of `tf.train.SequenceExample` of other tools and of this project."""

import collections
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.convert import ConvertSpec, convert
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.examples.sequence_examples import SPACED, VALUE_LABEL
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import CutSpec
from framecast.clips.convert.windowing import cut
from framecast.clips.records import read_records, write_records
from framecast.schemas import features
from framecast.schemas.clip_spec import PixelValue

RNG = np.random.default_rng(0)
RGB = np.repeat(np.repeat(RNG.integers(0, 256, (12, 4, 4, 3), np.uint8), 8, 1), 8, 2)


def _jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _example(key="image/encoded", stamps=None, stamp_key="image/timestamp", **context):
    example = tf.train.SequenceExample()
    lists = example.feature_lists.feature_list
    for pixels in RGB:
        lists[key].feature.add().bytes_list.value.append(_jpeg(pixels))
    for stamp in () if stamps is None else stamps:
        lists[stamp_key].feature.add().int64_list.value.append(int(stamp))
    for name, value in context.items():
        feature = example.context.feature[name.replace("__", "/")]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return example


def _read(tmp_path, *examples, **read):
    write_records(tmp_path / "a.tfrecord", [example.SerializeToString() for example in examples])
    sources = find_sources([str(tmp_path)], ConvertSpec.model_validate({"read": read})).sources
    return [(recording, list(recording.frames)) for source in sources for recording in source.recordings()]


def _cut(found, fps):
    recording, frames = found
    recording.frames = iter(frames)
    spec = CutSpec(frames={"min": 1, "max": 24})
    return list(cut(recording, fps=fps, spec=spec, tally=collections.Counter()))


def _as_pillow():
    return np.stack([np.asarray(Image.open(io.BytesIO(_jpeg(pixels)))) for pixels in RGB])


@pytest.mark.parametrize("key", ["image/encoded", "video/frames", "CAMERA/image/encoded"])
def test_missing_timestamps_need_fps(tmp_path, key):
    found = _read(tmp_path, _example(key), _example(key), fps=5)
    assert len(found) == 2
    for recording_frames in found:
        (segment,) = _cut(recording_frames, 5)
        assert np.array_equal([frame.values for frame in segment.frames], _as_pillow())
        assert segment.times == [200_000 * index for index in range(12)]
    with pytest.raises(BadSource, match=r"a\.tfrecord/000000: the frames have no times; set their rate \(--fps\)"):
        _cut(_read(tmp_path, _example(key))[0], None)


def test_frame_rate_in_context_is_used(tmp_path):
    (segment,) = _cut(_read(tmp_path, _example(image__frame_rate=12.5))[0], None)
    assert (segment.rate, len(segment.frames)) == (12.5, 12)


@pytest.mark.parametrize("prefix", ["", "CAMERA/"])
def test_timestamps_beside_frames_are_used(tmp_path, prefix):
    stamps = [*range(0, 240_000, 40_000), *range(1_000_000, 1_240_000, 40_000)]
    example = _example(f"{prefix}image/encoded", stamps, f"{prefix}image/timestamp")
    segments = _cut(_read(tmp_path, example)[0], None)
    assert [segment.times for segment in segments] == [stamps[:6], stamps[6:]]


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (range(12), "expected timestamps in microseconds, received 0, 1, 2, 3"),
        (range(0, 480, 40), "expected timestamps in microseconds, received 0, 40, 80, 120"),
        ([0] * 12, "expected increasing timestamps, received 0, 0, 0, 0"),
    ],
)
def test_unusable_timestamps_need_fps(tmp_path, stamps, message):
    with pytest.raises(BadSource, match=rf"record 0: {message}; give the frame rate \(--fps\)"):
        _read(tmp_path, _example(stamps=stamps))
    found = _read(tmp_path, _example(stamps=stamps), fps=5)
    assert found[0][0].left_out[SPACED] == 12
    assert [len(segment.frames) for segment in _cut(found[0], 5)] == [12]


def test_timestamp_count_is_checked(tmp_path):
    with pytest.raises(BadSource, match="record 0: expected 12 values in image/timestamp, one per frame, received 11"):
        _read(tmp_path, _example(stamps=range(0, 440_000, 40_000)), fps=5)


def test_ambiguous_or_missing_frames_name_variable(tmp_path):
    example = _example("left/frames")
    example.feature_lists.feature_list["right/frames"].feature.add().bytes_list.value.append(b"x")
    with pytest.raises(BadSource, match=r"or --variable\), received lists of bytes in left/frames, right/frames"):
        _read(tmp_path, example)
    assert len(_read(tmp_path, example, variable="left/frames")[0][1]) == 12
    with pytest.raises(BadSource, match=r"expected frames in up \(--variable\), received lists of bytes in left/fr"):
        _read(tmp_path, example, variable="up")


def test_labels_and_media_id_are_kept(tmp_path):
    example = _example(clip__label__index=3, clip__label__string=b"run", clip__media_id=b"film", clip__label__value=0.5)
    ((recording, _),) = _read(tmp_path, example, fps=5)
    assert (recording.label_index, recording.label, recording.media_id) == (3, "run", "film")
    assert recording.left_out[VALUE_LABEL] == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_own_clips_are_converted_without_loss(tmp_path, dtype, channels):
    frames = RNG.random((12, 16, 20, channels)).astype(np.float32)
    frames = frames if dtype == "float32" else (frames * np.iinfo(dtype).max).astype(dtype)
    if channels == 4:
        frames[..., 3] = 1 if dtype == "float32" else np.iinfo(dtype).max  # Alpha of opaque pixels.
    clip = encode_clip(
        frames,
        example_id="a",
        media_id="storm",
        frame_rate=1 / 300,
        label_index=[2],
        value=PixelValue(unit="dBZ", scale=0.5, offset=-10),
        missing=-1 if dtype == "float32" else 0,
    )
    (tmp_path / "old").mkdir()
    write_records(tmp_path / "old" / "clips.tfrecord", [clip.SerializeToString()])
    spec = {"read": {"keep_alpha": True}, "value": {"dtype": dtype}}
    manifest = convert([str(tmp_path / "old")], tmp_path / "new", ConvertSpec.model_validate(spec))
    assert manifest["clip"]["value"] == {"unit": "dBZ", "scale": 0.5, "offset": -10}
    ((_, record),) = read_records(next((tmp_path / "new").glob("*.gz")))
    again = tf.train.SequenceExample.FromString(record)
    same = (features.ENCODED, features.TIMESTAMP)
    for name in same:
        assert again.feature_lists.feature_list[name] == clip.feature_lists.feature_list[name]
    for name in (features.MEDIA_ID, features.FRAME_RATE, features.LABEL_INDEX, features.MISSING, features.VALUE_UNIT):
        assert again.context.feature[name] == clip.context.feature[name]
