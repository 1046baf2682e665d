"""The Evaluator compares a candidate only with a serving model of the same interval between frames."""

import json
import types

import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from framecast.components import evaluator
from framecast.components.artifact_properties import NO_BASELINE, PRESENT, property_of


def _model(folder, **card):
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    extra = folder / path_utils.serving_model_path("") / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "framecast.json").write_text(json.dumps(card))
    artifact.set_int_custom_property(PRESENT, 1)
    return artifact


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({"intervals": [600.0]}, "not compared with the serving model: expected 300 s between frames, received 600 s"),
        ({"frame_rate": 1 / 302}, ""),
        ({}, ""),
    ],
)
def test_serving_model_of_another_interval_is_no_baseline(tmp_path, monkeypatch, card, reason):
    given = {}
    monkeypatch.setattr(
        evaluator.executor.Executor, "Do", lambda self, inputs, outputs, properties: given.update(inputs)
    )
    monkeypatch.setattr(evaluator, "read_verdict", lambda uri: types.SimpleNamespace(figures={"mse": 0.5}))
    blessing = standard_artifacts.ModelBlessing()
    serving = _model(tmp_path / "serving", **card)
    evaluator.EvaluatorExecutor().Do(
        {"model": [_model(tmp_path / "candidate", intervals=[300.0])], "baseline_model": [serving]},
        {"evaluation": [standard_artifacts.ModelEvaluation()], "blessing": [blessing]},
        {},
    )
    assert given.get("baseline_model", []) == ([] if reason else [serving])
    assert property_of(blessing.mlmd_artifact, NO_BASELINE) == reason
