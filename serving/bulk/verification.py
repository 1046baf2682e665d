"""Checks that the output files of bulk inference have each clip exactly once."""

import json
from collections.abc import Callable, Sequence

import apache_beam as beam

from framecast.clips.survey import Survey
from framecast.serving.bulk.folder import BulkFolder, BulkProgress
from framecast.serving.predictions.example_ids import read_example_ids

_SHOWN = 10  # Duplicates named in a message.


def check_each_clip_once(
    folder: BulkFolder, progress: Sequence[BulkProgress], survey: Survey, make_pipeline: Callable[[], beam.Pipeline]
) -> None:
    """Reads the clip names of all output files back and compares them with the input.

    Args:
        folder: Folder of the output files.
        progress: Progress of each input file.
        survey: Survey of the input files.
        make_pipeline: Makes a Beam pipeline.

    Raises:
        RuntimeError: If a name occurs twice, or the number of predictions differs from the number of clips.
    """
    files = [str(folder.base / name) for of_file in progress for name in of_file.files]
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
    written = counts.pop(None)
    records = sum(facts.records for facts in survey.files.values()) - len(survey.duplicates)
    expected = records - sum(of_file.left_out + len(of_file.bad) for of_file in progress)
    if counts or written != expected:
        duplicates = ", ".join(f"{name} {count} times" for name, count in sorted(counts.items())[:_SHOWN]) or "none"
        raise RuntimeError(
            f"{folder.base}: expected one prediction for each of {expected} clips, received {written} predictions; "
            f"duplicates: {duplicates}"
        )
