"""Read from the training table what folds are made of: labels, groups, further columns to stratify by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contracts.task import TASKS
from pipeline.parts.folds.encode import column_codes, combine
from pipeline.parts.folds.measure import Labels

if TYPE_CHECKING:
    from pipeline.contracts.competition import Competition
    from pipeline.contracts.config import Config

Array = np.ndarray[Any, np.dtype[Any]]


class FoldRows:
    """Hold the training rows sorted by id, so that the table's row order changes nothing."""

    def __init__(self, config: Config, competition: Competition) -> None:
        task, stratify = TASKS[config.data.task], config.folds.stratify
        self.order = np.argsort(competition.ids, kind="stable")
        hard = task.labels(competition.targets_NC[self.order])
        self.n = len(hard)
        if hard.ndim == 1:
            self.labels, self.several = Labels.of_codes(hard, competition.classes), False
            self.class_N, self.class_names = hard, competition.classes
        else:
            self.labels = Labels.of_matrix(hard, competition.classes)
            self.several = bool((hard.sum(1) != 1).any())
            packed = np.unique(np.packbits(hard.astype(bool), axis=1), axis=0, return_index=True, return_inverse=True)
            self.class_N = packed[2].reshape(-1).astype(np.int64)
            self.class_names = tuple(text or "(none)" for text in task.label_text(hard[packed[1]], competition.classes))
        self.group_names, self.group_N = np.array([""]), None
        if competition.groups is not None:
            self.group_names, self.group_N = np.unique(competition.groups[self.order], return_inverse=True)
        self.columns = {
            name: column_codes(competition.table[name].to_numpy()[self.order], config.folds.bins)
            for name in ([stratify] if isinstance(stratify, str) else stratify or [])
        }

    @property
    def unit_N(self) -> Array:
        """Return the number of each row's group, or of the row itself."""
        return np.arange(self.n) if self.group_N is None else self.group_N

    def balanced(self, scheme: str) -> tuple[Labels, Array]:
        """Return the labels that the scheme balances, and the code of each row's combination of them.

        Further columns count one by one and together: with the label where a row has one label, among
        themselves where it has several (few rows share a whole combination of labels).
        """
        if scheme == "group":
            nothing = np.zeros(0, dtype=np.int64)
            return Labels(self.n, (), nothing, nothing), np.zeros(self.n, dtype=np.int64)
        by_class = scheme in ("stratified", "stratified_group") or not self.several
        labels = Labels.of_codes(self.class_N, self.class_names) if by_class else self.labels
        codes = [self.class_N, *(code_N for code_N, _ in self.columns.values())]
        for name, (code_N, values) in self.columns.items():
            labels += Labels.of_codes(code_N, tuple(f"{name}={value}" for value in values))
        together = codes if by_class else codes[1:]
        if self.columns and len(together) > 1:
            joint_N = combine(together)
            first = np.unique(joint_N, return_index=True)[1]
            parts = ([self.class_names] if by_class else []) + [
                tuple(f"{name}={value}" for value in values) for name, (_, values) in self.columns.items()
            ]
            labels += Labels.of_codes(
                joint_N,
                tuple(" & ".join(p[c[i]] for p, c in zip(parts, together, strict=True)) for i in first.tolist()),
            )
        return labels, combine(codes)
