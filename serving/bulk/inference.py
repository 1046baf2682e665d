"""What a model answers about many clips, written to files: each clip once, however often it is stopped.

    manifest = infer(find_model("work/serving/radar"), ["day3.tfrecord.gz"], "answers", make_pipeline=beam.Pipeline)
    manifest["clips"], manifest["files"]

A file of clips is answered part after part by one worker, and a part is one file of answers. While the model answers a
part, the next one is read and checked, and the one before is encoded and written: memory holds three. Beam's
`RunInference` would pass every batch on as an element: what becomes of the batches of a file would meet again only in a
`GroupByKey`, which holds payloads. Nor does it gain speed: `benchmarks/infer.py` has it beside this.
"""

import collections
import concurrent.futures
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils import shared

from framecast.clips.beam_errors import original_error
from framecast.clips.codec import own_value
from framecast.clips.records import BadFile, read_records
from framecast.clips.survey import Place, Survey, survey_files
from framecast.clips.validation import read_frames
from framecast.schemas.clip_spec import ANY_LENGTH
from framecast.serving import versions
from framecast.serving.bulk.folder import BulkFolder, BulkProgress
from framecast.serving.bulk.model import BulkModel
from framecast.serving.bulk.spec import BATCH
from framecast.serving.exported_model import Exported
from framecast.serving.predictions import writers
from framecast.serving.predictions.example_ids import read_example_ids
from framecast.serving.predictions.prediction import Prediction

# What a part holds at most: a file of answers is written from memory.
_PART_CLIPS = 1000
_PART_BYTES = 64 << 20  # Of frames, answers and encoded clips.
_UNDER_WAY = 3  # Parts in memory: read, answered or written.
_SHOWN = 10  # Bad clips named in the error.
_FLOAT = 4  # Bytes.


def infer(
    model: Exported,
    files: Sequence[str],
    to: str,
    *,
    make_pipeline: Callable[[], beam.Pipeline],
    kind: str | None = None,
    batch: int = BATCH,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Answers about every clip.

    Args:
        model: The model.
        files: TFRecords of clips, plain or gzip; every frame is context.
        to: A new or empty local folder, or that of the same inference, stopped earlier; every Beam worker sees it.
        make_pipeline: Makes the Beam pipelines to run on.
        kind: Ending of the files of answers, see `serving.predictions.writers`; unless given, `tfrecord.gz` for
            forecasts and else `parquet`.
        batch: Most clips of a batch; the model runs on two batches at once.
        skip_bad: Whether bad clips, and those with the name of another one, are left out and named in the manifest
            instead of ending the inference.

    Returns:
        The manifest, as it stands in `manifest.json`: `model` with its folder, name, version and digest; `clips`;
        `left_out`, how many were too short for the model; `bad`, what is wrong with each clip that was skipped;
        `files`, the clips in each file of answers; and the `plan`.

    Raises:
        ValueError: When a clip is bad or a file is damaged, naming file, record and clip; when no clip is long enough;
            or when the kind of file does not hold such answers.
        FileExistsError: When the folder holds something else, or answers of another model or about other clips.
        RuntimeError: When a clip is not answered exactly once.
    """
    kind = check_kind(kind, model)
    if "://" in to:
        raise ValueError(f"{to}: expected a local folder, which every Beam worker sees")
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
        _refuse([*survey.faults, *survey.duplicates.values()])
    answering = _AnswerFile(model, digest, folder, kind, batch, skip_bad, survey.duplicates)
    try:
        with make_pipeline() as pipeline:
            (
                pipeline
                | "Files" >> beam.Create(list(enumerate(paths)))
                | "Spread" >> beam.Reshuffle()
                | "Answer" >> beam.ParDo(answering)
            )
    except Exception as error:
        raise original_error(error) from None
    found = [folder.read(number) for number in range(len(paths))]
    manifest = {
        "model": {"folder": model.folder, "name": model.name, "version": model.version, "digest": digest},
        "clips": sum(count for progress in found for count in progress.files.values()),
        "left_out": sum(progress.left_out for progress in found),
        "bad": [
            *survey.faults,
            *survey.duplicates.values(),
            *(message for progress in found for message in progress.bad),
        ],
        "files": {name: count for progress in found for name, count in progress.files.items()},
        "plan": plan,
    }
    if not manifest["clips"]:
        raise ValueError(
            f"{', '.join(files)}: expected a clip of at least {model.shortest} frames, received "
            f"{manifest['left_out']} shorter ones and {len(manifest['bad'])} bad clips or files"
        )
    _verify(folder, found, survey, make_pipeline)
    folder.finish(manifest)
    return manifest


def check_kind(kind: str | None, model: Exported) -> str:
    """Returns the kind of files that answers are written to.

    Raises:
        ValueError: When there is no such kind, it does not hold what the model answers, or a package is not installed.
    """
    forecasts = model.task.kind == "forecast"
    kind = kind or ("tfrecord.gz" if forecasts else "parquet")
    name = f"answers.{kind}"
    writers.check_path(name)
    if forecasts and not writers.takes_forecasts(name):
        raise ValueError(f"format {kind}: expected a model of scores or labels, received one of forecasts")
    if not forecasts and writers.needs_forecasts(name):
        raise ValueError(f"format {kind}: expected a model of forecasts, received one of {model.task.kind}")
    return kind


def describe(to: str, manifest: dict[str, Any]) -> str:
    """Returns the manifest as text for a person."""
    bad = manifest["bad"]
    lines = [
        f"{manifest['clips']} clips answered by {manifest['plan']['model']}, each once; "
        f"{manifest['left_out']} too short left out" + (f", {len(bad)} bad clips or files skipped:" if bad else "")
    ]
    lines += [f"  {message}" for message in bad[:_SHOWN]]
    return "\n".join([*lines, f"written: {len(manifest['files'])} files in {to}"])


class _AnswerFile(beam.DoFn):
    """Answers about the clips of a file, part after part; yields nothing."""

    def __init__(
        self,
        model: Exported,
        digest: str,
        folder: BulkFolder,
        kind: str,
        batch: int,
        skip_bad: bool,
        duplicates: dict[Place, str],
    ):
        self._exported = model
        self._spec = model.clip.model_copy(update={"frames": ANY_LENGTH})
        self._digest = digest
        self._folder = folder
        self._kind = kind
        self._batch = batch
        self._skip_bad = skip_bad
        self._duplicates = duplicates
        self._shared = shared.Shared()

    def setup(self) -> None:
        """Opens the model, once a worker process, however many of its threads answer."""
        self._model: BulkModel = self._shared.acquire(lambda: BulkModel(self._exported.folder, self._batch))
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._under_way: collections.deque[concurrent.futures.Future[None]] = collections.deque()

    def process(self, file: tuple[int, str]) -> None:
        """Goes on where an earlier run has stopped; the last parts may be under way still when it returns."""
        number, path = file
        progress = self._folder.read(number)
        if progress.done:
            return
        try:
            for part in self._parts(path, progress):
                self._begin(number, part, dataclasses.replace(progress, bad=list(progress.bad)))
                self._wait(_UNDER_WAY - 1)
        except Exception:
            concurrent.futures.wait(self._under_way)
            self._under_way.clear()
            raise

    def finish_bundle(self) -> None:
        """Waits until all that was read is answered and written; raises what that raised."""
        self._wait(0)

    def teardown(self) -> None:
        """Ends the thread that writes."""
        self._writer.shutdown()

    def _begin(self, number: int, part: Sequence[Prediction], progress: BulkProgress) -> None:
        """Has a part answered, and written once it and those before are; `progress` is as of its end."""
        outputs = self._model.ask([clip.context for clip in part])
        before = self._under_way[-1] if self._under_way else None
        self._under_way.append(self._writer.submit(self._write, before, number, part, outputs, progress))

    def _wait(self, most: int) -> None:
        """Waits until at most so many parts are under way; raises what an ended one raised."""
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _parts(self, path: str, progress: BulkProgress) -> Iterator[list[Prediction]]:
        """Yields the clips of each part that is not written yet, outputs to come; `progress` is as of their end.

        Files of answers are not in it: they are counted when they are written.
        """
        part: list[Prediction] = []
        size = 0
        for index, record in self._records(path, progress.next):
            progress.next = index + 1
            try:
                clip = self._clip(record)
            except ValueError as error:
                message = f"{path}, record {index}: {error}"
                if not self._skip_bad:
                    raise ValueError(message) from error
                progress.bad.append(message)
                continue
            if len(clip.context) < self._exported.shortest:
                progress.left_out += 1
                continue
            part.append(clip)
            forecast = self._exported.horizon * clip.context[0].size * _FLOAT
            size += len(record) + clip.context.nbytes + forecast
            if len(part) == _PART_CLIPS or size >= _PART_BYTES:
                progress.parts += 1
                yield part
                part, size = [], 0
        progress.done = True
        progress.parts += bool(part)
        yield part

    def _records(self, path: str, start: int) -> Iterator[tuple[int, bytes]]:
        """Yields the records to look at; which are damaged or have a name that is taken the survey has told."""
        try:
            for index, record in read_records(path, on_corrupt=lambda *_: None):
                if index >= start and (path, index) not in self._duplicates:
                    yield index, record
        except BadFile:
            return

    def _clip(self, record: bytes) -> Prediction:
        """Returns a clip to be answered; raises ValueError when it is bad."""
        example, frames = read_frames(record, self._spec)
        clip = Prediction(
            example,
            frames,
            None,
            {},
            self._exported.version,
            series=self._model.series,
            missing=self._spec.missing,
            value=self._spec.value or own_value(example),
            frame_rate=self._exported.frame_rate,
        )
        if self._exported.horizon:
            _ = clip.interval  # The times of a forecast must be known.
        return clip

    def _write(
        self,
        before: concurrent.futures.Future[None] | None,
        number: int,
        part: Sequence[Prediction],
        outputs: Callable[[], list[dict[str, np.ndarray]]],
        progress: BulkProgress,
    ) -> None:
        """Writes the answers about a part, and how far the file has come by it."""
        if before is not None:
            before.result()  # Raises what kept the part before from being written: progress must not pass it.
        answers = [dataclasses.replace(clip, outputs=own) for clip, own in zip(part, outputs(), strict=True)]
        prefix = f"answers-{number:05d}-{progress.parts - 1:05d}"
        groups = writers.in_files(f"answers.{self._kind}", answers) if answers else []
        for group, alike in enumerate(groups):
            name = f"{prefix}{f'-{group}' if group else ''}.{self._kind}"
            with self._folder.published(name) as path:
                writers.write_predictions(path, alike, model=self._exported.name)
            progress.files[name] = len(alike)  # A dictionary that all parts of the file share.
        self._folder.write(number, progress)


def _refuse(faults: Sequence[str]) -> None:
    if not faults:
        return
    lines = [f"{len(faults)} bad clips or files:", *faults[:_SHOWN]]
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    raise ValueError("\n".join([*lines, *more]))


def _verify(
    folder: BulkFolder, found: Sequence[BulkProgress], survey: Survey, make_pipeline: Callable[[], beam.Pipeline]
) -> None:
    """Reads the names in all files of answers back, and holds them against what was read.

    Raises:
        RuntimeError: When a name is there twice, or fewer are than clips should have been answered.
    """
    files = [str(folder.base / name) for progress in found for name in progress.files]
    path = folder.state / "names.jsonl"
    with make_pipeline() as pipeline:
        names = pipeline | beam.Create(files) | beam.Reshuffle() | "Read" >> beam.FlatMap(read_example_ids)
        twice = names | beam.combiners.Count.PerElement() | beam.Filter(lambda pair: pair[1] > 1)
        total = names | beam.combiners.Count.Globally() | beam.Map(lambda count: (None, count))
        (
            [twice, total]
            | beam.Flatten()
            | beam.Map(json.dumps)
            | beam.io.WriteToText(str(path), num_shards=1, shard_name_template="")
        )
    counts: dict[str | None, int] = dict(map(json.loads, path.read_text().splitlines()))
    answered = counts.pop(None)
    records = sum(facts.records for facts in survey.files.values()) - len(survey.duplicates)
    expected = records - sum(progress.left_out + len(progress.bad) for progress in found)
    if counts or answered != expected:
        twice_named = ", ".join(f"{name} {count} times" for name, count in sorted(counts.items())[:_SHOWN]) or "none"
        raise RuntimeError(
            f"{folder.base}: expected {expected} clips answered once each, received {answered} answers, "
            f"of a clip more than once: {twice_named}"
        )
