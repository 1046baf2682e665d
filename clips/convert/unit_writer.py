"""Writes the clip files of one unit of sources, and resumes after a stop."""

import collections
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from framecast.clips.convert import state
from framecast.clips.convert.clip_making import PendingClip, make_clips
from framecast.clips.convert.field_statistics import FieldStatistics
from framecast.clips.convert.sources.file_digests import FileDigests
from framecast.clips.convert.sources.labels import Label, Labels
from framecast.clips.convert.sources.source import BadSource, Recording, Source
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.files import replacing
from framecast.clips.records import write_records

_REPORT_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Unit:
    """Sources that one worker converts in order."""

    number: int
    sources: tuple[Source, ...]


class UnitWriter:
    """Writes the clips of a unit, and records the progress after each file."""

    def __init__(self, base: pathlib.Path, spec: ConvertSpec, labels: Labels | None, skip_bad: bool, unit: Unit):
        self._base = base
        self._spec = spec
        self._labels = labels
        self._skip_bad = skip_bad
        self._unit = unit
        self._path = state.unit_path(base, unit.number)
        self._tally: collections.Counter[str] = collections.Counter()
        self._lengths: collections.Counter[int] = collections.Counter()
        self._statistics = FieldStatistics()
        self._digests = FileDigests()
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
            with replacing(self._base / name, part=self._base / state.FOLDER / name) as part:
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
                digest = self._digests.of_source(source)
                for recording in source.recordings():
                    recording.digest = digest
                    if self._skip_bad:
                        recording.skip = self._skip_frame
                    label = self._label(recording, source)
                    for clip in make_clips(recording, self._spec, label, self._tally, self._statistics):
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

    def _skip_frame(self, error: BadSource) -> None:
        self._bad.append(str(error))
        self._tally["frames that cannot be read"] += 1

    def _label(self, recording: Recording, source: Source) -> Label:
        if self._labels is None:
            return Label(recording.label_index, recording.label)
        try:
            return self._labels.of(recording.name, source)
        except ValueError as error:
            raise BadSource(recording.name, str(error)) from error

    def _record(self, done: bool, unfinished: int = 0) -> None:
        self._reported = time.monotonic()
        digests = {}
        if done:
            digests = {file: self._digests.of(file) for source in self._unit.sources for file in source.files}
        state.write_json(
            self._path,
            {
                "done": done,
                "clips": sum(shard["clips"] for shard in self._shards) + unfinished,
                "shards": self._shards,
                "sources_done": self._sources_done,
                "recordings": sorted(self._recordings),
                "lengths": self._lengths,
                "tally": self._tally,
                "values": self._statistics.to_json(),
                "contracts": self._contracts,
                "bad": self._bad,
                "sources": digests,
            },
        )
