"""`framecast kubeflow run-local`: a compiled pipeline on this machine."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.data import AsJson
from framecast.pipeline.config.config import ConfigError


def run_local(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A compiled KFP v2 pipeline, YAML.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Runtime parameter; lists and structs as JSON."),
    ] = None,
    workdir: Annotated[str, typer.Option(help="Buckets, cache, logs and records of runs.")] = "work/run-local",
    root: Annotated[
        str | None,
        typer.Option("--pipeline-root", metavar="URI", help="Where artifacts go; the pipeline's own unless given."),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Take what KFP would take from its cache.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a compiled pipeline on this machine, without a cluster: what KFP would do, task after task.

    Each task's own command runs in this environment instead of its image, in a process and a folder of its own; object
    stores are folders under WORKDIR/store. Exits with 0 when every task ended well, 1 when one failed, 2 when the
    pipeline asks for what is not executed here, or on bad usage.
    """
    with quiet.heavy_imports():
        try:
            from framecast.pipeline.kubeflow.local import run as runs
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "kfp":
                raise
            raise ConfigError("expected the package kfp; pip install 'framecast[kubeflow]' brings it") from error

    result = runs.run_local(pipeline, workdir, parameters=parameters, root=root, cache=cache, quiet=as_json)
    if as_json:
        print(json.dumps(dataclasses.asdict(result)))
    raise typer.Exit(result.exit_code)
