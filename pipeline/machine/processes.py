"""Count cores, and know the other processes of `accelerate launch`; nothing heavy is imported without them."""

from __future__ import annotations

import os
from typing import Any


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


def _state() -> Any:
    """Join the process group; stages that only the main process runs may take hours, so the limit is a day."""
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
