"""Asks a served model for forecasts, scores or labels: TensorFlow Serving, or the embedded server.

    with Forecaster("localhost:8500", model="radar") as forecaster:
        forecasts = forecaster.forecast(clips)

    async with AsyncForecaster("localhost:8500", model="radar") as forecaster:
        forecasts = await forecaster.forecast(clips)

Needs none of TFX: `tensorflow`, `tensorflow-serving-api` and `grpcio` are enough.
"""

import asyncio
import collections
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
import numpy as np
from tensorflow_serving.apis import predict_pb2

from framecast.serving import rpc
from framecast.serving.client.protocol import Conversation, Exchange, Neighbours, Outputs
from framecast.serving.client.signatures import ModelMetadata

if TYPE_CHECKING:  # A client without a log needs nothing of what the log needs.
    from framecast.serving.client.request_log import RequestLog

_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # Seconds.
# gRPC waits a second before it tries an address again, during which our own attempts would fail unheard.
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))
_OPTIONS = (*rpc.ANY_SIZE, *_RECONNECT)
_T = TypeVar("_T")


class _Client:
    """What the blocking and the asyncio client share; the arguments are those of `Client`."""

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
        self._conversation = Conversation(model, label, max_batch)
        self._deadline = deadline
        self._log = log
        self._channel = self._open_channel(address, options=_OPTIONS)
        self._stubs = {method: method.stub(self._channel) for method in (rpc.PREDICT, rpc.METADATA)}

    @property
    def version(self) -> int | None:
        """Version that gave the last answer, None before it.

        Versions may change between requests, also inside one call that takes several.
        """
        return self._conversation.version

    def _logged(self, answers: list[_T], clips: Sequence[Any]) -> list[_T]:
        if self._log is not None:
            self._log.add(clips)
        return answers


class Client(_Client):
    """A client of one served model.

    Every call raises `grpc.RpcError` (its `code()` and `details()` say why) when the server refuses the request or does
    not answer; a server that is unavailable is asked again, a few times within the deadline, nothing else is. What the
    model declares is asked once, and again when another version answers or a clip is refused.

    Args:
        address: `host:port` of the gRPC server.
        model: Name of the model.
        label: Label of the version to ask, such as `stable` or `canary`; the newest version unless given.
        deadline: Seconds a request may take, repeated attempts included.
        max_batch: Most clips in a request.
        log: Keeps a share of the clips that were answered; closed with the connection.
    """

    _open_channel = staticmethod(grpc.insecure_channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and the log."""
        self._channel.close()
        if self._log is not None:
            self._log.close()

    def metadata(self) -> ModelMetadata:
        """Asks what the served version declares."""
        return self._carry(self._conversation.metadata())

    def forecast(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Forecasts the frames after each clip.

        Args:
            clips: Arrays `(time, height, width, channel)` in the dtype that the model declares; every frame is context.
                Clips may differ in time, height and width: equal ones share a request.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: When a clip does not fit what the model declares, or it answers something else than forecasts.
            grpc.RpcError: See the class.
        """
        return self._logged(self._carry(self._conversation.forecast(clips)), clips)

    def answer(self, clips: Sequence[np.ndarray]) -> list[Outputs]:
        """Asks for whatever the model answers.

        Args:
            clips: As for `forecast`.

        Returns:
            For each clip its outputs by name, without the batch: `forecast`; or `anomaly_score` `(time,)` and
            `clip_anomaly_score` `()`, 1 and above an alarm; or `probabilities` `(classes,)` or `(time, classes)`; or
            `value` `()` or `(time,)`. Time is the clip's own, also where the server padded it
            (`pad_variable_length_inputs`).

        Raises:
            ValueError: When a clip does not fit what the model declares.
            grpc.RpcError: See the class.
        """
        return self._logged(self._carry(self._conversation.answer(clips)), clips)

    def stream(self, clips: Iterable[np.ndarray], *, in_flight: int = 4) -> Iterator[Outputs]:
        """Asks about any number of clips, in memory that does not grow with it.

        Reads at most `in_flight * max_batch + 1` clips ahead of the outputs that were taken. Neighbours of one size
        share a request, so a request waits until there are `max_batch` of them or the next has another size:
        `max_batch=1` for clips that come slowly.

        Args:
            clips: As for `forecast`; any iterable, read in this thread.
            in_flight: Requests under way at a time.

        Yields:
            For each clip, in order, what `answer` returns.

        Raises:
            ValueError: When a clip does not fit what the model declares, after the outputs of those before it; or
                `in_flight` is below 1.
            grpc.RpcError: See the class; after the outputs of the clips before it.
        """
        _check_in_flight(in_flight)
        waiting: collections.deque[tuple[list[np.ndarray], futures.Future[list[Outputs]]]] = collections.deque()
        pool = futures.ThreadPoolExecutor(in_flight, thread_name_prefix="forecaster")

        def oldest() -> list[Outputs]:
            batch, answers = waiting.popleft()
            return self._logged(answers.result(), batch)

        try:
            for first, batch in _neighbours(clips, self._conversation.max_batch):
                if not first:  # Else each request under way would ask for what the model declares.
                    self._carry(self._conversation.check(batch))
                waiting.append((batch, pool.submit(self._carry, self._conversation.answer(batch, first))))
                if len(waiting) == in_flight:
                    yield from oldest()
            while waiting:
                yield from oldest()
        finally:
            # Nobody wants what is still under way; it ends with its deadline or the connection.
            pool.shutdown(wait=False, cancel_futures=True)

    def forecast_examples(self, examples: Sequence[bytes]) -> list[np.ndarray]:
        """Forecasts the frames after each clip given as a serialized `tf.train.SequenceExample`.

        Args:
            examples: Clips by the clip contract; they may differ in time, height and width.

        Returns:
            For each clip `(horizon, height, width, channel)` float32 in [0, 1].

        Raises:
            ValueError: When an example cannot be parsed, or the model answers something else than forecasts.
            grpc.RpcError: See the class.
        """
        return self._logged(self._carry(self._conversation.forecast_examples(examples)), examples)

    def _carry(self, exchange: Exchange[_T]) -> _T:
        """Makes the calls of an exchange, and returns its result."""
        try:
            method, request = next(exchange)
            while True:
                try:
                    response = self.call(method, request)
                except grpc.RpcError as error:
                    method, request = exchange.throw(error)
                else:
                    method, request = exchange.send(response)
        except StopIteration as finished:
            return finished.value

    def call(self, method: rpc.Method, request: Any) -> Any:
        """Makes one call as it is, and again while the server is unavailable.

        Raises:
            grpc.RpcError: See the class.
        """
        patience = _Patience(self._deadline)
        while True:
            try:
                return self._stubs[method](request, timeout=patience.left)
            except grpc.RpcError as error:
                pause = patience.pause_after(error)
            time.sleep(pause)


class AsyncClient(_Client):
    """`Client` for asyncio: the same arguments and methods, awaited. To be made inside the running event loop."""

    _open_channel = staticmethod(grpc.aio.insecure_channel)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection, and the log."""
        await self._channel.close()
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    async def metadata(self) -> ModelMetadata:
        """See `Client.metadata`."""
        return await self._carry(self._conversation.metadata())

    async def forecast(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Client.forecast`."""
        return self._logged(await self._carry(self._conversation.forecast(clips)), clips)

    async def answer(self, clips: Sequence[np.ndarray]) -> list[Outputs]:
        """See `Client.answer`."""
        return self._logged(await self._carry(self._conversation.answer(clips)), clips)

    async def stream(
        self, clips: Iterable[np.ndarray] | AsyncIterable[np.ndarray], *, in_flight: int = 4
    ) -> AsyncIterator[Outputs]:
        """See `Client.stream`; `clips` may be an asynchronous iterable too."""
        _check_in_flight(in_flight)
        waiting: collections.deque[tuple[list[np.ndarray], asyncio.Task[list[Outputs]]]] = collections.deque()

        async def oldest() -> list[Outputs]:
            batch, answers = waiting[0]
            outputs = self._logged(await answers, batch)
            waiting.popleft()
            return outputs

        try:
            async for first, batch in _async_neighbours(clips, self._conversation.max_batch):
                if not first:
                    await self._carry(self._conversation.check(batch))
                exchange = self._conversation.answer(batch, first)
                waiting.append((batch, asyncio.create_task(self._carry(exchange))))
                if len(waiting) == in_flight:
                    for outputs in await oldest():
                        yield outputs
            while waiting:
                for outputs in await oldest():
                    yield outputs
        finally:
            for _, answers in waiting:
                answers.cancel()
            await asyncio.gather(*(answers for _, answers in waiting), return_exceptions=True)

    async def forecast_examples(self, examples: Sequence[bytes]) -> list[np.ndarray]:
        """See `Client.forecast_examples`."""
        return self._logged(await self._carry(self._conversation.forecast_examples(examples)), examples)

    async def _carry(self, exchange: Exchange[_T]) -> _T:
        """Makes the calls of an exchange, and returns its result."""
        try:
            method, request = next(exchange)
            while True:
                try:
                    response = await self._call(method, request)
                except grpc.RpcError as error:
                    method, request = exchange.throw(error)
                else:
                    method, request = exchange.send(response)
        except StopIteration as finished:
            return finished.value

    async def _call(self, method: rpc.Method, request: Any) -> Any:
        patience = _Patience(self._deadline)
        while True:
            try:
                return await self._stubs[method](request, timeout=patience.left)
            except grpc.RpcError as error:
                pause = patience.pause_after(error)
            await asyncio.sleep(pause)


class _Patience:
    """How long one request may take, and when it is made again.

    Args:
        deadline: Seconds, from now.
    """

    def __init__(self, deadline: float):
        self._end = time.monotonic() + deadline
        self._attempt = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(self._end - time.monotonic(), 0)

    def pause_after(self, error: grpc.RpcError) -> float:
        """Returns the seconds to wait before the next attempt; raises `error` when there should be none."""
        self._attempt += 1
        # Half of the pause is random, so that clients of a restarted server do not come back all at once.
        pause = min(_FIRST_PAUSE * 2 ** (self._attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
        last = self._attempt == _ATTEMPTS or pause >= self.left
        if last or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise error
        return pause


def predict_stub(address: str) -> Callable[..., predict_pb2.PredictResponse]:
    """Returns the plain Predict call of the server at `address`, for messages of any size and without retries."""
    return rpc.PREDICT.stub(grpc.insecure_channel(address, options=_OPTIONS))


def _check_in_flight(requests: int) -> None:
    if requests < 1:
        raise ValueError(f"in_flight: expected at least 1, received {requests}")


def _neighbours(clips: Iterable[np.ndarray], most: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yields `(number of the first clip, clips)` of batches of consecutive clips of one size."""
    neighbours = Neighbours(most)
    for clip in clips:
        yield from neighbours.add(clip)
    yield from neighbours.rest()


async def _async_neighbours(
    clips: Iterable[np.ndarray] | AsyncIterable[np.ndarray], most: int
) -> AsyncIterator[tuple[int, list[np.ndarray]]]:
    neighbours = Neighbours(most)
    if isinstance(clips, AsyncIterable):
        async for clip in clips:
            for batch in neighbours.add(clip):
                yield batch
    else:
        for clip in clips:
            for batch in neighbours.add(clip):
                yield batch
    for batch in neighbours.rest():
        yield batch
