"""Name what changes a training's bytes beside its settings: an unfinished fold continues under the same alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pipeline.config.config import Config
from pipeline.files import checksums
from pipeline.machine import devices, processes
from pipeline.models.network import Setting

PACKAGE = Path(__file__).parents[1]
ROOMS = (
    *("plugins.py", "methods", "files", "config", "competition", "folds", "machine", "images", "batches", "models"),
    *("prediction", "training"),
)


def circumstances(config: Config, threads: int) -> dict[str, Any]:
    """Return where and how this process would train, by names that a message can list."""
    setting = Setting.of(config)
    found = {
        "precision": setting.precision,
        "channels_last": setting.channels_last,
        "device": _device(setting.device),
        "processes": processes.count(),
        "code": code(),
        **{f"version of {name}": version for name, version in devices.versions().items()},
    }
    if setting.device.type == "cpu":  # elsewhere they shape no number that is learnt
        found["threads"] = threads
    return found


def remedy(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return how to go on where these differ."""
    ways = (
        [f"train.threads={old['threads']} sets the old number"]
        if "threads" in old and old["threads"] != new.get("threads")
        else []
    )
    return ", ".join([*ways, "train.deterministic=false continues nevertheless", "--force trains the fold anew"])


@cache
def code() -> str:
    """Return the SHA-256 of the source files of all rooms up to this one, those of the input's beginnings left out."""
    paths = sorted(path for name in ROOMS for path in ([PACKAGE / name] if name.endswith(".py") else _sources(name)))
    return checksums.array_hash([f"{path.relative_to(PACKAGE)} {checksums.file_hash(path)}" for path in paths])


def _sources(room: str) -> list[Path]:
    return list((PACKAGE / room).rglob("*.py"))


def _device(device: torch.device) -> str:
    """Return the kind of device as far as its arithmetic depends on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type
