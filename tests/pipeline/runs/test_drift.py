"""New data every day, as a user meets it: `framecast run --to ValidationGate` with `{SPAN}` in `data.train`."""

import json

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records

_CONFIG = """
data: {train: "day{SPAN}/*", shares: {train: 8, val: 1, eval: 1}}
clip: {frames: {min: 4, max: 12}}
task: {horizon: 1, context: {min: 2}}
model: {preset: convlstm-tiny}
train: {steps: 1}
push: {directory: serving}
"""
_FEATURES = ["clip/length", "clip/content", "clip/mean", "clip/deviation", "clip/empty_share", "clip/motion"]


def _write_day(folder, day, brightness=60, clips=120):
    """Clips of noise, their means spread by 15 around `brightness`."""
    rng = np.random.default_rng(day)
    records = []
    for number in range(clips):
        mean = rng.normal(brightness, 15)
        frames = rng.normal(mean, 20, (rng.integers(4, 13), 8, 8, 1)).clip(0, 255).astype(np.uint8)
        name = f"{day}-{number}"
        records.append(encode_clip(frames, example_id=name, media_id=name, frame_rate=10.0).SerializeToString())
    (folder / f"day{day}").mkdir(exist_ok=True)
    write_records(str(folder / f"day{day}" / "clips.tfrecord.gz"), records)


@pytest.fixture
def run(framecast, tmp_path):
    """Runs up to the gate; returns the answer and its `run.json`."""
    (tmp_path / "config.yaml").write_text(_CONFIG)

    def run(*overrides):
        settings = [f"--set={override}" for override in overrides]
        answer = framecast(
            "run", tmp_path / "config.yaml", "--workdir", tmp_path / "work", "--to", "ValidationGate", *settings
        )
        assert "Traceback" not in answer.text
        return answer, json.loads(max((tmp_path / "work" / "runs").glob("*/run.json")).read_text())

    return run


def test_drifted_span_fails_unless_drift_only_warns(run, tmp_path):
    _write_day(tmp_path, 1)
    answer, record = run()
    assert answer.code == 0, answer.text
    assert "clips of span 1: train " in answer.text
    assert "no anomalies; span 1: first span, nothing to compare with\n" in answer.text
    assert (record["spans"], record["drift"][0]["before"]) == ([1], None)

    _write_day(tmp_path, 2, brightness=130)
    answer, record = run()
    assert answer.code == 1, answer.text
    assert "failed: ValidationGate: the data drifted" in answer.text
    expected = "span 2, feature clip/mean: expected a divergence of at most 0.3 from span 1, received "
    assert expected in answer.text
    assert "feature clip/length" not in answer.text
    (compared,) = record["drift"]
    assert (record["spans"], compared["span"], compared["before"]) == ([2], 2, 1)
    assert compared["divergences"]["clip/mean"] > compared["thresholds"]["clip/mean"] == 0.3

    answer, record = run("data.drift.action=warn")
    assert answer.code == 0, answer.text
    assert "no anomalies; span 2 drifted from span 1: clip/mean " in answer.text
    assert record["drift"] == [compared]


def test_similar_span_passes(run, tmp_path):
    _write_day(tmp_path, 9)
    run()
    _write_day(tmp_path, 10)
    for state in ("done", "cached"):
        answer, record = run("data.spans=2")
        assert answer.code == 0, answer.text
        assert "clips of spans 9, 10: train " in answer.text
        assert "no anomalies; span 10 like span 9, farthest " in answer.text
        assert record["components"][-1]["state"] == state
        (compared,) = record["drift"]
        assert (record["spans"], compared["span"], compared["before"]) == ([9, 10], 10, 9)
        assert list(compared["divergences"]) == _FEATURES
        assert max(compared["divergences"].values()) < 0.2
