"""Make networks: timm's, torchvision's (`torchvision/NAME`) and the user's own (`FILE.py:function`)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from pipeline.models.weights import replace
from pipeline.plugins import file_of, function_of

TORCHVISION = "torchvision/"
AUXILIARY = {"googlenet": ("aux1.fc2", "aux2.fc2"), "inception_v3": ("AuxLogits.fc",)}  # the heads' last layers
HALF = (0.5, 0.5, 0.5)


def check_name(name: str) -> None:
    """Raise ValueError where there is no such model, with the nearest names."""
    if file_of(name) is not None:
        return  # what is wrong with it is said when it is called
    if name.startswith(TORCHVISION):
        known, whose = [TORCHVISION + each for each in torchvision_names()], "torchvision"
    elif timm.is_model(name):
        return
    else:
        known, whose = timm.list_models(), "timm"
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5)
        raise ValueError(
            f"model.name: found '{name}', expected a {whose} model" + (f", such as {', '.join(near)}" if near else "")
        )


def torchvision_names() -> list[str]:
    """Return torchvision's classifiers."""
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def from_timm(name: str, options: Mapping[str, Any], size_hw: tuple[int, int]) -> nn.Module:
    """Return timm's model, told the image size where it is built for one (ViT); the others do not take it."""
    try:
        model: nn.Module = timm.create_model(name, img_size=size_hw, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, **options)
    return model


def from_torchvision(
    name: str, classes: int, in_chans: int, auxiliary: bool, drop_rate: float | None, drop_path_rate: float | None
) -> nn.Module:
    """Return torchvision's model with initial weights, described as timm describes its own.

    GoogLeNet and Inception v3 have auxiliary heads in training where `auxiliary`. Their trained weights were made
    for images in [-1, 1], which torchvision computes inside them from others; here the normalisation says it.
    """
    import torchvision

    plain = name.removeprefix(TORCHVISION)
    given: dict[str, Any] = {"dropout": drop_rate, "stochastic_depth_prob": drop_path_rate}
    given = {key: value for key, value in given.items() if value is not None}
    mean, std = _torchvision_normalization(plain)
    if plain in AUXILIARY:
        given |= {"aux_logits": auxiliary, "init_weights": True, "transform_input": False}
        mean, std = HALF, HALF
    model: nn.Module = torchvision.models.get_model(plain, weights=None, num_classes=classes, **given)
    first = first_convolution(model)
    assert first is not None
    if in_chans != 3:
        replace(model, first, _with_channels(model.get_submodule(first), in_chans))
    model.default_cfg = model.pretrained_cfg = {  # type: ignore[assignment]
        "first_conv": first,
        "classifier": last_layer(model, classes, AUXILIARY.get(plain, ())),
        "auxiliary": AUXILIARY[plain] if auxiliary and plain in AUXILIARY else (),
        "mean": mean,
        "std": std,
    }
    return model


def torchvision_weights(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's own trained weights; raise OSError where they cannot be fetched."""
    import torchvision

    weights = torchvision.models.get_model_weights(name.removeprefix(TORCHVISION)).DEFAULT
    found: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    return found


def from_file(name: str, classes: int, in_chans: int, size_hw: tuple[int, int], pretrained: bool) -> nn.Module:
    """Return what the user's function makes of (classes, in_chans, size_hw), and `pretrained` where it takes that.

    Attribute `default_cfg` of the module may say what timm's does: mean, std, classifier and first_conv by name.
    Raises ValueError where the function fails or returns no module.
    """
    try:
        function = function_of(name)
    except ValueError as error:
        raise ValueError(f"model.name: {error}") from error
    try:
        takes = "pretrained" in inspect.signature(function).parameters
        model = function(classes, in_chans, size_hw, **({"pretrained": pretrained} if takes else {}))
    except Exception as error:
        raise ValueError(
            f"model.name: {name} raised {type(error).__name__}: {error}; it is called with (classes, in_chans, "
            f"(height, width)), here ({classes}, {in_chans}, {size_hw})"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"model.name: {name} returned {type(model).__name__}, expected a torch.nn.Module")
    described = getattr(model, "default_cfg", None) or getattr(model, "pretrained_cfg", None)
    described = dict(described) if isinstance(described, Mapping) else getattr(described, "__dict__", {})
    found = {"classifier": last_layer(model, classes), "first_conv": first_convolution(model), **described}
    model.default_cfg = model.pretrained_cfg = found  # type: ignore[assignment]
    return model


def first_convolution(model: nn.Module) -> str | None:
    """Return the name of the layer that sees the image's channels, or None."""
    return next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)


def last_layer(model: nn.Module, classes: int, other_than: tuple[str, ...] = ()) -> str | None:
    """Return the name of the last layer that gives one value per class, or None."""
    fitting = [
        name
        for name, module in model.named_modules()
        if name not in other_than
        and (
            (isinstance(module, nn.Linear) and module.out_features == classes)
            or (isinstance(module, nn.Conv2d) and module.out_channels == classes)
        )
    ]
    return fitting[-1] if fitting else None


def _torchvision_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import torchvision

    shown = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return tuple(shown.mean), tuple(shown.std)


def _with_channels(module: nn.Module, in_chans: int) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return nn.Conv2d(
        in_chans,
        module.out_channels,
        module.kernel_size,  # type: ignore[arg-type]
        module.stride,  # type: ignore[arg-type]
        module.padding,  # type: ignore[arg-type]
        bias=module.bias is not None,
    )
