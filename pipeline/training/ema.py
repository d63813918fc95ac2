"""Average a network's weights over its steps."""

from __future__ import annotations

import torch
from timm.utils import ModelEmaV3
from torch import nn


class Ema(ModelEmaV3):
    """Keep timm's exponential moving average, whose decay rises from 0 as the steps do.

    A tensor that stands under several names (CoaT shares layers) moves once a step: timm's own would move it for
    each name, with another decay than the rest.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, decay=decay, use_warmup=True)

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        pairs = zip(self.module.state_dict().values(), model.state_dict().values(), strict=True)
        once = {(own.data_ptr(), own.shape): (own, new) for own, new in pairs}.values()
        moving = [pair for pair in once if pair[0].is_floating_point()]
        torch._foreach_lerp_([own for own, _ in moving], [new for _, new in moving], weight=1 - decay)
        for own, new in once:
            if not own.is_floating_point():
                own.copy_(new)
