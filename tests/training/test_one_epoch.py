"""A training of one epoch: what has no room in it is curtailed, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_training import train
from trainings import config

from pipeline.config.config import Config
from pipeline.config.rules.recipe_rules import shortened


def one(**sections: Any) -> Config:
    own = {"epochs": 1, "batch_size": 6, "lr": 0.008, "schedule": "constant", "warmup_epochs": 1.0, "threads": 1}
    return config(**{**sections, "train": {**own, **sections.get("train", {})}})


@pytest.mark.parametrize("warmup", [1.0, 5.0])
def test_the_warm_up_is_a_quarter_and_said(tmp_path: Path, warmup: float) -> None:
    made = one(train={"warmup_epochs": warmup})
    assert (made.train.warmup, made.train.warmup_epochs) == (0.25, warmup)
    history = train(made, tmp_path)  # 24 rows: four steps, one of them warms up
    assert history.epochs[-1].lr == 0.008
    said = f"note: one epoch has no room for train.warmup_epochs {warmup:g}: the rate rises over the first quarter"
    assert said in (tmp_path / "fold0/train.log").read_text()


@pytest.mark.parametrize(("warmup", "schedule"), [(0.0, "cosine"), (0.5, "cosine"), (1.0, "one_cycle")])
def test_a_warm_up_that_fits_stays(warmup: float, schedule: str) -> None:
    made = one(train={"warmup_epochs": warmup, "schedule": schedule})
    assert shortened(made) == [] and (warmup == 1.0 or made.train.warmup == warmup)


def test_whatever_a_recipe_does_in_its_epochs_has_one_that_works(tmp_path: Path) -> None:
    """As with --set train.epochs=1 on a long recipe."""
    made = one(
        model={"freeze": "backbone", "thaw_epoch": 2},
        mix={"kind": "mixup", "prob": 1.0, "off_last_epochs": 3},
        train={"ema": False, "average": "swa", "average_epochs": 4, "sizes": [{"until": 0.5, "size": 16}]},
    )
    assert (made.train.averaged, made.train.early_sizes) == (1, [])
    train(made, tmp_path)
    log = (tmp_path / "fold0/train.log").read_text()
    for kept in (
        "train.warmup_epochs 1",
        "train.sizes",
        "train.average",
        "model.thaw_epoch 2",
        "mix.off_last_epochs 3",
    ):
        assert f"note: one epoch has no room for {kept}" in log
    assert "mean of the last 1 epochs' weights" in log and "16×16" not in log
    assert shortened(one(train={"epochs": 2, "warmup_epochs": 1.0})) == []
