"""Converts raw media to clip files with Beam.

    manifest = convert(["videos"], "clips", ConvertSpec())

Each worker reads sources and writes separate files, so that only names pass between workers. Files are renamed when
complete and recorded in a state folder, so that a stopped conversion resumes. `manifest.json` is written last.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from framecast.clips.beam import BEAM_RUNNER
from framecast.clips.convert import left_out, state, value_range
from framecast.clips.convert.manifest import make_manifest
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.labels import Labels
from framecast.clips.convert.sources.source import Source, size_of
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.convert.unit_writer import Unit, UnitWriter
from framecast.clips.records import MANIFEST

_UNIT_BYTES = 128 << 20  # Size of the sources in one unit of work; small sources share a clip file.
_SHOWN = 10


class BadSourcesError(ValueError):
    """One or more sources cannot be converted; the message lists them."""


@dataclasses.dataclass(frozen=True)
class ConversionProgress:
    """Progress of a conversion.

    Args:
        clips: Clips written, including earlier runs.
        sources: Sources read completely.
        all_sources: Total number of sources.
    """

    clips: int
    sources: int
    all_sources: int


def convert(
    paths: Sequence[str],
    directory: str | os.PathLike[str],
    spec: ConvertSpec,
    *,
    skip_bad: bool = False,
    beam_flags: Sequence[str] = (f"--runner={BEAM_RUNNER}",),
) -> dict[str, Any]:
    """Converts sources to clip files in `directory`.

    Args:
        paths: Files, folders (searched recursively) and glob patterns.
        directory: A new or empty folder, or the folder of the same conversion if it was stopped.
        spec: How sources are read, scaled and cut.
        skip_bad: Whether to skip the rest of an unreadable source and list it in the manifest, instead of failing.
        beam_flags: Flags of the Beam pipeline. Its workers must access sources and directory by the same paths. The
            default is one process on this machine.

    Returns:
        The content of `manifest.json`.

    Raises:
        BadSourcesError: If sources cannot be read and `skip_bad` is not set.
        FileExistsError: If the folder holds other files.
        FileNotFoundError: If a path matches no file.
        ValueError: If the sources do not match `spec`, or yield no clip.
    """
    found = find_sources(paths, spec)
    base = pathlib.Path(directory)
    plan = state.make_plan(found, spec)
    if (manifest := state.read_finished(base, plan)) is not None:
        return manifest
    folder = state.begin(base, plan)
    labels = Labels(spec.read.labels, found.sources) if spec.read.labels else None
    units = _units(found.sources)
    asked = spec
    if value_range.is_needed(found.sources, spec):
        with beam.Pipeline(argv=list(beam_flags)) as pipeline:
            (
                pipeline
                | "Units" >> beam.Create(units)
                | "Spread" >> beam.Reshuffle()
                | "Survey" >> beam.Map(_survey, spec, str(folder))
            )
        spec = value_range.with_range(spec, folder, len(units))
    with beam.Pipeline(argv=list(beam_flags)) as pipeline:
        (
            pipeline
            | "Units" >> beam.Create(units)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.ParDo(_Convert(str(base), spec, labels, skip_bad))
        )
    facts = [json.loads(state.unit_path(base, unit.number).read_text()) for unit in units]
    bad = [message for fact in facts for message in fact["bad"]]
    if bad and not skip_bad:
        more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise BadSourcesError("\n".join([f"{len(bad)} bad sources:", *bad[:_SHOWN], *more]))
    manifest = make_manifest(plan, facts, found, labels, spec)
    if spec != asked:
        manifest["found_range"] = [spec.value.low, spec.value.high, spec.value.dtype]
    if not manifest["clips"]:
        counts = manifest["left_out"]
        expected = f"expected clips of {spec.cut.frames.min} to {spec.cut.frames.max} frames"
        message = f"{', '.join(paths)}: {expected}, received none: {counts or 'nothing'}"
        raise ValueError("\n".join([message, *left_out.explain(counts)]))
    state.write_json(base / MANIFEST, manifest)
    shutil.rmtree(folder)
    return manifest


def read_progress(directory: str | os.PathLike[str]) -> ConversionProgress:
    """Reads the progress of the conversion into `directory`; safe to call from any process at any time."""
    base = pathlib.Path(directory)
    clips = done = sources = 0
    for path in (base / state.FOLDER).glob("unit-*.json"):
        with contextlib.suppress(OSError, ValueError):
            fact = json.loads(path.read_text())
            clips += fact["clips"]
            done += fact["sources_done"]
    with contextlib.suppress(OSError, ValueError):
        sources = state.read_source_count(base)
    return ConversionProgress(clips, done, sources)


class _Convert(beam.DoFn):
    """Converts the sources of a unit to clip files; yields nothing."""

    def __init__(self, base: str, spec: ConvertSpec, labels: Labels | None, skip_bad: bool):
        self._base = base
        self._spec = spec
        self._labels = labels
        self._skip_bad = skip_bad

    def process(self, unit: Unit) -> None:
        """Converts a unit, or resumes it after an earlier run."""
        UnitWriter(pathlib.Path(self._base), self._spec, self._labels, self._skip_bad, unit).run()


def _survey(unit: Unit, spec: ConvertSpec, folder: str) -> None:
    value_range.survey(unit.sources, spec, pathlib.Path(folder), unit.number)


def _units(sources: Sequence[Source]) -> list[Unit]:
    """Groups sources into units of at most 128 MiB, or one larger source."""
    units: list[Unit] = []
    batch: list[Source] = []
    size = 0
    for source in sources:
        source_size = size_of(source)
        if batch and size + source_size > _UNIT_BYTES:
            units.append(Unit(len(units), tuple(batch)))
            batch, size = [], 0
        batch.append(source)
        size += source_size
    return [*units, Unit(len(units), tuple(batch))]
