"""What training again keeps, refuses and removes, and which weights predict takes; without training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config import fingerprints
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


UNDER = {"precision": "bf16", "threads": 2, "processes": 1, "code": "a"}


def begun(config: Config, under: dict[str, object]) -> None:
    """Leave fold 1 as if it was begun under these circumstances."""
    found = train.fields(config, fold_table.read(config), IMAGES)
    fingerprints.stamp(config.run_dir, "train-fold1", found, under=under)
    about = {"stamp": found, "under": under}
    save_tensors(config.run_dir / "fold1/state/last.safetensors", {"weight": torch.ones(2)}, about)


def again(config: Config, under: dict[str, object], force: bool = False) -> list[int]:
    return kept_folds.unfinished(config, [0, 1, 2], train.fields(config, fold_table.read(config), IMAGES), under, force)


@pytest.mark.parametrize(
    ("key", "value"), [("precision", "fp16"), ("threads", 1), ("processes", 2), ("code", "b")], ids=str
)
def test_an_unfinished_fold_continues_under_the_same_circumstances_alone(
    trained: Config, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(trained, UNDER)
    assert again(trained, UNDER) == [1, 2]
    other, change = UNDER | {key: value}, f"{key}: {UNDER[key]!r} -> {value!r}"
    with pytest.raises(
        MismatchError, match=r"fold1: was begun under other circumstances.*deterministic=false"
    ) as error:
        again(trained, other)
    assert change in str(error.value) and error.value.exit_code == 3
    assert ("train.threads=2 sets the old number" in str(error.value)) == (key == "threads")
    state = trained.run_dir / "fold1/state"
    assert state.is_dir()
    capsys.readouterr()
    anyhow = trained.model_copy(update={"train": trained.train.model_copy(update={"deterministic": False})})
    assert again(anyhow, other) == [1, 2] and state.is_dir()
    said = capsys.readouterr().out
    assert "fold1: continues under other circumstances" in said and change in said
    begun(trained, UNDER)
    assert again(trained, other, force=True) == [1, 2] and not state.exists()


def test_a_finished_fold_does_not_care_where_it_was_trained(trained: Config) -> None:
    found = train.fields(trained, fold_table.read(trained), IMAGES)
    fingerprints.stamp(trained.run_dir, "train-fold0", found, under=UNDER)
    assert again(trained, UNDER | {"threads": 8}) == [1, 2]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_lost_stamp_is_rebuilt_from_the_weights_or_the_checkpoint(
    trained: Config, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = train.fields(trained, fold_table.read(trained), IMAGES)
    save_tensors(trained.run_dir / "fold0/model.safetensors", {"weight": torch.ones(2)}, {"stamp": found})
    begun(trained, UNDER)
    for fold in (0, 1):
        path = trained.run_dir / f"stamps/train-fold{fold}.json"
        if damage == "missing":
            path.unlink()
        else:
            path.write_text(path.read_text()[:-9])
    with pytest.raises(MismatchError, match="was begun under other circumstances"):
        again(trained, UNDER | {"threads": 1})
    assert again(trained, UNDER) == [1, 2]
    said = capsys.readouterr().out
    for fold, teller in ((0, "model"), (1, "state/last")):
        assert f"train-fold{fold}.json: {damage}, rebuilt from" in said and f"fold{fold}/{teller}.safetensors" in said
    stamps = [fingerprints.read_stamp(trained.run_dir, f"train-fold{fold}") for fold in (0, 1)]
    assert all(stamp is not None and stamp.fields == found for stamp in stamps) and stamps[1].under == UNDER


@pytest.mark.parametrize("place", ["fold0", "last/fold0"])
def test_damaged_weights_are_named_and_force_clears_them(trained: Config, place: str) -> None:
    path = trained.run_dir / place / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(MismatchError, match=rf"{place}/model\.safetensors: damaged .*--force trains the fold anew"):
        unfinished(trained)
    assert unfinished(trained, force=True) == [0, 1, 2]
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
