"""One fold's optimizer steps; the loss scale of fp16 stands in on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from pipeline.batches import augmentation
from pipeline.batches.rows import Decoded, Rows
from pipeline.config.loading import load
from pipeline.training.fold import Fold
from pipeline.training.trainer import Fit


@pytest.fixture
def scaled(competition: Path) -> Fit:
    """Return a fold's training whose accelerator scales losses, left over-scaled by an earlier fold."""
    config = load([competition / "config.yaml"], ["train.batch_size=4"])
    images = [np.full((32, 32, 3), 20 * n, dtype=np.uint8) for n in range(8)]
    rows = Rows(Decoded(images), np.array(list("abcdefgh")), np.eye(2, dtype=np.float32)[[0, 1] * 4])
    joined = Accelerator(cpu=True)
    joined.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    joined.scaler.scale(torch.ones(()))  # its scale is set at the first use
    fold = Fold(0, rows, rows, ("a", "b"), config.run_dir / "fold0")
    return Fit(config, fold, augmentation.build("none", config.model.size_hw), joined, {})


def test_every_fold_begins_with_a_fresh_loss_scale(scaled: Fit) -> None:
    assert scaled.accelerator.scaler is not None
    assert scaled.accelerator.scaler.get_scale() == 2.0**16
    assert scaled.optimizer.scaler is scaled.accelerator.scaler  # type: ignore[attr-defined]


def test_a_skipped_step_counts_for_nothing(scaled: Fit) -> None:
    assert scaled.ema is not None
    stream, wrapped = scaled.open()
    scaled.step(0, 0, stream, wrapped)
    assert scaled.history.updates == 1
    weights = {key: value.clone() for key, value in scaled.ema.module.named_parameters()}
    hook = next(scaled.model.parameters()).register_hook(lambda grad: grad * float("inf"))
    scaled.step(0, 1, stream, wrapped)
    hook.remove()
    assert scaled.history.updates == 1
    assert all(torch.equal(weights[key], value) for key, value in scaled.ema.module.named_parameters())
    scaled.step(1, 0, stream, wrapped)
    assert scaled.history.updates == 2
