"""Train one trial fold by fold, score it, and end it where it cannot become the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.config import Config
from pipeline.methods import topk
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS
from pipeline.prediction import stage as predict
from pipeline.prediction.runs import train_seconds
from pipeline.training import stage as train
from pipeline.training.history import Epoch
from pipeline.tuning import epoch_rule as rule
from pipeline.tuning import inputs, racing
from pipeline.tuning.trial_results import Rival, Setup, curve, find_rival, fold_score, mean_score, read_rows

if TYPE_CHECKING:
    from optuna.trial import Trial

Check = Callable[[], None]  # raises where the worker must go


class Hopeless(Exception):
    """Ends a fold's training: its curve stays out of reach of the rival's."""


def evaluate(setup: Setup, trial: Trial, config: Config, check: Check) -> list[float]:
    """Return the trial's values, one per objective; note in its attributes whether and why it was pruned.

    What an earlier attempt finished is not repeated. The score is the mean over folds. A pruned trial has the
    rival's mean + the mean of the differences to it on the folds that it finished: their own mean would depend on
    how hard those folds are. It stays just below the rival, so that nothing unfinished is ever the best. Of two
    objectives nothing is pruned: what scores less may be faster.
    """
    tune, alone = setup.config.tune, len(setup.config.tune.objectives) == 1
    scores: dict[int, float] = {}
    for fold in setup.folds:
        rival = find_rival(setup) if alone and tune.epoch_rule else None
        behind = _train(setup, config, fold, rival, check)
        trial.set_user_attr("seconds", train_seconds(config.run_dir, setup.folds))
        if rival is not None and behind is not None:
            trial.set_user_attr("pruned", f"fold {fold}: curve out of reach of {rival.folder.name}'s")
            return [_estimate(setup, rival, scores, behind)]
        predict.run(config, [fold], parts=("valid",))
        scores[fold] = fold_score(config, setup.table, fold)
        trial.set_user_attr("scores", {str(k): score for k, score in scores.items() if not math.isnan(score)})
        check()
        if not alone:
            continue
        if not math.isnan(scores[fold]):
            trial.report(scores[fold], step=fold)
        rival = find_rival(setup)
        if len(scores) < len(setup.folds) and (why := _pruned(setup, trial, config, rival, list(scores))):
            trial.set_user_attr("pruned", f"after fold {fold}: {why}")
            return [_estimate(setup, rival, scores) if rival else mean_score(scores.values())]
    return [mean_score(scores.values()), train_seconds(config.run_dir, setup.folds)][: len(tune.objectives)]


def tidy(folder: Path) -> None:
    """Remove a finished trial's weights: later trials are compared with its predictions and curves only."""
    for path in [*folder.glob("**/model.safetensors"), *folder.glob("fold*/state/*")]:
        path.unlink(missing_ok=True)


def _train(setup: Setup, config: Config, fold: int, rival: Rival | None, check: Check) -> float | None:
    """Train a fold. Return None, or where the epoch rule ended it, how far it was behind then (below 0)."""
    theirs: list[float] = []
    planned, floor = 0, math.inf
    if rival is not None:
        theirs = curve(rival.folder, fold, setup.greater)
        planned = rival.config.train.epochs
        floor = _reach(setup, fold, rival)
    behind: list[float] = []

    def watch(_: int, epochs: Sequence[Epoch]) -> None:
        check()
        if len(epochs) == 1:
            inputs.hold(setup.study, config, fold)
        mine = [epoch.valid_metric if setup.greater else -epoch.valid_metric for epoch in epochs]
        train_, patience = config.train, setup.config.tune.patience
        lengths = {"patience": patience, "epochs": train_.epochs, "incumbent_epochs": planned}
        if not theirs or len(mine) >= train_.epochs:
            return
        if rule.hopeless(mine, theirs, floor=floor, warmup=train_.warmup_epochs, **lengths):
            behind.append(rule.shortfall(mine, theirs, **lengths))
            raise Hopeless

    try:
        train.run(config, [fold], watch=watch)
    except Hopeless:
        return behind[0]
    return None


def _reach(setup: Setup, fold: int, rival: Rival) -> float:
    """Return by how much the rival's score on the fold may be wrong for its rows alone."""
    config = rival.config
    rows = read_rows(config, setup.table, fold, rival.folder)
    single_label, draws = TASKS[config.data.task].single_label, np.random.default_rng([setup.config.tune.seed, fold])
    return rule.reach(
        find(config.metric),
        rows.targets_NC,
        rows.probs_NC,
        single_label,
        rows.groups_N,
        draws,
        setup.config.tune.level,
    )


def _pruned(setup: Setup, trial: Trial, config: Config, rival: Rival | None, done: Sequence[int]) -> str | None:
    """Return why the trial ends after these folds, or None; the race is with the best trial of now."""
    tune = setup.config.tune
    if tune.pruner != "race":
        return tune.pruner if tune.pruner != "none" and trial.should_prune() else None
    if rival is None:
        return None
    mine = [read_rows(config, setup.table, fold, config.run_dir) for fold in done]
    theirs = [read_rows(rival.config, setup.table, fold, rival.folder) for fold in done]
    found = racing.race(
        find(config.metric),
        topk.join([rows.targets_NC for rows in mine]),
        topk.join([rows.probs_NC for rows in mine]),
        topk.join([rows.probs_NC for rows in theirs]),
        TASKS[config.data.task].single_label,
        np.repeat(done, [len(rows.targets_NC) for rows in mine]),
        np.concatenate([rows.groups_N for rows in mine]),
        np.random.default_rng([tune.seed, *done]),
        tune.level,
    )
    if not found.lost:
        return None
    return f"behind {rival.folder.name} by {-found.high:.4f} to {-found.low:.4f}"


def _estimate(setup: Setup, rival: Rival, scores: dict[int, float], *more: float) -> float:
    """Return a pruned trial's value; `more` are differences of folds that it did not finish, greater is better."""
    turn = 1 if setup.greater else -1
    paired = tuple(turn * (score - rival.scores[fold]) for fold, score in scores.items() if fold in rival.scores)
    value = racing.estimate(rival.value, (*paired, *more), setup.greater)
    below = float(np.nextafter(rival.value, -turn * np.inf))
    if math.isnan(value):
        return below
    return min(value, below) if setup.greater else max(value, below)
