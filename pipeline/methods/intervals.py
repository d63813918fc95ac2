"""Say how far a score on finitely many rows can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pipeline.methods.arrays import Array


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share of n independent rows; unlike ±z·sd it holds near 0 and 1.

    Source: Wilson (1927), JASA 22, 209-212, without continuity correction; z = 1.96 covers 95 %.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"found a share of {share} of {n} rows, expected 0 to 1 of at least one row")
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def bootstrap(
    score: Callable[[Array], float], n: int, rng: np.random.Generator, rounds: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of `score(row numbers)` over resamples of n rows.

    Resamples with an undefined score (NaN: a class is absent) are left out; with none left it is NaN.
    """
    found = np.asarray([score(rng.integers(0, n, size=n)) for _ in range(rounds)], dtype=np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
