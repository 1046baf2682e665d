"""Requests forecasts, scores or labels from a model on TensorFlow Serving or the embedded server.

    with Client("localhost:8500", model="radar") as client:
        forecasts = client.forecast(clips)

Needs `tensorflow`, `tensorflow-serving-api` and `grpcio`, but not TFX.
"""

import collections
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from framecast.serving import rpc
from framecast.serving.client.protocol import ClientProtocol, Exchange, Outputs, SizeBatcher
from framecast.serving.client.retry import RetryBudget
from framecast.serving.client.signatures import ModelMetadata

if TYPE_CHECKING:  # Not at run time, because the log needs packages that a client without a log does not.
    from framecast.serving.client.request_log import RequestLog

# By default gRPC waits a second before it connects again, and our retries would fail meanwhile without being sent.
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))
CHANNEL_OPTIONS = (*rpc.ANY_SIZE, *_RECONNECT)
_T = TypeVar("_T")


class BaseClient:
    """Holds the connection and protocol of a blocking or asyncio client; the arguments are those of `Client`."""

    _open_channel: Callable[..., Any]

    def __init__(
        self,
        address: str,
        *,
        model: str,
        label: str | None = None,
        deadline: float = 60.0,
        max_batch: int = 32,
        log: "RequestLog | None" = None,
    ):
        self._protocol = ClientProtocol(model, label, max_batch)
        self._deadline = deadline
        self._log = log
        self._channel = self._open_channel(address, options=CHANNEL_OPTIONS)
        self._stubs = {method: method.stub(self._channel) for method in (rpc.PREDICT, rpc.METADATA)}

    @property
    def version(self) -> int | None:
        """Version of the last response; None before the first.

        The version may change between requests, also within a call that sends several.
        """
        return self._protocol.version

    async def _run(self, exchange: Exchange[_T]) -> _T:
        """Sends the requests of an exchange, and returns its result."""
        try:
            method, request = next(exchange)
            while True:
                try:
                    response = await self._send(method, request)
                except grpc.RpcError as error:
                    method, request = exchange.throw(error)
                else:
                    method, request = exchange.send(response)
        except StopIteration as finished:
            return finished.value

    async def _send(self, method: rpc.Method, request: Any) -> Any:
        """Returns the response to a request."""
        raise NotImplementedError

    def _logged(self, answers: list[_T], clips: Sequence[Any]) -> list[_T]:
        if self._log is not None:
            self._log.add(clips)
        return answers


class Client(BaseClient):
    """A blocking client of one served model.

    Calls raise `grpc.RpcError` if the server refuses a request or does not answer; `code()` and `details()` say why.
    Only UNAVAILABLE is retried, up to five times within the deadline. The model's metadata are requested once, and
    again when another version answers or a clip is refused.

    Args:
        address: `host:port` of the gRPC server.
        model: Name of the model.
        label: Label of the version, such as `stable` or `canary`; None for the newest version.
        deadline: Time limit of a request in seconds, retries included.
        max_batch: Most clips in a request.
        log: Stores a share of the answered clips; closed with the connection.
    """

    _open_channel = staticmethod(grpc.insecure_channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and the log."""
        self._channel.close()
        if self._log is not None:
            self._log.close()

    def metadata(self) -> ModelMetadata:
        """Returns the version and signatures of the served model."""
        return self._exchange(self._protocol.metadata())

    def forecast(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Forecasts the frames after each clip.

        Args:
            clips: Arrays `(time, height, width, channel)` in the model's dtype; every frame is context. Clips may
                differ in time, height and width; clips of equal size share a request.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: If a clip does not match the model's inputs, or the model does not forecast.
            grpc.RpcError: See the class.
        """
        return self._logged(self._exchange(self._protocol.forecast(clips)), clips)

    def answer(self, clips: Sequence[np.ndarray]) -> list[Outputs]:
        """Returns all outputs of the model for each clip.

        Args:
            clips: As for `forecast`.

        Returns:
            For each clip its named outputs, without the batch axis: `forecast`; or `anomaly_score` `(time,)` and
            `clip_anomaly_score` `()`, where 1 and above is an alarm; or `probabilities` `(classes,)` or
            `(time, classes)`; or `value` `()` or `(time,)`. Time is that of the clip, even if the server padded it
            (`pad_variable_length_inputs`).

        Raises:
            ValueError: If a clip does not match the model's inputs.
            grpc.RpcError: See the class.
        """
        return self._logged(self._exchange(self._protocol.answer(clips)), clips)

    def stream(self, clips: Iterable[np.ndarray], *, in_flight: int = 4) -> Iterator[Outputs]:
        """Yields all outputs of the model for any number of clips, in constant memory.

        Reads at most `in_flight * max_batch + 1` clips ahead of the outputs taken. Consecutive clips of equal size
        share a request, which is sent once it has `max_batch` clips or the next clip has another size. Use
        `max_batch=1` for clips that arrive slowly.

        Args:
            clips: As for `forecast`; any iterable, read in this thread.
            in_flight: Requests in flight at the same time.

        Yields:
            For each clip, in order, the outputs as from `answer`.

        Raises:
            ValueError: If a clip does not match the model's inputs, after the outputs of the clips before it; or if
                `in_flight` is below 1.
            grpc.RpcError: See the class; after the outputs of the clips before it.
        """
        check_in_flight(in_flight)
        waiting: collections.deque[tuple[list[np.ndarray], futures.Future[list[Outputs]]]] = collections.deque()
        pool = futures.ThreadPoolExecutor(in_flight, thread_name_prefix="framecast-client")

        def oldest() -> list[Outputs]:
            batch, answers = waiting.popleft()
            return self._logged(answers.result(), batch)

        try:
            for first, batch in _size_batches(clips, self._protocol.max_batch):
                if not first:  # Fetch the metadata once, before requests run in parallel.
                    self._exchange(self._protocol.check(batch))
                waiting.append((batch, pool.submit(self._exchange, self._protocol.answer(batch, first))))
                if len(waiting) == in_flight:
                    yield from oldest()
            while waiting:
                yield from oldest()
        finally:
            # Requests still in flight end with their deadline or the connection.
            pool.shutdown(wait=False, cancel_futures=True)

    def forecast_examples(self, examples: Sequence[bytes]) -> list[np.ndarray]:
        """Forecasts the frames after each clip, given as serialized `tf.train.SequenceExample`.

        Args:
            examples: Clips that follow the clip contract; they may differ in time, height and width.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: If an example cannot be parsed, or the model does not forecast.
            grpc.RpcError: See the class.
        """
        return self._logged(self._exchange(self._protocol.forecast_examples(examples)), examples)

    def _exchange(self, exchange: Exchange[_T]) -> _T:
        """Runs an exchange to its end in one step: `_send` blocks, so that nothing waits for an event loop."""
        try:
            self._run(exchange).send(None)
        except StopIteration as finished:
            return finished.value
        raise AssertionError("an exchange of the blocking client was suspended")

    async def _send(self, method: rpc.Method, request: Any) -> Any:
        return self.call(method, request)

    def call(self, method: rpc.Method, request: Any) -> Any:
        """Sends one request, and again while the server is unavailable.

        Raises:
            grpc.RpcError: See the class.
        """
        budget = RetryBudget(self._deadline)
        while True:
            try:
                return self._stubs[method](request, timeout=budget.left)
            except grpc.RpcError as error:
                pause = budget.pause_after(error)
            time.sleep(pause)


def predict_stub(address: str) -> Callable[..., predict_pb2.PredictResponse]:
    """Returns the Predict call of the server at `address`, for messages of any size and without retries."""
    return rpc.PREDICT.stub(grpc.insecure_channel(address, options=CHANNEL_OPTIONS))


def check_in_flight(requests: int) -> None:
    """Raises ValueError if there may be no request in flight."""
    if requests < 1:
        raise ValueError(f"in_flight: expected at least 1, received {requests}")


def _size_batches(clips: Iterable[np.ndarray], max_batch: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yields `(number of the first clip, clips)` for batches of consecutive clips of equal size."""
    batcher = SizeBatcher(max_batch)
    for clip in clips:
        yield from batcher.add(clip)
    yield from batcher.rest()
