"""Means of members: arithmetic, geometric, and of a power in between or beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.methods import topk
from pipeline.methods.arrays import Array, softmax
from pipeline.methods.blenders.blender import Fit, Objective, equal_weights

SMALLEST = 1e-15  # a member's exact 0 would veto a class for good
EXPONENTS = (1.0, 0.75, 1.5, 0.5, 2.0, 0.25, 0.0, 3.0, -0.5, 4.0, -1.0, 6.0, 8.0)  # nearest the plain mean first


def weighted_sum(weights_M: Array, members: Sequence[Array], change: Callable[[Array], Array] | None = None) -> Array:
    """Return the sum of weight × member [N,C] float64, each changed before; one member at a time to save memory."""
    total_NC = np.zeros(members[0].shape)
    for weight, probs_NC in zip(weights_M, members, strict=True):
        if weight:
            total_NC += weight * (probs_NC if change is None else change(probs_NC))
    return total_NC


def mean(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return the weighted arithmetic mean; its log loss is at most the members' mean log loss.

    Kept between the members: the mean of nine exact ones would be rounded to more than 1. Members that hold
    only their most probable classes give such a mean.
    """
    if tops := topk.tops(members):
        return topk.mean(tops, fit.weights_M)
    low_NC, high_NC = members[0].copy(), members[0].copy()
    for probs_NC in members[1:]:
        np.minimum(low_NC, probs_NC, out=low_NC)
        np.maximum(high_NC, probs_NC, out=high_NC)
    return weighted_sum(fit.weights_M, members).clip(low_NC, high_NC)


def geometric_mean(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return the weighted geometric mean, scaled so that rows sum to 1, or p and 1 − p where independent."""
    log_NC = weighted_sum(fit.weights_M, members, _log)
    if single_label:
        return softmax(log_NC)
    log_not_NC = weighted_sum(fit.weights_M, members, lambda probs_NC: _log(1 - probs_NC))
    return np.asarray(1 / (1 + np.exp(log_not_NC - log_NC)))


def power_mean(fit: Fit, members: Sequence[Array], single_label: bool) -> Array:
    """Return (mean of p^e)^(1/e), scaled as the geometric mean is, which it becomes at e = 0; at 1 it is the mean."""
    exponent = fit.params.get("exponent", 1.0)
    if exponent == 1:
        return mean(fit, members, single_label)
    if exponent == 0:
        return geometric_mean(fit, members, single_label)
    yes_NC = _power(fit.weights_M, members, exponent, lambda probs_NC: probs_NC)
    if single_label:
        return np.asarray(yes_NC / yes_NC.sum(1, keepdims=True))
    return np.asarray(yes_NC / (yes_NC + _power(fit.weights_M, members, exponent, lambda probs_NC: 1 - probs_NC)))


def fit_power(members: Sequence[Array], objective: Objective) -> Fit:
    """Return equal weights and the exponent of `EXPONENTS` with the best score; ties go to the nearest to 1."""
    weights_M = equal_weights(len(members))
    fits = [Fit(weights_M, {"exponent": exponent}) for exponent in EXPONENTS]
    scores = [objective.score(power_mean(fit, members, objective.single_label)) for fit in fits]
    return fits[int(np.argmax(scores))]


def _power(weights_M: Array, members: Sequence[Array], exponent: float, side: Callable[[Array], Array]) -> Array:
    def change(probs_NC: Array) -> Array:
        return np.asarray(np.clip(side(probs_NC).astype(np.float64), SMALLEST, 1) ** exponent)

    return np.asarray(weighted_sum(weights_M, members, change) ** (1 / exponent))


def _log(probs_NC: Array) -> Array:
    return np.log(np.clip(probs_NC.astype(np.float64), SMALLEST, 1))
