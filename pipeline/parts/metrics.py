"""Metrics on probabilities; scikit-learn does the arithmetic, imported when first used.

A metric is one function `(targets_NC, probs_NC) -> float` and one line in `METRICS`. Soft targets are read
as hard ones: the largest of a row where classes exclude each other, cells of at least ½ where columns are
independent. Independent columns have their own function, as nothing in the numbers tells the two apart.

Absent classes never raise. What cannot be computed is NaN: the AUC of a column whose truth is all one value,
the F1 of a class that is neither true nor predicted. It is left out of means, and a mean of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[[Array, Array], float]


@dataclass(frozen=True)
class Metric:
    """Hold a metric's functions, its direction, the tasks that admit it and what it reads.

    `reads`: `labels` are decisions, `probabilities` must be calibrated, `order` is that of rows in a column.
    """

    function: Function
    greater_is_better: bool
    tasks: tuple[str, ...]
    reads: Literal["labels", "probabilities", "order"]
    independent: Function | None = None  # the same for independent columns, where it differs

    def score(self, targets_NC: Array, probs_NC: Array, exclusive: bool) -> float:
        """Return the metric, NaN on no rows.

        Raises ValueError on NaN, on unequal shapes and, if exclusive, on targets that do not sum to 1.
        """
        if targets_NC.shape != probs_NC.shape:
            raise ValueError(f"found targets {targets_NC.shape} and probabilities {probs_NC.shape}")
        if not np.isfinite(probs_NC).all():
            raise ValueError("found NaN or infinity among the probabilities")
        if len(targets_NC) == 0:
            return float("nan")
        if exclusive:
            return self.function(targets_NC, probs_NC)
        return (self.independent or self.function)(targets_NC, probs_NC)


def accuracy(targets_NC: Array, probs_NC: Array) -> float:
    """Return the share of rows whose most probable class is the true one."""
    return float((_truth(targets_NC) == probs_NC.argmax(1)).mean())


def balanced_accuracy(targets_NC: Array, probs_NC: Array) -> float:
    """Return the mean recall over the classes that occur in the truth."""
    from sklearn.metrics import recall_score

    truth_N = _truth(targets_NC)
    return float(recall_score(truth_N, probs_NC.argmax(1), labels=np.unique(truth_N), average="macro"))


def f1_macro(targets_NC: Array, probs_NC: Array) -> float:
    """Return the mean F1 over the classes seen in the truth or in the predictions."""
    from sklearn.metrics import f1_score

    return float(f1_score(_truth(targets_NC), probs_NC.argmax(1), average="macro"))


def f1_micro(targets_NC: Array, probs_NC: Array) -> float:
    """Return F1 over all decisions together; with exclusive classes it equals accuracy."""
    from sklearn.metrics import f1_score

    return float(f1_score(_truth(targets_NC), probs_NC.argmax(1), average="micro"))


def log_loss(targets_NC: Array, probs_NC: Array) -> float:
    """Return minus the mean log probability of the true class, rows scaled to sum to 1 as graders do.

    Probabilities are clipped to float64's epsilon, as in scikit-learn.
    """
    from sklearn.metrics import log_loss as sklearn_log_loss

    probs_NC = np.clip(probs_NC.astype(np.float64), np.finfo(np.float64).eps, 1)
    probs_NC /= probs_NC.sum(1, keepdims=True)
    return float(sklearn_log_loss(_truth(targets_NC), probs_NC, labels=np.arange(probs_NC.shape[1])))


def roc_auc(targets_NC: Array, probs_NC: Array) -> float:
    """Return the area under the ROC curve: of the second column where there are two, else one-vs-rest macro.

    With two columns the first is left out on purpose: 1 − p rounds small p together and makes ties.
    """
    if targets_NC.shape[1] == 2:
        return column_auc(_truth(targets_NC)[:, None], probs_NC[:, 1:])[0]
    return mean_column_auc(targets_NC, probs_NC)


def mean_column_auc(targets_NC: Array, probs_NC: Array) -> float:
    """Return the mean over the columns of their areas under the ROC curve."""
    return _mean(column_auc(_one_hot(_truth(targets_NC), targets_NC.shape[1]), probs_NC))


def column_auc(hits_NC: Array, probs_NC: Array) -> list[float]:
    """Return each column's area under the ROC curve, NaN where its truth is all 0 or all 1."""
    from sklearn.metrics import roc_auc_score

    return [
        float(roc_auc_score(hit_N, probs_N)) if 0 < hit_N.sum() < len(hit_N) else float("nan")
        for hit_N, probs_N in zip(hits_NC.T, probs_NC.T, strict=True)
    ]


def _independent_f1_macro(targets_NC: Array, probs_NC: Array) -> float:
    return _mean(_f1(*_counts(_cells(targets_NC), _cells(probs_NC))))


def _independent_f1_micro(targets_NC: Array, probs_NC: Array) -> float:
    totals = [count_C.sum(keepdims=True) for count_C in _counts(_cells(targets_NC), _cells(probs_NC))]
    return float(_f1(*totals)[0])


def _independent_log_loss(targets_NC: Array, probs_NC: Array) -> float:
    hits_NC = _cells(targets_NC).astype(bool)
    eps = np.finfo(np.float64).eps
    probs_NC = np.clip(probs_NC.astype(np.float64), eps, 1 - eps)
    return float(-np.log(np.where(hits_NC, probs_NC, 1 - probs_NC)).mean())


def _independent_auc(targets_NC: Array, probs_NC: Array) -> float:
    return _mean(column_auc(_cells(targets_NC), probs_NC))


def per_class(targets_NC: Array, probs_NC: Array, exclusive: bool) -> dict[str, list[float]]:
    """Return support, precision, recall, f1 and auc, each a list in class order; NaN where undefined."""
    hits_NC = _one_hot(_truth(targets_NC), targets_NC.shape[1]) if exclusive else _cells(targets_NC)
    said_NC = _one_hot(probs_NC.argmax(1), probs_NC.shape[1]) if exclusive else _cells(probs_NC)
    right_C, said_C, true_C = _counts(hits_NC, said_NC)
    columns = {
        "support": true_C,
        "precision": _ratio(right_C, said_C),
        "recall": _ratio(right_C, true_C),
        "f1": _f1(right_C, said_C, true_C),
    }
    return {name: column.tolist() for name, column in columns.items()} | {"auc": column_auc(hits_NC, probs_NC)}


def _counts(hits_NC: Array, said_NC: Array) -> tuple[Array, Array, Array]:
    """Return per class how often it is rightly predicted, predicted and true."""
    return (hits_NC & said_NC).sum(0), said_NC.sum(0), hits_NC.sum(0)


def _f1(right_C: Array, said_C: Array, true_C: Array) -> Array:
    return _ratio(2 * right_C, said_C + true_C)


def _ratio(part_C: Array, whole_C: Array) -> Array:
    return np.where(whole_C > 0, part_C / np.maximum(whole_C, 1), np.nan)


def _truth(targets_NC: Array) -> Array:
    """Return the true class [N]; refuse independent columns, whose largest cell says nothing."""
    if np.abs(targets_NC.sum(1) - 1).max() > 1e-2:
        raise ValueError("target rows do not sum to 1; score independent columns with exclusive=False")
    return np.asarray(targets_NC.argmax(1))


def _one_hot(classes_N: Array, count: int) -> Array:
    return np.asarray(classes_N[:, None] == np.arange(count), dtype=np.int64)


def _cells(values_NC: Array) -> Array:
    return np.asarray(values_NC >= 0.5, dtype=np.int64)


def _mean(values: list[float] | Array) -> float:
    defined = np.asarray(values)[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


ONE_LABEL = ("binary", "multiclass")
ALL = (*ONE_LABEL, "multilabel")
METRICS = {
    "accuracy": Metric(accuracy, True, ONE_LABEL, "labels"),
    "balanced_accuracy": Metric(balanced_accuracy, True, ONE_LABEL, "labels"),
    "f1_macro": Metric(f1_macro, True, ALL, "labels", _independent_f1_macro),
    "f1_micro": Metric(f1_micro, True, ALL, "labels", _independent_f1_micro),
    "log_loss": Metric(log_loss, False, ALL, "probabilities", _independent_log_loss),
    "roc_auc": Metric(roc_auc, True, ALL, "order", _independent_auc),
    "mean_column_auc": Metric(mean_column_auc, True, ALL, "order", _independent_auc),
}
