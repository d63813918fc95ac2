"""Ask scikit-learn and iterative-stratification for their folds: starting points and yardsticks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.folds.balance import Labels
from pipeline.methods.arrays import Array

GROUPS = 20_000  # scikit-learn is asked below this many groups
FEW_GROUPS = 2_000  # and with several seeds up to this many
CELLS = 20_000_000  # groups × classes that it may hold as a dense matrix
ROWS = 200_000  # iterative-stratification is asked up to this many rows
SWEEPS = 20_000_000_000  # and rows × labels², which its passes cost


def ask(
    scheme: str, labels: Labels, cell_N: Array, group_N: Array | None, n: int, seed: int
) -> tuple[str, dict[str, Array]]:
    """Return the name of the library's splitter for a scheme, and its folds by how it was asked.

    There are none where it would be too slow, and no name where there is no such splitter. StratifiedGroupKFold's
    may be empty (scikit-learn issue 34828); GroupKFold balances only sizes; MultilabelStratifiedKFold ignores
    groups silently, so it is asked only for single rows.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    n_groups, n_labels = 0 if group_N is None else int(group_N.max()) + 1, len(labels.names)
    if scheme == "stratified":
        asked = {"unshuffled": StratifiedKFold(n), **_seeded(StratifiedKFold, n, [seed])}
        return "sklearn StratifiedKFold", _split(asked, cell_N, None)
    if scheme == "multilabel":
        name = "iterstrat MultilabelStratifiedKFold"
        if n_labels < 2 or labels.n_rows > ROWS or labels.n_rows * n_labels**2 > SWEEPS:
            return name, {}
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

        matrix_NL = np.zeros((labels.n_rows, n_labels), dtype=bool)
        matrix_NL[labels.row_P, labels.label_P] = True
        seeds = {seed, 0, 1, 2} if labels.n_rows <= ROWS // 10 else {seed}
        return name, _split(_seeded(MultilabelStratifiedKFold, n, seeds), matrix_NL, None)
    if group_N is None or scheme == "holdout":
        return "", {}
    if scheme == "group":
        asked = {"unshuffled": GroupKFold(n)} if n_groups < GROUPS else {}
        return "sklearn GroupKFold", _split(asked, np.zeros(len(group_N), dtype=np.int64), group_N)
    name = "sklearn StratifiedGroupKFold"
    if n_groups >= GROUPS or n_groups * (int(cell_N.max()) + 1) > CELLS:
        return name, {}
    seeds = {seed, 0, 1, 2, 3, 4} if n_groups <= FEW_GROUPS else {seed}
    asked = {"unshuffled": StratifiedGroupKFold(n), **_seeded(StratifiedGroupKFold, n, seeds)}
    return name, _split(asked, cell_N, group_N)


def _seeded(splitter: Any, n: int, seeds: Iterable[int]) -> dict[str, Any]:
    return {f"seed {seed}": splitter(n, shuffle=True, random_state=seed) for seed in sorted(seeds)}


def _split(splitters: dict[str, Any], target: Array, group_N: Array | None) -> dict[str, Array]:
    found = {}
    for how, splitter in splitters.items():
        fold_N = np.full(len(target), -1, dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for fold, (_, valid) in enumerate(splitter.split(np.zeros(len(target)), target, group_N)):
                    fold_N[np.asarray(valid, dtype=np.int64)] = fold
            except ValueError:  # it refuses what we still do our best with
                continue
        found[how] = fold_N
    return found
