"""Read what trials left behind: a fold's predictions, scores and curve, and the best trial's beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.config.rules import topk_rules
from pipeline.errors import MismatchError, Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.methods.tasks import TASKS
from pipeline.prediction.oof import composed
from pipeline.prediction.predictions import Predictions
from pipeline.scoring.scores import truth
from pipeline.tuning.identity import run_of
from pipeline.tuning.study import Setup


@dataclass(frozen=True)
class Incumbent:
    """Hold the best trial so far whose predictions lie on this machine."""

    value: float
    scores: dict[int, float]  # fold -> score
    config: Config  # its own: epochs and views may be searched


@dataclass(frozen=True)
class Rows:
    """Hold a fold's rows, sorted by id."""

    targets_NC: Array
    probs_NC: Array
    groups_N: Array


def find_incumbent(setup: Setup) -> Incumbent | None:
    """Return the best finished trial whose predictions lie here; those of other machines may not."""
    for trial in setup.ranked:
        run = str(trial.user_attrs.get("settings"))
        folder = setup.config.study_dir / run
        if all((folder / f"fold{fold}" / "valid.npz").is_file() for fold in setup.folds):
            scores = {int(fold): float(score) for fold, score in trial.user_attrs.get("scores", {}).items()}
            return Incumbent(trial.values[0], scores, run_of(setup.config, load([folder / "config.yaml"]), run))
    return None


def read_rows(config: Config, table: FoldTable, fold: int) -> Rows:
    """Return a fold's rows as the config's run predicted them, over the views of its `tta`."""
    path = config.run_dir / f"fold{fold}" / "valid.npz"
    made = composed(Predictions.load(path), config.submission.composite)
    ids, order = table.valid_ids(fold), np.argsort(made.ids)
    if not np.array_equal(made.ids[order], ids):
        remedy = f"remove {config.run_dir} and start again"
        raise MismatchError(Problem(str(path), "other ids than the fold table's", remedy=remedy))
    probs_NC = made.mean(config.tta)[order]
    topk_rules.check_metric(config.metric, probs_NC)
    return Rows(truth(config, table, ids, made.classes), probs_NC, np.compress(table.fold == fold, table.groups))


def fold_score(config: Config, table: FoldTable, fold: int) -> float:
    """Return a run's score on one fold; NaN where the fold leaves the metric undefined."""
    rows = read_rows(config, table, fold)
    return TASKS[config.data.task].score(config.metric, rows.targets_NC, rows.probs_NC)


def mean_score(scores: Iterable[float]) -> float:
    """Return the mean of the scores that are defined; raise MismatchError where none is."""
    defined = [score for score in scores if not math.isnan(score)]
    if not defined:
        found = "the metric is undefined on every fold of the trial"
        raise MismatchError(Problem("", found, remedy="choose another, or other folds"))
    return float(np.mean(defined))


def curve(folder: Path, fold: int, direction: int) -> list[float]:
    """Return a fold's metric by epoch, turned so that greater is better; nothing where it is not here."""
    import pandas as pd

    path = folder / f"fold{fold}" / "epochs.csv"
    return [direction * float(value) for value in pd.read_csv(path)["valid_metric"]] if path.is_file() else []
