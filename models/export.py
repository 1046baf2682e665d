"""The exported model: one `tf.Module` with four signatures, loadable without our code.

Everything that training learned about the data is a constant in the graph: the transform graph, the reference
forecasts. Nothing in it is host-only, so that it runs on a GPU in TensorFlow Serving.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tfx_bsl.tfxio import tensor_representation_util

from framecast.evaluation import metrics, references, sums
from framecast.models.input_pipeline import normalise
from framecast.models.spec import TaskSpec
from framecast.schemas import features
from framecast.schemas.schema import build_schema
from framecast.schemas.spec import ClipSpec


@dataclasses.dataclass(frozen=True)
class ReferenceConstants:
    """What the reference forecasts learned from the train split.

    Args:
        climatology: The mean training frame `(height, width, channel)`, or `(channel,)` where sizes differ.
        blur_sigmas: Gaussian sigma in pixels of the blurred persistence at each lead time.
    """

    climatology: np.ndarray
    blur_sigmas: list[float]


class ForecastModule(tf.Module):
    """The forecaster with its preprocessing and the evaluation against reference forecasts.

    Args:
        forecaster: Keras model with the call contract of `framecast.models.forecaster.Forecaster`.
        transform: Raw features to what `framecast.models.preprocessing.preprocess` returns: Transform's layer.
        clip: The clip contract.
        task: Horizon and shortest context.
        constants: What the reference forecasts learned.
    """

    def __init__(
        self,
        forecaster: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: TaskSpec,
        constants: ReferenceConstants,
    ):
        super().__init__()
        self.forecaster = forecaster
        self.transform = transform
        self._clip = clip
        self._task = task
        self._constants = constants
        self._parse_spec = tensor_representation_util.CreateTfSequenceExampleParserConfig(build_schema(clip))

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions to export, by signature name."""
        frames = tf.TensorSpec([None, None, None, None, self._clip.channels], self._clip.dtype, "frames")
        length = tf.TensorSpec([None], tf.int32, "length")
        examples = tf.TensorSpec([None], tf.string, "examples")
        return {
            "serving_default": tf.function(self.serve).get_concrete_function(frames, length),
            "serve_examples": tf.function(self.serve_examples).get_concrete_function(examples),
            "transform_features": tf.function(self.transform_features).get_concrete_function(examples),
            "evaluate": tf.function(self.evaluate).get_concrete_function(examples),
        }

    def serve(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Forecasts the frames after each clip.

        Args:
            frames: `(batch, time, height, width, channel)` in the clips' dtype, every given frame is context.
            length: `(batch,)` int32, frames of each clip; what lies past it never matters.

        Returns:
            `forecast`: `(batch, horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: When a length is below the shortest context or above the frames given.
        """
        shortest = self._task.context.min
        checks = [
            tf.debugging.assert_equal(
                tf.shape(length)[0], tf.shape(frames)[0], "length: expected one value a clip of frames, received other"
            ),
            tf.debugging.assert_greater_equal(
                length, shortest, f"length: expected at least {shortest} frames of context, received fewer"
            ),
            tf.debugging.assert_less_equal(
                length, tf.shape(frames)[1], "length: expected at most the number of frames given, received more"
            ),
        ]
        # Nothing may run before the checks: an index out of range further down would answer with its own words.
        with tf.control_dependencies(checks):
            frames, length = tf.identity(frames), tf.identity(length)
        pixels, _ = normalise(frames, length, self._clip)
        return {"forecast": self._forecast(pixels, length)}

    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Forecasts the frames after each clip given as a serialized SequenceExample `(batch,)`; see `serve`.

        Clips of one request must share height and width; their lengths may differ.
        """
        frames, length = self.decode(examples)
        return self.serve(frames, length)

    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns facts of the raw clips `(batch,)` to slice on, and the fingerprint of the padded frames."""
        context, _ = self._parse(examples)
        transformed = self._transform(examples)
        fingerprint = tf.fingerprint(transformed[features.FRAMES])
        return {
            "length": transformed[features.FRAME_COUNT],
            "content": context[features.CONTENT],
            "fingerprint": tf.bitcast(fingerprint, tf.int64),
        }

    def decode(self, examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs Transform's graph on serialized SequenceExamples `(batch,)` of one height and width.

        Returns:
            `(frames, length)`: `(batch, time, height, width, channel)` in the clips' dtype, as long as the longest
            clip, and `(batch,)` int32.
        """
        transformed = self._transform(examples)
        length = tf.cast(transformed[features.FRAME_COUNT], tf.int32)
        longest = tf.reduce_max(length)
        shape = tf.shape(self._decode(transformed[features.FRAMES][0]))[1:]

        def same_size(serialized):
            frames = self._decode(serialized)
            tf.debugging.assert_equal(
                tf.shape(frames)[1:], shape, "examples: expected clips of one height and width in a request"
            )
            frames = frames[:longest]
            return tf.pad(frames, [[0, longest - tf.shape(frames)[0]], [0, 0], [0, 0], [0, 0]])

        spec = tf.TensorSpec([None, None, None, self._clip.channels], self._clip.dtype)
        return tf.map_fn(same_size, transformed[features.FRAMES], fn_output_signature=spec), length

    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns each clip's sums over its last `horizon` frames, `(batch, horizon)` each; see `evaluation.sums`.

        Clip by clip, because clips of one batch may differ in size, and so that memory does not grow with the batch.
        """
        transformed = self._transform(examples)

        def one(args):
            serialized, length = args
            counted = length >= self._task.min_frames
            frames = self._decode(serialized)
            # A clip too short to be counted is extended, so that the graph has something to run on.
            missing = tf.maximum(self._task.min_frames - tf.shape(frames)[0], 0)
            frames = tf.pad(frames, [[0, missing], [0, 0], [0, 0], [0, 0]])[None]
            length = tf.maximum(length, self._task.min_frames)[None]
            result = self._sums(frames, length, counted[None])
            return {name: tf.squeeze(value, 0) for name, value in result.items()}

        spec = {name: tf.TensorSpec([self._task.horizon], tf.float32) for name in metrics.OUTPUTS}
        length = tf.cast(transformed[features.FRAME_COUNT], tf.int32)
        return tf.map_fn(one, (transformed[features.FRAMES], length), fn_output_signature=spec)

    def _sums(self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
        horizon = self._task.horizon
        pixels, known = normalise(frames, length, self._clip)
        context = length - horizon
        future = context[:, None] + tf.range(horizon)[None]
        forecasts = references.reference_forecasts(
            pixels,
            known,
            context,
            horizon,
            climatology=tf.constant(self._constants.climatology, tf.float32),
            blur_sigmas=self._constants.blur_sigmas,
        )
        forecasts = {"model": self._forecast(pixels, context), **forecasts}
        truth = tf.gather(pixels, future, batch_dims=1)
        return sums.forecast_sums(truth, tf.gather(known, future, batch_dims=1), counted, forecasts)

    def _forecast(self, pixels: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        horizon = self._task.horizon
        # Frames past every context are never read: leaving them out saves their steps.
        pixels = pixels[:, : tf.reduce_max(context)]
        steps = tf.shape(pixels)[1] + horizon - 1
        predictions = self.forecaster(pixels, context, steps=steps)
        lead = context[:, None] - 1 + tf.range(horizon)[None]
        forecast = tf.clip_by_value(tf.gather(predictions, lead, batch_dims=1), 0.0, 1.0)
        # The horizon in the static shape tells clients, through GetModelMetadata, what to expect.
        return tf.ensure_shape(forecast, [None, horizon, None, None, self._clip.channels])

    def _parse(self, examples: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        context, sequence = self._parse_spec
        parsed_context, parsed_sequence, _ = tf.io.parse_sequence_example(
            examples, context_features=context, sequence_features=sequence
        )
        return parsed_context, parsed_sequence

    def _transform(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        context, sequence = self._parse(examples)
        # Decoding has no GPU kernels; pinned, the placer need not guess.
        with tf.device("/CPU:0"):
            return self.transform({**context, **sequence})

    def _decode(self, serialized: tf.Tensor) -> tf.Tensor:
        frames = tf.io.parse_tensor(serialized, tf.dtypes.as_dtype(self._clip.dtype))
        return tf.ensure_shape(frames, [None, None, None, self._clip.channels])


def save(module: ForecastModule, directory: str, card: dict[str, Any]) -> None:
    """Writes the SavedModel and `assets.extra/framecast.json`, which says what a client must know of the model."""
    tf.saved_model.save(module, directory, signatures=module.signatures())
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(extra, "framecast.json"), "w") as file:
        file.write(json.dumps(card, indent=1))
