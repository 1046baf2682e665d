"""Derives a run's outcome from the outputs of Pusher, infra validation and Evaluator."""

import dataclasses
from typing import Any

from framecast.components.artifact_properties import property_of
from framecast.evaluation.gate.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a run that reached Pusher.

    Args:
        verdict: `pushed`, `unchanged` or `rejected`.
        why: One sentence, or one per missed threshold and infra validation error.
        version: The version that is serving, if Pusher recorded one.
    """

    verdict: str
    why: str
    version: str | None


def outcome(pushed: Any, infra: Any | None, verdict: Verdict | None) -> Outcome:
    """Derives the outcome.

    Args:
        pushed: Pusher's artifact, as stored in ML Metadata.
        infra: The artifact of infra validation; None if it did not run.
        verdict: The Evaluator's verdict; None if it did not run.
    """
    version = property_of(pushed, "pushed_version")
    if property_of(pushed, "pushed"):
        remark = property_of(pushed, "remark")
        where = f"version {version} at {property_of(pushed, 'pushed_destination')}"
        return Outcome("pushed", f"{where}, {remark}" if remark else where, version)
    if property_of(pushed, "reason") == "unchanged":
        return Outcome("unchanged", f"the candidate equals version {version}, which is serving", version)
    reasons = [miss.describe() for miss in verdict.misses] if verdict is not None else []
    if infra is not None and (reason := property_of(infra, "reason")):
        reasons.append(reason)
    return Outcome("rejected", "; ".join(reasons), version)
