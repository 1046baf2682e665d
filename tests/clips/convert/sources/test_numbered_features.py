"""Tests TFRecords of `tf.train.Example` with one feature per frame, and with raw pixels."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips import image_codec
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec, CutSpec
from framecast.clips.convert.windowing import cut

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 24, 32, 3), np.uint8)


def _write(path, *records, compression=None):
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression or "")) as writer:
        for features in records:
            lists = {name: value if isinstance(value, list) else [value] for name, value in features.items()}
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for name, value in lists.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _read(path, **read):
    spec = ConvertSpec.model_validate({"read": read})
    found = find_sources([str(path)], spec).sources
    return [(recording, list(recording.frames)) for source in found for recording in source.recordings()]


def _values(frames):
    return np.stack([frame.values for frame in frames])


@pytest.mark.parametrize(
    "pattern", ["{}/image_aux1/encoded", "move/{}/image/encoded", "frame_{:03d}", "{:02d}", "view2/step{}.raw"]
)
def test_numbered_raw_frames_are_in_order(tmp_path, pattern):
    numbers = RNG.permutation(12)
    features = {pattern.format(number): RGB[number].tobytes() for number in numbers}
    _write(tmp_path / "a.tfrecord", features, {name: RGB[::-1][0].tobytes() for name in features})
    key = pattern.replace(":03d", "").replace(":02d", "")
    for options in ({"variable": key}, {}):
        (first, frames), (second, _) = _read(tmp_path / "a.tfrecord", raw_size=(24, 32), **options)
        assert np.array_equal(_values(frames), RGB)
        assert [name.partition("/")[2] for name in (first.name, second.name)] == [
            "a.tfrecord/000000",
            "a.tfrecord/000001",
        ]
        assert [frame.position for frame in frames] == list(range(12))


def test_numbered_images_are_decoded(tmp_path):
    features = {f"{index}/image/encoded": image_codec.encode_png(RGB[index]) for index in range(12)}
    _write(tmp_path / "a.tfrecord", {**features, **{f"{index}/depth/encoded": b"?" for index in range(12)}})
    ((_, frames),) = _read(tmp_path / "a.tfrecord", variable="{}/image/encoded")
    assert np.array_equal(_values(frames), RGB)
    with pytest.raises(BadSource, match=r"or --variable\), received lists in {}/depth/encoded, {}/image/encoded"):
        _read(tmp_path / "a.tfrecord")


@pytest.mark.parametrize("step", [1, 5])
def test_missing_number_is_gap(tmp_path, step):
    kept = [index for index in range(12) if index != 7]
    _write(tmp_path / "a.tfrecord", {f"{3 + step * index}/image": RGB[index].tobytes() for index in kept})
    ((recording, frames),) = _read(tmp_path / "a.tfrecord", raw_size=(24, 32))
    assert [frame.position for frame in frames] == kept
    recording.frames = iter(frames)
    tally = collections.Counter()
    segments = list(cut(recording, fps=5, spec=CutSpec(frames={"min": 1, "max": 24}), tally=tally))
    assert [len(segment.frames) for segment in segments] == [7, 4]
    assert tally["gaps"] == 1


def test_number_twice_is_named(tmp_path):
    _write(tmp_path / "a.tfrecord", {"1/image": b"a", "01/image": b"b"})
    with pytest.raises(BadSource, match=r"record 0: expected one feature for each number, received 0?1/image and 0?1/"):
        _read(tmp_path / "a.tfrecord")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_raw_dtype_and_channels_are_exact(tmp_path, dtype, channels):
    frames = RNG.integers(0, 200, (12, 24, 32, channels)).astype(dtype)
    stored = frames.astype(frames.dtype.newbyteorder("<"))
    _write(tmp_path / "a.tfrecord", {"video": [frame.tobytes() for frame in stored]})
    _write(tmp_path / "b.tfrecord", {"video": stored.tobytes()})
    options = {"raw_size": (24, 32), "raw_dtype": dtype}
    for found in (
        _read(tmp_path / "a.tfrecord", **options),
        _read(tmp_path / "a.tfrecord", **options, raw_channels=channels),
        _read(tmp_path / "b.tfrecord", **options, raw_channels=channels, variable="video"),
    ):
        values = _values(found[0][1])
        assert values.dtype == dtype
        assert np.array_equal(values, frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"frame 0: expected a PNG or JPEG image, .*; if they are raw pixels, give --raw-size HEIGHT WIDTH"),
        ({"raw_size": (24, 31)}, r"frame 0: expected 24x31 pixels \(--raw-size\) of uint8 .* received 3072 bytes"),
        ({"raw_size": (24, 32)}, r"frame 0: 4 bytes a pixel can be uint8, .*; give --raw-dtype or --raw-channels"),
        ({"raw_size": (24, 32), "raw_channels": 3}, r"of 3 channels \(--raw-channels\), received 3072 bytes, 4 chan"),
        ({"variable": "{}/sound"}, r"expected frames in {}/sound \(--variable; .*\), received lists in {}/image"),
    ],
)
def test_wrong_raw_format_names_option(tmp_path, options, message):
    _write(tmp_path / "a.tfrecord", {f"{index}/image": bytes(24 * 32 * 4) for index in range(12)})
    with pytest.raises(BadSource, match=rf"a\.tfrecord, record 0.*{message}"):
        _read(tmp_path / "a.tfrecord", **options)


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB", None])
def test_compressed_files_are_equal(tmp_path, compression):
    features = {f"{index}/image": RGB[index].tobytes() for index in range(12)}
    _write(tmp_path / "a.tfrecord", features, features, compression=compression)
    found = _read(tmp_path / "a.tfrecord", raw_size=(24, 32))
    assert len(found) == 2
    assert np.array_equal(_values(found[1][1]), RGB)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_zlib_file_is_named(tmp_path, share):
    path = tmp_path / "a.tfrecord"
    _write(path, {f"{index}/image": RGB[index].tobytes() for index in range(12)}, compression="ZLIB")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadSource, match=r"a\.tfrecord: record 0: truncated ZLIB file"):
        _read(path, raw_size=(24, 32))
    damaged = bytearray(path.read_bytes())
    damaged[40:60] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(BadSource, match=r"a\.tfrecord: record 0: (damaged|truncated) ZLIB|corrupt"):
        _read(path, raw_size=(24, 32))


def test_raw_options_need_examples_and_size(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    with pytest.raises(ValueError, match="--raw-size: expected TFRecords of examples, received arrays"):
        _read(tmp_path / "a.npy", raw_size=(24, 32))
    with pytest.raises(ValueError, match="--keep-hidden: expected videos, received arrays"):
        _read(tmp_path / "a.npy", keep_hidden=True)
    with pytest.raises(ValueError, match="raw_size: expected the size of raw pixels too"):
        ConvertSpec.model_validate({"read": {"raw_dtype": "uint16"}})
