"""Metrics of decisions: the most probable class, or the independent columns of at least ½."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import (
    at_least_half,
    cell_sums,
    class_counts,
    ratio,
    row_mean,
    row_wise,
    true_classes,
)
from pipeline.methods.metrics.metric import Function

Rate = Callable[[Array, Array, Array], Array]  # weights that are rightly predicted, predicted, true -> rate
LEAST = 1e-12  # of a sum's own size: below, what is left of a difference is rounding


def precision(right: Array, predicted: Array, true: Array) -> Array:
    """Return right ÷ predicted; 0 where nothing is predicted that is true, NaN where nothing is true either."""
    return np.where((predicted == 0) & (true > 0), 0.0, ratio(right, predicted))


def recall(right: Array, predicted: Array, true: Array) -> Array:
    """Return right ÷ true; 0 where nothing is true that is predicted, NaN where nothing is predicted either."""
    return np.where((true == 0) & (predicted > 0), 0.0, ratio(right, true))


def f1(right: Array, predicted: Array, true: Array) -> Array:
    """Return the harmonic mean of precision and recall, NaN where nothing is true nor predicted."""
    return ratio(2 * right, predicted + true)


def accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the share of rows whose most probable class is the true one."""
    return row_mean(true_classes(targets_NC) == probs_NC.argmax(1), weights_RN)


def top1_error(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the share of rows whose most probable class is a wrong one."""
    return row_mean(true_classes(targets_NC) != probs_NC.argmax(1), weights_RN)


def balanced_accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean recall over the classes that occur in the truth."""
    found = class_counts(targets_NC, probs_NC, weights_RN, True)
    return _class_mean(ratio(found.right_RC, found.true_RC), found.true_RC, found.in_truth_C, found.in_truth_C)


def macro(rate: Rate) -> Function:
    """Return the mean of a rate over the classes seen in the truth or in the predictions.

    A class that is only ever predicted wrongly counts 0 in every resample.
    """

    def score(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
        right_RC, predicted_RC, true_RC, in_truth_C, in_predictions_C = class_counts(
            targets_NC, probs_NC, weights_RN, single_label
        )
        rates_RC = np.nan_to_num(rate(right_RC, predicted_RC, true_RC))
        return _class_mean(rates_RC, true_RC, in_truth_C, in_truth_C | in_predictions_C)

    return score


def weighted(rate: Rate) -> Function:
    """Return the mean of a rate over the classes, each counted as often as it is true."""

    def score(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
        right_RC, predicted_RC, true_RC, *_ = class_counts(targets_NC, probs_NC, weights_RN, single_label)
        rates_RC = np.nan_to_num(rate(right_RC, predicted_RC, true_RC))
        return ratio(np.einsum("rc,rc->r", rates_RC, true_RC), true_RC.sum(1))

    return score


def micro(rate: Rate) -> Function:
    """Return a rate over all cells together; where classes exclude each other all rates are the accuracy."""

    def score(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
        if single_label:
            return accuracy(targets_NC, probs_NC, weights_RN, single_label)
        return rate(*_total(at_least_half(targets_NC), at_least_half(probs_NC), weights_RN))

    return score


def samples(rate: Rate) -> Function:
    """Return the mean over the rows of a rate of each row's cells; 0 for a row without labels, true or predicted."""

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        true_BC, predicted_BC = at_least_half(targets_BC), at_least_half(probs_BC)
        return np.nan_to_num(rate((true_BC & predicted_BC).sum(1), predicted_BC.sum(1), true_BC.sum(1)))

    def score(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
        return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)

    return score


def positive(rate: Rate) -> Function:
    """Return a rate of the second of two classes."""

    def score(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
        true_N, predicted_N = true_classes(targets_NC) == 1, probs_NC.argmax(1) == 1
        return rate(*_total(true_N[:, None], predicted_N[:, None], weights_RN))

    return score


def f1_micro_seen(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return micro F1 over the columns that are true in some row: what is predicted in the others costs nothing.

    Source: the grader of iMet 2020. Each weighting has its own such columns.
    """
    true_NC, predicted_NC = at_least_half(targets_NC), at_least_half(probs_NC)
    right_R, predicted_R, true_R = _total(true_NC, predicted_NC, weights_RN)
    lacks_RC = cell_sums(true_NC, weights_RN) == 0
    predicted_R = predicted_R - np.einsum("rc,rc->r", cell_sums(predicted_NC, weights_RN), lacks_RC)
    return f1(right_R, predicted_R, true_R)


def mcc(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return Matthews' correlation of true and predicted classes; 0 where either is always the same.

    Source: Gorodkin (2004), Comp. Biol. Chem. 28, 367-374, for several classes.
    """
    right_RC, predicted_RC, true_RC, *_ = class_counts(targets_NC, probs_NC, weights_RN, True)
    total_R = true_RC.sum(1)
    whole_R = np.where(total_R > 0, total_R, 1)
    predicted_RC, true_RC = predicted_RC / whole_R[:, None], true_RC / whole_R[:, None]
    spread_R = (1 - np.square(predicted_RC).sum(1)) * (1 - np.square(true_RC).sum(1))
    covariance_R = right_RC.sum(1) / whole_R - (predicted_RC * true_RC).sum(1)
    found_R = covariance_R / np.sqrt(np.where(spread_R > LEAST**2, spread_R, 1))
    return np.where(total_R > 0, np.where(spread_R > LEAST**2, found_R, 0.0), np.nan)


def kappa(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return Cohen's kappa with quadratic weights between the numbers of the true and the predicted classes.

    1 − the mean squared distance ÷ that of independent draws; NaN where both are always the same class. A
    class without rows keeps its place, as the classes' distances are those of all. A regression's values are
    rounded to whole numbers; of several columns it is the mean.
    """
    if single_label:
        return _kappa(true_classes(targets_NC), probs_NC.argmax(1), weights_RN)
    columns = zip(np.rint(targets_NC).T, np.rint(probs_NC).T, strict=True)
    return np.asarray(np.mean([_kappa(true_N, predicted_N, weights_RN) for true_N, predicted_N in columns], axis=0))


def _class_mean(values_RC: Array, true_RC: Array, in_truth_C: Array, seen_C: Array) -> Array:
    """Return the mean over the seen classes, NaN where a resample lacks one that the rows hold."""
    if not seen_C.any():
        return np.full(len(values_RC), np.nan)
    lacks_R = (true_RC[:, in_truth_C] == 0).any(1)
    return np.where(lacks_R, np.nan, values_RC[:, seen_C].mean(1))


def _total(true_NC: Array, predicted_NC: Array, weights_RN: Array) -> tuple[Array, Array, Array]:
    """Return the weight of all cells together that are rightly predicted, predicted and true, [R]."""
    counts = [(true_NC & predicted_NC).sum(1), predicted_NC.sum(1), true_NC.sum(1)]
    right_R, predicted_R, true_R = (weights_RN @ count_N.astype(np.float64) for count_N in counts)
    return right_R, predicted_R, true_R


def _kappa(true_N: Array, predicted_N: Array, weights_RN: Array) -> Array:
    first = true_N[0]  # the distances are those of any origin, the sums of a near one are exact
    true_N, predicted_N = (true_N - first).astype(np.float64), (predicted_N - first).astype(np.float64)
    sums = [np.ones(len(true_N)), true_N, predicted_N, true_N**2 + predicted_N**2, (true_N - predicted_N) ** 2]
    total_R, true_R, predicted_R, square_R, distance_R = (weights_RN @ np.stack(sums, axis=1)).T
    chance_R = square_R - 2 * ratio(true_R * predicted_R, total_R)
    share_R = np.divide(distance_R, chance_R, out=np.full(len(weights_RN), np.nan), where=chance_R > LEAST * square_R)
    return np.asarray(1 - share_R)
