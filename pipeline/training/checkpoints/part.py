"""Say how far an epoch has come in each process, to go on there with the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pipeline.machine import processes

Tensors = dict[str, Tensor]


@dataclass
class Part:
    """Hold a process's share of an epoch that is not finished, as a checkpoint has it.

    `tensors` are the states of the generators that dropout draws from, and with several processes the buffers of its
    networks, such as BatchNorm's statistics, which are averaged at an epoch's end alone.
    """

    step: int  # batches that are done
    seconds: float
    loss: Tensor  # the sum over this process's rows
    steps: int = 0  # of the epoch
    tensors: Tensors = field(default_factory=dict)

    def taken(self, networks: Mapping[str, nn.Module]) -> Part:
        """Return a copy, on the CPU, with the tensors as they are now."""
        tensors = _generators(self.loss.device)
        if processes.count() > 1:
            for name, network in networks.items():
                tensors |= {f"{name}.{key}": value.detach().cpu() for key, value in _buffers(network).items()}
        return replace(self, loss=self.loss.detach().cpu().clone(), tensors=tensors)

    def restore(self, networks: Mapping[str, nn.Module]) -> None:
        """Give generators and buffers their states; right before the next step, as whatever is begun draws too."""
        for name, network in networks.items():
            for key, value in _buffers(network).items():
                if (kept := self.tensors.get(f"{name}.{key}")) is not None:
                    value.copy_(kept)
        if (state := self.tensors.get("random.cpu")) is not None:
            torch.set_rng_state(state)
        if (state := self.tensors.get("random.device")) is not None:
            _set_device_state(self.loss.device, state)


def own(parts: Sequence[Part], steps: int, accumulate: int, device: torch.device) -> Part:
    """Return this process's part of those of a checkpoint.

    Where other processes wrote it, nothing is exact: its losses are shared out, and its place is the nearest before it.
    """
    if len(parts) == processes.count():
        one = parts[processes.rank()]
        return replace(one, loss=one.loss.to(device))
    first = parts[0]
    step = steps if first.step == first.steps else first.step * steps // first.steps // accumulate * accumulate
    loss = torch.stack([one.loss for one in parts]).sum() / processes.count()
    return Part(step, first.seconds, loss.to(device), steps)


def _buffers(network: nn.Module) -> Tensors:
    return dict(network.named_buffers(remove_duplicate=False))


def _generators(device: torch.device) -> Tensors:
    """Return the states of the generators that this process draws from."""
    found = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["random.device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["random.device"] = torch.mps.get_rng_state()
    return found


def _set_device_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
