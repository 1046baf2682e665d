"""Prepares the lines of the report's metric charts, in physical units where the clips have them.

for chart in by_lead_time(figures, serving, config, interval=5.0):
    chart.name, [line.name for line in chart.lines]
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.figures import SHARPNESS, Figures
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.registry import TASKS
from framecast.evaluation.report import meanings
from framecast.evaluation.report.charts import STYLES, Line
from framecast.schemas.clip_spec import ClipSpec

Spectra = Mapping[str, Sequence[Sequence[float | None]]]
Intervals = Mapping[str, Sequence[float] | None]


@dataclasses.dataclass(frozen=True)
class MetricChart:
    """A metric by lead time: of the candidate, the serving model and the reference forecasts.

    Args:
        name: The metric.
        title: Short title.
        caption: The metric's definition.
        unit: Unit of the values.
        lines: The candidate first, then the serving model and the reference forecasts.
        guide: A value to compare the lines with, such as 1 for a share; None for no guide.
    """

    name: str
    title: str
    caption: str
    unit: str
    lines: Sequence[Line]
    guide: float | None = None


def by_lead_time(
    figures: Figures,
    serving: Figures,
    config: Mapping[str, Any],
    interval: float,
    intervals: Mapping[str, Any] | None = None,
) -> list[MetricChart]:
    """Returns a chart of every metric that has lead times and is no detail, the main metrics first.

    Args:
        figures: The candidate's, by `registry.key`; those of reference forecasts end in the reference's name.
        serving: The serving model's; empty when there is none.
        config: The run's configuration, for the unit of a pixel.
        interval: From one lead time to the next, in the unit of the lines' x.
        intervals: Confidence intervals: of `figures` and of `serving`, under these keys.
    """
    bands = {"figures": {}, "serving": {}, **(intervals or {})}
    names = list(dict.fromkeys(name for name, lead in map(registry.parse_key, figures) if lead is not None))
    names = [name for name in names if not metric_figures.is_detail(name)]
    bases = {name: metric_figures.base_metric(name, names) for name in names}
    leads = {lead: lead * interval for lead in range(1, metric_figures.horizon(figures) + 1)}
    drawn = []
    for name in names:
        if bases[name]:
            continue
        references = [other for other in names if bases[other] == name]
        title, caption, unit, convert = _presented(name, config)
        line = _Lines(leads, convert)
        label = "against the best of all" if name == "skill" and references else "candidate"
        lines = [line(label, name, figures, 0, bands["figures"])]
        if serving:
            lines.append(line("serving model", name, serving, 1, bands["serving"]))
        # A reference has the same colour with and without a serving model. It has no band, because bands of many lines
        # would hide each other.
        for style, other in enumerate(references, start=2):
            reference = meanings.spoken(other.removeprefix(f"{name}_"))
            lines.append(line(f"against {reference}" if name == "skill" else reference, other, figures, style, {}))
        guide = 0.0 if name.startswith("skill") else 1.0 if name == SHARPNESS else None
        drawn.append(MetricChart(name, title, caption, unit, lines, guide))
    main = (*TASKS[config["task"]["kind"]].headline, SHARPNESS)
    # Events come next, because the configuration asks for them.
    return sorted(drawn, key=lambda chart: 0 if chart.name in main else 1 if chart.name.startswith("csi_") else 2)


def spectra(found: Spectra, config: Mapping[str, Any], interval: float) -> tuple[str, list[tuple[float, list[Line]]]]:
    """Returns the unit of power, and the spectra at the first, the middle and the last lead time, the truth's first.

    Args:
        found: See `framecast.evaluation.gate.verdict.Verdict`; empty where there is none.
        config: The run's configuration, for the unit of a pixel.
        interval: From one lead time to the next, in the unit of the lead times returned.
    """
    clip = ClipSpec.model_validate(config["clip"])
    unit, factor = "squared pixel range", 1.0
    if clip.value is not None:
        unit, factor = f"({clip.value.unit})\N{SUPERSCRIPT TWO}", (clip.max_pixel * clip.value.scale) ** 2
    last = len(found.get("truth", ()))
    # The styles of the charts by lead time, without the black forecast, which has no power.
    styles = {"truth": STYLES - 1, "candidate": 0, "serving": 1} | {
        reference: style for style, reference in enumerate(REFERENCES, start=2) if reference != "black"
    }
    drawn = []
    for lead in sorted({1, (last + 1) // 2, last}) if last else ():
        lines = []
        for name in [name for name in styles if name in found]:
            # A logarithmic axis has no place for 0. A wavelength that no frame has is left out.
            points = [
                (wavelength, power * factor if power else None)
                for wavelength, power, truth in zip(
                    spectrum_metrics.WAVELENGTHS, found[name][lead - 1], found["truth"][lead - 1]
                )
                if truth is not None
            ]
            if any(power is not None for _, power in points):
                label = "serving model" if name == "serving" else meanings.spoken(name)
                lines.append(Line(label, points, styles[name]))
        drawn.append((lead * interval, lines))
    return unit, drawn


def lead_time_unit(interval: float | None) -> tuple[float, str]:
    """Returns the time from one frame to the next and its unit: minutes, seconds, or frames when the rate is unknown.

    Args:
        interval: In seconds; None when unknown.
    """
    if not interval:
        return 1.0, "frames"
    return (interval / 60, "minutes") if interval >= 30 else (interval, "seconds")


@dataclasses.dataclass(frozen=True)
class _Lines:
    """Makes the lines of one chart.

    Args:
        leads: Lead times and their x.
        convert: Converts a metric's value to the chart's unit.
    """

    leads: Mapping[int, float]
    convert: Callable[[float], float]

    def __call__(self, label: str, metric: str, figures: Figures, style: int, intervals: Intervals) -> Line:
        points, band = [], []
        for lead, x in self.leads.items():
            key = registry.key(metric, lead)
            value, ends = figures.get(key), intervals.get(key)
            points.append((x, None if value is None else self.convert(value)))
            if ends is not None:
                band.append((x, self.convert(ends[0]), self.convert(ends[1])))
        return Line(label, points, style % STYLES, band)


def _presented(name: str, config: Mapping[str, Any]) -> tuple[str, str, str, Callable[[float], float]]:
    """Returns title, caption, unit and a rising conversion: errors in the clips' own unit where they have one."""
    clip = ClipSpec.model_validate(config["clip"])
    if clip.value is not None and name in ("mse", "mae"):
        span, unit = clip.max_pixel * abs(clip.value.scale), clip.value.unit
        if name == "mse":
            caption = f"root of the mean square error of a pixel ({unit}); lower is better"
            return "RMSE", caption, unit, lambda mse: math.sqrt(mse) * span
        return "MAE", f"mean absolute error of a pixel ({unit}); lower is better", unit, lambda mae: mae * span
    event_unit = meanings.event_unit(config)
    title = name.upper() if len(name) < 5 else name
    return title, meanings.meaning(name, event_unit), meanings.unit_of(name, event_unit), float
