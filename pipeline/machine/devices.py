"""Choose device, precision, threads and memory format from the hardware, and describe it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
from importlib import metadata
from typing import Any

import torch

from pipeline.config.sections.train import Train
from pipeline.errors import InputError, Problem
from pipeline.machine.processes import cores

LIBRARIES = ("accelerate", "albumentations", "numpy", "opencv-python-headless", "pillow", "timm", "torch")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's mallopt


def device() -> torch.device:
    """Return the device of this process: its GPU, Apple's, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpus() -> list[str]:
    """Return what names each GPU of this process to another one, in CUDA_VISIBLE_DEVICES; Apple's needs no name."""
    if torch.backends.mps.is_available():
        return [""]
    count = torch.cuda.device_count()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (visible or [str(number) for number in range(count)])[:count]


def precision(wanted: str, where: torch.device) -> str:
    """Return fp32, bf16 or fp16: what is asked, or for `auto` bf16 where native, fp16 on older GPUs, else fp32."""
    if wanted == "fp16" and where.type != "cuda":
        found, remedy = f"found fp16 on {where.type}", "use auto, bf16 or fp32"
        raise InputError(Problem("train.precision", found, "a GPU for it", remedy))
    if wanted != "auto":
        return wanted
    if where.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(where) >= (8, 0) else "fp16"
    # a CPU that does not compute in bf16 emulates it, slowly
    native = torch.cpu.get_capabilities() if where.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if any(native.get(f"{name}_bf16") for name in ("avx512", "amx", "arm")) else "fp32"


def channels_last(wanted: bool | None, where: torch.device, how: str) -> bool:
    """Tell whether images are stored channels last: on GPUs in half precision and on CPUs in bf16.

    On CPUs in fp32 it corrupted memory with one model (repvgg_a0), so there it must be asked for.
    """
    if wanted is not None:
        return wanted
    return (where.type == "cuda" and how != "fp32") or (where.type == "cpu" and how == "bf16")


def workers(wanted: int | None, where: torch.device) -> int:
    """Return the number of loader processes: what is asked, else none on a CPU, whose cores the model needs."""
    if wanted is not None:
        return wanted
    return 0 if where.type == "cpu" else min(8, cores())


def prepare(train: Train, processes: int = 1) -> int:
    """Set threads, the allocator and deterministic kernels; return the number of threads.

    glibc returns large blocks to the system at every step and faults them in again: keeping them made
    training 1.2 times faster on 2 cores.
    """
    threads = train.threads or max(1, cores() // processes)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
            libc.mallopt(option, value)
    return threads


def describe() -> dict[str, Any]:
    """Return versions, git commit and hardware, for env.json."""
    return {
        "python": platform.python_version(),
        "versions": versions(),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": cores(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that shape the numbers."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _commit() -> str | None:
    command = ["git", "-C", os.path.dirname(__file__), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
