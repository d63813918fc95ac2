"""Metrics of the order of columns in a row: which classes come first."""

from __future__ import annotations

import numpy as np

from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import at_least_half, places, row_mean, row_wise, tied_places, true_classes


def average_precision_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return MAP@K: of a single label the mean of 1 ÷ its place, 0 where it is not among the first `k`.

    Of independent columns it is the mean over the rows of the precision at each true label among the first `k` ÷
    min(labels, k); rows without one count 0. Equal probabilities are ranked in the order of the classes, as the
    submission writes them. Source: Kaggle's MAP@K.
    """
    if single_label:
        place_N = places(probs_NC, true_classes(targets_NC))
        return row_mean(np.where(place_N < k, 1 / (1 + place_N), 0), weights_RN)

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        true_BC = at_least_half(targets_BC)
        right_BK = np.take_along_axis(true_BC, topk.first_columns(probs_BC, k), axis=1)
        precision_BK = np.cumsum(right_BK, axis=1) / np.arange(1, right_BK.shape[1] + 1)
        labels_B = np.minimum(true_BC.sum(1), k)
        return np.asarray((precision_BK * right_BK).sum(1) / np.maximum(labels_B, 1))

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def reciprocal_rank(targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean of 1 ÷ the place of a row's first true label; 0 where it has none or it is not kept."""
    if single_label:
        return average_precision_at(topk.kept(probs_NC), targets_NC, probs_NC, weights_RN, True)

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        true_BC = at_least_half(targets_BC)
        first_B = np.where(true_BC, probs_BC, -np.inf).argmax(1)
        return np.where(true_BC.any(1), 1 / (1 + places(probs_BC, first_B)), 0)

    return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)


def ndcg_at(k: int, targets_NC: Array, probs_NC: Array, weights_RN: Array, single_label: bool) -> Array:
    """Return the mean discounted gain of the true labels among the first `k` ÷ the greatest possible one.

    A place's gain is 1 ÷ log2(1 + it); rows without a true label count 0. Equal probabilities share the mean of their
    places' discounts, as in scikit-learn. Source: Järvelin & Kekäläinen (2002); ties: McSherry & Najork (2008).
    """
    sums = _discount_sums(probs_NC.shape[1], k)

    def of_rows(targets_BC: Array, probs_BC: Array) -> Array:
        true_BC, width = at_least_half(targets_BC), probs_BC.shape[1]
        order_BC = np.argsort(-probs_BC, axis=1)
        sorted_BC = np.take_along_axis(probs_BC, order_BC, axis=1)
        new_BC = np.ones((len(probs_BC), width + 1), dtype=bool)
        new_BC[:, 1:-1] = sorted_BC[:, 1:] != sorted_BC[:, :-1]
        number_C = np.arange(width + 1)
        from_BC = np.maximum.accumulate(np.where(new_BC, number_C, 0), axis=1)[:, :-1]
        upto_BC = np.minimum.accumulate(np.where(new_BC, number_C, width)[:, ::-1], axis=1)[:, ::-1][:, 1:]
        gain_BC = (sums[upto_BC] - sums[from_BC]) / (upto_BC - from_BC)
        found_B = (gain_BC * np.take_along_axis(true_BC, order_BC, axis=1)).sum(1)
        labels_B = true_BC.sum(1)
        return np.where(labels_B > 0, found_B / sums[np.maximum(labels_B, 1)], 0)

    if not single_label:
        return row_mean(row_wise(of_rows, targets_NC, probs_NC), weights_RN)
    before_N, tied_N = tied_places(probs_NC, true_classes(targets_NC))
    return row_mean((sums[before_N + tied_N] - sums[before_N]) / tied_N, weights_RN)


def _discount_sums(width: int, k: int) -> Array:
    """Return the sum of the discounts of the first 0, 1, … columns, [C+1]; those from `k` on have none."""
    places_C = np.arange(width)
    return np.append(0.0, np.cumsum(np.where(places_C < k, 1 / np.log2(places_C + 2), 0)))
