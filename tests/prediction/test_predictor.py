"""Prediction: every row once, in order; views as done by hand; random views keyed by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.batches import augmentation
from pipeline.batches.loader import Augmentation, Normalize
from pipeline.batches.rows import Images, Rows, subset
from pipeline.config.config import Config
from pipeline.config.loading import parse
from pipeline.methods.arrays import Array
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.prediction.predictor import Predictor

SETTING = Setting(torch.device("cpu"), "fp32", False)
SIDE = 16


class Corners(nn.Module):
    """Give the mean of the left half, of the upper half and of the pixel in the corner, as three logits."""

    calls = 0

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.calls += 1
        assert not self.training
        half = images_BCHW.shape[-1] // 2
        parts = images_BCHW[..., :half], images_BCHW[..., :half, :], images_BCHW[..., :1, :1]
        return torch.stack([part.mean((1, 2, 3)) for part in parts], dim=1)


class Counted(Images):
    """Images that count how often each is read."""

    def __init__(self, images: list[Array]) -> None:
        self.images, self.reads = images, np.zeros(len(images), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> Array:
        self.reads[index] += 1
        return self.images[index]


def config(batch_size: int = 4, **changes: Any) -> Config:
    tree: dict[str, Any] = {"name": "x", "data": {"root": "r", "image": "{id}", "target": "t"}}
    model = {"name": "test_resnet", "pretrained": False, "size": SIDE}
    return parse({**tree, "model": model, "predict": {"batch_size": batch_size}, **changes}, "a.yaml")


def table(count: int = 11, dtype: type = np.uint8) -> Rows:
    draws, top = np.random.default_rng(3), np.iinfo(dtype).max
    images = [draws.integers(0, top, (SIDE, SIDE, 3), endpoint=True).astype(dtype) for _ in range(count)]
    return Rows(Counted(images), np.array([f"{n:03d}" for n in range(count)]))


def normalize() -> Normalize:
    return Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), SETTING.device, SETTING.channels_last)


def run(
    rows: Rows, views: list[str], settings: Config, augment: Augmentation | None = None, as_logits: bool = False
) -> Array:
    predictor = Predictor([Corners()], settings, SETTING, normalize(), augment=augment)
    return predictor.predict(rows, views, as_logits=as_logits)[0]


def by_hand(image_HWC: Array) -> Array:
    """Return the logits of one image, [3]."""
    top = np.iinfo(image_HWC.dtype).max
    pixels = (image_HWC.astype(np.float64) / top - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    return np.array([pixels[:, : SIDE // 2].mean(), pixels[: SIDE // 2].mean(), pixels[0, 0].mean()])


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


FLIPS = {
    "identity": lambda image: image,
    "hflip": lambda image: image[:, ::-1],
    "vflip": lambda image: image[::-1],
    "rot90": lambda image: np.rot90(image, 1),
    "rot180": lambda image: np.rot90(image, 2),
    "rot270": lambda image: np.rot90(image, 3),
    "transpose": lambda image: image.transpose(1, 0, 2),
    "antitranspose": lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_are_what_their_names_say(dtype: type) -> None:
    rows = table(5, dtype)
    probs_NVC = run(rows, list(FLIPS), config())
    assert probs_NVC.shape == (5, 8, 3) and probs_NVC.dtype == np.float32
    wanted = [[softmax(by_hand(flip(rows.images[n]))) for flip in FLIPS.values()] for n in range(5)]
    np.testing.assert_allclose(probs_NVC, wanted, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_every_row_comes_once_in_its_place_and_is_read_once(batch_size: int) -> None:
    rows = table(11)
    networks = [Corners(), Corners()]
    views = ["identity", "hflip", "rot90"]
    one, two = Predictor(networks, config(batch_size), SETTING, normalize()).predict(rows, views)
    assert isinstance(rows.images, Counted) and rows.images.reads.tolist() == [1] * 11
    assert [made.calls for made in networks] == [3 * -(-11 // batch_size)] * 2
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one[:, 0], [softmax(by_hand(rows.images[n])) for n in range(11)], atol=1e-5)


def test_logits_are_given_where_they_are_asked_for() -> None:
    rows = table(3)
    logits_NVC = run(rows, ["identity"], config(), as_logits=True)
    np.testing.assert_allclose(logits_NVC[:, 0], [by_hand(rows.images[n]) for n in range(3)], atol=1e-5)


def test_independent_columns_are_not_made_to_sum_to_one() -> None:
    data = {"root": "r", "image": "i", "target": ["a", "b", "c"], "task": "multilabel"}
    settings = config(data=data, loss={"name": "binary_cross_entropy"}, metric="roc_auc")
    rows = table(3)
    probs_NVC = run(rows, ["identity"], settings)
    wanted = 1 / (1 + np.exp(-np.array([by_hand(rows.images[n]) for n in range(3)])))
    np.testing.assert_allclose(probs_NVC[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_random_views_depend_on_seed_view_and_id_alone(dtype: type) -> None:
    rows = table(9, dtype)
    made = augmentation.build("medium", (SIDE, SIDE))
    views = ["identity", "augment.0", "augment.1"]
    whole = run(rows, views, config(4), augment=made)
    np.testing.assert_allclose(run(rows, views, config(9), augment=made), whole, atol=1e-6)
    turned = subset(rows, np.arange(9)[::-1])
    np.testing.assert_allclose(run(turned, views, config(2), augment=made), whole[::-1], atol=1e-6)
    np.testing.assert_allclose(run(rows, ["augment.1"], config(4), augment=made)[:, 0], whole[:, 2], atol=1e-6)
    assert not np.allclose(whole[:, 1], whole[:, 2], atol=1e-3)
    other = run(rows, views, config(4, train={"seed": 7}), augment=made)
    np.testing.assert_allclose(other[:, 0], whole[:, 0], atol=1e-6)
    assert not np.allclose(other[:, 1], whole[:, 1], atol=1e-3)


def test_a_random_view_is_the_training_augmentation_of_the_stored_image() -> None:
    """Normalisation must not touch the batch: 16-bit images are floats already, and it once worked in place."""
    rows = table(4, np.uint16)
    probs_NVC = run(
        rows, ["identity", "augment.0", "hflip"], config(), augment=augmentation.build("none", (SIDE, SIDE))
    )
    np.testing.assert_allclose(probs_NVC[:, 1], probs_NVC[:, 0], atol=1e-6)
    assert not np.allclose(probs_NVC[:, 2], probs_NVC[:, 0], atol=1e-3)


def test_subsets_take_images_ids_and_targets_together() -> None:
    rows = table(6)
    rows = Rows(rows.images, rows.ids, np.eye(6, dtype=np.float32))
    some = subset(rows, np.array([4, 1]))
    assert some.ids.tolist() == ["004", "001"] and len(some) == len(some.images) == 2
    assert some.targets_NC is not None and some.targets_NC.argmax(1).tolist() == [4, 1]
    assert np.array_equal(some.images[0], rows.images[4])


def test_a_digest_tells_which_id_shows_what() -> None:
    rows = table(4)
    digest, turned = rows.images.digest(rows.ids), subset(rows, np.array([2, 0, 3, 1]))
    assert turned.images.digest(turned.ids) == digest
    assert turned.images.digest(rows.ids) != digest and rows.images.digest(turned.ids) != digest
    assert table(4, np.uint16).images.digest(rows.ids) != digest
    with pytest.raises(IndexError):
        rows.images.digest([*rows.ids, "more"])


def test_a_saved_network_predicts_the_same(tmp_path: Path) -> None:
    settings = config()
    model, _ = network.build(settings, ["a", "b", "c"], SETTING, 2, fresh=True)
    network.save(tmp_path / "model.safetensors", model, {"classes": ["a", "b", "c"], "fold": 2})
    loaded, meta = network.load(tmp_path / "model.safetensors", settings, SETTING)
    assert meta == {"classes": ["a", "b", "c"], "fold": 2} and not loaded.training
    rows = table(3)
    one, two = Predictor([model, loaded], settings, SETTING, normalize()).predict(rows, ["identity"])
    np.testing.assert_array_equal(one, two)
