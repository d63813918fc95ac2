"""The mean of the last epochs' weights: its numbers, BatchNorm's statistics after it, the same bytes after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from trainings import config, rows

from pipeline.batches import augmentation
from pipeline.batches.loader import Plan, TrainingBatches
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.models import network
from pipeline.training.fold import Fold
from pipeline.training.swa import Average, learning_norms, recompute
from pipeline.training.trainer import Fit

pytestmark = pytest.mark.usefixtures("one_thread")

SWA = {"epochs": 4, "ema": False, "average": "swa", "average_epochs": 2, "seed": 3, "threads": 1}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Stop(Exception):
    """Ends a training after an epoch, as a kill would."""


def settings(**train: Any) -> Config:
    return config(train={**SWA, **train}, augment={"train": "light"})


def train(made: Config, folder: Path, stop: int | None = None) -> list[dict[str, Tensor]]:
    """Return the weights after every epoch; end after epoch `stop`."""
    fold = Fold(1, rows(24, 0), rows(9, 1), ("a", "b", "c"), folder)
    fit, after = Fit(made, fold, augmentation.of(made), Accelerator(cpu=True), {"task": "multiclass"}), []

    def watch(_: int, epochs: Any) -> None:
        after.append({name: value.clone() for name, value in fit.model.state_dict().items()})
        if len(epochs) == stop:
            raise Stop

    fit.run(watch)
    return after


def test_the_kept_weights_are_the_mean_of_the_last_epochs(tmp_path: Path) -> None:
    after, kept = train(settings(), tmp_path), load_file(tmp_path / "model.safetensors")
    learnt = [name for name in kept if not name.endswith(STATISTICS)]
    assert len(learnt) > 10
    for name in learnt:
        wanted = (after[2][name].double() + after[3][name].double()) / 2
        np.testing.assert_array_equal(kept[name].numpy(), wanted.float().numpy())
    assert any((kept[name] - after[3][name]).abs().max() > 1e-5 for name in learnt), "no epoch's own weights"
    assert "mean of the last 2 epochs' weights  valid loss" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "state").exists()


def test_batchnorm_sees_one_more_epoch_through_the_mean_weights(tmp_path: Path) -> None:
    made = settings()
    after, kept = train(made, tmp_path), load_file(tmp_path / "model.safetensors")
    setting = network.Setting.of(made)
    model, _ = network.build(made, ("a", "b", "c"), setting, 1, fresh=True)
    model.load_state_dict(kept)
    name, first = next((name, one) for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d))
    seen: list[Tensor] = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    batches = TrainingBatches(rows(24, 0), Plan(24, 8, 3, 1), augmentation.of(made))
    normalize = network.normalize(model.eval(), setting)
    with torch.no_grad():
        for step in range(3):
            model(normalize(batches[4, step].images_BHWC))
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in seen]).mean(0)
    torch.testing.assert_close(kept[f"{name}.running_mean"], means, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(kept[f"{name}.running_var"], variances, atol=1e-5, rtol=1e-4)
    assert (kept[f"{name}.running_mean"] - after[3][f"{name}.running_mean"]).abs().max() > 1e-3, "not the last epoch's"


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_it_resumes_to_the_byte_before_between_and_after_the_averaged_epochs(tmp_path: Path, stop: int) -> None:
    made = settings(workers=0)
    train(made, tmp_path / "whole")
    with pytest.raises(Stop):
        train(made, tmp_path / "ended", stop)
    assert not (tmp_path / "ended/model.safetensors").exists()
    train(made, tmp_path / "ended")
    whole, ended = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "ended"))
    assert whole == ended


def test_frozen_statistics_stay() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.9), nn.BatchNorm1d(2))
    model.train()
    model[0].eval()
    norms = learning_norms(model)
    assert norms == [model[2]]
    batches = [torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[5.0, 0.0], [7.0, 8.0]])]
    recompute(model, norms, batches)
    np.testing.assert_array_equal(model[0].running_mean.numpy(), [0, 0])
    np.testing.assert_allclose(model[2].running_mean.numpy(), [4, 3], rtol=1e-4)  # nothing is dropped meanwhile
    np.testing.assert_allclose(model[2].running_var.numpy(), [2, (8 + 32) / 2], rtol=1e-4)
    assert model[2].momentum == 0.1 and not any(module.training for module in model.modules())


def test_the_mean_loses_no_bits() -> None:
    model, average = nn.Linear(1, 1, bias=False), Average()
    for value in (1e8, 1.0, -1e8, 3.0):
        nn.init.constant_(model.weight, value)
        average.add(model)
    average.load_into(model)
    assert model.weight.item() == 1.0


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"ema": True}, "average swa and ema.*train.ema: false"),
        ({"keep": "best"}, "keep best, which keeps one epoch"),
        ({"patience": 2}, "patience 2, which may end before"),
        ({"average_epochs": 5}, "swa of 5 epochs, expected at most epochs, 4"),
        ({"average": None}, "average_epochs 2, but no average: set average: swa"),
    ],
)
def test_averages_that_make_no_sense_are_refused(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        settings(**changed)


def test_a_quarter_of_the_epochs_is_averaged_unless_told() -> None:
    assert [settings(epochs=epochs, average_epochs=None).train.averaged for epochs in (2, 9, 40)] == [2, 2, 10]
    assert config().train.averaged == 0
    assert settings(average_epochs=3).train.averaged == 3
