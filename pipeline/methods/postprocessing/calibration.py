"""Correct finished probabilities by one number each: temperature, clipping, smoothing of confident rows.

A calibration is `fit(targets_NC, probs_NC, single_label, score) -> number`, `apply(probs_NC, number, single_label) ->
probs_NC` and one line in `CALIBRATIONS`. `neutral` is the number that changes nothing. Its gain is real only
where it was scored on rows that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.arrays import Array, softmax
from pipeline.methods.metrics.counts import true_cells

Score = Callable[[Array], float]  # probs_NC of the rows fitted on -> score, greater is better
SMALLEST = 1e-15  # an exact 0 has no logarithm
HOTTEST = 20.0  # temperatures lie between its inverse and it
BOUNDS = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1)
ALPHAS = (0.0, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Calibration:
    """Hold how one number is fitted and applied, and the number that changes nothing."""

    fit: Callable[[Array, Array, bool, Score], float]
    apply: Callable[[Array, float, bool], Array]
    neutral: float


def temper(probs_NC: Array, temperature: float, single_label: bool) -> Array:
    """Return softmax(log p / temperature), or sigmoid(logit p / temperature) where columns are independent."""
    if temperature == 1.0:
        return probs_NC
    log_NC = np.log(np.clip(probs_NC, SMALLEST, 1)) / temperature
    if single_label:
        return softmax(log_NC)
    log_not_NC = np.log(np.clip(1 - probs_NC, SMALLEST, 1)) / temperature
    return np.asarray(1 / (1 + np.exp(np.clip(log_not_NC - log_NC, -700, 700))))


def fit_temperature(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> float:
    """Return the temperature of the least log loss, whatever the metric: it is smooth, and proper.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    true_NC = true_cells(targets_NC, single_label)

    def loss(log_temperature: float) -> float:
        tempered_NC = temper(probs_NC, float(np.exp(log_temperature)), single_label)
        true = tempered_NC[true_NC] if single_label else np.where(true_NC, tempered_NC, 1 - tempered_NC)
        return float(-np.log(np.clip(true, SMALLEST, 1)).mean())

    reach = float(np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def clip(probs_NC: Array, bound: float, single_label: bool) -> Array:
    """Return probabilities kept in [bound, 1 − bound]; rows of a single label are scaled to sum to 1 again."""
    if bound == 0.0:
        return probs_NC
    kept_NC = np.clip(probs_NC, bound, 1 - bound)
    return np.asarray(kept_NC / kept_NC.sum(1, keepdims=True)) if single_label else kept_NC


def fit_clip(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> float:
    """Return the bound of BOUNDS with the best score."""
    return best(BOUNDS, lambda bound: score(clip(probs_NC, bound, single_label)))


def smooth(probs_NC: Array, alpha: float, threshold: float, single_label: bool) -> Array:
    """Return p ← (1−alpha)·p + alpha/K for rows whose largest probability exceeds the threshold.

    Independent columns: each cell whose max(p, 1−p) exceeds it is pulled towards ½.
    """
    if single_label:
        confident = probs_NC.max(axis=1, keepdims=True) > threshold
        even = 1 / probs_NC.shape[1]
    else:
        confident = np.maximum(probs_NC, 1 - probs_NC) > threshold
        even = 0.5
    return np.where(confident, (1 - alpha) * probs_NC + alpha * even, probs_NC)


def smoothing(threshold: float) -> Calibration:
    """Return smoothing above this threshold as a calibration whose number is alpha."""

    def apply(probs_NC: Array, alpha: float, single_label: bool) -> Array:
        return smooth(probs_NC, alpha, threshold, single_label)

    def fit(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> float:
        return best(ALPHAS, lambda alpha: score(apply(probs_NC, alpha, single_label)))

    return Calibration(fit, apply, 0.0)


def best(choices: Sequence[float], score: Callable[[float], float]) -> float:
    """Return the choice with the greatest score; the first of equals, so put what changes least there.

    An undefined score (NaN) is never chosen; where all are, the first choice is returned.
    """
    scores = np.array([score(choice) for choice in choices])
    return choices[0] if np.isnan(scores).all() else choices[int(np.nanargmax(scores))]


CALIBRATIONS: dict[str, Calibration] = {
    "temperature": Calibration(fit_temperature, temper, 1.0),
    "clip": Calibration(fit_clip, clip, 0.0),
}
