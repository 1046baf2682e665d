"""The exported model: one `tf.Module` with its signatures, loadable without our code.

Everything that training learned about the data is a constant in the graph: the transform graph, the reference
forecasts, the threshold of an anomaly. Nothing in it is host-only, so that it runs on a GPU in TensorFlow Serving.
What is common to the tasks stands here; what each answers and sums, in `export_forecast`, `export_anomaly` and
`export_labels`.
"""

import abc
import json
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tfx_bsl.tfxio import tensor_representation_util

from framecast.models.export.step import Step
from framecast.models.export.tracing import trace
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec
from framecast.schemas.schema import build_schema


class ExportModule(tf.Module, abc.ABC):
    """A model with its preprocessing and its evaluation.

    Args:
        model: Keras model with the call contract of the task.
        transform: Raw features to what `framecast.models.preprocessing.preprocess` returns: Transform's layer.
        clip: The clip contract.
        task: One of the kinds of `framecast.models.spec.TaskSpec`.
        shortest: Fewest frames of a clip that is served.

    Attributes:
        step: What the signature `step` runs; None for models that forecast no stream.
    """

    step: Step | None = None

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: Any,
        shortest: int,
    ):
        super().__init__()
        # The variables alone: of a Keras model, TensorFlow would export a signature of its own, with one input.
        # A warm start reads them back by this name.
        self._variables = [weight.value for weight in model.weights]
        self.call_model = lambda *args, **kwargs: model(*args, **kwargs)
        # Transform's layer would bring functions of its own too; what it has learned are constants in the graph.
        self.transform = lambda features: transform(features)
        self._clip = clip
        self._task = task
        self.shortest = shortest
        self._parse_spec = tensor_representation_util.CreateTfSequenceExampleParserConfig(
            build_schema(clip, task.label)
        )

    @abc.abstractmethod
    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what is served of clips `(batch, time, height, width, channel)`, in the clips' dtype."""

    @abc.abstractmethod
    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the sums of one clip: `(1, ...)` each, all 0 where `counted` `(1,)` is False.

        `label` is `(1,)`, or `(1, time)`, or None for a task without.
        """

    @abc.abstractmethod
    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the shape and dtype of each sum, without the batch."""

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions to export, by signature name."""
        frames = tf.TensorSpec([None, None, None, None, self._clip.channels], self._clip.dtype, "frames")
        length = tf.TensorSpec([None], tf.int32, "length")
        examples = tf.TensorSpec([None], tf.string, "examples")
        return {
            "serving_default": trace(self.serve, frames, length),
            "serve_examples": trace(self.serve_examples, examples),
            "transform_features": trace(self.transform_features, examples),
            "evaluate": trace(self.evaluate, examples),
        }

    def serve(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for each clip.

        Args:
            frames: `(batch, time, height, width, channel)` in the clips' dtype.
            length: `(batch,)` int32, frames of each clip; what lies past it never matters.

        Returns:
            What `answer` does.

        Raises:
            tf.errors.InvalidArgumentError: When a length is below the shortest legal one or above the frames given.
        """
        shortest = self.shortest
        checks = [
            tf.debugging.assert_equal(
                tf.shape(length)[0], tf.shape(frames)[0], "length: expected one value a clip of frames, received other"
            ),
            tf.debugging.assert_greater_equal(
                length, shortest, f"length: expected at least {shortest} frames, received fewer"
            ),
            tf.debugging.assert_less_equal(
                length, tf.shape(frames)[1], "length: expected at most the number of frames given, received more"
            ),
        ]
        # Nothing may run before the checks: an index out of range further down would answer with its own words.
        with tf.control_dependencies(checks):
            frames, length = tf.identity(frames), tf.identity(length)
        return self.answer(frames, length)

    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for each clip given as a serialized SequenceExample `(batch,)`; see `serve`.

        Clips of one request must share height and width; their lengths may differ.
        """
        frames, length = self.decode(examples)
        return self.serve(frames, length)

    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns facts of the raw clips `(batch,)` to slice on, and the fingerprint of the padded frames.

        The facts, of those that the ingest wrote: each of `features.SLICES`, and the `recording`.
        """
        context, _ = self._parse(examples)
        transformed = self._transform(examples)
        fingerprint = tf.fingerprint(transformed[features.FRAMES])
        return {
            **{name: context[fact] for name, fact in features.SLICES.items() if fact != features.LENGTH},
            "length": transformed[features.FRAME_COUNT],
            "recording": context[features.RECORDING],
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

    def labels(self, examples: tf.Tensor) -> tf.Tensor:
        """Returns the labels of serialized SequenceExamples, `(batch,)`, or `(batch, time)` as long as the longest."""
        transformed = self._transform(examples)
        longest = tf.reduce_max(transformed[features.FRAME_COUNT])
        values = [self._label(serialized) for serialized in transformed[features.LABEL]]
        return tf.stack([value[:longest] if value.shape.rank else value for value in values])

    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns each clip's sums, `(batch, ...)` each; see `framecast.evaluation.metrics.registry`.

        Clip by clip, because clips of one batch may differ in size, and so that memory does not grow with the batch.
        """
        transformed = self._transform(examples)

        def one(args):
            serialized, length, *labels = args
            counted = length >= self._task.min_frames
            frames = self._decode(serialized)
            # A clip too short to be counted is extended, so that the graph has something to run on.
            missing = tf.maximum(self._task.min_frames - tf.shape(frames)[0], 0)
            frames = tf.pad(frames, [[0, missing], [0, 0], [0, 0], [0, 0]])[None]
            length = tf.maximum(length, self._task.min_frames)[None]
            label = self._label(labels[0]) if labels else None
            if label is not None:
                label = tf.pad(label, [[0, missing]]) if label.shape.rank else label
                label = label[None]
            result = self.sums(frames, length, counted[None], label)
            return {name: tf.squeeze(value, 0) for name, value in result.items()}

        length = tf.cast(transformed[features.FRAME_COUNT], tf.int32)
        labels = [] if self._task.label is None else [transformed[features.LABEL]]
        return tf.map_fn(one, [transformed[features.FRAMES], length, *labels], fn_output_signature=self.sums_spec())

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

    def _label(self, serialized: tf.Tensor) -> tf.Tensor:
        spec = self._task.label
        values = tf.io.parse_tensor(serialized, tf.float32 if spec.classes is None else tf.int64)
        return tf.ensure_shape(values, [] if spec.per == "clip" else [None])

    def _decode(self, serialized: tf.Tensor) -> tf.Tensor:
        frames = tf.io.parse_tensor(serialized, tf.dtypes.as_dtype(self._clip.dtype))
        return tf.ensure_shape(frames, [None, None, None, self._clip.channels])


def save(module: ExportModule, directory: str, card: dict[str, Any]) -> None:
    """Writes the SavedModel and `assets.extra/framecast.json`, which says what a client must know of the model."""
    tf.saved_model.save(module, directory, signatures=module.signatures())
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(extra, "framecast.json"), "w") as file:
        file.write(json.dumps(card, indent=1))
