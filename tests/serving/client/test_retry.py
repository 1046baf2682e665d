"""Retries of the client: only for an unavailable server, within the deadline."""

import grpc
import numpy as np
import pytest

from framecast.serving.client import Client


def test_unavailable_is_retried(fake, random_clip):
    server = fake(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    clip = random_clip(0)
    with Client(server.address, model="toy", deadline=30) as client:
        (forecast,) = client.forecast([clip])
    np.testing.assert_array_equal(forecast, np.float32(clip[-1:]))
    assert len(server.predicts) == 3


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_other_errors_are_not_retried(fake, code, random_clip):
    server = fake(code)
    with Client(server.address, model="toy", deadline=30) as client, pytest.raises(grpc.RpcError) as caught:
        client.forecast([random_clip(0)])
    assert caught.value.code() is code
    assert len(server.predicts) == 1


def test_retries_end_at_the_deadline(fake, random_clip):
    server = fake(*[grpc.StatusCode.UNAVAILABLE] * 100)
    with Client(server.address, model="toy", deadline=0.5) as client, pytest.raises(grpc.RpcError) as caught:
        client.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert 1 <= len(server.predicts) < 6
