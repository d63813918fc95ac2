"""Stack members on their logits: one weight per member, shared by the classes, and one offset per class.

Weights per class and member as well would be classes times as many, which OOF rows seldom carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.blenders.blender import Fit, Goal
from pipeline.methods.blenders.greedy import valid
from pipeline.methods.blenders.means import weighted_sum
from pipeline.methods.metrics.counts import hits

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


def fit_logistic(members: Sequence[Array], goal: Goal) -> Fit:
    """Return the weights and offsets with the least penalised log loss, which is convex.

    The penalty draws weights to 1/M, so to the geometric mean: a prior of variance 1/M each, so that many
    noisy members together can do no more than a few. L-BFGS finds the minimum.
    """
    from scipy.optimize import minimize

    seen_MNC = np.stack([logits(probs_NC, goal.single_label).astype(np.float32) for probs_NC in members])
    hits_NC, count = hits(goal.targets_NC, goal.single_label), len(seen_MNC)
    rows, classes = hits_NC.shape

    def loss(values: Array) -> tuple[float, Array]:
        weights_M, offsets_C = values[:count], values[count:]
        sums_NC = weighted_sum(weights_M, list(seen_MNC)) + offsets_C
        probs_NC = _activate(sums_NC, goal.single_label)
        if goal.single_label:
            total = -np.log(probs_NC[hits_NC].clip(1e-300)).sum()
        else:
            total = np.logaddexp(0, np.where(hits_NC, -sums_NC, sums_NC)).sum()
        wrong_NC = probs_NC - hits_NC
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


def fit_ridge(members: Sequence[Array], goal: Goal) -> Fit:
    """Return the least squares weights towards the 0/1 truth, with the penalty that predicts left-out folds best.

    Sums of products per fold are all it needs, so that neither folds nor penalties cost another pass. Ridge
    knows no probabilities: cells stay above 1/(N+2), as N rows tell nothing of what is rarer.
    """
    hits_NC = hits(goal.targets_NC, goal.single_label).astype(np.float64)
    seen_MNC = np.stack([logits(probs_NC, goal.single_label).astype(np.float32) for probs_NC in members])
    folds = [_Sums.of(seen_MNC[:, rows], hits_NC[rows]) for rows in (goal.fold_N == k for k in np.unique(goal.fold_N))]
    whole = sum(folds[1:], folds[0])
    strength = 1.0
    if len(folds) > 1:
        errors = [sum(fold.error(*(whole - fold).solve(tried)) for fold in folds) for tried in STRENGTHS]
        strength = STRENGTHS[int(np.argmin(errors))]
    weights_M, offsets_C = whole.solve(strength)
    floor = 1 / (len(hits_NC) + 2)
    return Fit(weights_M, {"offsets": offsets_C.tolist(), "strength": strength, "floor": floor})


@dataclass(frozen=True)
class _Sums:
    """Hold sums over rows of logits z and truth y, which add and subtract like the rows themselves."""

    rows: float
    zz_MM: Array
    z_MC: Array
    zy_M: Array
    y_C: Array
    yy: float

    @classmethod
    def of(cls, seen_MNC: Array, hits_NC: Array) -> _Sums:
        members = len(seen_MNC)
        zz_MM, zy_M = np.zeros((members, members)), np.zeros(members)
        for start in range(0, len(hits_NC), BLOCK):
            block_MX = seen_MNC[:, start : start + BLOCK].reshape(members, -1).astype(np.float64)
            zz_MM += block_MX @ block_MX.T
            zy_M += block_MX @ hits_NC[start : start + BLOCK].ravel()
        z_MC = seen_MNC.sum(1, dtype=np.float64)
        return cls(len(hits_NC), zz_MM, z_MC, zy_M, hits_NC.sum(0), float((hits_NC**2).sum()))

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(*(mine + theirs for mine, theirs in zip(self._all(), other._all(), strict=True)))

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(*(mine - theirs for mine, theirs in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[Any, ...]:
        return self.rows, self.zz_MM, self.z_MC, self.zy_M, self.y_C, self.yy

    def solve(self, strength: float) -> tuple[Array, Array]:
        """Return weights [M] and offsets [C], which are not penalised."""
        inner_MM = self.zz_MM - self.z_MC @ self.z_MC.T / self.rows
        right_M = self.zy_M - self.z_MC @ self.y_C / self.rows
        weights_M = np.linalg.solve(inner_MM + strength * self.rows * np.eye(len(inner_MM)), right_M)
        return weights_M, (self.y_C - weights_M @ self.z_MC) / self.rows

    def error(self, weights_M: Array, offsets_C: Array) -> float:
        """Return the sum of squares over these rows."""
        fitted = weights_M @ self.zz_MM @ weights_M - 2 * weights_M @ self.zy_M + self.yy
        moved = 2 * offsets_C @ (weights_M @ self.z_MC - self.y_C) + self.rows * offsets_C @ offsets_C
        return float(fitted + moved)


def _activate(sums_NC: Array, single_label: bool) -> Array:
    if not single_label:
        return np.asarray(np.exp(-np.logaddexp(0, -sums_NC)))
    odds_NC = np.exp(sums_NC - sums_NC.max(1, keepdims=True))
    return np.asarray(odds_NC / odds_NC.sum(1, keepdims=True))
