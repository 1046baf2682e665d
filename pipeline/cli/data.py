"""Defines the commands of `framecast data`: convert, inspect, skew."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.clips.convert.spec import ConvertSpec
from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson
from framecast.pipeline.cli.spec_options import options_of
from framecast.pipeline.config.beam import BeamSpec

data = typer.Typer(no_args_is_help=True, help="Convert media to clip files, inspect them, detect skew of requests.")

_OUTPUT = "Output"


@data.command()
@options_of(
    ConvertSpec,
    "spec",
    panels={"read": "Reading sources", "value": "Values to pixels", "cut": "Frames to clips", "": _OUTPUT},
)
def convert(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, folders or patterns.")],
    to: Annotated[str, typer.Option(metavar="DIR", help="A new folder, or that of the same conversion to resume.")],
    spec: ConvertSpec,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip bad sources; the manifest lists them.", rich_help_panel=_OUTPUT)
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.", rich_help_panel=_OUTPUT)] = 1,
    beam_flag: Annotated[
        list[str] | None, typer.Option(help="Raw Beam flag, added last; repeatable.", rich_help_panel=_OUTPUT)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert videos, image folders, NumPy arrays, NetCDF, HDF5, Zarr, GRIB, MNIST digits or TFDS videos to clip files.

    Run the same command again to resume a stopped conversion. DIR/manifest.json has the result.
    """
    beam = BeamSpec(parallelism=workers, flags=tuple(beam_flag or ()))
    with quiet.heavy_imports():
        from framecast.clips.convert import pipeline as conversion
        from framecast.pipeline.cli import convert_screen

    with convert_screen.progress_bar(to, quiet=as_json):
        manifest = conversion.convert(sources, to, spec, skip_bad=skip_bad, beam_flags=beam.beam_flags())
    if as_json:
        print(json.dumps({name: value for name, value in manifest.items() if name not in ("plan", "sources")}))
    else:
        print(convert_screen.describe(to, manifest))


@data.command()
def inspect(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="TFRecords of clips, folders or patterns.")],
    sheet: Annotated[str | None, typer.Option(metavar="PNG", help="Write a contact sheet to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Summarize clip files: counts, lengths, sizes, rates, labels. Exits with 1 if a record or file cannot be read."""
    with quiet.heavy_imports():
        from framecast.clips import inspection

    found = inspection.inspect(paths)
    print(json.dumps(found.to_json()) if as_json else found.describe())
    if sheet:
        inspection.write_contact_sheet(sheet, found.samples)
    raise typer.Exit(1 if found.faults else 0)


@data.command()
def skew(
    workdir: Annotated[str, typer.Argument(metavar="WORKDIR", help="Work directory of the runs.")],
    logged: Annotated[
        list[str], typer.Argument(metavar="LOGGED...", help="TFRecords of logged clips, folders or patterns.")
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Largest accepted divergence; by default 0.05 plus the divergence expected by chance.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare logged requests with the training data of the newest run.

    Exits with 0 without skew, 3 if a feature is skewed, 2 on bad usage, 1 on failure. Lengths are not compared, because
    training clips also have the frames to forecast.
    """
    with quiet.heavy_imports():
        from framecast.pipeline.commands import skew as skews

    found = skews.compare(workdir, logged, threshold)
    print(json.dumps(dataclasses.asdict(found)) if as_json else found.describe())
    raise typer.Exit(3 if found.skewed else 0)
