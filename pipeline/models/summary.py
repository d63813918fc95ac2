"""List the configured network's stages: output shapes, parameters, multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.competition.competition import load
from pipeline.config.config import Config
from pipeline.models import network
from pipeline.models.network import Setting

STAGED = ("blocks", "stages", "layers", "features")  # children whose own children are the stages


@dataclass(frozen=True)
class Stage:
    """Hold one part of a network, in the order in which an image passes."""

    name: str
    shape: tuple[int, ...] | None  # of its output for one image; None: it only works in training
    parameters: int
    learning: int  # of the parameters, where a part is frozen
    multiply_adds: int  # of one image: convolutions and matrix products

    def __str__(self) -> str:
        shape = "in training only" if self.shape is None else "×".join(map(str, self.shape[1:]))
        return f"{self.name:<20}{shape:>18}{self.parameters:>14,}{self.learning:>14,}{self.multiply_adds:>16,}"


def run(config: Config) -> list[str]:
    """Return the lines of the table. Weights are initial, so nothing is downloaded; no image is read."""
    classes, model = load(config).classes, config.model
    free = config.model_copy(update={"model": model.model_copy(update={"freeze": None})})  # it swaps BatchNorm
    made, _ = network.build(free, classes, Setting.of(config), 0, fresh=False)
    if (frozen := network.frozen(config, made)) is not None:
        frozen.hold(True)
    stages, whole = summarize(made, model.size_hw, config.data.in_chans)
    height, width = model.size_hw
    lines = [
        f"{config.name}: {model.name} at {height}×{width}, {config.data.in_chans} channels, {len(classes)} classes",
        f"{'stage':<20}{'output':>18}{'parameters':>14}{'learning':>14}{'multiply-adds':>16}",
        *map(str, [*stages, whole]),
    ]
    if model.freeze is not None:
        until = "for good" if model.thaw_epoch is None else f"for {model.thaw_epoch} epochs"
        lines.append(f"frozen {until}: {model.freeze}")
    size = network.weight_bytes(made)
    return [*lines, f"{whole.multiply_adds / 1e9:.3f} G multiply-adds per image, {size / 1e6:.1f} MB of weights"]


def summarize(model: nn.Module, size_hw: tuple[int, int], in_chans: int = 3) -> tuple[list[Stage], Stage]:
    """Return the stages and the whole, whose sums hold what lies in no stage too (a ViT's position embedding).

    Attention is counted with its two products, as they are not where kernels fuse them.
    """
    named: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        inner = {f"{name}.{key}": part for key, part in child.named_children()} if name in STAGED else {}
        named |= inner or {name: child}
    shapes: dict[str, tuple[int, ...]] = {}  # in the order in which the stages are reached

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    hooks = [
        module.register_forward_hook(lambda _, given, output, name=name: note(name, output))
        for name, module in named.items()
    ]
    counter = FlopCounterMode(display=False)
    model.eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        output = model(torch.zeros(1, in_chans, *size_hw, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    counts, root = counter.get_flop_counts(), type(model).__name__

    def stage(name: str, module: nn.Module, shape: tuple[int, ...] | None, flops: int) -> Stage:
        every = list(module.parameters())
        return Stage(
            name, shape, sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad), flops // 2
        )

    reached = [*shapes, *(name for name in named if name not in shapes and any(named[name].parameters()))]
    stages = [
        stage(name, named[name], shapes.get(name), sum(counts.get(f"{root}.{name}", {}).values())) for name in reached
    ]
    return stages, stage(root, model, tuple(output.shape), counter.get_total_flops())
