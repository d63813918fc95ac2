"""One contract over the table of losses, and the identities that mixing relies on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pipeline.parts.losses import LOSSES

TORCH = {
    "cross_entropy": lambda z, t: F.cross_entropy(z, t, reduction="none"),
    "binary_cross_entropy": lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none").mean(-1),
    "mse": lambda z, t: F.mse_loss(z, t, reduction="none").mean(-1),
    "mae": lambda z, t: F.l1_loss(z, t, reduction="none").mean(-1),
    "smooth_l1": lambda z, t: F.smooth_l1_loss(z, t, reduction="none").mean(-1),
}
NAMES = sorted(LOSSES)
PROBABILITIES = [name for name in NAMES if LOSSES[name].activation != "identity"]  # linear in the target


def draw(seed: int, rows: int, classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return logits and soft targets in float64; the targets' rows sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    logits_BC = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    targets_BC = torch.rand(rows, classes, generator=generator, dtype=torch.float64)
    return logits_BC, targets_BC / targets_BC.sum(-1, keepdim=True)


def test_every_loss_is_held_to_torch() -> None:
    assert set(TORCH) == set(LOSSES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.integers(1, 7), st.integers(2, 6))
def test_one_value_per_row_equal_to_torch(name: str, seed: int, rows: int, classes: int) -> None:
    logits_BC, targets_BC = draw(seed, rows, classes)
    loss_B = LOSSES[name].function(logits_BC, targets_BC)
    assert loss_B.shape == (rows,)
    torch.testing.assert_close(loss_B, TORCH[name](logits_BC, targets_BC))


@pytest.mark.parametrize("name", PROBABILITIES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.floats(0, 1))
def test_mixing_targets_is_mixing_losses(name: str, seed: int, lam: float) -> None:
    logits_BC, a_BC = draw(seed, 4, 3)
    b_BC = a_BC.flip(0)
    loss = LOSSES[name].function
    mixed_B = loss(logits_BC, a_BC * lam + b_BC * (1 - lam))
    torch.testing.assert_close(mixed_B, lam * loss(logits_BC, a_BC) + (1 - lam) * loss(logits_BC, b_BC))


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("extreme", [1e4, 1e30, 3e38])
def test_extreme_logits_give_finite_gradients(name: str, extreme: float) -> None:
    logits_BC = torch.tensor([[extreme, -extreme, 0.0], [-extreme, -extreme, -extreme]], requires_grad=True)
    targets_BC = torch.tensor([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]])
    loss_B = LOSSES[name].function(logits_BC, targets_BC)
    loss_B.sum().backward()
    assert logits_BC.grad is not None and logits_BC.grad.isfinite().all()
    assert not loss_B.isnan().any()


def test_binary_cross_entropy_keeps_small_losses() -> None:
    """log(1 + e^-30) is 0 in float32 unless it is written as log1p."""
    loss_B = LOSSES["binary_cross_entropy"].function(torch.tensor([[30.0, -30.0]]), torch.tensor([[1.0, 0.0]]))
    assert loss_B.item() == pytest.approx(9.357623e-14, rel=1e-5)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_the_gradient_is_activation_minus_target(name: str) -> None:
    """It is why the table names the activation: with another one the probabilities would not fit the loss."""
    logits_BC, targets_BC = draw(7, 3, 4)
    logits_BC.requires_grad_()
    LOSSES[name].function(logits_BC, targets_BC).sum().backward()
    softmax = LOSSES[name].activation == "softmax"
    probs_BC = logits_BC.softmax(-1) if softmax else logits_BC.sigmoid()
    assert logits_BC.grad is not None
    torch.testing.assert_close(logits_BC.grad * (1 if softmax else 4), (probs_BC - targets_BC).detach())
