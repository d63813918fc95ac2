"""Make timm's optimizers by their names."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from pipeline.config.config import Config
from pipeline.errors import InputError, Problem, nearest


def check_optimizer(name: str) -> None:
    """Raise InputError where timm lists no such optimizer: it ignores an unknown prefix and makes another one."""
    known = [str(one) for one in list_optimizers()]
    if name not in known:
        raise InputError(Problem("train.optimizer", f"found '{name}'", "one of timm's", nearest(name, known)))


def optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Return the configured optimizer of timm's; biases and norms without weight decay."""
    train = config.train
    check_optimizer(train.optimizer)
    options: dict[str, Any] = {"fused": True} if train.optimizer in {"adam", "adamw"} else {}
    try:
        made: torch.optim.Optimizer = create_optimizer_v2(
            model,
            opt=train.optimizer,
            lr=train.lr,
            weight_decay=train.weight_decay,
            layer_decay=train.layer_decay,
            **options,
        )
    except (AssertionError, ImportError, RuntimeError) as error:  # some need a GPU or another package
        raise InputError(Problem("train.optimizer", f"{train.optimizer} cannot be used here: {error}")) from error
    if getattr(made, "is_second_order", False):
        found = f"{train.optimizer} needs second derivatives"
        raise InputError(Problem("train.optimizer", found, remedy="choose another, such as adamw"))
    return made
