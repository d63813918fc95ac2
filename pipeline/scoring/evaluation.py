"""Evaluate predictions, and every choice made on OOF, by their score on folds that no fit saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from pipeline.config.config import Config
from pipeline.folds.fold_table import FoldTable, row_numbers
from pipeline.methods import resampling
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import Objective
from pipeline.methods.metrics import Metric, find
from pipeline.methods.resampling import Interval, defined
from pipeline.methods.tasks import TASKS
from pipeline.scoring.scores import truth

LEVEL, ROUNDS = 0.9, 1000  # of every interval
PARTS = 5  # of a hold-out's groups, whose one fold cannot be cross-fitted


@dataclass(frozen=True)
class Prediction:
    """Hold a prediction of the OOF and of the test, and the fits that made it."""

    at: Callable[[int | None], Array]  # all OOF rows [N,C] by the fits without one part; None: by those to all rows
    cross_NC: Array  # each OOF row by the fits that did not see its part
    test: Callable[[], Array]  # [T,C] by the fits to all rows
    fits: Mapping[int | None, Any]  # of the last step, by the part that is left out; that to all rows where none learns

    @property
    def learns(self) -> bool:
        """Tell whether it was fitted to the truth, so that its score on all rows is optimistic."""
        return len(self.fits) > 1


def unfitted(oof_NC: Array, test_TC: Array) -> Prediction:
    """Return predictions as they are."""
    return Prediction(lambda _: oof_NC, oof_NC, lambda: test_TC, {})


@dataclass(frozen=True)
class Evaluation:
    """Hold a prediction's scores: by the fits to all rows, cross-fitted, and that on every resample."""

    in_sample: float
    cross_fitted: float
    scores_R: Array


@dataclass(frozen=True)
class Evaluator:
    """Hold the metric, the truth, the folds and the groups by which everything is evaluated."""

    metric: Metric
    single_label: bool
    targets_NC: Array
    fold_N: Array
    groups_N: Array  # '' where a row is a group of its own
    seed: int

    @classmethod
    def of(cls, config: Config, table: FoldTable, ids: Array, fold_N: Array, classes: tuple[str, ...]) -> Evaluator:
        """Return that of the config's metric for these rows of the fold table."""
        targets_NC, groups_N = truth(config, table, ids, classes), table.groups[row_numbers(table.ids, ids)]
        single_label = TASKS[config.data.task].single_label
        return cls(find(config.metric), single_label, targets_NC, fold_N, groups_N, config.ensemble.seed)

    @property
    def objective(self) -> Objective:
        """Return what blenders are fitted to."""
        return Objective(self.targets_NC, self.metric, self.single_label, self.fold_N, self.seed)

    @cached_property
    def part_N(self) -> Array:
        """Return what is held out in turn: the folds, or parts of the groups where there is one fold."""
        if len(np.unique(self.fold_N)) > 1:
            return self.fold_N
        rows = np.char.add("row ", np.arange(len(self.fold_N)).astype(np.str_))
        _, group_N = np.unique(np.where(self.groups_N == "", rows, self.groups_N), return_inverse=True)
        if not group_N.any():  # one group cannot be split; without others no interval will exclude 0
            group_N = np.arange(len(group_N))
        order_G = np.random.default_rng(self.seed).permutation(group_N.max() + 1)
        return np.asarray(order_G[group_N] % PARTS)

    @cached_property
    def resamples(self) -> resampling.Resamples:
        """Return the resamples that all candidates share, so that differences are paired."""
        return resampling.resample(self.fold_N, self.groups_N, np.random.default_rng(self.seed), ROUNDS)

    def fold_scores(self, probs_NC: Array) -> Array:
        """Return the score of each fold [K], NaN where it is undefined."""
        return resampling.fold_scores(self.metric, self.targets_NC, probs_NC, self.single_label, self.fold_N)

    def score(self, probs_NC: Array, rows: Array | slice = slice(None)) -> float:
        """Return the primary score, the mean over folds, of predictions of these rows."""
        targets_NC, fold_N = self.targets_NC[rows], self.fold_N[rows]
        return resampling.mean_of_folds(self.metric, targets_NC, probs_NC, self.single_label, fold_N)

    def gain(self, probs_NC: Array, rows: Array | slice = slice(None)) -> float:
        """Return the score turned so that greater is better."""
        return self.metric.direction * self.score(probs_NC, rows)

    def cross_fit(
        self,
        fit: Callable[[int | None, Array | slice], Any],
        apply: Callable[[int | None, Any, Array | slice], Array],
        test: Callable[[Any], Array],
        learns: bool = True,
        keep: bool = False,
    ) -> Prediction:
        """Fit to all rows, and without each part; `learns=False`: there is nothing to learn, so once is enough.

        `fit(part, rows)` and `apply(part, fit, rows)` are told which part is held out (None: nothing is), as what
        they build on may itself have been fitted without it. `test(fit)` predicts the test. `keep` remembers what is
        slow to make, at the cost of memory.
        """
        everything = slice(None)
        fits: dict[int | None, Any] = {None: fit(None, everything)}

        def at(part: int | None) -> Array:
            return apply(part, fits[part], everything) if learns else apply(None, fits[None], everything)

        def without(rows: Array) -> tuple[Any, Any]:
            (part,) = set(np.unique(self.part_N).tolist()) - set(np.unique(self.part_N[rows]).tolist())
            return part, fit(part, rows)

        at = cache(at) if keep else at
        if learns:
            cross_NC, fitted = resampling.cross_fit(without, lambda pair, rows: apply(*pair, rows), self.part_N)
            fits |= dict(fitted)
        else:
            cross_NC = at(None)
        return Prediction(at, cross_NC, cache(lambda: test(fits[None])), fits)

    def evaluate(self, made: Prediction) -> Evaluation:
        """Return a prediction's scores with their spread."""
        return Evaluation(self.score(made.at(None)), self.score(made.cross_NC), self.bootstrap(made.cross_NC))

    def bootstrap(self, probs_NC: Array) -> Array:
        """Return the primary score on every resample [R]."""
        return resampling.bootstrap(self.metric, self.targets_NC, probs_NC, self.single_label, self.resamples)

    def interval_of_lead(self, scores_R: Array, others_R: Array) -> Interval:
        """Return the interval of one's lead over another on the same resamples."""
        return resampling.paired(scores_R, others_R, self.metric, self.resamples.groups, LEVEL)

    def lead(self, one: Evaluation, other: Evaluation) -> dict[str, Any]:
        """Return by how much one is better than the other, and the interval of that, for JSON."""
        lead = self.metric.direction * (one.cross_fitted - other.cross_fitted)
        return {"lead": defined(lead), **_described(self.interval_of_lead(one.scores_R, other.scores_R))}

    def compare(self, candidates: Mapping[str, Evaluation], baseline: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """Return the choice, and each candidate's scores and lead over the baseline, for JSON.

        It is the best cross-fitted candidate if the interval of its lead over the baseline excludes 0, else the
        baseline. The gap is by how much the score on the fitted rows is optimistic.
        """
        direction, groups = self.metric.direction, self.resamples.groups
        best = max(candidates, key=lambda name: resampling.comparable(direction * candidates[name].cross_fitted))
        found = {
            name: {
                "in_sample": defined(one.in_sample),
                "cross_fitted": defined(one.cross_fitted),
                "gap": defined(direction * (one.in_sample - one.cross_fitted)),
                **_described(resampling.interval(one.scores_R, groups, LEVEL)),
                f"over_{baseline}": None if name == baseline else self.lead(one, candidates[baseline]),
            }
            for name, one in candidates.items()
        }
        lead = self.interval_of_lead(candidates[best].scores_R, candidates[baseline].scores_R)
        return (best if lead.low > 0 else baseline), found

    @property
    def terms(self) -> dict[str, Any]:
        """Return what the intervals are made of, for JSON."""
        groups = self.resamples.groups
        enough = groups >= resampling.LEAST_GROUPS
        unit = "groups" if (self.groups_N != "").any() else "rows"
        return {"level": LEVEL, "rounds": ROUNDS, "groups": groups, "unit": unit, "enough_groups": enough}


def _described(found: Interval) -> dict[str, Any]:
    return {"interval": [defined(found.low), defined(found.high)], "lost": found.lost, "reliable": found.reliable}
