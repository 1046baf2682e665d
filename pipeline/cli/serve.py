"""`framecast serve`: serves exported models over gRPC on this machine. Flags are named as in TensorFlow Serving."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson
from framecast.pipeline.config.config import ConfigError

if TYPE_CHECKING:
    from framecast.serving.server.batching import BatchingParameters
    from framecast.serving.server.server import Server

BasePath = Annotated[
    str | None, typer.Argument(help="Folder of numbered versions, such as push.directory.", show_default=False)
]
ModelName = Annotated[str, typer.Option("--model_name", help="Name of the model in requests.")]
ModelConfigFile = Annotated[
    str | None, typer.Option("--model_config_file", help="ModelServerConfig in text format, in place of a folder.")
]
ModelConfigPoll = Annotated[
    float,
    typer.Option(
        "--model_config_file_poll_wait_seconds", help="Seconds between two reads of --model_config_file; 0: read once."
    ),
]
LabelsOfUnavailable = Annotated[
    bool,
    typer.Option(
        "--allow_version_labels_for_unavailable_models", help="Allow labels of versions that are not loaded yet."
    ),
]
FileSystemPoll = Annotated[
    float, typer.Option("--file_system_poll_wait_seconds", help="Seconds between two searches for new versions.")
]
EnableBatching = Annotated[
    bool, typer.Option("--enable_batching", help="Batch requests of equal shapes into one run of the model.")
]
BatchingFile = Annotated[
    str | None, typer.Option("--batching_parameters_file", help="BatchingParameters in text format.")
]
MaxThreads = Annotated[
    int | None, typer.Option("--grpc_max_threads", min=1, help="Most calls that are answered at the same time.")
]
ChannelArguments = Annotated[
    str,
    typer.Option(
        "--grpc_channel_arguments",
        help="NAME=VALUE,... such as grpc.max_receive_message_length=100000000; its default depends on the memory.",
    ),
]


def serve(
    model_base_path: BasePath = None,
    model_name: ModelName = "framecast",
    model_config_file: ModelConfigFile = None,
    model_config_poll: ModelConfigPoll = 0.0,
    labels_of_unavailable: LabelsOfUnavailable = False,
    file_system_poll: FileSystemPoll = 1.0,
    enable_batching: EnableBatching = False,
    batching_parameters_file: BatchingFile = None,
    grpc_max_threads: MaxThreads = None,
    grpc_channel_arguments: ChannelArguments = "",
    port: Annotated[int, typer.Option(help="gRPC port; 0: any free port.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Serve models over gRPC on this machine; in production, use TensorFlow Serving.

    Flags are named as in TensorFlow Serving.
    """
    if (model_base_path is None) == (model_config_file is None):
        raise ConfigError("serve: expected either a folder of versions or --model_config_file")
    if batching_parameters_file and not enable_batching:
        raise ConfigError("--batching_parameters_file: expected --enable_batching with it")
    with quiet.heavy_imports():
        from framecast.serving.server import options as server_options
        from framecast.serving.server.model_config import one_model, read_model_config
        from framecast.serving.server.serve import serve_forever

    threads = {} if grpc_max_threads is None else {"grpc_max_threads": grpc_max_threads}
    options = server_options.ServerOptions(
        batching=_batching(batching_parameters_file) if enable_batching else None,
        file_system_poll_wait_seconds=file_system_poll,
        model_config_file=model_config_file,
        model_config_file_poll_wait_seconds=model_config_poll,
        allow_version_labels_for_unavailable_models=labels_of_unavailable,
        grpc_channel_arguments=server_options.parse_channel_arguments(grpc_channel_arguments),
        **threads,
    )
    config = one_model(model_name, model_base_path) if model_base_path else read_model_config(str(model_config_file))

    def ready(running: "Server") -> None:
        print(_banner(running, host, as_json), flush=True)

    serve_forever(config, host=host, port=port, options=options, ready=ready)


def _batching(path: str | None) -> "BatchingParameters":
    from framecast.serving.server import batching

    return batching.read_batching(path) if path else batching.BatchingParameters()


def _banner(server: "Server", host: str, as_json: bool) -> str:
    """Formats the port, the models and their versions of a running server."""
    served = {name: list(server.models.versions(name)) for name in server.models.names}
    if as_json:
        return json.dumps({"port": server.port, "models": served})
    models = ", ".join(f"{name} {', '.join(map(str, versions))}" for name, versions in served.items())
    return f"serving {models} on {host}:{server.port}\nfor this machine only: in production, use TensorFlow Serving"
