"""Descriptions of metrics."""

import re

import pytest

from framecast.evaluation.report import meanings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("csi_2", "critical success index: .*; threshold 2 .from 0 to 1.; higher is better"),
        ("far_0.5", "; threshold 0.5 .*; lower is better"),
        ("bias_2", "frequency bias: .* .1 is best.; nearer to 1 is better"),
        ("fss_2_5px", "fractions skill score .*; threshold 2, 5px "),
        ("power_4px", "over the truth's at wavelengths around 4px .1 is best.; nearer to 1 is better"),
        ("csi_2_persistence", "^csi_2 of the reference forecast persistence$"),
    ],
)
def test_metric_is_explained(name, expected):
    assert re.search(expected, meanings.meaning(name))


def test_event_thresholds_have_their_unit():
    assert "; threshold 2 mm/h, 5px (" in meanings.meaning("fss_2_5px", "mm/h")
    value = {"unit": "dBZ", "scale": 1, "offset": 0}
    for clip, events, expected in (
        ({"value": value}, {"unit": "mm/h"}, "mm/h"), ({"value": value}, {"unit": None}, "dBZ"), ({}, {}, ""),
        ({"value": None}, None, ""),
    ):  # fmt: skip
        assert meanings.event_unit({"clip": clip, "evaluate": {"events": events}}) == expected
