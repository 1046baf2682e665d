"""`framecast kubeflow`: compiles the pipeline for Kubeflow Pipelines, submits it, or runs the result locally."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.pipeline.cli.kubeflow_run_local import run_local
from framecast.pipeline.cli.options import AsJson, ConfigPath, Overrides

kubeflow = typer.Typer(no_args_is_help=True, help="Run the pipeline on Kubeflow Pipelines.")
kubeflow.command("run-local")(run_local)


@kubeflow.command("compile")
def compile_command(
    config: ConfigPath,
    image: Annotated[str, typer.Option(help="Container image that every task runs in.")],
    pipeline_root: Annotated[
        str, typer.Option(help="URI of the artifacts: minio://, s3:// or gs://, a bucket and a folder.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The compiled pipeline.")
    ] = "pipeline.yaml",
    name: Annotated[str | None, typer.Option(help="Pipeline name; default: framecast- and the name of CONFIG.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compile the pipeline of a configuration to a KFP v2 specification."""
    from framecast.pipeline.config import config as configuration
    from framecast.pipeline.kubeflow import compile

    name = compile.pipeline_name(config) if name is None else name
    compile.check_name(name)
    compile.check_image(image)
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
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="The file written by framecast kubeflow compile.")
    ],
    host: Annotated[
        str | None,
        typer.Option(help="Address of the KFP API, such as http://localhost:8080; default: inside the cluster."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="The user's namespace in a multi-user KFP.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment that lists the run.")] = "framecast",
    cron: Annotated[str | None, typer.Option(help='Schedule, such as "0 6 * * *"; default: one run now.')] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Replace a compiled default, such as train_steps=500."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the submission without sending it.")] = False,
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
