"""Average the weights of the last epochs, then let BatchNorm see what the mean of them makes of the images.

Stochastic weight averaging of Izmailov et al. (2018), arXiv:1803.05407, at the schedule's own learning rates.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Average:
    """Sum weights in double precision, so that neither their number nor their order rounds anything off."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        """Take in the model's weights as they are now."""
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                now = value.detach().cpu().double()
                self.sums[name] = self.sums[name] + now if name in self.sums else now
        self.count += 1

    def load_into(self, model: nn.Module) -> None:
        """Give the model the mean of the weights taken in; numbers that count something stay its own."""
        own = model.state_dict()
        means = {name: (total / self.count).to(own[name].dtype) for name, total in self.sums.items()}
        model.load_state_dict({**own, **means})


def learning_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers whose statistics follow the images, of a model in training mode."""
    found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in found if norm.training and norm.track_running_stats]


def recompute(model: nn.Module, norms: Iterable[_BatchNorm], batches: Iterable[Tensor]) -> None:
    """Set the layers' statistics to their mean over the batches; everything else works as in prediction.

    The mean of weights is a network that no step has seen, so the statistics of any epoch are another network's.
    """
    chosen = [(norm, norm.momentum) for norm in norms]
    model.eval()
    for norm, _ in chosen:
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts the same
        norm.train()
    with torch.no_grad():
        for images in batches:
            model(images)
    for norm, momentum in chosen:
        norm.momentum = momentum
    model.eval()
