"""A config's model, and writing weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from pipeline.config.loading import parse
from pipeline.errors import InputError, MismatchError, SpaceError
from pipeline.models.network import Setting, build, damage, load_tensors, save_tensors
from pipeline.models.weights import load_backbone

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


def test_any_flipped_bit_is_damage(tmp_path: Path) -> None:
    """A bit of every byte of the file, its header too; what is let through says the same."""
    path, whole = tmp_path / "model.safetensors", dict[str, torch.Tensor]()
    whole |= TENSORS | {"half": torch.ones(3, dtype=torch.bfloat16), "mask": torch.tensor([True, False])}
    whole |= {"none": torch.zeros(0, 4), "other name of half": whole["half"]}
    save_tensors(path, whole, {"classes": ["a", "b"], "fold": 0})
    content, missed = path.read_bytes(), []
    assert damage(path) is None
    for number, byte in enumerate(content):
        path.write_bytes(content[:number] + bytes([byte ^ 1 << number % 7]) + content[number + 1 :])
        if damage(path) is None:
            missed.append(number)
            found, meta = load_tensors(path)
            assert meta == {"classes": ["a", "b"], "fold": 0} and found.keys() == whole.keys()
            assert all(torch.equal(found[key], whole[key]) for key in whole)
    assert len(missed) < 10, missed


def test_the_metadata_is_one_entry(tmp_path: Path) -> None:
    """safetensors writes several in the order of a hash that differs from process to process: other bytes each time."""
    path, meta = tmp_path / "model.safetensors", {"fold": 0, "by number": {"10": 4, "2": 3}}
    save_tensors(path, TENSORS, {**meta, "by number": {2: 3, 10: 4}})
    with safe_open(path, framework="pt") as file:
        assert len(file.metadata()) == 1
    assert damage(path) is None and load_tensors(path)[1] == meta


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b'{"a": 1}'], ids=["emptied", "zeros", "other bytes"])
def test_damaged_weights_are_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fold1/model.safetensors"
    save_tensors(path, TENSORS, {})
    path.write_bytes(content)
    with pytest.raises(MismatchError, match=r"fold1/model\.safetensors: damaged \(.*train --force$") as error:
        load_tensors(path)
    assert len(error.value.lines) == 1 and "\n" not in error.value.lines[0]


def test_weights_of_earlier_versions_have_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_bytes({"a": torch.ones(2)}, metadata={"meta": '{"fold": 1}'}))
    assert damage(path) is None and load_tensors(path)[1] == {"fold": 1}


def test_weights_to_start_from_are_verified_where_they_are_ours(tmp_path: Path) -> None:
    network, path = nn.Linear(3, 40), tmp_path / "model.safetensors"
    save_tensors(path, dict(network.state_dict()), {})
    assert load_backbone(network, path).startswith("2 of 2")
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    with pytest.raises(InputError, match=r"model\.pretrained: .*SHA-256"):
        load_backbone(network, path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, {})
    before = path.read_bytes()
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / f".{path.name}.{bytes(4).hex()}.part").symlink_to("/dev/full")
    with pytest.raises(SpaceError, match="No space left"):
        save_tensors(path, {"weight": torch.zeros(100_000)}, {})
    assert path.read_bytes() == before
