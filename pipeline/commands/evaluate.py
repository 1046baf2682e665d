"""Implements `framecast evaluate`: metrics, slices and thresholds of an exported model on any clips.

evaluation = evaluate(find_model("work/serving/radar"), ["day3/clips.tfrecord.gz"])
evaluation.verdict.figures["mse/lead_3"]
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
from framecast.clips.declared import first_clips, not_compared
from framecast.clips.origin import source_names, write_origin
from framecast.clips.validation import read_clips
from framecast.components.batches import few_clips
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.gate.thresholds import build_eval_config
from framecast.evaluation.gate.verdict import Figures, Intervals, Verdict, read_intervals, read_verdict
from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.spec import EvaluateSpec
from framecast.pipeline.tables import cell, columns
from framecast.schemas import features
from framecast.serving.exported_model import ExportedModel
from framecast.serving.predictions.extrapolation_comparison import ExtrapolationComparison, compare

_COUNTED, _SHORT = "clips", "left_out"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Args:
        model: The evaluated model.
        against: The model that it is compared with; None if there is none.
        clips: Number of evaluated clips.
        left_out: Number of clips too short for the model's task.
        gated: Whether thresholds were given; the error must be finite in any case.
        verdict: Figures, slices and missed thresholds; the figures of `against` are those of the serving model.
        intervals: Confidence intervals of the figures, over the recordings (`clip/media_id`).
        extrapolation: Comparison with extrapolation; None for other tasks, and without pySTEPS.
        not_compared: What the clips declare and the model does not know; see `framecast.clips.declared.not_compared`.
    """

    model: ExportedModel
    against: ExportedModel | None
    clips: int
    left_out: int
    gated: bool
    verdict: Verdict
    intervals: Intervals
    extrapolation: ExtrapolationComparison | None
    not_compared: list[str]

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values."""
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
            "not_compared": self.not_compared,
            "extrapolation": self.extrapolation
            and {"clips": self.extrapolation.clips, "figures": self.extrapolation.figures()},
        }

    def describe(self) -> str:
        """Formats the result for the terminal."""
        lines = [f"model: {self.model.folder}"]
        if self.against:
            lines.append(f"against: {self.against.folder}")
        lines.append(f"{self.clips} clips evaluated, {self.left_out} too short left out")
        lines += [f"not compared, because the model's card does not have it: {one}" for one in self.not_compared]
        lines.append("")
        figures = {"model": self.verdict.figures} | ({"against": self.verdict.serving} if self.against else {})
        forecast = self.model.task.is_forecast
        lines.append(columns(self._comparison(figures, REFERENCES if forecast else ())))
        if forecast:
            lines.append("skill: against the best baseline at each lead time; in a baseline's column, against it alone")
        lines += ["", columns(self._intervals(names=self.model.task.metrics.headline))]
        lines += ["", columns(self._slices())]
        if self.extrapolation:
            lines += ["", f"over the pixels that extrapolation reaches, {self.extrapolation.clips} clips:"]
            lines.append(columns(self._comparison(self.extrapolation.figures())))
        elif forecast:
            lines += ["", extrapolation.MISSING]
        if self.gated or not self.verdict.blessed:
            misses = [miss.describe() for miss in self.verdict.misses]
            lines += ["", f"thresholds: {'; '.join(misses) or 'all met'}"]
        return "\n".join(lines)

    def _comparison(self, figures: Mapping[str, Figures], references: Sequence[str] = ()) -> list[list[str]]:
        """Returns the rows of a table: metrics, the main ones also by lead time. Columns: models, then baselines.

        The model's figures include those of the baselines, under `METRIC_BASELINE`.
        """
        (of_model, *_) = figures.values()
        names = list(metric_figures.overall(of_model))
        rows = [["", *figures, *(reference.replace("_", " ") for reference in references)]]
        for name in names:
            if metric_figures.base_metric(name, names):
                continue
            main = name in self.model.task.metrics.headline
            for lead in (None, *(range(1, self.model.horizon + 1) if main else ())):
                key = registry.key(name, lead)
                values = [cell(found[key]) if key in found else "" for found in figures.values()]
                others = [registry.key(f"{name}_{reference}", lead) for reference in references]
                baselines = [cell(of_model[other]) if other in of_model else "" for other in others]
                rows.append([name if lead is None else f"  lead {lead}", *values, *baselines])
        return rows

    def _intervals(self, names: Sequence[str]) -> list[list[str]]:
        """Returns a table of the intervals of the main figures, and of their differences from the other model."""
        title = f"95 % interval over {self.intervals.recordings} recordings"
        rows = [[title, "model", *(["model - against"] if self.against else [])]]
        for name in names:
            found = [self.intervals.figures] + ([self.intervals.differences] if self.against else [])
            rows.append([name, *(_format_interval(own.get(name)) for own in found)])
        return rows

    def _slices(self) -> list[list[str]]:
        names = self.model.task.metrics.headline
        slices = self.verdict.slices.items()
        return [["slice", *names], *([name, *(cell(own.get(metric)) for metric in names)] for name, own in slices)]


def evaluate(
    model: ExportedModel,
    files: Sequence[str],
    against: ExportedModel | None = None,
    spec: EvaluateSpec | None = None,
    beam_flags: Sequence[str] = (f"--runner={BEAM_RUNNER}",),
) -> Evaluation:
    """Evaluates a model as the pipeline's Evaluator does, with one batch of clips in memory at a time.

    Args:
        model: The model.
        files: TFRecords of clips, plain or gzip.
        against: Another model of the same contract, see `comparable.check_comparable`.
        spec: Thresholds, see `comparable.read_config`; by default the error must be finite.
        beam_flags: Flags of the Beam pipeline; by default one local process. Workers must see the model, the files and
            the temporary directory under the same paths.

    Raises:
        ValueError: If a clip breaks the model's contract or a file is damaged, naming file and record; or if no clip
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
    forecasts = model.task.is_forecast
    comparison = _compare_extrapolation(model, against, files) if forecasts and extrapolation.available() else None
    unknown = next((not_compared(example, model.clip) for _, example in first_clips(files)), [])
    return Evaluation(
        model, against, counts[_COUNTED], counts[_SHORT], spec is not None, verdict, intervals, comparison, unknown
    )


def _run_tfma(
    model: ExportedModel,
    against: ExportedModel | None,
    files: Sequence[str],
    spec: EvaluateSpec,
    folder: str,
    beam_flags: Sequence[str],
) -> dict[str, int]:
    """Writes the results to a folder as TFX's Evaluator does; returns the number of clips by counter."""
    config = tfma.utils.update_eval_config_with_defaults(
        build_eval_config(spec, horizon=model.horizon, task=model.task.kind),
        has_baseline=against is not None,
        rubber_stamp=True,  # Thresholds against another model are ignored without one.
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


def _compare_extrapolation(
    model: ExportedModel, against: ExportedModel | None, files: Sequence[str]
) -> ExtrapolationComparison:
    exported = {"model": model} | ({"against": against} if against else {})
    return compare(
        {name: tf.saved_model.load(own.folder) for name, own in exported.items()},
        itertools.chain.from_iterable(read_clips(path, model.clip) for path in files),
        model.clip,
        model.task,
        model.events,
    )


class _CheckedClips(beam.DoFn):
    """Yields the validated clips of a file with the facts to slice on, as ClipExampleGen writes them."""

    def __init__(self, model: ExportedModel, sources: Mapping[str, str]):
        self._sources = sources
        self._spec = model.clip
        self._label = model.task.label
        self._task = model.task

    def process(self, path: str) -> Iterator[bytes]:
        for example in read_clips(path, self._spec, self._label):
            long_enough = self._task.is_long_enough(example.context.feature[features.LENGTH].int64_list.value[0])
            beam.metrics.Metrics.counter(__name__, _COUNTED if long_enough else _SHORT).inc()
            # A slice that has only short clips would have no figures.
            if long_enough:
                (recording,) = example.context.feature[features.MEDIA_ID].bytes_list.value
                write_origin(example, self._sources[path], recording)
                yield example.SerializeToString(deterministic=True)


def _format_interval(interval: tuple[float, float] | None) -> str:
    return "none" if interval is None else f"{cell(interval[0])} to {cell(interval[1])}"


def _count(result: Any, counter: str) -> int:
    found = result.metrics().query(MetricsFilter().with_namespace(__name__).with_name(counter))["counters"]
    return sum(entry.committed for entry in found)
