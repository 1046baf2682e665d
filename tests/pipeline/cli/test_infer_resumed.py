"""Parts of `framecast infer`: under way at once, and however it ends, kept by the run that goes on, each clip once."""

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
from framecast.serving.exported_model import find_model
from framecast.serving.predictions import writers
from framecast.serving.predictions.example_ids import read_example_ids
from tests import bulk_clips


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


def test_a_run_that_was_killed_goes_on_and_answers_each_clip_once(infer, bulk_folder, tmp_path, monkeypatch):
    to = tmp_path / "out"
    arguments = [bulk_clips.model(bulk_folder, "forecast"), bulk_folder / "clips", "--to", to]
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, *map(str, arguments)]
    killed = subprocess.run(command, capture_output=True, timeout=300)
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
    counts = collections.Counter(name for name in found["files"] for name in read_example_ids(str(to / name)))
    assert counts == {f"clip-{number}": 1 for number in range(12)}
    # Once more: nothing is left to do.
    written = {path.name: path.stat().st_mtime_ns for path in to.iterdir()}
    code, again = infer("forecast")
    assert (code, again) == (0, found)
    assert {path.name: path.stat().st_mtime_ns for path in to.iterdir()} == written


def test_a_part_is_written_while_the_model_answers_the_next(infer, monkeypatch):
    next_began, write = threading.Event(), writers.write_predictions
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
    monkeypatch.setattr(writers, "write_predictions", late)
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
    source = bulk_clips.write(
        tmp_path / "clips" / "c.tfrecord",
        [*map(bulk_clips.clip, range(4)), bulk_clips.clip(5, broken=True), bulk_clips.clip(6)],
    )
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
    write, calls = writers.write_predictions, []

    def full(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **keywords)

    monkeypatch.setattr(bulk_inference, "_PART_CLIPS", 2)
    monkeypatch.setattr(writers, "write_predictions", full)
    code, text = infer("forecast")
    assert code == 1
    assert "No space left on device" in text
    assert not (tmp_path / "out/manifest.json").exists()
    code, found = infer("forecast")
    assert code == 0
    assert len(found["files"]) == 7
    assert len(calls) == 8  # What had been written was not written again.
    counts = collections.Counter(
        name for path in found["files"] for name in read_example_ids(str(tmp_path / "out" / path))
    )
    assert counts == {f"clip-{number}": 1 for number in range(12)}


def test_workers_of_one_process_open_the_model_once_between_them(bulk_folder, tmp_path, monkeypatch):
    opened, threads = [], set()

    class Watched(bulk_inference.BulkModel):
        def __init__(self, *arguments):
            opened.append(arguments)
            super().__init__(*arguments)

        def ask(self, clips):
            threads.add(threading.get_ident())
            return super().ask(clips)

    monkeypatch.setattr(bulk_inference, "BulkModel", Watched)
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
    assert len(opened) == 1


def test_an_answer_that_is_there_twice_is_noticed(infer, monkeypatch):
    monkeypatch.setattr(bulk_inference, "read_example_ids", lambda path: [*read_example_ids(path), "clip-1"])
    with pytest.raises(RuntimeError, match="12 clips answered once each, received 14 answers"):
        infer("forecast")
