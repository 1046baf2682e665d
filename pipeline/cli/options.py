"""Defines the arguments and options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/radar.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, such as train.steps=500; a mapping replaces the whole value, null removes it.",
    ),
]
