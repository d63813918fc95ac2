"""Blenders of members, each one function `(probs_MNC, weights_M, exclusive) -> probs_NC` and one table line.

Weights lie on the simplex and come from outside, so that equal and fitted weights go the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SMALLEST = 1e-15  # a member's exact 0 would veto a class for good


@dataclass(frozen=True)
class Blender:
    """Hold a blender's function and whether it sees ranks inside a column instead of probabilities."""

    function: Callable[[Array, Array, bool], Array]
    uses_ranks: bool = False

    def blend(self, probs_MNC: Array, weights_M: Array, exclusive: bool, fold_N: Array | None = None) -> Array:
        """Return the blend [N,C] float64 of M members.

        `fold_N`: the model that made each row (OOF). Ranks are taken inside each fold, as the scales of
        fold models differ; without it over the whole column (test). Raises ValueError where the weights
        do not fit or leave the simplex.
        """
        simplex = (weights_M >= 0).all() and abs(weights_M.sum() - 1) <= 1e-6
        if weights_M.shape != probs_MNC.shape[:1] or not simplex:
            raise ValueError(f"found weights {weights_M.tolist()}, expected {len(probs_MNC)}, none negative, sum 1")
        if self.uses_ranks:
            probs_MNC = np.stack([column_ranks(probs_NC, fold_N) for probs_NC in probs_MNC])
        return self.function(probs_MNC.astype(np.float64, copy=False), weights_M, exclusive)


def equal_weights(members: int) -> Array:
    """Return the same weight for each member, [M] float64."""
    return np.full(members, 1 / members)


def mean(probs_MNC: Array, weights_M: Array, exclusive: bool) -> Array:
    """Return the weighted arithmetic mean; its log loss is at most the members' mean log loss.

    Kept between the members: the mean of nine exact ones would be rounded to more than 1.
    """
    return np.tensordot(weights_M, probs_MNC, axes=1).clip(probs_MNC.min(0), probs_MNC.max(0))


def geometric_mean(probs_MNC: Array, weights_M: Array, exclusive: bool) -> Array:
    """Return the weighted geometric mean, scaled so that rows sum to 1, or p and 1 − p where independent."""
    log_NC = np.tensordot(weights_M, np.log(np.clip(probs_MNC, SMALLEST, 1)), axes=1)
    if exclusive:
        odds_NC = np.exp(log_NC - log_NC.max(1, keepdims=True))
        return np.asarray(odds_NC / odds_NC.sum(1, keepdims=True))
    log_not_NC = np.tensordot(weights_M, np.log(np.clip(1 - probs_MNC, SMALLEST, 1)), axes=1)
    return np.asarray(1 / (1 + np.exp(log_not_NC - log_NC)))


def column_ranks(probs_NC: Array, fold_N: Array | None = None) -> Array:
    """Return (rank − ½) / n of each cell in its column, inside each fold if given; ties share the mean."""
    import pandas as pd

    frame = pd.DataFrame(np.asarray(probs_NC))
    if fold_N is None:
        return (frame.rank().to_numpy(np.float64) - 0.5) / len(frame)
    _, index_N, sizes = np.unique(fold_N, return_inverse=True, return_counts=True)
    return (frame.groupby(index_N).rank().to_numpy(np.float64) - 0.5) / sizes[index_N][:, None]


BLENDERS: dict[str, Blender] = {
    "mean": Blender(mean),
    "rank_mean": Blender(mean, uses_ranks=True),
    "geometric_mean": Blender(geometric_mean),
}
