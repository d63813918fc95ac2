"""Read the truth from targets, soft or hard, and count rows by class under many weightings at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

BLOCK = 2**24  # cells of a temporary: 128 MB
SPARSE = 32  # of the cells one in so many: below, cells one by one are quicker than a product of matrices


class Counts(NamedTuple):
    """Hold the weight of each class under each weighting, [R,C], and which classes the rows hold, [C]."""

    right_RC: Array  # true positives
    predicted_RC: Array
    true_RC: Array
    in_truth_C: Array
    in_predictions_C: Array


def class_counts(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Counts:
    """Count the most probable class of each row, or the independent columns of at least ½."""
    if not single_label:
        true_NC, predicted_NC = at_least_half(targets_NC), at_least_half(probs_NC)
        return Counts(
            cell_sums(true_NC & predicted_NC, weights_RN),
            cell_sums(predicted_NC, weights_RN),
            cell_sums(true_NC, weights_RN),
            np.asarray(true_NC.any(0)),
            np.asarray(predicted_NC.any(0)),
        )
    true_N, predicted_N, count = true_classes(targets_NC), probs_NC.argmax(1), targets_NC.shape[1]
    right = np.flatnonzero(true_N == predicted_N)
    return Counts(
        _sums(weights_RN.take(right, axis=1), true_N[right], count),
        _sums(weights_RN, predicted_N, count),
        _sums(weights_RN, true_N, count),
        np.bincount(true_N, minlength=count) > 0,
        np.bincount(predicted_N, minlength=count) > 0,
    )


def cell_sums(cells_NC: Array, weights_RN: Array) -> Array:
    """Return the weight of each column's true cells, [R,C]; quick also where there are many columns, mostly false."""
    rows, width = len(cells_NC), cells_NC.shape[1]
    if np.count_nonzero(cells_NC) * SPARSE > rows * width:
        blocks = [cells_NC[:, c : c + 64].astype(np.float64) for c in range(0, width, 64)]
        return np.hstack([weights_RN @ block_NB for block_NB in blocks])
    row_X, column_X = np.nonzero(cells_NC)
    found_RC, step = np.zeros((len(weights_RN), width)), max(1, BLOCK // max(1, len(row_X)))
    for start in range(0, len(weights_RN), step):
        found_RC[start : start + step] = _sums(weights_RN[start : start + step].take(row_X, axis=1), column_X, width)
    return found_RC


def probability_of(probs_NC: Array, classes_N: Array) -> Array:
    """Return each row's probability of one class, [N]."""
    return probs_NC.of(classes_N) if isinstance(probs_NC, Top) else probs_NC[np.arange(len(classes_N)), classes_N]


def places(probs_NC: Array, classes_N: Array) -> Array:
    """Return each row's place of one class, [N] from 0; equal probabilities are ranked in the order of the classes."""
    if isinstance(probs_NC, Top):
        return probs_NC.place(classes_N)

    def of_rows(classes_B1: Array, probs_BC: Array) -> Array:
        value_B1 = np.take_along_axis(probs_BC, classes_B1, axis=1)
        earlier_BC = np.arange(probs_BC.shape[1]) < classes_B1
        return np.asarray(((probs_BC > value_B1) | ((probs_BC == value_B1) & earlier_BC)).sum(1))

    return row_wise(of_rows, classes_N[:, None], probs_NC)


def tied_places(probs_NC: Array, classes_N: Array) -> tuple[Array, Array]:
    """Return how many classes are more probable than one of each row, and how many as probable, itself included."""
    if isinstance(probs_NC, Top):  # which holds no ties beyond its last class
        return probs_NC.place(classes_N), np.ones(len(classes_N), dtype=np.int64)
    value_N = probability_of(probs_NC, classes_N)[:, None]
    above_N = row_wise(lambda value_B1, probs_BC: (probs_BC > value_B1).sum(1), value_N, probs_NC)
    return above_N, row_wise(lambda value_B1, probs_BC: (probs_BC == value_B1).sum(1), value_N, probs_NC)


def row_wise(function: Callable[[Array, Array], Array], targets_NX: Array, probs_NC: Array) -> Array:
    """Return `function(targets, probs)`, one number per row [N], asked for as many rows at a time as fit in memory."""
    step = max(1, BLOCK // probs_NC.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(probs_NC), step)]
    return np.concatenate([function(targets_NX[rows], np.asarray(probs_NC[rows])) for rows in blocks])


def row_mean(values_N: Array, weights_RN: Array) -> Array:
    """Return the weighted mean over the rows, [R]; NaN where nothing has weight."""
    return ratio(weights_RN @ values_N.astype(np.float64), weights_RN.sum(1))


def ratio(part: Array, whole: Array) -> Array:
    """Return part ÷ whole, NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))


def true_classes(targets_NC: Array) -> Array:
    """Return the true class [N]; refuse independent columns, whose largest cell says nothing."""
    if np.abs(targets_NC.sum(1) - 1).max() > 1e-2:
        raise ValueError("target rows do not sum to 1; score independent columns with single_label=False")
    return np.asarray(targets_NC.argmax(1))


def true_cells(targets_NC: Array, single_label: bool) -> Array:
    """Return the truth as a boolean [N,C]; rows of a single label are read by their largest cell."""
    return one_hot(true_classes(targets_NC), targets_NC.shape[1]) if single_label else at_least_half(targets_NC)


def one_hot(classes_N: Array, count: int) -> Array:
    """Return the classes as a boolean [N,C]."""
    return np.asarray(classes_N[:, None] == np.arange(count))


def at_least_half(values_NC: Array) -> Array:
    """Return which cells of independent columns are true, or predicted."""
    return np.asarray(values_NC >= 0.5)


def _sums(weights_RN: Array, classes_N: Array, count: int) -> Array:
    """Return the weight of each class, [R,C], at a cost that does not grow with their number."""
    order = np.argsort(classes_N, kind="stable")
    present, starts = np.unique(classes_N[order], return_index=True)
    sums_RC = np.zeros((len(weights_RN), count))
    if len(order):
        sums_RC[:, present] = np.add.reduceat(weights_RN.take(order, axis=1), starts, axis=1)
    return sums_RC
