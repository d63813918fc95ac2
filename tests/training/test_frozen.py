"""Whole trainings of frozen, thawing and many-headed networks: what learns when, and the same bytes after a resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.batches import augmentation
from pipeline.batches.rows import Decoded, Rows
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import below
from pipeline.config.loading import parse
from pipeline.errors import InputError
from pipeline.models import network
from pipeline.training.fold import Fold
from pipeline.training.history import Epoch
from pipeline.training.trainer import Fit

CLASSES = ("a", "b", "c")
TWO_HEADS = """
from torch import nn

class Two(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.side, self.main = nn.Linear(3, classes), nn.Linear(3, classes)

    def forward(self, images):
        pooled = images.mean((2, 3))
        return (self.main(pooled), self.side(pooled)) if self.training else self.main(pooled)

def build(classes, in_chans, size):
    return Two(classes)
"""


def config(**sections: Any) -> Config:
    tree: dict[str, Any] = {
        "name": "x",
        "data": {"root": "r", "image": "{id}", "target": "t"},
        "model": {"name": "test_resnet", "pretrained": False, "size": 32},
        "augment": {"train": "none"},
        "train": {"epochs": 4, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "warmup_epochs": 0, "ema": False},
    }
    for name, values in sections.items():
        tree[name] = {**tree[name], **values}
    return parse(tree, "a.yaml")


def rows(count: int, seed: int) -> Rows:
    draws = np.random.default_rng(seed)
    images = [draws.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(count)]
    names = np.array([f"{seed}-{n:03d}" for n in range(count)])
    return Rows(Decoded(images), names, np.eye(3, dtype=np.float32)[np.arange(count) % 3])


class Broken(Exception):
    pass


def train(settings: Config, folder: Path, watch: Any = None) -> list[dict[str, Tensor]]:
    """Train and return the weights after every epoch of this call."""
    torch.set_num_threads(1)
    seen: list[dict[str, Tensor]] = []
    fold = Fold(0, rows(24, 1), rows(9, 2), CLASSES, folder / "fold0")
    fit = Fit(settings, fold, augmentation.of(settings), Accelerator(cpu=True), {"task": "multiclass"})

    def keep(number: int, epochs: Sequence[Epoch]) -> None:
        seen.append({key: value.clone() for key, value in fit.model.state_dict().items()})
        if watch is not None:
            watch(len(epochs))

    fit.run(keep)
    return seen


def body(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith("fc.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_backbone_thaws_after_its_epochs_and_resumes_to_the_byte(tmp_path: Path) -> None:
    settings = config(model={"freeze": "backbone", "thaw_epoch": 2}, train={"ema": True})
    start = dict(network.build(settings, CLASSES, network.Setting.of(settings), 0, fresh=True)[0].state_dict())
    epochs = train(settings, tmp_path / "whole")
    assert same(body(start), body(epochs[0])) and same(body(start), body(epochs[1]))  # statistics too
    assert not torch.equal(start["fc.weight"], epochs[0]["fc.weight"])
    third = body(epochs[2])
    assert all(
        not torch.equal(start[key], value)
        for key, value in third.items()
        if key.endswith(("conv1.weight", "running_mean"))
    )
    whole = (tmp_path / "whole/fold0/model.safetensors").read_bytes()
    for stop in (1, 2):  # before and at the thaw

        def end(count: int, stop: int = stop) -> None:
            if count == stop:
                raise Broken

        with pytest.raises(Broken):
            train(settings, tmp_path / f"stop{stop}", end)
        train(settings, tmp_path / f"stop{stop}")
        assert (tmp_path / f"stop{stop}/fold0/model.safetensors").read_bytes() == whole


def test_what_never_thaws_differs_from_what_does(tmp_path: Path) -> None:
    frozen = train(config(model={"freeze": 3}, train={"epochs": 2}), tmp_path / "a")
    thawed = train(config(model={"freeze": 3, "thaw_epoch": 1}, train={"epochs": 2}), tmp_path / "b")
    assert torch.equal(frozen[0]["conv1.0.weight"], frozen[1]["conv1.0.weight"])
    assert torch.equal(frozen[0]["fc.weight"], thawed[0]["fc.weight"])
    assert not torch.equal(thawed[0]["conv1.0.weight"], thawed[1]["conv1.0.weight"])


def test_auxiliary_losses_count_by_their_weight(tmp_path: Path) -> None:
    """One step of SGD on one batch: the side head moves by lr · weight · its own gradient."""
    (tmp_path / "two.py").write_text(TWO_HEADS)
    moved = {}
    for weight in (0.0, 0.3):
        settings = config(
            model={"name": f"{tmp_path}/two.py:build", "aux_weight": weight},
            train={"epochs": 1, "batch_size": 24, "optimizer": "momentum", "schedule": "constant", "lr": 0.5}
            | {"clip_grad": None, "weight_decay": 0.0},
        )
        model, _ = network.build(settings, CLASSES, network.Setting.of(settings), 0, fresh=True)
        found = train(settings, tmp_path / str(weight))[0]
        moved[weight] = found["side.weight"] - model.get_submodule("side").weight.detach()
        table, normalize = rows(24, 1), network.normalize(model, network.Setting.of(settings))
        images = normalize(torch.from_numpy(np.stack([table.images[n] for n in range(24)])))
        main, side = model.train()(images)
        assert table.targets_NC is not None
        targets = torch.from_numpy(table.targets_NC)
        (cross_entropy(main, targets) + weight * cross_entropy(side, targets)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(found[name], parameter.detach() - 0.5 * parameter.grad)
    assert not moved[0.0].any() and moved[0.3].any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"thaw_epoch": 2}, "model: found thaw_epoch 2, but nothing is frozen: set model.freeze"),
        ({"freeze": "backbone", "thaw_epoch": 4}, "model.thaw_epoch: found 4 of 4 epochs, so that nothing would ever"),
        ({"multi_dropout": 4, "drop_rate": 0.0}, "multi_dropout 4 with drop_rate 0: all masks would be equal"),
        ({"freeze": 1.0}, "model.freeze: found 1.0"),
        ({"stem": "tiny"}, "model.stem: found 'tiny'"),
    ],
)
def test_options_that_make_no_sense_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        config(model=model)
    assert message in "\n".join(caught.value.lines)


def test_later_keys_change_no_older_fingerprint() -> None:
    plain = fingerprints.fields(config(), below("model"))
    keys = "drop_path_rate drop_rate freeze name pool pretrained size zero_head"
    assert plain.keys() == {"engine", *(f"model.{key}" for key in keys.split())}
    assert fingerprints.fields(config(model={"stem": "small"}), below("model")) == {**plain, "model.stem": "small"}
