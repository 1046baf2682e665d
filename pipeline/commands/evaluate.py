"""`framecast evaluate`: any exported model on any clips, with the Evaluator's metrics, slices and thresholds.

found = evaluate(find_model("work/serving/radar"), ["day3/*.tfrecord.gz"])
found.verdict.figures["mse/lead_3"]
"""

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from tfx_bsl.tfxio import raw_tf_record

from framecast.clips.beam import BEAM_RUNNER, original_error
from framecast.clips.origin import source_names, write_origin
from framecast.clips.validation import read_clips
from framecast.components.batches import few_clips
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.gate.thresholds import build_eval_config
from framecast.evaluation.gate.verdict import Figures, Intervals, Verdict, read_intervals, read_verdict
from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.registry import TASKS
from framecast.evaluation.spec import EvaluateSpec
from framecast.pipeline.tables import cell, columns
from framecast.schemas import features
from framecast.serving.exported_model import Exported
from framecast.serving.predictions.extrapolation_comparison import ExtrapolationComparison, compare

_COUNTED, _SHORT = "clips", "left_out"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        model: The evaluated model.
        against: The one it was compared with; None without.
        clips: Clips that were evaluated.
        left_out: Clips that are too short for the model's task.
        held: Whether the model was held to thresholds, besides that its error must be a finite number.
        verdict: Figures, slices and missed thresholds; the other model's figures as those of the serving model.
        intervals: Of the figures; recordings are told apart by `clip/media_id`.
        beside: The forecasts beside extrapolation; None for another task, and without pySTEPS.
    """

    model: Exported
    against: Exported | None
    clips: int
    left_out: int
    held: bool
    verdict: Verdict
    intervals: Intervals
    beside: ExtrapolationComparison | None

    def to_json(self) -> dict[str, Any]:
        """Returns it as values that JSON has."""
        return {
            "model": self.model.folder,
            "against": self.against and self.against.folder,
            "clips": self.clips,
            "left_out": self.left_out,
            "blessed": self.verdict.blessed,
            "misses": [dataclasses.asdict(miss) for miss in self.verdict.misses],
            "figures": {"model": self.verdict.figures, "against": self.verdict.serving},
            "slices": self.verdict.slices,
            "intervals": dataclasses.asdict(self.intervals),
            "extrapolation": self.beside and {"clips": self.beside.clips, "figures": self.beside.figures()},
        }

    def describe(self) -> str:
        """Returns it as text for a person: the model beside whatever it is compared with, and slice by slice."""
        lines = [f"model: {self.model.folder}"]
        if self.against:
            lines.append(f"against: {self.against.folder}")
        lines += [f"{self.clips} clips evaluated, {self.left_out} too short left out", ""]
        figures = {"model": self.verdict.figures} | ({"against": self.verdict.serving} if self.against else {})
        forecast = self.model.task.kind == "forecast"
        lines.append(columns(self._comparison(figures, REFERENCES if forecast else ())))
        if forecast:
            lines.append(
                "skill: against the best reference at each lead time; in a reference's column, against it alone"
            )
        lines += ["", columns(self._intervals(names=TASKS[self.model.task.kind].headline))]
        lines += ["", columns(self._slices())]
        if self.beside:
            lines += ["", f"over the pixels that extrapolation reaches, {self.beside.clips} clips:"]
            lines.append(columns(self._comparison(self.beside.figures())))
        elif forecast:
            lines += ["", extrapolation.MISSING]
        if self.held or not self.verdict.blessed:
            misses = [miss.describe() for miss in self.verdict.misses]
            lines += ["", f"thresholds: {'; '.join(misses) or 'all met'}"]
        return "\n".join(lines)

    def _comparison(self, figures: Mapping[str, Figures], references: Sequence[str] = ()) -> list[list[str]]:
        """A row a metric, and for the main ones a row a lead time; a column a forecaster, the model's first.

        The figures of references are the model's, by names of their own.
        """
        (own, *_) = figures.values()
        names = list(metric_figures.overall(own))
        rows = [["", *figures, *(reference.replace("_", " ") for reference in references)]]
        for name in names:
            if metric_figures.base_metric(name, names):
                continue
            main = name in TASKS[self.model.task.kind].headline
            for lead in (None, *(range(1, self.model.horizon + 1) if main else ())):
                key = registry.key(name, lead)
                values = [cell(found[key]) if key in found else "" for found in figures.values()]
                others = [registry.key(f"{name}_{reference}", lead) for reference in references]
                beside = [cell(own[other]) if other in own else "" for other in others]
                rows.append([name if lead is None else f"  lead {lead}", *values, *beside])
        return rows

    def _intervals(self, names: Sequence[str]) -> list[list[str]]:
        """Of the main figures, and of their differences from the other model."""
        title = f"95 % interval over {self.intervals.recordings} recordings"
        rows = [[title, "model", *(["model - against"] if self.against else [])]]
        for name in names:
            found = [self.intervals.figures] + ([self.intervals.differences] if self.against else [])
            rows.append([name, *(_ends(own.get(name)) for own in found)])
        return rows

    def _slices(self) -> list[list[str]]:
        names = TASKS[self.model.task.kind].headline
        slices = self.verdict.slices.items()
        return [["slice", *names], *([name, *(cell(own.get(metric)) for metric in names)] for name, own in slices)]


def evaluate(
    model: Exported,
    files: Sequence[str],
    against: Exported | None = None,
    spec: EvaluateSpec | None = None,
    beam_flags: Sequence[str] = (f"--runner={BEAM_RUNNER}",),
) -> Evaluation:
    """Evaluates a model as the pipeline's Evaluator does, one batch of clips in memory at a time.

    Args:
        model: The model.
        files: TFRecords of clips, plain or gzip.
        against: Another model of the same contract, see `exported.check_comparable`.
        spec: What it must reach, see `exported.read_config`; unless given, that its error is a finite number.
        beam_flags: Of the Beam pipeline, whose workers must see model, files and the temporary directory under the same
            names; one process of this machine unless given.

    Raises:
        ValueError: When a clip breaks the model's contract or a file is damaged, naming file and record; when no clip
            is long enough.
    """
    with tempfile.TemporaryDirectory() as folder:
        counts = _run_tfma(model, against, files, spec or EvaluateSpec(events=model.events), folder, beam_flags)
        if not counts[_COUNTED]:
            raise ValueError(
                f"{', '.join(files)}: expected a clip of at least {model.task.min_frames} frames, "
                f"received {counts[_SHORT]} shorter ones"
            )
        verdict, intervals = read_verdict(folder), read_intervals(folder)
    forecasts = model.task.kind == "forecast"
    beside = _beside_extrapolation(model, against, files) if forecasts and extrapolation.available() else None
    return Evaluation(model, against, counts[_COUNTED], counts[_SHORT], spec is not None, verdict, intervals, beside)


def _run_tfma(
    model: Exported,
    against: Exported | None,
    files: Sequence[str],
    spec: EvaluateSpec,
    folder: str,
    beam_flags: Sequence[str],
) -> dict[str, int]:
    """Writes the results to a folder as TFX's Evaluator would, and returns how many clips were counted as what."""
    config = tfma.utils.update_eval_config_with_defaults(
        build_eval_config(spec, horizon=model.horizon, task=model.task.kind),
        has_baseline=against is not None,
        rubber_stamp=True,  # Bounds against another model hold where there is one.
    )
    loaded = [
        tfma.default_eval_shared_model(eval_saved_model_path=own.folder, model_name=named.name, eval_config=config)
        for named, own in zip(config.model_specs, (model, against), strict=False)
        if own is not None
    ]
    records = raw_tf_record.RawBeamRecordTFXIO("tfrecord", tfma.ARROW_INPUT_COLUMN, ["framecast", "evaluate"])
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_flags)))
    with few_clips():
        _ = (
            pipeline
            | "Files" >> beam.Create(list(files))
            | "Check" >> beam.ParDo(_CheckedClips(model, source_names(files)))
            | "Batch" >> records.BeamSource()
            | "Evaluate"
            >> tfma.ExtractEvaluateAndWriteResults(
                eval_shared_model=loaded if against else loaded[0], eval_config=config, output_path=folder
            )
        )
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        raise original_error(error) from None
    return {counter: _count(result, counter) for counter in (_COUNTED, _SHORT)}


def _beside_extrapolation(model: Exported, against: Exported | None, files: Sequence[str]) -> ExtrapolationComparison:
    exported = {"model": model} | ({"against": against} if against else {})
    return compare(
        {name: tf.saved_model.load(own.folder) for name, own in exported.items()},
        itertools.chain.from_iterable(read_clips(path, model.clip) for path in files),
        model.clip,
        model.task,
        model.events,
    )


class _CheckedClips(beam.DoFn):
    """Reads one file of clips; yields them as the ingest leaves them, with the facts to slice on."""

    def __init__(self, model: Exported, sources: Mapping[str, str]):
        self._sources = sources
        self._spec = model.clip
        self._label = model.task.label
        self._min_frames = model.task.min_frames

    def process(self, path: str) -> Iterator[bytes]:
        for example in read_clips(path, self._spec, self._label):
            long_enough = example.context.feature[features.LENGTH].int64_list.value[0] >= self._min_frames
            beam.metrics.Metrics.counter(__name__, _COUNTED if long_enough else _SHORT).inc()
            # A slice of clips that cannot be evaluated would have no figures.
            if long_enough:
                (recording,) = example.context.feature[features.MEDIA_ID].bytes_list.value
                write_origin(example, self._sources[path], recording)
                yield example.SerializeToString(deterministic=True)


def _ends(interval: tuple[float, float] | None) -> str:
    return "none" if interval is None else f"{cell(interval[0])} to {cell(interval[1])}"


def _count(result: Any, counter: str) -> int:
    found = result.metrics().query(MetricsFilter().with_namespace(__name__).with_name(counter))["counters"]
    return sum(entry.committed for entry in found)
