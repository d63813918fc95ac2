"""What a metric is: a function of truth, predictions and many weightings of the rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from pipeline import plugins
from pipeline.methods import topk
from pipeline.methods.arrays import Array

Function = Callable[[Array, Array, Array, bool], Array]
Reads = Literal["probabilities", "labels", "order", "ranking", "values"]
SIGNATURE = "metric(targets_NC, probs_NC); return NaN where it is undefined"  # of a plugin
TASKS = ("binary", "multiclass", "ordinal", "multilabel", "regression")


@dataclass(frozen=True)
class Metric:
    """Hold a metric's function, its direction, the tasks that it fits and what it reads.

    `reads`: `labels` are decisions, `probabilities` must be calibrated, `order` is that of rows in a column,
    `ranking` that of columns in a row, `values` are a regression's.
    """

    function: Function  # (targets_NC, probs_NC, weights_RN, single_label) -> scores_R
    greater_is_better: bool
    tasks: tuple[str, ...]
    reads: Reads
    usual: tuple[str, ...] = ()  # tasks whose every score report shows it, whatever the config's metric is
    rewards: tuple[str, ...] = ()  # kinds of decision that raise it though it reads no labels
    spread: bool = False  # what a row's most probable classes leave of 1 may be spread evenly over the others
    k: int | None = None  # how many of a row's first classes a ranking reads
    plugin: bool = False  # it wants every cell

    def from_top_k(self, count: int) -> bool:
        """Tell whether it can be computed from the `count` most probable classes of each row.

        MRR counts a true class that is not kept as never found, which costs less than 1/count a row.
        """
        first = self.reads == "labels" or (self.reads == "ranking" and (self.k or 0) <= count)
        return not self.plugin and (first or self.spread)

    @property
    def direction(self) -> int:
        """Return 1 where greater is better, else −1: times it, a greater score is always the better one."""
        return 1 if self.greater_is_better else -1

    def score(self, targets_NC: Array, probs_NC: Array, single_label: bool) -> float:
        """Return the metric, NaN on no rows.

        Raises ValueError on NaN, on unequal shapes and, if single_label, on targets that do not sum to 1.
        """
        return float(self.scores(targets_NC, probs_NC, single_label, np.ones((1, len(targets_NC))))[0])

    def scores(self, targets_NC: Array, probs_NC: Array, single_label: bool, weights_RN: Array) -> Array:
        """Return the metric under each row of weights (≥ 0, any scale), [R] float64; NaN where undefined.

        Needs a few times the memory of `weights_RN`. Raises ValueError as `score` does, and on weights that
        do not fit.
        """
        if targets_NC.shape != probs_NC.shape:
            raise ValueError(f"found targets {targets_NC.shape} and probabilities {probs_NC.shape}")
        if not topk.finite(probs_NC):
            raise ValueError("found NaN or infinity among the probabilities")
        if weights_RN.ndim != 2 or weights_RN.shape[1] != len(targets_NC):
            raise ValueError(f"found weights {weights_RN.shape}, expected any number of rows of {len(targets_NC)}")
        if len(targets_NC) == 0:
            return np.full(len(weights_RN), np.nan)
        weights_RN = np.ascontiguousarray(weights_RN, dtype=np.float64)
        if not np.isfinite(weights_RN.sum()) or weights_RN.min(initial=0) < 0:
            raise ValueError("found a weight that is negative or not finite")
        return np.asarray(self.function(targets_NC, probs_NC, weights_RN, single_label), dtype=np.float64)


def plugin(name: str, function: Callable[[Array, Array], Any]) -> Metric:
    """Return the metric of a plugin, called as function(targets_NC, probs_NC) -> float.

    Its attributes say the rest: `greater_is_better` (True where absent) and `reads` ("probabilities").
    """
    greater = plugins.attribute(name, function, "greater_is_better", True, (True, False))
    reads = plugins.attribute(name, function, "reads", "probabilities", get_args(Reads))
    return Metric(partial(_plugin_scores, function, name), greater, TASKS, reads, plugin=True)


def _plugin_scores(
    function: Callable[[Array, Array], Any], name: str, targets_NC: Array, probs_NC: Array, weights_RN: Array, _: bool
) -> Array:
    """Repeat rows as often as they weigh; a resample that the function refuses (ValueError) is undefined."""
    counts_RN, targets_NC = weights_RN.astype(np.int64), np.asarray(targets_NC)  # the function knows only arrays
    if (counts_RN != weights_RN).any():
        raise ValueError(f"{name}: found weights that are no whole numbers, it can only repeat rows")
    found_R = np.full(len(weights_RN), np.nan)
    for r, count_N in enumerate(counts_RN):
        rows = np.repeat(np.arange(len(count_N)), count_N)
        if len(rows):
            found_R[r] = plugins.call(
                name, SIGNATURE, _number, name, function, (targets_NC[rows], probs_NC[rows]), bool((count_N == 1).all())
            )
    return found_R


def _number(name: str, function: Callable[[Array, Array], Any], given: tuple[Array, Array], plain: bool) -> float:
    """Return a score; NaN where a resample lacks what the function needs, which it says by ValueError."""
    try:
        found = function(*given)
    except ValueError:
        if plain:
            raise
        return float("nan")
    if isinstance(found, str | bytes | None) or np.size(found) != 1:
        raise plugins.returned(name, found, "a number, NaN where it is undefined")
    return float(np.asarray(found).item())
