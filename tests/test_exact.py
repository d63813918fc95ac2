"""The same config gives the same bytes: repeated, with other workers, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Cli

RECIPE = (
    "augment.train=medium",
    "mix={kind: cutmix, patch: vertical, prob: 1.0}",
    "train.epochs=3",
    "tta=[d4, augment:2]",
)
COMPARED = ("fold0/valid.npz", "fold2/test.npz", "fold1/model.safetensors", "oof.csv", "test.csv", "submission.csv")


def _set(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _bytes(runs: Path) -> dict[str, bytes]:
    return {name: (runs / "shapes" / name).read_bytes() for name in COMPARED}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_repeats_with_other_workers(competition: Path, cli: Cli, tmp_path: Path, precision: str) -> None:
    found = []
    for workers in (0, 2):
        settings = _set(
            *RECIPE, f"train.precision={precision}", f"train.workers={workers}", f"runs_dir={tmp_path}/w{workers}"
        )
        done = cli("run", "-c", competition / "config.yaml", *settings)
        assert done.returncode == 0, done.stderr
        found.append(_bytes(tmp_path / f"w{workers}"))
    for name in COMPARED:
        assert found[0][name] == found[1][name], name


def test_killed_and_resumed_equals_uninterrupted(competition: Path, cli: Cli, tmp_path: Path) -> None:
    settings = _set(*RECIPE, "train.epochs=6", "train.precision=bf16", "train.threads=2")
    whole = cli("run", "-c", competition / "config.yaml", *settings, "--set", f"runs_dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr

    command = ["run", "-c", str(competition / "config.yaml"), *settings, "--set", f"runs_dir={tmp_path}/cut"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    curves = tmp_path / "cut/shapes/fold1/epochs.csv"
    while not (curves.is_file() and len(curves.read_text().splitlines()) >= 3):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut/shapes/fold1/model.safetensors").exists()

    resumed = cli(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch" in resumed.stdout
    assert "fold 0: trained already" in resumed.stdout
    left, right = _bytes(tmp_path / "whole"), _bytes(tmp_path / "cut")
    for name in COMPARED:
        assert left[name] == right[name], name


def test_other_settings_are_refused_and_named(competition: Path, cli: Cli) -> None:
    config = competition / "config.yaml"
    for command in ("folds", "train"):
        assert cli(command, "-c", config, "--set", "train.epochs=1").returncode == 0
    again = cli("train", "-c", config, "--set", "train.epochs=1", "--set", "train.lr=0.5")
    assert again.returncode == 3
    assert "train.lr: 0.01 -> 0.5" in again.stderr and "--force" in again.stderr
    forced = cli("train", "-c", config, "--set", "train.epochs=1", "--set", "train.lr=0.5", "--force")
    assert forced.returncode == 0, forced.stderr
