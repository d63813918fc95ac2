"""Say how even folds are: the deviation that every scheme minimises, and what no assignment can undercut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.methods.arrays import Array


@dataclass(frozen=True)
class Labels:
    """Hold which rows carry which labels as pairs, so that a thousand labels need no dense matrix."""

    n_rows: int
    names: tuple[str, ...]
    row_P: Array  # int64, one entry per (row, label) pair
    label_P: Array  # int64, index into names

    @classmethod
    def of_codes(cls, code_N: Array, names: tuple[str, ...]) -> Labels:
        """Make labels of one code per row; a negative code is no label."""
        row_P = np.flatnonzero(code_N >= 0)
        return cls(len(code_N), names, row_P, np.asarray(code_N, dtype=np.int64)[row_P])

    @classmethod
    def of_matrix(cls, matrix_NL: Array, names: tuple[str, ...]) -> Labels:
        """Make labels of a 0/1 matrix."""
        row_P, label_P = np.nonzero(matrix_NL)
        return cls(len(matrix_NL), names, row_P, label_P)

    def of_rows(self, keep_N: Array) -> Labels:
        """Return the labels of some rows, numbered anew; every name stays."""
        place_N = np.cumsum(keep_N) - 1
        kept_P = keep_N[self.row_P]
        return Labels(int(keep_N.sum()), self.names, place_N[self.row_P[kept_P]], self.label_P[kept_P])

    def __add__(self, other: Labels) -> Labels:
        return Labels(
            self.n_rows,
            (*self.names, *other.names),
            np.concatenate([self.row_P, other.row_P]),
            np.concatenate([self.label_P, other.label_P + len(self.names)]),
        )


def count_units(labels: Labels, unit_N: Array, n_units: int) -> csr_matrix:
    """Return the count of each label, and last of the rows, in every unit that cannot be split (a group, or a row).

    [U,L+1] float64, without the labels that no row carries.
    """
    used, label_P = np.unique(labels.label_P, return_inverse=True)
    unit_E = np.concatenate([unit_N[labels.row_P], unit_N])
    label_E = np.concatenate([label_P, np.full(len(unit_N), len(used))])
    counts_UL = csr_matrix((np.ones(len(unit_E)), (unit_E, label_E)), shape=(n_units, len(used) + 1))
    counts_UL.sum_duplicates()  # and sort them
    return counts_UL


def totals(counts_UL: csr_matrix) -> Array:
    """Return each label's count over all units, [L]."""
    return np.asarray(counts_UL.sum(0)).ravel()


def fold_counts(fold_N: Array, labels: Labels, n_folds: int) -> Array:
    """Return the counts [K,L+1] of each label, and last of the rows, in each fold."""
    n_labels = len(labels.names)
    counts_KL = np.bincount(fold_N[labels.row_P] * n_labels + labels.label_P, minlength=n_folds * n_labels)
    sizes_K = np.bincount(fold_N, minlength=n_folds)
    return np.concatenate([counts_KL.reshape(n_folds, n_labels), sizes_K[:, None]], axis=1)


def deviation(fold_N: Array, labels: Labels, share_K: Array) -> float:
    """Return the mean over labels of the standard deviation over folds of count in the fold ÷ total count.

    The fold's size counts as one more label. The deviation is taken from the wanted shares, which for
    equal ones is the population form around the mean; for a holdout it is |share found − share wanted|.
    """
    counts_KL = fold_counts(fold_N, labels, len(share_K)).astype(np.float64)
    counts_KL = counts_KL[:, counts_KL.sum(0) > 0]
    apart_KL = counts_KL / counts_KL.sum(0) - share_K[:, None]
    return float(np.sqrt((apart_KL**2).mean(0)).mean())


def lower_bound(counts_UL: csr_matrix, share_K: Array) -> float:
    """Return a deviation that no assignment of whole units can undercut.

    The largest of three bounds per label: counts are whole numbers; the unit that holds most of a label
    lies in one fold; a label in fewer units than folds leaves folds without it. The mean over labels.
    """
    n_folds, total_L = len(share_K), totals(counts_UL)
    wanted_KL = share_K[:, None] * total_L
    part_KL = -np.sort(-(wanted_KL - np.floor(wanted_KL + 1e-9)).clip(min=0), axis=0)
    up_L = np.rint(part_KL.sum(0))
    rounded_KL = np.where(np.arange(n_folds)[:, None] < up_L, 1 - part_KL, part_KL)
    rounding_L = np.sqrt((rounded_KL**2).mean(0)) / total_L

    largest_L = counts_UL.max(axis=0).toarray().ravel()
    surplus_L = (largest_L / total_L - share_K.max()).clip(min=0)
    single_L = surplus_L / np.sqrt(n_folds - 1)

    holders_L = counts_UL.getnnz(axis=0).clip(max=n_folds)
    falling_K = -np.sort(-share_K)
    without = [falling_K[m:] for m in range(1, n_folds + 1)]
    few = np.array([0.0, *(np.sqrt(((t**2).sum() + t.sum() ** 2 / (m + 1)) / n_folds) for m, t in enumerate(without))])
    return float(np.maximum.reduce([rounding_L, single_L, few[holders_L]]).mean())
