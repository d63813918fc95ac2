"""Load weights from a local file, and name the modules that timm's description of a model names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from pipeline.errors import InputError, Problem
from pipeline.models import checksum

NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where trainers keep weights, in timm's order
LOADED_SHARE = 0.9  # of the backbone's tensors must come from a local file


def load_backbone(model: nn.Module, path: Path, in_chans: int = 3) -> str:
    """Load a local file of weights but for the head; return how much of it fitted."""
    if not path.is_file():
        raise InputError(Problem("model.pretrained", f"{path} not found", "true, false or a file of weights"))
    return f"{fit_backbone(model, _read_weights(path), str(path), in_chans)} from {path}"


def fit_backbone(model: nn.Module, given: Mapping[str, Tensor], source: str, in_chans: int = 3) -> str:
    """Copy weights but for the heads; return how many fitted. Raises InputError below 90 %."""
    initial, weights = model.state_dict(), dict(given)
    for first in names(model, "first_conv"):
        key = f"{first}.weight"
        if key in weights and key in initial and weights[key].shape[1] != initial[key].shape[1]:
            weights[key] = adapt_input_conv(in_chans, weights[key])
    wanted = [key for key in initial if not inside(key, heads(model))]
    fitting = {key: weights[key] for key in wanted if key in weights and weights[key].shape == initial[key].shape}
    share = len(fitting) / max(1, len(wanted))
    if share < LOADED_SHARE:
        found = f"{len(fitting)} of {len(wanted)} backbone tensors of {source} fit ({share:.0%})"
        keys = f"found keys such as {', '.join(list(weights)[:3])}, expected {', '.join(wanted[:3])}"
        raise InputError(Problem("model.pretrained", found, f"at least {LOADED_SHARE:.0%}", keys))
    model.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(wanted)} backbone tensors"


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                if found := checksum.differs(tensors, file.metadata()):
                    raise ValueError(f"damaged: {found}")
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        nested = next((loaded[key] for key in NESTED if key in loaded), loaded)
        return {key: value for key, value in nested.items() if isinstance(value, Tensor)}
    except Exception as error:  # damage, foreign pickles and other contents fail in many ways
        found = f"{path} holds no weights that can be read ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        expected = "safetensors, or a state dict that torch.load takes with weights_only=True"
        raise InputError(Problem("model.pretrained", found, expected)) from error


def classifiers(model: nn.Module) -> list[str]:
    """Return the layers that give one value per class: one, or several where a model was distilled."""
    return names(model, "classifier") or (["fc"] if hasattr(model, "fc") else [])


def heads(model: nn.Module) -> list[str]:
    """Return the same, and the layers of heads that only training has."""
    return [*classifiers(model), *names(model, "auxiliary")]


def names(model: nn.Module, what: str) -> list[str]:
    """Return the modules that a model's description names, one or several."""
    found = getattr(model, "default_cfg", {}).get(what) or []
    return [found] if isinstance(found, str) else list(found)


def inside(name: str, modules: list[str]) -> bool:
    """Tell whether a name is that of one of the modules, or of a part of it."""
    return f"{name}.".startswith(tuple(f"{module}." for module in modules))


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one with this name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
