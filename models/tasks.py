"""Defines each kind of task once: objective, images in training, and the exported module.

    task = define_task(config.task)
    task.spec.min_frames, task.metrics.headline
    objective = task.make_objective(config.train)
    module = task.make_module(model, transform, clip, task.learn_constants(model, pipeline, files))

The settings, and the facts that need no TensorFlow, are in `framecast.models.spec`; the metrics in
`framecast.evaluation.metrics.registry`.
"""

import abc
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics.registry import TaskMetrics
from framecast.evaluation.metrics.sums import Sums
from framecast.models.export.anomaly import AnomalyModule, Thresholds, calibrate
from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.export.labels import ClassifyModule, RegressModule
from framecast.models.export.module import ExportModule
from framecast.models.export.served_error import describe_gap
from framecast.models.export.val_metric import ValMetric
from framecast.models.training.input_pipeline import InputPipeline, SplitFiles
from framecast.models.training.objectives import LabelObjective, NextFrameObjective, Objective
from framecast.models.training.tensorboard_images import ForecastImages
from framecast.schemas.clip_spec import ClipSpec

Transform = Callable[[dict[str, Any]], dict[str, tf.Tensor]]

# Candidate sigmas in pixels of the blurred persistence baseline.
_BLURS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
# Clips that the sigmas are fitted on: enough for one number per lead time, even of large data sets.
_BLUR_CLIPS = 256


class TaskDefinition(abc.ABC):
    """What training and export do for one kind of task.

    Args:
        spec: The task's section of the configuration, `framecast.models.spec.TaskSpec`.
        events: The events that `evaluate` counts; only forecasts have any.

    Attributes:
        learns_from_weights: Whether the constants depend on the model's weights, not only on the data.
    """

    learns_from_weights = False

    def __init__(self, spec: Any, events: EventsSpec | None = None):
        self.spec = spec
        self._events = events

    @property
    def metrics(self) -> TaskMetrics:
        """Metrics of the task."""
        return self.spec.metrics

    @abc.abstractmethod
    def make_objective(self, train: Any) -> Objective:
        """Returns the training loss.

        Args:
            train: A `framecast.models.spec.TrainSpec`.
        """

    def make_images(
        self, model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], clip: ClipSpec
    ) -> ForecastImages | None:
        """Returns what draws the model's forecasts for TensorBoard; None if the model forecasts nothing.

        Args:
            model: The model in training.
            batches: Batches of the val split.
            clip: The clip contract.
        """
        return ForecastImages(model, batches, self.spec.horizon, clip, self.spec.forecast_channels(clip.channels))

    def make_val_metric(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> ValMetric:
        """Returns what computes the metric `train.best_by`.

        Args:
            model: The model to export, with the weights of the model in training.
            pipeline: Reads the clips.
            files: The constants are learned from them, and the metric is over the val split.
        """

        def make_module() -> ExportModule:
            # The clips are transformed already.
            return self.make_module(model, dict, pipeline.clip, self.learn_constants(model, pipeline, files))

        empty, clips = Sums(task=self.spec.kind, events=self._events), pipeline.scored(files.val)
        return ValMetric(pipeline.train.best_by, model, make_module, clips, empty, self.learns_from_weights)

    def prepare(self, model: keras.Model, pipeline: InputPipeline, train_files: Sequence[str]) -> None:
        """Checks that a built model can be trained as configured, and sets what it takes from the train split.

        Args:
            model: A built model.
            pipeline: Reads the clips.
            train_files: Transformed clips of the train split.

        Raises:
            ValueError: If the model lacks what a setting of `train` needs.
        """
        sampling = pipeline.train.sampling
        if sampling != "none" and "observed" not in inspect.signature(model.call).parameters:
            raise ValueError(
                f"train.sampling: expected none, because the call of {type(model).__name__} has no argument observed, "
                f"received {sampling}"
            )

    @abc.abstractmethod
    def learn_constants(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> Any:
        """Learns the constants of the exported module from the train or val split."""

    def describe_gap(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> str:
        """Returns how far the error on val is from the served model's; empty if they agree."""
        return ""

    @abc.abstractmethod
    def neutral_constants(self, clip: ClipSpec) -> Any:
        """Returns constants for a module that is exported without training, such as by `framecast check`."""

    @abc.abstractmethod
    def make_module(self, model: keras.Model, transform: Transform, clip: ClipSpec, constants: Any) -> ExportModule:
        """Returns the module to export.

        Args:
            model: A trained Keras model.
            transform: See `framecast.models.export.module.ExportModule`.
            clip: The clip contract.
            constants: From `learn_constants` or `neutral_constants`.
        """

    @abc.abstractmethod
    def describe(self, constants: Any) -> dict[str, Any]:
        """Returns the task's entries in the exported model's `framecast.json`."""


class ForecastDefinition(TaskDefinition):
    """Forecasts the next frames."""

    def make_objective(self, train: Any) -> Objective:
        return NextFrameObjective(self.spec.horizon, train, self.spec.channels)

    def describe_gap(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> str:
        return describe_gap(model, pipeline.whole_batches(files.val), self.spec, pipeline.clip)

    def learn_constants(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> ReferenceConstants:
        clips = itertools.islice(self._forecast_channels(pipeline, files.train), _BLUR_CLIPS)
        return ReferenceConstants(
            climatology=in_graph.fit_climatology(self._forecast_channels(pipeline, files.train, short=True)),
            blur_sigmas=in_graph.fit_blur(clips, self.spec.horizon, self.spec.context.min, _BLURS),
        )

    def neutral_constants(self, clip: ClipSpec) -> ReferenceConstants:
        channels = len(self.spec.forecast_channels(clip.channels))
        return ReferenceConstants(np.zeros(channels, np.float32), [0.0] * self.spec.horizon)

    def make_module(
        self, model: keras.Model, transform: Transform, clip: ClipSpec, constants: ReferenceConstants
    ) -> ExportModule:
        return ForecastModule(model, transform, clip, self.spec, constants, self._events)

    def describe(self, constants: ReferenceConstants) -> dict[str, Any]:
        return {"horizon": self.spec.horizon, "forecast_channels": self.spec.channels}

    def _forecast_channels(
        self, pipeline: InputPipeline, files: Sequence[str], short: bool = False
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Yields whole clips with the channels that are forecast."""
        channels = self.spec.forecast_channels(pipeline.clip.channels)
        for batch in pipeline.whole_batches(files, short):
            selected = {name: tf.gather(batch[name], channels, axis=-1) for name in ("frames", "known")}
            yield {**batch, **selected}


class AnomalyDefinition(TaskDefinition):
    """Scores frames by their distance from the forecast made from all earlier frames, which is what is trained."""

    learns_from_weights = True

    def make_objective(self, train: Any) -> Objective:
        return NextFrameObjective(0, train)

    def learn_constants(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> Thresholds:
        return calibrate(model, pipeline.whole_batches(files.val), self.spec)

    def neutral_constants(self, clip: ClipSpec) -> Thresholds:
        return Thresholds(1.0, 1.0)

    def make_module(
        self, model: keras.Model, transform: Transform, clip: ClipSpec, constants: Thresholds
    ) -> ExportModule:
        return AnomalyModule(model, transform, clip, self.spec, constants)

    def describe(self, constants: Thresholds) -> dict[str, Any]:
        return {"thresholds": dataclasses.asdict(constants)}


class _LabelDefinition(TaskDefinition):
    module: type[ClassifyModule] | type[RegressModule]

    def make_objective(self, train: Any) -> Objective:
        return LabelObjective(self.spec, train)

    def prepare(self, model: keras.Model, pipeline: InputPipeline, train_files: Sequence[str]) -> None:
        """Does nothing."""

    def make_images(self, model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], clip: ClipSpec) -> None:
        return None

    def learn_constants(self, model: keras.Model, pipeline: InputPipeline, files: SplitFiles) -> None:
        return None

    def neutral_constants(self, clip: ClipSpec) -> None:
        return None

    def make_module(self, model: keras.Model, transform: Transform, clip: ClipSpec, constants: None) -> ExportModule:
        return self.module(model, transform, clip, self.spec)

    def describe(self, constants: None) -> dict[str, Any]:
        return {"label": self.spec.label.model_dump(mode="json")}


class ClassifyDefinition(_LabelDefinition):
    """Assigns a class to every clip or every frame."""

    module = ClassifyModule


class RegressDefinition(_LabelDefinition):
    """Estimates a number for every clip or every frame."""

    module = RegressModule

    def prepare(self, model: keras.Model, pipeline: InputPipeline, train_files: Sequence[str]) -> None:
        """Sets the mean and the spread of the labels, so that the model learns standardised numbers."""
        numbers = self.spec.numbers
        mean, spread = measure_numbers(
            (clip["label"] if self.spec.per == "clip" else clip["label"][: clip["length"]]).numpy().reshape(-1, numbers)
            for clip in pipeline.whole(train_files)
        )
        model.mean.assign(mean)
        model.spread.assign(spread)


def measure_numbers(labels: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the standard deviation of numbers, `(numbers,)` float32; the latter is 1 if all are equal.

    Args:
        labels: The labels of each clip, `(labels, numbers)`.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for one in labels:
        # Chan et al. 1979: sums of squares would cancel for numbers far from 0.
        values = np.asarray(one, np.float64)
        own, total = values.mean(axis=0), count + len(values)
        squares = squares + np.square(values - own).sum(axis=0) + np.square(own - mean) * count * len(values) / total
        mean = mean + (own - mean) * len(values) / total
        count = total
    spread = np.sqrt(squares / max(count, 1))
    return mean.astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32)


_DEFINITIONS: dict[str, type[TaskDefinition]] = {
    "forecast": ForecastDefinition,
    "anomaly": AnomalyDefinition,
    "classify": ClassifyDefinition,
    "regress": RegressDefinition,
}


def define_task(spec: Any, events: EventsSpec | None = None) -> TaskDefinition:
    """Returns the definition of a task of `framecast.models.spec.TaskSpec`; see `TaskDefinition`."""
    return _DEFINITIONS[spec.kind](spec, events)
