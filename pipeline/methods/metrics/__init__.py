"""Metrics on predictions, for many weightings of the rows at once.

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

import re
from collections.abc import Callable
from functools import cache, partial

import numpy as np

from pipeline.errors import lookup
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import curves, labels, own, probabilities, rankings, regression
from pipeline.methods.metrics.counts import cell_counts, class_counts, hits, ratio
from pipeline.methods.metrics.curves import column_auc
from pipeline.methods.metrics.labels import f1, macro, micro, positive, precision, recall, samples, weighted
from pipeline.methods.metrics.metric import Function, Metric
from pipeline.methods.topk import Top
from pipeline.plugins import file_of

__all__ = ["FAMILIES", "METRICS", "Metric", "column_auc", "find", "per_class"]

BINARY, MANY, VALUES = ("binary",), ("multilabel",), ("regression",)
ONE_LABEL = ("binary", "multiclass", "ordinal")
ALL = (*ONE_LABEL, "multilabel")


def _both(functions: tuple[Function, Function], usual: tuple[str, ...] = ()) -> Metric:
    return Metric(functions[0], True, ALL, "labels", functions[1], usual)


METRICS = {
    "accuracy": Metric(labels.accuracy, True, ONE_LABEL, "labels", usual=ONE_LABEL),
    "balanced_accuracy": Metric(labels.balanced_accuracy, True, ONE_LABEL, "labels", usual=ONE_LABEL),
    "f1_macro": _both(macro(f1), ALL),
    "f1_micro": _both(micro(f1), ALL),
    "log_loss": Metric(
        probabilities.log_loss, False, ALL, "probabilities", probabilities.independent_log_loss, usual=ALL
    ),
    "roc_auc": Metric(curves.roc_auc, True, ALL, "order", curves.independent_auc, usual=ALL),
    "mean_column_auc": Metric(curves.mean_column_auc, True, ALL, "order", curves.independent_auc, usual=ALL),
    "top1_error": Metric(labels.top1_error, False, ONE_LABEL, "labels"),
    "f1_weighted": _both(weighted(f1)),
    "f1_samples": Metric(samples(f1), True, MANY, "labels"),
    "f1_micro_seen": Metric(labels.f1_micro_seen, True, MANY, "labels"),
    "f1": Metric(positive(f1), True, BINARY, "labels"),
    "precision_macro": _both(macro(precision)),
    "precision_micro": _both(micro(precision)),
    "precision_weighted": _both(weighted(precision)),
    "precision_samples": Metric(samples(precision), True, MANY, "labels"),
    "precision": Metric(positive(precision), True, BINARY, "labels"),
    "recall_macro": _both(macro(recall)),
    "recall_micro": _both(micro(recall)),
    "recall_weighted": _both(weighted(recall)),
    "recall_samples": Metric(samples(recall), True, MANY, "labels"),
    "recall": Metric(positive(recall), True, BINARY, "labels"),
    "probabilistic_f1": Metric(probabilities.probabilistic_f1, True, BINARY, "probabilities"),
    "mcc": Metric(labels.mcc, True, ONE_LABEL, "labels"),
    "quadratic_weighted_kappa": Metric(
        labels.kappa, True, (*ONE_LABEL, "regression"), "labels", labels.rounded_kappa, usual=("ordinal",)
    ),
    "brier": Metric(probabilities.brier, False, ALL, "probabilities", probabilities.independent_brier),
    "weighted_auc": Metric(curves.weighted_auc, True, BINARY, "order"),
    "average_precision": Metric(curves.average_precision, True, ALL, "order", curves.independent_average_precision),
    "mrr": Metric(rankings.reciprocal_rank, True, ALL, "ranking", rankings.independent_reciprocal_rank),
    "mae": Metric(regression.mae, False, VALUES, "values", usual=VALUES),
    "mse": Metric(regression.mse, False, VALUES, "values"),
    "rmse": Metric(regression.rmse, False, VALUES, "values", usual=VALUES),
    "r2": Metric(regression.r2, True, VALUES, "values", usual=VALUES),
}


def _map_at(k: int) -> Metric:
    independent = partial(rankings.independent_average_precision_at, k)
    return Metric(partial(rankings.average_precision_at, k), True, ALL, "ranking", independent)


def _ndcg_at(k: int) -> Metric:
    return Metric(partial(rankings.ndcg_at, k), True, ALL, "ranking", partial(rankings.independent_ndcg_at, k))


FAMILIES: dict[str, Callable[[int], Metric]] = {"map": _map_at, "ndcg": _ndcg_at}  # NAME@K


@cache
def find(name: str) -> Metric:
    """Return a metric of METRICS, of a family (`map@5`), or the user's own (`FILE.py:function`).

    The same object for the same name. Raises ValueError, with the nearest name, where there is none.
    """
    if file_of(name) is not None:
        return own.load(name)
    family = re.fullmatch(r"([a-z]+)@([1-9][0-9]*)", name)
    if family and family[1] in FAMILIES:
        return FAMILIES[family[1]](int(family[2]))
    return lookup({**METRICS, **{f"{one}@5": make(5) for one, make in FAMILIES.items()}}, name, "metric")


def per_class(targets_NC: Array, probs_NC: Array, single_label: bool) -> dict[str, list[float]]:
    """Return support, precision, recall, f1 and auc, each a list in class order; NaN where undefined.

    Rows of their most probable classes alone have no auc.
    """
    ones_1N = np.ones((1, len(targets_NC)))
    counts = class_counts if single_label else cell_counts
    right_C, said_C, true_C = (count_1C[0] for count_1C in counts(targets_NC, probs_NC, ones_1N)[:3])
    columns = {
        "precision": ratio(right_C, said_C),
        "recall": ratio(right_C, true_C),
        "f1": ratio(2 * right_C, said_C + true_C),
    }
    found = {
        "support": true_C.astype(np.int64).tolist(),
        **{name: column.tolist() for name, column in columns.items()},
    }
    if isinstance(probs_NC, Top):
        return found
    cells = zip(hits(targets_NC, single_label).T, probs_NC.T, strict=True)
    return {**found, "auc": [float(column_auc(hit_N, probs_N, ones_1N)[0]) for hit_N, probs_N in cells]}
