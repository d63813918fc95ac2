"""Count cores, and know the other processes of `torchrun`; nothing heavy is imported without them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count() -> int:
    """Return the number of processes that work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's number; only the main one, 0, writes files and prints."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Tell whether this is the main process."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        _state().wait_for_everyone()


def gather(value: Any) -> list[Any]:
    """Return every process's value, in the order of their ranks."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    _state()
    return list(gather_object([value]))


def agree(value: Any) -> Any:
    """Return the main process's value in every process."""
    return gather(value)[0]


def average_buffers(*networks: nn.Module) -> None:
    """Give buffers of fractions, such as BatchNorm's statistics, their mean over the processes, in place.

    Each process sees its share of every batch. Statistics move linearly, so their mean at an epoch's end is what
    they were if they were averaged at every step. Summed in double precision: what is equal everywhere stays as it is.
    """
    if count() == 1:
        return
    import torch
    from accelerate.utils import reduce

    _state()
    found = {id(one): one for network in networks for one in network.buffers() if one.is_floating_point()}.values()
    if found:
        flat = torch.cat([one.detach().double().flatten() for one in found])
        means = reduce(flat, "mean").split([one.numel() for one in found])
        for one, mean in zip(found, means, strict=True):
            one.copy_(mean.view_as(one))


def _state() -> Any:
    """Join the process group; stages that only the main process runs may take hours, so the limit is a day."""
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
