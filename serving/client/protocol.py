"""What a client asks a served model, and what it makes of the answers, whoever carries them.

Each method is a generator that yields `(method, request)` and is sent the response, or is thrown the `grpc.RpcError`
that the call ended with; what it returns is the result. So `serving.client.client` has the blocking and the asyncio
form of everything, and this is written once.
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
from framecast.serving.client.signatures import SIGNATURE, ModelMetadata, check_clips, read_metadata

Outputs = dict[str, np.ndarray]
_T = TypeVar("_T")
Exchange = Generator[tuple[rpc.Method, Any], Any, _T]


class Conversation:
    """A client's side of its talk with one model.

    Args:
        model: Name of the model.
        label: Label of the version that is asked, such as `stable`; the newest unless given.
        max_batch: Most clips in a request.

    Raises:
        ValueError: When `max_batch` is below 1.

    Attributes:
        version: Version that gave the last answer; None before it.
    """

    def __init__(self, model: str, label: str | None, max_batch: int):
        if max_batch < 1:
            raise ValueError(f"max_batch: expected at least 1, received {max_batch}")
        self.version: int | None = None
        self.max_batch = max_batch
        self._model = model
        self._label = label
        self._kept: ModelMetadata | None = None

    def metadata(self) -> Exchange[ModelMetadata]:
        """Asks what the served version declares, and keeps it."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        self._kept = read_metadata((yield rpc.METADATA, request))
        return self._kept

    def check(self, clips: Sequence[np.ndarray], first: int = 0) -> Exchange[None]:
        """Holds clips against what the model declares; the first has the number `first` in messages."""
        kept = self._kept
        try:
            return check_clips(clips, self._model, kept or (yield from self.metadata()), first)
        except ValueError:
            if kept is None:
                raise
        # Another version may serve by now: what is refused is refused by that one.
        check_clips(clips, self._model, (yield from self.metadata()), first)

    def answer(self, clips: Sequence[np.ndarray], first: int = 0) -> Exchange[list[Outputs]]:
        """Asks about clips given as arrays; see `framecast.serving.client.client.Client.answer`."""
        yield from self.check(clips, first)

        def inputs(batch: list[int]) -> dict[str, Any]:
            frames = np.stack([clips[number] for number in batch])
            return {"frames": frames, "length": np.full(len(batch), frames.shape[1], np.int32)}

        try:
            answers = yield from self._in_batches([clip.shape[:3] for clip in clips], SIGNATURE, inputs)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                yield from self._check_again(clips, first)
            raise
        return [
            {name: value[: len(clip)] if self._is_series(name) else value for name, value in outputs.items()}
            for clip, outputs in zip(clips, answers, strict=True)
        ]

    def forecast(self, clips: Sequence[np.ndarray]) -> Exchange[list[np.ndarray]]:
        """Asks for forecasts of clips given as arrays."""
        return self._forecasts((yield from self.answer(clips)))

    def forecast_examples(self, examples: Sequence[bytes]) -> Exchange[list[np.ndarray]]:
        """Asks for forecasts of clips given as serialized SequenceExamples."""
        # Only clips of one size can share a request.
        sizes = [_example_size(number, example) for number, example in enumerate(examples)]
        answers = yield from self._in_batches(
            sizes, "serve_examples", lambda batch: {"examples": [examples[number] for number in batch]}
        )
        return self._forecasts(answers)

    def _in_batches(
        self, keys: Sequence[Hashable], signature_name: str, inputs: Callable[[list[int]], dict[str, Any]]
    ) -> Exchange[list[Outputs]]:
        """Returns the outputs for each item, asked for in batches of items with one key."""
        answers: list[Outputs] = [{} for _ in keys]
        for batch in _batches(keys, self.max_batch):
            request = predict_request(inputs(batch), model=self._model, signature_name=signature_name)
            self._address(request.model_spec)
            response: predict_pb2.PredictResponse = yield rpc.PREDICT, request
            self.version = response.model_spec.version.value
            if self._kept is not None and self._kept.version != self.version:
                yield from self.metadata()
            for name, tensor in response.outputs.items():
                for number, value in zip(batch, tf.make_ndarray(tensor), strict=True):
                    answers[number][name] = value
        return answers

    def _check_again(self, clips: Sequence[np.ndarray], first: int) -> Exchange[None]:
        """Raises what is wrong with the clips for the version that refused them, if it is not the one known."""
        known = self._kept
        metadata = yield from self.metadata()
        if known is None or known.version != metadata.version:
            check_clips(clips, self._model, metadata, first)

    def _is_series(self, output: str) -> bool:
        """Whether TensorFlow Serving may have left an output as long as what it padded the clip to."""
        signature = self._kept.signatures.get(SIGNATURE) if self._kept else None
        return signature is not None and output in signature.outputs and signature.outputs[output].is_series

    def _forecasts(self, answers: list[Outputs]) -> list[np.ndarray]:
        for outputs in answers:
            if "forecast" not in outputs:
                raise ValueError(
                    f"model {self._model} version {self.version}: expected the output forecast, received "
                    f"{sorted(outputs)}: answer() returns those"
                )
        return [outputs["forecast"] for outputs in answers]

    def _address(self, spec: model_pb2.ModelSpec) -> None:
        spec.name = self._model
        if self._label is not None:
            spec.version_label = self._label


class Neighbours:
    """Gathers consecutive clips of one size and dtype into batches.

    Args:
        most: Clips in a batch.
    """

    def __init__(self, most: int):
        self._most = most
        self._held: list[np.ndarray] = []
        self._first = 0

    def add(self, clip: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Takes the next clip; yields `(number of the first clip, clips)` of a batch that is complete, if one is."""
        if self._held and _kind(self._held[0]) != _kind(clip):
            yield from self.rest()
        self._held.append(clip)
        if len(self._held) == self._most:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yields what is held, if there is anything, as a batch."""
        if self._held:
            first, held = self._first, self._held
            self._first, self._held = first + len(held), []
            yield first, held


def _kind(clip: Any) -> tuple[Any, Any]:
    """Returns shape and dtype; None of what is no array, and will be refused."""
    return getattr(clip, "shape", None), getattr(clip, "dtype", None)


def _batches(keys: Sequence[Hashable], most: int) -> Iterator[list[int]]:
    """Yields lists of at most `most` positions whose keys are equal, in order of first appearance."""
    positions: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    for equal in positions.values():
        for start in range(0, len(equal), most):
            yield equal[start : start + most]


def _example_size(number: int, serialized: bytes) -> tuple[int, ...]:
    try:
        context = example_pb2.SequenceExample.FromString(serialized).context.feature
    except DecodeError as error:
        raise ValueError(f"clip {number}: expected a serialized SequenceExample, received {error}") from error
    return tuple(size for name in (features.HEIGHT, features.WIDTH) for size in context[name].int64_list.value)
