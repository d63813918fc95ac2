"""Watch a user's own network: what goes wrong inside it is told as its fault, at whichever batch it comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pipeline import plugins


def watch(network: nn.Module, name: str, outputs: int) -> None:
    """Let a network raise InputError, which names it, where it fails or does not return an output per image and class.

    A network that takes one batch may fail at another: at the last of an epoch, which is smaller, or at images of
    another size. Its class is replaced by one below it, so that copies of it are watched too; TorchScript's classes
    cannot be, and stay as they are.
    """
    kind = type(network)
    if isinstance(network, torch.jit.ScriptModule):
        return

    def forward(self: nn.Module, *given: Any) -> Any:
        if torch.compiler.is_compiling():
            return kind.forward(self, *given)
        found = plugins.call(name, "network(images_BCHW)", kind.forward, self, *given)
        heads = [found] if isinstance(found, Tensor) else found
        if not isinstance(heads, list | tuple) or not heads:
            raise plugins.returned(name, found, f"a tensor [B,{outputs}]")
        for head in heads:
            if head is not None and (not isinstance(head, Tensor) or head.shape != (len(given[0]), outputs)):
                raise plugins.returned(name, head, f"the shape {(len(given[0]), outputs)}")
        return found

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
