"""Metrics of the order of columns in a row: which classes stand first."""

from __future__ import annotations

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import places, row_mean, row_wise, true_cells, true_classes
from pipeline.methods.topk import Top

FEW = 8  # of a row's columns one in so many: repeated search for the first is quicker than a sort


def average_precision_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean of 1 ÷ the place of the true class, 0 where it is not among the first `k` (MAP@K).

    Equal probabilities are ranked in the order of the classes, as the submission writes them.
    """
    place_N = places(probs_NC, true_classes(targets_NC))
    return row_mean(np.where(place_N < k, 1 / (1 + place_N), 0), weights_RN)


def independent_average_precision_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean over the rows of the precision at each true label among the first `k` ÷ min(labels, k).

    Rows without a true label count 0. Source: Kaggle's MAP@K.
    """

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        hits_BC = true_cells(targets_BC)
        right_BK = np.take_along_axis(hits_BC, first_columns(probs_BC, k), axis=1)
        precision_BK = np.cumsum(right_BK, axis=1) / np.arange(1, right_BK.shape[1] + 1)
        labels_B = np.minimum(hits_BC.sum(1), k)
        return np.asarray((precision_BK * right_BK).sum(1) / np.maximum(labels_B, 1))

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def reciprocal_rank(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean of 1 ÷ the place of the true class; 0 where only others are held."""
    held = probs_NC.values_NK.shape[1] if isinstance(probs_NC, Top) else probs_NC.shape[1]
    return average_precision_at(held, targets_NC, probs_NC, weights_RN)


def independent_reciprocal_rank(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean of 1 ÷ the place of a row's first true label; 0 where it has none."""

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        hits_BC = true_cells(targets_BC)
        first_B = np.where(hits_BC, probs_BC, -np.inf).argmax(1)
        return np.where(hits_BC.any(1), 1 / (1 + places(probs_BC, first_B)), 0)

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def ndcg_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean discounted gain of the true class among the first `k`: 1 ÷ log2(1 + its place).

    Equal probabilities share the mean of their places' discounts, as in scikit-learn. Source: Järvelin &
    Kekäläinen (2002); ties: McSherry & Najork (2008).
    """
    truth_N, sums = true_classes(targets_NC), _discount_sums(probs_NC.shape[1], k)
    if isinstance(probs_NC, Top):  # which holds no ties beyond its last class
        place_N = places(probs_NC, truth_N)
        return row_mean(sums[place_N + 1] - sums[place_N], weights_RN)

    def of_rows(truth_B1: Array, probs_BC: Array) -> Array:
        true_B1 = np.take_along_axis(probs_BC, truth_B1, axis=1)
        before_B, tied_B = (probs_BC > true_B1).sum(1), (probs_BC == true_B1).sum(1)
        return np.asarray((sums[before_B + tied_B] - sums[before_B]) / tied_B)

    return row_mean(row_wise(of_rows, truth_N[:, None], probs_NC), weights_RN)


def independent_ndcg_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean over the rows of the true labels' discounted gain ÷ the greatest possible one; 0 without any."""
    sums = _discount_sums(probs_NC.shape[1], k)

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        hits_BC, width = true_cells(targets_BC), probs_BC.shape[1]
        order_BC = np.argsort(-probs_BC, axis=1)
        sorted_BC = np.take_along_axis(probs_BC, order_BC, axis=1)
        new_BC = np.ones((len(probs_BC), width + 1), dtype=bool)
        new_BC[:, 1:-1] = sorted_BC[:, 1:] != sorted_BC[:, :-1]
        number_C = np.arange(width + 1)
        from_BC = np.maximum.accumulate(np.where(new_BC, number_C, 0), axis=1)[:, :-1]
        upto_BC = np.minimum.accumulate(np.where(new_BC, number_C, width)[:, ::-1], axis=1)[:, ::-1][:, 1:]
        gain_BC = (sums[upto_BC] - sums[from_BC]) / (upto_BC - from_BC)
        found_B = (gain_BC * np.take_along_axis(hits_BC, order_BC, axis=1)).sum(1)
        labels_B = hits_BC.sum(1)
        return np.where(labels_B > 0, found_B / sums[np.maximum(labels_B, 1)], 0)

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def first_columns(probs_NC: Array, k: int) -> Array:
    """Return the `k` most probable columns of each row, the most probable first, the lower first among equals."""
    k = min(k, probs_NC.shape[1])
    if k * FEW > probs_NC.shape[1]:
        return np.argsort(-probs_NC, axis=1, kind="stable")[:, :k]
    left_NC, rows = probs_NC.copy(), np.arange(len(probs_NC))
    found_NK = np.empty((len(probs_NC), k), dtype=np.int64)
    for place in range(k):
        found_NK[:, place] = left_NC.argmax(1)
        left_NC[rows, found_NK[:, place]] = -np.inf
    return found_NK


def _discount_sums(width: int, k: int) -> Array:
    """Return the sum of the discounts of the first 0, 1, … columns, [C+1]; those from `k` on have none."""
    places_C = np.arange(width)
    return np.append(0.0, np.cumsum(np.where(places_C < k, 1 / np.log2(places_C + 2), 0)))
