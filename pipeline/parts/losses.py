"""Losses on soft targets: `loss(logits_BC, targets_BC) -> loss_B`, unreduced.

Mixing, label smoothing, distillation and sample weights compose because every target is a
distribution (or a row of independent probabilities, or of values). To add a loss, write a function and one line
in `LOSSES`. Only tensor methods are used, so that reading this table does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return −Σ_c t_c · log softmax(z)_c per row."""
    return -(targets_BC * logits_BC.log_softmax(-1)).sum(-1)


def binary_cross_entropy(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return the mean over the columns of −t·log σ(z) − (1−t)·log(1−σ(z)) per row.

    Written as max(z, 0) − z·t + log(1 + e^−|z|), which neither overflows nor loses small values.
    """
    return (logits_BC.clamp(min=0) - logits_BC * targets_BC + (-logits_BC.abs()).exp().log1p()).mean(-1)


def mse(outputs_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return the mean over the columns of the squared error per row."""
    return (outputs_BC - targets_BC).square().mean(-1)


def mae(outputs_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return the mean over the columns of the absolute error per row."""
    return (outputs_BC - targets_BC).abs().mean(-1)


def smooth_l1(outputs_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return the mean over the columns of e²/2 where |e| < 1 and |e| − ½ elsewhere, per row.

    The targets are in units of their spread, so that outliers are those of more than one (Huber 1964).
    """
    error_BC = (outputs_BC - targets_BC).abs()
    near_BC = error_BC.clamp(max=1)
    return (near_BC * (error_BC - near_BC / 2)).mean(-1)


@dataclass(frozen=True)
class Loss:
    """Name a loss function and the activation that turns its logits into probabilities, or outputs into values."""

    function: Callable[[Tensor, Tensor], Tensor]
    activation: Literal["softmax", "sigmoid", "identity"]


LOSSES = {
    "cross_entropy": Loss(cross_entropy, "softmax"),
    "binary_cross_entropy": Loss(binary_cross_entropy, "sigmoid"),
    "mse": Loss(mse, "identity"),
    "mae": Loss(mae, "identity"),
    "smooth_l1": Loss(smooth_l1, "identity"),
}
