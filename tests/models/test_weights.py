"""Weights that cannot be had are the user's to mend, so each says how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from pipeline.config.sections.model import Model
from pipeline.errors import InputError
from pipeline.models import building


def build(**changes: Any) -> None:
    building.build(Model(**{"name": "test_resnet", "pretrained": False, "size": 32} | changes), 3)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_holds_no_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=rf"model\.pretrained: .*{name} holds no weights .*expected safetensors"):
        build(pretrained=str(path))


def test_a_file_of_one_tensor(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no weights that can be read"):
        build(pretrained=str(tmp_path / "w.pth"))


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **options: Any) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"cannot be fetched \(ConnectionError\); .* path of a local file"):
        build(pretrained=True)
