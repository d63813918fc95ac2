"""Ask scikit-learn and iterative-stratification for their folds: starting points and yardsticks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pipeline.folds.balance import Labels
from pipeline.methods.arrays import Array

Found = dict[str, Array]  # how it was asked -> fold of each row

GROUPS = 20_000  # scikit-learn is asked below this many groups
FEW_GROUPS = 2_000  # and with several seeds up to this many
CELLS = 20_000_000  # groups × classes that it may hold as a dense matrix
ROWS = 200_000  # iterative-stratification is asked up to this many rows
SWEEPS = 20_000_000_000  # and rows × labels², which its passes cost


def stratified_group(class_N: Array, group_N: Array, n: int, seed: int) -> Found:
    """Return StratifiedGroupKFold's folds, unshuffled and with several seeds; {} where it is too slow.

    They may hold empty folds (scikit-learn issue 34828).
    """
    n_groups = int(group_N.max()) + 1
    if n_groups >= GROUPS or n_groups * (int(class_N.max()) + 1) > CELLS:
        return {}
    from sklearn.model_selection import StratifiedGroupKFold

    seeds = sorted({seed, 0, 1, 2, 3, 4}) if n_groups <= FEW_GROUPS else [seed]
    asked: dict[str, Any] = {"unshuffled": StratifiedGroupKFold(n)}
    asked |= {f"seed {s}": StratifiedGroupKFold(n, shuffle=True, random_state=s) for s in seeds}
    return _ask(asked, class_N, group_N)


def stratified(class_N: Array, n: int, seed: int) -> Found:
    """Return StratifiedKFold's folds, unshuffled and shuffled."""
    from sklearn.model_selection import StratifiedKFold

    asked = {
        "unshuffled": StratifiedKFold(n),
        f"seed {seed}": StratifiedKFold(n, shuffle=True, random_state=seed),
    }
    return _ask(asked, class_N, None)


def group(group_N: Array, n: int) -> Found:
    """Return GroupKFold's folds, which balances sizes alone; {} where it is too slow."""
    if int(group_N.max()) + 1 >= GROUPS:
        return {}
    from sklearn.model_selection import GroupKFold

    return _ask({"unshuffled": GroupKFold(n)}, np.zeros(len(group_N), dtype=np.int64), group_N)


def multilabel(labels: Labels, n: int, seed: int) -> Found:
    """Return MultilabelStratifiedKFold's folds for some seeds; {} where it is too slow.

    It ignores groups silently, so it is asked for single rows alone.
    """
    n_labels = len(labels.names)
    if n_labels < 2 or labels.n_rows > ROWS or labels.n_rows * n_labels**2 > SWEEPS:
        return {}
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    matrix_NL = np.zeros((labels.n_rows, n_labels), dtype=bool)
    matrix_NL[labels.row_P, labels.label_P] = True
    seeds = sorted({seed, 0, 1, 2}) if labels.n_rows <= ROWS // 10 else [seed]
    asked = {f"seed {s}": MultilabelStratifiedKFold(n, shuffle=True, random_state=s) for s in seeds}
    return _ask(asked, matrix_NL, None)


def _ask(splitters: dict[str, Any], target: Array, group_N: Array | None) -> Found:
    found: Found = {}
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
