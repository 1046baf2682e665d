"""Surveys clip files before costly work: record counts, digests, damage and duplicate clip names.

    survey = survey_files(paths, make_pipeline, work="somewhere/.infer")
    survey.files["a.tfrecord.gz"].records, survey.faults

Reads each file once and decodes no frames. Only clip names pass between workers, so memory holds no payloads.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
import tensorflow as tf
from google.protobuf.message import DecodeError

from framecast.clips.records import BadFile, read_records
from framecast.schemas import features

Place = tuple[str, int]  # File and record index.
_FILE, _FAULT, _DUPLICATE = "file", "fault", "duplicate"


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """Record count and digest of a file.

    Args:
        records: Number of readable records.
        digest: Digest of these records, independent of the file's path.
    """

    records: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Survey:
    """The result of a survey.

    Args:
        files: Record count and digest by path.
        faults: Messages about damaged files and records.
        duplicates: By file and record, the message about a clip whose name an earlier clip already has.
    """

    files: dict[str, FileFacts]
    faults: list[str]
    duplicates: dict[Place, str]


def survey_files(paths: Sequence[str], make_pipeline: Callable[[], beam.Pipeline], work: str) -> Survey:
    """Reads every record of TFRecords of clips.

    Args:
        paths: The files.
        make_pipeline: Returns the Beam pipeline to use.
        work: A local folder for intermediate results, accessible to this process and to every worker.
    """
    path = os.path.join(work, "survey.jsonl")
    with make_pipeline() as pipeline:
        found = (
            pipeline
            | "Files" >> beam.Create(list(paths))
            | "Spread" >> beam.Reshuffle()
            | "Survey" >> beam.FlatMap(_survey).with_outputs("names", main="facts")
        )
        duplicates = found.names | beam.GroupByKey() | "Duplicates" >> beam.FlatMap(_duplicate_facts)
        (
            [found.facts, duplicates]
            | beam.Flatten()
            | "Write" >> beam.io.WriteToText(path, num_shards=1, shard_name_template="")
        )
    facts = sorted(json.loads(line) for line in pathlib.Path(path).read_text().splitlines())
    return Survey(
        {path: FileFacts(*rest) for kind, path, *rest in facts if kind == _FILE},
        [message for kind, _, message in (fact for fact in facts if fact[0] == _FAULT)],
        {(path, record): message for kind, path, record, message in (fact for fact in facts if fact[0] == _DUPLICATE)},
    )


def shared_names(name: bytes, places: Iterable[Place]) -> Iterator[tuple[str, int, str]]:
    """Yields file, record and message for each clip with this `example/id` except the first."""
    (path, index), *others = sorted(places)
    expected = f"clip {name.decode(errors='replace')}: expected a unique {features.EXAMPLE_ID}"
    for other, record in others:
        yield other, record, f"{other}, record {record}: {expected}, also used by {path}, record {index}"


def _survey(path: str) -> Iterator[str | beam.pvalue.TaggedOutput]:
    faults: list[BadFile] = []
    digest = hashlib.sha256()
    count = 0
    try:
        for index, record in read_records(path, on_corrupt=lambda fault, _: faults.append(fault)):
            count += 1
            digest.update(len(record).to_bytes(8, "big") + record)
            for name in _name(record):
                yield beam.pvalue.TaggedOutput("names", (name, (path, index)))
    except BadFile as error:
        faults.append(error)
    for fault in faults:
        yield json.dumps([_FAULT, path, str(fault)])
    yield json.dumps([_FILE, path, count, digest.hexdigest()[:32]])


def _name(record: bytes) -> Sequence[bytes]:
    """Returns the clip's name, or nothing for a clip without one; validation reports such clips."""
    try:
        context = tf.train.SequenceExample.FromString(record).context.feature
    except DecodeError:
        return []
    return context[features.EXAMPLE_ID].bytes_list.value[:1] if features.EXAMPLE_ID in context else []


def _duplicate_facts(entry: tuple[bytes, Iterable[Place]]) -> Iterator[str]:
    for fact in shared_names(*entry):
        yield json.dumps([_DUPLICATE, *fact])
