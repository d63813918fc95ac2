"""Say what one kind of target means; the only place that knows.

A task fixes which losses, decisions and blends fit it, how outputs become probabilities and how targets are
smoothed; competition/labels.py reads a table's cells by its facts. Elsewhere nobody asks `if task == …`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import Problem, some
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import BLENDERS
from pipeline.methods.blenders import find as find_blender
from pipeline.methods.losses import LOSSES, shares
from pipeline.methods.losses import find as find_loss
from pipeline.methods.metrics import find

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.methods.losses import Loss

QUANTILES = np.arange(1, 20) / 20  # of values, among the constants that could be predicted
MOST = 20  # classes that one of them may name for certain
Scale = tuple[tuple[float, float], ...]  # center and spread of each column


@dataclass(frozen=True)
class Task:
    """Describe one kind of target."""

    name: str
    single_label: bool  # rows sum to 1: exactly one class is true
    regression: bool = False  # its columns are raw values, no probabilities
    decisions: tuple[str, ...] = ()  # kinds beside the plain one that fit it
    one_column: bool = False  # several target columns make none
    ordered: bool = False  # its classes are steps
    headed: bool = False  # several target columns of labels can be a head each

    def blenders(self, metric: str) -> list[str]:
        """Return the blenders that fit this task and metric, in the table's order."""
        return [name for name in BLENDERS if self.allows_blender(name, metric)]

    def allows_blender(self, name: str, metric: str) -> bool:
        """Tell whether a blender makes what this metric reads; ranks throw away the values.

        Decisions between exclusive classes only compare columns, which their ranks allow; a cell's
        threshold of ½ means nothing in ranks.
        """
        blender, reads = find_blender(name), find(metric).reads
        if self.regression:
            return blender.regression
        ranks = reads == "order" or (reads in ("labels", "ranking") and self.single_label)
        return ranks or not blender.uses_ranks

    def score(self, metric: str, targets_NC: Array, probs_NC: Array) -> float:
        """Return a metric of METRICS as this task reads it; NaN where it is undefined."""
        return find(metric).score(targets_NC, probs_NC, self.single_label)

    @property
    def losses(self) -> list[str]:
        """Return the losses that can learn this task, in the table's order."""
        return [name for name, loss in LOSSES.items() if self.name in loss.tasks]

    def loss(self, name: str) -> Loss:
        """Return a loss as this task's columns have it."""
        return find_loss(name).of(self.single_label)

    def activate(self, logits_BC: Tensor, loss: str) -> Tensor:
        """Return probabilities, by softmax or sigmoid as the loss was trained; rows of a single label sum to 1.

        A loss on values has none: its outputs stay as they are.
        """
        activation = self.loss(loss).activation
        if activation == "identity":
            return logits_BC
        if activation == "softmax":
            return logits_BC.softmax(-1)
        if activation == "cumulative":
            return shares(logits_BC)
        probs_BC = logits_BC.sigmoid()
        return probs_BC / probs_BC.sum(-1, keepdim=True).clamp(min=1e-12) if self.single_label else probs_BC

    def smooth_targets(self, targets_BC: Tensor, amount: float, over: str = "all") -> Tensor:
        """Return (1−e)·y + e/K, K = 2 where the columns are independent; values stay as they are.

        Over the others it is (1−e)·y + e·(1−y)/(K−1): as much as (1−e′)·y + e′/K with e′ = e·K/(K−1).
        """
        if self.regression:
            return targets_BC
        count = targets_BC.shape[-1] if self.single_label else 2
        if over == "others":
            return targets_BC * (1 - amount) + (1 - targets_BC) * (amount / (count - 1))
        return targets_BC * (1 - amount) + amount * (1 / count)

    def labels(self, targets_NC: Array) -> Array:
        """Return hard labels for reports: the class index [N], or a 0/1 matrix [N,C]; values as they are."""
        if self.regression:
            return targets_NC
        return targets_NC.argmax(1) if self.single_label else (targets_NC >= 0.5).astype(np.int64)

    def label_text(self, targets_NC: Array, classes: Sequence[str]) -> list[str]:
        """Return each row's label, or value, as text; several are joined by `|`."""
        if self.regression:
            return ["|".join(f"{value:.7g}" for value in row) for row in targets_NC]
        names = np.asarray(classes, dtype=object)
        if self.single_label:
            return [str(name) for name in names[targets_NC.argmax(1)]]
        return ["|".join(names[row >= 0.5]) for row in targets_NC]

    def constants(self, metric: str, targets_NC: Array) -> Array:
        """Return rows [M,C] of which one is the best constant prediction of such targets under the metric, or near it.

        Values: their mean and quantiles. Exclusive classes: their shares, then the commonest ones for certain.
        Independent columns: their shares, then the commonest labels together, one to all. Where the order of rows
        is read all constants are worth the same.
        """
        reads, width = find(metric).reads, targets_NC.shape[1]
        if self.regression:
            values_NC = targets_NC.astype(np.float64)
            return np.vstack([values_NC.mean(0), np.quantile(values_NC, QUANTILES, axis=0)])
        if reads == "order":
            return np.full((1, width), 1 / width if self.single_label else 0.5)
        shares_C = targets_NC.sum(0, dtype=np.float64) / len(targets_NC)
        common = np.argsort(-shares_C, kind="stable")
        if reads == "ranking" or (reads == "probabilities" and width > MOST):
            return np.asarray(shares_C[None])
        if self.single_label:
            others_MC = np.zeros((min(width, MOST), width))
            others_MC[np.arange(len(others_MC)), common[: len(others_MC)]] = 1
            return np.vstack([shares_C, others_MC])
        place_C = np.argsort(common)
        counts = np.unique(np.geomspace(1, width, min(width, MOST)).round().astype(int))
        return np.vstack([shares_C, *((shares_C + (place_C < count)) / 2 for count in counts)])

    def scale(self, targets_NC: Array, loss: str, span: tuple[float, float] | None) -> Scale | None:
        """Return the center and spread by which a network's outputs become values; None for probabilities.

        Mean and standard deviation of these rows; where the outputs lie in [0, 1] the smallest and the largest
        possible value of `span`, or those of these rows.
        """
        if not self.regression:
            return None
        if self.loss(loss).activation == "sigmoid":
            low_C, high_C = span or (targets_NC.min(0), targets_NC.max(0))
            center_C, spread_C = np.broadcast_arrays(low_C, np.subtract(high_C, low_C), targets_NC[0])[:2]
        else:
            center_C, spread_C = targets_NC.mean(0, dtype=np.float64), targets_NC.std(0, dtype=np.float64)
        return tuple((float(center), float(spread) or 1.0) for center, spread in zip(center_C, spread_C, strict=True))

    def class_problems(self, classes: Sequence[str]) -> list[Problem]:
        """Return why these classes do not make this task."""
        found = f"found {len(classes)} classes ({some(classes)})"
        twice = [name for name, times in Counter(classes).items() if times > 1]
        if twice:
            return [Problem("", f"the class '{twice[0]}' is named twice in data.target or data.classes")]
        if self.name == "binary" and len(classes) != 2:
            return [Problem("", f"{found}, a binary task has 2", remedy="correct data.task")]
        if self.single_label and len(classes) < 2:
            return [Problem("", f"{found}, a {self.name} task needs at least 2", remedy="correct data.task")]
        if not classes:
            blank = "found no label, every cell of data.target is blank"
            return [Problem("", blank, remedy="correct data.target or data.separator")]
        return []


TASKS = {
    "binary": Task("binary", True, decisions=("threshold",), one_column=True),
    "multiclass": Task("multiclass", True, decisions=("new_class",), headed=True),
    "multilabel": Task("multilabel", False, decisions=("threshold", "thresholds")),
    "ordinal": Task("ordinal", True, ordered=True, decisions=("round", "cuts")),
    "regression": Task("regression", False, regression=True, decisions=("round", "cuts")),
}
