"""`framecast infer` on clips of `tests.bulk_clips`."""

import json

import pytest

from tests import bulk_clips


@pytest.fixture(scope="session")
def bulk_folder(tmp_path_factory):
    """A folder with two files of clips, where the models that tests ask for go."""
    folder = tmp_path_factory.mktemp("bulk")
    bulk_clips.write_two_files(folder)
    return folder


@pytest.fixture
def infer(framecast, bulk_folder, tmp_path):
    """Runs `framecast infer`; returns the exit code and the JSON, or the error."""

    def run(task, *arguments, clips=None, to=tmp_path / "out"):
        clips = [bulk_folder / "clips"] if clips is None else clips
        model = bulk_clips.model(bulk_folder, task)
        answer = framecast("infer", model, *clips, "--to", to, "--json", *arguments)
        return answer.code, json.loads(answer.out) if answer.out else answer.text

    return run
