"""End a fold whose curve stays hopelessly below the incumbent's curve on the same fold.

The race compares finished folds; this rule spares the rest of one that cannot become good any more. It is made to
miss rather than to kill: a recipe that starts slowly and ends better is what a study looks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric
from pipeline.methods.resampling import LEAST_GROUPS, bootstrap, interval, resample

LEAST = 4  # epochs of the incumbent after the warm-up from which its noise can be told
NOISES = 1.0  # standard deviations of a difference between two curves


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
    score: without the slope every fifth of slow, finally better trials was killed. Both with a margin: `floor` (see
    `reach`: what the rows alone may be wrong by) and the noise between the incumbent's epochs. Never in the warm-up
    (epochs) or the first quarter, never on an undefined score, never against under 4 epochs after the warm-up.
    `epochs` and `incumbent_epochs` are those planned; where they differ, equal shares of them are compared.
    """
    curve_E, best_E = np.asarray(curve, dtype=np.float64), np.asarray(incumbent, dtype=np.float64)
    planned, there = epochs or len(best_E), incumbent_epochs or len(best_E)
    settled = best_E[math.ceil(warmup) :]
    first = len(curve_E) - patience + 1  # the first of the epochs judged, from 1
    if len(settled) < LEAST or first < 3 or first <= max(warmup, planned / 4):
        return False
    if not (np.isfinite(best_E).all() and np.isfinite(curve_E).all()):
        return False
    margin = floor + NOISES * math.sqrt(2) * noise(settled)
    later_E = np.maximum.accumulate(best_E[::-1])[::-1]  # the best from each epoch on
    steps = np.arange(1, len(best_E) + 1)
    for done in range(first, len(curve_E) + 1):
        at = done * there / planned
        now, later = (float(np.interp(at, steps, values)) for values in (best_E, later_E))
        best = float(curve_E[:done].max())
        if (
            now - best <= later - now + margin
            or best + _slope(curve_E[:done]) * (planned - done) + margin >= best_E[-1]
        ):
            return False
    return True


def _slope(curve_E: Array) -> float:
    """Return the gain per epoch over the second half of the curve, at least 0."""
    tail = curve_E[len(curve_E) // 2 - 1 :]
    return max(0.0, float(np.polyfit(np.arange(len(tail)), tail, 1)[0]))


def shortfall(
    curve: Sequence[float],
    incumbent: Sequence[float],
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


def reach(
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
        if found.lost > rounds / 10:
            return math.inf
        widths.append((found.high - found.low) / 2)
    return max(widths)
