"""`framecast run` and `framecast check`."""

import dataclasses
import json
import time
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson, ConfigPath, Overrides
from framecast.pipeline.config.config import ConfigError


def run(
    config: ConfigPath,
    workdir: Annotated[str, typer.Option(help="Folder of artifacts, metadata and run records.")] = "work",
    overrides: Overrides = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="COMPONENT", help="First component to run.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="COMPONENT", help="Last component to run.")] = None,
    span: Annotated[
        str | None,
        typer.Option(
            metavar="latest|N",
            help="Newest span of {SPAN} in data.train. latest: the newest complete span, nothing to do if a run ended "
            "with it before. N: span N, even if a run ended with it before.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline: ingest, validate, transform, train, evaluate, push.

    Exits with 0 if the model was pushed or nothing changed, 3 if an evaluation threshold rejected the candidate (each
    missed threshold is printed), 2 on bad usage or configuration, 1 if the run failed.
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


def check(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Try a configuration in seconds: read a few clips, take one training step, call every signature."""
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
