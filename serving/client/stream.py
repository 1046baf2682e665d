"""Forecasts a stream frame by frame: the model's state is kept between frames, so that no frame is run twice.

    with LiveForecast("localhost:8500", model="radar") as stream:
        for frame in camera:
            forecast = stream.push(frame)  # (horizon, height, width, channel); None until there are enough frames

The server keeps no state: each response returns the state, and the next request sends it.
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

_RESTARTS = 3  # More than one, because versions may change faster than requests are sent.


@dataclasses.dataclass(frozen=True)
class _State:
    """The state of the stream in one version of the model."""

    version: int
    tensors: Mapping[str, tensor_pb2.TensorProto]


class LiveForecast:
    """Forecasts a stream, or a batch of streams, with a served model that has the signature `step`.

    A state is valid only in the version that made it, so a stream stays with its version. If that version is no longer
    served, the stream restarts on the newest version (or the label's) from the last `kept` frames: forecasts are then
    those of a clip of these frames, and earlier frames are lost. Not thread-safe.

    Args:
        address: `host:port` of the gRPC server.
        model: Name of the model.
        label: Label of the version to start with, such as `stable`; None for the newest version.
        deadline: Time limit of a request in seconds, retries included.
        kept: Frames kept for a restart on another version.

    Attributes:
        version: Version of the last response; None before the first.

    Raises:
        ValueError: If `kept` is below 1.
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
        """Forgets all frames, for a gap in the stream or the start of another stream."""
        self._state: _State | None = None
        self._frames: np.ndarray | None = None

    def push(self, frames: np.ndarray) -> np.ndarray | None:
        """Adds frames, and forecasts from all frames pushed so far.

        Args:
            frames: The next frame `(height, width, channel)`, or frames `(time, height, width, channel)`, in the
                model's dtype; frames of several streams as `(batch, time, height, width, channel)`.

        Returns:
            `(horizon, height, width, channel)` float32 in [0, 1], with a leading batch axis if `frames` has one;
            None until the stream has the shortest context that the model accepts.

        Raises:
            ValueError: If the shape is not that of frames, or differs from that of earlier frames, or the model has no
                signature `step`.
            grpc.RpcError: If the server refuses the request or does not answer. The frames are then not part of the
                stream, and can be pushed again.
        """
        batch = self._batch(frames)
        kept = batch if self._frames is None else np.concatenate([self._frames, batch], axis=1)
        response = self._send(batch, kept)
        outputs = dict(response.outputs)
        forecast, ready = (tf.make_ndarray(outputs.pop(name)) for name in ("forecast", "ready"))
        self.version = response.model_spec.version.value
        self._state = _State(self.version, outputs)
        self._frames = kept[:, -self._most_kept :]
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
        before = batch if self._frames is None else self._frames
        if (len(batch), *batch.shape[2:]) != (len(before), *before.shape[2:]):
            raise ValueError(
                f"frames: expected {len(before)} streams of frames {before.shape[2:]}, as before, received "
                f"{len(batch)} of {batch.shape[2:]}; call reset() to start another stream"
            )
        return batch

    def _send(self, batch: np.ndarray, kept: np.ndarray) -> predict_pb2.PredictResponse:
        """Sends frames to the stream's version; restarts on another version if it is no longer served."""
        for _ in range(_RESTARTS):
            try:
                return self._request(batch, kept)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            self._state = None
        return self._request(batch, kept)

    def _request(self, batch: np.ndarray, kept: np.ndarray) -> predict_pb2.PredictResponse:
        state, frames = (self._initial_state(len(batch)), kept) if self._state is None else (self._state, batch)
        request = predict_request({"frames": frames}, model=self._model, signature_name="step")
        request.model_spec.version.value = state.version
        for name, tensor in state.tensors.items():
            request.inputs[name].CopyFrom(tensor)
        return self._client.call(rpc.PREDICT, request)

    def _initial_state(self, batch: int) -> _State:
        """Returns the state of the newest version, or of the label's, before the first frame."""
        metadata = self._client.metadata()
        if "step" not in metadata.signatures:
            raise ValueError(
                f"model {self._model} version {metadata.version}: expected the signature step for a live forecast, "
                f"received {', '.join(sorted(metadata.signatures))}"
            )
        tensors = {}
        for name, spec in metadata.signatures["step"].inputs.items():
            if name != "frames":
                zeros = np.zeros((batch, *(size or 0 for size in (spec.shape or ())[1:])), spec.dtype)
                tensors[name] = tf.make_tensor_proto(zeros)
        return _State(metadata.version, tensors)
