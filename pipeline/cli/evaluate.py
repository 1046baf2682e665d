"""`framecast evaluate`: evaluates an exported model on clips, without a pipeline run."""

import json
from typing import Annotated

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An exported model, or a folder of versions: the newest one.")
    ],
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIPS...", help="TFRecords of clips, plain or gzip, folders or patterns.")
    ],
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A second exported model to compare with.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Check the thresholds of this configuration, and run on its Beam engine."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate an exported model on clips as the pipeline's Evaluator does, and compare it with baselines.

    Exits with 0 if every threshold was met, 3 if one was missed, 2 on bad usage, 1 on failure.
    """
    from framecast.clips import filesystem
    from framecast.clips.records import find_files
    from framecast.pipeline.commands import comparable
    from framecast.pipeline.config.beam import BeamSpec
    from framecast.serving.exported_model import find_model

    subject = find_model(model)
    other = find_model(against) if against else None
    if other:
        comparable.check_comparable(subject, other)
    given = comparable.read_config(config, subject) if config else None
    files = list(dict.fromkeys(find_files(clips)))
    beam = given.beam if given else BeamSpec()
    flags = beam.beam_flags(filesystem.total_size(files))
    with quiet.heavy_imports():
        from framecast.pipeline.commands import evaluate as evaluation

        # The evaluation too, because TensorFlow and Beam log every pipeline and every error, which is printed below.
        found = evaluation.evaluate(subject, files, other, given.evaluate if given else None, flags)
    print(json.dumps(found.to_json()) if as_json else found.describe())
    raise typer.Exit(0 if found.verdict.blessed else 3)
