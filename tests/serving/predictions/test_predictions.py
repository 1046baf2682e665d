"""Prediction files, read back by the libraries that users read them with."""

import io
import os

import netCDF4
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
import xarray as xr
from PIL import Image

from framecast.clips.codec import decode_frames, encode_clip
from framecast.clips.validation import read_clips
from framecast.schemas.clip_spec import ClipSpec, FrameRange, PixelValue
from framecast.serving.predictions.prediction import Prediction
from framecast.serving.predictions.writers import check_path, write_predictions

_START = 1_600_000_000_123_457  # Microseconds since 1970, not a whole second.
_INTERVAL = 300_000_000
_VALUE = PixelValue(unit="dBZ", scale=0.25, offset=-10.0)
_MISSING = {"uint8": 255, "uint16": 0, "float32": -1.0}


def make_prediction(
    name="storm-1", dtype="uint8", channels=1, height=5, width=7, start=_START, interval=_INTERVAL, missing=True
):
    """Makes a clip of two input and two true frames, with a forecast; the pixel (0, 0) is always missing."""
    rng = np.random.default_rng(len(name))
    shares = rng.random((4, height, width, channels)).astype(np.float32)
    largest = 1 if dtype == "float32" else np.iinfo(dtype).max
    frames = (shares * largest).astype(dtype)
    forecast = rng.random((2, height, width, channels)).astype(np.float32)
    # At known pixels: the values that are reserved for "no data" in the integer dtypes.
    forecast[0, 1, 0], forecast[0, 1, 1] = 0.0, 1.0
    pixel = _MISSING[dtype] if missing else None
    if missing:
        frames[:, 0, 0] = pixel
        frames[0, 2, 2] = frames[3, 3, 3] = pixel
    example = encode_clip(
        frames,
        example_id=name,
        media_id="radar-a",
        frame_rate=1e6 / interval,
        timestamps=[start + number * interval for number in range(4)],
        label_string=["storm"],
        value=_VALUE,
        missing=pixel,
    )
    example.context.feature["station/name"].bytes_list.value.append(b"De Bilt")
    example.context.feature["clip/mean"].float_list.value.append(0.5)
    return Prediction(example, frames[:2], frames[2:], {"forecast": forecast}, 3, missing=pixel, value=_VALUE)


def make_scores(name, outputs, series, times=(0, 100_000, 200_000)):
    frames = np.zeros((3, 4, 4, 1), np.uint8)
    example = encode_clip(frames, example_id=name, media_id="m", frame_rate=10.0, timestamps=times)
    return Prediction(example, frames, None, outputs, 7, series=frozenset(series))


def test_netcdf_has_physical_values_at_their_valid_times(tmp_path):
    predictions = [make_prediction("storm-1"), make_prediction("storm-22", start=_START + 7_000_001)]
    path = tmp_path / "forecast.nc"
    write_predictions(path, predictions, model="radar")
    with netCDF4.Dataset(path) as file:
        assert file.Conventions == "CF-1.8"
        assert (file.model_name, file.model_version) == ("radar", "3")
        variable = file["forecast"]
        assert variable.dimensions == ("clip", "lead_time", "y", "x")
        assert (variable.units, variable.standard_name) == ("dBZ", "equivalent_reflectivity_factor")
        assert np.isnan(variable._FillValue)
        period, reference, time = (file[name] for name in ("lead_time", "forecast_reference_time", "time"))
        assert (period.standard_name, period.units) == ("forecast_period", "s")
        assert (reference.standard_name, reference.dimensions) == ("forecast_reference_time", ("clip",))
        assert (time.standard_name, time.dimensions) == ("time", ("clip", "lead_time"))
        for name in ("lead_time", "forecast_reference_time", "time"):
            assert "_FillValue" not in file[name].ncattrs()
        np.testing.assert_array_equal(period[:], [300, 600])
        epoch = netCDF4.num2date(0, time.units, time.calendar)
        assert (epoch.year, epoch.month, epoch.day, epoch.hour) == (1970, 1, 1, 0)
    with xr.open_dataset(path) as data:
        for number, prediction in enumerate(predictions):
            for name, pixels, missing in (
                ("forecast", prediction.outputs["forecast"][..., 0].astype(float) * 255, [(0, 0, 0), (1, 0, 0)]),
                ("observation", prediction.truth[..., 0].astype(float), [(0, 0, 0), (1, 0, 0), (1, 3, 3)]),
            ):
                expected = pixels * 0.25 - 10
                for place in missing:
                    expected[place] = np.nan
                np.testing.assert_allclose(data[name][number], expected, rtol=1e-6, atol=1e-6)
        last = np.array([_START, _START + 7_000_001]) + _INTERVAL
        expected = (last[:, None] + np.array([1, 2]) * _INTERVAL).astype("datetime64[us]")
        assert abs(data["time"].values - expected).max() <= np.timedelta64(1, "us")
        assert abs(data["forecast_reference_time"].values - last.astype("datetime64[us]")).max() <= np.timedelta64(
            1, "us"
        )
        assert data["example_id"].values.tolist() == ["storm-1", "storm-22"]
        assert data["media_id"].values.tolist() == ["radar-a", "radar-a"]


def test_netcdf_without_units_is_between_0_and_1(tmp_path):
    known = make_prediction(channels=3, missing=False)
    prediction = Prediction(known.example, known.context, None, known.outputs, 3)
    write_predictions(tmp_path / "forecast.nc", [prediction], model="rgb")
    with xr.open_dataset(tmp_path / "forecast.nc") as data:
        assert data["forecast"].dims == ("clip", "lead_time", "channel", "y", "x")
        assert data["forecast"].attrs["units"] == "1"
        assert "standard_name" not in data["forecast"].attrs
        assert "observation" not in data
        np.testing.assert_array_equal(
            data["forecast"][0].transpose("lead_time", "y", "x", "channel"), prediction.outputs["forecast"]
        )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 8}, r"clip b: expected a forecast .* \(2, 5, 7, 1\) as in clip storm-1, .* received \(2, 5, 8, 1"),
        ({"interval": 600_000_000}, "clip b: expected an interval of 300 s as in clip storm-1, .* received 600 s"),
    ],
)
def test_netcdf_names_differing_clip_and_keeps_file(tmp_path, other, message):
    path = tmp_path / "forecast.nc"
    path.write_text("before")
    with pytest.raises(ValueError, match=message):
        write_predictions(path, [make_prediction(), make_prediction("b", **other)], model="radar")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["forecast.nc"]


def expected_pixels(prediction, dtype):
    """Converts the forecast to pixels with NumPy; only missing pixels get the reserved value."""
    if dtype == "float32":
        pixels = prediction.outputs["forecast"].copy()
    else:
        pixels = np.round(prediction.outputs["forecast"].astype(np.float64) * np.iinfo(dtype).max)
        pixels[pixels == _MISSING[dtype]] += -1 if _MISSING[dtype] else 1
    pixels[:, 0, 0] = _MISSING[dtype]
    return pixels.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "channels", "name"),
    [
        ("uint8", 1, "a.tfrecord"),
        ("uint8", 3, "a.tfrecord.gz"),
        ("uint16", 1, "a.tfrecord"),
        ("float32", 2, "a.tfrecord"),
    ],
)
def test_forecast_clips_continue_the_input_clips(tmp_path, dtype, channels, name):
    predictions = [make_prediction(f"clip-{number}", dtype, channels) for number in range(2)]
    path = tmp_path / name
    write_predictions(path, predictions, model="radar")
    spec = ClipSpec(
        channels=channels, dtype=dtype, frames=FrameRange(min=2, max=2), missing=_MISSING[dtype], value=_VALUE
    )
    for prediction, example in zip(predictions, read_clips(str(path), spec), strict=True):
        np.testing.assert_array_equal(decode_frames(example, spec), expected_pixels(prediction, dtype))

    compression = "GZIP" if name.endswith(".gz") else ""
    records = tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator()
    for prediction, record in zip(predictions, records, strict=True):
        context, lists = tf.io.parse_single_sequence_example(
            record,
            context_features={
                "example/id": tf.io.FixedLenFeature([], tf.string),
                "clip/media_id": tf.io.FixedLenFeature([], tf.string),
                "station/name": tf.io.FixedLenFeature([], tf.string),
                "clip/label/string": tf.io.FixedLenFeature([], tf.string),
                "clip/value/unit": tf.io.FixedLenFeature([], tf.string),
                "clip/value/scale": tf.io.FixedLenFeature([], tf.float32),
                "image/frame_rate": tf.io.FixedLenFeature([], tf.float32),
                "clip/mean": tf.io.VarLenFeature(tf.float32),
            },
            sequence_features={
                "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
                "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
            },
        )
        assert context["example/id"].numpy().decode() == prediction.name
        assert context["clip/media_id"] == b"radar-a"
        assert (context["station/name"], context["clip/label/string"]) == (b"De Bilt", b"storm")
        assert (context["clip/value/unit"], context["clip/value/scale"]) == (b"dBZ", 0.25)
        np.testing.assert_allclose(context["image/frame_rate"], 1 / 300)
        assert not context["clip/mean"].values.numpy().size  # A fact about the input clip.
        last = _START + _INTERVAL
        assert lists["image/timestamp"].numpy().tolist() == [last + _INTERVAL, last + 2 * _INTERVAL]
        for encoded, pixels in zip(lists["image/encoded"].numpy(), expected_pixels(prediction, dtype), strict=True):
            if dtype == "float32":
                frame = np.frombuffer(encoded, "<f4").reshape(pixels.shape)
            else:
                frame = np.asarray(Image.open(io.BytesIO(encoded))).reshape(pixels.shape)
            np.testing.assert_array_equal(frame, pixels)


def test_forecast_of_jpeg_clip_is_lossless(tmp_path):
    prediction = make_prediction(missing=False)
    prediction.example.context.feature["image/format"].bytes_list.value[:] = [b"JPEG"]
    write_predictions(tmp_path / "a.tfrecord", [prediction], model="radar")
    spec = ClipSpec(frames=FrameRange(min=2, max=2))
    (example,) = read_clips(str(tmp_path / "a.tfrecord"), spec)
    expected = np.round(prediction.outputs["forecast"].astype(np.float64) * 255)
    np.testing.assert_array_equal(decode_frames(example, spec), expected)


def test_scores_are_added_to_the_clip(tmp_path):
    outputs = {"anomaly_score": np.float32([0, 0.5, 2]), "clip_anomaly_score": np.float32(1.5)}
    a = make_scores("a", outputs, ["anomaly_score"])
    # As many classes as frames, so the shape does not show which of the two it is.
    b = make_scores("b", {"probabilities": np.float32([0.25, 0.5, 0.25])}, [])
    c = make_scores("c", {"probabilities": np.float32([[0, 1], [0.5, 0.5], [1, 0]])}, ["probabilities"])
    path = str(tmp_path / "scores.tfrecord")
    write_predictions(path, [a, b, c], model="motion")
    spec = ClipSpec(frames=FrameRange(min=3, max=3))
    assert len(list(read_clips(path, spec))) == 3
    first, second, third = (
        tf.train.SequenceExample.FromString(record) for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
    )
    entries = first.feature_lists.feature_list["anomaly_score"].feature
    assert [list(entry.float_list.value) for entry in entries] == [[0], [0.5], [2]]
    assert first.context.feature["clip_anomaly_score"].float_list.value[:] == [1.5]
    assert first.feature_lists.feature_list["image/encoded"] == a.example.feature_lists.feature_list["image/encoded"]
    assert second.context.feature["probabilities"].float_list.value[:] == [0.25, 0.5, 0.25]
    entries = third.feature_lists.feature_list["probabilities"].feature
    assert [list(entry.float_list.value) for entry in entries] == [[0, 1], [0.5, 0.5], [1, 0]]


def test_npz_has_the_unchanged_outputs(tmp_path):
    predictions = [make_prediction("a"), make_prediction("b", height=9)]
    write_predictions(tmp_path / "answers.npz", predictions, model="radar")
    with np.load(tmp_path / "answers.npz") as data:
        assert data["example_id"].tolist() == ["a", "b"]
        assert data["media_id"].tolist() == ["radar-a", "radar-a"]
        assert (str(data["model"]), data["version"].tolist()) == ("radar", [3, 3])
        for number, prediction in enumerate(predictions):
            np.testing.assert_array_equal(data[f"forecast/{number}"], prediction.outputs["forecast"])
            assert data[f"time/{number}"].tolist() == [_START + 2 * _INTERVAL, _START + 3 * _INTERVAL]
    write_predictions(
        tmp_path / "scores.npz", [make_scores("c", {"value": np.float32([1, 2, 3])}, ["value"])], model="m"
    )
    with np.load(tmp_path / "scores.npz") as data:
        assert data["value/0"].tolist() == [1, 2, 3]
        assert data["time/0"].tolist() == [0, 100_000, 200_000]


def test_parquet_has_one_row_per_clip(tmp_path):
    scored = {
        "anomaly_score": np.array([0, 0.5, 2], np.float32),
        "probabilities": np.array([[0.25, 0.75]] * 3, np.float32),
        "clip_anomaly_score": np.float32(2),
    }
    path = tmp_path / "scores.parquet"
    write_predictions(
        path, [make_scores("a", scored, {"anomaly_score"}), make_scores("b", scored, {"anomaly_score"})], model="radar"
    )
    file = pyarrow.parquet.ParquetFile(path)
    assert file.schema_arrow.metadata[b"model"] == b"radar"
    assert file.read().to_pylist() == [
        {
            "example_id": name,
            "media_id": "m",
            "model_version": 7,
            "time": [0, 100_000, 200_000],
            "anomaly_score": [0, 0.5, 2],
            "clip_anomaly_score": 2,
            "probabilities": [[0.25, 0.75]] * 3,
        }
        for name in "ab"
    ]
    with pytest.raises(ValueError, match="clip storm-1: expected scores, probabilities or values, received forecast"):
        write_predictions(path, [make_prediction()], model="radar")


def test_gif_has_context_and_forecast_frames(tmp_path):
    write_predictions(tmp_path / "forecast.gif", [make_prediction()], model="radar")
    with Image.open(tmp_path / "forecast.gif") as image:
        assert (image.format, image.n_frames) == ("GIF", 4)


def test_forecast_times_of_fractional_interval_do_not_drift(tmp_path):
    frames = np.zeros((16, 8, 8, 1), np.uint8)
    example = encode_clip(frames, example_id="v", media_id="v", frame_rate=30.0)
    prediction = Prediction(example, frames, None, {"forecast": np.zeros((20, 8, 8, 1), np.float32)}, 1)
    exact = np.arange(16, 36) * 1e6 / 30
    assert np.abs(np.array(prediction.forecast_times) - exact).max() <= 2
    write_predictions(tmp_path / "v.tfrecord", [prediction], model="v")
    assert len(list(read_clips(str(tmp_path / "v.tfrecord"), ClipSpec(frames=FrameRange(min=1, max=99))))) == 1


def test_single_frame_without_rate_has_no_forecast_times():
    frames = np.zeros((1, 8, 8, 1), np.uint8)
    example = encode_clip(frames, example_id="v", media_id="v", frame_rate=30.0)
    prediction = Prediction(example, frames, None, {"forecast": np.zeros((1, 8, 8, 1), np.float32)}, 1)
    assert prediction.forecast_times == [33_333]
    del example.context.feature["image/frame_rate"]
    unknown = Prediction(example, frames, None, prediction.outputs, 1)
    with pytest.raises(ValueError, match="clip v: expected image/frame_rate or two frames"):
        _ = unknown.forecast_times
    assert Prediction(example, frames, None, prediction.outputs, 1, frame_rate=10.0).forecast_times == [100_000]


def test_unwritable_path_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mp4: expected a file name with extension \.gif, \.npz, .*\.nc"):
        check_path("a.mp4")
    with pytest.raises(FileNotFoundError, match="expected an existing folder"):
        check_path(tmp_path / "no" / "a.npz")


def test_existing_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("before")
    os.link(path, tmp_path / "link")
    write_predictions(path, [make_prediction()], model="radar")
    assert (tmp_path / "link").read_text() == "before"  # Renamed over the old file, not written into it.
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "link"]
    with np.load(path) as data:
        assert data["example_id"].tolist() == ["storm-1"]
