"""Read what trials left behind: a fold's predictions, scores and curve, and the best trial's beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.config.run_configs import trained
from pipeline.errors import MismatchError, Problem
from pipeline.files.tables import read_epochs
from pipeline.folds.fold_table import FoldTable
from pipeline.methods.arrays import Array
from pipeline.prediction.oof import read_run
from pipeline.scoring.evaluation import Evaluator
from pipeline.tuning.identity import run_of
from pipeline.tuning.study import Setup


@dataclass(frozen=True)
class Incumbent:
    """Hold the best trial so far whose predictions lie on this machine."""

    value: float
    scores: dict[int, float]  # fold -> score
    config: Config  # its own: epochs and views may be searched


def find_incumbent(setup: Setup) -> Incumbent | None:
    """Return the best finished trial whose predictions lie here; those of other machines may not."""
    for trial in setup.ranked:
        run = str(trial.user_attrs.get("settings"))
        folder = setup.config.study_dir / run
        if all((folder / f"fold{fold}" / "valid.npz").is_file() for fold in setup.folds):
            scores = {int(fold): float(score) for fold, score in trial.user_attrs.get("scores", {}).items()}
            return Incumbent(trial.values[0], scores, run_of(setup.config, trained(folder), run))
    return None


def read_rows(config: Config, table: FoldTable, folds: Sequence[int]) -> tuple[Evaluator, Array]:
    """Return the truth of some folds' rows, and what the config's run predicted over the views of its `tta`."""
    run = read_run(config.run_dir, table, composite=config.submission.composite, partial=True, test=False)
    probs_NC, rows = run.oof(config.tta), np.isin(run.fold_N, folds)
    topk_rules.check_metric(config.metric, probs_NC)
    return Evaluator.of(config, table, run.ids[rows], run.fold_N[rows], run.classes), probs_NC[rows]


def fold_score(config: Config, table: FoldTable, fold: int) -> float:
    """Return a run's score on one fold; NaN where the fold leaves the metric undefined."""
    truth, probs_NC = read_rows(config, table, [fold])
    return truth.score(probs_NC)


def mean_score(scores: Iterable[float]) -> float:
    """Return the mean of the scores that are defined; raise MismatchError where none is."""
    defined = [score for score in scores if not math.isnan(score)]
    if not defined:
        found = "the metric is undefined on every fold of the trial"
        raise MismatchError(Problem("", found, remedy="choose another, or other folds"))
    return float(np.mean(defined))


def curve(folder: Path, fold: int, direction: int) -> list[float]:
    """Return a fold's metric by epoch, turned so that greater is better; nothing where it is not here."""
    path = folder / f"fold{fold}" / "epochs.csv"
    return [direction * float(value) for value in read_epochs(path)["valid_metric"]] if path.is_file() else []
