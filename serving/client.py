"""Asks a served model for forecasts, scores or labels: TensorFlow Serving, or the embedded server.

    with Forecaster("localhost:8500", model="radar") as forecaster:
        forecasts = forecaster.forecast(clips)

Needs none of TFX: `tensorflow`, `tensorflow-serving-api` and `grpcio` are enough.
"""

import dataclasses
import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from framecast.models.warmup import predict_request
from framecast.schemas import features
from framecast.serving import protos

if TYPE_CHECKING:  # A client without a log needs nothing of what the log needs.
    from framecast.serving.request_log import RequestLog

_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # Seconds.
# gRPC waits a second before it tries an address again, during which our own attempts would fail unheard.
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A declared input or output.

    Args:
        dtype: NumPy name of the dtype; `object` for strings.
        shape: Sizes, `None` where free; `None` altogether when even the rank is free.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The declared inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a served version declares: its number, and its signatures by name."""

    version: int
    signatures: Mapping[str, Signature]


class Forecaster:
    """A client of one served model.

    Every call raises `grpc.RpcError` (its `code()` and `details()` say why) when the server refuses the request or does
    not answer; a server that is unavailable is asked again, a few times within the deadline, nothing else is.

    Args:
        address: `host:port` of the gRPC server.
        model: Name of the model.
        deadline: Seconds a request may take, repeated attempts included.
        max_batch: Most clips in a request.
        log: Keeps a share of the clips that were answered; closed with the connection.

    Attributes:
        version: Version that gave the last forecast, None before it. Versions may change between requests, also inside
            one call that takes several.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str,
        deadline: float = 60.0,
        max_batch: int = 32,
        log: "RequestLog | None" = None,
    ):
        self.version: int | None = None
        self._model = model
        self._deadline = deadline
        self._max_batch = max_batch
        self._log = log
        self._channel = _channel(address)
        self._predict = protos.PREDICT.stub(self._channel)
        self._metadata = protos.METADATA.stub(self._channel)

    def __enter__(self) -> "Forecaster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and the log."""
        self._channel.close()
        if self._log is not None:
            self._log.close()

    def metadata(self) -> Metadata:
        """Returns what the newest served version declares."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model
        response = self._call(self._metadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return Metadata(
            version=response.model_spec.version.value,
            signatures={
                name: Signature(inputs=_specs(signature.inputs), outputs=_specs(signature.outputs))
                for name, signature in signatures.signature_def.items()
                if signature.method_name  # The graph's initialisation is listed too, and is no signature to call.
            },
        )

    def forecast(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Forecasts the frames after each clip.

        Args:
            clips: Arrays `(time, height, width, channel)` in the dtype that the model declares; every frame is context.
                Clips may differ in time, height and width: equal ones share a request.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: When a clip does not fit what the model declares.
            grpc.RpcError: See the class.
        """
        return [answer["forecast"] for answer in self.answer(clips)]

    def answer(self, clips: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Asks for whatever the model answers.

        Args:
            clips: As for `forecast`.

        Returns:
            For each clip its outputs by name, without the batch: `forecast`; or `anomaly_score` `(time,)` and
            `clip_anomaly_score` `()`, 1 and above an alarm; or `probabilities` `(classes,)` or `(time, classes)`; or
            `value` `()` or `(time,)`.

        Raises:
            ValueError: When a clip does not fit what the model declares.
            grpc.RpcError: See the class.
        """
        declared = self._declared_frames()
        for number, clip in enumerate(clips):
            _check_clip(number, clip, declared)

        def inputs(batch: list[int]) -> dict[str, Any]:
            frames = np.stack([clips[number] for number in batch])
            return {"frames": frames, "length": np.full(len(batch), frames.shape[1], np.int32)}

        answers = self._in_batches([clip.shape[:3] for clip in clips], "serving_default", inputs)
        if self._log is not None:
            self._log.add(clips)
        return answers

    def forecast_examples(self, examples: Sequence[bytes]) -> list[np.ndarray]:
        """Forecasts the frames after each clip given as a serialized `tf.train.SequenceExample`.

        Args:
            examples: Clips by the clip contract; they may differ in time, height and width.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: When an example cannot be parsed.
            grpc.RpcError: See the class.
        """
        # Only clips of one size can share a request.
        sizes = [_example_size(number, example) for number, example in enumerate(examples)]
        answers = self._in_batches(
            sizes, "serve_examples", lambda batch: {"examples": [examples[number] for number in batch]}
        )
        if self._log is not None:
            self._log.add(examples)
        return [answer["forecast"] for answer in answers]

    def _in_batches(
        self, keys: Sequence[Hashable], signature_name: str, inputs: Callable[[list[int]], dict[str, Any]]
    ) -> list[dict[str, np.ndarray]]:
        """Returns the outputs for each item, asked for in batches of items with one key."""
        answers: list[dict[str, np.ndarray]] = [{} for _ in keys]
        for batch in _batches(keys, self._max_batch):
            request = predict_request(inputs(batch), model=self._model, signature_name=signature_name)
            response: predict_pb2.PredictResponse = self._call(self._predict, request)
            self.version = response.model_spec.version.value
            for name, tensor in response.outputs.items():
                for number, value in zip(batch, tf.make_ndarray(tensor), strict=True):
                    answers[number][name] = value
        return answers

    def _declared_frames(self) -> TensorSpec:
        metadata = self.metadata()
        signature = metadata.signatures.get("serving_default")
        found = sorted(signature.inputs) if signature else "no such signature"
        if signature is None or found != ["frames", "length"]:
            raise ValueError(
                f"model {self._model} version {metadata.version}, signature serving_default: expected the inputs "
                f"['frames', 'length'], received {found}"
            )
        return signature.inputs["frames"]

    def _call(self, stub: Callable[..., Any], request: Any) -> Any:
        end = time.monotonic() + self._deadline
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return stub(request, timeout=max(end - time.monotonic(), 0))
            except grpc.RpcError as error:
                # Half of the pause is random, so that clients of a restarted server do not come back all at once.
                pause = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
                last = attempt == _ATTEMPTS or time.monotonic() + pause >= end
                if last or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            time.sleep(pause)


def predict_stub(address: str) -> Callable[..., predict_pb2.PredictResponse]:
    """Returns the plain Predict call of the server at `address`, for messages of any size and without retries."""
    return protos.PREDICT.stub(_channel(address))


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=(*protos.ANY_SIZE, *_RECONNECT))


def _batches(keys: Sequence[Hashable], most: int) -> Iterator[list[int]]:
    """Yields lists of at most `most` positions whose keys are equal, in order of first appearance."""
    positions: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    for equal in positions.values():
        for start in range(0, len(equal), most):
            yield equal[start : start + most]


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: _spec(info) for name, info in infos.items()}


def _spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
    return TensorSpec(dtype=dtype.name, shape=None if info.tensor_shape.unknown_rank else sizes)


def _check_clip(number: int, clip: np.ndarray, declared: TensorSpec) -> None:
    if not isinstance(clip, np.ndarray) or clip.ndim != 4:
        received = f"shape {clip.shape}" if isinstance(clip, np.ndarray) else type(clip).__name__
        raise ValueError(f"clip {number}: expected an array (time, height, width, channel), received {received}")
    if clip.dtype.name != declared.dtype:
        raise ValueError(f"clip {number}: expected dtype {declared.dtype}, received {clip.dtype.name}")
    if declared.shape is None:
        return
    axes = ("time", "height", "width", "channel")
    for axis, size, expected in zip(axes, clip.shape, declared.shape[1:], strict=True):
        if expected is not None and size != expected:
            raise ValueError(f"clip {number}: expected {axis} {expected}, received {size}")


def _example_size(number: int, serialized: bytes) -> tuple[int, ...]:
    try:
        context = example_pb2.SequenceExample.FromString(serialized).context.feature
    except DecodeError as error:
        raise ValueError(f"clip {number}: expected a serialized SequenceExample, received {error}") from error
    return tuple(size for name in (features.HEIGHT, features.WIDTH) for size in context[name].int64_list.value)
