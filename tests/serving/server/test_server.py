"""The server: requests, health checks, start and stop."""

import socket

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc

from framecast.serving import rpc
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import LoadError, Server
from tests.serving.server.calls import AVAILABLE, refusal, status_of
from tests.serving.server.counting import LONG

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("shape", [(1, 3, 8, 6, 2), (3, 8, 6, 1)])
def test_wrong_shape_is_refused_with_both_shapes(base_path, channel_to, request_, shape):
    request_.inputs["frames"].CopyFrom(tf.make_tensor_proto(np.zeros(shape, np.uint8)))
    with Server(one_model("toy", base_path)) as server:
        expected = (INVALID, f"input frames: expected shape (None, None, None, None, 1), received {shape}")
        assert refusal(channel_to(server), request_) == expected


def test_outputs_are_sent_as_raw_bytes(base_path, channel_to, request_):
    with Server(one_model("toy", base_path)) as server:
        answer = rpc.PREDICT.stub(channel_to(server))(request_, timeout=30).outputs["forecast"]
    assert answer.tensor_content
    assert not answer.float_val


def test_health_and_status_answer_while_all_threads_run(slow_server, channel_to, wait_until):
    server, count = slow_server(grpc_max_threads=2)
    calls = [count(LONG) for _ in range(6)]
    channel = channel_to(server)
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert status_of(channel, "slow") == [(1, AVAILABLE, 0)]
    assert not any(call.done() for call in calls[-2:])
    assert all(call.result() for call in calls)


def test_stopping_finishes_accepted_calls(slow_server, accepted):
    server, count = slow_server(queue=1)
    call = accepted(count)
    server.__exit__()
    assert tf.make_ndarray(call.result().outputs["reached"]).tolist() == [LONG]


def test_start_without_version_is_refused_with_folder(tmp_path):
    with pytest.raises(LoadError, match=r"radar: .*toy: expected a version that loads, received no folder named by"):
        Server(one_model("radar", str(tmp_path / "toy"))).__enter__()


def test_start_with_corrupt_version_is_refused(tmp_path):
    (tmp_path / "4").mkdir()
    with pytest.raises(LoadError, match=r"version 4: .*saved_model\.pb"):
        Server(one_model("radar", str(tmp_path))).__enter__()


def test_taken_port_is_refused(base_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: expected a free port"):
            Server(one_model("toy", base_path), port=port).__enter__()
