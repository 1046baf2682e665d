"""Malformed, broken and slow clients: the server stays up, answers other clients and leaks nothing."""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys

import grpc
import numpy as np
import psutil
import pytest

from framecast.models.export.warmup import predict_request
from framecast.serving import rpc

_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,  # From gRPC, for bytes that are no message.
}
_CONNECTIONS, _CONCURRENT = 10_000, 500
_THREADS = 16


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    """Port and process of `framecast serve` with the toy model."""
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(7.0), base_path / "7")
    command = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.cli.main", "serve", str(base_path)]
    command += ["--model_name=toy", "--port=0", "--json", "--enable_batching", f"--grpc_max_threads={_THREADS}"]
    # Clients that do not answer for 3 s are disconnected, in place of the default 30 s.
    command += ["--grpc_channel_arguments=grpc.keepalive_time_ms=2000,grpc.http2.ping_timeout_ms=1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["port"], psutil.Process(process.pid)
            assert process.poll() is None
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def request_(random_clip):
    return predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")


@pytest.fixture(autouse=True)
def stays_up_and_keeps_nothing(server, request_, wait_until):
    """After each test, other clients are answered, and connections, threads and memory are as before."""
    port, process = server
    _answered(port, request_)
    connections, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
    yield
    _answered(port, request_)
    wait_until(lambda: process.num_fds() <= connections + 5, what="the connections are closed")
    # The server and gRPC may have started threads for answers.
    assert process.num_threads() <= threads + 2 * _THREADS
    assert process.memory_info().rss < memory + 300 * 2**20


def _answered(port, request) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        response = rpc.PREDICT.stub(channel)(request, timeout=60)
    assert response.model_spec.version.value == 7


def test_random_bytes_on_the_port(server):
    draw = random.Random(0)
    for size in (0, 1, 10, 100, 10_000, 1_000_000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server[0]), timeout=60) as client:
            client.sendall(draw.randbytes(size))
            client.shutdown(socket.SHUT_WR)
            while client.recv(2**16):
                pass


def test_random_bytes_for_every_method(server):
    draw = random.Random(1)
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}") as channel:
        for method in (rpc.PREDICT, rpc.METADATA, rpc.STATUS, rpc.RELOAD):
            call = channel.unary_unary(f"/{method.service}/{method.name}")
            for _ in range(50):
                with pytest.raises(grpc.RpcError) as caught:
                    call(draw.randbytes(draw.randrange(1, 2000)), timeout=60)
                assert caught.value.code() in _REFUSALS


def test_a_thousand_mutated_requests(server, request_):
    """Bytes of a legal request are removed, repeated or overwritten; each request gets an answer or an error."""
    draw = random.Random(2)
    legal = request_.SerializeToString()
    codes = set()
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}") as channel:
        call = channel.unary_unary(f"/{rpc.PREDICT.service}/{rpc.PREDICT.name}")
        for _ in range(1000):
            place = draw.randrange(len(legal))
            # Mostly in the fields, which are at both ends, not in the pixels between.
            place = place if draw.random() < 0.2 else draw.choice([place % 80, len(legal) - 1 - place % 80])
            length = draw.randrange(1, 8)
            new = draw.choice([b"", draw.randbytes(length), legal[place : place + length] * 2, b"\xff" * length])
            try:
                call(legal[:place] + new + legal[place + length :], timeout=60)
                codes.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.add(error.code())
    assert codes <= _REFUSALS | {grpc.StatusCode.OK}
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} < codes


def test_message_of_500_mb(server):
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}", options=rpc.ANY_SIZE) as channel:
        call = channel.unary_unary(f"/{rpc.PREDICT.service}/{rpc.PREDICT.name}")
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(500 * 10**6), timeout=120)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "500000000" in caught.value.details()


def test_ten_thousand_connections(server, request_):
    for _ in range(_CONNECTIONS // _CONCURRENT):
        with contextlib.ExitStack() as stack:
            for _ in range(_CONCURRENT):
                stack.enter_context(socket.create_connection(("127.0.0.1", server[0]), timeout=60))
            _answered(server[0], request_)


def test_clients_that_never_read_their_answer(server, request_, random_clip):
    """Responses are ten times as large as requests, and the clients never read them."""
    frame = random_clip(0, 1, 200, 200)[None]
    message = predict_request({"frames": frame, "length": np.int32([1])}, model="toy").SerializeToString()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(_client_without_window(server[0], message, len(message)))
        for _ in range(20):
            _answered(server[0], request_)


def test_more_stalled_senders_than_threads(server, request_):
    message = request_.SerializeToString()
    with contextlib.ExitStack() as stack:
        for _ in range(_THREADS + 8):
            stack.enter_context(_client_without_window(server[0], message, len(message) // 2))
        for _ in range(20):
            _answered(server[0], request_)


def test_client_killed_during_its_calls(server):
    script = (
        "import grpc, sys, threading\n"
        "call = grpc.insecure_channel(sys.argv[1]).unary_unary('/tensorflow.serving.PredictionService/Predict')\n"
        "calls = [call.future(bytes(2**20)) for _ in range(50)]\n"
        "print('calling', flush=True)\n"
        "threading.Event().wait()\n"
    )
    command = [sys.executable, "-c", script, f"127.0.0.1:{server[0]}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "calling\n"
        client.send_signal(signal.SIGKILL)


def _client_without_window(port: int, message: bytes, sent: int) -> socket.socket:
    """Sends the first `sent` bytes of a request over raw HTTP/2 (RFC 9113, RFC 7541), with a receive window of 0."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def header(name: str, value: str) -> bytes:  # A literal without indexing.
        return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{rpc.PREDICT.service}/{rpc.PREDICT.name}",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    body = (b"\x00" + struct.pack(">I", len(message)) + message)[: 5 + sent]
    assert len(body) < 65_535, "expected a request that fits into the server's initial window"
    initial_window_size = struct.pack(">HI", 4, 0)
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, initial_window_size))
    client.sendall(frame(1, 4, 1, b"".join(header(*field) for field in headers.items())))
    for start in range(0, len(body), 16_000):
        whole = sent == len(message) and start + 16_000 >= len(body)
        client.sendall(frame(0, int(whole), 1, body[start : start + 16_000]))
    return client
