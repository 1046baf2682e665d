"""`framecast infer` in parts: overlapping steps, and resuming after kills and errors with each clip once."""

import collections
import errno
import os
import signal
import subprocess
import sys
import threading

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from framecast.pipeline.config.beam import BeamSpec
from framecast.serving.bulk import inference as bulk_inference
from framecast.serving.bulk import predict_file, verification
from framecast.serving.bulk.model import BulkModel
from framecast.serving.exported_model import find_model
from framecast.serving.predictions import writers
from framecast.serving.predictions.example_ids import read_example_ids
from tests import bulk_clips


def test_parts_have_bounded_size(infer, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_file, "_PART_CLIPS", 3)
    _, found = infer("forecast")
    assert list(found["files"].values()) == [3, 3, 1, 3, 2]
    monkeypatch.setattr(predict_file, "_PART_CLIPS", 1000)
    monkeypatch.setattr(predict_file, "_PART_BYTES", 8000)  # A frame has 256 bytes, a forecast 2048.
    _, found = infer("forecast", to=tmp_path / "small")
    assert list(found["files"].values()) == [2, 2, 2, 1, 2, 2, 1]


_KILLED = """
import os, signal, sys
from framecast.pipeline.cli import main as cli
from framecast.serving.bulk import folder, predict_file

predict_file._PART_CLIPS = 2
record, calls = folder.BulkFolder.write, []

def write(self, number, progress):
    calls.append(number)
    if len(calls) == 3:  # The output file is published, the progress not written.
        os.kill(os.getpid(), signal.SIGKILL)
    record(self, number, progress)

folder.BulkFolder.write = write
sys.argv = ["framecast", "infer", *sys.argv[1:]]
cli.main()
"""


def test_killed_inference_resumes_with_each_clip_once(infer, bulk_folder, tmp_path, monkeypatch):
    to = tmp_path / "out"
    arguments = [bulk_clips.model(bulk_folder, "forecast"), bulk_folder / "clips", "--to", to]
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, *map(str, arguments)]
    killed = subprocess.run(command, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = {path.name: path.stat().st_mtime_ns for path in to.glob("answers-*")}
    assert len(before) == 3
    assert not (to / "manifest.json").exists()
    monkeypatch.setattr(predict_file, "_PART_CLIPS", 2)
    code, found = infer("forecast")
    assert code == 0, found
    kept = [name for name, written in before.items() if (to / name).stat().st_mtime_ns == written]
    assert len(kept) == 2
    assert sorted(os.listdir(to)) == [*sorted(found["files"]), "manifest.json"]
    counts = collections.Counter(name for name in found["files"] for name in read_example_ids(str(to / name)))
    assert counts == {f"clip-{number}": 1 for number in range(12)}
    # A third run has nothing to do.
    written = {path.name: path.stat().st_mtime_ns for path in to.iterdir()}
    code, again = infer("forecast")
    assert (code, again) == (0, found)
    assert {path.name: path.stat().st_mtime_ns for path in to.iterdir()} == written


def test_part_is_written_during_prediction_of_next(infer, monkeypatch):
    next_began, write = threading.Event(), writers.write_predictions
    calls = []

    class Watched(BulkModel):
        def submit(self, clips):
            calls.append(clips)
            if len(calls) == 2:
                next_began.set()
            return super().submit(clips)

    def late(*arguments, **keywords):
        assert next_began.wait(60)
        write(*arguments, **keywords)

    monkeypatch.setattr(predict_file, "_PART_CLIPS", 2)
    monkeypatch.setattr(predict_file, "BulkModel", Watched)
    monkeypatch.setattr(writers, "write_predictions", late)
    code, found = infer("forecast")
    assert (code, found["clips"]) == (0, 12)


def test_part_is_read_during_prediction_of_previous(infer, monkeypatch):
    next_was_read, read = threading.Event(), predict_file.read_frames
    clips = []

    class Watched(BulkModel):
        def submit(self, clips):
            outputs = super().submit(clips)
            return lambda: next_was_read.wait(60) and outputs()

    def watched(record, spec):
        clips.append(record)
        if len(clips) == 4:
            next_was_read.set()
        return read(record, spec)

    monkeypatch.setattr(predict_file, "_PART_CLIPS", 2)
    monkeypatch.setattr(predict_file, "BulkModel", Watched)
    monkeypatch.setattr(predict_file, "read_frames", watched)
    code, found = infer("forecast")
    assert (code, found["clips"]) == (0, 12)


def test_parts_before_a_bad_clip_are_kept(infer, tmp_path, monkeypatch):
    source = bulk_clips.write(
        tmp_path / "clips" / "c.tfrecord",
        [*map(bulk_clips.clip, range(4)), bulk_clips.clip(5, broken=True), bulk_clips.clip(6)],
    )
    monkeypatch.setattr(predict_file, "_PART_CLIPS", 2)
    code, text = infer("forecast", clips=[source])
    assert code == 1
    assert f"{source}, record 4: clip clip-5" in text
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("answers-*")}
    assert len(kept) == 2
    code, found = infer("forecast", "--skip-bad", clips=[source])
    assert (code, found["clips"], len(found["bad"]), len(found["files"])) == (0, 5, 1, 3)
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept} == kept


@pytest.mark.parametrize("failing", [2, 7])  # During the prediction of the next part, and after the last part.
def test_failed_write_ends_inference_and_is_resumed(infer, tmp_path, monkeypatch, failing):
    write, calls = writers.write_predictions, []

    def full(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **keywords)

    monkeypatch.setattr(predict_file, "_PART_CLIPS", 2)
    monkeypatch.setattr(writers, "write_predictions", full)
    code, text = infer("forecast")
    assert code == 1
    assert "No space left on device" in text
    assert not (tmp_path / "out/manifest.json").exists()
    code, found = infer("forecast")
    assert code == 0
    assert len(found["files"]) == 7
    assert len(calls) == 8  # Written parts are not written again.
    counts = collections.Counter(
        name for path in found["files"] for name in read_example_ids(str(tmp_path / "out" / path))
    )
    assert counts == {f"clip-{number}": 1 for number in range(12)}


def test_threads_of_one_process_load_the_model_once(bulk_folder, tmp_path, monkeypatch):
    loaded, threads = [], set()

    class Watched(BulkModel):
        def __init__(self, *arguments):
            loaded.append(arguments)
            super().__init__(*arguments)

        def submit(self, clips):
            threads.add(threading.get_ident())
            return super().submit(clips)

    monkeypatch.setattr(predict_file, "BulkModel", Watched)
    files = [
        str(bulk_clips.write(tmp_path / "clips" / f"{number}.tfrecord", [bulk_clips.clip(number)]))
        for number in range(12)
    ]
    flags = [*BeamSpec().beam_flags(), "--direct_running_mode=multi_threading", "--direct_num_workers=3"]
    found = bulk_inference.infer(
        find_model(str(bulk_clips.model(bulk_folder, "forecast"))),
        files,
        str(tmp_path / "out"),
        make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(flags)),
    )
    assert found["clips"] == 12
    assert len(threads) > 1
    assert len(loaded) == 1


def test_duplicate_prediction_is_an_error(infer, monkeypatch):
    monkeypatch.setattr(verification, "read_example_ids", lambda path: [*read_example_ids(path), "clip-1"])
    with pytest.raises(RuntimeError, match="one prediction for each of 12 clips, received 14 predictions"):
        infer("forecast")
