"""Score probabilities against the fold table's truth, fold by fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.competition.labels import class_names, encode_targets
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import MismatchError, Problem
from pipeline.folds.fold_table import FoldTable
from pipeline.methods import heads as together
from pipeline.methods import resampling
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS, Task


def truth(config: Config, table: FoldTable, ids: Array, classes: Sequence[str]) -> Array:
    """Return the soft targets, or values, [N,C] of the ids, from the fold table; of heads, of composite classes.

    Raises MismatchError where its labels are not among the classes.
    """
    rows, task, data = np.searchsorted(table.ids, ids), TASKS[config.data.task], config.data
    encoded = class_names(task, table.targets, data) if data.heads else classes
    targets_NC, wrong = encode_targets(task, table.targets, data, encoded)
    place, remedy = str(config.folds_path), "train again"
    if wrong:
        raise MismatchError(
            *(Problem(place, f"id '{table.ids[row]}': {text}", remedy=remedy) for row, text in wrong[:20])
        )
    if heads := data.heads_of(encoded):
        if (count := together.count(heads)) != len(classes):
            found = f"{count} composite classes, {len(classes)} predicted"
            raise MismatchError(Problem(place, found, remedy=remedy))
        return together.composite(targets_NC[rows], heads)
    return targets_NC[rows]


def scores(task: Task, metric: str, targets_NC: Array, probs_NC: Array, fold_N: Array) -> dict[str, Any]:
    """Return per_fold, mean, std and pooled; None where a score is undefined, left out of mean and std.

    std is that of the folds at hand (divided by their number), not an estimate for other folds. Raises InputError
    where the metric needs classes that the predictions do not keep.
    """
    topk_rules.check_metric(metric, probs_NC)
    found_K = resampling.fold_scores(find(metric), targets_NC, probs_NC, task.single_label, fold_N)
    known = found_K[~np.isnan(found_K)]
    return {
        "per_fold": [resampling.defined(score) for score in found_K.tolist()],
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std()) if len(known) else None,
        "pooled": resampling.defined(task.score(metric, targets_NC, probs_NC)),
    }


def shown(value: float | None) -> str:
    """Return a score as text, a dash where it is undefined."""
    return "-" if value is None or np.isnan(value) else f"{round(value, 4) + 0.0:.4f}"  # not -0.0000
