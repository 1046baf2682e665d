"""Converts raw media to clip files with Beam.

    manifest = convert(["videos"], "clips", ConvertSpec())

Each worker reads sources and writes separate files, so that only names pass between workers. Files are renamed when
complete and recorded in a state folder, so that a stopped conversion resumes. `manifest.json` is written last.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam

from framecast.clips.beam import BEAM_RUNNER
from framecast.clips.convert.clip_making import PendingClip, make_clips
from framecast.clips.convert.sources.discovery import FoundSources, find_sources
from framecast.clips.convert.sources.labels import Label, Labels
from framecast.clips.convert.sources.source import BadSource, Recording, Source, size_of
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.files import replacing, write_whole
from framecast.clips.records import MANIFEST, write_records

_STATE = ".convert"  # Folder of unfinished files and progress.
_PLAN = "plan.json"
_UNIT_BYTES = 128 << 20  # Size of the sources in one unit of work; small sources share a clip file.
_SHOWN = 10
_REPORT_SECONDS = 1.0


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


@dataclasses.dataclass(frozen=True)
class _Unit:
    """Sources that one worker converts in order."""

    number: int
    sources: tuple[Source, ...]


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
    plan = _plan(found, spec)
    if (manifest := _finished(base, plan)) is not None:
        return manifest
    state = _begin(base, plan)
    labels = Labels(spec.read.labels, [source.name for source in found.sources]) if spec.read.labels else None
    units = _units(found.sources)
    with beam.Pipeline(argv=list(beam_flags)) as pipeline:
        (
            pipeline
            | "Units" >> beam.Create(units)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.ParDo(_Convert(str(base), spec, labels, skip_bad))
        )
    facts = [json.loads((state / f"unit-{unit.number:05d}.json").read_text()) for unit in units]
    bad = [message for fact in facts for message in fact["bad"]]
    if bad and not skip_bad:
        more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise BadSourcesError("\n".join([f"{len(bad)} bad sources:", *bad[:_SHOWN], *more]))
    manifest = _manifest(plan, facts, found, labels, spec)
    if not manifest["clips"]:
        raise ValueError(
            f"{', '.join(paths)}: expected clips of {spec.cut.frames.min} to {spec.cut.frames.max} frames, "
            f"received none: {manifest['left_out'] or 'nothing'}"
        )
    _write_json(base / MANIFEST, manifest)
    shutil.rmtree(state)
    return manifest


def read_progress(directory: str | os.PathLike[str]) -> ConversionProgress:
    """Reads the progress of the conversion into `directory`; safe to call from any process at any time."""
    state = pathlib.Path(directory) / _STATE
    clips = done = 0
    for path in state.glob("unit-*.json"):
        with contextlib.suppress(OSError, ValueError):
            fact = json.loads(path.read_text())
            clips += fact["clips"]
            done += fact["sources_done"]
    sources = 0
    with contextlib.suppress(OSError, ValueError):
        sources = json.loads((state / _PLAN).read_text())["sources"]
    return ConversionProgress(clips, done, sources)


class _Convert(beam.DoFn):
    """Converts the sources of a unit to clip files; yields nothing."""

    def __init__(self, base: str, spec: ConvertSpec, labels: Labels | None, skip_bad: bool):
        self._base = base
        self._spec = spec
        self._labels = labels
        self._skip_bad = skip_bad

    def process(self, unit: _Unit) -> None:
        """Converts a unit, or resumes it after an earlier run."""
        _UnitWriter(pathlib.Path(self._base), self._spec, self._labels, self._skip_bad, unit).run()


class _UnitWriter:
    """Writes the clips of a unit, and records the progress after each file."""

    def __init__(self, base: pathlib.Path, spec: ConvertSpec, labels: Labels | None, skip_bad: bool, unit: _Unit):
        self._base = base
        self._spec = spec
        self._labels = labels
        self._skip_bad = skip_bad
        self._unit = unit
        self._path = base / _STATE / f"unit-{unit.number:05d}.json"
        self._tally: collections.Counter[str] = collections.Counter()
        self._lengths: collections.Counter[int] = collections.Counter()
        self._contracts: list[dict[str, object]] = []
        self._bad: list[str] = []
        self._shards: list[dict[str, Any]] = []
        self._recordings: set[str] = set()
        self._sources_done = 0
        self._reported = time.monotonic()

    def run(self) -> None:
        """Writes the clips that an earlier run has not written."""
        if self._path.exists():
            fact = json.loads(self._path.read_text())
            if fact["done"]:
                return
            self._shards = fact["shards"]
        written = sum(shard["clips"] for shard in self._shards)
        clips = self._clips()
        for _ in range(written):
            next(clips)
        suffix = ".tfrecord.gz" if self._spec.gzip else ".tfrecord"
        first = next(clips, None)
        while first is not None:
            name = f"clips-{self._unit.number:05d}-{len(self._shards):05d}{suffix}"
            shard = {"file": name, "clips": 0, "frames": 0, "bytes": 0}
            with replacing(self._base / name, part=self._base / _STATE / name) as part:
                write_records(part, self._records(first, clips, shard))
                first = next(clips, None)
                shard["bytes"] = part.stat().st_size
            self._shards.append(shard)
            self._record(done=False)
        self._record(done=self._skip_bad or not self._bad)

    def _records(self, first: PendingClip, clips: Iterator[PendingClip], shard: dict[str, Any]) -> Iterator[bytes]:
        """Yields serialized clips up to the file size; gzip does not shrink PNG, so record sizes are added up."""
        size = 0
        clip: PendingClip | None = first
        while clip is not None:
            record = clip.encode()
            size += len(record)
            shard["clips"] += 1
            shard["frames"] += clip.frames
            yield record
            if time.monotonic() - self._reported >= _REPORT_SECONDS:
                self._record(done=False, unfinished=shard["clips"])
            if size >= self._spec.shard_mb * 1e6:
                return
            clip = next(clips, None)

    def _clips(self) -> Iterator[PendingClip]:
        """Yields the clips of all sources, in a fixed order."""
        for source in self._unit.sources:
            try:
                for recording in source.recordings():
                    label = self._label(recording, source)
                    for clip in make_clips(recording, self._spec, label, self._tally):
                        self._lengths[clip.frames] += 1
                        self._recordings.add(clip.media_id)
                        if clip.contract not in self._contracts:
                            self._contracts.append(clip.contract)
                        yield clip
            except BadSource as error:
                self._bad.append(str(error))
                if not self._skip_bad:
                    # The order of clips is fixed, so later sources must wait until this one can be read.
                    return
            self._sources_done += 1

    def _label(self, recording: Recording, source: Source) -> Label:
        if self._labels is None:
            return Label(recording.label_index, recording.label)
        try:
            return self._labels.of(recording.name, source.name)
        except ValueError as error:
            raise BadSource(recording.name, str(error)) from error

    def _record(self, done: bool, unfinished: int = 0) -> None:
        self._reported = time.monotonic()
        digests = {}
        if done:
            digests = {file: _digest(file) for source in self._unit.sources for file in source.files}
        _write_json(
            self._path,
            {
                "done": done,
                "clips": sum(shard["clips"] for shard in self._shards) + unfinished,
                "shards": self._shards,
                "sources_done": self._sources_done,
                "recordings": sorted(self._recordings),
                "lengths": self._lengths,
                "tally": self._tally,
                "contracts": self._contracts,
                "bad": self._bad,
                "sources": digests,
            },
        )


def _units(sources: Sequence[Source]) -> list[_Unit]:
    units: list[_Unit] = []
    held: list[Source] = []
    size = 0
    for source in sources:
        bytes_ = size_of(source)
        if held and size + bytes_ > _UNIT_BYTES:
            units.append(_Unit(len(units), tuple(held)))
            held, size = [], 0
        held.append(source)
        size += bytes_
    return [*units, _Unit(len(units), tuple(held))]


def _plan(found: FoundSources, spec: ConvertSpec) -> dict[str, Any]:
    """Returns all inputs that determine the clips; a conversion resumes only if they are unchanged."""
    files = {}
    for source in found.sources:
        for file in source.files:
            status = os.stat(file)
            files[file] = [status.st_size, status.st_mtime_ns]
    return {
        "options": spec.model_dump(mode="json"),
        "sources": len(found.sources),
        "files": files,
    }


def _finished(base: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the manifest if the same conversion is already finished."""
    if not (base / MANIFEST).exists():
        return None
    manifest = json.loads((base / MANIFEST).read_text())
    if manifest.get("plan") == plan:
        return manifest
    raise FileExistsError(f"{base}: expected a new or empty folder, but it has clips of other sources or options")


def _begin(base: pathlib.Path, plan: dict[str, Any]) -> pathlib.Path:
    """Returns the state folder, after checking that it belongs to this conversion."""
    state = base / _STATE
    if (state / _PLAN).exists():
        if json.loads((state / _PLAN).read_text()) != plan:
            raise FileExistsError(
                f"{base}: the folder has an unfinished conversion of other sources or options; remove the folder"
            )
        return state
    if base.exists() and any(path.name != _STATE for path in base.iterdir()):
        raise FileExistsError(f"{base}: expected a new or empty folder, but it has files")
    state.mkdir(parents=True, exist_ok=True)
    _write_json(state / _PLAN, plan)
    return state


def _manifest(
    plan: dict[str, Any], facts: list[dict[str, Any]], found: FoundSources, labels: Labels | None, spec: ConvertSpec
) -> dict[str, Any]:
    shards = [shard for fact in facts for shard in fact["shards"]]
    tally: collections.Counter[str] = collections.Counter()
    lengths: collections.Counter[int] = collections.Counter()
    contracts: list[dict[str, object]] = []
    for fact in facts:
        tally.update(fact["tally"])
        lengths.update({int(length): count for length, count in fact["lengths"].items()})
        contracts += [contract for contract in fact["contracts"] if contract not in contracts]
    return {
        "clips": sum(shard["clips"] for shard in shards),
        "frames": sum(shard["frames"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "recordings": len({name for fact in facts for name in fact["recordings"]}),
        "frames_read": tally.pop("frames", 0),
        "lengths": {str(length): lengths[length] for length in sorted(lengths)},
        "left_out": {name: count for name, count in sorted(tally.items()) if count},
        "bad": [message for fact in facts for message in fact["bad"]],
        "ignored": found.ignored,
        "classes": labels.classes if labels else [],
        "clip": _section(contracts, spec),
        "shards": shards,
        "sources": {file: digest for fact in facts for file, digest in fact["sources"].items()},
        "plan": plan,
    }


def _section(contracts: list[dict[str, object]], spec: ConvertSpec) -> dict[str, Any]:
    """Returns the `clip` section of a configuration, with the values that all clips share."""
    if not contracts:
        return {}
    section: dict[str, Any] = {
        key: value
        for key, value in contracts[0].items()
        if value is not None and all(contract[key] == value for contract in contracts)
    }
    section["frames"] = spec.cut.frames.model_dump()
    return section


def _digest(file: str) -> str:
    total = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _write_json(path: pathlib.Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1) + "\n")
