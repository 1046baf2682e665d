"""Figures sorted for people: each metric beside what it is compared with, in physical units where the clips have them.

for family in by_lead_time(figures, serving):
family.name, [line.name for line in family.lines]
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.report.charts import STYLES, Line
from framecast.schemas.clip_spec import ClipSpec

Figures = Mapping[str, float | None]
Spectra = Mapping[str, Sequence[Sequence[float | None]]]

# The figures that a line about a run has room for, by task.
HEADLINES = {
    "forecast": ("mse", "skill"),
    "anomaly": ("clip_roc_auc", "frame_roc_auc"),
    "classify": ("accuracy", "cross_entropy"),
    "regress": ("mse", "r2"),
}

# Of the powers by wavelength, the one that stands beside other metrics; all of them are drawn as spectra. Blur takes
# the shortest waves first, but those of 2 and 3 pixels are noise of single pixels too, which no forecast should have.
SHARPNESS = "power_4px"

# What a metric is, and the unit of its values.
_MEANINGS = {
    "mse": ("mean square error of a pixel", "squared pixel range"),
    "mae": ("mean absolute error of a pixel", "pixel range"),
    "mse_frame": ("square error summed over a frame's pixels", "squared pixel range"),
    "mae_frame": ("absolute error summed over a frame's pixels", "pixel range"),
    "psnr": ("peak signal-to-noise ratio, mean over frames", "dB"),
    "ssim": ("structural similarity, mean over frames", "1 is perfect"),
    "ssim_openstl": ("structural similarity as OpenSTL prints it (data range 2)", "1 is perfect"),
    "skill": ("share of the best reference forecast's squared error that the model avoids", "1 perfect, 0 no better"),
    "clip_roc_auc": ("probability that an anomalous clip scores above a normal one", "0.5 is chance"),
    "frame_roc_auc": ("probability that an anomalous frame scores above a normal one", "0.5 is chance"),
    "accuracy": ("share of labels that are met", "from 0 to 1"),
    "accuracy_majority": ("accuracy of always answering the most frequent class", "from 0 to 1"),
    "cross_entropy": ("mean cross-entropy", "nats"),
    "macro_f1": ("F1, mean over classes", "from 0 to 1"),
    "r2": ("share of the labels' variance that is explained", "1 is perfect"),
}

# The same of what is measured of events, each at a threshold: `csi_2`.
_EVENT_MEANINGS = {
    "csi": ("critical success index: hits over all events, forecast or not", "from 0 to 1"),
    "pod": ("probability of detection: share of the events that were forecast", "from 0 to 1"),
    "far": ("false alarm ratio: share of the forecast events that did not come", "from 0 to 1"),
    "bias": ("frequency bias: events forecast over events that came", "1 is best"),
    "hss": ("Heidke skill score", "1 is perfect, 0 is chance"),
    "gss": ("Gilbert skill score, or equitable threat score", "1 is perfect, 0 is chance"),
    "fss": ("fractions skill score in windows of so many pixels", "from 0 to 1"),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A metric by lead time, and what it is compared with.

    Args:
        name: The metric.
        title: What is drawn, in a word or two.
        caption: What that is.
        unit: Of its values.
        lines: The candidate first, then the serving model and the reference forecasts.
        guide: A value to see the lines against; None when there is none.
    """

    name: str
    title: str
    caption: str
    unit: str
    lines: Sequence[Line]
    guide: float | None = None


def event_unit(config: Mapping[str, Any]) -> str:
    """Returns the unit of a configuration's events, such as `mm/h`; empty where thresholds are pixels from 0 to 1."""
    value = config["clip"].get("value")
    return (config["evaluate"].get("events") or {}).get("unit") or (value or {}).get("unit", "")


def meaning(name: str, unit: str = "") -> str:
    """Returns what a metric is, with its unit; the direction that is better where no more is known of it.

    Args:
        name: The metric.
        unit: That of events' thresholds, see `event_unit`.
    """
    direction = {"lower": "lower is better", "higher": "higher is better", "one": "nearer to 1 is better"}[
        registry.direction(name)
    ]
    for reference in REFERENCES:
        if name == f"skill_{reference}":
            return f"skill against {_spoken(reference)} alone; {direction}"
        if name.endswith(f"_{reference}"):
            return f"{name.removesuffix(f'_{reference}')} of the reference forecast {_spoken(reference)}"
    known = _known(name, unit)
    return "{} ({}); {}".format(*known, direction) if known else direction


def _known(name: str, event_unit: str) -> tuple[str, str] | None:
    """Returns what a metric is and the unit of its values; None of one that is not listed here."""
    family, _, threshold = name.partition("_")
    if name in spectrum_metrics.NAMES:
        return f"power of the forecast over the truth's at wavelengths around {threshold}", "1 is best"
    if family in event_metrics.FAMILIES and threshold:
        what, unit = _EVENT_MEANINGS[family]
        value, *window = threshold.split("_")
        return f"{what}; threshold {', '.join([f'{value} {event_unit}'.rstrip(), *window])}", unit
    return _MEANINGS.get(name)


def folded(name: str) -> bool:
    """Tells whether a metric is one of more than people read in a list: a power by wavelength but for `SHARPNESS`."""
    return name in spectrum_metrics.NAMES and not name.startswith(SHARPNESS)


def overall(figures: Figures) -> dict[str, float | None]:
    """Returns the figures over all lead times, by metric, without those that are `folded`."""
    return {key: value for key, value in figures.items() if registry.parse_key(key)[1] is None and not folded(key)}


def powers(figures: Figures) -> dict[str, float | None]:
    """Returns the figures over all lead times that `overall` leaves out."""
    return {key: value for key, value in figures.items() if registry.parse_key(key)[1] is None and folded(key)}


def horizon(figures: Figures) -> int:
    """Returns the last lead time that has a figure; 0 when none has."""
    return max((registry.parse_key(key)[1] or 0 for key in figures), default=0)


def by_lead_time(
    figures: Figures,
    serving: Figures,
    config: Mapping[str, Any],
    interval: float,
    intervals: Mapping[str, Any] | None = None,
) -> list[Family]:
    """Sorts every metric that has lead times.

    Args:
        figures: The candidate's, by `metrics.key`; those of reference forecasts end in the reference's name.
        serving: The serving model's, or none.
        config: The run's configuration, for the unit of a pixel.
        interval: From one lead time to the next, in the unit of the lines' x.
        intervals: Confidence intervals: of `figures` and of `serving`, under these keys.
    """
    bands = {"figures": {}, "serving": {}, **(intervals or {})}
    names = list(dict.fromkeys(name for name, lead in map(registry.parse_key, figures) if lead is not None))
    names = [name for name in names if not folded(name)]
    bases = {name: base_of(name, names) for name in names}
    leads = range(1, horizon(figures) + 1)
    families = []
    for name in names:
        if bases[name]:
            continue
        references = [other for other in names if bases[other] == name]
        title, caption, unit, convert = _drawn(name, config)
        sources: list[tuple[str, str, Figures, Mapping[str, Any]]] = [
            (_own(name, bool(references)), name, figures, bands["figures"])
        ]
        if serving:
            sources.append(("serving model", name, serving, bands["serving"]))
        # Shaded too, many lines would hide each other.
        sources += [(_against(name, other), other, figures, {}) for other in references]
        lines = []
        for place, (label, metric, values, ends) in enumerate(sources):
            points = [(lead * interval, _converted(values.get(registry.key(metric, lead)), convert)) for lead in leads]
            style = place if serving else place + (place > 0)  # A colour means the same with and without a baseline.
            band = [
                (lead * interval, convert(found[0]), convert(found[1]))
                for lead in leads
                if (found := ends.get(registry.key(metric, lead))) is not None
            ]
            lines.append(Line(label, points, style % STYLES, band))
        guide = 0.0 if name.startswith("skill") else 1.0 if name == SHARPNESS else None
        families.append(Family(name, title, caption, unit, lines, guide))
    main = (*HEADLINES[config["task"]["kind"]], SHARPNESS)
    # Events are asked for by name, so they come before what every forecast has.
    return sorted(families, key=lambda family: 0 if family.name in main else 1 if family.name.startswith("csi_") else 2)


def spectra(found: Spectra, config: Mapping[str, Any], interval: float) -> tuple[str, list[tuple[float, list[Line]]]]:
    """Returns the unit of power, and of the first, the middle and the last lead time the spectra, the truth's first.

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
    # As in the charts by lead time, without the black forecast, which has no power.
    styles = {"truth": STYLES - 1, "candidate": 0, "serving": 1} | {
        reference: style for style, reference in enumerate(REFERENCES, start=2) if reference != "black"
    }
    drawn = []
    for lead in sorted({1, (last + 1) // 2, last}) if last else ():
        lines = []
        for name in [name for name in styles if name in found]:
            # What is 0 has no place on a logarithmic axis; a wavelength that no frame has needs none.
            points = [
                (wavelength, power * factor if power else None)
                for wavelength, power, truth in zip(
                    spectrum_metrics.WAVELENGTHS, found[name][lead - 1], found["truth"][lead - 1]
                )
                if truth is not None
            ]
            if any(power is not None for _, power in points):
                lines.append(Line("serving model" if name == "serving" else _spoken(name), points, styles[name]))
        drawn.append((lead * interval, lines))
    return unit, drawn


def lead_time_unit(interval: float | None) -> tuple[float, str]:
    """Returns how far one frame is ahead, and in what: minutes, seconds, or frames of an unknown rate."""
    if not interval:
        return 1.0, "frames"
    return (interval / 60, "minutes") if interval >= 30 else (interval, "seconds")


def base_of(name: str, names: Sequence[str]) -> str | None:
    """Returns the metric that `name` is of a reference forecast; None when it is one of its own."""
    for reference in REFERENCES:
        base = name.removesuffix(f"_{reference}")
        if base != name and base in names:
            return base
    return None


def _own(name: str, compared: bool) -> str:
    return "against the best of all" if name == "skill" and compared else "candidate"


def _against(name: str, other: str) -> str:
    reference = _spoken(other.removeprefix(f"{name}_"))
    return f"against {reference}" if name == "skill" else reference


def _spoken(reference: str) -> str:
    return reference.replace("_", " ")


def _drawn(name: str, config: Mapping[str, Any]) -> tuple[str, str, str, Callable[[float], float]]:
    """Returns title, caption, unit and a rising conversion: errors in the clips' own unit where they have one."""
    clip = ClipSpec.model_validate(config["clip"])
    if clip.value is not None and name in ("mse", "mae"):
        span, unit = clip.max_pixel * abs(clip.value.scale), clip.value.unit
        if name == "mse":
            caption = f"root of the mean square error of a pixel ({unit}); lower is better"
            return "RMSE", caption, unit, lambda mse: math.sqrt(mse) * span
        return "MAE", f"mean absolute error of a pixel ({unit}); lower is better", unit, lambda mae: mae * span
    events = event_unit(config)
    title = name.upper() if len(name) < 5 else name
    return title, meaning(name, events), (_known(name, events) or ("", ""))[1], float


def _converted(value: float | None, convert: Callable[[float], float]) -> float | None:
    return None if value is None else convert(value)
