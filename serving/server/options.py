"""Defines the server's options and the arguments of its gRPC channel.

options = ServerOptions(grpc_channel_arguments=parse_channel_arguments("grpc.max_receive_message_length=100000000"))
"""

import dataclasses
from collections.abc import Sequence

from framecast.serving.server import admission
from framecast.serving.server.batching import BatchingParameters


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Options of the server; names and defaults are those of TensorFlow Serving's flags, if it has the flag.

    Args:
        batching: How requests are batched; None for no batching.
        file_system_poll_wait_seconds: Pause between polls of the models' folders.
        model_config_file: Configuration to read again every `model_config_file_poll_wait_seconds`.
        model_config_file_poll_wait_seconds: 0 to never read the configuration again.
        allow_version_labels_for_unavailable_models: Whether a new label may be given to a version that is not loaded.
        grpc_max_threads: Calls that are read, run or wait for a batch at the same time; up to `queue` more wait. Many,
            because a thread is cheap and each slow client blocks one.
        grpc_channel_arguments: Arguments of the gRPC server. `grpc.max_receive_message_length` also limits the total
            size of concurrent runs; its default is `admission.largest_request()`.
        queue: Limit on accepted calls; further calls are refused with RESOURCE_EXHAUSTED.
        bytes_in_flight: Limit on the total bytes of accepted requests; a request beyond it is refused with
            RESOURCE_EXHAUSTED unless no other is in flight.
        stop_seconds: Time that accepted calls get to finish when the server stops.
    """

    batching: BatchingParameters | None = None
    file_system_poll_wait_seconds: float = 1.0
    model_config_file: str | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    grpc_max_threads: int = 256
    grpc_channel_arguments: tuple[tuple[str, int | str], ...] = ()
    queue: int = 1024
    bytes_in_flight: int = admission.BYTES_IN_FLIGHT
    stop_seconds: float = 60.0


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Parses the value of TensorFlow Serving's `--grpc_channel_arguments`: `NAME=VALUE,...`, values int or str.

    Raises:
        ValueError: If a part has no value.
    """
    arguments: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"grpc_channel_arguments: expected NAME=VALUE, received {part}")
        arguments.append((name, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(arguments)


def channel_arguments(given: Sequence[tuple[str, int | str]]) -> dict[str, int | str]:
    """Returns the arguments of the gRPC server: the defaults, overridden by `given`."""
    return {
        # gRPC's own default of 4 MiB is less than one batch.
        "grpc.max_receive_message_length": admission.largest_request(),
        "grpc.max_send_message_length": -1,
        # With SO_REUSEPORT a second server on the same port would silently share the calls.
        "grpc.so_reuseport": 0,
        # A client that vanishes, or stops in the middle of a request, must not block a thread.
        "grpc.keepalive_time_ms": 20_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        **dict(given),
    }
