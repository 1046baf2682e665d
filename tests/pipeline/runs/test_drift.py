"""`framecast run --to ValidationGate` with `{SPAN}` in `data.train`: drift between spans fails the run or warns."""

import json

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs
from tests.pipeline.config_file import write_config

_FEATURES = ["clip/length", "clip/content", "clip/mean", "clip/deviation", "clip/empty_share", "clip/motion"]


def _write_day(folder, day, brightness=60, clips=120):
    """Writes clips of noise, their means spread by 15 around `brightness`."""
    rng = np.random.default_rng(day)
    records = []
    for number in range(clips):
        mean = rng.normal(brightness, 15)
        frames = rng.normal(mean, 20, (rng.integers(4, 13), 8, 8, 1)).clip(0, 255).astype(np.uint8)
        name = f"{day}-{number}"
        records.append(encode_clip(frames, example_id=name, media_id=name, frame_rate=10.0).SerializeToString())
    (folder / f"day{day}").mkdir(exist_ok=True)
    write_records(str(folder / f"day{day}" / "clips.tfrecord.gz"), records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with the configuration, and the clips and the first run of span 9."""
    folder = tmp_path_factory.mktemp("drift")
    path = write_config(
        folder,
        data='{train: "day{SPAN}/*", shares: {train: 8, val: 1, eval: 1}}',
        clip="{frames: {min: 4, max: 12}}",
        task="{horizon: 1, context: {min: 2}}",
    )
    _write_day(folder, 9)
    config = configuration.load(path)
    first = runs.run(config, str(folder / "work"), to_node="ValidationGate", quiet=True)
    assert (first.verdict, first.spans, first.drift[0]["before"]) == ("unchanged", [9], None)
    assert first.components[-1]["note"] == "no anomalies; span 9: first span, nothing to compare with"
    return folder


@pytest.fixture
def run(framecast, folder):
    """Runs up to the gate; returns the answer and its `run.json`."""

    def run(*overrides):
        settings = [f"--set={override}" for override in overrides]
        answer = framecast(
            "run", folder / "config.yaml", "--workdir", folder / "work", "--to", "ValidationGate", *settings
        )
        assert "Traceback" not in answer.text
        return answer, json.loads(max((folder / "work" / "runs").glob("*/run.json")).read_text())

    return run


def test_similar_span_passes(run, folder):
    _write_day(folder, 10)
    for state in ("done", "cached"):
        answer, record = run("data.spans=2", "data.newest_span=10")
        assert answer.code == 0, answer.text
        assert "clips of spans 9, 10: train " in answer.text
        assert "no anomalies; span 10 like span 9, farthest " in answer.text
        assert record["components"][-1]["state"] == state
        (compared,) = record["drift"]
        assert (record["spans"], compared["span"], compared["before"]) == ([9, 10], 10, 9)
        assert list(compared["divergences"]) == _FEATURES
        assert max(compared["divergences"].values()) < 0.2


def test_drifted_span_fails_unless_drift_only_warns(run, folder):
    _write_day(folder, 11, brightness=130)
    answer, record = run()
    assert answer.code == 1, answer.text
    assert "clips of span 11: train " in answer.text
    assert "failed: ValidationGate: the data drifted" in answer.text
    (compared,) = record["drift"]
    before = compared["before"]
    assert (record["spans"], compared["span"]) == ([11], 11)
    assert before in (9, 10)  # Span 10 if the test above has run.
    expected = f"span 11, feature clip/mean: expected a divergence of at most 0.3 from span {before}, received "
    assert expected in answer.text
    assert "feature clip/length" not in answer.text
    assert compared["divergences"]["clip/mean"] > compared["thresholds"]["clip/mean"] == 0.3

    answer, record = run("data.drift.action=warn")
    assert answer.code == 0, answer.text
    assert f"no anomalies; span 11 drifted from span {before}: clip/mean " in answer.text
    assert record["drift"] == [compared]
