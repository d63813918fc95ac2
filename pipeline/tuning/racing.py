"""Race a trial against the incumbent, the best finished trial, fold by fold on the same rows.

What the bootstrap by group sees is which rows were drawn, not the luck of a training's seed; and the incumbent is
the luckiest of those before. So a race may end a trial that is as good: it costs the study little, a better one much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric
from pipeline.methods.resampling import LEAST_GROUPS, Resamples, bootstrap, fold_scores, paired, resample

MOST_LOST = 0.1  # share of resamples that may lack a class


@dataclass(frozen=True)
class Standing:
    """Hold where a trial stands after some folds; above 0 it is better than the incumbent."""

    differences: tuple[float, ...]  # per fold in the order of their numbers, greater is better; NaN where undefined
    low: float  # of the interval of their mean
    high: float
    groups: int  # that vary between resamples
    enough: bool  # groups to compare, and resamples that hold every class

    @property
    def lost(self) -> bool:
        """Tell whether the trial is to be pruned: the interval's upper end lies below 0."""
        return self.enough and self.high < 0


def race(
    metric: Metric,
    targets_NC: Array,
    trial_NC: Array,
    incumbent_NC: Array,
    single_label: bool,
    fold_N: Array,
    groups_N: Array | None,
    rng: np.random.Generator,
    level: float = 0.9,
    rounds: int = 1000,
) -> Standing:
    """Compare both on the rows of the folds that the trial has finished; usable from the first one on.

    Under 20 groups percentiles are too narrow: there the interval is Student's, with groups less folds as degrees
    of freedom and the bootstrap's standard error, by rows where that of so few groups came out smaller. Without
    two groups in any fold nothing is known, and nothing pruned.
    """
    turn, predicted = metric.direction, (trial_NC, incumbent_NC)
    trial_K, incumbent_K = (fold_scores(metric, targets_NC, probs_NC, single_label, fold_N) for probs_NC in predicted)
    differences_K = turn * (trial_K - incumbent_K)

    def scores(resamples: Resamples) -> list[Array]:
        return [bootstrap(metric, targets_NC, probs_NC, single_label, resamples) for probs_NC in predicted]

    resamples = resample(fold_N, groups_N, rng, rounds)
    trial_R, incumbent_R = scores(resamples)
    between = paired(trial_R, incumbent_R, metric, resamples.groups, level)
    low, high, freedom = between.low, between.high, _freedom(resamples)
    enough = freedom > 0 and between.lost <= MOST_LOST * rounds
    if enough and resamples.groups < LEAST_GROUPS:
        others_R = np.subtract(*scores(resample(fold_N, None, rng, rounds)))
        reach = _student(level, freedom) * max(_deviation(trial_R - incumbent_R), _deviation(others_R))
        middle = float(np.mean(differences_K[np.isfinite(differences_K)], dtype=np.float64))
        low, high = middle - reach, middle + reach
    return Standing(tuple(differences_K.tolist()), low, high, resamples.groups, enough)


def estimate(incumbent: float, differences: tuple[float, ...], greater_is_better: bool) -> float:
    """Return a pruned trial's score: the incumbent's mean over its folds + the mean of the paired differences.

    A plain mean of the folds it finished would be biased where folds differ in difficulty. `differences` are
    turned so that greater is better, the result is not; NaN where none is defined.
    """
    defined = [difference for difference in differences if not math.isnan(difference)]
    if not defined:
        return math.nan
    return incumbent + (1 if greater_is_better else -1) * math.fsum(defined) / len(defined)


def _freedom(resamples: Resamples) -> int:
    """Return the groups less the folds, of the folds that have several groups."""
    counts = [len(np.unique(resamples.group_N[resamples.fold_N == fold])) for fold in np.unique(resamples.fold_N)]
    return sum(count - 1 for count in counts if count > 1)


def _deviation(differences_R: Array) -> float:
    """Return the standard deviation of the defined ones, infinite under two."""
    defined = differences_R[np.isfinite(differences_R)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else math.inf


def _student(level: float, freedom: int) -> float:
    """Return how many standard errors a two-sided interval of Student's t reaches."""
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, (1 - level) / 2))
