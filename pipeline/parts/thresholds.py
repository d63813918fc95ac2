"""Find the thresholds above which a probability becomes a label, by the score of what they decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.parts.honesty import comparable

Array = np.ndarray[Any, np.dtype[Any]]
COARSE = (
    0.5,
    *sorted((*np.arange(0.05, 1.0, 0.05).round(2).tolist(), 0.003, 0.01, 0.02, 0.97), key=lambda t: abs(t - 0.5)),
)
FINE = 9  # points between the neighbours of the best coarse one
GRID = 99  # thresholds of each column that counts are made for
SURE = 10  # positives: a class of so few goes half the way from the common threshold to its own
STEPS = (0.08, 0.03)  # of each column's threshold in the last search
MOST_CELLS = 3e8  # that this search may score: on larger tables the counts alone decide
ROUNDS = 30  # of the exact search for micro F1, which ends long before


def fit_threshold(probs_NC: Array, score: Callable[[float], float]) -> float:
    """Return the threshold with the greatest score; of equals the nearest to ½, so that nothing moves for nothing.

    Tried are points everywhere, quantiles of the probabilities (a rare class may never reach 0.1), and then
    points around the best.
    """
    tails = np.quantile(probs_NC.max(1), (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)).tolist()
    tried = {value: score(value) for value in dict.fromkeys((*COARSE, *tails))}
    first = _best(tried)
    listed = sorted(tried)
    place = listed.index(first)
    low, high = listed[max(0, place - 1)], listed[min(len(listed) - 1, place + 1)]
    tried |= {value: score(value) for value in np.linspace(low, high, FINE + 2)[1:-1].tolist() if value not in tried}
    return _best(tried)


def fit_thresholds(hits_NC: Array, probs_NC: Array, common: float, score: Callable[[Array], float]) -> Array:
    """Return a threshold for each column, [C]; never worse on these rows than the common one.

    Counts of each column under a grid of thresholds give those that are best for macro F1 (each column alone)
    and for micro F1 (Dinkelbach's fractional programming, exact on the grid). The score, whatever it is, picks
    one of them or the common threshold, and one column after the other is then moved while that helps. A class
    of few positives stays near the common threshold. Source: Dinkelbach (1967), Management Science 13, 492-498.
    """
    grid_G = np.append(np.arange(1, GRID + 1) / (GRID + 1), common)
    right_CG, said_CG, true_C = _counts(hits_NC, probs_NC, grid_G)
    macro_C = _nearest(2 * right_CG / np.maximum(said_CG + true_C[:, None], 1), grid_G, common)
    share_C = true_C / (true_C + SURE)
    starts = [
        np.full(len(true_C), common),
        *(
            common + share_C * (grid_G[picked_C] - common)
            for picked_C in (macro_C, _micro(right_CG, said_CG, true_C, grid_G, common))
        ),
    ]
    scores = [comparable(score(start_C)) for start_C in starts]
    best_C, best = starts[int(np.argmax(scores))].copy(), max(scores)
    if 2 * len(STEPS) * probs_NC.size * len(true_C) > MOST_CELLS:
        return np.asarray(best_C)
    for step in STEPS:
        for c in range(len(true_C)):
            for move in (-step, step):
                moved_C = best_C.copy()
                moved_C[c] = np.clip(best_C[c] + share_C[c] * move, 0.001, 0.999)
                if (found := comparable(score(moved_C))) > best + 1e-12:
                    best_C, best = moved_C, found
                    break
    return np.asarray(best_C)


def _counts(hits_NC: Array, probs_NC: Array, grid_G: Array) -> tuple[Array, Array, Array]:
    """Return how many cells of each column are rightly said, and said, under each threshold [C,G], and true [C]."""
    classes, size = probs_NC.shape[1], len(grid_G)
    right_CG, said_CG = np.empty((classes, size)), np.empty((classes, size))
    for c in range(classes):
        column_N = np.sort(probs_NC[:, c])
        true_P = np.sort(probs_NC[hits_NC[:, c], c])
        said_CG[c] = len(column_N) - np.searchsorted(column_N, grid_G, "left")
        right_CG[c] = len(true_P) - np.searchsorted(true_P, grid_G, "left")
    return right_CG, said_CG, hits_NC.sum(0).astype(np.float64)


def _micro(right_CG: Array, said_CG: Array, true_C: Array, grid_G: Array, common: float) -> Array:
    """Return the places [C] whose micro F1 is the greatest there is on the grid."""
    rows, score = np.arange(len(true_C)), 0.0
    picked_C = np.full(len(true_C), len(grid_G) - 1)
    for _ in range(ROUNDS):
        reached = 2 * right_CG[rows, picked_C].sum() / max(1.0, (said_CG[rows, picked_C] + true_C).sum())
        if reached <= score:
            break
        score = reached
        picked_C = _nearest(2 * right_CG - score * said_CG, grid_G, common)
    return picked_C


def _nearest(gain_CG: Array, grid_G: Array, common: float) -> Array:
    """Return the place of each row's greatest gain, of equals the one nearest to the common threshold, [C]."""
    order_G = np.argsort(np.abs(grid_G - common), kind="stable")
    return np.asarray(order_G[gain_CG[:, order_G].argmax(1)])


def _best(tried: dict[float, float]) -> float:
    return max(tried, key=lambda value: (comparable(tried[value]), -abs(value - 0.5)))
