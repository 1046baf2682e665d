"""`framecast kubeflow`: the same pipeline on Kubeflow Pipelines."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.pipeline.cli.data import AsJson
from framecast.pipeline.cli.kubeflow_run_local import run_local

kubeflow = typer.Typer(no_args_is_help=True, help="Run the pipeline on Kubeflow Pipelines.")
kubeflow.command("run-local")(run_local)


@kubeflow.command("compile")
def compile_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/radar.yaml.")],
    image: Annotated[str, typer.Option(help="Container image that every task runs in.")],
    pipeline_root: Annotated[
        str, typer.Option(help="Where artifacts are kept: minio://, s3:// or gs://, a bucket and a folder.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="What to write.")] = "pipeline.yaml",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as train.steps=500.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile the pipeline of a configuration to a KFP v2 specification."""
    from framecast.pipeline.config import config as configuration
    from framecast.pipeline.kubeflow import compile

    name = compile.pipeline_name(config)
    documents = compile.compile_pipeline(configuration.load(config, overrides or []), name, image, pipeline_root)
    compile.write(documents, output)
    parameters = {
        key: definition["defaultValue"]
        for key, definition in documents[0]["root"]["inputDefinitions"]["parameters"].items()
    }
    if as_json:
        print(json.dumps({"file": output, "pipeline": name, "parameters": parameters}))
        return
    print(f"{output}: pipeline {name}, {len(documents[0]['root']['dag']['tasks'])} tasks")
    for key, value in sorted(parameters.items()):
        print(f"  {key} = {value}")


@kubeflow.command()
def submit(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="What framecast kubeflow compile wrote.")],
    host: Annotated[
        str | None, typer.Option(help="Address of the KFP API, such as http://localhost:8080; not needed inside.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="The user's namespace, where KFP serves several users.")] = None,
    experiment: Annotated[str, typer.Option(help="The experiment that the run is listed under.")] = "framecast",
    cron: Annotated[
        str | None, typer.Option(help='When to run again and again, such as "0 6 * * *"; once and now unless given.')
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="In place of what was compiled: train_steps=500."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a compiled pipeline on a cluster, now or on a schedule."""
    from framecast.pipeline.kubeflow import submit as kubeflow_submit

    submission = kubeflow_submit.prepare(pipeline, experiment, namespace, cron, parameters or [])
    sent = {"host": host, **dataclasses.asdict(submission)}
    if not dry_run:
        sent |= kubeflow_submit.submit(submission, host)
    if as_json:
        print(json.dumps(sent))
        return
    for key, value in sent.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, own in value.items():
                print(f"  {name} = {own}")
        else:
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    if dry_run:
        print("dry run: nothing was sent")
