"""Load a metric that the user wrote: FILE.py:function, called as function(targets_NC, probs_NC) -> float.

Attributes of the function say the rest: `greater_is_better` (True where absent) and `reads` ("probabilities").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast, get_args

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.metric import Metric, Reads
from pipeline.plugins import function_of

TASKS = ("binary", "multiclass", "ordinal", "multilabel", "regression")


def load(name: str) -> Metric:
    """Return the user's metric; raise ValueError that says what is wrong with the file, the function or its attributes.

    Resamples repeat rows as often as they weigh; one that the function refuses (ValueError) is undefined.
    """
    found, function = function_of(name), name.rpartition(":")[2]
    greater, reads = getattr(found, "greater_is_better", True), cast("Reads", getattr(found, "reads", "probabilities"))
    if not isinstance(greater, bool):
        raise ValueError(f"found '{name}', {function}.greater_is_better is {greater!r}, expected True or False")
    if reads not in get_args(Reads):
        raise ValueError(f"found '{name}', {function}.reads is {reads!r}, expected one of {', '.join(get_args(Reads))}")
    return Metric(partial(_scores, found, name), greater, TASKS, reads)


def _scores(
    function: Callable[[Array, Array], Any], name: str, targets_NC: Array, probs_NC: Array, weights_RN: Array
) -> Array:
    counts_RN, targets_NC = weights_RN.astype(np.int64), np.asarray(targets_NC)  # the function knows arrays alone
    if (counts_RN != weights_RN).any():
        raise ValueError(f"{name}: found weights that are no whole numbers, it can only repeat rows")
    found_R = np.full(len(weights_RN), np.nan)
    for r, count_N in enumerate(counts_RN):
        plain = bool((count_N == 1).all())
        rows = np.arange(len(count_N)) if plain else np.repeat(np.arange(len(count_N)), count_N)
        if not len(rows):
            continue
        try:
            found_R[r] = float(function(targets_NC[rows], probs_NC[rows]))
        except ValueError as error:
            if plain:
                raise ValueError(f"{name}: raised ValueError: {error}; return NaN where it is undefined") from error
    return found_R
