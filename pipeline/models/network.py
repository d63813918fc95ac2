"""Build a fold's network from a config, and read and write its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pipeline import plugins
from pipeline.batches.loader import Normalize
from pipeline.config.config import Config
from pipeline.config.plugin_files import is_kept, kept
from pipeline.config.sections.section import square
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files.atomic import atomic
from pipeline.files.failures import require_file, why
from pipeline.machine import devices
from pipeline.methods.seeding import seed64
from pipeline.methods.tasks import TASKS
from pipeline.methods.tta import TURNS
from pipeline.models import building, checksum
from pipeline.models.freezing import Frozen, freeze
from pipeline.models.layers import fp32_grouped_convolutions

AGAIN = "copy the file again, or train the fold again with: foldline train --force"


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
            fp32_grouped_convolutions(model)
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
    made = model if fresh else model.model_copy(update={"pretrained": False})
    network, origin = building.build(made, outputs, config.data.in_chans)
    for size_hw, problem in _other_sizes(config, fresh):
        try:
            building.try_size(network, model.name, outputs, size_hw, config.data.in_chans)
        except InputError as error:
            raise InputError(problem) from error
    if model.freeze is not None and model.thaw_epoch is None:
        origin += f"; frozen: {model.freeze}, {freeze(network, model.freeze)} weight tensors learn"
    return setting.place(network), origin


def _other_sizes(config: Config, fresh: bool) -> Iterator[tuple[tuple[int, int], Problem]]:
    """Yield the sizes that views and the first epochs give the network, and what to say where it takes one alone."""
    name, (height, width) = config.model.name, config.model.size_hw
    turns = [view for view in config.views if view in TURNS]
    if turns and height != width:
        found = f"{', '.join(turns)} turn {height} x {width} pixels into {width} x {height}, which {name} does not take"
        yield (width, height), Problem("tta", found, remedy="leave them out, or set a square model.size")
    for one in config.train.early_sizes if fresh else ():
        size_hw = square(one.size)
        found = f"found {one.size}, but {name} cannot take {size_hw[0]} x {size_hw[1]} pixels"
        yield size_hw, Problem("train.sizes", found, remedy="leave it out, or choose another model")


def frozen(config: Config, network: nn.Module) -> Frozen | None:
    """Return the part of a network that is frozen, to hold it epoch by epoch; None where nothing is."""
    return None if config.model.freeze is None else Frozen(network, config.model.freeze)


def normalize(network: nn.Module, setting: Setting, in_chans: int = 3) -> Normalize:
    """Return the step from stored images to the network's input."""
    return Normalize(*building.normalization(network, in_chans), setting.device, setting.channels_last)


def weight_bytes(network: nn.Module) -> int:
    """Return the size of a network's weights and buffers."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


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
        found = f"does not fit the run's config.yaml: {str(error).splitlines()[0]}"
        raise MismatchError(Problem(str(path), found)) from error
    return network.eval(), meta


def _with_kept_module(config: Config, weights: Path) -> Config:
    """Return the config with the run's own copy of the user's module where that is another one, or all there is."""
    for folder in weights.parents[1:3]:
        if (copy := kept(config.model.name, folder)) is not None and not is_kept(config.model.name, folder):
            name = f"{copy}:{config.model.name.rpartition(':')[2]}"
            if plugins.trusted():
                plugins.ask([name])
            return config.model_copy(update={"model": config.model.model_copy(update={"name": name})})
    return config


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any], keep: Path | None = None) -> None:
    """Write tensors with JSON beside them in one safetensors file, whole or not at all.

    What lay there before becomes `keep`, once all is written.

    A tensor that stands under several names is written under each, so that the file is a whole state dict to others
    too: safetensors itself refuses it. Its own writer turns a full disk into an error of its own; `atomic` knows
    an OSError.
    """
    contiguous: dict[str, Tensor] = {}
    written: set[int] = set()
    for key, value in tensors.items():
        one = value.detach().cpu().contiguous()
        place = one.untyped_storage().data_ptr()
        contiguous[key] = one.clone() if place in written else one
        written.add(place)
    with atomic(path) as beside:
        beside.write_bytes(to_bytes(contiguous, metadata=checksum.sealed(contiguous, meta)))
        if keep is not None and path.is_file():
            path.replace(keep)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote, on the CPU; raise MismatchError where its checksum is another."""
    try:
        require_file(path)  # reading a pipe would wait for ever
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        found, meta = checksum.differs(tensors, metadata), checksum.content_of(metadata)
    except FileNotFoundError:
        raise MismatchError(Problem(str(path), "missing", remedy="make it with: foldline train")) from None
    except MemoryError:
        raise
    except Exception as error:  # safetensors raises its own type for damage
        found, meta = why(error), None
    if not found and not isinstance(meta, dict):
        found = "its metadata is no JSON object"
    if found:
        raise MismatchError(Problem(str(path), f"damaged ({found})", remedy=AGAIN))
    return tensors, meta


def damage(path: Path) -> str | None:
    """Return what is wrong with a file of weights or of a training's state, None where it is whole."""
    try:
        load_tensors(path)
    except MismatchError as error:
        return error.problems[0].found
    return None
