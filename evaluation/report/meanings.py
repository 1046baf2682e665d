"""Describes metrics for people: definition, unit and better direction.

meaning("csi_2", event_unit(config))
"""

from collections.abc import Mapping
from typing import Any

from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import REFERENCES

# Definition and unit of each metric.
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

# The same of the metrics of events, by the part of the name before the threshold: `csi` of `csi_2`.
_EVENT_MEANINGS = {
    "csi": ("critical success index: hits over all events, forecast or not", "from 0 to 1"),
    "pod": ("probability of detection: share of the events that were forecast", "from 0 to 1"),
    "far": ("false alarm ratio: share of the forecast events that did not come", "from 0 to 1"),
    "bias": ("frequency bias: events forecast over events that came", "1 is best"),
    "hss": ("Heidke skill score", "1 is perfect, 0 is chance"),
    "gss": ("Gilbert skill score, or equitable threat score", "1 is perfect, 0 is chance"),
    "fss": ("fractions skill score in windows of so many pixels", "from 0 to 1"),
}

_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "one": "nearer to 1 is better"}


def event_unit(config: Mapping[str, Any]) -> str:
    """Returns the unit of a configuration's events, such as `mm/h`; empty where thresholds are pixels from 0 to 1."""
    value = config["clip"].get("value")
    return (config["evaluate"].get("events") or {}).get("unit") or (value or {}).get("unit", "")


def meaning(name: str, event_unit: str = "") -> str:
    """Returns a metric's definition, unit and better direction; the direction alone for an unlisted metric."""
    direction = _DIRECTIONS[registry.direction(name)]
    for reference in REFERENCES:
        if name == f"skill_{reference}":
            return f"skill against {spoken(reference)} alone; {direction}"
        if name.endswith(f"_{reference}"):
            return f"{name.removesuffix(f'_{reference}')} of the reference forecast {spoken(reference)}"
    known = _known(name, event_unit)
    return "{} ({}); {}".format(*known, direction) if known else direction


def unit_of(name: str, event_unit: str = "") -> str:
    """Returns the unit of a metric's values; empty for an unlisted metric."""
    known = _known(name, event_unit)
    return known[1] if known else ""


def spoken(reference: str) -> str:
    """Returns the name of a reference forecast in words."""
    return reference.replace("_", " ")


def _known(name: str, event_unit: str) -> tuple[str, str] | None:
    """Returns definition and unit of a metric; None for an unlisted one."""
    family, _, threshold = name.partition("_")
    if name in spectrum_metrics.NAMES:
        return f"power of the forecast over the truth's at wavelengths around {threshold}", "1 is best"
    if family in event_metrics.FAMILIES and threshold:
        definition, unit = _EVENT_MEANINGS[family]
        value, *window = threshold.split("_")
        return f"{definition}; threshold {', '.join([f'{value} {event_unit}'.rstrip(), *window])}", unit
    return _MEANINGS.get(name)
