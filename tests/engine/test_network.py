"""Writing weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pipeline.contracts.errors import SpaceError
from pipeline.engine.network import load_tensors, save_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3).T, "step": torch.tensor(3)}


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
