"""Makes the manifest of a finished conversion from the progress of its units."""

import collections
from typing import Any

from framecast.clips.convert.field_statistics import FieldStatistics
from framecast.clips.convert.sources.discovery import FoundSources
from framecast.clips.convert.sources.labels import Labels
from framecast.clips.convert.spec import ConvertSpec
from framecast.schemas.intervals import distinct_intervals


def make_manifest(
    plan: dict[str, Any], facts: list[dict[str, Any]], found: FoundSources, labels: Labels | None, spec: ConvertSpec
) -> dict[str, Any]:
    """Returns the manifest.

    Args:
        plan: All inputs that determine the clips.
        facts: Final progress of each unit.
        found: The sources and the ignored files.
        labels: Labels of the recordings, if requested.
        spec: Options of the conversion.
    """
    shards = [shard for fact in facts for shard in fact["shards"]]
    tally: collections.Counter[str] = collections.Counter()
    lengths: collections.Counter[int] = collections.Counter()
    contracts: list[dict[str, Any]] = []
    statistics = FieldStatistics()
    for fact in facts:
        tally.update(fact["tally"])
        statistics.merge(fact["values"])
        lengths.update({int(length): count for length, count in fact["lengths"].items()})
        contracts += [contract for contract in fact["contracts"] if contract not in contracts]
    return {
        "clips": sum(shard["clips"] for shard in shards),
        "frames": sum(shard["frames"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "recordings": len({name for fact in facts for name in fact["recordings"]}),
        "frames_read": tally.pop("frames", 0),
        "lengths": {str(length): lengths[length] for length in sorted(lengths)},
        "values": statistics.describe(),
        "left_out": {name: count for name, count in sorted(tally.items()) if count},
        "bad": [message for fact in facts for message in fact["bad"]],
        "ignored": found.ignored,
        "classes": labels.classes if labels else [],
        "clip": _section(contracts, spec),
        "shards": shards,
        "sources": {file: digest for fact in facts for file, digest in fact["sources"].items()},
        "plan": plan,
    }


def _section(contracts: list[dict[str, Any]], spec: ConvertSpec) -> dict[str, Any]:
    """Returns the `clip` section of a configuration: the values that all clips share, and every interval."""
    if not contracts:
        return {}
    section: dict[str, Any] = {
        key: value
        for key, value in contracts[0].items()
        if value is not None and all(contract[key] == value for contract in contracts)
    }
    section["intervals"] = distinct_intervals(interval for contract in contracts for interval in contract["intervals"])
    section["frames"] = spec.cut.frames.model_dump()
    return section
