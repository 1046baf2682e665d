"""Fixtures for `framecast infer` on the clips of `tests.bulk_clips`."""

import functools
import json

import pytest

# Modules that import TensorFlow are imported in the fixtures, because every worker of the tests loads this file.


@pytest.fixture(scope="session")
def bulk_folder(tmp_path_factory):
    """A folder with two files of clips and the exported models."""
    from tests import bulk_clips

    folder = tmp_path_factory.mktemp("bulk")
    bulk_clips.write_two_files(folder)
    return folder


@pytest.fixture(scope="session")
def load_once():
    """Returns a `BulkModel` constructor that loads each model once per test session."""
    from framecast.serving.bulk.model import BulkModel

    return functools.cache(BulkModel)


@pytest.fixture
def infer(framecast, bulk_folder, tmp_path, load_once, monkeypatch):
    """Runs `framecast infer`; returns the exit code and the JSON, or the error."""
    from framecast.serving.bulk import predict_file
    from tests import bulk_clips

    monkeypatch.setattr(predict_file, "BulkModel", load_once)

    def run(task, *arguments, clips=None, to=tmp_path / "out"):
        clips = [bulk_folder / "clips"] if clips is None else clips
        model = bulk_clips.model(bulk_folder, task)
        done = framecast("infer", model, *clips, "--to", to, "--json", *arguments)
        return done.code, json.loads(done.out) if done.out else done.text

    return run
