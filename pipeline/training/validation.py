"""Validate a fold's network: the loss and the metric over all its validation rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.config.rules import topk_rules
from pipeline.errors import Problem, TrainingError
from pipeline.methods import topk
from pipeline.methods.arrays import Array
from pipeline.methods.topk import Top
from pipeline.models.outputs import pool
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.topk_predictor import best, pool_tops
from pipeline.training.fold import Fold


def validate(predictor: Predictor, fold: Fold) -> tuple[float, float]:
    """Return the loss over the images and the metric over the rows; raise TrainingError where they are not finite."""
    config, (output,), targets_NC = predictor.config, predictor.outputs, fold.valid.targets_NC
    assert targets_NC is not None
    count = topk_rules.kept(config, len(fold.classes))
    loss, found = _whole(predictor, fold, targets_NC) if count is None else _top(predictor, fold, targets_NC, count)
    if not topk.finite(found):
        problem = Problem(f"fold {fold.number}", "validation predictions are not finite", remedy="lower train.lr")
        raise TrainingError(problem)
    if fold.pool_I is not None:
        _, first, rows_I = np.unique(fold.pool_I, return_index=True, return_inverse=True)
        targets_NC = targets_NC[first]
        if isinstance(found, Top):
            found = pool_tops(found, rows_I, len(first))
        else:
            found = pool(found[:, None], rows_I, len(first), config.data.pool, output.blocks)[:, 0].astype(np.float64)
    return loss, output.score(config.metric, targets_NC, found)


def _whole(predictor: Predictor, fold: Fold, targets_IC: Array) -> tuple[float, Array]:
    """Return the loss and the probabilities or values of each image, [I,C] float64."""
    output = predictor.outputs[0]
    logits = torch.from_numpy(predictor.predict(fold.valid, ["identity"], as_logits=True)[0][:, 0])
    losses_I = output.losses(logits, output.learned(torch.from_numpy(np.asarray(targets_IC))))
    return float(losses_I.mean()), output.activate(logits).numpy().astype(np.float64)


def _top(predictor: Predictor, fold: Fold, targets_IC: Array, count: int) -> tuple[float, Top]:
    """Return the loss and the `count` most probable of very many classes; a cell for each never lies in memory."""
    output = predictor.outputs[0]

    def keep(found: list[Tensor], numbers: Array) -> list[Tensor]:
        logits_BC = found[0][:, 0]
        targets_BC = torch.from_numpy(np.asarray(targets_IC[numbers])).to(logits_BC.device)
        losses_B = output.losses(logits_BC, output.learned(targets_BC))
        return [losses_B, *best(output.activate(logits_BC), count)]

    losses_I, columns_IK, values_IK = predictor.collect(fold.valid, ["identity"], keep, as_logits=True)
    return float(losses_I.mean()), Top(columns_IK, values_IK, targets_IC.shape[1])
