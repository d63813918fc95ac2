"""A run that an earlier version made (tests/fixtures/run_0_1_0, before the rooms) still predicts and is taken up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Cli

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
