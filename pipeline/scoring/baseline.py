"""Score the best constant beside a prediction: what one would predict who knows the labels and sees no picture.

Each fold's constant is chosen on the labels of the other folds alone, among those of `Task.constants`, by the metric's
own score there: it is as honest as the OOF predictions that it stands beside.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import InputError, some
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import resampling, topk
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric, find
from pipeline.methods.resampling import Interval
from pipeline.methods.tasks import TASKS
from pipeline.methods.topk import OneHot
from pipeline.scoring.evaluation import LEVEL, ROUNDS, Evaluator
from pipeline.scoring.scores import scores, shown, truth

NAME = "best constant"
CELLS = 2**27  # rows × columns × resamples that an interval may go through: a few seconds
FEWEST = 100  # resamples; what is too large for them has no interval, and no more metrics than its own
NAMED = 5  # classes that a warning names


class Constants:
    """Predict each fold's rows by the constant that is best for the labels of all other rows of the fold table."""

    def __init__(
        self, config: Config, table: FoldTable, fold_N: Array, classes: Sequence[str], kept: int | None
    ) -> None:
        self.task, self.table, self.fold_N, self.kept = TASKS[config.data.task], table, fold_N, kept
        self.targets_TC = truth(config, table, table.ids, classes)

    @property
    def cells(self) -> int:
        """Return how many cells a constant is scored on."""
        return len(self._distinct[0]) * int(self.targets_TC.shape[1])

    def predict(self, metric: str) -> Array:
        """Return the constants of these rows [N,C]; a Top where the run's predictions are."""
        folds, number_N = np.unique(self.fold_N, return_inverse=True)
        rows = [self._best(metric, self.table.fold != fold) for fold in folds]
        return self._like(np.stack(rows))[number_N]

    def _best(self, metric: str, others: Array) -> Array:
        """Return the best constant of some rows, [C]."""
        rows_MC = self.task.constants(metric, self.targets_TC[np.flatnonzero(others)])
        if len(rows_MC) == 1:
            return np.asarray(rows_MC[0])
        first_U, code_T = self._distinct
        counts_U = np.bincount(code_T[others], minlength=len(first_U))
        present = np.flatnonzero(counts_U)
        targets_UC, weights_1U = self.targets_TC[first_U[present]], counts_U[None, present].astype(np.float64)
        one = find(metric)
        gains = [one.direction * self._score(one, targets_UC, row_C, weights_1U) for row_C in rows_MC]
        return np.asarray(rows_MC[int(np.argmax([resampling.comparable(gain) for gain in gains]))])

    def _score(self, metric: Metric, targets_UC: Array, row_C: Array, weights_1U: Array) -> float:
        repeated = self._like(row_C[None])[np.zeros(len(targets_UC), dtype=np.int64)]
        return float(metric.scores(targets_UC, repeated, self.task.single_label, weights_1U)[0])

    def _like(self, rows_MC: Array) -> Array:
        return rows_MC if self.kept is None else topk.top(rows_MC, self.kept)

    @cached_property
    def _distinct(self) -> tuple[Array, Array]:
        """Return a row of each distinct target, and which one every row is: to a constant equal targets are one."""
        targets_TC = self.targets_TC
        hard = topk.hard(targets_TC) if self.task.single_label else None
        if hard is not None:
            _, first_U, code_T = np.unique(hard.classes_N, return_index=True, return_inverse=True)
        elif not self.task.regression and not isinstance(targets_TC, OneHot) and np.isin(targets_TC, (0, 1)).all():
            packed = np.packbits(targets_TC.astype(bool), axis=1)
            _, first_U, code_T = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        else:
            first_U = code_T = np.arange(len(targets_TC))
        return first_U, code_T.ravel()


def beside(
    config: Config,
    table: FoldTable,
    evaluator: Evaluator,
    classes: Sequence[str],
    probs_NC: Array,
    metrics: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Return the best constant's scores, and by how much the prediction leads it, for JSON.

    The mean of further metrics too, each by a constant of its own. None where a fold has no others, or a metric of the
    user's own cannot score constants. The interval is left out where it would take long.
    """
    if not all((table.fold != fold).any() for fold in np.unique(evaluator.fold_N)):
        return None
    task, fold_N, targets_NC = TASKS[config.data.task], evaluator.fold_N, evaluator.targets_NC
    constants = Constants(config, table, fold_N, classes, topk_rules.kept_by(probs_NC))

    def scored(metric: str) -> tuple[Array, dict[str, Any]]:
        found_NC = constants.predict(metric)
        return found_NC, scores(task, metric, targets_NC, found_NC, fold_N)

    try:
        with warnings.catch_warnings():
            if find(config.metric).plugin:
                warnings.simplefilter("ignore")  # correlations, say, complain of constants
            constant_NC, found = scored(config.metric)
            leads_K = evaluator.metric.direction * (
                evaluator.fold_scores(probs_NC) - evaluator.fold_scores(constant_NC)
            )
            known_K = leads_K[np.isfinite(leads_K)]
            found["lead"] = float(known_K.mean()) if len(known_K) else None
            if len(known_K) and (between := _interval(evaluator, probs_NC, constant_NC)) is not None:
                ends = [resampling.defined(between.low), resampling.defined(between.high)]
                found |= {"interval": ends, "reliable": between.reliable}
    except (ValueError, ArithmeticError, InputError):  # InputError: what the user's function raised
        if find(config.metric).plugin:
            return None
        raise
    others = [name for name in metrics if name != config.metric] if constants.cells <= CELLS / FEWEST else []
    return {**found, "metrics": {config.metric: found["mean"], **{name: scored(name)[1]["mean"] for name in others}}}


def learnt_nothing(config: Config, score: float | None, baseline: dict[str, Any] | None) -> list[str]:
    """Warn where the prediction does not beat the best constant, or may do so by luck alone."""
    if baseline is None or baseline["lead"] is None or score is None:
        return []
    low, high = baseline.get("interval", [None, None])
    if baseline["lead"] > 0 and (low is None or low > 0):
        return []
    between = "" if low is None else f", {100 * LEVEL:.0f} % interval {low:+.4f} to {high:+.4f}"
    what = "nothing that a constant does not know" if baseline["lead"] <= 0 else "hardly more than a constant knows"
    blend = config.ensemble.members is not None or config.ensemble.compose is not None
    fact = (
        f"the {'blend' if blend else 'run'} learnt {what}: {config.metric} {shown(score)}, the best constant by the "
        f"other folds' labels {shown(baseline['mean'])} (lead {baseline['lead']:+.4f}{between})"
    )
    if blend:
        return [f"{fact}. Look at what each member scores"]
    train, pretrained = config.train, config.model.pretrained is not False
    return [
        f"{fact}. Likely the training is too short or too slow ({train.epochs} epochs at lr {train.lr:g} from "
        f"{'pretrained' if pretrained else 'random'} weights), labels are not those of their pictures, or pictures do "
        "not show them: look at the curves and samples in report.html, then raise train.epochs, change train.lr"
        + (", or another model or size" if pretrained else ", or start from weights with model.pretrained")
    ]


def never_predicted(config: Config, targets_NC: Array, probs_NC: Array, classes: Sequence[str]) -> list[str]:
    """Warn of classes that have rows and are never the most probable one; of labels that never reach ½, if read."""
    task, metric = TASKS[config.data.task], find(config.metric)
    if task.regression or not (task.single_label or metric.reads == "labels"):
        return []
    if task.single_label:
        true_N, predicted_N = (np.bincount(one.argmax(1), minlength=len(classes)) for one in (targets_NC, probs_NC))
    else:
        true_N, predicted_N = ((one >= 0.5).sum(0) for one in (targets_NC, probs_NC))
    missed = np.flatnonzero((true_N > 0) & (predicted_N == 0))
    if not len(missed):
        return []
    missed = missed[np.argsort(-true_N[missed], kind="stable")]
    named = some([f"'{classes[c]}' ({true_N[c]:,} rows)" for c in missed.tolist()], NAMED)
    blind = (
        "" if metric.reads in ("labels", "probabilities") else f"; {config.metric} does not see it, as it reads order"
    )
    remedy = "train longer, or see train.sampling and loss.class_weights for rare classes"
    return [f"never predicted: {len(missed)} of {int((true_N > 0).sum())} classes with rows, {named}{blind}: {remedy}"]


def _interval(evaluator: Evaluator, probs_NC: Array, constant_NC: Array) -> Interval | None:
    """Return the interval of the lead over the constant, of fewer resamples where there is much to go through.

    None where that is too much even so, or slow: a function of the user's own is called for each resample.
    """
    metric, (rows, width) = evaluator.metric, evaluator.targets_NC.shape
    columns = width if metric.reads in ("order", "values") or not evaluator.single_label else 1
    rounds = min(ROUNDS, CELLS // (rows * columns))
    if rounds < FEWEST or metric.plugin:
        return None
    drawn = resampling.resample(evaluator.fold_N, evaluator.groups_N, np.random.default_rng(evaluator.seed), rounds)
    one_R, other_R = (
        resampling.bootstrap(metric, evaluator.targets_NC, one_NC, evaluator.single_label, drawn)
        for one_NC in (probs_NC, constant_NC)
    )
    return resampling.paired(one_R, other_R, metric, drawn.groups, LEVEL)
