"""A run whose prediction takes several images answers a new table of them as the stages answered the test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import several

from pipeline.config.loading import load
from pipeline.folds import stage as folds
from pipeline.prediction import stage as predict
from pipeline.prediction.new_images import predict_new
from pipeline.scoring import stage as score
from pipeline.training import stage as train


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"id": str}).set_index("id").sort_index()


@pytest.mark.parametrize("pooled", ["mean", "max"])
def test_images_of_one_id_are_pooled_across_batches_in_whatever_order(
    competition: Path, tmp_path: Path, pooled: str
) -> None:
    several(competition)
    settings = ["train.epochs=1", "folds.n=2", "tta=[identity, hflip]", "predict.batch_size=5", f"data.pool={pooled}"]
    config = load([competition / "config.yaml"], settings)
    for stage in (folds, train, predict, score):
        stage.run(config)
    expected = read(config.run_dir / "test.csv")
    assert expected.index.tolist() == ["p40", "p41", "p42"]
    out = tmp_path / "out/found.csv"
    pd.testing.assert_frame_equal(read(predict_new(config.run_dir, None, out, [])), expected, rtol=0, atol=1e-6)

    new = tmp_path / "new"
    new.mkdir()
    shutil.move(competition / "images", new / "images")
    shutil.copy(competition / "sample_submission.csv", new)
    rows = pd.read_csv(competition / "test.csv", dtype=str)
    rows.iloc[::-1].to_csv(new / "test.csv", index=False)
    for folder in (competition, tmp_path / "folds", tmp_path / "cache"):
        shutil.rmtree(folder)
    found = read(predict_new(config.run_dir, str(new / "test.csv"), out, []))
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-6)
    submitted = pd.read_csv(out.with_name("submission.csv"), dtype=str)
    assert submitted["patient"].tolist() == ["p40", "p41", "p42"]
    assert submitted["label"].tolist() == expected.idxmax(axis=1).tolist()
    rows[rows["patient"] != "p41"].to_csv(new / "two.csv", index=False)
    (new / "sample_submission.csv").unlink()
    few = read(predict_new(config.run_dir, str(new / "two.csv"), tmp_path / "few.csv", []))
    pd.testing.assert_frame_equal(few, expected.loc[["p40", "p42"]], rtol=0, atol=1e-6)
