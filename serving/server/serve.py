"""Runs the server as a process, until SIGINT or SIGTERM: `python -m framecast.serving.server.serve FOLDER ...`.

serve_forever(one_model("radar", "serving/radar"), port=8500, ready=lambda server: print(server.port))
"""

import argparse
import signal
import socket
from collections.abc import Callable

from tensorflow_serving.config import model_server_config_pb2

from framecast.clips.files import write_whole
from framecast.serving.server.model_config import one_model
from framecast.serving.server.options import ServerOptions, parse_channel_arguments
from framecast.serving.server.server import Server


def serve_forever(
    config: model_server_config_pb2.ModelServerConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 8500,
    options: ServerOptions | None = None,
    ready: Callable[[Server], None],
) -> None:
    """Serves until SIGINT or SIGTERM, then lets accepted calls finish. Call it from the main thread.

    Args:
        config: See `Server`.
        host: See `Server`.
        port: See `Server`; the default is TensorFlow Serving's.
        options: See `Server`.
        ready: Called once, when the server accepts requests.
    """
    watched = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        # The C handler writes the signal's number immediately, in any thread. Python's handlers run in the main thread
        # between two instructions: one that is due as that thread falls asleep would never run.
        previous_wakeup = signal.set_wakeup_fd(writer.fileno())
        previous = {number: signal.signal(number, lambda *_: None) for number in watched}
        try:
            with Server(config, host, port, options) as server:
                ready(server)
                while reader.recv(1)[0] not in watched:
                    pass
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_wakeup)


def main(argv: list[str] | None = None) -> None:
    """Serves a folder of versions; writes the port to `--port_file` once the server accepts requests."""
    parser = argparse.ArgumentParser(prog="framecast.serving.server.serve", description=main.__doc__)
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
            write_whole(arguments.port_file, str(server.port))

    serve_forever(
        one_model(arguments.model_name, arguments.base_path),
        host=arguments.host,
        port=arguments.port,
        options=ServerOptions(grpc_channel_arguments=arguments.grpc_channel_arguments),
        ready=ready,
    )


if __name__ == "__main__":
    main()
