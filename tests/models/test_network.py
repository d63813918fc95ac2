"""A config's model, and writing weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.loading import parse
from pipeline.errors import SpaceError
from pipeline.models.network import Setting, build, load_tensors, save_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3).T, "step": torch.tensor(3)}


def modules(network: nn.Module) -> set[str]:
    return {type(module).__name__ for module in network.modules()}


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ({"pool": "gem"}, lambda made: "GeM" in modules(made)),
        ({"zero_head": True}, lambda made: not made.get_submodule("fc").weight.any()),
        ({"stem": "small"}, lambda made: made.get_submodule("conv1").stride == (1, 1)),
        ({"multi_dropout": 3}, lambda made: getattr(made.get_submodule("fc"), "masks", 0) == 3),
        ({"grad_checkpointing": True}, lambda made: made.grad_checkpointing),
        ({"drop_rate": 0.4}, lambda made: made.drop_rate == 0.4),
        ({"drop_path_rate": 0.2}, lambda made: "DropPath" in modules(made)),
    ],
)
def test_a_models_options_reach_it(options: dict[str, Any], shows: Callable[[Any], bool]) -> None:
    def made(**given: Any) -> nn.Module:
        tree = {"name": "x", "data": {"root": "r", "image": "{id}", "target": "t"}}
        config = parse({**tree, "model": {"name": "resnet18", "pretrained": False, "size": 32, **given}}, "a.yaml")
        return build(config, ("a", "b"), Setting(torch.device("cpu"), "fp32", False), 0, fresh=True)[0]

    assert shows(made(**options)) and not shows(made())


def test_tensors_and_meta_come_back(tmp_path: Path) -> None:
    path = tmp_path / "fold0/model.safetensors"
    save_tensors(path, TENSORS, {"classes": ["é", "b"]})
    found, meta = load_tensors(path)
    assert meta == {"classes": ["é", "b"]} and found.keys() == TENSORS.keys()
    assert all(torch.equal(found[key], TENSORS[key]) for key in TENSORS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, {})
    before = path.read_bytes()
    (tmp_path / f".{path.name}.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(SpaceError, match="No space left"):
        save_tensors(path, {"weight": torch.zeros(100_000)}, {})
    assert path.read_bytes() == before
