"""Figures, thresholds and confidence intervals of an evaluation that counts events."""

import json

import numpy as np
import pytest

from framecast.evaluation.gate.verdict import read_intervals
from framecast.evaluation.metrics import registry
from tests.evaluation.gate.toy import EVENTS, HORIZON, LENGTHS, numpy_mse

pytestmark = pytest.mark.xdist_group("tfma")


def numpy_csi(clips, leads, scale, bias, length=None):
    """CSI of events from 0.6 on."""
    hits = others = 0
    for frames, own in zip(clips, LENGTHS, strict=True):
        if own <= HORIZON or length not in (None, own):
            continue
        forecast = np.nan_to_num(frames[own - HORIZON - 1]) * np.float32(scale) + np.float32(bias) >= 0.6
        for lead in leads:
            truth = frames[own - HORIZON + lead - 1]
            came, known = truth >= 0.6, ~np.isnan(truth)
            hits += (came & forecast & known).sum()
            others += ((came != forecast) & known).sum()
    return hits / (hits + others)


def test_csi_is_numpys_by_slice_and_lead_time(with_events, clips):
    assert set(with_events.figures) == {
        registry.key(name, lead) for name in registry.names_of("forecast", EVENTS) for lead in (None, 1, 2)
    }
    assert all(set(figures) == set(with_events.figures) for figures in with_events.slices.values() if figures["mse"])
    models = {"": (1, 0.3), "_persistence": (1, 0)}
    for ending, (scale, bias) in models.items():
        for leads in ([1], [2], [1, 2]):
            lead = leads[0] if len(leads) == 1 else None
            assert with_events.figures[registry.key(f"csi_0.6{ending}", lead)] == pytest.approx(
                numpy_csi(clips, leads, scale, bias), rel=1e-6
            )
    assert with_events.slices["length: 3"]["csi_0.6"] == pytest.approx(numpy_csi(clips, [1, 2], 1, 0.3, length=3))
    assert with_events.serving["csi_0.6"] == pytest.approx(numpy_csi(clips, [1, 2], 0.2, 0.2))
    json.dumps([with_events.figures, with_events.slices], allow_nan=False)


def test_bound_on_events_is_missed_at_lead_times(with_events):
    assert not with_events.blessed
    misses = [miss for miss in with_events.misses if miss.metric != "far_0.6_black"]
    assert [(miss.metric, miss.lead_time, miss.bound) for miss in misses] == [
        ("bias_0.6", 1, "at most 1.1"),
        ("bias_0.6", 2, "at most 1.1"),
    ]
    for miss in misses:
        assert miss.value == with_events.figures[registry.key(miss.metric, miss.lead_time)]


def test_undefined_score_misses_its_bound(with_events):
    (miss,) = (miss for miss in with_events.misses if miss.metric == "far_0.6_black")
    assert miss.describe() == "far_0.6_black: expected at least 0, received no finite number"


def test_intervals_are_over_recordings_paired_with_serving(with_events, events_folder, clips):
    intervals = read_intervals(str(events_folder))
    # The one clip of recording d is too short to be counted.
    of_recording = {"a": [0, 2], "b": [1, 4], "c": [3]}
    assert intervals.recordings == 3
    models = [(1, 0.3), (0.2, 0.2)]
    # A resample's figure is between those of the recordings.
    each = np.array([numpy_mse(clips, models, among=among) for among in of_recording.values()])
    for found, values in ((intervals.figures, each[:, 0]), (intervals.serving, each[:, 1])):
        low, high = found["mse"]
        assert values.min() - 1e-6 <= low < high <= values.max() + 1e-6
    low, high = intervals.differences["mse"]
    difference = np.subtract(*numpy_mse(clips, models))
    assert low < difference < high
    assert high - low < np.ptp(each[:, 0]) + np.ptp(each[:, 1])
    assert set(intervals.figures) == set(with_events.figures)
    assert intervals.slices["content: empty"]["mse"] is None  # One recording.
    assert intervals.slices["length: 5"]["mse"][0] < intervals.slices["length: 5"]["mse"][1]
