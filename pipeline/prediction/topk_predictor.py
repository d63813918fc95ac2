"""Predict rows of very many exclusive classes and keep the most probable ones of every batch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.batches.loader import Normalize
from pipeline.batches.rows import Rows
from pipeline.config.config import Config
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top
from pipeline.models.network import Setting
from pipeline.models.outputs import Output
from pipeline.prediction.predictor import Options, collect


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
    networks: Sequence[nn.Module],
    rows: Rows,
    views: Sequence[str],
    config: Config,
    setting: Setting,
    normalize: Normalize,
    width: int,
    count: int,
    **options: Unpack[Options],
) -> list[dict[str, Top]]:
    """Return each view's `count` most probable of `width` classes for every network."""

    def keep(probs_BVC: Tensor, _: Array) -> tuple[Tensor, ...]:
        return best(probs_BVC, count)

    found = collect(networks, rows, views, config, setting, normalize, keep, **options)
    return [
        {view: Top(columns_NVK[:, v], values_NVK[:, v], width) for v, view in enumerate(views)}
        for columns_NVK, values_NVK in found
    ]


def validate(
    network: nn.Module,
    rows: Rows,
    config: Config,
    setting: Setting,
    normalize: Normalize,
    count: int,
    output: Output,
) -> tuple[float, Top]:
    """Return the mean loss of the rows and their `count` most probable classes, on the images as they are."""
    targets_NC = rows.targets_NC
    assert targets_NC is not None

    def keep(logits_B1C: Tensor, numbers: Array) -> tuple[Tensor, ...]:
        logits_BC = logits_B1C[:, 0]
        targets_BC = torch.from_numpy(np.asarray(targets_NC[numbers])).to(logits_BC.device)
        losses_B = output.losses(logits_BC, output.learned(targets_BC))
        return losses_B, *best(output.activate(logits_BC), count)

    found = collect([network], rows, ["identity"], config, setting, normalize, keep, as_logits=True)
    losses_N, columns_NK, values_NK = found[0]
    return float(losses_N.mean()), Top(columns_NK, values_NK, targets_NC.shape[1])


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
