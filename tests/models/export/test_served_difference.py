"""Models with the weights of an exported model: the same function, and another one with weights of the same shapes."""

import keras
import pytest
import tensorflow as tf

from framecast.models.export.served_difference import describe_served_difference
from framecast.models.spec import AnomalyTask, ClassifyTask, ContextSpec, ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module, serve_only

_CLIP = ClipSpec(frames=FrameRange(min=4, max=6))


class Scaled(keras.Model):
    """Forecasts a learned multiple of the last frame, squared or not."""

    def __init__(self, square):
        super().__init__()
        self._square = square
        self._factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, frames, context_length, steps):
        del context_length
        forecast = tf.repeat(frames[:, -1:], steps, axis=1) * self._factor
        return forecast**2 if self._square else forecast


class MeanLabels(keras.Model):
    """Two logits: the mean of the pixels, and of their opposites."""

    def __init__(self, negative):
        super().__init__()
        self._negative = negative
        self._factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, frames, length, training=False):
        del length, training
        mean = tf.reduce_mean(frames, axis=(1, 2, 3, 4)) * self._factor
        return tf.stack([-mean if self._negative else mean, 2 * mean], axis=1)


@pytest.mark.parametrize(
    ("task", "make", "output"),
    [
        (ForecastTask(horizon=2), Scaled, "forecast"),
        (AnomalyTask(kind="anomaly", context=ContextSpec(min=2)), Scaled, "anomaly_score"),
        (ClassifyTask(kind="classify", classes=2), MeanLabels, "probabilities"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_other_function_of_equal_weights_is_found(tmp_path, task, make, output):
    serve_only(make_module(make(False), task, _CLIP), _CLIP, tmp_path)
    assert describe_served_difference(make_module(make(False), task, _CLIP), str(tmp_path), _CLIP) == ""
    found = describe_served_difference(make_module(make(True), task, _CLIP), str(tmp_path), _CLIP)
    assert found.startswith(f"{output} of random clips differs by "), found
