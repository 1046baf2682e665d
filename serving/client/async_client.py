"""Provides the client for asyncio.

async with AsyncClient("localhost:8500", model="radar") as client:
    forecasts = await client.forecast(clips)
"""

import asyncio
import collections
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np

from framecast.serving import rpc
from framecast.serving.client.client import BaseClient, check_in_flight
from framecast.serving.client.protocol import Outputs, SizeBatcher
from framecast.serving.client.retry import RetryBudget
from framecast.serving.client.signatures import ModelMetadata

_T = TypeVar("_T")


class AsyncClient(BaseClient):
    """`Client` for asyncio: the same arguments and methods, awaited. Create it inside the running event loop."""

    _open_channel = staticmethod(grpc.aio.insecure_channel)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and the log."""
        await self._channel.close()
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    async def metadata(self) -> ModelMetadata:
        """See `Client.metadata`."""
        return await self._run(self._protocol.metadata())

    async def forecast(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Client.forecast`."""
        return self._logged(await self._run(self._protocol.forecast(clips)), clips)

    async def answer(self, clips: Sequence[np.ndarray]) -> list[Outputs]:
        """See `Client.answer`."""
        return self._logged(await self._run(self._protocol.answer(clips)), clips)

    async def stream(
        self, clips: Iterable[np.ndarray] | AsyncIterable[np.ndarray], *, in_flight: int = 4
    ) -> AsyncIterator[Outputs]:
        """See `Client.stream`; `clips` may be an asynchronous iterable too."""
        check_in_flight(in_flight)
        waiting: collections.deque[tuple[list[np.ndarray], asyncio.Task[list[Outputs]]]] = collections.deque()

        async def oldest() -> list[Outputs]:
            batch, answers = waiting[0]
            outputs = self._logged(await answers, batch)
            waiting.popleft()
            return outputs

        try:
            async for first, batch in _size_batches(clips, self._protocol.max_batch):
                if not first:
                    await self._run(self._protocol.check(batch))
                exchange = self._protocol.answer(batch, first)
                waiting.append((batch, asyncio.create_task(self._run(exchange))))
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
        return self._logged(await self._run(self._protocol.forecast_examples(examples)), examples)

    async def _send(self, method: rpc.Method, request: Any) -> Any:
        budget = RetryBudget(self._deadline)
        while True:
            try:
                return await self._stubs[method](request, timeout=budget.left)
            except grpc.RpcError as error:
                pause = budget.pause_after(error)
            await asyncio.sleep(pause)


async def _size_batches(
    clips: Iterable[np.ndarray] | AsyncIterable[np.ndarray], max_batch: int
) -> AsyncIterator[tuple[int, list[np.ndarray]]]:
    batcher = SizeBatcher(max_batch)
    if isinstance(clips, AsyncIterable):
        async for clip in clips:
            for batch in batcher.add(clip):
                yield batch
    else:
        for clip in clips:
            for batch in batcher.add(clip):
                yield batch
    for batch in batcher.rest():
        yield batch
