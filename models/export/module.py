"""Exports a model as one `tf.Module` with signatures, which loads without Framecast.

Everything that training learned about the data is a constant in the graph: the transform graph, the baselines, the
anomaly thresholds. No operation is host-only, so the model runs on a GPU in TensorFlow Serving. `ExportModule` is what
the tasks share; the modules `forecast`, `anomaly` and `labels` define the outputs and sums of each task.
"""

import abc
import json
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tfx_bsl.tfxio import tensor_representation_util

from framecast.models import tensors
from framecast.models.export.step import Step
from framecast.models.export.tracing import trace
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec
from framecast.schemas.schema import build_schema


def example_parser(clip: ClipSpec, label: LabelSpec | None) -> Callable[[tf.Tensor], tuple[dict[str, Any], ...]]:
    """Returns the function that parses serialized SequenceExamples `(batch,)` to context and sequence features."""
    context, sequence = tensor_representation_util.CreateTfSequenceExampleParserConfig(build_schema(clip, label))

    def parse(examples: tf.Tensor) -> tuple[dict[str, Any], ...]:
        parsed = tf.io.parse_sequence_example(examples, context_features=context, sequence_features=sequence)
        return parsed[0], parsed[1]

    return parse


class ExportModule(tf.Module, abc.ABC):
    """A model with its preprocessing and its evaluation.

    Args:
        model: Keras model with the call contract of the task.
        transform: Maps raw features to the outputs of `framecast.models.preprocessing.preprocess`: Transform's layer.
        clip: The clip contract.
        task: A task of `framecast.models.spec.TaskSpec`.

    Attributes:
        step: The function of the signature `step`; None for models that cannot forecast a stream.
    """

    step: Step | None = None

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: Any,
    ):
        super().__init__()
        # Only the variables, because TensorFlow would export a Keras model with an extra signature. A warm start reads
        # this attribute.
        self._variables = [weight.value for weight in model.weights]
        self.call_model = lambda *args, **kwargs: model(*args, **kwargs)
        # Wrapped, because Transform's layer would be exported with extra functions too; its state is constants.
        self.transform = lambda features: transform(features)
        self._clip = clip
        self._task = task
        self._parse = example_parser(clip, task.label)

    @property
    def shortest(self) -> int:
        """Fewest frames of a clip in a request."""
        return self._task.min_served_frames

    @abc.abstractmethod
    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the served outputs for clips `(batch, time, height, width, channel)` in the clips' dtype."""

    @abc.abstractmethod
    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the sums of one clip, `(1, ...)` each, all 0 if `counted` `(1,)` is False.

        `label` is `(1,)` or `(1, time)`; None for a task without labels.
        """

    @abc.abstractmethod
    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the shape and dtype of each sum, without the batch axis."""

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
        """Checks a request and returns the outputs for each clip.

        Args:
            frames: `(batch, time, height, width, channel)` in the clips' dtype.
            length: `(batch,)` int32, frames of each clip; later frames are ignored.

        Returns:
            See `answer`.

        Raises:
            tf.errors.InvalidArgumentError: If a length is below the shortest legal one or above the frames given.
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
        # The checks run first, else a later index out of range hides their messages.
        with tf.control_dependencies(checks):
            frames, length = tf.identity(frames), tf.identity(length)
        return self.answer(frames, length)

    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for clips given as serialized SequenceExamples `(batch,)`; see `serve`.

        Clips of one request have the same height and width; their lengths may differ.
        """
        frames, length = self.decode(examples)
        return self.serve(frames, length)

    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the slicing features of raw clips `(batch,)`, and a fingerprint of the padded frames.

        The slicing features are those that ingestion wrote: each of `features.SLICES`, and `recording`.
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
        """Runs Transform's graph on serialized SequenceExamples `(batch,)` of the same height and width.

        Returns:
            `(frames, length)`: `(batch, time, height, width, channel)` in the clips' dtype, padded to the longest clip,
            and `(batch,)` int32.
        """
        transformed = self._transform(examples)
        length = tf.cast(transformed[features.FRAME_COUNT], tf.int32)
        longest = tf.reduce_max(length)
        shape = tf.shape(tensors.parse_frames(transformed[features.FRAMES][0], self._clip))[1:]

        def same_size(serialized):
            frames = tensors.parse_frames(serialized, self._clip)
            tf.debugging.assert_equal(
                tf.shape(frames)[1:], shape, "examples: expected clips of one height and width in a request"
            )
            frames = frames[:longest]
            return tensors.pad_time(frames, longest - tf.shape(frames)[0])

        spec = tf.TensorSpec([None, None, None, self._clip.channels], self._clip.dtype)
        return tf.map_fn(same_size, transformed[features.FRAMES], fn_output_signature=spec), length

    def labels(self, examples: tf.Tensor) -> tf.Tensor:
        """Returns the labels of serialized SequenceExamples, `(batch,)`, or `(batch, time)` cut to the longest clip."""
        transformed = self._transform(examples)
        longest = tf.reduce_max(transformed[features.FRAME_COUNT])
        values = [tensors.parse_label(one, self._task.label) for one in transformed[features.LABEL]]
        return tf.stack([value[:longest] if value.shape.rank else value for value in values])

    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the sums of each clip, `(batch, ...)` each; see `framecast.evaluation.metrics.registry`.

        Clips are evaluated one by one, because their sizes may differ, and so that memory does not grow with the batch.
        """
        transformed = self._transform(examples)

        def one(args):
            serialized, length, *labels = args
            counted = self._task.is_long_enough(length)
            frames = tensors.parse_frames(serialized, self._clip)
            # A clip that is too short is padded, because the graph runs on it although it is not counted.
            missing = tf.maximum(self._task.min_frames - tf.shape(frames)[0], 0)
            frames = tensors.pad_time(frames, missing)[None]
            length = tf.maximum(length, self._task.min_frames)[None]
            label = tensors.parse_label(labels[0], self._task.label) if labels else None
            if label is not None:
                label = tensors.pad_time(label, missing) if label.shape.rank else label
                label = label[None]
            result = self.sums(frames, length, counted[None], label)
            return {name: tf.squeeze(value, 0) for name, value in result.items()}

        length = tf.cast(transformed[features.FRAME_COUNT], tf.int32)
        labels = [] if self._task.label is None else [transformed[features.LABEL]]
        return tf.map_fn(one, [transformed[features.FRAMES], length, *labels], fn_output_signature=self.sums_spec())

    def _transform(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        context, sequence = self._parse(examples)
        # Image decoding has no GPU kernels.
        with tf.device("/CPU:0"):
            return self.transform({**context, **sequence})


def save_module(module: ExportModule, directory: str, card: dict[str, Any]) -> None:
    """Writes the SavedModel, and `card`, which describes the model to clients, as `assets.extra/framecast.json`."""
    tf.saved_model.save(module, directory, signatures=module.signatures())
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(extra, "framecast.json"), "w") as file:
        file.write(json.dumps(card, indent=1))
