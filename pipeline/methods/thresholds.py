"""Find the thresholds above which a probability becomes a label, by the score of what they decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.resampling import comparable

TRIED = 81  # common thresholds, evenly spaced in logits from the smallest to the largest probability
WIDTH = 0.7  # over which their scores are averaged, as a share of the logits' spread, by rows to the power of −1/5
NEAR = 0.001  # to 0 and 1: no threshold lies nearer
GRID = 99  # thresholds of each column that counts are made for
SURE = 10  # positives: a class of so few goes half the way from the common threshold to its own
STEPS = (0.08, 0.03)  # of each column's threshold in the last search
MOST_CELLS = 3e8  # that this search may score: on larger tables the counts alone decide
ROUNDS = 30  # of the exact search for micro F1, which ends long before


def fit_threshold(probs_NC: Array, score: Callable[[float], float]) -> float:
    """Return the threshold around which the score is greatest; of equals the nearest to ½: nothing moves for nothing.

    The greatest score itself stands where these rows happen to fall, which is no better place on others: averaged
    over its neighbours, by a Gaussian in logits, it costs about half as much on new rows. On the rows it was fitted
    on it may lose a little, even to ½.
    """
    logits_M = np.log(held_M := probs_NC.ravel().clip(NEAR, 1 - NEAR)) - np.log1p(-held_M)
    if (spread := float(logits_M.std())) < 1e-6:
        return 0.5
    grid_G = np.linspace(logits_M.min(), logits_M.max(), TRIED)
    if grid_G[0] < 0 < grid_G[-1]:
        grid_G -= grid_G[np.abs(grid_G).argmin()]  # ½ itself is tried
    tried_G = 1 / (1 + np.exp(-grid_G))
    score_G = np.asarray([comparable(score(float(value))) for value in tried_G])
    defined_G = np.isfinite(score_G)
    if not defined_G.any():
        return 0.5
    near_GG = np.exp(-0.5 * ((grid_G[:, None] - grid_G) / (WIDTH * len(probs_NC) ** -0.2 * spread)) ** 2) * defined_G
    mean_G = near_GG @ np.where(defined_G, score_G, 0) / near_GG.sum(1).clip(1e-300)
    best = np.where(defined_G, mean_G, -np.inf).max()
    equal_G = defined_G & (mean_G >= best - 1e-12 * max(1.0, abs(best)))
    return float(tried_G[np.where(equal_G, np.abs(grid_G), np.inf).argmin()])


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
