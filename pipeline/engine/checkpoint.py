"""Save and restore everything a training needs to go on with the same bytes, in one atomic file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from pipeline.engine.network import load_tensors, save_tensors

if TYPE_CHECKING:
    from accelerate import Accelerator


class Checkpoint:
    """Keep model, moving average, optimizer and loss scale as tensors, and the history as JSON.

    No generator's state is needed: every draw is keyed by (seed, fold, epoch, …).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(
        self,
        model: nn.Module,
        ema: ModelEmaV3 | None,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        history: dict[str, Any],
    ) -> None:
        """Write the state after an epoch."""
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        if ema is not None:
            tensors |= {f"ema.{key}": value for key, value in ema.module.state_dict().items()}
        state = optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for number, entries in state["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{key}"] = value
                else:
                    plain.setdefault(str(number), {})[key] = value
        meta = {
            "history": history,
            "optimizer": plain,
            "groups": state["param_groups"],
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
        }
        save_tensors(self.path, tensors, meta)

    def load(
        self,
        model: nn.Module,
        ema: ModelEmaV3 | None,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
    ) -> dict[str, Any] | None:
        """Restore the state in place; return the history, or None where there is no checkpoint."""
        if not self.path.is_file():
            return None
        tensors, meta = load_tensors(self.path)
        model.load_state_dict(_part(tensors, "model."))
        if ema is not None:
            ema.module.load_state_dict(_part(tensors, "ema."))
        state: dict[int, dict[str, Any]] = {int(number): dict(entries) for number, entries in meta["optimizer"].items()}
        for key, value in _part(tensors, "optimizer.").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": meta["groups"]})
        _match_layout(optimizer)
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(meta["scaler"])
        history: dict[str, Any] = meta["history"]
        return history

    def delete(self) -> None:
        """Remove the state's folder."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give each state tensor the strides of its weights.

    A file knows no channels-last layout, and fused optimizers walk weights and state by address.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            entries = optimizer.state.get(parameter, {})
            for key, value in entries.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
