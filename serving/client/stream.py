"""Forecasts a stream as its frames come: what was seen is held as the model's state, and no frame is run twice.

    with LiveForecast("localhost:8500", model="radar") as stream:
        for frame in camera:
            forecast = stream.push(frame)  # (horizon, height, width, channel), None as long as there are too few frames

The server keeps nothing between calls: the state comes back with each answer and goes out with the next frames.
"""

import dataclasses
from collections.abc import Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from framecast.models.export.warmup import predict_request
from framecast.serving import rpc
from framecast.serving.client.client import Client

_STARTS = 3  # Attempts to start anew: versions may follow each other faster than requests.


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a version of the model has seen of the stream."""

    version: int
    states: Mapping[str, tensor_pb2.TensorProto]


class LiveForecast:
    """A stream, or a batch of streams, forecast by one served model that has the signature `step`.

    A state means something to the version alone that made it, so a stream stays with its version. When that is no
    longer served, the stream starts anew on the newest, or on the label's, from the last frames that were kept: its
    forecasts are then those of a clip of these frames, and what was seen before them is lost. Not safe for use from
    several threads.

    Args:
        address: `host:port` of the gRPC server.
        model: Name of the model.
        label: Label of the version to start with, such as `stable`; the newest version unless given.
        deadline: Seconds a request may take, repeated attempts included.
        kept: Most frames that are kept for a new version.

    Attributes:
        version: Version that made the last forecast, None before it.
    """

    def __init__(self, address: str, *, model: str, label: str | None = None, deadline: float = 60.0, kept: int = 32):
        if kept < 1:
            raise ValueError(f"kept: expected at least 1 frame, received {kept}")
        self.version: int | None = None
        self._model = model
        self._most_kept = kept
        self._client = Client(address, model=model, label=label, deadline=deadline)
        self.reset()

    def __enter__(self) -> "LiveForecast":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def reset(self) -> None:
        """Forgets every frame: where the stream has a gap, or another begins."""
        self._seen: _Seen | None = None
        self._kept: np.ndarray | None = None

    def push(self, frames: np.ndarray) -> np.ndarray | None:
        """Forecasts from everything pushed so far.

        Args:
            frames: The next frame `(height, width, channel)`, or frames `(time, height, width, channel)`, in the dtype
                that the model declares; those of several streams as `(batch, time, height, width, channel)`.

        Returns:
            `(horizon, height, width, channel)` float32 in [0, 1], with the batch before it where `frames` has one;
            None as long as the stream is shorter than the shortest context that the model forecasts from.

        Raises:
            ValueError: When the shape is not that of a frame, or other than before, or the model has no `step`.
            grpc.RpcError: When the server refuses the request or does not answer. The frames are then not part of the
                stream, and may be pushed again.
        """
        batch = self._batch(frames)
        kept = batch if self._kept is None else np.concatenate([self._kept, batch], axis=1)
        response = self._answer(batch, kept)
        outputs = dict(response.outputs)
        forecast, ready = (tf.make_ndarray(outputs.pop(name)) for name in ("forecast", "ready"))
        self.version = response.model_spec.version.value
        self._seen = _Seen(self.version, outputs)
        self._kept = kept[:, -self._most_kept :]
        if not ready.all():
            return None
        return forecast if np.ndim(frames) == 5 else forecast[0]

    def _batch(self, frames: np.ndarray) -> np.ndarray:
        rank = np.ndim(frames)
        if rank not in (3, 4, 5):
            raise ValueError(
                "frames: expected (height, width, channel), with time or batch and time before it, "
                f"received shape {np.shape(frames)}"
            )
        batch = np.asarray(frames)[(None,) * (5 - rank)]
        before = batch if self._kept is None else self._kept
        if (len(batch), *batch.shape[2:]) != (len(before), *before.shape[2:]):
            raise ValueError(
                f"frames: expected those of {len(before)} streams of {before.shape[2:]}, as before, received "
                f"{len(batch)} of {batch.shape[2:]}; reset() begins another stream"
            )
        return batch

    def _answer(self, batch: np.ndarray, kept: np.ndarray) -> predict_pb2.PredictResponse:
        """Asks the version that saw the frames before, and starts anew where there is none any more."""
        for _ in range(_STARTS):
            try:
                return self._ask(batch, kept)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            self._seen = None
        return self._ask(batch, kept)

    def _ask(self, batch: np.ndarray, kept: np.ndarray) -> predict_pb2.PredictResponse:
        seen, frames = (self._start(len(batch)), kept) if self._seen is None else (self._seen, batch)
        request = predict_request({"frames": frames}, model=self._model, signature_name="step")
        request.model_spec.version.value = seen.version
        for name, state in seen.states.items():
            request.inputs[name].CopyFrom(state)
        return self._client.call(rpc.PREDICT, request)

    def _start(self, batch: int) -> _Seen:
        """Returns the newest version, before it has seen a frame."""
        metadata = self._client.metadata()
        if "step" not in metadata.signatures:
            raise ValueError(
                f"model {self._model} version {metadata.version}: expected the signature step, which forecasts a "
                f"stream, received {', '.join(sorted(metadata.signatures))}"
            )
        states = {}
        for name, spec in metadata.signatures["step"].inputs.items():
            if name != "frames":
                zeros = np.zeros((batch, *(size or 0 for size in (spec.shape or ())[1:])), spec.dtype)
                states[name] = tf.make_tensor_proto(zeros)
        return _Seen(metadata.version, states)
