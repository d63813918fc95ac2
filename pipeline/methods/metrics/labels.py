"""Metrics of decisions: the most probable class, or the independent columns of at least ½."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import (
    cell_counts,
    cell_sums,
    class_counts,
    ratio,
    row_mean,
    row_wise,
    true_cells,
    true_classes,
)
from pipeline.methods.metrics.metric import Function

Rate = Callable[[Array, Array, Array], Array]  # weights that are rightly said, said, true -> rate
LEAST = 1e-12  # of a sum's own size: below, what is left of a difference is rounding


def precision(right: Array, said: Array, true: Array) -> Array:
    """Return right ÷ said; 0 where nothing is said that is true, NaN where nothing is true either."""
    return np.where((said == 0) & (true > 0), 0.0, ratio(right, said))


def recall(right: Array, said: Array, true: Array) -> Array:
    """Return right ÷ true; 0 where nothing is true that is said, NaN where nothing is said either."""
    return np.where((true == 0) & (said > 0), 0.0, ratio(right, true))


def f1(right: Array, said: Array, true: Array) -> Array:
    """Return the harmonic mean of precision and recall, NaN where nothing is true nor said."""
    return ratio(2 * right, said + true)


def accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the share of rows whose most probable class is the true one."""
    return row_mean(true_classes(targets_NC) == probs_NC.argmax(1), weights_RN)


def top1_error(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the share of rows whose most probable class is a wrong one."""
    return row_mean(true_classes(targets_NC) != probs_NC.argmax(1), weights_RN)


def balanced_accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean recall over the classes that occur in the truth."""
    right_RC, _, true_RC, held_C = class_counts(targets_NC, probs_NC, weights_RN)
    return _class_mean(ratio(right_RC, true_RC), true_RC, held_C, held_C)


def macro(rate: Rate) -> tuple[Function, Function]:
    """Return the mean of a rate over the classes seen in the truth or in the predictions, for both kinds of columns."""
    return partial(_macro, rate), partial(_independent_macro, rate)


def weighted(rate: Rate) -> tuple[Function, Function]:
    """Return the mean of a rate over the classes, each counted as often as it is true, for both kinds of columns."""
    return partial(_weighted, class_counts, rate), partial(_weighted, cell_counts, rate)


def micro(rate: Rate) -> tuple[Function, Function]:
    """Return a rate over all cells together, for both kinds of columns.

    Where classes exclude each other all rates are the accuracy.
    """
    return accuracy, partial(_independent_micro, rate)


def samples(rate: Rate) -> Function:
    """Return the mean over the rows of a rate over each row's cells; a row without labels, true or said, counts 0."""
    return partial(_samples, rate)


def positive(rate: Rate) -> Function:
    """Return a rate of the second of two classes."""
    return partial(_positive, rate)


def f1_micro_seen(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return micro F1 over the columns that are true in some row: what is said in the others costs nothing.

    Source: the grader of iMet 2020. Each weighting has its own such columns.
    """
    hits_NC, said_NC = true_cells(targets_NC), true_cells(probs_NC)
    right_R, said_R, true_R = _row_sums(hits_NC, said_NC, weights_RN)
    lacks_RC = cell_sums(hits_NC, weights_RN) == 0
    said_R = said_R - np.einsum("rc,rc->r", cell_sums(said_NC, weights_RN), lacks_RC)
    return f1(right_R, said_R, true_R)


def mcc(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return Matthews' correlation of true and predicted classes; 0 where either is always the same.

    Source: Gorodkin (2004), Comp. Biol. Chem. 28, 367-374, for several classes.
    """
    right_RC, said_RC, true_RC, _ = class_counts(targets_NC, probs_NC, weights_RN)
    total_R = true_RC.sum(1)
    whole_R = np.where(total_R > 0, total_R, 1)
    right_R, said_RC, true_RC = right_RC.sum(1) / whole_R, said_RC / whole_R[:, None], true_RC / whole_R[:, None]
    spread_R = (1 - np.square(said_RC).sum(1)) * (1 - np.square(true_RC).sum(1))
    covariance_R = right_R - (said_RC * true_RC).sum(1)
    found_R = covariance_R / np.sqrt(np.where(spread_R > LEAST**2, spread_R, 1))
    return np.where(total_R > 0, np.where(spread_R > LEAST**2, found_R, 0.0), np.nan)


def kappa(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return Cohen's kappa with quadratic weights between the numbers of the true and the predicted classes.

    1 − the mean squared distance ÷ that of independent draws; NaN where both are always the same class. A
    class without rows keeps its place, as the classes' distances are those of all.
    """
    return _kappa(true_classes(targets_NC), probs_NC.argmax(1), weights_RN)


def rounded_kappa(targets_NC: Array, values_NC: Array, weights_RN: Array) -> Array:
    """Return the same between values rounded to whole numbers, the mean over columns."""
    columns = zip(np.rint(targets_NC).T, np.rint(values_NC).T, strict=True)
    return np.asarray(np.mean([_kappa(true_N, said_N, weights_RN) for true_N, said_N in columns], axis=0))


def _macro(rate: Rate, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    seen_C = np.bincount(probs_NC.argmax(1), minlength=probs_NC.shape[1]) > 0
    return _seen_mean(rate, *class_counts(targets_NC, probs_NC, weights_RN), seen_C)


def _independent_macro(rate: Rate, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    seen_C = np.asarray(true_cells(probs_NC).any(0))
    return _seen_mean(rate, *cell_counts(targets_NC, probs_NC, weights_RN), seen_C)


def _seen_mean(rate: Rate, right_RC: Array, said_RC: Array, true_RC: Array, held_C: Array, seen_C: Array) -> Array:
    """Average a rate; a class that is only ever predicted wrongly counts 0 in every resample."""
    return _class_mean(np.nan_to_num(rate(right_RC, said_RC, true_RC)), true_RC, held_C, held_C | seen_C)


def _class_mean(values_RC: Array, true_RC: Array, held_C: Array, seen_C: Array) -> Array:
    """Return the mean over the seen classes, NaN where a resample lacks one that the rows hold."""
    if not seen_C.any():
        return np.full(len(values_RC), np.nan)
    lacks_R = (true_RC[:, held_C] == 0).any(1)
    return np.where(lacks_R, np.nan, values_RC[:, seen_C].mean(1))


def _weighted(
    counts: Callable[[Array, Array, Array], tuple[Array, Array, Array, Array]],
    rate: Rate,
    targets_NC: Array,
    probs_NC: Array,
    weights_RN: Array,
) -> Array:
    right_RC, said_RC, true_RC, _ = counts(targets_NC, probs_NC, weights_RN)
    rates_RC = np.nan_to_num(rate(right_RC, said_RC, true_RC))
    return ratio(np.einsum("rc,rc->r", rates_RC, true_RC), true_RC.sum(1))


def _independent_micro(rate: Rate, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    return rate(*_row_sums(true_cells(targets_NC), true_cells(probs_NC), weights_RN))


def _samples(rate: Rate, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        hits_BC, said_BC = true_cells(targets_BC), true_cells(probs_BC)
        return np.nan_to_num(rate((hits_BC & said_BC).sum(1), said_BC.sum(1), hits_BC.sum(1)))

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def _positive(rate: Rate, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    true_N, said_N = true_classes(targets_NC) == 1, probs_NC.argmax(1) == 1
    return rate(*_row_sums(true_N[:, None], said_N[:, None], weights_RN))


def _row_sums(hits_NC: Array, said_NC: Array, weights_RN: Array) -> tuple[Array, Array, Array]:
    """Return the weight of all cells together that are rightly said, said and true, [R]."""
    counts = [(hits_NC & said_NC).sum(1), said_NC.sum(1), hits_NC.sum(1)]
    right_R, said_R, true_R = (weights_RN @ count_N.astype(np.float64) for count_N in counts)
    return right_R, said_R, true_R


def _kappa(true_N: Array, said_N: Array, weights_RN: Array) -> Array:
    first = true_N[0]  # the distances are those of any origin, the sums of a near one are exact
    true_N, said_N = (true_N - first).astype(np.float64), (said_N - first).astype(np.float64)
    moments = np.stack([np.ones(len(true_N)), true_N, said_N, true_N**2 + said_N**2, (true_N - said_N) ** 2], axis=1)
    total_R, true_R, said_R, square_R, apart_R = (weights_RN @ moments).T
    drawn_R = square_R - 2 * ratio(true_R * said_R, total_R)
    share_R = np.divide(apart_R, drawn_R, out=np.full(len(weights_RN), np.nan), where=drawn_R > LEAST * square_R)
    return np.asarray(1 - share_R)
