"""Learning rates, compared with Keras, NumPy and the documented values of PyTorch."""

import keras
import numpy as np
import pytest

from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.training.optimization.schedule import Schedule


def _rates(steps, **settings):
    schedule = Schedule(OptimizerSpec(steps=steps, learning_rate=0.5, **settings))
    return np.array([float(schedule(step)) for step in range(steps)])


def test_cosine_rises_then_falls_to_zero():
    rates = _rates(100)
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(rates[10:], 0.25 * (1 + np.cos(np.pi * np.arange(90) / 90)), atol=1e-6)


def test_cosine_without_warm_up_equals_keras():
    theirs = keras.optimizers.schedules.CosineDecay(0.5, 40)
    np.testing.assert_allclose(_rates(40, warm_up=0), [float(theirs(step)) for step in range(40)], rtol=1e-5)


def test_one_cycle_equals_pytorch():
    rates = _rates(12, schedule="one-cycle", warm_up=0.25)
    # OneCycleLR(max_lr=0.5, total_steps=12, pct_start=0.25): step 2 is the top, step 11 the last.
    expected = {0: 0.02, 1: 0.26, 2: 0.5, 5: 0.5 - 0.25 * (1 - np.cos(np.pi / 3)), 11: 0.02 / 1e4}
    np.testing.assert_allclose(rates[list(expected)], list(expected.values()), rtol=1e-4)


def test_constant_stays_at_peak_after_warm_up():
    np.testing.assert_allclose(_rates(20, schedule="constant"), [0.25] + 19 * [0.5])
    np.testing.assert_allclose(_rates(3, schedule="constant", warm_up=0), 3 * [0.5])


@pytest.mark.parametrize(("kind", "halvings"), [("plateau", [0, 0, 0, 0, 0, 1, 1, 1, 2]), ("constant", 9 * [0])])
def test_plateau_halves_rate_after_three_evaluations(kind, halvings):
    schedule = Schedule(OptimizerSpec(steps=100, learning_rate=0.5, schedule=kind))
    found = []
    for improved in (False, True, *7 * [False]):
        found.append(float(schedule(50)))
        schedule.observe(improved)
    np.testing.assert_allclose(found, 0.5 * 0.5 ** np.array(halvings))
