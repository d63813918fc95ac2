"""What training again keeps, refuses and removes, and which weights predict takes; without training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.errors import MismatchError
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.models.network import save_tensors
from pipeline.prediction import stage as predict
from pipeline.training import kept_folds
from pipeline.training import stage as train

IMAGES = "the same images"


@pytest.fixture
def trained(competition: Path) -> Config:
    """Return a config whose fold 0 lies there as finished, with a last epoch of `keep: best`."""
    config = load([competition / "config.yaml"])
    folds.run(config)
    unfinished(config)
    for folder in (config.run_dir / "fold0", config.run_dir / "last/fold0"):
        save_tensors(folder / "model.safetensors", {"weight": torch.ones(2)}, {})
    return config


def unfinished(config: Config, force: bool = False) -> list[int]:
    found = train.fields(config, fold_table.read(config), IMAGES)
    return kept_folds.unfinished(config, [0, 1, 2], found, {}, force)


def test_a_finished_fold_is_kept(trained: Config) -> None:
    assert unfinished(trained) == [1, 2]
    assert (trained.run_dir / "fold0/model.safetensors").is_file()


def test_other_settings_are_refused_and_named(trained: Config) -> None:
    changed = with_lr(trained, 0.5)
    with pytest.raises(MismatchError, match=r"other settings; --force replaces it(.|\n)*train\.lr: 0\.01 -> 0\.5"):
        unfinished(changed)
    assert (trained.run_dir / "fold0/model.safetensors").is_file()


def with_lr(config: Config, lr: float) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"lr": lr})})


def test_force_leaves_nothing_of_a_fold_that_differs(trained: Config) -> None:
    assert unfinished(with_lr(trained, 0.5), force=True) == [0, 1, 2]
    assert not (trained.run_dir / "fold0").exists()
    assert not (trained.run_dir / "last/fold0").exists()  # predict would read weights of another model


def test_force_keeps_what_is_equal(trained: Config) -> None:
    state = trained.run_dir / "fold1/state/last.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"epochs")
    assert unfinished(trained, force=True) == [1, 2]
    assert (trained.run_dir / "fold0/model.safetensors").is_file() and state.is_file()


@pytest.mark.parametrize("file", ["model.safetensors", "state/last.safetensors"])
def test_a_fold_that_nothing_vouches_for_is_refused(trained: Config, file: str) -> None:
    (trained.run_dir / "stamps/train-fold1.json").unlink()
    path = trained.run_dir / "fold1" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of whatever")
    with pytest.raises(MismatchError, match=r"fold1: nothing says what it was trained from.*--force"):
        unfinished(trained)
    assert path.is_file()
    assert unfinished(trained, force=True) == [1, 2]
    assert not path.exists()


def test_the_metric_matters_only_where_it_chooses(trained: Config) -> None:
    table = fold_table.read(trained)

    def differs(config: Config) -> bool:
        other = config.model_copy(update={"metric": "f1_macro"})
        return train.fields(config, table, IMAGES) != train.fields(other, table, IMAGES)

    def with_train(**values: object) -> Config:
        return trained.model_copy(update={"train": trained.train.model_copy(update=values)})

    assert not differs(trained)
    assert differs(with_train(keep="best")) and differs(with_train(patience=3))


def test_predict_refuses_settings_that_the_weights_were_not_trained_for(trained: Config) -> None:
    assert predict._trained(trained, 3, None) == [0]
    larger = trained.model_copy(update={"model": trained.model.model_copy(update={"size": 48})})
    assert predict._trained(larger, 3, [0]) == [0]  # another resolution is a choice
    other = trained.model_copy(update={"model": trained.model.model_copy(update={"pool": "max"})})
    with pytest.raises(MismatchError, match=r"fold0: was trained with other .*model\.pool: None -> 'max'"):
        predict._trained(other, 3, None)
