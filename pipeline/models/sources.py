"""Make networks: timm's, torchvision's (`torchvision/NAME`) and plugins (`FILE.py:function`)."""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import nn

from pipeline.config.sections.model import Model
from pipeline.errors import InputError, Problem, problems_of
from pipeline.models.weights import fit_backbone
from pipeline.plugins import file_of, function_of

TORCHVISION = "torchvision/"
AUXILIARY = {"googlenet": ("aux1.fc2", "aux2.fc2"), "inception_v3": ("AuxLogits.fc",)}  # the heads' last layers
HALF = (0.5, 0.5, 0.5)
SCRATCH = "weights from scratch"
Made = tuple[nn.Module, str]  # a network, and a line that says where its weights come from


def check_name(name: str) -> None:
    """Raise InputError where there is no such model, with the nearest names."""
    if file_of(name) is not None or timm.is_model(name):
        return  # what is wrong with a plugin is said when it is called
    known, source = timm.list_models(), "timm"
    if name.startswith(TORCHVISION):
        import torchvision

        names: list[str] = torchvision.models.list_models(module=torchvision.models)
        known, source = [TORCHVISION + one for one in names], "torchvision"
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=5))
        expected = f"a {source} model" + (f", such as {near}" if near else "")
        raise InputError(Problem("model.name", f"found '{name}'", expected))


def create(model: Model, outputs: int, in_chans: int) -> Made:
    """Return the network by its name, with the hub's weights where `pretrained` is true, initial ones otherwise.

    Raises InputError for an option that it does not take, and where weights cannot be fetched.
    """
    given = {
        "drop_rate": None if model.multi_dropout else model.drop_rate,  # the masks stand in its place
        "drop_path_rate": model.drop_path_rate,
        "global_pool": None if model.pool == "gem" else model.pool,
    }
    options = {key: value for key, value in given.items() if value is not None}
    source = _from_timm
    if file_of(model.name) is not None:
        source = _from_plugin
    elif model.name.startswith(TORCHVISION):
        source = _from_torchvision
    try:
        return source(model, outputs, in_chans, options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        height, width = model.size_hw
        found = f"{model.name} cannot be built with {options} at {height} x {width} pixels ({why(error)})"
        raise InputError(Problem("model", found)) from error
    except OSError as error:  # what the hub's client raises when it is out of reach
        found = f"the weights of {model.name} cannot be fetched ({type(error).__name__})"
        remedy = "connect to the internet, or give the path of a local file of weights, or false"
        raise InputError(Problem("model.pretrained", found, remedy=remedy)) from error


def why(error: Exception) -> str:
    """Return what an exception says, else the line that raised it: many of timm's assertions say nothing."""
    if said := " ".join(str(error).split()):
        return said
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent.name != "torch"]  # torch._assert raises there
    return f"{type(error).__name__} in {Path(own[-1].filename).name}: {own[-1].line}"


def _from_timm(model: Model, outputs: int, in_chans: int, options: dict[str, Any]) -> Made:
    """Return timm's network, told the image size where it is built for one (ViT); the others do not take it."""
    options |= {"num_classes": outputs, "pretrained": model.pretrained is True}
    options |= {"drop_rate": 0.0} if model.multi_dropout else {}
    options |= {} if in_chans == 3 else {"in_chans": in_chans}
    try:
        network: nn.Module = timm.create_model(model.name, img_size=model.size_hw, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        network = timm.create_model(model.name, **options)
    return network, f"{model.name}: " + ("timm's pretrained weights" if model.pretrained is True else SCRATCH)


def _from_torchvision(model: Model, outputs: int, in_chans: int, options: dict[str, Any]) -> Made:
    """Return torchvision's network, described as timm describes its own.

    GoogLeNet and Inception v3 have auxiliary heads in training where these have a weight. Their trained weights
    were made for images in [-1, 1], which torchvision computes inside them from others; here the normalisation
    says it.
    """
    import torchvision

    if "global_pool" in options:
        found = f"found '{options['global_pool']}' for {model.name}"
        raise InputError(Problem("model.pool", found, "gem or null, which keeps the model's own pooling"))
    name = model.name.removeprefix(TORCHVISION)
    auxiliary = AUXILIARY.get(name, ()) if model.aux_weight > 0 else ()
    trained = torchvision.models.get_model_weights(name).DEFAULT
    mean, std = (tuple(getattr(trained.transforms(), key)) for key in ("mean", "std"))
    known = {"drop_rate": "dropout", "drop_path_rate": "stochastic_depth_prob"}
    given: dict[str, Any] = {known[key]: value for key, value in options.items()}
    if name in AUXILIARY:
        given |= {"aux_logits": bool(auxiliary), "init_weights": True, "transform_input": False}
        mean, std = HALF, HALF
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **given)
    first = first_convolution(network)
    if in_chans != 3:
        layer: Any = network.get_submodule(str(first))
        layer.in_channels = in_chans
        layer.weight = nn.Parameter(layer.weight.new_empty(layer.out_channels, in_chans, *layer.kernel_size))
        layer.reset_parameters()
    network.default_cfg = network.pretrained_cfg = {  # type: ignore[assignment]
        "first_conv": first,
        "classifier": last_layer(network, outputs, AUXILIARY.get(name, ())),
        "auxiliary": auxiliary,
        "mean": mean,
        "std": std,
    }
    if model.pretrained is not True:
        return network, f"{model.name}: {SCRATCH}"
    fitted = fit_backbone(
        network, trained.get_state_dict(progress=False, check_hash=True), "torchvision's weights", in_chans
    )
    return network, f"{model.name}: torchvision's pretrained weights ({fitted})"


def _from_plugin(model: Model, outputs: int, in_chans: int, options: dict[str, Any]) -> Made:
    """Return what the user's function makes of (classes, in_chans, size_hw), and `pretrained` where it takes that.

    Attribute `default_cfg` of the module may say what timm's does: mean, std, classifier and first_conv by name.
    Raises InputError where the function fails or returns no module.
    """
    name, asked = model.name, (outputs, in_chans, model.size_hw)
    if options:
        raise InputError(Problem("model", f"found {', '.join(options)} for {name}", "its function to set them"))
    try:
        function = function_of(name)
    except ValueError as error:
        raise InputError(*(problem.below("model.name") for problem in problems_of(error))) from error
    try:
        takes = "pretrained" in inspect.signature(function).parameters
        network = function(*asked, **({"pretrained": model.pretrained is True} if takes else {}))
    except (Exception, SystemExit) as error:
        found = f"{name} raised {type(error).__name__}: {' '.join(str(error).split())}"
        how = f"it is called with (classes, in_chans, (height, width)), here {asked}"
        raise InputError(Problem("model.name", found, remedy=how)) from error
    if not isinstance(network, nn.Module):
        raise InputError(Problem("model.name", f"{name} returned {type(network).__name__}", "a torch.nn.Module"))
    described = getattr(network, "default_cfg", None) or getattr(network, "pretrained_cfg", None)
    described = dict(described) if isinstance(described, Mapping) else getattr(described, "__dict__", {})
    network.default_cfg = network.pretrained_cfg = {  # type: ignore[assignment]
        "classifier": last_layer(network, outputs),
        "first_conv": first_convolution(network),
        **described,
    }
    return network, f"{name}: weights as its function makes them"


def first_convolution(network: nn.Module) -> str | None:
    """Return the name of the layer that sees the image's channels, or None."""
    return next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)


def last_layer(network: nn.Module, outputs: int, other_than: tuple[str, ...] = ()) -> str | None:
    """Return the name of the last layer that gives one value per class, or None."""
    widths = {
        name: module.out_features if isinstance(module, nn.Linear) else module.out_channels
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    return next((name for name in reversed(widths) if widths[name] == outputs and name not in other_than), None)
