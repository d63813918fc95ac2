"""Find the thresholds above which a probability becomes a label, or a number a level, by the score of what they decide.

Scores have steps, so no slope can lead: each threshold is moved in turn while that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.resampling import comparable

TRIED = 81  # common thresholds, evenly spaced in logits from the smallest to the largest probability
WIDTH = 0.7  # over which their scores are averaged, as a share of the logits' spread, by rows to the power of −1/5
NEAR = 0.001  # to 0 and 1: no threshold lies nearer
GRID = 99  # thresholds of each column that counts are made for
FEW = 10  # positives: a class of so few goes half the way from the common threshold to its own
STEPS = (0.08, 0.03)  # of each column's threshold in the last search
MOST_CELLS = 3e8  # that this search may score: on larger tables only the counts decide
CUT_STEPS, CUT_ROUNDS = (0.25, 0.1, 0.04, 0.015), 4  # of the distance between two levels; rounds of one step, at most
ROUNDS = 30  # of the exact search for micro F1, which ends long before


def fit_threshold(probs_NC: Array, score: Callable[[float], float]) -> float:
    """Return the threshold around which the score is greatest; of equals the nearest to ½: nothing moves for nothing.

    The greatest score itself lies where these rows happen to fall, which is no better place on others: averaged
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


def fit_thresholds(true_NC: Array, probs_NC: Array, common: float, score: Callable[[Array], float]) -> Array:
    """Return a threshold for each column, [C]; never worse on these rows than the common one.

    Counts of each column under a grid of thresholds give those that are best for macro F1 (each column by itself)
    and for micro F1 (Dinkelbach's fractional programming, exact on the grid). The score, whatever it is, picks
    one of them or the common threshold, and one column after the other is then moved while that helps. A class
    of few positives stays near the common threshold. Source: Dinkelbach (1967), Management Science 13, 492-498.
    """
    grid_G = np.append(np.arange(1, GRID + 1) / (GRID + 1), common)
    right_CG, predicted_CG, true_C = _counts(true_NC, probs_NC, grid_G)
    macro_C = _nearest(2 * right_CG / np.maximum(predicted_CG + true_C[:, None], 1), grid_G, common)
    micro_C = _micro(right_CG, predicted_CG, true_C, grid_G, common)
    share_C = true_C / (true_C + FEW)
    starts = [common + share_C * (grid_G[picked_C] - common) for picked_C in (macro_C, micro_C)]
    starts.insert(0, np.full(len(true_C), common))
    scores = [comparable(score(start_C)) for start_C in starts]
    best_C, best = starts[int(np.argmax(scores))], max(scores)
    if 2 * len(STEPS) * probs_NC.size * len(true_C) > MOST_CELLS:
        return np.asarray(best_C)

    def moved(values_C: Array, c: int, step: float) -> Array:
        values_C[c] = np.clip(values_C[c] + share_C[c] * step, 0.001, 0.999)
        return values_C

    return _climb(best_C, best, score, moved, STEPS, rounds=1)[0]


def cut(place_N: Array, cuts_K: Sequence[float] | Array) -> Array:
    """Return the level [N] of each number: how many cut points it reaches."""
    return np.searchsorted(np.asarray(cuts_K, dtype=np.float64), place_N, side="right")


def fit_cuts(place_N: Array, true_N: Array, levels_K: Array, score: Callable[[Array], float]) -> Array:
    """Return the cut points [K−1], ascending, with the greatest score that a search along each of them finds.

    It starts midway between levels, and where the cuts would give the levels as often as the truth has them;
    never worse on these rows than the midway points.
    """
    best_K = middle_K = (levels_K[1:] + levels_K[:-1]) / 2
    if not len(middle_K):
        return middle_K.astype(np.float64)
    best, gap = -np.inf, float(np.diff(levels_K).mean())

    def moved(values_K: Array, k: int, step: float) -> Array | None:
        values_K[k] += step * gap
        return None if (np.diff(values_K) < 0).any() else values_K

    below_K = [float((true_N < cut_at).mean()) for cut_at in middle_K]
    for start_K in (middle_K, np.sort(np.quantile(place_N, below_K))):
        found_K, found = _climb(start_K, comparable(score(start_K)), score, moved, CUT_STEPS, CUT_ROUNDS)
        if found > best + 1e-12:
            best_K, best = found_K, found
    return np.asarray(best_K, dtype=np.float64)


def _climb(
    best_K: Array,
    best: float,
    score: Callable[[Array], float],
    moved: Callable[[Array, int, float], Array | None],
    steps: Sequence[float],
    rounds: int,
) -> tuple[Array, float]:
    """Move one value after the other by each step, down or up, while that helps; `moved` changes a copy, or refuses."""
    for step in steps:
        for _ in range(rounds):
            before = best
            for k in range(len(best_K)):
                for move in (-step, step):
                    tried_K = moved(best_K.copy(), k, move)
                    if tried_K is not None and (found := comparable(score(tried_K))) > best + 1e-12:
                        best_K, best = tried_K, found
                        break
            if best == before:
                break
    return best_K, best


def _counts(true_NC: Array, probs_NC: Array, grid_G: Array) -> tuple[Array, Array, Array]:
    """Return how many cells of each column are rightly predicted, and predicted, at each threshold [C,G]; true [C]."""
    classes, size = probs_NC.shape[1], len(grid_G)
    right_CG, predicted_CG = np.empty((classes, size)), np.empty((classes, size))
    for c in range(classes):
        for found_CG, probs_X in ((predicted_CG, probs_NC[:, c]), (right_CG, probs_NC[true_NC[:, c], c])):
            found_CG[c] = len(probs_X) - np.searchsorted(np.sort(probs_X), grid_G, "left")
    return right_CG, predicted_CG, true_NC.sum(0).astype(np.float64)


def _micro(right_CG: Array, predicted_CG: Array, true_C: Array, grid_G: Array, common: float) -> Array:
    """Return the places [C] whose micro F1 is the greatest there is on the grid."""
    rows, score = np.arange(len(true_C)), 0.0
    picked_C = np.full(len(true_C), len(grid_G) - 1)
    for _ in range(ROUNDS):
        reached = 2 * right_CG[rows, picked_C].sum() / max(1.0, (predicted_CG[rows, picked_C] + true_C).sum())
        if reached <= score:
            break
        score = reached
        picked_C = _nearest(2 * right_CG - score * predicted_CG, grid_G, common)
    return picked_C


def _nearest(gain_CG: Array, grid_G: Array, common: float) -> Array:
    """Return the place of each row's greatest gain, of equals the one nearest to the common threshold, [C]."""
    order_G = np.argsort(np.abs(grid_G - common), kind="stable")
    return np.asarray(order_G[gain_CG[:, order_G].argmax(1)])
