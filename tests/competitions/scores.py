"""The listed competitions' metrics, each written plainly from its definition: a second source beside ours."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = list[str]  # the cells beside the id
LOWER_IS_BETTER = {
    "dog-breed-identification",
    "dogs-vs-cats-redux-kernels-edition",
    "inaturalist-2019-fgvc6",
    "leaf-classification",
    "petfinder-pawpularity-score",
    "statoil-iceberg-classifier-challenge",
}


def score(name: str, truth: Mapping[str, Any], submission: Path) -> float:
    """Return what the competition's grader would say of a submission."""
    return SCORES[name](*read(truth, submission))


def read(truth: Mapping[str, Any], submission: Path) -> tuple[list[Any], list[Row], Row]:
    """Return what is true of a submission's rows, their cells and the columns' names, all without ids."""
    with submission.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    key = 1 if header[0] == "" else 0  # an index column
    return [truth[row[key]] for row in rows], [row[key + 1 :] for row in rows], header[key + 1 :]


def beats(name: str, score: float, other: float) -> bool:
    """Say whether the first score is the better one."""
    return score < other if name in LOWER_IS_BETTER else score > other


def _auc(truth: Sequence[Any], said: Sequence[float]) -> float:
    high = [value for hit, value in zip(truth, said, strict=True) if hit]
    low = [value for hit, value in zip(truth, said, strict=True) if not hit]
    won = sum((h > v) + (h == v) / 2 for h in high for v in low)
    return won / (len(high) * len(low))


def _binary_auc(truth: list[Any], rows: list[Row], _: Row) -> float:
    return _auc(truth, [float(row[0]) for row in rows])


def _column_auc(truth: list[Any], rows: list[Row], columns: Row) -> float:
    each = [_auc([hits[c] for hits in truth], [float(row[c]) for row in rows]) for c in range(len(columns))]
    return sum(each) / len(each)


def _binary_log_loss(truth: list[Any], rows: list[Row], _: Row) -> float:
    clipped = [min(max(float(row[0]), 1e-15), 1 - 1e-15) for row in rows]
    return -sum(math.log(p if hit else 1 - p) for hit, p in zip(truth, clipped, strict=True)) / len(truth)


def _class_log_loss(truth: list[Any], rows: list[Row], columns: Row) -> float:
    total = 0.0
    for label, row in zip(truth, rows, strict=True):
        values = [float(cell) for cell in row]
        total -= math.log(max(values[columns.index(label)] / sum(values), 1e-15))
    return total / len(truth)


def _accuracy(truth: list[Any], rows: list[Row], _: Row) -> float:
    return sum(str(label) == row[0] for label, row in zip(truth, rows, strict=True)) / len(truth)


def _top1_error(truth: list[Any], rows: list[Row], columns: Row) -> float:
    return 1 - _accuracy(truth, [[row[0].split(" ")[0]] for row in rows], columns)


def _macro_f1(truth: list[Any], rows: list[Row], _: Row) -> float:
    pairs = [(str(label), row[0]) for label, row in zip(truth, rows, strict=True)]
    each = []
    for name in {name for pair in pairs for name in pair}:
        right = sum(pair == (name, name) for pair in pairs)
        each.append(2 * right / sum((label == name) + (said == name) for label, said in pairs))
    return sum(each) / len(each)


def _label_f1(truth: list[Any], rows: list[Row], _: Row) -> float:
    """Return micro F1 over the labels that occur in the truth."""
    seen = {label for labels in truth for label in labels}
    said = [set(row[0].split()) for row in rows]
    right = sum(len(labels & set(held)) for labels, held in zip(said, truth, strict=True))
    return 2 * right / (sum(len(labels & seen) for labels in said) + sum(map(len, truth)))


def _kappa(truth: list[Any], rows: list[Row], _: Row) -> float:
    said = [int(row[0]) for row in rows]
    observed = sum((a - b) ** 2 for a, b in zip(truth, said, strict=True)) / len(truth)
    expected = sum((a - b) ** 2 for a in truth for b in said) / len(truth) ** 2
    return 1 - observed / expected if expected else 0.0


def _rmse(truth: list[Any], rows: list[Row], _: Row) -> float:
    return math.sqrt(sum((value - float(row[0])) ** 2 for value, row in zip(truth, rows, strict=True)) / len(truth))


def _probabilistic_f1(truth: list[Any], rows: list[Row], _: Row) -> float:
    """Return the F1 of probabilistic counts. Source: Yacouby & Axman (2020), ACL Eval4NLP."""
    said = np.array([float(row[0]) for row in rows]).clip(0, 1)
    hit = np.array(truth, dtype=bool)
    right = said[hit].sum()
    if not right:
        return 0.0
    precision, recall = right / said.sum(), right / hit.sum()
    return float(2 * precision * recall / (precision + recall))


SCORES: dict[str, Callable[[list[Any], list[Row], Row], float]] = {
    "aerial-cactus-identification": _binary_auc,
    "aptos2019-blindness-detection": _kappa,
    "cassava-leaf-disease-classification": _accuracy,
    "dog-breed-identification": _class_log_loss,
    "dogs-vs-cats-redux-kernels-edition": _binary_log_loss,
    "herbarium-2020-fgvc7": _macro_f1,
    "herbarium-2022-fgvc9": _macro_f1,
    "imet-2020-fgvc7": _label_f1,
    "inaturalist-2019-fgvc6": _top1_error,
    "iwildcam-2019-fgvc6": _macro_f1,
    "iwildcam-2020-fgvc7": _accuracy,
    "leaf-classification": _class_log_loss,
    "petfinder-pawpularity-score": _rmse,
    "plant-pathology-2020-fgvc7": _column_auc,
    "plant-pathology-2021-fgvc8": _label_f1,
    "plant-seedlings-classification": _accuracy,
    "ranzcr-clip-catheter-line-classification": _column_auc,
    "rsna-breast-cancer-detection": _probabilistic_f1,
    "siim-isic-melanoma-classification": _binary_auc,
    "statoil-iceberg-classifier-challenge": _binary_log_loss,
}
