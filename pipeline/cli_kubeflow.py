"""`framecast kubeflow`: the same pipeline on Kubeflow Pipelines."""

import json
from typing import Annotated

import typer

from framecast.pipeline.cli_data import AsJson

kubeflow = typer.Typer(no_args_is_help=True, help="Run the pipeline on Kubeflow Pipelines.")


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
    from framecast.pipeline import config as configuration
    from framecast.pipeline import kubeflow_compile

    name = kubeflow_compile.pipeline_name(config)
    documents = kubeflow_compile.compile_pipeline(
        configuration.load(config, overrides or []), name, image, pipeline_root
    )
    kubeflow_compile.write(documents, output)
    parameters = {
        key: definition["defaultValue"]
        for key, definition in documents[0]["root"]["inputDefinitions"]["parameters"].items()
    }
    if as_json:
        print(json.dumps({"file": output, "pipeline": name, "parameters": parameters}))
        return
    print(f"{output}: pipeline {name}, {len(documents[0]['root']['dag']['tasks'])} tasks")
    for key, value in parameters.items():
        print(f"  {key} = {value}")
