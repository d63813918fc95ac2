"""Read from the training table what folds are made of: labels, groups, further columns to stratify by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.folds.balance import Labels
from pipeline.folds.strata import column_codes, combine, strata
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.competition.competition import Competition
    from pipeline.config.config import Config


class FoldRows:
    """Hold the training rows sorted by id, so that the table's row order changes nothing."""

    def __init__(self, config: Config, competition: Competition) -> None:
        task, stratify = TASKS[config.data.task], config.folds.stratify
        self.order = np.argsort(competition.ids, kind="stable")
        targets_NC = competition.targets_NC[self.order]
        hard, names = strata(task, targets_NC, competition.classes, config.data, config.folds.bins)
        self.n = len(hard)
        if hard.ndim == 1:
            self.labels, self.several = Labels.of_codes(hard, names), False
            self.class_N, self.class_names = hard, names
        else:
            self.labels = Labels.of_matrix(hard, names)
            self.several = bool((hard.sum(1) != 1).any())
            packed = np.unique(np.packbits(hard.astype(bool), axis=1), axis=0, return_index=True, return_inverse=True)
            self.class_N = packed[2].reshape(-1).astype(np.int64)
            joined = ("|".join(np.asarray(names, dtype=object)[row >= 1]) for row in hard[packed[1]])
            self.class_names = tuple(text or "(none)" for text in joined)
        self.group_names, self.group_N = np.array([""]), None
        if competition.groups is not None:
            groups, ids = competition.groups[self.order], competition.ids[self.order]
            if (alone_N := groups == "").any():
                groups = np.where(alone_N, np.char.add("\x1f", ids), groups)
            self.group_names, self.group_N = np.unique(groups, return_inverse=True)
        self.columns = {
            name: column_codes(competition.table[name].to_numpy()[self.order], config.folds.bins)
            for name in ([stratify] if isinstance(stratify, str) else stratify or [])
        }

    @property
    def unit_N(self) -> Array:
        """Return the number of each row's group, or of the row itself."""
        return np.arange(self.n) if self.group_N is None else self.group_N

    def rare(self, below: int) -> tuple[Array, Array]:
        """Return which rows are trained on in every fold, as all their group is rare, and which rare ones are not.

        A row is rare where one of its labels has fewer than `below` rows.
        """
        few_L = np.bincount(self.labels.label_P, minlength=len(self.labels.names)) < below
        rare_N = np.zeros(self.n, dtype=bool)
        rare_N[self.labels.row_P[few_L[self.labels.label_P]]] = True
        common_U = np.bincount(self.unit_N[~rare_N], minlength=int(self.unit_N.max(initial=0)) + 1) > 0
        held_N = common_U[self.unit_N]
        return rare_N & ~held_N, rare_N & held_N

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
