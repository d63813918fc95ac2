"""Decide when a trial cannot become the best: a race over finished folds, a rule over the epochs of a running one.

The incumbent is the best finished trial. What a bootstrap by group sees is which rows were drawn, not the luck of a
training's seed, and the incumbent is the luckiest of those before: a race may end a trial that is as good, which costs
the study little, but hardly a much better one. The rule over epochs is made to miss rather than to end: a recipe that
starts slowly and ends better is what a study looks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric
from pipeline.methods.resampling import LEAST_GROUPS, Resamples, bootstrap, fold_scores, interval, paired, resample

MOST_LOST = 0.1  # share of resamples that may lack a class
LEAST_EPOCHS = 4  # of the incumbent after the warm-up from which its noise can be told


@dataclass(frozen=True)
class Race:
    """Hold how a trial compares after some folds; above 0 it is better than the incumbent."""

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
) -> Race:
    """Compare both on the rows of the folds that the trial has finished; usable from the first one on.

    Under 20 groups percentiles are too narrow: there the interval is Student's, with groups less folds as degrees
    of freedom and the bootstrap's standard error, by rows where that of so few groups came out smaller. Without
    two groups in any fold nothing is known, and nothing pruned.
    """
    from scipy.special import stdtrit

    trial_K, incumbent_K = (
        fold_scores(metric, targets_NC, probs_NC, single_label, fold_N) for probs_NC in (trial_NC, incumbent_NC)
    )
    differences_K = metric.direction * (trial_K - incumbent_K)

    def scores(resamples: Resamples) -> list[Array]:
        return [
            bootstrap(metric, targets_NC, probs_NC, single_label, resamples) for probs_NC in (trial_NC, incumbent_NC)
        ]

    resamples = resample(fold_N, groups_N, rng, rounds)
    trial_R, incumbent_R = scores(resamples)
    between = paired(trial_R, incumbent_R, metric, resamples.groups, level)
    low, high, freedom = between.low, between.high, _freedom(resamples)
    enough = freedom > 0 and between.lost <= MOST_LOST * rounds
    if enough and resamples.groups < LEAST_GROUPS:
        by_rows_R = np.subtract(*scores(resample(fold_N, None, rng, rounds)))
        error = max(_deviation(trial_R - incumbent_R), _deviation(by_rows_R))
        reach = float(-stdtrit(freedom, (1 - level) / 2)) * error
        middle = float(np.mean(differences_K[np.isfinite(differences_K)], dtype=np.float64))
        low, high = middle - reach, middle + reach
    return Race(tuple(differences_K.tolist()), low, high, resamples.groups, enough)


def estimate(incumbent: float, differences: Sequence[float], direction: int) -> float:
    """Return a pruned trial's score: the incumbent's mean over its folds + the mean of the paired differences.

    A plain mean of the folds it finished would be biased where folds differ in difficulty. `differences` are
    turned so that greater is better, the result is not; NaN where none is defined.
    """
    defined = [difference for difference in differences if not math.isnan(difference)]
    return incumbent + direction * math.fsum(defined) / len(defined) if defined else math.nan


def hopeless(
    curve: Sequence[float],
    incumbent: Sequence[float],
    *,
    floor: float,
    warmup: float = 0.0,
    patience: int = 2,
    epochs: int | None = None,
    incumbent_epochs: int | None = None,
) -> bool:
    """Tell whether a trial's curve was out of reach of the incumbent's at each of its last `patience` epochs.

    Both curves hold one score per finished epoch, turned so that greater is better. Out of reach is where the
    trial's best score so far lacks more than all that the incumbent itself still gained from that epoch on, and
    where its own slope over the second half of its epochs, kept to the end, does not lead to the incumbent's last
    score: without the slope every fifth of slow, finally better trials was ended. Both with a margin: `floor` (see
    `half_width`: what the rows alone may be wrong by) and the noise between the incumbent's epochs. Never in the
    warm-up (epochs) or the first quarter, never on an undefined score, never against under 4 epochs after the warm-up.
    `epochs` and `incumbent_epochs` are those planned; where they differ, equal shares of them are compared.
    """
    curve_E, best_E = np.asarray(curve, dtype=np.float64), np.asarray(incumbent, dtype=np.float64)
    planned, there = epochs or len(best_E), incumbent_epochs or len(best_E)
    settled = best_E[math.ceil(warmup) :]
    first = len(curve_E) - patience + 1  # of the epochs that are looked at, from 1
    if len(settled) < LEAST_EPOCHS or first < 3 or first <= max(warmup, planned / 4):
        return False
    if not (np.isfinite(best_E).all() and np.isfinite(curve_E).all()):
        return False
    margin = floor + math.sqrt(2) * noise(settled)  # a standard deviation of a difference between two curves
    later_E = np.maximum.accumulate(best_E[::-1])[::-1]  # the best from each epoch on
    steps = np.arange(1, len(best_E) + 1)
    for done in range(first, len(curve_E) + 1):
        now, later = (float(np.interp(done * there / planned, steps, values)) for values in (best_E, later_E))
        best, slope = float(curve_E[:done].max()), _slope(curve_E[:done])
        if now - best <= later - now + margin or best + slope * (planned - done) + margin >= best_E[-1]:
            return False
    return True


def shortfall(
    curve: Sequence[float],
    incumbent: Sequence[float],
    *,
    patience: int = 2,
    epochs: int | None = None,
    incumbent_epochs: int | None = None,
) -> float:
    """Return by how much the curve's last `patience` epochs differ from the incumbent's there; below 0 is worse.

    It stands for the paired difference of a fold that was ended.
    """
    planned, total = epochs or len(incumbent), incumbent_epochs or len(incumbent)
    at = np.arange(1, len(curve) + 1)[-patience:] * total / planned
    there = np.interp(at, np.arange(1, len(incumbent) + 1), np.asarray(incumbent, dtype=np.float64))
    return float(np.mean(np.asarray(curve, dtype=np.float64)[-patience:] - there))


def noise(curve: Sequence[float] | Array) -> float:
    """Return the standard deviation of a curve around its trend, from second differences; 0 under 3 points.

    What bends the trend counts as noise, so it errs upwards.
    """
    second = np.diff(np.asarray(curve, dtype=np.float64), 2)
    return float(np.sqrt(np.mean(second**2) / 6)) if len(second) else 0.0


def half_width(
    metric: Metric,
    targets_NC: Array,
    probs_NC: Array,
    single_label: bool,
    groups_N: Array | None,
    rng: np.random.Generator,
    level: float = 0.9,
    rounds: int = 1000,
) -> float:
    """Return half the width of the bootstrap interval of one fold's score, infinite where classes are too rare.

    Under 20 groups the wider of the intervals by group and by rows: few groups may happen to score alike.
    """
    fold_N = np.zeros(len(targets_NC), dtype=np.int64)
    draws = [resample(fold_N, groups_N, rng, rounds)]
    if draws[0].groups < LEAST_GROUPS:
        draws.append(resample(fold_N, None, rng, rounds))
    widths = [0.0]
    for drawn in draws:
        found = interval(bootstrap(metric, targets_NC, probs_NC, single_label, drawn), drawn.groups, level)
        if found.lost > MOST_LOST * rounds:
            return math.inf
        widths.append((found.high - found.low) / 2)
    return max(widths)


def _freedom(resamples: Resamples) -> int:
    """Return the groups less the folds, of the folds that have several groups."""
    counts = [len(np.unique(resamples.group_N[resamples.fold_N == fold])) for fold in np.unique(resamples.fold_N)]
    return sum(count - 1 for count in counts if count > 1)


def _deviation(differences_R: Array) -> float:
    """Return the standard deviation of the defined ones, infinite under two."""
    defined = differences_R[np.isfinite(differences_R)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else math.inf


def _slope(curve_E: Array) -> float:
    """Return the gain per epoch over the second half of the curve, at least 0."""
    tail = curve_E[len(curve_E) // 2 - 1 :]
    return max(0.0, float(np.polyfit(np.arange(len(tail)), tail, 1)[0]))
