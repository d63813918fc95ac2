"""A training that ends inside an epoch goes on with the same bytes, wherever it ends and whatever it does."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from trainings import CLASSES, config, rows

from pipeline.batches import augmentation
from pipeline.batches.loader import EarlySize
from pipeline.config.config import Config
from pipeline.machine import interruption
from pipeline.machine.interruption import Terminated
from pipeline.training import trainer
from pipeline.training.checkpoints.checkpoint import Checkpoint
from pipeline.training.fold import Fold
from pipeline.training.history import Epoch, History
from pipeline.training.trainer import Fit

pytestmark = pytest.mark.usefixtures("one_thread")

CURVE = ["epoch", "train_loss", "valid_loss", "valid_metric", "lr"]
EVERY_STEP = {"checkpoint_minutes": 1e-9, "threads": 1}
RECIPES: dict[str, dict[str, Any]] = {
    "dropout, mixing, a moving average": {
        "model": {"drop_rate": 0.3},
        "mix": {"kind": "cutmix", "prob": 0.7, "off_last_epochs": 1},
        "train": {"epochs": 2},
    },
    "groups of batches, drawn with replacement, disturbed labels": {
        "train": {"epochs": 2, "accumulate": 2, "batch_size": 5, "sampling": "balanced", "disturb_labels": 20.0}
    },
    "a thaw, early sizes, the mean of the last epochs' weights": {
        "model": {"freeze": "backbone", "thaw_epoch": 1, "drop_rate": 0.1},
        "train": {"epochs": 3, "batch_size": 12, "ema": False, "average": "swa", "sizes": [{"until": 0.5, "size": 24}]},
    },
    "bf16, stochastic depth, another optimizer, the best epoch": {
        "model": {"name": "test_vit", "drop_path_rate": 0.2},
        "train": {"epochs": 2, "batch_size": 12, "precision": "bf16", "optimizer": "lamb", "keep": "best"},
    },
    "a plateau, a loss scale": {
        "train": {"epochs": 2, "batch_size": 12, "schedule": "plateau", "plateau_patience": 0, "gamma": 0.1},
    },
}


class Killed(BaseException):
    """Ends a training as a kill does: nothing more is written."""


def made(**sections: Any) -> Config:
    return config(**{**sections, "train": {**EVERY_STEP, **sections.get("train", {})}, "augment": {"train": "light"}})


def fit(settings: Config, folder: Path, scaled: bool = False) -> Fit:
    train = rows(24, 1)
    sizes = [EarlySize(2, train.images, augmentation.build("light", (24, 24)))] if settings.train.early_sizes else []
    fold = Fold(0, train, rows(9, 2), CLASSES, folder / "fold0", None, tuple(sizes))
    joined = Accelerator(cpu=True)
    joined.scaler = torch.amp.GradScaler("cpu") if scaled else None
    return Fit(settings, fold, augmentation.of(settings), joined, {"task": "multiclass"})


def weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("**/model.safetensors"))]


def killed_at_a_checkpoint(settings: Config, folder: Path, monkeypatch: pytest.MonkeyPatch, scaled: bool) -> bool:
    """Train until the next checkpoint is written; return whether one was."""
    save = Checkpoint.save

    def end(self: Checkpoint, *given: Any) -> None:
        save(self, *given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", end)
        try:
            fit(settings, folder, scaled).run()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("name", RECIPES)
def test_a_kill_after_every_step_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt comes one checkpoint further."""
    settings, scaled = made(**RECIPES[name]), "loss scale" in name
    at_ends = settings.model_copy(update={"train": settings.train.model_copy(update={"checkpoint_minutes": None})})
    fit(at_ends, tmp_path / "whole", scaled).run()
    kills = 0
    while killed_at_a_checkpoint(settings, tmp_path / "cut", monkeypatch, scaled):
        assert not (tmp_path / "cut/fold0/model.safetensors").exists()
        kills += 1
    train = settings.train
    steps = math.ceil(math.ceil(24 / train.batch_size) / train.accumulate)
    assert kills == train.epochs * (steps + 1)  # after every step and every epoch
    assert len(weights(tmp_path / "whole")) == 1 + (train.keep == "best")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    curves = [pd.read_csv(tmp_path / name / "fold0/epochs.csv")[CURVE] for name in ("whole", "cut")]
    assert curves[0].equals(curves[1])
    assert not (tmp_path / "cut/fold0/state").exists()


@pytest.mark.parametrize(("signal_number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_step_writes_a_checkpoint_and_raises(
    signal_number: int, error: type[KeyboardInterrupt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = made(**RECIPES["dropout, mixing, a moving average"])
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"checkpoint_minutes": None})})
    fit(settings, tmp_path / "whole").run()
    step = Fit._stepped

    def signalled(self: Fit) -> bool:
        stepped = step(self)
        if self.history.updates == 1:
            signal.raise_signal(signal_number)  # amid a step: the moving average has not moved yet
        return stepped

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_stepped", signalled)
        with interruption.handled(), pytest.raises(error) as caught:
            fit(settings, tmp_path / "cut").run()
    assert type(caught.value) is error
    assert {path.name for path in (tmp_path / "cut/fold0/state").iterdir()} == {"last.safetensors"}
    resumed = fit(settings, tmp_path / "cut")
    resumed.run()
    assert "resumed in epoch 1 after step 2 of 3" in (tmp_path / "cut/fold0/train.log").read_text()
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_signal_while_validating_keeps_the_epochs_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = made(**RECIPES["bf16, stochastic depth, another optimizer, the best epoch"])
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"checkpoint_minutes": None})})
    fit(settings, tmp_path / "whole").run()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validate", lambda *_: signal.raise_signal(signal.SIGTERM))
        with interruption.handled(), pytest.raises(Terminated):
            fit(settings, tmp_path / "cut").run()
    fit(settings, tmp_path / "cut").run()
    assert "resumed in epoch 1 after step 2 of 2" in (tmp_path / "cut/fold0/train.log").read_text()
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_signal_between_epochs_raises_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = History.add

    def signalled(self: History, epoch: Epoch) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return add(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(History, "add", signalled)
        with interruption.handled(), pytest.raises(Terminated):
            fit(made(train={"epochs": 2}), tmp_path).run()
    assert len((tmp_path / "fold0/epochs.csv").read_text().splitlines()) == 2
