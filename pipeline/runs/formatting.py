"""Formats run records for the terminal, one run or two side by side, and the plan of `runs gc`."""

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.registry import TASKS
from framecast.pipeline.runs.records import RunRecord
from framecast.pipeline.tables import cell, columns

if TYPE_CHECKING:
    from framecast.pipeline.runs.gc import Plan

_UNRECORDED = "no record"  # Shown as the verdict.
_OVERVIEW = ("verdict", "why", "version", "seconds", "data", "code")


def summary(run: RunRecord) -> dict[str, Any]:
    """Returns a run's row of the list: `name`, `time`, `verdict`, `figures` (main ones), `version`, `seconds`."""
    figures = run.record.get("figures", {})
    kind = run.config.get("task.kind", "")
    names = TASKS[kind].headline if kind in TASKS else ()
    return {
        "name": run.name,
        "time": run.record.get("time"),
        "verdict": run.record.get("verdict"),
        "figures": {name: figures[name] for name in names if name in figures},
        "version": run.record.get("version"),
        "seconds": run.record.get("seconds"),
    }


def listing(runs: Sequence[RunRecord]) -> str:
    """Formats the list of runs, one line each."""
    rows = [["run", "verdict", "figures", "version", "seconds"]]
    for run in runs:
        row = summary(run)
        figures = ", ".join(f"{name} {cell(value)}" for name, value in row["figures"].items())
        verdict = row["verdict"] or f"{_UNRECORDED}: killed or still running"
        rows.append([run.name, verdict, figures, row["version"] or "", cell(row["seconds"])])
    return columns(rows)


def description(run: RunRecord) -> str:
    """Formats one run: verdict, figures, data, code, packages, components, trials, lineage and configuration.

    Details (`metric_figures.is_detail`) are left out.
    """
    record = run.record
    if not record:
        return f"run {run.name}: {_UNRECORDED}: killed or still running; its log is in {run.folder}"
    lines = [f"run {run.name}, {record.get('time', '')}, {record['seconds']:.0f} s"]
    lines += [f"{record['verdict']}: {record['why']}", "", *_figures(record["figures"]), ""]
    lines += [
        f"data: {record.get('data') or 'unknown, because ClipExampleGen did not finish'}",
        f"code: {record.get('code')}",
        f"packages: {', '.join(f'{name} {version}' for name, version in record.get('packages', {}).items())}",
    ]
    if record.get("spans"):
        lines.append(f"spans: {', '.join(map(str, record['spans']))}")
    if record["bad_clips"]:
        lines.append(f"bad clips: {', '.join(f'{count} {reason}' for reason, count in record['bad_clips'].items())}")
    rows = [["component", "state", "seconds", "peak MiB", "note"]]
    rows += [
        [part["name"], part["state"], str(part["seconds"]), _mebibytes(part.get("peak_memory")), part["note"]]
        for part in record["components"]
    ]
    lines += [
        "",
        columns(rows),
        "",
        *_trials(record.get("trials")),
        *_lineage(record.get("lineage")),
        "",
        "configuration:",
    ]
    lines += [f"  {key}: {value}" for key, value in run.config.items()]
    lines += ["", f"log: {record['log']}", f"report: {record.get('report') or 'none was written'}"]
    return "\n".join(lines)


def as_options(values: dict[str, Any]) -> str:
    """Formats values as options of `framecast run`, quoted for a shell: `--set train.steps=500`."""
    return " ".join(f"--set {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in values.items())


def comparison(a: RunRecord, b: RunRecord) -> dict[str, Any]:
    """Compares two runs.

    Returns:
        `runs`: the two names. `overview`: pairs of verdict, version and so on. `figures`: `a`, `b` and `difference` (b
        minus a, None if one is missing) of each figure. `packages` and `config`: pairs of the values that differ.
    """
    first, second = a.record.get("figures", {}), b.record.get("figures", {})
    packages = a.record.get("packages", {}), b.record.get("packages", {})
    return {
        "runs": [a.name, b.name],
        "overview": {key: [a.record.get(key), b.record.get(key)] for key in _OVERVIEW},
        "figures": {
            key: {"a": first.get(key), "b": second.get(key), "difference": _difference(first.get(key), second.get(key))}
            for key in dict.fromkeys([*first, *second])
        },
        "packages": _differing(*packages),
        "config": _differing(a.config, b.config),
    }


def compared(found: dict[str, Any]) -> str:
    """Formats a comparison: figures over all lead times, the main ones at each lead time, and differing values.

    Details (`metric_figures.is_detail`) are left out.
    """
    rows = [["", *found["runs"]]]
    for key, pair in found["overview"].items():
        if key != "why":
            rows.append([key, *(cell(value) for value in pair)])
    lines = [columns(rows), ""]
    if len(set(found["overview"]["data"])) > 1:
        lines += ["The data differ, so the figures may be over different clips.", ""]
    rows = [["figure", *found["runs"], "difference", ""]]
    main = {name for task in TASKS.values() for name in task.headline}
    for key, figure in found["figures"].items():
        name, lead = registry.parse_key(key)
        if metric_figures.is_detail(name) or (lead is not None and name not in main):
            continue
        rows.append([key, cell(figure["a"]), cell(figure["b"]), *_judged(key, figure["difference"])])
    lines += [columns(rows) if found["figures"] else "Neither run has figures.", ""]
    for section, title in (("config", "configuration"), ("packages", "packages")):
        rows = [[key, *(cell(value) for value in pair)] for key, pair in found[section].items()]
        lines += [columns([[title, *found["runs"]], *rows]) if rows else f"The {title} are the same.", ""]
    return "\n".join(lines).rstrip()


def cleaned(plan: "Plan", removed: bool) -> str:
    """Formats a plan of `runs gc`: the kept runs with reasons, and the number and size of removed items."""
    rows = [["", "MiB", "names"]]
    for kind, several in (("run", "runs"), ("artifact", "artifacts"), ("checkpoints",) * 2, ("version", "versions")):
        items = [item for item in plan.items if item.kind == kind]
        names = ", ".join(os.path.basename(item.path) for item in items) if kind in ("run", "version") else ""
        rows.append([f"{len(items)} {several}", _tenths(sum(item.bytes for item in items)), names])
    kept = columns([["kept", "why"], *([name, why] for name, why in plan.kept.items())])
    total = f"{_tenths(plan.bytes)} MiB " + ("removed" if removed else "would be removed; --yes removes them")
    return f"{kept}\n\n{columns(rows)}\n\n{total}"


def _tenths(count: int) -> str:
    return f"{count / 2**20:.1f}"


def _figures(figures: dict[str, float | None]) -> Iterable[str]:
    if not figures:
        return ["no figures: the run ended before the Evaluator"]
    leads = range(1, metric_figures.horizon(figures) + 1)
    rows = [["figure", "overall", *(f"lead {lead}" for lead in leads)]]
    for name, value in metric_figures.overall(figures).items():
        rows.append([name, cell(value), *(cell(figures.get(registry.key(name, lead), "")) for lead in leads)])
    return [columns(rows)]


def _trials(trials: list[dict[str, Any]] | None) -> Iterable[str]:
    """Formats the trials of a search, best first, and the options that run the best values again."""
    if not trials:
        return []
    names = list(trials[0]["values"])
    rows = [["trial", *names, "val loss", "step", "steps", "status", "seconds"]]
    for trial in sorted(trials, key=lambda trial: (trial["val_loss"] is None, trial["val_loss"])):
        found = (trial[key] for key in ("val_loss", "step", "steps", "status", "seconds"))
        rows.append([str(trial["trial"]), *(cell(trial["values"][name]) for name in names), *map(cell, found)])
    (best,) = (trial["values"] for trial in trials if trial["best"])
    return [columns(rows), f"the best again, without a search: --set tune=null {as_options(best)}", ""]


def _lineage(lineage: list[dict[str, Any]] | None) -> Iterable[str]:
    """Formats the lineage as a table of output artifacts."""
    if not lineage:
        return ["lineage: unknown"]
    rows = [["component", "execution", "made from", "artifact", "made in run", "folder"]]
    for execution in lineage:
        inputs = ", ".join(f"{artifact['id']}" for artifact in execution["inputs"])
        begin = [execution["component"], f"{execution['id']} {execution['state']}", inputs]
        outputs = [
            [f"{artifact['id']} {artifact['key']}", artifact["run"], artifact["uri"]]
            for artifact in execution["outputs"]
        ]
        rows += [[*begin, *output] for output in outputs or [["", "", ""]]]
    return [columns(rows)]


def _mebibytes(count: int | None) -> str:
    return "" if count is None else f"{count / 2**20:.0f}"


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _judged(key: str, difference: float | None) -> tuple[str, str]:
    if not difference:
        return ("" if difference is None else "0"), ""
    direction = registry.direction(registry.parse_key(key)[0])
    if direction == "one":
        return f"{difference:+.4g}", ""  # The sign does not show which value is nearer to 1.
    return f"{difference:+.4g}", "better" if (difference < 0) == (direction == "lower") else "worse"


def _differing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    return {key: [a.get(key), b.get(key)] for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)}
