"""Build models: timm's, torchvision's or the user's own, with pretrained, local or initial weights, and a new head."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from pipeline.models.freezing import Frozen, freeze
from pipeline.models.layers import checkpoint_gradients, fp32_grouped_convolutions, multi_dropout, pool_gem, small_stem
from pipeline.models.sources import TORCHVISION, check_name, from_file, from_timm, from_torchvision, torchvision_weights
from pipeline.models.weights import classifiers, fit_backbone, load_backbone, names
from pipeline.plugins import file_of

__all__ = [
    "Frozen",
    "Normalization",
    "build",
    "check_name",
    "fp32_grouped_convolutions",
    "freeze",
    "heads_of",
    "load_backbone",
    "names",
    "normalization",
    "try_size",
]


@dataclass(frozen=True)
class Normalization:
    """Hold the mean and standard deviation per channel that the weights were made for, on images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def build(
    name: str,
    classes: int,
    *,
    pretrained: bool | str,
    size_hw: tuple[int, int],
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    pool: str | None = None,
    zero_head: bool = False,
    in_chans: int = 3,
    stem: str | None = None,
    masks: int = 0,
    auxiliary: bool = True,
    checkpoints: bool = False,
) -> tuple[nn.Module, str]:
    """Return the model and one line that says where its weights came from.

    Pretrained weights for RGB are adapted to other channels as timm does: their sum for one, repeated for more.

    Initial weights come from torch's global generator: seed it first. Raises ValueError for an unknown
    name, an option the model does not take, or a local file of which less than 90 % fits: timm itself
    only warns, and would train from scratch.
    """
    check_name(name)
    options: dict[str, Any] = {
        "drop_rate": 0.0 if masks else drop_rate,  # the masks stand in its place
        "drop_path_rate": drop_path_rate,
        "global_pool": None if pool == "gem" else pool,
    }
    given = {key: value for key, value in options.items() if value is not None}
    try:
        if file_of(name) is not None:
            model, origin = _own(name, classes, in_chans, size_hw, pretrained, {} if masks else given)
        elif name.startswith(TORCHVISION):
            rates = {"drop_rate": None if masks else drop_rate, "drop_path_rate": drop_path_rate}
            model, origin = _torchvision(name, classes, in_chans, pretrained, auxiliary, rates, options["global_pool"])
        else:
            given |= {"num_classes": classes, "pretrained": pretrained is True}
            given |= {} if in_chans == 3 else {"in_chans": in_chans}
            model = from_timm(name, given, size_hw)
            origin = f"{name}: timm's pretrained weights" if pretrained is True else f"{name}: weights from scratch"
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"model: {name} cannot be built with {given}: {error}") from error
    except OSError as error:  # what the hub's client raises when it is out of reach
        raise ValueError(
            f"model.pretrained: the weights of {name} cannot be fetched ({type(error).__name__}); "
            "connect to the internet, or give the path of a local file of weights, or false"
        ) from error
    try:
        if stem is not None:
            small_stem(model)
        if isinstance(pretrained, str):
            origin = f"{name}: {load_backbone(model, Path(pretrained), in_chans)}"
        if pool == "gem":
            pool_gem(model)
        if masks:
            multi_dropout(model, masks, drop_rate)
        if checkpoints:
            checkpoint_gradients(model)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith("model.") else f"model: {name}: {error}") from error
    if zero_head:
        for head in (*classifiers(model), *names(model, "auxiliary")):
            for parameter in model.get_submodule(head).parameters():
                nn.init.zeros_(parameter)
    try_size(model, name, classes, size_hw, in_chans)
    return model, origin


def _own(
    name: str, classes: int, in_chans: int, size_hw: tuple[int, int], pretrained: bool | str, given: dict[str, Any]
) -> tuple[nn.Module, str]:
    if given:
        raise ValueError(f"model: {name} is the user's own; found {', '.join(given)}, which its function would set")
    return from_file(
        name, classes, in_chans, size_hw, pretrained is True
    ), f"{name}: weights as its function makes them"


def _torchvision(
    name: str,
    classes: int,
    in_chans: int,
    pretrained: bool | str,
    auxiliary: bool,
    rates: dict[str, float | None],
    pool: str | None,
) -> tuple[nn.Module, str]:
    if pool is not None:
        raise ValueError(f"model.pool: {name} admits its own pooling or gem, found '{pool}'")
    model = from_torchvision(name, classes, in_chans, auxiliary, **rates)
    if pretrained is not True:
        return model, f"{name}: weights from scratch"
    found = fit_backbone(model, torchvision_weights(name), "torchvision's weights", in_chans)
    return model, f"{name}: torchvision's pretrained weights ({found})"


def heads_of(output: Any) -> tuple[Tensor, ...]:
    """Return the logits of the head, then those of auxiliary heads, which some models have in training."""
    return (output,) if isinstance(output, Tensor) else tuple(one for one in output if one is not None)


def try_size(model: nn.Module, name: str, classes: int, size_hw: tuple[int, int], in_chans: int = 3) -> None:
    """Raise ValueError where the model does not take images of this size: the first batch would be too late.

    Auxiliary heads are tried on a copy, as BatchNorm learns from what it sees in training.
    """
    height, width = size_hw
    tried = [(model.eval(), 1)]
    if file_of(name) is not None or names(model, "auxiliary"):
        tried.append((copy.deepcopy(model).train(), 2))
    for each, rows in tried:
        try:
            with torch.inference_mode():
                shapes = [head.shape for head in heads_of(each(torch.zeros(rows, in_chans, height, width)))]
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"model.size: {name} cannot take {height} x {width} pixels ({reason})") from error
        if any(shape != (rows, classes) for shape in shapes) or (len(shapes) != 1 and not each.training):
            found = ", ".join(str(tuple(shape)) for shape in shapes)
            raise ValueError(f"model.name: {name} returns {found} for {rows} images, expected ({rows}, {classes})")
    model.train()


def normalization(model: nn.Module, in_chans: int = 3) -> Normalization:
    """Return the mean and std of the model's own preprocessing, which is not always ImageNet's.

    Channels that are not RGB all have the mean of the three.
    """
    found = resolve_model_data_config(model)
    mean, std = tuple(found["mean"]), tuple(found["std"])
    if in_chans != len(mean):
        mean, std = ((sum(values) / len(values),) * in_chans for values in (mean, std))
    return Normalization(mean, std)
