"""Reads the data of a report from artifacts, for the Report component and for the runner."""

import base64
import dataclasses
import glob
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from framecast.components import tuner
from framecast.components.clip_example_gen import summary as ingest_summary
from framecast.components.validation_gate import component
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.gate.verdict import read_intervals, read_verdict
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.report.evidence import Evidence
from framecast.models.hyperparameters import with_values
from framecast.models.spec import ForecastTask, parse_task
from framecast.models.training import summary as training_summary
from framecast.models.training import training_log
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving import versions
from framecast.serving.predictions import extrapolation_comparison, showcase

_CANDIDATE = "candidate"
_SUMMED = 256  # Clips whose sums are recomputed, at most.


def gather(config: dict[str, Any], record: dict[str, Any], folders: Mapping[str, str]) -> Evidence:
    """Reads the artifacts of a run.

    Args:
        config: The resolved configuration.
        record: Other facts about the run; see `Evidence`.
        folders: Folders of the artifacts that exist, by component: `ClipExampleGen`, `ValidationGate`, `Trainer` (model
            run), `model` (exported model), `Evaluator` (evaluation), `Tuner` (results).

    Returns:
        The evidence; after a search, its configuration has the values of the best trial.
    """
    record = dict(record)
    found: dict[str, Any] = {}
    if folder := folders.get("ClipExampleGen"):
        found["ingest"] = _read_json(folder, ingest_summary.SUMMARY)
    if folder := folders.get("ValidationGate"):
        record["drift"] = _read_json(folder, component.DRIFT)
        found["validated"] = True
    if folder := folders.get("Tuner"):
        record["trials"] = tuner.read_trials(folder)
        config = with_values(config, tuner.best_values(record["trials"]))
    if folder := folders.get("Trainer"):
        found["training"] = _read_json(folder, training_summary.FILE)
        found["curves"] = training_log.read_curves(folder)
    if folder := folders.get("model"):
        found["card"] = versions.read_card(path_utils.serving_model_path(folder))
    if folder := folders.get("Evaluator"):
        verdict = read_verdict(folder)
        record.update(figures=verdict.figures, misses=[dataclasses.asdict(miss) for miss in verdict.misses])
        found.update(slices=verdict.slices, serving=verdict.serving, spectra=verdict.spectra)
        found["intervals"] = dataclasses.asdict(read_intervals(folder))
    return Evidence(config, record, **found)


def with_answers(evidence: Evidence, examples: str, model: str) -> Evidence:
    """Adds predictions of the exported model on clips of the eval split.

    For forecasts, adds animations and, if pySTEPS is installed, a comparison with extrapolation. For other tasks, adds
    sums over clips, because Evaluator's output has only the metrics.

    Args:
        evidence: The evidence of a run with clips and a model.
        examples: ClipExampleGen's folder.
        model: The exported model's folder.
    """
    task = parse_task(evidence.config["task"])
    loaded = tf.saved_model.load(path_utils.serving_model_path(model))
    if not task.is_forecast:
        return dataclasses.replace(evidence, sample=_summed(loaded, examples, task.kind))
    spec = ClipSpec.model_validate(evidence.config["clip"])
    rate = (evidence.card or {}).get("frame_rate")
    channels = task.forecast_channels(spec.channels)
    shown, clips = showcase.choose(loaded, lambda: _eval_records(examples), spec, rate, channels)
    return dataclasses.replace(
        evidence,
        extrapolation=_beside_extrapolation(loaded, examples, evidence.config) if extrapolation.available() else {},
        shown=[{**dataclasses.asdict(one), "gif": base64.b64encode(one.gif).decode()} for one in shown],
        sample={"clips": clips, "rule": showcase.RULE.format(clips=clips)},
    )


def _beside_extrapolation(model: Any, examples: str, config: dict[str, Any]) -> dict[str, Any]:
    events = config["evaluate"]["events"]
    found = extrapolation_comparison.compare(
        {_CANDIDATE: model},
        map(tf.train.SequenceExample.FromString, _eval_records(examples)),
        ClipSpec.model_validate(config["clip"]),
        ForecastTask.model_validate(config["task"]),
        EventsSpec.model_validate(events) if events else None,
    )
    return {"clips": found.clips, "figures": found.figures()}


def _summed(model: Any, examples: str, task: str) -> dict[str, Any]:
    sums, clips = Sums(task=task), 0
    for record in itertools.islice(_eval_records(examples), _SUMMED):
        sums = sums.update(model.signatures["evaluate"](examples=tf.constant([record])))
        clips += 1
    return {"clips": clips, "sums": {name: value.tolist() for name, value in sums.values.items()}}


def _eval_records(examples: str) -> Iterator[bytes]:
    files = sorted(glob.glob(os.path.join(examples, "Split-eval", "*")))
    return tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()


def _read_json(folder: str, name: str) -> Any:
    with fileio.open(os.path.join(folder, name)) as file:
        return json.loads(file.read())
