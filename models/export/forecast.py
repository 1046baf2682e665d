"""Exports a forecast model: its forecast, and the sums of its errors and of the baselines' errors."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import forecast as forecast_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.sums.forecast import forecast_sums
from framecast.models.export.module import ExportModule
from framecast.models.export.step import Step, can_stream
from framecast.models.spec import ForecastTask
from framecast.models.tensors import normalise
from framecast.schemas.clip_spec import ClipSpec


@dataclasses.dataclass(frozen=True)
class ReferenceConstants:
    """Constants of the baselines, learned from the train split.

    Args:
        climatology: Mean training frame, `(height, width, channel)`, or `(channel,)` if sizes differ.
        blur_sigmas: Gaussian sigma in pixels of the blurred persistence at each lead time.
    """

    climatology: np.ndarray
    blur_sigmas: list[float]


class ForecastModule(ExportModule):
    """Exports a forecaster.

    Args:
        model: Keras model with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`. If it
            also has the methods `initial_states` and `forecast_next`, the signature `step` is exported.
        transform: As for `ExportModule`.
        clip: The clip contract.
        task: Horizon and shortest context.
        constants: Constants of the baselines.
        events: The events that `evaluate` counts; none by default.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: ForecastTask,
        constants: ReferenceConstants,
        events: EventsSpec | None = None,
    ):
        super().__init__(model, transform, clip, task)
        if can_stream(model):
            self.step = Step(model, clip, task)
        self._constants = constants
        self._channels = task.forecast_channels(clip.channels)
        self._thresholds = events.in_pixels(clip) if events else ()
        self._scales = events.scales if events else ()

    def signatures(self) -> dict[str, Any]:
        """Returns the signatures of every task, and `step` if the model can forecast a stream."""
        signatures = super().signatures()
        if self.step is not None:
            signatures["step"] = self.step.signature()
        return signatures

    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `forecast` from all frames.

        It is `(batch, horizon, height, width, channel)` float32 in [0, 1], with the task's `channels`.
        """
        pixels, _ = normalise(frames, length, self._clip)
        return {"forecast": self._forecast(pixels, length)}

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the specs of `framecast.evaluation.sums.forecast.forecast_sums`, per clip."""
        axes: dict[str, tuple[int, ...]] = dict.fromkeys(forecast_metrics.OUTPUTS, ())
        axes |= spectrum_metrics.outputs()
        if self._thresholds:
            axes |= event_metrics.outputs(len(self._thresholds), len(self._scales))
        return {name: tf.TensorSpec([self._task.horizon, *own], tf.float32) for name, own in axes.items()}

    def sums(
        self,
        frames: tf.Tensor,
        length: tf.Tensor,
        counted: tf.Tensor,
        label: tf.Tensor | None,  # noqa: ARG002 - forecasts have no labels
    ) -> dict[str, tf.Tensor]:
        """Returns the clip's sums over its last `horizon` frames."""
        horizon = self._task.horizon
        pixels, known = normalise(frames, length, self._clip)
        context = length - horizon
        future = context[:, None] + tf.range(horizon)[None]
        model = self._forecast(pixels, context)
        pixels, known = (tf.gather(values, self._channels, axis=-1) for values in (pixels, known))
        forecasts = in_graph.reference_forecasts(
            pixels,
            known,
            context,
            horizon,
            climatology=tf.constant(self._constants.climatology, tf.float32),
            blur_sigmas=self._constants.blur_sigmas,
        )
        forecasts = {"model": model, **forecasts}
        truth = tf.gather(pixels, future, batch_dims=1)
        known = tf.gather(known, future, batch_dims=1)
        return forecast_sums(truth, known, counted, forecasts, self._thresholds, self._scales)

    def _forecast(self, pixels: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        horizon = self._task.horizon
        # Frames after every context are never read, so their steps are skipped.
        pixels = pixels[:, : tf.reduce_max(context)]
        steps = tf.shape(pixels)[1] + horizon - 1
        predictions = self.call_model(pixels, context, steps=steps)
        lead = context[:, None] - 1 + tf.range(horizon)[None]
        forecast = tf.clip_by_value(tf.gather(predictions, lead, batch_dims=1), 0.0, 1.0)
        # GetModelMetadata shows the static shape, so clients can read the horizon.
        return tf.ensure_shape(forecast, [None, horizon, None, None, len(self._channels)])
