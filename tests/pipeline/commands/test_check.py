"""`framecast check` on the shipped radar clips: findings of each step, and named errors."""

import pathlib

import pytest

from framecast.pipeline.commands.check import check
from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.config.inputs import find_inputs

_CONFIG = str(pathlib.Path(__file__).parents[3] / "configs" / "radar.yaml")


def _check(*overrides):
    config = load(_CONFIG, overrides)
    return check(config, find_inputs(config))


def test_every_signature_is_called():
    findings = _check("model.preset=convlstm-tiny")
    assert findings["files"] == {"train": 4, "eval": 2}
    assert findings["clips read"].endswith("of 128x128x1")
    assert findings["training step"].startswith("loss 0.")
    assert {"serving_default", "serve_examples", "transform_features", "evaluate", "step"} <= set(findings)
    assert findings["evaluate"]["hits"] == findings["evaluate"]["hits_persistence"] == "float32 (4, 6, 5)"
    assert findings["evaluate"]["fss_error"] == "float32 (4, 6, 5, 3)"
    assert findings["serving_default"] == {"forecast": "float32 (4, 6, 128, 128, 1)"}


def test_only_short_clips_are_an_error():
    with pytest.raises(ConfigError, match=r"expected a clip of at least 24 frames .* received lengths \["):
        _check("task.horizon=20", "model.preset=convlstm-tiny")


def test_clip_outside_the_contract_is_named():
    with pytest.raises(ValueError, match=r"tfrecord.gz, record 0: clip .*: expected 8 to 9 frames, received \d+"):
        _check("clip.frames.max=9", "task.horizon=2")


def test_quarantine_skips_and_names_bad_clips():
    overrides = ["data.on_bad_clip=quarantine", "clip.frames.max=16", "model.preset=convlstm-tiny", "task.horizon=1"]
    findings = _check(*overrides)
    assert findings["clips read"].startswith("4, ")
    assert all("expected 8 to 16 frames, received" in message for message in findings["bad clips before them"])
