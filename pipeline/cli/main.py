"""The command `framecast`: collects the subcommands, and prints errors as one line with an exit code.

A command imports its heavy dependencies when it runs, so that `--help` and configuration errors answer within a second.
"""

import os
import sys
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.data import data
from framecast.pipeline.cli.evaluate import evaluate
from framecast.pipeline.cli.infer import infer
from framecast.pipeline.cli.kubeflow import kubeflow
from framecast.pipeline.cli.models import models
from framecast.pipeline.cli.query import query
from framecast.pipeline.cli.run import check, run
from framecast.pipeline.cli.runs import runs
from framecast.pipeline.cli.serve import serve
from framecast.pipeline.config.config import ConfigError

_state = {"debug": False}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="ConvLSTM forecasts of frame sequences: from TFRecords to TensorFlow Serving.",
)

for command in (run, check, evaluate, serve, query, infer):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(runs, name="runs")
app.add_typer(models, name="models")
app.add_typer(kubeflow, name="kubeflow")


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""
    _state["debug"] = debug


def main() -> None:
    """Runs the command that `sys.argv` names: the entry point `framecast`."""
    quiet.set_log_levels()
    # As with `python -m`, `model.builder: my_module:build` finds my_module.py in the current folder.
    sys.path.append(os.getcwd())
    from framecast.clips.files import FolderBusyError
    from framecast.clips.records import BadFile

    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except (BadFile, OSError, ValueError, FolderBusyError) as error:
        _fail(error, 1)
    except Exception as error:
        # A gRPC error is recognised by its methods, because importing grpc for its class would slow every command.
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
