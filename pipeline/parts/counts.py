"""Read the truth from targets, soft or hard, and count rows by class under many weightings at once."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def class_counts(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> tuple[Array, Array, Array, Array]:
    """Return the weight per class that is rightly predicted, predicted, true, [R,C], and which the rows hold."""
    truth_N, said_N, count = true_classes(targets_NC), probs_NC.argmax(1), targets_NC.shape[1]
    right = np.flatnonzero(truth_N == said_N)
    return (
        _sums(weights_RN.take(right, axis=1), truth_N[right], count),
        _sums(weights_RN, said_N, count),
        _sums(weights_RN, truth_N, count),
        np.bincount(truth_N, minlength=count) > 0,
    )


def cell_counts(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> tuple[Array, Array, Array, Array]:
    """Return the same for independent columns."""
    hits_NC, said_NC = true_cells(targets_NC), true_cells(probs_NC)
    right_RC, said_RC, true_RC = (
        np.hstack([weights_RN @ cells_NC[:, c : c + 64].astype(np.float64) for c in range(0, cells_NC.shape[1], 64)])
        for cells_NC in (hits_NC & said_NC, said_NC, hits_NC)
    )
    return right_RC, said_RC, true_RC, np.asarray(hits_NC.any(0))


def row_mean(values_N: Array, weights_RN: Array) -> Array:
    """Return the weighted mean over the rows, [R]; NaN where nothing has weight."""
    return ratio(weights_RN @ values_N.astype(np.float64), weights_RN.sum(1))


def ratio(part: Array, whole: Array) -> Array:
    """Return part ÷ whole, NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))


def true_classes(targets_NC: Array) -> Array:
    """Return the true class [N]; refuse independent columns, whose largest cell says nothing."""
    if np.abs(targets_NC.sum(1) - 1).max() > 1e-2:
        raise ValueError("target rows do not sum to 1; score independent columns with exclusive=False")
    return np.asarray(targets_NC.argmax(1))


def hits(targets_NC: Array, exclusive: bool) -> Array:
    """Return the truth as a boolean [N,C]; exclusive rows are read by their largest cell."""
    return one_hot(true_classes(targets_NC), targets_NC.shape[1]) if exclusive else true_cells(targets_NC)


def one_hot(classes_N: Array, count: int) -> Array:
    """Return the classes as a boolean [N,C]."""
    return np.asarray(classes_N[:, None] == np.arange(count))


def true_cells(values_NC: Array) -> Array:
    """Return which cells of independent columns are true, or said to be."""
    return np.asarray(values_NC >= 0.5)


def _sums(weights_RN: Array, classes_N: Array, count: int) -> Array:
    """Return the weight of each class, [R,C], at a cost that does not grow with their number."""
    order = np.argsort(classes_N, kind="stable")
    present, starts = np.unique(classes_N[order], return_index=True)
    sums_RC = np.zeros((len(weights_RN), count))
    if len(order):
        sums_RC[:, present] = np.add.reduceat(weights_RN.take(order, axis=1), starts, axis=1)
    return sums_RC
