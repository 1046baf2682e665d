"""`framecast data`: commands on clip files, and on what becomes clips."""

import dataclasses
import json
from typing import Annotated, Any

import pydantic
import typer

from framecast.pipeline import quiet
from framecast.pipeline.config.beam import BeamSpec
from framecast.pipeline.config.config import ConfigError

data = typer.Typer(no_args_is_help=True, help="Make clip files, look into them, compare requests with them.")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

_SOURCE, _VALUE, _CUT, _OUTPUT = "What is read", "Values to pixels", "Frames to clips", "What is written"


@data.command()
def convert(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, folders or patterns.")],
    to: Annotated[str, typer.Option(metavar="DIR", help="A new folder, or that of the same conversion, stopped.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="video, images, arrays, digits (MNIST idx), grids (NetCDF, HDF5, Zarr) or examples "
            "(tf.train.Example); told from the names unless given.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    variable: Annotated[
        str | None,
        typer.Option(help="Path of the variable, or key of the frames.", rich_help_panel=_SOURCE),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(help="Axes of an array: N (recordings), T, H, W, C, such as TNHW.", rich_help_panel=_SOURCE),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second; sources with times are brought to it.", rich_help_panel=_SOURCE),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="Of the time in files' names, such as %Y%m%d%H%M.", rich_help_panel=_SOURCE),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="folders|CSV",
            help="The folder's name is the class; or a CSV: recording, label or value.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    clips: Annotated[int, typer.Option(help="Clips drawn from MNIST digits.", rich_help_panel=_SOURCE)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the drawing.", rich_help_panel=_SOURCE)] = 0,
    canvas: Annotated[int, typer.Option(help="Side of a drawn frame in pixels.", rich_help_panel=_SOURCE)] = 64,
    scale: Annotated[
        float | None, typer.Option(help="Physical value = stored * scale + offset.", rich_help_panel=_VALUE)
    ] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.", rich_help_panel=_VALUE)] = None,
    unit: Annotated[str | None, typer.Option(help="Of the physical value.", rich_help_panel=_VALUE)] = None,
    fill: Annotated[float | None, typer.Option(help="Stored value for no data.", rich_help_panel=_VALUE)] = None,
    rain_to_dbz: Annotated[
        bool, typer.Option("--rain-to-dbz", help="Rain in mm/h to dBZ, Z = 200 R^1.6.", rich_help_panel=_VALUE)
    ] = False,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range", metavar="LOW HIGH", help="Values of the least and largest pixel.", rich_help_panel=_VALUE
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="uint8, uint16 or float32; what loses nothing unless given.", rich_help_panel=_VALUE),
    ] = None,
    missing: Annotated[float | None, typer.Option(help="Pixel for no data.", rich_help_panel=_VALUE)] = None,
    gray: Annotated[bool, typer.Option("--gray", help="RGB to luminance.", rich_help_panel=_VALUE)] = False,
    frames: Annotated[
        tuple[int, int], typer.Option(metavar="MIN MAX", help="Frames of a clip.", rich_help_panel=_CUT)
    ] = (8, 24),
    stride: Annotated[
        int | None, typer.Option(help="Frames from clip to clip; MAX unless given.", rich_help_panel=_CUT)
    ] = None,
    crop: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="TOP LEFT HEIGHT WIDTH", help="In pixels.", rich_help_panel=_CUT),
    ] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="HEIGHT WIDTH", help="Resize to this, after cropping.", rich_help_panel=_CUT),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="Cut frames into squares of this side.", rich_help_panel=_CUT)
    ] = None,
    tile_stride: Annotated[
        int | None, typer.Option(help="Pixels from tile to tile; the side unless given.", rich_help_panel=_CUT)
    ] = None,
    min_content: Annotated[
        float, typer.Option(help="Least share of pixels known and not 0.", rich_help_panel=_CUT)
    ] = 0.0,
    recording_seconds: Annotated[
        float | None,
        typer.Option(help="Pieces of this length count as recordings of their own, for splits.", rich_help_panel=_CUT),
    ] = None,
    shard_mb: Annotated[float, typer.Option(help="Size of a file, roughly.", rich_help_panel=_OUTPUT)] = 150,
    gzip: Annotated[bool, typer.Option(help="Gzip tells a cut file from a whole one.", rich_help_panel=_OUTPUT)] = True,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad sources out, named in the manifest.", rich_help_panel=_OUTPUT)
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.", rich_help_panel=_OUTPUT)] = 1,
    beam_flag: Annotated[
        list[str] | None, typer.Option(help="Raw flag of Beam, after ours; repeatable.", rich_help_panel=_OUTPUT)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make clip files of videos, folders of images, NumPy arrays, NetCDF, HDF5, Zarr, MNIST digits or TFDS videos.

    The same command goes on with a conversion that was stopped. DIR/manifest.json says what came of it.
    """
    low, high = value_range or (None, None)
    spec = _spec(
        {
            "read": {
                "kind": kind,
                "variable": variable,
                "axes": axes,
                "fps": fps,
                "time_format": time_format,
                "labels": labels,
                "digits": {"clips": clips, "seed": seed, "canvas": canvas},
            },
            "value": {
                "scale": scale,
                "offset": offset,
                "unit": unit,
                "fill": fill,
                "rain_to_dbz": rain_to_dbz,
                "low": low,
                "high": high,
                "dtype": dtype,
                "missing": missing,
                "gray": gray,
            },
            "cut": {
                "frames": {"min": frames[0], "max": frames[1]},
                "stride": stride,
                "crop": crop,
                "size": size,
                "tile": tile,
                "tile_stride": tile_stride,
                "min_content": min_content,
                "recording_seconds": recording_seconds,
            },
            "shard_mb": shard_mb,
            "gzip": gzip,
        }
    )
    beam = BeamSpec(parallelism=workers, flags=tuple(beam_flag or ()))
    with quiet.heavy_imports():
        from framecast.clips.convert import pipeline as conversion
        from framecast.pipeline.cli import convert_screen

    with convert_screen.shown(to, quiet=as_json):
        manifest = conversion.convert(sources, to, spec, skip_bad=skip_bad, beam_flags=beam.beam_flags())
    if as_json:
        print(json.dumps({name: value for name, value in manifest.items() if name not in ("plan", "sources")}))
    else:
        print(convert_screen.describe(to, manifest))


@data.command()
def inspect(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="TFRecords of clips, folders or patterns.")],
    sheet: Annotated[str | None, typer.Option(help="Write a contact sheet here, a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in clip files: counts, lengths, sizes, rates, labels. Exits with 1 when something cannot be read."""
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
            help="Largest divergence that is no skew; by default 0.05, and on top of it what chance alone gives.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare logged requests with the training data of the newest run.

    Exits with 0 when they look alike, 3 when some feature does not, 2 on bad usage, 1 on failure. Lengths are not
    compared: a request is a context, without the frames that training clips have after it.
    """
    with quiet.heavy_imports():
        from framecast.pipeline.commands import skew as skews

    found = skews.compare(workdir, logged, threshold)
    print(json.dumps(dataclasses.asdict(found)) if as_json else found.describe())
    raise typer.Exit(3 if found.skewed else 0)


def _spec(values: dict[str, Any]) -> Any:
    from framecast.clips.convert.spec import ConvertSpec

    try:
        return ConvertSpec.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    """Returns a problem, headed by the option that it is about."""
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
    else:
        text = f"{problem['msg']}, received {problem['input']!r}"
    names = [part for part in problem["loc"] if isinstance(part, str)]
    if names and names[-1] not in ("read", "value", "cut"):
        text = f"{'frames' if 'frames' in names else names[-1]}: {text}"
    option, colon, rest = text.partition(":")
    return f"--{option.replace('_', '-')}{colon}{rest}"
