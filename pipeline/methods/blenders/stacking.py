"""Stack members on their logits: one weight per member, shared by the classes, and one offset per class.

Weights per class and member as well would be classes times as many, which OOF rows seldom carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array, softmax
from pipeline.methods.blenders.blender import Fit, Objective
from pipeline.methods.blenders.greedy import valid
from pipeline.methods.blenders.means import weighted_sum
from pipeline.methods.metrics.counts import true_cells

SMALLEST = 1e-6  # an exact 0 or 1 would be an infinite logit
STRENGTHS = (1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of ridge's penalty per row; ties go to the strongest
BLOCK = 16_384  # rows turned to float64 at once


def logits(probs_NC: Array, single_label: bool) -> Array:
    """Return log p less its row's mean where classes exclude each other, else log p/(1−p); [N,C] float64."""
    probs_NC = probs_NC.astype(np.float64).clip(SMALLEST, 1 - SMALLEST)
    if not single_label:
        return np.asarray(np.log(probs_NC / (1 - probs_NC)))
    log_NC = np.log(probs_NC)
    return np.asarray(log_NC - log_NC.mean(1, keepdims=True))


def stacked(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return the weighted sum of logits plus the offsets."""
    sums_NC = weighted_sum(fit.weights_M, members, lambda probs_NC: logits(probs_NC, single_label))
    return np.asarray(sums_NC + fit.params["offsets"])


def logistic_probs(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return softmax, or sigmoid where columns are independent, of the stacked logits."""
    return _activate(stacked(fit, members, single_label), single_label)


def fit_logistic(members: Sequence[Array], objective: Objective) -> Fit:
    """Return the weights and offsets with the least penalised log loss, which is convex.

    The penalty draws weights to 1/M, so to the geometric mean: a prior of variance 1/M each, so that many
    noisy members together can do no more than a few. L-BFGS finds the minimum.
    """
    from scipy.optimize import minimize

    seen_MNC = np.stack([logits(probs_NC, objective.single_label).astype(np.float32) for probs_NC in members])
    true_NC, count = true_cells(objective.targets_NC, objective.single_label), len(seen_MNC)
    rows, classes = true_NC.shape

    def loss(values: Array) -> tuple[float, Array]:
        weights_M, offsets_C = values[:count], values[count:]
        sums_NC = weighted_sum(weights_M, list(seen_MNC)) + offsets_C
        probs_NC = _activate(sums_NC, objective.single_label)
        if objective.single_label:
            total = -np.log(probs_NC[true_NC].clip(1e-300)).sum()
        else:
            total = np.logaddexp(0, np.where(true_NC, -sums_NC, sums_NC)).sum()
        wrong_NC = probs_NC - true_NC
        drawn_M = weights_M - 1 / count
        total += (count * drawn_M @ drawn_M + offsets_C @ offsets_C) / 2
        flat_X = wrong_NC.astype(np.float32).ravel()
        slope_M = np.asarray([cells_NC.reshape(-1) @ flat_X for cells_NC in seen_MNC], dtype=np.float64)
        slope = np.concatenate([slope_M + count * drawn_M, wrong_NC.sum(0) + offsets_C])
        return float(total) / rows, slope / rows

    begin = np.concatenate([np.full(count, 1 / count), np.zeros(classes)])
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return Fit(found.x[:count], {"offsets": found.x[count:].tolist()})


def ridge_probs(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return the stacked logits as probabilities, none below `floor` or, where independent, above 1 − floor."""
    floor = fit.params["floor"]
    return valid(stacked(fit, members, single_label).clip(floor, 1 - floor), single_label)


def fit_ridge(members: Sequence[Array], objective: Objective) -> Fit:
    """Return the least squares weights towards the 0/1 truth, with the penalty that predicts left-out folds best.

    Sums of products per fold are all it needs, so that neither folds nor penalties cost another pass. Ridge
    knows no probabilities: cells stay above 1/(N+2), as N rows tell nothing of what is rarer.
    """
    true_NC = true_cells(objective.targets_NC, objective.single_label).astype(np.float64)
    seen_MNC = np.stack([logits(probs_NC, objective.single_label).astype(np.float32) for probs_NC in members])
    folds = [objective.fold_N == fold for fold in np.unique(objective.fold_N)]
    sums = np.asarray([_sums(seen_MNC[:, rows], true_NC[rows]) for rows in folds], dtype=object)  # [K,6], each added
    whole, strength = sums.sum(0), 1.0
    if len(folds) > 1:
        errors = [sum(_error(fold, *_solve(whole - fold, tried)) for fold in sums) for tried in STRENGTHS]
        strength = STRENGTHS[int(np.argmin(errors))]
    weights_M, offsets_C = _solve(whole, strength)
    floor = 1 / (len(true_NC) + 2)
    return Fit(weights_M, {"offsets": offsets_C.tolist(), "strength": strength, "floor": floor})


def _sums(seen_MNC: Array, true_NC: Array) -> list[Any]:
    """Return the rows and their sums of zz [M,M], z [M,C], zy [M], y [C] and yy: z the logits, y the truth."""
    members = len(seen_MNC)
    zz_MM, zy_M = np.zeros((members, members)), np.zeros(members)
    for start in range(0, len(true_NC), BLOCK):
        block_MX = seen_MNC[:, start : start + BLOCK].reshape(members, -1).astype(np.float64)
        zz_MM += block_MX @ block_MX.T
        zy_M += block_MX @ true_NC[start : start + BLOCK].ravel()
    z_MC = seen_MNC.sum(1, dtype=np.float64)
    return [float(len(true_NC)), zz_MM, z_MC, zy_M, true_NC.sum(0), float((true_NC**2).sum())]


def _solve(sums: Array, strength: float) -> tuple[Array, Array]:
    """Return weights [M] and offsets [C], which are not penalised."""
    rows, zz_MM, z_MC, zy_M, y_C, _ = sums
    inner_MM = zz_MM - z_MC @ z_MC.T / rows
    right_M = zy_M - z_MC @ y_C / rows
    weights_M = np.linalg.solve(inner_MM + strength * rows * np.eye(len(inner_MM)), right_M)
    return weights_M, (y_C - weights_M @ z_MC) / rows


def _error(sums: Array, weights_M: Array, offsets_C: Array) -> float:
    """Return the sum of squares over these rows."""
    rows, zz_MM, z_MC, zy_M, y_C, yy = sums
    fitted = weights_M @ zz_MM @ weights_M - 2 * weights_M @ zy_M + yy
    moved = 2 * offsets_C @ (weights_M @ z_MC - y_C) + rows * offsets_C @ offsets_C
    return float(fitted + moved)


def _activate(sums_NC: Array, single_label: bool) -> Array:
    if not single_label:
        return np.asarray(np.exp(-np.logaddexp(0, -sums_NC)))
    return softmax(sums_NC)
