"""Serves models over gRPC with the behaviour of TensorFlow Serving, for laptops, tests and infra validation.

    with Server(one_model("radar", "serving/radar")) as server:
        client = Client(f"127.0.0.1:{server.port}", model="radar")

Answers Predict, GetModelMetadata, GetModelStatus, HandleReloadConfigRequest and gRPC's health checks as TensorFlow
Serving does: the same folders, errors and version policies (poll every second, load the newest version, then drop the
old one). Production uses TensorFlow Serving itself, because this server has neither encryption nor authentication. It
listens on loopback only, unless `host` is given.
"""

import logging
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from framecast.serving import rpc
from framecast.serving.server import errors
from framecast.serving.server.admission import Admission
from framecast.serving.server.model_config import read_model_config
from framecast.serving.server.model_manager import ModelManager
from framecast.serving.server.options import ServerOptions, channel_arguments

_SIGNATURE_DEF = "signature_def"
_DAY = 86400.0  # Seconds.
_CONTROL_THREADS = 4  # For metadata, status and health calls, which are answered even if every other thread is busy.
_HEALTH_SERVICES = ("", "ModelService", "PredictionService")  # TensorFlow Serving's names in health checks.

_log = logging.getLogger(__name__)


class LoadError(RuntimeError):
    """A model has no version when the server starts, or its newest does not load."""


class Server:
    """Serves the models of a configuration, as a context manager.

    Args:
        config: The models, for example from `one_model`.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        options: Options of the server; the defaults if None.

    Attributes:
        port: The port, chosen on entering if 0 was given.
        models: The loaded models.

    Raises:
        LoadError: On entering, if a model has no version or its newest does not load.
        OSError: On entering, if the port is taken.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        host: str = "127.0.0.1",
        port: int = 0,
        options: ServerOptions | None = None,
    ):
        options = options or ServerOptions()
        self.port = port
        self.models = ModelManager(options.batching, options.allow_version_labels_for_unavailable_models)
        self._config = config
        self._host = host
        self._options = options
        self._stopping = threading.Event()
        self._pollers = [
            threading.Thread(target=self._repeat, args=(options.file_system_poll_wait_seconds, self.models.poll))
        ]
        if options.model_config_file and options.model_config_file_poll_wait_seconds:
            arguments = (options.model_config_file_poll_wait_seconds, self._read_config)
            self._pollers.append(threading.Thread(target=self._repeat, args=arguments))
        self._arguments = channel_arguments(options.grpc_channel_arguments)
        largest = int(self._arguments["grpc.max_receive_message_length"])
        self._admission = Admission(
            options.bytes_in_flight, sys.maxsize if largest < 0 else largest, batched=options.batching is not None
        )
        self._health = health.HealthServicer()
        self._grpc = self._make_grpc()

    @property
    def versions(self) -> tuple[int, ...]:
        """Loaded versions of the only model, newest first."""
        (name,) = self.models.names
        return self.models.versions(name)

    def __enter__(self) -> "Server":
        try:
            self.models.reload(self._config)
        except errors.ServingError as error:
            raise LoadError(str(error)) from error
        address = f"{self._host}:{self.port}"
        try:
            self.port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address}: expected a free port, received: {error}") from error
        self._grpc.start()
        for service in _HEALTH_SERVICES:
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
        control = futures.ThreadPoolExecutor(_CONTROL_THREADS, "grpc-control")
        calls = {
            rpc.PREDICT: errors.aborting(self._predict),
            rpc.RELOAD: errors.aborting(self._reload),
            rpc.METADATA: _in_pool(errors.aborting(self._metadata), control),
            rpc.STATUS: _in_pool(errors.aborting(self._status), control),
        }
        server.add_generic_rpc_handlers(rpc.handlers(calls))
        self._health.Check = _in_pool(lambda *call: health.HealthServicer.Check(self._health, *call), control)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _repeat(self, seconds: float, poll: Callable[[], None]) -> None:
        while not self._stopping.wait(seconds):
            poll()

    def _read_config(self) -> None:
        assert self._options.model_config_file is not None
        try:
            self.models.reload(read_model_config(self._options.model_config_file))
        except (OSError, ValueError, errors.ServingError) as error:  # Keep serving: the next poll may read a good file.
            _log.error("%s: configuration not applied: %s", self._options.model_config_file, error)

    # Calls.

    def _predict(self, request, context):
        servable = self.models.find(_spec(request))
        with self._admission.admit(request.ByteSize(), _seconds_left(context)):
            return servable.predict(request, _seconds_left(context))

    def _metadata(self, request, _):
        spec = _spec(request)
        if not request.metadata_field:
            raise errors.metadata_field_missing()
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise errors.metadata_field_unknown(field)
        servable = self.models.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    def _status(self, request, _):
        spec = _spec(request)
        states = self.models.states(spec.name)
        if spec.WhichOneof("version_choice") == "version":
            version = spec.version.value
            if version not in states:
                raise errors.status_not_found(spec.name, version)
            states = {version: states[version]}
        elif not states:
            raise errors.status_not_found(spec.name, None)
        newest_first = [states[version] for version in sorted(states, reverse=True)]
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=newest_first)

    def _reload(self, request, _):
        self.models.reload(request.config)
        return model_management_pb2.ReloadConfigResponse(status={"error_code": 0})


def _seconds_left(context: grpc.ServicerContext) -> float:
    """Returns the time until the call's deadline, at most a day, because TensorFlow's timers cannot hold more."""
    remaining = context.time_remaining()
    return _DAY if remaining is None else min(remaining, _DAY)


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise errors.model_spec_missing()
    return request.model_spec


def _in_pool(call: Callable[..., Any], pool: futures.ThreadPoolExecutor) -> Callable[..., Any]:
    """Wraps a handler so that gRPC runs it in `pool`."""

    def run(*arguments):
        return call(*arguments)

    run.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return run
