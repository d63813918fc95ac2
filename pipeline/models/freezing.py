"""Choose which weights stay as they are, for good or until an epoch."""

from __future__ import annotations

from timm.utils import freeze as timm_freeze
from torch import nn

from pipeline.errors import InputError, Problem
from pipeline.models.layers import GeM
from pipeline.models.weights import classifiers, heads, inside

What = str | int | float | list[str]


class Frozen:
    """Hold the weights that are frozen for some epochs, with their BatchNorm statistics."""

    def __init__(self, model: nn.Module, what: What) -> None:
        modules = [model.get_submodule(name) for name in _chosen(model, what)]
        self.parameters = [parameter for module in modules for parameter in module.parameters(recurse=False)]
        self.norms = [module for module in modules if _is_norm(module)]

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
    names = _chosen(model, what)
    Frozen(model, what).hold(True)
    if norms := [name for name in names if _is_norm(model.get_submodule(name))]:
        timm_freeze(model, norms)
    return sum(parameter.requires_grad for parameter in model.parameters())


def _chosen(model: nn.Module, what: What) -> list[str]:
    """Return the names of the modules whose own weights and statistics freeze; what is inside them has its own name."""
    if isinstance(what, int | float):
        return _first_layers(model, what)
    modules = dict(model.named_modules())
    if what == "backbone":
        kept = {name.split(".")[0] for name in heads(model)}
        if not kept:
            raise _problem("found backbone, but the model has no head that is known", remedy="name modules")
        # a learnt pooling belongs to the head, as its mean would have nothing to learn
        kept |= {name for name, module in modules.items() if isinstance(module, GeM)}
        return [name for name in modules if not inside(name, list(kept))]
    wanted = [what] if isinstance(what, str) else what
    if unknown := [name for name in wanted if name not in modules]:
        children = ", ".join(name for name, _ in model.named_children())
        raise _problem(f"found {', '.join(unknown)}", f"modules such as {children}")
    return [name for name in modules if inside(name, wanted)]


def _first_layers(model: nn.Module, what: int | float) -> list[str]:
    """Return the first modules that have weights of their own, in the model's order; none of the heads."""
    counts = {name: len(list(module.parameters(recurse=False))) for name, module in model.named_modules()}
    layers = {name: count for name, count in counts.items() if count}
    names, total = list(layers), sum(layers.values())
    first_head = next((number for number, name in enumerate(names) if inside(name, classifiers(model))), len(names))
    if isinstance(what, int):
        if what > first_head:
            raise _problem(
                f"found {what}",
                f"at most {first_head}: the model has {len(layers)} layers with weights, the head's included",
            )
        return names[:what]
    chosen, left = 0, what * total
    while chosen < first_head and layers[names[chosen]] <= left + 1e-9:
        left -= layers[names[chosen]]
        chosen += 1
    if not chosen:
        least = f"which is less than the first layer's {layers[names[0]]}"
        raise _problem(f"found {what:g} of {total} weight tensors, {least}", remedy="raise it, or leave it out")
    return names[:chosen]


def _problem(found: str, expected: str = "", remedy: str = "") -> InputError:
    return InputError(Problem("model.freeze", found, expected, remedy))


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
