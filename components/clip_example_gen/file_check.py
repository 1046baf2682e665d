"""Reads one input file: validates its clips and assigns them to splits."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf

from framecast.clips import records
from framecast.clips.codec import frame_size
from framecast.clips.declared import declared_by
from framecast.clips.origin import write_origin
from framecast.clips.quarantine import Fault, encode_fault
from framecast.clips.validation import BadClip, check_clip
from framecast.components.clip_example_gen.splits import is_left_out, recording_of, split_of
from framecast.components.clip_example_gen.summary import DECLARED, DUPLICATE, QUARANTINE
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec

FACTS, IDS = "facts", "ids"


class CheckFile(beam.DoFn):
    """Reads one file; outputs valid clips to their split, faults to quarantine, and a small JSON fact about each.

    Args:
        settings: The component's settings.
        sources: Name of each file as it is written to clips, by path.
        duplicates: Messages by file and record of the clips whose `example/id` an earlier clip has.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        sources: dict[str, str],
        duplicates: dict[tuple[str, int], str],
    ):
        self._spec = ClipSpec.model_validate(settings["clip"])
        self._label = LabelSpec.model_validate(settings["label"]) if settings["label"] else None
        self._split_by: str = settings["split_by"]
        self._shares: dict[str, int] = settings["shares"]
        self._min_frames: int = settings["min_frames"]
        self._sources = sources
        self._duplicates = duplicates

    def process(self, file: tuple[str, str]) -> Iterator[Any]:
        """Yields clips to the output of their split, `(example/id, place)` to `ids`, faults, and `facts`.

        Args:
            file: Name of the input split, such as `train` or `train-20261124`, and path.
        """
        input_split, path = file
        files_of, _, span = input_split.partition("-")
        shares = {"eval": 1} if files_of == "eval" else self._shares
        recordings: set[bytes] = set()
        declared: set[tuple[Any, ...]] = set()
        digest = hashlib.sha256()
        for found in self._read(path, digest):
            if isinstance(found, Fault):
                yield beam.pvalue.TaggedOutput(QUARANTINE, encode_fault(found))
                yield _fact("bad", found.reason, found.message)
                continue
            index, example, recording = found
            split = split_of(recording, shares)
            length = example.context.feature[features.LENGTH].int64_list.value[0]
            recordings.add(recording)
            write_origin(example, self._sources[path], recording, int(span) if span else None)
            name = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0]
            yield beam.pvalue.TaggedOutput(IDS, (name, (path, index)))
            yield _fact("clip", split, length, frame_size(example))
            found_in = declared_by(example, f"{path}, record {index}")
            kind = (f"{found_in.interval or 0:.3g}", found_in.value)
            if kind not in declared:
                declared.add(kind)
                value = found_in.value.model_dump() if found_in.value else None
                yield _fact(DECLARED, files_of, found_in.interval, value, found_in.place)
            if not is_left_out(split, length, self._min_frames):
                yield beam.pvalue.TaggedOutput(split, example.SerializeToString(deterministic=True))
        for recording in sorted(recordings):
            yield _fact("group", split_of(recording, shares), recording.hex())
        yield _fact("file", input_split, digest.hexdigest())

    def _read(self, path: str, digest: Any) -> Iterator[Fault | tuple[int, tf.train.SequenceExample, bytes]]:
        """Yields a file's valid clips as `(record, clip, recording)`, and its faults; updates `digest`."""
        corrupt: list[Fault] = []

        def on_corrupt(error: records.BadFile, data: bytes) -> None:
            corrupt.append(Fault(path, error.record, error.reason, str(error), data))

        count = 0
        try:
            for index, record in records.read_records(path, on_corrupt=on_corrupt):
                count += 1
                digest.update(len(record).to_bytes(8, "big") + record)
                while corrupt:
                    yield corrupt.pop(0)
                try:
                    example = check_clip(record, self._spec, self._label)
                    recording = recording_of(example, self._split_by)
                except BadClip as error:
                    yield Fault(path, index, error.reason, f"{path}, record {index}: {error}", record)
                    continue
                if (path, index) in self._duplicates:
                    yield Fault(path, index, DUPLICATE, self._duplicates[path, index], record)
                else:
                    yield index, example, recording
            if not count and not corrupt:
                yield Fault(path, 0, "empty-file", f"{path}: expected clips, received a file without records")
        except records.BadFile as error:
            yield Fault(path, error.record, error.reason, str(error))
        except (OSError, tf.errors.OpError) as error:
            yield Fault(path, 0, "unreadable-file", f"{path}: expected a readable file, received: {error}")
        yield from corrupt


def _fact(*values: Any) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(FACTS, json.dumps(values))
