"""Draws line and bar charts as inline SVG, for pages of any width, light or dark, without scripts.

    line_chart([Line("candidate", [(5, 0.1), (10, 0.2)])], x_label="minutes ahead", y_label="dBZ")

Colours are CSS variables of the page (`--line-1`, ...). Lines differ in dash and mark too, for colour-blind readers.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 360, 230  # SVG units; narrow, so that text is legible on a phone.
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 18, 24, 36
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "4 2", "1 2", "10 2")
_MARKS = 13  # Most points of a line that are marked.
STYLES = len(_DASHES)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: Label in the legend.
        points: `(x, y)`, x ascending; the line has a gap where y is None.
        style: 0 to `STYLES` - 1: colour, dash and mark.
        band: `(x, low, high)`, the shaded area around the line.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    style: int = 0
    band: Sequence[tuple[float, float, float]] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    log_x: bool = False,
    guide: float | None = None,
    x_values: Sequence[float] | None = None,
) -> Markup:
    """Returns an SVG of the lines; a sentence if they have no number.

    Args:
        lines: The lines; the first is drawn on top.
        x_label: Written below the axis, with its unit.
        y_label: Written above the axis, with its unit.
        log: Whether y is logarithmic; ignored when a value or the guide is not above 0.
        log_x: Whether x is logarithmic; every x must be above 0.
        guide: A value of y at which a thin line is drawn.
        x_values: Values of x to label; round values unless given.
    """
    numbers = [y for line in lines for _, y in line.points if y is not None]
    if not numbers:
        return Markup('<p class="absent">No finite number to draw.</p>')
    if guide is not None:
        numbers.append(guide)
    numbers += [y for line in lines for _, *ends in line.band for y in ends]
    scale_y = _Scale(numbers, _HEIGHT - _BOTTOM, _TOP, log and min(numbers) > 0)
    xs = [x for line in lines for x, _ in line.points]
    scale_x = _Scale(xs, _LEFT, _WIDTH - _RIGHT, log_x, exact=True)
    names_x = _thinned(list(x_values), 10) if x_values else [x for x in scale_x.ticks if min(xs) <= x <= max(xs)]
    parts = [*_y_axis(scale_y), _label(y_label, x_label)]
    parts += [
        f'<text x="{scale_x(x):.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{number(x)}</text>'
        for x in names_x
    ]
    if guide is not None:
        parts.append(f'<line class="guide" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {_level(scale_y(guide))}/>')
    parts += [_band(line, scale_x, scale_y) for line in reversed(lines) if line.band]
    for line in reversed(lines):
        parts += _line(line, scale_x, scale_y)
    return _svg(parts, f"{y_label} by {x_label}: {', '.join(line.name for line in lines)}")


def bar_chart(bars: Sequence[tuple[str, float]], *, x_label: str, y_label: str) -> Markup:
    """Returns an SVG with a bar from 0 for each `(name, value)`."""
    scale = _Scale([0, *(value for _, value in bars)], _HEIGHT - _BOTTOM, _TOP)
    width = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    parts = [*_y_axis(scale), _label(y_label, x_label)]
    named = set(_thinned([name for name, _ in bars], 12 if len(bars[-1][0]) < 4 else 6))
    for place, (name, value) in enumerate(bars):
        left, top = _LEFT + place * width, scale(value)
        parts.append(
            f'<rect class="bar" x="{left + 0.1 * width:.1f}" y="{top:.1f}" width="{0.8 * width:.1f}" '
            f'height="{_HEIGHT - _BOTTOM - top:.1f}"><title>{escape(name)}: {number(value)}</title></rect>'
        )
        if name in named:
            middle = left + width / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{escape(name)}</text>'
            )
    return _svg(parts, f"{y_label} by {x_label}")


def swatch(style: int) -> Markup:
    """Returns a line sample for a legend."""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true"><path class="line" d="M1 5H27" '
        f'style="stroke:var(--line-{style + 1})" stroke-dasharray="{_DASHES[style]}"/>{_mark(14, 5, style)}</svg>'
    )


def number(value: float) -> str:
    """Formats a number for an axis."""
    return f"{value:.4g}".replace("e-0", "e-").replace("-", "\N{MINUS SIGN}")


class _Scale:
    """Maps values to coordinates; unless `exact`, the range is widened to round numbers."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool = False, exact: bool = False):
        low, high = min(values), max(values)
        self._log = log
        if log:
            self.ticks = _log_ticks(low, high)
        else:
            if low == high:
                low, high = (low - 0.5, high + 0.5) if exact or low == 0 else (low - abs(low) / 2, high + abs(high) / 2)
            step = _round_step((high - low) / 5)
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            self.ticks = [place * step for place in range(first, last + 1)]
        if not exact:
            low, high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self._from, self._to = self._of(low), self._of(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._of(value) - self._from) / ((self._to - self._from) or 1.0)
        return self._start + share * (self._end - self._start)

    def _of(self, value: float) -> float:
        return math.log10(value) if self._log else value


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) < 4 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in ticks if low <= tick <= high]
    below = [tick for tick in ticks if tick < low][-1:]
    above = [tick for tick in ticks if tick > high][:1]
    return [*below, *inside, *above]


def _thinned(values: list, most: int) -> list:
    return values[:: -(-len(values) // most)]


def _level(y: float) -> str:
    return f'y1="{y:.1f}" y2="{y:.1f}"'


def _y_axis(scale: _Scale) -> list[str]:
    parts = []
    for tick in scale.ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {_level(scale(tick))}/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{scale(tick) + 3.5:.1f}" text-anchor="end">{number(tick)}</text>')
    return parts


def _label(y_label: str, x_label: str) -> str:
    return (
        f'<text class="axis" x="2" y="10">{escape(y_label)}</text>'
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>'
    )


def _line(line: Line, scale_x: _Scale, scale_y: _Scale) -> list[str]:
    path, pen_down = [], False
    marks = []
    for x, y in line.points:
        if y is None:
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{scale_x(x):.1f} {scale_y(y):.1f}")
        pen_down = True
        title = f"<title>{escape(line.name)}, {number(x)}: {number(y)}</title>"
        marks.append(_mark(scale_x(x), scale_y(y), line.style, title))
    style = f'style="stroke:var(--line-{line.style + 1})" stroke-dasharray="{_DASHES[line.style]}"'
    return [f'<path class="line" d="{"".join(path)}" {style}/>', *(marks if len(marks) <= _MARKS else ())]


def _band(line: Line, scale_x: _Scale, scale_y: _Scale) -> str:
    there = [f"{scale_x(x):.1f} {scale_y(high):.1f}" for x, _, high in line.band]
    back = [f"{scale_x(x):.1f} {scale_y(low):.1f}" for x, low, _ in reversed(line.band)]
    return f'<path class="band" d="M{"L".join(there + back)}Z" style="fill:var(--line-{line.style + 1})"/>'


def _mark(x: float, y: float, style: int, title: str = "") -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"',
        f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"',
        f'<path d="M{x:.1f} {y - 3.8:.1f}l3.6 6.4h-7.2z"',
        f'<path d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"',
        f'<path d="M{x:.1f} {y + 3.8:.1f}l3.6 -6.4h-7.2z"',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"',
        f'<rect x="{x - 2:.1f}" y="{y - 2:.1f}" width="4" height="4"',
    )
    return f'{shapes[style]} style="fill:var(--line-{style + 1})">{title}</{shapes[style][1:].partition(" ")[0]}>'


def _svg(parts: Sequence[str], description: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(description)}">'
        + "".join(parts)
        + "</svg>"
    )
