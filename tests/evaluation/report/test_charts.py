"""Charts: coordinates, labels and text alternatives."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from framecast.evaluation.report.charts import Line, bar_chart, line_chart, swatch


def _points(svg, number=0):
    """The coordinates of a line; lines are drawn last to first."""
    paths = [node.get("d") for node in ElementTree.fromstring(svg).iter("path") if node.get("class") == "line"]
    return [
        (command, float(x), float(y)) for command, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", paths[::-1][number])
    ]


def _texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter("text")]


def test_points_are_to_scale_and_axes_labelled():
    svg = line_chart([Line("a", [(0, 0.0), (5, 10.0), (20, 5.0)])], x_label="minutes", y_label="dBZ")
    (_, x0, y0), (_, x1, y1), (_, x2, y2) = _points(svg)
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=0.01)
    assert (y2 - y0) / (y1 - y0) == pytest.approx(0.5, abs=0.01)
    assert y1 < y0
    assert {"minutes", "dBZ", "0", "10"} <= set(_texts(svg))


def test_missing_number_is_a_gap():
    svg = line_chart([Line("a", [(1, 1.0), (2, None), (3, 2.0)])], x_label="x", y_label="y")
    assert [command for command, _, _ in _points(svg)] == ["M", "M"]


def test_logarithmic_y_axis_spaces_ratios_equally():
    points = [(1, 0.001), (2, 0.01), (3, 0.1)]
    low, middle, high = (y for _, _, y in _points(line_chart([Line("a", points)], x_label="x", y_label="y", log=True)))
    assert low - middle == pytest.approx(middle - high, abs=0.2)


def test_logarithmic_x_axis_spaces_ratios_equally():
    points = [(2, 1.0), (4, 2.0), (16, 3.0)]
    svg = line_chart([Line("a", points)], x_label="x", y_label="y", log_x=True, x_values=[2, 4, 8, 16])
    left, middle, right = (x for _, x, _ in _points(svg))
    assert right - middle == pytest.approx(2 * (middle - left), abs=0.2)
    assert {"2", "4", "8", "16"} <= set(_texts(svg))


@pytest.mark.parametrize("values", [[0.0], [0.5], [-3.0, -3.0], [1e-12, 1e12], [0.0, -1.0]])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("guide", [None, 0.0])
def test_finite_numbers_are_drawn_inside_the_picture(values, log, guide):
    svg = line_chart([Line("a", list(enumerate(values)))], x_label="x", y_label="y", log=log, guide=guide)
    _, _, width, height = map(float, ElementTree.fromstring(svg).get("viewBox").split())
    for _, x, y in _points(svg):
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_chart_without_numbers_is_a_sentence():
    assert "No finite number" in line_chart([Line("a", [(1, None)])], x_label="x", y_label="y")


def test_names_are_escaped():
    svg = line_chart([Line("<b>", [(1, 1.0)])], x_label="x", y_label="a & b")
    assert "<b>" in ElementTree.fromstring(svg).get("aria-label")
    assert "<b>, 1: 1" in [node.text for node in ElementTree.fromstring(svg).iter("title")]


def test_bar_heights_are_proportional_to_values():
    svg = bar_chart([("8", 10.0), ("12", 40.0)], x_label="frames", y_label="clips")
    heights = [float(node.get("height")) for node in ElementTree.fromstring(svg).iter("rect")]
    assert heights[1] / heights[0] == pytest.approx(4, abs=0.05)


def test_lines_differ_in_dash_and_mark():
    shapes = {re.sub(r"var\(--line-\d\)", "", swatch(style)) for style in range(6)}
    assert len(shapes) == 6
