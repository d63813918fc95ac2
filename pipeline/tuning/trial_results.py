"""Read what trials left behind: a fold's predictions, scores and curve, and the best trial's beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.config.rules import topk_rules
from pipeline.errors import MismatchError
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS
from pipeline.prediction import runs
from pipeline.prediction.predictions import Predictions
from pipeline.scoring.scores import truth
from pipeline.tuning.trial_states import ranked

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True)
class Setup:
    """Hold what all trials of a study share."""

    config: Config
    table: FoldTable
    study: Study

    @property
    def folds(self) -> list[int]:
        """Return the folds of a trial, in the order in which they are raced."""
        return self.config.tune.folds or list(range(self.table.n))

    @property
    def greater(self) -> bool:
        """Tell whether a greater score is the better one."""
        return find(self.config.metric).greater_is_better


@dataclass(frozen=True)
class Rival:
    """Hold the best trial so far whose predictions lie on this machine."""

    value: float
    scores: dict[int, float]  # fold -> score
    folder: Path
    config: Config  # its own: epochs and views may be searched


@dataclass(frozen=True)
class Rows:
    """Hold a fold's rows, sorted by id."""

    targets_NC: Array
    probs_NC: Array
    groups_N: Array


def find_rival(setup: Setup) -> Rival | None:
    """Return the best finished trial whose predictions lie here; those of other machines may not."""
    for trial in ranked(setup.study.get_trials(deepcopy=False), setup.greater):
        folder = setup.config.study_dir / str(trial.user_attrs.get("settings"))
        if all((folder / f"fold{fold}" / "valid.npz").is_file() for fold in setup.folds):
            scores = {int(fold): float(score) for fold, score in trial.user_attrs.get("scores", {}).items()}
            return Rival(trial.values[0], scores, folder, load([folder / "config.yaml"]))
    return None


def read_rows(config: Config, table: FoldTable, fold: int, folder: Path) -> Rows:
    """Return a fold's rows as the run of this config in `folder` predicted them, over the views of its `tta`."""
    path = folder / f"fold{fold}" / "valid.npz"
    made = runs.composed(Predictions.load(path), config.submission.composite)
    ids, order = table.valid_ids(fold), np.argsort(made.ids)
    if not np.array_equal(made.ids[order], ids):
        raise MismatchError(f"{path}: other ids than the fold table's; remove {folder} and start again")
    probs_NC = made.mean(config.tta)[order]
    topk_rules.check_metric(config.metric, probs_NC)
    return Rows(truth(config, table, ids, made.classes), probs_NC, np.compress(table.fold == fold, table.groups))


def fold_score(config: Config, table: FoldTable, fold: int) -> float:
    """Return a run's score on one fold; NaN where the fold leaves the metric undefined."""
    rows = read_rows(config, table, fold, config.run_dir)
    return TASKS[config.data.task].score(config.metric, rows.targets_NC, rows.probs_NC)


def mean_score(scores: Iterable[float]) -> float:
    """Return the mean of the scores that are defined; raise MismatchError where none is."""
    defined = [score for score in scores if not math.isnan(score)]
    if not defined:
        raise MismatchError("the metric is undefined on every fold of the trial; choose another, or other folds")
    return float(np.mean(defined))


def curve(folder: Path, fold: int, greater: bool) -> list[float]:
    """Return a fold's metric by epoch, turned so that greater is better; nothing where it is not here."""
    import pandas as pd

    path = folder / f"fold{fold}" / "epochs.csv"
    if not path.is_file():
        return []
    return [float(value) if greater else -float(value) for value in pd.read_csv(path)["valid_metric"]]
