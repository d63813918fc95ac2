"""Which views a run's predictions hold after `tta` has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.loading import load
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.predictions import Predictions
from pipeline.scoring import stage as score
from pipeline.training import stage as train


def test_views_of_an_earlier_tta_stay(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(view: str):  # type: ignore[no-untyped-def]
        return load([competition / "config.yaml"], ["train.epochs=1", "folds.n=2", f"tta=[{view}]"])

    path = config("hflip").run_dir / "fold0/test.npz"
    for stage in (folds, train, predict):
        stage.run(config("hflip"))
    before = Predictions.load(path)
    predict.run(config("vflip"))
    after = Predictions.load(path)
    assert after.views == ("identity", "vflip", "hflip")
    np.testing.assert_array_equal(after.mean(before.views), before.mean(before.views))
    written = path.stat().st_mtime_ns
    hashed: list[Path] = []
    whole = predict.weights_hash
    monkeypatch.setattr(predict, "weights_hash", lambda folder: hashed.append(folder) or whole(folder))
    predict.run(config("hflip"))
    assert path.stat().st_mtime_ns == written
    assert sorted(folder.name for folder in hashed) == ["fold0", "fold1"]  # once, for valid and test rows
    score.run(config("hflip"))  # reads views by their names
