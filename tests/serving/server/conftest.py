"""Channels to a server, and a legal request."""

import contextlib

import grpc
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export import warmup
from framecast.serving import rpc
from framecast.serving.server.model_config import one_model
from framecast.serving.server.options import ServerOptions
from framecast.serving.server.server import Server
from tests.serving.server.counting import LONG, Counter, is_refused


@pytest.fixture
def request_(random_clip):
    """A legal Predict request to model `toy`."""
    return warmup.predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")


@pytest.fixture
def channel_to():
    """Opens channels to a server, which are closed after the test."""
    channels = []

    def connect(server: Server) -> grpc.Channel:
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=rpc.ANY_SIZE))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()


@pytest.fixture(scope="session")
def counter(tmp_path_factory) -> str:
    """Folder of versions of a `Counter`."""
    folder, module = tmp_path_factory.mktemp("slow"), Counter()
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.serve})
    return str(folder)


@pytest.fixture
def slow_server(counter, channel_to):
    """Starts a server of model `slow`; returns it, and a function that starts a call without waiting for the answer."""
    config = one_model("slow", counter)
    with contextlib.ExitStack() as stack:

        def start(**options):
            server = Server(config, options=ServerOptions(**options))
            stack.enter_context(server)
            channel = channel_to(server)

            def count(steps, timeout=120):
                request = warmup.predict_request({"steps": np.int32([steps])}, model="slow")
                return rpc.PREDICT.stub(channel).future(request, timeout=timeout)

            return server, count

        yield start


@pytest.fixture
def accepted(wait_until):
    """Starts a long call, and returns it once it is accepted, so that another call is refused."""

    def start(count):
        calls = []

        def another_is_refused():
            if not calls or calls[-1].done():  # The short call was accepted first, or sent too late.
                calls.append(count(LONG))
            return is_refused(count(1))

        wait_until(another_is_refused, what="another call is refused")
        return calls[-1]

    return start
