"""Metrics from merged sums: an algebra of `zeros`, `add` and `compute`, the same everywhere.

    total = functools.reduce(add, per_clip, zeros(horizon))
    compute("skill", total, lead_time=1)

`add` is associative and commutative, and `zeros` its identity, up to the rounding of float64.
"""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.names import OUTPUTS, REFERENCES, check_names

Sums = Mapping[str, np.ndarray]


def zeros(horizon: int) -> dict[str, np.ndarray]:
    """Returns the sums of no clip."""
    return {name: np.zeros(horizon, np.float64) for name in OUTPUTS}


def add(left: Sums, right: Sums) -> dict[str, np.ndarray]:
    """Returns the sums of both sets of clips, `(horizon,)` float64 each.

    Raises:
        KeyError: When `right` lacks an output, naming it.
    """
    missing = [name for name in OUTPUTS if name not in right]
    if missing:
        raise KeyError(f"evaluate signature: expected the outputs {', '.join(OUTPUTS)}, received none of {missing}")
    return {name: left[name] + np.asarray(right[name], np.float64) for name in OUTPUTS}


def compute(metric: str, sums: Sums, lead_time: int | None = None) -> float:
    """Returns a metric at one lead time (1 is the first forecast frame), or over all of them.

    `mse`, `mae` and `mse_<reference>` are means over known pixels in [0, 1]. `skill_<reference>` is `1 - MSE(model) /
    MSE(reference)`. `skill` holds the model against the best reference at each lead time: over all of them the best
    references' errors are pooled, so that no single reference need be best everywhere.

    Returns:
        NaN when no pixel was counted.

    Raises:
        ValueError: When there is no such metric.
    """
    check_names([metric])
    leads = slice(None) if lead_time is None else slice(lead_time - 1, lead_time)
    model = _total(sums["squared_error"][leads])
    if metric == "mse":
        return _ratio(model, _total(sums["pixels"][leads]))
    if metric == "mae":
        return _ratio(_total(sums["absolute_error"][leads]), _total(sums["pixels"][leads]))
    kind, _, reference = metric.partition("_")
    if kind == "mse":
        return _ratio(_total(sums[f"squared_error_{reference}"][leads]), _total(sums["pixels"][leads]))
    if reference:
        return 1 - _ratio(model, _total(sums[f"squared_error_{reference}"][leads]))
    best = np.min([sums[f"squared_error_{name}"][leads] for name in REFERENCES], axis=0)
    return 1 - _ratio(model, _total(best))


def _total(values: np.ndarray) -> float:
    return float(np.sum(values))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
