"""Builds a client's requests and reads the responses, without I/O, for both the blocking and the asyncio client.

    exchange = ClientProtocol("radar", label=None, max_batch=32).forecast(clips)
    method, request = next(exchange)  # Then exchange.send(response), until StopIteration carries the forecasts.

An exchange is a generator that yields `(method, request)`. It is sent the response, or is thrown the `grpc.RpcError` of
the call, and returns the result.
"""

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from framecast.models.export.warmup import predict_request
from framecast.schemas import features
from framecast.serving import rpc
from framecast.serving.client.signatures import ModelMetadata, check_clips, read_metadata

Outputs = dict[str, np.ndarray]
_T = TypeVar("_T")
Exchange = Generator[tuple[rpc.Method, Any], Any, _T]


class ClientProtocol:
    """The exchanges of a client with one model.

    Args:
        model: Name of the model.
        label: Label of the version, such as `stable`; None for the newest version.
        max_batch: Most clips in a request.

    Raises:
        ValueError: If `max_batch` is below 1.

    Attributes:
        version: Version of the last response; None before the first.
    """

    def __init__(self, model: str, label: str | None, max_batch: int):
        if max_batch < 1:
            raise ValueError(f"max_batch: expected at least 1, received {max_batch}")
        self.version: int | None = None
        self.max_batch = max_batch
        self._model = model
        self._label = label
        self._metadata: ModelMetadata | None = None

    def metadata(self) -> Exchange[ModelMetadata]:
        """Requests the metadata of the served version, and keeps them."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._set_model(request.model_spec)
        self._metadata = read_metadata((yield rpc.METADATA, request))
        return self._metadata

    def check(self, clips: Sequence[np.ndarray], first: int = 0) -> Exchange[None]:
        """Checks clips against the model's inputs; the first clip is number `first` in error messages."""
        known = self._metadata
        try:
            return check_clips(clips, self._model, known or (yield from self.metadata()), first)
        except ValueError:
            if known is None:
                raise
        # Another version may be served by now, which may accept the clips.
        check_clips(clips, self._model, (yield from self.metadata()), first)

    def answer(self, clips: Sequence[np.ndarray], first: int = 0) -> Exchange[list[Outputs]]:
        """Requests all outputs for clips given as arrays; see `framecast.serving.client.client.Client.answer`."""
        yield from self.check(clips, first)

        def inputs(batch: list[int]) -> dict[str, Any]:
            frames = np.stack([clips[number] for number in batch])
            return {"frames": frames, "length": np.full(len(batch), frames.shape[1], np.int32)}

        try:
            answers = yield from self._in_batches([clip.shape[:3] for clip in clips], rpc.DEFAULT_SIGNATURE, inputs)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                yield from self._check_again(clips, first)
            raise
        return [
            {name: value[: len(clip)] if self._is_series(name) else value for name, value in outputs.items()}
            for clip, outputs in zip(clips, answers, strict=True)
        ]

    def forecast(self, clips: Sequence[np.ndarray]) -> Exchange[list[np.ndarray]]:
        """Requests forecasts for clips given as arrays."""
        return self._forecasts((yield from self.answer(clips)))

    def forecast_examples(self, examples: Sequence[bytes]) -> Exchange[list[np.ndarray]]:
        """Requests forecasts for clips given as serialized SequenceExamples."""
        # Only clips of equal size can share a request.
        sizes = [_example_size(number, example) for number, example in enumerate(examples)]
        answers = yield from self._in_batches(
            sizes, "serve_examples", lambda batch: {"examples": [examples[number] for number in batch]}
        )
        return self._forecasts(answers)

    def _in_batches(
        self, keys: Sequence[Hashable], signature_name: str, inputs: Callable[[list[int]], dict[str, Any]]
    ) -> Exchange[list[Outputs]]:
        """Returns the outputs for each item, requested in batches of items with equal keys."""
        answers: list[Outputs] = [{} for _ in keys]
        for batch in _batches(keys, self.max_batch):
            request = predict_request(inputs(batch), model=self._model, signature_name=signature_name)
            self._set_model(request.model_spec)
            response: predict_pb2.PredictResponse = yield rpc.PREDICT, request
            self.version = response.model_spec.version.value
            if self._metadata is not None and self._metadata.version != self.version:
                yield from self.metadata()
            for name, tensor in response.outputs.items():
                for number, value in zip(batch, tf.make_ndarray(tensor), strict=True):
                    answers[number][name] = value
        return answers

    def _check_again(self, clips: Sequence[np.ndarray], first: int) -> Exchange[None]:
        """Checks clips again after the server refused them, if another version is served than the known one."""
        known = self._metadata
        metadata = yield from self.metadata()
        if known is None or known.version != metadata.version:
            check_clips(clips, self._model, metadata, first)

    def _is_series(self, output: str) -> bool:
        """Checks whether an output has a time axis, which TensorFlow Serving may have padded."""
        signature = self._metadata.signatures.get(rpc.DEFAULT_SIGNATURE) if self._metadata else None
        return signature is not None and output in signature.outputs and signature.outputs[output].is_series

    def _forecasts(self, answers: list[Outputs]) -> list[np.ndarray]:
        for outputs in answers:
            if "forecast" not in outputs:
                raise ValueError(
                    f"model {self._model} version {self.version}: expected the output forecast, received "
                    f"{sorted(outputs)}; answer() returns these"
                )
        return [outputs["forecast"] for outputs in answers]

    def _set_model(self, spec: model_pb2.ModelSpec) -> None:
        spec.name = self._model
        if self._label is not None:
            spec.version_label = self._label


class SizeBatcher:
    """Groups consecutive clips of equal size and dtype into batches.

    Args:
        max_batch: Most clips in a batch.
    """

    def __init__(self, max_batch: int):
        self._max_batch = max_batch
        self._held: list[np.ndarray] = []
        self._first = 0

    def add(self, clip: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Adds the next clip; yields `(number of the first clip, clips)` of each batch that it completes."""
        if self._held and _kind(self._held[0]) != _kind(clip):
            yield from self.rest()
        self._held.append(clip)
        if len(self._held) == self._max_batch:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yields the incomplete batch, if there is one."""
        if self._held:
            first, held = self._first, self._held
            self._first, self._held = first + len(held), []
            yield first, held


def _kind(clip: Any) -> tuple[Any, Any]:
    """Returns shape and dtype; None for an object that is no array, which the checks refuse later."""
    return getattr(clip, "shape", None), getattr(clip, "dtype", None)


def _batches(keys: Sequence[Hashable], max_batch: int) -> Iterator[list[int]]:
    """Yields lists of at most `max_batch` positions with equal keys, in order of first appearance."""
    positions: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    for equal in positions.values():
        for start in range(0, len(equal), max_batch):
            yield equal[start : start + max_batch]


def _example_size(number: int, serialized: bytes) -> tuple[int, ...]:
    try:
        context = example_pb2.SequenceExample.FromString(serialized).context.feature
    except DecodeError as error:
        raise ValueError(f"clip {number}: expected a serialized SequenceExample, received {error}") from error
    return tuple(size for name in (features.HEIGHT, features.WIDTH) for size in context[name].int64_list.value)
