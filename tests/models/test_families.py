"""One model of each of timm's families: built, trained for two steps, kept, loaded; or refused with a reason in words.

Half an hour or more on one core: pytest -m slow tests/models/test_families.py -s
"""

from __future__ import annotations

import gc
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from trainings import CLASSES, config

from pipeline.batches import augmentation
from pipeline.batches.rows import Decoded, Rows
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.methods.tta import VIEWS
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.prediction.predictor import Predictor
from pipeline.training.fold import Fold
from pipeline.training.trainer import Fit

LARGEST = 200_000_000  # its training takes some 7 GB
STEPS = 2  # at the first one a head of zeros passes nothing down
SQUARE, WIDE = (64, 64), (64, 96)
SUGGESTED = re.compile(r"set model\.size to \[?(\d+)(?:, (\d+))?")


def smallest(module: str) -> tuple[str, int]:
    """Return the family's model of the fewest parameters, none of timm's own tests, and how many it has."""
    counts = {}
    for name in timm.list_models(module=module):
        if not name.startswith("test_"):
            with torch.device("meta"):
                counts[name] = sum(one.numel() for one in timm.create_model(name, num_classes=3).parameters())
    name = min(counts, key=lambda name: counts[name])
    return name, counts[name]


def settings(name: str, size_hw: tuple[int, int]) -> Config:
    """Return a training of two steps with layer decay and EMA; the eight views where the image is square."""
    return config(
        model={"name": name, "size": list(size_hw)},
        train={"batch_size": 4, "layer_decay": 0.75, "ema": True, "seed": 3, "threads": 1, "workers": 0},
        tta=["d4"] if size_hw[0] == size_hw[1] else ["identity"],
    )


def rows(count: int, size_hw: tuple[int, int], seed: int) -> Rows:
    images = np.random.default_rng(seed).integers(0, 256, (count, *size_hw, 3), dtype=np.uint8)
    names = np.array([f"{seed}-{n}" for n in range(count)])
    return Rows(Decoded(list(images)), names, np.eye(3, dtype=np.float32)[np.arange(count) % 3])


def go_through(name: str, size_hw: tuple[int, int], folder: Path) -> None:
    """Train, write, load and compare what is predicted; raises InputError where the model is refused."""
    made = settings(name, size_hw)
    fold = Fold(0, rows(STEPS * 4, size_hw, 0), rows(3, size_hw, 1), CLASSES, folder)
    fit = Fit(made, fold, augmentation.of(made), Accelerator(cpu=True), {"task": "multiclass"})
    before = {key: value.clone() for key, value in fit.model.state_dict().items()}
    fit.run()
    learnt = [key for key, _ in fit.model.named_parameters()]
    still = [key for key in learnt if torch.equal(fit.model.state_dict()[key], before[key])]
    assert len(still) < len(learnt) / 2, f"{len(still)} of {len(learnt)} weights did not move, such as {still[:3]}"
    assert not (folder / "state").exists()

    setting = Setting.of(made)
    loaded, meta = network.load(folder / "model.safetensors", made, setting)
    kept, own = loaded.state_dict(), fit.evaluated.state_dict()
    assert kept.keys() == own.keys() and all(torch.equal(kept[key], own[key]) for key in own)
    views = [view for view in made.views if view in VIEWS]
    assert len(views) == (8 if size_hw[0] == size_hw[1] else 1)
    (probs_NVC,) = Predictor.of(made, setting, [(loaded, meta)]).predict(fold.valid, views)
    (expected_NVC,) = fit.predictor.predict(fold.valid, views)
    np.testing.assert_array_equal(probs_NVC, expected_NVC)
    np.testing.assert_allclose(probs_NVC.sum(-1), 1, atol=1e-5)


def outcome(name: str, size_hw: tuple[int, int], folder: Path) -> str:
    """Return "passed" or the reason of the refusal, which is in words and names the model or the size."""
    try:
        go_through(name, size_hw, folder)
    except InputError as error:
        (problem,) = error.problems
        reason = str(problem)
        assert re.search(r"[a-z]{3,} [a-z]{2,}", problem.found), "no words"
        assert not re.search(r"\(\s*\)|:\s*$", reason), f"an empty reason: {reason}"
        assert name in reason or f"{size_hw[0]} x {size_hw[1]}" in reason
        return f"refused: {reason}"
    return "passed"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("module", timm.list_modules())
def test_a_model_of_the_family_trains_or_is_refused_in_words(module: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name, parameters = smallest(module)
        if parameters > LARGEST:
            pytest.skip(f"{name} has {parameters / 1e6:.0f} million parameters, too many to train in a test")
        for shape, size_hw in (("square", SQUARE), ("wide", WIDE)):
            found = outcome(name, size_hw, tmp_path / shape)
            print(f"\nFAMILY {module} | {name} | {size_hw[0]}x{size_hw[1]} | {found}", flush=True)
            if (other := SUGGESTED.search(found)) is not None:
                suggested = int(other[1]), int(other[2] or other[1])
                again = outcome(name, suggested, tmp_path / f"{shape}-again")
                print(f"FAMILY {module} | {name} | {suggested[0]}x{suggested[1]} | {again}", flush=True)
                assert again == "passed", "the size that was proposed is refused too"
    gc.collect()
