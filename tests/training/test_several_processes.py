"""Several processes train as one does: curves are those of the saved weights, scores those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from pipeline.batches import augmentation
from pipeline.batches.inputs import Inputs
from pipeline.batches.loader import Plan, TrainingBatches
from pipeline.config.config import Config
from pipeline.config.loading import load
from pipeline.folds import fold_table
from pipeline.models import network
from pipeline.models.network import Setting
from pipeline.prediction.predictions import Predictions
from pipeline.prediction.predictor import Predictor
from pipeline.training.fold import Fold
from pipeline.training.validation import validate

CURVE = ["epoch", "train_loss", "valid_loss", "valid_metric", "lr"]
NO_MIXING = ("augment.train=light", "train.epochs=3", "train.accumulate=2")


def command(processes: int, stages: str, competition: Path, *settings: str) -> list[str]:
    given = [part for one in settings for part in ("--set", one)]
    launch = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] if processes > 1 else []
    config = ["-c", str(competition / "config.yaml")]
    return [sys.executable, "-m", *launch, "pipeline", *stages.split(), *config, *given]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launch(processes: int, competition: Path, *settings: str, stages: str = "run --fold 0") -> tuple[Config, str]:
    """Run stages in several processes, of which the run tells the number; return its config and what it said."""
    called = command(processes, stages, competition, *settings)
    done = subprocess.run(called, env=environment(), cwd=competition, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "find_unused_parameters" not in done.stderr
    config = load([competition / "config.yaml"], list(settings))
    assert json.loads((config.run_dir / "env.json").read_text())["processes"] == processes
    assert (f", {processes} processes" in (config.run_dir / "fold0/train.log").read_text()) == (processes > 1)
    return config, done.stdout


def curve(config: Config, fold: int) -> pd.DataFrame:
    return pd.read_csv(config.run_dir / f"fold{fold}/epochs.csv")[CURVE]


def of_saved_weights(config: Config, number: int) -> tuple[tuple[float, float], Fold]:
    """Return the loss and the metric of a fold's saved weights, by this one process, and the fold."""
    inputs = Inputs()
    table, images = fold_table.read(config), inputs.training_images(config, sizes=True)
    fold = Fold.of(config, table, inputs.competition(config), images, number)
    setting = Setting.of(config)
    loaded = network.load(config.run_dir / f"fold{number}/model.safetensors", config, setting)
    return validate(Predictor.of(config, setting, [loaded]), fold), fold


def test_two_processes_validate_what_they_save_and_predict_every_id_once(competition: Path) -> None:
    """BatchNorm's statistics are each process's own until they are averaged, those of the moving average too."""
    mixing = ("augment.train=medium", "mix={kind: cutmix, patch: vertical, prob: 1.0}", "folds.n=2")
    config, _ = launch(2, competition, *mixing, "train.accumulate=2", "tta=[hflip, augment:2]", stages="run")
    for fold in range(2):
        last = curve(config, fold).iloc[-1]
        (loss, metric), _ = of_saved_weights(config, fold)
        assert loss == pytest.approx(last["valid_loss"], rel=1e-6)
        assert metric == pytest.approx(last["valid_metric"], abs=1e-12)
    oof, test = (pd.read_csv(config.run_dir / name, dtype={"id": str}) for name in ("oof.csv", "test.csv"))
    assert sorted(oof["id"]) == [f"{i:04d}" for i in range(48)]
    assert sorted(test["id"]) == [f"{i:04d}" for i in range(48, 60)]
    assert (config.run_dir / "report.html").is_file()


def test_two_processes_score_as_one(competition: Path) -> None:
    """Without BatchNorm, which sees half a batch in each, sums in another order are all that differs."""
    same = (*NO_MIXING, "model.name=test_convnext", "train.optimizer=momentum", "train.lr=0.05")
    one, two = (launch(count, competition, *same, f"run=of{count}")[0] for count in (1, 2))
    np.testing.assert_allclose(curve(one, 0).to_numpy(), curve(two, 0).to_numpy(), rtol=1e-4)
    assert curve(one, 0)["train_loss"].is_monotonic_decreasing
    first, second = (Predictions.load(config.run_dir / "fold0/valid.npz") for config in (one, two))
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_allclose(first.probs_NVC, second.probs_NVC, atol=1e-5)
    scores = [json.loads((config.run_dir / "scores.json").read_text()) for config in (one, two)]
    assert scores[0]["variants"] == scores[1]["variants"]


def test_swa_takes_the_statistics_of_all_processes(competition: Path) -> None:
    average = ("train.ema=false", "train.average=swa", "train.average_epochs=2")
    config, _ = launch(2, competition, *NO_MIXING, *average)
    (loss, metric), fold = of_saved_weights(config, 0)
    assert f"weights  valid loss {loss:.4f}  accuracy {metric:.4f}" in (fold.folder / "train.log").read_text()

    model, _ = network.load(fold.folder / "model.safetensors", config, Setting.of(config))
    name, first = next((name, one) for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d))
    means: list[Tensor] = []
    first.register_forward_pre_hook(lambda _, given: means.append(given[0].mean((0, 2, 3))))
    normalize = network.normalize(model, Setting.of(config))
    train = config.train
    for rank in range(2):
        plan = Plan(len(fold.train), train.batch_size, train.seed, 0, rank, 2)
        batches = TrainingBatches(fold.train, plan, augmentation.of(config))
        with torch.no_grad():
            for step in range(plan.steps):
                model(normalize(batches[train.epochs, step].images_BHWC))
    own, both = torch.stack(means[: len(means) // 2]).mean(0), torch.stack(means).mean(0)
    kept = model.state_dict()[f"{name}.running_mean"]
    torch.testing.assert_close(kept, both, atol=1e-5, rtol=1e-4)
    assert (kept - own).abs().max() > 1e-3, "process 0 alone"


def test_killed_and_resumed_gives_the_same_bytes_and_curve(competition: Path) -> None:
    """Three processes: of two the order of sums is no matter."""
    same = (*NO_MIXING, "train.epochs=6")
    whole, _ = launch(3, competition, *same, "run=whole")
    process = subprocess.Popen(
        command(3, "run --fold 0", competition, *same, "run=cut"),
        env=environment(),
        cwd=competition,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cut = whole.model_copy(update={"run": "cut"})
    curves = cut.run_dir / "fold0/epochs.csv"
    while not (curves.is_file() and len(curves.read_text().splitlines()) >= 3):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    started = psutil.Process(process.pid)
    for one in [started, *started.children(recursive=True)]:
        one.kill()
    process.wait()
    assert not (cut.run_dir / "fold0/model.safetensors").exists()

    _, said = launch(3, competition, *same, "run=cut")
    assert "resumed after epoch" in said
    assert curve(cut, 0).equals(curve(whole, 0))
    first, second = ((config.run_dir / "fold0/model.safetensors").read_bytes() for config in (whole, cut))
    assert first == second
