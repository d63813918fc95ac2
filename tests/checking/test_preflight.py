"""What check finds before any image is decoded, and settings that only fail together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.checking import stage as check
from pipeline.config.loading import load
from pipeline.errors import InputError
from pipeline.models import network


def test_wrong_names_are_told_with_the_defects_of_tables_and_images(competition: Path) -> None:
    train = competition / "train.csv"
    train.write_text(train.read_text().replace("0003,cross", "0003,"))
    (competition / "images/0005.png").write_bytes(b"")
    settings = ["model.name=resnet1", "train.optimizer=adamv", "augment.train=[{HorizontalFlop: {}}]"]
    config = load([competition / "config.yaml"], settings)
    with pytest.raises(InputError) as caught:
        check.run(config)
    places = (
        "line 5: label is blank",
        "model.name: found",
        "train.optimizer: found",
        "HorizontalFlip",
        "0005.png: emp",
    )
    assert len(caught.value.lines) == len(places)
    for place, line in zip(places, caught.value.lines, strict=True):
        assert place in line


def test_turned_views_need_a_model_that_takes_them(competition: Path) -> None:
    def build(name: str, *settings: str) -> None:
        config = load([competition / "config.yaml"], [f"model.name={name}", *settings])
        network.build(config, ["a", "b"], network.Setting(torch.device("cpu"), "fp32", False), 0, fresh=True)

    wide = "model.size=[32, 48]"
    with pytest.raises(InputError, match="tta: rot90 turn 32 x 48 pixels into 48 x 32, which vit_tiny_patch16_224"):
        build("vit_tiny_patch16_224", wide, "tta=[hflip, rot90]")
    build("vit_tiny_patch16_224", wide, "tta=[hflip]")
    build("vit_tiny_patch16_224", "model.size=32", "tta=[d4]")
    build("test_resnet", wide, "tta=[d4]")
