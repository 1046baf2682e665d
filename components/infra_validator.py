"""Checks that the exported model loads in a server process and answers its warm-up requests."""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from framecast.models.export import warmup

_BLESSED = "blessed"  # TFX's Pusher reads this property.
_TIMEOUT = 300.0


class InfraError(RuntimeError):
    """The exported model cannot be served; the message names the request and the response."""


@component
def SavedModelInfraValidator(
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    code: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
) -> None:
    """Serves the model in a new process and replays its warm-up requests over gRPC.

    Blesses the model if every response is finite. Unlike TFX's InfraValidator, it needs neither Docker nor TensorFlow
    Serving.

    Args:
        model: The exported model.
        blessing: Has the properties `blessed`, `reason` and `latency_ms`: the median over the requests to the default
            signature with the smallest batch, one request per clip length.
        code: Digest of the component's code.
    """
    fileio.makedirs(blessing.uri)
    try:
        latency = _replay(path_utils.serving_model_path(model.uri))
    except InfraError as error:
        blessing.set_int_custom_property(_BLESSED, 0)
        blessing.set_string_custom_property("reason", str(error))
        name = "INFRA_NOT_BLESSED"
    else:
        blessing.set_int_custom_property(_BLESSED, 1)
        blessing.set_string_custom_property("latency_ms", f"{latency:.1f}")
        name = "INFRA_BLESSED"
    with fileio.open(os.path.join(blessing.uri, name), "w") as file:
        file.write("")


def _replay(model: str) -> float:
    """Returns the median latency in milliseconds; see `SavedModelInfraValidator`."""
    from framecast.serving.client.client import predict_stub

    with tempfile.TemporaryDirectory() as folder:
        candidate = os.path.join(folder, "candidate", "1")
        io_utils.copy_dir(model, candidate)
        # Empty, because the server would replay the requests while it loads.
        warmup.write_warmup(candidate, [])
        ready = os.path.join(folder, "port")
        command = [sys.executable, "-m", "framecast.serving.server.child", os.path.join(folder, "candidate")]
        command += ["--model_name=candidate", "--port=0", f"--port_file={ready}"]
        # Unlimited, because the warm-up contains the largest batch of the largest clips.
        command += ["--grpc_channel_arguments=grpc.max_receive_message_length=-1"]
        log = os.path.join(folder, "log")
        with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                port = _wait_for_port(process, ready, log)
                return _ask(predict_stub(f"127.0.0.1:{port}"), warmup.read_warmup(model))
            finally:
                process.kill()


def _wait_for_port(process: subprocess.Popen, ready: str, log: str) -> int:
    deadline = time.monotonic() + _TIMEOUT
    while not os.path.exists(ready):
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log, errors="replace") as file:
                tail = file.read().splitlines()[-5:]
            raise InfraError("the server did not start: " + " | ".join(tail))
        time.sleep(0.05)
    with open(ready) as file:
        return int(file.read())


def _ask(predict, requests) -> float:
    from framecast.serving.rpc import DEFAULT_SIGNATURE

    latencies: dict[int, list[float]] = {}
    for number, request in enumerate(requests):
        request.model_spec.name = "candidate"
        request.model_spec.ClearField("version_choice")
        started = time.monotonic()
        try:
            response = predict(request)
        except Exception as error:  # gRPC's error class is private
            raise InfraError(f"warm-up request {number}: {error}") from error
        if request.model_spec.signature_name in ("", DEFAULT_SIGNATURE):
            latencies.setdefault(_batch(request), []).append(1000 * (time.monotonic() - started))
        for name, tensor in response.outputs.items():
            if not np.all(np.isfinite(tf.make_ndarray(tensor))):
                raise InfraError(
                    f"warm-up request {number}, output {name}: expected finite numbers, received NaN or inf"
                )
    if not latencies:
        raise InfraError(f"expected warm-up requests to {DEFAULT_SIGNATURE} in assets.extra, found none")
    return float(np.median(latencies[min(latencies)]))


def _batch(request) -> int:
    return min(tensor.tensor_shape.dim[0].size for tensor in request.inputs.values())
