"""One contract over the table of losses, the identities that mixing relies on, and references for each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.losses import LOSSES, find, shares, weighed

Function = Callable[[Tensor, Tensor], Tensor]


def focal(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    probs_BC = logits_BC.softmax(-1)
    return -(targets_BC * (1 - probs_BC) ** 2 * probs_BC.log()).sum(-1)


def asymmetric(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    probs_BC = logits_BC.sigmoid()
    shifted_BC = (probs_BC - 0.05).clamp(min=0)
    cells_BC = targets_BC * probs_BC.log() + (1 - targets_BC) * shifted_BC**4 * (1 - shifted_BC).log()
    return -cells_BC.mean(-1)


def soft_f1(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    probs_BC = logits_BC.softmax(-1)
    right_C, false_C, missed_C = (
        part_BC.sum(0) for part_BC in (probs_BC * targets_BC, probs_BC * (1 - targets_BC), (1 - probs_BC) * targets_BC)
    )
    return (1 - 2 * right_C / (2 * right_C + false_C + missed_C)).mean().repeat(len(logits_BC))


def ordinal(logits_BJ: Tensor, targets_BC: Tensor) -> Tensor:
    beyond_BJ = torch.stack([targets_BC[:, j + 1 :].sum(1) for j in range(logits_BJ.shape[1])], 1)
    return F.binary_cross_entropy_with_logits(logits_BJ, beyond_BJ, reduction="none").mean(-1)


TORCH: dict[str, Function] = {
    "cross_entropy": lambda z, t: F.cross_entropy(z, t, reduction="none"),
    "binary_cross_entropy": lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none").mean(-1),
    "focal": focal,
    "asymmetric": asymmetric,
    "soft_f1": soft_f1,
    "ordinal": ordinal,
    "mse": lambda z, t: F.mse_loss(z, t, reduction="none").mean(-1),
    "mae": lambda z, t: F.l1_loss(z, t, reduction="none").mean(-1),
    "smooth_l1": lambda z, t: F.smooth_l1_loss(z, t, reduction="none").mean(-1),
}
NAMES = sorted(LOSSES)
PROBABILITIES = [name for name in NAMES if LOSSES[name].activation != "identity"]
LINEAR = [name for name in PROBABILITIES if not LOSSES[name].batch]  # in the target
PROPER = ["cross_entropy", "binary_cross_entropy"]
INDEPENDENT = [name for name in NAMES if LOSSES[name].of(single_label=False).activation == "sigmoid"]


def function(name: str, single_label: bool = True) -> Function:
    """Return a loss with its own options."""
    loss = LOSSES[name].of(single_label)
    return partial(loss.function, **loss.options)


def draw(seed: int, rows: int, classes: int, scale: float = 3.0, name: str = "cross_entropy") -> tuple[Tensor, Tensor]:
    """Return logits and soft targets in float64; the targets' rows sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    outputs = LOSSES[name].outputs(classes)
    logits_BC = torch.randn(rows, outputs, generator=generator, dtype=torch.float64) * scale
    targets_BC = torch.rand(rows, classes, generator=generator, dtype=torch.float64)
    return logits_BC, targets_BC / targets_BC.sum(-1, keepdim=True)


def test_every_loss_is_held_to_a_reference() -> None:
    assert set(TORCH) == set(LOSSES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.integers(1, 7), st.integers(2, 6))
def test_one_value_per_row_equal_to_the_reference(name: str, seed: int, rows: int, classes: int) -> None:
    logits_BC, targets_BC = draw(seed, rows, classes, name=name)
    loss_B = function(name)(logits_BC, targets_BC)
    assert loss_B.shape == (rows,)
    torch.testing.assert_close(loss_B, TORCH[name](logits_BC, targets_BC))


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", LINEAR)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.floats(0, 1))
def test_mixing_targets_is_mixing_losses(name: str, single_label: bool, seed: int, lam: float) -> None:
    logits_BC, a_BC = draw(seed, 4, 3, name=name)
    b_BC = a_BC.flip(0)
    loss = function(name, single_label)
    mixed_B = loss(logits_BC, a_BC * lam + b_BC * (1 - lam))
    torch.testing.assert_close(mixed_B, lam * loss(logits_BC, a_BC) + (1 - lam) * loss(logits_BC, b_BC))


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("extreme", [1e4, 1e30, 3e38])
def test_extreme_logits_give_finite_gradients(name: str, extreme: float, single_label: bool) -> None:
    logits_BC = torch.tensor([[extreme, -extreme, 0.0], [-extreme, -extreme, -extreme]], requires_grad=True)
    targets_BC = torch.tensor([[0.25, 0.25, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]])
    if LOSSES[name].outputs(3) == 3:
        targets_BC = targets_BC[:, :3]
    loss_B = function(name, single_label)(logits_BC, targets_BC)
    loss_B.sum().backward()
    assert logits_BC.grad is not None and logits_BC.grad.isfinite().all()
    assert not loss_B.isnan().any()


def test_binary_cross_entropy_keeps_small_losses() -> None:
    """log(1 + e^-30) is 0 in float32 unless it is written as log1p."""
    loss_B = LOSSES["binary_cross_entropy"].function(torch.tensor([[30.0, -30.0]]), torch.tensor([[1.0, 0.0]]))
    assert loss_B.item() == pytest.approx(9.357623e-14, rel=1e-5)


@pytest.mark.parametrize("name", PROPER)
def test_the_gradient_is_activation_minus_target(name: str) -> None:
    """It is why the table names the activation: with another one the probabilities would not fit the loss."""
    logits_BC, targets_BC = draw(7, 3, 4)
    logits_BC.requires_grad_()
    LOSSES[name].function(logits_BC, targets_BC).sum().backward()
    softmax = LOSSES[name].activation == "softmax"
    probs_BC = logits_BC.softmax(-1) if softmax else logits_BC.sigmoid()
    assert logits_BC.grad is not None
    torch.testing.assert_close(logits_BC.grad * (1 if softmax else 4), (probs_BC - targets_BC).detach())


def test_focal_losses_without_gamma_are_cross_entropies() -> None:
    logits_BC, targets_BC = draw(1, 5, 4)
    for single_label, plain in ((True, "cross_entropy"), (False, "binary_cross_entropy")):
        found_B = LOSSES["focal"].of(single_label).function(logits_BC, targets_BC, gamma=0.0)
        torch.testing.assert_close(found_B, TORCH[plain](logits_BC, targets_BC))
    found_B = LOSSES["asymmetric"].function(logits_BC, targets_BC, gamma_pos=0.0, gamma_neg=0.0, clip=0.0)
    torch.testing.assert_close(found_B, TORCH["binary_cross_entropy"](logits_BC, targets_BC))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_of_independent_columns_is_torchvisions(gamma: float) -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits_BC, targets_BC = draw(2, 6, 3)
    hard_BC = (targets_BC > 0.3).double()
    expected_B = sigmoid_focal_loss(logits_BC, hard_BC, alpha=-1, gamma=gamma, reduction="none").mean(-1)
    torch.testing.assert_close(
        LOSSES["focal"].of(single_label=False).function(logits_BC, hard_BC, gamma=gamma), expected_B
    )


def test_focal_by_hand() -> None:
    """p = 0.9 for the true class: (1 − 0.9)² · −log 0.9 is a hundredth of the cross entropy."""
    logits_BC = torch.tensor([[9.0, 1.0]]).log()
    found = LOSSES["focal"].function(logits_BC, torch.tensor([[1.0, 0.0]]), gamma=2.0).item()
    assert found == pytest.approx(0.01 * -np.log(0.9), rel=1e-4)


@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "clip"), [(0.0, 4.0, 0.05), (1.0, 4.0, 0.0), (0.5, 2.0, 0.2)])
def test_asymmetric_is_the_authors(gamma_pos: float, gamma_neg: float, clip: float) -> None:
    """timm has the paper's code, for hard labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from timm.loss import AsymmetricLossMultiLabel
    logits_BC, targets_BC = draw(3, 6, 4)
    hard_BC = (targets_BC > 0.25).float()
    theirs = AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip)
    expected = theirs(logits_BC.float(), hard_BC) / 4
    ours_B = LOSSES["asymmetric"].function(
        logits_BC.float(), hard_BC, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip
    )
    torch.testing.assert_close(ours_B.mean(), expected, rtol=1e-4, atol=1e-6)


def test_soft_f1_of_sure_predictions_is_macro_f1() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth_N, said_N = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    sure = torch.eye(4, dtype=torch.float64) * 200 - 100
    loss_N = LOSSES["soft_f1"].function(sure[said_N], torch.eye(4, dtype=torch.float64)[truth_N])
    assert loss_N.tolist() == pytest.approx([1 - f1_score(truth_N, said_N, average="macro")] * 50)
    truth_NC, said_NC = (rng.integers(0, 2, (40, 3)) for _ in range(2))
    independent = LOSSES["soft_f1"].of(single_label=False)
    assert independent.activation == "sigmoid"
    loss_N = independent.function(torch.from_numpy(said_NC * 200.0 - 100), torch.from_numpy(truth_NC).double())
    assert loss_N[0].item() == pytest.approx(1 - f1_score(truth_NC, said_NC, average="macro"))


def test_a_row_of_weight_two_counts_twice_in_soft_f1() -> None:
    logits_BC, targets_BC = draw(4, 3, 3)
    loss = LOSSES["soft_f1"].function
    weighed_B = loss(logits_BC, targets_BC, weights_B=torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    repeated_B = loss(logits_BC[[0, 0, 1, 2]], targets_BC[[0, 0, 1, 2]])
    torch.testing.assert_close(weighed_B[0], repeated_B[0])
    assert weighed_B[0] != loss(logits_BC, targets_BC)[0]


def test_ordinal_by_hand() -> None:
    """Class 2 of 4 lies beyond 0 and 1, not beyond 2."""
    logits_BJ = torch.tensor([[2.0, 0.5, -1.0]])
    found = LOSSES["ordinal"].function(logits_BJ, torch.tensor([[0.0, 0.0, 1.0, 0.0]])).item()
    sigmoid = 1 / (1 + np.exp([-2.0, -0.5, 1.0]))
    assert found == pytest.approx(-(np.log(sigmoid[0]) + np.log(sigmoid[1]) + np.log(1 - sigmoid[2])) / 3)
    assert LOSSES["ordinal"].outputs(4) == 3 and LOSSES["focal"].outputs(4) == 4


def test_shares_are_differences_of_what_lies_beyond() -> None:
    logits_BJ = torch.tensor([[3.0, 1.0, -2.0]], dtype=torch.float64)
    one, two, three = (1 / (1 + np.exp([-3.0, -1.0, 2.0]))).tolist()
    assert shares(logits_BJ)[0].tolist() == pytest.approx([1 - one, one - two, two - three, three])
    crossed_BJ = torch.tensor([[0.0, 2.0, -2.0]], dtype=torch.float64)  # beyond 1 more probably than beyond 0
    assert shares(crossed_BJ)[0].tolist() == pytest.approx([0.5, 0, 0.5 - (low := 1 / (1 + np.exp(2.0))), low])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.integers(2, 7))
def test_shares_are_probabilities(seed: int, classes: int) -> None:
    logits_BJ, _ = draw(seed, 5, classes, scale=8.0, name="ordinal")
    for some_NVJ in (logits_BJ, logits_BJ[:, None], logits_BJ.float()):
        probs = shares(some_NVJ)
        assert probs.shape == (*some_NVJ.shape[:-1], classes) and (probs >= 0).all()
        torch.testing.assert_close(probs.sum(-1), torch.ones_like(probs[..., 0]))


def test_class_weights_of_exclusive_classes_are_torchs() -> None:
    logits_BC, targets_BC = draw(5, 6, 4)
    weights_C = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    both_2C = torch.stack([torch.zeros(4, dtype=torch.float64), weights_C])
    found_B = weighed(function("cross_entropy"), logits_BC, targets_BC, both_2C, single_label=True)
    torch.testing.assert_close(found_B, F.cross_entropy(logits_BC, targets_BC, weight=weights_C, reduction="none"))


def test_class_weights_of_columns_are_torchs_positive_weights() -> None:
    logits_BC, targets_BC = draw(6, 6, 3)
    weights_C = torch.tensor([0.5, 2.0, 9.0], dtype=torch.float64)
    both_2C = torch.stack([torch.ones(3, dtype=torch.float64), weights_C])
    found_B = weighed(function("binary_cross_entropy"), logits_BC, targets_BC, both_2C, single_label=False)
    theirs_BC = F.binary_cross_entropy_with_logits(logits_BC, targets_BC, pos_weight=weights_C, reduction="none")
    torch.testing.assert_close(found_B, theirs_BC.mean(-1))


@pytest.mark.parametrize("single_label", [True, False])
@pytest.mark.parametrize("name", LINEAR)
def test_equal_class_weights_change_nothing(name: str, single_label: bool) -> None:
    if not single_label and name not in INDEPENDENT:
        return
    logits_BC, targets_BC = draw(8, 5, 4, name=name)
    one = function(name, single_label)
    equal = torch.ones(2, 4, dtype=torch.float64)
    torch.testing.assert_close(weighed(one, logits_BC, targets_BC, equal, single_label), one(logits_BC, targets_BC))


def test_smooth_l1_bends_where_beta_says() -> None:
    outputs_BC, targets_BC = draw(9, 5, 2)
    expected_B = F.smooth_l1_loss(outputs_BC, targets_BC, beta=0.25, reduction="none").mean(-1)
    torch.testing.assert_close(LOSSES["smooth_l1"].function(outputs_BC, targets_BC, beta=0.25), expected_B)


def test_an_unknown_loss_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'focal'"):
        find("focall")
