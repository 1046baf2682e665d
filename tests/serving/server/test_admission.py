"""Limits on requests: size, calls and bytes in flight, concurrent runs and deadlines."""

import os

import grpc
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export import warmup
from framecast.serving.server.admission import Admission
from framecast.serving.server.errors import ServingError
from framecast.serving.server.model_config import one_model
from framecast.serving.server.options import ServerOptions, parse_channel_arguments
from framecast.serving.server.server import Server
from tests.serving.server.calls import refusal, version_of
from tests.serving.server.counting import LONG, is_refused


def test_message_above_the_limit_is_refused(base_path, channel_to, request_):
    options = ServerOptions(grpc_channel_arguments=parse_channel_arguments("grpc.max_receive_message_length=100000"))
    large = warmup.predict_request({"frames": np.zeros((1, 3, 256, 256, 1), np.uint8), "length": [3]}, model="toy")
    with Server(one_model("toy", base_path), options=options) as server:
        channel = channel_to(server)
        code, message = refusal(channel, large)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "100000" in message
        assert version_of(channel, request_) == 1


def test_small_request_declaring_a_huge_tensor_is_refused(base_path, channel_to, request_):
    vast = tf.make_tensor_proto(np.zeros((1, 1, 1, 1, 1), np.uint8))
    vast.tensor_shape.dim[2].size = 2**40
    request_.inputs["frames"].CopyFrom(vast)
    with Server(one_model("toy", base_path)) as server:
        code, message = refusal(channel_to(server), request_)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert message.startswith("input frames: expected at most")


def test_calls_beyond_the_queue_are_refused(slow_server, accepted, wait_until):
    _, count = slow_server(queue=1)
    call = accepted(count)
    assert tf.make_ndarray(call.result().outputs["reached"]).tolist() == [LONG]
    wait_until(lambda: not is_refused(count(1)), what="there is room again")


def test_bytes_in_flight_are_limited(slow_server, accepted):
    _, count = slow_server(bytes_in_flight=1)
    call = accepted(count)
    assert count(1).details().endswith("of 1 bytes are in flight")
    assert call.result()


def test_large_requests_run_one_after_the_other(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    admission = Admission(bytes_in_flight=2**30, largest_request=100)
    with admission.admit(60, seconds=1):
        with admission.admit(40, seconds=1):
            pass
        with pytest.raises(ServingError, match="the deadline passed before the request was started"):
            admission.admit(41, seconds=0.01).__enter__()
    with admission.admit(41, seconds=1):
        pass


def test_run_stops_at_its_deadline(slow_server, wait_until):
    _, count = slow_server(queue=1)
    call = count(10_000 * LONG, timeout=0.5)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: not is_refused(count(1)), what="the run has ended")
