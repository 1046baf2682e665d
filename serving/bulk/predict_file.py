"""Predicts the clips of a file part by part, for Beam.

Three steps overlap: while the model predicts a part, the next part is read and validated, and the previous part is
encoded and written. Memory holds at most three parts.
"""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
import numpy as np
from apache_beam.utils import shared

from framecast.clips.codec import declared_value
from framecast.clips.records import BadFile, read_records
from framecast.clips.survey import Place
from framecast.clips.validation import read_frames
from framecast.schemas.clip_spec import ANY_LENGTH
from framecast.serving.bulk.folder import BulkFolder, BulkProgress
from framecast.serving.bulk.model import BulkModel
from framecast.serving.exported_model import ExportedModel
from framecast.serving.predictions import writers
from framecast.serving.predictions.prediction import Prediction

# Limits of a part, because an output file is written from memory.
_PART_CLIPS = 1000
_PART_BYTES = 64 << 20  # Frames, outputs and encoded clips.
_PARTS_IN_MEMORY = 3
_FLOAT_BYTES = 4


class PredictFile(beam.DoFn):
    """Writes predictions for the clips of an input file; yields nothing.

    Args:
        model: The model.
        folder: Folder of the output files.
        kind: Extension of the output files.
        batch: Largest batch.
        skip_bad: Whether bad clips are skipped and recorded, instead of raising ValueError.
        duplicates: Places of clips with a duplicate name, which are skipped.
    """

    def __init__(
        self,
        model: ExportedModel,
        folder: BulkFolder,
        kind: str,
        batch: int,
        skip_bad: bool,
        duplicates: dict[Place, str],
    ):
        self._exported = model
        self._spec = model.clip.model_copy(update={"frames": ANY_LENGTH})
        self._folder = folder
        self._kind = kind
        self._batch = batch
        self._skip_bad = skip_bad
        self._duplicates = duplicates
        self._shared = shared.Shared()

    def setup(self) -> None:
        """Loads the model once per worker process; its threads share it."""
        self._model: BulkModel = self._shared.acquire(lambda: BulkModel(self._exported.folder, self._batch))
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: collections.deque[concurrent.futures.Future[None]] = collections.deque()

    def process(self, file: tuple[int, str]) -> None:
        """Resumes an input file at its recorded progress; the last parts may still be pending on return."""
        number, path = file
        progress = self._folder.read(number)
        if progress.done:
            return
        try:
            for part in self._parts(path, progress):
                self._submit(number, part, dataclasses.replace(progress, bad=list(progress.bad)))
                self._wait(_PARTS_IN_MEMORY - 1)
        except Exception:
            concurrent.futures.wait(self._pending)
            self._pending.clear()
            raise

    def finish_bundle(self) -> None:
        """Waits until all parts are written, and raises their errors."""
        self._wait(0)

    def teardown(self) -> None:
        """Stops the writer thread."""
        self._writer.shutdown()

    def _submit(self, number: int, part: Sequence[Prediction], progress: BulkProgress) -> None:
        """Starts to predict a part, and to write it after the previous parts; `progress` is that after the part."""
        outputs = self._model.submit([clip.context for clip in part])
        previous = self._pending[-1] if self._pending else None
        self._pending.append(self._writer.submit(self._write, previous, number, part, outputs, progress))

    def _wait(self, most: int) -> None:
        """Waits until at most `most` parts are pending, and raises the errors of finished parts."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _parts(self, path: str, progress: BulkProgress) -> Iterator[list[Prediction]]:
        """Yields the clips of each unwritten part, without outputs, and updates `progress` to the end of the part.

        `progress.files` is updated when the output file is written.
        """
        part: list[Prediction] = []
        size = 0
        for index, record in self._records(path, progress.next):
            progress.next = index + 1
            try:
                clip = self._read(record)
            except ValueError as error:
                message = f"{path}, record {index}: {error}"
                if not self._skip_bad:
                    raise ValueError(message) from error
                progress.bad.append(message)
                continue
            if len(clip.context) < self._exported.min_served_frames:
                progress.left_out += 1
                continue
            part.append(clip)
            forecast = self._exported.horizon * clip.context[0].size * _FLOAT_BYTES
            size += len(record) + clip.context.nbytes + forecast
            if len(part) == _PART_CLIPS or size >= _PART_BYTES:
                progress.parts += 1
                yield part
                part, size = [], 0
        progress.done = True
        progress.parts += bool(part)
        yield part

    def _records(self, path: str, start: int) -> Iterator[tuple[int, bytes]]:
        """Yields the records from `start` on, without damaged ones and duplicates, which the survey has reported."""
        try:
            for index, record in read_records(path, on_corrupt=lambda *_: None):
                if index >= start and (path, index) not in self._duplicates:
                    yield index, record
        except BadFile:
            return

    def _read(self, record: bytes) -> Prediction:
        """Returns a clip without outputs; raises ValueError if the clip is bad."""
        example, frames = read_frames(record, self._spec)
        clip = Prediction(
            example,
            frames,
            None,
            {},
            self._exported.version,
            series=self._model.series,
            missing=self._spec.missing,
            value=self._spec.value or declared_value(example),
            frame_rate=self._exported.frame_rate,
        )
        if self._exported.horizon:
            _ = clip.interval  # Raises if the forecast times are unknown.
        return clip

    def _answered(self, clip: Prediction, outputs: dict[str, np.ndarray]) -> Prediction:
        """Returns the prediction with its outputs and the channels that are forecast."""
        channels = self._exported.task.forecast_channels(self._exported.clip.channels)
        return dataclasses.replace(clip, context=clip.context[..., channels], outputs=outputs)

    def _write(
        self,
        previous: concurrent.futures.Future[None] | None,
        number: int,
        part: Sequence[Prediction],
        outputs: Callable[[], list[dict[str, np.ndarray]]],
        progress: BulkProgress,
    ) -> None:
        """Writes the predictions of a part, then the progress of the input file."""
        if previous is not None:
            previous.result()  # Raises if the previous part failed, because progress must not skip a part.
        predictions = [self._answered(clip, own) for clip, own in zip(part, outputs(), strict=True)]
        prefix = f"answers-{number:05d}-{progress.parts - 1:05d}"
        groups = writers.group_by_file(f"answers.{self._kind}", predictions) if predictions else []
        for index, group in enumerate(groups):
            name = f"{prefix}{f'-{index}' if index else ''}.{self._kind}"
            with self._folder.published(name) as path:
                writers.write_predictions(path, group, model=self._exported.name)
            progress.files[name] = len(group)  # All parts of the file share this dictionary.
        self._folder.write(number, progress)
