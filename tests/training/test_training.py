"""Whole trainings of tiny networks: accumulation is exact, every option trains, failures are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from trainings import CLASSES, SIDE, config, rows

from pipeline.batches import augmentation
from pipeline.batches.loader import Plan
from pipeline.config.config import Config
from pipeline.errors import InputError, TrainingError
from pipeline.methods.schedules import SCHEDULES
from pipeline.models import network
from pipeline.training.fold import Fold
from pipeline.training.history import History
from pipeline.training.optimizer import optimizer
from pipeline.training.trainer import fit

SETTING = network.Setting(torch.device("cpu"), "fp32", False)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Tiny networks are slower on several threads, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(settings: Config, folder: Path, count: int = 24, valid: int = 9, number: int = 0) -> History:
    fold = Fold(number, rows(count, 1), rows(valid, 2), CLASSES, folder / f"fold{number}")
    made = augmentation.build(settings.augment.train, settings.model.size_hw)
    return fit(settings, fold, made, Accelerator(cpu=True), {"task": settings.data.task})


def weights(folder: Path) -> dict[str, Tensor]:
    return network.load_tensors(folder / "fold0/model.safetensors")[0]


def initial(settings: Config) -> dict[str, Tensor]:
    return dict(network.build(settings, CLASSES, SETTING, 0, fresh=True)[0].state_dict())


PLAIN = {"optimizer": "sgd", "schedule": "constant", "ema": False, "lr": 0.05, "clip_grad": None, "weight_decay": 0.0}


@pytest.mark.parametrize(
    ("count", "whole", "parts", "accumulate"),
    [(64, 32, 8, 4), (40, 40, 8, 5), (39, 39, 8, 5)],  # 39 rows: batches of 7 and 8 weigh by their rows
)
def test_accumulated_gradients_are_those_of_the_whole_batch(
    count: int, whole: int, parts: int, accumulate: int, tmp_path: Path
) -> None:
    """Without BatchNorm and with SGD, 8 rows four times are 32 rows once, in the last group too."""
    model = {"name": "test_vit"}
    sums = []
    for name, size, times in (("whole", whole, 1), ("parts", parts, accumulate)):
        settings = config(
            model=model, augment={"train": "none"}, train={**PLAIN, "batch_size": size, "accumulate": times}
        )
        train(settings, tmp_path / name, count)
        sums.append(weights(tmp_path / name))
    start = initial(settings)
    moved = max((sums[0][key] - start[key]).abs().max().item() for key in start)
    apart = max((sums[0][key] - sums[1][key]).abs().max().item() for key in start)
    assert moved > 1e-2
    assert apart < 1e-4 * moved


@pytest.mark.parametrize("count", [56, 53])
def test_the_last_partial_group_weighs_its_rows_evenly(count: int, tmp_path: Path) -> None:
    """7 batches in groups of 4 and 3: each step is the mean gradient over all rows of its group."""
    settings = config(
        model={"name": "test_vit"}, augment={"train": "none"}, train={**PLAIN, "batch_size": 8, "accumulate": 4}
    )
    train(settings, tmp_path, count)
    model, _ = network.build(settings, CLASSES, SETTING, 0, fresh=True)
    table, normalize = rows(count, 1), network.normalize(model, SETTING)
    stepper = optimizer(settings, model)
    plan = Plan(count, 8, settings.train.seed, 0)
    order = plan.order(0)
    assert plan.steps == 7
    for group in (range(4), range(4, 7)):
        numbers = np.concatenate([plan.step(order, step)[0] for step in group])
        images = normalize(torch.from_numpy(np.stack([table.images[int(n)] for n in numbers])))
        assert table.targets_NC is not None
        loss = torch.nn.functional.cross_entropy(model(images), torch.from_numpy(table.targets_NC[numbers]))
        loss.backward()
        stepper.step()
        stepper.zero_grad()
    found, start = weights(tmp_path), initial(settings)
    moved = max((found[key] - start[key]).abs().max().item() for key in start)
    apart = max((found[key] - value).abs().max().item() for key, value in model.state_dict().items())
    assert apart < 1e-4 * moved


def test_accumulation_counts_schedules_in_optimizer_steps(tmp_path: Path) -> None:
    """7 batches in groups of 4 are 2 steps an epoch; the cosine has to end with the last."""
    settings = config(train={"epochs": 3, "batch_size": 8, "accumulate": 4, "schedule": "cosine", "lr": 1.0e-3})
    history = train(settings, tmp_path, 56)
    assert history.updates == 6
    wanted = [1e-3 * 0.5 * (1 + np.cos(np.pi * last / 6)) for last in (1, 3, 5)]
    assert [epoch.lr for epoch in history.epochs] == pytest.approx(wanted)


def test_training_learns_and_writes_its_files(tmp_path: Path) -> None:
    history = train(config(train={"epochs": 4, "lr": 3e-3, "ema": False}), tmp_path, 48)
    assert history.epochs[-1].train_loss < 0.6 * history.epochs[0].train_loss
    table = pd.read_csv(tmp_path / "fold0/epochs.csv")
    assert table.epoch.tolist() == [1, 2, 3, 4]
    assert (table.images_per_second > 0).all() and (table.seconds > 0).all()
    assert {path.name for path in (tmp_path / "fold0").iterdir()} == {
        *("model.safetensors", "epochs.csv", "train.log", "batch.npz"),
    }
    with np.load(tmp_path / "fold0/batch.npz", allow_pickle=False) as batch:
        assert batch["images"].shape == (8, SIDE, SIDE, 3) and batch["images"].dtype == np.uint8
        np.testing.assert_allclose(batch["targets"].sum(1), 1, rtol=1e-6)
        assert batch["classes"].tolist() == list(CLASSES)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_trains(name: str, tmp_path: Path) -> None:
    history = train(config(train={"schedule": name, "epochs": 2, "warmup_epochs": 0.5}), tmp_path)
    assert len(history.epochs) == 2 and all(0 < epoch.lr <= 1e-3 for epoch in history.epochs)


def test_a_plateau_lowers_the_rate_down_to_its_floor(tmp_path: Path) -> None:
    settings = config(
        train={"schedule": "plateau", "plateau_patience": 0, "gamma": 0.1, "epochs": 9, "lr": 1e-9, "min_lr": 2e-11}
    )
    epochs = train(settings, tmp_path).epochs  # so small a rate that little improves
    expected, rate, lowest = [], 1e-9, float("inf")
    for epoch in epochs:
        expected.append(max(rate, 2e-11))
        rate, lowest = (rate, epoch.valid_loss) if epoch.valid_loss < lowest else (rate * 0.1, lowest)
    assert [epoch.lr for epoch in epochs] == pytest.approx(expected, abs=0)
    assert epochs[0].lr == 1e-9 and epochs[-1].lr == pytest.approx(2e-11, abs=0)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    settings = config(train={**PLAIN, "lr": 1e30, "epochs": 3})
    with pytest.raises(TrainingError, match=r"fold 0.* not finite; .*lower train\.lr") as caught:
        train(settings, tmp_path)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "fold0/model.safetensors").exists()


def test_keep_best_stores_the_best_epoch_and_the_last(tmp_path: Path) -> None:
    """A first good epoch, then a rate that ruins it: the two files must differ, and the better one is kept."""
    settings = config(
        train={**PLAIN, "keep": "best", "monitor": "loss", "epochs": 4, "lr": 0.3, "schedule": "constant"}
    )
    history = train(settings, tmp_path)
    losses = [epoch.valid_loss for epoch in history.epochs]
    assert history.best == int(np.argmin(losses))
    last = network.load_tensors(tmp_path / "last/fold0/model.safetensors")[0]
    kept, meta = network.load_tensors(tmp_path / "fold0/model.safetensors")
    assert meta["classes"] == list(CLASSES) and meta["fold"] == 0
    same = all(torch.equal(kept[key], last[key]) for key in kept)
    assert same == (history.best == 3)
    stopped = config(train={**settings.train.model_dump(), "keep": "last", "epochs": history.best + 1})
    train(stopped, tmp_path / "short")
    assert all(torch.equal(kept[key], value) for key, value in weights(tmp_path / "short").items())
    assert not (tmp_path / "fold0/state").exists()


def test_early_stopping_ends_the_training(tmp_path: Path) -> None:
    history = train(config(train={**PLAIN, "lr": 1e-12, "epochs": 9, "patience": 2, "min_delta": 0.5}), tmp_path)
    assert len(history.epochs) == 3 and "stopped" in history.log[-1]


def test_the_moving_average_is_what_is_kept_and_validated(tmp_path: Path) -> None:
    base = {"epochs": 2, "lr": 1e-2}
    with_ema = train(config(train={**base, "ema": True}), tmp_path / "ema")
    without = train(config(train={**base, "ema": False}), tmp_path / "plain")
    assert [epoch.train_loss for epoch in with_ema.epochs] == [epoch.train_loss for epoch in without.epochs]
    assert [epoch.valid_loss for epoch in with_ema.epochs] != [epoch.valid_loss for epoch in without.epochs]
    ema, plain, start = weights(tmp_path / "ema"), weights(tmp_path / "plain"), initial(config())
    moved = {key for key in plain if not torch.equal(ema[key], start[key])}
    assert any("running_mean" in key for key in moved) and "fc.weight" in moved
    between = (ema["fc.weight"] - start["fc.weight"]).norm() / (plain["fc.weight"] - start["fc.weight"]).norm()
    assert 0.1 < between < 1  # warmed up: a short training does not keep its initial weights


def test_a_frozen_backbone_trains_the_head_alone(tmp_path: Path) -> None:
    settings = config(model={"freeze": "backbone"}, train={"lr": 1e-2, "ema": True, "epochs": 2})
    train(settings, tmp_path)
    start, end = initial(settings), weights(tmp_path)
    assert sorted(start) == sorted(end)
    assert {key for key in start if not torch.equal(start[key], end[key])} == {"fc.weight", "fc.bias"}
    loaded, _ = network.load(tmp_path / "fold0/model.safetensors", settings, SETTING)
    assert torch.equal(loaded.state_dict()["fc.weight"], end["fc.weight"])


@pytest.mark.parametrize("mix", [{"kind": "cutmix", "prob": 1.0}, {"kind": "mixup", "prob": 1.0}])
def test_mixing_trains_and_is_off_at_the_end(mix: dict[str, Any], tmp_path: Path) -> None:
    base = {"epochs": 2, "ema": False}
    both = train(config(mix=mix, train=base), tmp_path / "on").epochs
    off = train(config(mix={**mix, "off_last_epochs": 2}, train=base), tmp_path / "off").epochs
    none = train(config(train=base), tmp_path / "none").epochs
    assert [epoch.train_loss for epoch in off] == [epoch.train_loss for epoch in none]
    assert both[0].train_loss != none[0].train_loss
    with np.load(tmp_path / "on/fold0/batch.npz") as batch:
        assert ((batch["targets"] > 0).sum(1) > 1).any()


def test_weights_decay_and_biases_do_not(tmp_path: Path) -> None:
    start = initial(config())
    for name, decay in (("none", 0.0), ("some", 0.5)):
        train(
            config(train={**PLAIN, "optimizer": "momentum", "batch_size": 24, "weight_decay": decay}), tmp_path / name
        )
    none, some = weights(tmp_path / "none"), weights(tmp_path / "some")
    torch.testing.assert_close(none["fc.weight"] - some["fc.weight"], 0.05 * 0.5 * start["fc.weight"])
    assert torch.equal(none["fc.bias"], some["fc.bias"])


@pytest.mark.parametrize(("patch", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_the_configured_patch_is_cut(patch: str, axis: int, tmp_path: Path) -> None:
    base = {"train": {"epochs": 1, "ema": False}, "augment": {"train": "none"}}
    train(config(**base), tmp_path / "none")
    train(config(**base, mix={"kind": "cutmix", "patch": patch, "prob": 1.0}), tmp_path / "cut")
    found = []
    for name in ("none", "cut"):
        with np.load(tmp_path / name / "fold0/batch.npz") as batch:
            found.append(batch["images"])
    changed_BHW = (found[0] != found[1]).any(-1)
    assert changed_BHW.shape[1:] == (SIDE, SIDE) and changed_BHW.any() and not changed_BHW.all()
    lines = changed_BHW.mean(axis)  # a band changes whole rows, a strip whole columns; pixels may be equal by chance
    assert set(np.unique(lines.round())) == {0.0, 1.0} and (np.abs(lines - lines.round()) < 0.1).all()


def test_alpha_and_prob_of_mixing_count(tmp_path: Path) -> None:
    base = {"epochs": 1, "ema": False}
    never = train(config(mix={"kind": "mixup", "prob": 0.0}, train=base), tmp_path / "never").epochs
    none = train(config(train=base), tmp_path / "none").epochs
    assert never[0].train_loss == none[0].train_loss
    train(config(mix={"kind": "mixup", "prob": 1.0, "alpha": 2000.0}, train=base), tmp_path / "even")
    with np.load(tmp_path / "even/fold0/batch.npz") as batch:
        largest_B = batch["targets"].max(1)
    assert ((np.abs(largest_B - 0.5) < 0.05) | (largest_B > 0.999)).all() and (largest_B < 0.6).any()


def test_rows_count_by_their_weight(tmp_path: Path) -> None:
    settings = config(train={"epochs": 4, "lr": 1e-2, "ema": False})
    made = augmentation.build(settings.augment.train, settings.model.size_hw)
    scores = {}
    for name, others in (("even", 1.0), ("one class", 1e-6)):
        known = rows(48, 1)
        assert known.targets_NC is not None
        weighted = replace(known, weights_N=np.where(known.targets_NC[:, 0] == 1, 1.0, others).astype(np.float32))
        fold = Fold(0, weighted, rows(9, 2), CLASSES, tmp_path / name)
        history = fit(settings, fold, made, Accelerator(cpu=True), {"task": settings.data.task})
        scores[name] = history.epochs[-1].valid_metric
    assert scores["one class"] == pytest.approx(1 / 3) and scores["even"] > 0.6  # nothing else was ever learnt


def test_multilabel_trains(tmp_path: Path) -> None:
    settings = config(
        data={"target": list(CLASSES), "task": "multilabel"},
        loss={"name": "binary_cross_entropy", "label_smoothing": 0.1},
        metric="mean_column_auc",
        train={"epochs": 3, "lr": 3e-3, "ema": False},
    )
    history = train(settings, tmp_path, 48)
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss
    assert history.epochs[-1].valid_metric > 0.7


def test_layers_below_the_head_learn_more_slowly(tmp_path: Path) -> None:
    settings = config(train={**PLAIN, "layer_decay": 0.1, "lr": 0.05})
    train(settings, tmp_path)
    train(config(train={**PLAIN, "lr": 0.05}), tmp_path / "even")
    start = initial(settings)

    def moved(folder: Path, key: str) -> float:
        return float((weights(folder)[key] - start[key]).norm())

    slower = {key: moved(tmp_path, key) / moved(tmp_path / "even", key) for key in ("conv1.0.weight", "fc.weight")}
    assert slower["conv1.0.weight"] < 0.02 and 0.5 < slower["fc.weight"] < 2


def test_a_clipped_step_is_as_long_as_the_norm_allows(tmp_path: Path) -> None:
    start = initial(config())

    def moved(name: str, norm: float | None) -> float:  # by the one step of an epoch of one batch
        settings = config(train={**PLAIN, "optimizer": "momentum", "batch_size": 24, "clip_grad": norm})
        train(settings, tmp_path / name)
        end = weights(tmp_path / name)
        learnt = [key for key in start if "running" not in key and "num_batches" not in key]
        return float(torch.cat([(end[key] - start[key]).flatten() for key in learnt]).norm())

    assert moved("clipped", 0.01) == pytest.approx(0.05 * 0.01, rel=1e-2)
    assert moved("free", None) > 0.05 * 0.1
    assert moved("never", 1e6) == moved("free again", None)


def test_folds_begin_with_other_weights_and_orders(tmp_path: Path) -> None:
    first, second = (train(config(), tmp_path, number=number).epochs[0] for number in (0, 1))
    assert first.train_loss != second.train_loss


def test_an_unknown_model_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.name: found 'test_resnett'"):
        train(config(model={"name": "test_resnett"}), tmp_path)


def test_finished_folds_leave_nothing_in_memory(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    settings = config()
    fold = Fold(0, rows(16, 1), rows(6, 2), CLASSES, tmp_path / "fold0")
    fit(settings, fold, augmentation.build("none", (SIDE, SIDE)), accelerator, {})
    assert accelerator._models == [] and accelerator._optimizers == []
