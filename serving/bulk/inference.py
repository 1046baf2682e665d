"""Runs bulk inference: predictions for many clips, written to files, each clip exactly once.

    manifest = infer(find_model("work/serving/radar"), ["day3.tfrecord.gz"], "answers", make_pipeline=beam.Pipeline)
    manifest["clips"], manifest["files"]

One Beam worker processes a file of clips part by part, and each part becomes one output file. An interrupted inference
resumes with the first part that is not written.

Beam's `RunInference` is not used: it yields one element per batch, and the batches of a file could only be joined in a
`GroupByKey`, which holds the payloads. It is not faster either: `benchmarks/infer.py` compares both.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam

from framecast.clips.beam import original_error
from framecast.clips.declared import first_clips, not_compared
from framecast.clips.survey import Survey, survey_files
from framecast.serving import versions
from framecast.serving.bulk.folder import BulkFolder, BulkProgress
from framecast.serving.bulk.predict_file import PredictFile
from framecast.serving.bulk.spec import BATCH
from framecast.serving.bulk.verification import check_each_clip_once
from framecast.serving.exported_model import ExportedModel
from framecast.serving.predictions import writers

_SHOWN = 10  # Bad clips named in a message.


def infer(
    model: ExportedModel,
    files: Sequence[str],
    to: str,
    *,
    make_pipeline: Callable[[], beam.Pipeline],
    kind: str | None = None,
    batch: int = BATCH,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Writes predictions for all clips of the files.

    Args:
        model: The model.
        files: TFRecords of clips, plain or gzip; all frames are context.
        to: A new or empty local folder, or the folder of the same inference, interrupted or finished. Every Beam
            worker must see it.
        make_pipeline: Makes a Beam pipeline; called several times.
        kind: Extension of the output files, see `serving.predictions.writers`; by default `tfrecord.gz` for forecasts
            and `parquet` for other tasks.
        batch: Largest batch; the model runs two batches in parallel.
        skip_bad: Whether bad clips and clips with a duplicate name are skipped and listed in the manifest, instead of
            ending the inference.

    Returns:
        The content of `manifest.json`: `model` with its folder, name, version and digest; `clips`, the number of
        predictions; `left_out`, the number of clips too short for the model; `bad`, an error message for each skipped
        clip; `files`, the number of clips in each output file; `not_compared`, what the clips declare and the model
        does not know (`framecast.clips.declared.not_compared`); and the `plan`.

    Raises:
        ValueError: If a clip is bad or a file is damaged, naming file, record and clip; if no clip is long enough; or
            if the output format does not hold the model's outputs.
        FileExistsError: If the folder holds other files, or predictions of another model, format or clips.
        RuntimeError: If the output files do not have each clip exactly once.
    """
    kind = check_kind(kind, model)
    if "://" in to:
        raise ValueError(f"{to}: expected a local folder that every Beam worker sees")
    folder = BulkFolder(to)
    folder.prepare()
    paths = [path if "://" in path else os.path.abspath(path) for path in files]
    survey = survey_files(paths, make_pipeline, str(folder.state))
    digest = versions.digest(model.folder)
    plan = {
        "model": f"{model.name}, version {model.version}" if model.version else model.folder,
        "digest": digest,
        "format": kind,
        "files": {path: facts.digest for path, facts in survey.files.items()},
    }
    if (manifest := folder.begin(plan)) is not None:
        return manifest
    if not skip_bad:
        _refuse_bad([*survey.faults, *survey.duplicates.values()])
    _predict(paths, PredictFile(model, folder, kind, batch, skip_bad, survey.duplicates), make_pipeline)
    progress = [folder.read(number) for number in range(len(paths))]
    unknown = next((not_compared(example, model.clip) for _, example in first_clips(paths)), [])
    manifest = _manifest(model, digest, survey, progress) | {"not_compared": unknown, "plan": plan}
    if not manifest["clips"]:
        bad = manifest["bad"]
        raise ValueError(
            f"{', '.join(files)}: expected a clip of at least {model.min_served_frames} frames, received "
            f"{manifest['left_out']} shorter ones and {len(bad)} bad clips or files"
            + (f", the first: {bad[0]}" if bad else "")
        )
    check_each_clip_once(folder, progress, survey, make_pipeline)
    folder.finish(manifest)
    return manifest


def check_kind(kind: str | None, model: ExportedModel) -> str:
    """Returns the extension of the output files.

    Args:
        kind: Extension, or None for the default of the model's task.
        model: The model.

    Raises:
        ValueError: If the extension is unknown, the format does not hold the model's outputs, or a package is missing.
    """
    forecasts = model.task.is_forecast
    kind = kind or ("tfrecord.gz" if forecasts else "parquet")
    name = f"answers.{kind}"
    writers.check_path(name)
    if forecasts and not writers.takes_forecasts(name):
        raise ValueError(f"format {kind}: expected a model of scores or labels, received a model of forecasts")
    if not forecasts and writers.needs_forecasts(name):
        raise ValueError(f"format {kind}: expected a model of forecasts, received a model of task {model.task.kind}")
    return kind


def describe(to: str, manifest: dict[str, Any]) -> str:
    """Formats a manifest for the terminal."""
    bad = manifest["bad"]
    lines = [
        f"{manifest['clips']} clips predicted by {manifest['plan']['model']}, {manifest['left_out']} too short left out"
        + (f", {len(bad)} bad clips or files skipped:" if bad else "")
    ]
    lines += [f"  {message}" for message in bad[:_SHOWN]]
    lines += [f"not compared, because the model's card does not have it: {one}" for one in manifest["not_compared"]]
    return "\n".join([*lines, f"written: {len(manifest['files'])} files in {to}"])


def _predict(paths: Sequence[str], predict: PredictFile, make_pipeline: Callable[[], beam.Pipeline]) -> None:
    try:
        with make_pipeline() as pipeline:
            (
                pipeline
                | "Files" >> beam.Create(list(enumerate(paths)))
                | "Spread" >> beam.Reshuffle()
                | "Predict" >> beam.ParDo(predict)
            )
    except Exception as error:
        raise original_error(error) from None


def _manifest(model: ExportedModel, digest: str, survey: Survey, progress: Sequence[BulkProgress]) -> dict[str, Any]:
    skipped = [message for of_file in progress for message in of_file.bad]
    files = {name: count for of_file in progress for name, count in of_file.files.items()}
    return {
        "model": {"folder": model.folder, "name": model.name, "version": model.version, "digest": digest},
        "clips": sum(files.values()),
        "left_out": sum(of_file.left_out for of_file in progress),
        "bad": [*survey.faults, *survey.duplicates.values(), *skipped],
        "files": files,
    }


def _refuse_bad(faults: Sequence[str]) -> None:
    if not faults:
        return
    lines = [f"{len(faults)} bad clips or files:", *faults[:_SHOWN]]
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    raise ValueError("\n".join([*lines, *more]))
