"""Score many candidate blends of the same members quickly, by only those cells that the metric needs.

A scorer reads a member once into the cells X that decide the score: the true class's for log loss, a column
for binary AUC, everything for the others. Scores are turned so that greater is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.blenders.blender import Objective
from pipeline.methods.metrics import METRICS
from pipeline.methods.metrics.counts import true_cells

Cells = Sequence[Array] | Array  # of M members: M arrays [X], or a matrix [M,X]
EPS = np.finfo(np.float64).eps  # log loss clips there, as the metric does
SMALL = 20_000  # cells: below, float32's rounding of a tie would show in an AUC
BLOCK = 4096  # rows at once: 100 members of them stay in a core's cache


class Scorer:
    """Score blends of what it reads from members: by the metric itself, one candidate after the other."""

    noise = 0.0  # candidates whose quick scores differ by less are told apart by `score`

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def read(self, probs_NC: Array) -> Array:
        """Return the cells [X] of a member or of a blend."""
        return probs_NC.reshape(-1)

    def read_all(self, members: Sequence[Array]) -> Cells:
        """Return the cells of every member."""
        return [self.read(probs_NC) for probs_NC in members]

    def score(self, cells_X: Array) -> float:
        """Return the score of a blend, −inf where it is undefined."""
        return self.objective.score(cells_X.reshape(self.objective.targets_NC.shape))

    def candidates(self, cells_MX: Cells, total_X: Array, count: int) -> Array:
        """Return the score of (total + cells of m) / count for each member, [M] float64."""
        return np.asarray([self.score((total_X + cells_X) / count) for cells_X in cells_MX])


class QuickScorer(Scorer):
    """Score by a part of the cells, roughly in float32."""

    noise = 3e-7  # several times float32's, over 100,000 rows

    def read_all(self, members: Sequence[Array]) -> Cells:
        """Return the cells of every member, [M,X] float32."""
        first_X = self.read(members[0])
        cells_MX = np.empty((len(members), len(first_X)), dtype=np.float32)
        cells_MX[0] = first_X
        for m in range(1, len(members)):
            cells_MX[m] = self.read(members[m])
        return cells_MX


class LogLoss(QuickScorer):
    """Score by the mean log of only the true cells; 1 − p stands in for a cell that is false."""

    def __init__(self, objective: Objective) -> None:
        self.single_label = objective.single_label
        self.true_NC = objective.targets_NC >= 0.5
        rows, classes = objective.targets_NC.shape
        self.true_N = np.arange(rows) * classes + objective.targets_NC.argmax(1)  # places in the flat member

    def read(self, probs_NC: Array) -> Array:
        if not self.single_label:
            return np.where(self.true_NC, probs_NC, 1 - probs_NC).ravel().clip(EPS, 1)
        sums_N = probs_NC @ np.ones(probs_NC.shape[1], dtype=probs_NC.dtype)  # .sum(1) of few columns is slow
        return np.asarray(probs_NC.reshape(-1).take(self.true_N) / np.maximum(sums_N, EPS)).clip(EPS, 1)

    def score(self, cells_X: Array) -> float:
        return float(np.log(cells_X).mean(dtype=np.float64)) if len(cells_X) else -math.inf

    def candidates(self, cells_MX: Cells, total_X: Array, count: int) -> Array:
        cells_MX, total_X, found_M = np.asarray(cells_MX), total_X.astype(np.float32), np.zeros(len(cells_MX))
        for start in range(0, len(total_X), BLOCK):
            block_MB = cells_MX[:, start : start + BLOCK] + total_X[start : start + BLOCK]
            found_M += np.log(block_MB, out=block_MB).sum(1)
        return found_M / len(total_X) - math.log(count)


class ColumnAuc(QuickScorer):
    """Score by the mean area under the ROC curve of the columns, each by one sort of integers.

    A float that is not negative orders like its own bits. Shifted left by one they leave the lowest bit to
    the label, so that a plain sort (several times as fast as a sort of rows) carries the labels along.
    """

    def __init__(self, objective: Objective) -> None:
        true_NC = true_cells(objective.targets_NC, objective.single_label)
        held_C = np.asarray(true_NC.any(0) & ~true_NC.all(0))
        if objective.single_label and len(held_C) == 2 and objective.metric is METRICS["roc_auc"]:
            held_C[0] = False  # the metric reads only the second column
        self.columns = np.flatnonzero(held_C)
        self.labels = [true_NC[:, c] for c in self.columns]

    def read(self, probs_NC: Array) -> Array:
        return np.asarray(probs_NC.take(self.columns, axis=1).T.ravel())

    def score(self, cells_X: Array) -> float:
        if not self.labels:
            return -math.inf
        cells_CN = (cells_X + 0.0).reshape(len(self.labels), -1)  # + 0.0: a negative zero has other bits
        areas = [_area(cells_N, true_N) for cells_N, true_N in zip(cells_CN, self.labels, strict=True)]
        return math.fsum(areas) / len(areas)

    def candidates(self, cells_MX: Cells, total_X: Array, count: int) -> Array:
        total_X = total_X.astype(np.float64 if len(total_X) < SMALL else np.float32)
        return np.asarray([self.score(total_X + cells_X) for cells_X in cells_MX])


def scorer(objective: Objective) -> Scorer:
    """Return the quickest scorer there is for the objective."""
    if objective.metric is METRICS["log_loss"]:
        return LogLoss(objective)
    if objective.metric is METRICS["roc_auc"] or objective.metric is METRICS["mean_column_auc"]:
        return ColumnAuc(objective)
    return Scorer(objective)


def _area(cells_N: Array, true_N: Array) -> float:
    """Return the area under one column's ROC curve; cells [N] float32 or float64, none negative, both labels there."""
    whole = np.uint32 if cells_N.dtype == np.float32 else np.uint64
    keys_N = np.left_shift(np.ascontiguousarray(cells_N).view(whole), 1, dtype=whole)
    keys_N |= true_N
    keys_N.sort()
    places = np.flatnonzero(keys_N & whole(1))
    positives, negatives = len(places), len(keys_N) - len(places)
    won = int(places.sum()) - positives * (positives - 1) / 2
    turns = np.flatnonzero((keys_N[1:] ^ keys_N[:-1]) == 1)  # equal cells, the last false and the first true
    if len(turns):
        ties_false = turns + 1 - np.searchsorted(keys_N, keys_N[turns], "left")
        ties_true = np.searchsorted(keys_N, keys_N[turns + 1], "right") - turns - 1
        won -= float((ties_false * ties_true).sum()) / 2
    return won / (positives * negatives)
