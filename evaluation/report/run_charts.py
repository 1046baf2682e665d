"""Draws the charts of a report: metrics, spectra, training curves, ROC and clip lengths."""

from typing import Any

from markupsafe import Markup

from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.report import charts, metric_charts
from framecast.evaluation.report.evidence import Evidence

_LINES = {"loss": "train", "val_loss": "val"}  # Legend labels of training curves.
_LOG_FROM = 6.0  # Ratio of largest to smallest value from which an axis is logarithmic.


Drawn = tuple[str, list[charts.Line], Markup]


def metric_chart(chart: metric_charts.MetricChart, unit: str) -> Markup:
    """Draws a metric by lead time.

    Args:
        chart: The lines.
        unit: Unit of the lead times.
    """
    log = _spread(chart) > _LOG_FROM
    return charts.line_chart(
        chart.lines,
        x_label=f"{unit} ahead",
        y_label=f"{chart.unit or chart.name}{', logarithmic' if log else ''}",
        log=log,
        guide=chart.guide,
        x_values=[x for x, _ in chart.lines[0].points],
    )


def spectra_charts(evidence: Evidence, interval: float) -> list[Drawn]:
    """Returns lead time, lines and chart of each spectrum.

    Args:
        evidence: The run.
        interval: From one lead time to the next, in the unit of the lead times returned.
    """
    unit, spectra = metric_charts.spectra(evidence.spectra, evidence.config, interval)
    drawn = []
    for lead, lines in spectra:
        wavelengths = [length for length, _ in lines[0].points] if lines else []
        chart = charts.line_chart(
            lines,
            x_label="wavelength in pixels, logarithmic",
            y_label=f"{unit}, logarithmic",
            log=True,
            log_x=True,
            # Octaves only, because half octaves are no round numbers.
            x_values=[length for length in wavelengths if length in spectrum_metrics.WAVELENGTHS[::2]],
        )
        drawn.append((f"{lead:.4g}", lines, chart))
    return drawn


def training_charts(curves: dict[str, list[list[float]]]) -> list[Drawn]:
    """Returns title, lines and chart of each kind of training curve."""
    drawn = []
    metrics = {tag for tag in curves if tag.startswith("val_")} - {"val_loss"}
    for title, names, unit, log in (
        ("Loss", ("loss", "val_loss"), "loss", True),
        *((tag, (tag,), tag.removeprefix("val_"), False) for tag in sorted(metrics)),
        ("Learning rate", ("learning_rate",), "learning rate", False),
        ("Gradient norm", ("gradient_norm",), "norm", True),
    ):
        lines = [
            charts.Line(_LINES.get(name, name.replace("_", " ")), [(x, y) for x, y in curves[name]], style)
            for style, name in enumerate(names)
            if curves.get(name)
        ]
        if lines:
            drawn.append((title, lines, charts.line_chart(lines, x_label="optimizer steps", y_label=unit, log=log)))
    return drawn


def roc_chart(sums: dict[str, Any]) -> tuple[list[charts.Line], Markup] | None:
    """Returns lines and chart of the ROC; None for other tasks, and without both normal and anomalous labels."""
    lines = [
        charts.Line(level, curve, style)
        for style, level in enumerate(anomaly_metrics.LEVELS)
        if level + "_normal" in sums and (curve := anomaly_metrics.roc(sums, level))
    ]
    if not lines:
        return None
    return lines, charts.line_chart(lines, x_label="false alarm rate", y_label="detection rate")


def lengths_chart(ingest: dict[str, Any] | None) -> Markup | None:
    """Returns a chart of the number of clips by length; None before ingestion."""
    if not ingest or not ingest["lengths"]:
        return None
    counts = {int(length): count for length, count in ingest["lengths"].items()}
    every = range(min(counts), max(counts) + 1)
    step = -(-len(every) // 24)  # At most 24 bars.
    bars = []
    for start in every[::step]:
        end = start + step - 1
        total = sum(counts.get(length, 0) for length in range(start, end + 1))
        bars.append((f"{start}" if step == 1 else f"{start}-{end}", float(total)))
    return charts.bar_chart(bars, x_label="frames of a clip", y_label="clips")


def _spread(chart: metric_charts.MetricChart) -> float:
    """Returns the ratio of the largest to the smallest value, guide included; 0 for one line or values up to 0."""
    values = [y for line in chart.lines for _, y in line.points if y is not None]
    if chart.guide is not None:
        values.append(chart.guide)
    return max(values) / min(values) if len(chart.lines) > 1 and min(values, default=0) > 0 else 0.0
