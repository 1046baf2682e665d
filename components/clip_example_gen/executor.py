"""Runs the ingest: reads files with Beam, writes splits, quarantine and a summary."""

import collections
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from tfx.components.example_gen import base_example_gen_executor
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs

from framecast.clips import filesystem
from framecast.clips.origin import source_names
from framecast.clips.survey import shared_names
from framecast.components.clip_example_gen import parameters
from framecast.components.clip_example_gen.file_check import FACTS, IDS, CheckFile
from framecast.components.clip_example_gen.splits import SPLITS
from framecast.components.clip_example_gen.summary import (
    DUPLICATE,
    QUARANTINE,
    SUMMARY,
    BadClipsError,
    check_summary,
    summarise,
)


class ClipExampleGenExecutor(base_example_gen_executor.BaseExampleGenExecutor):
    """Reads, validates and writes clips in one pass, without a shuffle that holds a split in memory."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """Is not used: `Do` reads the files itself, because errors name file and record."""
        raise NotImplementedError

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Writes the splits and a summary.

        Raises:
            BadClipsError: As `check_summary`, or if a file is in two splits or spans.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = parameters.read_settings(exec_properties)
        splits, base = parameters.read_inputs(exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        files = [(split.name, path) for split in splits for path in filesystem.glob(os.path.join(base, split.pattern))]
        _check_files_once(files)
        summary = self._ingest(files, settings, artifact, {})
        if settings["max_bad_fraction"] is not None and summary["duplicates"]:
            # Shared names are known only after all clips are written: ingest again, without the later clips.
            _clear(artifact.uri)
            duplicates = {(path, record): message for path, record, message in summary["duplicates"]}
            summary = self._ingest(files, settings, artifact, duplicates)
        summary["warnings"] = check_summary(summary, settings)
        summary["spans"] = sorted({int(span) for split in splits if (span := split.name.partition("-")[2])})
        with fileio.open(os.path.join(artifact.uri, SUMMARY), "w") as file:
            file.write(json.dumps(summary, indent=1))
        artifact.set_int_custom_property("bad_clips", len(summary["bad"]))
        for split, counts in summary["splits"].items():
            artifact.set_int_custom_property(f"{split}_clips", counts["clips"])
        artifact.set_int_custom_property("short_clips", summary["short"])
        if payload_format := exec_properties.get(standard_component_specs.OUTPUT_DATA_FORMAT_KEY):
            examples_utils.set_payload_format(artifact, payload_format)

    def _ingest(
        self,
        files: list[tuple[str, str]],
        settings: dict[str, Any],
        artifact: Any,
        duplicates: dict[tuple[str, int], str],
    ) -> dict[str, Any]:
        """Writes splits and quarantine; returns the summary. Clips in `duplicates` are bad, with that message."""
        check = CheckFile(settings, source_names(path for _, path in files), duplicates)
        facts = os.path.join(artifact.uri, FACTS)
        with self._make_beam_pipeline() as pipeline:
            # One fused step from reading to writing, because the in-memory runner holds everything that is grouped,
            # flattened or shuffled. Names and facts are; frames are not.
            checked = (
                pipeline
                | "Files" >> beam.Create(files)
                | "Spread" >> beam.Reshuffle()
                | "Check" >> beam.ParDo(check).with_outputs(FACTS, IDS, QUARANTINE, *SPLITS)
            )
            for name in SPLITS:
                checked[name] | f"Write[{name}]" >> beam.io.WriteToTFRecord(
                    os.path.join(artifact_utils.get_split_uri([artifact], name), "clips"), file_name_suffix=".gz"
                )
            if settings["max_bad_fraction"] is not None:
                checked[QUARANTINE] | "WriteQuarantine" >> beam.io.WriteToTFRecord(
                    os.path.join(artifact.uri, QUARANTINE, "clips"), file_name_suffix=".gz"
                )
            duplicate_facts = checked[IDS] | beam.GroupByKey() | "Duplicates" >> beam.FlatMap(_duplicate_facts)
            (
                [checked[FACTS], duplicate_facts]
                | "FlattenFacts" >> beam.Flatten()
                | "Count" >> beam.combiners.Count.PerElement()
                | "Encode" >> beam.Map(lambda pair: json.dumps([json.loads(pair[0]), pair[1]]))
                | "WriteFacts" >> beam.io.WriteToText(facts, num_shards=1, shard_name_template="")
            )
        return summarise(facts, settings["min_frames"])


def _check_files_once(files: list[tuple[str, str]]) -> None:
    counts = collections.Counter(path for _, path in files)
    if repeated := sorted(path for path, count in counts.items() if count > 1):
        received = " and ".join(name for name, path in files if path == repeated[0])
        raise BadClipsError(f"{repeated[0]}: expected a file of one split and span, received one of {received}")


def _clear(folder: str) -> None:
    for entry in fileio.listdir(folder):
        path = os.path.join(folder, entry)
        (fileio.rmtree if fileio.isdir(path) else fileio.remove)(path)


def _duplicate_facts(entry: tuple[bytes, Iterable[tuple[str, int]]]) -> Iterator[str]:
    """Yields a fact for each clip with this `example/id` except the first."""
    for fact in shared_names(*entry):
        yield json.dumps([DUPLICATE, *fact])
