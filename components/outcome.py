"""What became of a candidate, from what Pusher, infra validation and Evaluator put out."""

import dataclasses
from typing import Any

from google.protobuf import json_format

from framecast.evaluation.gate.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of a run that reached the Pusher.

    Args:
        verdict: `pushed`, `unchanged` or `rejected`.
        why: One sentence, or one for each threshold that was missed and for what infra validation found.
        version: The version that serves now, when the Pusher named one.
    """

    verdict: str
    why: str
    version: str | None


def outcome(pushed: Any, infra: Any | None, verdict: Verdict | None) -> Outcome:
    """Derives what became of the candidate.

    Args:
        pushed: The Pusher's artifact, as ML Metadata holds it.
        infra: That of the infra validation; None when it did not run.
        verdict: The Evaluator's; None when it did not run.
    """
    version = property_of(pushed, "pushed_version")
    if property_of(pushed, "pushed"):
        remark = property_of(pushed, "remark")
        where = f"version {version} at {property_of(pushed, 'pushed_destination')}"
        return Outcome("pushed", f"{where}, {remark}" if remark else where, version)
    if property_of(pushed, "reason") == "unchanged":
        return Outcome("unchanged", f"the candidate is what version {version} serves already", version)
    reasons = [miss.describe() for miss in verdict.misses] if verdict is not None else []
    if infra is not None and (reason := property_of(infra, "reason")):
        reasons.append(reason)
    return Outcome("rejected", "; ".join(reasons), version)


def property_of(artifact: Any, name: str) -> Any:
    """Returns a custom property of an ML Metadata artifact; None when it has none of that name."""
    if name not in artifact.custom_properties:
        return None
    value = artifact.custom_properties[name]
    kind = value.WhichOneof("value")
    if kind != "struct_value":
        return getattr(value, kind)
    # As a task on Kubeflow Pipelines receives it; its JSON has no integers, but every number of ours is one.
    (content,) = json_format.MessageToDict(value.struct_value).values()
    return int(content) if isinstance(content, float) else content
