"""Train one trial fold by fold, score it, and end it where it cannot become the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.batches.inputs import Inputs
from pipeline.config.config import Config
from pipeline.prediction import stage as predict
from pipeline.prediction.oof import train_seconds
from pipeline.training import stage as train
from pipeline.training.history import Epoch
from pipeline.tuning import pruning
from pipeline.tuning.identity import hold_data
from pipeline.tuning.study import Setup
from pipeline.tuning.trial_results import Incumbent, curve, find_incumbent, fold_score, mean_score, read_rows

if TYPE_CHECKING:
    from optuna.trial import Trial

Check = Callable[[], None]  # raises where the worker must go


class Hopeless(Exception):
    """Ends a fold's training: its curve stays out of reach of the incumbent's."""


def evaluate(setup: Setup, trial: Trial, config: Config, check: Check, inputs: Inputs) -> list[float]:
    """Return the trial's values, one per objective; note in its attributes whether and why it was pruned.

    What an earlier attempt finished is not repeated. The score is the mean over folds. A pruned trial has the
    incumbent's mean + the mean of the differences to it on the folds that it finished: their own mean would depend on
    how hard those folds are. It stays just below the incumbent, so that nothing unfinished is ever the best. Of two
    objectives nothing is pruned: what scores less may be faster.
    """
    tune, prunes = setup.config.tune, len(setup.config.tune.objectives) == 1
    scores: dict[int, float] = {}
    for fold in setup.folds:
        incumbent = find_incumbent(setup) if prunes and tune.epoch_rule else None
        behind = _train(setup, config, fold, incumbent, check, inputs)
        trial.set_user_attr("seconds", train_seconds(config.run_dir, setup.folds))
        if incumbent is not None and behind is not None:
            trial.set_user_attr("pruned", f"fold {fold}: curve out of reach of {incumbent.config.run}'s")
            return [_estimate(setup, incumbent, scores, behind)]
        predict.run(config, [fold], parts=("valid",), inputs=inputs)
        scores[fold] = fold_score(config, setup.table, fold)
        trial.set_user_attr("scores", {str(k): score for k, score in scores.items() if not math.isnan(score)})
        check()
        if not prunes:
            continue
        if not math.isnan(scores[fold]):
            trial.report(scores[fold], step=fold)
        incumbent = find_incumbent(setup)
        if len(scores) < len(setup.folds) and (why := _pruned(setup, trial, config, incumbent, list(scores))):
            trial.set_user_attr("pruned", f"after fold {fold}: {why}")
            return [_estimate(setup, incumbent, scores) if incumbent else mean_score(scores.values())]
    return [mean_score(scores.values()), train_seconds(config.run_dir, setup.folds)][: len(tune.objectives)]


def tidy(folder: Path) -> None:
    """Remove a finished trial's weights: later trials are compared with its predictions and curves only."""
    for path in [*folder.glob("**/model.safetensors"), *folder.glob("fold*/state/*")]:
        path.unlink(missing_ok=True)


def _train(
    setup: Setup, config: Config, fold: int, incumbent: Incumbent | None, check: Check, inputs: Inputs
) -> float | None:
    """Train a fold. Return None, or where the epoch rule ended it, how far it was behind then (below 0)."""
    best = curve(incumbent.config.run_dir, fold, setup.direction) if incumbent else []
    floor = _half_width(setup, fold, incumbent) if incumbent else math.inf
    epochs = {"epochs": config.train.epochs, "incumbent_epochs": incumbent.config.train.epochs if incumbent else None}
    patience = setup.config.tune.patience
    behind: list[float] = []

    def watch(_: int, history: Sequence[Epoch]) -> None:
        check()
        if len(history) == 1:
            hold_data(setup.study, config, fold)
        if not best or len(history) >= config.train.epochs:
            return
        now = [setup.direction * epoch.valid_metric for epoch in history]
        if pruning.hopeless(now, best, floor=floor, warmup=config.train.warmup, patience=patience, **epochs):
            behind.append(pruning.shortfall(now, best, patience=patience, **epochs))
            raise Hopeless

    anywhere = config.train.model_copy(update={"deterministic": False})  # another number of workers has other threads
    try:
        train.run(config.model_copy(update={"train": anywhere}), [fold], watch=watch, inputs=inputs)
    except Hopeless:
        return behind[0]
    return None


def _half_width(setup: Setup, fold: int, incumbent: Incumbent) -> float:
    """Return by how much the incumbent's score on the fold may be wrong for its rows alone."""
    tune, (truth, probs_NC) = setup.config.tune, read_rows(incumbent.config, setup.table, [fold])
    rng = np.random.default_rng([tune.seed, fold])
    given = (truth.targets_NC, probs_NC, truth.single_label, truth.groups_N)
    return pruning.half_width(truth.metric, *given, rng, tune.level)


def _pruned(setup: Setup, trial: Trial, config: Config, incumbent: Incumbent | None, done: Sequence[int]) -> str | None:
    """Return why the trial ends after these folds, or None; the race is with the best trial of now."""
    tune = setup.config.tune
    if tune.pruner != "race":
        return tune.pruner if trial.should_prune() else None
    if incumbent is None:
        return None
    (truth, trial_NC), (_, best_NC) = (read_rows(one, setup.table, done) for one in (config, incumbent.config))
    given = (truth.targets_NC, trial_NC, best_NC, truth.single_label, truth.fold_N, truth.groups_N)
    found = pruning.race(truth.metric, *given, np.random.default_rng([tune.seed, *done]), tune.level)
    return f"behind {incumbent.config.run} by {-found.high:.4f} to {-found.low:.4f}" if found.lost else None


def _estimate(setup: Setup, incumbent: Incumbent, scores: dict[int, float], *more: float) -> float:
    """Return a pruned trial's value; `more` are differences of folds that it did not finish, greater is better."""
    direction, known = setup.direction, incumbent.scores
    paired = [direction * (score - known[fold]) for fold, score in scores.items() if fold in known]
    value = pruning.estimate(incumbent.value, [*paired, *more], direction)
    below = float(np.nextafter(incumbent.value, -direction * np.inf))
    return below if math.isnan(value) or direction * (value - below) > 0 else value
