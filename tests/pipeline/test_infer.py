"""`framecast infer`: each clip answered once, as the model answers about it alone, in files that others read."""

import collections
import errno
import json
import os
import signal
import subprocess
import sys
import threading

import apache_beam as beam
import keras
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
import xarray as xr
from apache_beam.options.pipeline_options import PipelineOptions
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.clips.codec import decode_frames, encode_clip
from framecast.clips.records import write_records
from framecast.components.bulk_inference import Executor
from framecast.models import builders, export
from framecast.pipeline import check, dag
from framecast.pipeline import config as configuration
from framecast.pipeline.beam_spec import BeamSpec
from framecast.schemas import features
from framecast.schemas.spec import ANY_LENGTH
from framecast.serving import bulk_inference, write_answers
from framecast.serving.answer_names import answer_names
from framecast.serving.exported import find_model
from framecast.serving.infer_spec import InferSpec

_CONFIG = """
data: {{train: "clips/*"}}
clip: {{frames: {{min: 4, max: 12}}, missing: 255, value: {{unit: dBZ, scale: 0.25, offset: -10}}}}
task: {task}
model: {{preset: {preset}}}
train: {{steps: 1}}
push: {{directory: serving}}
"""
_TASKS = {
    "forecast": ("{horizon: 2, context: {min: 3}}", "convlstm-tiny"),
    "anomaly": ("{kind: anomaly, context: {min: 2}}", "convlstm-tiny"),
    "classify": ("{kind: classify, classes: 3}", "cnn-convlstm-small"),
    "frames": ("{kind: regress, per: frame}", "cnn-convlstm-small"),
}
_SIZES = ((16, 16), (12, 20))
_START = 1_600_000_000_000_000


def _clip(number, name=None, frames=None, broken=False):
    """A clip of its own length and one of two sizes; a pixel of it is always missing."""
    height, width = _SIZES[number % 2]
    pixels = np.random.default_rng(number).integers(0, 255, (frames or 3 + number % 7, height, width, 1), np.uint8)
    pixels[:, 1, 2] = 255
    times = [_START + 300_000_000 * place for place in range(len(pixels))]
    if broken:
        times[1] += 100_000_000
    return encode_clip(pixels, example_id=name or f"clip-{number}", media_id="m", frame_rate=1 / 300, timestamps=times)


def _write(path, clips):
    path.parent.mkdir(exist_ok=True)
    write_records(path, [clip.SerializeToString() for clip in clips])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files of clips, and a model of each task as version 3."""
    folder = tmp_path_factory.mktemp("infer")
    _write(folder / "clips" / "a.tfrecord.gz", map(_clip, range(7)))
    _write(folder / "clips" / "b.tfrecord", map(_clip, range(7, 12)))
    for name, (task, preset) in _TASKS.items():
        (folder / "config.yaml").write_text(_CONFIG.format(task=task, preset=preset))
        config = configuration.load(str(folder / "config.yaml"))
        keras.utils.set_random_seed(0)
        model = builders.build(config.model, config.task, config.clip, keras.DTypePolicy("float32"))
        card = {"contract": dag.contract(config), "frame_rate": 1 / 300}
        export.save(check.untrained_module(model, config), str(folder / name / "3"), card)
    return folder


@pytest.fixture
def infer(framecast, folder, tmp_path):
    """Runs `framecast infer`; returns the exit code and the JSON, or the error."""

    def run(model, *arguments, clips=None, to=tmp_path / "out"):
        clips = [folder / "clips"] if clips is None else clips
        answer = framecast("infer", folder / model, *clips, "--to", to, "--json", *arguments)
        return answer.code, json.loads(answer.out) if answer.out else answer.text

    return run


@pytest.fixture(scope="module")
def alone(folder):
    """What the signature answers about each clip alone, by clip."""

    def ask(task):
        model = tf.saved_model.load(str(folder / task / "3"))
        spec = find_model(str(folder / task)).clip.model_copy(update={"frames": ANY_LENGTH})
        answers = {}
        for number in range(12):
            frames = decode_frames(_clip(number), spec)
            outputs = model.signatures["serving_default"](frames=frames[None], length=[len(frames)])
            answers[f"clip-{number}"] = {name: value.numpy()[0] for name, value in outputs.items()}
        return answers

    return ask


def _records(folder):
    """Context and feature lists of each clip in a folder, as TensorFlow reads them."""
    for path in sorted(folder.glob("answers-*")):
        compression = "GZIP" if path.name.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator():
            yield tf.train.SequenceExample.FromString(record)


def test_forecasts_are_clips_of_what_the_model_answers_about_each_alone(infer, alone, tmp_path):
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
        assert (first, second) == (_START + (3 + int(name[5:]) % 7) * 300_000_000, first + 300_000_000)
    assert not expected


@pytest.mark.parametrize("task", ["anomaly", "classify", "frames"])
def test_scores_and_labels_are_a_table_of_what_the_model_answers_about_each_alone(infer, alone, tmp_path, task):
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


def test_netcdf_has_values_at_valid_times_a_file_a_size(infer, alone, tmp_path):
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
                last = np.datetime64(_START + (2 + int(name[5:]) % 7) * 300_000_000, "us")
                np.testing.assert_array_equal(data["time"].values[place], last + np.array([300, 600]).astype("m8[s]"))
    assert not expected


def test_npz_has_each_output_as_it_is(infer, alone, tmp_path):
    infer("forecast", "--format=npz")
    expected = alone("forecast")
    for path in (tmp_path / "out").glob("*.npz"):
        with np.load(path) as data:
            assert set(data["version"]) == {3}
            for number, name in enumerate(data["example_id"]):
                np.testing.assert_allclose(data[f"forecast/{number}"], expected.pop(name)["forecast"], atol=1e-5)
    assert not expected


def test_a_file_is_answered_in_parts_of_bounded_size(infer, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 3)
    _, found = infer("forecast")
    assert list(found["files"].values()) == [3, 3, 1, 3, 2]
    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 1000)
    monkeypatch.setattr(bulk_inference, "_PART_BYTES", 8000)  # Frames are of 256 bytes, forecasts of 2048.
    _, found = infer("forecast", to=tmp_path / "small")
    assert list(found["files"].values()) == [2, 2, 2, 1, 2, 2, 1]


_KILLED = """
import os, signal, sys
from framecast.pipeline import cli
from framecast.serving import bulk_folder, bulk_inference

bulk_inference._PART_CLIPS = 2
record, calls = bulk_folder.BulkFolder.write, []

def write(self, number, progress):
    calls.append(number)
    if len(calls) == 3:  # Answers have their names, and nobody has recorded it.
        os.kill(os.getpid(), signal.SIGKILL)
    record(self, number, progress)

bulk_folder.BulkFolder.write = write
sys.argv = ["framecast", "infer", *sys.argv[1:]]
cli.main()
"""


def test_a_run_that_was_killed_goes_on_and_answers_each_clip_once(infer, folder, tmp_path, monkeypatch):
    to = tmp_path / "out"
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, str(folder / "forecast"), str(folder / "clips")]
    killed = subprocess.run([*command, "--to", str(to)], capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = {path.name: path.stat().st_mtime_ns for path in to.glob("answers-*")}
    assert len(before) == 3
    assert not (to / "manifest.json").exists()
    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    code, found = infer("forecast")
    assert code == 0, found
    kept = [name for name, written in before.items() if (to / name).stat().st_mtime_ns == written]
    assert len(kept) == 2
    assert sorted(os.listdir(to)) == [*sorted(found["files"]), "manifest.json"]
    counts = collections.Counter(name for name in found["files"] for name in answer_names(str(to / name)))
    assert counts == {f"clip-{number}": 1 for number in range(12)}
    # Once more: nothing is left to do.
    written = {path.name: path.stat().st_mtime_ns for path in to.iterdir()}
    code, again = infer("forecast")
    assert (code, again) == (0, found)
    assert {path.name: path.stat().st_mtime_ns for path in to.iterdir()} == written


def test_a_part_is_written_while_the_model_answers_the_next(infer, monkeypatch):
    next_began, write = threading.Event(), write_answers.write_answers
    calls = []

    class Watched(bulk_inference.BulkModel):
        def ask(self, clips):
            calls.append(clips)
            if len(calls) == 2:
                next_began.set()
            return super().ask(clips)

    def late(*arguments, **keywords):
        assert next_began.wait(60)
        write(*arguments, **keywords)

    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    monkeypatch.setattr(bulk_inference, "BulkModel", Watched)
    monkeypatch.setattr(write_answers, "write_answers", late)
    code, found = infer("forecast")
    assert (code, found["clips"]) == (0, 12)


def test_a_part_is_read_while_the_model_answers_the_one_before(infer, monkeypatch):
    next_was_read, read = threading.Event(), bulk_inference.read_frames
    clips = []

    class Watched(bulk_inference.BulkModel):
        def ask(self, clips):
            outputs = super().ask(clips)
            return lambda: next_was_read.wait(60) and outputs()

    def watched(record, spec):
        clips.append(record)
        if len(clips) == 4:
            next_was_read.set()
        return read(record, spec)

    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    monkeypatch.setattr(bulk_inference, "BulkModel", Watched)
    monkeypatch.setattr(bulk_inference, "read_frames", watched)
    code, found = infer("forecast")
    assert (code, found["clips"]) == (0, 12)


def test_what_was_read_before_a_bad_clip_is_answered_and_kept(infer, tmp_path, monkeypatch):
    source = _write(tmp_path / "clips" / "c.tfrecord", [*map(_clip, range(4)), _clip(5, broken=True), _clip(6)])
    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}, record 4: clip clip-5" in text
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("answers-*")}
    assert len(kept) == 2
    code, found = infer("forecast", "--skip-bad", clips=[source])
    assert (code, found["clips"], len(found["bad"]), len(found["files"])) == (0, 5, 1, 3)
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept} == kept


@pytest.mark.parametrize("failing", [2, 7])  # While the next part is answered, and after the last one.
def test_answers_that_cannot_be_written_end_it_and_are_written_by_the_next_run(infer, tmp_path, monkeypatch, failing):
    write, calls = write_answers.write_answers, []

    def full(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **keywords)

    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    monkeypatch.setattr(write_answers, "write_answers", full)
    code, text = infer("forecast")
    assert code == 1
    assert "No space left on device" in text
    assert not (tmp_path / "out/manifest.json").exists()
    code, found = infer("forecast")
    assert code == 0
    assert len(found["files"]) == 7
    assert len(calls) == 8  # What had been written was not written again.
    counts = collections.Counter(name for path in found["files"] for name in answer_names(str(tmp_path / "out" / path)))
    assert counts == {f"clip-{number}": 1 for number in range(12)}


def test_workers_of_one_process_open_the_model_once_between_them(folder, tmp_path, monkeypatch):
    opened, threads = [], set()

    class Watched(bulk_inference.BulkModel):
        def __init__(self, *arguments):
            opened.append(arguments)
            super().__init__(*arguments)

        def ask(self, clips):
            threads.add(threading.get_ident())
            return super().ask(clips)

    monkeypatch.setattr(bulk_inference, "BulkModel", Watched)
    files = [str(_write(tmp_path / "clips" / f"{number}.tfrecord", [_clip(number)])) for number in range(12)]
    flags = [*BeamSpec().beam_flags(), "--direct_running_mode=multi_threading", "--direct_num_workers=3"]
    found = bulk_inference.infer(
        find_model(str(folder / "forecast")),
        files,
        str(tmp_path / "out"),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(flags)),
    )
    assert found["clips"] == 12
    assert len(threads) > 1
    assert len(opened) == 1


def test_a_folder_of_other_answers_is_refused(infer, folder, tmp_path):
    clips = folder / "clips"
    infer("forecast", clips=[clips / "a.tfrecord.gz"])
    other = _write(tmp_path / "clips" / "c.tfrecord", [_clip(90)])
    for arguments, message in (
        (["forecast", "--format=npz"], "of format tfrecord.gz, received format npz"),
        (["anomaly", "--format=tfrecord.gz"], "of model forecast, version 3, received model anomaly, version 3"),
    ):
        code, text = infer(*arguments, clips=[clips / "a.tfrecord.gz"])
        assert code == 1
        assert f"{tmp_path}/out: expected to go on with the answers there, {message}" in text
    for given, message in (([clips], f"{clips}/b.tfrecord, too"), ([other], f"no {clips}/a.tfrecord.gz")):
        code, text = infer("forecast", clips=given)
        assert code == 1
        assert f"about 1 files, received {message}" in text
    infer("forecast", clips=[other], to=tmp_path / "changed")
    _write(other, [_clip(91)])
    assert f"received other clips in {other}" in infer("forecast", clips=[other], to=tmp_path / "changed")[1]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").touch()
    assert "expected a new or empty folder, received one that holds files" in infer("forecast", to=tmp_path / "used")[1]


def test_bad_clips_end_it_by_name_or_are_left_out_and_named(infer, tmp_path):
    source = _write(tmp_path / "clips" / "c.tfrecord", [_clip(0), _clip(1, frames=5, broken=True), _clip(2, frames=2)])
    code, text = infer("forecast", clips=[source])
    assert code == 1
    bad = f"{source}, record 1: clip clip-1, frame 1: image/timestamp: expected "
    assert text.startswith(f"framecast: {bad}")
    assert "received 400000000 us" in text
    assert "while running" not in text
    code, found = infer("forecast", "--skip-bad", clips=[source])  # The same folder: what was done is kept.
    assert (code, found["clips"], found["left_out"], len(found["bad"])) == (0, 1, 1, 1)
    assert found["bad"][0].startswith(bad)


def test_names_that_are_there_twice_end_it_before_anything_is_answered(infer, tmp_path):
    one = _write(tmp_path / "clips" / "c.tfrecord", [_clip(0), _clip(1)])
    other = _write(tmp_path / "clips" / "d.tfrecord", [_clip(2, name="clip-1"), _clip(3)])
    code, text = infer("forecast", clips=[one.parent])
    assert code == 1
    twice = f"{other}, record 0: clip clip-1: expected an example/id of its own, received that of {one}, record 1"
    assert twice in text
    assert not list((tmp_path / "out").glob("answers-*"))
    code, found = infer("forecast", "--skip-bad", clips=[one.parent])
    assert (code, found["clips"], found["bad"]) == (0, 3, [twice])


def test_a_damaged_file_ends_it_or_is_answered_as_far_as_it_goes(infer, tmp_path):
    source = _write(tmp_path / "clips" / "c.tfrecord", [_clip(0), _clip(1)])
    source.write_bytes(source.read_bytes()[:-10])
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}, record 1: cut in its data" in text
    code, found = infer("forecast", "--skip-bad", clips=[source])
    assert (code, found["clips"], len(found["bad"])) == (0, 1, 1)


def test_clips_that_are_all_too_short_are_an_error(infer, tmp_path):
    source = _write(tmp_path / "clips" / "c.tfrecord", [_clip(2, frames=2)])
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}: expected a clip of at least 3 frames, received 1 shorter ones and 0 bad" in text


def test_an_answer_that_is_there_twice_is_noticed(infer, monkeypatch):
    monkeypatch.setattr(bulk_inference, "answer_names", lambda path: [*answer_names(path), "clip-1"])
    with pytest.raises(RuntimeError, match="12 clips answered once each, received 14 answers"):
        infer("forecast")


def test_a_format_that_does_not_hold_the_answers_is_refused(infer):
    assert infer("forecast", "--format=gif")[0] == 2
    code, text = infer("forecast", "--format=parquet")
    assert code == 1
    assert "format parquet: expected a model of scores or labels, received one of forecasts" in text
    assert "format nc: expected a model of forecasts, received one of anomaly" in infer("anomaly", "--format=nc")[1]


def test_answers_are_clips_that_can_be_read_again(infer, framecast, tmp_path):
    infer("anomaly", "--format=tfrecord.gz")
    for clip in _records(tmp_path / "out"):
        scores = clip.feature_lists.feature_list["anomaly_score"].feature
        assert len(scores) == len(clip.feature_lists.feature_list["image/encoded"].feature)
    assert json.loads(framecast("data", "inspect", tmp_path / "out", "--json").out)["clips"] == 12


def _component(tmp_path, folder, spec, **properties):
    """Runs the component's executor after a push with these properties; returns its output."""
    pushed, answers = standard_artifacts.PushedModel(), simple_artifacts.File()
    pushed.uri, answers.uri = str(tmp_path / "pushed"), str(tmp_path / "component")
    for name, value in properties.items():
        pushed.set_string_custom_property(name, value)
    context = Executor.Context(beam_pipeline_args=BeamSpec().beam_flags(), tmp_dir=str(tmp_path))
    parameters = {"directory": str(folder / "forecast"), "infer": spec.model_dump_json(), "skip_bad": 0}
    Executor(context).Do({"pushed_model": [pushed]}, {"answers": [answers]}, parameters)
    return answers


def test_the_component_answers_by_the_version_that_serves_in_a_folder_of_its_own(folder, tmp_path):
    spec = InferSpec(data=str(folder / "clips"), to=str(tmp_path / "forecasts"))
    for properties in ({"pushed": "1"}, {"reason": "unchanged"}):
        found = _component(tmp_path, folder, spec, pushed_version="3", **properties)
        (own,) = (tmp_path / "forecasts").iterdir()
        assert found.get_string_custom_property("folder") == str(own)
        assert own.name.startswith("3-")
        assert [found.get_int_custom_property(name) for name in ("clips", "left_out", "bad")] == [12, 0, 0]
        assert sum(len(answer_names(str(path))) for path in own.glob("answers-*")) == 12
    other = InferSpec(data=str(folder / "clips" / "a.tfrecord.gz"), to=spec.to)
    _component(tmp_path, folder, other, pushed_version="3")
    assert len(list((tmp_path / "forecasts").iterdir())) == 2


def test_the_component_has_no_answers_of_a_candidate_that_lost(folder, tmp_path):
    spec = InferSpec(data=str(folder / "clips"), to=str(tmp_path / "forecasts"))
    found = _component(tmp_path, folder, spec, reason="lost")
    assert found.get_string_custom_property("reason") == "the candidate lost"
    assert not (tmp_path / "forecasts").exists()
