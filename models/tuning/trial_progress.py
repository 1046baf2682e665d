"""Records the evaluations of a trial in its folder, and stops a trial that is worse than the median of the others."""

import dataclasses
import json
import os
import statistics
from collections.abc import Iterable, Mapping

from framecast.clips import files

_FILE = "progress.json"
_MIN_OTHERS = 3  # Fewest trials that a median is taken of.


@dataclasses.dataclass
class TrialProgress:
    """The evaluations of a trial.

    Args:
        evaluations: Val loss by step.
        seconds: Training time, over all runs of the search.
        why: Why the trial ended before its last step; empty if it did not.
    """

    evaluations: dict[int, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    why: str = ""

    @classmethod
    def read(cls, folder: str) -> "TrialProgress":
        """Reads the record in a trial's folder; returns an empty one for a trial that was never evaluated."""
        path = os.path.join(folder, _FILE)
        if not os.path.exists(path):
            return cls()
        with open(path) as file:
            found = json.load(file)
        return cls(**{**found, "evaluations": {int(step): loss for step, loss in found["evaluations"].items()}})

    def write(self, folder: str) -> None:
        """Replaces the record in a trial's folder."""
        files.write_whole(os.path.join(folder, _FILE), json.dumps(dataclasses.asdict(self)))

    @property
    def best_step(self) -> int | None:
        """The step with the lowest val loss."""
        return min(self.evaluations, key=self.evaluations.__getitem__, default=None)


class TrialStopped(Exception):
    """A trial was stopped early, because its val loss is above the median."""


def check_median(step: int, own: Mapping[int, float], others: Iterable[Mapping[int, float]]) -> None:
    """Stops a trial that is worse than half of the others were at the same step.

    This is the median stopping rule of Golovin et al. 2017, "Google Vizier", with lowest losses in place of running
    means, so that the best trial, whose lowest loss is below every median, is never stopped.

    Args:
        step: The trial's last evaluation.
        own: Its val losses by step.
        others: Those of other trials; trials that were not evaluated at `step` do not count.

    Raises:
        TrialStopped: If its lowest val loss is above the median of theirs up to `step`.
    """

    def lowest(losses: Mapping[int, float]) -> float:
        return min(loss for at, loss in losses.items() if at <= step)

    reached = [lowest(losses) for losses in others if step in losses]
    if len(reached) < _MIN_OTHERS:
        return
    median = statistics.median(reached)
    if lowest(own) > median:
        raise TrialStopped(
            f"stopped at step {step}: val loss {lowest(own):.4g}, above {median:.4g}, the median of {len(reached)}"
        )
