"""Metrics on probabilities, for many weightings of the rows at once.

A metric is one function `(targets_NC, probs_NC, weights_RN) -> scores_R` and one line in `METRICS`: a row of
weights is one resample of a bootstrap, a row of ones the plain score. It equals scikit-learn's with
`sample_weight`. Soft targets are read as hard ones: the largest of a row where classes exclude each other,
cells of at least ½ where columns are independent. Independent columns have their own function, as nothing
in the numbers tells the two apart.

Absent classes never raise. What the rows cannot give is left out of means: the AUC of a column whose truth
is all one value, the F1 of a class that is neither true nor predicted. A mean of nothing is NaN. But a
resample that lacks a class which the rows hold is NaN in every mean over classes, as it would be a mean of
other classes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pipeline.parts.counts import cell_counts, class_counts, hits, ratio, row_mean, true_cells, true_classes
from pipeline.parts.lookup import lookup
from pipeline.parts.metrics.metric import Array, Metric

__all__ = ["METRICS", "Metric", "column_auc", "find", "per_class"]
EPS = float(np.finfo(np.float64).eps)  # scikit-learn clips probabilities to it
BLOCK = 2**18  # cells of a temporary that should stay in the processor's cache


def accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the share of rows whose most probable class is the true one."""
    return row_mean(true_classes(targets_NC) == probs_NC.argmax(1), weights_RN)


def balanced_accuracy(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean recall over the classes that occur in the truth."""
    right_RC, _, true_RC, held_C = class_counts(targets_NC, probs_NC, weights_RN)
    return _class_mean(ratio(right_RC, true_RC), true_RC, held_C, held_C)


def f1_macro(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean F1 over the classes seen in the truth or in the predictions."""
    seen_C = np.bincount(probs_NC.argmax(1), minlength=probs_NC.shape[1]) > 0
    return _macro_f1(*class_counts(targets_NC, probs_NC, weights_RN), seen_C)


def log_loss(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return minus the mean log probability of the true class, rows scaled to sum to 1 as graders do.

    Probabilities are clipped to float64's epsilon, as in scikit-learn.
    """
    truth_N = true_classes(targets_NC)
    probs_NC = np.clip(probs_NC.astype(np.float64), EPS, 1)
    return row_mean(np.log(probs_NC.sum(1)) - np.log(probs_NC[np.arange(len(truth_N)), truth_N]), weights_RN)


def roc_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the area under the ROC curve: of the second column where there are two, else one-vs-rest macro.

    With two columns the first is left out on purpose: 1 − p rounds small p together and makes ties.
    """
    if targets_NC.shape[1] == 2:
        return column_auc(true_classes(targets_NC) == 1, probs_NC[:, 1], weights_RN)
    return mean_column_auc(targets_NC, probs_NC, weights_RN)


def mean_column_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    """Return the mean over the columns of their areas under the ROC curve."""
    return _mean_auc(hits(targets_NC, True), probs_NC, weights_RN)


def column_auc(hit_N: Array, probs_N: Array, weights_RN: Array) -> Array:
    """Return one column's area under the ROC curve, [R]; NaN where its weighted truth is all 0 or all 1.

    Mann and Whitney's count: a positive gains the weight of the negatives below it and half of its ties.
    Integer weights give exact counts. Source: Mann & Whitney (1947), Ann. Math. Statist. 18, 50-60.
    """
    positive, negative = np.flatnonzero(hit_N), np.flatnonzero(hit_N == 0)
    positive = positive[np.argsort(probs_N[positive])]  # for the processor's cache alone
    negative = negative[np.argsort(probs_N[negative])]  # order among ties does not matter
    lower_Q, score_P = probs_N[negative], probs_N[positive]
    below_P, upto_P = (np.searchsorted(lower_Q, score_P, side) for side in ("left", "right"))
    tied = bool((below_P != upto_P).any())
    found_R = np.full(len(weights_RN), np.nan)
    step = max(1, BLOCK // len(hit_N))
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


def per_class(targets_NC: Array, probs_NC: Array, exclusive: bool) -> dict[str, list[float]]:
    """Return support, precision, recall, f1 and auc, each a list in class order; NaN where undefined."""
    ones_1N = np.ones((1, len(targets_NC)))
    counts = class_counts if exclusive else cell_counts
    right_C, said_C, true_C = (count_1C[0] for count_1C in counts(targets_NC, probs_NC, ones_1N)[:3])
    hits_NC = hits(targets_NC, exclusive)
    columns = {
        "precision": ratio(right_C, said_C),
        "recall": ratio(right_C, true_C),
        "f1": ratio(2 * right_C, said_C + true_C),
    }
    aucs = [float(column_auc(hit_N, probs_N, ones_1N)[0]) for hit_N, probs_N in zip(hits_NC.T, probs_NC.T, strict=True)]
    return {
        "support": true_C.astype(np.int64).tolist(),
        **{name: column.tolist() for name, column in columns.items()},
        "auc": aucs,
    }


def _independent_f1_macro(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    return _macro_f1(*cell_counts(targets_NC, probs_NC, weights_RN), np.asarray(true_cells(probs_NC).any(0)))


def _independent_f1_micro(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    right_RC, said_RC, true_RC, _ = cell_counts(targets_NC, probs_NC, weights_RN)
    return ratio(2 * right_RC.sum(1), (said_RC + true_RC).sum(1))


def _independent_log_loss(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    probs_NC = np.clip(probs_NC.astype(np.float64), EPS, 1 - EPS)
    return row_mean(-np.log(np.where(true_cells(targets_NC), probs_NC, 1 - probs_NC)).mean(1), weights_RN)


def _independent_auc(targets_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    return _mean_auc(hits(targets_NC, False), probs_NC, weights_RN)


def _mean_auc(hits_NC: Array, probs_NC: Array, weights_RN: Array) -> Array:
    mixed = np.flatnonzero(hits_NC.any(0) & ~hits_NC.all(0))
    total_R = np.zeros(len(weights_RN))
    for c in mixed:
        total_R += column_auc(hits_NC[:, c], probs_NC[:, c], weights_RN)
    return total_R / len(mixed) if len(mixed) else np.full(len(weights_RN), np.nan)


def _macro_f1(right_RC: Array, said_RC: Array, true_RC: Array, held_C: Array, predicted_C: Array) -> Array:
    """Average F1; a class that is only ever predicted wrongly counts 0 in every resample."""
    f1_RC = np.nan_to_num(ratio(2 * right_RC, said_RC + true_RC))
    return _class_mean(f1_RC, true_RC, held_C, held_C | predicted_C)


def _class_mean(values_RC: Array, true_RC: Array, held_C: Array, seen_C: Array) -> Array:
    """Return the mean over the seen classes, NaN where a resample lacks one that the rows hold."""
    if not seen_C.any():
        return np.full(len(values_RC), np.nan)
    lacks_R = (true_RC[:, held_C] == 0).any(1)
    return np.where(lacks_R, np.nan, values_RC[:, seen_C].mean(1))


ONE_LABEL = ("binary", "multiclass", "ordinal")
ALL = (*ONE_LABEL, "multilabel")
METRICS = {
    "accuracy": Metric(accuracy, True, ONE_LABEL, "labels"),
    "balanced_accuracy": Metric(balanced_accuracy, True, ONE_LABEL, "labels"),
    "f1_macro": Metric(f1_macro, True, ALL, "labels", _independent_f1_macro),
    "f1_micro": Metric(accuracy, True, ALL, "labels", _independent_f1_micro),
    "log_loss": Metric(log_loss, False, ALL, "probabilities", _independent_log_loss),
    "roc_auc": Metric(roc_auc, True, ALL, "order", _independent_auc),
    "mean_column_auc": Metric(mean_column_auc, True, ALL, "order", _independent_auc),
}


@cache
def find(name: str) -> Metric:
    """Return a metric of METRICS; the same object for the same name.

    Raises ValueError with the nearest name otherwise.
    """
    return lookup(METRICS, name, "metric")
