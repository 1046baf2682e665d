import itertools

import numpy as np
import pydantic
import pytest

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import NAMES, OUTPUTS, REFERENCES
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.spec import EvaluateSpec, Threshold

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


def test_means_are_sums_of_errors_over_sums_of_counts(outputs):
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


def test_skill_is_against_the_best_reference_of_each_lead_time():
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
def test_all_figures_at_once_are_those_computed_one_by_one(outputs, events):
    counted = event_metrics.outputs(2, 3) if events else {}
    rng = np.random.default_rng(1)
    outputs |= {name: rng.integers(0, 9, (5, HORIZON, *axes)) for name, axes in counted.items()}
    outputs["frames"][:, 2] = 0  # No mean over none: nan at the third lead time.
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


def test_any_split_and_order_gives_the_same(outputs):
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


def test_merging_with_the_empty_sums_changes_nothing(outputs):
    sums = Sums().update(outputs)
    assert Sums().merge(sums) is sums.merge(Sums()) is sums


def test_undefined_metrics_are_nan(outputs):
    nothing = Sums().update({name: np.zeros_like(values) for name, values in outputs.items()})
    for name in NAMES:
        assert np.isnan(nothing.compute(name))
        assert np.isnan(nothing.compute(name, 1))
    outputs["squared_error_black"][:] = 0
    assert np.isnan(Sums().update(outputs).compute("skill"))


def test_a_missing_output_is_named(outputs):
    del outputs["squared_error_black"]
    with pytest.raises(ValueError, match=r"evaluate signature.*none called squared_error_black among absolute"):
        Sums().update(outputs)


def test_an_output_of_another_horizon_is_named(outputs):
    outputs["psnr"] = outputs["psnr"][:, :2]
    with pytest.raises(ValueError, match=r"psnr: expected shape \(5, 3\) as pixels, received \(5, 2\)"):
        Sums().update(outputs)


def test_sums_of_different_horizons_do_not_merge(outputs):
    shorter = {name: values[:, :2] for name, values in outputs.items()}
    with pytest.raises(ValueError, match="expected sums over 3 lead times, received 2"):
        Sums().update(outputs).update(shorter)


def test_a_lead_time_outside_of_the_horizon_is_refused(outputs):
    for lead in (0, 4):
        with pytest.raises(ValueError, match=f"mse: expected a lead time from 1 to 3, received {lead}"):
            Sums().update(outputs).compute("mse", lead)


@pytest.mark.parametrize(
    ("received", "closest"), [("skil", "skill"), ("MSE", "mse"), ("skill_persistance", "skill_persistence")]
)
def test_a_typo_gets_the_closest_name(received, closest):
    with pytest.raises(ValueError, match=f"received {received}; the closest is {closest}$"):
        registry.check_names([received])


def test_keys_are_read_back():
    assert [registry.parse_key(registry.key(*pair)) for pair in (("mse", None), ("mse_frame", 12))] == [
        ("mse", None),
        ("mse_frame", 12),
    ]


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({}, "expected at least one of min, max and max_increase_vs_serving"),
        ({"min": 1, "max": 0}, "expected min <= max, received min 1.0 and max 0.0"),
        ({"max": float("nan")}, "finite number"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(threshold, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Threshold(**threshold)


def test_an_increase_is_only_bounded_where_lower_is_better():
    EvaluateSpec(thresholds={"mse": Threshold(max_increase_vs_serving=0)})
    with pytest.raises(pydantic.ValidationError, match="skill: max_increase_vs_serving: expected a metric where lower"):
        EvaluateSpec(thresholds={"skill": Threshold(max_increase_vs_serving=0)})
