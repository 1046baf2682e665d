"""`framecast query` against the embedded server: sources, output files, printed results, and errors."""

import json
import pathlib
import sys
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
import xarray as xr
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.schemas.clip_spec import PixelValue
from framecast.serving.server.model_config import one_model
from framecast.serving.server.options import ServerOptions
from framecast.serving.server.server import Server

_HORIZON, _SHORTEST, _VERSION = 2, 3, 4


class ToyModel(tf.Module):
    """Forecasts the darkened last frame, scores each frame by its mean, or classifies by the brightest frame."""

    def __init__(self, task, channels, dtype):
        super().__init__()
        self.task = task
        frames = tf.TensorSpec([None, None, None, None, channels], dtype, "frames")
        length = tf.TensorSpec([None], tf.int32, "length")
        self.serve = tf.function(self._serve, input_signature=[frames, length])

    def _serve(self, frames, length):
        check = tf.debugging.assert_greater_equal(
            length, _SHORTEST, f"length: expected at least {_SHORTEST} frames, received fewer"
        )
        with tf.control_dependencies([check]):
            frames = tf.identity(frames)
        pixels = tf.cast(frames, tf.float32) / frames.dtype.max if frames.dtype.is_integer else frames
        if self.task == "forecast":
            last = pixels[:, -1:] * 0.5
            forecast = tf.concat([last, last * 0.5], axis=1)
            return {"forecast": tf.ensure_shape(forecast, [None, _HORIZON, None, None, frames.shape[-1]])}
        means = tf.reduce_mean(pixels, axis=[2, 3, 4])
        if self.task == "anomaly":
            return {"anomaly_score": means * 4, "clip_anomaly_score": tf.reduce_max(means, 1) * 4}
        bright = tf.reduce_max(means, 1)
        return {"probabilities": tf.ensure_shape(tf.stack([1 - bright, bright], 1), [None, 2])}


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a server of a toy model; returns the options to query it, and its folder of versions."""
    servers = {}

    def start(task="forecast", channels=1, dtype=tf.uint8, **card):
        key = (task, channels, dtype, str(card))
        if key not in servers:
            base = tmp_path_factory.mktemp("model")
            toy = ToyModel(task, channels, dtype)
            tf.saved_model.save(toy, str(base / str(_VERSION)), signatures={"serving_default": toy.serve})
            extra = base / str(_VERSION) / "assets.extra"
            extra.mkdir()
            of_model = {"task": task, "channels": channels, "dtype": dtype.name, "missing": None, "value": None}
            (extra / "framecast.json").write_text(json.dumps({**of_model, "frame_rate": 10.0, **card}))
            config = one_model("toy", str(base))
            config.model_config_list.config[0].version_labels["stable"] = _VERSION
            options = ServerOptions(allow_version_labels_for_unavailable_models=True)
            servers[key] = Server(config, options=options).__enter__(), base
        server, base = servers[key]
        return [f"--address=127.0.0.1:{server.port}", "--model=toy"], base

    yield start
    with futures.ThreadPoolExecutor(len(servers)) as pool:  # Each server takes a second to stop.
        list(pool.map(lambda started: started[0].__exit__(), servers.values()))


def moving(seed, time=6, height=8, width=10, channels=1):
    return np.random.default_rng(seed).integers(0, 250, (time, height, width, channels), np.uint8)


def write_clips(path, clips, **options):
    examples = [
        encode_clip(frames, example_id=f"clip-{number}", media_id="m", frame_rate=10.0, **options)
        for number, frames in enumerate(clips)
    ]
    write_records(path, [example.SerializeToString() for example in examples])
    return path


def run_query(framecast, *arguments):
    done = framecast("query", "--json", *arguments)
    assert done.code == 0, done.text
    return json.loads(done.out)


def test_forecasts_are_scored_and_written_in_every_format(serve, framecast, tmp_path):
    options, _ = serve()
    clips = [moving(seed) for seed in range(3)]
    for frames in clips:
        frames[:, 0] = 255
        frames[4, 1, 1] = 255
    source = write_clips(tmp_path / "a.tfrecord.gz", [*clips, moving(9, time=4)], missing=255)
    files = [tmp_path / f"out.{kind}" for kind in ("gif", "npz", "tfrecord", "tfrecord.gz", "nc")]
    answer = run_query(framecast, source, "--holdout", *options, *[f"--to={path}" for path in files])
    assert (answer["clips"], answer["left_out"], answer["version"], answer["horizon"]) == (3, 1, _VERSION, 2)
    assert answer["to"] == [str(path) for path in files]
    assert not answer["limited"]
    context, truth = np.stack(clips)[:, :4] / 255, np.stack(clips)[:, 4:] / 255
    last = np.where(context[:, -1] == 1, 0, context[:, -1])
    model = np.stack([context[:, -1] * 0.5, context[:, -1] * 0.25], 1)
    known = truth != 1
    for lead in range(2):
        for name, forecast in (("mse", model[:, lead]), ("mse_persistence", last)):
            expected = np.square(forecast - truth[:, lead])[known[:, lead]].mean()
            np.testing.assert_allclose(answer[name][lead], expected, rtol=1e-5)
    with np.load(files[1]) as data:
        np.testing.assert_allclose(data["forecast/1"], model[1], rtol=1e-6)
    with xr.open_dataset(files[4]) as data:
        assert np.isnan(data["forecast"].values[:, :, 0]).all()
        assert np.isfinite(data["forecast"].values[:, :, 1:]).all()
        np.testing.assert_allclose(data["forecast"].values[:, :, 1:], model[:, :, 1:, :, 0], rtol=1e-6)
    text = framecast("query", source, *options, "--limit=2", f"--to={files[0]}").text
    assert "2 clips answered by version 4, 0 too short left out, stopped at --limit" in text
    assert f"written: {files[0]}" in text
    inspected = json.loads(framecast("data", "inspect", files[3], "--json").out)
    assert (inspected["clips"], inspected["sizes"]) == (3, {"8x10x1 uint8 PNG": 3})


@pytest.mark.parametrize("place", ["{base}", "{base}/4", "{base}/4/assets.extra/framecast.json"])
def test_card_gives_the_physical_value_of_pixels(serve, framecast, tmp_path, place):
    options, base = serve(value={"unit": "mm/h", "scale": 0.5, "offset": 1.0})
    source = write_clips(tmp_path / "a.tfrecord", [moving(0)])
    run_query(framecast, source, *options, "--card", place.format(base=base), "--to", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as data:
        assert data["forecast"].attrs["units"] == "mm/h"
        np.testing.assert_allclose(data["forecast"].values[0, 0], moving(0)[-1, ..., 0] * 0.5 * 0.5 + 1, rtol=1e-5)


def test_value_in_clips_must_match_the_card(serve, framecast, tmp_path):
    options, base = serve(value={"unit": "mm/h", "scale": 0.5, "offset": 1.0})
    source = write_clips(tmp_path / "a.tfrecord", [moving(0)], value=PixelValue(unit="dBZ", scale=0.25, offset=-10))
    run_query(framecast, source, *options, "--to", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as data:
        assert data["forecast"].attrs["standard_name"] == "equivalent_reflectivity_factor"
        np.testing.assert_allclose(data["forecast"].values[0, 0], moving(0)[-1, ..., 0] * 0.125 - 10, rtol=1e-5)
    refused = framecast("query", source, *options, "--card", base)
    assert refused.code == 1
    assert f"{source}, record 0: clip clip-0: clip/value/unit: expected mm/h" in refused.text


def test_interval_must_match_the_card(serve, framecast, tmp_path):
    options, base = serve()
    example = encode_clip(moving(0), example_id="slow", media_id="m", frame_rate=5.0)
    write_records(tmp_path / "a.tfrecord", [example.SerializeToString()])
    refused = framecast("query", tmp_path / "a.tfrecord", *options, "--card", base)
    assert refused.code == 1
    assert "a.tfrecord, record 0: clip slow: image/timestamp: expected 0.1 s between frames, received 0.2 s" in (
        refused.text
    )
    text = framecast("query", tmp_path / "a.tfrecord", *options).text
    assert "not compared with the model, because no --card has it: interval between frames 0.2 s" in text
    good = run_query(framecast, write_clips(tmp_path / "b.tfrecord", [moving(0)]), *options, "--card", base)
    assert good["not_compared"] == []


def test_missing_or_wrong_card_is_refused(serve, framecast, tmp_path):
    options, _ = serve()
    source = write_clips(tmp_path / "a.tfrecord", [moving(0)])
    _, other = serve(channels=3)
    assert (
        "--card: expected the card of model toy version 4, with"
        in framecast("query", source, *options, "--card", other).text
    )
    text = framecast("query", source, *options, "--card", tmp_path).text
    assert f"{tmp_path}: expected a framecast.json" in text
    (tmp_path / "framecast.json").write_text('{"channels": 1}')
    assert (
        "expected the card of a model exported by Framecast, received dtype: Field required"
        in framecast("query", source, *options, f"--card={tmp_path}/framecast.json").text
    )


def test_arrays_and_images_are_cut_into_clips(serve, framecast, tmp_path):
    options, _ = serve()
    frames = moving(0, time=30)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "images").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame[..., 0]).save(tmp_path / "images" / f"{number}.png")
    for source in ("a.npy", "images", "images/*.png"):
        run_query(framecast, tmp_path / source, "--fps=5", *options, f"--to={tmp_path}/a.npz")
        with np.load(tmp_path / "a.npz") as data:
            # A clip of 24 frames, and one of the rest.
            for number, last in enumerate((23, 29)):
                np.testing.assert_allclose(data[f"forecast/{number}"][0], frames[last] / 255 * 0.5, rtol=1e-6)
                assert data[f"time/{number}"][0] == (last + 1) * 200_000
    answer = run_query(
        framecast, tmp_path / "a.npy", "--fps=5", "--frames", 1, 8, "--size", 4, 5, *options, f"--to={tmp_path}/a.npz"
    )
    assert (answer["clips"], answer["left_out"]) == (4, 0)
    with np.load(tmp_path / "a.npz") as data:
        assert data["forecast/3"].shape == (2, 4, 5, 1)


def test_axes_and_variables_are_chosen_as_in_conversions(serve, framecast, tmp_path):
    options, _ = serve()
    frames = moving(0)
    np.save(tmp_path / "a.npy", frames[..., 0].transpose(1, 0, 2))
    steps = 300 * np.arange(6)
    layers = xr.Dataset(
        {
            "rain": (("time", "level", "y", "x"), np.stack([frames[..., 0], 0 * frames[..., 0]], axis=1)),
            "other": (("time", "y", "x"), 0 * frames[..., 0]),
        },
        coords={"level": [850, 500], "time": ("time", steps, {"units": "seconds since 2020-01-01"})},
    )
    layers.to_netcdf(tmp_path / "a.nc")
    layers.to_zarr(tmp_path / "a.zarr")
    chosen = ["--variable=rain", "--select=level=850"]
    for source, given in (("a.npy", ["--axes=HTW", "--fps=5"]), ("a.nc", chosen), ("a.zarr", chosen)):
        run_query(framecast, tmp_path / source, *given, *options, f"--to={tmp_path}/out.npz")
        with np.load(tmp_path / "out.npz") as data:
            np.testing.assert_allclose(data["forecast/0"][0], frames[-1] / 255 * 0.5, rtol=1e-6)
    refused = framecast("query", tmp_path / "a.npy", "--axes=TX", *options)
    assert refused.code == 2
    assert "--axes: expected distinct letters of N, T, H, W and C" in refused.text


def test_video_is_converted_to_gray(serve, framecast, tmp_path):
    import av

    options, _ = serve()
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        for level in range(10):
            pixels = np.full((16, 16, 3), (10 * level, 0, 0), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    refused = framecast("query", path, *options)
    assert refused.code == 1
    assert "expected 1 channels, received 3 (--gray converts RGB to one channel)" in refused.text
    run_query(framecast, path, "--gray", *options, "--to", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as data:
        np.testing.assert_allclose(data["forecast/0"][0], np.round(90 * 0.299) / 255 * 0.5, rtol=1e-5)
        assert data["time/0"].tolist() == [400_000, 440_000]


def test_scores_are_printed_and_written(serve, framecast, tmp_path):
    options, _ = serve("anomaly")
    dark, bright = np.zeros((5, 8, 8, 1), np.uint8), np.zeros((4, 8, 8, 1), np.uint8)
    bright[2] = 255
    source = write_clips(tmp_path / "a.tfrecord", [dark, bright])
    to = [f"--to={tmp_path}/a.npz", f"--to={tmp_path}/a.tfrecord"]
    text = framecast("query", source, *options, *to).text
    assert "clip-0: normal, score 0" in text
    assert "clip-1: anomalous, score 4, frames 2" in text
    with np.load(tmp_path / "a.npz") as data:
        assert data["anomaly_score/0"].tolist() == [0] * 5
        assert data["anomaly_score/1"].tolist() == [0, 0, 4, 0]
    (_, record) = tf.data.TFRecordDataset(f"{tmp_path}/a.tfrecord").as_numpy_iterator()
    entries = tf.train.SequenceExample.FromString(record).feature_lists.feature_list["anomaly_score"].feature
    assert [entry.float_list.value[0] for entry in entries] == [0, 0, 4, 0]
    for option in ("--holdout", f"--to={tmp_path}/a.gif", f"--to={tmp_path}/a.nc"):
        assert "expected a model that makes forecasts" in framecast("query", source, *options, option).text


def test_class_names_come_from_labelled_clips(serve, framecast, tmp_path):
    options, _ = serve("classify")
    frames = np.full((4, 8, 8, 1), 255, np.uint8)
    named = write_clips(tmp_path / "a.tfrecord", [frames], label_index=[1], label_string=["storm"])
    assert "clip-0: class storm (100.0%)" in framecast("query", named, *options).text
    plain = write_clips(tmp_path / "b.tfrecord", [frames])
    assert "clip-0: class 1 (100.0%)" in framecast("query", plain, *options).text


def test_gaps_that_leave_no_clip_are_named(serve, framecast, tmp_path):
    options, _ = serve()
    shown = [Image.fromarray(np.full((8, 8), 40 * number, np.uint8)) for number in range(6)]
    shown[0].save(tmp_path / "a.gif", save_all=True, append_images=shown[1:], duration=[100, 900] * 3)
    answer = framecast("query", tmp_path / "a.gif", "--gray", *options)
    assert answer.code == 1
    assert "expected a clip long enough for the model, received" in answer.text
    assert "too short, gaps: " in answer.text


def test_missing_package_is_named(serve, framecast, tmp_path, monkeypatch):
    options, _ = serve()
    source = write_clips(tmp_path / "a.tfrecord", [moving(0)])
    (tmp_path / "a.mp4").touch()
    for package, arguments in (("av", [tmp_path / "a.mp4"]), ("netCDF4", [source, f"--to={tmp_path}/a.nc"])):
        monkeypatch.setitem(sys.modules, package, None)
        answer = framecast("query", *arguments, *options)
        assert answer.code == 1
        assert f"expected {package} to be installed; install the extra framecast[media]" in answer.text


def test_label_selects_the_version(serve, framecast, tmp_path):
    options, _ = serve()
    source = write_clips(tmp_path / "a.tfrecord", [moving(0)])
    assert run_query(framecast, source, *options, "--label=stable")["version"] == _VERSION
    refused = framecast("query", source, *options, "--label=canary")
    assert refused.code == 1
    assert "INVALID_ARGUMENT: Unrecognized servable version label: canary" in refused.text


def test_unusable_sources_are_named(serve, framecast, tmp_path):
    options, _ = serve()
    good = write_clips(tmp_path / "a.tfrecord", [moving(0)])
    array = tmp_path / "a.npy"
    np.save(array, moving(0))
    for arguments, message in (
        (
            [good, array],
            "expected TFRecords of clips, or videos, images, arrays or gridded files, received arrays and examples",
        ),
        (
            [good, "--fps=5", "--range", 0, 9],
            f"--fps, --range: expected videos, images, arrays or gridded files, received TFRecords: {good}",
        ),
        ([array], "the frames have no times; set their rate (--fps)"),
        ([tmp_path / "no.npy"], "no.npy: expected files, received none"),
        ([good, "--to=a.mp4"], "a.mp4: expected a file name with extension .gif"),
        (
            [write_clips(tmp_path / "short.tfrecord", [moving(0, time=2)])],
            "long enough for the model, received 1 too short",
        ),
    ):
        answer = framecast("query", *arguments, *options)
        assert answer.code == 1
        assert message in answer.text
    bad = pathlib.Path(tmp_path / "bad.tfrecord")
    bad.write_bytes(good.read_bytes()[:-10])
    assert f"{bad}, record 0: truncated data" in framecast("query", bad, *options).text
