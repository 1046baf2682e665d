"""Writes the report of a run: a self-contained HTML page and a model card in Markdown.

write_report("runs/20260101-120000/report", evidence)    # index.html, model_card.md
"""

import collections
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2

from framecast.clips.files import write_whole
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.figures import SHARPNESS
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.registry import TASKS
from framecast.evaluation.report import charts, meanings, metric_charts, run_charts
from framecast.evaluation.report.evidence import Evidence, flatten

PAGE = "index.html"
CARD = "model_card.md"

_TEMPLATES = pathlib.Path(__file__).parent
_SLICES = 40  # Most rows of the table.
_CHARTS = 6  # Charts outside of the collapsed section.
# Metrics compared with extrapolation outside of the collapsed section.
_WITH_EXTRAPOLATION = ("mse", "mae", "ssim", SHARPNESS, "csi_", "bias_")


def write_report(folder: str | os.PathLike[str], evidence: Evidence) -> str:
    """Writes `index.html` and `model_card.md` into `folder`, created if missing, and returns the page's path."""
    os.makedirs(folder, exist_ok=True)
    view = _view(evidence)
    for template, name, escaped in (("report.html.jinja", PAGE, True), ("model_card.md.jinja", CARD, False)):
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=escaped,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.filters["figure"] = figure
        environment.filters["ends"] = ends
        write_whole(os.path.join(folder, name), environment.get_template(template).render(view))
    return os.path.join(folder, PAGE)


def figure(value: float | None) -> str:
    """Formats a figure."""
    return "not a number" if value is None else f"{value:.4g}"


def ends(interval: Sequence[float] | None) -> str:
    """Formats a confidence interval; empty if undefined."""
    return "" if interval is None else f"{figure(interval[0])} to {figure(interval[1])}"


def _view(evidence: Evidence) -> dict[str, Any]:
    """Returns the variables of the templates."""
    record, config = evidence.record, evidence.config
    figures = record.get("figures", {})
    rate = (evidence.card or {}).get("frame_rate")
    interval, unit = metric_charts.lead_time_unit(1 / rate if rate else None)
    drawn = [
        (chart, run_charts.metric_chart(chart, unit))
        for chart in metric_charts.by_lead_time(figures, evidence.serving, config, interval, evidence.intervals)
    ]
    leads = range(1, metric_figures.horizon(figures) + 1)
    sliced = _differing(evidence.slices)
    return {
        "evidence": evidence,
        "record": record,
        "config": config,
        "task": config["task"]["kind"],
        "forecasts": TASKS[config["task"]["kind"]].lead_times,
        "subject": _subject(evidence),
        "headlines": TASKS[config["task"]["kind"]].headline,
        "overall": metric_figures.overall(figures),
        "powers": metric_figures.powers(figures),
        "serving": evidence.serving,
        "intervals": evidence.intervals.get("figures", {}),
        "slice_intervals": evidence.intervals.get("slices", {}),
        "differences": evidence.intervals.get("differences", {}),
        "recordings": evidence.intervals.get("recordings", 0),
        "meaning": functools.partial(meanings.meaning, event_unit=meanings.event_unit(config)),
        "key": registry.key,
        "leads": leads,
        "lead_names": [f"{lead * interval:.4g}" for lead in leads],
        "lead_unit": unit,
        "metric_charts": drawn[:_CHARTS],
        "more_metric_charts": drawn[_CHARTS:],
        "spectra": run_charts.spectra_charts(evidence, interval),
        "extrapolation": _extrapolation_rows(evidence, main=True),
        "more_extrapolation": _extrapolation_rows(evidence, main=False),
        "no_extrapolation": extrapolation.MISSING,
        "against": _against(evidence),
        "by_lead": [name for name in figures if registry.key(name, 1) in figures],
        "slices": list(sliced.items())[:_SLICES],
        "slices_left_out": max(0, len(sliced) - _SLICES),
        "slice_metrics": _slice_metrics(evidence),
        "trials": _ranked(record.get("trials", [])),
        "trial_settings": list(record["trials"][0]["values"]) if record.get("trials") else [],
        "training": run_charts.training_charts(evidence.curves),
        "lengths": run_charts.lengths_chart(evidence.ingest),
        "roc": run_charts.roc_chart(evidence.sample.get("sums", {})),
        "confusion": evidence.sample.get("sums", {}).get("confusion"),
        "settings": flatten(config),
        "swatch": charts.swatch,
    }


def _subject(evidence: Evidence) -> str:
    """Returns model, task, horizon and time of the run."""
    task, model = evidence.config["task"], evidence.config["model"]
    ahead = f", {task['horizon']} frames ahead" if "horizon" in task else ""
    time = f", run of {evidence.record['time']}" if evidence.record.get("time") else ""
    return f"{model.get('builder') or model['preset']} for the task {task['kind']}{ahead}{time}"


def _differing(slices: dict[str, Any]) -> dict[str, Any]:
    """Returns the slices without those that contain every clip, which are the only ones of their feature."""
    counts = collections.Counter(name.partition(":")[0] for name in slices)
    return {name: found for name, found in slices.items() if counts[name.partition(":")[0]] > 1}


def _extrapolation_rows(evidence: Evidence, main: bool) -> list[tuple[str, str, dict[str, float | None]]]:
    """Returns the rows of the comparison with extrapolation: metric, forecaster, figures; of main or other metrics."""
    by_forecaster = evidence.extrapolation.get("figures", {})
    found = metric_figures.overall(by_forecaster.get(extrapolation.NAME, {}))
    names = [name for name in found if name.startswith(_WITH_EXTRAPOLATION) == main and not name.endswith("_frame")]
    return [(name, forecaster, figures) for name in names for forecaster, figures in by_forecaster.items()]


def _slice_metrics(evidence: Evidence) -> list[str]:
    """Returns the columns of the slice table: headline metrics, metrics with thresholds, and references' errors."""
    task = evidence.config["task"]["kind"]
    error = TASKS[task].error
    wanted = {error, *TASKS[task].headline, *evidence.config["evaluate"]["thresholds"]}
    wanted.update(f"{error}_{reference}" for reference in REFERENCES)
    present = {name for found in evidence.slices.values() for name in found}
    return [name for name in evidence.record.get("figures", {}) if name in present & wanted]


def _against(evidence: Evidence) -> str:
    """Returns a sentence on the models that the candidate was compared with."""
    if not evidence.record.get("figures"):
        return "The run ended before there were figures to compare."
    references = "the reference forecasts" if TASKS[evidence.config["task"]["kind"]].lead_times else ""
    notes = {part["name"]: part["note"] for part in evidence.record.get("components", ())}
    note = f" ({notes['ServingModel']})" if notes.get("ServingModel") else ""
    if evidence.serving:
        return f"Compared with the serving model{note}{' and ' if references else ''}{references}."
    return f"Compared with no serving model{note}{', but with ' if references else ''}{references}."


def _ranked(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the trials by val loss, the failed ones last."""
    return sorted(trials, key=lambda trial: (trial["val_loss"] is None, trial["val_loss"]))
