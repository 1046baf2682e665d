"""The `evaluate` section: bounds and slices."""

import pydantic
import pytest

from framecast.evaluation.spec import EvaluateSpec, Threshold


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({}, "expected at least one of min, max and max_increase_vs_serving"),
        ({"min": 1, "max": 0}, "expected min <= max, received min 1.0 and max 0.0"),
        ({"max": float("nan")}, "finite number"),
    ],
)
def test_invalid_bounds_are_rejected(threshold, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Threshold(**threshold)


def test_increase_is_bounded_only_for_errors():
    EvaluateSpec(thresholds={"mse": Threshold(max_increase_vs_serving=0)})
    with pytest.raises(pydantic.ValidationError, match="skill: max_increase_vs_serving: expected a metric where lower"):
        EvaluateSpec(thresholds={"skill": Threshold(max_increase_vs_serving=0)})


def test_unknown_slice_is_named():
    with pytest.raises(ValueError, match="contents"):
        EvaluateSpec(thresholds={"mse": {"slices": {"contents": {"dense": {"max": 1}}}}})
    with pytest.raises(ValueError, match="max_increase_vs_serving: expected a metric where lower is better"):
        EvaluateSpec(thresholds={"skill": {"slices": {"length": {8: {"max_increase_vs_serving": 0}}}}})
