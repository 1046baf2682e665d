"""Scores of contingency tables against published values of pySTEPS, and their pooling."""

import itertools
import math

import numpy as np
import pytest

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import OUTPUTS
from framecast.evaluation.metrics.sums import Sums

HORIZON = 3
CLIPS = 5
EVENTS = EventsSpec(thresholds=[0.5, 2], scales=[1, 5])


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    found = {name: np.ones((CLIPS, HORIZON)) for name in OUTPUTS}
    for name, axes in (event_metrics.outputs(2, 2) | spectrum_metrics.outputs()).items():
        found[name] = rng.integers(1, 100, (CLIPS, HORIZON, *axes)).astype("float32")
    return found


# pySTEPS, pysteps/tests/test_verification_detcatscores.py.
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("csi", 0.573426),
        ("pod", 0.7809524),
        ("far", 0.316667),
        ("bias", 1.1428571),
        ("hss", 0.608871),
        ("gss", 0.437682),
    ],
)
def test_scores_are_those_published_by_pysteps(name, value):
    assert event_metrics.contingency_score(
        name, hits=82, misses=23, false_alarms=38, correct_negatives=222
    ) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", event_metrics.SCORES)
def test_scores_of_perfect_and_empty_tables(name):
    perfect = 0 if name == "far" else 1
    assert event_metrics.contingency_score(name, 10, 0, 0, 90) == pytest.approx(perfect)
    assert math.isnan(event_metrics.contingency_score(name, 0, 0, 0, 0))
    assert math.isnan(event_metrics.contingency_score(name, 0, 0, 0, 100))


def test_names_have_score_threshold_scale_and_forecast():
    names = registry.names_of("forecast", EVENTS)
    assert {"csi_0.5", "gss_2_black", "fss_2_5px", "fss_0.5_1px_persistence_blurred"} < set(names)
    assert len(names) == len(set(names)) == len(registry.names_of("forecast")) + 5 * 2 * (6 + 2)


def test_scores_pool_counts(outputs):
    sums = Sums(events=EVENTS).update(outputs)
    for forecast in ("", "_persistence"):
        for place, threshold in enumerate(("0.5", "2")):
            for lead in (None, 2):
                leads = slice(None) if lead is None else slice(lead - 1, lead)
                h, m, f, c = (
                    outputs[f"{part}{forecast}"][:, leads, place].astype("float64").sum()
                    for part in ("hits", "misses", "false_alarms", "correct_negatives")
                )
                by_chance = (h + m) * (h + f) / (h + m + f + c)
                expected = {
                    "csi": h / (h + m + f),
                    "pod": h / (h + m),
                    "far": f / (h + f),
                    "bias": (h + f) / (h + m),
                    "hss": 2 * (h * c - f * m) / ((h + m) * (m + c) + (h + f) * (f + c)),
                    "gss": (h - by_chance) / (h + m + f - by_chance),
                }
                for name, value in expected.items():
                    assert sums.compute(f"{name}_{threshold}{forecast}", lead) == pytest.approx(value, rel=1e-12)
                for number, scale in enumerate((1, 5)):
                    error, worst = (
                        outputs[f"{part}{forecast}"][:, leads, place, number].astype("float64").sum()
                        for part in ("fss_error", "fss_worst")
                    )
                    measured = sums.compute(f"fss_{threshold}_{scale}px{forecast}", lead)
                    assert measured == pytest.approx(1 - error / worst, rel=1e-12)


def test_result_is_independent_of_split_and_order(outputs):
    whole = Sums(events=EVENTS).update(outputs).figures()
    for order in itertools.islice(itertools.permutations(range(CLIPS)), 0, 120, 17):
        for cut in (0, 2, 5):
            left = Sums(events=EVENTS).update({name: values[list(order[:cut])] for name, values in outputs.items()})
            right = Sums(events=EVENTS)
            for clip in order[cut:]:
                right = right.update({name: values[clip] for name, values in outputs.items()})
            for merged in (left.merge(right), right.merge(left)):
                assert merged.figures() == pytest.approx(whole, rel=1e-12, nan_ok=True)


def test_from_json_inverts_to_json(outputs):
    outputs["psnr"] = outputs["psnr"] / 3
    outputs["absolute_error"] = outputs["absolute_error"] * np.nan
    sums = Sums(events=EVENTS).update(outputs)
    read = Sums.from_json(sums.to_json())
    assert (read.task, read.events) == ("forecast", EVENTS)
    assert set(read.values) == set(sums.values)
    for name, values in sums.values.items():
        np.testing.assert_array_equal(read.values[name], values)


def test_sums_of_different_events_do_not_merge(outputs):
    other = EventsSpec(thresholds=[0.5, 3], scales=[1, 5])
    with pytest.raises(ValueError, match=r"expected sums of the events .*2\.0.*, received .*3\.0"):
        Sums(events=EVENTS).update(outputs).merge(Sums(events=other).update(outputs))


def test_output_of_other_thresholds_is_named(outputs):
    outputs["hits_black"] = outputs["hits_black"][..., :1]
    with pytest.raises(ValueError, match=r"hits_black: expected shape \(5, 3, 2\) as pixels, received \(5, 3, 1\)"):
        Sums(events=EVENTS).update(outputs)


@pytest.mark.parametrize(
    ("received", "closest"), [("csi_0,5", "csi_0.5"), ("fss_2_5", "fss_2_5px"), ("CSI_2", "csi_2")]
)
def test_typo_gets_the_closest_name(received, closest):
    with pytest.raises(ValueError, match=rf"those of evaluate.events, received {received}; the closest is {closest}$"):
        registry.check_names([received], events=EVENTS)


def test_event_metric_without_events_names_missing_section():
    with pytest.raises(ValueError, match=r"csi_2: expected evaluate.events, .* received none"):
        registry.check_names(["csi_2"])
    assert not any(name.startswith(event_metrics.FAMILIES) for name in registry.names_of("forecast"))


def test_directions_of_event_metrics():
    directions = {name: registry.direction(name) for name in event_metrics.names(EVENTS)}
    assert directions == {
        name: "lower" if name.startswith("far_") else "one" if name.startswith("bias_") else "higher"
        for name in event_metrics.names(EVENTS)
    }
