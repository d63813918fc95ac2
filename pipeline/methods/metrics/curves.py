"""Metrics of the order of rows in a column: areas under curves, whatever the scale of the scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import ratio, true_cells, true_classes

BLOCK = 2**18  # cells of a temporary that should stay in the processor's cache
BANDS = ((0.0, 0.4, 2.0), (0.4, 1.0, 1.0))  # of the true positive rate: from, to, weight


def roc_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the area under the ROC curve: of the second of two exclusive columns, else one-vs-rest macro.

    With two columns the first is left out on purpose: 1 − p rounds small p together and makes ties.
    """
    if single_label and targets_NC.shape[1] == 2:
        return column_auc(true_classes(targets_NC) == 1, probs_NC[:, 1], weights_RN)
    return mean_column_auc(targets_NC, probs_NC, weights_RN, single_label)


def mean_column_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean over the columns of their areas under the ROC curve; those of one value are left out."""
    true_NC = true_cells(targets_NC, single_label)
    return _column_mean(column_auc, true_NC, probs_NC, weights_RN, np.asarray(true_NC.any(0) & ~true_NC.all(0)))


def average_precision(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the average precision: of the second of two exclusive columns, else the mean over the columns."""
    if single_label and targets_NC.shape[1] == 2:
        return column_precision(true_classes(targets_NC) == 1, probs_NC[:, 1], weights_RN)
    true_NC = true_cells(targets_NC, single_label)
    return _column_mean(column_precision, true_NC, probs_NC, weights_RN, np.asarray(true_NC.any(0)))


def weighted_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the area under the ROC curve of the second column, true positive rates up to 0.4 counted twice.

    Scaled so that 1 is perfect. Source: ALASKA2's grader, from which it differs where a straight piece of the
    curve crosses the bands' border: there the grader jumps, here the area is exact.
    """
    return _curve_area(true_classes(targets_NC) == 1, probs_NC[:, 1], weights_RN, _band_area)


def column_auc(true_N: Array, probs_N: Array, weights_RN: Array) -> Array:
    """Return one column's area under the ROC curve, [R]; NaN where its weighted truth is all 0 or all 1.

    Mann and Whitney's count: a positive gains the weight of the negatives below it and half of its ties.
    Integer weights give exact counts. Source: Mann & Whitney (1947), Ann. Math. Statist. 18, 50-60.
    """
    positive, negative = np.flatnonzero(true_N), np.flatnonzero(true_N == 0)
    positive = positive[np.argsort(probs_N[positive])]  # only for the processor's cache
    negative = negative[np.argsort(probs_N[negative])]  # order among ties does not matter
    lower_Q, score_P = probs_N[negative], probs_N[positive]
    below_P, upto_P = (np.searchsorted(lower_Q, score_P, side) for side in ("left", "right"))
    tied = bool((below_P != upto_P).any())
    found_R = np.full(len(weights_RN), np.nan)
    step = max(1, BLOCK // len(true_N))
    for start in range(0, len(weights_RN), step):
        block_BN = weights_RN[start : start + step]
        weight_BP = block_BN.take(positive, axis=1)
        sums_BQ = np.zeros((len(block_BN), len(negative) + 1))
        np.cumsum(block_BN.take(negative, axis=1), axis=1, out=sums_BQ[:, 1:])
        won_BP = sums_BQ.take(below_P, axis=1)
        if tied:
            won_BP = (won_BP + sums_BQ.take(upto_P, axis=1)) / 2
        pairs_B = weight_BP.sum(1) * sums_BQ[:, -1]
        found_R[start : start + step] = ratio(np.einsum("bp,bp->b", weight_BP, won_BP), pairs_B)
    return found_R


def column_precision(true_N: Array, probs_N: Array, weights_RN: Array) -> Array:
    """Return one column's average precision, [R]; NaN where nothing of weight is true.

    The sum over distinct scores of the precision down to it × the recall it adds, without interpolation.
    """
    return _curve_area(true_N, probs_N, weights_RN, _precision_area)


def _column_mean(
    area: Callable[[Array, Array, Array], Array], true_NC: Array, probs_NC: Array, weights_RN: Array, asked_C: Array
) -> Array:
    total_R, columns = np.zeros(len(weights_RN)), np.flatnonzero(asked_C)
    for c in columns:
        total_R += area(true_NC[:, c], probs_NC[:, c], weights_RN)
    return total_R / len(columns) if len(columns) else np.full(len(weights_RN), np.nan)


def _curve_area(true_N: Array, probs_N: Array, weights_RN: Array, area: Callable[[Array, Array], Array]) -> Array:
    """Return `area` of the weights of positives and negatives at and above each distinct score, [R]."""
    order = np.argsort(-probs_N)  # order among ties does not matter
    sorted_N, true_N = probs_N[order], true_N[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(sorted_N)), len(order) - 1)
    found_R, step = np.full(len(weights_RN), np.nan), max(1, BLOCK // len(order))
    for start in range(0, len(weights_RN), step):
        rows = slice(start, start + step)
        weight_BN = weights_RN[rows].take(order, axis=1)
        sums = (np.cumsum(weight_BN * side_N, axis=1).take(ends, axis=1) for side_N in (true_N, 1 - true_N))
        found_R[rows] = area(*sums)
    return found_R


def _precision_area(positive_BU: Array, negative_BU: Array) -> Array:
    precision_BU = np.nan_to_num(ratio(positive_BU, positive_BU + negative_BU))
    added_BU = np.diff(positive_BU, axis=1, prepend=0)
    return ratio(np.einsum("bu,bu->b", precision_BU, added_BU), positive_BU[:, -1])


def _band_area(positive_BU: Array, negative_BU: Array) -> Array:
    """Integrate the share of negatives below over the true positive rate, band by band."""
    false_BU, true_BU = (
        np.pad(ratio(sums_BU, np.broadcast_to(sums_BU[:, -1:], sums_BU.shape)), ((0, 0), (1, 0)))
        for sums_BU in (negative_BU, positive_BU)
    )
    rise_BU, run_BU = np.diff(true_BU, axis=1), np.diff(false_BU, axis=1)
    slope_BU = np.divide(run_BU, rise_BU, out=np.zeros_like(rise_BU), where=rise_BU > 0)
    total_B = np.zeros(len(true_BU))
    for low, high, weight in BANDS:
        inside_BU = np.clip(true_BU, low, high)
        step_BU = np.diff(inside_BU, axis=1)
        middle_BU = (inside_BU[:, 1:] + inside_BU[:, :-1]) / 2 - true_BU[:, :-1]
        below_BU = 1 - false_BU[:, :-1] - slope_BU * middle_BU
        total_B += weight * np.einsum("bu,bu->b", step_BU, below_BU)
    return total_B / sum((high - low) * weight for low, high, weight in BANDS)
