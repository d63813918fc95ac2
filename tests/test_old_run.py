"""A run that an earlier version made (tests/fixtures/run_0_1_0, before the rooms) still predicts and is taken up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Cli

OLD = Path(__file__).parent / "fixtures" / "run_0_1_0"
WRITTEN = ("oof.csv", "test.csv", "submission.csv", "fold0/model.safetensors", "fold1/model.safetensors")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the run with its competition, and work there."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_old_run_predicts_alone(place: Path, cli: Cli) -> None:
    shutil.move(place / "shapes/images", place / "elsewhere")
    shutil.rmtree(place / "folds")
    done = cli("predict", "--from", "runs/shapes", "--test", "elsewhere", "--out", "new.csv")
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(place / "new.csv", dtype={"image_id": str, "id": str})
    found = found.set_index(found.columns[0])
    known = pd.read_csv(place / "runs/shapes/test.csv", dtype={"id": str}).set_index("id")
    assert len(known) == 12
    np.testing.assert_allclose(found.loc[known.index, known.columns], known, atol=1e-5)


def test_an_old_run_is_finished(place: Path, cli: Cli) -> None:
    """No stage that costs something is repeated: what its stamps say still fits."""
    before = {name: (place / "runs/shapes" / name).read_bytes() for name in WRITTEN}
    done = cli("run", "-c", "shapes/config.yaml")
    assert done.returncode == 0, done.stderr
    assert "fold 0: trained already\nfold 1: trained already\n" in done.stdout
    assert done.stdout.count("computed nothing, all views are there") == 3
    assert {name: (place / "runs/shapes" / name).read_bytes() for name in WRITTEN} == before


LIGHT = [
    *("check --no-images -c shapes/config.yaml", "folds -c shapes/config.yaml", "score -c shapes/config.yaml"),
    *("ensemble -c shapes/config.yaml", "leaderboard add shapes", "leaderboard", "diff shapes shapes", "--version"),
]


@pytest.mark.parametrize("command", LIGHT)
def test_commands_that_train_and_predict_nothing_do_without_torch(place: Path, command: str) -> None:
    """So they answer within a second; they are made to work anew, as what is finished would be skipped."""
    for stage in ("score", "ensemble"):
        (place / f"runs/shapes/stamps/{stage}.json").unlink()
    done = without_torch(place, command)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["run", "train", "predict", "tune", "bench"])
def test_a_wrong_config_is_refused_before_torch_is_imported(place: Path, command: str) -> None:
    done = without_torch(place, f"{command} -c shapes/config.yaml --set trian.lr=1")
    assert done.returncode == 2
    assert done.stderr == "foldline: shapes/config.yaml: trian: unknown key; did you mean 'train'?\n"


def without_torch(place: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a Python in which torch, timm, matplotlib and optuna cannot be imported."""
    program = f"""
import sys
sys.modules |= dict.fromkeys(("torch", "timm", "matplotlib", "optuna"))
from pipeline.cli import main
sys.exit(main({command.split()!r}))
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program], cwd=place, env=env, capture_output=True, text=True)
