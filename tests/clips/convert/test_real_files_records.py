"""Tests records and gridded files of other tools end to end against TensorFlow, h5py and xarray."""

import io

import cftime
import h5py
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray
from PIL import Image

from framecast.clips import image_codec
from framecast.clips.convert import ConvertSpec, convert
from tests.clips.convert.converting import converted_clips
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)
_RGB = np.repeat(np.repeat(_RNG.integers(0, 256, (2, 12, 4, 5, 3)).astype(np.uint8), 8, 2), 8, 3)
_HOUR = 3_600_000_000


def _jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _encoders(kind):
    """Returns the encoder of a frame, and that frame as TensorFlow decodes it."""
    if kind == "jpeg":
        return _jpeg, lambda data: np.asarray(Image.open(io.BytesIO(data)))
    if kind == "png":
        return image_codec.encode_png, lambda data: tf.io.decode_png(data).numpy()
    return np.ndarray.tobytes, lambda data: np.frombuffer(data, np.uint8).reshape(32, 40, 3)


def _features(layout, data):
    values = {"list": {"video": data}}.get(layout)
    values = values or {layout.format(index): [frame] for index, frame in enumerate(data)}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for name, value in values.items()}
    return tf.train.Features(feature=features)


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
@pytest.mark.parametrize("layout", ["list", "{}/image_aux1/encoded", "env/{:04d}/rgb"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "raw"])
def test_example_layouts_equal_tensorflow(tmp_path, kind, layout, compression):
    encode, decode = _encoders(kind)
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for frames in _RGB:
            data = [encode(frame) for frame in frames]
            writer.write(tf.train.Example(features=_features(layout, data)).SerializeToString())
    stored = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(str(path), compression)
    ]
    expected = [
        [
            decode(
                feature["video"].bytes_list.value[index]
                if layout == "list"
                else feature[layout.format(index)].bytes_list.value[0]
            )
            for index in range(12)
        ]
        for feature in stored
    ]
    found = read_sources(path, **({"raw_size": (32, 40)} if kind == "raw" else {}))
    assert len(found) == 2
    for (_, frames), pixels in zip(found.values(), expected, strict=True):
        assert np.array_equal([frame.values for frame in frames], pixels)


@pytest.mark.parametrize("compression", ["ZLIB", "GZIP"])
def test_example_videos_become_own_clips(tmp_path, compression):
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord"), compression) as writer:
        for frames in _RGB:
            features = _features("list", [image_codec.encode_png(frame) for frame in frames])
            features.feature["label"].int64_list.value.append(3)
            writer.write(tf.train.Example(features=features).SerializeToString())
    manifest, clips = converted_clips(tmp_path / "a.tfrecord", tmp_path / "out", read={"fps": 4})
    assert np.array_equal([pixels for _, pixels, _ in clips], _RGB)
    assert all(set(np.diff(times)) == {250_000} for _, _, times in clips)
    assert manifest["clips"] == 2


def test_own_clips_compressed_by_others_are_read(tmp_path):
    np.save(tmp_path / "a.npy", _RGB)
    convert([str(tmp_path / "a.npy")], tmp_path / "first", ConvertSpec.model_validate({"read": {"fps": 4}}))
    (path,) = (tmp_path / "first").glob("*.tfrecord.gz")
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord"), "ZLIB") as writer:
        for record in tf.data.TFRecordDataset(str(path), "GZIP"):
            writer.write(record.numpy())
    _, clips = converted_clips(tmp_path / "b.tfrecord", tmp_path / "out")
    assert np.array_equal([pixels for _, pixels, _ in clips], _RGB)
    assert all(set(np.diff(times)) == {250_000} for _, _, times in clips)


@pytest.mark.parametrize("layout", ["groups", "datasets", "lengths", "axis"])
def test_recordings_of_hdf5_equal_h5py(tmp_path, layout):
    lengths = (9, 12, 10) if layout == "lengths" else (12, 12, 12)
    values = [_RNG.integers(0, 4000, (length, 16, 24)).astype(np.uint16) for length in lengths]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index, frames in enumerate(values):
            if layout in ("groups", "lengths"):
                file[f"trials/{index:02d}/movie"] = frames
                file[f"trials/{index:02d}/speed"] = np.arange(3.0)
            elif layout == "datasets":
                file.create_dataset(f"movie_{index}", data=frames, chunks=(1, 16, 24), compression="gzip")
        if layout == "axis":
            file["movie"] = np.stack(values)
    pattern = {"datasets": "movie_*", "axis": "movie"}.get(layout, "trials/*/movie")
    axes = "NTHW" if layout == "axis" else "THW"
    read = {"variable": pattern, "axes": axes, "fps": 10}
    _, clips = converted_clips(tmp_path / "a.h5", tmp_path / "out", read=read)
    with h5py.File(tmp_path / "a.h5") as file:
        names = [f"movie_{n}" if layout == "datasets" else f"trials/{n:02d}/movie" for n in range(3)]
        expected = list(file["movie"]) if layout == "axis" else [file[name][...] for name in names]
    assert len({name for name, _, _ in clips}) == 3
    for (_, pixels, times), frames in zip(clips, expected, strict=True):
        assert np.array_equal(pixels[..., 0], frames)
        assert set(np.diff(times)) == {100_000}


def _field(times, values):
    return xarray.Dataset({"p": (("time", "y", "x"), values, {"units": "K"})}, coords={"time": times})


def _write(data, path):
    if path.suffix == ".zarr":
        data.to_zarr(path)
    else:
        engine = {"engine": "scipy"} if path.stem.endswith("classic") else {"engine": "netcdf4"}
        data.to_netcdf(path, **engine)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day", "julian"])
@pytest.mark.parametrize("name", ["a.nc", "a_classic.nc", "a.h5", "a.zarr"])
def test_monthly_fields_of_calendars_equal_xarray(tmp_path, calendar, name):
    times = [cftime.datetime(2000 + n // 12, n % 12 + 1, 1, calendar=calendar) for n in range(24)]
    _write(_field(times, _RNG.random((24, 6, 8)).astype("f4")), tmp_path / name)
    _, frames, values = read_only_source(tmp_path / name, variable="p")
    opened = xarray.open_zarr(tmp_path / name) if "zarr" in name else xarray.open_dataset(tmp_path / name)
    with opened as data:
        assert np.array_equal(values[..., 0], data.p)
    steps = np.diff([frame.time for frame in frames])
    assert len(set(steps)) == 1
    assert abs(steps[0] / (365.2425 / 12 * 24 * _HOUR) - 1) < 0.02


@pytest.mark.parametrize("name", ["{:02}.nc", "{:02}_classic.nc", "{:02}.h5", "{:02}.zarr", "r_202001{:02}T0000.nc"])
def test_file_of_one_step_joins_others(tmp_path, name):
    (tmp_path / "in").mkdir()
    values = _RNG.random((12, 6, 8)).astype("f4")
    times = pd.date_range("2020", periods=12, freq="D")
    for index in range(12):
        _write(_field(times[[index]], values[[index]]), tmp_path / "in" / name.format(index + 1))
    _, frames, found = read_only_source(tmp_path / "in", variable="p")
    assert np.array_equal(found[..., 0], values)
    assert [frame.time for frame in frames] == times.values.astype("datetime64[us]").astype(int).tolist()
