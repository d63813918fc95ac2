"""Choices from the hardware, and what is said of it."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.errors import InputError
from pipeline.machine import devices

CPU, GPU, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("native", "chosen"), [({"avx512_bf16": True}, "bf16"), ({"arm_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]
)
def test_a_cpu_takes_bf16_only_where_it_is_native(
    native: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: native)
    assert devices.precision("auto", CPU) == chosen
    assert devices.precision("bf16", CPU) == "bf16"  # asked for is asked for


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_a_gpu_takes_bf16_from_ampere_on(
    capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    assert devices.precision("auto", GPU) == chosen
    assert devices.precision("fp16", GPU) == "fp16"
    assert devices.precision("fp32", GPU) == "fp32"


@pytest.mark.parametrize("where", [CPU, MPS])
def test_fp16_needs_a_gpu(where: torch.device) -> None:
    with pytest.raises(InputError, match=r"train\.precision: found fp16 on (cpu|mps)"):
        devices.precision("fp16", where)


def test_channels_last_where_it_is_safe() -> None:
    assert devices.channels_last(None, CPU, "bf16") and devices.channels_last(None, GPU, "fp16")
    assert not devices.channels_last(None, CPU, "fp32") and not devices.channels_last(None, GPU, "fp32")
    assert not devices.channels_last(None, MPS, "fp32")
    assert devices.channels_last(True, CPU, "fp32") and not devices.channels_last(False, GPU, "fp16")


def test_loader_processes_leave_a_cpus_cores_to_the_model() -> None:
    assert devices.workers(None, CPU) == 0 and devices.workers(3, CPU) == 3 and devices.workers(0, GPU) == 0
    assert 1 <= devices.workers(None, GPU) <= 8


def test_what_is_recorded_can_be_written_as_json() -> None:
    found = devices.describe()
    assert {"torch", "timm", "albumentations"} <= set(json.loads(json.dumps(found))["versions"])
    assert found["cores"] >= 1 and found["threads"] >= 1 and found["cpu"]


@pytest.mark.parametrize(
    ("seen", "count", "named"),
    [
        (None, 2, ["0", "1"]),
        ("3, 5", 2, ["3", "5"]),
        ("GPU-a,GPU-b,GPU-c", 3, ["GPU-a", "GPU-b", "GPU-c"]),
        ("", 0, []),
    ],
)
def test_gpus_are_named_as_other_processes_know_them(
    seen: str | None, count: int, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert devices.gpus() == named
