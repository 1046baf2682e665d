"""Computes a metric on the val split, as the Evaluator computes it for the exported model.

metric = define_task(spec, events).make_val_metric(exported, pipeline, files)
metric.key                      # "val_csi_2"
value = metric(model.get_weights())
metric.cost(value)              # Lower is better.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.sums import Sums
from framecast.models.export.module import ExportModule


class ValMetric:
    """A metric of the exported module over clips, which are read one by one, as in the signature `evaluate`.

    Args:
        name: The metric.
        model: The model to export, which is not the one in training: replicas and precision may differ.
        make_module: Learns the constants and returns the module of `model`.
        clips: Clips that are long enough, from `framecast.models.training.input_pipeline.InputPipeline.scored`.
        empty: Sums of no clip.
        follows_weights: Whether the module's constants depend on the weights.
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        make_module: Callable[[], ExportModule],
        clips: tf.data.Dataset,
        empty: Sums,
        follows_weights: bool,
    ):
        self.name = name
        self._model = model
        self._make_module = make_module
        self._clips = clips
        self._empty = empty
        self._follows_weights = follows_weights
        self._clip_sums: Any = None

    @property
    def key(self) -> str:
        """Tag of the metric in logs."""
        return f"val_{self.name}"

    def cost(self, value: float) -> float:
        """Returns a number that is lower for a better value."""
        return registry.cost(self.name, value)

    def __call__(self, weights: Sequence[np.ndarray]) -> float:
        """Returns the metric of the model with `weights`; nan where it is undefined."""
        self._model.set_weights(weights)
        if self._clip_sums is None or self._follows_weights:
            self._clip_sums = self._trace(self._make_module())
        sums = self._empty
        for clip in self._clips:
            sums = sums.update({name: value.numpy() for name, value in self._clip_sums(clip).items()})
        return sums.compute(self.name)

    def _trace(self, module: ExportModule) -> Any:
        def sums(clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            label = clip["label"][None] if "label" in clip else None
            return module.sums(clip["frames"][None], clip["length"][None], tf.constant([True]), label)

        return tf.function(sums, input_signature=[self._clips.element_spec], autograph=False)
