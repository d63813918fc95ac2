"""Metrics of the probabilities themselves."""

from __future__ import annotations

import numpy as np

from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import at_least_half, probability_of, ratio, row_mean, row_wise, true_classes

EPS = float(np.finfo(np.float64).eps)  # scikit-learn clips probabilities to it


def log_loss(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return minus the mean log probability of the true class, rows scaled to sum to 1 as graders do.

    Of independent columns it is the mean of their two-class log losses. Probabilities are clipped to float64's
    epsilon, as in scikit-learn.
    """
    if single_label and topk.is_top(probs_NC):  # its rows sum to 1
        return row_mean(-np.log(np.clip(probability_of(probs_NC, true_classes(targets_NC)), EPS, 1)), weights_RN)

    def of_rows(truth_BX: Array, probs_BC: Array) -> Array:
        if single_label:
            probs_BC = np.clip(probs_BC.astype(np.float64), EPS, 1)
            return np.asarray(np.log(probs_BC.sum(1)) - np.log(probability_of(probs_BC, truth_BX[:, 0])))
        probs_BC = np.clip(probs_BC.astype(np.float64), EPS, 1 - EPS)
        return np.asarray(-np.log(np.where(at_least_half(truth_BX), probs_BC, 1 - probs_BC)).mean(1))

    return row_mean(row_wise(of_rows, _truth(targets_NC, single_label), probs_NC), weights_RN)


def brier(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean squared distance between a row's probabilities and its truth; half of it for two classes.

    So two classes score (p − y)², as in scikit-learn and in Brier's later use; more classes are Brier's own sum. Of
    independent columns it is the mean over all cells of (p − y)².
    """

    def of_rows(truth_BX: Array, probs_BC: Array) -> Array:
        probs_BC = probs_BC.astype(np.float64)
        if not single_label:
            return np.asarray(np.square(probs_BC - at_least_half(truth_BX)).mean(1))
        true_B = probability_of(probs_BC, truth_BX[:, 0])
        return np.asarray(np.square(probs_BC).sum(1) - true_B**2 + (1 - true_B) ** 2)

    found_R = row_mean(row_wise(of_rows, _truth(targets_NC, single_label), probs_NC), weights_RN)
    return found_R / 2 if single_label and probs_NC.shape[1] == 2 else found_R


def probabilistic_f1(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return F1 of the second class with its probabilities in place of decisions, which need not be calibrated.

    Each row counts as p of a prediction: 2·Σp over the positives ÷ (Σp + positives). Probabilities are clipped
    to [0, 1]. Source: Yacouby & Axman (2020), and the grader of RSNA's breast cancer detection.
    """
    true_N = (true_classes(targets_NC) == 1).astype(np.float64)
    probs_N = np.clip(probs_NC[:, 1].astype(np.float64), 0, 1)
    right_R, predicted_R, true_R = (weights_RN @ np.stack([true_N * probs_N, probs_N, true_N], axis=1)).T
    return ratio(2 * right_R, predicted_R + true_R)


def _truth(targets_NC: Array, single_label: bool) -> Array:
    """Return the true class of each row [N,1], or the targets of independent columns."""
    return true_classes(targets_NC)[:, None] if single_label else targets_NC
