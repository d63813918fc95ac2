"""Metrics on predictions, for many weightings of the rows at once.

A metric is one function `(targets_NC, probs_NC, weights_RN, single_label) -> scores_R` and one line in `METRICS`: a
row of weights is one resample of a bootstrap, a row of ones the plain score. It equals scikit-learn's with
`sample_weight`. Soft targets are read as hard ones: the largest of a row where classes exclude each other
(`single_label`), cells of at least ½ where columns are independent; nothing in the numbers tells the two apart.

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

from pipeline import plugins
from pipeline.errors import lookup
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import curves, labels, probabilities, rankings, regression
from pipeline.methods.metrics.counts import class_counts, ratio, true_cells
from pipeline.methods.metrics.curves import column_auc
from pipeline.methods.metrics.labels import f1, macro, micro, positive, precision, recall, samples, weighted
from pipeline.methods.metrics.metric import Metric, plugin

__all__ = ["FAMILIES", "METRICS", "Metric", "column_auc", "find", "per_class"]

BINARY, MANY, VALUES = ("binary",), ("multilabel",), ("regression",)
ONE_LABEL = ("binary", "multiclass", "ordinal")
ALL = (*ONE_LABEL, "multilabel")

METRICS = {
    "accuracy": Metric(labels.accuracy, True, ONE_LABEL, "labels", usual=ONE_LABEL),
    "balanced_accuracy": Metric(labels.balanced_accuracy, True, ONE_LABEL, "labels", usual=ONE_LABEL),
    "f1_macro": Metric(macro(f1), True, ALL, "labels", usual=ALL),
    "f1_micro": Metric(micro(f1), True, ALL, "labels", usual=ALL),
    "log_loss": Metric(probabilities.log_loss, False, ALL, "probabilities", usual=ALL, spread=True),
    "roc_auc": Metric(curves.roc_auc, True, ALL, "order", usual=ALL),
    "mean_column_auc": Metric(curves.mean_column_auc, True, ALL, "order", usual=ALL),
    "top1_error": Metric(labels.top1_error, False, ONE_LABEL, "labels"),
    "f1_weighted": Metric(weighted(f1), True, ALL, "labels"),
    "f1_samples": Metric(samples(f1), True, MANY, "labels"),
    "f1_micro_seen": Metric(labels.f1_micro_seen, True, MANY, "labels"),
    "f1": Metric(positive(f1), True, BINARY, "labels"),
    "precision_macro": Metric(macro(precision), True, ALL, "labels"),
    "precision_micro": Metric(micro(precision), True, ALL, "labels"),
    "precision_weighted": Metric(weighted(precision), True, ALL, "labels"),
    "precision_samples": Metric(samples(precision), True, MANY, "labels"),
    "precision": Metric(positive(precision), True, BINARY, "labels"),
    "recall_macro": Metric(macro(recall), True, ALL, "labels"),
    "recall_micro": Metric(micro(recall), True, ALL, "labels"),
    "recall_weighted": Metric(weighted(recall), True, ALL, "labels"),
    "recall_samples": Metric(samples(recall), True, MANY, "labels"),
    "recall": Metric(positive(recall), True, BINARY, "labels"),
    "probabilistic_f1": Metric(probabilities.probabilistic_f1, True, BINARY, "probabilities", rewards=("threshold",)),
    "mcc": Metric(labels.mcc, True, ONE_LABEL, "labels"),
    "quadratic_weighted_kappa": Metric(labels.kappa, True, (*ONE_LABEL, *VALUES), "labels", usual=("ordinal",)),
    "brier": Metric(probabilities.brier, False, ALL, "probabilities"),
    "weighted_auc": Metric(curves.weighted_auc, True, BINARY, "order"),
    "average_precision": Metric(curves.average_precision, True, ALL, "order"),
    "mrr": Metric(rankings.reciprocal_rank, True, ALL, "ranking"),
    "mae": Metric(regression.mae, False, VALUES, "values", usual=VALUES),
    "mse": Metric(regression.mse, False, VALUES, "values"),
    "rmse": Metric(regression.rmse, False, VALUES, "values", usual=VALUES),
    "r2": Metric(regression.r2, True, VALUES, "values", usual=VALUES),
}

FAMILIES: dict[str, Callable[[int], Metric]] = {  # NAME@K
    "map": lambda k: Metric(partial(rankings.average_precision_at, k), True, ALL, "ranking", k=k),
    "ndcg": lambda k: Metric(partial(rankings.ndcg_at, k), True, ALL, "ranking", k=k),
}


def find(name: str) -> Metric:
    """Return a metric of METRICS, of a family (`map@5`), or a plugin's (`FILE.py:function`).

    The same object for the same name. Raises ValueError, with the nearest name, where there is none, InputError where
    nobody asked for a plugin.
    """
    return _listed(name) if plugins.file_of(name) is None else plugins.find(METRICS, name, "metric", plugin)


@cache
def _listed(name: str) -> Metric:
    family = re.fullmatch(r"([a-z]+)@([1-9][0-9]*)", name)
    if family and family[1] in FAMILIES:
        return FAMILIES[family[1]](int(family[2]))
    examples = {f"{one}@5": make(5) for one, make in FAMILIES.items()}
    return lookup({**METRICS, **examples}, name, "metric")


def per_class(targets_NC: Array, probs_NC: Array, single_label: bool) -> dict[str, list[float]]:
    """Return support, precision, recall, f1 and auc, each a list in class order; NaN where undefined.

    Rows that hold only their most probable classes have no auc.
    """
    ones_1N = np.ones((1, len(targets_NC)))
    right_C, predicted_C, true_C = (
        sums_1C[0] for sums_1C in class_counts(targets_NC, probs_NC, ones_1N, single_label)[:3]
    )
    found = {
        "support": true_C.astype(np.int64).tolist(),
        "precision": ratio(right_C, predicted_C).tolist(),
        "recall": ratio(right_C, true_C).tolist(),
        "f1": ratio(2 * right_C, predicted_C + true_C).tolist(),
    }
    if topk.is_top(probs_NC):
        return found
    columns = zip(true_cells(targets_NC, single_label).T, probs_NC.T, strict=True)
    return {**found, "auc": [float(column_auc(true_N, probs_N, ones_1N)[0]) for true_N, probs_N in columns]}
