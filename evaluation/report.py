"""The report of a run: one HTML page that needs nothing else, and the same as a model card in Markdown.

write_report("runs/20260101-120000/report", evidence)    # index.html, model_card.md
"""

import os
import pathlib
from typing import Any

import jinja2

from framecast.evaluation import charts, families, metrics
from framecast.evaluation.evidence import Evidence, flatten

PAGE = "index.html"
CARD = "model_card.md"

_TEMPLATES = pathlib.Path(__file__).parent
_SLICES = 40  # Rows of the table.


def write_report(folder: str | os.PathLike[str], evidence: Evidence) -> str:
    """Writes `index.html` and `model_card.md` into `folder`, which is made, and returns the page's path."""
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
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(environment.get_template(template).render(view))
    return os.path.join(folder, PAGE)


def figure(value: float | None) -> str:
    """Returns a figure as people read it."""
    return "not a number" if value is None else f"{value:.4g}"


def _view(evidence: Evidence) -> dict[str, Any]:
    record, config = evidence.record, evidence.config
    figures = record.get("figures", {})
    rate = (evidence.card or {}).get("frame_rate")
    interval, unit = families.lead_time_unit(1 / rate if rate else None)
    curves = families.by_lead_time(figures, evidence.serving, config, interval)
    leads = range(1, families.horizon(figures) + 1)
    return {
        "evidence": evidence,
        "record": record,
        "config": config,
        "task": config["task"]["kind"],
        "headlines": families.HEADLINES[config["task"]["kind"]],
        "overall": families.overall(figures),
        "serving": evidence.serving,
        "meaning": families.meaning,
        "key": metrics.key,
        "leads": leads,
        "lead_names": [f"{lead * interval:.4g}" for lead in leads],
        "lead_unit": unit,
        "families": [(family, _family_chart(family, unit)) for family in curves],
        "by_lead": [name for name in families.overall(figures) if metrics.key(name, 1) in figures],
        "slices": list(evidence.slices.items())[:_SLICES],
        "slices_left_out": max(0, len(evidence.slices) - _SLICES),
        "slice_metrics": _slice_metrics(evidence),
        "training": _training_charts(evidence.curves),
        "lengths": _lengths_chart(evidence.ingest),
        "settings": flatten(config),
        "swatch": charts.swatch,
    }


def _family_chart(family: families.Family, unit: str) -> Any:
    xs = [x for x, _ in family.lines[0].points]
    return charts.line_chart(
        family.lines, x_label=f"{unit} ahead", y_label=family.unit or family.name, guide=family.guide, x_values=xs
    )


def _slice_metrics(evidence: Evidence) -> list[str]:
    present = {name for found in evidence.slices.values() for name in found}
    return [name for name in families.overall(evidence.record.get("figures", {})) if name in present]


def _training_charts(curves: dict[str, list[list[float]]]) -> list[tuple[str, list[charts.Line], Any]]:
    drawn = []
    for title, names, unit, log in (
        ("Loss", ("loss", "val_loss"), "loss", True),
        ("Learning rate", ("learning_rate",), "learning rate", False),
    ):
        lines = [
            charts.Line({"loss": "train", "val_loss": "val"}.get(name, name), [(x, y) for x, y in curves[name]], style)
            for style, name in enumerate(names)
            if curves.get(name)
        ]
        if lines:
            drawn.append((title, lines, charts.line_chart(lines, x_label="optimizer steps", y_label=unit, log=log)))
    return drawn


def _lengths_chart(ingest: dict[str, Any] | None) -> Any:
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
