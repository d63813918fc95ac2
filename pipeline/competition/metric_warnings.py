"""Warn where a score says less, or more, than it seems to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from pipeline.config.config import Config
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import METRICS, Metric, find
from pipeline.methods.resampling import bootstrap, mean_of_folds, resample
from pipeline.methods.tasks import TASKS
from pipeline.methods.topk import Top

NEAR = 0.05  # of the way from a constant prediction to a perfect one: farther off, no score is saturated
NOISE = 1.645 * 2**0.5  # standard deviations: what two equally good models differ by, nine times in ten at most
ROUNDS = 200


def misleading(config: Config, targets_NC: Array, classes: Sequence[str]) -> list[str]:
    """Warn where always naming the same class would score well."""
    metric = _known(config)
    if metric is None or metric.reads != "labels" or not TASKS[config.data.task].single_label or not len(targets_NC):
        return []
    most = int(targets_NC.sum(0).argmax())
    rows = len(targets_NC)
    constant_NC = Top(np.full((rows, 1), most, dtype=np.int32), np.ones((rows, 1), dtype=np.float32), len(classes))
    found = metric.score(targets_NC, cast("Array", constant_NC), True)
    if not (found if metric.greater_is_better else 1 - found) >= (1 + 1 / len(classes)) / 2:
        return []
    return [f"{config.metric} misleads: always '{classes[most]}' scores {found:.3f}; see balanced_accuracy too"]


def score_warnings(config: Config, targets_NC: Array, probs_NC: Array, fold_N: Array, groups_N: Array) -> list[str]:
    """Warn where the primary score is so near a perfect one that differences are noise, or too good to be believed.

    Too good: less than half as far from a perfect score as the gold medal of the original competition.
    """
    metric, single_label = _known(config), TASKS[config.data.task].single_label
    if metric is None:
        return _distilled(config)
    score = mean_of_folds(metric, targets_NC, probs_NC, single_label, fold_N)
    perfect = 1.0 if metric.greater_is_better else 0.0
    gap, found = abs(perfect - score), []
    if _is_near(metric, single_label, targets_NC, gap, perfect):
        samples = resample(fold_N, groups_N, np.random.default_rng(config.ensemble.seed), ROUNDS)
        spread = np.nanstd(bootstrap(metric, targets_NC, probs_NC, single_label, samples))
        if gap <= NOISE * spread or gap == 0:
            found.append(
                f"{config.metric} is saturated: {score:.4f} leaves {gap:.2g} to a perfect score, and models this good "
                f"differ by {NOISE * spread:.2g} by chance: choose between them by another metric"
            )
    gold = None if config.medals is None else config.medals.gold
    if gold is not None and gap < abs(perfect - gold) / 2:
        found.append(
            f"{config.metric} {score:.4f} is far better than the gold medal's {gold:g}: look for a leak before you "
            "believe it (groups or duplicates across folds, columns that give the label away)"
        )
    return [*found, *_distilled(config)]


def _distilled(config: Config) -> list[str]:
    if config.distill.teacher is None:
        return []
    return [
        f"distilled: the models of {config.distill.teacher} that a fold learnt from were trained on the rows that "
        "score it. On digits this made accuracy optimistic by 0.001 to 0.005, with 30 % wrong labels by 0.006 to "
        "0.021: more than some students gained. Compare teacher and student by held-back rows or the leaderboard"
    ]


def _known(config: Config) -> Metric | None:
    """Return the metric, or None where it is the user's own, whose perfect score nobody stated."""
    return find(config.metric) if config.metric in METRICS or "@" in config.metric else None


def _is_near(metric: Metric, single_label: bool, targets_NC: Array, gap: float, perfect: float) -> bool:
    """Tell whether the score is nearer to a perfect one than to that of the truth's mean, by far."""
    if not isinstance(targets_NC, np.ndarray):  # rows of very many classes
        return gap <= NEAR
    mean_NC = np.broadcast_to(targets_NC.mean(0), targets_NC.shape)
    constant = metric.score(targets_NC, mean_NC, single_label)
    return gap <= NEAR * (1.0 if np.isnan(constant) else abs(perfect - constant))
