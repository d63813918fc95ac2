"""Find the points that cut a number into ordered levels, by the score of what they decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.resampling import comparable

STEPS = (0.25, 0.1, 0.04, 0.015)  # of the distance between two levels
ROUNDS = 4  # over all cut points with one step, at most


def cut(place_N: Array, cuts_K: Sequence[float] | Array) -> Array:
    """Return the level [N] of each number: how many cut points it reaches."""
    return np.searchsorted(np.asarray(cuts_K, dtype=np.float64), place_N, side="right")


def fit_cuts(place_N: Array, true_N: Array, levels_K: Array, score: Callable[[Array], float]) -> Array:
    """Return the cut points [K−1], ascending, with the greatest score that a search along each of them finds.

    It starts midway between levels, and where the cuts would give the levels as often as the truth has them;
    never worse on these rows than the midway points. The score has steps, so no slope can lead.
    """
    middle_K = (levels_K[1:] + levels_K[:-1]) / 2
    below_K = [float((true_N < cut_at).mean()) for cut_at in middle_K]
    best_K, best = middle_K, -np.inf
    for start_K in (middle_K, np.sort(np.quantile(place_N, below_K)) if len(middle_K) else middle_K):
        found_K, found = _climb(start_K, float(np.diff(levels_K).mean()) if len(middle_K) else 1.0, score)
        if found > best + 1e-12:
            best_K, best = found_K, found
    return np.asarray(best_K, dtype=np.float64)


def _climb(start_K: Array, gap: float, score: Callable[[Array], float]) -> tuple[Array, float]:
    best_K, best = start_K, comparable(score(start_K))
    for step in STEPS:
        for _ in range(ROUNDS):
            before = best
            for k in range(len(best_K)):
                for move in (-step * gap, step * gap):
                    moved_K = best_K.copy()
                    moved_K[k] += move
                    if (np.diff(moved_K) < 0).any():
                        continue
                    if (found := comparable(score(moved_K))) > best + 1e-12:
                        best_K, best = moved_K, found
                        break
            if best == before:
                break
    return best_K, best
