"""Judge every choice of a blend by what it scores on folds that its fits did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from pipeline.methods import resampling
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import Objective
from pipeline.methods.metrics import Metric
from pipeline.methods.resampling import Interval, defined

Fitted = TypeVar("Fitted")
LEVEL = 0.9  # of every interval
ROUNDS = 1000
PARTS = 5  # of a hold-out's groups, whose one fold cannot be cross-fitted


@dataclass(frozen=True)
class Crossed(Generic[Fitted]):
    """Hold a fit to all rows and one without each part, and the OOF prediction of both kinds."""

    final: Fitted
    by_part: dict[int, Fitted]
    in_sample_NC: Array  # by the fit to all rows: flattered
    cross_NC: Array  # each row by the fit that did not see its part


@dataclass(frozen=True)
class Scored:
    """Hold what a way to predict scores, and its cross-fitted score on every resample."""

    in_sample: float
    cross_fitted: float
    scores_R: Array


@dataclass(frozen=True)
class Judge:
    """Hold the truth, the folds and the groups against which everything is judged."""

    metric: Metric
    single_label: bool
    targets_NC: Array
    fold_N: Array
    groups_N: Array  # '' where a row is a group of its own
    seed: int

    @property
    def goal(self) -> Objective:
        """Return what blenders are fitted to."""
        return Objective(self.targets_NC, self.metric, self.single_label, self.fold_N, self.seed)

    @cached_property
    def part_N(self) -> Array:
        """Return what is held out in turn: the folds, or parts of the groups where there is one fold."""
        if len(np.unique(self.fold_N)) > 1:
            return self.fold_N
        own = np.char.add("row ", np.arange(len(self.fold_N)).astype(np.str_))
        _, group_N = np.unique(np.where(self.groups_N == "", own, self.groups_N), return_inverse=True)
        if not group_N.any():  # one group cannot be parted; without others no interval will call anything sure
            group_N = np.arange(len(group_N))
        order_G = np.random.default_rng(self.seed).permutation(group_N.max() + 1)
        return np.asarray(order_G[group_N] % PARTS)

    @cached_property
    def resamples(self) -> resampling.Resamples:
        """Return the resamples that all candidates share, so that differences are paired."""
        return resampling.resample(self.fold_N, self.groups_N, np.random.default_rng(self.seed), ROUNDS)

    def score(self, probs_NC: Array, rows: Array | slice = slice(None)) -> float:
        """Return the primary score, the mean over folds, of predictions of these rows."""
        targets_NC, fold_N = self.targets_NC[rows], self.fold_N[rows]
        return resampling.mean_of_folds(self.metric, targets_NC, probs_NC, self.single_label, fold_N)

    def gain(self, probs_NC: Array, rows: Array | slice = slice(None)) -> float:
        """Return the score turned so that greater is better."""
        return self.metric.direction * self.score(probs_NC, rows)

    def cross_fit(
        self,
        fit: Callable[[int | None, Array | slice], Fitted],
        apply: Callable[[int | None, Fitted, Array | slice], Array],
        learns: bool = True,
    ) -> Crossed[Fitted]:
        """Fit to all rows, and without each part; `learns=False`: there is nothing to learn, so once is enough.

        `fit(part, rows)` and `apply(part, fitted, rows)` are told which part is held out (None: nothing is),
        as what they build on may itself have been fitted without it.
        """
        everything = slice(None)
        final = fit(None, everything)
        in_sample_NC = apply(None, final, everything)
        parts = np.unique(self.part_N).tolist()
        if not learns:
            return Crossed(final, dict.fromkeys(parts, final), in_sample_NC, in_sample_NC)

        def without(rows: Array) -> tuple[int, Fitted]:
            (part,) = set(parts) - set(np.unique(self.part_N[rows]).tolist())
            return part, fit(part, rows)

        cross_NC, fitted = resampling.cross_fit(without, lambda pair, rows: apply(*pair, rows), self.part_N)
        return Crossed(final, dict(fitted), in_sample_NC, cross_NC)

    def scored(self, crossed: Crossed[Any]) -> Scored:
        """Return the scores with their spread."""
        return self.scored_as(self.score(crossed.in_sample_NC), crossed.cross_NC)

    def scored_as(self, in_sample: float, cross_NC: Array) -> Scored:
        """Return the same where the score of the fit to all rows is known."""
        scores_R = resampling.bootstrap(self.metric, self.targets_NC, cross_NC, self.single_label, self.resamples)
        return Scored(in_sample, self.score(cross_NC), scores_R)

    def paired(self, one: Scored, other: Scored) -> Interval:
        """Return the interval of one's lead over the other."""
        return resampling.paired(one.scores_R, other.scores_R, self.metric, self.resamples.groups, LEVEL)

    def lead(self, one: Scored, other: Scored) -> float:
        """Return by how much one is better than the other."""
        return self.metric.direction * (one.cross_fitted - other.cross_fitted)

    def choose(self, tried: Mapping[str, Scored], neutral: str) -> str:
        """Return the best cross-fitted one if the interval of its lead over the neutral one excludes 0, else that."""
        sign = self.metric.direction
        leader = max(tried, key=lambda name: resampling.comparable(sign * tried[name].cross_fitted))
        sure = leader != neutral and self.paired(tried[leader], tried[neutral]).low > 0
        return leader if sure else neutral

    def described(self, one: Scored) -> dict[str, Any]:
        """Return the scores, their gap (above 0: flattered) and the interval, for JSON."""
        spread = resampling.interval(one.scores_R, self.resamples.groups, LEVEL)
        return {
            "in_sample": defined(one.in_sample),
            "cross_fitted": defined(one.cross_fitted),
            "gap": defined(self.metric.direction * (one.in_sample - one.cross_fitted)),
            **_described(spread),
        }

    def difference(self, one: Scored, other: Scored) -> dict[str, Any]:
        """Return one's lead over the other and its interval, for JSON."""
        return {"lead": defined(self.lead(one, other)), **_described(self.paired(one, other))}

    @property
    def terms(self) -> dict[str, Any]:
        """Return what the intervals are made of, for JSON."""
        groups = self.resamples.groups
        enough = groups >= resampling.LEAST_GROUPS
        unit = "groups" if (self.groups_N != "").any() else "rows"
        return {"level": LEVEL, "rounds": ROUNDS, "groups": groups, "unit": unit, "enough_groups": enough}


def _described(found: Interval) -> dict[str, Any]:
    return {"interval": [defined(found.low), defined(found.high)], "lost": found.lost, "reliable": found.reliable}
