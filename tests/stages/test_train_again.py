"""What training again keeps, refuses and removes, and which weights predict takes; without training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.contracts import foldtable
from pipeline.contracts.config import Config, load
from pipeline.contracts.errors import MismatchError
from pipeline.stages import folds, predict, train

IMAGES: Any = SimpleNamespace(digest="the same images")


@pytest.fixture
def trained(competition: Path) -> Config:
    """Return a config whose fold 0 lies there as finished, with a last epoch of `keep: best`."""
    config = load([competition / "config.yaml"])
    folds.run(config)
    unfinished(config)
    for folder in (config.run_dir / "fold0", config.run_dir / "last/fold0"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
    return config


def unfinished(config: Config, force: bool = False) -> list[int]:
    return train._unfinished(config, foldtable.read(config), IMAGES, [0, 1, 2], force)


def test_a_finished_fold_is_kept(trained: Config) -> None:
    assert unfinished(trained) == [1, 2]
    assert (trained.run_dir / "fold0/model.safetensors").read_bytes() == b"weights"


def test_other_settings_are_refused_and_named(trained: Config) -> None:
    changed = trained.model_copy(update={"train": trained.train.model_copy(update={"lr": 0.5})})
    with pytest.raises(MismatchError, match=r"other settings; --force replaces it(.|\n)*train\.lr: 0\.01 -> 0\.5"):
        unfinished(changed)
    assert (trained.run_dir / "fold0/model.safetensors").is_file()


@pytest.mark.parametrize("lr", [0.01, 0.5])
def test_force_leaves_nothing_of_the_earlier_training(trained: Config, lr: float) -> None:
    changed = trained.model_copy(update={"train": trained.train.model_copy(update={"lr": lr})})
    assert unfinished(changed, force=True) == [0, 1, 2]
    assert not (trained.run_dir / "fold0").exists()
    assert not (trained.run_dir / "last/fold0").exists()  # predict would read weights of another model


def test_predict_refuses_settings_that_the_weights_were_not_trained_for(trained: Config) -> None:
    assert predict._trained(trained, 3, None) == [0]
    larger = trained.model_copy(update={"model": trained.model.model_copy(update={"size": 48})})
    assert predict._trained(larger, 3, [0]) == [0]  # another resolution is a choice
    other = trained.model_copy(update={"model": trained.model.model_copy(update={"pool": "max"})})
    with pytest.raises(MismatchError, match=r"fold0: was trained with other .*model\.pool: None -> 'max'"):
        predict._trained(other, 3, None)
