"""Measures how far two distributions of clips differ, for drift between spans and skew of requests."""

from collections.abc import Hashable, Mapping

import numpy as np
from scipy.spatial.distance import jensenshannon


def jensen_shannon(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> float:
    """Returns the Jensen-Shannon divergence of two distributions in bits, from 0 to 1.

    Source: Lin 1991, doi:10.1109/18.61115.

    Args:
        first: Count by bucket, not all 0.
        second: Count by bucket, not all 0; buckets that are missing in one distribution count 0 there.
    """
    buckets = list(dict.fromkeys([*first, *second]))
    counts = [np.array([of.get(bucket, 0) for bucket in buckets], np.float64) for of in (first, second)]
    distance = jensenshannon(*counts, base=2)
    return float(np.nan_to_num(distance)) ** 2  # NaN: rounding made the sum under SciPy's square root negative.
