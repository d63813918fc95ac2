"""Turn a scheme, labels and groups into one fold per row."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.errors import Problem, Refused
from pipeline.folds import splitters
from pipeline.folds.balance import Labels, count_units, deviation, lower_bound, totals
from pipeline.folds.search import Types, search
from pipeline.methods.arrays import Array

WORK = 600_000_000  # of about 10 ns
PATIENCE = 100  # kicks in vain before the search ends


@dataclass(frozen=True)
class Assignment:
    """Hold the fold of each row and how even the folds are; fold −1 is never validated."""

    fold_N: Array
    deviation: float
    lower_bound: float
    others: dict[str, dict[str, float]]  # library's splitter -> how it was asked -> its deviation


def assign(
    scheme: str,
    labels: Labels,
    class_N: Array,
    cell_N: Array,
    group_N: Array | None,
    n: int,
    seed: int,
    valid_share: float = 0.2,
    work: int = WORK,
    patience: int = PATIENCE,
) -> Assignment:
    """Assign each row to a fold; rows come sorted by id, groups as codes 0…G−1 in the order of their names.

    `labels` are balanced. `class_N` is one code per row (the label, or the combination of labels),
    `cell_N` the same refined by further columns, both in an order that depends only on the data.
    Ungrouped rows with one label are dealt out exactly: each class and each fold within 1. With further
    columns, swaps inside a class even them out too, and the classes stay as they are. Raises Refused
    where no assignment exists.
    """
    n_rows = len(class_N)
    unit_N = np.arange(n_rows) if group_N is None else group_N
    n_units, what = int(unit_N.max(initial=-1)) + 1, "rows" if group_N is None else "groups"
    least = 2 if scheme == "holdout" else n
    if n_units < least:
        raise Refused(Problem("", f"found {n_units} {what} for {least} folds", "at least one each", "lower folds.n"))
    if scheme == "holdout":
        held = Fraction(valid_share).limit_denominator(10_000)
        part_K = np.array([max(1, held.numerator), held.denominator - held.numerator], dtype=np.int64)
    else:
        part_K = np.ones(n, dtype=np.int64)
    share_K = part_K / part_K.sum()
    counts_UL = count_units(labels, unit_N, n_units)
    bound = lower_bound(counts_UL, share_K)
    rng = np.random.default_rng(seed)

    splitter, answers = splitters.ask(scheme, labels, cell_N, group_N, n, seed)
    if scheme == "stratified":
        fold_N = _deal(cell_N, n, rng)
        if not np.array_equal(class_N, cell_N):
            fold_N = _search(counts_UL, unit_N, [fold_N], part_K, rng, 0.0, work, 0, kind_U=class_N)
    else:
        fold_N = _search(counts_UL, unit_N, list(answers.values()), part_K, rng, bound, work, patience)
    achieved = deviation(fold_N, labels, share_K)
    others = {how: deviation(other_N, labels, share_K) for how, other_N in answers.items()}
    return Assignment(
        fold_N=np.where(fold_N == 0, 0, -1) if scheme == "holdout" else fold_N,
        deviation=achieved,
        lower_bound=min(achieved, bound),  # equal, they differ by rounding
        others={splitter: others} if others else {},
    )


def _deal(cell_N: Array, n: int, rng: np.random.Generator) -> Array:
    """Deal the rows, sorted by cell and else by chance, to the folds in turn.

    Every stretch of the order is spread within 1: so each cell, each class made of neighbouring cells,
    and each fold's size, which no assignment can better.
    """
    shuffled = rng.permutation(len(cell_N))
    order = shuffled[np.argsort(cell_N[shuffled], kind="stable")]
    fold_N = np.empty(len(cell_N), dtype=np.int64)
    fold_N[order] = rng.permutation(n)[np.arange(len(cell_N)) % n]
    return fold_N


def _search(
    counts_UL: csr_matrix,
    unit_N: Array,
    given: list[Array],
    part_K: Array,
    rng: np.random.Generator,
    bound: float,
    work: int,
    patience: int,
    kind_U: Array | None = None,
) -> Array:
    """Collapse equal units into types, search, and deal the folds back to the units by chance."""
    type_U, first_T = _types(counts_UL, kind_U)
    n_units, n_folds, n_types = len(type_U), len(part_K), len(first_T)
    types = Types(
        counts_TL=counts_UL[first_T],
        copies_T=np.bincount(type_U, minlength=n_types),
        total_L=totals(counts_UL),
        part_K=part_K,
        whole=int(part_K.sum()),
        kind_T=None if kind_U is None else kind_U[first_T],
    )
    row_U = np.empty(n_units, dtype=np.int64)
    row_U[unit_N] = np.arange(len(unit_N))
    starts = [
        np.bincount(type_U * n_folds + fold_N[row_U], minlength=n_types * n_folds).reshape(n_types, n_folds)
        for fold_N in given
    ]
    count_TK = search(types, starts, rng, bound, work, patience)
    fold_U = np.empty(n_units, dtype=np.int64)
    shuffled = rng.permutation(n_units)
    by_type = shuffled[np.argsort(type_U[shuffled], kind="stable")]
    fold_U[by_type] = np.repeat(np.tile(np.arange(n_folds), n_types), count_TK.ravel())
    return fold_U[unit_N]


def _types(counts_UL: csr_matrix, kind_U: Array | None) -> tuple[Array, Array]:
    """Return the type of each unit and the first unit of each type, by a 64-bit hash of the label counts.

    A collision (under one in 10 million for a million units) would cost balance, never a rule.
    """
    salt_L = np.random.default_rng(0).integers(1, 2**63, counts_UL.shape[1], dtype=np.uint64) | np.uint64(1)
    mixed_E = salt_L[counts_UL.indices] * counts_UL.data.astype(np.uint64)
    mixed_U = np.add.reduceat(mixed_E, counts_UL.indptr[:-1])
    if kind_U is not None:
        mixed_U = mixed_U * np.uint64(0x9E3779B97F4A7C15) + kind_U.astype(np.uint64)
    _, first_T, type_U = np.unique(mixed_U, return_index=True, return_inverse=True)
    return type_U, first_T
