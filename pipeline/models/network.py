"""Build a fold's network from a config, and read and write its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pipeline.batches.loader import Normalize
from pipeline.config.config import Config
from pipeline.config.plugin_files import FOLDER
from pipeline.errors import InputError, MismatchError
from pipeline.files.artifacts import atomic
from pipeline.machine import devices
from pipeline.methods.seeding import seed64
from pipeline.methods.tasks import TASKS
from pipeline.methods.tta import TURNS
from pipeline.models import building
from pipeline.plugins import file_of


@dataclass(frozen=True)
class Setting:
    """Hold where and how networks compute."""

    device: torch.device
    precision: str  # fp32, bf16, fp16
    channels_last: bool

    @classmethod
    def of(cls, config: Config) -> Setting:
        """Choose from the config and the hardware."""
        device = devices.device()
        precision = devices.precision(config.train.precision, device)
        return cls(device, precision, devices.channels_last(config.train.channels_last, device, precision))

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass runs in this precision."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, in the memory format and with the convolutions that are fast there."""
        if self.device.type == "cpu" and self.precision == "bf16":
            building.fp32_grouped_convolutions(model)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return model.to(self.device).to(memory_format=layout)

    def __str__(self) -> str:
        return f"{self.device.type}, {self.precision}, channels {'last' if self.channels_last else 'first'}"


def build(config: Config, classes: Sequence[str], setting: Setting, fold: int, *, fresh: bool) -> tuple[nn.Module, str]:
    """Return a placed network for a fold and where its weights come from; `fresh` loads pretrained ones.

    Raises InputError where the config's model cannot be built.
    """
    model, outputs = config.model, TASKS[config.data.task].loss(config.loss.name).outputs(len(classes))
    torch.manual_seed(seed64(config.train.seed, fold, "weights"))
    try:
        network, origin = building.build(
            model.name,
            outputs,
            pretrained=model.pretrained if fresh else False,
            size_hw=model.size_hw,
            drop_rate=model.drop_rate,
            drop_path_rate=model.drop_path_rate,
            pool=model.pool,
            zero_head=model.zero_head,
            in_chans=config.data.in_chans,
            stem=model.stem,
            masks=model.multi_dropout,
            auxiliary=model.aux_weight > 0,
            checkpoints=model.grad_checkpointing,
        )
        _try_turned(network, config, outputs)
        if fresh:
            _try_sizes(network, config, outputs)
        if model.freeze is not None and model.thaw_epoch is None:
            learning = building.freeze(network, model.freeze)
            origin += f"; frozen: {model.freeze}, {learning} weight tensors learn"
    except ValueError as error:
        raise InputError(str(error)) from error
    return setting.place(network), origin


def frozen(config: Config, network: nn.Module) -> building.Frozen | None:
    """Return the part of a network that is frozen, to hold it epoch by epoch; None where nothing is."""
    if config.model.freeze is None:
        return None
    try:
        return building.Frozen(network, config.model.freeze)
    except ValueError as error:
        raise InputError(str(error)) from error


def _try_turned(network: nn.Module, config: Config, outputs: int) -> None:
    """Raise ValueError where a view turns images that are not square and the network takes one size alone (ViT)."""
    height, width = config.model.size_hw
    turns = [view for view in config.views if view in TURNS]
    if height == width or not turns:
        return
    try:
        building.try_size(network, config.model.name, outputs, (width, height), config.data.in_chans)
    except ValueError as error:
        raise ValueError(
            f"tta: {', '.join(turns)} turn {height} x {width} pixels into {width} x {height}, which "
            f"{config.model.name} does not take; leave them out, or set a square model.size"
        ) from error


def _try_sizes(network: nn.Module, config: Config, outputs: int) -> None:
    """Raise ValueError where training begins with a size that the network does not take."""
    for one in config.train.sizes or ():
        size_hw = (one.size, one.size) if isinstance(one.size, int) else one.size
        try:
            building.try_size(network, config.model.name, outputs, size_hw, config.data.in_chans)
        except ValueError as error:
            raise ValueError(
                f"train.sizes: found {one.size}; {error}; leave it out, or choose another model"
            ) from error


def normalize(network: nn.Module, setting: Setting, in_chans: int = 3) -> Normalize:
    """Return the step from stored images to the network's input."""
    found = building.normalization(network, in_chans)
    return Normalize(found.mean, found.std, setting.device, setting.channels_last)


def save(path: Path, network: nn.Module, meta: dict[str, Any]) -> None:
    """Write the weights and what belongs to them atomically, as safetensors."""
    save_tensors(path, dict(network.state_dict()), meta)


def load(path: Path, config: Config, setting: Setting) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network in evaluation mode and its meta; raise MismatchError on a damaged file."""
    tensors, meta = load_tensors(path)
    network, _ = build(_with_kept_module(config, path), meta["classes"], setting, meta["fold"], fresh=False)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise MismatchError(f"{path}: does not fit the run's config.yaml: {str(error).splitlines()[0]}") from error
    return network.eval(), meta


def _with_kept_module(config: Config, weights: Path) -> Config:
    """Return the config with the run's own copy of the user's module where it lies near the weights."""
    file = file_of(config.model.name)
    near = [] if file is None else [folder / FOLDER / file.name for folder in weights.parents[1:3]]
    kept = next((path for path in near if path.is_file()), None)
    if kept is None:
        return config
    name = f"{kept}:{config.model.name.rpartition(':')[2]}"
    return config.model_copy(update={"model": config.model.model_copy(update={"name": name})})


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors with JSON beside them in one safetensors file, whole or not at all.

    safetensors' own writer turns a full disk into an error of its own; `atomic` knows an OSError.
    """
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    with atomic(path) as beside:
        beside.write_bytes(to_bytes(contiguous, metadata={"meta": json.dumps(meta, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote, on the CPU."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["meta"])  # noqa: SIM118
    except FileNotFoundError:
        raise MismatchError(f"{path}: missing; make it with: foldline train") from None
    except Exception as error:  # safetensors raises its own type for damage
        raise MismatchError(f"{path}: damaged ({error}); delete it and train the fold again") from error
