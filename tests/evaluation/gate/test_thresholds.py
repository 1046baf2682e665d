"""Thresholds over the whole eval split."""

import json
import math

import pytest
from tensorflow_model_analysis.proto import config_pb2

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.gate.thresholds import BASELINE, CANDIDATE, LARGEST, build_eval_config
from framecast.evaluation.gate.verdict import OVERALL
from framecast.evaluation.metrics.forecast import NAMES
from framecast.evaluation.spec import EvaluateSpec
from tests.evaluation.gate.toy import EVENTS, Toy

pytestmark = pytest.mark.xdist_group("tfma")


def configs(thresholds, **arguments):
    """The metrics of the EvalConfig, by metric and lead time."""
    spec = EvaluateSpec(thresholds=thresholds, **arguments)
    metrics = build_eval_config(spec, horizon=2).metrics_specs[0].metrics
    named = [(json.loads(metric.config), metric) for metric in metrics]
    return {(values["metric"], values["lead_time"]): metric for values, metric in named if "metric" in values}


def test_candidate_within_bounds_is_blessed_without_serving(alone):
    assert alone.blessed
    assert alone.misses == []
    assert alone.serving == {}
    assert alone.summary().startswith("blessed, mse 0.")


def test_each_missed_bound_is_listed_once(missed):
    assert not missed.blessed
    assert {(miss.metric, miss.lead_time, miss.slice, miss.bound) for miss in missed.misses} == {
        ("mse", 2, OVERALL, "at most 0.5"),
        ("skill", None, OVERALL, "at least 0.9"),
        ("power_2px", 1, OVERALL, "at least 0.8"),
        ("power_2px", 2, OVERALL, "at least 0.8"),
    }
    assert len(missed.misses) == 4
    assert missed.summary().startswith("4 thresholds missed, mse")


def test_miss_names_lead_time_bound_and_value(missed):
    (miss,) = (miss for miss in missed.misses if miss.metric == "mse")
    assert miss.value == missed.figures["mse/lead_2"]
    assert miss.describe().startswith("mse at lead time 2: expected at most 0.5, received ")


def test_miss_of_power_has_its_value(missed):
    (miss,) = (miss for miss in missed.misses if (miss.metric, miss.lead_time) == ("power_2px", 1))
    assert miss.value == missed.figures["power_2px/lead_1"] < 0.1


def test_nan_forecast_is_rejected(evaluate):
    verdict = evaluate({"skill": {"max": 2.0}}, Toy(bias_of_lead={1: math.nan}))
    assert not verdict.blessed
    miss = next(miss for miss in verdict.misses if miss.metric == "mse")
    assert miss.describe() == "mse: expected a finite number, received no finite number"
    assert verdict.figures["mse"] is verdict.figures["mse/lead_1"] is None
    assert verdict.figures["mse/lead_2"] > 0


@pytest.mark.parametrize("thresholds", [{}, {"skill": {"max": 2.0}}, {"mse": {"min": 0.0}}])
def test_error_must_be_finite_under_any_thresholds(thresholds):
    """With `test_nan_forecast_is_rejected`: the bound that rejects it there does not depend on the thresholds."""
    (own,) = configs(thresholds)["mse", None].per_slice_thresholds
    assert list(own.slicing_specs) == [config_pb2.SlicingSpec()]
    assert own.threshold.value_threshold.upper_bound.value == LARGEST


def test_finite_candidate_without_thresholds_is_blessed(evaluate):
    assert evaluate({}, Toy()).blessed


def test_empty_eval_split_is_rejected(evaluate):
    verdict = evaluate({}, Toy(), among="none")
    assert not verdict.blessed
    assert [miss.bound for miss in verdict.misses] == ["at least one clip"]


def test_candidate_equal_to_serving_is_blessed(evaluate):
    """Also the smallest evaluation: one lead time, one event threshold, one scale."""
    events = EventsSpec(thresholds=[0.5], scales=[1])
    bounds = {
        "mse": {"max": 1.0, "max_increase_vs_serving": 0.0, "per_lead_time": True},
        "csi_0.5": {"max": 1.0, "per_lead_time": True},
    }
    candidate, serving = (Toy(0.9, horizon=1, events=events) for _ in range(2))
    verdict = evaluate(bounds, candidate, serving, horizon=1, events=events)
    assert verdict.blessed
    assert verdict.serving == verdict.figures
    assert verdict.spectra["serving"] == verdict.spectra["candidate"]
    assert verdict.figures["mse"] == verdict.figures["mse/lead_1"]
    assert verdict.figures["fss_0.5_1px"] == verdict.figures["fss_0.5_1px/lead_1"] > 0


def test_candidate_better_than_serving_is_blessed(better):
    assert better.blessed, better.misses
    assert better.figures["mse"] < better.serving["mse"]


def test_candidate_worse_than_serving_is_rejected(by_slice):
    assert not by_slice.blessed
    (miss,) = (miss for miss in by_slice.misses if miss.slice == OVERALL)
    assert miss.value == pytest.approx(by_slice.figures["mse"] - by_slice.serving["mse"])
    assert "expected an increase of at most 0 against the serving model" in miss.describe()


def test_tfma_computes_details_only_for_bounds():
    bounds = {"csi_0.6": {"min": 0.1, "per_lead_time": True}, "power_4px": {"min": 0.5}}
    found = [key for key in configs(bounds, events=EVENTS) if key[0] not in NAMES]
    assert found == [("csi_0.6", 1), ("csi_0.6", 2), ("power_4px", None)]


def test_thresholds_apply_to_overall_slice_only():
    spec = EvaluateSpec(thresholds={"mae": {"max": 1.0, "per_lead_time": True}})
    bounded = {key: metric for key, metric in configs(spec.thresholds).items() if metric.per_slice_thresholds}
    assert set(bounded) == {("mse", None), ("mae", 1), ("mae", 2)}
    for metric in bounded.values():
        (threshold,) = metric.per_slice_thresholds
        assert list(threshold.slicing_specs) == [config_pb2.SlicingSpec()]
        assert not metric.HasField("threshold")
    models = build_eval_config(spec, horizon=2).model_specs
    assert [(model.name, model.is_baseline) for model in models] == [(CANDIDATE, False), (BASELINE, True)]
