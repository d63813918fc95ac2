"""Predict rows of very many exclusive classes and keep the most probable ones of every batch alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.batches.rows import Rows
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top
from pipeline.prediction.predictor import Predictor


def best(probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the numbers (int32) and probabilities of the `count` most probable of the last dimension.

    The lower number comes first where two are equal, also at the edge, which torch leaves open: rows with a tie
    there are sorted whole.
    """
    probs_RC = probs.reshape(-1, probs.shape[-1])
    values_RK, columns_RK = probs_RC.topk(count)
    tied_R = (probs_RC >= values_RK[:, -1:]).sum(-1) > count
    if tied_R.any():
        columns_RK[tied_R] = probs_RC[tied_R].sort(dim=-1, descending=True, stable=True).indices[:, :count]
    columns_RK = columns_RK.sort(-1).values
    order_RK = probs_RC.gather(-1, columns_RK).sort(dim=-1, descending=True, stable=True).indices
    columns_RK = columns_RK.gather(-1, order_RK)
    values_RK = probs_RC.gather(-1, columns_RK)
    shape = (*probs.shape[:-1], count)
    return columns_RK.to(torch.int32).reshape(shape), values_RK.reshape(shape)


def predict_tops(
    predictor: Predictor, rows: Rows, views: Sequence[str], width: int, count: int, progress: str = ""
) -> list[dict[str, Top]]:
    """Return each view's `count` most probable of `width` classes for every network."""

    def keep(found: list[Tensor], _: Array) -> list[Tensor]:
        return [part for probs_BVC in found for part in best(probs_BVC, count)]

    parts = predictor.collect(rows, views, keep, progress=progress)
    return [
        {view: Top(columns_NVK[:, v], values_NVK[:, v], width) for v, view in enumerate(views)}
        for columns_NVK, values_NVK in zip(parts[::2], parts[1::2], strict=True)
    ]


def pool_tops(found: Top, rows_I: Array, count: int) -> Top:
    """Return the mean over the images of each row; `rows_I` are 0 … count−1.

    Rows of one image each, in order, come back as they are.
    """
    if np.array_equal(rows_I, np.arange(count)):
        return found
    times_N = np.bincount(rows_I, minlength=count)
    assert (times_N > 0).all(), "a row without images cannot be predicted"
    images_I, starts_N = np.argsort(rows_I, kind="stable"), np.cumsum(times_N) - times_N
    parts: list[Array] = []
    rows: list[Array] = []
    for times in np.unique(times_N).tolist():
        rows.append(np.flatnonzero(times_N == times))
        members = [found[images_I[starts_N[rows[-1]] + n]] for n in range(times)]
        parts.append(topk.mean(members))
    return topk.tops([topk.join(parts)[np.argsort(np.concatenate(rows))]])[0]
