"""`framecast query`: asks a server for predictions of recorded clips, videos, images or arrays."""

import json
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson

Clips = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIPS...",
        help="TFRecords of clips, or videos, images, .npy or .npz arrays: files, folders or patterns of one kind.",
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
        help="The model's framecast.json, its folder or the folder of versions, for the physical value of a pixel. "
        "Default: the clips' own values.",
    ),
]
Size = Annotated[
    tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="Resize videos, images and arrays to this size.")
]
Frames = Annotated[
    int | None, typer.Option(min=1, help="Frames of a clip cut from videos, images and arrays; default 24.")
]


def query(
    clips: Clips,
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
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of images and arrays; videos are resampled to it.")
    ] = None,
    gray: Annotated[bool, typer.Option("--gray", help="Convert RGB to luminance.")] = False,
    size: Size = None,
    frames: Frames = None,
    as_json: AsJson = False,
) -> None:
    """Ask a server for predictions of recorded clips, videos, images or arrays."""
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
