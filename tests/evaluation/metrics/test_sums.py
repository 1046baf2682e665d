"""The algebra of `Sums`: pooling, merging, single lead times."""

import itertools

import numpy as np
import pytest

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import NAMES, OUTPUTS, REFERENCES
from framecast.evaluation.metrics.sums import Sums

HORIZON = 3


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    result = {name: rng.uniform(1, 2, (5, HORIZON)).astype("float32") for name in OUTPUTS}
    result["pixels"] = rng.integers(50, 100, (5, HORIZON)).astype("float32")
    result["frames"] = np.ones((5, HORIZON), "float32")
    return result | {name: np.ones((5, HORIZON, *axes)) for name, axes in spectrum_metrics.outputs().items()}


def rows(outputs, indices):
    return {name: values[list(indices)] for name, values in outputs.items()}


def test_means_pool_errors_and_counts(outputs):
    sums = Sums().update(outputs)
    total = {name: values.astype("float64") for name, values in outputs.items()}
    expected = {
        "mse": total["squared_error"].sum() / total["pixels"].sum(),
        "mae": total["absolute_error"].sum() / total["pixels"].sum(),
        "mse_frame": total["squared_error"].mean(),
        "mae_frame": total["absolute_error"].mean(),
        "psnr": total["psnr"].mean(),
        "mse_black": total["squared_error_black"].sum() / total["pixels"].sum(),
    }
    for name, value in expected.items():
        assert sums.compute(name) == pytest.approx(value, rel=1e-12)
    assert sums.compute("mse", 2) == pytest.approx(
        total["squared_error"][:, 1].sum() / total["pixels"][:, 1].sum(), rel=1e-12
    )


def test_skill_uses_best_reference_at_each_lead_time():
    outputs = {name: np.ones((1, 2), "float32") for name in OUTPUTS}
    outputs |= {name: np.ones((1, 2, *axes), "float32") for name, axes in spectrum_metrics.outputs().items()}
    outputs |= {f"squared_error_{name}": np.array([[8.0, 8.0]]) for name in REFERENCES}
    outputs["squared_error_black"] = np.array([[4.0, 16.0]])
    outputs["squared_error_climatology"] = np.array([[16.0, 2.0]])
    outputs["squared_error"] = np.array([[1.0, 4.0]])
    sums = Sums().update(outputs)
    assert sums.compute("skill", 1) == 1 - 1 / 4
    assert sums.compute("skill", 2) == 1 - 4 / 2
    assert sums.compute("skill") == pytest.approx(1 - 5 / 6)
    assert sums.compute("skill_persistence") == 1 - 5 / 16
    assert sums.compute("skill_climatology", 2) == 1 - 4 / 2


@pytest.mark.parametrize("events", [None, EventsSpec(thresholds=[0.1, 0.5], scales=[1, 3, 5])])
def test_figures_equal_metrics_computed_singly(outputs, events):
    counted = event_metrics.outputs(2, 3) if events else {}
    rng = np.random.default_rng(1)
    outputs |= {name: rng.integers(0, 9, (5, HORIZON, *axes)) for name, axes in counted.items()}
    outputs["frames"][:, 2] = 0  # The mean at the third lead time is undefined.
    sums = Sums(events=events).update(outputs)
    expected = {
        registry.key(name, lead): sums.compute(name, lead)
        for lead in (None, 1, 2, 3)
        for name in registry.names_of("forecast", events)
    }
    found = sums.figures()
    assert list(found) == list(expected)
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    assert np.isnan(found["psnr/lead_3"])
    assert found["psnr/lead_2"] == pytest.approx(outputs["psnr"][:, 1].mean())


def test_result_is_independent_of_split_and_order(outputs):
    whole = Sums().update(outputs)
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 17):
        for cut in (0, 2, 5):
            left = Sums().update(rows(outputs, order[:cut]))
            right = Sums()
            for clip in order[cut:]:
                right = right.update({name: values[clip] for name, values in outputs.items()})
            for merged in (left.merge(right), right.merge(left)):
                for name in NAMES:
                    for lead in (None, 1, 2, 3):
                        assert merged.compute(name, lead) == pytest.approx(whole.compute(name, lead), rel=1e-12)


def test_empty_sums_are_neutral(outputs):
    sums = Sums().update(outputs)
    assert Sums().merge(sums) is sums.merge(Sums()) is sums


def test_undefined_metrics_are_nan(outputs):
    nothing = Sums().update({name: np.zeros_like(values) for name, values in outputs.items()})
    for name in NAMES:
        assert np.isnan(nothing.compute(name))
        assert np.isnan(nothing.compute(name, 1))
    outputs["squared_error_black"][:] = 0
    assert np.isnan(Sums().update(outputs).compute("skill"))


def test_missing_output_is_named(outputs):
    del outputs["squared_error_black"]
    with pytest.raises(ValueError, match=r"evaluate signature.*none called squared_error_black among absolute"):
        Sums().update(outputs)


def test_output_of_another_horizon_is_named(outputs):
    outputs["psnr"] = outputs["psnr"][:, :2]
    with pytest.raises(ValueError, match=r"psnr: expected shape \(5, 3\) as pixels, received \(5, 2\)"):
        Sums().update(outputs)


def test_different_horizons_do_not_merge(outputs):
    shorter = {name: values[:, :2] for name, values in outputs.items()}
    with pytest.raises(ValueError, match="expected sums over 3 lead times, received 2"):
        Sums().update(outputs).update(shorter)


def test_lead_time_past_horizon_is_rejected(outputs):
    for lead in (0, 4):
        with pytest.raises(ValueError, match=f"mse: expected a lead time from 1 to 3, received {lead}"):
            Sums().update(outputs).compute("mse", lead)
