"""Say how far a score, a difference of scores or a fitted blend can be trusted.

The primary score is the mean over folds. Its spread is that of resamples that draw whole groups inside each
fold; two predictions are compared on the same resamples. What was fitted on rows is scored on other folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric

Fitted = TypeVar("Fitted")
LEAST_GROUPS = 20  # below, percentiles of resampled groups are too narrow to be believed
CELLS = 2**22  # of one piece of weights: 32 MB


def comparable(score: float) -> float:
    """Return a score that can be compared, −inf where it is undefined: a search must not end at NaN."""
    return -math.inf if math.isnan(score) else score


def defined(score: float) -> float | None:
    """Return a score that JSON can hold, None where it is undefined."""
    return None if math.isnan(score) else float(score)


def fold_scores(metric: Metric, targets_NC: Array, probs_NC: Array, single_label: bool, fold_N: Array) -> Array:
    """Return the score of each fold in the order of their numbers, [K] float64, NaN where undefined."""
    rows = (fold_N == fold for fold in np.unique(fold_N))
    return np.asarray([metric.score(targets_NC[row_N], probs_NC[row_N], single_label) for row_N in rows])


def mean_of_folds(metric: Metric, targets_NC: Array, probs_NC: Array, single_label: bool, fold_N: Array) -> float:
    """Return the primary score: the mean over folds of their scores; undefined ones are left out."""
    found_K = fold_scores(metric, targets_NC, probs_NC, single_label, fold_N)
    defined = found_K[~np.isnan(found_K)]
    return float(defined.mean()) if len(defined) else math.nan


@dataclass(frozen=True)
class Resamples:
    """Hold how often each resample drew each group; memory is one byte for each."""

    fold_N: Array
    group_N: Array  # index of each row's group
    counts_RG: Array  # how often each resample drew it, uint8
    groups: int  # that vary between resamples: those of folds that have several

    def __len__(self) -> int:
        """Return the number of resamples."""
        return len(self.counts_RG)

    def chunks(self, rows: Array, cells: int = CELLS) -> Iterator[tuple[slice, Array]]:
        """Yield which resamples, and their weights of these rows [R,N] float64, at most `cells` at a time."""
        step = max(1, cells // max(1, len(rows)))
        group_N = self.group_N[rows]
        for start in range(0, len(self), step):
            piece = slice(start, min(start + step, len(self)))
            yield piece, self.counts_RG[piece].take(group_N, axis=1).astype(np.float64)


def resample(fold_N: Array, groups_N: Array | None, rng: np.random.Generator, rounds: int = 1000) -> Resamples:
    """Draw groups with replacement inside each fold; rows where there are no groups or a row's is blank.

    Folds are fixed, as their models are. A fold of n groups draws n − 1, which makes the variance of a mean
    unbiased where n of them would give (n − 1)/n of it; a single group is always drawn and adds no spread.
    Raises ValueError where a group lies in several folds. Source: Rao & Wu (1988), JASA 83, 231-241.
    """
    group_N, fold_G = _groups(fold_N, groups_N)
    counts_RG = np.zeros((rounds, len(fold_G)), dtype=np.uint8)  # a count of 256 has the chance 1/256!
    vary = 0
    for fold in np.unique(fold_G):
        members = np.flatnonzero(fold_G == fold)
        vary += len(members) if len(members) > 1 else 0
        step = max(1, CELLS // len(members))
        for start in range(0, rounds, step):
            count = min(step, rounds - start)
            drawn = rng.integers(0, len(members), (count, max(1, len(members) - 1)))
            drawn += np.arange(count)[:, None] * len(members)
            times = np.bincount(drawn.ravel(), minlength=count * len(members)).reshape(count, -1)
            counts_RG[start : start + count, members] = times
    return Resamples(fold_N, group_N, counts_RG, vary)


def bootstrap(metric: Metric, targets_NC: Array, probs_NC: Array, single_label: bool, resamples: Resamples) -> Array:
    """Return the primary score of each resample, [R]; NaN where a fold lacks a class that it holds.

    Folds whose own score is undefined are left out, as in `mean_of_folds`.
    """
    total_R, used = np.zeros(len(resamples)), 0
    for fold in np.unique(resamples.fold_N):
        rows = np.flatnonzero(resamples.fold_N == fold)
        targets, probs = targets_NC[rows], probs_NC[rows]
        if math.isnan(metric.score(targets, probs, single_label)):
            continue
        used += 1
        for piece, weights_RN in resamples.chunks(rows):
            total_R[piece] += metric.scores(targets, probs, single_label, weights_RN)
    return total_R / used if used else np.full(len(resamples), np.nan)


@dataclass(frozen=True)
class Interval:
    """Hold a percentile interval and what it was made of; low and high are NaN where nothing was left."""

    low: float
    high: float
    lost: int  # resamples that lack a class
    reliable: bool  # enough groups, few lost

    @property
    def excludes_zero(self) -> bool:
        """Tell whether 0 lies outside; never where the interval is NaN."""
        return self.low > 0 or self.high < 0


def interval(scores_R: Array, groups: int, level: float = 0.9) -> Interval:
    """Return the middle `level` of the defined scores; NaN where no group varies, as nothing then shows a spread.

    Marked unreliable under 20 groups, or where more than a tenth of the resamples is lost.
    """
    lost = int((~np.isfinite(scores_R)).sum())
    reliable = groups >= LEAST_GROUPS and lost <= len(scores_R) / 10
    if lost == len(scores_R) or not groups:
        return Interval(math.nan, math.nan, lost, False)
    return Interval(*_middle(scores_R, level), lost, reliable)


def paired(scores_a_R: Array, scores_b_R: Array, metric: Metric, groups: int, level: float = 0.9) -> Interval:
    """Return the interval of a − b on the same resamples, turned so that above 0 a is the better."""
    return interval(metric.direction * (scores_a_R - scores_b_R), groups, level)


def row_interval(
    score: Callable[[Array], float], n: int, rng: np.random.Generator, rounds: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of `score(row numbers)` over resamples of n rows.

    Resamples with an undefined score (NaN: a class is absent) are left out; with none left it is NaN.
    """
    return _middle(np.asarray([score(rng.integers(0, n, size=n)) for _ in range(rounds)], dtype=np.float64), level)


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share of n independent rows; unlike ±z·sd it holds near 0 and 1.

    Source: Wilson (1927), JASA 22, 209-212, without continuity correction; z = 1.96 covers 95 %.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"found a share of {share} of {n} rows, expected 0 to 1 of at least one row")
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _middle(scores_R: Array, level: float) -> tuple[float, float]:
    """Return the ends of the middle `level` of the defined scores, NaN where there are none."""
    defined_R = scores_R[np.isfinite(scores_R)]
    if not len(defined_R):
        return math.nan, math.nan
    low, high = np.quantile(defined_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cross_fit(
    fit: Callable[[Array], Fitted], apply: Callable[[Fitted, Array], Array], fold_N: Array
) -> tuple[Array, list[Fitted]]:
    """Return a prediction [N,…] whose every fold was fitted on the other folds only, and what was fitted.

    `fit(rows)` and `apply(fitted, rows)` take row numbers, ascending; the fitted ones are in the order of the
    folds' numbers. Raises ValueError on fewer than two folds.
    """
    folds = np.unique(fold_N)
    if len(folds) < 2:
        raise ValueError(f"found {len(folds)} folds, cross-fitting needs at least 2")
    fitted = [fit(np.flatnonzero(fold_N != fold)) for fold in folds]
    rows = [np.flatnonzero(fold_N == fold) for fold in folds]
    made = [apply(one, row) for one, row in zip(fitted, rows, strict=True)]
    return topk.join(made)[np.argsort(np.concatenate(rows))], fitted


def _groups(fold_N: Array, groups_N: Array | None) -> tuple[Array, Array]:
    """Return each row's group index [N] and each group's fold [G]; every blank name is a group of its own."""
    if groups_N is None:
        return np.arange(len(fold_N)), fold_N
    names = np.asarray(groups_N).astype(np.str_)
    blank = names == ""
    held, index = np.unique(names[~blank], return_inverse=True)
    group_N = np.empty(len(fold_N), dtype=np.int64)
    group_N[~blank] = index
    group_N[blank] = len(held) + np.arange(blank.sum())
    fold_G = np.empty(len(held) + int(blank.sum()), dtype=np.int64)
    fold_G[group_N] = fold_N
    if len(split := names[fold_G[group_N] != fold_N]):
        raise ValueError(f"found the group '{split[0]}' in several folds; groups never cross folds")
    return group_N, fold_G
