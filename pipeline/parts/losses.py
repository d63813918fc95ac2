"""Losses on soft targets: `loss(logits_BC, targets_BC) -> loss_B`, unreduced.

Mixing, label smoothing, distillation and sample weights compose because every target is a
distribution (or a row of independent probabilities). To add a loss, write a function and one line in
`LOSSES`. Only tensor methods are used, so that reading this table does not import torch.
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


@dataclass(frozen=True)
class Loss:
    """Name a loss function and the activation that turns its logits into probabilities."""

    function: Callable[[Tensor, Tensor], Tensor]
    activation: Literal["softmax", "sigmoid"]


LOSSES = {
    "cross_entropy": Loss(cross_entropy, "softmax"),
    "binary_cross_entropy": Loss(binary_cross_entropy, "sigmoid"),
}
