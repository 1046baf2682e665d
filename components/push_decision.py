"""Decides whether a run pushed or rejected its candidate, from the outputs of Pusher and validators."""

import dataclasses
from typing import Any

from framecast.components.artifact_properties import property_of
from framecast.evaluation.gate.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class PushDecision:
    """The decision of a run that reached Pusher.

    Args:
        verdict: `pushed`, `unchanged` or `rejected`.
        why: One sentence, or one per missed threshold and infra validation error.
        version: The version that is serving, if Pusher recorded one.
    """

    verdict: str
    why: str
    version: str | None


def decide(pushed: Any, infra: Any | None, verdict: Verdict | None) -> PushDecision:
    """Derives the decision.

    Args:
        pushed: Pusher's artifact, as stored in ML Metadata.
        infra: The artifact of infra validation; None if it did not run.
        verdict: The Evaluator's verdict; None if it did not run.
    """
    version = property_of(pushed, "pushed_version")
    if property_of(pushed, "pushed"):
        remark = property_of(pushed, "remark")
        where = f"version {version} at {property_of(pushed, 'pushed_destination')}"
        return PushDecision("pushed", f"{where}, {remark}" if remark else where, version)
    if property_of(pushed, "reason") == "unchanged":
        return PushDecision("unchanged", f"the candidate equals version {version}, which is serving", version)
    reasons = [miss.describe() for miss in verdict.misses] if verdict is not None else []
    if infra is not None and (reason := property_of(infra, "reason")):
        reasons.append(reason)
    return PushDecision("rejected", "; ".join(reasons), version)
