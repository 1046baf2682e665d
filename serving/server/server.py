"""A stand-in for TensorFlow Serving on a machine without it: laptops, tests, infra validation, and no more than that.

    with Server(one_model("radar", "serving/radar")) as server:
        forecaster = Forecaster(f"127.0.0.1:{server.port}", model="radar")

Answers Predict, GetModelMetadata, GetModelStatus, HandleReloadConfigRequest and gRPC's health checks so that a client
cannot tell the two apart: the same directory layout, the same errors, the same policy of versions (poll each second,
load the newest, then drop the old). Production serves with TensorFlow Serving itself. Only loopback can reach the
server unless `host` says otherwise: it has neither encryption nor authentication.
"""

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from framecast.serving import rpc
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.model_manager import LoadError, ServedModels, one_model, read_model_config
from framecast.serving.server.servable import ServingError

_MAX_MESSAGE = 2000  # The message of an error travels in a header; gRPC drops headers above 8 KiB.
_SIGNATURE_DEF = "signature_def"
_DAY = 86400.0  # Seconds.
_MEMORY_OF_A_BYTE = (
    512  # Bytes that a run takes a byte of frames: 450 of the most expensive preset, 32 of the cheapest.
)
_LEAST_MESSAGE = 2**24
_SIDE_THREADS = 4  # For calls that tell of the server: they answer while every other thread computes.
_SERVICES = ("", "ModelService", "PredictionService")  # TensorFlow Serving's names of them in health checks.

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """How the server behaves; names and defaults are those of TensorFlow Serving's flags where it has one.

    Args:
        batching: How requests share runs of a model; each runs alone unless given.
        file_system_poll_wait_seconds: Pause between looks at the models' folders.
        model_config_file: Read anew every `model_config_file_poll_wait_seconds`.
        model_config_file_poll_wait_seconds: 0 for never again.
        allow_version_labels_for_unavailable_models: Whether a new label may be given to a version that is not loaded.
        grpc_max_threads: Calls that are read, computed or waiting for a batch at the same time; more wait, up to
            `queue`. A thread costs little, and one that reads a slow client is of no use to the others.
        grpc_channel_arguments: Arguments of the gRPC server. `grpc.max_receive_message_length` bounds what is computed
            at the same time too; unless given it is what this machine's free memory can be expected to bear.
        queue: Calls that are accepted; more are refused with RESOURCE_EXHAUSTED.
        bytes_in_flight: What the requests that are answered may hold together; one that goes beyond is refused with
            RESOURCE_EXHAUSTED, unless it is alone.
        stop_seconds: What accepted calls get to finish when the server stops.
    """

    batching: BatchingParameters | None = None
    file_system_poll_wait_seconds: float = 1.0
    model_config_file: str | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    grpc_max_threads: int = 256
    grpc_channel_arguments: tuple[tuple[str, int | str], ...] = ()
    queue: int = 1024
    bytes_in_flight: int = 2**30
    stop_seconds: float = 60.0


class Server:
    """Serves the models of a configuration, as a context manager.

    Args:
        config: The models, such as from `one_model`.
        host: Address to listen on.
        port: Port to listen on, a free one when 0.
        options: How the server behaves.

    Raises:
        LoadError: On entering, when a model has no version or its newest does not load.
        OSError: On entering, when the port is taken.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        host: str = "127.0.0.1",
        port: int = 0,
        options: ServerOptions = ServerOptions(),
    ):
        self.port = port
        self.models = ServedModels(options.batching, options.allow_version_labels_for_unavailable_models)
        self._config = config
        self._host = host
        self._options = options
        self._stopping = threading.Event()
        self._pollers = [
            threading.Thread(target=self._every, args=(options.file_system_poll_wait_seconds, self.models.poll))
        ]
        if options.model_config_file and options.model_config_file_poll_wait_seconds:
            arguments = (options.model_config_file_poll_wait_seconds, self._read_config)
            self._pollers.append(threading.Thread(target=self._every, args=arguments))
        self._arguments = _channel_arguments(options.grpc_channel_arguments)
        largest = int(self._arguments["grpc.max_receive_message_length"])
        self._load = Load(options, sys.maxsize if largest < 0 else largest)
        self._health = health.HealthServicer()
        self._grpc = self._make_grpc()

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of the only model that answer, newest first."""
        (name,) = self.models.names
        return self.models.versions(name)

    def __enter__(self) -> "Server":
        try:
            self.models.reload(self._config)
        except ServingError as error:
            raise LoadError(str(error)) from error
        address = f"{self._host}:{self.port}"
        try:
            self.port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address}: expected a free port, received: {error}") from error
        self._grpc.start()
        for service in _SERVICES:
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        for poller in self._pollers:
            poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._health.enter_graceful_shutdown()
        self._stopping.set()
        self._grpc.stop(self._options.stop_seconds).wait()
        for poller in self._pollers:
            poller.join()
        self.models.close()

    def _make_grpc(self) -> grpc.Server:
        options = self._options
        server = grpc.server(
            futures.ThreadPoolExecutor(options.grpc_max_threads, "grpc"),
            options=list(self._arguments.items()),
            maximum_concurrent_rpcs=options.queue,
        )
        side = futures.ThreadPoolExecutor(_SIDE_THREADS, "grpc-side")
        behaviours = {
            rpc.PREDICT: _answering(self._predict),
            rpc.RELOAD: _answering(self._reload),
            rpc.METADATA: _in_pool(_answering(self._metadata), side),
            rpc.STATUS: _in_pool(_answering(self._status), side),
        }
        server.add_generic_rpc_handlers(rpc.handlers(behaviours))
        self._health.Check = _in_pool(lambda *call: health.HealthServicer.Check(self._health, *call), side)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _every(self, seconds: float, look: Callable[[], None]) -> None:
        while not self._stopping.wait(seconds):
            look()

    def _read_config(self) -> None:
        assert self._options.model_config_file is not None
        try:
            self.models.reload(read_model_config(self._options.model_config_file))
        except (OSError, ValueError, ServingError) as error:  # What is served stays; the next look may find better.
            _log.error("%s: not taken over: %s", self._options.model_config_file, error)

    # Calls.

    def _predict(self, request, context):
        loaded = self.models.find(_spec(request))
        with self._load.hold(request.ByteSize(), _seconds_left(context)):
            return loaded.predict(request, _seconds_left(context))

    def _metadata(self, request, _):
        spec = _spec(request)
        if not request.metadata_field:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        loaded = self.models.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=loaded.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = loaded.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    def _status(self, request, _):
        spec = _spec(request)
        states = self.models.states(spec.name)
        if spec.WhichOneof("version_choice") == "version":
            version = spec.version.value
            if version not in states:
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {spec.name}")
            states = {version: states[version]}
        elif not states:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        newest_first = [states[version] for version in sorted(states, reverse=True)]
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=newest_first)

    def _reload(self, request, _):
        self.models.reload(request.config)
        return model_management_pb2.ReloadConfigResponse(status={"error_code": 0})


class Load:
    """What the server takes on at a time: bytes of requests, and what it computes of them.

    Where requests are batched, the batches bound what is computed.
    """

    def __init__(self, options: ServerOptions, largest: int):
        self._most = options.bytes_in_flight
        self._largest = largest
        self._batched = options.batching is not None
        self._held = 0
        self._runs: list[int] = []  # Sizes of the requests that are computed.
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int, seconds: float) -> Iterator[None]:
        """Holds room for a request of `size` bytes, and waits for its turn at most `seconds`.

        Raises:
            ServingError: When there is no room, or the time is over.
        """
        with self._changed:
            if self._held and self._held + size > self._most:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"expected at most {self._most} bytes of requests at a time, received {size} besides {self._held}",
                )
            self._held += size
        try:
            with contextlib.nullcontext() if self._batched else self._turn(size, seconds):
                yield
        finally:
            with self._changed:
                self._held -= size

    @contextlib.contextmanager
    def _turn(self, size: int, seconds: float) -> Iterator[None]:
        def is_free() -> bool:
            # More runs than cores would not end sooner, and each holds its tensors.
            fits = len(self._runs) < (os.cpu_count() or 1) and sum(self._runs) + size <= self._largest
            return fits or not self._runs

        with self._changed:
            if not self._changed.wait_for(is_free, seconds):
                raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the request's turn")
            self._runs.append(size)
        try:
            yield
        finally:
            with self._changed:
                self._runs.remove(size)
                self._changed.notify_all()


def serve_forever(
    config: model_server_config_pb2.ModelServerConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 8500,
    options: ServerOptions = ServerOptions(),
    ready: Callable[[Server], None],
) -> None:
    """Serves until SIGINT or SIGTERM, and lets accepted calls finish; call it from the main thread.

    Args:
        config: See `Server`.
        host: See `Server`.
        port: See `Server`; TensorFlow Serving's own unless given.
        options: See `Server`.
        ready: Called once, when requests can come.
    """
    watched = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        # The C handler writes the signal's number at once, in whatever thread it runs. Python's own handlers run in the
        # main thread only, between two instructions: one that is due as that thread falls asleep would never run.
        wakeup = signal.set_wakeup_fd(writer.fileno())
        before = {number: signal.signal(number, lambda *_: None) for number in watched}
        try:
            with Server(config, host, port, options) as server:
                ready(server)
                while reader.recv(1)[0] not in watched:
                    pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Reads what TensorFlow Serving takes as `--grpc_channel_arguments`: `NAME=VALUE,...`, values numbers or words.

    Raises:
        ValueError: Naming the part that has no value.
    """
    arguments: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"grpc_channel_arguments: expected NAME=VALUE, received {part}")
        arguments.append((name, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(arguments)


def _channel_arguments(given: Sequence[tuple[str, int | str]]) -> dict[str, int | str]:
    return {
        # What a run takes is hundreds of times the frames that it is given; gRPC's own 4 MiB are less than a batch.
        "grpc.max_receive_message_length": max(psutil.virtual_memory().available // _MEMORY_OF_A_BYTE, _LEAST_MESSAGE),
        "grpc.max_send_message_length": -1,
        # Without it a second server on the same port would silently share the calls.
        "grpc.so_reuseport": 0,
        # A client that is gone without a word, or stopped in the middle of a request, does not hold a thread.
        "grpc.keepalive_time_ms": 20_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        **dict(given),
    }


def _seconds_left(context: grpc.ServicerContext) -> float:
    """Returns what is left of the call's deadline; of one without, a day, which TensorFlow's timers can hold."""
    remaining = context.time_remaining()
    return _DAY if remaining is None else min(remaining, _DAY)


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    return request.model_spec


def _answering(behaviour: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    """Returns the gRPC form of `behaviour`, whose errors become a code and a message."""

    def answer(request, context):
        try:
            return behaviour(request, context)
        except ServingError as error:
            code, message = error.code, str(error)
        except Exception as error:
            _log.exception("a call failed")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, message[:_MAX_MESSAGE])

    return answer


def _in_pool(behaviour: Callable[..., Any], pool: futures.ThreadPoolExecutor) -> Callable[..., Any]:
    """Returns a function that gRPC runs in a pool of its own."""

    def run(*call):
        return behaviour(*call)

    run.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return run


def main(argv: list[str] | None = None) -> None:
    """Serves a folder of versions; the port is written to `--port_file` once requests can come."""
    parser = argparse.ArgumentParser(prog="framecast.serving.server.server", description=main.__doc__)
    parser.add_argument("base_path")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--port_file")
    parser.add_argument("--grpc_channel_arguments", type=parse_channel_arguments, default=())
    arguments = parser.parse_args(argv)

    def ready(server: Server) -> None:
        print(f"{arguments.model_name} version {server.versions[0]} at {arguments.host}:{server.port}", flush=True)
        if arguments.port_file:
            # Renamed into place: whoever waits for the file never reads half of it.
            with open(f"{arguments.port_file}.part", "w") as file:
                file.write(str(server.port))
            os.replace(f"{arguments.port_file}.part", arguments.port_file)

    serve_forever(
        one_model(arguments.model_name, arguments.base_path),
        host=arguments.host,
        port=arguments.port,
        options=ServerOptions(grpc_channel_arguments=arguments.grpc_channel_arguments),
        ready=ready,
    )


if __name__ == "__main__":
    main()
