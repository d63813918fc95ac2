"""Class weights, sampling and disturbed targets reach the training, and a resumed one has the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from synthetic import make_config

from pipeline.batches import augmentation
from pipeline.batches.loader import Plan, TrainingBatches, training_loader
from pipeline.batches.rows import Decoded, Rows
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.methods.sampling import DisturbLabels
from pipeline.models import network
from pipeline.training import sampling_and_mixing
from pipeline.training.fold import Fold
from pipeline.training.trainer import Fit, fit

CLASSES = ("a", "b", "c")
COUNTS = (12, 6, 2)
SIDE = 32


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(folder: Path, **changes: Any) -> Config:
    train = {"epochs": 2, "batch_size": 10, "lr": 1e-3, "precision": "fp32", "warmup_epochs": 0}
    return make_config(folder, **{"train": train, "model__size": SIDE, "model__drop_rate": None, **changes})


def rows(weights_N: np.ndarray[Any, Any] | None = None) -> Rows:
    draws, classes_N = np.random.default_rng(0), np.repeat(np.arange(3), COUNTS)
    images = [draws.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8) for _ in classes_N]
    return Rows(
        Decoded(images), np.array([f"{n:02d}" for n in range(20)]), np.eye(3, dtype=np.float32)[classes_N], weights_N
    )


def started(settings: Config, held: Rows | None = None, classes: tuple[str, ...] = CLASSES) -> Fit:
    held = rows() if held is None else held
    fold = Fold(0, held, held, classes, settings.run_dir / "fold0")
    change = augmentation.build("none", settings.model.size_hw)
    return Fit(settings, fold, change, Accelerator(cpu=True), {})


def content(settings: Config, epochs: range = range(2), workers: int = 0) -> list[tuple[Any, ...]]:
    stream = training_loader(started(settings).batches, epochs, workers, pin=False)
    return [
        (b.rows.tolist(), b.images_BHWC.numpy().tobytes(), None if b.targets_BC is None else b.targets_BC.tolist())
        for b in stream
    ]


def test_balanced_epochs_keep_their_length_and_even_the_classes(tmp_path: Path) -> None:
    plan = started(config(tmp_path, train__sampling="balanced")).batches.plan
    orders = [plan.order(epoch) for epoch in range(300)]
    assert {len(order) for order in orders} == {20}
    classes_N = np.repeat(np.arange(3), COUNTS)
    drawn = np.bincount(classes_N[np.concatenate(orders)], minlength=3) / 6000
    np.testing.assert_allclose(drawn, [1 / 3] * 3, atol=0.02)
    assert orders[0].tolist() != orders[1].tolist()
    assert orders[1].tolist() == started(config(tmp_path, train__sampling="balanced")).batches.plan.order(1).tolist()


def test_rows_drawn_by_their_weight_weigh_the_same_in_the_loss(tmp_path: Path) -> None:
    weights_N = np.ones(20, np.float32)
    weights_N[-1] = 19.0
    made = started(config(tmp_path, train__sampling="weighted", data__weight="w"), rows(weights_N)).batches
    assert made.rows.weights_N is None
    share = np.mean([(made.plan.order(epoch) == 19).mean() for epoch in range(200)])
    assert share == pytest.approx(0.5, abs=0.03)


def test_a_row_drawn_twice_is_augmented_and_disturbed_anew() -> None:
    """Else a batch of a rare class would be the same picture several times."""
    held, shares_N = rows(), np.full(20, 0.0)
    shares_N[3] = 1.0
    plan = Plan(20, 20, 1, 0, shares_N=shares_N)
    batches = TrainingBatches(held, plan, augmentation.build("medium", (SIDE, SIDE)), DisturbLabels(100.0, ((0, 3),)))
    batch = batches[0, 0]
    assert batch.rows.tolist() == [3] * 20 and batch.targets_BC is not None
    assert len({image.numpy().tobytes() for image in batch.images_BHWC}) >= 15
    assert len({tuple(row) for row in batch.targets_BC.tolist()}) == 3
    once = TrainingBatches(held, Plan(20, 20, 1, 0), augmentation.build("medium", (SIDE, SIDE)))[0, 0]
    place = once.rows.tolist().index(3)
    assert torch.equal(batch.images_BHWC[0], once.images_BHWC[place]), "the first time is the only one without sampling"


def test_disturbed_labels_go_with_the_id_and_the_epoch(tmp_path: Path) -> None:
    settings = config(tmp_path, train__disturb_labels=50.0)
    whole, again, workers = content(settings), content(settings), content(settings, workers=1)
    assert whole == again == workers
    assert content(settings, range(1, 2)) == whole[2:], "a resumed epoch is the same epoch"
    label: list[dict[int, Any]] = [{}, {}]
    for number, (numbers, _, targets) in enumerate(whole):
        label[number // 2] |= dict(zip(numbers, map(tuple, targets), strict=True))
    truth = {n: tuple(row) for n, row in enumerate(rows().targets_NC.tolist())}  # type: ignore[union-attr]
    assert 2 <= sum(label[0][n] != truth[n] for n in truth) <= 14  # a third of 20 is expected
    assert label[0] != label[1]
    other = config(tmp_path, train__disturb_labels=50.0, train__batch_size=5)
    assert {n: tuple(t) for ns, _, ts in content(other)[:4] for n, t in zip(ns, ts, strict=True)} == label[0]


def values(folder: Path, **changes: Any) -> Config:
    return config(folder, data__task="regression", data__target="t", loss__name="mse", metric="rmse", **changes)


def value_rows() -> Rows:
    return replace(rows(), targets_NC=np.linspace(0, 190, 20, dtype=np.float32)[:, None])


def test_disturbed_values_are_noise_in_units_of_the_spread(tmp_path: Path) -> None:
    settings = values(tmp_path, train__disturb_values={"share": 0.5, "std": 0.1})
    made = started(settings, value_rows(), ("t",)).batches
    noise = []
    for epoch in range(200):
        for step in range(made.plan.steps):
            batch = made[epoch, step]
            assert batch.targets_BC is not None
            noise += (batch.targets_BC[:, 0].numpy() - 10 * batch.rows).tolist()
    changed = [one for one in noise if one != 0]
    assert len(changed) / len(noise) == pytest.approx(0.5, abs=0.03)
    assert np.std(changed) == pytest.approx(0.1 * np.std(np.linspace(0, 190, 20)), rel=0.06)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_values_are_mixed_with_their_images(kind: str, tmp_path: Path) -> None:
    """lam·a + (1−lam)·b: every image is as bright as its value says, before and after."""
    bright = [np.full((SIDE, SIDE, 3), 10 * n, np.uint8) for n in range(20)]
    held = replace(value_rows(), images=Decoded(bright))
    made = started(values(tmp_path, mix={"kind": kind, "prob": 1.0}), held, ("t",))
    images, targets, _ = made._mixed(0, made.batches[0, 0])
    pixels_B = made.normalize.undo(images).astype(np.float64).mean((1, 2, 3))
    found_B = made.output.restore(targets)[:, 0].numpy()
    np.testing.assert_allclose(found_B, pixels_B, atol=0.6)
    assert not np.allclose(found_B / 10, np.round(found_B / 10), atol=0.01), "nothing was mixed"


@pytest.mark.parametrize("how", ["balanced", {"c": 4.0}])
def test_class_weights_weigh_the_step(how: Any, tmp_path: Path) -> None:
    """The sum of a step's losses is torch's weighted cross entropy, with weights of mean 1 over the rows."""
    made = started(config(tmp_path, loss__class_weights=how, train__batch_size=20))
    weights_C = np.array([1, 1, 4.0]) if how != "balanced" else 20 / 3 / np.array(COUNTS)
    weights_C = weights_C / (weights_C @ COUNTS / 20)
    batch = made.batches[0, 0]
    images, targets, _ = made._mixed(0, batch)
    made.model.eval()
    logits = made.model(images).detach()
    expected = torch.nn.functional.cross_entropy(
        logits, targets, weight=torch.from_numpy(weights_C).float(), reduction="none"
    )
    torch.testing.assert_close(made._losses(logits, targets, None), expected)
    assert not torch.allclose(expected, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))


def test_class_weights_and_mixing_agree(tmp_path: Path) -> None:
    """lam·w_a·L(a) + (1−lam)·w_b·L(b), as two weighted rows would have."""
    made = started(config(tmp_path, loss__class_weights="balanced"))
    logits = torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    one, other = torch.eye(3)[:1], torch.eye(3)[2:]
    mixed = made._losses(logits, 0.3 * one + 0.7 * other, None)
    parts = 0.3 * made._losses(logits, one, None) + 0.7 * made._losses(logits, other, None)
    torch.testing.assert_close(mixed, parts)


def test_smoothing_over_the_others_reaches_the_targets(tmp_path: Path) -> None:
    made = started(config(tmp_path, loss={"label_smoothing": 0.2, "smooth_over": "others"}))
    _, targets, _ = made._mixed(0, made.batches[0, 0])
    assert set(np.round(targets.unique().numpy(), 6)) == {np.float32(0.1), np.float32(0.8)}


def test_the_options_of_a_loss_reach_the_training(tmp_path: Path) -> None:
    """Focal loss with γ = 0 is cross entropy; with another γ it is not."""
    logits, targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3)[[0, 1, 2, 0]]
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    for gamma, equal in ((0.0, True), (3.0, False)):
        made = started(config(tmp_path, loss={"name": "focal", "gamma": gamma}))
        assert torch.allclose(made._losses(logits, targets, None), expected) is equal


def test_an_ordinal_network_has_one_output_less_and_gives_all_classes(tmp_path: Path) -> None:
    settings = config(tmp_path, data__task="ordinal", loss__name="ordinal", train__epochs=1)
    made = started(settings)
    made.run()
    assert made.model.get_classifier().out_features == 2  # type: ignore[operator]
    kept, meta = network.load(settings.run_dir / "fold0/model.safetensors", settings, made.setting)
    assert meta["classes"] == list(CLASSES)
    probs_BC = made.output.activate(kept(torch.randn(4, 3, SIDE, SIDE)))
    assert probs_BC.shape == (4, 3) and (probs_BC >= 0).all()
    torch.testing.assert_close(probs_BC.sum(1), torch.ones(4))


@pytest.mark.parametrize("loss", ["focal", "asymmetric", "soft_f1"])
def test_every_loss_learns(loss: str, tmp_path: Path) -> None:
    settings = config(tmp_path, loss__name=loss, train__epochs=8, train__lr=1e-2)
    history = started(settings).run()
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss * 0.9


def test_all_of_it_resumes_with_the_same_bytes(tmp_path: Path) -> None:
    changes = {
        **{"loss__name": "focal", "loss__class_weights": "sqrt", "train__sampling": "sqrt", "train__epochs": 3},
        **{"train__disturb_labels": 20.0, "mix": {"kind": "cutmix"}, "augment": {"train": "light"}},
    }
    whole, parted = (config(tmp_path / name, **changes) for name in ("whole", "parted"))

    class Stop(Exception):
        pass

    def stop(_: int, epochs: Any) -> None:
        if len(epochs) == 1:
            raise Stop

    def train(settings: Config, watch: Any = None) -> bytes:
        fold = Fold(0, rows(), rows(), CLASSES, settings.run_dir / "fold0")
        fit(settings, fold, augmentation.of(settings), Accelerator(cpu=True), {}, watch)
        return (settings.run_dir / "fold0/model.safetensors").read_bytes()

    with pytest.raises(Stop):
        train(parted, stop)
    assert train(parted) == train(whole)


def test_mixing_needs_two_rows_in_every_process(tmp_path: Path) -> None:
    settings = config(tmp_path, mix={"kind": "mixup"})
    with pytest.raises(InputError, match="7 rows are dealt to 4; use fewer processes"):
        sampling_and_mixing.check_mixing(settings, Plan(7, 8, 0, 0, 0, 4))
    sampling_and_mixing.check_mixing(settings, Plan(8, 8, 0, 0, 0, 4))
    sampling_and_mixing.check_mixing(config(tmp_path), Plan(7, 8, 0, 0, 0, 4))
