"""Save and restore everything a training needs to go on with the same bytes, in one atomic file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from pipeline.errors import MismatchError, Problem
from pipeline.machine import processes
from pipeline.models.network import load_tensors, save_tensors
from pipeline.training.checkpoints.part import Part
from pipeline.training.swa import Average

if TYPE_CHECKING:
    from accelerate import Accelerator

PREVIOUS = "previous.safetensors"  # the generation before, beside the checkpoint


class Restored(NamedTuple):
    """Hold what a checkpoint gives back beside what it restores in place."""

    history: dict[str, Any]
    parts: list[Part]  # of the epoch that it was written in, one for each process; none: at an epoch's end


@dataclass
class Checkpoint:
    """Keep model, its averages, optimizer and loss scale as tensors, and the history as JSON.

    Inside an epoch each process's `Part` of it comes too. At an epoch's end no generator's state is needed: every draw
    is keyed by (seed, fold, epoch, …). Two generations are kept, as a file may be damaged after it was written.
    """

    path: Path
    model: nn.Module
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    average: Average | None = None
    best: Path | None = None  # weights of the best epoch, which the history then counts on
    about: Mapping[str, Any] = field(default_factory=dict)  # further JSON to go with it

    @property
    def previous(self) -> Path:
        """Return where the generation before lies."""
        return self.path.with_name(PREVIOUS)

    def save(self, history: dict[str, Any], parts: Sequence[Part] = ()) -> None:
        """Write the state after an epoch or, with parts, inside one; the newest one becomes the previous."""
        average = self.average
        named = {
            "model": self.model.state_dict(),
            "ema": {} if self.ema is None else self.ema.module.state_dict(),
            "average": {} if average is None else average.sums,
            **{f"process{rank}": {"loss": part.loss, **part.tensors} for rank, part in enumerate(parts)},
        }
        tensors = {f"{part}.{key}": value for part, values in named.items() for key, value in values.items()}
        meta = {
            **self.about,
            "history": history,
            "averaged": 0 if average is None else average.count,
            "optimizer": _pack(self.optimizer.state_dict(), "optimizer", tensors),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
            "parts": [{"step": part.step, "seconds": part.seconds, "steps": part.steps} for part in parts],
        }
        save_tensors(self.path, tensors, meta, keep=self.previous)

    def load(self) -> tuple[Restored | None, list[str]]:
        """Restore the newest whole state in place, the same in all processes; return it, and what was damaged.

        None where there is no state; then, and where all are damaged, the training begins anew. Raises MismatchError
        where the state is of another network.
        """
        chosen, notes = processes.agree(self._chosen() if processes.is_main() else None)
        if chosen is None:
            return None, notes
        tensors, meta = load_tensors(chosen)
        try:
            return self._restore(tensors, meta), notes
        except (KeyError, RuntimeError, ValueError) as error:
            found = f"does not fit this network and optimizer: {str(error).splitlines()[0]}"
            raise MismatchError(Problem(str(chosen), found, remedy="--force trains the fold anew")) from error

    def verify_best(self, history: Mapping[str, Any]) -> None:
        """Raise MismatchError where the best epoch's weights are damaged, or of an epoch that will not come again."""
        if self.best is None or history["best"] is None:
            return
        _, meta = load_tensors(self.best)
        best, found = history["best"] + 1, meta.get("epoch")  # which files of earlier versions lack
        if found is not None and best != found <= len(history["epochs"]):
            raise MismatchError(Problem(str(self.best), f"holds epoch {found}", f"epoch {best}"))

    def delete(self) -> None:
        """Remove the state's folder."""
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _chosen(self) -> tuple[Path | None, list[str]]:
        """Return the newest whole state, and what to say of newer ones; those go, as the next one moves it aside."""
        notes: dict[str, None] = {}
        again: int | None = None  # the best epoch, of which the weights are damaged
        for path in (self.path, self.previous):
            if not path.is_file():
                continue
            with path.open("rb"):  # what may not be read is not damaged
                pass
            try:
                history = load_tensors(path)[1]["history"]
                if self.best is not None and (again is None or again < len(history["epochs"])):  # else it comes again
                    again = history["best"]
                    self.verify_best(history)
            except MismatchError as error:
                notes[f"  {error.problems[0].place}: {error.problems[0].found}"] = None
                path.unlink()
                continue
            return path, [f"{note}; continues from the checkpoint before it" for note in notes]
        if notes:
            self.delete()
        return None, [f"{note}; no whole checkpoint is left, the fold begins anew" for note in notes]

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Restored:
        self.model.load_state_dict(_part(tensors, "model."))
        if self.ema is not None:
            self.ema.module.load_state_dict(_part(tensors, "ema."))
        if self.average is not None:
            self.average.sums, self.average.count = _part(tensors, "average."), meta["averaged"]
        state = _unpack(meta["optimizer"], tensors)
        state["state"] = {int(number): entries for number, entries in state["state"].items()}  # JSON's keys are texts
        self.optimizer.load_state_dict(state)
        _match_layout(self.optimizer)
        if self.accelerator.scaler is not None and meta["scaler"] is not None:  # None: from another precision
            self.accelerator.scaler.load_state_dict(meta["scaler"])
        parts = []
        for rank, held in enumerate(meta.get("parts", ())):  # none in files of earlier versions
            own = _part(tensors, f"process{rank}.")
            parts.append(Part(held["step"], held["seconds"], own.pop("loss"), held["steps"], own))
        return Restored(meta["history"], parts)


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
