"""The command line.

Nothing heavy is imported before a command needs it: `--help` and configuration errors answer within a second.
"""

import dataclasses
import json
import os
import sys
import time
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.data import AsJson, data
from framecast.pipeline.cli.infer import infer
from framecast.pipeline.cli.kubeflow import kubeflow
from framecast.pipeline.cli.models import models
from framecast.pipeline.cli.runs import runs as past_runs
from framecast.pipeline.config.config import ConfigError

_state = {"debug": False}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="ConvLSTM forecasts of frame sequences: from TFRecords to TensorFlow Serving.",
)

app.add_typer(data, name="data")
app.add_typer(past_runs, name="runs")
app.add_typer(models, name="models")
app.add_typer(kubeflow, name="kubeflow")
app.command()(infer)

ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/radar.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as train.steps=500.")
]


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""
    _state["debug"] = debug


@app.command()
def run(
    config: ConfigPath,
    workdir: Annotated[str, typer.Option(help="Artifacts, metadata and records of runs.")] = "work",
    overrides: Overrides = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="COMPONENT", help="First component to run.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="COMPONENT", help="Last component to run.")] = None,
    span: Annotated[
        str | None,
        typer.Option(
            metavar="latest|N",
            help="Of {SPAN} in data.train: the newest span that is whole, nothing to do if a run ended with it before; "
            "or span N, run again if need be.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, push.

    Exits with 0 when the model was pushed or nothing changed, 3 when it lost, 2 on bad usage, 1 when the run failed.
    """
    from framecast.pipeline.component_names import check_component
    from framecast.pipeline.config import config as configuration
    from framecast.pipeline.runs import run as runs

    for name in filter(None, (from_, to)):
        try:
            check_component(name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    result = runs.run(configuration.load(config, overrides or []), workdir, from_, to, as_json, span)
    if as_json:
        print(json.dumps(dataclasses.asdict(result)))
    raise typer.Exit(result.exit_code)


@app.command()
def check(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Try a configuration in seconds: read a few clips, take a training step, call every signature."""
    from framecast.pipeline.config import config as configuration
    from framecast.pipeline.config.inputs import find_inputs

    started = time.monotonic()
    resolved = configuration.load(config, overrides or [])
    inputs = find_inputs(resolved)
    if not as_json:
        print(configuration.to_yaml(resolved), flush=True)
    with quiet.heavy_imports():
        from framecast.pipeline.commands import check as checks
    findings = checks.check(resolved, inputs)
    findings["seconds"] = round(time.monotonic() - started, 1)
    if as_json:
        print(json.dumps({"config": resolved.model_dump(mode="json"), "findings": findings}))
    else:
        for name, value in findings.items():
            print(f"{name}: {value}")


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An exported model, or a folder of versions, of which the newest.")
    ],
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIPS...", help="TFRecords of clips, plain or gzip, folders or patterns.")
    ],
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Another exported model, to be compared with.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Hold the model to the thresholds of this configuration, on its engine."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate an exported model on clips, as the pipeline's Evaluator does, beside reference forecasts.

    Exits with 0 when every threshold was met, 3 when one was missed, 2 on bad usage, 1 on failure.
    """
    from framecast.clips import filesystem
    from framecast.clips.records import find_files
    from framecast.pipeline.commands import comparable
    from framecast.pipeline.config.beam import BeamSpec
    from framecast.serving.exported_model import find_model

    subject = find_model(model)
    other = find_model(against) if against else None
    if other:
        comparable.check_comparable(subject, other)
    given = comparable.read_config(config, subject) if config else None
    files = list(dict.fromkeys(find_files(clips)))
    beam = given.beam if given else BeamSpec()
    flags = beam.beam_flags(filesystem.total_size(files))
    with quiet.heavy_imports():
        from framecast.pipeline.commands import evaluate as evaluation

        # What TensorFlow and Beam log of every pipeline, and of an error that is told below.
        found = evaluation.evaluate(subject, files, other, given.evaluate if given else None, flags)
    print(json.dumps(found.to_json()) if as_json else found.describe())
    raise typer.Exit(0 if found.verdict.blessed else 3)


@app.command()
def serve(
    model_base_path: Annotated[
        str | None, typer.Argument(help="Folder of numbered versions, such as push.directory.", show_default=False)
    ] = None,
    model_name: Annotated[str, typer.Option("--model_name", help="Name that requests ask for.")] = "framecast",
    model_config_file: Annotated[
        str | None, typer.Option("--model_config_file", help="Instead of a folder: a ModelServerConfig as text.")
    ] = None,
    model_config_poll: Annotated[
        float,
        typer.Option("--model_config_file_poll_wait_seconds", help="Read it anew after so long; 0 for never."),
    ] = 0.0,
    labels_of_unavailable: Annotated[
        bool,
        typer.Option(
            "--allow_version_labels_for_unavailable_models", help="New labels may name versions not loaded yet."
        ),
    ] = False,
    file_system_poll: Annotated[
        float, typer.Option("--file_system_poll_wait_seconds", help="Look for new versions after so long.")
    ] = 1.0,
    enable_batching: Annotated[
        bool, typer.Option("--enable_batching", help="Requests of equal shapes share runs of the model.")
    ] = False,
    batching_parameters_file: Annotated[
        str | None, typer.Option("--batching_parameters_file", help="BatchingParameters as text.")
    ] = None,
    grpc_max_threads: Annotated[
        int | None, typer.Option("--grpc_max_threads", min=1, help="Calls answered at the same time.")
    ] = None,
    grpc_channel_arguments: Annotated[
        str,
        typer.Option(
            "--grpc_channel_arguments",
            help="Such as grpc.max_receive_message_length=100000000; by default what memory should bear.",
        ),
    ] = "",
    port: Annotated[int, typer.Option(help="gRPC port; 0 takes a free one.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Serve over gRPC on this machine, as a stand-in for TensorFlow Serving, which production uses.

    Flags are named as TensorFlow Serving names them.
    """
    if (model_base_path is None) == (model_config_file is None):
        raise ConfigError("serve: expected either a folder of versions or --model_config_file")
    if batching_parameters_file and not enable_batching:
        raise ConfigError("--batching_parameters_file: expected --enable_batching with it")
    with quiet.heavy_imports():
        from framecast.serving.server import batching
        from framecast.serving.server import options as server_options
        from framecast.serving.server.model_config import one_model, read_model_config
        from framecast.serving.server.serve import serve_forever
        from framecast.serving.server.server import Server

    threads = {} if grpc_max_threads is None else {"grpc_max_threads": grpc_max_threads}
    options = server_options.ServerOptions(
        batching=(
            batching.read_batching(batching_parameters_file)
            if batching_parameters_file
            else batching.BatchingParameters()
        )
        if enable_batching
        else None,
        file_system_poll_wait_seconds=file_system_poll,
        model_config_file=model_config_file,
        model_config_file_poll_wait_seconds=model_config_poll,
        allow_version_labels_for_unavailable_models=labels_of_unavailable,
        grpc_channel_arguments=server_options.parse_channel_arguments(grpc_channel_arguments),
        **threads,
    )
    config = one_model(model_name, model_base_path) if model_base_path else read_model_config(str(model_config_file))

    def ready(running: Server) -> None:
        served = {name: list(running.models.versions(name)) for name in running.models.names}
        if as_json:
            print(json.dumps({"port": running.port, "models": served}), flush=True)
        else:
            models = ", ".join(f"{name} {', '.join(map(str, versions))}" for name, versions in served.items())
            print(
                f"serving {models} on {host}:{running.port}\n"
                "for this machine alone: production uses TensorFlow Serving",
                flush=True,
            )

    serve_forever(config, host=host, port=port, options=options, ready=ready)


@app.command()
def query(
    clips: Annotated[
        list[str],
        typer.Argument(
            metavar="CLIPS...",
            help="TFRecords of clips, or videos, images, .npy or .npz arrays: files, folders or patterns of one kind.",
        ),
    ],
    address: Annotated[
        str, typer.Option(help="Address of TensorFlow Serving or of framecast serve.")
    ] = "127.0.0.1:8500",
    model: Annotated[str, typer.Option(help="Name of the served model.")] = "framecast",
    label: Annotated[
        str | None, typer.Option(help="Label of the version to ask, such as stable; the newest unless given.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0, help="Seconds that a request may take.")] = 60.0,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Cut the last frames off and score the forecast against them.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Ask for this many clips at most.")] = 16,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Write the answers here, in place of what is there: .gif, .npz, .tfrecord, .tfrecord.gz, .parquet or "
            ".nc (CF NetCDF). May be given several times.",
        ),
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The model's framecast.json, its folder or the folder of versions: it says what a pixel stands for. "
            "Unless given, clips say it themselves.",
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second of images and arrays; videos are brought to it.")
    ] = None,
    gray: Annotated[bool, typer.Option("--gray", help="RGB to luminance.")] = False,
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="Resize videos, images and arrays to this.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Cut videos, images and arrays into clips of this many frames; 24 unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a server about recorded clips, videos, images or arrays, and write what it answers."""
    with quiet.heavy_imports():
        from framecast.pipeline.commands import query as queries
        from framecast.pipeline.commands.query_sources import MediaOptions

    answer = queries.query(
        clips,
        address=address,
        model=model,
        label=label,
        deadline=deadline,
        holdout=holdout,
        limit=limit,
        to=to or [],
        card=card,
        media=MediaOptions(fps=fps, gray=gray, size=size, frames=frames),
    )
    print(json.dumps(answer) if as_json else queries.describe(answer))


def main() -> None:
    """Entry point of the `framecast` command."""
    quiet.settle()
    # `model.builder: my_module:build` finds my_module.py in the current folder, as it would with `python -m`.
    sys.path.append(os.getcwd())
    from framecast.clips.records import BadFile
    from framecast.pipeline.runs.lock import WorkdirBusyError

    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except (BadFile, OSError, ValueError, WorkdirBusyError) as error:
        _fail(error, 1)
    except Exception as error:
        # A server's refusal, told by its methods: importing grpc to name its class would cost every command.
        code, details = getattr(error, "code", None), getattr(error, "details", None)
        if code is None or details is None:
            raise
        _fail(RuntimeError(f"{code().name}: {details()}"), 1)


def _fail(error: Exception, code: int) -> None:
    if _state["debug"]:
        raise error
    print(f"framecast: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
