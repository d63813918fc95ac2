"""Answer rows without a readable image by the others' mean prediction: a network's answer to gray says nothing."""

from __future__ import annotations

import numpy as np

from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top


def fill(probs_M: Array, answered_M: Array, count: int) -> Array:
    """Return predictions of rows 0 … count−1, [N,…], from those of some of them; Tops come back as Tops."""
    if len(answered_M) == count:
        return probs_M
    if isinstance(probs_M, Top):
        number_N = np.full(count, len(probs_M))  # the mean stands below the others
        number_N[answered_M] = np.arange(len(probs_M))
        below: Top = topk.tops([topk.join([probs_M, _mean(probs_M)])])[0]
        return below[number_N]
    filled_N = np.empty((count, *probs_M.shape[1:]), probs_M.dtype)
    filled_N[:] = probs_M.mean(0, dtype=np.float64)
    filled_N[answered_M] = probs_M
    return filled_N


def _mean(probs_MC: Top) -> Top:
    """Return the mean over whole rows, one row of as many classes."""
    above_MK = probs_MC.values_NK - probs_MC.rest_N[:, None]
    sums_C = np.bincount(probs_MC.columns_NK.ravel(), above_MK.ravel(), probs_MC.width) + probs_MC.rest_N.sum()
    return topk.top((sums_C / len(probs_MC))[None], probs_MC.values_NK.shape[1])
