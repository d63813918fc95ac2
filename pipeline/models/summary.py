"""Count a network's parameters and multiply-adds, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

STAGED = ("blocks", "stages", "layers", "features")  # children whose own children are the stages


@dataclass(frozen=True)
class Stage:
    """Hold one part of a network, in the order in which an image passes."""

    name: str
    shape: tuple[int, ...] | None  # of its output for one image; None: it only works in training
    parameters: int
    learning: int  # of the parameters, where a part is frozen
    multiply_adds: int  # of one image: convolutions and matrix products


def summarize(model: nn.Module, size_hw: tuple[int, int], in_chans: int = 3) -> tuple[list[Stage], Stage]:
    """Return the stages and the whole, whose sums hold what lies in no stage too (a ViT's position embedding).

    Attention is counted with its two products, as they are not where kernels fuse them.
    """
    named = {name: model.get_submodule(name) for name in _stage_names(model)}
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [module.register_forward_hook(partial(_note, shapes, name)) for name, module in named.items()]
    counter = FlopCounterMode(display=False)
    model.eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        output = model(torch.zeros(1, in_chans, *size_hw, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    counts = counter.get_flop_counts()
    root = type(model).__name__
    stages = [
        Stage(name, shapes.get(name), *_sizes(module), sum(counts.get(f"{root}.{name}", {}).values()) // 2)
        for name, module in sorted(named.items(), key=lambda one: _place(one[0], shapes))
        if name in shapes or any(True for _ in module.parameters())
    ]
    return stages, Stage(root, tuple(output.shape), *_sizes(model), counter.get_total_flops() // 2)


def _stage_names(model: nn.Module) -> list[str]:
    names = []
    for name, child in model.named_children():
        inner = [f"{name}.{key}" for key, _ in child.named_children()] if name in STAGED else []
        names += inner or [name]
    return names


def _note(shapes: dict[str, tuple[int, ...]], name: str, module: nn.Module, given: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        shapes[name] = tuple(output.shape)


def _place(name: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return when a stage was reached; the others come last."""
    return list(shapes).index(name) if name in shapes else len(shapes)


def _sizes(module: nn.Module) -> tuple[int, int]:
    every = list(module.parameters())
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)
