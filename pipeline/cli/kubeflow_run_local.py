"""`framecast kubeflow run-local`: runs a compiled pipeline on this machine."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson
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
        typer.Option("--pipeline-root", metavar="URI", help="URI of the artifacts; default: the pipeline's."),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Use cached outputs where KFP would.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a compiled pipeline on this machine, without a cluster, as KFP would.

    The command of each task runs in this environment instead of its image, in a separate process and folder; object
    stores are folders under WORKDIR/store. Exits with 0 if every task succeeded, 1 if one failed, 2 on bad usage or if
    the pipeline uses a feature that is not supported here.
    """
    with quiet.heavy_imports():
        try:
            from framecast.pipeline.kubeflow.local import run as runs
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "kfp":
                raise
            raise ConfigError("the package kfp is not installed: pip install 'framecast[kubeflow]'") from error

    result = runs.run_local(pipeline, workdir, parameters=parameters, root=root, cache=cache, quiet=as_json)
    if as_json:
        print(json.dumps(dataclasses.asdict(result)))
    raise typer.Exit(result.exit_code)
