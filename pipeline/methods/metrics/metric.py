"""What a metric is: a function of truth, predictions and many weightings of the rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top

Function = Callable[[Array, Array, Array], Array]
Reads = Literal["labels", "probabilities", "order", "ranking", "values"]


@dataclass(frozen=True)
class Metric:
    """Hold a metric's functions, its direction, the tasks that admit it and what it reads.

    `reads`: `labels` are decisions, `probabilities` must be calibrated, `order` is that of rows in a column,
    `ranking` that of columns in a row, `values` are a regression's.
    """

    function: Function
    greater_is_better: bool
    tasks: tuple[str, ...]
    reads: Reads
    independent: Function | None = None  # the same for independent columns, where it differs
    usual: tuple[str, ...] = ()  # tasks whose every score report shows it, whatever the config's metric is

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
        held = probs_NC.values_NK if isinstance(probs_NC, Top) else probs_NC
        if not np.isfinite(held.sum(dtype=np.float64)):
            raise ValueError("found NaN or infinity among the probabilities")
        if weights_RN.ndim != 2 or weights_RN.shape[1] != len(targets_NC):
            raise ValueError(f"found weights {weights_RN.shape}, expected any number of rows of {len(targets_NC)}")
        if len(targets_NC) == 0:
            return np.full(len(weights_RN), np.nan)
        weights_RN = np.ascontiguousarray(weights_RN, dtype=np.float64)
        if not np.isfinite(weights_RN.sum()) or weights_RN.min(initial=0) < 0:
            raise ValueError("found a weight that is negative or not finite")
        function = self.function if single_label else self.independent or self.function
        return np.asarray(function(targets_NC, probs_NC, weights_RN), dtype=np.float64)
