"""Lines of the metric charts, and spectra."""

import math

import pytest

from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.report import metric_charts

_CONFIG = {"clip": {"frames": {"min": 2, "max": 4}}, "task": {"kind": "forecast"}, "evaluate": {}}
_FIGURES = {
    "csi_2": 0.5, "csi_2/lead_1": 0.6, "csi_2/lead_2": 0.4,
    "mse": 0.1, "mse/lead_1": 0.04, "mse/lead_2": 0.16,
    "mse_frame/lead_1": 4.0, "mse_frame/lead_2": 16.0,
    "mse_persistence/lead_1": 0.05, "mse_persistence/lead_2": 0.2,
    "mse_persistence_blurred/lead_1": 0.045, "mse_persistence_blurred/lead_2": None,
}  # fmt: skip


def test_chart_compares_serving_model_and_references():
    found = {chart.name: chart for chart in metric_charts.by_lead_time(_FIGURES, {"mse/lead_1": 0.06}, _CONFIG, 5.0)}
    # mse_frame does not belong to mse; an unlisted metric is drawn too.
    assert list(found) == ["mse", "csi_2", "mse_frame"]
    lines = {line.name: list(line.points) for line in found["mse"].lines}
    assert lines == {
        "candidate": [(5.0, 0.04), (10.0, 0.16)],
        "serving model": [(5.0, 0.06), (10.0, None)],
        "persistence": [(5.0, 0.05), (10.0, 0.2)],
        "persistence blurred": [(5.0, 0.045), (10.0, None)],
    }


def test_only_sharpness_of_the_powers_has_a_chart():
    figures = {
        f"power_{length}{ending}{lead}": 0.5
        for length in ("2px", "4px", "128px")
        for ending in ("", "_black")
        for lead in ("", "/lead_1")
    }
    (chart,) = metric_charts.by_lead_time(figures, {}, _CONFIG, 1.0)
    assert (chart.name, chart.guide) == ("power_4px", 1.0)
    assert [line.name for line in chart.lines] == ["candidate", "black"]


def _spectra(horizon):
    """Spectra of frames with waves of up to 8 pixels; the climatology is constant."""
    return {
        name: [[value * lead] * 5 + [None] * 8 for lead in range(1, horizon + 1)]
        for name, value in {
            "truth": 2.0,
            "candidate": 1.0,
            "serving": 3.0,
            "persistence": 2.0,
            "climatology": 0.0,
        }.items()
    }


@pytest.mark.parametrize(("horizon", "expected"), [(1, [5]), (2, [5, 10]), (3, [5, 10, 15]), (6, [5, 15, 30])])
def test_spectra_show_first_middle_and_last_lead_time(horizon, expected):
    unit, drawn = metric_charts.spectra(_spectra(horizon), _CONFIG, 5.0)
    assert unit == "squared pixel range"
    assert [lead for lead, _ in drawn] == expected
    _, lines = drawn[-1]
    assert [line.name for line in lines] == ["truth", "candidate", "serving model", "persistence"]
    assert lines[1].points == [(pytest.approx(2 ** (1 + band / 2)), horizon) for band in range(5)]
    assert metric_charts.spectra({}, _CONFIG, 1.0)[1] == []


def test_spectra_have_clip_unit_and_colours_of_metrics():
    value = {"unit": "mm/h", "scale": -0.5, "offset": 3.0}
    config = {**_CONFIG, "clip": {**_CONFIG["clip"], "value": value}}
    unit, ((_, lines),) = metric_charts.spectra(_spectra(1), config, 1.0)
    assert unit == "(mm/h)²"
    assert lines[0].points[0][1] == pytest.approx(2 * (255 * 0.5) ** 2)
    figures = {f"mse{ending}/lead_1": 1.0 for ending in ("", *(f"_{reference}" for reference in REFERENCES))}
    styles = {line.name: line.style for line in metric_charts.by_lead_time(figures, figures, _CONFIG, 1.0)[0].lines}
    assert {line.name: line.style for line in lines if line.name != "truth"}.items() <= styles.items()
    assert lines[0].style not in styles.values()


def test_reference_style_does_not_depend_on_serving():
    def styles(serving):
        return {line.name: line.style for line in metric_charts.by_lead_time(_FIGURES, serving, _CONFIG, 1.0)[0].lines}

    alone, compared = styles({}), styles({"mse/lead_1": 0.06})
    assert alone.items() <= compared.items()
    assert len(set(compared.values())) == 4


def test_errors_are_in_the_clips_unit():
    value = {"unit": "mm/h", "scale": -0.5, "offset": 3.0}
    config = {**_CONFIG, "clip": {**_CONFIG["clip"], "dtype": "uint16", "value": value}}
    chart = metric_charts.by_lead_time(_FIGURES, {}, config, 1.0)[0]
    assert (chart.title, chart.unit) == ("RMSE", "mm/h")
    assert chart.lines[0].points[1] == (2.0, pytest.approx(math.sqrt(0.16) * 65535 * 0.5))


@pytest.mark.parametrize(
    ("interval", "expected"), [(300.0, (5.0, "minutes")), (0.08, (0.08, "seconds")), (None, (1.0, "frames"))]
)
def test_lead_time_unit_follows_frame_rate(interval, expected):
    assert metric_charts.lead_time_unit(interval) == expected
