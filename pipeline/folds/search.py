"""Search for even folds of units that stay whole: greedy starts, then moves and swaps, then kicks.

Units with the same label counts are one type, and the state is how many of each type lie in each fold;
so a million rows may be a few thousand types. The budget is counted in work, never in seconds: the same
input gives the same folds on a slow machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix, vstack

from pipeline.methods.arrays import Array

STEP = 5_000  # work of one step beside the numbers it touches: about 10 ns each
BLOCK = 60_000  # numbers looked at in one step; with more candidates a sample is drawn
DENSE = 10_000_000  # numbers up to which the types are kept as a dense matrix too
LARGE = 20_000  # more leftover units than this: fewer greedy orders
LEAST = 1e-13  # an improvement below this is rounding


@dataclass(frozen=True)
class Types:
    """Hold the types of units and the wanted shares as whole parts of `whole`, which keeps sums exact."""

    counts_TL: csr_matrix  # label counts of one unit of each type
    copies_T: Array  # units of each type
    total_L: Array  # over all units
    part_K: Array  # int64, sums to whole
    whole: int
    kind_T: Array | None = None  # swap only types of one kind, and move nothing

    @property
    def n(self) -> int:
        """Return how many types there are; number n stands for nothing at all."""
        return len(self.copies_T)

    @cached_property
    def weight_L(self) -> Array:
        """Return what turns Σ_k D² into the deviation: deviation = Σ_l weight · √Σ_k D_kl²."""
        weight_L: Array = 1 / (self.whole * self.total_L * np.sqrt(len(self.part_K)) * len(self.total_L))
        return weight_L

    @cached_property
    def _rows(self) -> csr_matrix | Array:
        rows = vstack([self.counts_TL * self.whole, csr_matrix((1, len(self.total_L)))], format="csr")
        return rows if rows.shape[0] * rows.shape[1] > DENSE else rows.toarray()

    def rows(self, types: Array) -> Array:
        """Return the label counts [len(types), L], times `whole`; of type n, which is nothing at all, zeros."""
        rows = self._rows[types]
        return rows if isinstance(rows, np.ndarray) else rows.toarray()


class Split:
    """Hold how many units of each type lie in each fold, and what follows from it."""

    def __init__(self, types: Types, count_TK: Array) -> None:
        self.types = types
        self.count_TK = np.vstack([count_TK, np.ones_like(count_TK[:1])])  # the last type is nothing at all
        self.units_K = count_TK.sum(0)
        inside_LK = types.counts_TL.T @ count_TK
        self.off_KL = np.ascontiguousarray(inside_LK.T) * types.whole - np.outer(types.part_K, types.total_L)
        self._settle()

    def _settle(self) -> None:
        self.square_L = (self.off_KL**2).sum(0)
        self.value = float(_weigh(np.sqrt(self.square_L), self.types.weight_L))

    def copy(self) -> Split:
        twin = object.__new__(Split)
        twin.__dict__ = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.__dict__.items()}
        return twin

    def exchange(self, out: int, a: int, into: int, b: int) -> None:
        """Take one unit of type `out` from fold a to b and one of type `into` from b to a."""
        change_L = np.subtract(*self.types.rows(np.array([into, out])))
        self.off_KL[a] += change_L
        self.off_KL[b] -= change_L
        for type_, source, sink in ((out, a, b), (into, b, a)):
            if type_ < self.types.n:
                self.count_TK[type_, source] -= 1
                self.count_TK[type_, sink] += 1
                self.units_K[source] -= 1
                self.units_K[sink] += 1
        self._settle()

    def fill_empty(self) -> None:
        """Give every empty fold the unit whose move costs least; this never raises the deviation.

        A whole fold a and an empty one are less even than a − v and v, for every label.
        """
        for empty in np.flatnonzero(self.units_K == 0).tolist():
            places = np.argwhere(self.count_TK[:-1] * (self.units_K > 1)).tolist()
            type_, fold = min(places, key=lambda place: self._moved(place[0], place[1], empty))
            self.exchange(type_, fold, self.types.n, empty)

    def _moved(self, type_: int, fold: int, into: int) -> float:
        """Return the deviation after one move."""
        row_L = self.types.rows(np.array([type_]))[0]
        later_L = self.square_L + 2 * row_L * (self.off_KL[into] - self.off_KL[fold] + row_L)
        return float(_weigh(np.sqrt(later_L.clip(min=0)), self.types.weight_L))


def _weigh(numbers: Array, weight_L: Array) -> Array:
    """Return the weighted sum over the last axis, not by BLAS, whose rounding depends on its threads."""
    return np.asarray(np.einsum("...l,l->...", numbers, weight_L))


def greedy(types: Types, order_U: Array, count_TK: Array) -> Split:
    """Put each unit of `order_U` (types) where the deviation falls most, on top of `count_TK`."""
    split = Split(types, count_TK)
    counts_TL, off_KL, square_L, weight_L = types.counts_TL, split.off_KL, split.square_L, types.weight_L
    count_TK = count_TK.copy()
    for type_ in order_U.tolist():
        entries = slice(counts_TL.indptr[type_], counts_TL.indptr[type_ + 1])
        label = counts_TL.indices[entries]
        amount = counts_TL.data[entries] * types.whole
        near_KE = off_KL[:, label]
        later_KE = square_L[label] + amount * (2 * near_KE + amount)
        fold = int(_weigh(np.sqrt(later_KE), weight_L[label]).argmin())
        off_KL[fold, label] += amount
        square_L[label] = (off_KL[:, label] ** 2).sum(0)
        count_TK[type_, fold] += 1
    split = Split(types, count_TK)
    split.fill_empty()
    return split


def greedy_starts(types: Types, rng: np.random.Generator) -> Iterable[Split]:
    """Yield greedy splits in several orders: heavy units first, rare labels first, large first, by chance.

    Equal units are dealt out evenly beforehand; only what is left over is placed one by one.
    """
    even_TK = types.copies_T[:, None] * types.part_K // types.whole
    left_U = np.repeat(np.arange(types.n), types.copies_T - even_TK.sum(1))
    left_U = rng.permutation(left_U)
    counts_TL = types.counts_TL
    share_E = counts_TL.data / types.total_L[counts_TL.indices]
    starts = counts_TL.indptr[:-1]
    keys_T = [np.add.reduceat(share_E**2, starts), np.maximum.reduceat(share_E, starts)]
    if len(left_U) <= LARGE:
        keys_T += [counts_TL.data[counts_TL.indptr[1:] - 1], rng.random(types.n)]  # the last label is the size
    for key_T in keys_T:
        yield greedy(types, left_U[np.argsort(-key_T[left_U], kind="stable")], even_TK)


def descend(split: Split, rng: np.random.Generator, work: int, bound: float) -> int:
    """Move and swap units while the deviation falls; return the work that is left.

    For one unit after another, in random order, the best of all moves and swaps (of a sample, where
    there are too many) is made if it helps.
    """
    improved = True
    while improved and work > 0 and split.value > bound + LEAST:
        improved = False
        for type_, fold in rng.permutation(np.argwhere(split.count_TK[:-1])).tolist():
            if split.count_TK[type_, fold] == 0:
                continue
            with_C, where_C = _candidates(split, type_, fold, rng)
            work -= STEP + len(with_C) * len(split.square_L)
            if len(with_C) == 0:
                continue
            best, value = _best(split, type_, fold, with_C, where_C)
            if value < split.value - LEAST:
                split.exchange(type_, fold, int(with_C[best]), int(where_C[best]))
                improved = True
            if work <= 0 or split.value <= bound + LEAST:
                break
    return work


def _candidates(split: Split, type_: int, fold: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return types and folds to exchange one unit with; type n makes it a move."""
    types, n_folds = split.types, len(split.units_K)
    most = max(32, BLOCK // len(split.square_L))
    if split.count_TK.size <= 2 * most:
        with_C, where_C = np.nonzero(split.count_TK)
    else:
        with_C = rng.integers(0, types.n, most)
        there = split.count_TK[with_C] > 0
        where_C = (rng.random((most, n_folds)) * there).argmax(1)
        with_C = np.append(with_C, np.full(n_folds, types.n))
        where_C = np.append(where_C, np.arange(n_folds))
    keep = (where_C != fold) & (with_C != type_)
    if types.kind_T is not None:
        keep &= np.append(types.kind_T, -1)[with_C] == types.kind_T[type_]
    elif split.units_K[fold] == 1:
        keep &= with_C < types.n  # a move would empty the fold
    return with_C[keep], where_C[keep]


def _best(split: Split, type_: int, fold: int, with_C: Array, where_C: Array) -> tuple[int, float]:
    change_CL = split.types.rows(with_C) - split.types.rows(np.array([type_]))
    later_CL = split.off_KL[fold] - split.off_KL[where_C]
    later_CL += change_CL
    later_CL *= change_CL
    later_CL *= 2
    later_CL += split.square_L
    np.sqrt(later_CL.clip(min=0, out=later_CL), out=later_CL)
    value_C = _weigh(later_CL, split.types.weight_L)
    best = int(value_C.argmin())
    return best, float(value_C[best])


def search(
    types: Types, given: Iterable[Array], rng: np.random.Generator, bound: float, work: int, patience: int
) -> Array:
    """Return the counts [T,K] of the most even split found, at least as even as each given one.

    `given` are counts [T,K] from other splitters; our own starts come first, so that among equals
    the seed decides. Small problems are kicked `patience` times in vain before the search ends.
    """
    own = [] if types.kind_T is not None else greedy_starts(types, rng)
    starts = [*own, *(Split(types, count_TK) for count_TK in given)]
    for start in starts:
        start.fill_empty()
    starts.sort(key=lambda start: round(start.value, 12))
    small = starts[0].count_TK.size * len(types.total_L) <= BLOCK
    best = starts[0]
    for start in starts if small else starts[:1]:
        work = descend(start, rng, work, bound)
        if start.value < best.value - LEAST:
            best = start
    vain = 0
    while small and work > 0 and vain < patience and best.value > bound + LEAST:
        trial = best.copy()
        _kick(trial, rng)
        work = descend(trial, rng, work, bound)
        vain = 0 if trial.value < best.value - LEAST else vain + 1
        if trial.value <= best.value + LEAST:
            best = trial if trial.value <= best.value else best
    return best.count_TK[:-1]


def _kick(split: Split, rng: np.random.Generator) -> None:
    """Exchange a few units at random."""
    n_units = int(split.units_K.sum())
    for _ in range(int(rng.integers(2, 4 + n_units // 20))):
        places = np.argwhere(split.count_TK[:-1])
        type_, fold = places[rng.integers(len(places))].tolist()
        with_C, where_C = _candidates(split, type_, fold, rng)
        if len(with_C):
            j = int(rng.integers(len(with_C)))
            split.exchange(type_, fold, int(with_C[j]), int(where_C[j]))
