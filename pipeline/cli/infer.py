"""Defines `framecast infer`: predictions of an exported model for many clips, without a server."""

import json
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson
from framecast.pipeline.config.config import ConfigError
from framecast.serving.bulk.spec import BATCH, KINDS


def infer(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An exported model, or a folder of versions (newest version).")
    ],
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIPS...", help="TFRecords of clips, plain or gzip, folders or patterns.")
    ],
    to: Annotated[str, typer.Option(metavar="DIR", help="A new folder, or the folder of an inference to resume.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(KINDS)}; by default tfrecord.gz for forecasts, parquet for scores and labels.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Largest batch; two batches run in parallel.")] = BATCH,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip bad clips and list them in the manifest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write forecasts, scores or labels for every clip to files in a folder, each clip once.

    The same command resumes an interrupted inference. The result is in DIR/manifest.json.
    """
    from framecast.clips import filesystem
    from framecast.clips.records import find_files
    from framecast.pipeline.config.beam import BeamSpec
    from framecast.serving.exported_model import find_model

    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--format: expected one of {', '.join(KINDS)}, received {kind}")
    subject = find_model(model)
    files = list(dict.fromkeys(find_files(clips)))
    with quiet.heavy_imports():
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from framecast.serving.bulk import inference as bulk_inference

        flags = BeamSpec().beam_flags(filesystem.total_size(files))
        manifest = bulk_inference.infer(
            subject,
            files,
            to,
            make_pipeline=lambda: beam.Pipeline(options=PipelineOptions(flags)),
            kind=kind,
            batch=batch,
            skip_bad=skip_bad,
        )
    if as_json:
        print(json.dumps({name: value for name, value in manifest.items() if name != "plan"}))
    else:
        print(bulk_inference.describe(to, manifest))
