"""Metrics on probabilities; scikit-learn does the arithmetic, imported when first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Metric:
    """Hold `function(targets_NC, probs_NC) -> float`, its direction and the tasks that admit it."""

    function: Callable[[Array, Array], float]
    greater_is_better: bool
    tasks: tuple[str, ...]
    probability: bool = False  # needs calibrated probabilities: ranks cannot be blended under it


def accuracy(targets_NC: Array, probs_NC: Array) -> float:
    """Return the share of rows whose most probable class is the true one."""
    return float((targets_NC.argmax(1) == probs_NC.argmax(1)).mean())


METRICS = {"accuracy": Metric(accuracy, True, ("binary", "multiclass"))}
