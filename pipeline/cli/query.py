"""`framecast query`: asks a server for predictions of recorded clips, videos, images, arrays or gridded files."""

import json
from typing import Annotated

import typer

from framecast.clips.convert.spec import ANY_CLIP, ConvertSpec
from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson
from framecast.pipeline.cli.spec_options import options_of

Clips = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIPS...",
        help="TFRecords of clips, or videos, images, arrays or gridded files: files, folders or patterns of one kind.",
    ),
]
OutputFiles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Write the predictions to this file, replacing it: .gif, .npz, .tfrecord, .tfrecord.gz, .parquet or .nc "
        "(CF NetCDF). Repeatable.",
    ),
]
Card = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The model's framecast.json, its folder or the folder of versions, for the physical value of a pixel and "
        "the interval between frames, which the clips must have too. Default: the clips' own values.",
    ),
]
_PANELS = {
    "read": "Reading videos, images, arrays and gridded files",
    "value": "Values to pixels",
    "cut": "Frames to clips",
}
# Options of conversions that a query has no use for: labels, drawn digits, foreign TFRecords, and the written files.
_WITHOUT = (
    "kind",
    "labels",
    "digits",
    "raw_size",
    "raw_dtype",
    "raw_channels",
    "recording_seconds",
    "shard_mb",
    "gzip",
)


@options_of(ConvertSpec, "conversion", panels=_PANELS, defaults=ANY_CLIP, without=_WITHOUT)
def query(
    clips: Clips,
    conversion: ConvertSpec,
    address: Annotated[
        str, typer.Option(help="Address of TensorFlow Serving or of framecast serve.")
    ] = "127.0.0.1:8500",
    model: Annotated[str, typer.Option(help="Name of the served model.")] = "framecast",
    label: Annotated[
        str | None, typer.Option(help="Label of the version, such as stable; default: the newest version.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0, help="Seconds that a request may take.")] = 60.0,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Cut the last frames off and score the forecast against them.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of clips.")] = 16,
    to: OutputFiles = None,
    card: Card = None,
    as_json: AsJson = False,
) -> None:
    """Ask a server for predictions of recorded clips, videos, images, arrays or gridded files."""
    with quiet.heavy_imports():
        from framecast.pipeline.commands import query as queries

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
        conversion=conversion,
    )
    print(json.dumps(answer) if as_json else queries.describe(answer))
