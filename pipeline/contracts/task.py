"""Say what one kind of target means; the only place that knows.

A task fixes the columns of its predictions, how a table's cells become soft targets, which losses,
metrics and blends it admits, and how smoothing pulls. Elsewhere nobody asks `if task == …`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.parts.blenders import BLENDERS
from pipeline.parts.calibration import smooth
from pipeline.parts.losses import LOSSES
from pipeline.parts.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from pipeline.contracts.config import Config, Data

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Task:
    """Describe one kind of target."""

    name: str
    exclusive: bool  # rows sum to 1: exactly one class is true
    losses: tuple[str, ...]
    values: bool = False  # its columns are raw values, no probabilities

    def problems(self, config: Config) -> list[str]:
        """Return what the rest of the config asks that this task does not admit."""
        found = []
        if config.loss.name not in self.losses:
            found.append(f"loss.name: found '{config.loss.name}', a {self.name} task admits {', '.join(self.losses)}")
        if self.name not in METRICS[config.metric].tasks:
            fitting = [name for name, metric in METRICS.items() if self.name in metric.tasks]
            found.append(f"metric: found '{config.metric}', a {self.name} task admits {', '.join(fitting)}")
        found += self._blend_problems(config)
        if self.name == "binary" and len(config.data.targets) != 1:
            found.append("data.target: a binary task has one target column")
        if self.name == "multilabel" and len(config.data.targets) == 1 and config.data.separator is None:
            found.append("data.target: multilabel needs several columns, or data.separator for a cell of labels")
        return found

    def _blend_problems(self, config: Config) -> list[str]:
        """Refuse ranks where the metric needs the values that they throw away.

        Decisions between exclusive classes only compare columns, which their ranks allow; a cell's
        threshold of ½ means nothing in ranks.
        """
        fitting = self.blenders(config.metric)
        asked = {"blender": [config.ensemble.blender], "compare": config.ensemble.compare or []}
        return [
            f"ensemble.{key}: found '{name}', but {config.metric} needs probabilities "
            f"and ranks are none; choose {', '.join(fitting)}"
            for key, names in asked.items()
            for name in names
            if name not in ("auto", *fitting)
        ]

    def blenders(self, metric: str) -> list[str]:
        """Return the blenders that this task and metric admit, in the table's order."""
        reads = METRICS[metric].reads
        ranks = reads == "order" or (reads == "labels" and self.exclusive)
        return [name for name, blender in BLENDERS.items() if ranks or not blender.uses_ranks]

    def score(self, metric: str, targets_NC: Array, probs_NC: Array) -> float:
        """Return a metric of METRICS as this task reads it; NaN where it is undefined."""
        return METRICS[metric].score(targets_NC, probs_NC, self.exclusive)

    def activate(self, logits_BC: Tensor, loss: str) -> Tensor:
        """Return probabilities, by softmax or sigmoid as the loss was trained; exclusive rows sum to 1."""
        if LOSSES[loss].activation == "softmax":
            return logits_BC.softmax(-1)
        probs_BC = logits_BC.sigmoid()
        return probs_BC / probs_BC.sum(-1, keepdim=True).clamp(min=1e-12) if self.exclusive else probs_BC

    def smooth_targets(self, targets_BC: Tensor, amount: float) -> Tensor:
        """Return (1−e)·y + e/K, or towards ½ where the columns are independent."""
        even = 1 / targets_BC.shape[-1] if self.exclusive else 0.5
        return targets_BC * (1 - amount) + amount * even

    def smooth_probs(self, probs_NC: Array, alpha: float, threshold: float) -> Array:
        """Return p ← (1−alpha)·p + alpha/K for rows whose largest probability exceeds the threshold.

        Independent columns: each cell whose max(p, 1−p) exceeds it is pulled towards ½.
        """
        return smooth(probs_NC, alpha, threshold, self.exclusive)

    def labels(self, targets_NC: Array) -> Array:
        """Return hard labels for reports and stratification: the class index [N], or a 0/1 matrix [N,C]."""
        return targets_NC.argmax(1) if self.exclusive else (targets_NC >= 0.5).astype(np.int64)

    def label_text(self, targets_NC: Array, classes: Sequence[str]) -> list[str]:
        """Return each row's label as text; several labels are joined by `|`."""
        names = np.asarray(classes, dtype=object)
        if self.exclusive:
            return [str(name) for name in names[targets_NC.argmax(1)]]
        return ["|".join(names[row >= 0.5]) for row in targets_NC]

    def classes(self, table: pd.DataFrame, data: Data) -> list[str]:
        """Return the class names in their fixed order.

        Several target columns are the classes themselves; a label column's values are sorted, numbers by
        value and before texts, unless `data.classes` gives the order. Blank cells are left to `encode`.
        A binary column of numbers in [0, 1] holds shares of the class 1: soft labels, classes 0 and 1.
        """
        if len(data.targets) > 1:
            return list(data.targets)
        if data.classes is not None:
            return list(data.classes)
        cells = {cell for text in table[data.targets[0]] for cell in _labels(text, data.separator)}
        if self.name == "binary" and cells and all(_share(cell) is not None for cell in cells):
            return SHARED
        return sorted(cells, key=_natural)

    def class_problem(self, classes: Sequence[str]) -> str | None:
        """Return why these classes do not make this task, or None."""
        twice = [name for name, times in Counter(classes).items() if times > 1]
        if twice:
            return f"the class '{twice[0]}' is named twice in data.target or data.classes"
        if self.name == "binary" and len(classes) != 2:
            return f"found {len(classes)} classes ({_some(classes)}), a binary task has 2; correct data.task"
        if self.exclusive and len(classes) < 2:
            return f"found {len(classes)} classes ({_some(classes)}), a {self.name} task needs at least 2"
        if not classes:
            return "found no label, every cell of data.target is blank; correct data.target or data.separator"
        return None

    def encode(self, table: pd.DataFrame, data: Data, classes: Sequence[str]) -> tuple[Array, list[tuple[int, str]]]:
        """Return soft targets [N,C] float32 and the defects as (row number, what is wrong).

        Defective rows are returned as zeros.
        """
        targets_NC = np.zeros((len(table), len(classes)), dtype=np.float32)
        defects: list[tuple[int, str]] = []
        if len(data.targets) > 1:
            self._encode_columns(table, data, targets_NC, defects)
            return targets_NC, defects
        number = {name: c for c, name in enumerate(classes)}
        shared = self.name == "binary" and list(classes) == SHARED
        for row, text in enumerate(table[data.targets[0]]):
            if shared and (share := _share(text)) is not None:
                targets_NC[row] = 1 - share, share
                continue
            found = _labels(text, data.separator)
            if not found and self.exclusive:
                defects.append((row, f"{data.targets[0]} is blank, expected a label"))
            if len(set(found)) > 1 and self.exclusive:
                defects.append((row, f"{data.targets[0]} is '{text}', a {self.name} task has one label per row"))
                continue
            for label in found:
                if label in number:
                    targets_NC[row, number[label]] = 1
                else:
                    defects.append((row, f"{data.targets[0]} is '{label}', expected one of {_some(classes)}"))
        return targets_NC, defects

    def _encode_columns(
        self, table: pd.DataFrame, data: Data, targets_NC: Array, defects: list[tuple[int, str]]
    ) -> None:
        import pandas as pd

        for c, column in enumerate(data.targets):
            cells = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
            for row in np.flatnonzero(~((cells >= 0) & (cells <= 1))):
                defects.append((int(row), f"{column} is '{table[column].iloc[row]}', expected a number in [0, 1]"))
            targets_NC[:, c] = np.nan_to_num(cells)
        if self.exclusive:
            sums = targets_NC.sum(1)
            bad = {row for row, _ in defects}
            for row in np.flatnonzero(np.abs(sums - 1) > 1e-3):
                if int(row) not in bad:
                    defects.append((int(row), f"the target columns sum to {sums[row]:g}, expected 1"))


SHARED = ["0", "1"]  # the classes of a binary column that may hold fractions


def _share(text: str) -> float | None:
    """Return a cell's number in [0, 1], or None."""
    match = re.fullmatch(r"\s*(0|1|[01]?\.[0-9]+)\s*", text)
    return float(text) if match and float(text) <= 1 else None


def _labels(text: str, separator: str | None) -> list[str]:
    """Split a cell into its labels; blank gives none."""
    parts = [text] if separator is None else text.split(separator)
    return [part.strip() for part in parts if part.strip()]


def _natural(text: str) -> tuple[int, float, str]:
    """Sort decimal numbers by value, before texts; words that float() takes ('nan', 'inf') are texts."""
    return (0, float(text), text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else (1, 0.0, text)


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


TASKS = {
    "binary": Task("binary", exclusive=True, losses=("cross_entropy", "binary_cross_entropy")),
    "multiclass": Task("multiclass", exclusive=True, losses=("cross_entropy", "binary_cross_entropy")),
    "multilabel": Task("multilabel", exclusive=False, losses=("binary_cross_entropy",)),
    "ordinal": Task("ordinal", exclusive=True, losses=("cross_entropy", "binary_cross_entropy")),
    "regression": Task(
        "regression", exclusive=False, losses=("mse", "mae", "smooth_l1", "binary_cross_entropy"), values=True
    ),
}
