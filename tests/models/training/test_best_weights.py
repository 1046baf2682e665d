"""The weights that a metric of the val split chooses: kept, logged, resumed, and when training ends."""

import logging
import math

import numpy as np
import pytest

from framecast.evaluation.metrics import registry
from tests.models.training.column_training import forecaster, summaries, train


class Scripted:
    """A metric with given values, one for each evaluation; keeps the weights that it is called with."""

    def __init__(self, *values, name="csi_2"):
        self.name, self.key = name, f"val_{name}"
        self.seen = []
        self._values = iter(values)

    def cost(self, value):
        return registry.cost(self.name, value)

    def __call__(self, weights):
        self.seen.append(weights)
        return next(self._values)


def assert_equal_weights(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [("csi_2", (math.nan, 0.5, 0.3), 2), ("far_2", (0.5, math.nan, 0.3), 3), ("bias_2", (1.4, 0.2, 0.5), 1)],
)
def test_best_value_of_metric_chooses_weights(tmp_path, caplog, name, values, best):
    caplog.set_level(logging.INFO, "framecast.train")
    model, metric = forecaster(), Scripted(*values, name=name)
    losses = []
    options = {"metric": metric, "evaluated": lambda step, loss: losses.append(loss)}
    fitted = train(model, tmp_path, steps=3, eval_every=1, **options)
    assert (fitted.step, fitted.metric) == (best, {name: values[best - 1]})
    assert fitted.val_loss == losses[best - 1]
    assert_equal_weights(model.get_weights(), metric.seen[best - 1])
    defined = {step: value for step, value in enumerate(values, 1) if not math.isnan(value)}
    logged = summaries(tmp_path / "logs")
    assert logged[f"val_{name}"] == pytest.approx(defined)
    progress = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert [one[f"val_{name}"] for one in progress] == [defined.get(step) for step in (1, 2, 3)]


def test_patience_counts_evaluations_without_better_metric(tmp_path, caplog):
    caplog.set_level(logging.INFO, "framecast.train")
    metric = Scripted(0.1, 0.4, 0.4, 0.2, 0.9)
    fitted = train(forecaster(), tmp_path, steps=10, eval_every=2, patience=2, metric=metric)
    assert (fitted.step, fitted.stopped) == (4, 8)
    assert "stopped at step 8: no better val_csi_2 in 2 evaluations" in caplog.text


def test_killed_training_keeps_best_metric(tmp_path):
    def kill(step, loss):
        if step == 3:
            raise KeyboardInterrupt

    first, model = Scripted(0.7, 0.2, 0.1), forecaster()
    with pytest.raises(KeyboardInterrupt):
        train(model, tmp_path, steps=4, eval_every=1, metric=first, evaluated=kill)
    resumed = Scripted(0.6, 0.5)
    fitted = train(model, tmp_path, steps=4, eval_every=1, metric=resumed)
    assert len(resumed.seen) == 2
    assert (fitted.step, fitted.metric) == (1, {"csi_2": 0.7})
    assert_equal_weights(model.get_weights(), first.seen[0])
    assert train(model, tmp_path, steps=4, eval_every=1, metric=Scripted()) == fitted


def test_metric_without_any_value_is_rejected(tmp_path):
    expected = "train.best_by: csi_2: expected a value on the val split, received none at any evaluation"
    with pytest.raises(ValueError, match=expected):
        train(forecaster(), tmp_path, steps=2, eval_every=1, metric=Scripted(math.nan, math.nan))
