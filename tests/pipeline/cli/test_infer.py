"""`framecast infer`: output files of each format and task, and refused input."""

import functools
import json

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
import xarray as xr

from framecast.clips.codec import decode_frames, encode_clip
from framecast.schemas import features
from framecast.schemas.clip_spec import ANY_LENGTH
from framecast.serving.exported_model import find_model
from tests import bulk_clips


@pytest.fixture(scope="module")
def alone(bulk_folder):
    """Returns the outputs of the signature for each clip alone, by clip name."""

    @functools.cache
    def predict(task):
        base = bulk_clips.model(bulk_folder, task)
        model = tf.saved_model.load(str(base / "3"))
        spec = find_model(str(base)).clip.model_copy(update={"frames": ANY_LENGTH})
        expected = {}
        for number in range(12):
            frames = decode_frames(bulk_clips.clip(number), spec)
            outputs = model.signatures["serving_default"](frames=frames[None], length=[len(frames)])
            expected[f"clip-{number}"] = {name: value.numpy()[0] for name, value in outputs.items()}
        return expected

    return lambda task: dict(predict(task))


def _records(folder):
    """Reads the clips of all TFRecords in a folder, with TensorFlow."""
    for path in sorted(folder.glob("answers-*")):
        compression = "GZIP" if path.name.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator():
            yield tf.train.SequenceExample.FromString(record)


def test_forecast_clips_equal_single_predictions(infer, alone, tmp_path):
    code, found = infer("forecast")
    assert code == 0, found
    assert (found["clips"], found["left_out"], found["bad"], found["model"]["version"]) == (12, 0, [], 3)
    assert found["files"] == {"answers-00000-00000.tfrecord.gz": 7, "answers-00001-00000.tfrecord.gz": 5}
    expected = alone("forecast")
    for clip in _records(tmp_path / "out"):
        name = clip.context.feature[features.EXAMPLE_ID].bytes_list.value[0].decode()
        assert clip.context.feature["model/version"].int64_list.value[:] == [3]
        assert clip.context.feature[features.VALUE_UNIT].bytes_list.value[:] == [b"dBZ"]
        frames = [
            tf.io.decode_png(frame.bytes_list.value[0]).numpy()
            for frame in clip.feature_lists.feature_list["image/encoded"].feature
        ]
        wanted = expected.pop(name)["forecast"] * 255
        wanted[:, 1, 2] = 255
        assert np.abs(np.stack(frames) - wanted).max() <= 0.5 + 255e-5
        (first, second) = (
            entry.int64_list.value[0] for entry in clip.feature_lists.feature_list["image/timestamp"].feature
        )
        assert (first, second) == (bulk_clips.START + (3 + int(name[5:]) % 7) * 300_000_000, first + 300_000_000)
    assert not expected


@pytest.mark.parametrize("task", ["anomaly", "classify", "frames"])
def test_parquet_rows_equal_single_predictions(infer, alone, tmp_path, task):
    code, found = infer(task, "--batch=4")
    assert code == 0, found
    table = pyarrow.parquet.read_table(sorted((tmp_path / "out").glob("*.parquet")))
    assert (table.num_rows, found["clips"]) == (12, 12)
    expected = alone(task)
    for row in table.to_pylist():
        wanted = expected.pop(row["example_id"])
        assert (row["model_version"], row["media_id"]) == (3, "m")
        assert len(row["time"]) == 3 + int(row["example_id"][5:]) % 7
        for name, value in wanted.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-5, atol=1e-5)
    assert not expected


def test_netcdf_has_a_file_per_size(infer, alone, tmp_path):
    code, found = infer("forecast", "--format=nc")
    assert code == 0, found
    assert sorted(found["files"].values()) == [2, 3, 3, 4]
    expected = alone("forecast")
    for path in (tmp_path / "out").glob("*.nc"):
        with xr.open_dataset(path) as data:
            assert (data.attrs["model_version"], data["forecast"].attrs["units"]) == ("3", "dBZ")
            for place, name in enumerate(data["example_id"].values):
                wanted = expected.pop(name)["forecast"][..., 0] * 255 * 0.25 - 10
                wanted[:, 1, 2] = np.nan
                np.testing.assert_allclose(data["forecast"].values[place], wanted, atol=255 * 0.25e-5)
                last = np.datetime64(bulk_clips.START + (2 + int(name[5:]) % 7) * 300_000_000, "us")
                np.testing.assert_array_equal(data["time"].values[place], last + np.array([300, 600]).astype("m8[s]"))
    assert not expected


def test_npz_has_the_unchanged_outputs(infer, alone, tmp_path):
    infer("forecast", "--format=npz")
    expected = alone("forecast")
    for path in (tmp_path / "out").glob("*.npz"):
        with np.load(path) as data:
            assert set(data["version"]) == {3}
            for number, name in enumerate(data["example_id"]):
                np.testing.assert_allclose(data[f"forecast/{number}"], expected.pop(name)["forecast"], atol=1e-5)
    assert not expected


def test_clips_of_another_interval_are_refused(infer, tmp_path):
    frames = np.zeros((4, 16, 16, 1), np.uint8)
    slow = encode_clip(frames, example_id="slow", media_id="m", frame_rate=1 / 600)
    path = bulk_clips.write(tmp_path / "clips" / "c.tfrecord", [bulk_clips.clip(1), slow])
    code, text = infer("forecast", clips=[path])
    assert code == 1
    assert f"{path}, record 1: clip slow: image/timestamp: expected 300 s between frames, received 600 s" in text
    code, found = infer("forecast", "--skip-bad", clips=[path], to=tmp_path / "rest")
    assert (code, found["clips"], len(found["bad"]), found["not_compared"]) == (0, 1, 1, [])


def test_folder_of_another_inference_is_refused(infer, bulk_folder, tmp_path):
    clips = bulk_folder / "clips"
    infer("forecast", clips=[clips / "a.tfrecord.gz"])
    other = bulk_clips.write(tmp_path / "clips" / "c.tfrecord", [bulk_clips.clip(90)])
    for arguments, message in (
        (["forecast", "--format=npz"], "of format tfrecord.gz, received format npz"),
        (["anomaly", "--format=tfrecord.gz"], "of model forecast, version 3, received model anomaly, version 3"),
    ):
        code, text = infer(*arguments, clips=[clips / "a.tfrecord.gz"])
        assert code == 1
        assert f"{tmp_path}/out: expected to resume the predictions there, {message}" in text
    for given, message in (([clips], f"also {clips}/b.tfrecord"), ([other], f"no {clips}/a.tfrecord.gz")):
        code, text = infer("forecast", clips=given)
        assert code == 1
        assert f"for 1 files, received {message}" in text
    infer("forecast", clips=[other], to=tmp_path / "changed")
    bulk_clips.write(other, [bulk_clips.clip(91)])
    assert f"received other clips in {other}" in infer("forecast", clips=[other], to=tmp_path / "changed")[1]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").touch()
    assert (
        "expected a new or empty folder, received a folder with other files"
        in infer("forecast", to=tmp_path / "used")[1]
    )


def test_bad_clip_ends_inference_or_is_skipped(infer, tmp_path):
    source = bulk_clips.write(
        tmp_path / "clips" / "c.tfrecord",
        [bulk_clips.clip(0), bulk_clips.clip(1, frames=5, broken=True), bulk_clips.clip(2, frames=2)],
    )
    code, text = infer("forecast", clips=[source])
    assert code == 1
    bad = f"{source}, record 1: clip clip-1, frame 1: image/timestamp: expected "
    assert text.startswith(f"framecast: {bad}")
    assert "received 400000000 us" in text
    assert "while running" not in text
    code, found = infer("forecast", "--skip-bad", clips=[source])  # Resumes in the same folder.
    assert (code, found["clips"], found["left_out"], len(found["bad"])) == (0, 1, 1, 1)
    assert found["bad"][0].startswith(bad)


def test_duplicate_clip_names_end_inference_or_are_skipped(infer, tmp_path):
    one = bulk_clips.write(tmp_path / "clips" / "c.tfrecord", [bulk_clips.clip(0), bulk_clips.clip(1)])
    other = bulk_clips.write(tmp_path / "clips" / "d.tfrecord", [bulk_clips.clip(2, name="clip-1"), bulk_clips.clip(3)])
    code, text = infer("forecast", clips=[one.parent])
    assert code == 1
    twice = f"{other}, record 0: clip clip-1: expected a unique example/id, also used by {one}, record 1"
    assert twice in text
    assert not list((tmp_path / "out").glob("answers-*"))
    code, found = infer("forecast", "--skip-bad", clips=[one.parent])
    assert (code, found["clips"], found["bad"]) == (0, 3, [twice])


def test_damaged_file_ends_inference_or_is_read_partly(infer, tmp_path):
    source = bulk_clips.write(tmp_path / "clips" / "c.tfrecord", [bulk_clips.clip(0), bulk_clips.clip(1)])
    source.write_bytes(source.read_bytes()[:-10])
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}, record 1: truncated data" in text
    code, found = infer("forecast", "--skip-bad", clips=[source])
    assert (code, found["clips"], len(found["bad"])) == (0, 1, 1)


def test_only_short_clips_are_an_error(infer, tmp_path):
    source = bulk_clips.write(tmp_path / "clips" / "c.tfrecord", [bulk_clips.clip(2, frames=2)])
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}: expected a clip of at least 3 frames, received 1 shorter ones and 0 bad" in text


def test_format_unfit_for_the_task_is_rejected(infer):
    assert infer("forecast", "--format=gif")[0] == 2
    code, text = infer("forecast", "--format=parquet")
    assert code == 1
    assert "format parquet: expected a model of scores or labels, received a model of forecasts" in text
    assert (
        "format nc: expected a model of forecasts, received a model of task anomaly"
        in infer("anomaly", "--format=nc")[1]
    )


def test_output_clips_can_be_inspected(infer, framecast, tmp_path):
    infer("anomaly", "--format=tfrecord.gz")
    for clip in _records(tmp_path / "out"):
        scores = clip.feature_lists.feature_list["anomaly_score"].feature
        assert len(scores) == len(clip.feature_lists.feature_list["image/encoded"].feature)
    assert json.loads(framecast("data", "inspect", tmp_path / "out", "--json").out)["clips"] == 12
