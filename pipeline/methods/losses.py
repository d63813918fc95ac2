"""Losses on soft targets: `loss(logits_BC, targets_BC, **options) -> loss_B`, unreduced.

Mixing, label smoothing, distillation and sample weights compose because every target is a
distribution (or a row of independent probabilities, or of values). To add a loss, write a function and one line
in `LOSSES`; from outside, a function (logits_BC, targets_BC) -> loss_B of a file, named FILE.py:function, with the
attribute `activation` (softmax, sigmoid, identity) where it is not what the task's columns suggest. Only tensor
methods are used, so that reading this table does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from pipeline import plugins

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["softmax", "sigmoid", "identity", "cumulative"]
TINY = 1e-8  # less than float32 tells from 1; keeps the slope of a power finite at 0
LOWEST = -3e38  # near float32's lowest; keeps 0 · log p a number


def cross_entropy(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return −Σ_c t_c · log softmax(z)_c per row."""
    return -(targets_BC * logits_BC.log_softmax(-1)).sum(-1)


def of_columns(name: str) -> Callable[..., Tensor]:
    """Return a loss of torch.nn.functional as its mean over the columns per row."""

    def loss(outputs_BC: Tensor, targets_BC: Tensor, **options: float) -> Tensor:
        from torch.nn import functional

        cells_BC: Tensor = getattr(functional, name)(outputs_BC, targets_BC, reduction="none", **options)
        return cells_BC.mean(-1)

    return loss


def binary_cross_entropy(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
    """Return the mean over the columns of −t·log σ(z) − (1−t)·log(1−σ(z)) per row.

    Written as max(z, 0) − z·t + log(1 + e^−|z|), which neither overflows nor loses small values; torch's differs in
    the last bits, and runs made by this formula resume by it.
    """
    return (logits_BC.clamp(min=0) - logits_BC * targets_BC + (-logits_BC.abs()).exp().log1p()).mean(-1)


def focal(logits_BC: Tensor, targets_BC: Tensor, gamma: float) -> Tensor:
    """Return −Σ_c t_c · (1−p_c)^γ · log p_c per row, p = softmax(z): what is easy counts for little.

    Linear in the target, so soft ones mix; γ = 0 is cross entropy (Lin et al. 2017, arXiv 1708.02002, without its α:
    see loss.class_weights).
    """
    logs_BC = logits_BC.log_softmax(-1).clamp(min=LOWEST)
    return -(targets_BC * (1 - logs_BC.exp()).clamp(min=TINY).pow(gamma) * logs_BC).sum(-1)


def binary_focal(logits_BC: Tensor, targets_BC: Tensor, gamma: float) -> Tensor:
    """Return the mean over the columns of −t·(1−p)^γ·log p − (1−t)·p^γ·log(1−p) per row, p = σ(z).

    γ = 0 is binary cross entropy. The powers are taken of the logarithms: their slopes stay finite where p is 0 or 1.
    """
    yes_BC, no_BC = _log_sigmoid(logits_BC), _log_sigmoid(-logits_BC)
    positive_BC = targets_BC * (gamma * no_BC).exp() * yes_BC
    return -(positive_BC + (1 - targets_BC) * (gamma * yes_BC).exp() * no_BC).mean(-1)


def asymmetric(logits_BC: Tensor, targets_BC: Tensor, gamma_pos: float, gamma_neg: float, clip: float) -> Tensor:
    """Return the mean over the columns of −t·(1−p)^γ₊·log p − (1−t)·q^γ₋·log(1−q) per row; q = max(p − clip, 0).

    Negatives, which are most cells of many labels, weigh less the easier they are, and nothing below `clip`
    (Ridnik et al. 2021, arXiv 2009.14119, who sum over the columns). γ₊ = γ₋ = clip = 0 is binary cross entropy.
    """
    yes_BC, no_BC = _log_sigmoid(logits_BC), _log_sigmoid(-logits_BC)
    positive_BC = targets_BC * (gamma_pos * no_BC).exp() * yes_BC
    shifted_BC = (yes_BC.exp() - clip).clamp(min=TINY)
    log_not_BC = (no_BC.exp() + clip).clamp(max=1).log() if clip > 0 else no_BC
    return -(positive_BC + (1 - targets_BC) * shifted_BC.pow(gamma_neg) * log_not_BC).mean(-1)


def soft_f1(logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor | None = None) -> Tensor:
    """Return 1 − the mean over the columns of 2·Σ p·t / (Σ p + Σ t) for every row; sums over the batch, p = softmax(z).

    Macro F1 with probabilities in place of counts. A class that no row of the batch has counts as 1 and teaches
    nothing: many classes need large batches. A weight counts its row so often.
    """
    return _one_minus_f1(logits_BC.softmax(-1), targets_BC, weights_B)


def binary_soft_f1(logits_BC: Tensor, targets_BC: Tensor, weights_B: Tensor | None = None) -> Tensor:
    """Return the same with p = σ(z)."""
    return _one_minus_f1(logits_BC.sigmoid(), targets_BC, weights_B)


def _one_minus_f1(probs_BC: Tensor, targets_BC: Tensor, weights_B: Tensor | None) -> Tensor:
    counted_B1 = probs_BC.new_ones(len(probs_BC), 1) if weights_B is None else weights_B[:, None]
    both_C = (counted_B1 * probs_BC * targets_BC).sum(0)
    either_C = (counted_B1 * (probs_BC + targets_BC)).sum(0)
    return (1 - 2 * both_C / either_C.clamp(min=TINY)).mean().expand(len(probs_BC))


def ordinal(logits_BJ: Tensor, targets_BC: Tensor) -> Tensor:
    """Return binary cross entropy of "beyond class j" for j = 0 … C−2: J = C−1 logits, the mean over them per row.

    A mistake by two classes costs two thresholds (Niu et al. 2016; `shares` gives the classes' probabilities).
    """
    beyond_BJ = targets_BC.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return binary_cross_entropy(logits_BJ, beyond_BJ)


def shares(logits_BJ: Tensor) -> Tensor:
    """Return class probabilities [...,J+1] from the logits of "beyond class j".

    What falls short of falling is cut to the smallest before it, so that no class gets less than 0.
    """
    beyond_BJ = logits_BJ.sigmoid().cummin(-1).values
    ends = beyond_BJ.new_ones((*beyond_BJ.shape[:-1], beyond_BJ.shape[-1] + 2))
    ends[..., 1:-1] = beyond_BJ
    ends[..., -1] = 0
    return ends[..., :-1] - ends[..., 1:]


def _log_sigmoid(logits_BC: Tensor) -> Tensor:
    """Return log σ(z) without overflow."""
    return logits_BC.clamp(max=0) - (-logits_BC.abs()).exp().log1p()


def weighed(
    function: Callable[..., Tensor], logits_BC: Tensor, targets_BC: Tensor, weights_2C: Tensor, single_label: bool
) -> Tensor:
    """Return the loss of each row, which must be linear in the target, with class weights.

    Where classes exclude each other a row weighs Σ t_c·w_c, w the second row of the weights, which makes cross
    entropy −Σ w_c·t_c·log p_c. Of independent columns the second row weighs the share t of a cell, the first 1 − t.
    """
    held_BC = targets_BC * weights_2C[1]
    if single_label:
        weight_B = held_BC.sum(-1)
        return function(logits_BC, held_BC / weight_B[:, None].clamp(min=TINY)) * weight_B
    weight_BC = held_BC + (1 - targets_BC) * weights_2C[0]
    cells = function(logits_BC.reshape(-1, 1), (held_BC / weight_BC.clamp(min=TINY)).reshape(-1, 1))
    return (cells.reshape_as(targets_BC) * weight_BC).mean(-1)


@dataclass(frozen=True)
class Loss:
    """Name a loss function and the activation that turns its logits into probabilities, or outputs into values."""

    function: Callable[..., Tensor]
    activation: Activation
    tasks: tuple[str, ...] = ()  # that it can learn
    options: Mapping[str, float] = field(default_factory=dict)  # keys of `loss` that the function takes
    independent: Callable[..., Tensor] | None = None  # with a sigmoid, where columns are independent
    batch: bool = False  # one value for all rows: it takes weights_B and is not linear in the target

    def of(self, single_label: bool) -> Loss:
        """Return the loss as columns that exclude each other, or independent ones, have it."""
        if single_label or self.independent is None:
            return self
        return replace(self, function=self.independent, activation="sigmoid", independent=None)

    def outputs(self, classes: int) -> int:
        """Return how many outputs a network needs for so many classes."""
        return classes - 1 if self.activation == "cumulative" else classes


SIGNATURE = "loss(logits_BC, targets_BC)"  # of a plugin
PLUGIN = Loss(cross_entropy, "softmax")  # stands for one that is not loaded: without options, not of a batch
ONE_LABEL, VALUES = ("binary", "multiclass", "ordinal"), ("regression",)
LABELS = (*ONE_LABEL, "multilabel")
LOSSES = {
    "cross_entropy": Loss(cross_entropy, "softmax", ONE_LABEL),
    "mse": Loss(of_columns("mse_loss"), "identity", VALUES),
    "mae": Loss(of_columns("l1_loss"), "identity", VALUES),
    "smooth_l1": Loss(of_columns("smooth_l1_loss"), "identity", VALUES, {"beta": 1.0}),  # beta in the targets' spreads
    "binary_cross_entropy": Loss(binary_cross_entropy, "sigmoid", (*LABELS, *VALUES)),
    "focal": Loss(focal, "softmax", LABELS, {"gamma": 2.0}, independent=binary_focal),
    "asymmetric": Loss(asymmetric, "sigmoid", LABELS, {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.05}),
    "soft_f1": Loss(soft_f1, "softmax", LABELS, independent=binary_soft_f1, batch=True),
    "ordinal": Loss(ordinal, "cumulative", ("ordinal",)),
}


def find(name: str) -> Loss:
    """Return the loss of this name, or a plugin's (FILE.py:function); raise ValueError where there is none."""
    return plugins.find(LOSSES, name, "loss", plugin)


def plugin(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return a plugin's loss; without an attribute `activation` softmax or, where columns are independent, sigmoid.

    Raises InputError where it fails, going back too, or returns something else than a loss for each row.
    """
    activation = plugins.attribute(name, function, "activation", None, ("softmax", "sigmoid", "identity"))
    taught = False

    def checked(outputs_BC: Tensor, targets_BC: Tensor) -> Tensor:
        from torch import Tensor, autograd, is_grad_enabled

        nonlocal taught
        own = outputs_BC.clone(), targets_BC.clone()  # predictions are made from the outputs afterwards
        found = plugins.call(name, SIGNATURE, function, *own)
        if not isinstance(found, Tensor) or tuple(found.shape) != (len(outputs_BC),):
            raise plugins.returned(name, found, f"a loss for each of {len(outputs_BC)} rows")
        if not taught and outputs_BC.requires_grad and is_grad_enabled():
            if not found.requires_grad:
                raise plugins.returned(name, "numbers that do not depend on the outputs", "tensors made from them")
            slopes = partial(
                autograd.grad, retain_graph=True
            )  # tried once: what fails later tells nobody whose fault it is
            plugins.call(name, f"{SIGNATURE}, whose slopes are taken", slopes, found.sum(), outputs_BC)
            taught = True
        return found

    if activation is None:
        return Loss(checked, "softmax", independent=checked)
    return Loss(checked, cast("Activation", activation))
