"""The server as a process: signals, port file and exit."""

import os
import signal
import subprocess
import sys

import grpc
import pytest

from framecast.serving.server.model_config import one_model
from framecast.serving.server.serve import serve_forever
from framecast.serving.server.server import Server
from tests.serving.server.calls import AVAILABLE, status_of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_serving_and_old_handler_returns(number, base_path):
    before = signal.getsignal(number)
    announced = []

    def ready(server: Server) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            announced.append((server.versions, status_of(channel)))
        os.kill(os.getpid(), number)

    serve_forever(one_model("toy", base_path), port=0, ready=ready)
    assert announced == [((1,), [(1, AVAILABLE, 0)])]
    assert signal.getsignal(number) is before


def test_command_announces_its_port_and_stops_cleanly(base_path, tmp_path, wait_until):
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "framecast.serving.server.serve", base_path, "--model_name=toy", "--port=0"]
    with subprocess.Popen([*command, f"--port_file={port_file}"], stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: port_file.exists() or process.poll() is not None, what="the server is up", seconds=120)
            port = int(port_file.read_text())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert status_of(channel) == [(1, AVAILABLE, 0)]
            process.terminate()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == f"toy version 1 at 127.0.0.1:{port}\n"
    assert process.returncode == 0
