"""Build a config's model: its source, its weights, what is changed in it, and a trial of the size of its images."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from pipeline import plugins
from pipeline.config.sections.model import Model
from pipeline.errors import InputError, Problem
from pipeline.models.layers import checkpoint_gradients, multi_dropout, pool_gem, small_stem
from pipeline.models.sources import check_name, create, why
from pipeline.models.watching import watch
from pipeline.models.weights import heads, load_backbone, names
from pipeline.plugins import file_of

Channels = tuple[float, ...]


def build(model: Model, outputs: int, in_chans: int = 3) -> tuple[nn.Module, str]:
    """Return the network and one line that says where its weights came from.

    Pretrained weights for RGB are adapted to other channels as timm does: their sum for one, repeated for more.
    Initial weights come from torch's global generator: seed it first. Raises InputError for an unknown
    name, an option or a size the network does not take, or a local file of which less than 90 % fits: timm itself
    only warns, and would train from scratch.
    """
    check_name(model.name)
    try:
        return _build(model, outputs, in_chans)
    except InputError as error:
        place, found = error.problems[0].place, error.problems[0].found
        size_hw = _size_taken(model, outputs, in_chans) if place in ("model", "model.size") else None
        if size_hw is None:
            raise
        size = size_hw[0] if size_hw[0] == size_hw[1] else list(size_hw)
        remedy = f"set model.size to {size}, which it takes"
        raise InputError(Problem("model.size", found, remedy=remedy)) from error


def _build(model: Model, outputs: int, in_chans: int) -> tuple[nn.Module, str]:
    network, origin = create(model, outputs, in_chans)
    if model.stem is not None:
        small_stem(network)
    if isinstance(model.pretrained, str):
        origin = f"{model.name}: {load_backbone(network, Path(model.pretrained), in_chans)}"
    if model.pool == "gem":
        pool_gem(network)
    if model.multi_dropout:
        multi_dropout(network, model.multi_dropout, model.drop_rate)
    if model.grad_checkpointing:
        checkpoint_gradients(network)
    if model.zero_head:
        for head in heads(network):
            for parameter in network.get_submodule(head).parameters():
                nn.init.zeros_(parameter)
    try_size(network, model.name, outputs, model.size_hw, in_chans)
    if file_of(model.name) is not None:
        plugins.call(
            model.name, "a module whose default_cfg describes it as timm's do", check_described, network, in_chans
        )
        watch(network, model.name, outputs)
    return network, origin


def _size_taken(model: Model, outputs: int, in_chans: int) -> tuple[int, int] | None:
    """Return a size near the asked one, else the model's usual one, that it takes; None where there is none.

    Networks on torch's device `meta` compute shapes alone, so that trying some costs little.
    """
    if file_of(model.name) is not None:
        return None
    near = set()
    for step in (14, 16, 32, 48, 64, 128):  # patches, and strides by which they are reduced
        height, width = (-(-side // step) * step for side in model.size_hw)
        near |= {(height, width), (max(height, width),) * 2}
    sizes = sorted(near - {model.size_hw}, key=math.prod)
    usual = timm.get_pretrained_cfg(model.name, allow_unregistered=True) if timm.is_model(model.name) else None
    sizes += [usual.input_size[1:]] if usual is not None else []
    for size_hw in sizes:
        try:
            with torch.device("meta"):
                _build(model.model_copy(update={"pretrained": False, "size": size_hw}), outputs, in_chans)
        except InputError:
            continue
        return size_hw
    return None


def heads_of(output: Any) -> tuple[Tensor, ...]:
    """Return the logits of the head, then those of auxiliary heads, which some models have in training."""
    return (output,) if isinstance(output, Tensor) else tuple(one for one in output if one is not None)


def try_size(network: nn.Module, name: str, outputs: int, size_hw: tuple[int, int], in_chans: int = 3) -> None:
    """Raise InputError where the network does not take images of this size: the first batch would be too late.

    Auxiliary heads are tried on a copy, as BatchNorm learns from what it sees in training.
    """
    height, width = size_hw
    tried = [(network.eval(), 1)]
    if file_of(name) is not None or names(network, "auxiliary"):
        tried.append((copy.deepcopy(network).train(), 2))
    for each, rows in tried:
        try:
            with torch.inference_mode():
                shapes = [tuple(head.shape) for head in heads_of(each(torch.zeros(rows, in_chans, height, width)))]
        except Exception as error:  # each family fails in its own way
            found = f"{name} cannot take {height} x {width} pixels ({why(error)})"
            raise InputError(Problem("model.size", found)) from error
        if any(shape != (rows, outputs) for shape in shapes) or (len(shapes) != 1 and not each.training):
            found = f"{name} returns {', '.join(map(str, shapes))} for {rows} images"
            raise InputError(Problem("model.name", found, f"({rows}, {outputs})"))
    network.train()


def check_described(network: nn.Module, in_chans: int) -> None:
    """Raise ValueError, or whatever a strange value leads to, where a user's description does not fit the module."""
    known = {name for name, _ in network.named_modules()}
    if unknown := [name for what in ("classifier", "first_conv") for name in names(network, what) if name not in known]:
        raise ValueError(f"default_cfg names {unknown[0]!r}, which is none of its modules")
    mean, std = normalization(network, in_chans)
    if len(mean) != in_chans or len(std) != in_chans or not all(math.isfinite(one) for one in mean) or min(std) <= 0:
        raise ValueError(f"default_cfg has mean {mean} and std {std}, expected {in_chans} of each, std above 0")


def normalization(network: nn.Module, in_chans: int = 3) -> tuple[Channels, Channels]:
    """Return the mean and spread per channel that the weights were made for, on images in [0, 1].

    They are the model's own, not always ImageNet's. Channels that are not RGB all have the mean of the three.
    """
    found = resolve_model_data_config(network)
    mean, std = tuple(found["mean"]), tuple(found["std"])
    if in_chans != len(mean):
        mean, std = ((sum(values) / len(values),) * in_chans for values in (mean, std))
    return mean, std
