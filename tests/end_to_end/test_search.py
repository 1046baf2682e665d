"""Hyperparameter search in a run: the Trainer uses the best trial, and the record lists all trials."""

import json
import pathlib

import pytest

from framecast.models.training.training_log import read_curves
from framecast.pipeline.runs import formatting, records
from tests.end_to_end.conftest import Chain

_SPACE = "{train: {learning_rate: {values: [0.0, 0.005]}}, model: {arguments: {filters: {values: [[8], [12]]}}}}"
_TUNE = f"tune={{space: {_SPACE}, trials: 3, steps: 10, algorithm: random}}"


@pytest.mark.slow
def test_trainer_uses_the_best_trial(tmp_path):
    chain = Chain(tmp_path)
    result = chain.run(_TUNE, "train.learning_rate=0.5", "train.steps=20")
    assert result.verdict == "pushed", result.why
    assert len(result.trials) == 3
    (best,) = (trial for trial in result.trials if trial["best"])
    assert best["val_loss"] == min(trial["val_loss"] for trial in result.trials)
    assert best["values"]["train.learning_rate"] == 0.005

    rates = [rate for _, rate in read_curves(chain.artifact("Trainer", "model_run"))["learning_rate"]]
    assert max(rates) <= 0.005
    run = records.find_run(str(tmp_path / "work"), records.LATEST)
    assert run.record["trials"] == result.trials
    page = pathlib.Path(result.report).read_text()
    assert f"{best['trial']} (best)" in page
    assert '<tr><td>train.learning_rate</td><td class="text">0.005</td></tr>' in page
    filters = json.dumps(best["values"]["model.arguments.filters"])
    again = f"--set tune=null --set train.learning_rate=0.005 --set 'model.arguments.filters={filters}'"
    assert again in formatting.description(run)

    repeated = chain.run(_TUNE, "train.learning_rate=0.5", "train.steps=20")
    assert repeated.verdict == "unchanged"
    assert repeated.trials == result.trials
    assert {part["name"]: part["state"] for part in repeated.components}["Tuner"] == "cached"
