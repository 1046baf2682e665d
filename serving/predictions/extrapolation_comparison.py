"""Compares forecasters with optical-flow extrapolation, over the pixels that extrapolation reaches.

    comparison = compare({"model": tf.saved_model.load(folder)}, examples, spec, task, events)
    comparison.sums["model"].compute("skill")  # Against extrapolation.

pySTEPS extrapolates outside of TensorFlow, so extrapolation is no baseline of the `evaluate` signature.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.clips.codec import decode_frames
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import figures as metric_figures
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.sums.forecast import forecast_sums
from framecast.models.spec import ForecastTask
from framecast.models.tensors import normalise
from framecast.schemas.clip_spec import ClipSpec

CLIPS = 256  # A sample, because extrapolating a clip costs more than forecasting it.


@dataclasses.dataclass(frozen=True)
class ExtrapolationComparison:
    """Metric sums of forecasters and of extrapolation.

    Args:
        clips: Number of clips.
        sums: Sums by forecaster (or `extrapolation.NAME`), over the known pixels that extrapolation reaches.
            Extrapolation takes the place of all baselines in them.
    """

    clips: int
    sums: Mapping[str, Sums]

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Returns the metrics of each forecaster by `registry.key`; None for a value that is not finite.

        Skill is against extrapolation; extrapolation itself has no skill.
        """
        figures: dict[str, dict[str, float | None]] = {}
        for forecaster, sums in self.sums.items():
            found = sums.figures()
            names = list(metric_figures.overall(found))
            own = {name for name in names if metric_figures.base_metric(name, names) is None}
            if forecaster == extrapolation.NAME:
                own.discard("skill")
            figures[forecaster] = {
                key: value if math.isfinite(value) else None
                for key, value in found.items()
                if registry.parse_key(key)[0] in own
            }
        return figures


def compare(
    models: Mapping[str, Any],
    examples: Iterable[tf.train.SequenceExample],
    spec: ClipSpec,
    task: ForecastTask,
    events: EventsSpec | None,
) -> ExtrapolationComparison:
    """Forecasts the last `task.horizon` frames of the first `CLIPS` clips that are long enough.

    Args:
        models: Loaded SavedModels of forecasters for `task`, by forecaster.
        examples: Validated clips; read only as far as needed.
        spec: The clip contract.
        task: The forecast task.
        events: Events to count; None for no events.
    """
    thresholds, scales = (events.in_pixels(spec), events.scales) if events else ((), ())
    frames_spec = tf.TensorSpec([None] * 5, tf.float32)

    @tf.function(input_signature=[frames_spec, tf.TensorSpec([None] * 5, tf.bool), frames_spec, frames_spec])
    def sums_of(truth, known, forecast, moved):
        forecasts = {"model": forecast, **dict.fromkeys(REFERENCES, moved)}
        return forecast_sums(truth, known, tf.constant([True]), forecasts, thresholds, scales)

    sums = {name: Sums(events=events) for name in (*models, extrapolation.NAME)}
    channels = task.forecast_channels(spec.channels)
    clips = 0
    for example in examples:
        frames = decode_frames(example, spec)
        if not task.is_long_enough(len(frames)):
            continue
        forecasts = {name: _forecast(model, frames[: -task.horizon]) for name, model in models.items()}
        pixels, known = (values.numpy()[..., channels] for values in normalise(frames[None], [len(frames)], spec))
        context, seen = pixels[0, : -task.horizon], known[0, : -task.horizon]
        moved, reached = (values[None] for values in extrapolation.extrapolate(context, seen, task.horizon))
        forecasts[extrapolation.NAME] = moved
        for name, forecast in forecasts.items():
            outputs = sums_of(pixels[:, -task.horizon :], known[:, -task.horizon :] & reached, forecast, moved)
            sums[name] = sums[name].update(outputs)
        clips += 1
        if clips == CLIPS:
            break
    return ExtrapolationComparison(clips, sums)


def _forecast(model: Any, context: np.ndarray) -> tf.Tensor:
    """Returns `(1, horizon, height, width, channel)`."""
    outputs = model.signatures["serving_default"](
        frames=tf.constant(context[None]), length=tf.constant([len(context)], tf.int32)
    )
    return outputs["forecast"]
