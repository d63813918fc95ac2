"""Validate a fold's network: the loss and the metric over all its validation rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.batches.loader import Normalize
from pipeline.config.config import Config
from pipeline.config.rules import topk_rules
from pipeline.errors import Problem, TrainingError
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.models.network import Setting
from pipeline.models.outputs import Output, pool
from pipeline.prediction import topk_predictor
from pipeline.prediction.predictor import predict
from pipeline.training.fold import Fold


def validate(
    network: nn.Module, fold: Fold, config: Config, setting: Setting, normalize: Normalize, output: Output
) -> tuple[float, float]:
    """Return the loss over the images and the metric over the rows; raise TrainingError where they are not finite."""
    targets_NC = fold.valid.targets_NC
    assert targets_NC is not None
    loss, found = _predicted(network, fold, config, setting, normalize, output, targets_NC)
    if not topk.finite(found):
        raise TrainingError(
            Problem(f"fold {fold.number}", "validation predictions are not finite", remedy="lower train.lr")
        )
    if fold.pool_I is not None:
        _, first, rows_I = np.unique(fold.pool_I, return_index=True, return_inverse=True)
        found, targets_NC = _pooled(found, rows_I, len(first), config, output), targets_NC[first]
    return loss, output.score(config.metric, targets_NC, found)


def _predicted(
    network: nn.Module,
    fold: Fold,
    config: Config,
    setting: Setting,
    normalize: Normalize,
    output: Output,
    targets_IC: Array,
) -> tuple[float, Array]:
    """Return the loss and the probabilities or values of each image, [I,C] float64; a Top of very many classes."""
    if (count := topk_rules.kept(config, len(fold.classes))) is not None:
        return topk_predictor.validate(network, fold.valid, config, setting, normalize, count, output)
    found = predict([network], fold.valid, ["identity"], config, setting, normalize, as_logits=True)
    logits = torch.from_numpy(found[0][:, 0])
    losses_I = output.losses(logits, output.learned(torch.from_numpy(np.asarray(targets_IC))))
    return float(losses_I.mean()), output.activate(logits).numpy().astype(np.float64)


def _pooled(found_IC: Array, rows_I: Array, count: int, config: Config, output: Output) -> Array:
    if isinstance(found_IC, topk.Top):
        return topk_predictor.pool_tops(found_IC, rows_I, count)
    return pool(found_IC[:, None], rows_I, count, config.data.pool, output.blocks)[:, 0].astype(np.float64)
