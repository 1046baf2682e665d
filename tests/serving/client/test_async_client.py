"""The asyncio client compared with the blocking one."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest

from framecast.serving.client import AsyncClient
from tests.serving.client.examples import as_example


def awaited(address, use, **options):
    """Returns the result of the coroutine function `use`, called with an `AsyncClient`."""

    async def run():
        async with AsyncClient(address, model="toy", **options) as client:
            return await use(client)

    return asyncio.run(run())


def test_answers_equal_those_of_the_blocking_client(served, client, random_clip):
    clips = [random_clip(0), random_clip(1, 5, 16, 12), random_clip(2)]
    examples = [as_example(clip) for clip in clips]

    async def use(client):
        forecasts = await client.forecast(clips)
        from_examples = await client.forecast_examples(examples)
        streamed = [outputs["forecast"] async for outputs in client.stream(clips)]
        return forecasts, from_examples, streamed, await client.metadata(), client.version

    forecasts, from_examples, streamed, metadata, version = awaited(served[0], use)
    assert metadata == client.metadata()
    assert version == 7
    expected = client.forecast(clips), client.forecast_examples(examples), client.forecast(clips)
    for received, wanted in zip((forecasts, from_examples, streamed), expected, strict=True):
        for one, other in zip(received, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_errors_equal_those_of_the_blocking_client(fake, random_clip):
    clip = random_clip(0)
    server = fake(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    (forecast,) = awaited(server.address, lambda client: client.forecast([clip]))
    np.testing.assert_array_equal(forecast, np.float32(clip[-1:]))
    assert len(server.predicts) == 3
    with pytest.raises(grpc.RpcError) as caught:
        awaited(fake(grpc.StatusCode.INTERNAL).address, lambda client: client.forecast([clip]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    with pytest.raises(ValueError, match="clip 0: expected dtype uint8, received float32"):
        awaited(server.address, lambda client: client.forecast([np.float32(clip)]))


def test_stream_reads_ahead_only_for_requests_in_flight(fake, random_clip):
    server, read = fake(), [0]

    async def endless():
        while True:
            read[0] += 1
            yield random_clip(0)

    async def use(client):
        taken = 0
        async with contextlib.aclosing(client.stream(endless(), in_flight=3)) as stream:
            async for _ in stream:
                taken += 1
                assert read[0] - taken <= 3 * 2
                if taken == 30:
                    return taken

    assert awaited(server.address, use, max_batch=2) == 30
