"""Save and restore everything a training needs to go on with the same bytes, in one atomic file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from pipeline.models.network import load_tensors, save_tensors
from pipeline.training.swa import Average

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Checkpoint:
    """Keep model, its averages, optimizer and loss scale as tensors, and the history as JSON.

    No generator's state is needed: every draw is keyed by (seed, fold, epoch, …).
    """

    path: Path
    model: nn.Module
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    average: Average | None = None

    def save(self, history: dict[str, Any]) -> None:
        """Write the state after an epoch."""
        average = self.average
        parts = {
            "model": self.model.state_dict(),
            "ema": {} if self.ema is None else self.ema.module.state_dict(),
            "average": {} if average is None else average.sums,
        }
        tensors = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
        meta = {
            "history": history,
            "averaged": 0 if average is None else average.count,
            "optimizer": _pack(self.optimizer.state_dict(), "optimizer", tensors),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
        }
        save_tensors(self.path, tensors, meta)

    def load(self) -> dict[str, Any] | None:
        """Restore the state in place; return the history, or None where there is no checkpoint."""
        if not self.path.is_file():
            return None
        tensors, meta = load_tensors(self.path)
        self.model.load_state_dict(_part(tensors, "model."))
        if self.ema is not None:
            self.ema.module.load_state_dict(_part(tensors, "ema."))
        if self.average is not None:
            self.average.sums, self.average.count = _part(tensors, "average."), meta["averaged"]
        state = _unpack(meta["optimizer"], tensors)
        state["state"] = {int(number): entries for number, entries in state["state"].items()}  # JSON's keys are texts
        self.optimizer.load_state_dict(state)
        _match_layout(self.optimizer)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(meta["scaler"])
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


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON can hold it; the tensors in it, which optimizers nest as they like, go to `tensors`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, dict):
        return {key: _pack(inner, f"{name}.{key}", tensors) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        listed = [_pack(inner, f"{name}.{number}", tensors) for number, inner in enumerate(value)]
        return listed if isinstance(value, list) else {"tuple": listed}
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what `_pack` was given, but for keys that were numbers."""
    if isinstance(value, list):
        return [_unpack(inner, tensors) for inner in value]
    if isinstance(value, dict):
        if list(value) == ["tensor"]:
            return tensors[value["tensor"]]
        if list(value) == ["tuple"]:
            return tuple(_unpack(value["tuple"], tensors))
        if list(value) == ["dtype"]:
            return getattr(torch, value["dtype"])
        return {key: _unpack(inner, tensors) for key, inner in value.items()}
    return value


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
