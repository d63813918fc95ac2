"""Build timm models: weights from the hub, from a local file or none; head; freezing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import adapt_input_conv
from timm.utils import freeze as timm_freeze
from torch import Tensor, nn

NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where trainers keep weights, in timm's order
LOADED_SHARE = 0.9  # of the backbone's tensors must come from a local file


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
) -> tuple[nn.Module, str]:
    """Return the model and one line that says where its weights came from.

    Pretrained weights for RGB are adapted to other channels as timm does: their sum for one, repeated for more.

    Initial weights come from torch's global generator: seed it first. Raises ValueError for an unknown
    name, an option the model does not take, or a local file of which less than 90 % fits: timm itself
    only warns, and would train from scratch.
    """
    check_name(name)
    options: dict[str, Any] = {
        "num_classes": classes,
        "pretrained": pretrained is True,
        "drop_rate": drop_rate,
        "drop_path_rate": drop_path_rate,
        "global_pool": pool,
        "in_chans": None if in_chans == 3 else in_chans,
    }
    given = {key: value for key, value in options.items() if value is not None}
    try:
        model = _create(name, given, size_hw)
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"model: {name} cannot be built with {given}: {error}") from error
    except OSError as error:  # what the hub's client raises when it is out of reach
        raise ValueError(
            f"model.pretrained: the weights of {name} cannot be fetched ({type(error).__name__}); "
            "connect to the internet, or give the path of a local file of weights, or false"
        ) from error
    origin = f"{name}: timm's pretrained weights" if pretrained is True else f"{name}: weights from scratch"
    if isinstance(pretrained, str):
        origin = f"{name}: {load_backbone(model, Path(pretrained), in_chans)}"
    if zero_head:
        for head in _classifier_names(model):  # get_classifier() gives a tuple where there are several
            for parameter in model.get_submodule(head).parameters():
                nn.init.zeros_(parameter)
    try_size(model, name, classes, size_hw, in_chans)
    return model, origin


def check_name(name: str) -> None:
    """Raise ValueError where timm has no such model, with the nearest names."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(
            f"model.name: found '{name}', expected a timm model" + (f", such as {', '.join(near)}" if near else "")
        )


def try_size(model: nn.Module, name: str, classes: int, size_hw: tuple[int, int], in_chans: int = 3) -> None:
    """Raise ValueError where the model does not take images of this size: the first batch would be too late."""
    height, width = size_hw
    try:
        with torch.inference_mode():
            shape = model.eval()(torch.zeros(1, in_chans, height, width)).shape
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"model.size: {name} cannot take {height} x {width} pixels ({reason})") from error
    if shape != (1, classes):
        raise ValueError(f"model.name: {name} returns {tuple(shape)} for one image, expected (1, {classes})")
    model.train()


def _create(name: str, options: dict[str, Any], size_hw: tuple[int, int]) -> nn.Module:
    """Pass the image size to the models that are built for one (ViT); the others do not take it."""
    try:
        model: nn.Module = timm.create_model(name, img_size=size_hw, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, **options)
    return model


def load_backbone(model: nn.Module, path: Path, in_chans: int = 3) -> str:
    """Load a local file of weights but for the head; return how much of it fitted."""
    if not path.is_file():
        raise ValueError(f"model.pretrained: {path} not found, expected true, false or a file of weights")
    own, weights = model.state_dict(), dict(_read_weights(path))
    for first in _names(model, "first_conv"):
        key = f"{first}.weight"
        if key in weights and key in own and weights[key].shape[1] != own[key].shape[1]:
            weights[key] = adapt_input_conv(in_chans, weights[key])
    head = tuple(f"{prefix}." for prefix in _classifier_names(model))
    wanted = [key for key in own if not key.startswith(head)]
    fitting = {key: weights[key] for key in wanted if key in weights and weights[key].shape == own[key].shape}
    share = len(fitting) / max(1, len(wanted))
    if share < LOADED_SHARE:
        raise ValueError(
            f"model.pretrained: {len(fitting)} of {len(wanted)} backbone tensors of {path} fit ({share:.0%}), "
            f"expected at least {LOADED_SHARE:.0%}; found keys such as {', '.join(list(weights)[:3])}, "
            f"expected {', '.join(wanted[:3])}"
        )
    model.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(wanted)} backbone tensors from {path}"


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        nested = next((loaded[key] for key in NESTED if key in loaded), loaded)
        return {key: value for key, value in nested.items() if isinstance(value, Tensor)}
    except Exception as error:  # damage, foreign pickles and other contents fail in many ways
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise ValueError(
            f"model.pretrained: {path} holds no weights that can be read ({reason}); "
            "expected safetensors, or a state dict that torch.load takes with weights_only=True"
        ) from error


def _classifier_names(model: nn.Module) -> list[str]:
    return _names(model, "classifier") or ["fc"]


def _names(model: nn.Module, what: str) -> list[str]:
    """Return the modules that timm's description of a model names, one or several."""
    names = getattr(model, "default_cfg", {}).get(what) or []
    return [names] if isinstance(names, str) else list(names)


def freeze(model: nn.Module, what: str | list[str]) -> int:
    """Freeze modules with their BatchNorm statistics; return how many weight tensors still learn.

    `backbone` is everything but the part that holds the head. Call it before the optimizer is made: timm
    swaps BatchNorm layers.
    """
    children = [name for name, _ in model.named_children()]
    if what == "backbone":
        heads = {name.split(".")[0] for name in _classifier_names(model)}
        names = [name for name in children if name not in heads]
        for name, parameter in model.named_parameters():  # a ViT's position embedding lies in no module
            if name.split(".")[0] not in heads:
                parameter.requires_grad_(False)
    else:
        names = [what] if isinstance(what, str) else what
        known = {name for name, _ in model.named_modules()}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"model.freeze: found {', '.join(unknown)}, expected modules such as {', '.join(children)}"
            )
    timm_freeze(model, names)
    return sum(parameter.requires_grad for parameter in model.parameters())


def normalization(model: nn.Module, in_chans: int = 3) -> Normalization:
    """Return the mean and std of the model's own preprocessing, which is not always ImageNet's.

    Channels that are not RGB all have the mean of the three.
    """
    found = resolve_model_data_config(model)
    mean, std = tuple(found["mean"]), tuple(found["std"])
    if in_chans != len(mean):
        mean, std = ((sum(values) / len(values),) * in_chans for values in (mean, std))
    return Normalization(mean, std)


class _Fp32Convolution:
    """Run a convolution in fp32 inside a bf16 autocast region."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            result: Tensor = super().forward(images.float())  # type: ignore[misc]
        return result.to(images.dtype)


def fp32_grouped_convolutions(model: nn.Module) -> nn.Module:
    """Keep grouped and depthwise convolutions in fp32 under a CPU's bf16 autocast.

    Their bf16 backward is slow on CPUs: tf_efficientnet_lite0 trains 1.7 to 2.6 times faster this way, 1.25 to
    1.5 times faster than in plain fp32 (2 cores with AMX; tests/benchmarks/step.py). The class is swapped rather
    than the method, so that copies (EMA) compute with their own weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            cls = type(module)
            module.__class__ = type(f"Fp32{cls.__name__}", (_Fp32Convolution, cls), {})
    return model
