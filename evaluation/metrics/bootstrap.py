"""Computes confidence intervals of metrics from sums by recording.

    groups = merge(groups, {group_of(b"storm"): Sums().update(outputs)})
    Resamples({"candidate": groups}).interval("candidate", "mse", 3)

Recordings are resampled, not clips, because clips of one recording resemble each other: the cluster bootstrap (Davison
& Hinkley 1997, Bootstrap Methods and their Application, section 3.8), with percentile intervals. All models share the
resamples, so that the interval of a difference is not widened by recordings that are hard for both.
"""

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from framecast.evaluation.metrics.registry import names_of
from framecast.evaluation.metrics.sums import Sums

# Recordings are grouped by a hash of their names, so that memory does not grow with their number.
GROUPS = 1000
COVERAGE = 0.95

_RESAMPLES = 1000
_SEED = 0
_DEFINED = 0.95  # Share of resamples in which a metric must be defined to have an interval.

ByGroup = Mapping[int, Sums]


def group_of(recording: bytes) -> int:
    """Returns the group of a recording."""
    return int.from_bytes(hashlib.sha256(recording).digest()[:8], "big") % GROUPS


def merge(first: ByGroup, second: ByGroup) -> ByGroup:
    """Returns the sums of both, group by group."""
    merged = dict(first)
    for group, sums in second.items():
        merged[group] = merged[group].merge(sums) if group in merged else sums
    return merged


def encode(groups: ByGroup) -> bytes:
    """Encodes the sums as a compressed `.npz`, each value `(group, ...)`."""
    empty = dataclasses.replace(next(iter(groups.values()), Sums()), values={})
    file = io.BytesIO()
    ids = sorted(group for group, sums in groups.items() if sums.values)
    arrays = {f"value/{name}": value for name, value in _stacked(groups, ids).items()}
    np.savez_compressed(file, empty=np.array(empty.to_json()), groups=np.array(ids, np.int64), **arrays)
    return file.getvalue()


def decode(data: bytes) -> dict[int, Sums]:
    """Decodes the output of `encode`."""
    with np.load(io.BytesIO(data)) as file:
        empty = Sums.from_json(str(file["empty"]))
        values = {name.removeprefix("value/"): file[name] for name in file.files if name.startswith("value/")}
        return {
            int(group): dataclasses.replace(empty, values={name: value[place] for name, value in values.items()})
            for place, group in enumerate(file["groups"])
        }


class Resamples:
    """Resamples, with replacement, the recordings that several models were evaluated on.

    Args:
        models: Each model's sums by group, by the model's name.
    """

    def __init__(self, models: Mapping[str, ByGroup]):
        # Recordings without a counted clip, because all are too short, are left out.
        ids = sorted({group for groups in models.values() for group, sums in groups.items() if _counts(sums)})
        self.recordings = len(ids)
        rng = np.random.default_rng(_SEED)
        drawn = np.zeros((_RESAMPLES, 0))
        if ids:
            drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=_RESAMPLES).astype(np.float64)
        self._sums = {}
        for name, groups in models.items():
            present = [group for group in ids if group in groups]
            weights = drawn[:, [ids.index(group) for group in present]]
            empty = dataclasses.replace(next(iter(groups.values()), Sums()), values={})
            values = {key: np.tensordot(weights, value, 1) for key, value in _stacked(groups, present).items()}
            self._sums[name] = dataclasses.replace(empty, values=values)

    def metrics(self, model: str) -> Iterator[tuple[str, int | None]]:
        """Yields every metric of a model, over all lead times (None) and at each."""
        sums = self._sums[model]
        for lead_time in (None, *range(1, sums.horizon + 1)):
            for name in names_of(sums.task, sums.events):
                yield name, lead_time

    def interval(self, model: str, metric: str, lead_time: int | None = None) -> tuple[float, float] | None:
        """Returns the ends of a metric's interval; None where it is undefined or with under two recordings."""
        return self._ends(self._sums[model].compute_each(metric, lead_time))

    def difference(
        self, model: str, other: str, metric: str, lead_time: int | None = None
    ) -> tuple[float, float] | None:
        """Returns the ends of the interval of the difference between `model` and `other`; None as for `interval`."""
        first, second = (self._sums[name].compute_each(metric, lead_time) for name in (model, other))
        return self._ends(first - second)

    def _ends(self, values: np.ndarray) -> tuple[float, float] | None:
        finite = values[np.isfinite(values)] if values.ndim else values[None][:0]
        if self.recordings < 2 or len(finite) < _DEFINED * _RESAMPLES:
            return None
        low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        return float(low), float(high)


def _counts(sums: Sums) -> bool:
    return any(value.any() for value in sums.values.values())


def _stacked(groups: ByGroup, ids: Sequence[int]) -> dict[str, np.ndarray]:
    names = groups[ids[0]].values if ids else ()
    return {name: np.stack([groups[group].values[name] for group in ids]) for name in names}
