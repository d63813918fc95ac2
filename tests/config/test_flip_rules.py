"""Where the config says that flips change labels, nothing flips: neither in training nor in prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.config.rules import flip_rules
from pipeline.errors import InputError
from pipeline.methods.presets import PRESETS
from pipeline.methods.tta import VIEWS


def config(flips: str | None, augment: Any = "none", tta: Any = ("identity",)) -> Config:
    tree = {
        "name": "x",
        "data": {"root": "r", "image": "{id}", "target": "t", "flips_change_labels": flips},
        "model": {"name": "test_resnet"},
        "augment": {"train": augment},
        "tta": list(tta),
    }
    return parse(tree, "a.yaml")


@pytest.mark.parametrize(
    ("flips", "free"),
    [
        ("horizontal", ["identity", "vflip"]),
        ("vertical", ["identity", "hflip"]),
        ("both", ["identity"]),
        (None, ["hflip", "vflip", "d4"]),
    ],
)
def test_views_that_flip_are_refused(flips: str | None, free: list[str]) -> None:
    config(flips, tta=[*free, "crop5"])
    whole = ["hflip", "vflip", "hvflip", "rot90", "rot180", "rot270", "transpose", "antitranspose"]
    for view in whole if flips else ():
        if view not in free:
            with pytest.raises(InputError, match=f"tta: found {view}, which change the label, .* of {flips} flips"):
                config(flips, tta=[*free, view])


@pytest.mark.parametrize(("axis", "flips"), [(1, "horizontal"), (0, "vertical")])
def test_no_admitted_view_turns_the_axis_round(axis: int, flips: str) -> None:
    ramp = np.broadcast_to(np.moveaxis(np.arange(16.0)[None].repeat(16, 0), 1, axis), (1, 1, 16, 16))
    for name, view in VIEWS.items():
        moved = view(torch.from_numpy(ramp.copy()))[0, 0].numpy()
        rises = (np.diff(moved, axis=axis) > 0).all()
        refused = name in flip_rules.VIEWS and set(flip_rules.VIEWS[name]) & set(flip_rules.AXES[flips])
        assert bool(refused) is not bool(rises), name


def test_transforms_that_flip_are_refused_wherever_they_stand() -> None:
    with pytest.raises(InputError, match=r"found 'medium' with HorizontalFlip, .*or choose none, digits, text"):
        config("horizontal", "medium")
    config("vertical", "medium")
    with pytest.raises(InputError, match="found 'flat_light' with SquareSymmetry"):
        config("vertical", "flat_light")
    nested = [{"OneOf": {"transforms": [{"VerticalFlip": {}}, {"Sequential": {"transforms": [{"D4": {}}]}}], "p": 0.5}}]
    with pytest.raises(InputError, match=r"augment.train: found VerticalFlip, D4, which"):
        config("both", nested)
    config("both", [{"Affine": {"rotate": [-9, 9]}}])
    for name in PRESETS:
        config(None, name)
