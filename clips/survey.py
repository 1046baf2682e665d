"""What is in clip files, told before anything costly is done with them: how many records, which damage, whose names.

    survey = survey_files(paths, make_pipeline, work="somewhere/.infer")
    survey.files["a.tfrecord.gz"].records, survey.faults

One pass that decodes no frame. Of a clip only its name is passed on, so that memory does not hold payloads.
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

Place = tuple[str, int]  # File and record.
_FILE, _FAULT, _DUPLICATE = "file", "fault", "duplicate"


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """A file.

    Args:
        records: How many whole records it holds.
        digest: Of these, whatever the file is called and wherever it lies.
    """

    records: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found.

    Args:
        files: Facts by path.
        faults: Damaged files and records, each named.
        duplicates: By file and record, what is wrong with a clip that has the name of another one before it.
    """

    files: dict[str, FileFacts]
    faults: list[str]
    duplicates: dict[Place, str]


def survey_files(paths: Sequence[str], make_pipeline: Callable[[], beam.Pipeline], work: str) -> Survey:
    """Reads every record of TFRecords of clips.

    Args:
        paths: The files.
        make_pipeline: Makes the Beam pipeline to run on.
        work: A local folder, which every worker sees too, for a file of what was found.
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
    """Yields file, record and a message for each clip but the first that carries this `example/id`."""
    (path, index), *others = sorted(places)
    expected = f"clip {name.decode(errors='replace')}: expected an {features.EXAMPLE_ID} of its own"
    for other, record in others:
        yield other, record, f"{other}, record {record}: {expected}, received that of {path}, record {index}"


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
    """Returns the clip's name, and nothing when it has none: what is wrong with a clip its check says."""
    try:
        context = tf.train.SequenceExample.FromString(record).context.feature
    except DecodeError:
        return []
    return context[features.EXAMPLE_ID].bytes_list.value[:1] if features.EXAMPLE_ID in context else []


def _duplicate_facts(entry: tuple[bytes, Iterable[Place]]) -> Iterator[str]:
    for fact in shared_names(*entry):
        yield json.dumps([_DUPLICATE, *fact])
