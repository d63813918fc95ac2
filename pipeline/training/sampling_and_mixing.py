"""Sample rows, weigh classes, and disturb, smooth and mix targets as the config asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.batches.loader import Batch, Disturb, Plan
from pipeline.batches.rows import Rows
from pipeline.config.config import Config
from pipeline.errors import InputError, Problem
from pipeline.methods.arrays import Array
from pipeline.methods.mixing import mix_batch, unweigh, weigh
from pipeline.methods.sampling import DisturbLabels, DisturbValues, class_weights, row_shares
from pipeline.models.outputs import Output


def shares(config: Config, rows: Rows, output: Output) -> tuple[Rows, Array | None]:
    """Return the rows to train on, and how probably each is drawn; None: each once an epoch.

    Drawn by their weights, they weigh the same in the loss: else those would count twice.
    """
    how = config.train.sampling
    if how is None:
        return rows, None
    assert rows.targets_NC is not None
    if how != "weighted":
        return rows, row_shares(rows.targets_NC, how, spans(output, rows.targets_NC.shape[1]))
    weights_N = np.ones(len(rows)) if rows.weights_N is None else rows.weights_N.astype(np.float64)
    return replace(rows, weights_N=None), weights_N / weights_N.sum()


def disturb(config: Config, rows: Rows, output: Output) -> Disturb | None:
    """Return how a row's targets are drawn anew in each epoch; None: they stay."""
    train = config.train
    assert rows.targets_NC is not None
    if train.disturb_labels is not None:
        return DisturbLabels(train.disturb_labels, spans(output, rows.targets_NC.shape[1]))
    if train.disturb_values is not None:
        spread_C = rows.targets_NC.std(0, dtype=np.float64)
        return DisturbValues(train.disturb_values.share, train.disturb_values.std, spread_C)
    return None


def weights(config: Config, rows: Rows, output: Output, classes: Sequence[str], device: torch.device) -> Tensor | None:
    """Return the weights of classes absent and there, [2,C], from the rows of training; None: all the same."""
    how = config.loss.class_weights
    if how is None:
        return None
    assert rows.targets_NC is not None
    found_2C = class_weights(rows.targets_NC, how, classes, spans(output, len(classes)))
    return torch.from_numpy(found_2C).to(device)


def check_mixing(config: Config, plan: Plan) -> None:
    """Raise InputError where a process would get one row of a step, which has no partner to mix with."""
    if config.mix.kind != "none" and plan.rows < 2 * plan.processes:
        needs = f"{config.mix.kind} needs two rows in every step of every process"
        found = f"{needs}, but {plan.rows} rows are dealt to {plan.processes}"
        raise InputError(Problem("mix.kind", found, remedy="use fewer processes, or set mix.kind=none"))


def spans(output: Output, width: int) -> tuple[tuple[int, int], ...]:
    """Return the blocks of classes that exclude each other with their ends as column numbers."""
    return tuple(block.indices(width)[:2] for block in output.blocks)


def mixed(
    config: Config, output: Output, images: Tensor, batch: Batch, epoch: int, draws: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a batch's images, targets and weights on the images' device, smoothed, and mixed where the epoch mixes."""
    assert batch.targets_BC is not None
    mix, loss, device = config.mix, config.loss, images.device
    given = batch.targets_BC.to(device, non_blocking=True)
    targets = output.learned(given, loss.label_smoothing, loss.smooth_over)
    weights = None if batch.weights_B is None else batch.weights_B.to(device, non_blocking=True)
    if mix.kind == "none" or epoch >= config.train.epochs - mix.off_last_epochs:
        return images, targets, weights
    held = targets if weights is None else weigh(targets, weights)
    images, held = mix_batch(images, held, draws, mix.kind, mix.patch, mix.alpha, mix.prob)
    return (images, held, None) if weights is None else (images, *unweigh(held))
