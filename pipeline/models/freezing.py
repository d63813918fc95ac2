"""Choose which weights stay as they are, for good or until an epoch."""

from __future__ import annotations

from timm.utils import freeze as timm_freeze
from torch import nn

from pipeline.models.layers import GeM
from pipeline.models.weights import classifiers, names

What = str | int | float | list[str]


class Frozen:
    """Hold the weights that are frozen for some epochs, with their BatchNorm statistics."""

    def __init__(self, model: nn.Module, what: What) -> None:
        chosen, norms = _choose(model, what)
        self.parameters = [parameter for name, parameter in model.named_parameters() if name in chosen]
        self.norms = [model.get_submodule(name) for name in norms]

    def hold(self, held: bool) -> None:
        """Freeze or thaw them; call it after every `train()`, which thaws the statistics."""
        for parameter in self.parameters:
            parameter.requires_grad_(not held)
        for norm in self.norms if held else []:
            norm.eval()


def freeze(model: nn.Module, what: What) -> int:
    """Freeze weights for good, with their BatchNorm statistics; return how many weight tensors still learn.

    `backbone` is everything but the part that holds the head; a number is that of the first layers that have
    weights, a share the first layers that hold at most this share of the weight tensors; else names of modules.
    Call it before the optimizer is made: timm swaps BatchNorm layers.
    """
    chosen, norms = _choose(model, what)
    for name, parameter in model.named_parameters():
        if name in chosen:
            parameter.requires_grad_(False)
    if norms:
        timm_freeze(model, norms)
    return sum(parameter.requires_grad for parameter in model.parameters())


def _choose(model: nn.Module, what: What) -> tuple[set[str], list[str]]:
    """Return the names of the frozen parameters and of the BatchNorm layers whose statistics freeze."""
    if isinstance(what, int | float):
        layers = _first_layers(model, what)
        chosen = {f"{layer}.{leaf}".lstrip(".") for layer in layers for leaf, _ in _own(model.get_submodule(layer))}
        return chosen, [name for name in layers if _is_norm(model.get_submodule(name))]
    if what == "backbone":
        heads = {name.split(".")[0] for name in (*classifiers(model), *names(model, "auxiliary"))}
        if not heads:
            raise ValueError("model.freeze: found backbone, but the model has no head that is known; name modules")
        # a learnt pooling belongs to the head, as its mean would have nothing to learn
        free = [f"{name}." for name, module in model.named_modules() if name in heads or isinstance(module, GeM)]
        prefixes = [f"{name}." for name, _ in model.named_children()]
        chosen = {name for name, _ in model.named_parameters() if not name.startswith(tuple(free))}
        prefixes = [prefix for prefix in prefixes if prefix not in free]
    else:
        wanted = [what] if isinstance(what, str) else what
        known = {name for name, _ in model.named_modules()}
        unknown = [name for name in wanted if name not in known]
        if unknown:
            children = [name for name, _ in model.named_children()]
            raise ValueError(
                f"model.freeze: found {', '.join(unknown)}, expected modules such as {', '.join(children)}"
            )
        prefixes = [f"{name}." for name in wanted]
        chosen = {name for name, _ in model.named_parameters() if name.startswith(tuple(prefixes))}
    norms = [name for name, module in model.named_modules() if _is_norm(module)]
    return chosen, [name for name in norms if f"{name}.".startswith(tuple(prefixes))]


def _first_layers(model: nn.Module, what: int | float) -> list[str]:
    """Return the first modules that have weights of their own, in the model's order; none of the heads."""
    layers = {name: len(_own(module)) for name, module in model.named_modules() if _own(module)}
    body, heads = [], tuple(f"{name}." for name in classifiers(model))
    for name in layers:
        if f"{name}.".startswith(heads):
            break
        body.append(name)
    if isinstance(what, int):
        if what > len(body):
            raise ValueError(
                f"model.freeze: found {what}, expected at most {len(body)}: the model has {len(layers)} layers with "
                "weights, the head's included"
            )
        return body[:what]
    room, chosen = what * sum(layers.values()), list[str]()
    for name in body:
        room -= layers[name]
        if room < -1e-9:
            break
        chosen.append(name)
    if not chosen:
        raise ValueError(
            f"model.freeze: found {what:g} of {sum(layers.values())} weight tensors, which is less than the first "
            f"layer's {next(iter(layers.values()))}; raise it, or leave it out"
        )
    return chosen


def _own(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(module.named_parameters(recurse=False))


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
