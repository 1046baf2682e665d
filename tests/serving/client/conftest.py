"""Servers for the client: the embedded one with the toy model, and one with scripted answers."""

import os
from collections.abc import Callable, Iterator

import grpc
import pytest

from framecast.serving.client import Client
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server
from tests.serving.client.fake_serving import FakeServing


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """Address of a server of model `toy`, version 7, and the folder of the model."""
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(7.0), base_path / "7")
    with Server(one_model("toy", str(base_path))) as server:
        yield f"127.0.0.1:{server.port}", str(exported(7.0))


@pytest.fixture
def client(served) -> Iterator[Client]:
    """A client of `served`."""
    with Client(served[0], model="toy", deadline=30) as client:
        yield client


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeServing]]:
    """Starts a `FakeServing`."""
    servers = []

    def start(*codes: grpc.StatusCode) -> FakeServing:
        servers.append(FakeServing(codes))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
