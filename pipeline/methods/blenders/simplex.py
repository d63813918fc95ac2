"""Weighted means whose weights are searched on the simplex: none negative, sum 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.blenders.blender import Fit, Objective, equal_weights
from pipeline.methods.blenders.scorers import EPS, Cells, LogLoss, scorer

TRIALS = 200  # evaluations of Nelder-Mead per member, up to
MOST_TRIALS = 2000
BLOCK = 16_384  # rows turned to float64 at once
REACHES = (0.1, 0.3, 0.1)  # of each start's corners: from further away it settles where weights are negative
ROUNDS, SURE_STEPS = 10, 20  # of SLSQP, and the steps between them that cannot fail
GAP = 1e-7  # of log loss
SAME = 1e-12  # of a score: rounding
WORST = 1e9  # stands for an undefined score, as the search cannot order infinities


def slsqp(members: Sequence[Array], objective: Objective) -> Fit:
    """Return the weights with the least log loss, whatever the metric; the problem is convex, so they are the best.

    The metric may only have steps, log loss has a slope: −g with g = mean(cells of m ÷ blend). max(g) − 1 bounds what
    is still to gain, and w ← w·g never loses: it frees SLSQP where a member's exact zeros make the slope too
    steep. Sources: Kraft (1988), DFVLR-FB 88-28, in SciPy; Cover (1984), IEEE Trans. Inf. Theory 30, 369-373.
    """
    from scipy.optimize import minimize

    cells_MX = np.asarray(LogLoss(objective).read_all(members))
    count, rows = cells_MX.shape

    def loss(weights_M: Array) -> tuple[float, Array]:
        total, slope_M = 0.0, np.zeros(count)
        for start in range(0, rows, BLOCK):
            block_MB = cells_MX[:, start : start + BLOCK].astype(np.float64)
            blend_B = np.maximum(weights_M @ block_MB, EPS)
            total -= np.log(blend_B).sum()
            slope_M -= block_MB @ (1 / blend_B)
        return total / rows, slope_M / rows

    sum_is_1 = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(count)}
    limits, options = [(0, 1)] * count, {"maxiter": 200, "ftol": 1e-10}
    best_M = equal_weights(count)
    for _ in range(ROUNDS):
        found = minimize(loss, best_M, jac=True, method="SLSQP", bounds=limits, constraints=sum_is_1, options=options)
        best_M = min(best_M, to_simplex(found.x), key=lambda weights_M: loss(weights_M)[0])
        if -loss(best_M)[1].min() - 1 < GAP:
            break
        for _ in range(SURE_STEPS):
            best_M = to_simplex(best_M * -loss(best_M)[1])
    return Fit(best_M)


def nelder_mead(members: Sequence[Array], objective: Objective) -> Fit:
    """Return weights with a good value of the metric itself, which needs no gradient; never worse than equal ones.

    Starts a little way from the equal weights towards each member, then again from the best. It is a local
    search and crawls with more than about ten members. Source: Nelder & Mead (1965), Computer J. 7, 308-313,
    with Gao & Han's (2012) parameters.
    """
    from scipy.optimize import minimize

    by = scorer(objective)
    cells = by.read_all(members)
    count = len(members)
    equal_M = equal_weights(count)
    best = (by.score(combine(equal_M, cells)), equal_M)

    def loss(free: Array) -> float:  # all weights but the last
        nonlocal best
        weights_M = to_simplex(np.append(free, 1 - free.sum()))
        score = by.score(combine(weights_M, cells))
        if score > best[0] + SAME:
            best = (score, weights_M)
        return -score if np.isfinite(score) else WORST

    budget = min(MOST_TRIALS, TRIALS * count)
    for reach in REACHES:
        begin_M = best[1]
        corners_MM = (1 - reach) * begin_M + reach * np.eye(count)
        options = {"initial_simplex": corners_MM[:, :-1], "maxfev": budget, "xatol": 1e-4, "fatol": 1e-9}
        budget -= minimize(loss, begin_M[:-1], method="Nelder-Mead", options={**options, "adaptive": True}).nfev
        if budget <= count:
            break
    return Fit(best[1])


def to_simplex(values_M: Array) -> Array:
    """Return the values without their negative part, scaled to sum 1; equal weights where nothing is left."""
    values_M = np.nan_to_num(values_M).clip(0)
    total = values_M.sum()
    return values_M / total if total > 0 else equal_weights(len(values_M))


def combine(weights_M: Array, cells: Cells) -> Array:
    """Return the weighted sum of the members' cells [X] float64."""
    total_X = np.zeros(len(cells[0]))
    for weight, cells_X in zip(weights_M, cells, strict=True):
        if weight:
            total_X += weight * cells_X
    return total_X
