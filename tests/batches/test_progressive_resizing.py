"""Several image sizes in one training: which epoch has which, from which cache, and the same bytes after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import config

from pipeline.batches import augmentation, fold_rows, progressive_resizing
from pipeline.batches.loader import Plan, TrainingBatches
from pipeline.competition.competition import load as load_competition
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.errors import InputError
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.models import network
from pipeline.prediction import stage as predict
from pipeline.training import stage as train
from pipeline.training.fold import Fold

SIZES = "train.sizes=[{until: 0.4, size: 16}, {until: 0.7, size: [20, 24]}]"


def made(competition: Path, *more: str) -> Config:
    return load([competition / "config.yaml"], ["train.epochs=5", "augment.train=light", "folds.n=2", SIZES, *more])


@pytest.mark.parametrize("cache", ["auto", "40"])
def test_every_epoch_has_its_size_and_the_pixels_of_that_sizes_cache(competition: Path, cache: str) -> None:
    config = made(competition, f"data.cache.size={cache}", "augment.train=none")
    folds.run(config)
    held, table = load_competition(config), fold_table.read(config)
    images = progressive_resizing.open_all(config, fold_rows.sources(held))
    fold = Fold.of(config, table, held, images, 0)
    batches = TrainingBatches(
        fold.train, Plan(len(fold.train), 8, 1, 0), augmentation.of(config), None, fold.early_sizes
    )
    found = [tuple(batches[epoch, 0].images_BHWC.shape[1:3]) for epoch in range(5)]
    assert found == [(16, 16), (16, 16), (20, 24), (20, 24), (32, 32)]
    stored = {path.name.split("-")[0] for path in Path(config.data.cache.dir or "").iterdir()}
    assert stored == ({"16x16", "20x24", "32x32"} if cache == "auto" else {"40x40"})
    if cache == "auto":  # the batch's rows, as the smaller cache holds them
        alone = load([competition / "config.yaml"], ["folds.n=2", "model.size=16", "augment.train=none"])
        small = Fold.of(alone, table, held, progressive_resizing.open_all(alone, fold_rows.sources(held)), 0)
        batch = batches[1, 0]
        np.testing.assert_array_equal(
            batch.images_BHWC.numpy(), np.stack([small.train.images[int(n)] for n in batch.rows])
        )
        assert small.train.ids.tolist() == fold.train.ids.tolist() and small.early_sizes == ()


def test_a_training_changes_size_and_resumes_to_the_byte(
    competition: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    build = network.build

    def watched(*arguments: Any, **options: Any) -> Any:
        model, origin = build(*arguments, **options)
        model.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
        return model, origin

    config = made(competition, "train.batch_size=24")
    folds.run(config)
    monkeypatch.setattr(network, "build", watched)
    train.run(config, [0])
    steps = [[(16, 16)], [(16, 16)], [(20, 24)], [(20, 24)], [(32, 32)]]
    valid = (32, 32)  # is validated at the model's size whatever is trained at
    assert seen == [shape for step in steps for shape in (*step, valid)]
    assert "; 16×16 px until epoch 2, 20×24 px until epoch 4, then 32×32 px" in capsys.readouterr().out
    whole = (config.run_dir / "fold0/model.safetensors").read_bytes()
    predict.run(config, [0])

    class Stop(Exception):
        pass

    def stop(_: int, epochs: Any) -> None:
        if len(epochs) == 3:
            raise Stop

    again = made(competition, "run=again", "train.batch_size=24", "train.workers=1")
    with pytest.raises(Stop):
        train.run(again, [0], watch=stop)
    train.run(again, [0])
    assert (again.run_dir / "fold0/model.safetensors").read_bytes() == whole
    plain = made(competition, "run=plain", "train.batch_size=24", "train.sizes=null")
    train.run(plain, [0])
    assert (plain.run_dir / "fold0/model.safetensors").read_bytes() != whole


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[{until: 0.5, size: 16}, {until: 0.5, size: 24}]", "until 0.5, 0.5, expected rising shares"),
        ("[{until: 0.1, size: 16}, {until: 0.15, size: 24}]", "until 0.15 of 5 epochs gives size 24 none of them"),
        ("[{until: 0.9, size: 16}]", "until 0.9 of 5 epochs leaves model.size none of them"),
        ("[{until: 0.5, size: 32}]", "found 32 before 32, which changes nothing"),
        (
            "[{until: 0.2, size: 16}, {until: 0.6, size: [16, 16]}]",
            r"found 16 before \(16, 16\), which changes nothing",
        ),
        ("[{until: 1.0, size: 16}]", "less than 1"),
        ("[]", "at least 1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(competition: Path, text: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        made(competition, f"train.sizes={text}")


def test_a_model_of_one_size_is_refused() -> None:
    setting = network.Setting(torch.device("cpu"), "fp32", False)
    sizes = {"epochs": 2, "sizes": [{"until": 0.5, "size": 24}]}
    fixed = config(model={"name": "test_vit"}, train=sizes)
    with pytest.raises(InputError, match=r"train.sizes: found 24, but test_vit cannot take 24 x 24 pixels"):
        network.build(fixed, ("a", "b", "c"), setting, 0, fresh=True)
    network.build(fixed, ("a", "b", "c"), setting, 0, fresh=False)  # prediction has one size
